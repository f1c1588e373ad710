"""Rows of several batches, taken in another order."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.arrow import Rows

TEXTS = st.lists(st.one_of(st.text(max_size=40), st.just("ä" * 2000)), max_size=8)
SCHEMA = pa.schema([("number", pa.int64()), ("text", pa.large_string()), ("id", pa.string())])


def pieces_of(chunks: list[list[str | None]]) -> list[list[pa.Array]]:
    """The columns of SCHEMA, each chunk a slice of something longer."""
    texts = [pa.array(["before", *chunk, "after"], pa.large_string()).slice(1, len(chunk)) for chunk in chunks]
    numbers = [pa.array(range(len(chunk)), pa.int64()) for chunk in chunks]
    return [numbers, texts, [text.cast(pa.string()) for text in texts]]


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_rows_that_are_taken_are_those_of_all_batches_joined(chunks, random):
    columns = pieces_of(chunks)
    whole = pa.table([pa.chunked_array(pieces) for pieces in columns], schema=SCHEMA)
    order = np.array([random.randrange(whole.num_rows) for _ in range(2 * whole.num_rows)], np.int64)
    taken = Rows(SCHEMA, columns).take(order)
    taken.validate(full=True)
    assert pa.table(taken) == whole.combine_chunks().take(pa.array(order))


def test_texts_that_are_null_stay_null():
    taken = Rows(SCHEMA, pieces_of([["a", None], ["b"]])).take(np.array([1, 2, 0]))
    assert taken.column("text").to_pylist() == [None, "b", "a"]


def test_a_row_that_is_not_there_is_an_error():
    with pytest.raises(IndexError):
        Rows(SCHEMA, pieces_of([["a"], ["b"]])).take(np.array([2]))


def test_texts_outlive_the_rows_they_were_taken_from():
    rows = Rows(SCHEMA, pieces_of([["x" * 5000, "y"], ["z" * 7000]]))
    taken = rows.take(np.array([2, 0, 1]))
    del rows
    assert taken.column("text").to_pylist() == ["z" * 7000, "x" * 5000, "y"]
