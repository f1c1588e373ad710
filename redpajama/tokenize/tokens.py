"""The stage `tokens`: mixture parts -> Megatron `.bin/.idx` shards, each with a lineage sidecar.

The sidecar has a row for each sequence, in order: which document it is, which copy, from which source, and in which
documents part its text stands.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import streams
from redpajama.corpus.stages import BUDGET, MIXTURE, TOKENIZER, TOKENS
from redpajama.corpus.streams import VALIDATION, Stream
from redpajama.engine.gathered import StageRecord, add_counts
from redpajama.engine.parts import Outputs, Part, PartRecord, Result
from redpajama.engine.shapes import Counts, Piece, Single
from redpajama.engine.stages import Build
from redpajama.engine.tables import ColumnWriter, read_batches
from redpajama.errors import BuildFailed
from redpajama.exports import megatron
from redpajama.manifest import given
from redpajama.tokenize import pieces as cut
from redpajama.tokenize.backends import Encoded
from redpajama.tokenize.encode import Tokenizer
from redpajama.tokenize.tokenizer import note_backend, open_tokenizer, tokenizer_part

COLUMNS = ["doc_id", "copy", "source", "part", "n_tokens", "text"]  # of the mixture
LINEAGE = pa.schema(
    [
        pa.field("sequence", pa.int64()),  # its number in the shard
        pa.field("doc_id", pa.string()),
        pa.field("copy", pa.int32()),
        pa.field("source", pa.string()),
        pa.field("document_part", pa.string()),  # the documents part that holds it: `<source>/<content>`
        pa.field("token_offset", pa.int64()),  # of its first token in the .bin
        pa.field("n_tokens", pa.int64()),  # with the end of document
    ]
)


def pieces(build: Build) -> Iterator[Piece]:
    """One part for each shard: consecutive ranges of a stream of the mixture. A range without documents makes none."""
    name = build.manifest.name
    for stream, ranges in streams.by_stream(build, build.parts(MIXTURE, name)):
        for slice, groups in _groups(build, stream, ranges):
            prefix = "-".join(filter(None, (name, stream.name, slice)))
            for number, group in enumerate(groups):
                label = f"{prefix}-{number:05d}-of-{len(groups):05d}"
                spec: dict[str, Any] = {"mixture": [record.id for record in group]}
                spec |= {"slice": slice} if slice else {}
                yield Piece(name, [[record.content for record in group], label], spec, _tokens(group, slice), label)


def _groups(build: Build, stream: Stream, ranges: list[PartRecord]) -> Iterator[tuple[str, list[list[PartRecord]]]]:
    """(slice or "" of all, the ranges of each shard that have a document of it); what is held out is not divided."""
    if build.manifest.shards.per == "slice" and stream.name != VALIDATION:
        for slice in sorted({slice for record in ranges for slice in _slices(record.counts)}):
            yield slice, _slice_groups(build, [each for each in ranges if _tokens([each], slice)], slice)
        return
    size = len(ranges) // stream.shards
    groups = [ranges[start : start + size] for start in range(0, len(ranges), size)]
    yield "", [group for group in groups if sum(record.counts["kept"] for record in group)]


def _slice_groups(build: Build, ranges: list[PartRecord], slice: str) -> list[list[PartRecord]]:
    """The ranges of each of a slice's shards, about as large as the others."""
    total, before = _tokens(ranges, slice), 0
    groups: dict[int, list[PartRecord]] = {}
    for record in ranges:
        groups.setdefault(before * build.manifest.shards.count(total) // total, []).append(record)
        before += _tokens([record], slice)
    return list(groups.values())


def _slices(counts: Counts) -> dict[str, int]:
    """{slice: tokens} of ranges of the mixture; a slice is a source where nothing else is said."""
    return counts.get("slices") or counts.get("tokens", {})


def _tokens(ranges: list[PartRecord], slice: str) -> int:
    """How many tokens ranges of the mixture hold, of one slice or of all."""
    return sum(_slices(each.counts).get(slice, 0) if slice else _all_tokens(each.counts) for each in ranges)


def _all_tokens(counts: Counts) -> int:
    """Of some ranges of the mixture, with those that are held out."""
    held = counts.get("held_out", {}).get("tokens", {})
    return sum(counts.get("tokens", {}).values()) + sum(held.values())


def depends(build: Build, name: str) -> Counts:
    """The tokenizer, and the end of document that was asked for: the shards hold it, the tokenizer's file does not."""
    wish = given(build.manifest.tokenizer).end_of_document
    return {"tokenizer": tokenizer_part(build).content} | ({"end_of_document": wish} if wish else {})


def write_shard(build: Build, part: Part, outputs: Outputs) -> Result:
    """Encode the documents of one shard in order, each followed by the end of document.

    Raises:
        BuildFailed: a document's tokens are not as many as were counted when the budget was made.
    """
    tokenizer = open_tokenizer(build)
    paths = outputs.file("_text_document.bin"), outputs.file("_text_document.idx")
    writer = megatron.MegatronWriter(*paths, megatron.dtype_for(tokenizer.vocab_size))
    literals: Counter[str] = Counter()
    held: list[Counts] = []
    offset = 0
    with writer, ColumnWriter(outputs.file("_lineage.parquet"), LINEAGE) as lineage:
        for id in part.spec["mixture"]:
            for batch in calls(tokenizer, _documents(build, id, part.spec.get("slice", ""))):
                tokens = tokens_of(tokenizer, batch)
                writer.extend(tokens.ids, tokens.sizes)
                lineage.add(lineage_of(batch, lineage.rows, offset))
                held.append(sums_of(batch))
                literals.update(tokenizer.literals(batch.column("text")))
                offset += len(tokens.ids)
    note_backend(build, part, tokenizer)
    counts = {"read": lineage.rows, "kept": lineage.rows, "tokens": offset, "literal_specials": dict(literals)}
    counts["sources"] = add_counts(held)
    return [f"{MIXTURE}/{id}" for id in part.spec["mixture"]], counts


def sums_of(batch: pa.RecordBatch) -> Counts:
    """{source: {"documents", "copies", "tokens"}}; documents are counted once, copies each time."""
    firsts = pc.equal(batch.column("copy"), 0).cast(pa.int64())
    rows = pa.table([batch.column("source"), firsts, batch.column("n_tokens")], ["source", "first", "n_tokens"])
    sums = rows.group_by("source").aggregate([("first", "sum"), ([], "count_all"), ("n_tokens", "sum")]).to_pylist()
    return {
        each["source"]: {"documents": each["first_sum"], "copies": each["count_all"], "tokens": each["n_tokens_sum"]}
        for each in sums
    }


def _documents(build: Build, id: str, slice: str) -> Iterator[pa.RecordBatch]:
    """The documents of a range of the mixture, those of one slice or of all."""
    for batch in read_batches(build.store, build.part(MIXTURE, id).file(".parquet"), [*COLUMNS, "slice"]):
        column = "slice" if "slice" in batch.schema.names else "source"
        own = batch.filter(pc.equal(batch.column(column), slice)) if slice else batch
        if own.num_rows:
            yield own


def calls(tokenizer: Tokenizer, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows, as many at a time as one call encodes: their ids stay in the processor's cache until written."""
    for batch in rows:
        start = 0
        for texts in cut.batches(batch.column("text"), tokenizer.backend.batch_bytes):
            yield batch.slice(start, len(texts))
            start += len(texts)


def tokens_of(tokenizer: Tokenizer, batch: pa.RecordBatch) -> Encoded:
    """Documents (doc_id, n_tokens, text) -> their ids, each document's followed by the end of document.

    Raises:
        BuildFailed: a document's tokens are not as many as were counted when the budget was made.
    """
    encoded = tokenizer.encode(batch.column("text"))
    sizes, counted = encoded.sizes + 1, batch.column("n_tokens").to_numpy()
    for row in np.flatnonzero(sizes != counted)[:1]:
        doc_id = batch.column("doc_id")[row].as_py()
        raise BuildFailed(f"tokens: {doc_id} has {sizes[row]:,} tokens, but {counted[row]:,} were counted")
    ids = np.insert(encoded.ids, encoded.bounds[1:], tokenizer.eod_id)
    return Encoded(ids, encoded.bounds + np.arange(len(encoded.bounds)))


def lineage_of(batch: pa.RecordBatch, sequence: int, offset: int) -> pa.Table:
    """Documents -> LINEAGE, in their order.

    Args:
        sequence: the first row's number in the shard.
        offset: of its first token.
    """
    sizes = batch.column("n_tokens").to_numpy()
    columns = {
        "sequence": pa.array(np.arange(sequence, sequence + len(sizes))),
        "document_part": batch["part"],
        "token_offset": pa.array(offset + np.cumsum(sizes) - sizes),
    }
    return pa.table(
        [columns.get(name, batch[name] if name in COLUMNS else None) for name in LINEAGE.names], schema=LINEAGE
    )


def check_tokens(build: Build, name: str, record: StageRecord) -> None:
    """The shards hold what the mixture holds, document for document and token for token."""
    mixture = build.stage(MIXTURE)[name].counts
    wanted = _all_tokens(mixture)
    if (record.counts["tokens"], record.counts["kept"]) != (wanted, mixture["kept"]):
        raise BuildFailed(f"tokens: {record.counts['tokens']:,} tokens in the shards, {wanted:,} in the mixture")


STAGE = Single(
    name=TOKENS,
    version=2,
    libraries=("tokenizers", "numpy", "pyarrow"),
    after=(BUDGET, MIXTURE, TOKENIZER),
    depends=depends,
    pieces=pieces,
    work=write_shard,
    check=check_tokens,
    weighed=True,
)
