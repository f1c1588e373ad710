"""The processes of one build on one machine: who may work on which part, and what happens when one dies.

* `ROOT/.lock` is held by the driver: one build per ROOT.
* `ROOT/.workers` is held shared by every worker for life. A new driver takes it exclusively first, so it waits for
  orphans of a killed build, then sweeps `.tmp/`; an orphan that comes late finds its run's folder gone and stops.
* `ROOT/.tmp/<run>/claims/` has a file for each claimed, done or failed part: the list that workers share.

`flock` is for one machine. On an object store the pure key protects: a late commit writes the bytes that are there.
"""

import fcntl
import json
import os
import re
import resource
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from redpajama.artifacts import Part, Store, UserError
from redpajama.hashing import canonical_json
from redpajama.stages import Job

EXIT_CODE = re.compile(r"Worker subprocess exited with return code (-?\d+)")
_entered: dict[str, Any] = {}  # run -> the lock that this process holds for it


class RootBusy(UserError):
    """Another build holds this ROOT."""


# ---- in a worker


def enter(job: Job) -> None:
    """Once per process and run: one thread a pool, the workers' lock, and a note of the process id."""
    if job.run in _entered:
        return
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    _entered[job.run] = None
    if job.claims:
        if job.store.local:
            lock = open(job.store.path(".workers"), "a")  # noqa: SIM115 (held for life)
            fcntl.flock(lock, fcntl.LOCK_SH)
            _entered[job.run] = lock
        Path(job.claims, f"worker-{os.getpid()}").touch()


def _claim_name(part: Part) -> str:
    return f"{part.stage}@{part.name}@{part.key}"


def claim(job: Job, part: Part) -> bool:
    """True for the one worker of this run that may do the part. False for all others, and once the run is over."""
    path = Path(job.claims, _claim_name(part))
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except (FileExistsError, FileNotFoundError):
        return False
    path.write_text(f"{os.getpid()} {part.stem}")
    return True


def note_done(job: Job, part: Part, counts: dict[str, Any], seconds: float) -> None:
    """Times and memory go to ROOT/timing/, progress to the claims folder; neither is part of any hash."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    note = canonical_json({"seconds": round(seconds, 3), "peak_bytes": peak, "bytes": part.size})
    if job.store.local:
        path = Path(job.store.path(f"timing/{part.stem}.json"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(note)
    if job.claims:
        summary = {"units": counts.get("read", 0), "bytes": part.size}
        Path(job.claims, f"{_claim_name(part)}.done").write_bytes(canonical_json(summary))


def note_failure(job: Job, part: Part, message: str) -> None:
    """The part failed: its barrier and the driver read this."""
    job.store.write(f".tmp/{job.run}/failed/{part.stage}-{part.key}.json", canonical_json({"message": message}))
    if job.claims:
        Path(job.claims, "failed").touch()


def failed(job: Job) -> bool:
    """True once any part of this run failed: no more parts are begun."""
    return Path(job.claims, "failed").exists()


def first_failure(job: Job) -> str | None:
    """The message of the failed part that sorts first, or None."""
    for key, _ in job.store.keys(f".tmp/{job.run}/failed"):
        return job.store.read_json(key)["message"]
    return None


# ---- in the driver


@contextmanager
def hold_root(root: str) -> Iterator[tuple[str, str]]:
    """Hold ROOT for one run; gives (run id, folder of claims).

    Raises:
        RootBusy: another build holds it.
    """
    run, store = uuid.uuid4().hex[:12], Store(root)
    if not store.local:
        try:
            with tempfile.TemporaryDirectory(prefix="redpajama-") as claims, _temporary_files_in(claims):
                yield run, claims
        finally:
            store.remove(f".tmp/{run}")
        return
    with _open_locks(store) as (lock, workers):
        _lock_or_say_who(lock, store.root)
        fcntl.flock(workers, fcntl.LOCK_EX)
        store.remove(".tmp")
        claims = Path(store.path(f".tmp/{run}/claims"))
        claims.mkdir(parents=True)
        fcntl.flock(workers, fcntl.LOCK_SH)
        with _temporary_files_in(str(claims.parent)):
            yield run, str(claims)
        store.remove(".tmp")


@contextmanager
def _open_locks(store: Store) -> Iterator[tuple[TextIO, TextIO]]:
    with ExitStack() as files:
        try:
            Path(store.root).mkdir(parents=True, exist_ok=True)
            lock, workers = (files.enter_context(open(store.path(name), "a+")) for name in (".lock", ".workers"))
        except OSError as error:
            raise UserError(f"{store.root}: outputs cannot be written there: {error.strerror}") from None
        yield lock, workers


@contextmanager
def _temporary_files_in(folder: str) -> Iterator[None]:
    """Spill files of this process and of the workers it starts go there, and with it."""
    before = os.environ.get("TMPDIR"), tempfile.tempdir
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = before[1]
        os.environ.pop("TMPDIR")
        os.environ.update({"TMPDIR": before[0]} if before[0] else {})


def _lock_or_say_who(lock: TextIO, root: str) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise RootBusy(f"{root}: another build holds it ({lock.read().strip() or 'unknown process'})") from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {os.uname().nodename}")
    lock.flush()


def worker_ids(claims: str) -> list[int]:
    """Process ids of the workers that have entered this run."""
    return [int(path.name.removeprefix("worker-")) for path in Path(claims).glob("worker-*")]


def kill_workers(claims: str) -> None:
    """End every worker process of the run at once, those too that have not entered it yet."""
    for pid in {*worker_ids(claims), *descendants(os.getpid())} - {os.getpid()}:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> Iterator[int]:
    """Processes that a process started, and theirs; none where there is no /proc."""
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, listing.read_text().split()):
                yield child
                yield from descendants(child)


@dataclass
class Watch:
    """Watches the workers of a run from a thread; calls `on_death` with one line when one dies before the end.

    Beam's own runner sometimes fails and sometimes hangs when a worker process dies (both seen).
    """

    claims: str
    finished: Callable[[], bool]  # the job has left its last state
    on_death: Callable[[str], None]
    exit_code: int | None = None

    def start(self) -> None:
        threading.excepthook = self._hear_of_exit
        threading.Thread(target=self._look, daemon=True).start()

    def _hear_of_exit(self, args: threading.ExceptHookArgs) -> None:
        """Beam reports a worker's exit by an uncaught exception in a thread; others of its tracebacks are noise."""
        if found := EXIT_CODE.search(str(args.exc_value)):
            self.exit_code = int(found[1])

    def _look(self) -> None:
        while Path(self.claims).exists():  # it goes when the run ends
            if self.exit_code and (dead := self.dead_workers()):
                if not self.finished():
                    self.on_death(self.epitaph(dead))
                return
            time.sleep(0.2)

    def dead_workers(self) -> list[int]:
        """Ids of workers that are no longer running."""
        return [pid for pid in worker_ids(self.claims) if not _is_running(pid)]

    def epitaph(self, dead: list[int]) -> str:
        """`worker died (signal 9, often memory) while building PART`."""
        code = self.exit_code or 0
        number = -code if code < 0 else code - 128  # a shell between adds 128
        cause = f"signal {number}" if number > 0 else f"exit status {code}"
        cause += ", often memory" if number == signal.SIGKILL else ""
        return f"worker died ({cause}) while building {self._unfinished(dead) or 'no part'}"

    def _unfinished(self, dead: list[int]) -> str:
        claimed = [path for path in Path(self.claims).iterdir() if "@" in path.name and path.suffix != ".done"]
        open_claims = [path.read_text() for path in claimed if not path.with_name(f"{path.name}.done").exists()]
        return ", ".join(sorted(text.split(" ")[1] for text in open_claims if text and int(text.split(" ")[0]) in dead))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def progress(job: Job, notes: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """{stage: {done, units, bytes}} as the claims folder shows it; `notes` keeps what was read for the next time."""
    stages: dict[str, dict[str, int]] = {}
    for path in Path(job.claims).glob("*@*.done"):
        if path.name not in notes and (data := path.read_bytes()):  # empty while it is being written
            notes[path.name] = json.loads(data)
    for name, note in notes.items():
        stage = stages.setdefault(name.partition("@")[0], {"done": 0, "units": 0, "bytes": 0})
        stage["done"] += 1
        stage["units"] += note.get("units", 0)
        stage["bytes"] += note.get("bytes", 0)
    return stages
