"""Parquet in and out: fixed row groups on the way out, so that the same rows give the same bytes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redpajama.artifacts import BuildFailed, Store

GROUP_ROWS = 4096
GROUP_BYTES = 32 << 20  # a row group ends early here, so that long texts do not fill the memory


class TableWriter:
    """Rows -> one Parquet file (zstd). A row group ends at GROUP_ROWS rows, or where GROUP_BYTES are reached.

    Where groups end depends on the rows alone, not on how they were handed in.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema = schema
        self._file = pq.ParquetWriter(path, schema, compression="zstd", version="2.6", write_page_index=False)
        self._rows: list[tuple[Any, ...]] = []
        self._bytes = 0
        self.rows = 0

    def add(self, row: Sequence[Any], size: int = 0) -> None:
        """One row, its values in the schema's order, without those that `finish` adds; `size`: its bytes of text."""
        self._rows.append(tuple(row))
        self._bytes += size
        self.rows += 1
        if len(self._rows) == GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            self.write(self.schema.empty_table())
            return
        columns = enumerate(zip(*self._rows, strict=True))
        arrays = [pa.array(column, self.schema.field(number).type) for number, column in columns]
        self.write(pa.table(self.finish(arrays), schema=self.schema))
        self._rows, self._bytes = [], 0

    def finish(self, arrays: list[pa.Array]) -> list[pa.Array]:
        """A hook: derive further columns from a full row group."""
        return arrays

    def write(self, table: pa.Table) -> None:
        """One row group as it is."""
        self._file.write_table(table, row_group_size=max(1, table.num_rows))

    def close(self) -> None:
        if self._rows or not self.rows:
            self._flush()
        self._file.close()

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_table(path: Path, table: pa.Table) -> None:
    """A whole table, in row groups of GROUP_ROWS rows."""
    pq.write_table(table, path, compression="zstd", version="2.6", row_group_size=GROUP_ROWS)


@contextmanager
def open_table(store: Store, key: str) -> Iterator[BinaryIO]:
    """The bytes of a Parquet file.

    Raises:
        BuildFailed: it is missing or damaged; one line that says what helps.
    """
    try:
        with store.open(key) as file:
            yield file
    except (OSError, pa.ArrowInvalid) as error:
        raise BuildFailed(f"{key}: cannot be read ({error}): remove it and build again") from None


def read_table(store: Store, key: str, columns: list[str] | None = None, filters: Any = None) -> pa.Table:
    """Columns of a Parquet file; row groups that `filters` rule out are not read."""
    with open_table(store, key) as file:
        return pq.read_table(file, columns=columns, filters=filters, use_threads=False)


def read_batches(store: Store, key: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """A Parquet file, row group by row group."""
    with open_table(store, key) as file:
        parquet = pq.ParquetFile(file)
        for group in range(parquet.num_row_groups):
            for batch in parquet.read_row_group(group, columns=columns, use_threads=False).to_batches():
                if batch.num_rows:
                    yield batch


def read_row_group(store: Store, key: str, group: int, columns: list[str]) -> pa.Table:
    """Columns of one row group of a Parquet file."""
    with open_table(store, key) as file:
        return pq.ParquetFile(file).read_row_group(group, columns=columns, use_threads=False)


@dataclass(frozen=True)
class Blobs:
    """Where the values of a `large_binary` column stand in memory, in an order of one's own; nothing is copied.

    Sorting a column copies it; where one group of rows may fill half the memory that is too much.
    """

    column: pa.ChunkedArray  # keeps the memory
    places: np.ndarray  # int64[n] addresses
    sizes: np.ndarray  # int64[n] bytes; -1: null

    @classmethod
    def of(cls, column: pa.ChunkedArray, order: np.ndarray) -> "Blobs":
        """The values at these places of a column (int64[n])."""
        chunks = [_places_and_sizes(chunk) for chunk in column.chunks if len(chunk)]
        places, sizes = (np.concatenate([np.zeros(0, np.int64), *(each[i] for each in chunks)]) for i in range(2))
        return cls(column, places[order], sizes[order])


def _places_and_sizes(array: pa.LargeBinaryArray) -> tuple[np.ndarray, np.ndarray]:
    _, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    sizes = np.diff(bounds)
    sizes[array.is_null().to_numpy(zero_copy_only=False)] = -1
    return bounds[:-1] + (data.address if data else 0), sizes


def buffers(texts: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all texts (uint8) and the n + 1 places where they begin and end (int64)."""
    if texts.null_count:
        raise ValueError(f"{texts.null_count} of {len(texts)} texts are null")
    _, places, data = texts.cast(pa.large_string()).buffers()
    if not len(texts):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    bounds = np.frombuffer(places, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data or b"", np.uint8), bounds
