"""Files below ROOT, on a local disk or an object store: read, written whole, renamed into place."""

import io
import json
import os
import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from redpajama.engine.reach import check_store
from redpajama.errors import UserError

PARALLEL_READS = 32  # requests under way while records are read from an object store
READ_AHEAD = 8 << 20  # bytes of one request, while a table on an object store is read
REFUSED = ("PreconditionFailed", "412", "ConditionalRequestConflict")  # codes of S3
LAYOUT = "2"  # of ROOT: raised when an older one cannot be read any more
LAYOUT_KEY = ".layout"
OUTSIDE = (  # of every hash; what is withdrawn, build records name
    "timing/",
    ".tmp/",
    "inputs/",
    "index/",
    "current/",
    "exports/",
    "withdrawn/",
    ".lock",
    ".workers",
    ".layout",
    ".lease",
)


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


class Refused(Exception):
    """The condition of a write does not hold."""


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

    @property
    def has_conditions(self) -> bool:
        """Whether a write may hang on what is there (`write_if`): what leases and claims need."""
        return "s3" in self.fs.protocol

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

    def open(self, key: str, size: int = -1) -> "BinaryIO | RangedFile":
        """A file for reading. Where its size is known (from a record), an object store is asked for ranges alone, each
        read one request; a small file comes whole."""
        if self.local:
            return open(self.path(key), "rb")
        if size < 0:
            return self.fs.open(self.path(key), "rb")
        file = RangedFile(self.fs, self.path(key), size)
        return io.BytesIO(file.readall()) if size <= READ_AHEAD else file

    def read(self, key: str) -> bytes:
        return bytes(self.fs.cat_file(self.path(key), max_concurrency=1))  # one GET: more would ask for the size first

    def read_each(self, keys: list[str]) -> Iterator[bytes | None]:
        """The files of these keys, in their order; None where none is. Of a far store many are under way."""
        if self.local or len(keys) < 2:
            yield from map(self._read_if_there, keys)
            return
        with ThreadPoolExecutor(PARALLEL_READS) as pool:
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

    def sizes(self, prefix: str) -> dict[str, int]:
        """{key: bytes} of everything below a folder: one listing, no request a file."""
        return dict(_scan(self.path(prefix), f"{prefix}/")) if self.local else dict(self.keys(prefix))

    def times(self, prefix: str) -> dict[str, float]:
        """{key: when it was written, in seconds since 1970} of everything below a folder, by the store's own clock."""
        found = self.fs.find(self.path(prefix).rstrip("/"), detail=True)
        return {path[len(self.root) + 1 :]: _written(info) for path, info in found.items()}

    def put(self, key: str, path: Path) -> None:
        """Move a finished local file to its key: fsync and rename, or one whole upload."""
        if not self.local:
            self.fs.put_file(str(path), self.path(key))
            path.unlink()
            return
        target = Path(self.path(key))
        target.parent.mkdir(parents=True, exist_ok=True)
        is_lasting = not key.startswith(".tmp/")  # what serves one run alone need not survive the machine
        if is_lasting:
            _fsync(path)
        os.replace(path, target)
        if is_lasting:
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

    def write_if(self, key: str, data: bytes, etag: str = "") -> str:
        """Write a small file if it still has that ETag, or if there is none; its new ETag.

        Raises:
            Refused: it is another by now. OSError: ENOSYS, the store knows no conditions.
        """
        bucket, _, name = self.path(key).partition("/")
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        try:
            return str(self.fs.call_s3("put_object", Bucket=bucket, Key=name, Body=data, **condition)["ETag"])
        except (FileExistsError, FileNotFoundError):  # or removed by hand
            raise Refused from None
        except OSError as error:
            if getattr(error.__cause__, "response", {}).get("Error", {}).get("Code") in REFUSED:
                raise Refused from None
            raise

    def keys_after(self, folder: str, key: str) -> Iterator[str]:
        """The keys of a folder that come after one of them, or all; one request for each thousand. S3 alone has it."""
        bucket, _, prefix = self.path(f"{folder}/").partition("/")
        after, is_more = self.path(key).partition("/")[2] if key else prefix, True
        while is_more:
            found = self.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, StartAfter=after)
            names = [entry["Key"] for entry in found.get("Contents", [])]
            yield from (f"{folder}/{name[len(prefix) :]}" for name in names)
            after, is_more = names[-1] if names else after, bool(found.get("IsTruncated") and names)

    def remove(self, prefix: str) -> None:
        """Remove a file, or everything below a folder, if it is there; another may remove it at the same time."""
        if self.fs.exists(self.path(prefix)):
            with suppress(FileNotFoundError):
                self.fs.rm(self.path(prefix), recursive=True)


class RangedFile(io.RawIOBase):
    """A file on an object store whose size is known: each read is one request for a range."""

    def __init__(self, fs: Any, path: str, size: int) -> None:
        self._fs, self._path, self._size, self._place = fs, path, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        data = self._read_until(self._place + len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """The rest in one request: the default asks for a few KB at a time."""
        return self._read_until(self._size)

    def _read_until(self, end: int) -> bytes:
        if min(self._size, end) <= self._place:
            return b""
        data = self._fs.cat_file(self._path, start=self._place, end=min(self._size, end))
        self._place += len(data)
        return data


def _written(info: dict[str, Any]) -> float:
    """When a file was written, as its file system tells it."""
    when = next((info[name] for name in ("mtime", "LastModified", "updated", "last_modified") if info.get(name)), 0.0)
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    return when.timestamp() if isinstance(when, datetime) else float(when)


def _scan(folder: str, prefix: str) -> Iterator[tuple[str, int]]:
    """(key, bytes) of every file below a local folder; none where there is no folder."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _scan(entry.path, f"{prefix}{entry.name}/")
            else:
                yield f"{prefix}{entry.name}", entry.stat().st_size


def check_layout(store: Store) -> None:
    """Raises UserError where ROOT holds the outputs of another layout. Nothing of them is read or removed."""
    check_store(store.url)
    if store.exists(LAYOUT_KEY):
        found = store.read(LAYOUT_KEY).decode(errors="replace").strip()
    else:
        found = "1" if store.exists("builds") or store.exists("documents") else LAYOUT
    if found != LAYOUT:
        raise UserError(
            f"{store.url}: another version of redpajama wrote here (layout {found}, this one has {LAYOUT}): "
            f"build into another folder"
        )


def mark_layout(store: Store) -> None:
    """Say which layout ROOT has.

    Raises:
        UserError: it has another one.
    """
    check_layout(store)
    if not store.exists(LAYOUT_KEY):
        store.write(LAYOUT_KEY, LAYOUT.encode())


def _open_store(root: str) -> tuple[Any, str]:
    if "://" in root:
        return fsspec.url_to_fs(root, use_listings_cache=False)
    return fsspec.filesystem("file"), os.path.abspath(os.path.expanduser(root))  # fsspec would cut a path at "::"


def _fsync(path: Path) -> None:
    """Wait for the disk. REDPAJAMA_SYNC=no does not: a test kills processes, and no machine."""
    if os.environ.get("REDPAJAMA_SYNC") == "no":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
