"""How a build runs on Apache Beam: the only place that knows. What runs is `runner.py`'s.

The whole flow is one graph. Elements are numbers; plans, records and states lie in the store.
"""

import contextlib
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam import PCollection
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import worker_handlers

from redpajama.engine import bags, faults, options, runner, workers
from redpajama.engine.runner import State, Turn, start
from redpajama.engine.shapes import Stage
from redpajama.engine.stages import Job
from redpajama.errors import BuildFailed, UserError
from redpajama.hashing import canonical_json

SYSTEM_ERROR = re.compile(r"^(?:\w+: )*\[Errno \d+\] (.*?)(?: \[while running '[^']*'\])?$", re.MULTILINE)
RPC_ERROR = re.compile(r"details = \"(.*?)\"")
RAISED = re.compile(r"^(\w[\w.]*(?:Error|Exception|Exit): .*?)(?: \[while running '[^']*'\])?$", re.MULTILINE)
CANCEL_SECONDS = 8.0
DASK_RUNNER = re.compile(r"(?<=^--runner=)DaskRunner$|^DaskRunner$")
LONG_DASK_RUNNER = "apache_beam.runners.dask.dask_runner.DaskRunner"  # Beam knows no short name of it
FN_API_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def beam_arguments(workers_count: int, extra: list[str]) -> list[str]:
    """Beam's command line: the pinned runner and its mode, unless `extra` (all after `--`) names another.

    Raises:
        UserError: what loses data in Beam 2.77 is asked for, `multi_threading` or a limit of its buffers in time; or an
            option that Beam refuses.
    """
    if any("data_buffer_time_limit_ms" in argument for argument in extra):
        raise UserError("data_buffer_time_limit_ms loses data in Beam 2.77: leave it out")
    if any("multi_threading" in argument for argument in extra):
        raise UserError("--direct_running_mode=multi_threading corrupts data in Beam 2.77: use multi_processing")
    mode = "in_memory" if workers_count == 1 else "multi_processing"
    chosen = [f"--runner={FN_API_RUNNER}", f"--direct_running_mode={mode}", f"--direct_num_workers={workers_count}"]
    extra = [DASK_RUNNER.sub(LONG_DASK_RUNNER, argument) for argument in extra]
    arguments = extra if any(argument.startswith("--runner") for argument in extra) else [*chosen, *extra]
    options.check(arguments)
    return arguments


def is_local(arguments: list[str]) -> bool:
    """True if the workers are processes of this machine that Beam's in-process runner starts."""
    return f"--runner={FN_API_RUNNER}" in arguments or "--runner=FnApiRunner" in arguments


def check_places(arguments: list[str], root: str, inputs: Iterable[str]) -> None:
    """Raises UserError where workers of other machines are to use a folder of this one."""
    options.check_places(PipelineOptions(arguments), root, inputs)


class Begun(NamedTuple):
    """What a flow goes on from."""

    records: dict[str, dict[str, str]]  # of the stages before: {stage: {name: key}}
    removing: tuple[str, ...]  # those of them that remove documents, in order


NOTHING = Begun({}, ())


def run(job: Job, flow: Sequence[Stage], arguments: list[str], shares: int, begun: Begun = NOTHING) -> State:
    """Run the flow as one Beam job and return its last state.

    Args:
        shares: how many elements a step is dealt out in; each claims parts until none is left. 0 = one element a part.
    """
    worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = 0  # FnApiRunner's flush from a thread loses data between processes
    if any("DaskRunner" in argument for argument in arguments):
        bags.mend()
    start(job, begun.records)
    turns = runner.turns(job, flow, begun.removing)
    with errors_told(job):
        pipeline = beam.Pipeline(options=PipelineOptions(arguments))
        signal = pipeline | "Start" >> beam.Create([b""])
        for turn in turns:
            signal = signal | turn.step.stage >> RunStep(turn, shares)
        _ = signal | "Finish" >> beam.Map(_leave_last_state, turns[-1])
        try:
            result = pipeline.run()  # FnApiRunner is through by then
            _under_way.append(result)
            result.wait_until_finish()
            _under_way.remove(result)
        finally:
            with contextlib.suppress(Exception):  # a store that fails now must not hide how the job ended
                workers.stop(job)  # what an engine still replays commits nothing
    return job.store.read_json(runner.last_state_key(job.run))


_under_way: list[Any] = []  # results of jobs that run elsewhere


def cancel() -> None:
    """Cancel what runs elsewhere; waits CANCEL_SECONDS at most."""

    def ask() -> None:
        for result in _under_way:
            with contextlib.suppress(Exception):  # the engine may be gone; workers see the mark in the store
                result.cancel()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(CANCEL_SECONDS)


class EngineFailed(BuildFailed):
    """The engine itself gave up; one line. A worker that died may be why."""


@contextlib.contextmanager
def errors_told(job: Job) -> Iterator[None]:
    """What the engine raises, in one line; where another process raised, it comes as a text around a traceback.

    Raises:
        EngineFailed: such an error; the traceback goes to standard error, which is the log of the workers.
    """
    try:
        yield
    except (BuildFailed, UserError):
        raise
    except Exception as error:  # noqa: BLE001 (engines raise whatever they like)
        with contextlib.suppress(OSError):  # that may be where no room is left
            sys.stderr.write(faults.traceback_of(error))
        log = f"{job.store.url}/{faults.LOG}" if job.store.local else "the log of the engine"
        raise EngineFailed(_fault_of(error).told("", log)) from None


def _fault_of(error: Exception) -> faults.Fault:
    text = str(error)
    if found := SYSTEM_ERROR.findall(text):
        return faults.Fault(faults.Kind.REFUSED, found[-1])
    if refused := RPC_ERROR.search(text):
        return faults.Fault(faults.Kind.REFUSED, f"the engine does not answer: {refused[1]}")
    if raised := RAISED.findall(text):
        return faults.Fault(faults.Kind.OURS, raised[-1][:500])
    return faults.explain(error)


def _leave_last_state(signal: bytes, turn: Turn) -> None:
    state = runner.read_state(turn.job, turn.step.stage)
    turn.job.store.write(runner.last_state_key(turn.job.run), canonical_json(state))


CLAIMED, NOTHING_LEFT = b"claimed", -1


@dataclass
class RunStep(beam.PTransform[PCollection[bytes], PCollection[bytes]]):
    """Plan the parts, do them, check and commit. Elements carry nothing but numbers: the state lies in the store."""

    turn: Turn
    shares: int

    def expand(self, signal: PCollection[bytes]) -> PCollection[bytes]:
        """One signal -> one; where parts may be claimed in the store, those that are left are dealt out once more."""
        done = (
            signal
            | "Plan" >> beam.ParDo(PlanParts(self.turn, self.shares))
            | "Deal out" >> beam.GroupByKey()
            | "Work" >> beam.ParDo(DoParts(self.turn))
            | "Gather" >> beam.GroupByKey()
        )
        if self.turn.job.claim_bytes and self.turn.step.weighed:
            done = (
                done
                | "Look" >> beam.ParDo(FindLeft(self.turn))
                | "Deal again" >> beam.GroupByKey()
                | "Work again" >> beam.ParDo(DoLeft(self.turn))
                | "Gather again" >> beam.GroupByKey()
            )
        return done | "Commit" >> beam.ParDo(Commit(self.turn))


@beam.typehints.with_input_types(bytes)
@beam.typehints.with_output_types(tuple[int, bytes])
class PlanParts(beam.DoFn):
    """A signal -> a number for each part or share; the plan itself goes to the run's folder."""

    def __init__(self, turn: Turn, shares: int) -> None:
        self.turn, self.shares = turn, shares

    def process(self, signal: bytes) -> Iterator[tuple[int, bytes]]:
        workers.equip(self.turn.job)
        count = runner.plan(self.turn)
        for number in range(self.shares or max(1, count)):
            yield number, b""


@beam.typehints.with_input_types(tuple[int, Iterable[bytes]])
@beam.typehints.with_output_types(tuple[int, bytes])
class DoParts(beam.DoFn):
    """A number -> a signal, after the part of that number, or all parts that could be claimed; it tells claims."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        workers.equip(self.turn.job)
        yield 0, CLAIMED if runner.do(self.turn, element[0]) else b""


@beam.typehints.with_input_types(tuple[int, Iterable[bytes]])
@beam.typehints.with_output_types(tuple[int, bytes])
class FindLeft(beam.DoFn):
    """All signals of a step -> a number for each part that was claimed and is not there, and NOTHING_LEFT."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        workers.equip(self.turn.job)
        yield NOTHING_LEFT, b""  # the step goes on, whatever a replay finds
        if CLAIMED in element[1]:
            yield from ((number, b"") for number in runner.left(self.turn))


@beam.typehints.with_input_types(tuple[int, Iterable[bytes]])
@beam.typehints.with_output_types(tuple[int, bytes])
class DoLeft(beam.DoFn):
    """A number -> a signal, after the part of that number."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        workers.equip(self.turn.job)
        if element[0] != NOTHING_LEFT:
            runner.do_left(self.turn, element[0])
        yield 0, b""


@beam.typehints.with_input_types(tuple[int, Iterable[bytes]])
@beam.typehints.with_output_types(bytes)
class Commit(beam.DoFn):
    """All signals of a step -> one, after its state is written."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
        workers.equip(self.turn.job)
        runner.commit(self.turn)
        yield b""
