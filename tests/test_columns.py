"""Columns: in an order of one's own they are the values, uncopied; written, they are the file of their rows."""

import ctypes
import io
import operator
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.arrow import open_parquet
from redpajama.engine.parts import File
from redpajama.engine.store import RangedFile, Store
from redpajama.engine.tables import Blobs, ColumnWriter, TableWriter, buffered, read_table
from redpajama.raw import parquet as raw_parquet
from redpajama.raw.io import RawFile
from redpajama.records import Tally


@settings(deadline=None)
@given(st.lists(st.lists(st.none() | st.binary(max_size=9), max_size=4), max_size=4), st.randoms())
def test_blobs_are_the_places_of_a_columns_values_in_any_order(chunks, rng):
    arrays = [pa.array([b"first", *chunk], pa.large_binary())[1:] for chunk in chunks]
    values = [value for chunk in chunks for value in chunk]
    order = rng.choices(range(len(values)), k=len(values)) if values else []
    blobs = Blobs.of(pa.chunked_array(arrays, pa.large_binary()), np.array(order, np.int64))
    places = zip(blobs.places.tolist(), blobs.sizes.tolist(), strict=True)
    found = [None if size < 0 else ctypes.string_at(place, size) for place, size in places]
    assert found == [values[place] for place in order]


@pytest.mark.parametrize("sizes", [[0], [3], [4096], [4000, 96, 1], [10_000], [1, 5000, 0, 5000]])
def test_columns_make_the_file_that_their_rows_make(tmp_path, sizes):
    schema = pa.schema([pa.field("id", pa.string()), pa.field("n", pa.int64())])
    rows = [(f"documents/{number % 700}", number * 7) for number in range(sum(sizes))]
    with TableWriter(tmp_path / "rows", schema) as by_rows, ColumnWriter(tmp_path / "columns", schema) as by_columns:
        for row in rows:
            by_rows.add(row)
        for end, size in zip(np.cumsum(sizes), sizes, strict=True):
            ids, numbers = ([row[place] for row in rows[end - size : end]] for place in (0, 1))
            by_columns.add(pa.table([ids, numbers], schema=schema))
    assert by_columns.rows == len(rows)
    assert (tmp_path / "rows").read_bytes() == (tmp_path / "columns").read_bytes()


COMPARE = {"=": operator.eq, "<": operator.lt, "<=": operator.le, ">=": operator.ge, "in": lambda a, b: a in b}
NUMBERS = st.sampled_from([0, 1, 7, 2**63, 2**64 - 1])
NAMES = st.sampled_from(["", "a", "b", "é", "\U0001d518", "é" * 3000])  # the last has no bounds in the file
ONE = st.sampled_from(["=", "<", "<=", ">="])
FILTERS = st.lists(
    st.tuples(st.just("n"), ONE, NUMBERS)
    | st.tuples(st.just("name"), ONE, NAMES)
    | st.tuples(st.just("name"), st.just("in"), st.lists(NAMES))
    | st.tuples(st.just("n"), st.just("in"), st.lists(NUMBERS)),
    max_size=3,
)


@settings(deadline=None)
@given(st.lists(st.tuples(NUMBERS | st.none(), NAMES | st.none()), max_size=9), FILTERS, st.integers(1, 4))
def test_a_table_is_read_by_filters_as_its_rows_say(tmp_path_factory, rows, filters, group):
    path = tmp_path_factory.mktemp("t")
    schema = pa.schema([pa.field("n", pa.uint64()), pa.field("name", pa.string()), pa.field("row", pa.int64())])
    columns = [[row[0] for row in rows], [row[1] for row in rows], list(range(len(rows)))]
    table = pa.table([pa.array(each, field.type) for each, field in zip(columns, schema, strict=True)], schema=schema)
    pq.write_table(table, path / "t.parquet", row_group_size=group)
    found = read_table(Store(str(path)), File("t.parquet", 1), ["row", "n"], filters)
    places = {"n": 0, "name": 1}

    def meets(row, name, compare, value):
        return row[places[name]] is not None and COMPARE[compare](row[places[name]], value)

    expected = [number for number, row in enumerate(rows) if all(meets(row, *each) for each in filters)]
    assert found.column_names == ["row", "n"]
    assert found.column("row").to_pylist() == expected


@pytest.mark.parametrize("filters", [[], [("n", ">=", 5)]])
def test_a_table_is_read_in_the_thread_that_asks(tmp_path, monkeypatch, filters):
    """A thread of Arrow's that lets go of the file while the interpreter ends kills the process."""
    pq.write_table(pa.table({"n": range(9)}), tmp_path / "t.parquet", row_group_size=2)
    readers = set()

    class Watched(io.BytesIO):
        def read(self, size=-1):
            readers.add(threading.get_ident())
            return super().read(size)

    monkeypatch.setattr(Store, "open", lambda *_: Watched((tmp_path / "t.parquet").read_bytes()))
    read_table(Store(str(tmp_path)), File("t.parquet", 1), None, filters)
    assert readers == {threading.get_ident()}


class Counted(io.BytesIO):
    """A file that notes what is read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads: list[int] = []

    def read(self, size=-1):
        data = super().read(size)
        self.reads.append(len(data))
        return data

    def cat_file(self, path, start, end):
        """As a file system has it."""
        self.seek(start)
        return self.read(end - start)


def wide_table(path, rows: int, groups: int) -> bytes:
    """Six columns of numbers that do not compress, in so many row groups."""
    random = np.random.default_rng(1)
    table = pa.table({f"n{number}": random.integers(0, 1 << 60, rows) for number in range(6)})
    pq.write_table(table, path, row_group_size=rows // groups, use_dictionary=False)
    return path.read_bytes()


def test_the_columns_of_a_group_that_are_neighbours_are_one_request(tmp_path):
    far = Counted(wide_table(tmp_path / "t", 16_000, 16))  # some 50 kB a group
    parquet = open_parquet(buffered(RangedFile(far, "t", len(far.getvalue())), 1 << 20))
    before = len(far.reads)
    parquet.read_row_group(7, use_threads=False)
    assert len(far.reads) - before == 1


def test_what_no_row_of_a_group_asks_for_is_not_read(tmp_path, monkeypatch):
    file = Counted(wide_table(tmp_path / "t", 80_000, 8))
    monkeypatch.setattr(Store, "open", lambda *_: file)
    assert read_table(Store(str(tmp_path)), File("t", 1), None, [("n0", "=", 1 << 59)]).num_rows == 0
    assert sum(file.reads) < (tmp_path / "t").stat().st_size / 4


@pytest.mark.parametrize(("path", "most"), [("s3://b/t.parquet", 2 * 2 + 4), ("t.parquet", 1 << 20)])
def test_a_column_of_a_far_parquet_input_is_one_read_a_group(tmp_path, monkeypatch, path, most):
    data = wide_table(tmp_path / "t", 600_000, 2)  # 2.4 MB a column and group
    files = []
    monkeypatch.setattr(RawFile, "open", lambda _: files.append(Counted(data)) or files[-1])
    rows = list(raw_parquet.rows(RawFile("u", path, len(data), "0" * 64), ["n0", "n5"], Tally()))
    assert len(rows) == 600_000
    assert len(files[0].reads) <= most
    assert max(files[0].reads) <= (3 << 20 if path.startswith("s3") else 1 << 20)
