"""What a build does at each step: plan its parts, do them, check and commit. `beam.py` carries it, tests call it bare.

Between two steps stands a state, a small file in the run's folder: {"records": {stage: {name: key}}}, and its message
as "failed" where a part failed. It is found by the step before, so a step that is replayed reads and writes the same.
An engine may replay any of it, late too: what was planned stays planned, and once the state after a step is there the
step does nothing more: what comes late and fails, because what it reads is gone, writes over nothing.
Failures of data are values: a part that fails leaves a note, its barrier leaves a failed state, and what follows plans
nothing.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar

from redpajama.engine import claims, faults, homes, workers
from redpajama.engine.claims import Claims
from redpajama.engine.gathered import commit_stage, is_there, is_whole, stage_of
from redpajama.engine.partitions import DamagedPartitions
from redpajama.engine.parts import Part, PartRecord, Stopped, committed_each, run_part
from redpajama.engine.shapes import Stage
from redpajama.engine.stages import REMOVED, Build, Job, Planned, Step, balance
from redpajama.engine.store import Store, crash_point
from redpajama.errors import BuildFailed, InputError
from redpajama.hashing import canonical_json

T = TypeVar("T")
State = dict[str, Any]  # {"records": …}, and "failed" where it did
RETRY_SECONDS = (1.0, 4.0)  # before a part is tried again
START = "start"  # the state before the first step
STEM = re.compile(r"[^:]*?-[0-9a-f]{16}(?=\.)")  # of the part whose file a message begins with


@dataclass(frozen=True)
class Turn:
    """A step in its flow."""

    job: Job
    step: Step
    before: str  # whose state it begins with
    removing: tuple[str, ...]  # the stages up to here that remove documents

    def build(self, state: State) -> Build:
        """The build as the step may see it."""
        records = state["records"]
        removing = tuple(stage for stage in self.removing if stage in records and stage in self.step.after)
        return Build(self.job, records, removing, self.step.stage, frozenset(self.step.after))


def turns(job: Job, flow: Sequence[Stage], removing: tuple[str, ...] = ()) -> list[Turn]:
    """The steps of all stages, in order.

    Args:
        removing: stages before these that remove documents.
    """
    found: list[Turn] = []
    for stage in flow:
        for step in stage.steps():
            declared = replace(step, after=_all_that(step.after, removing))
            found.append(Turn(job, declared, found[-1].step.stage if found else START, removing))
        removing += (stage.name,) if stage.removes else ()
    return found


def _all_that(after: tuple[str, ...], removing: tuple[str, ...]) -> tuple[str, ...]:
    """The stages that a declaration means, with their homes."""
    named = [stage for each in after for stage in (removing if each == REMOVED else (each,))]
    return (*named, *map(homes.stage_of, named))


def start(job: Job, records: dict[str, dict[str, str]] | None = None) -> None:
    """Leave the state before the first step, and the mark that lets workers commit."""
    _write_state(job, START, {"records": records or {}})
    workers.begin(job)


def state_key(run: str, stage: str) -> str:
    """Where the state after a stage lies."""
    return f".tmp/{run}/state-{stage}.json"


def last_state_key(run: str) -> str:
    """What is there once the flow is at its end."""
    return f".tmp/{run}/state.json"


def plan_key(run: str, stage: str) -> str:
    """Where a run keeps the plan of a stage."""
    return f".tmp/{run}/plan-{stage}.json"


def totals_key(run: str, stage: str) -> str:
    """Where it keeps how much that is: a plan may be large."""
    return f".tmp/{run}/totals-{stage}.json"


def read_state(job: Job, stage: str) -> State:
    """The state after a stage."""
    return _read_state(job.store, state_key(job.run, stage))


@lru_cache(maxsize=2)  # it is written once
def _read_state(store: Store, key: str) -> State:
    return _tried(lambda: store.read_json(key))


def _state_after(turn: Turn) -> State | None:
    """The state after a step; None before it is committed."""
    body = next(turn.job.store.read_each([state_key(turn.job.run, turn.step.stage)]))
    return None if body is None else json.loads(body)


def _write_state(job: Job, stage: str, state: State) -> None:
    job.store.write(state_key(job.run, stage), canonical_json(state))


# ---- plan


class Plan(NamedTuple):
    """What a step has to do, as it lies in the run's folder."""

    parts: tuple[Part, ...]  # to do, largest first
    done: tuple[str, ...]  # stems of parts that were done before
    records: dict[str, str]  # {name: key of its stage record}
    whole: tuple[str, ...]  # names whose stage record is there already
    parameters: dict[str, dict[str, Any]]  # {name: what the stage record says of its fingerprint}, of the others
    spared: dict[str, str]  # {name: key of a stage record that nobody needs: what it would serve is there}
    dealt: tuple[tuple[int, ...], ...] = ()  # the numbers of the parts of each element; (): an element a part
    claimed: bool = False  # the parts are claimed in the store; then whoever gets an element does what is free

    @property
    def elements(self) -> int:
        """How many elements an engine deals out."""
        return len(self.dealt or self.parts)


def plan(turn: Turn) -> int:
    """Plan the parts of a step and write the plan down; how many elements there are. A whole stage has none.

    A step is planned once a run: a part keeps its number while some are done already.
    """
    if (count := _planned(turn)) is not None:
        return count
    made = Plan((), (), {}, (), {}, {})
    with failures_noted(turn, "plan"):
        made = _tried(partial(_made, turn))
    return _tried(partial(_write_plan, turn, made))


def _planned(turn: Turn) -> int | None:
    """How many elements a plan has that is there already."""
    body = next(turn.job.store.read_each([plan_key(turn.job.run, turn.step.stage)]))
    return None if body is None else Plan(**json.loads(body)).elements


def _made(turn: Turn) -> Plan:
    state = read_state(turn.job, turn.before)
    return _plan(turn.job, turn.step, [] if "failed" in state else turn.step.plan(turn.build(state)))


def _write_plan(turn: Turn, made: Plan) -> int:
    """Write it down, unless another was first; how many elements there are."""
    store, run, stage = turn.job.store, turn.job.run, turn.step.stage
    if (count := _planned(turn)) is not None:
        return count
    totals = {"parts": len(made.parts), "bytes": sum(part.size for part in made.parts)}
    store.write(totals_key(run, stage), canonical_json(totals))
    body = canonical_json({**made._asdict(), "parts": [part.to_json() for part in made.parts]})
    store.write(plan_key(run, stage), body)
    return made.elements


def _plan(job: Job, step: Step, found: list[Planned]) -> Plan:
    store = job.store
    parts: list[Part] = []
    done: list[str] = []
    records: dict[str, str] = {}
    whole: list[str] = []
    parameters: dict[str, dict[str, Any]] = {}
    spared: dict[str, str] = {}
    sizes_below = lru_cache(store.sizes)
    for each in found:
        key = each.record_of(step.stage)
        if is_whole(store, each.record_of(each.goal or step.stage), sizes_below):
            whole += [] if each.goal else [each.name]
            (spared if each.goal else records)[each.name] = key
            continue
        records[each.name], parameters[each.name] = key, each.parameters
        for part, is_done in look(store, each.parts(), sizes_below):
            done += [part.stem] if is_done else []
            parts += [] if is_done else [part]
    parts.sort(key=lambda part: (-part.size, part.stem))
    dealt = _dealt(step, parts)
    claimed = step.weighed and not dealt and _are_claimed(job, parts, sizes_below)
    return Plan(tuple(parts), tuple(sorted(done)), records, tuple(whole), parameters, spared, dealt, claimed)


def _are_claimed(job: Job, parts: list[Part], sizes_below: Callable[[str], dict[str, int]]) -> bool:
    """Whether parts are claimed in the store; not where an old record would pass for that of a part that is done."""
    return claims.pay(job, parts) and not any(f"{part.stem}.json" in sizes_below(part.folder) for part in parts)


def _dealt(step: Step, parts: Sequence[Part]) -> tuple[tuple[int, ...], ...]:
    """The numbers of the parts of each element: one after the other where only so many may be done at once."""
    found: dict[Any, list[int]] = {}
    met: Counter[str] = Counter()
    for number, part in enumerate(parts):
        lane, width = step.lanes(part)
        found.setdefault((lane, met[lane] % width) if lane else number, []).append(number)
        met[lane] += 1
    return tuple(map(tuple, found.values())) if len(found) < len(parts) else ()


def look(store: Store, parts: list[Part], sizes_below: Callable[[str], dict[str, int]]) -> Iterator[tuple[Part, bool]]:
    """Parts, and whether each is committed with its files there; asks only for records that were listed."""
    old = [part for part in parts if f"{part.stem}.json" in sizes_below(part.folder)]
    records = dict(zip((part.stem for part in old), committed_each(store, [part.stem for part in old]), strict=True))
    for part in parts:
        record = records.get(part.stem)
        yield part, record is not None and is_there(record, sizes_below(part.folder))


def read_plan(job: Job, stage: str) -> Plan:
    """The plan of a stage."""
    return _read_plan(job.store, plan_key(job.run, stage))


@lru_cache(maxsize=2)  # on a cluster each element is one part of thousands: it asks again
def _read_plan(store: Store, key: str) -> Plan:
    plan = _tried(lambda: store.read_json(key))
    return Plan(**{**plan, "parts": tuple(Part(**part) for part in plan["parts"])})


# ---- do


def do(turn: Turn, number: int) -> bool:
    """The parts of that element; where workers share a list, every part that can be claimed.

    Returns:
        Whether this process was to claim parts in the store: then some may be `left`.
    """
    workers.enter(turn.job)
    own = claims.of(turn.job.store, turn.job.run, turn.step.stage)
    if not own.is_through:
        _do_each(turn, _mine(turn, number, own))
    return own.is_begun


def left(turn: Turn) -> list[int]:
    """The numbers of the parts that were claimed and are not there: their workers died. None once the run is over."""
    job = turn.job
    if workers.is_stopped(job) or _state_after(turn) is not None:
        return []
    plan = read_plan(job, turn.step.stage)
    sizes_below = lru_cache(lambda folder: _tried(partial(job.store.sizes, folder)))
    return [n for n, part in enumerate(plan.parts) if f"{part.stem}.json" not in sizes_below(part.folder)]


def do_left(turn: Turn, number: int) -> None:
    """One of these."""
    workers.enter(turn.job)
    _do_each(turn, _dealt_out(turn, number))


def _do_each(turn: Turn, parts: Iterator[Part]) -> None:
    """Parts, asked for one after the other; none where the step is over, or what was before it failed."""
    state = read_state(turn.job, turn.before)
    if "failed" in state or _state_after(turn) is not None:
        return
    build = turn.build(state)
    for part in parts:
        _do_part(turn, build, part)


def _mine(turn: Turn, number: int, own: Claims) -> Iterator[Part]:
    plan, job = read_plan(turn.job, turn.step.stage), turn.job
    if job.claims:
        yield from (part for part in plan.parts if not workers.failed(job) and workers.claim(job, part))
    elif plan.claimed:
        yield from _claimed(turn, plan, own)
    else:
        yield from _dealt_out(turn, number)


def _claimed(turn: Turn, plan: Plan, own: Claims) -> Iterator[Part]:
    while not workers.is_stopped(turn.job):
        if (rank := _tried(partial(own.claim, len(plan.parts)))) is None:
            return
        yield plan.parts[rank]


def _dealt_out(turn: Turn, number: int) -> Iterator[Part]:
    plan, job = read_plan(turn.job, turn.step.stage), turn.job
    own = plan.dealt[number] if plan.dealt else range(number, min(number + 1, len(plan.parts)))
    for part in (plan.parts[each] for each in own):
        if workers.is_stopped(job):
            return
        if len(own) == 1 or next(iter(committed_each(job.store, [part.stem]))) is None:  # a worker may have died midway
            yield part


def _do_part(turn: Turn, build: Build, part: Part) -> None:
    """One part; what goes wrong with the data becomes a note."""
    started, cpu, job = time.monotonic(), time.process_time(), turn.job
    stopped = partial(workers.is_stopped, job)
    with failures_noted(turn, part.key, part), suppress(Stopped):
        record = _tried(
            lambda: run_part(job.store, part, lambda outputs: turn.step.work(build, part, outputs), stopped)
        )
        workers.note_done(job, part, record.counts, time.monotonic() - started, time.process_time() - cpu)


def _tried(work: Callable[[], T]) -> T:
    """What may pass is tried again: the store, the network. What is half done leaves nothing that counts."""
    for delay in RETRY_SECONDS:
        try:
            return work()
        except (BuildFailed, InputError, FileNotFoundError, Stopped):
            raise
        except Exception as error:
            if faults.explain(error).kind is not faults.Kind.PASSING:
                raise
        time.sleep(delay)
    return work()


@contextmanager
def failures_noted(turn: Turn, what: str, part: Part | None = None) -> Iterator[None]:
    """What goes wrong becomes a note, one line. A part whose file is damaged is forgotten, so that it is redone."""
    job, stage = turn.job, turn.step.stage
    try:
        yield
    except (BuildFailed, InputError) as error:
        if not _comes_late(turn, part):
            workers.note_failure(job, stage, what, _message(job.store, error))
    except Exception as error:  # noqa: BLE001 (an engine would print each traceback, and try again what cannot pass)
        if not _comes_late(turn, part):
            workers.note_crash(job, stage, what, part.stem if part else f"stage {stage}", error)


def _comes_late(turn: Turn, part: Part | None) -> bool:
    """Another did the part, and what it reads may be gone; or the run is over."""
    return _state_after(turn) is not None or _is_over(turn.job) or (part is not None and _is_done(turn.job.store, part))


def _is_done(store: Store, part: Part) -> bool:
    """Whether a part is committed, with its files."""
    return all(done for _, done in look(store, [part], store.sizes))


def _is_over(job: Job) -> bool:
    """Whether the run's folder is gone."""
    return not job.store.exists(state_key(job.run, START))


def _message(store: Store, error: BuildFailed | InputError) -> str:
    return _forget_damaged(store, str(error)) if isinstance(error, DamagedPartitions) else str(error)


def _forget_damaged(store: Store, message: str) -> str:
    """Remove the record of a part whose file is damaged, so that it is made again; what to say."""
    if found := STEM.match(message):
        store.remove(f"{found[0]}.json")
        return f"{message}; its record was removed: the same command makes it again"
    return message


# ---- commit


def commit(turn: Turn) -> State:
    """The state after a step: every part is there and balances, or a failure."""
    if (state := _state_after(turn)) is None:
        with failures_noted(turn, "commit"):
            state = _tried(partial(_next_state, turn))
        state = _tried(partial(_settled, turn, state))
        if "failed" not in state and read_plan(turn.job, turn.step.stage).claimed:
            _tried(claims.of(turn.job.store, turn.job.run, turn.step.stage).sweep)
    if turn.step.spent and "failed" not in state:
        _remove_spent(turn.job.store, turn.step, state["records"][turn.step.stage])
    return state


def _settled(turn: Turn, state: State | None) -> State:
    """Write the state after a step, unless it is the failure of one that comes late; which state holds."""
    if state is None or "failed" in state:
        if (earlier := _state_after(turn)) is not None:
            return earlier
        message = workers.first_failure(turn.job.store, turn.job.run) or f"stage {turn.step.stage}: the run is over"
        state = state or {"failed": message, "records": {}}
        if _is_over(turn.job):
            return state
    _write_state(turn.job, turn.step.stage, state)
    return state


def _next_state(turn: Turn) -> State:
    state = read_state(turn.job, turn.before)
    if "failed" in state:
        return state
    committed: dict[str, str] = {}
    records = {**state["records"], turn.step.stage: committed}
    try:
        committed |= _commit(turn, turn.build(state), committed)
        return {"records": records}
    except BuildFailed as error:
        return {"failed": _message(turn.job.store, error), "records": records}


def _commit(turn: Turn, build: Build, committed: dict[str, str]) -> dict[str, str]:
    """{name: key of the stage record}; a record that was there already is checked as well.

    Args:
        committed: gets those that are there even if a check fails, for `show` and `why`.
    """
    if message := workers.first_failure(turn.job.store, turn.job.run):
        raise BuildFailed(message)
    plan, store = read_plan(turn.job, turn.step.stage), build.store
    done = _records_by_name(store, [*(part.stem for part in plan.parts), *plan.done])
    for name, key in plan.records.items():
        if name in plan.whole:
            record = stage_of(store, key)
        else:
            record = commit_stage(store, key, done.get(name, []), plan.parameters[name])
        committed[name] = key
        turn.step.check(build, name, record)
    return plan.records | plan.spared


def _records_by_name(store: Store, stems: list[str]) -> dict[str, list[PartRecord]]:
    """{name: its part records}; each is there and balances."""
    found: dict[str, list[PartRecord]] = {}
    for stem, record in zip(stems, committed_each(store, stems), strict=True):
        if record is None:
            raise BuildFailed(f"{stem}: the part was planned and is not there")
        if problem := balance(record.counts):
            raise BuildFailed(f"{stem}: {problem}")
        found.setdefault(record.name, []).append(record)
    return found


def _remove_spent(store: Store, step: Step, records: dict[str, str]) -> None:
    """Partition files serve one regroup, which is committed now. May run again."""
    crash_point("before-partitions-go")
    for key in records.values():
        store.remove(f"{step.spent}/{key.split('/')[1]}")
    crash_point("after-partitions-go")


def run(job: Job, flow: Sequence[Stage]) -> State:
    """All steps in this process, one after the other."""
    start(job)
    state: State = {"records": {}}
    for turn in turns(job, flow):
        count = plan(turn)
        if any([do(turn, number) for number in range(min(1, count) if job.claims else count)]):
            for number in left(turn):
                do_left(turn, number)
        state = commit(turn)
    return state
