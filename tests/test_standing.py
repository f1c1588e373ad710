"""Where a run stands is told from the store alone, and agrees with the records."""

import json
import re
import time

import pytest
from corpora import cli, write_corpus
from declared import MANIFEST, flow, forget, new_job, some_numbers

from redpajama.commands import running
from redpajama.engine import runner, workers
from redpajama.engine.parts import Part, signed
from redpajama.engine.runner import turns
from redpajama.engine.stages import Job
from redpajama.engine.store import Store
from redpajama.hashing import canonical_json
from redpajama.manifest import parse
from redpajama.report import runs, standing
from redpajama.report.builds import read_build
from redpajama.report.standing import Standing, Standings, standings


@pytest.fixture
def under_way(store):
    """A run whose first stage is through, and of whose second two parts are done: its job, and the second step."""
    forget()
    job = Job(parse(MANIFEST, "m.toml"), store.url, "run1")
    store.write("inputs/numbers.json", json.dumps(some_numbers(parts=5)).encode())
    stages = flow()
    runs.write_about(
        job, [step for stage in stages for step in stage.steps()], "tokens", time.time() - 5, "process 1 on h"
    )
    runner.start(job)
    first, second, *_ = turns(job, stages)
    for turn, parts in ((first, 5), (second, 2)):
        assert runner.plan(turn) == 5
        for number in range(parts):
            runner.do(turn, number)
        if parts == 5:
            runner.commit(turn)
    return job, second


def test_a_run_under_way_is_told_from_the_store_as_its_records_have_it(under_way, store):
    _, second = under_way
    about = runs.last_run(store)
    found = standings(store, about)
    assert [each.stage for each in found] == about["steps"]
    done, running_now, *waiting = found
    assert (done.state, done.parts, done.done, done.units) == ("done", 5, 5, 200)
    keys = [key for key, _ in store.keys("halved") if "/part-" in key and key.endswith(".json")]
    units = sum(store.read_json(key)["counts"]["read"] for key in keys)
    assert (running_now.state, running_now.done, running_now.parts, running_now.units) == (
        "running",
        len(keys),
        5,
        units,
    )
    assert running_now.seconds_left > 0
    assert {each.state for each in waiting} == {"waiting"}
    for number in range(5):
        runner.do(second, number)
    runner.commit(second)
    assert [each.state for each in standings(store, about)][:3] == ["done", "done", "waiting"]


def test_a_run_that_failed_says_its_last_failure_and_what_is_committed(under_way, store):
    job, second = under_way
    workers.note_failure(job, "halved", "x", "the numbers are odd")
    runner.commit(second)
    told = running.run_json(store, runs.last_run(store))
    assert (told["state"], told["said"]) == ("failed", "the numbers are odd")
    assert [each["state"] for each in told["progress"]][:3] == ["done", "failed", "waiting"]
    runs.write_end(job, "another word")
    assert running.run_json(store, runs.last_run(store))["said"] == "another word"
    assert list(read_build(store)["stages"]) == ["numbers", "halved"]


def test_a_run_that_was_killed_is_not_taken_for_one_under_way(under_way, store):
    state, said = running.state_of(store, runs.last_run(store), standings(store, runs.last_run(store)))
    assert state == "stopped"
    assert "ended without a word at halved" in said


@pytest.fixture
def long_stage(store):
    """A run with a stage of 150 parts under way, of which the first 100 are committed; and what commits others."""
    parts = [Part("halved", "left", "f", number, size=10) for number in range(150)]
    about = {"run": "run1", "steps": ["halved"]}
    plan = {"parts": [part.to_json() for part in parts], "done": []}
    store.write(".tmp/run1/plan-halved.json", json.dumps(plan).encode())

    def commit(numbers: range) -> None:
        for number in numbers:
            fields = {"stage": "halved", "name": "left", "fingerprint": "f", "key": parts[number].key, "each": ""}
            counts = {"read": 2, "kept": 1, "dropped": {"short": 1}}
            body = signed(canonical_json({**fields, "inputs": [], "outputs": {}, "counts": counts})[:-1])
            store.write(f"{parts[number].stem}.json", body)

    commit(range(100))
    return about, commit


def test_a_look_reads_a_bounded_number_of_records_that_are_new(long_stage, store, monkeypatch):
    about, commit = long_stage
    monkeypatch.setattr(standing, "NEAR_RECORDS", 100)
    monkeypatch.setattr(standing, "FAR_RECORDS", 10)
    read, read_each = [], Store.read_each
    monkeypatch.setattr(Store, "read_each", lambda self, keys: read.append(len(keys)) or read_each(self, keys))
    looks = Standings(store, about)
    [found] = looks.look()
    assert read == [100 if store.local else 10]
    assert (found.done, found.units, found.reasons) == (100, 200, {"short": 100})
    assert found.is_estimate is not store.local
    commit(range(100, 110))
    [found] = looks.look()
    assert read[1:] == [10]
    assert (found.done, found.units, found.bytes_done) == (110, 220, 1100)
    for _ in range(9):
        [found] = looks.look()
    assert (sum(read), found.units, found.is_estimate) == (110, 220, False)
    looks.look()
    assert read[-1] == 0


def test_a_stage_that_is_through_is_asked_for_once(under_way, store, monkeypatch):
    _, second = under_way
    for number in range(5):
        runner.do(second, number)
    runner.commit(second)
    read, read_one = [], Store.read
    monkeypatch.setattr(Store, "read", lambda self, key: read.append(key) or read_one(self, key))
    looks = Standings(store, runs.last_run(store))
    read.clear()
    found = looks.look()
    assert [each.state for each in found][:3] == ["done", "done", "waiting"]
    assert not [key for key in read if "/plan-" in key]  # may be large
    read.clear()
    assert looks.look() == found
    assert read == []


def test_a_local_run_is_under_way_while_its_lock_is_held(tmp_path):
    job = new_job(tmp_path / "r", {})
    with workers.hold_root(str(tmp_path / "r")):
        assert workers.is_held(job.store)
    assert not workers.is_held(job.store)
    assert not workers.is_held(Store(str(tmp_path / "nothing")))


def test_status_tells_a_failed_build_its_reasons_and_its_stages_in_order(tmp_path):
    manifest = write_corpus(tmp_path / "c", min_words=5000)
    root = tmp_path / "r"
    failed = cli("build", manifest, "--out", root, REDPAJAMA_TELL_SECONDS="0.3")
    assert failed.returncode == 1
    assert re.search(r"^redpajama: \S+ \(\d+ of \d+\) ", failed.stderr, re.MULTILINE)
    result = cli("status", root)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("build 'small' until tokens: failed; begun 20")
    assert lines[1].startswith("last failure: mixture: 'news'")
    order = [line.split()[0] for line in lines[3:-1]]
    assert order.index("documents") < order.index("quality") < order.index("budget")
    assert "min_words" in lines[-1]
    assert max(map(len, lines[2:-1])) <= 80
    told = json.loads(cli("status", root, "--json").stdout)
    assert told["progress"][1]["parts"] == told["progress"][1]["done"]


@pytest.mark.parametrize(("seconds", "told"), [(5, "5 s"), (600, "10 min"), (12_000, "3 h 20 min")])
def test_time_left_is_told_in_the_unit_that_fits(seconds, told):
    each = Standing("s", "running", 2, 1, bytes=2, bytes_done=1, seconds=seconds)
    assert running.time_left(each) == told
