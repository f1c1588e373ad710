"""The stage `paragraphs`: lines that stand more than once in a source -> what each part of it must lose.

Flow: texts of the stage `extracted` -> a 64-bit hash of each normalised line -> regrouped by hash -> for each part, the
hashes that repeat and the document whose copy stays. The documents stage then leaves the lines out; quality measures
what is left, so `min_chars` holds for the final text.

Rules: `lines.py`. After CCNet every copy goes, the first too; after C4 one stays. Blank lines always go: they repeat.

Lines are counted before whole copies are known. So of a page that stands twice, in two crawls of a source say, CCNet's
rule leaves nothing in either place: all its lines repeat, and both are dropped as `no-paragraph-left`. `keep = "first"`
leaves one of each line.

Which copy stays is the hash of its document's id, not the order of files: another sharding keeps the same one.
Memory: a reducer holds about PARTITION_ROWS rows of 25 bytes, three times.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from redpajama.corpus.stages import EXTRACTED
from redpajama.engine import homes
from redpajama.engine.homes import Home
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts, Dealt, Range, Regrouped, by_name
from redpajama.engine.splits import pieces
from redpajama.engine.stages import Build
from redpajama.engine.tables import read_batches
from redpajama.hashing import draws
from redpajama.manifest import Source, given

PARTITION_ROWS = 4_000_000  # of lines in a reducer
LINE_BYTES = 40  # a guess at the mean line, for the number of partitions alone

ROWS = pa.schema(
    [
        pa.field("line", pa.uint64()),
        pa.field("document", pa.uint64()),  # the draw of its id
        pa.field("part", pa.uint64()),  # the content of its extracted part
        pa.field("again", pa.bool_()),  # it stands there more than once
    ]
)
REPEATS = pa.schema([ROWS.field("part"), ROWS.field("line"), pa.field("keeper", pa.uint64())])  # 0: no copy stays


HOME = Home(".repeats", REPEATS, ("line",), EXTRACTED)

# ---- repeats


def depends(build: Build, name: str) -> Counts | None:
    """The rule of a source; none for one that asks for no comparison."""
    wish = build.manifest.source_named(name).paragraphs
    return None if wish is None else {"rule": wish.model_dump(mode="json")}


def partitions(build: Build, name: str, parts: list[PartRecord]) -> int:
    """A power of two that keeps a reducer's lines bounded."""
    lines = sum(part.counts["text_bytes"] for part in parts) // LINE_BYTES
    return pieces(lines, PARTITION_ROWS, len(parts))


def split_lines(build: Build, texts: PartRecord, count: int) -> Dealt:
    """The texts of one part -> its lines, each once a row group and document, dealt out by hash."""
    rule = given(build.manifest.source_named(texts.name).paragraphs).rule
    for batch in read_batches(build.store, texts.file(".parquet"), ["doc_id", "text"]):
        table = lines_of(batch, rule, int(texts.content, 16))
        yield (table.column("line").to_numpy() >> np.uint64(32)).astype(np.int64) * count >> 32, table


def lines_of(batch: pa.RecordBatch, rule: str, number: int) -> pa.Table:
    """ROWS of documents (doc_id, text): each line once, with the first of its documents; blank ones are left out."""
    from redpajama.dedup.lines import hash_lines

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
    return draws(0, [], ids)


def find_repeats(build: Build, range: Range, rows: pa.Table, outputs: Outputs) -> Counts:
    """All rows of some lines -> REPEATS by the part that holds them."""
    keep = given(build.manifest.source_named(range.name).paragraphs).copies_kept
    repeats = repeats_of(rows, keep)
    homes.write(outputs, HOME, homes.numbers_of_integers(repeats.column("part")), repeats)
    counts = {"lines": len(np.unique(rows.column("line").to_numpy())), "repeats": repeats.num_rows}
    return {"read": rows.num_rows, "kept": rows.num_rows, **counts}


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
        stays = (found.hash != 0) & ~self._goes(found, batch.column("doc_id"))
        return np.split(stays, _starts(found.text))[1:]

    def _goes(self, found: Any, ids: pa.Array) -> np.ndarray:
        if not len(self.lines):
            return np.zeros(len(found.hash), bool)
        place = np.minimum(np.searchsorted(self.lines, found.hash), len(self.lines) - 1)
        repeated = self.lines[place] == found.hash
        if not self.keepers.any():
            return repeated
        own = self.keepers[place] == document_keys(ids)[found.text]  # its copy stays: the first of them
        order = np.lexsort((found.hash, found.text))  # stable: of equal lines of a text the first comes first
        is_first = np.zeros(len(found.hash), bool)
        is_first[order[_starts(found.hash[order], found.text[order])]] = True
        return repeated & ~(own & is_first)


def repeats_in(build: Build, source: Source, texts: PartRecord) -> Repeats:
    """What the stage found for one extracted part."""
    return Repeats(homes.read(build, STAGE.name, texts, HOME), given(source.paragraphs).rule)


def identity(build: Build, texts: PartRecord) -> str:
    """What identifies that."""
    return homes.digest(build, STAGE.name, texts, HOME)


STAGE = Regrouped(
    name="paragraphs",
    version=2,
    libraries=("numpy", "pyarrow"),
    after=(EXTRACTED,),
    each=EXTRACTED,
    shares=by_name,
    schema=ROWS,
    depends=depends,
    partitions=partitions,
    split=split_lines,
    reduce=find_repeats,
    homes=(HOME,),
)
