"""Parts and what they leave: when an output counts, and how it is named.

    ROOT/<stage>/<name>-<fingerprint>/part-<key>.<suffix>    outputs of one part
                                     /part-<key>.json        its record, written last: the part's commit
    ROOT/timing/ · ROOT/.tmp/ · ROOT/inputs/ · ROOT/.lock    outside every hash

A part's key is a hash of its stage's fingerprint and of the contents that it reads itself, so a committed part is right
for ever: resuming is skipping, and two builds may share parts. What other parts call a part is the hash of what it
holds, so equal output redoes nothing after it. `gathered.py` commits a whole stage.
"""

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from redpajama.engine.store import Store, crash_point
from redpajama.hashing import canonical_json, short_id

Result = tuple[list[Any], dict[str, Any]]  # inputs and counts of a finished part


class File(NamedTuple):
    """An output: where it is, and how large, so that nobody needs to ask."""

    key: str
    bytes: int


@dataclass(frozen=True)
class Part:
    """One piece of a stage's work: what to read and where its outputs go.

    `reads` is the identity of the contents it reads (it makes the key); `spec` is what the work needs to find them.
    """

    stage: str
    name: str
    fingerprint: str
    reads: Any
    spec: dict[str, Any] = field(default_factory=dict)
    size: int = 0  # bytes of work to expect: the largest go first
    label: str = ""  # stands in front of the key in file names, for files that people handle
    each: str = ""  # the content of the part that it is made for, where there is one

    @cached_property
    def key(self) -> str:
        return short_id([self.fingerprint, self.reads])

    @property
    def folder(self) -> str:
        return f"{self.stage}/{self.name}-{self.fingerprint}"

    @property
    def stem(self) -> str:
        return f"{self.folder}/{self.label or 'part'}-{self.key}"

    def to_json(self) -> dict[str, Any]:
        """Its fields that say anything; nothing to read says something, too."""
        return {name: value for name in self.__dataclass_fields__ if (value := getattr(self, name)) or name == "reads"}


@dataclass(frozen=True)
class PartRecord:
    """What a committed part holds. Its lists are parsed when they are asked for: planners pass by many."""

    stem: str  # ROOT/<stem>.json is the record itself
    sha256: str  # of the record's bytes
    content: str  # 16 hex digits that tell what it holds from what any other part holds
    each: str  # the content of the part that it was made for, or ""
    inputs_json: str
    outputs_json: str  # {file name with * for the stem's: [bytes, sha256]}
    counts_json: str

    @classmethod
    def parse(cls, stem: str, body: bytes) -> "PartRecord":
        """A record from the bytes of its file.

        Raises:
            ValueError: not as they were written.
        """
        record = json.loads(body)
        if signed(body.rpartition(SIGNATURE)[0]) != body:
            raise ValueError(f"{stem}.json: its SHA-256 is another")
        inputs, outputs, counts = (canonical_json(record[name]).decode() for name in ("inputs", "outputs", "counts"))
        content = content_of(record["outputs"], record["key"])
        return cls(stem, sha256(body).hexdigest(), content, record["each"], inputs, outputs, counts)

    @cached_property
    def inputs(self) -> list[Any]:
        return orjson.loads(self.inputs_json)

    @cached_property
    def outputs(self) -> dict[str, dict[str, Any]]:
        """{key of the file: {bytes, sha256}}"""
        folder, _, name = self.stem.rpartition("/")
        found = orjson.loads(self.outputs_json).items()
        return {f"{folder}/{key.replace('*', name, 1)}": {"bytes": size, "sha256": sha} for key, (size, sha) in found}

    @cached_property
    def counts(self) -> dict[str, Any]:
        return orjson.loads(self.counts_json)

    @property
    def folder(self) -> str:
        return self.stem.rpartition("/")[0]

    @property
    def name(self) -> str:
        """Of the part: its source, as a rule."""
        return self.stem.split("/")[1].rpartition("-")[0]

    @property
    def stage(self) -> str:
        return self.stem.partition("/")[0]

    @property
    def id(self) -> str:
        """`<name>/<content>`: what other parts call it."""
        return f"{self.name}/{self.content}"

    def file(self, ending: str) -> File:
        """The output whose name ends so; KeyError if there is none."""
        for key, output in self.outputs.items():
            if key.endswith(ending) and key.startswith(self.stem):
                return File(key, output["bytes"])
        raise KeyError(f"{self.stem} has no output *{ending}")

    def beside(self, folder: str) -> File | None:
        """The output in a folder of its own (`ledger`), if there is one."""
        for key, output in self.outputs.items():
            if f"/{folder}/" in key:
                return File(key, output["bytes"])
        return None


SIGNATURE = b',"sha256":"'  # the last field of a record


def signed(fields: bytes) -> bytes:
    """A record from its fields in canonical JSON, the last brace left out: with their own SHA-256 at its end."""
    return b'%s%s%s"}' % (fields, SIGNATURE, sha256(fields).hexdigest().encode())


def content_of(outputs: dict[str, Any], key: str) -> str:
    """What tells a part's contents: the hash of its `.parquet`, else of all its files; of none, its key."""
    if "*.parquet" in outputs:
        return outputs["*.parquet"][1][:16]
    return short_id(sorted(sha for _, sha in outputs.values())) if outputs else key


Describe = Callable[[Path], list[Any]]  # a file -> [bytes, SHA-256], as records hold them


class Stopped(Exception):
    """The run was stopped: what is under way commits nothing more."""


class Outputs:
    """The files that one part is writing: temporary until `commit`."""

    def __init__(self, store: Store, part: Part, is_stopped: Callable[[], bool] = bool) -> None:
        self.store, self.part, self.is_stopped = store, part, is_stopped
        base = Path(store.path(".tmp")) if store.local else Path(tempfile.gettempdir())
        self.folder = base / f"part-{os.getpid()}-{uuid.uuid4().hex}"
        self.files: dict[str, Path] = {}  # by name, with * for the stem's
        self._describe: dict[str, Describe] = {}

    def __enter__(self) -> "Outputs":
        crash_point("before-temp-write")
        self.folder.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def file(self, suffix: str, folder: str = "", describe: Describe | None = None) -> Path:
        """A temporary path for the output `<folder><part><suffix>`.

        `describe`: how its record tells it, where that is not by its own SHA-256; for scratch, which nobody verifies.
        """
        name = f"{folder}*{suffix}"
        self.files[name] = self.folder / f"{len(self.files)}{suffix}"
        self._describe[name] = describe or describe_whole
        return self.files[name]

    def commit(self, inputs: list[Any], counts: dict[str, Any]) -> PartRecord:
        """Move the files to their keys, then write the record: from then on the part is done.

        Raises:
            Stopped: the run was stopped meanwhile; no record is written.
        """
        crash_point("after-temp-write")
        part, (directory, _, stem) = self.part, self.part.stem.rpartition("/")
        outputs = {name: self._describe[name](path) for name, path in sorted(self.files.items())}
        for name, path in sorted(self.files.items()):
            crash_point("before-rename")
            self.store.put(f"{directory}/{name.replace('*', stem, 1)}", path)
            crash_point("after-rename")
        head = {"stage": part.stage, "name": part.name, "fingerprint": part.fingerprint, "key": part.key}
        fields = {**head, "each": part.each, "inputs": inputs, "outputs": outputs, "counts": counts}
        body = signed(canonical_json(fields)[:-1])
        crash_point("before-part-record")
        if self.is_stopped():
            raise Stopped(part.stem)
        self.store.write(f"{part.stem}.json", body)
        crash_point("after-part-record")
        return PartRecord.parse(part.stem, body)


def describe_whole(path: Path) -> list[Any]:
    """[bytes, SHA-256] of a local file, as records hold them."""
    with open(path, "rb") as file:
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return [path.stat().st_size, digest.hexdigest()]


def run_part(
    store: Store, part: Part, work: Callable[[Outputs], Result], is_stopped: Callable[[], bool] = bool
) -> PartRecord:
    """Do a part's work and commit it."""
    with Outputs(store, part, is_stopped) as outputs:
        return outputs.commit(*work(outputs))


def committed_each(store: Store, stems: list[str]) -> Iterator[PartRecord | None]:
    """The record of each part that is done, else None. One that cannot be read is none."""
    bodies = store.read_each([f"{stem}.json" for stem in stems])
    for stem, body in zip(stems, bodies, strict=True):
        try:
            yield None if body is None else PartRecord.parse(stem, body)
        except (ValueError, KeyError, TypeError):
            yield None
