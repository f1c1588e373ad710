"""Columns: in an order of one's own they are the values, uncopied; written, they are the file of their rows."""

import ctypes

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpajama.engine.tables import Blobs, ColumnWriter, TableWriter


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
