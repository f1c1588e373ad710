"""Parquet written page by page: Arrow reads what was put in, of any lengths of lists, and finds its own schema."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.exports.rows_file import Column, RowsFile, ids, mask, strings

COLUMNS = [Column("input_ids", "int32"), Column("attention_mask", "int8"), Column("labels", "int32")]
COLUMNS += [Column("doc_id", "string")]


def lists(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", kind, nullable=False))


def rows_in(path, columns, groups) -> list[dict]:
    with RowsFile(path, columns) as file:
        for rows, chunks in groups:
            file.add(rows, chunks)
    assert pq.ParquetFile(path).metadata.num_row_groups == len(groups)
    return pq.read_table(path).to_pylist()


@pytest.mark.parametrize("kind", ["<u2", "<i4", "<u4"])
@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 300), st.integers(0, 9), st.text(max_size=5)), min_size=1, max_size=5),
        min_size=1,
        max_size=3,
    )
)
def test_rows_are_read_as_they_were_written(tmp_path_factory, kind, groups):
    path, random = tmp_path_factory.mktemp("rows") / "x.parquet", np.random.default_rng(1)
    wanted, written = [], []
    for rows in groups:
        sizes = np.array([filled + empty for filled, empty, _ in rows])
        filled = np.array([filled for filled, _, _ in rows])
        values = random.integers(0, 65_536, sizes.sum()).astype(kind)
        holes = np.flatnonzero(
            np.concatenate([np.arange(size) >= some for size, some in zip(sizes, filled, strict=True)])
        )
        labels = values.astype(np.int64)
        labels[holes] = -100
        written.append(
            (
                len(rows),
                [ids(values, sizes), mask(filled, sizes), ids(values, sizes, holes, -100), strings(r[2] for r in rows)],
            )
        )
        for (some, empty, text), end in zip(rows, np.cumsum(sizes), strict=True):
            own = slice(end - some - empty, end)
            told = {"attention_mask": [1] * some + [0] * empty, "labels": labels[own].tolist(), "doc_id": text}
            wanted.append({"input_ids": values[own].tolist(), **told})
    assert rows_in(path, COLUMNS, written) == wanted


def test_lists_of_a_million_values_and_large_ids_are_read_and_the_schema_is_arrows(tmp_path):
    values, sizes = np.arange(2_200_001, dtype="<u4"), np.array([1, 130, 20_000, 2_179_870])
    chunk = ids(values, sizes)
    rows = rows_in(tmp_path / "x", COLUMNS, [(4, [chunk, mask(sizes, sizes), chunk, strings("abcd")])])
    assert [len(row["input_ids"]) for row in rows] == sizes.tolist()
    assert rows[3]["labels"][-1] == 2_200_000
    fields = zip(("input_ids", "attention_mask", "labels"), (pa.int32(), pa.int8(), pa.int32()), strict=True)
    own = [pa.field(name, lists(kind), nullable=False) for name, kind in fields]
    assert pq.read_schema(tmp_path / "x").equals(pa.schema([*own, pa.field("doc_id", pa.string(), nullable=False)]))


def test_a_block_that_raises_leaves_a_file_without_an_end(tmp_path):
    with pytest.raises(KeyError), RowsFile(tmp_path / "x", COLUMNS):
        raise KeyError
    with pytest.raises(pa.ArrowInvalid):
        pq.read_table(tmp_path / "x")
