"""What workers note of their parts: who watches reads only what is new, and a dead worker's part has a name."""

import errno
import fcntl
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from redpajama.engine import workers
from redpajama.engine.parts import Part
from redpajama.engine.stages import Job
from redpajama.errors import UserError
from redpajama.hashing import canonical_json
from redpajama.manifest import parse

MANIFEST = {"name": "m", "seed": 1, "source": [{"name": "web", "pipeline": "c4", "inputs": ["x"]}]}


@pytest.fixture
def job(tmp_path):
    with workers.hold_root(str(tmp_path / "r")) as (run, claims):
        yield Job(parse(MANIFEST, "m.toml"), str(tmp_path / "r"), run, claims=claims)


def test_a_process_that_worked_itself_holds_no_lock_of_a_run_that_is_over(tmp_path):
    with workers.hold_root(str(tmp_path)) as (run, claims):
        workers.enter(Job(parse(MANIFEST, "m.toml"), str(tmp_path), run, claims=claims))
    with open(tmp_path / ".workers") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as the next run does, which would wait for ever


def part(number: int, stage: str = "documents") -> Part:
    return Part(stage, "web", "f", number, size=100)


def notes(job: Job, pid: int | None = None) -> Path:
    return Path(job.claims, "done", str(pid or os.getpid()))


def line(number: int) -> bytes:
    return canonical_json({"claim": f"documents@web@{number:016x}", "units": 2, "bytes": 100}) + b"\n"


def test_what_is_done_is_summed_by_stage(job):
    done = workers.Done(job.claims)
    assert done.look() == {}
    for number in range(3):
        workers.note_done(job, part(number), {"read": 5}, 0.1, 0.1)
    assert done.look() == {"documents": {"parts": 3, "units": 15, "bytes": 300}}
    workers.note_done(job, part(7, "quality"), {}, 0.1, 0.1)
    assert done.look()["quality"] == {"parts": 1, "units": 0, "bytes": 100}
    assert done.look()["documents"]["parts"] == 3


def test_notes_that_were_read_are_not_read_again(job):
    done, path = workers.Done(job.claims), notes(job, 1)
    path.write_bytes(b"".join(map(line, range(1000))))
    assert done.look()["documents"]["parts"] == 1000
    path.write_bytes(b"!" * path.stat().st_size + line(1000))
    assert done.look()["documents"]["parts"] == 1001


def test_a_half_written_note_counts_once_when_it_is_whole(job):
    done, path, whole = workers.Done(job.claims), notes(job, 1), line(2)
    path.write_bytes(line(1) + whole[:20])
    assert done.look()["documents"]["parts"] == 1
    path.write_bytes(line(1) + whole)
    assert done.look()["documents"]["parts"] == 2
    assert done.look()["documents"]["parts"] == 2


def test_a_dead_worker_is_named_with_the_part_it_had_begun(job):
    for number in range(3):
        assert workers.claim(job, part(number))
        workers.note_done(job, part(number), {}, 0.1, 0.1)
    assert workers.claim(job, part(3))
    with open(notes(job), "ab") as file:
        file.write(b'{"bytes":1')  # it died while it noted that
    watch = workers.Watch(job.claims, lambda: False, print, exit_code=-9)
    assert watch.epitaph([os.getpid()]) == f"worker died (signal 9, often memory) while building {part(3).stem}"
    assert watch.epitaph([os.getpid() + 1]) == "worker died (signal 9, often memory) while building no part"


def test_many_processes_lose_no_note_and_mix_none(job):
    code = f"""
from redpajama.engine import workers
from redpajama.engine.parts import Part
from redpajama.engine.stages import Job
from threading import Thread
job = Job(None, {job.root!r}, {job.run!r}, claims={job.claims!r})
def note(first):
    for number in range(first, first + 50):
        workers.note_done(job, Part("documents", "web", "f", number, size=1), {{"read": 1}}, 0.1, 0.1)
threads = [Thread(target=note, args=(first,)) for first in (0, 50)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert workers.Done(job.claims).look() == {"documents": {"parts": 200, "units": 200, "bytes": 200}}


@pytest.mark.slow
def test_a_refresh_takes_less_than_ten_milliseconds_with_a_million_parts_done(job):
    for number in range(100_000):  # enough to be seen, if they were listed
        os.close(os.open(f"{job.claims}/documents@web@{number:016x}", os.O_CREAT))
    for pid in (1, 2):
        notes(job, pid).write_bytes(b"".join(map(line, range(pid, 1_000_000, 2))))
    done, seconds = workers.Done(job.claims), []
    assert done.look()["documents"]["parts"] == 999_999
    for number in range(20):
        with open(notes(job, 1), "ab") as file:
            file.write(line(number))
        started = time.perf_counter()
        done.look()
        seconds.append(time.perf_counter() - started)
    assert done.stages["documents"]["parts"] == 999_999 + 20
    assert sorted(seconds)[10] < 0.01


def test_a_worker_gets_the_limits_of_threads_and_what_the_user_passes_on_and_keeps_its_own(job, monkeypatch):
    for name in (*workers.limits(), "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(workers, "_equipped", set())
    workers.equip(replace(job, environment={"HF_TOKEN": "t"}))
    assert (os.environ["HF_TOKEN"], os.environ["OMP_NUM_THREADS"]) == ("t", "3")
    assert (os.environ["RAYON_NUM_THREADS"], os.environ["TOKENIZERS_PARALLELISM"]) == ("1", "false")
    for name in (*workers.limits(), "HF_TOKEN"):
        monkeypatch.delenv(name)


def test_a_file_system_without_locks_is_refused_unless_the_user_sees_to_it(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(workers.fcntl, "flock", refuse)
    with pytest.raises(UserError, match=r"no locks .* say --sole-writer"), workers.hold_root(str(tmp_path / "r")):
        pytest.fail("nothing holds it")
    with workers.hold_root(str(tmp_path / "r"), is_sole=True) as (run, _):
        assert run
