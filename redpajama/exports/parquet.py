"""Hugging Face Parquet of tokens: `input_ids`, `attention_mask`, `labels`; a row is a document, or packed.

Documents have `doc_id` and `source` beside them. Packed rows are all as long, with `seq_lengths`: the sizes of the
pieces of documents in each; what fills them is masked, and -100 in `labels`. Layout: as axolotl and TRL take it.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from redpajama.engine.tables import read_table
from redpajama.exports.card import CARD, DATA, card
from redpajama.exports.declared import Done, Export, Files, Format
from redpajama.exports.packing import Block, padded
from redpajama.exports.parquet_lists import Flags, ListFile, Lists, levels_of
from redpajama.formats import PACKED

GROUP_TOKENS = 1 << 22  # of a row group, about: beside them the dictionary of ids is small
NOT_LEARNED = -100  # torch's `ignore_index`


def list_of(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", kind, nullable=False))


MASKED = [
    pa.field("input_ids", list_of(pa.int32()), nullable=False),
    pa.field("attention_mask", list_of(pa.int8()), nullable=False),
    pa.field("labels", list_of(pa.int32()), nullable=False),
]
DOCUMENTS = pa.schema([*MASKED, pa.field("doc_id", pa.string()), pa.field("source", pa.string())])
ROWS = pa.schema([*MASKED, pa.field("seq_lengths", list_of(pa.int32()), nullable=False)])


def write(export: Export, unit: int, files: Files) -> Done:
    """One shard as one file."""
    counts = {"documents": export.source.shards[unit].documents, "tokens": 0, "rows": 0, "padding": 0}
    is_packed = export.method != "none"
    lineage = None if is_packed else _lineage(export, unit)
    with ListFile(files.file(f"{DATA}/{export.name_of(unit)}.parquet"), ROWS if is_packed else DOCUMENTS) as file:
        for block in chain.from_iterable(map(_groups, export.rows(unit))):
            columns = _padded(export, block) if lineage is None else _documents(block, lineage)
            file.write(columns)
            rows = len(block.rows) - 1
            counts["tokens"] += len(block.tokens)
            counts["rows"] += rows
            counts["padding"] += rows * export.length - len(block.tokens) if is_packed else 0
    return Done(counts)


def _lineage(export: Export, unit: int) -> pa.Table:
    return read_table(export.source.store, export.source.shards[unit].lineage, ["doc_id", "source"])


def _groups(block: Block) -> Iterator[Block]:
    """A block in row groups of about GROUP_TOKENS."""
    bounds, rows = block.bounds, len(block.rows) - 1
    step = max(1, GROUP_TOKENS * rows // max(1, len(block.tokens)))
    for low in range(0, rows, step):
        high = min(low + step, rows)
        pieces = block.pieces[block.rows[low] : block.rows[high] + 1]
        first = block.first + low if block.first >= 0 else -1
        tokens = block.tokens[bounds[low] : bounds[high]]
        yield Block(tokens, pieces - pieces[0], block.rows[low : high + 1] - block.rows[low], first)


def _documents(block: Block, lineage: pa.Table) -> dict[str, Lists | Flags | pa.Array]:
    """A row group of DOCUMENTS: its rows, from the first document on."""
    levels = levels_of(np.diff(block.bounds))
    ids = Lists(levels, block.tokens)
    own = lineage.slice(block.first, levels.rows).combine_chunks()
    mask = Flags(levels, np.array([len(block.tokens)]), np.ones(1, np.uint8))
    beside = {name: own.column(name).combine_chunks() for name in own.column_names}
    return {"input_ids": ids, "attention_mask": mask, "labels": ids, **beside}


def _padded(export: Export, block: Block) -> dict[str, Lists | Flags]:
    """A row group of ROWS: its rows are filled to one length."""
    sizes, length = np.diff(block.bounds), export.length
    levels = levels_of(np.full(len(sizes), length))
    input_ids = labels = Lists(levels, padded(block, length, export.source.vocabulary.pad_id).ravel())
    if sizes.sum() < len(input_ids.values):
        labels = Lists(levels, *_learned(block, length))
    filled = np.stack([sizes, length - sizes], 1).ravel()
    mask = Flags(levels, filled, np.tile(np.array([1, 0], np.uint8), len(sizes)))
    pieces = Lists(levels_of(np.diff(block.rows)), np.diff(block.pieces))
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels, "seq_lengths": pieces}


def _learned(block: Block, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows' ids, and after the largest a number that fills; what each of these stands for."""
    size = int(block.tokens.max()) + 1
    holds = np.promote_types(block.tokens.dtype, np.min_scalar_type(size))
    places = padded(block._replace(tokens=block.tokens.astype(holds, copy=False)), length, size)
    return places.ravel(), np.append(np.arange(size, dtype=np.int32), np.int32(NOT_LEARNED))


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
