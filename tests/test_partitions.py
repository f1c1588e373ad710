"""Partition files: what is added comes back by partition, the same rows give the same bytes, damage is seen."""

import io
import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redpajama.engine import pages, partitions
from redpajama.engine.partitions import DamagedPartitions, PartitionWriter, digests_of, read_index, read_range

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("text", pa.large_string()),
        pa.field("name", pa.string()),
        pa.field("raw", pa.binary()),
        pa.field("key", pa.binary(4)),
        pa.field("flag", pa.bool_()),
        pa.field("nothing", pa.null()),
        pa.field("size", pa.int32()),
    ]
)
NARROW = pa.schema([pa.field("value", pa.uint64())])
FAST = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

numbers_of_any_size = st.one_of(st.integers(0, 5), st.integers(0, 1 << 17), st.integers(0, (1 << 62) - 1))


def table_of(seed: int, count: int) -> pa.Table:
    """Rows of all types, with nulls that hide values."""
    random = np.random.default_rng(seed)
    texts = ["é" * int(size) for size in random.integers(0, 9, count)]
    raw = [None if hidden else random.bytes(int(size)) for hidden, size in random.integers(0, (2, 9), (count, 2))]
    columns = [
        pa.array(np.arange(count)),
        pa.array([None if random.random() < 0.1 else text for text in texts], pa.large_string()),
        pa.array(texts, pa.string()),
        pa.array(raw, pa.binary()),
        pa.array([random.bytes(4) for _ in range(count)], pa.binary(4)),
        pa.array(random.random(count) < 0.5, mask=random.random(count) < 0.1),
        pa.nulls(count),
        pa.array(random.integers(-9, 9, count).astype(np.int32), mask=random.random(count) < 0.1),
    ]
    return pa.table(columns, schema=SCHEMA)


def written(path, numbers, table, cuts=(), **options) -> bytes:
    """The bytes of a file of these rows, added in pieces that begin at `cuts`."""
    numbers = np.array(numbers, np.int64)
    with PartitionWriter(path, table.schema, **options) as writer:
        bounds = [0, *sorted(cuts), len(numbers)]
        for start, end in itertools.pairwise(bounds):
            writer.add(numbers[start:end], table.slice(start, end - start))
    assert writer.rows == len(numbers)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    return path.read_bytes()


def narrow(values) -> pa.Table:
    return pa.table({"value": np.array(values, np.uint64)}, schema=NARROW)


def expected(numbers, table: pa.Table, first: int, end: int) -> pa.Table:
    """The rows of a range, by Python's own stable sort."""
    order = sorted(range(len(numbers)), key=lambda row: numbers[row])
    return table.take(pa.array([row for row in order if first <= numbers[row] < end], pa.int64()))


def index_of(data: bytes) -> partitions.Index:
    return read_index(io.BytesIO(data), "x")


class Counting(io.BytesIO):
    """A file that notes its reads."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads: list[tuple[int, int]] = []  # where, bytes

    def readinto(self, buffer) -> int:
        where = self.tell()
        size = super().readinto(buffer)
        self.reads.append((where, size))
        return size


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(partitions, "PAGE_BYTES", 300)
    monkeypatch.setattr(partitions, "SPLIT_BYTES", 2000)
    monkeypatch.setattr(pages, "BLOCK_PAGES", 3)


# ---- what is added comes back


@FAST
@given(st.data(), st.lists(numbers_of_any_size, max_size=80), st.booleans(), st.booleans())
def test_every_range_gives_its_rows_in_order_of_number_and_adding(small, tmp_path, data, numbers, packing, alone):
    table = table_of(len(numbers), len(numbers))
    file = io.BytesIO(written(tmp_path / "x", numbers, table, packing=packing, alone=alone))
    edges = st.one_of(numbers_of_any_size, st.sampled_from(numbers)) if numbers else numbers_of_any_size
    for _ in range(5):
        first, end = data.draw(edges), data.draw(edges) + data.draw(st.integers(0, 1))
        rows = read_range(file, "x", SCHEMA, first, end)
        rows.validate(full=True)
        assert rows.equals(expected(numbers, table, first, end))


@FAST
@given(st.data(), st.lists(numbers_of_any_size, max_size=80), st.integers(1, 4000), st.booleans())
def test_cuts_and_spills_do_not_change_a_byte(small, monkeypatch, tmp_path, data, numbers, split_bytes, alone):
    table = table_of(1, len(numbers))
    monkeypatch.setattr(partitions, "SPLIT_BYTES", 1 << 30)
    whole = written(tmp_path / "x", numbers, table, alone=alone)
    monkeypatch.setattr(partitions, "SPLIT_BYTES", split_bytes)
    monkeypatch.setattr(partitions, "PIECES", data.draw(st.integers(2, 5)))
    cuts = data.draw(st.lists(st.integers(0, len(numbers)), max_size=20))
    assert written(tmp_path / "x", numbers, table, cuts, alone=alone) == whole


@pytest.mark.parametrize("runs", [2, 9, 40])
@pytest.mark.parametrize("partition_count", [1, 7, 3000])
def test_many_spills_are_merged_in_order_of_adding(monkeypatch, tmp_path, runs, partition_count):
    numbers = np.random.default_rng(runs).integers(0, partition_count, 3000)
    rows = narrow(range(3000))
    monkeypatch.setattr(partitions, "PAGE_BYTES", 400)
    whole = written(tmp_path / "x", numbers, rows)
    monkeypatch.setattr(partitions, "SPLIT_BYTES", 3000 * 16 // runs)
    assert written(tmp_path / "x", numbers, rows) == whole
    found = read_range(io.BytesIO(whole), "x", NARROW, 0, partition_count)["value"].to_numpy()
    np.testing.assert_array_equal(found, np.argsort(numbers, kind="stable"))


@FAST
@given(st.lists(st.integers(0, (1 << 62) - 1), max_size=20), st.integers(0, 62), st.integers(0, 1000))
def test_rows_are_sorted_stably_by_numbers_of_any_size(few, bits, repeats):
    numbers = np.array((few * repeats)[:3000], np.int64) >> bits
    np.testing.assert_array_equal(partitions.sorted_order(numbers), np.argsort(numbers, kind="stable"))


@pytest.mark.parametrize("adds", [0, 1])
def test_a_file_may_hold_no_rows(tmp_path, adds):
    with PartitionWriter(tmp_path / "x", SCHEMA) as writer:
        for _ in range(adds):
            writer.add(np.zeros(0, np.int64), SCHEMA.empty_table())
    with open(tmp_path / "x", "rb") as file:
        assert read_range(file, "x", SCHEMA, 0, 1 << 62).equals(SCHEMA.empty_table())
        assert len(read_index(file, "x").first) == 0


def test_a_slice_is_stored_without_the_rows_beside_it(tmp_path):
    table = pa.table({"text": pa.array(["left" * 100, "mine", "right" * 100], pa.large_string())})
    data = written(tmp_path / "x", [3], table.slice(1, 1))
    assert b"leftleft" not in data
    assert b"rightright" not in data
    assert read_range(io.BytesIO(data), "x", table.schema, 3, 4).to_pydict() == {"text": ["mine"]}


def test_what_was_read_keeps_no_more_memory_than_its_rows(tmp_path):
    data = written(tmp_path / "x", np.arange(10_000), narrow(range(10_000)))
    rows = read_range(io.BytesIO(data), "x", NARROW, 70, 72)
    assert rows.get_total_buffer_size() < 200


def test_an_error_leaves_no_file(small, tmp_path):
    with pytest.raises(ValueError, match="partition numbers"):
        written(tmp_path / "x", [*range(1000), -1], narrow(range(1001)), cuts=[1000])  # spills, then raises
    assert not list(tmp_path.iterdir())


def test_an_error_while_the_file_is_written_leaves_none(small, monkeypatch, tmp_path):
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(partitions, "merge", fail)
    with pytest.raises(OSError, match="disk full"), PartitionWriter(tmp_path / "x", NARROW) as writer:
        writer.add(np.arange(1000), narrow(range(1000)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("numbers", [[1], [-1, 0], [0, 1 << 62], [0.5, 1], [[0, 1]], [True, False]])
def test_numbers_that_do_not_fit_are_refused(tmp_path, numbers):
    with PartitionWriter(tmp_path / "x", NARROW) as writer, pytest.raises(ValueError, match="partition numbers"):
        writer.add(np.array(numbers), narrow([7, 8]))


def test_other_columns_are_refused(tmp_path):
    with PartitionWriter(tmp_path / "x", NARROW) as writer, pytest.raises(ValueError, match="have the columns"):
        writer.add(np.zeros(1, np.int64), pa.table({"value": [1]}))
    with pytest.raises(TypeError, match="flat"):
        PartitionWriter(tmp_path / "x", pa.schema([pa.field("list", pa.list_(pa.int64()))]))


# ---- pages


@FAST
@given(st.lists(st.integers(0, 40), max_size=200))
def test_pages_are_full_and_tell_their_numbers(small, tmp_path, numbers):
    index = index_of(written(tmp_path / "x", numbers, narrow(numbers)))
    assert (index.rows[:-1] == -(-300 // 16)).all()  # 8 bytes of a row, 8 of its number
    in_order = np.split(np.sort(np.array(numbers, np.int64)), np.cumsum(index.rows))[:-1]
    assert [rows[0] for rows in in_order] == index.first.tolist()
    assert [rows[-1] for rows in in_order] == index.last.tolist()


@FAST
@given(st.lists(st.integers(0, 40), max_size=200))
def test_alone_a_page_holds_one_partition(small, tmp_path, numbers):
    data = written(tmp_path / "x", numbers, narrow(numbers), alone=True)
    index = index_of(data)
    np.testing.assert_array_equal(index.first, index.last)
    found, digests = partitions.numbers_and_digests(index)
    assert found.tolist() == sorted(set(numbers))
    assert len(digests) == len(set(digests)) == len(found)


def test_numbers_and_digests_need_pages_of_one_partition(tmp_path):
    index = index_of(written(tmp_path / "x", [0, 1], narrow([0, 1])))
    with pytest.raises(ValueError, match="two partitions"):
        partitions.numbers_and_digests(index)


@pytest.mark.parametrize("packing", ["zstd", "lz4"])
def test_a_file_is_as_large_as_its_rows_whatever_the_number_of_partitions(tmp_path, packing):
    random = np.random.default_rng(3)
    table = narrow(random.integers(0, 1 << 64, 100_000, np.uint64))
    few, many = (
        len(written(tmp_path / "x", random.integers(0, count, 100_000), table, packing=packing))
        for count in (2, 1 << 17)
    )
    assert few < 100_000 * 8 * 1.02
    assert many < 100_000 * (8 + 2) * 1.02  # a byte for the step to the next number, one for how many rows it has


# ---- digests


@FAST
@given(st.lists(st.lists(st.integers(0, 30), max_size=60), max_size=3), st.booleans())
def test_partitions_without_pages_have_no_digest_and_all_others_differ(small, tmp_path, files, alone):
    indexes = [index_of(written(tmp_path / "x", each, narrow(each), alone=alone)) for each in files]
    digests = digests_of(indexes, 20)
    near = np.zeros(20, bool)
    for index in indexes:
        for first, last in zip(index.first, index.last, strict=True):
            near[first : last + 1] = True
    np.testing.assert_array_equal(digests.any(axis=1), near)
    if alone:
        assert len(np.unique(digests[near], axis=0)) == near.sum()


@FAST
@given(st.lists(st.integers(0, 30), min_size=1, max_size=100), st.data(), st.booleans())
def test_a_changed_row_changes_the_digest_of_its_partition(small, tmp_path, numbers, data, alone):
    values = list(range(len(numbers)))
    before = index_of(written(tmp_path / "x", numbers, narrow(values), alone=alone))
    row = data.draw(st.integers(0, len(numbers) - 1))
    values[row] += 1000
    after = index_of(written(tmp_path / "x", numbers, narrow(values), alone=alone))
    changed = (digests_of([before], 31) != digests_of([after], 31)).any(axis=1)
    assert changed[numbers[row]]
    if alone:
        assert changed.sum() == 1
        (_, one), (_, other) = partitions.numbers_and_digests(before), partitions.numbers_and_digests(after)
        assert sum(left != right for left, right in zip(one, other, strict=True)) == 1


@FAST
@given(st.lists(st.integers(0, 30), min_size=1, max_size=100), st.data(), st.booleans())
def test_what_a_record_has_of_a_file_changes_with_each_of_its_rows(small, tmp_path, numbers, data, alone):
    """By the root of its index alone: no page is read for it."""
    values, found = list(range(len(numbers))), []
    row = data.draw(st.integers(0, len(numbers) - 1))
    for step in (0, 1000, -1000):
        values[row] += step
        size = len(written(tmp_path / "x", numbers, narrow(values), alone=alone))
        found.append(partitions.describe(tmp_path / "x"))
        assert (found[-1][0], len(found[-1][1])) == (size, 64)
    assert found[0] == found[2] != found[1]


def test_digests_tell_apart_the_order_of_pages_and_not_that_of_files(small, tmp_path):
    one = index_of(written(tmp_path / "x", [0] * 57, narrow(range(57)), alone=True))
    turned = index_of(written(tmp_path / "x", [0] * 57, narrow([*range(19, 57), *range(19)]), alone=True))
    assert sorted(one.digest[:, 0]) == sorted(turned.digest[:, 0])  # the same three pages
    all_digests = [digests_of(files, 1)[0].tolist() for files in ([one, turned], [one, one], [one], [])]
    assert len({tuple(digest) for digest in all_digests}) == 4
    assert digests_of([turned, one], 1)[0].tolist() == all_digests[0]
    assert digests_of([one], 1).tolist() != digests_of([turned], 1).tolist()


# ---- damage


def damaged_copies(data: bytes) -> Iterator[bytes]:
    """The file with each byte flipped, cut at each length, and with a byte more at each place."""
    for place in range(len(data)):
        yield data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :]
        yield data[:place]
        yield data[:place] + b"\x07" + data[place:]
    yield data + b"\x00"


def rows_or_complaint(data: bytes) -> pa.Table | str:
    try:
        return read_range(io.BytesIO(data), "the file", SCHEMA, 3, 4)
    except DamagedPartitions as error:
        return str(error)


def test_damage_is_seen_or_was_not_read(small, tmp_path):
    numbers = [5, 3, 3, 8, 1, 9, 9, 2] * 5
    table = table_of(2, len(numbers))
    data = written(tmp_path / "x", numbers, table)
    right = expected(numbers, table, 3, 4)
    outcomes = [rows_or_complaint(copy) for copy in damaged_copies(data)]
    complaints = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert all(outcome.equals(right) for outcome in outcomes if not isinstance(outcome, str))
    assert all(each.startswith("the file: damaged: ") and "\n" not in each for each in complaints)
    assert len(complaints) > 2 * len(data)  # all cuts, all added bytes, and flips in the range's pages or the index


@pytest.mark.parametrize("blocks", [1, 5])
def test_a_damaged_index_is_never_believed(small, tmp_path, blocks):
    numbers = np.arange(19 * 3 * blocks)
    data = written(tmp_path / "x", numbers, narrow(numbers))
    start = int(index_of(data).offset[-1] + index_of(data).bytes[-1])
    for place in range(start, len(data)):
        copy = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(DamagedPartitions):
            read_index(io.BytesIO(copy), "x")


def test_another_schema_is_told(tmp_path):
    data = written(tmp_path / "x", [1], narrow([1]))
    with pytest.raises(DamagedPartitions, match="other columns"):
        read_range(io.BytesIO(data), "x", pa.schema([pa.field("value", pa.int64())]), 0, 2)


# ---- reads


@pytest.fixture(scope="module")
def many_pages(tmp_path_factory):
    """30,000 pages for 131,072 partitions, as a file of full size has them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitions, "PAGE_BYTES", 70)
        numbers = np.arange(131_072)
        return written(tmp_path_factory.mktemp("pages") / "x", numbers, narrow(numbers))


@pytest.mark.parametrize("first", [0, 1, 65_535, 77_777, 131_071])
def test_a_partition_of_many_takes_three_small_reads(many_pages, first):
    file = Counting(many_pages)
    assert read_range(file, "x", NARROW, first, first + 1).to_pydict() == {"value": [first]}
    index = index_of(many_pages)
    ends = int(index.offset[-1] + index.bytes[-1])
    assert len(index.first) > 26_000
    assert len(file.reads) <= 3
    assert sum(size for where, size in file.reads if where >= ends) < 64 << 10
    assert sum(size for where, size in file.reads if where < ends) < 1000


def test_a_range_of_pages_is_one_read(many_pages):
    file = Counting(many_pages)
    assert read_range(file, "x", NARROW, 1000, 9000).num_rows == 8000
    assert len(file.reads) == 3


def test_a_small_file_takes_two_reads_and_a_missing_partition_one(tmp_path):
    data = written(tmp_path / "x", [3, 3, 9], narrow([1, 2, 3]))
    file = Counting(data)
    assert read_range(file, "x", NARROW, 3, 4).num_rows == 2
    assert len(file.reads) == 2
    file = Counting(data)
    assert read_range(file, "x", NARROW, 10, 11).num_rows == 0
    assert len(file.reads) == 1


def test_a_file_of_the_older_format_is_read_with_its_own_checksum(monkeypatch, tmp_path):
    with monkeypatch.context() as older:
        older.setattr(pages, "digest_of", pages.blake2b)
        for module in (pages, partitions):
            older.setattr(module, "MAGIC", pages.OLD_MAGIC)
        data = written(tmp_path / "x", [2, 1, 2], narrow([20, 10, 21]))
    assert data.startswith(b"RPpages1")
    assert read_range(io.BytesIO(data), "x", NARROW, 2, 3).column("value").to_pylist() == [20, 21]
    damaged = data[:20] + bytes([data[20] ^ 1]) + data[21:]
    with pytest.raises(DamagedPartitions, match="checksum"):
        read_range(io.BytesIO(damaged), "x", NARROW, 0, 3)


@pytest.mark.parametrize("held", [1 << 16, 64 << 20])
def test_long_texts_come_back_in_order_whether_rows_are_spilled_or_not(monkeypatch, tmp_path, held):
    monkeypatch.setattr(partitions, "SPLIT_BYTES", held)
    schema = pa.schema([pa.field("text", pa.large_string()), pa.field("row", pa.int64())])
    random = np.random.default_rng(1)
    texts = [f"{row} é" * int(random.integers(200, 2000)) for row in range(300)]
    table, numbers = pa.table([pa.array(texts, pa.large_string()), pa.array(range(300))], schema), np.arange(300) % 3
    file = io.BytesIO(written(tmp_path / "x", numbers, table, cuts=(7, 100), packing=None))
    assert read_range(file, "x", schema, 0, 3).to_pydict() == expected(numbers.tolist(), table, 0, 3).to_pydict()
