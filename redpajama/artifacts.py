"""Where outputs live, and when they count: part records, stage records, build records, atomic commits, resume.

    ROOT/<stage>/<name>-<fingerprint>/part-<key>.<suffix>    outputs of one part
                                     /part-<key>.json        its record, written last: the part's commit
                                     /_record-<hash>.json    the record of one set of parts: the stage's commit
    ROOT/builds/<manifest name>.json                         which stage records make up a build
    ROOT/timing/ · ROOT/.tmp/ · ROOT/inputs/ · ROOT/.lock    outside every hash

A part's key is a hash of its stage's fingerprint and of the contents it reads, so a committed part is right for ever:
resuming is skipping, and two builds may share parts. Nothing here knows of Beam.
"""

import json
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from redpajama.hashing import canonical_json, short_id

PARALLEL_READS = 32  # requests under way while records are read from an object store
OUTSIDE = ("timing/", ".tmp/", "inputs/", ".lock", ".workers")  # of every hash: no build names these


class UserError(ValueError):
    """The user's mistake. The message is one line; the exit status is 2."""


class BuildFailed(Exception):
    """The data failed a promise. The message is one line; the exit status is 1."""


def crash_point(name: str) -> None:
    """Die here by SIGKILL when a test asks for it: REDPAJAMA_CRASH=<name>:<nth time in this ROOT>.

    The count is kept in the file REDPAJAMA_CRASH_COUNT, because workers are processes of their own.
    """
    wanted, _, nth = os.environ.get("REDPAJAMA_CRASH", "").partition(":")
    if wanted != name:
        return
    with open(os.environ["REDPAJAMA_CRASH_COUNT"], "ab") as counter:
        counter.write(b".")
        if counter.tell() == int(nth):
            os.killpg(os.getpgid(0), signal.SIGKILL)


class Store:
    """Files below ROOT by key (`stage/name/file`), on a local disk or an object store.

    Raises:
        UserError: no such kind of store.
    """

    def __init__(self, root: str) -> None:
        if not root:
            raise UserError("ROOT is empty: name a folder, or an address such as s3://bucket/folder")
        try:
            self.fs, path = _open_store(root)
        except (ValueError, ImportError) as error:
            raise UserError(f"{root}: {error}") from None
        self.root = path.rstrip("/")
        self.local = "file" in self.fs.protocol
        self.url = self.root if self.local else root.rstrip("/")  # the same from any working directory

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and other.url == self.url

    def __hash__(self) -> int:
        return hash(self.url)  # for caches within a process

    def path(self, key: str) -> str:
        """The key's full path for this file system."""
        return f"{self.root}/{key}"

    def locate(self, path: str) -> str:
        """Where the file is read that a record names: a relative path is a key below ROOT."""
        if "://" in path or os.path.isabs(path):
            return path
        return self.path(path) if self.local else f"{self.url}/{path}"

    def exists(self, key: str) -> bool:
        return bool(self.fs.exists(self.path(key)))

    def size(self, key: str) -> int:
        """Bytes of a file; -1 if it is not there."""
        try:
            return int(self.fs.size(self.path(key)) or 0)
        except FileNotFoundError:
            return -1

    def open(self, key: str) -> BinaryIO:
        return self.fs.open(self.path(key), "rb")

    def read(self, key: str) -> bytes:
        return bytes(self.fs.cat_file(self.path(key), max_concurrency=1))  # one GET: more would ask for the size first

    def read_each(self, keys: list[str]) -> Iterator[bytes | None]:
        """The files of these keys, in their order; None where none is. Of a far store many are under way."""
        with ThreadPoolExecutor(1 if self.local else PARALLEL_READS) as pool:
            yield from pool.map(self._read_if_there, keys)

    def _read_if_there(self, key: str) -> bytes | None:
        try:
            return self.read(key)
        except FileNotFoundError:
            return None

    def read_json(self, key: str) -> Any:
        return json.loads(self.read(key))

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Every (key, bytes) below `prefix`, sorted."""
        found = self.fs.find(self.path(prefix).rstrip("/"), detail=True)
        for path, info in sorted(found.items()):
            yield path[len(self.root) + 1 :], int(info["size"] or 0)

    def put(self, key: str, path: Path) -> None:
        """Move a finished local file to its key: fsync and rename, or one whole upload."""
        if not self.local:
            self.fs.put_file(str(path), self.path(key))
            path.unlink()
            return
        target = Path(self.path(key))
        target.parent.mkdir(parents=True, exist_ok=True)
        _fsync(path)
        os.replace(path, target)
        _fsync(target.parent)

    def write(self, key: str, data: bytes) -> None:
        """Write a small file whole: readers see the old bytes or the new ones."""
        if not self.local:
            self.fs.pipe_file(self.path(key), data)
            return
        temporary = Path(self.path(f".tmp/{uuid.uuid4().hex}"))
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        self.put(key, temporary)

    def remove(self, prefix: str) -> None:
        """Remove a file, or everything below a folder, if it is there."""
        if self.fs.exists(self.path(prefix)):
            self.fs.rm(self.path(prefix), recursive=True)


def _open_store(root: str) -> tuple[Any, str]:
    if "://" in root:
        return fsspec.url_to_fs(root, use_listings_cache=False)
    return fsspec.filesystem("file"), os.path.abspath(os.path.expanduser(root))  # fsspec would cut a path at "::"


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class PartRecord:
    """What a committed part holds: read back from `part-<key>.json`."""

    stem: str  # ROOT/<stem>.json is the record itself
    sha256: str  # of the record's bytes
    inputs: list[Any]
    outputs: dict[str, dict[str, Any]]  # file name -> {bytes, sha256}
    counts: dict[str, Any]

    @classmethod
    def parse(cls, stem: str, body: bytes) -> "PartRecord":
        """A record from the bytes of its file."""
        record = json.loads(body)
        return cls(stem, sha256(body).hexdigest(), record["inputs"], record["outputs"], record["counts"])

    @property
    def id(self) -> str:
        """`<name>-<fingerprint>/<part>`: what other parts call it."""
        return self.stem.partition("/")[2]

    def file(self, ending: str) -> str:
        """The key of the output whose name ends so; KeyError if there is none."""
        for key in self.outputs:
            if key.endswith(ending) and key.startswith(self.stem):
                return key
        raise KeyError(f"{self.stem} has no output *{ending}")


class Outputs:
    """The files that one part is writing: temporary until `commit`."""

    def __init__(self, store: Store, part: Part) -> None:
        self.store, self.part = store, part
        base = Path(store.path(".tmp")) if store.local else Path(tempfile.gettempdir())
        self.folder = base / f"part-{os.getpid()}-{uuid.uuid4().hex}"
        self.files: dict[str, Path] = {}

    def __enter__(self) -> "Outputs":
        crash_point("before-temp-write")
        self.folder.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def file(self, suffix: str, folder: str = "") -> Path:
        """A temporary path for the output `<folder><part><suffix>`."""
        directory, _, stem = self.part.stem.rpartition("/")
        key = f"{directory}/{folder}{stem}{suffix}"
        self.files[key] = self.folder / f"{len(self.files)}{suffix}"
        return self.files[key]

    def commit(self, inputs: list[Any], counts: dict[str, Any]) -> PartRecord:
        """Move the files to their keys, then write the record: from then on the part is done."""
        crash_point("after-temp-write")
        outputs = {key: describe(path) for key, path in sorted(self.files.items())}
        for key, path in sorted(self.files.items()):
            crash_point("before-rename")
            self.store.put(key, path)
            crash_point("after-rename")
        part = self.part
        head = {"stage": part.stage, "name": part.name, "fingerprint": part.fingerprint, "key": part.key}
        body = canonical_json({**head, "inputs": inputs, "outputs": outputs, "counts": counts})
        crash_point("before-part-record")
        self.store.write(f"{part.stem}.json", body)
        crash_point("after-part-record")
        return PartRecord.parse(part.stem, body)


def describe(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a local file, as records hold them."""
    with open(path, "rb") as file:
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def committed(store: Store, part: Part) -> PartRecord | None:
    """The part's record if it is done, else None. One that cannot be read is none."""
    return next(committed_each(store, [part]))


def committed_each(store: Store, parts: list[Part]) -> Iterator[PartRecord | None]:
    """`committed` of many parts."""
    bodies = store.read_each([f"{part.stem}.json" for part in parts])
    for part, body in zip(parts, bodies, strict=True):
        yield _parsed(part.stem, body)


def _parsed(stem: str, body: bytes | None) -> PartRecord | None:
    try:
        return None if body is None else PartRecord.parse(stem, body)
    except (ValueError, KeyError):
        return None


def run_part(store: Store, part: Part, work: Callable[[Outputs], tuple[list[Any], dict[str, Any]]]) -> PartRecord:
    """Do a part's work and commit it, unless that was done before and its files are still there, whole."""
    record = committed(store, part)
    if record and all(store.size(key) == output["bytes"] for key, output in record.outputs.items()):
        return record
    with Outputs(store, part) as outputs:
        return outputs.commit(*work(outputs))


@dataclass(frozen=True)
class StageRecord:
    """One set of committed parts of one (stage, name): read back from `_record-<hash>.json`."""

    key: str
    sha256: str
    parts: list[dict[str, Any]]  # {"part": stem, "sha256": of its record}, sorted
    counts: dict[str, Any]  # the parts' sums


def commit_stage(store: Store, folder: str, records: list[PartRecord]) -> StageRecord:
    """Write the record of a set of parts in one folder; the same set gives the same file."""
    parts = [{"part": record.stem, "sha256": record.sha256} for record in sorted(records, key=lambda r: r.stem)]
    body = canonical_json({"parts": parts, "counts": add_counts([record.counts for record in records])})
    key = f"{folder}/_record-{sha256(body).hexdigest()[:16]}.json"
    crash_point("before-stage-record")
    if store.size(key) != len(body) or store.read(key) != body:
        store.write(key, body)
    crash_point("after-stage-record")
    return read_stage(store, key)


def read_stage(store: Store, key: str) -> StageRecord:
    """A stage record by its key.

    Raises:
        BuildFailed: it is missing or unreadable.
    """
    try:
        body = store.read(key)
        record = json.loads(body)
        return StageRecord(key, sha256(body).hexdigest(), record["parts"], record["counts"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise BuildFailed(f"{key}: the stage record is missing or unreadable") from None


def read_parts(store: Store, record: StageRecord) -> list[PartRecord]:
    """The part records that a stage record names, in its order.

    Raises:
        BuildFailed: a part record is missing or not the one that the stage committed.
    """
    found = []
    bodies = store.read_each([f"{entry['part']}.json" for entry in record.parts])
    for entry, body in zip(record.parts, bodies, strict=True):
        part = _parsed(entry["part"], body)
        if part is None:
            raise BuildFailed(f"{entry['part']}.json: the part record is missing or unreadable")
        if part.sha256 != entry["sha256"]:
            raise BuildFailed(f"{entry['part']}.json: not the record that {record.key} names")
        found.append(part)
    return found


def add_counts(counts: list[dict[str, Any]]) -> dict[str, Any]:
    """Key-wise sums; nested tables of counts are added key by key."""
    total: dict[str, Any] = {}
    for count in counts:
        for key, value in count.items():
            if isinstance(value, dict):
                total[key] = add_counts([total.get(key, {}), value])
            elif isinstance(value, int | float):
                total[key] = total.get(key, 0) + value
    return dict(sorted(total.items()))
