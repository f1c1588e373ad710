"""litdata's chunks for its `TokensLoader`, and an `index.json` over all of them.

A chunk: the number of items (uint32), where each begins and the last ends (uint32), the items' ids. An item is a row;
a chunk holds whole rows, as the loader drops what a chunk has behind its last block. litgpt's block is one longer than
a row of the model. Layout: `BinaryWriter`, github.com/Lightning-AI/litData; a rank for each of our shards.
"""

import json
from typing import Any

import numpy as np

from redpajama.exports.chunks import chunks_of, rows_in, write_chunk
from redpajama.exports.declared import UINT16_IDS, Done, Export, Files, Format
from redpajama.formats import PACKED

CHUNK_BYTES = 1 << 26
TORCH_CODES = {"uint16": 20, "int32": 16}


def dtype(vocabulary: Any) -> np.dtype:
    """uint16, or int32: what `torch.embedding` takes."""
    return np.dtype("<u2" if vocabulary.size <= UINT16_IDS else "<i4")


def rows_a_chunk(export: Export) -> int:
    return max(1, CHUNK_BYTES // (export.length * export.dtype.itemsize))


def write(export: Export, unit: int, files: Files) -> Done:
    """One shard as the chunks of one rank."""
    entries, row_bytes = [], export.length * export.dtype.itemsize
    counts = {"documents": export.source.shards[unit].documents, "tokens": 0, "rows": 0, "padding": 0}
    for number, chunk in enumerate(chunks_of(export, unit, rows_a_chunk(export), counts)):
        name = f"chunk-{unit}-{number}.bin"
        rows = rows_in(chunk)
        places = 4 + 4 * (rows + 1) + row_bytes * np.arange(rows + 1)
        size = write_chunk(files.file(name), np.uint32(rows).tobytes() + places.astype("<u4").tobytes(), chunk)
        entries.append({"chunk_bytes": size, "chunk_size": rows, "dim": rows * export.length, "filename": name})
    return Done(counts, entries)


def finish(export: Export, entries: list[Any], counts: dict[str, int]) -> dict[str, bytes]:
    """The index, with the fields of the library's own, but for the time of writing."""
    config = {
        "chunk_bytes": None,
        "chunk_size": rows_a_chunk(export) * export.length,
        "compression": None,
        "compression_batch_size": None,
        "compression_level": None,
        "data_format": [f"no_header_tensor:{TORCH_CODES[export.dtype.name]}"],
        "data_spec": '[1, {"type": null, "context": null, "children_spec": []}]',
        "encryption": None,
        "ipc_compression": None,
        "item_loader": "TokensLoader",
        "types": "tensor",
    }
    return {"index.json": json.dumps({"chunks": entries, "config": config}, sort_keys=True).encode()}


FORMAT = Format(
    name="litdata",
    about="litdata, litgpt: chunks for TokensLoader",
    opens='StreamingDataset("{to}", item_loader=TokensLoader(block_size={length}))',
    write=write,
    finish=finish,
    dtype=dtype,
    packings=PACKED["litdata"],
)
