"""Parts that commit once whatever happens, and what is balanced."""

import json
import os
import signal
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from corpora import digest, exit_code, start_process

from redpajama.engine.parts import Outputs, Part, PartRecord, committed_each, content_of, describe_whole, run_part
from redpajama.engine.stages import balance
from redpajama.engine.store import Store
from redpajama.errors import BuildFailed

# ---- Part


def part_of(reads: object = ("u", "1"), **more) -> Part:
    return Part("documents", "news", "f" * 16, reads, **more)


def test_the_key_of_a_part_is_what_it_reads_and_its_fingerprint_and_nothing_else():
    part = part_of()
    assert part_of(spec={"path": "/elsewhere"}, size=9, label="small-00001").key == part.key
    assert part_of(["u", "1"]).key == part.key
    assert part_of(["u", "2"]).key != part.key
    assert Part("documents", "news", "e" * 16, ["u", "1"]).key != part.key


def test_a_label_stands_in_front_of_the_key():
    assert part_of().stem == f"documents/news-{'f' * 16}/part-{part_of().key}"
    assert part_of(label="small-00001").stem == f"documents/news-{'f' * 16}/small-00001-{part_of().key}"


def test_a_part_for_another_says_so_and_has_the_key_that_it_has_without():
    assert part_of(each="0" * 15 + "a").key == part_of().key


def test_a_part_survives_json():
    part = part_of([["u", "1"]], spec={"files": [{"url": "ü"}]}, size=3, label="x", each="a" * 16)
    again = Part(**json.loads(json.dumps(part.to_json())))
    assert again == part
    assert again.stem == part.stem
    assert "label" not in part_of().to_json()  # what says nothing is left out


@pytest.mark.parametrize("reads", [[], "", 0, None])
def test_a_part_that_reads_nothing_survives_json(reads):
    assert Part(**json.loads(json.dumps(part_of(reads).to_json()))) == part_of(reads)


# ---- run_part


def committed(store: Store, part: Part) -> PartRecord | None:
    """Its record, if it is done."""
    return next(committed_each(store, [part.stem]))


def work(outputs: Outputs) -> tuple[list, dict]:
    """Two files, one of them in a folder below the part's."""
    outputs.file(".txt").write_bytes(b"text")
    outputs.file(".parquet", "ledger/").write_bytes(b"ledger")
    return ["u"], {"read": 3, "kept": 2, "dropped": {"empty-text": 1}}


def test_a_committed_part_has_its_files_and_a_record_that_describes_them(store):
    record = run_part(store, part_of(), work)
    stem = part_of().stem
    ledger = f"documents/news-{'f' * 16}/ledger/part-{part_of().key}.parquet"
    assert [key for key, _ in store.keys("documents")] == sorted([f"{stem}.txt", f"{stem}.json", ledger])
    assert record.outputs[f"{stem}.txt"] == {"bytes": 4, "sha256": sha256(b"text").hexdigest()}
    assert record == committed(store, part_of()) == PartRecord.parse(stem, store.read(f"{stem}.json"))
    assert record.sha256 == sha256(store.read(f"{stem}.json")).hexdigest()
    assert record.inputs == ["u"]
    assert (record.stage, record.name, record.folder) == ("documents", "news", part_of().folder)
    assert record.id == f"news/{record.content}"
    assert record.file(".txt") == (f"{stem}.txt", 4)
    assert record.beside("ledger") == (ledger, 6)
    assert record.beside("quarantine") is None
    with pytest.raises(KeyError, match=r"has no output \*\.parquet"):
        record.file(".parquet")  # the ledger is not the part's own


def test_a_record_keeps_what_it_was_made_for(store):
    record = run_part(store, part_of(each="a" * 16), work)
    assert record.each == committed(store, part_of()).each == "a" * 16
    assert run_part(store, part_of(), work).each == ""


def test_a_content_is_the_hash_of_the_table_or_of_all_files_or_the_key():
    table, other, ledger = ("1" * 64, "2" * 64, "3" * 64)
    assert content_of({"*.parquet": [9, table], "ledger/*.parquet": [9, ledger]}, "k") == table[:16]
    assert content_of({"*.parquet": [9, table], "*.txt": [9, other]}, "k") == table[:16]
    both = content_of({"*.a": [9, other], "ledger/*.parquet": [9, ledger]}, "k")
    assert both == content_of({"ledger/*.parquet": [9, ledger], "*.b": [7, other]}, "another key")
    assert both != content_of({"*.a": [9, other]}, "k")
    assert content_of({}, "k") == "k"


def test_a_content_is_hex_of_one_length_whatever_was_written(store):
    nothing = run_part(store, part_of(), lambda outputs: ([], {}))
    assert nothing.content == part_of().key
    assert {len(each.content) for each in (nothing, run_part(store, part_of(), work))} == {16}


def test_equal_outputs_have_equal_contents_whatever_was_read(store):
    one, two = (run_part(store, part_of([number]), work) for number in range(2))
    assert one.content == two.content
    assert one.sha256 != two.sha256


def test_records_are_read_in_the_order_that_is_asked_for_and_what_is_none_is_none(store):
    records = [run_part(store, part_of([number]), work) for number in range(3)]
    store.write("a/part-broken.json", b'{"outputs": {}}')
    store.write("a/part-half.json", b'{"outp')
    stems = [records[2].stem, "a/part-none", records[0].stem, "a/part-broken", "a/part-half", records[2].stem]
    assert list(committed_each(store, stems)) == [records[2], None, records[0], None, None, records[2]]
    assert list(committed_each(store, [])) == []


def test_a_record_with_any_byte_changed_is_none(store):
    record = run_part(store, part_of(), work)
    body = store.read(f"{record.stem}.json")
    for place in range(len(body)):
        store.write(f"{record.stem}.json", body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :])
        assert committed(store, part_of()) is None, body[place : place + 20]


def test_work_that_fails_leaves_no_key_and_no_temporary_file(store):
    def fail(outputs: Outputs) -> tuple:
        outputs.file(".txt").write_bytes(b"half")
        folders.append(outputs.folder)
        raise BuildFailed("no")

    folders: list[Path] = []
    with pytest.raises(BuildFailed):
        run_part(store, part_of(), fail)
    assert list(store.keys("")) == []
    assert not folders[0].exists()
    assert committed(store, part_of()) is None


def test_files_without_a_record_are_not_a_part_and_are_written_over(store):
    store.write(f"{part_of().stem}.txt", b"of a killed build")
    assert committed(store, part_of()) is None
    run_part(store, part_of(), work)
    assert store.read(f"{part_of().stem}.txt") == b"text"


CRASHES = [("before-temp-write", 1), ("after-temp-write", 1), ("before-rename", 1), ("before-rename", 2)]
CRASHES += [("after-rename", 1), ("after-rename", 2), ("before-part-record", 1), ("after-part-record", 1)]


@pytest.mark.parametrize(("point", "nth"), CRASHES)
def test_a_part_killed_at_a_crash_point_is_done_or_not_done_and_then_the_same(tmp_path, monkeypatch, point, nth):
    run_part(Store(str(tmp_path / "whole")), part_of(), work)
    store = Store(str(tmp_path / "root"))
    monkeypatch.setenv("REDPAJAMA_CRASH", f"{point}:{nth}")
    monkeypatch.setenv("REDPAJAMA_CRASH_COUNT", str(tmp_path / "count"))
    assert exit_code(start_process(run_part, store, part_of(), work)) == -signal.SIGKILL
    assert (committed(store, part_of()) is not None) == (point == "after-part-record")
    monkeypatch.delenv("REDPAJAMA_CRASH")
    run_part(store, part_of(), work)
    assert digest(tmp_path / "root") == digest(tmp_path / "whole")


def test_two_that_race_for_a_part_commit_the_same(store):
    both = threading.Barrier(2)
    records = []

    def run() -> None:
        records.append(run_part(store, part_of(), lambda outputs: [work(outputs), both.wait()][0]))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert records[0] == records[1] == committed(store, part_of())
    for key, wanted in records[0].outputs.items():
        assert sha256(store.read(key)).hexdigest() == wanted["sha256"]
    assert len(list(store.keys("documents"))) == 3


def test_processes_that_race_for_a_part_leave_one_and_the_same(tmp_path):
    run_part(Store(str(tmp_path / "whole")), part_of(), work)
    children = [start_process(run_part, Store(str(tmp_path / "root")), part_of(), work) for _ in range(8)]
    assert [exit_code(child) for child in children] == [0] * 8
    assert digest(tmp_path / "root") == digest(tmp_path / "whole")


def write_threads_of_parent(path: Path) -> None:
    path.write_text(str(len(os.listdir(f"/proc/{os.getppid()}/task"))))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="there is no /proc")
def test_processes_of_tests_are_copies_of_one_without_threads(tmp_path):
    assert exit_code(start_process(write_threads_of_parent, tmp_path / "threads")) == 0
    assert (tmp_path / "threads").read_text() == "1"


def test_a_part_record_has_no_clock_no_host_and_no_place(tmp_path):
    stores = [Store(str(tmp_path / name)) for name in ("one", "two")]
    specs = [{"path": "/one"}, {"path": "/two"}]
    records = [run_part(store, part_of(spec=spec), work) for store, spec in zip(stores, specs, strict=True)]
    assert records[0].sha256 == records[1].sha256


# ---- balance and sizes


def test_a_balance_is_what_was_read_in_outcomes():
    counts = {"read": 10, "kept": 4, "merged": 1, "dropped": {"a": 2, "b": 1}, "quarantined": {"c": 2}}
    assert balance(counts) is None
    assert balance({}) is None
    assert balance({**counts, "kept": 3}) == "10 units were read, but 9 have an outcome"
    assert balance({**counts, "quarantined": {}}) == "10 units were read, but 8 have an outcome"


def test_a_file_is_described_by_its_size_and_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"x" * (3 << 20))
    assert describe_whole(tmp_path / "x") == [3 << 20, sha256(b"x" * (3 << 20)).hexdigest()]
