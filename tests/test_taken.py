"""Rows in another order, written row group by row group."""

import numpy as np
import pyarrow as pa
import pytest

from redpajama.engine import tables


@pytest.mark.parametrize("rows", [0, 1, 9000])
@pytest.mark.parametrize("size", [3, 900])
def test_rows_that_are_taken_group_by_group_give_the_bytes_of_the_sorted_table(tmp_path, rows, size):
    random = np.random.default_rng(rows)
    texts = pa.chunked_array([[f"{row:0{size}}" for row in range(rows)]] * 2, pa.large_string())
    table = pa.table({"text": texts, "number": np.arange(2 * rows)})
    order = random.permutation(2 * rows)
    tables.write_table(tmp_path / "sorted", table.take(pa.array(order)).combine_chunks())
    tables.write_taken(tmp_path / "taken", table, order)
    assert (tmp_path / "taken").read_bytes() == (tmp_path / "sorted").read_bytes()
