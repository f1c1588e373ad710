"""Documents, and rows of the ledger, to be read: a few of a build, drawn by hash, by a signal, or by why they went."""

import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from redpajama.corpus import origins, reader, verdicts
from redpajama.corpus.stages import DOCUMENTS, SCORES, SIGNALS
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import Build
from redpajama.engine.tables import open_table, read_batches, read_table
from redpajama.errors import UserError
from redpajama.hashing import draw
from redpajama.manifest import suggestion
from redpajama.records import Reason

MAX_PARTS = 16  # of a source that are looked at for documents, drawn by hash; of a reason those that have it
BESIDE = (SIGNALS, SCORES)  # stages that measure documents
ANY = "any"  # reason

Entry = dict[str, Any]  # doc_id, and what was asked for: text and meta, or reason, evidence and raw bytes


@dataclass(frozen=True)
class Wish:
    """What to read."""

    source: str = ""  # of the manifest; "": all
    count: int = 5
    dropped: str = ""  # a reason, a rule of quality, or ANY: what a pipeline or a later stage removed
    is_quarantined: bool = False  # what could not be read
    by: str = ""  # a signal: documents spread evenly from its lowest value to its highest


def read(build: Build, wish: Wish) -> list[Entry]:
    """At most `count` entries.

    Raises:
        UserError: no source, signal or reason is called so, with a suggestion.
    """
    names = [source.name for source in build.manifest.source]
    if wish.source and wish.source not in names:
        raise UserError(f"no source is called '{wish.source}'{suggestion(wish.source, names)}")
    parts = sorted(build.parts(DOCUMENTS, wish.source or None), key=lambda part: draw(0, "part", part.id))
    if wish.is_quarantined:
        return list(islice(_ledger(build, parts, "quarantined", ANY), wish.count))
    if wish.dropped:
        _check_reason(build, parts, wish.dropped)
        return list(islice(_gone(build, parts, wish.dropped), wish.count))
    return _documents(build, parts[:MAX_PARTS], wish)


# ---- documents


def _documents(build: Build, parts: list[PartRecord], wish: Wish) -> list[Entry]:
    found = list(_ranked(build, parts, wish.by)) if wish.by else list(_drawn(build, parts, wish.count))
    chosen = _spread(sorted(found), wish.count) if wish.by else heapq.nsmallest(wish.count, found)
    return [
        _document(build, doc_id, parts[number], {wish.by: rank} if wish.by else {}) for rank, doc_id, number in chosen
    ]


def _drawn(build: Build, parts: list[PartRecord], count: int) -> Iterator[tuple[float, str, int]]:
    """(draw, id, number of the part) of at least `count` living documents, if there are so many."""
    found = 0
    for number, part in enumerate(parts):
        for batch in reader.read(build, part, ["doc_id"]):
            yield from ((draw(0, "show", doc_id), doc_id, number) for doc_id in batch.column("doc_id").to_pylist())
            found += batch.num_rows
        if found >= count:
            return


def _ranked(build: Build, parts: list[PartRecord], signal: str) -> Iterator[tuple[float, str, int]]:
    """(value, id, number of the part) of the living documents that have the signal."""
    column, known = f"q_{signal}", set[str]()
    for number, part in enumerate(parts):
        tables = [table for stage in BESIDE if stage in build.records and (table := reader.beside(build, stage, part))]
        own = _columns(build, part)
        known |= {name[2:] for names in (own, *(table.column_names for table in tables)) for name in names}
        holders = [table.select([column]) for table in tables if column in table.column_names]
        columns = ["doc_id", column] if column in own else ["doc_id"]
        for batch in reader.read(build, part, columns, beside=holders) if column in own or holders else ():
            values = zip(batch.column(column).to_pylist(), batch.column("doc_id").to_pylist(), strict=True)
            yield from ((float(value), doc_id, number) for value, doc_id in values if value is not None)
    if signal not in known:
        raise UserError(f"no signal '{signal}' was measured in this build{suggestion(signal, sorted(known))}")


def _columns(build: Build, part: PartRecord) -> list[str]:
    with open_table(build.store, part.file(".parquet")) as opened:
        return [name for name in pq.read_schema(opened).names if name.startswith("q_")]


def _spread(ranked: list[tuple[float, str, int]], count: int) -> list[tuple[float, str, int]]:
    """So many of them, evenly from the first to the last."""
    if len(ranked) <= count or count < 2:
        return ranked[:count]
    return [ranked[place * (len(ranked) - 1) // (count - 1)] for place in range(count)]


def _document(build: Build, doc_id: str, part: PartRecord, more: Entry) -> Entry:
    table = read_table(
        build.store, part.file(".parquet"), ["doc_id", "source", "meta", "text"], [("doc_id", "=", doc_id)]
    )
    row = table.to_pylist()[0]
    origin = origins.origin(part, origins.row_of(build.store, part, doc_id))
    return {**row, "meta": json.loads(row["meta"]), "inputs": origin.inputs, **more}


# ---- what is gone


def _gone(build: Build, parts: Iterable[PartRecord], reason: str) -> Iterator[Entry]:
    """Units that the pipeline dropped, then documents that later stages removed, for a reason or for ANY."""
    yield from _ledger(build, parts, "dropped", reason)
    for part in parts:
        for stage in build.removing:
            table = verdicts.of_part(build, stage, part)
            for row in table.filter(_is_for(table, reason)).to_pylist():
                verdict = {"stage": stage, **{key: row[key] for key in ("reason", "value", "threshold")}}
                yield _document(build, row["doc_id"], part, {**verdict, "evidence": json.loads(row["evidence"])})


def _ledger(build: Build, parts: Iterable[PartRecord], verdict: str, reason: str) -> Iterator[Entry]:
    for part in parts:
        file = part.beside("ledger")
        for batch in read_batches(build.store, file) if file else ():
            hits = pc.and_(pc.equal(batch.column("verdict"), verdict), _is_for(batch, reason))
            yield from (_ledger_entry(build, row, part) for row in batch.filter(hits).to_pylist())


def _is_for(rows: pa.Table | pa.RecordBatch, reason: str) -> Any:
    """bool[n]: rows of the reason, of the quality rule that is called so, or all for ANY."""
    if reason == ANY:
        return pc.is_valid(rows.column("reason"))
    ruled = pc.match_substring(rows.column("evidence"), f'"rule":{json.dumps(reason)}')
    return pc.or_(pc.equal(rows.column("reason"), reason), ruled)


def _ledger_entry(build: Build, row: Entry, part: PartRecord) -> Entry:
    evidence, raw = json.loads(row["evidence"]), part.beside("quarantine")
    found = {**row, "source": part.name, "evidence": evidence}
    if raw and "raw_offset" in evidence:
        start = evidence["raw_offset"]
        with build.store.open(raw.key, raw.bytes) as stream:
            stream.seek(start)
            found["raw"] = stream.read(evidence["raw_bytes"]).decode("utf-8", "backslashreplace")
    return found


def _check_reason(build: Build, parts: Iterable[PartRecord], reason: str) -> None:
    known = {ANY, *map(str, Reason), *(name for part in parts for name in part.counts["dropped"])}
    for stage in build.removing:
        known |= {name for part in build.parts(stage) for name in part.counts.get("dropped", {})}
    if reason not in known:
        raise UserError(f"nothing goes for '{reason}'{suggestion(reason, sorted(known))}")
