"""The three shapes of a stage: a part for each part of another, parts planned by hand, rows regrouped by number.

A stage is one declaration in a file of its name. It says its version, the libraries whose versions change its bytes,
all that it may read, what else enters its fingerprint, and the one function that does a part. What follows from that is
made here: fingerprints, keys, plans, the steps of a regroup.

A regroup of P parts into K partitions opens P + F x K files, F <= 1,000: parts are gathered into F split files by a
hash of what they hold (`splits_of`), each sorted by partition. A part of K is keyed by the digest of its own rows.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from redpajama.engine import homes
from redpajama.engine.gathered import StageRecord
from redpajama.engine.homes import Home
from redpajama.engine.pages import Packing
from redpajama.engine.partitions import PartitionWriter, describe, digests_of, read_index, read_range
from redpajama.engine.parts import Outputs, Part, PartRecord, Result
from redpajama.engine.splits import splits_of
from redpajama.engine.stages import (
    ALL,
    Build,
    Planned,
    Step,
    alone,
    fingerprint,
    no_further_check,
    planned_as,
    versions,
)
from redpajama.hashing import short_id

Counts = dict[str, Any]


class Piece(NamedTuple):
    """One part of a stage that plans by hand."""

    name: str
    reads: Any  # the identity of what it reads
    spec: dict[str, Any] | None = None  # what the work needs to find that
    size: int = 0
    label: str = ""


class Range(NamedTuple):
    """One partition of a regroup."""

    name: str
    number: int
    of: int  # partitions


def nothing(build: Build, name: str) -> Counts:
    """No parameter but the version and the libraries enters the fingerprint."""
    return {}


def asks_nothing(build: Build, part: PartRecord) -> list[Any]:
    """The part reads nothing but the part that it is made for."""
    return []


def same_names(build: Build, each: str) -> Iterable[tuple[str, str]]:
    """(name of the stage's parts, name of the parts that they are made for): the same."""
    return [(name, name) for name in sorted(build.names(each))]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What every stage declares."""

    name: str
    version: int  # raised by hand when the bytes change, with a line in CHANGELOG
    libraries: tuple[str, ...] = ()
    after: tuple[str, ...] = ()  # all stages that it may read, `each` among them
    depends: Callable[[Build, str], Counts | None] = nothing  # what else enters the fingerprint; None: no part
    check: Callable[[Build, str, StageRecord], None] = no_further_check  # raises BuildFailed
    removes: bool = False  # its verdicts remove documents
    scratch: bool = False  # no build names its files
    homes: tuple[Home, ...] = ()  # rows that are asked for part by part: written by home, dealt out once more

    def parameters(self, build: Build, name: str) -> Counts | None:
        """What the fingerprint of its parts of a name is made of; None where there are none."""
        if (own := self.depends(build, name)) is None:
            return None
        return {**self.declared, **own}

    @property
    def declared(self) -> Counts:
        """The parameters that hang on nothing that the stage reads."""
        return {"stage": [self.name, self.version], "libraries": versions(*self.libraries)}

    def steps(self) -> list[Step]:
        """What the runner does for it."""
        raise NotImplementedError

    def _and_homes(self, steps: list[Step]) -> list[Step]:
        return [*steps, *(homes.steps(self.name, self.homes, self.after) if self.homes else [])]


def planned(name: str, parameters: Counts, parts: list[Part]) -> Planned:
    """Parts that are all known already."""
    return Planned(name, parameters, short_id(sorted(part.key for part in parts)), len(parts), lambda: parts)


@dataclass(frozen=True, kw_only=True)
class PerPart(Stage):
    """A part for each part of another stage."""

    each: str
    work: Callable[[Build, str, PartRecord, Outputs], Counts]  # name, the part that it is made for
    asks: Callable[[Build, PartRecord], list[Any]] = asks_nothing  # what identifies all else that a part reads
    names: Callable[[Build, str], Iterable[tuple[str, str]]] = same_names
    size: str = "kept"  # the count of the other part that says how much work it is

    def steps(self) -> list[Step]:
        step = Step(self.name, self.after, self._plan, self._work, self.check, self.removes, self.scratch)
        return self._and_homes([replace(step, weighed=self.size.endswith("bytes"))])

    def _plan(self, build: Build) -> list[Planned]:
        found = []
        for name, others in self.names(build, self.each):
            if parameters := self.parameters(build, name):
                stamp = fingerprint(parameters)
                parts = [self._part(build, name, stamp, other) for other in build.parts(self.each, others)]
                found.append(planned(name, parameters, parts))
        return found

    def _part(self, build: Build, name: str, stamp: str, other: PartRecord) -> Part:
        reads, size = [other.content, *self.asks(build, other)], other.counts.get(self.size, 0)
        return Part(self.name, name, stamp, reads, {"of": other.id}, size, each=other.content)

    def _work(self, build: Build, part: Part, outputs: Outputs) -> Result:
        other = build.part(self.each, part.spec["of"])
        return [f"{self.each}/{other.id}"], self.work(build, part.name, other, outputs)


@dataclass(frozen=True, kw_only=True)
class Single(Stage):
    """Parts that the stage plans itself: one for all, one a source, one a file."""

    pieces: Callable[[Build], Iterable[Piece]]
    work: Callable[[Build, Part, Outputs], Result]
    lanes: Callable[[Part], tuple[str, int]] = alone
    weighed: bool = False  # the sizes of its pieces are bytes, or tokens

    def steps(self) -> list[Step]:
        step = Step(self.name, self.after, self._plan, self.work, self.check, self.removes, self.scratch)
        return self._and_homes([replace(step, lanes=self.lanes, weighed=self.weighed)])

    def _plan(self, build: Build) -> list[Planned]:
        by_name: dict[str, list[Piece]] = {}
        for piece in self.pieces(build):
            by_name.setdefault(piece.name, []).append(piece)
        found = []
        for name, pieces in by_name.items():
            if parameters := self.parameters(build, name):
                found.append(self._planned(name, parameters, pieces))
        return found

    def _planned(self, name: str, parameters: Counts, pieces: list[Piece]) -> Planned:
        stamp = fingerprint(parameters)
        return planned(name, parameters, [self._part(stamp, piece) for piece in pieces])

    def _part(self, stamp: str, piece: Piece) -> Part:
        return Part(self.name, piece.name, stamp, piece.reads, piece.spec or {}, piece.size, piece.label)


# ---- regroups


Dealt = Iterator[tuple[np.ndarray, pa.Table]]  # partition numbers (int64[n]) and n rows


def everything(build: Build, each: str) -> dict[str, list[PartRecord]]:
    """{name of the regroup: the parts that it regroups}: all parts under one name."""
    return {ALL: build.parts(each)}


def by_name(build: Build, each: str) -> dict[str, list[PartRecord]]:
    """{name: its parts}: rows of two names never meet."""
    return {name: build.parts(each, name) for name in sorted(build.names(each))}


@dataclass(frozen=True, kw_only=True)
class Regrouped(Stage):
    """Rows of all parts, dealt out by number: `split` deals, `reduce` gets all rows of one number, in any order.

    `reduce` must sort by a total key: then no gathering of parts shows in its bytes.
    """

    each: str
    schema: pa.Schema
    partitions: Callable[[Build, str, list[PartRecord]], int]  # of a name and its parts
    split: Callable[[Build, PartRecord, int], Dealt]  # a part, the number of partitions
    reduce: Callable[[Build, Range, pa.Table, Outputs], Counts]
    asks: Callable[[Build, PartRecord], list[Any]] = asks_nothing  # what identifies all else that a split reads
    shares: Callable[[Build, str], dict[str, list[PartRecord]]] = everything
    alone: bool = False  # a row that changes redoes its own partition and no neighbour: their pages are apart
    packing: Packing = "zstd"  # of the dealt rows
    held_bytes: int | None = None  # of them, in memory while they are dealt (partitions.SPLIT_BYTES)
    is_ordered: bool = False  # the partitions are ranges in order: files are named by number

    @property
    def split_name(self) -> str:
        return f"{self.name}-split"

    def steps(self) -> list[Step]:
        own = (*self.after, self.split_name)
        split = Step(self.split_name, self.after, self._plan_splits, self._split, scratch=True)
        reduce = Step(self.name, own, self._plan_ranges, self._reduce, self.check, self.removes, self.scratch)
        return self._and_homes([split, replace(reduce, spent=self.split_name)])

    def _plan_splits(self, build: Build) -> list[Planned]:
        return [share.splits() for share in self._shares(build)]

    def _plan_ranges(self, build: Build) -> list[Planned]:
        return [share.ranges() for share in self._shares(build)]

    def _shares(self, build: Build) -> list["_Share"]:
        found = []
        for name, parts in self.shares(build, self.each).items():
            if parameters := self.parameters(build, name):
                found.append(_Share(self, build, name, parameters, fingerprint(parameters), parts))
        return found

    def _split(self, build: Build, part: Part, outputs: Outputs) -> Result:
        count = part.spec["partitions"]
        path = outputs.file(".partitions", describe=describe)
        with PartitionWriter(
            path, self.schema, packing=self.packing, alone=self.alone, held_bytes=self.held_bytes
        ) as writer:
            for stage, id in part.spec["of"]:
                for numbers, rows in self.split(build, build.part(stage, id), count):
                    writer.add(numbers, rows)
        return [], {"read": writer.rows, "kept": writer.rows}

    def _reduce(self, build: Build, part: Part, outputs: Outputs) -> Result:
        number, count = part.spec["partition"], part.spec["partitions"]
        return [], self.reduce(build, Range(part.name, number, count), self._rows(build, part.name, number), outputs)

    def _rows(self, build: Build, name: str, number: int) -> pa.Table:
        files = [record.file(".partitions") for record in build.named(self.split_name, name)]
        tables = [self.schema.empty_table()]
        for file in files:
            with build.store.open(*file) as opened:
                tables.append(read_range(opened, file.key, self.schema, number, number + 1))
        return pa.concat_tables(tables)


class _Share(NamedTuple):
    """What one name of a regroup has to do."""

    stage: Regrouped
    build: Build
    name: str
    parameters: Counts
    stamp: str
    parts: list[PartRecord]

    def splits(self) -> Planned:
        """Needless where the regroup of the same splits is committed."""
        parts = self._split_parts()
        return Planned(self.name, self.parameters, self._wanted(parts), len(parts), lambda: parts, self.stage.name)

    def ranges(self) -> Planned:
        """Named by its splits; its parts by their rows."""
        wanted = planned_as(self.build.names(self.stage.split_name).get(self.name, ""))
        wanted = wanted or self._wanted(self._split_parts())
        return Planned(self.name, self.parameters, wanted, self._count(), self._range_parts)

    def _wanted(self, splits: list[Part]) -> str:
        return short_id(sorted(part.key for part in splits))

    def _count(self) -> int:
        return self.stage.partitions(self.build, self.name, self.parts)

    def _split_parts(self) -> list[Part]:
        count = self._count()
        asked = {part.id: [part.content, *self.stage.asks(self.build, part)] for part in self.parts}
        sizes = {part.id: part.counts.get("kept", 0) for part in self.parts}
        return [
            Part(
                self.stage.split_name,
                self.name,
                self.stamp,
                [count, [asked[part.id] for part in group]],
                {"of": [[part.stage, part.id] for part in group], "partitions": count},
                sum(sizes[part.id] for part in group),
            )
            for group in splits_of(self.parts)
        ]

    def _range_parts(self) -> list[Part]:
        count, stage = self._count(), self.stage
        digests = digests_of(list(self._indexes()), count).tolist()
        labels = [f"range-{number:05d}" if stage.is_ordered else "" for number in range(count)]
        return [
            Part(
                stage.name,
                self.name,
                self.stamp,
                [count, number, digests[number]],
                {"partition": number, "partitions": count},
                label=labels[number],
            )
            for number in range(count)
        ]

    def _indexes(self) -> Iterator[Any]:
        for record in self.build.named(self.stage.split_name, self.name):
            file = record.file(".partitions")
            with self.build.store.open(*file) as opened:
                yield read_index(opened, file.key)
