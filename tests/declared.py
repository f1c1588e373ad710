"""A small flow of declared stages over integers, and steps that are run one by one: what the engine's tests build.

numbers   a part a file: integers as they are given
halved    a part for each of them: halves, rounded down, so that 4 and 5 give the same
grouped   all halves in GROUPS ranges: how often each is there; tells each part, by home, which of its halves repeat
told      a part for each halved part: the rows that it was told
"""

import json
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from corpora import digest

from redpajama.engine import claims, gathered, homes, runner
from redpajama.engine.homes import Home
from redpajama.engine.shapes import PerPart, Piece, Regrouped, Single
from redpajama.engine.stages import Job
from redpajama.engine.tables import read_table
from redpajama.manifest import parse

MANIFEST = {"name": "m", "seed": 1, "source": [{"name": "web", "pipeline": "c4", "inputs": ["x"]}]}
GROUPS = 8
MOST = 800  # numbers are below
VALUES = pa.schema([("value", pa.int64())])
ROWS = pa.schema([("part", pa.string()), ("value", pa.int64())])
REPEATS = pa.schema([("value", pa.int64()), ("times", pa.int64())])
REPEATED = Home(".repeats", REPEATS, ("value",), "halved")


def kept(rows: int) -> dict[str, int]:
    return {"read": rows, "kept": rows}


def files_of_numbers(build):
    """{name of a source: {file: its numbers}} lies in `inputs/numbers.json`."""
    for name, files in build.store.read_json("inputs/numbers.json").items():
        for file, values in sorted(files.items()):
            yield Piece(name, [file, values], {"values": values}, len(values))


def write_numbers(build, part, outputs):
    table = pa.table({"value": part.spec["values"]}, schema=VALUES)
    pq.write_table(table, outputs.file(".parquet"))
    return part.spec["values"], kept(table.num_rows)


def halve(build, name, numbers, outputs):
    values = read_table(build.store, numbers.file(".parquet"))["value"]
    pq.write_table(pa.table({"value": pc.divide(values, 2)}, schema=VALUES), outputs.file(".parquet"))
    return kept(len(values))


def groups(build, name, parts):
    return GROUPS


def split_halves(build, part, count):
    values = read_table(build.store, part.file(".parquet"))["value"].combine_chunks()
    rows = pa.table([pa.repeat(part.id, len(values)), values], schema=ROWS)
    yield values.to_numpy() * 2 * count // MOST, rows


def count_halves(build, group, rows, outputs):
    counts = rows.group_by("value").aggregate([([], "count_all")]).sort_by("value")
    pq.write_table(counts, outputs.file(".parquet"))
    repeats = rows.group_by(["part", "value"]).aggregate([]).join(counts, "value", use_threads=False)
    repeats = repeats.filter(pc.greater(repeats["count_all"], 1)).sort_by(
        [("part", "ascending"), ("value", "ascending")]
    )
    told = pa.table([repeats["value"], repeats["count_all"]], schema=REPEATS)
    homes.write(outputs, REPEATED, homes.numbers_of(repeats["part"]), told)
    return kept(rows.num_rows)


def write_repeats(build, name, part, outputs):
    rows = homes.read(build, "grouped", part, REPEATED)
    pq.write_table(rows, outputs.file(".parquet"))
    return kept(rows.num_rows)


def ask_repeats(build, part):
    return [homes.digest(build, "grouped", part, REPEATED)]


NUMBERS = Single(name="numbers", version=1, pieces=files_of_numbers, work=write_numbers)
HALVED = PerPart(name="halved", version=1, each="numbers", after=("numbers",), work=halve)
GROUPED = Regrouped(
    name="grouped", version=1, each="halved", after=("halved",), schema=ROWS, partitions=groups,
    split=split_halves, reduce=count_halves, is_ordered=True, homes=(REPEATED,),
)  # fmt: skip
TOLD = PerPart(name="told", version=1, each="halved", after=("halved", "grouped"), work=write_repeats, asks=ask_repeats)


def flow(**changes):
    """The four stages; `changes`: {stage: its other fields}."""
    return [replace(stage, **changes.get(stage.name, {})) for stage in (NUMBERS, HALVED, GROUPED, TOLD)]


def new_job(root: Path, files: dict) -> Job:
    """A run of its own over these numbers, in a process that remembers nothing."""
    forget()
    job = Job(parse(MANIFEST, "m.toml"), str(root), uuid.uuid4().hex[:12])
    job.store.write("inputs/numbers.json", json.dumps(files).encode())
    return job


def forget() -> None:
    """Empty the caches: the next step is another process."""
    for cache in (gathered.stage_of, gathered.parts_of, homes._held, runner._read_plan, runner._read_state, claims.of):
        cache.cache_clear()


@dataclass
class Ran:
    """What a run of a flow left."""

    job: Job
    state: dict
    root: Path

    @property
    def did(self) -> dict[str, int]:
        """{step: how many parts were to do}"""
        folder = f".tmp/{self.job.run}/totals-"
        totals = {key: self.job.store.read_json(key)["parts"] for key, _ in self.job.store.keys(f".tmp/{self.job.run}")
                  if key.startswith(folder)}  # fmt: skip
        return {key.removeprefix(folder).removesuffix(".json"): parts for key, parts in totals.items() if parts}

    @property
    def files(self) -> dict[str, str]:
        """{key: SHA-256} of all outputs."""
        return digest(self.root)

    def tables(self, stage: str) -> dict[str, list[dict]]:
        """{key: rows} of the stage's own tables."""
        return {str(path.relative_to(self.root)): pq.read_table(path).to_pylist()
                for path in sorted(self.root.glob(f"{stage}/*/*.parquet")) if "_parts-" not in path.name}  # fmt: skip


def run(root: Path, files: dict, stages=None) -> Ran:
    """Run a flow to its end."""
    job = new_job(root, files)
    return Ran(job, runner.run(job, stages or flow()), root)


def some_numbers(seed: int = 0, parts: int = 5, rows: int = 40) -> dict:
    """Two sources of files of numbers that repeat among them."""
    random = np.random.default_rng(seed)
    names = ["left"] * (parts - parts // 3) + ["right"] * (parts // 3)
    files: dict = {}
    for number, name in enumerate(names):
        files.setdefault(name, {})[f"file-{number:03d}"] = random.integers(0, MOST, rows).tolist()
    return files
