"""What planning costs for many parts: all steps of a build are planned, and records made up instead of any work.

The records are those of a tiny build with other hashes; split files and files of homes are stand-ins, read as often as
the real ones are.
"""

import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import scaled

from redpajama.corpus.inputs import listing_key
from redpajama.engine import partitions, runner
from redpajama.engine.gathered import commit_stage, parts_of
from redpajama.engine.partitions import PartitionWriter
from redpajama.engine.parts import Part, PartRecord, signed
from redpajama.engine.shapes import Stage
from redpajama.engine.stages import Job
from redpajama.engine.store import Store
from redpajama.hashing import canonical_json

SAMPLE_PARTS = 40  # of the tiny build that records are taken from
PAGES = 2_700  # of a split file: 31 parts of 87 MB in pages of 1 MiB


@dataclass
class Sample:
    """What a tiny build left: a record of each stage, a file of each kind."""

    records: dict[str, dict[str, Any]] = field(default_factory=dict)  # {stage: inputs, outputs, counts}
    parts: dict[str, int] = field(default_factory=dict)  # {stage: how many}
    files: dict[str, Path] = field(default_factory=dict)  # {stage and ending: a file}
    listed: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class PlanCost:
    """Of one step."""

    stage: str
    parts: int
    cpu: float  # user seconds of planning
    commit_cpu: float  # of parsing the parts' records and gathering them
    plan_bytes: int
    record_bytes: int  # of the largest record
    opens: int


def user() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def take_sample(folder: Path) -> tuple[Job, list[Stage], Sample]:
    """A tiny build, its flow and what it left; partition files are kept."""
    path = scaled.write_corpus(folder / "raw", SAMPLE_PARTS)
    scaled.counted_steps(*scaled.prepare(path, folder / "root"), keep_splits=True)
    job, stages = scaled.prepare(path, folder / "again")
    sample = Sample(listed=job.store.read_json(listing_key(job.run)))
    for record in sorted((folder / "root").glob("*/*/*.json")):
        stage = record.relative_to(folder / "root").parts[0]
        if not record.name.startswith("_") and stage not in ("timing", ".tmp"):
            _take(sample, stage, record)
    sample.files[".partitions"] = _many_pages(folder / "pages")
    return job, stages, sample


def _take(sample: Sample, stage: str, path: Path) -> None:
    record = Store(str(path.parent)).read_json(path.name)
    if "outputs" not in record:
        return  # a tokenizer
    sample.parts[stage] = sample.parts.get(stage, 0) + 1
    sample.records[stage] = record
    for name in record["outputs"]:
        beside = path.parent / name.replace("*", path.stem)
        sample.files.setdefault(f"{stage} {beside.name.partition('.')[2]}", beside)


def _many_pages(path: Path) -> Path:
    rows = pa.table([pa.array(np.arange(PAGES * 64))], names=["n"])
    with mock.patch.object(partitions, "PAGE_BYTES", 1024), PartitionWriter(path, rows.schema) as writer:
        writer.add(np.arange(PAGES * 64), rows)
    return path


@contextmanager
def stand_ins(sample: Sample) -> Iterator[list[int]]:
    """Outputs that were never made are read as files of the sample; counts how often."""
    real, opened = Store.open, [0]

    def open_(store: Store, key: str, size: int = -1) -> Any:
        stage, ending = key.partition("/")[0], key.rpartition("/")[2].partition(".")[2]
        opened[0] += 1
        if ending == "partitions":
            return open(sample.files[".partitions"], "rb")
        stand_in = sample.files.get(f"{stage.removesuffix('-homes-split')} {ending}")
        return open(stand_in, "rb") if stand_in else real(store, key, size)

    with mock.patch.object(Store, "open", open_):
        yield opened


def plan_all(job: Job, stages: list[Stage], sample: Sample, parts: int) -> Iterator[PlanCost]:
    """Plan every step of a build of so many raw files."""
    job.store.remove("")
    listed = [{**sample.listed[0], "url": f"c4-{n:06d}", "etag": f"e{n}"} for n in range(parts)]
    job.store.write(listing_key(job.run), canonical_json(listed))
    scaled.forget()
    runner.start(job)
    with ExitStack() as stack:
        opened = stack.enter_context(stand_ins(sample))
        for turn in runner.turns(job, stages):
            before, begun = opened[0], user()
            runner.plan(turn)
            planned = user() - begun
            yield _commit(turn, sample, parts, planned, opened[0] - before)


def _commit(turn: runner.Turn, sample: Sample, parts: int, planned: float, opens: int) -> PlanCost:
    """Write the stage record of a plan without its work, and the state after it."""
    job, stage = turn.job, turn.step.stage
    plan = runner.read_plan(job, stage)
    whole = [_body(sample, part, parts, len(plan.parts)) for part in plan.parts]
    begun, by_name = user(), {}
    for part, body in zip(plan.parts, whole, strict=True):
        by_name.setdefault(part.name, []).append(PartRecord.parse(part.stem, body))
    for name, records in by_name.items():
        commit_stage(job.store, plan.records[name], records, plan.parameters[name])
    committed = user() - begun
    state = runner.read_state(job, turn.before)
    records = {**state["records"], stage: plan.records}
    job.store.write(runner.state_key(job.run, stage), canonical_json({"records": records}))
    size = job.store.size(runner.plan_key(job.run, stage))
    return PlanCost(stage, len(plan.parts), planned, committed, size, max(map(len, whole), default=0), opens)


def _body(sample: Sample, part: Part, parts: int, planned: int) -> bytes:
    """A record as the part's work would leave it."""
    like = sample.records.get(part.stage) or sample.records[part.stage.removesuffix("-homes-split")]
    outputs = {
        name: [size, sha256(f"{part.key}{name}".encode()).hexdigest()] for name, (size, _) in like["outputs"].items()
    }
    inputs = like["inputs"]
    if "url" in part.spec:  # a measured file
        inputs = [{**inputs[0], "url": part.spec["url"], "sha256": sha256(part.key.encode()).hexdigest()}]
    times = 1 if planned > 1 else parts / SAMPLE_PARTS * sample.parts.get(part.stage, 1)
    body = {"stage": part.stage, "name": part.name, "fingerprint": part.fingerprint, "key": part.key, "each": part.each}
    body |= {"inputs": inputs, "outputs": outputs, "counts": _times(like["counts"], times)}
    return signed(canonical_json(body)[:-1])


def _times(counts: Any, times: float) -> Any:
    if isinstance(counts, dict):
        return {name: _times(value, times) for name, value in counts.items()}
    return int(counts * times)


def record_memory(job: Job) -> int:
    """Bytes of all part records of the last state, as a process holds them."""
    turns = sorted(Path(job.root, f".tmp/{job.run}").glob("state-*.json"), key=lambda path: path.stat().st_mtime_ns)
    records = job.store.read_json(str(turns[-1].relative_to(job.root)))["records"]
    scaled.forget()
    before = pa.total_allocated_bytes()
    for keys in records.values():
        for key in keys.values():
            parts_of(job.store, key)
    return pa.total_allocated_bytes() - before
