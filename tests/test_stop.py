"""A build that is stopped, or of which a part failed, stops everywhere and soon, and commits nothing more."""

import os
import re
import signal
import subprocess
import threading
import time
from dataclasses import replace

import pytest
from corpora import build, digest, start_cli, wait_for, write_corpus, write_rows
from declared import flow, halve, new_job, some_numbers
from portable import options, portable_job_service

from redpajama.commands import guard as guards
from redpajama.commands.guard import Guard
from redpajama.engine import beam, runner, workers
from redpajama.engine.runner import turns
from redpajama.engine.stages import Job
from redpajama.report import runs


def records(root) -> set[str]:
    return {
        str(path) for path in root.rglob("part-*.json") if path.relative_to(root).parts[0] not in ("timing", ".tmp")
    }


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A corpus of many parts, so that a build takes a while."""
    folder = tmp_path_factory.mktemp("many")
    manifest = write_corpus(folder)
    for number in range(3, 40):
        write_rows(folder / f"news-{number}.json.gz", 60 * number + 1000, 60)
    return manifest


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "term")]
)
def test_a_portable_build_that_is_cancelled_leaves_no_record_after_ten_seconds(many, tmp_path, number, status, word):
    root = tmp_path / "r"
    with portable_job_service() as (jobs, pool):
        process = start_cli("build", many, "--out", root, "--", *options(jobs, pool))
        wait_for(lambda: len(records(root)) > 10)
        os.kill(process.pid, number)
        _, said = process.communicate(timeout=30)
        assert process.returncode == status
        assert re.search(rf"^redpajama: {word}\w* at \S+ \([\d,]+ of [\d,]+ parts\); the same command", said)
        assert "Traceback" not in said
        time.sleep(max(0, 10 - 8))  # `cancel` may have waited as long itself
        before = records(root)
        time.sleep(5)
        assert records(root) == before
    assert build(many, root, "--workers", 1) == build(many, tmp_path / "whole", "--workers", 1)


@pytest.fixture
def stopped(tmp_path):
    """A run of declared stages, of which the second is about to be done."""
    job = new_job(tmp_path / "r", some_numbers(parts=3))
    runner.start(job)
    first, second, *_ = turns(job, flow())
    for turn in (first,):
        for number in range(runner.plan(turn)):
            runner.do(turn, number)
        runner.commit(turn)
    return job, second, tmp_path / "r"


def test_a_worker_begins_no_part_of_a_run_that_is_stopped(stopped):
    job, turn, root = stopped
    assert runner.plan(turn) == 3
    before = records(root)
    workers.stop(job)
    runner.do(turn, 0)
    assert records(root) == before
    assert workers.first_failure(job.store, job.run) == ""


def test_a_worker_looks_for_the_mark_before_it_commits(tmp_path, stopped):
    job, _, root = stopped
    begun, go_on = threading.Event(), threading.Event()

    def wait(build, name, numbers, outputs):
        begun.set()
        assert go_on.wait(20)
        return halve(build, name, numbers, outputs)

    turn = turns(job, flow(halved={"work": wait}))[1]
    runner.plan(turn)
    before = records(root)
    worker = threading.Thread(target=runner.do, args=(turn, 0))
    worker.start()
    assert begun.wait(20)
    workers.stop(job)
    go_on.set()
    worker.join()
    assert records(root) == before
    assert workers.first_failure(job.store, job.run) == ""


def test_a_run_whose_folder_was_swept_by_a_later_one_commits_nothing_more(stopped):
    job, turn, root = stopped
    assert runner.plan(turn) == 3
    assert not workers.is_stopped(job)
    before = records(root)
    runner.read_plan(job, turn.step.stage)
    job.store.remove(".tmp")
    assert workers.is_stopped(job)
    runner.do(turn, 0)
    assert records(root) == before
    assert not job.store.exists(f".tmp/{job.run}")


def test_to_ask_whether_a_run_was_stopped_is_one_request(bucket, tmp_path):
    job, requests = Job(None, f"s3://bucket/{tmp_path.name}", "run1"), []

    async def note(model, **_):
        requests.append(model.name)

    workers.begin(job)
    events = job.store.fs.s3.meta.events
    events.register("before-call.s3", note, unique_id="stop")
    assert not workers.is_stopped(job)
    assert requests == ["HeadObject"]
    events.unregister("before-call.s3", unique_id="stop")
    workers.stop(job)
    assert workers.is_stopped(job)


def test_after_a_part_failed_no_other_is_begun_on_a_cluster(stopped):
    job, turn, root = stopped
    runner.plan(turn)
    workers.note_failure(job, turn.step.stage, "x", "the numbers are odd")
    before = records(root)
    for number in range(3):
        runner.do(turn, number)
    assert records(root) == before
    assert runner.commit(turn)["failed"] == "the numbers are odd"


def test_others_are_let_in_only_once_no_worker_of_the_run_is_alive(stopped, tmp_path, monkeypatch):
    job, *_ = stopped
    worker = subprocess.Popen(["sleep", "60"])
    (tmp_path / f"worker-{worker.pid}").touch()
    done = []
    for module, name in ((workers, "stop"), (runs, "write_end"), (beam, "cancel"), (os, "_exit")):
        monkeypatch.setattr(module, name, lambda *_, name=name: done.append(name))
    monkeypatch.setattr(workers, "let_go", lambda: done.append(workers._is_running(worker.pid)))
    monkeypatch.setattr(workers, "descendants", lambda pid: [])
    guard = Guard([], quiet=True)
    guard.job = replace(job, claims=str(tmp_path))
    guard._end("interrupted", 130)
    assert done == ["stop", "write_end", "cancel", False, "_exit"]
    worker.wait()


def test_a_store_that_does_not_answer_keeps_no_build_that_ends(stopped, tmp_path, monkeypatch):
    job, *_ = stopped
    done = []
    monkeypatch.setattr(guards, "STORE_SECONDS", 0.2)
    monkeypatch.setattr(workers, "stop", lambda job: time.sleep(60))
    monkeypatch.setattr(workers, "kill_workers", lambda claims: done.append("killed"))
    monkeypatch.setattr(os, "_exit", done.append)
    guard = Guard([], quiet=True)
    guard.job = job
    guard._end("interrupted", 130)
    assert done == ["killed", 130]


@pytest.mark.parametrize("first", ["the user's", "the worker's"])
def test_ctrl_c_is_told_as_such_whoever_hears_first_that_it_ended_the_workers_too(stopped, monkeypatch, first):
    """A terminal sends it to all; where the build stood takes a while to find, and so may the main thread."""
    guard, ended = Guard([], quiet=True), []
    guard.job = stopped[0]
    guard._watch = workers.Watch(stopped[0].claims, lambda: False, guard._a_worker_died, exit_code=-signal.SIGINT)
    monkeypatch.setattr(guards, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(guard, "_where", lambda: time.sleep(0.4) or " at documents")
    monkeypatch.setattr(guard, "_end", lambda *said: ended.append(said))
    hears = threading.Thread(target=guard._a_worker_died, args=("worker died (signal 2)",), daemon=True)
    threading.Timer(0 if first == "the worker's" else 0.1, hears.start).start()
    time.sleep(0.05)
    guard._stop("interrupted", 130)
    hears.join(0.6)
    assert ended == [("interrupted at documents; the same command goes on from here", 130)]


def test_a_store_that_is_busy_does_not_keep_the_driver_from_looking_for_failures(stopped, monkeypatch):
    class LibraryError(Exception):
        """As botocore's: no OSError."""

    answers = [LibraryError("busy"), OSError("busy"), "", "the numbers are odd"]

    def answer(*_):
        answered = answers.pop(0)
        if isinstance(answered, Exception):
            raise answered
        return answered

    ended = []
    monkeypatch.setattr(guards, "LOOK_SECONDS", 0)
    monkeypatch.setattr(guards, "GRACE_SECONDS", 0)
    monkeypatch.setattr(workers, "first_failure", answer)
    guard = Guard([], quiet=True)
    monkeypatch.setattr(guard, "_end", lambda *said: ended.append(said))
    guard._look_for_failures(stopped[0], lambda: bool(ended))
    assert ended == [("the numbers are odd", 1)]


SLOW = """
import sys, time
from redpajama.pipelines import c4
from redpajama import cli
READ = c4.PIPELINE.read
def slow(files, *rest):
    if "web-1" in files[0].url:
        raise ZeroDivisionError("of ours")
    time.sleep(60)
    yield from READ(files, *rest)
object.__setattr__(c4.PIPELINE, "read", slow)
sys.exit(cli.run(sys.argv[1:]))
"""


def test_a_part_that_failed_ends_the_build_though_another_takes_minutes(tmp_path):
    """In one process the failed part comes last or first: it is the driver that looks."""
    import sys

    manifest = write_corpus(tmp_path / "c")
    site = tmp_path / "site"
    site.mkdir()
    (site / "slow.py").write_text(SLOW)
    # as the only job under way takes long, another process leaves the note that a worker of a cluster would
    root = tmp_path / "r"
    process = subprocess.Popen(
        [sys.executable, str(site / "slow.py"), "build", str(manifest), "--out", str(root), "--workers", "1"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_for(lambda: list(root.glob(".tmp/*/plan-documents.json")))
    started = time.monotonic()
    [plan] = root.glob(".tmp/*/plan-documents.json")
    (plan.parent / "failed").mkdir(exist_ok=True)
    (plan.parent / "failed/documents-x.json").write_text('{"message": "the numbers are odd"}')
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - started < 12
    assert (process.returncode, err.splitlines()[-1]) == (1, "redpajama: the numbers are odd")
    assert digest(root) is not None
