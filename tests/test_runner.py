"""Steps: what is there is skipped, what is damaged is named and redone, failures are states, replays do no harm."""

import errno
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from corpora import digest, exit_code, start_process
from declared import (
    GROUPS,
    MANIFEST,
    Ran,
    count_halves,
    flow,
    forget,
    halve,
    new_job,
    run,
    some_numbers,
    write_numbers,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redpajama.corpus import inputs
from redpajama.engine import runner, workers
from redpajama.engine.parts import Part
from redpajama.engine.stages import Job
from redpajama.errors import BuildFailed, InputError
from redpajama.manifest import parse

FILES = some_numbers()
STEPS = ["numbers", "halved", "grouped-split", "grouped", "grouped-homes-split", "grouped-homes", "told"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Ran:
    return run(tmp_path_factory.mktemp("whole") / "r", FILES)


@pytest.fixture
def whole(undisturbed) -> dict[str, str]:
    """The files of a run that nothing disturbed."""
    return undisturbed.files


@pytest.fixture
def root(undisturbed, tmp_path) -> Path:
    """A copy of what it left."""
    return shutil.copytree(undisturbed.root, tmp_path / "r", ignore=shutil.ignore_patterns(".tmp"))


def turns_of(root: Path, stages=None) -> list[runner.Turn]:
    """The steps of a new run, which is begun."""
    job = new_job(root, FILES)
    runner.start(job)
    return runner.turns(job, stages or flow())


def run_step(turn: runner.Turn) -> dict:
    for number in range(runner.plan(turn)):
        runner.do(turn, number)
    return runner.commit(turn)


def flip(path: Path) -> None:
    """Change one bit of what a file holds, near its start."""
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)


# ---- lanes


def test_so_many_parts_that_ask_the_same_are_done_at_once_whatever_the_machines(tmp_path, whole):
    stages = flow(numbers={"lanes": lambda part: ("left", 2) if part.name == "left" else ("", 1)})
    job = new_job(tmp_path / "r", FILES)
    runner.start(job)
    [first, *rest] = runner.turns(job, stages)
    left, right = (len(FILES[name]) for name in ("left", "right"))
    assert left > 2
    assert runner.plan(first) == 2 + right
    dealt = runner.read_plan(job, "numbers").dealt
    assert sorted(number for own in dealt for number in own) == list(range(left + right))
    assert sorted(map(len, dealt)) == sorted([*(1,) * right, left // 2, left - left // 2])
    for number in range(len(dealt)):
        runner.do(first, number)
    assert not job.store.exists(f".tmp/{job.run}/failed")
    runner.commit(first)
    for turn in rest:
        run_step(turn)
    assert digest(tmp_path / "r") == whole


def test_files_of_one_host_share_its_places_however_they_are_named():
    paths = ("hf://datasets/a/b@main/x", "hf://a/b@main/x", "https://huggingface.co/x", "https://u:p@huggingface.co/y")
    lanes = [inputs.lanes(Part("inputs", "web", "f", path, {"path": path})) for path in paths]
    assert lanes == [("huggingface.co", 4)] * 4
    assert inputs.lanes(Part("inputs", "web", "f", 0, {"path": "/a/b"}))[0] == ""


@pytest.mark.parametrize("how", ["removed", "cut"])
def test_what_a_dead_worker_did_of_its_lane_is_not_done_again(tmp_path, how):
    done = []

    def work(build, part, outputs):
        done.append(part.stem)
        return write_numbers(build, part, outputs)

    stages = flow(numbers={"lanes": lambda part: ("all", 1), "work": work})
    job = new_job(tmp_path / "r", FILES)
    runner.start(job)
    turn = runner.turns(job, stages)[0]
    assert runner.plan(turn) == 1
    runner.do(turn, 0)
    lost = runner.read_plan(job, "numbers").parts[3]
    if how == "removed":
        job.store.remove(f"{lost.stem}.json")
    else:
        job.store.write(f"{lost.stem}.json", b"{")
    runner.do(turn, 0)
    assert done[-1] == lost.stem
    assert len(done) == sum(map(len, FILES.values())) + 1


# ---- partition files


def test_partition_files_go_once_their_regroup_is_committed(tmp_path):
    turns = turns_of(tmp_path / "r")
    for turn in turns[:3]:
        run_step(turn)
    assert len(list(tmp_path.glob("r/grouped-split/*/*.partitions"))) == 5
    run_step(turns[3])
    assert not list(tmp_path.glob("r/grouped-split/*"))


def test_a_regroup_is_skipped_whole_by_its_record_without_its_partition_files(root):
    turns = turns_of(root)
    for turn in turns:
        run_step(turn)
    assert Ran(turns[0].job, {}, root).did == {}
    split = runner.read_plan(turns[2].job, "grouped-split")
    assert not any(split._replace(spared={}))
    assert list(split.spared) == ["all"]
    assert list(runner.read_plan(turns[3].job, "grouped").whole) == ["all"]


def test_partition_files_that_a_killed_run_left_go_with_the_next(tmp_path, whole):
    turns = turns_of(tmp_path / "r")
    for turn in turns[:4]:
        if turn.step.spent:
            turn = replace(turn, step=replace(turn.step, spent=""))
        run_step(turn)
    assert list(tmp_path.glob("r/grouped-split/*/*.partitions"))
    assert run(tmp_path / "r", FILES).did == {"told": 5, "grouped-homes": 1}
    assert digest(tmp_path / "r") == whole


@pytest.mark.parametrize("point", ["before-partitions-go", "after-partitions-go", "before-stage-record"])
def test_a_run_killed_around_the_commit_of_a_regroup_goes_on_to_the_same_files(tmp_path, monkeypatch, whole, point):
    monkeypatch.setenv("REDPAJAMA_CRASH", f"{point}:{5 if 'stage' in point else 1}")
    monkeypatch.setenv("REDPAJAMA_CRASH_COUNT", str(tmp_path / "count"))
    assert exit_code(start_process(run, tmp_path / "r", FILES)) == -signal.SIGKILL
    monkeypatch.delenv("REDPAJAMA_CRASH")
    assert run(tmp_path / "r", FILES).files == whole


# ---- what is missing


@pytest.mark.parametrize(
    ("pattern", "did"),
    [
        ("numbers/left-*/part-*.parquet", {"numbers": 1}),
        ("halved/right-*/part-*.parquet", {"halved": 1}),
        ("halved/right-*/part-*.json", {"halved": 1}),
        ("grouped/*/range-00003-*.parquet", {"grouped-split": 5, "grouped": 1}),
        ("grouped/*/range-00003-*.repeats", {"grouped-split": 5, "grouped": 1}),
        ("grouped-homes/*/home-*.parquet", {"grouped-homes": 1}),
        ("told/left-*/part-*.parquet", {"told": 1}),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "resized"])
def test_an_output_that_is_missing_or_resized_makes_its_part_be_done_again(root, whole, pattern, did, damage):
    path = sorted(root.glob(pattern))[0]
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
        did = did if path.suffix != ".json" else {}  # the gathered records have what it says
    again = run(root, FILES)
    assert again.did == did
    if did:
        assert again.files == whole


@pytest.mark.parametrize("pattern", ["_record-*.json", "_parts-*.parquet"])
@pytest.mark.parametrize("stage", ["numbers", "grouped", "grouped-homes"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_stage_record_that_is_damaged_or_gone_is_written_again_from_the_parts(root, whole, stage, pattern, is_there):
    path = sorted(root.glob(f"{stage}/*/{pattern}"))[0]
    flip(path) if is_there else path.unlink()
    again = run(root, FILES)
    assert again.did == ({"grouped-split": 5} if stage == "grouped" else {})
    assert again.files == whole


# ---- damage


def damaged_file(message: str) -> str:
    assert "\n" not in message
    assert message.endswith("; its record was removed: the same command makes it again")
    return message.partition(": damaged: ")[0]


@pytest.mark.parametrize(
    ("after", "pattern"),
    [
        ("grouped-split", "grouped-split/*/*.partitions"),
        ("grouped", "grouped/*/*.repeats"),
        ("grouped-homes", "grouped-homes/*/home-*.parquet"),
    ],
)
def test_a_flipped_byte_is_named_and_the_same_again_mends_it(tmp_path, whole, after, pattern):
    turns, root = turns_of(tmp_path / "r"), tmp_path / "r"
    last = STEPS.index(after)
    for turn in turns[: last + 1]:
        run_step(turn)
    path = sorted(root.glob(pattern))[0]
    flip(path)
    forget()
    states = [run_step(turn) for turn in turns[last + 1 :]]
    failed = [state for state in states if "failed" in state]
    assert root / damaged_file(failed[0]["failed"]) == path
    assert all(state == failed[0] for state in failed)
    assert failed == states[-len(failed) :]
    assert not path.with_name(path.name.partition(".")[0] + ".json").exists()
    again = run(root, FILES)
    assert "failed" not in again.state
    assert again.files == whole


@pytest.mark.parametrize("pattern", ["grouped/*/range-00004*.repeats", "grouped-homes/*/home-*.parquet"])
def test_every_byte_of_a_file_of_homes_is_as_it_was_or_named(root, undisturbed, pattern):
    path, right = sorted(root.glob(pattern))[0], undisturbed.tables("told")
    data, seen = path.read_bytes(), 0
    for place in range(7, len(data), len(data) // 12):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :])
        readers = [*root.glob("told/*/part-*.parquet"), *([] if "-homes" in pattern else root.glob("*-homes/*/home-*"))]
        for reader in readers:
            reader.unlink()
        again = run(root, FILES)
        if "failed" in again.state:
            seen += 1
            assert root / damaged_file(again.state["failed"]) == path
            again = run(root, FILES)
        assert again.tables("told") == right
        path.write_bytes(data)
    assert seen > 5


# ---- failures


def refuse(*_):
    raise BuildFailed("the numbers are odd")


def cannot_read(*_):
    raise InputError("x: cannot be had")


def refuse_the_third(build, name, numbers, outputs):
    return refuse() if numbers.content == build.parts("numbers")[2].content else halve(build, name, numbers, outputs)


def lose_one(build, name, numbers, outputs):
    return {**halve(build, name, numbers, outputs), "read": 41}


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        ("numbers", {"pieces": refuse}, "the numbers are odd"),
        ("halved", {"asks": cannot_read}, "x: cannot be had"),
        ("halved", {"work": refuse}, "the numbers are odd"),
        ("halved", {"work": cannot_read}, "x: cannot be had"),
        ("halved", {"work": refuse_the_third}, "the numbers are odd"),
        ("halved", {"check": refuse}, "the numbers are odd"),
        ("grouped", {"split": refuse}, "the numbers are odd"),
        ("grouped", {"partitions": refuse}, "the numbers are odd"),
        ("grouped", {"reduce": refuse}, "the numbers are odd"),
        ("grouped", {"check": refuse}, "the numbers are odd"),
        ("told", {"depends": refuse}, "the numbers are odd"),
    ],
)
def test_what_goes_wrong_with_the_data_is_the_state_from_there_on(tmp_path, whole, stage, change, message):
    turns = turns_of(tmp_path / "r", flow(**{stage: change}))
    states = {turn.step.stage: run_step(turn) for turn in turns}
    failed = [step for step in STEPS if "failed" in states[step]]
    assert failed == STEPS[STEPS.index(failed[0]) :]
    assert failed[0] in (stage, f"{stage}-split")
    assert {state["failed"] for state in states.values() if "failed" in state} == {message}
    assert {step: runner.plan(turn) for turn, step in zip(turns, STEPS, strict=True) if step in failed[1:]} == (
        dict.fromkeys(failed[1:], 0)
    )
    assert run(tmp_path / "r", FILES).files == whole


@pytest.mark.parametrize("stage", ["halved", "grouped", "told"])
def test_a_stage_that_failed_its_check_fails_it_again_until_it_is_mended(tmp_path, whole, stage):
    for _ in range(2):
        failed = run(tmp_path / "r", FILES, flow(**{stage: {"check": refuse}})).state
        assert failed["failed"] == "the numbers are odd"
        assert failed["records"][stage]  # it can be looked at
    assert run(tmp_path / "r", FILES).files == whole


def test_a_stage_that_is_there_is_checked_by_another_build_too(root):
    checked = []
    change = {"check": lambda build, name, record: checked.append((name, record.counts["kept"]))}
    run(root, FILES, flow(halved=change))
    assert checked == [("left", 160), ("right", 40)]


def test_a_part_that_loses_rows_fails_by_name(tmp_path):
    failed = run(tmp_path / "r", FILES, flow(halved={"work": lose_one})).state["failed"]
    assert failed.startswith("halved/")
    assert failed.endswith(": 41 units were read, but 40 have an outcome")


def test_after_a_failure_no_part_begins(tmp_path):
    turns = turns_of(tmp_path / "r", flow(halved={"work": complain}))
    run_step(turns[0])
    for number in range(runner.plan(turns[1])):
        runner.do(turns[1], number)
    assert len(failures(turns[1])) == 1
    assert runner.commit(turns[1])["failed"] == failures(turns[1])[0]


def test_of_failures_at_the_same_time_the_same_one_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "is_stopped", lambda job: False)
    messages = set()
    for order in (1, -1):
        turns = turns_of(tmp_path / f"r{order}", flow(halved={"work": complain}))
        run_step(turns[0])
        for number in range(runner.plan(turns[1]))[::order]:
            runner.do(turns[1], number)
        assert len(failures(turns[1])) > 1
        messages.add(runner.commit(turns[1])["failed"])
    assert len(messages) == 1


def failures(turn):
    """What went wrong with parts of a step."""
    store = turn.job.store
    return [store.read_json(key)["message"] for key, _ in store.keys(f".tmp/{turn.job.run}/failed")]


def complain(build, name, numbers, outputs):
    raise BuildFailed(f"{numbers.id} is odd")


def test_a_mistake_of_ours_is_told_in_one_line_with_its_part_and_keeps_its_traceback(tmp_path):
    def fail(*_):
        raise ZeroDivisionError("of ours")

    ran = run(tmp_path / "r", FILES, flow(halved={"work": fail}))
    said = ran.state["failed"]
    assert re.match(
        r"halved/left-\w+/part-\w+: ZeroDivisionError: of ours \(\w+\.py:\d+\); this is a mistake of red", said
    )
    assert said.count("\n") == 0
    log = tmp_path / "r/timing/workers.log"
    assert f"please report it with {log}" in said
    assert "Traceback (most recent call last)" in log.read_text()


@pytest.mark.parametrize("times", [1, 2])
def test_what_may_pass_is_tried_again_and_what_the_system_refuses_is_not(tmp_path, monkeypatch, whole, times):
    monkeypatch.setattr(runner, "RETRY_SECONDS", (0, 0))
    raised = []

    def stumble(build, name, numbers, outputs):
        if len(raised) < times:
            raised.append(errno.ECONNRESET)
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        return halve(build, name, numbers, outputs)

    assert run(tmp_path / "r", FILES, flow(halved={"work": stumble})).files == whole
    assert len(raised) == times

    def refuse_room(*_):
        raised.append(errno.ENOSPC)
        raise OSError(errno.ENOSPC, "No space left on device", "/x")

    raised.clear()
    failed = run(tmp_path / "r2", {"left": {"a": [1]}}, flow(halved={"work": refuse_room})).state["failed"]
    assert raised == [errno.ENOSPC]
    assert "No space left on device: /x; the same command goes on from here" in failed


def test_a_part_that_nobody_did_fails_the_step_by_name(tmp_path):
    turns = turns_of(tmp_path / "r")
    count = runner.plan(turns[0])
    for number in range(count - 1):
        runner.do(turns[0], number)
    failed = runner.commit(turns[0])["failed"]
    assert (
        failed == f"{runner.read_plan(turns[0].job, 'numbers').parts[-1].stem}: the part was planned and is not there"
    )


@pytest.mark.parametrize("how", [BuildFailed("its part is gone"), FileNotFoundError("its part is gone"), None])
def test_a_commit_that_comes_late_and_fails_leaves_the_state_that_is_there(tmp_path, monkeypatch, how):
    """The parts it reads went with the commit that came first."""
    turn, commit_now = turns_of(tmp_path / "r")[0], runner._next_state
    for number in range(runner.plan(turn)):
        runner.do(turn, number)

    def comes_late(turn):
        monkeypatch.setattr(runner, "_next_state", commit_now)
        first.append(runner.commit(turn))
        if how:
            raise how
        return {"failed": "its part is gone", "records": {}}

    first = []
    monkeypatch.setattr(runner, "_next_state", comes_late)
    state = runner.commit(turn)
    forget()
    assert [state] == first == [runner.read_state(turn.job, "numbers")]
    assert "failed" not in state
    assert failures(turn) == []


def test_a_plan_that_comes_late_and_fails_leaves_the_plan_that_is_there(tmp_path):
    def comes_late(build):
        first.append(runner.plan(turns_of_job[0]))
        raise BuildFailed("what it reads is gone")
        yield

    first = []
    job = turns_of(tmp_path / "r")[0].job
    turns_of_job = runner.turns(job, flow())
    late = runner.turns(job, flow(numbers={"pieces": comes_late}))[0]
    assert [runner.plan(late)] == first
    assert len(runner.read_plan(job, "numbers").parts) == first[0] > 0


@pytest.mark.parametrize("what", ["_made", "_next_state"])
def test_what_may_pass_is_tried_again_while_a_step_is_planned_and_committed(tmp_path, monkeypatch, whole, what):
    monkeypatch.setattr(runner, "RETRY_SECONDS", (0, 0))
    work, raised = getattr(runner, what), []

    def stumble(turn):
        if (turn.step.stage, raised.count(turn.step.stage)) in {("halved", 0), ("told", 0), ("told", 1)}:
            raised.append(turn.step.stage)
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        return work(turn)

    monkeypatch.setattr(runner, what, stumble)
    assert run(tmp_path / "r", FILES).files == whole
    assert raised == ["halved", "told", "told"]


# ---- shared lists


def test_a_worker_claims_a_part_when_it_begins_it_so_that_others_have_the_rest(tmp_path):
    with workers.hold_root(str(tmp_path / "r")) as (name, claims):
        job = Job(parse(MANIFEST, "m.toml"), str(tmp_path / "r"), name, claims=claims)
        job.store.write("inputs/numbers.json", new_job(tmp_path / "x", FILES).store.read("inputs/numbers.json"))
        claimed = []

        def look(build, part, halves, outputs):
            claimed.append(len(list(Path(claims).glob("halved@*"))))
            return halve(build, part, halves, outputs)

        state = runner.run(job, flow(halved={"work": look}))
    assert "failed" not in state
    assert claimed == [1, 2, 3, 4, 5]


def test_no_part_is_begun_once_one_has_failed(tmp_path):
    with workers.hold_root(str(tmp_path / "r")) as (name, claims):
        job = Job(parse(MANIFEST, "m.toml"), str(tmp_path / "r"), name, claims=claims)
        job.store.write("inputs/numbers.json", new_job(tmp_path / "x", FILES).store.read("inputs/numbers.json"))
        assert "failed" in runner.run(job, flow(halved={"work": complain}))
        assert len(list(Path(claims).glob("halved@*"))) == 1


# ---- replays


def steps_done(turn: runner.Turn) -> list:
    """The calls of one step, in order."""
    return [("plan", turn), *(("do", turn, number) for number in range(GROUPS)), ("commit", turn)]


def call(what: str, turn: runner.Turn, *number: int) -> object:
    """As another process would."""
    forget()
    return getattr(runner, what)(turn, *number)


def test_each_call_twice_gives_the_same(tmp_path, whole):
    turns = turns_of(tmp_path / "r")
    for turn in turns:
        for each in steps_done(turn):
            assert call(*each) == call(*each)
        for each in steps_done(turn):  # late
            call(*each)
    assert Ran(turn.job, {}, tmp_path / "r").files == whole


def test_a_plan_that_is_made_again_in_the_midst_of_the_work_is_the_same(tmp_path, whole):
    turns = turns_of(tmp_path / "r")
    for turn in turns:
        count = runner.plan(turn)
        for number in range(count):
            call("do", turn, number)
            assert call("plan", turn) == count
        call("commit", turn)
    assert digest(tmp_path / "r") == whole


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 69), st.integers(0, 69)), max_size=25))
def test_calls_that_come_again_at_any_later_time_change_nothing(tmp_path_factory, whole, late):
    root = tmp_path_factory.mktemp("replays") / "r"
    turns = turns_of(root)
    calls = [each for turn in turns for each in steps_done(turn)]
    for place, each in enumerate(calls):
        call(*each)
        for _, again in filter(lambda pair: pair[0] == place, late):
            call(*calls[min(again, place)])
    assert not list(root.glob("grouped-split/*/*.partitions"))
    assert digest(root) == whole
    found = runner.read_state(turns[0].job, "told")["records"]
    assert found == {**run(root, FILES).state["records"], "grouped-split": found["grouped-split"]}


def test_a_late_part_of_a_regroup_is_no_failure(tmp_path, whole):
    """It was begun before the commit, and the files that it reads are gone."""
    turns = turns_of(tmp_path / "r")
    for turn in turns[:3]:
        run_step(turn)
    late = {}

    def reduce(build, group, rows, outputs):
        if not late:
            late["at"] = group.number
            for number in range(1, GROUPS):
                runner.do(turns[3], number)
            runner.do(turns[3], 0)  # the same part, by another worker
            runner.commit(turns[3])
            forget()
            build.named("grouped-split", "all")
        return count_halves(build, group, rows, outputs)

    slow = runner.turns(turns[0].job, flow(grouped={"reduce": reduce}))
    runner.plan(slow[3])
    runner.do(slow[3], 0)
    assert late
    assert "failed" not in [run_step(turn) for turn in turns[3:]][-1]
    assert digest(tmp_path / "r") == whole
