"""The stage `paragraphs`: lines that stand more than once in a source -> what each part of it must lose.

Flow: texts of the stage `extracted` -> a 64-bit hash of each normalised line -> regrouped by hash -> for each part, the
hashes that repeat and the document whose copy stays. The documents stage then leaves the lines out; quality measures
what is left, so `min_chars` holds for the final text.

Rules: `lines.py`. After CCNet every copy goes, the first too; after C4 one stays. Blank lines always go: they repeat.

Which copy stays is the hash of its document's id, not the order of files: another sharding keeps the same one.
Memory: a reducer holds about PARTITION_ROWS rows of 25 bytes, three times.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.artifacts import Outputs, Part, PartRecord
from redpajama.columns import read_batches, read_table, write_table
from redpajama.hashing import draw
from redpajama.manifest import Source
from redpajama.stages import Build, Regroup, Result, fingerprint, partitioned, versions

VERSION = 1
PARTITION_ROWS = 4_000_000  # of lines in a reducer
LINE_BYTES = 40  # a guess at the mean line, for the number of partitions alone
LIBRARIES = ("numpy", "pyarrow")

ROWS = pa.schema(
    [
        pa.field("line", pa.uint64()),
        pa.field("document", pa.uint64()),  # the draw of its id
        pa.field("part", pa.uint64()),  # the key of its extracted part
        pa.field("again", pa.bool_()),  # it stands there more than once
    ]
)
REPEATS = pa.schema([ROWS.field("part"), ROWS.field("line"), pa.field("keeper", pa.uint64())])  # 0: no copy stays


# ---- repeats


def plan_lines(build: Build) -> list[Part]:
    """One part for each extracted part of a source that asks for it."""
    parts = []
    for source, first, count in _shares(build):
        stamp = fingerprint(stage=["paragraphs-split", VERSION], rule=source.paragraphs.rule, libraries=_libraries())
        for texts in build.parts("extracted", source.name):
            spec = {"texts": texts.stem, "first": first, "partitions": count}
            reads = [texts.sha256, first, count]
            parts.append(Part("paragraphs-split", source.name, stamp, reads, spec, texts.counts["text_bytes"]))
    return parts


def _libraries() -> dict[str, str]:
    return versions(*LIBRARIES)


def _shares(build: Build) -> Iterator[tuple[Source, int, int]]:
    """(source, its first partition, its partitions: a power of two): no source meets another."""
    first = 0
    for source in build.manifest.source:
        if source.paragraphs is not None:
            lines = sum(part.counts["text_bytes"] for part in build.parts("extracted", source.name)) // LINE_BYTES
            count = 1 << max(0, (lines - 1) // PARTITION_ROWS).bit_length()
            yield source, first, count
            first += count


def split_lines(build: Build, part: Part) -> Iterator[tuple[int, pa.Table]]:
    """The texts of one part -> its lines, each once a row group and document, dealt out by hash."""
    texts = next(record for record in build.parts("extracted", part.name) if record.stem == part.spec["texts"])
    rule, count = build.manifest.source_named(part.name).paragraphs.rule, part.spec["partitions"]
    for batch in read_batches(build.store, texts.file(".parquet"), ["doc_id", "text"]):
        table = lines_of(batch, rule, part_number(texts))
        numbers = (table.column("line").to_numpy() >> np.uint64(32)).astype(np.int64) * count >> 32
        for number, rows in partitioned(table, numbers, count):
            yield part.spec["first"] + number, rows


def part_number(record: PartRecord) -> int:
    """64 bits that tell an extracted part from the others: its key."""
    return int(record.stem.rpartition("-")[2], 16)


def lines_of(batch: pa.RecordBatch, rule: str, number: int) -> pa.Table:
    """ROWS of documents (doc_id, text): each line once, with the first of its documents; blank ones are left out."""
    from redpajama.dedup.lines import hash_lines  # Numba is loaded where it is needed

    found = hash_lines(batch.column("text"), rule)
    real = np.flatnonzero(found.hash)
    documents = document_keys(batch.column("doc_id"))[found.text[real]]
    order = np.lexsort((documents, found.hash[real]))
    hashes, documents = found.hash[real][order], documents[order]
    starts = _starts(hashes)
    again = np.diff(np.append(starts, len(hashes))) > 1
    parts = np.full(len(starts), number, np.uint64)
    return pa.table([pa.array(column) for column in (hashes[starts], documents[starts], parts, again)], schema=ROWS)


def document_keys(ids: pa.Array) -> np.ndarray:
    """uint64[n]: by these the document is chosen whose copy stays."""
    return np.array([draw(0, doc_id) for doc_id in ids.to_pylist()], np.uint64)


def plan_repeats(build: Build) -> list[Part]:
    """One part for each partition of a source's lines."""
    parts = []
    for source, first, count in _shares(build):
        stamp = fingerprint(
            stage=["paragraphs", VERSION], rule=source.paragraphs.model_dump(mode="json"), libraries=_libraries()
        )
        upstream = [part.sha256 for part in build.parts("extracted", source.name)]
        for number in range(count):
            spec = {"partition": first + number, "inputs": upstream}
            parts.append(Part("paragraphs", source.name, stamp, [upstream, count, number], spec))
    return parts


def find_repeats(build: Build, part: Part, rows: pa.Table, outputs: Outputs) -> Result:
    """All rows of some lines -> REPEATS, sorted by part and line."""
    keep = build.manifest.source_named(part.name).paragraphs.copies_kept
    repeats = repeats_of(rows, keep)
    write_table(outputs.file(".parquet"), repeats)
    counts = {"lines": len(np.unique(rows.column("line").to_numpy())), "repeats": repeats.num_rows}
    return part.spec["inputs"], {"read": rows.num_rows, "kept": rows.num_rows, **counts}


def repeats_of(rows: pa.Table, keep: str) -> pa.Table:
    """ROWS of whole lines, in any order -> REPEATS; `keep`: "first" or "none"."""
    lines, documents, parts, again = (rows.column(name).to_numpy() for name in ROWS.names)
    order = np.lexsort((documents, lines))
    lines, documents, parts, again = lines[order], documents[order], parts[order], again[order]
    starts = _starts(lines)
    sizes = np.diff(np.append(starts, len(lines)))
    stands = again.astype(np.int64)  # how often, beyond once: a document given twice has its lines once
    stands[_starts(lines, documents)] += 1
    repeated = np.add.reduceat(stands, starts) > 1 if len(starts) else np.zeros(0, bool)
    wanted = np.repeat(repeated, sizes)
    keepers = np.repeat(documents[starts] if keep == "first" else np.zeros(len(starts), np.uint64), sizes)
    lines, parts, keepers = lines[wanted], parts[wanted], keepers[wanted]
    order = np.lexsort((lines, parts))
    once = order[_starts(lines[order], parts[order])]  # a part met a line in many row groups
    return pa.table([pa.array(column[once]) for column in (parts, lines, keepers)], schema=REPEATS)


def _starts(*columns: np.ndarray) -> np.ndarray:
    """Where a run of equal rows begins in sorted columns; int64[runs]."""
    new = np.ones(len(columns[0]), bool)
    new[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return np.flatnonzero(new)


# ---- what the documents stage asks


class Repeats:
    """The lines that one extracted part must lose."""

    def __init__(self, table: pa.Table, rule: str) -> None:
        order = np.argsort(table.column("line").to_numpy())
        self.lines, self.keepers = (table.column(name).to_numpy()[order] for name in ("line", "keeper"))
        self.rule = rule

    def stay(self, batch: pa.RecordBatch) -> list[np.ndarray]:
        """Documents (doc_id, text) -> for each, which of its lines stay; bool[lines of the text]."""
        from redpajama.dedup.lines import hash_lines

        found = hash_lines(batch.column("text"), self.rule)
        stays = (found.hash != 0) & ~self._goes(found, document_keys(batch.column("doc_id")))
        return np.split(stays, _starts(found.text))[1:]

    def _goes(self, found: Any, documents: np.ndarray) -> np.ndarray:
        if not len(self.lines):
            return np.zeros(len(found.hash), bool)
        place = np.minimum(np.searchsorted(self.lines, found.hash), len(self.lines) - 1)
        repeated = self.lines[place] == found.hash
        own = self.keepers[place] == documents[found.text]  # its copy stays: the first of them
        order = np.lexsort((found.hash, found.text))  # stable: of equal lines of a text the first comes first
        is_first = np.zeros(len(found.hash), bool)
        is_first[order[_starts(found.hash[order], found.text[order])]] = True
        return repeated & ~(own & is_first)


def repeats_in(build: Build, source: Source, texts: PartRecord) -> Repeats:
    """What the stage found for one extracted part."""
    only = pc.equal(pc.field("part"), pa.scalar(part_number(texts), pa.uint64()))
    parts = [read_table(build.store, r.file(".parquet"), None, only) for r in build.parts("paragraphs", source.name)]
    return Repeats(pa.concat_tables(parts).cast(REPEATS), source.paragraphs.rule)


PARAGRAPHS = Regroup("paragraphs", ROWS, plan_lines, split_lines, plan_repeats, find_repeats)
