"""The commit of a stage: its parts' records gathered in files of columns, and one record that names them.

    ROOT/<stage>/<name>-<fingerprint>/_parts-<hash>-<number>.parquet    the records of up to GATHERED_ROWS parts
                                     /_record-<hash>.json               the stage record: the stage's commit

The hash is one of what was planned (the parts' keys; of a regroup, those of its split): where the record is there, with
its files, nothing of the stage needs to be done or looked at. Records name no list that grows with another stage.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redpajama.arrow import fixed_bytes, open_parquet
from redpajama.engine.parts import PartRecord
from redpajama.engine.store import Store, crash_point
from redpajama.errors import BuildFailed
from redpajama.hashing import canonical_json, sha256_of

GATHERED_ROWS = 1000
NUMBER = np.uint64  # a content as an integer

RECORDS = pa.schema(
    [
        pa.field("part", pa.string()),  # the last name of the stem
        pa.field("content", pa.uint64()),
        pa.field("each", pa.uint64()),  # 0: made for no part
        pa.field("sha256", pa.binary(32)),  # of the record's file
        pa.field("inputs", pa.string()),  # JSON, as are these
        pa.field("outputs", pa.string()),
        pa.field("counts", pa.string()),
    ]
)


@dataclass(frozen=True)
class StageRecord:
    """One set of committed parts of one (stage, name): read back from `_record-<hash>.json`."""

    key: str
    sha256: str
    parts: int
    gathered: list[dict[str, Any]]  # key, bytes, sha256 of each file of records
    counts: dict[str, Any]  # the parts' sums
    parameters: dict[str, Any]  # what the fingerprint was made of

    @property
    def folder(self) -> str:
        return self.key.rpartition("/")[0]


class Parts(Sequence[PartRecord]):
    """The part records of one stage record, by stem, in columns; each is made when it is asked for."""

    def __init__(self, folder: str, table: pa.Table) -> None:
        self._folder, self._rows = folder, table.num_rows
        columns = [column.combine_chunks() for column in table.columns]
        self._parts, *self._lists = (_Values(column) for column in (columns[0], *columns[4:]))
        self._contents, self._eaches = columns[1].to_numpy(), columns[2].to_numpy()
        self._sha256s = fixed_bytes(columns[3])
        self._orders: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        stem, each = f"{self._folder}/{self._parts[row]}", self._eaches[row]
        content, made_for = f"{self._contents[row]:016x}", f"{each:016x}" if each else ""
        inputs, outputs, counts = self._lists
        sha = self._sha256s[row].tobytes().hex()
        return PartRecord(stem, sha, content, made_for, inputs[row], outputs[row], counts[row])

    def __iter__(self) -> Iterator[PartRecord]:
        """All of them, at a third of what each costs when asked for alone."""
        for start in range(0, len(self), GATHERED_ROWS):
            rows = slice(start, start + GATHERED_ROWS)
            parts, *lists = (values.list(rows) for values in (self._parts, *self._lists))
            stems = [f"{self._folder}/{part}" for part in parts]
            contents = [f"{content:016x}" for content in self._contents[rows].tolist()]
            eaches = [f"{each:016x}" if each else "" for each in self._eaches[rows].tolist()]
            shas = [sha.hex() for sha in map(bytes, self._sha256s[rows])]
            yield from map(PartRecord, stems, shas, contents, eaches, *lists)

    def holding(self, content: str) -> PartRecord | None:
        """The part of that content."""
        return self._find(self._contents, content)

    def made_for(self, content: str) -> PartRecord | None:
        """The part that was made for the part of that content."""
        return self._find(self._eaches, content)

    def _find(self, values: np.ndarray, content: str) -> PartRecord | None:
        if (column := id(values)) not in self._orders:
            order = np.argsort(values)
            self._orders[column] = order, values[order]
        order, ordered = self._orders[column]
        wanted = NUMBER(int(content, 16))
        place = ordered.searchsorted(wanted)
        return self[int(order[place])] if place < len(ordered) and ordered[place] == wanted else None


class _Values:
    """The strings of a column one by one: a tenth of what an Arrow scalar costs, and planners ask for millions."""

    def __init__(self, column: pa.StringArray) -> None:
        self._column = column
        _, bounds, data = column.buffers()
        self._bounds = np.frombuffer(bounds, np.int32)[column.offset :] if len(column) else np.zeros(1, np.int32)
        self._data = memoryview(data or b"")

    def __getitem__(self, row: int) -> str:
        start, end = self._bounds[row : row + 2].tolist()
        return str(self._data[start:end], "utf-8")

    def list(self, rows: slice) -> list[str]:
        """Some of them."""
        return self._column[rows].to_pylist()


def commit_stage(store: Store, key: str, records: list[PartRecord], parameters: dict[str, Any]) -> StageRecord:
    """Write the record of a set of parts in one folder; the same set gives the same files.

    Args:
        parameters: what the fingerprint in the folder's name was made of.
    """
    records = sorted(records, key=lambda record: record.stem)
    gathered = [_gather(store, key, number, some) for number, some in enumerate(_blocks(records))]
    counts = add_counts([record.counts for record in records])
    record = {"parts": len(records), "gathered": gathered, "counts": counts, "parameters": parameters}
    body = canonical_json({**record, "sha256": sha256_of([canonical_json(record)])})
    crash_point("before-stage-record")
    store.write(key, body)
    crash_point("after-stage-record")
    return _parse(key, body)


def _blocks(records: list[PartRecord]) -> Iterator[list[PartRecord]]:
    for start in range(0, len(records), GATHERED_ROWS):
        yield records[start : start + GATHERED_ROWS]


def _gather(store: Store, key: str, number: int, records: list[PartRecord]) -> dict[str, Any]:
    """Write one file of records; how the stage record names it."""
    folder, _, name = key.removesuffix(".json").rpartition("/")
    target = f"{folder}/{name.replace('_record-', '_parts-')}-{number:05d}.parquet"
    sink = pa.BufferOutputStream()
    pq.write_table(table_of(records), sink, compression="zstd", version="2.6")
    body = sink.getvalue().to_pybytes()
    store.write(target, body)
    return {"key": target, "bytes": len(body), "sha256": sha256(body).hexdigest()}


def table_of(records: list[PartRecord]) -> pa.Table:
    """RECORDS of some parts of one folder."""
    columns = [
        [record.stem.rpartition("/")[2] for record in records],
        [int(record.content, 16) for record in records],
        [int(record.each or "0", 16) for record in records],
        [bytes.fromhex(record.sha256) for record in records],
        *([getattr(record, f"{name}_json") for record in records] for name in ("inputs", "outputs", "counts")),
    ]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, RECORDS, strict=True)], RECORDS)


def read_stage(store: Store, key: str) -> StageRecord:
    """A stage record by its key.

    Raises:
        BuildFailed: it is missing or unreadable.
    """
    try:
        return _parse(key, store.read(key))
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        raise BuildFailed(f"{key}: the stage record is missing or unreadable") from None


def _parse(key: str, body: bytes) -> StageRecord:
    record = json.loads(body)
    if record.pop("sha256") != sha256_of([canonical_json(record)]):
        raise ValueError(f"{key}: its SHA-256 is another")
    fields = (record[name] for name in ("parts", "gathered", "counts", "parameters"))
    return StageRecord(key, sha256(body).hexdigest(), *fields)


def read_parts(store: Store, record: StageRecord) -> Parts:
    """The part records that a stage record names.

    Raises:
        BuildFailed: a file of them is missing or not the one that the stage committed.
    """
    bodies = store.read_each([file["key"] for file in record.gathered])
    tables = [_checked(file, body) for file, body in zip(record.gathered, bodies, strict=True)]
    return Parts(record.folder, pa.concat_tables([RECORDS.empty_table(), *tables]))


def _checked(file: dict[str, Any], body: bytes | None) -> pa.Table:
    if body is None:
        raise BuildFailed(f"{file['key']}: the parts' records are missing")
    if sha256(body).hexdigest() != file["sha256"]:
        raise BuildFailed(f"{file['key']}: not the parts' records that the stage names")
    return open_parquet(pa.BufferReader(body)).read(use_threads=False)


@lru_cache(maxsize=4096)  # some twenty stages of some hundred sources: fewer would be read again for each part
def stage_of(store: Store, key: str) -> StageRecord:
    """`read_stage`, once a process."""
    return read_stage(store, key)


@lru_cache(maxsize=4096)
def parts_of(store: Store, key: str) -> Parts:
    """`read_parts`, once a process."""
    return read_parts(store, stage_of(store, key))


def is_whole(store: Store, key: str, sizes_below: Callable[[str], dict[str, int]]) -> bool:
    """Whether a stage record is there and all that it names has its size, by one listing of its folder."""
    sizes = sizes_below(key.rpartition("/")[0])
    if key not in sizes:
        return False
    try:
        if any(sizes.get(file["key"]) != file["bytes"] for file in stage_of(store, key).gathered):
            return False
        return all(is_there(part, sizes) for part in parts_of(store, key))
    except BuildFailed:
        return False


def is_there(part: PartRecord, sizes: dict[str, int]) -> bool:
    """Whether a part's record and all its files are listed, each file with its size."""
    if f"{part.stem}.json" not in sizes:
        return False
    return all(sizes.get(key) == output["bytes"] for key, output in part.outputs.items())


def add_counts(counts: list[dict[str, Any]]) -> dict[str, Any]:
    """Key-wise sums; nested tables of counts are added key by key."""
    total: dict[str, Any] = {}
    for count in counts:
        for key, value in count.items():
            if isinstance(value, dict):
                total[key] = add_counts([total.get(key, {}), value])
            elif isinstance(value, int | float):
                total[key] = total.get(key, 0) + value
    return dict(sorted(total.items()))
