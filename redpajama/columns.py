"""Parquet in and out: fixed row groups on the way out, so that the same rows give the same bytes."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


class Blobs:
    """The values of a `large_binary` column as numpy arrays, in an order of one's own; nothing is copied.

    Sorting a column copies it; where one group of rows may fill half the memory that is too much.
    """

    def __init__(self, column: pa.ChunkedArray, dtype: type[np.generic], order: pa.Array) -> None:
        self._dtype, self._order = dtype, order.to_numpy()
        chunks = [chunk for chunk in column.chunks if len(chunk)]
        self._starts = np.cumsum([0] + [len(chunk) for chunk in chunks]).tolist()
        self._chunks = [
            (np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset :], chunk.buffers()[2]) for chunk in chunks
        ]

    def between(self, start: int, end: int) -> "Blobs":
        """The rows from `start` to `end`."""
        part = object.__new__(Blobs)
        part._dtype, part._starts, part._chunks = self._dtype, self._starts, self._chunks
        part._order = self._order[start:end]
        return part

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, row: int) -> np.ndarray:
        place = int(self._order[row])
        chunk = bisect_right(self._starts, place) - 1
        places, data = self._chunks[chunk]
        first, last = places[place - self._starts[chunk] :][:2].tolist()
        width = np.dtype(self._dtype).itemsize
        return (
            np.frombuffer(data, self._dtype, (last - first) // width, first)
            if last > first
            else np.empty(0, self._dtype)
        )
