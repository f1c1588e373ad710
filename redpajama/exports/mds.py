"""MosaicML's MDS: shards of rows of one length, and an `index.json` over all of them.

A shard: the number of rows (uint32), where each begins and the last ends (uint32, from the file's start), the columns
as JSON, the rows. The column is called `tokens`, as llm-foundry's `StreamingTextDataset` asks. Layout: `MDSWriter`,
github.com/mosaicml/streaming; a folder for each of our shards, as `merge_index` joins the folders of several writers.
"""

import json
from typing import Any

import numpy as np

from redpajama.exports.chunks import chunks_of, rows_in, write_chunk
from redpajama.exports.declared import Done, Export, Files, Format
from redpajama.formats import PACKED

LIMIT_BYTES = 1 << 26  # of a shard: the writer's default


def config(export: Export) -> dict[str, Any]:
    """What every shard says of itself."""
    size = export.length * export.dtype.itemsize
    return {
        "version": 2,
        "format": "mds",
        "compression": None,
        "hashes": [],
        "size_limit": LIMIT_BYTES,
        "column_names": ["tokens"],
        "column_encodings": [f"ndarray:{export.dtype.name}:{export.length}"],
        "column_sizes": [size],
    }


def write(export: Export, unit: int, files: Files) -> Done:
    """One of our shards as a folder of theirs."""
    said, entries = config(export), []
    head = json.dumps(said, sort_keys=True).encode()
    row_bytes = export.length * export.dtype.itemsize
    most = max(1, (LIMIT_BYTES - 8 - len(head)) // (row_bytes + 4))
    counts = {"documents": export.source.shards[unit].documents, "tokens": 0, "rows": 0, "padding": 0}
    for number, chunk in enumerate(chunks_of(export, unit, most, counts)):
        name = f"{unit:05d}/shard.{number:05d}.mds"
        rows = rows_in(chunk)
        places = 4 + 4 * (rows + 1) + len(head) + row_bytes * np.arange(rows + 1)
        before = np.uint32(rows).tobytes() + places.astype("<u4").tobytes() + head
        raw = {"basename": name, "bytes": write_chunk(files.file(name), before, chunk), "hashes": {}}
        entries.append({"samples": rows, "raw_data": raw, "zip_data": None, **said})
    return Done(counts, entries)


def finish(export: Export, entries: list[Any], counts: dict[str, int]) -> dict[str, bytes]:
    """The index."""
    shards = [dict(sorted(entry.items())) for entry in entries]
    return {"index.json": json.dumps({"version": 2, "shards": shards}).encode()}


FORMAT = Format(
    name="mds",
    about="MosaicML streaming, llm-foundry, Composer: MDS with the column `tokens`",
    opens='StreamingDataset(local="{to}", shuffle=False, batch_size=…)',
    write=write,
    finish=finish,
    packings=PACKED["mds"],
)
