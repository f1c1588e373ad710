"""What a build is made of: its job, the records committed so far, and what every stage declares."""

import unicodedata
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from importlib.metadata import version
from typing import Any

from redpajama.engine.gathered import Parts, StageRecord, parts_of, stage_of
from redpajama.engine.parts import Outputs, Part, PartRecord, Result
from redpajama.engine.store import Store
from redpajama.hashing import short_id
from redpajama.manifest import Manifest

ALL = "all"  # the name of what concerns all sources at once
REMOVED = "*"  # in `after`: the verdicts of all stages before this one
OF_PYTHON = {  # libraries that come with Python, whose version says nothing of them
    "unicode": unicodedata.unidata_version,  # methods of str, `re`, unicodedata
    "zlib": zlib.ZLIB_RUNTIME_VERSION,  # how it compresses: what is left of damaged gzip hangs on it
}


class Undeclared(RuntimeError):
    """A stage reads another that it does not declare: a resume would be stale. A mistake of ours."""


@dataclass(frozen=True)
class Job:
    """What every worker knows of a build; small, and pickled into the graph."""

    manifest: Manifest
    root: str
    run: str = ""  # id of this run: names its scratch below ROOT/.tmp/
    mirrors: dict[str, str] = field(default_factory=dict)
    rehash: bool = False
    signed: dict[str, str] = field(default_factory=dict)  # {URL of an input: the same with its secrets}; never written
    environment: dict[str, str] = field(default_factory=dict)  # that workers get, wherever they are; never written
    withdrawn: dict[str, str] = field(default_factory=dict)  # {request: SHA-256 of its list} of all take-downs
    claims: str = ""  # local folder where the workers of one machine claim parts; "" on a cluster
    claim_bytes: int = 0  # there they claim them in the store where a part has so many on average; 0: nowhere

    @cached_property
    def store(self) -> Store:
        return Store(self.root)


@dataclass(frozen=True)
class Build:
    """A job with the stage records committed so far: {stage: {name: key of its record}}."""

    job: Job
    records: dict[str, dict[str, str]]
    removing: tuple[str, ...] = ()  # the stages of these records that remove documents, in order
    reader: str = ""  # the stage that reads; "" may read all
    readable: frozenset[str] = frozenset()

    @property
    def manifest(self) -> Manifest:
        return self.job.manifest

    @property
    def store(self) -> Store:
        return self.job.store

    def names(self, stage: str) -> dict[str, str]:
        """{name: key of its record} of a stage; nothing where this build has none."""
        if self.reader and stage not in self.readable:
            raise Undeclared(f"stage '{self.reader}' reads '{stage}', which is not among those that it declares")
        return self.records.get(stage, {})

    def stage(self, stage: str) -> dict[str, StageRecord]:
        """The stage's records, {name: record}."""
        return {name: stage_of(self.store, key) for name, key in sorted(self.names(stage).items())}

    def named(self, stage: str, name: str) -> Parts:
        """The part records of one name of a stage.

        Raises:
            KeyError: it has none.
        """
        return parts_of(self.store, self.names(stage)[name])

    def parts(self, stage: str, name: str | None = None) -> list[PartRecord]:
        """The part records of a stage, or of one name in it."""
        names = [name] if name is not None else sorted(self.names(stage))
        return [part for each in names for part in self.named(stage, each)]

    def part(self, stage: str, id: str) -> PartRecord:
        """The part that others call so: `<name>/<content>`.

        Raises:
            KeyError: there is none.
        """
        name, _, content = id.rpartition("/")
        if record := self.named(stage, name).holding(content):
            return record
        raise KeyError(id)

    def made_for(self, stage: str, part: PartRecord) -> PartRecord | None:
        """What a stage made for a part of the same name; None where it has nothing for that name."""
        if part.name not in self.names(stage):
            return None
        return self.named(stage, part.name).made_for(part.content)

    def contents(self, *stages: str) -> str:
        """A hash of what these stages hold, in no order: what a part is keyed by that reads all of it."""
        digest = sha256()
        for stage in stages:
            for name in sorted(self.names(stage)):
                digest.update(f"{stage}/{name}\n".encode())
                digest.update(b"".join(sorted(bytes.fromhex(part.content) for part in self.named(stage, name))))
        return digest.hexdigest()[:32]


def fingerprint(parameters: dict[str, Any]) -> str:
    """The hash of all that a stage's bytes depend on, but for its inputs."""
    return short_id(parameters)


def versions(*libraries: str) -> dict[str, str]:
    """Installed versions of byte-relevant libraries, for fingerprints; those of OF_PYTHON by the names there."""
    return {library: OF_PYTHON.get(library) or version(library) for library in sorted(libraries)}


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
class Planned:
    """The parts of one name of a stage, and the record that says that they are done."""

    name: str
    parameters: dict[str, Any]  # what the fingerprint is made of; the stage record keeps it
    wanted: str  # names the record: a hash of all that is planned
    count: int  # of the parts
    parts: Callable[[], list[Part]]  # made only where the record is not there
    goal: str = ""  # another stage whose record makes these parts needless: of a split, its regroup

    @cached_property
    def stamp(self) -> str:
        return fingerprint(self.parameters)

    def record_of(self, stage: str) -> str:
        """The key of the stage record."""
        return f"{stage}/{self.name}-{self.stamp}/_record-{self.wanted}.json"


def planned_as(key: str) -> str:
    """The `wanted` of a stage record's key; "" of no key."""
    return key.rpartition("/_record-")[2].removesuffix(".json")


def alone(part: Part) -> tuple[str, int]:
    """A part that may be done at any time."""
    return "", 1


@dataclass(frozen=True)
class Step:
    """What the runner does at once: plan parts, do them, check and commit. What a stage declares is in `shapes.py`."""

    stage: str
    after: tuple[str, ...]  # the stages that it may read
    plan: Callable[[Build], list[Planned]]
    work: Callable[[Build, Part, Outputs], Result]
    check: Callable[[Build, str, StageRecord], None] = no_further_check  # raises BuildFailed
    removes: bool = False
    scratch: bool = False  # no build names its files
    spent: str = ""  # the stage of partition files that go once this one is committed
    lanes: Callable[[Part], tuple[str, int]] = (
        alone  # what a part asks of, and how many may ask at once on all machines
    )
    weighed: bool = False  # the sizes of its parts are bytes, or tokens: large ones may be claimed
