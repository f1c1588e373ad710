"""The processes of one build on one machine: who may work on which part, and what happens when one dies.

* `ROOT/.lock` is held by the driver: one build per ROOT.
* `ROOT/.workers` is held shared by every worker for life. A new driver takes it exclusively first, so it waits for
  orphans of a killed build, then sweeps `.tmp/`; an orphan that comes late finds its run's folder gone and stops.
* `ROOT/.tmp/<run>/claims/` has a file for each claimed part: the list that workers share. Its folder `done/` has a file
  for each worker, with a line for each part that it did: who watches the build reads on where it stopped.

`flock` is for one machine. On an object store there is a lease (`lease.py`), and a late commit writes the same bytes.
"""

import errno
import fcntl
import gc
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from redpajama.engine import faults, lease
from redpajama.engine.lease import Lease
from redpajama.engine.parts import Part
from redpajama.engine.stages import Job
from redpajama.engine.store import Store
from redpajama.errors import UserError
from redpajama.hashing import canonical_json

EXIT_CODE = re.compile(r"Worker subprocess exited with return code (-?\d+)")
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
KILL_SECONDS = 5.0  # to wait for what was killed
_equipped: set[str] = set()  # runs
_entered: dict[str, Any] = {}  # run -> the lock that this process holds for it


class RootBusy(UserError):
    """Another build holds this ROOT."""


# ---- in a worker


POOLS = ("OMP", "OPENBLAS", "MKL", "RAYON", "NUMBA")  # of threads, one a library


def limits() -> dict[str, str]:
    """One thread in every library's own pool: the workers are the parallelism."""
    return {**{f"{name}_NUM_THREADS": "1" for name in POOLS}, "TOKENIZERS_PARALLELISM": "false"}


def equip(job: Job) -> None:
    """Once per process and run, before anything is asked of the store: the environment that the user passes on."""
    if job.run in _equipped:
        return
    os.environ.update(job.environment)
    for name, value in limits().items():
        os.environ.setdefault(name, value)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    if not _equipped:
        gc.freeze()  # libraries' objects stay, and no collection need look at them again
    _equipped.add(job.run)


def enter(job: Job) -> None:
    """Once per process and run: the workers' lock, and a note of the process id."""
    if job.run in _entered:
        return
    _entered[job.run] = None
    if job.claims:
        if job.store.local:
            lock = open(job.store.path(".workers"), "a")  # noqa: SIM115 (held for life)
            with _locks_told(job.store.root, True):  # the driver asked
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


def note_done(job: Job, part: Part, counts: dict[str, Any], seconds: float, cpu_seconds: float) -> None:
    """Times and memory go to ROOT/timing/, progress to the claims folder; neither is part of any hash."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    times = {"seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds, 3)}
    who = {"pid": os.getpid(), "host": os.uname().nodename}
    note = canonical_json({**times, **who, "peak_bytes": peak, "bytes": part.size})
    if job.store.local:
        path = Path(job.store.path(f"timing/{part.stem}.json"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(note)
    if job.claims:
        line = canonical_json({"claim": _claim_name(part), "units": counts.get("read", 0), "bytes": part.size})
        with open(_notes_folder(job.claims) / str(os.getpid()), "ab", buffering=0) as file:
            file.write(line + b"\n")  # in one call, or the threads of a worker might mix theirs


def _notes_folder(claims: str) -> Path:
    return Path(claims, "done")


def note_failure(job: Job, stage: str, what: str, message: str) -> None:
    """A part of a stage failed, or its plan: the barrier and the driver read this."""
    job.store.write(f".tmp/{job.run}/failed/{stage}-{what}.json", canonical_json({"message": message}))
    if job.claims:
        Path(job.claims, "failed").touch()
    else:
        stop(job)


def note_crash(job: Job, stage: str, what: str, where: str, error: Exception) -> None:
    """An exception that is no failure of the data: one line for the barrier, the traceback for the log."""
    log = faults.LOG if job.store.local else f"timing/tracebacks/{job.run}-{stage}-{what}.log"
    text = f"{where}\n{faults.traceback_of(error)}"
    if job.store.local:
        path = Path(job.store.path(log))
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as file:
            file.write(text)
    else:
        job.store.write(log, text.encode(errors="backslashreplace"))
    note_failure(job, stage, what, faults.explain(error).told(where, f"{job.store.url}/{log}"))


def failed(job: Job) -> bool:
    """True once any part of this run failed: no more parts are begun."""
    return Path(job.claims, "failed").exists()


def _live_key(job: Job) -> str:
    return f".tmp/{job.run}/live"


def begin(job: Job) -> None:
    """Leave the mark without which no worker commits: it goes when the run is stopped, or swept by a later one."""
    job.store.write(_live_key(job), b"")


def stop(job: Job) -> None:
    """From now on no worker of this run, wherever it is, begins or commits a part."""
    job.store.remove(_live_key(job))


def is_stopped(job: Job) -> bool:
    """Whether the run was stopped; a worker asks before it commits: one request, as long as it was not."""
    return not job.store.exists(_live_key(job))


def first_failure(store: Store, run: str) -> str:
    """The message of the failed part that sorts first, before its barrier tells it; "" of none."""
    for key, _ in store.keys(f".tmp/{run}/failed"):
        return store.read_json(key)["message"]
    return ""


# ---- in the driver


@contextmanager
def hold_root(root: str, is_sole: bool = False) -> Iterator[tuple[str, str]]:
    """Hold ROOT for one run; gives (run id, folder of claims).

    Raises:
        RootBusy, LeaseHeld: another build holds it.
    """
    run, store = uuid.uuid4().hex[:12], Store(root)
    if not store.local:
        with _leased(store, run, is_sole), tempfile.TemporaryDirectory(prefix="redpajama-") as claims:
            _notes_folder(claims).mkdir()
            with _temporary_files_in(claims):
                yield run, claims
            store.remove(f".tmp/{run}")  # of a run that failed it stays, for `status`
        return
    with _open_locks(store) as (lock, workers):
        with _locks_told(store.root, is_sole):
            _lock_or_say_who(lock, store.root)
            fcntl.flock(workers, fcntl.LOCK_EX)
        store.remove(".tmp")
        claims = store.path(f".tmp/{run}/claims")
        _notes_folder(claims).mkdir(parents=True)
        with _locks_told(store.root, is_sole):
            fcntl.flock(workers, fcntl.LOCK_SH)
        try:
            with _temporary_files_in(os.path.dirname(claims)):
                yield run, claims
        finally:
            _leave(run)
        store.remove(".tmp")


def _leave(run: str) -> None:
    """Give back the workers' lock of a run in which this process worked itself: its next run waits for all of them."""
    if lock := _entered.pop(run, None):
        lock.close()


_leases: dict[str, Lease] = {}  # run -> what this process holds for it


@contextmanager
def _leased(store: Store, run: str, is_sole: bool) -> Iterator[None]:
    """Hold a lease, and sweep what runs before left; a user who sees to it alone needs no lease."""
    if is_sole:
        store.remove(".tmp")
        yield
        return
    with lease.held(store, run, holder()) as _leases[run]:
        store.remove(".tmp")
        try:
            yield
        finally:
            del _leases[run]


def check_held(run: str) -> None:
    """Raises BuildFailed where another build took ROOT over meanwhile."""
    if run in _leases:
        _leases[run].check()


def let_go() -> None:
    """Release what this process holds, before it ends without a word."""
    for each in list(_leases.values()):
        each.release()


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


@contextmanager
def _locks_told(root: str, is_sole: bool) -> Iterator[None]:
    """Some file systems that machines share have no locks, or not as they are mounted.

    Raises:
        UserError: so it is, and the user does not say that nobody else writes there.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        if not is_sole:
            raise UserError(
                f"{root}: its file system has no locks ({error.strerror}), so nothing keeps a second build away "
                "(Lustre: mount it with flock); if you see to that, say --sole-writer"
            ) from None


def _lock_or_say_who(lock: TextIO, root: str) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise RootBusy(f"{root}: another build holds it ({lock.read().strip() or 'unknown process'})") from None
    lock.truncate(0)
    lock.write(holder())
    lock.flush()


def is_held(store: Store) -> bool:
    """Whether a build holds ROOT now."""
    if not store.local:
        return lease.is_fresh(store)
    with suppress(OSError), open(store.path(".lock")) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def holder() -> str:
    """Who holds ROOT: this process."""
    return f"process {os.getpid()} on {os.uname().nodename}"


def worker_ids(claims: str) -> list[int]:
    """Process ids of the workers that have entered this run."""
    return [int(path.name.removeprefix("worker-")) for path in Path(claims).glob("worker-*")]


def kill_workers(claims: str) -> None:
    """End every worker process of the run at once, those too that have not entered it yet; they are dead then."""
    pids = {*worker_ids(claims), *descendants(os.getpid())} - {os.getpid()}
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + KILL_SECONDS
    while any(map(_is_running, pids)) and time.monotonic() < end:
        time.sleep(0.02)


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

    def exit_signal(self) -> int:
        """The signal that ended a worker, 0 if none did."""
        code = self.exit_code or 0
        return max(-code if code < 0 else code - 128, 0)  # a shell between adds 128

    def epitaph(self, dead: list[int]) -> str:
        """`worker died (signal 9, often memory) while building PART`."""
        number = self.exit_signal()
        cause = f"signal {number}" if number else f"exit status {self.exit_code or 0}"
        cause += ", often memory" if number == signal.SIGKILL else ""
        return f"worker died ({cause}) while building {self._unfinished(dead) or 'no part'}"

    def _unfinished(self, dead: list[int]) -> str:
        """The parts that dead workers had begun; looks at every claim, but reads only those that are not done."""
        done = {note["claim"] for path in _notes_folder(self.claims).iterdir() for note in _read_notes(path)[0]}
        with os.scandir(self.claims) as entries:
            begun = [entry.path for entry in entries if "@" in entry.name and entry.name not in done]
        claims = [text.split(" ", 1) for path in begun if (text := Path(path).read_text())]
        return ", ".join(sorted(stem for pid, stem in claims if int(pid) in dead))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:  # it ended meanwhile, or there is no /proc
        return not Path("/proc/self/stat").exists()


@dataclass
class Done:
    """What the workers of a run have done. A look costs what was noted since the last one, however much there is."""

    claims: str
    stages: dict[str, dict[str, int]] = field(default_factory=dict)  # {stage: {"parts", "units", "bytes"}}
    _ends: dict[Path, int] = field(default_factory=dict)  # where each worker's notes ended

    def look(self) -> dict[str, dict[str, int]]:
        """`stages`, up to date."""
        for path in _notes_folder(self.claims).iterdir():
            notes, self._ends[path] = _read_notes(path, self._ends.get(path, 0))
            for note in notes:
                stage = self.stages.setdefault(note["claim"].partition("@")[0], {"parts": 0, "units": 0, "bytes": 0})
                stage["parts"] += 1
                stage["units"] += note["units"]
                stage["bytes"] += note["bytes"]
        return self.stages


def _read_notes(path: Path, start: int = 0) -> tuple[list[dict[str, Any]], int]:
    """(one worker's notes from byte `start` on, where they end); its last line may be half written."""
    with open(path, "rb") as file:
        file.seek(start)
        data = file.read()
    size = data.rfind(b"\n") + 1
    return [json.loads(line) for line in data[:size].splitlines()], start + size
