"""Files by key on a local disk and in S3: whole, renamed into place, listed at once, read by ranges."""

import os
import pickle
import random
import signal
import threading
from multiprocessing.synchronize import Event
from pathlib import Path

import fsspec
import pytest
from corpora import FORKS, exit_code, start_process

from redpajama.engine import store as stores
from redpajama.engine.store import LAYOUT, LAYOUT_KEY, Store, check_layout, mark_layout
from redpajama.errors import UserError


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


def test_what_another_removed_meanwhile_is_removed(store, monkeypatch):
    monkeypatch.setattr(store.fs, "exists", lambda *_: True)
    store.remove("a/gone")


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


VERSIONS = [bytes([number]) * 500_000 for number in range(2)]


def write_for_ever(store: Store, begun: Event) -> None:
    while True:
        for data in VERSIONS:
            store.write("a/b", data)
            begun.set()


def test_a_writer_killed_at_any_moment_leaves_the_old_file_or_the_new(tmp_path):
    store = Store(str(tmp_path / "root"))
    for number in range(20):
        begun = FORKS.Event()
        child = start_process(write_for_ever, store, begun)
        assert begun.wait(60)
        threading.Event().wait(random.Random(number).random() / 50)
        child.kill()
        assert exit_code(child) == -signal.SIGKILL
        assert store.read("a/b") in VERSIONS
        assert [key for key, _ in store.keys("a")] == ["a/b"]


# ---- listings and many files at once


def test_sizes_are_those_of_a_listing_below_the_folder(store):
    for name in ("a/x", "a/y/z", "ab/x", "a.json"):
        store.write(name, name.encode())
    assert store.sizes("a") == {"a/x": 3, "a/y/z": 5}
    assert store.sizes("a/y") == {"a/y/z": 5}
    assert store.sizes("nothing/there") == {}


def test_the_size_of_a_file_is_asked_or_there_is_none(store):
    store.write("a/b", b"123")
    assert (store.size("a/b"), store.size("a/c")) == (3, -1)


@pytest.mark.parametrize("count", [0, 1, 100])
def test_many_files_are_read_in_the_order_that_is_asked_for(store, count):
    for number in range(0, count, 2):
        store.write(f"a/{number}", b"%d" % number)
    found = list(store.read_each([f"a/{number}" for number in reversed(range(count))]))
    assert found == [None if number % 2 else b"%d" % number for number in reversed(range(count))]


# ---- ranges


@pytest.fixture
def asked(bucket):
    """What is asked of the S3 server from here on, [(operation, range)]; with a store in it that holds `a/b`."""
    store, requests = Store("s3://bucket/asked"), []
    store.write("a/b", bytes(range(256)) * 100)

    async def note(params, model, **_):
        requests.append((model.name, params["headers"].get("Range", "")))

    events = store.fs.s3.meta.events
    events.register("before-call.s3", note, unique_id="asked")
    yield store, requests
    events.unregister("before-call.s3", unique_id="asked")


def test_a_large_file_of_known_size_is_read_by_ranges_and_not_asked_for_its_size(asked, monkeypatch):
    store, requests = asked
    monkeypatch.setattr(stores, "READ_AHEAD", 1000)
    with store.open("a/b", 25_600) as file:
        assert file.seek(0, os.SEEK_END) == 25_600
        file.seek(256)
        assert file.read(4) == b"\x00\x01\x02\x03"
        file.seek(-1, os.SEEK_END)
        assert file.read(10) == b"\xff"
        assert file.read(10) == b""
    assert requests == [("GetObject", "bytes=256-259"), ("GetObject", "bytes=25599-25599")]


def test_a_small_file_of_known_size_comes_whole_however_it_is_read(asked):
    store, requests = asked
    with store.open("a/b", 25_600) as file:
        file.seek(-1, os.SEEK_END)
        assert file.read(10) == b"\xff"
        file.seek(0)
        assert file.read(2) == b"\x00\x01"
    assert [name for name, _ in requests] == ["GetObject"]


def test_a_file_of_known_size_is_read_whole_in_one_request(asked):
    store, requests = asked
    with store.open("a/b", 25_600) as file:
        assert file.read() == bytes(range(256)) * 100
    assert [name for name, _ in requests] == ["GetObject"]
    requests.clear()
    assert store.read("a/b") == bytes(range(256)) * 100
    assert [name for name, _ in requests] == ["GetObject"]


def test_many_small_files_take_a_request_each_and_a_listing_one(asked):
    store, requests = asked
    for number in range(40):
        store.write(f"many/{number}", b"1")
    requests.clear()
    assert list(store.read_each([f"many/{number}" for number in range(41)])) == [*([b"1"] * 40), None]
    assert [name for name, _ in requests] == ["GetObject"] * 41
    requests.clear()
    assert len(store.sizes("many")) == 40
    assert [name for name, _ in requests] == ["ListObjectsV2"]


def test_a_file_may_be_open_with_its_size_on_a_disk_too(tmp_path):
    store = Store(str(tmp_path))
    store.write("a/b", b"123")
    with store.open("a/b", 3) as file:
        assert file.read() == b"123"


# ---- layout


def test_a_new_root_is_marked_with_its_layout_and_stays_so(store):
    check_layout(store)
    for _ in range(2):
        mark_layout(store)
        assert store.read(LAYOUT_KEY) == LAYOUT.encode()
        check_layout(store)


@pytest.mark.parametrize("key", ["builds/small.json", "documents/news-0/part-0.json"])
def test_a_root_without_a_mark_that_holds_outputs_is_of_the_first_layout(store, key):
    store.write(key, b"{}")
    for refuse in (check_layout, mark_layout):
        with pytest.raises(UserError, match="another version of redpajama wrote here") as told:
            refuse(store)
    assert str(told.value).startswith(f"{store.url}: ")
    assert "layout 1, this one has 2" in str(told.value)
    assert list(store.keys("")) == [(key, 2)]


@pytest.mark.parametrize("mark", [b"1", b"3\n", b"\xff"])
def test_a_root_of_another_layout_is_refused_in_one_line(store, mark):
    store.write(LAYOUT_KEY, mark)
    with pytest.raises(UserError, match=r"build into another folder$") as told:
        mark_layout(store)
    assert "\n" not in str(told.value)
    assert store.read(LAYOUT_KEY) == mark
