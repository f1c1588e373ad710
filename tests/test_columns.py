"""Columns in an order of one's own are the values, uncopied."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from redpajama.columns import Blobs


@given(st.lists(st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=4), max_size=4), st.randoms())
def test_blobs_are_the_values_of_a_column_in_any_order(chunks, rng):
    arrays = [pa.array([np.array(each, np.uint64).tobytes() for each in chunk], pa.large_binary()) for chunk in chunks]
    column = pa.chunked_array([array[1:] for array in arrays], pa.large_binary())
    values = [value for chunk in chunks for value in chunk[1:]]
    order = rng.sample(range(len(values)), len(values))
    blobs = Blobs(column, np.uint64, pa.array(order, pa.int64()))
    assert [blobs[row].tolist() for row in range(len(blobs))] == [values[place] for place in order]
    part = blobs.between(1, 3)
    assert [part[row].tolist() for row in range(len(part))] == [values[place] for place in order[1:3]]
