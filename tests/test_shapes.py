"""What follows from a stage's declaration: names, keys and plans; what redoes a part and what does not."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from declared import GROUPS, MOST, flow, halve, kept, run, some_numbers, split_halves
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.engine import pages, partitions, shapes, splits
from redpajama.engine.parts import PartRecord
from redpajama.engine.shapes import Piece
from redpajama.engine.splits import splits_of

FILES = some_numbers()
ALL = {"numbers": 5, "halved": 5, "grouped-split": 5, "grouped": GROUPS, "grouped-homes": 1, "told": 5}


@pytest.fixture
def root(tmp_path):
    """Where the flow was run once."""
    run(tmp_path / "r", FILES)
    return tmp_path / "r"


def counted(halves: list[int]) -> dict[int, int]:
    return dict(zip(*(each.tolist() for each in np.unique(halves, return_counts=True)), strict=True))


# ---- what a flow does


def test_every_shape_does_its_parts_and_the_rows_are_right(tmp_path):
    ran = run(tmp_path / "r", FILES)
    assert ran.did == ALL
    halves = [value // 2 for files in FILES.values() for values in files.values() for value in values]
    groups = ran.tables("grouped")
    assert {row["value"]: row["count_all"] for rows in groups.values() for row in rows} == counted(halves)
    for number, rows in enumerate(groups.values()):
        assert {row["value"] * 2 * GROUPS // MOST for row in rows} == {number}
        assert [row["value"] for row in rows] == sorted(row["value"] for row in rows)


def test_two_roots_have_the_same_files(root, tmp_path):
    other = run(tmp_path / "other", FILES)
    assert other.files == run(root, FILES).files


def test_the_same_again_does_nothing_and_changes_nothing(root):
    before = {path: path.stat().st_mtime_ns for stage in root.iterdir() if stage.is_dir() and stage.name[0] != "."
              for path in stage.rglob("*.parquet")}  # fmt: skip
    assert run(root, FILES).did == {}
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())


def test_a_stage_that_has_no_part_of_a_name_has_no_record_of_it(tmp_path):
    ran = run(tmp_path / "r", FILES, flow(halved={"depends": lambda build, name: {} if name == "left" else None}))
    assert list(ran.state["records"]["halved"]) == ["left"]
    assert ran.did["halved"] == len(FILES["left"])


def test_parts_for_nothing_are_an_empty_stage(tmp_path):
    ran = run(tmp_path / "r", {})
    assert ran.state["records"]["numbers"] == ran.state["records"]["told"] == {}
    assert ran.did == {"grouped-split": 1, "grouped": GROUPS, "grouped-homes": 1}


def test_files_of_ordered_partitions_are_named_by_number_and_others_are_not(tmp_path):
    ordered = run(tmp_path / "a", FILES).tables("grouped")
    assert [key.rpartition("/")[2][:11] for key in ordered] == [f"range-0000{number}" for number in range(GROUPS)]
    others = run(tmp_path / "b", FILES, flow(grouped={"is_ordered": False})).tables("grouped")
    assert {key.rpartition("/")[2][:5] for key in others} == {"part-"}
    assert sorted(map(str, others.values())) == sorted(map(str, ordered.values()))


# ---- keys


def lonely(count: int) -> list[int]:
    """Even numbers of the first range whose halves no file has."""
    taken = {value // 2 for files in FILES.values() for values in files.values() for value in values}
    return [2 * half for half in range(MOST // GROUPS // 2) if half not in taken][:count]


def test_a_file_more_adds_one_part_and_redoes_only_what_its_rows_touch(root):
    files = {**FILES, "right": {**FILES["right"], "file-900": lonely(3)}}
    did = run(root, files).did
    assert did == {"numbers": 1, "halved": 1, "grouped-split": 6, "grouped": 1, "told": 1}


def test_a_file_more_whose_numbers_repeat_is_told_to_those_that_have_them(root):
    value = FILES["left"]["file-000"][0]
    having = [values for files in FILES.values() for values in files.values() if {value, value ^ 1} & set(values)]
    files = {**FILES, "right": {**FILES["right"], "file-900": [value]}}
    assert run(root, files).did["told"] == 1 + len(having)


def test_another_version_redoes_the_stage(root):
    assert run(root, FILES, flow(told={"version": 2})).did == {"told": 5}


@pytest.mark.parametrize("change", [{"version": 2}, {"depends": lambda build, name: {"threshold": 3}}])
def test_equal_output_redoes_nothing_downstream(root, change):
    assert run(root, FILES, flow(halved=change)).did == {"halved": 5}


@pytest.mark.parametrize("change", [{"version": 2}, {"libraries": ("numpy",)}])
def test_equal_output_redoes_nothing_downstream_where_many_parts_share_a_split_file(tmp_path, monkeypatch, change):
    monkeypatch.setattr(splits, "SPLITS", ((3, 3), (100, 4)))
    files = some_numbers(parts=17)
    assert run(tmp_path / "r", files).did["grouped-split"] <= 4
    assert run(tmp_path / "r", files, flow(halved=change)).did == {"halved": 17}


def test_equal_output_of_a_regroup_redoes_none_of_those_that_it_tells(root):
    did = run(root, FILES, flow(grouped={"version": 2})).did
    assert did == {"grouped-split": 5, "grouped": GROUPS}


def test_an_input_that_changes_nothing_after_the_first_stage_redoes_nothing_after_it(root):
    files = {name: {file: [value ^ 1 for value in values] for file, values in each.items()}
             for name, each in FILES.items()}  # fmt: skip
    assert run(root, files).did == {"numbers": 5, "halved": 5}


def test_a_regroup_whose_rows_changed_in_one_range_reduces_that_range_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(partitions, "PAGE_BYTES", 1)  # a page a row: else the digest of a range is that of its pages
    stages = flow(grouped={"split": split_nameless, "reduce": write_rows, "homes": ()})[:3]
    run(tmp_path / "r", FILES, stages)
    values = FILES["left"]["file-000"]
    changed = [value if value * GROUPS // MOST != 2 else value ^ 2 for value in values]
    assert sum(a != b for a, b in zip(values, changed, strict=True)) > 1
    files = {**FILES, "left": {**FILES["left"], "file-000": changed}}
    assert run(tmp_path / "r", files, stages).did == {"numbers": 1, "halved": 1, "grouped-split": 5, "grouped": 1}


def split_nameless(build, part, count):
    for numbers, rows in split_halves(build, part, count):
        yield numbers, rows.set_column(0, "part", pa.array([""] * len(rows)))


def write_rows(build, group, rows, outputs):
    pq.write_table(rows.sort_by("value"), outputs.file(".parquet"))
    return kept(rows.num_rows)


def test_a_source_of_another_name_has_its_own_parts(root):
    did = run(root, {**FILES, "middle": {"file-000": FILES["left"]["file-000"]}}).did
    assert (did["numbers"], did["halved"]) == (1, 1)


# ---- what may be read


def read_undeclared(build, name, numbers, outputs):
    build.parts("grouped")
    return halve(build, name, numbers, outputs)


def ask_undeclared(build, part):
    return build.names("told")


def split_undeclared(build, part, count):
    build.parts("numbers")
    return split_halves(build, part, count)


@pytest.mark.parametrize(
    ("stage", "change", "read"),
    [
        ("halved", {"work": read_undeclared}, "grouped"),
        ("halved", {"asks": ask_undeclared}, "told"),
        ("grouped", {"split": split_undeclared}, "numbers"),
        ("grouped", {"depends": lambda build, name: build.names("numbers")}, "numbers"),
        ("numbers", {"pieces": lambda build: [Piece("x", build.contents("halved"))]}, "halved"),
    ],
)
def test_a_read_that_is_not_declared_raises(tmp_path, stage, change, read):
    failed = run(tmp_path / "r", FILES, flow(**{stage: change})).state["failed"]
    assert re.search(rf"Undeclared: stage '{stage}\S*' reads '{read}', which is not among", failed), failed


def test_what_is_declared_may_be_read_with_its_homes(tmp_path):
    def look(build, name, part, outputs):
        assert build.names("grouped-homes")
        assert build.made_for("halved", build.part("numbers", build.part("numbers", part.id).id))
        pq.write_table(pa.table({"value": [1]}), outputs.file(".parquet"))
        return kept(1)

    change = {"each": "numbers", "after": ("numbers", "halved", "grouped"), "work": look, "asks": shapes.asks_nothing}
    assert run(tmp_path / "r", FILES, flow(told=change)).did["told"] == 5


# ---- split files


def records(contents: list[int]) -> list[PartRecord]:
    return [PartRecord(f"a/n-f/part-{row:x}", "", f"{each:016x}", "", "", "", "") for row, each in enumerate(contents)]


def test_no_split_file_gathers_more_parts_than_one_may_read_though_all_hold_the_same():
    groups = splits_of(records([7] * 2_500))
    assert [len(group) for group in groups] == [1_000, 1_000, 500]


contents = st.lists(st.integers(0, (1 << 64) - 1), unique=True, max_size=300)


@pytest.mark.parametrize(
    ("parts", "files"),
    [
        (0, 1),
        (1, 1),
        (32, 32),
        (33, 32),
        (512, 32),
        (513, 64),
        (2_049, 128),
        (30_000, 256),
        (30_001, 1_000),
        (150_000, 1_000),
    ],
)
def test_so_many_parts_have_so_many_split_files(parts, files):
    numbers = np.random.default_rng(parts).integers(0, 1 << 64, parts, np.uint64)
    groups = splits_of(records(numbers.tolist()))
    assert len(groups) <= files
    assert len(groups) >= files * 0.5
    assert sum(map(len, groups)) == parts


def test_a_range_of_150_000_is_read_from_one_file_for_each_split_of_100_parts(monkeypatch, tmp_path):
    monkeypatch.setattr(partitions, "PAGE_BYTES", 4096)
    ranges, random, schema = 150_000, np.random.default_rng(1), pa.schema([("value", pa.uint64())])
    splits, files, rows = splits_of(records(random.integers(0, 1 << 64, 100, np.uint64).tolist())), [], 20_000
    for number, group in enumerate(splits):
        files.append(tmp_path / f"{number}.partitions")
        with partitions.PartitionWriter(files[-1], schema, packing="lz4") as writer:
            for _ in group:
                numbers = random.integers(0, ranges, rows)
                writer.add(numbers, pa.table([numbers.astype(np.uint64)], schema=schema))
    assert len(files) <= 32
    reads: list[int] = []
    monkeypatch.setattr(partitions, "read_at", noting(reads, partitions.read_at))
    monkeypatch.setattr(pages, "read_at", noting(reads, pages.read_at))
    for number in (0, 77_777, ranges - 1):
        reads.clear()
        for path in files:
            with open(path, "rb") as file:
                found = partitions.read_range(file, path.name, schema, number, number + 1)
            assert set(found.column("value").to_pylist()) <= {number}
        assert len(reads) <= 3 * len(files)
        assert sum(reads) < 0.2 * sum(path.stat().st_size for path in files)


def noting(reads, real):
    def read(file, offset, size, name):
        reads.append(size)
        return real(file, offset, size, name)

    return read


@given(contents, st.randoms())
def test_parts_are_gathered_by_what_they_hold_in_any_order(numbers, random):
    parts = records(numbers)
    groups = splits_of(parts)
    random.shuffle(parts)
    assert splits_of(parts) == groups
    assert sorted(part.content for group in groups for part in group) == sorted(part.content for part in parts)


@settings(max_examples=20)
@given(st.sets(st.integers(0, (1 << 64) - 1), min_size=65, max_size=511), st.integers(0, (1 << 64) - 1))
def test_a_part_more_changes_one_split_file(numbers, other):
    before = {tuple(part.content for part in group) for group in splits_of(records(sorted(numbers)))}
    after = {tuple(part.content for part in group) for group in splits_of(records(sorted({*numbers, other})))}
    assert len(after - before) == (other not in numbers)
