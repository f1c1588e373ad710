"""What a build is made of: maps over parts, and regroups by key. No Beam here: `beam.py` runs them.

A *step* plans its parts from the records of earlier stages and works on each part alone. A *regroup* splits parts into
partitions and reduces each partition; it becomes two steps with partition files between, or a GroupByKey.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redpajama.artifacts import Outputs, Part, PartRecord, StageRecord, Store, read_parts, read_stage
from redpajama.columns import open_table
from redpajama.hashing import canonical_json, short_id
from redpajama.manifest import Manifest

SPLIT_BYTES = 64 << 20  # a split spills its partitions when it holds so much

Result = tuple[list[Any], dict[str, Any]]  # inputs and counts of a finished part


@dataclass(frozen=True)
class Job:
    """What every worker knows of a build; small, and pickled into the graph."""

    manifest: Manifest
    root: str
    run: str = ""  # id of this run: names its scratch below ROOT/.tmp/
    mirrors: dict[str, str] = field(default_factory=dict)
    rehash: bool = False
    claims: str = ""  # local folder where the workers of one machine claim parts; "" on a cluster

    @cached_property
    def store(self) -> Store:
        return Store(self.root)


@dataclass(frozen=True)
class Build:
    """A job with the stage records committed so far: {stage: {name: key of its record}}."""

    job: Job
    records: dict[str, dict[str, str]]

    @property
    def manifest(self) -> Manifest:
        return self.job.manifest

    @property
    def store(self) -> Store:
        return self.job.store

    def stage(self, name: str) -> dict[str, StageRecord]:
        """The stage's records, {name: record}."""
        return {part: _stage(self.store, key) for part, key in sorted(self.records[name].items())}

    def parts(self, stage: str, name: str | None = None) -> list[PartRecord]:
        """The part records of a stage, or of one name in it."""
        keys = self.records[stage]
        return [part for each in sorted(keys) if name in (None, each) for part in _parts(self.store, keys[each])]

    def ids(self, *stages: str) -> list[str]:
        """What identifies everything that these stages committed: the key of a reader of it all."""
        return [f"{stage}/{name}:{record.sha256}" for stage in stages for name, record in self.stage(stage).items()]


@lru_cache(maxsize=4096)  # some twenty stages of some hundred sources: fewer would be read again for each part
def _stage(store: Store, key: str) -> StageRecord:
    return read_stage(store, key)


@lru_cache(maxsize=4096)
def _parts(store: Store, key: str) -> tuple[PartRecord, ...]:
    return tuple(read_parts(store, _stage(store, key)))


def fingerprint(**parameters: Any) -> str:
    """The hash of all that a stage's bytes depend on, but for its inputs."""
    return short_id(parameters)


def balance(counts: dict[str, Any]) -> str | None:
    """The promise of every stage: what was read is kept, merged, dropped or quarantined. None, or what differs."""
    outcomes = counts.get("kept", 0) + counts.get("merged", 0)
    outcomes += sum(counts.get("dropped", {}).values()) + sum(counts.get("quarantined", {}).values())
    if outcomes != counts.get("read", 0):
        return f"{counts.get('read', 0):,} units were read, but {outcomes:,} have an outcome"
    return None


def no_further_check(build: Build, name: str, record: StageRecord) -> None:
    """The balance is enough."""


@dataclass(frozen=True)
class Step:
    """A map over parts. Its records are named by `stage` and by each part's name."""

    stage: str
    plan: Callable[[Build], list[Part]]
    work: Callable[[Build, Part, Outputs], Result]
    check: Callable[[Build, str, StageRecord], None] = no_further_check  # raises BuildFailed
    scratch: bool = False  # partition files: no build names them


@dataclass(frozen=True)
class Regroup:
    """A regroup by partition: `split` deals rows out, `reduce` gets all rows of one partition, in any order.

    `reduce` must sort by a total key: then both backends give the same bytes.
    """

    stage: str
    schema: pa.Schema
    plan: Callable[[Build], list[Part]]  # of the split
    split: Callable[[Build, Part], Iterator[tuple[int, pa.Table]]]
    plan_reduce: Callable[[Build], list[Part]]  # spec["partition"] = 0 .. partitions - 1
    reduce: Callable[[Build, Part, pa.Table, Outputs], Result]
    check: Callable[[Build, str, StageRecord], None] = no_further_check
    scratch: bool = False  # as for a step
    hashes: bool = False  # the rows are hashes for the most part, which do not repeat and do not compress

    @property
    def split_stage(self) -> str:
        return f"{self.stage}-split"

    def as_steps(self) -> list[Step]:
        """The partition-file backend: two maps with files between; memory is bounded by a part."""
        return [
            Step(self.split_stage, self.plan, self._write_partitions, scratch=True),
            Step(self.stage, self.plan_reduce, self._reduce_files, self.check, self.scratch),
        ]

    def _write_partitions(self, build: Build, part: Part, outputs: Outputs) -> Result:
        rows = write_partitions(outputs.file(".parquet"), self.schema, self.split(build, part), self.hashes)
        return [part.reads], {"read": rows, "kept": rows}

    def _reduce_files(self, build: Build, part: Part, outputs: Outputs) -> Result:
        files = [record.file(".parquet") for record in build.parts(self.split_stage)]
        number = part.spec["partition"]  # the rows get no name here: `reduce` may let go of them
        return self.reduce(
            build, part, pa.concat_tables(read_partition(build.store, files, self.schema, number)), outputs
        )


def write_partitions(
    path: Path, schema: pa.Schema, pieces: Iterable[tuple[int, pa.Table]], hashes: bool = False
) -> int:
    """One file; each row group belongs to one partition, the file's metadata says to which. Returns its rows."""
    packing = {"compression": "lz4", "use_dictionary": False} if hashes else {"compression": "zstd"}
    groups: list[int] = []
    rows = 0
    held: dict[int, list[pa.Table]] = defaultdict(list)
    with pq.ParquetWriter(path, schema, **packing) as writer:

        def spill() -> None:
            for partition in sorted(held):
                table = pa.concat_tables(held[partition])
                writer.write_table(table, row_group_size=max(1, table.num_rows))
                groups.append(partition)
            held.clear()

        size = 0
        for partition, table in pieces:
            held[partition].append(table)
            rows += table.num_rows
            size += table.nbytes
            if size >= SPLIT_BYTES:
                spill()
                size = 0
        spill()
        writer.add_key_value_metadata({"partitions": canonical_json(groups).decode()})
    return rows


def read_partition(store: Store, files: list[str], schema: pa.Schema, partition: int) -> list[pa.Table]:
    """The row groups of one partition in many partition files."""
    tables = [schema.empty_table()]
    for key in files:
        with open_table(store, key) as file:
            parquet = pq.ParquetFile(file)
            groups = _groups_of(parquet)
            wanted = [index for index, group in enumerate(groups) if group == partition]
            if wanted:
                tables.append(parquet.read_row_groups(wanted, use_threads=False).cast(schema))
    return tables


def _groups_of(parquet: pq.ParquetFile) -> list[int]:
    return json.loads((parquet.metadata.metadata or {}).get(b"partitions", b"[]"))


def partitioned(table: pa.Table, numbers: np.ndarray, count: int) -> Iterator[tuple[int, pa.Table]]:
    """Deal a table's rows out by their partition numbers (int array, one a row, below `count`)."""
    order = np.argsort(numbers, kind="stable")
    sizes = np.bincount(numbers, minlength=count)
    starts = np.cumsum(sizes) - sizes
    dealt = table.take(pa.array(order))
    for partition in np.flatnonzero(sizes):  # a batch meets few of many partitions
        yield int(partition), dealt.slice(starts[partition], sizes[partition])


def versions(*libraries: str) -> dict[str, str]:
    """Installed versions of byte-relevant libraries, for fingerprints."""
    return {library: version(library) for library in sorted(libraries)}
