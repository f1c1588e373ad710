"""Hugging Face Parquet of tokens: `input_ids`, `attention_mask`, `labels`; a row is a document, or packed.

Documents have `doc_id` and `source` beside them. Packed rows are all as long, with `seq_lengths`: the sizes of the
pieces of documents in each; what fills them is masked, and -100 in `labels`. Layout: as axolotl and TRL take it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redpajama.engine.tables import read_table
from redpajama.exports.card import CARD, DATA, card
from redpajama.exports.declared import Done, Export, Files, Format
from redpajama.exports.packing import Block, padded
from redpajama.formats import PACKED

GROUP_TOKENS = 1 << 20  # of a row group, about
BATCH_VALUES = 1 << 16  # handed to the encoder at once: a tenth less work than with the default
NOT_LEARNED = -100  # torch's `ignore_index`
IDS = ("input_ids", "labels")


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
    with _writer(files.file(f"{DATA}/{export.name_of(unit)}.parquet"), ROWS if is_packed else DOCUMENTS) as writer:
        for block in export.rows(unit):
            columns, filled = _padded(export, block) if is_packed else (_columns(block.tokens, block.bounds), 0)
            rows = len(block.rows) - 1
            beside = [_pieces(block)] if lineage is None else lineage.slice(block.first, rows).columns
            counts["tokens"] += len(block.tokens)
            counts["rows"] += rows
            counts["padding"] += filled
            table = pa.table([*columns, *beside], ROWS if is_packed else DOCUMENTS)
            mean = max(1, (len(block.tokens) + filled) // rows)
            writer.write_table(table, row_group_size=max(1, GROUP_TOKENS // mean))
    return Done(counts)


def _lineage(export: Export, unit: int) -> pa.Table:
    return read_table(export.source.store, export.source.shards[unit].lineage, ["doc_id", "source"])


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Ids split by byte: of four, two hold nothing, and zstd is done with them at once."""
    split = {f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in IDS}
    options = {"compression": "zstd", "compression_level": 1, "write_statistics": False, "version": "2.6"}
    repeated = [field.name for field in schema if field.name in ("doc_id", "source")]
    return pq.ParquetWriter(
        path, schema, use_dictionary=repeated, column_encoding=split, write_batch_size=BATCH_VALUES, **options
    )


def _columns(tokens: np.ndarray, bounds: np.ndarray) -> list[pa.Array]:
    ids = tokens.astype(np.int32)
    mask = np.ones(len(ids), np.int8)
    return _masked(bounds, ids, mask, ids)


def _padded(export: Export, block: Block) -> tuple[list[pa.Array], int]:
    """The columns of rows of one length, and how many tokens fill them."""
    rows = len(block.rows) - 1
    bounds = np.arange(rows + 1) * export.length
    filled = rows * export.length - len(block.tokens)
    ids = padded(block, export.length, export.source.vocabulary.pad_id).astype(np.int32).ravel()
    if not filled:
        return _columns(ids, bounds), 0
    mask = (np.arange(export.length) < np.diff(block.bounds)[:, None]).astype(np.int8).ravel()
    labels = np.where(mask, ids, NOT_LEARNED).astype(np.int32)
    return _masked(bounds, ids, mask, labels), filled


def _masked(bounds: np.ndarray, *columns: np.ndarray) -> list[pa.Array]:
    """Values of MASKED, in its order."""
    return [_lists(bounds, values, field) for values, field in zip(columns, MASKED, strict=True)]


def _lists(bounds: np.ndarray, values: np.ndarray, field: pa.Field) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(bounds.astype(np.int32)), pa.array(values), type=field.type)


def _pieces(block: Block) -> pa.ListArray:
    """The sizes of the pieces of documents in each row."""
    return _lists(block.rows, np.diff(block.pieces).astype(np.int32), ROWS.field("seq_lengths"))


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
