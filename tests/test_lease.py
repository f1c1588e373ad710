"""One build a ROOT on an object store: a lease, taken over after its time."""

import errno
import json
import os
import signal
import subprocess
import threading
import time

import pytest
from corpora import cli, start_cli, wait_for, write_corpus, write_rows
from fake_hub import serve_s3

from redpajama.engine import lease, workers
from redpajama.engine.lease import LEASE_KEY, Lease, LeaseHeld
from redpajama.engine.store import Store
from redpajama.errors import BuildFailed, UserError


@pytest.fixture
def s3(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.2)
    return Store(f"s3://bucket/{tmp_path.name}")


def test_of_two_builds_the_second_is_refused_by_the_name_of_the_first(s3):
    with workers.hold_root(s3.url) as (run, _):
        assert workers.is_held(s3)
        said = rf"another build holds it \(process {os.getpid()} on .*\); if that was"
        with pytest.raises(LeaseHeld, match=said), workers.hold_root(s3.url):
            pytest.fail("two hold it")
        workers.check_held(run)
    assert not workers.is_held(s3)
    with workers.hold_root(s3.url):
        pass


def test_of_many_that_come_at_once_one_wins(s3):
    won, lost = [], []

    def come(number: int) -> None:
        try:
            Lease(s3, str(number), f"process {number}").take()
            won.append(number)
        except LeaseHeld:
            lost.append(number)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)


def test_a_lease_without_a_heartbeat_is_taken_over_and_whoever_lost_it_is_told(s3, monkeypatch):
    first = Lease(s3, "a", "process 1")
    first.take()
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.0)
    second = Lease(s3, "b", "process 2")
    second.take()
    with pytest.raises(BuildFailed, match="another build took it over"):
        first.check()
    first.release()  # what it does not hold it does not release
    second.check()
    second.release()
    assert lease.look(s3).is_free


def test_who_lost_it_and_does_not_know_lets_nobody_in(s3, monkeypatch):
    first, second = Lease(s3, "a", "process 1"), Lease(s3, "b", "process 2")
    first.take()
    s3.write(LEASE_KEY, b"{}")  # let go
    second.take()
    assert not first.is_lost
    first.release()
    assert (lease.look(s3).run, lease.look(s3).is_free) == ("b", False)


@pytest.fixture
def loses_answers(monkeypatch):
    """The next writes of a lease go through, and are refused when they are sent again."""
    put, left = lease._put, []

    def send_twice(store, body, etag):
        found = put(store, body, etag)
        return put(store, body, etag) if left and left.pop() else found

    monkeypatch.setattr(lease, "_put", send_twice)
    return left


def test_a_write_whose_answer_was_lost_is_known_as_ones_own(s3, loses_answers):
    held = Lease(s3, "a", "process 1")
    for act in (held.take, held.check, held.release):
        loses_answers.append(True)
        act()
        assert not held.is_lost
        assert not loses_answers
    assert lease.look(s3).is_free


def test_the_heartbeat_and_a_check_at_once_do_not_refuse_each_other(s3, monkeypatch):
    put, under_way = lease._put, []

    def one_at_a_time(*arguments):
        under_way.append(1)
        assert len(under_way) == 1
        time.sleep(0.01)
        found = put(*arguments)
        under_way.pop()
        return found

    held = Lease(s3, "a", "process 1")
    held.take()
    monkeypatch.setattr(lease, "_put", one_at_a_time)
    threads = [threading.Thread(target=held.check) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not under_way
    held.check()


class LibraryError(Exception):
    """As botocore's: no OSError."""


@pytest.mark.parametrize("error", [LibraryError("gone"), OSError("gone")])
def test_a_store_that_does_not_answer_for_a_while_may_answer_again_and_then_the_lease_counts_as_lost(
    s3, monkeypatch, error
):
    put, broken = lease._put, []

    def fail(*arguments):
        if broken:
            raise error
        return put(*arguments)

    monkeypatch.setattr(lease, "_put", fail)
    with lease.held(s3, "a", "process 1") as held:
        broken.append(True)
        time.sleep(0.7)  # some heartbeats
        held.check()
        before = held.etag
        broken.clear()
        wait_for(lambda: held.etag != before, 20)
        broken.append(True)
        monkeypatch.setattr(lease, "LEASE_SECONDS", 0.0)
        with pytest.raises(BuildFailed, match=r"nothing could be written there for .* s \(.*gone.*\)"):
            held.check()
        assert not held.is_lost


def test_the_lease_of_a_dead_process_of_this_machine_is_taken_over_at_once_and_no_other(s3, monkeypatch):
    first = Lease(s3, "a", "process 1")
    first.take()
    dead = subprocess.Popen(["true"])
    dead.wait()
    monkeypatch.setattr(lease, "process_space", lambda: "another machine")
    first.store.write(
        LEASE_KEY, json.dumps({"run": "x", "where": "x", "pid": dead.pid, "space": "this machine"}).encode()
    )
    with pytest.raises(LeaseHeld):
        Lease(s3, "b", "process 2").take()
    monkeypatch.setattr(lease, "process_space", lambda: "this machine")
    Lease(s3, "b", "process 2").take()


def test_a_heartbeat_writes_the_lease_anew(s3):
    with lease.held(s3, "a", "process 1") as held:
        before = held.etag
        wait_for(lambda: held.etag != before, 20)
        assert not held.is_lost


def test_a_store_that_knows_no_conditions_is_refused(s3, monkeypatch):
    call = s3.fs.call_s3

    def refuse(method, **named):
        if method == "put_object" and named.keys() & {"IfMatch", "IfNoneMatch"}:
            raise OSError(errno.ENOSYS, "A header you provided implies functionality that is not implemented")
        return call(method, **named)

    monkeypatch.setattr(s3.fs, "call_s3", refuse)
    with pytest.raises(UserError, match=r"no conditional writes.*--sole-writer"):
        Lease(s3, "a", "process 1").take()


def test_a_store_that_ignores_conditions_is_refused_unless_the_user_sees_to_it(s3, monkeypatch):
    def put(store, body, etag):
        store.write(LEASE_KEY, body)
        return "x"

    monkeypatch.setattr(lease, "_put", put)
    with pytest.raises(UserError, match=r"no conditional writes.*--sole-writer"):
        Lease(s3, "a", "process 1").take()
    assert not s3.exists(LEASE_KEY)
    s3.write(".tmp/old/live", b"")
    with workers.hold_root(s3.url, is_sole=True) as (run, _):
        workers.check_held(run)
        assert not s3.exists(LEASE_KEY)
        assert not s3.exists(".tmp/old/live")  # what ran before stops


def test_a_store_of_another_kind_is_refused(tmp_path):
    said = "stores of this kind; if you see to that, say --sole-writer"
    with pytest.raises(UserError, match=said), workers.hold_root(f"memory://{tmp_path.name}"):
        pytest.fail("nothing holds it")


def test_two_drivers_on_one_root_the_second_is_refused_and_takes_over_after_a_killed_first(tmp_path):
    manifest = write_corpus(tmp_path / "c")
    for number in range(3, 30):
        write_rows(tmp_path / f"c/news-{number}.json.gz", 60 * number + 1000, 60)
    with serve_s3() as (client, environment):
        environment = {**environment, "REDPAJAMA_LEASE_SECONDS": "8"}
        keys = lambda: [each["Key"] for each in client.list_objects_v2(Bucket="bucket").get("Contents", [])]  # noqa: E731
        command = ["build", manifest, "--out", "s3://bucket/r", "--workers", "1"]
        first = start_cli(*command, **environment)
        wait_for(lambda: any("/documents/" in f"/{key}" and "/part-" in key for key in keys()), 100)
        second = cli(*command, **environment)
        assert (second.returncode, second.stderr.count("\n")) == (2, 1)
        assert f"another build holds it (process {first.pid} on " in second.stderr
        status = cli("status", "s3://bucket/r", **environment)
        assert "build 'small' until tokens: running" in status.stdout
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        wait_for(lambda: cli(*command, "--until", "documents", **environment).returncode == 0, 100)
        assert not [key for key in keys() if key.startswith("r/.tmp/")]
