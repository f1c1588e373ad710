"""Hugging Face Parquet of tokens: `input_ids`, `attention_mask`, `labels`; a row is a document, or packed.

Documents have `doc_id` and `source` beside them. Packed rows are all as long, with `seq_lengths`: the sizes of the
pieces of documents in each; what fills them is masked, and -100 in `labels`. Layout: as axolotl and TRL take it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from redpajama.engine.tables import read_table
from redpajama.exports.card import CARD, DATA, card
from redpajama.exports.declared import Done, Export, Files, Format
from redpajama.exports.packing import Block, padded
from redpajama.exports.rows_file import Chunk, Column, RowsFile, ids, mask, strings
from redpajama.formats import PACKED

GROUP_TOKENS = 1 << 20  # of a row group, about
NOT_LEARNED = -100  # torch's `ignore_index`
MASKED = [Column("input_ids", "int32"), Column("attention_mask", "int8"), Column("labels", "int32")]
DOCUMENTS = [*MASKED, Column("doc_id", "string"), Column("source", "string")]
ROWS = [*MASKED, Column("seq_lengths", "int32")]


def write(export: Export, unit: int, files: Files) -> Done:
    """One shard as one file."""
    counts = {"documents": export.source.shards[unit].documents, "tokens": 0, "rows": 0, "padding": 0}
    is_packed = export.method != "none"
    groups = _packed(export, unit) if is_packed else _documents(export, unit)
    with RowsFile(files.file(f"{DATA}/{export.name_of(unit)}.parquet"), ROWS if is_packed else DOCUMENTS) as file:
        for block, chunks in groups:
            rows = len(block.rows) - 1
            file.add(rows, chunks)
            counts["tokens"] += len(block.tokens)
            counts["rows"] += rows
            counts["padding"] += rows * export.length - len(block.tokens) if is_packed else 0
    return Done(counts)


def _documents(export: Export, unit: int) -> Iterator[tuple[Block, list[Chunk]]]:
    """Row groups of documents."""
    lineage = read_table(export.source.store, export.source.shards[unit].lineage, ["doc_id", "source"])
    for block in _groups(export, unit):
        beside = lineage.slice(block.first, len(block.rows) - 1).columns
        yield block, [*_masked(block.tokens, np.diff(block.bounds)), *(strings(each.to_pylist()) for each in beside)]


def _packed(export: Export, unit: int) -> Iterator[tuple[Block, list[Chunk]]]:
    """Row groups of rows of one length."""
    for block in _groups(export, unit):
        filled, pieces = np.diff(block.bounds), np.diff(block.pieces).astype(np.int32)
        values = padded(block, export.length, export.source.vocabulary.pad_id).ravel()
        sizes = np.full(len(filled), export.length)
        learned = _masked(values, sizes) if len(values) == len(block.tokens) else _partly_masked(values, filled, sizes)
        yield block, [*learned, ids(pieces, np.diff(block.rows))]


def _groups(export: Export, unit: int) -> Iterator[Block]:
    """Blocks of some GROUP_TOKENS, or one row."""
    for block in export.rows(unit):
        bounds, low = block.bounds, 0
        while low < len(bounds) - 1:
            high = max(low + 1, int(np.searchsorted(bounds, bounds[low] + GROUP_TOKENS, "right")) - 1)
            yield block.part(low, high)
            low = high


def _masked(values: np.ndarray, sizes: np.ndarray) -> list[Chunk]:
    """MASKED of rows that are full: labels are the ids."""
    same = ids(values, sizes)
    return [same, mask(sizes, sizes), same]


def _partly_masked(values: np.ndarray, filled: np.ndarray, sizes: np.ndarray) -> list[Chunk]:
    """MASKED of rows that some tokens fill."""
    holes = np.flatnonzero((np.arange(sizes[0]) >= filled[:, None]).ravel())
    return [ids(values, sizes), mask(filled, sizes), ids(values, sizes, holes, NOT_LEARNED)]


def finish(export: Export, entries: list[Any], counts: dict[str, int]) -> dict[str, bytes]:
    """The card."""
    columns = ["`input_ids`", "`attention_mask`: 0 where a row is filled", "`labels`: -100 there"]
    if export.method == "none":
        how = "A row is a document, its end of document included."
        return {CARD: card(export, [*columns, "`doc_id`", "`source`"], how, counts)}
    how = f"Rows of {export.length:,} tokens ({export.method}); documents end with their end of document."
    return {CARD: card(export, [*columns, "`seq_lengths`: tokens of each piece of a document"], how, counts)}


FORMAT = Format(
    name="parquet",
    about="datasets, Trainer, TRL, axolotl: input_ids, attention_mask, labels",
    opens='datasets.load_dataset("{to}", split="{split}")',
    write=write,
    finish=finish,
    packings=PACKED["parquet"],
)
