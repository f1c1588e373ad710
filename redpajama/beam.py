"""How a build runs on Apache Beam: the only place that knows.

The whole flow is one graph. Between two steps stands a barrier: it gathers the step's signals, reads the part records,
checks the balance, commits the stage records and plans the next step. Elements are small: the state of the build as
JSON, the number of a part, or (GroupByKey backend) packed Arrow columns.

Failures of data are values: a part that fails leaves a note in the run's folder, its barrier passes a failed state on,
and the job ends; the driver reads the state and chooses message and exit status.
"""

import contextlib
import io
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import create_runner

from redpajama import workers
from redpajama.artifacts import BuildFailed, Part, Store, UserError, commit_stage, committed_each, run_part
from redpajama.hashing import canonical_json
from redpajama.io import InputError
from redpajama.stages import Build, Job, Regroup, Step, balance

FN_API_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
SHUFFLE_BYTES = 4 << 20  # size of one element through GroupByKey

State = dict[str, Any]  # {"records": {stage: {name: key}}} or {"failed": message}


def beam_arguments(workers_count: int, extra: list[str]) -> list[str]:
    """Beam's command line: the pinned runner and its mode, unless `extra` (all after `--`) names another.

    Raises:
        UserError: `multi_threading` is asked for, which corrupts data in Beam 2.77, or an option that Beam refuses.
    """
    if any("multi_threading" in argument for argument in extra):
        raise UserError("--direct_running_mode=multi_threading corrupts data in Beam 2.77: use multi_processing")
    mode = "in_memory" if workers_count == 1 else "multi_processing"
    chosen = [f"--runner={FN_API_RUNNER}", f"--direct_running_mode={mode}", f"--direct_num_workers={workers_count}"]
    arguments = extra if any(argument.startswith("--runner") for argument in extra) else [*chosen, *extra]
    _check_arguments(arguments)
    return arguments


def _check_arguments(arguments: list[str]) -> None:
    """Beam's parser prints its usage and exits, and a runner is looked up when work begins: ask both now."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options = PipelineOptions(arguments)
            options.get_all_options()
        create_runner(options.view_as(StandardOptions).runner)
    except SystemExit:
        raise UserError(f"Beam says: {said.getvalue().strip().rpartition('error: ')[2]}") from None
    except (ValueError, ImportError) as error:
        raise UserError(f"Beam says: {error}") from None


def is_local(arguments: list[str]) -> bool:
    """True if the workers are processes of this machine that Beam's in-process runner starts."""
    return f"--runner={FN_API_RUNNER}" in arguments or "--runner=FnApiRunner" in arguments


def run(job: Job, flow: list[Step | Regroup], arguments: list[str], shares: int, group_by_key: bool = False) -> State:
    """Run the flow as one Beam job and return its last state.

    Args:
        shares: how many elements a step is dealt out in; each claims parts until none is left. 0 = one element a part.
        group_by_key: regroup through Beam's shuffle instead of partition files.
    """
    steps: list[Step | Regroup] = []
    for each in flow:
        steps += each.as_steps() if isinstance(each, Regroup) and not group_by_key else [each]
    with beam.Pipeline(options=PipelineOptions(arguments)) as pipeline:
        state = pipeline | "Start" >> beam.Create([canonical_json({"records": {}})])
        for step in steps:
            transform = RunRegroup if isinstance(step, Regroup) else RunStep
            state = state | step.stage >> transform(job, step, shares)
        _ = state | "Finish" >> beam.Map(_leave_state, job)
    return json.loads(job.store.read(f".tmp/{job.run}/state.json"))


def _leave_state(state: bytes, job: Job) -> None:
    job.store.write(f".tmp/{job.run}/state.json", state)


@dataclass
class RunStep(beam.PTransform):
    """State -> state: plan the parts, do them, check and commit."""

    job: Job
    step: Step
    shares: int

    def expand(self, state: beam.PCollection) -> beam.PCollection:
        return (
            state
            | "Plan" >> beam.ParDo(PlanParts(self.job, self.step, self.shares))
            | "Deal out" >> beam.GroupByKey()
            | "Work" >> beam.ParDo(DoParts(self.job, self.step))
            | "Gather" >> beam.GroupByKey()
            | "Commit" >> beam.ParDo(Commit(self.job, self.step))
        )


@dataclass
class RunRegroup(beam.PTransform):
    """State -> state, rows regrouped by Beam's shuffle; every split part runs, whether or not it ran before."""

    job: Job
    step: Regroup
    shares: int

    def expand(self, state: beam.PCollection) -> beam.PCollection:
        split = Step(self.step.split_stage, self.step.plan, _never_called)
        reduce = Step(self.step.stage, self.step.plan_reduce, _never_called, self.step.check)
        planned = state | "Plan" >> beam.ParDo(PlanParts(self.job, reduce, 0))
        rows = (
            state
            | "Plan split" >> beam.ParDo(PlanParts(self.job, split, 0))
            | "Deal out" >> beam.GroupByKey()
            | "Split" >> beam.ParDo(SplitPart(self.job, self.step))
        )
        return (
            (planned, rows)
            | "Rows and plans" >> beam.Flatten()
            | "Group" >> beam.GroupByKey()
            | "Reduce" >> beam.ParDo(ReducePart(self.job, self.step))
            | "Gather" >> beam.GroupByKey()
            | "Commit" >> beam.ParDo(Commit(self.job, reduce))
        )


def _never_called(*_: Any) -> Any:
    raise AssertionError("a regroup's own steps do the work")


@beam.typehints.with_input_types(bytes)
@beam.typehints.with_output_types(tuple[int, bytes])
class PlanParts(beam.DoFn):
    """State -> (number, state) for each part or share; the plan itself goes to the run's folder."""

    def __init__(self, job: Job, step: Step, shares: int) -> None:
        self.job, self.step, self.shares = job, step, shares

    def process(self, state: bytes) -> Iterator[tuple[int, bytes]]:
        values = json.loads(state)
        if "failed" in values:
            yield 0, state
            return
        parts = sorted(self.step.plan(Build(self.job, values["records"])), key=lambda part: (-part.size, part.stem))
        self.job.store.write(plan_key(self.job, self.step.stage), canonical_json([part.to_json() for part in parts]))
        for number in range(self.shares or max(1, len(parts))):
            partition = parts[number].spec.get("partition", number) if parts and not self.shares else number
            yield partition, state


def plan_key(job: Job, stage: str) -> str:
    """Where a run keeps the plan of a stage."""
    return f".tmp/{job.run}/plan-{stage}.json"


def read_plan(job: Job, stage: str) -> list[Part]:
    """The parts of a stage, largest first."""
    return _read_plan(job.store, plan_key(job, stage))


@lru_cache(maxsize=2)  # on a cluster each element is one part of thousands: it asks again
def _read_plan(store: Store, key: str) -> list[Part]:
    return [Part(**part) for part in store.read_json(key)]


@beam.typehints.with_input_types(tuple[int, Iterable[bytes]])
@beam.typehints.with_output_types(tuple[int, bytes])
class DoParts(beam.DoFn):
    """(number, state) -> (0, state), after the part of that number, or all parts that could be claimed."""

    def __init__(self, job: Job, step: Step) -> None:
        self.job, self.step = job, step

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        number, states = element
        state = next(iter(states))
        values = json.loads(state)
        if "failed" not in values:
            workers.enter(self.job)
            build = Build(self.job, values["records"])
            for part in self._mine(number):
                self._do(build, part)
        yield 0, state

    def _mine(self, number: int) -> Iterator[Part]:
        parts = read_plan(self.job, self.step.stage)
        if not self.job.claims:
            yield from parts[number : number + 1]
            return
        for part in parts:
            if not workers.failed(self.job) and workers.claim(self.job, part):
                yield part

    def _do(self, build: Build, part: Part) -> None:
        started = time.monotonic()
        try:
            record = run_part(self.job.store, part, lambda outputs: self.step.work(build, part, outputs))
        except (BuildFailed, InputError) as error:
            workers.note_failure(self.job, part, str(error))
            return
        workers.note_done(self.job, part, record.counts, time.monotonic() - started)


@beam.typehints.with_input_types(tuple[int, Iterable[bytes]])
@beam.typehints.with_output_types(bytes)
class Commit(beam.DoFn):
    """All signals of a step -> the next state: every part is there and balances, or the state is a failure."""

    def __init__(self, job: Job, step: Step) -> None:
        self.job, self.step = job, step

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
        values = json.loads(next(iter(element[1])))
        if "failed" not in values:
            try:
                values["records"][self.step.stage] = self._commit(Build(self.job, values["records"]))
            except BuildFailed as error:
                values = {"failed": str(error)}
        yield canonical_json(values)

    def _commit(self, build: Build) -> dict[str, str]:
        if message := workers.first_failure(self.job):
            raise BuildFailed(message)
        parts = read_plan(self.job, self.step.stage)
        folders: dict[str, list[Any]] = {part.folder: [] for part in parts}
        for part, record in zip(parts, committed_each(self.job.store, parts), strict=True):
            if record is None:
                raise BuildFailed(f"{part.stem}: the part was planned and is not there")
            if problem := balance(record.counts):
                raise BuildFailed(f"{part.stem}: {problem}")
            folders[part.folder].append(record)
        names = {part.folder: part.name for part in parts}
        done = {}
        for folder, records in folders.items():
            stage = commit_stage(self.job.store, folder, records)
            self.step.check(build, names[folder], stage)
            done[names[folder]] = stage.key
        return done


@beam.typehints.with_input_types(tuple[int, Iterable[bytes]])
@beam.typehints.with_output_types(tuple[int, bytes])
class SplitPart(beam.DoFn):
    """(number, state) -> (partition, Arrow IPC) for the rows of one part."""

    def __init__(self, job: Job, step: Regroup) -> None:
        self.job, self.step = job, step

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        number, states = element
        values = json.loads(next(iter(states)))
        parts = [] if "failed" in values else read_plan(self.job, self.step.split_stage)[number : number + 1]
        for part in parts:
            workers.enter(self.job)
            for partition, table in self.step.split(Build(self.job, values["records"]), part):
                rows = max(1, table.num_rows * SHUFFLE_BYTES // max(1, table.nbytes))
                for start in range(0, table.num_rows, rows):
                    yield partition, pack(table.slice(start, rows))


@beam.typehints.with_input_types(tuple[int, Iterable[bytes]])
@beam.typehints.with_output_types(tuple[int, bytes])
class ReducePart(beam.DoFn):
    """(partition, its rows and one state) -> (0, state), after the partition's part is committed."""

    def __init__(self, job: Job, step: Regroup) -> None:
        self.job, self.step = job, step

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        number, packed = element
        state, tables = b"", [self.step.schema.empty_table()]
        for data in packed:
            if data[:1] == b"{":
                state = data
            else:
                tables.append(unpack(data).cast(self.step.schema))
        values = json.loads(state)
        if "failed" not in values:
            self._reduce(Build(self.job, values["records"]), number, pa.concat_tables(tables))
        yield 0, state

    def _reduce(self, build: Build, number: int, rows: pa.Table) -> None:
        workers.enter(self.job)
        by_partition = {part.spec["partition"]: part for part in read_plan(self.job, self.step.stage)}
        if not by_partition and not rows.num_rows:
            return  # a regroup that passes: the one element is its state
        part = by_partition[number]
        step = Step(self.step.stage, self.step.plan_reduce, lambda b, p, out: self.step.reduce(b, p, rows, out))
        DoParts(self.job, step)._do(build, part)


def pack(table: pa.Table) -> bytes:
    """A table as an Arrow IPC stream (which cuts slices to their rows, unlike pickle)."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def unpack(data: bytes) -> pa.Table:
    """The table that `pack` made."""
    return pa.ipc.open_stream(data).read_all()
