"""Verdicts: which documents a stage removed, why, and on what evidence. The next reader applies them.

A stage that removes declares it (`removes`). One that judges part by part writes a table beside each documents part
(`write_beside`); one that judges all at once writes rows by home (`HOME`), and a part finds its own in one file.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus.evidence import sources_of, sources_of_others
from redpajama.corpus.stages import DOCUMENTS
from redpajama.engine import homes
from redpajama.engine.gathered import Parts
from redpajama.engine.homes import Home
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.stages import Build
from redpajama.engine.tables import read_batches, read_table, write_table

VERDICT_SCHEMA = pa.schema(
    [
        pa.field("part", pa.string()),  # the documents part that the document stands in: PartRecord.id
        pa.field("doc_id", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("evidence", pa.string()),  # canonical JSON: signal, survivor, ...
    ]
)
HOME = Home(".verdicts", VERDICT_SCHEMA, ("doc_id",), DOCUMENTS)


def write(outputs: Outputs, table: pa.Table) -> None:
    """Rows of VERDICT_SCHEMA on documents of any parts."""
    homes.write(outputs, HOME, homes.numbers_of(table.column("part")), table)


def write_beside(outputs: Outputs, table: pa.Table) -> None:
    """Rows of VERDICT_SCHEMA on documents of the one part that a part is made for."""
    write_table(outputs.file(".parquet"), table.cast(VERDICT_SCHEMA).sort_by([("doc_id", "ascending")]))


def of_part(build: Build, stage: str, documents: PartRecord, columns: list[str] | None = None) -> pa.Table:
    """The verdicts of one stage on one documents part."""
    if homes.stage_of(stage) in build.records:
        return homes.read(build, stage, documents, HOME, columns)
    own = build.made_for(stage, documents)
    if own is None or not own.counts["dropped"]:
        empty = VERDICT_SCHEMA.empty_table()
        return empty.select(columns) if columns else empty
    return read_table(build.store, own.file(".parquet"), columns)


def identity(build: Build, documents: PartRecord) -> list[str]:
    """What identifies the verdicts on one documents part: it belongs to the key of who applies them."""
    return [_identity(build, stage, documents) for stage in build.removing]


def _identity(build: Build, stage: str, documents: PartRecord) -> str:
    if homes.stage_of(stage) in build.records:
        return homes.digest(build, stage, documents, HOME)
    if documents.name not in build.names(stage):
        return ""
    return _dropping(build.named(stage, documents.name)).get(documents.content, "")


@lru_cache(maxsize=256)  # every stage that applies verdicts asks for every part
def _dropping(parts: Parts) -> dict[str, str]:
    """{content of a documents part: content of the verdicts on it}, where something was dropped."""
    return {part.each: part.content for part in parts if part.counts["dropped"]}


def removed(build: Build, documents: PartRecord, *columns: str) -> dict[str, pa.Table]:
    """{stage: columns of its verdicts on one documents part}, of every stage that removes and may be read, in order."""
    return {stage: of_part(build, stage, documents, list(columns)) for stage in build.removing}


def ids_of(removed: Mapping[str, pa.Table]) -> pa.Array:
    """The ids in verdicts of some stages."""
    chunks = [chunk for table in removed.values() for chunk in table.column("doc_id").chunks]
    return pa.concat_arrays([pa.array([], pa.string()), *chunks])


def removed_ids(build: Build, documents: PartRecord) -> pa.Array:
    """The ids of one documents part that are gone."""
    return ids_of(removed(build, documents, "doc_id"))


PAIRS = pa.schema([(name, pa.string()) for name in ("doc_id", "stage", "pair")])


def duplicate_pairs(removed: Mapping[str, pa.Table]) -> pa.Table:
    """PAIRS of the duplicates among verdicts of some stages (doc_id, evidence), in order: an id, the last stage that
    removed it, and "its source < the source of the one it went for"."""
    found = [_pairs(table, stage) for stage, table in removed.items()]
    pairs = pa.concat_tables([PAIRS.empty_table(), *found]).combine_chunks()
    last = pairs.take(pa.array(np.arange(pairs.num_rows)[::-1]))
    ids = last.column("doc_id").combine_chunks()
    return last.filter(pc.equal(pc.index_in(ids, value_set=ids), pa.array(np.arange(len(ids)), pa.int32())))


def _pairs(verdicts: pa.Table, stage: str) -> pa.Table:
    others = sources_of_others(verdicts.column("evidence"))
    pairs = pc.binary_join_element_wise(sources_of(verdicts.column("doc_id")), others, " < ")
    table = pa.table([verdicts.column("doc_id"), pa.repeat(stage, verdicts.num_rows), pairs], schema=PAIRS)
    return table.filter(pc.is_valid(pairs))


def every(build: Build, stage: str) -> Iterator[pa.Table]:
    """All verdicts of a stage, for reports."""
    if homes.stage_of(stage) in build.records:
        yield from homes.all_rows(build, stage, HOME)
        return
    for record in build.parts(stage):
        for batch in read_batches(build.store, record.file(".parquet")):
            yield pa.Table.from_batches([batch])


def alive(batch: pa.RecordBatch, removed: pa.Array) -> pa.Array:
    """bool[n] of documents (`doc_id`): whether they stay."""
    return pc.invert(pc.is_in(batch.column("doc_id"), value_set=removed))
