"""Rows dealt out by the part that asks: each finds its own, all of them, in order, and is told when they change."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from declared import REPEATED, REPEATS, flow, kept, new_job, run, some_numbers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redpajama.engine import homes, runner
from redpajama.engine.homes import Home, file_count, number_of, numbers_of, numbers_of_integers
from redpajama.engine.parts import PartRecord
from redpajama.engine.shapes import Piece, Single
from redpajama.engine.stages import Build

FEW = settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
contents = st.integers(0, (1 << 64) - 1)


# ---- numbers


@FEW
@given(st.lists(contents, max_size=50))
def test_a_home_has_one_number_however_its_content_is_written(values):
    words = [f"{value:016x}" for value in values]
    wanted = [value >> 2 for value in values]
    assert [number_of(word) for word in words] == wanted
    assert numbers_of(pa.array(words, pa.string())).tolist() == wanted
    assert numbers_of(pa.chunked_array([[f"a/b/{word}" for word in words]], pa.string())).tolist() == wanted
    assert numbers_of_integers(pa.chunked_array([values], pa.uint64())).tolist() == wanted


@pytest.mark.parametrize(("parts", "files"), [(0, 1), (1, 1), (16, 1), (17, 2), (32, 2), (33, 4), (10**6, 4096)])
def test_so_many_parts_share_so_many_files(parts, files):
    assert file_count(parts) == files


@given(st.integers(0, 10**6))
def test_files_are_a_power_of_two_for_about_as_many_parts_each(parts):
    count = file_count(parts)
    assert count.bit_count() == 1
    assert count == homes.MOST_FILES or parts <= homes.HOME_PARTS * count < 2 * max(parts, homes.HOME_PARTS)


# ---- rows


ASKED = pa.schema([("row", pa.int64()), ("note", pa.large_string())])
NOTES = Home(".notes", ASKED, ("row",), "asking")


def build_of(root, files: list[list[tuple[int, int]]], asking: list[int]) -> Build:
    """Rows (content of who asks, number) in some parts of one stage, dealt out among parts of these contents."""

    def write(build, part, outputs):
        rows = files[part.spec["file"]]
        table = pa.table([[row for _, row in rows], [f"note {row}" for _, row in rows]], schema=ASKED)
        homes.write(outputs, NOTES, np.array([content >> 2 for content, _ in rows], np.int64), table)
        return [], kept(len(rows))

    def ask(build, part, outputs):
        pq.write_table(pa.table({"number": [part.spec["number"]]}), outputs.file(".parquet"))
        return [], kept(1)

    askers = [Piece("a", number, {"number": number}) for number in range(len(asking))]
    writers = [Piece("all", number, {"file": number}) for number in range(len(files))]
    stages = [
        Single(name="asking", version=1, pieces=lambda build: askers, work=ask),
        Single(name="noted", version=1, after=("asking",), pieces=lambda build: writers, work=write, homes=(NOTES,)),
    ]
    job = new_job(root, {})
    return Build(job, runner.run(job, stages)["records"])


def asker(content: int) -> PartRecord:
    """A part of this content that asks."""
    return PartRecord("asking/a-f/part-0", "", f"{content:016x}", "", "", "", "")


few_contents = st.lists(contents, unique_by=lambda value: value >> 2, min_size=1, max_size=40)


@FEW
@given(st.data(), few_contents)
def test_every_part_finds_exactly_its_rows_in_order(tmp_path_factory, data, asking):
    pairs = data.draw(st.lists(st.tuples(st.sampled_from(asking), st.integers(0, 5)), max_size=60))
    rows = [(content, row) for row, (content, _) in enumerate(pairs)]
    files = [[each for each, (_, file) in zip(rows, pairs, strict=True) if file == number] for number in range(6)]
    build = build_of(tmp_path_factory.mktemp("homes") / "r", files, asking)
    for content in asking:
        found = homes.read(build, "noted", asker(content), NOTES)
        own = [row for other, row in rows if other == content]
        assert found.to_pydict() == {"row": own, "note": [f"note {row}" for row in own]}
        assert homes.read(build, "noted", asker(content), NOTES, ["note"]).column_names == ["note"]
        assert bool(homes.digest(build, "noted", asker(content), NOTES)) == bool(own)
    everything = [row for table in homes.all_rows(build, "noted", NOTES) for row in table["row"].to_pylist()]
    assert sorted(everything) == list(range(len(rows)))


@FEW
@given(st.data(), few_contents)
def test_a_digest_changes_with_its_own_rows_alone(tmp_path_factory, data, asking):
    contents_of_rows = data.draw(st.lists(st.sampled_from(asking), min_size=1, max_size=40))
    rows = [(content, row) for row, content in enumerate(contents_of_rows)]
    changed = data.draw(st.sampled_from(rows))
    folder = tmp_path_factory.mktemp("homes")
    one = build_of(folder / "one", [rows[::2], rows[1::2]], asking)
    dealt = build_of(folder / "two", [rows[5:], rows[:5], []], asking)
    other = build_of(folder / "three", [[each if each != changed else (each[0], 1000) for each in rows]], asking)
    for content in asking:
        digests = [homes.digest(build, "noted", asker(content), NOTES) for build in (one, dealt, other)]
        assert digests[0] == digests[1]
        assert (digests[0] == digests[2]) == (content != changed[0])


def test_who_has_no_rows_or_no_stage_finds_nothing(tmp_path):
    build = build_of(tmp_path / "r", [[(5 << 2, 1)]], [5 << 2, 6 << 2])
    assert homes.read(build, "noted", asker(6 << 2), NOTES).schema == ASKED
    assert homes.read(build, "noted", asker(6 << 2), NOTES, ["row"]).to_pydict() == {"row": []}
    assert homes.digest(build, "noted", asker(6 << 2), NOTES) == ""
    nowhere = Build(build.job, {})
    assert homes.read(nowhere, "noted", asker(5 << 2), NOTES).num_rows == 0
    assert homes.digest(nowhere, "noted", asker(5 << 2), NOTES) == ""


def test_rows_of_one_part_come_back_as_it_wrote_them(tmp_path):
    build = build_of(tmp_path / "r", [[(9 << 2, 3), (5 << 2, 1), (9 << 2, 2)]], [5 << 2])
    [part] = build.parts("noted")
    assert homes.rows_of(build.store, part, NOTES)["row"].to_pylist() == [1, 3, 2]


# ---- in a flow


def test_homes_of_a_stage_for_each_name_and_for_all_are_found_alike(tmp_path):
    ran = run(tmp_path / "r", some_numbers(parts=40, rows=10))
    assert ran.did["grouped-homes"] == 4
    told = [row["value"] for rows in ran.tables("told").values() for row in rows]
    counts = {row["value"]: row["count_all"] for rows in ran.tables("grouped").values() for row in rows}
    assert {value for value, count in counts.items() if count > 1 and told.count(value) < 1} == set()
    assert all(counts[value] > 1 for value in told)


def test_many_parts_are_gathered_first_and_each_home_is_the_same(tmp_path, monkeypatch):
    files = some_numbers(parts=12, rows=30)
    direct = run(tmp_path / "direct", files)
    monkeypatch.setattr(homes, "DIRECT", 4)  # of eight
    gathered = run(tmp_path / "gathered", files)
    assert "grouped-homes-split" not in direct.did
    assert gathered.did["grouped-homes-split"] == 8
    assert gathered.tables("told") == direct.tables("told")
    assert not list(gathered.root.glob("grouped-homes-split/*"))
    assert run(tmp_path / "gathered", files).did == {}


def test_a_home_of_another_order_is_dealt_out_again(tmp_path):
    files = some_numbers()
    run(tmp_path / "r", files)
    turned = REPEATED._replace(order=("value", "times"))
    did = run(tmp_path / "r", files, flow(grouped={"homes": (turned,)})).did
    assert did == {"grouped-homes": 1}


def test_a_file_of_homes_holds_a_row_group_a_home(tmp_path):
    files = some_numbers()
    ran = run(tmp_path / "r", files)
    [path] = ran.root.glob("grouped-homes/*/home-*.parquet")
    with pq.ParquetFile(path) as file:
        assert file.schema_arrow.equals(REPEATS)
        assert file.num_row_groups == sum(map(bool, ran.tables("told").values()))
