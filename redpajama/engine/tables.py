"""Parquet in and out: fixed row groups on the way out, so that the same rows give the same bytes."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from redpajama.arrow import Rows, open_parquet
from redpajama.engine.parts import File
from redpajama.engine.store import READ_AHEAD, RangedFile, Store
from redpajama.errors import BuildFailed, is_of_reading

GROUP_ROWS = 4096
GROUP_BYTES = 32 << 20  # a row group ends early here, so that long texts do not fill the memory


class TableWriter:
    """Rows -> one Parquet file (zstd). A row group ends at GROUP_ROWS rows, or where GROUP_BYTES are reached.

    Where groups end depends on the rows alone, not on how they were handed in.
    """

    def __init__(self, path: Path, schema: pa.Schema, note: dict[str, str] | None = None) -> None:
        """`note`: goes into the file's metadata."""
        self.schema, self._note = schema, note
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
        if self._note:
            self._file.add_key_value_metadata(self._note)
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ColumnWriter:
    """Tables -> one Parquet file (zstd) with row groups of GROUP_ROWS rows, however the tables were cut."""

    def __init__(self, path: Path, schema: pa.Schema, repeated: list[str] | None = None) -> None:
        """`repeated`: the columns whose values are looked up in a dictionary; None: all."""
        dictionary = True if repeated is None else repeated
        options = {"compression": "zstd", "version": "2.6", "write_page_index": False, "use_dictionary": dictionary}
        self._file = pq.ParquetWriter(path, schema, **options)
        self._rest = schema.empty_table()
        self.rows = 0

    def add(self, table: pa.Table) -> None:
        """Further rows."""
        self.rows += table.num_rows
        rows = pa.concat_tables([self._rest, table])
        whole = rows.num_rows - rows.num_rows % GROUP_ROWS
        for start in range(0, whole, GROUP_ROWS):
            self._write(rows.slice(start, GROUP_ROWS))
        self._rest = rows.slice(whole)

    def _write(self, table: pa.Table) -> None:
        self._file.write_table(table.combine_chunks(), row_group_size=max(1, table.num_rows))

    def close(self) -> None:
        if self._rest.num_rows or not self.rows:
            self._write(self._rest)
        self._file.close()

    def __enter__(self) -> "ColumnWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_table(path: Path, table: pa.Table) -> None:
    """A whole table, in row groups of GROUP_ROWS rows."""
    pq.write_table(table, path, compression="zstd", version="2.6", row_group_size=GROUP_ROWS)


def write_taken(path: Path, table: pa.Table, order: np.ndarray) -> None:
    """`write_table` of the rows at these places (int64[n]); no more than a row group of them is there at a time."""
    rows = Rows(table.schema, [list(column.chunks) for column in table.columns])
    with pq.ParquetWriter(path, table.schema, compression="zstd", version="2.6") as file:
        for start in range(0, max(1, len(order)), GROUP_ROWS):
            file.write_batch(rows.take(order[start : start + GROUP_ROWS]), row_group_size=GROUP_ROWS)


def leave_out(path: Path, rows: Sequence[int]) -> pa.Table:
    """Write a closed file of a `TableWriter` again without some of its rows, row group by row group; what was left out.

    Args:
        rows: their numbers, in any order.
    """
    whole, rest, start, lost = open_parquet(path), path.with_name(f"{path.name}.rest"), 0, []
    with pq.ParquetWriter(rest, whole.schema_arrow, compression="zstd", version="2.6", write_page_index=False) as file:
        for group in range(whole.num_row_groups):
            table = whole.read_row_group(group, use_threads=False)
            stays = pa.array(~np.isin(np.arange(start, start + table.num_rows), rows))
            kept, start = table.filter(stays), start + table.num_rows
            file.write_table(kept, row_group_size=max(1, kept.num_rows))
            lost.append(table.filter(pc.invert(stays)))
        file.add_key_value_metadata({name.decode(): text.decode() for name, text in _notes(whole).items()})
    whole.close()
    rest.replace(path)
    return pa.concat_tables(lost)


def _notes(file: pq.ParquetFile) -> dict[bytes, bytes]:
    """The metadata of a file but for what the library writes itself."""
    return {name: text for name, text in (file.metadata.metadata or {}).items() if name != b"ARROW:schema"}


@contextmanager
def open_table(store: Store, file: File) -> Iterator[BinaryIO]:
    """The bytes of a Parquet file.

    Raises:
        BuildFailed: it is missing or damaged; one line that says what helps.
    """
    try:
        with store.open(*file) as opened:
            yield buffered(opened, READ_AHEAD)
    except (OSError, pa.ArrowInvalid) as error:
        if is_of_reading(error) and not isinstance(error, FileNotFoundError):
            raise
        raise BuildFailed(f"{file.key}: cannot be read ({error}): remove it and build again") from None


def buffered(opened: BinaryIO | RangedFile, ahead: int) -> BinaryIO:
    """A file whose reads of neighbours are one request of so many bytes, where it is on an object store."""
    return cast(BinaryIO, io.BufferedReader(opened, ahead)) if isinstance(opened, RangedFile) else opened


Filter = tuple[str, str, Any]  # a column; "in" or one of COMPARE; the values, or the value, that it is compared with

COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": pc.equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">=": pc.greater_equal,
}


def read_table(store: Store, file: File, columns: list[str] | None = None, filters: Sequence[Filter] = ()) -> pa.Table:
    """Columns of the rows that meet all filters; row groups that a filter rules out by their bounds are not read.

    As `open_parquet` it reads in this thread: Arrow's own way with filters does not.
    """
    with open_table(store, file) as opened:
        parquet = open_parquet(opened)
        names, tested = columns or parquet.schema_arrow.names, list({name for name, _, _ in filters})
        if absent := {*names, *tested}.difference(parquet.schema_arrow.names):
            raise pa.ArrowInvalid(f"no column {', '.join(sorted(absent))}")
        if not filters:
            return parquet.read(columns=names, use_threads=False).select(names)
        tables = [parquet.schema_arrow.empty_table().select(names)]
        for group in _groups_that_may_meet(parquet, filters):
            is_asked = _meets(parquet.read_row_group(group, columns=tested, use_threads=False), filters)
            if pc.any(is_asked).as_py():  # texts of other groups are not decoded
                table = parquet.read_row_group(group, columns=names, use_threads=False)
                tables.append(table.select(names).filter(is_asked))
        return pa.concat_tables(tables)


def _meets(table: pa.Table, filters: Sequence[Filter]) -> Any:
    """Which rows meet all filters (bool[rows])."""
    columns = [table.column(name) for name, _, _ in filters]
    return reduce(pc.and_, map(_meets_one, columns, filters))


def _meets_one(column: pa.ChunkedArray, test: Filter) -> Any:
    _, compare, value = test
    if compare == "in":
        return pc.is_in(column, value_set=pa.array(value, column.type))
    return COMPARE[compare](column, pa.scalar(value, column.type))


def _groups_that_may_meet(parquet: pq.ParquetFile, filters: Sequence[Filter]) -> Iterator[int]:
    """Row groups of which no filter says by their least and greatest value that they hold nothing."""
    places = {parquet.metadata.schema.column(i).path: i for i in range(parquet.metadata.num_columns)}
    for number in range(parquet.num_row_groups):
        group = parquet.metadata.row_group(number)
        if all(_may_meet(group.column(places[name]).statistics, *test) for name, *test in filters):
            yield number


def _may_meet(bounds: pq.Statistics | None, compare: str, value: Any) -> bool:
    least, greatest = (bounds.min, bounds.max) if bounds and bounds.has_min_max else (None, None)
    if least is None or greatest is None:  # a long text has none
        return True
    if compare == "in":
        return any(least <= each <= greatest for each in value)
    tests = {"=": least <= value <= greatest, "<": least < value, "<=": least <= value, ">=": greatest >= value}
    return bool(tests[compare])


def read_batches(store: Store, file: File, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """A Parquet file, row group by row group."""
    with open_table(store, file) as opened:
        parquet = open_parquet(opened)
        for group in range(parquet.num_row_groups):
            for batch in parquet.read_row_group(group, columns=columns, use_threads=False).to_batches():
                if batch.num_rows:
                    yield batch


def read_row_group(store: Store, file: File, group: int, columns: list[str]) -> pa.Table:
    """Columns of one row group of a Parquet file."""
    with open_table(store, file) as opened:
        return open_parquet(opened).read_row_group(group, columns=columns, use_threads=False)


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
