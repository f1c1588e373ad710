"""Files by key on a local disk and in S3, parts that commit once whatever happens, and the sums of their counts."""

import json
import os
import pickle
import random
import signal
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import fsspec
import pytest
from corpora import digest
from fake_hub import serve_s3
from hypothesis import given
from hypothesis import strategies as st

from redpajama.artifacts import (
    BuildFailed,
    Outputs,
    Part,
    PartRecord,
    Store,
    add_counts,
    commit_stage,
    committed,
    describe,
    read_parts,
    read_stage,
    run_part,
)
from redpajama.stages import balance


@pytest.fixture(scope="module")
def bucket():
    """An S3 server that this process's libraries find by themselves."""
    with serve_s3() as (client, environment), pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        yield client
        fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path) -> Store:
    """An empty Store, on a disk and in a bucket."""
    if request.param == "local":
        return Store(str(tmp_path / "root"))
    request.getfixturevalue("bucket")
    return Store(f"s3://bucket/{tmp_path.name}/root/")


def put(store: Store, folder: Path, key: str, data: bytes) -> Path:
    path = folder / "finished"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    store.put(key, path)
    return path


# ---- Store


def test_what_is_put_or_written_is_read_back_and_the_file_is_moved(store, tmp_path):
    path = put(store, tmp_path, "stage/name/a.bin", b"one")
    store.write("stage/name/b.json", b'{"b": 2}')
    assert not path.exists()
    assert store.read("stage/name/a.bin") == b"one"
    assert store.read_json("stage/name/b.json") == {"b": 2}
    with store.open("stage/name/a.bin") as file:
        file.seek(1)
        assert file.read() == b"ne"


def test_an_empty_file_is_a_file(store, tmp_path):
    put(store, tmp_path, "a/empty", b"")
    store.write("a/none", b"")
    assert store.read("a/empty") == store.read("a/none") == b""
    assert list(store.keys("a")) == [("a/empty", 0), ("a/none", 0)]


def test_the_last_to_put_or_write_wins(store, tmp_path):
    for data in (b"first", b"second"):
        store.write("a/b", data)
        assert store.read("a/b") == data
        assert list(store.keys("")) == [("a/b", len(data))]
    put(store, tmp_path, "a/b", b"third")
    assert store.read("a/b") == b"third"


def test_what_is_not_there_is_not_found(store):
    store.write("a/b.json", b"1")
    for key in ("a/b", "a/c.json", "b"):
        assert not store.exists(key)
        with pytest.raises(FileNotFoundError):
            store.read(key)
        with pytest.raises(FileNotFoundError):
            store.open(key)
        assert list(store.keys(key)) == []
    assert store.exists("a")
    assert store.exists("a/b.json")


def test_keys_are_sorted_and_below_the_folder_alone(store):
    names = ["a/x", "a-b/x", "a.json", "ab/x", "a/_record", "a/part/y", "b/x"]
    for name in names:
        store.write(name, name.encode())
    assert list(store.keys("")) == [(name, len(name)) for name in sorted(names)]
    assert [key for key, _ in store.keys("a")] == ["a/_record", "a/part/y", "a/x"]
    assert [key for key, _ in store.keys("a/part")] == ["a/part/y"]


def test_a_store_without_a_file_has_no_keys(store):
    assert list(store.keys("")) == []
    assert list(store.keys("a/b")) == []
    assert not store.exists("a")


def test_removing_takes_a_file_or_a_folder_and_not_its_neighbours(store):
    for name in ("a/x", "a/y/z", "ab/x", "a.json", "b/x"):
        store.write(name, b"1")
    for prefix in ("a", "b/x", "nothing/there"):
        store.remove(prefix)
    assert list(store.keys("")) == [("a.json", 1), ("ab/x", 1)]


def test_a_listing_shows_what_others_have_written_and_removed_since(store):
    assert list(store.keys("")) == []
    other = pickle.loads(pickle.dumps(store))
    assert other == store
    assert hash(other) == hash(store)
    other.write("a/b", b"1")
    assert (store.exists("a/b"), list(store.keys("a"))) == (True, [("a/b", 1)])
    other.remove("a")
    assert (store.exists("a/b"), list(store.keys("a"))) == (False, [])


def test_a_relative_path_of_a_record_lies_in_the_store_and_others_stay(store):
    store.write("inputs/x.gz", b"1")
    with fsspec.open(store.locate("inputs/x.gz")) as file:
        assert file.read() == b"1"
    for path in ("/mnt/x.gz", "s3://other/x.gz", "https://example.org/x.gz"):
        assert store.locate(path) == path


def test_a_bucket_can_be_the_root(bucket):
    bucket.create_bucket(Bucket="whole")
    store = Store("s3://whole")
    store.write("a/b", b"1")
    assert list(store.keys("")) == list(store.keys("a")) == [("a/b", 1)]
    store.remove("a")
    assert list(store.keys("")) == []


def test_a_root_may_look_like_a_pattern_and_be_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store("r[1]*/out/")
    Store("r1x/out").write("a/b", b"not this")
    store.write("a/b", b"1")
    assert list(store.keys("a")) == [("a/b", 1)]
    store.remove("a")
    assert [path.name for path in tmp_path.rglob("b")] == ["b"]
    assert (tmp_path / "r1x/out/a/b").exists()


@pytest.mark.parametrize("how", ["put", "write"])
def test_a_local_reader_never_sees_a_part_of_a_file(tmp_path, how):
    store, over = Store(str(tmp_path / "root")), threading.Event()
    seen, listed = set(), set()
    versions = [bytes([number]) * 300_000 for number in range(1, 4)]
    store.write("a/b", versions[0])

    def look() -> None:
        while not over.is_set():
            seen.add(store.read("a/b"))
            listed.update(store.keys("a"))

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(150):
        data = versions[number % 3]
        store.write("a/b", data) if how == "write" else put(store, tmp_path, "a/b", data)
    over.set()
    for reader in readers:
        reader.join()
    assert len(seen) > 1
    assert seen <= set(versions)
    assert listed == {("a/b", 300_000)}


def test_a_writer_killed_at_any_moment_leaves_the_old_file_or_the_new(tmp_path):
    store = Store(str(tmp_path / "root"))
    versions = [bytes([number]) * 500_000 for number in range(2)]
    store.write("a/b", versions[0])

    def write_for_ever() -> None:
        while True:
            for data in versions:
                store.write("a/b", data)

    for number in range(20):
        child = fork(write_for_ever)
        threading.Event().wait(random.Random(number).random() / 50)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert store.read("a/b") in versions
        assert [key for key, _ in store.keys("a")] == ["a/b"]


def fork(work: Callable[[], object]) -> int:
    """Do the work in a process group of its own; gives its id."""
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    try:
        work()
    finally:
        os._exit(0)


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


def test_a_part_survives_json():
    part = part_of([["u", "1"]], spec={"files": [{"url": "ü"}]}, size=3, label="x")
    again = Part(**json.loads(json.dumps(part.to_json())))
    assert again == part
    assert again.stem == part.stem


# ---- run_part


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
    assert record.id == f"news-{'f' * 16}/part-{part_of().key}"
    assert record.file(".txt") == f"{stem}.txt"
    with pytest.raises(KeyError, match=r"has no output \*\.parquet"):
        record.file(".parquet")  # the ledger is not the part's own


def test_a_committed_part_is_not_done_again(store):
    first = run_part(store, part_of(), work)

    def never(_: Outputs) -> tuple:
        raise AssertionError("done again")

    assert run_part(store, part_of(size=7), never) == first


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


def test_files_without_a_record_are_not_a_part_and_are_written_over(store, tmp_path):
    put(store, tmp_path, f"{part_of().stem}.txt", b"of a killed build")
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
    _, status = os.waitpid(fork(lambda: run_part(store, part_of(), work)), 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
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
    children = [fork(lambda: run_part(Store(str(tmp_path / "root")), part_of(), work)) for _ in range(8)]
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert digest(tmp_path / "root") == digest(tmp_path / "whole")


def test_a_part_record_has_no_clock_no_host_and_no_place(tmp_path):
    stores = [Store(str(tmp_path / name)) for name in ("one", "two")]
    specs = [{"path": "/one"}, {"path": "/two"}]
    records = [run_part(store, part_of(spec=spec), work) for store, spec in zip(stores, specs, strict=True)]
    assert records[0].sha256 == records[1].sha256


# ---- stage records


def two_parts(store: Store) -> list[PartRecord]:
    return [run_part(store, part_of([str(number)]), work) for number in range(2)]


def test_a_stage_record_is_its_set_of_parts_with_their_sums_in_any_order(store):
    records = two_parts(store)
    folder = part_of().folder
    stage = commit_stage(store, folder, records)
    assert commit_stage(store, folder, records[::-1]) == stage == read_stage(store, stage.key)
    assert stage.counts == {"read": 6, "kept": 4, "dropped": {"empty-text": 2}}
    assert stage.key == f"{folder}/_record-{stage.sha256[:16]}.json"
    assert commit_stage(store, folder, records[:1]).key != stage.key
    assert read_parts(store, stage) == sorted(records, key=lambda record: record.stem)


def test_a_part_record_that_is_gone_broken_or_another_fails_by_name(store):
    records = two_parts(store)
    stage = commit_stage(store, part_of().folder, records)
    key = f"{records[0].stem}.json"
    body = store.read(key)
    store.write(key, body.replace(b'"kept":2', b'"kept":3'))
    with pytest.raises(BuildFailed, match=f"^{key}: not the record that {stage.key} names$"):
        read_parts(store, stage)
    store.write(key, body[:-1])
    with pytest.raises(BuildFailed, match=f"^{key}: the part record is missing or unreadable$"):
        read_parts(store, stage)
    store.remove(key)
    with pytest.raises(BuildFailed, match=f"^{key}: the part record is missing or unreadable$"):
        read_parts(store, stage)


# ---- sums


def test_counts_are_added_key_by_key_and_tables_in_them_too():
    one = {"read": 2, "dropped": {"empty-text": 1}, "mean": 0.5, "note": "not a count"}
    two = {"read": 3, "dropped": {"empty-text": 2, "no-text": 1}}
    assert add_counts([one, two]) == {"dropped": {"empty-text": 3, "no-text": 1}, "mean": 0.5, "read": 5}
    assert add_counts([]) == {}


TABLES = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9))


@given(st.lists(st.fixed_dictionaries({"n": st.integers(0, 9), "t": TABLES})))
def test_the_sum_of_sums_is_the_sum_in_any_grouping_and_order(counts):
    halves = add_counts([add_counts(counts[::2]), add_counts(counts[1::2])])
    assert halves == add_counts(counts[::-1]) == add_counts(counts)
    assert list(halves) == sorted(halves)


def test_a_balance_is_what_was_read_in_outcomes():
    counts = {"read": 10, "kept": 4, "merged": 1, "dropped": {"a": 2, "b": 1}, "quarantined": {"c": 2}}
    assert balance(counts) is None
    assert balance({}) is None
    assert balance({**counts, "kept": 3}) == "10 units were read, but 9 have an outcome"
    assert balance({**counts, "quarantined": {}}) == "10 units were read, but 8 have an outcome"


def test_a_file_is_described_by_its_size_and_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"x" * (3 << 20))
    assert describe(tmp_path / "x") == {"bytes": 3 << 20, "sha256": sha256(b"x" * (3 << 20)).hexdigest()}
