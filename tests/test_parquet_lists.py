"""Parquet of lists written page by page: pyarrow reads what was given, and knows its types."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.errors import BuildFailed
from redpajama.exports import parquet, parquet_lists
from redpajama.exports.packing import Block
from redpajama.exports.parquet import DOCUMENTS, ROWS, list_of
from redpajama.exports.parquet_lists import Flags, ListFile, Lists, levels_of, runs

SIZES = st.lists(st.integers(0, 5) | st.sampled_from([63, 64, 8191, 8192, 20_000]), max_size=40)
IDS = np.array([0, 1, 255, 256, 65_535, 65_536, 2**31 - 1], np.uint32)
WORDS = np.array([0, 1, 256, 2**31 - 1, -100, -(2**31)], np.int32)


def columns_of(sizes, seed) -> dict:
    """A row group of DOCUMENTS; every other has its ids as labels, too."""
    random, levels = np.random.default_rng(seed), levels_of(np.array(sizes, np.int64))
    ids = Lists(levels, random.choice(IDS, sum(sizes)))
    labels = Lists(levels, random.integers(0, len(WORDS), sum(sizes)), WORDS) if seed % 2 else ids
    cuts = np.sort(random.integers(0, sum(sizes) + 1, 5))
    mask = Flags(levels, np.diff(cuts, prepend=0, append=sum(sizes)), random.integers(0, 2, 6).astype(np.uint8))
    names = [None if place % 7 == 3 else f"é{place % 5}" * (place % 3) for place in range(len(sizes))]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "doc_id": pa.array(names, pa.string())} | {
        "source": pa.array(["web"] * len(sizes), pa.string())
    }


def values_of(column) -> np.ndarray:
    """All values of all lists."""
    if isinstance(column, Flags):
        return column.values.repeat(column.counts)
    return column.values if column.words is None else column.words[column.values]


def table_of(schema, sizes, columns) -> pa.Table:
    """The same as Arrow's own lists."""
    bounds = pa.array(np.cumsum([0, *sizes]).astype(np.int32))

    def array(field):
        column = columns[field.name]
        if isinstance(column, pa.Array):
            return column
        values = pa.array(values_of(column)).cast(field.type.value_type)
        return pa.ListArray.from_arrays(bounds, values, type=field.type)

    return pa.table([array(field) for field in schema], schema)


@settings(deadline=None)
@given(st.lists(SIZES, max_size=3))
def test_lists_of_any_sizes_come_back(tmp_path_factory, groups):
    path = tmp_path_factory.mktemp("lists") / "x.parquet"
    expected = [DOCUMENTS.empty_table()]
    with ListFile(path, DOCUMENTS) as file:
        for number, sizes in enumerate(groups):
            columns = columns_of(sizes, number)
            file.write(columns)
            expected.append(table_of(DOCUMENTS, sizes, columns))
    found = pq.read_table(path)
    found.validate(full=True)
    assert found.schema.equals(DOCUMENTS)
    assert found.equals(pa.concat_tables(expected))


def test_row_groups_say_where_their_pages_are_and_how_large(tmp_path):
    with ListFile(tmp_path / "x", DOCUMENTS) as file:
        for sizes in ([3, 1], [700]):
            file.write(columns_of(sizes, 1))
    metadata = pq.read_metadata(tmp_path / "x")
    groups = [metadata.row_group(number) for number in range(2)]
    columns = [group.column(number) for group in groups for number in range(5)]
    starts = [column.dictionary_page_offset or column.data_page_offset for column in columns]
    assert starts == [4 + sum(column.total_compressed_size for column in columns[:place]) for place in range(10)]
    assert [group.total_byte_size for group in groups] == [
        sum(group.column(number).total_uncompressed_size for number in range(5)) for group in groups
    ]
    assert [group.num_rows for group in groups] == [2, 1]


def test_what_a_reader_without_arrows_schema_sees_is_the_same(tmp_path):
    """Other readers have the types of Parquet alone."""
    with ListFile(tmp_path / "x", DOCUMENTS) as file:
        file.write(columns_of([2, 5], 1))
    schema = pq.read_metadata(tmp_path / "x").schema
    assert schema.to_arrow_schema().remove_metadata().equals(DOCUMENTS)
    pq.write_table(DOCUMENTS.empty_table(), tmp_path / "y", version="2.6")
    assert str(schema).partition("\n")[2] == str(pq.read_metadata(tmp_path / "y").schema).partition("\n")[2]


@pytest.mark.parametrize(
    ("counts", "values", "expected"),
    [
        ([], [], ""),
        ([1], [1], "0201"),
        ([3, 0, 2], [1, 0, 1], "0a01"),  # one run of five
        ([0, 1, 1, 0, 2, 3], [1, 0, 0, 1, 0, 1], "08000601"),
        ([63, 64], [0, 1], "7e00800101"),
        ([1 << 31], [1], "808080801001"),
    ],
)
def test_runs_are_a_number_twice_as_large_and_a_byte(counts, values, expected):
    assert runs(np.array(counts, np.int64), np.array(values, np.uint8)).hex() == expected


def test_a_column_that_may_be_null_is_refused(tmp_path):
    for kind in (pa.list_(pa.int32()), list_of(pa.int64()), pa.int32()):
        with pytest.raises(TypeError, match="x: no list of int8 or int32"):
            ListFile(tmp_path / "x", pa.schema([pa.field("x", kind, nullable=False)]))


def test_a_failure_leaves_no_footer(tmp_path):
    with pytest.raises(ZeroDivisionError), ListFile(tmp_path / "x", ROWS):
        raise ZeroDivisionError
    assert (tmp_path / "x").read_bytes() == b"PAR1"


@pytest.mark.parametrize(("kind", "most", "bits"), [("<u2", 9_000, 16), ("<u4", 70_000, 24), ("<u2", 65_535, 16)])
def test_many_values_are_indices_into_all_numbers_up_to_the_largest(tmp_path, kind, most, bits):
    values = np.random.default_rng(most).integers(0, most, 300_001, endpoint=True).astype(kind)
    lists = Lists(levels_of(np.array([1, 299_999, 1])), values)
    words, head, body, filling = parquet_lists._indices(lists)
    assert words.tolist() == list(range(int(values.max()) + 1))
    assert (head[0], len(body)) == (bits, 300_001 * bits // 8)
    assert (len(body) + len(filling)) % bits == 0
    schema = pa.schema([pa.field("x", list_of(pa.int32()), nullable=False)])
    with ListFile(tmp_path / "x", schema) as file:
        file.write({"x": lists})
    found = pq.read_table(tmp_path / "x").column("x").combine_chunks()
    assert (found.flatten().to_numpy() == values).all()
    assert found.offsets.to_pylist() == [0, 1, 300_000, 300_001]


@pytest.mark.parametrize("most", [100, 65_534, 65_535])
def test_what_fills_a_row_is_no_id_though_all_numbers_of_16_bits_are_ids(most):
    tokens = np.array([0, most, 5, most, 7], np.uint16)
    places, words = parquet._learned(Block(tokens, np.array([0, 2, 5]), np.array([0, 1, 2]), -1), 3)
    assert words[places].tolist() == [0, most, -100, 5, most, 7]


def test_a_page_that_is_too_long_for_parquet_is_told(tmp_path):
    long = np.broadcast_to(np.uint8(0), 1 << 31).data  # takes no memory
    with pytest.raises(BuildFailed, match="a page of Parquet cannot have 2,147,483,648 bytes"):
        parquet_lists._page(0, 1, "RLE_DICTIONARY", long)
