"""Columns in an order of one's own are the values, uncopied."""

import ctypes

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from redpajama.columns import Blobs


@given(st.lists(st.lists(st.none() | st.binary(max_size=9), max_size=4), max_size=4), st.randoms())
def test_blobs_are_the_places_of_a_columns_values_in_any_order(chunks, rng):
    arrays = [pa.array([b"first", *chunk], pa.large_binary())[1:] for chunk in chunks]
    values = [value for chunk in chunks for value in chunk]
    order = rng.choices(range(len(values)), k=len(values)) if values else []
    blobs = Blobs.of(pa.chunked_array(arrays, pa.large_binary()), np.array(order, np.int64))
    places = zip(blobs.places.tolist(), blobs.sizes.tolist(), strict=True)
    found = [None if size < 0 else ctypes.string_at(place, size) for place, size in places]
    assert found == [values[place] for place in order]
