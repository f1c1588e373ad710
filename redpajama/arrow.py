"""Arrow's buffers as numpy arrays, without a Python object a value; its reader of Parquet, in one thread."""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def buffers(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all strings or binary values (uint8) and the n + 1 places where they begin and end (int64).

    Raises:
        ValueError: a value is null.
    """
    if values.null_count:
        raise ValueError(f"{values.null_count} of {len(values)} texts are null")
    if not len(values):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    wide = values.cast(pa.large_binary())
    _, places, data = wide.buffers()
    bounds = np.frombuffer(places, np.int64)[wide.offset : wide.offset + len(wide) + 1]
    return np.frombuffer(data or b"", np.uint8), bounds


def fixed_bytes(values: pa.FixedSizeBinaryArray | pa.ChunkedArray) -> np.ndarray:
    """Values of one width, none null: uint8[n, width], a view of them."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    width, buffer = whole.type.byte_width, whole.buffers()[1]
    start = width * whole.offset
    data = np.frombuffer(buffer, np.uint8)[start : start + width * len(whole)] if len(whole) else np.zeros(0, np.uint8)
    return data.reshape(len(whole), width)


def hexadecimal(values: pa.FixedSizeBinaryArray) -> pa.FixedSizeBinaryArray:
    """Values of one width, none null -> twice as many bytes each, their hexadecimal digits in ASCII."""
    digits = fixed_bytes(values).tobytes().hex().encode()
    kind = pa.binary(2 * values.type.byte_width)
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(values), [None, pa.py_buffer(digits)])


def open_parquet(stream: BinaryIO | pa.NativeFile | Path, **options: Any) -> pq.ParquetFile:
    """A Parquet file whose bytes are read in the thread that asks for them.

    Arrow reads ahead in threads that let go of the stream when they come to it, and one that does so while the
    interpreter ends kills the process ("terminate called without an active exception").
    """
    return pq.ParquetFile(stream, pre_buffer=False, **options)


class Scattered:
    """Texts of several arrays, none null: taken in another order they are copied once, and never joined."""

    def __init__(self, chunks: list[pa.Array]) -> None:
        found = [(data.ctypes.data + bounds[:-1], np.diff(bounds)) for data, bounds in map(buffers, chunks)]
        self._chunks = chunks  # keeps the memory
        self._places, self._sizes = (
            np.concatenate([np.zeros(0, np.int64), *each]) for each in zip(*found, strict=True)
        )

    def take(self, rows: np.ndarray) -> pa.LargeStringArray:
        """The texts at these places, int64[n]."""
        from redpajama.kernels import gather  # takes a second, and not every command needs it

        sizes = self._sizes[rows]
        bounds = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(sizes, out=bounds[1:])
        data = pa.allocate_buffer(int(bounds[-1]))
        gather(self._places[rows], sizes, data.address)
        return pa.LargeStringArray.from_buffers(len(rows), pa.py_buffer(bounds), data)


class Rows:
    """Rows of several batches, to be taken in another order."""

    def __init__(self, schema: pa.Schema, columns: list[list[pa.Array]]) -> None:
        """`columns`: the pieces of each, which are let go where they can be."""
        self._schema = schema
        self._columns = [_joined(field.type, pieces) for field, pieces in zip(schema, columns, strict=True)]

    def take(self, rows: np.ndarray) -> pa.RecordBatch:
        """The rows at these places, int64[n]."""
        places = pa.array(rows)
        taken = [each.take(rows if isinstance(each, Scattered) else places) for each in self._columns]
        return pa.record_batch(taken, schema=self._schema)


def _joined(kind: pa.DataType, pieces: list[pa.Array]) -> pa.Array | Scattered:
    if pa.types.is_large_string(kind) and pieces and not any(piece.null_count for piece in pieces):
        return Scattered(pieces)
    whole = pa.concat_arrays(pieces) if pieces else pa.array([], kind)
    pieces.clear()  # one column is there twice at a time
    return whole
