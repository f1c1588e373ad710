"""The ledger of what did not become a document, and notes on what did: raw bytes of the unreadable beside it."""

from typing import Any, BinaryIO

import orjson

from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.store import Store
from redpajama.engine.tables import TableWriter, read_batches
from redpajama.records import LEDGER_SCHEMA, LedgerRow, Tally


class LedgerWriter:
    """Ledger rows -> `ledger/part-<key>.parquet`; raw bytes of quarantined units -> `quarantine/part-<key>.bin`."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self._table = TableWriter(outputs.file(".parquet", "ledger/"), LEDGER_SCHEMA)
        self._raw: Any = None
        self._offset = 0

    def copy(self, store: Store, record: PartRecord) -> None:
        """All that another part's ledger holds."""
        file = record.beside("ledger")
        for batch in read_batches(store, file) if file else ():
            for row in batch.to_pylist():
                self._table.add(tuple(row.values()))
        if raw := record.beside("quarantine"):
            self._offset += self._quarantine().write(store.read(raw.key))

    def drain(self, tally: Tally) -> None:
        """Write the rows that the tally holds."""
        for row in tally.rows:
            evidence = {**row.evidence, **self._keep_raw(row)}
            text = orjson.dumps(evidence, option=orjson.OPT_SORT_KEYS, default=str).decode()
            self._table.add((row.doc_id, "documents", row.verdict, row.reason, row.value, row.threshold, text))
        tally.rows.clear()

    def _keep_raw(self, row: LedgerRow) -> dict[str, int]:
        if not row.raw:
            return {}
        where = {"raw_offset": self._offset, "raw_bytes": len(row.raw)}
        self._offset += self._quarantine().write(row.raw)
        return where

    def _quarantine(self) -> BinaryIO:
        self._raw = self._raw or open(self._outputs.file(".bin", "quarantine/"), "wb")  # noqa: SIM115 (closed in __exit__)
        return self._raw

    def __enter__(self) -> "LedgerWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._table.close()
        if self._raw:
            self._raw.close()
