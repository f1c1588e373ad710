"""Texts as RedPajama-Data-1T released them: JSON lines of `text`, `meta` and `red_pajama_subset`, zstd."""

from collections.abc import Iterator
from typing import Any

import orjson
import pyarrow as pa
import zstandard

from redpajama.engine.tables import read_batches
from redpajama.exports.card import CARD, DATA, card
from redpajama.exports.declared import Done, Export, Files, Format, text_each

COLUMNS = ["text", "meta", "source", "n_tokens"]
LEVEL = 1  # a quarter larger than 10, and ten times as fast


def write(export: Export, unit: int, files: Files) -> Done:
    """One part of the mixture as one file."""
    counts = {"documents": 0, "tokens": 0}
    path = files.file(f"{DATA}/{export.name_of(unit)}.jsonl.zst")
    with path.open("wb") as file, zstandard.ZstdCompressor(LEVEL).stream_writer(file) as writer:
        for batch in read_batches(export.source.store, export.source.texts[unit], COLUMNS):
            counts["documents"] += batch.num_rows
            counts["tokens"] += int(batch.column("n_tokens").to_numpy().sum())
            writer.write(b"".join(lines(batch, export.source.subsets)))
    return Done(counts)


def lines(batch: pa.RecordBatch, subsets: dict[str, str]) -> Iterator[bytes]:
    """`meta` is JSON already, and goes in as it stands."""
    names = {source: orjson.dumps(subset) for source, subset in subsets.items()}
    columns = (batch.column(name).to_pylist() for name in COLUMNS[:3])
    for text, meta, source in zip(*columns, strict=True):
        yield b'{"text":%s,"meta":%s,"red_pajama_subset":%s}\n' % (orjson.dumps(text), meta.encode(), names[source])


def finish(export: Export, entries: list[Any], counts: dict[str, int]) -> dict[str, bytes]:
    """The card."""
    how = "Texts as RedPajama-Data-1T has them."
    return {CARD: card(export, ["`text`", "`meta`: fields of the source", "`red_pajama_subset`"], how, counts)}


FORMAT = Format(
    name="text-jsonl",
    about="texts: RedPajama's jsonl.zst with red_pajama_subset",
    opens='datasets.load_dataset("{to}", split="{split}")',
    write=write,
    finish=finish,
    units=text_each,
    has_tokens=False,
)
