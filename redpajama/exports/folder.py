"""The folder that an export goes to: refused where it holds something else, gone on with where it is ours.

DIR/.redpajama/export.json        what is exported, written first; its files once all are there
              /unit-00000.json    the files of one unit with SHA-256s, written last: that unit's commit
              /files/             what is being written
"""

import fcntl
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redpajama.engine.parts import describe_whole
from redpajama.engine.store import Store, crash_point
from redpajama.engine.workers import NO_LOCKS
from redpajama.errors import UserError
from redpajama.hashing import canonical_json

OWN = ".redpajama"
PLAN = f"{OWN}/export.json"
LEFT_BY_OTHERS = (".cache/", ".gitattributes")  # the hub's client keeps its memory there


@dataclass
class UnitFiles:
    """The files of one unit while they are written."""

    folder: Path
    paths: dict[str, Path] = field(default_factory=dict)

    def file(self, name: str) -> Path:
        """A temporary path for the file of that name in the export."""
        self.paths[name] = self.folder / f"{len(self.paths)}-{name.rpartition('/')[2]}"
        return self.paths[name]


class OtherExport(UserError):
    """The folder holds something else."""


class Folder:
    """DIR, on a local disk or an object store.

    Raises:
        OtherExport: it holds something that is not this export, begun or done; one line.
    """

    def __init__(self, to: str, identity: dict[str, Any]) -> None:
        self.store, self.identity, self._to = Store(to), identity, to
        self._is_begun()

    def _is_begun(self) -> bool:
        """Whether it holds this export, or nothing yet."""
        found = read_record(self.store, PLAN)
        if found is None:
            others = [key for key, _ in self.store.keys("") if not key.startswith(LEFT_BY_OTHERS)]
            if strangers := [key for key in others if not key.startswith(f"{OWN}/")]:
                said = f"it holds something else ({strangers[0]}): name a folder that is empty or new"
                raise OtherExport(f"{self._to}: {said}")
        elif found.get("export") != self.identity:
            said = f"it holds another export ({_said(found)}): name a folder that is empty or new"
            raise OtherExport(f"{self._to}: {said}")
        return found is not None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other exports away, where the folder is on a disk that has locks; what a killed one left goes.

        Raises:
            UserError: another one writes there. OtherExport: it did, and this is another.
        """
        if not self.store.local:
            self._begin()
            yield
            return
        Path(self.store.path(OWN)).mkdir(parents=True, exist_ok=True)
        with open(self.store.path(f"{OWN}/lock"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"{self.store.root}: another export writes there") from None
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
            self._begin()
            self.store.remove(f"{OWN}/files")
            yield

    def _begin(self) -> None:
        if not self._is_begun():
            self.store.write(PLAN, canonical_json({"export": self.identity}))

    def unit(self, number: int) -> dict[str, Any] | None:
        """The record of a unit whose files are all there."""
        record = read_record(self.store, self._key(number))
        if record and all(self.store.size(name) == size for name, (size, _) in record["files"].items()):
            return record
        return None

    @contextmanager
    def writing(self, number: int, record: dict[str, Any]) -> Iterator[UnitFiles]:
        """Files that are moved to their names at the end of the block, then `record` with them."""
        base = Path(self.store.path(f"{OWN}/files")) if self.store.local else Path(tempfile.gettempdir())
        files = UnitFiles(base / f"{number}-{uuid.uuid4().hex}")
        files.folder.mkdir(parents=True)
        try:
            yield files
            record["files"] = {name: describe_whole(path) for name, path in files.paths.items()}
            for name, path in files.paths.items():
                self.store.put(name, path)
                crash_point("export-file")
            self.store.write(self._key(number), canonical_json(record))
            crash_point("export-unit")
        finally:
            shutil.rmtree(files.folder, ignore_errors=True)

    def finish(self, files: dict[str, list[Any]]) -> None:
        """Write down that all is there."""
        self.store.write(PLAN, canonical_json({"export": self.identity, "files": files}))

    def _key(self, number: int) -> str:
        return f"{OWN}/unit-{number:05d}.json"


def read_record(store: Store, key: str) -> dict[str, Any] | None:
    """A record of an export; None where there is none, or a broken one."""
    try:
        found = store.read_json(key)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _said(found: dict[str, Any]) -> str:
    """What another export is of."""
    other = found.get("export", {})
    return (
        " ".join(str(other.get(name, "")) for name in ("format", "build", "method", "length")).strip() or "a broken one"
    )
