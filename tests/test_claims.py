"""Parts that workers of many machines claim in the store: each once, largest first, at a known price."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import pytest
from corpora import OUTSIDE, exit_code, start_process
from declared import HALVED, NUMBERS, flow, forget, new_job, run, write_numbers

from redpajama import build
from redpajama.engine import beam as engine
from redpajama.engine import claims, runner, workers
from redpajama.engine.claims import Claims
from redpajama.engine.stages import Job
from redpajama.engine.store import Store
from redpajama.errors import BuildFailed

DEMO = Path(__file__).parents[1] / "manifests" / "demo.toml"
FILES = {"left": {f"file-{number}": list(range(number + 1)) for number in range(12)}}  # each of another size
STAGES = [replace(NUMBERS, weighed=True), HALVED]


@pytest.fixture
def root(bucket, tmp_path) -> str:
    return f"s3://bucket/{tmp_path.name}"


@pytest.fixture
def many(root) -> list[Claims]:
    """What eight processes know of the same claims."""
    return [Claims(Store(root), "run1", "documents") for _ in range(8)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, str]:
    """The files of a run on a disk."""
    return run(tmp_path_factory.mktemp("whole") / "r", FILES, STAGES).files


def files_of(job: Job) -> dict[str, str]:
    """{key: SHA-256} of all outputs."""
    keys = [key for key, _ in job.store.keys("") if key.split("/")[0] not in OUTSIDE]
    return {key: hashlib.sha256(job.store.read(key)).hexdigest() for key in keys}


def turns_of(root: str, stages=None, claim_bytes: int = 1) -> list[runner.Turn]:
    """The steps of a new run, which is begun."""
    job = replace(new_job(root, FILES), claim_bytes=claim_bytes)
    runner.start(job)
    return runner.turns(job, stages or STAGES)


def go_on(turns: list[runner.Turn]) -> None:
    """Do steps to their ends."""
    for turn in turns:
        claimed = [runner.do(turn, number) for number in range(runner.plan(turn))]
        for number in runner.left(turn) if any(claimed) else []:
            runner.do_left(turn, number)
        runner.commit(turn)


@contextmanager
def counted(store: Store):
    """Counts what is asked of the store, {operation: times}."""
    found, events = Counter(), store.fs.s3.meta.events

    async def note(model, **_):
        found[model.name] += 1

    events.register("before-call.s3", note, unique_id="claims")
    yield found
    events.unregister("before-call.s3", unique_id="claims")


# ---- claims


def test_one_that_claims_alone_gets_all_in_their_order_at_two_requests_each(many):
    with counted(many[0].store) as asked:
        assert [many[0].claim(20) for _ in range(21)] == [*range(20), None]
        assert many[0].is_through
        assert many[0].claim(20) is None
    assert asked == {"ListObjectsV2": 20, "PutObject": 20}


def test_of_many_that_claim_at_once_each_gets_its_own_and_the_largest_go_first(many):
    got, lock = [], threading.Lock()

    def work(own: Claims) -> None:
        while (rank := own.claim(60)) is not None:
            with lock:
                got.append(rank)
            time.sleep(0.2 + 0.01 * rank % 7)

    threads = [threading.Thread(target=work, args=(own,)) for own in many]
    with counted(many[0].store) as asked:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(got) == list(range(60))
    assert max(rank - place for place, rank in enumerate(got)) < 32
    assert sum(asked.values()) < 5 * 60


def test_whoever_comes_later_learns_by_one_request_what_is_left(many):
    for _ in range(9):
        many[0].claim(10)
    with counted(many[0].store) as asked:
        assert [many[1].claim(10), many[1].claim(10)] == [9, None]
    assert asked == {"ListObjectsV2": 1, "PutObject": 1}
    with counted(many[0].store) as asked:
        assert many[2].claim(10) is None
    assert asked == {"ListObjectsV2": 1}


def test_who_is_refused_looks_again(many, monkeypatch):
    seen = list(many[1]._claimed_from(0))
    assert many[0].claim(3) == 0
    look, answers = many[1]._claimed_from, [set(seen)]
    monkeypatch.setattr(many[1], "_claimed_from", lambda rank: answers.pop() if answers else look(rank))
    assert many[1].claim(3) in (1, 2)


def test_of_a_step_that_is_swept_nobody_claims_on(many):
    assert [many[0].claim(5), many[1].claim(5)] == [0, 1]
    many[0].sweep()
    assert many[1].claim(5) is None
    assert list(many[0].store.keys(".tmp")) == []


def test_more_claims_than_a_listing_tells_are_all_heard_of(many, monkeypatch):
    store, ask = many[0].store, many[0].store.fs.call_s3
    for _ in range(7):
        many[0].claim(8)
    monkeypatch.setattr(store.fs, "call_s3", lambda name, **named: ask(
        name, **named, **({"MaxKeys": 2} if name == "list_objects_v2" else {})
    ))  # fmt: skip
    assert list(store.keys_after(many[0].folder, f"{many[0].folder}/00000001")) == [
        f"{many[0].folder}/{rank:08d}" for rank in range(2, 7)
    ]
    assert many[1].claim(8) == 7


# ---- steps


def test_a_run_whose_workers_claim_leaves_what_one_leaves_that_deals(root, whole):
    turns = turns_of(root)
    go_on(turns)
    job = turns[0].job
    assert [runner.read_plan(job, stage).claimed for stage in ("numbers", "halved")] == [True, False]
    assert files_of(job) == whole
    assert not list(job.store.keys(f".tmp/{job.run}/claims"))


def test_a_part_costs_one_request_more_where_it_is_claimed_and_none_where_it_is_not(root):
    asked = {}
    for claim_bytes in (0, 1, 1 << 20):
        [turn, *_] = turns_of(f"{root}/{claim_bytes}", claim_bytes=claim_bytes)
        parts = runner.plan(turn)
        runner.read_plan(turn.job, "numbers")
        runner.read_state(turn.job, turn.before)
        with counted(turn.job.store) as found:
            for number in range(parts):
                runner.do(turn, number)
        asked[claim_bytes] = found
        runner.commit(turn)
    assert asked[0] == asked[1 << 20]
    asked[1]["GetObject"] += parts - 1  # whether the step is over is asked once a process, not once a part
    asked[1]["HeadObject"] -= 1  # after its last part a worker asks whether the run was stopped
    assert asked[1] - asked[0] == {"ListObjectsV2": parts, "PutObject": parts}


def test_several_processes_do_each_part_once_and_the_largest_first(root, whole, tmp_path):
    turns = turns_of(root)
    assert runner.plan(turns[0]) == 12
    processes = [start_process(work_on, turns[0], tmp_path / f"said-{number}") for number in range(3)]
    assert [exit_code(process) for process in processes] == [0, 0, 0]
    done = [path.read_text().split() for path in tmp_path.glob("said-*")]
    assert sorted(part for each in done for part in each) == sorted(map(str, range(1, 13)))
    assert len(max(done, key=len)) < 12
    assert runner.left(turns[0]) == []
    go_on(turns)
    assert files_of(turns[0].job) == whole


def work_on(turn: runner.Turn, said) -> None:
    """What a worker does that gets all tickets; it tells the sizes of its parts."""

    def work(build, part, outputs):
        with open(said, "a") as file:
            file.write(f"{part.size} ")
        time.sleep(0.2)
        return write_numbers(build, part, outputs)

    said.touch()
    turn = replace(turn, step=replace(turn.step, work=work))
    for number in range(12):
        runner.do(turn, number)


def test_the_part_of_a_worker_that_died_is_done_again_before_the_step_is_committed(root, whole):
    turns, done = turns_of(root), []

    def die(*_):
        raise KeyboardInterrupt

    def note(build, part, outputs):
        done.append(part.size)
        return write_numbers(build, part, outputs)

    runner.plan(turns[0])
    with pytest.raises(KeyboardInterrupt):
        runner.do(replace(turns[0], step=replace(turns[0].step, work=die)), 0)
    claims.of.cache_clear()  # another process gets the same ticket again
    turn = replace(turns[0], step=replace(turns[0].step, work=note))
    assert all([runner.do(turn, number) for number in range(12)])
    assert done == list(range(11, 0, -1))
    assert runner.left(turn) == [0]
    runner.do_left(turn, 0)
    assert done[-1] == 12
    assert runner.left(turn) == []
    go_on([turn, *turns[1:]])
    assert len(done) == 12
    assert files_of(turn.job) == whole


def test_a_part_that_fails_ends_the_claims_and_is_not_tried_again(root):
    tried = []

    def fail(build, part, outputs):
        tried.append(part.size)
        raise BuildFailed("the numbers are odd")

    [turn, *_] = turns_of(root, flow(numbers={"work": fail, "weighed": True}))
    go_on([turn])
    assert tried == [12]
    assert runner.read_state(turn.job, "numbers")["failed"] == "the numbers are odd"
    assert runner.left(turn) == []


def test_a_ticket_that_comes_late_claims_nothing(root):
    [turn, *_] = turns_of(root)
    go_on([turn])
    for is_fresh in (False, True):
        if is_fresh:
            forget()
        with counted(turn.job.store) as asked:
            runner.do(turn, 3)
        assert asked["PutObject"] == 0
        assert asked.total() == 2 * is_fresh
    assert runner.left(turn) == []


def test_parts_are_dealt_where_an_old_record_would_pass_for_one_of_this_run(root, whole):
    turns = turns_of(root)
    go_on(turns)
    job = turns[0].job
    for key, _ in list(job.store.keys("numbers")):
        if key.endswith(".parquet") or "_record" in key:
            job.store.remove(key)
    again = turns_of(root)
    assert runner.plan(again[0]) == 12
    assert not runner.read_plan(again[0].job, "numbers").claimed
    go_on(again)
    assert files_of(job) == whole


def test_lanes_single_parts_and_small_ones_are_dealt(root):
    lanes = flow(numbers={"lanes": lambda part: ("all", 3), "weighed": True})
    for stages, claim_bytes in ((lanes, 1), (None, 7), (None, 0)):
        [turn, *_] = turns_of(root, stages, claim_bytes)
        runner.plan(turn)
        assert not runner.read_plan(turn.job, "numbers").claimed
    job = replace(turn.job, claim_bytes=1)
    assert not claims.pay(job, runner.read_plan(job, "numbers").parts[:1])


# ---- engines and builds


def test_a_flow_whose_bundles_are_replayed_leaves_the_same_files(root, whole):
    job = replace(new_job(root, FILES), claim_bytes=1)
    state = engine.run(job, STAGES, [*engine.beam_arguments(1, []), "--direct_runner_bundle_repeat=1"], 0)
    assert "failed" not in state
    assert files_of(job) == whole


def test_a_part_that_is_left_is_dealt_out_by_the_engine(root, whole, monkeypatch):
    claim, lost = Claims.claim, []

    def lose_the_first(self, count):
        rank = claim(self, count)
        if self.folder not in lost:
            lost.append(self.folder)
            rank = claim(self, count)
        return rank

    monkeypatch.setattr(Claims, "claim", lose_the_first)
    job = replace(new_job(root, FILES), claim_bytes=1)
    assert "failed" not in engine.run(job, STAGES, engine.beam_arguments(1, []), 0)
    assert len(lost) == 1
    assert files_of(job) == whole


def test_nothing_is_added_to_the_graph_of_a_step_whose_parts_are_not_claimed(tmp_path):
    names = []
    for claim_bytes, number in ((0, 0), (1, 0), (1, 1)):
        job = replace(new_job(tmp_path / "r", FILES), claim_bytes=claim_bytes)
        pipeline = beam.Pipeline()
        turn = runner.turns(job, STAGES)[number]
        _ = pipeline | beam.Create([b""]) | "step" >> engine.RunStep(turn, 0)
        names.append({each.unique_name for each in pipeline.to_runner_api().components.transforms.values()})
    assert names[0] == names[2] < names[1]


@pytest.mark.parametrize(
    ("kind", "shares", "is_sole", "wanted"),
    [("s3", 0, False, claims.MIN_MEAN_BYTES), ("s3", 2, False, 0), ("s3", 0, True, 0), ("disk", 0, False, 0)],
)
def test_parts_are_claimed_on_stores_whose_conditions_hold_by_workers_that_share_no_folder(
    root, tmp_path, kind, shares, is_sole, wanted
):
    store = Store(root if kind == "s3" else str(tmp_path))
    assert build.claim_bytes(store, shares, is_sole) == wanted


def test_what_a_worker_says_of_a_part_that_another_committed_is_no_failure(root, whole):
    late = []

    def comes_late(build, part, outputs):
        if not late:
            late.append(part.size)
            runner.do_left(turns[0], 0)
            raise late_error
        return write_numbers(build, part, outputs)

    for late_error in (BuildFailed("its file is gone"), LookupError("of ours")):
        turns = turns_of(f"{root}/{type(late_error).__name__}")
        late.clear()
        runner.plan(turns[0])
        go_on([replace(turns[0], step=replace(turns[0].step, work=comes_late)), *turns[1:]])
        assert late == [12]
        assert workers.first_failure(turns[0].job.store, turns[0].job.run) == ""
        assert files_of(turns[0].job) == whole


NUMBERS = [f"REDPAJAMA_{name}" for name in ("CLAIM_BYTES", "LEASE_SECONDS", "PER_HOST", "TELL_SECONDS")]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("given", ["8MiB", "-1", "nan"])
def test_a_variable_that_is_no_number_is_the_users_mistake(name, given, tmp_path):
    command = [sys.executable, "-m", "redpajama", "build", str(DEMO), "--out", str(tmp_path / "r")]
    told = subprocess.run(command, env={**os.environ, name: given}, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (2, f"redpajama: {name}={given}: a number from 0 on is wanted\n")
    assert not (tmp_path / "r").exists()
