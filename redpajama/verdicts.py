"""Verdicts: which documents a stage removed, why, and on what evidence. The next reader applies them.

A verdict file holds rows of VERDICT_SCHEMA sorted by (part, doc_id): a reader of one documents part asks for its own
rows, and row-group statistics rule out the rest.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from redpajama.artifacts import PartRecord
from redpajama.columns import read_batches, read_table, write_table
from redpajama.stages import Build

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


def write_verdicts(path: Path, table: pa.Table) -> None:
    """Sort rows of VERDICT_SCHEMA and write them."""
    write_table(path, table.cast(VERDICT_SCHEMA).sort_by([("part", "ascending"), ("doc_id", "ascending")]))


def verdict_stages(build: Build) -> list[str]:
    """The stages committed so far that remove documents."""
    return [stage for stage in ("quality", "identity", "exact", "near", "substrings") if stage in build.records]


def removed_ids(build: Build, stages: list[str], part: PartRecord) -> pa.Array:
    """The ids that the verdicts of `stages` removed from one documents part."""
    found = [pa.array([], pa.string())]
    for stage in stages:
        for verdicts in build.parts(stage):
            is_others = stage == "quality" and verdicts.inputs[0] != part.stem  # it judges part by part
            if verdicts.counts["dropped"] and not is_others:
                rows = read_table(build.store, verdicts.file(".parquet"), ["doc_id"], [("part", "=", part.id)])
                found += rows.column("doc_id").chunks
    return pa.concat_arrays(found)


def duplicate_pairs(build: Build, part: PartRecord) -> dict[str, tuple[str, str]]:
    """{id: (stage, "its source < the source of the one it went for")} of the duplicates in one documents part."""
    pairs = {}
    for stage in (stage for stage in verdict_stages(build) if stage != "quality"):
        for verdicts in build.parts(stage):
            filters = [("part", "=", part.id)]
            rows = read_table(build.store, verdicts.file(".parquet"), ["doc_id", "evidence"], filters)
            for doc_id, evidence in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                found = json.loads(evidence)
                other = found.get("survivor") or found["other"]
                pairs[doc_id] = stage, f"{doc_id.partition('/')[0]} < {other.partition('/')[0]}"
    return pairs


def living(build: Build, stages: list[str], part: PartRecord, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The documents of one part that no verdict of `stages` removed, row group by row group."""
    removed = removed_ids(build, stages, part)
    for batch in read_batches(build.store, part.file(".parquet"), columns):
        alive = batch.filter(pc.invert(pc.is_in(batch.column("doc_id"), value_set=removed)))
        if alive.num_rows:
            yield alive
