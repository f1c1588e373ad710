"""Texts as Parquet: `text`, `meta` (JSON), `red_pajama_subset`, `doc_id`."""

from typing import Any

import pyarrow as pa

from redpajama.engine.tables import ColumnWriter, read_batches
from redpajama.exports.card import CARD, DATA, card
from redpajama.exports.declared import Done, Export, Files, Format, text_each

COLUMNS = ["text", "meta", "source", "doc_id", "n_tokens"]
SCHEMA = pa.schema(
    [
        pa.field("text", pa.large_string()),
        pa.field("meta", pa.string()),
        pa.field("red_pajama_subset", pa.string()),
        pa.field("doc_id", pa.string()),
    ]
)
REPEATED = ["red_pajama_subset"]  # hardly another value stands twice: a dictionary would be work, for readers too


def write(export: Export, unit: int, files: Files) -> Done:
    """One part of the mixture as one file."""
    tokens = 0
    with ColumnWriter(files.file(f"{DATA}/{export.name_of(unit)}.parquet"), SCHEMA, REPEATED) as writer:
        for batch in read_batches(export.source.store, export.source.texts[unit], COLUMNS):
            subsets = pa.array([export.source.subsets[each] for each in batch.column("source").to_pylist()])
            columns = [batch.column("text"), batch.column("meta"), subsets, batch.column("doc_id")]
            writer.add(pa.table(columns, SCHEMA))
            tokens += int(batch.column("n_tokens").to_numpy().sum())
    return Done({"documents": writer.rows, "tokens": tokens})


def finish(export: Export, entries: list[Any], counts: dict[str, int]) -> dict[str, bytes]:
    """The card."""
    features = ["`text`", "`meta`: JSON of the source's fields", "`red_pajama_subset`", "`doc_id`"]
    return {CARD: card(export, features, "Texts.", counts)}


FORMAT = Format(
    name="text-parquet",
    about="texts: Parquet with text, meta, red_pajama_subset, doc_id",
    opens='datasets.load_dataset("{to}", split="{split}")',
    write=write,
    finish=finish,
    units=text_each,
    has_tokens=False,
)
