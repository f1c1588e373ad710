"""One build a ROOT where there is no `flock`: a lease, an object that tells who holds ROOT, written anew meanwhile.

Writes are conditional (`If-None-Match: *`, `If-Match: <etag>`), so of two that come at once one wins. Nobody removes
the object, for not every store does that on a condition: who is done writes that it is free. Its age is told by the
store's own clock. After LEASE_SECONDS without a heartbeat it may be taken over, at once where its holder was a process
of this machine that is dead; whoever lost it, or could not renew it for so long, writes no build record.
"""

import errno
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

from fsspec.asyn import sync

from redpajama import environment
from redpajama.engine import faults
from redpajama.engine.store import Refused, Store
from redpajama.errors import BuildFailed, UserError
from redpajama.hashing import canonical_json

LEASE_KEY = ".lease"
LEASE_SECONDS = environment.number("REDPAJAMA_LEASE_SECONDS", 60)
HEARTBEAT_SECONDS = LEASE_SECONDS / 4
TRIES = 3  # of a write that is refused though the lease is ours


class Seen(NamedTuple):
    """A lease as it lies in the store."""

    etag: str
    run: str  # whose it is; "" of one that was let go
    where: str
    age: float  # seconds since it was written
    pid: int  # of the holder
    space: str  # where that number means something

    @property
    def is_free(self) -> bool:
        """Whether another may take it."""
        return not self.run or self.age >= LEASE_SECONDS or self._is_dead

    @property
    def _is_dead(self) -> bool:
        """Whether the holder was a process of this very machine, and is no more."""
        return self.space == process_space() != "" and not Path(f"/proc/{self.pid}").exists()


class LeaseHeld(UserError):
    """Another build holds this ROOT."""


class Lease:
    """Held until `release`; `check` raises once it was lost."""

    def __init__(self, store: Store, run: str, where: str) -> None:
        self.store, self.run, self.where = store, run, where
        self.etag = ""
        self.is_lost = False
        self._renewed = 0.0  # by the monotonic clock: when the last write began that went through
        self._trouble = ""  # why the last one did not
        self._writing = threading.Lock()  # the heartbeat and `check` would refuse each other
        self._over = threading.Event()

    def take(self) -> None:
        """Write the lease, if nobody holds it.

        Raises:
            LeaseHeld: somebody does. UserError: the store has no conditional writes.
        """
        if not self.store.has_conditions:
            raise UserError(
                f"{self.store.url}: nothing keeps a second build away from stores of this kind; "
                "if you see to that, say --sole-writer"
            )
        seen = look(self.store)
        if seen and not seen.is_free:
            wait = f"if that was killed, try again in {LEASE_SECONDS - seen.age:.0f} s"
            raise LeaseHeld(f"{self.store.url}: another build holds it ({seen.where}); {wait}")
        self.etag = seen.etag if seen else ""
        if not self._write(self.run):
            now = look(self.store)
            raise LeaseHeld(f"{self.store.url}: another build holds it ({now.where if now else 'just begun'})")
        self._check_conditions()

    def _check_conditions(self) -> None:
        """A store that ignores conditions would let two builds in: it has a lease, so this write must be refused."""
        with suppress(Refused):
            _put(self.store, self._body(""), "")
            self.store.remove(LEASE_KEY)
            raise _no_conditions(self.store)

    def _write(self, run: str) -> bool:
        """Write it anew; False where another holds it by now.

        One that is refused may be ours all the same: the answer to a write that went through was lost on its way.
        """
        for _ in range(TRIES):
            began = time.monotonic()
            try:
                self.etag = _put(self.store, self._body(run), self.etag)
                self._renewed, self._trouble = began, ""
                return True
            except Refused:
                seen = look(self.store)
                if seen is None or seen.run != self.run:
                    return False
                self.etag, self._trouble = seen.etag, "its writes conflict"
        return True

    def _body(self, run: str) -> bytes:
        process = {"pid": os.getpid(), "space": process_space()}
        return canonical_json({"run": run, "where": self.where, **process, "beat": uuid.uuid4().hex})  # another ETag

    def beat(self) -> None:
        """Write it anew; a store that does not answer, however it says so, may answer the next time."""
        with self._writing:
            if self.is_lost or self._over.is_set():
                return
            try:
                self.is_lost = not self._write(self.run)
            except Exception as error:  # noqa: BLE001 (libraries raise errors of their own, and the heart must not stop)
                self._trouble = faults.explain(error).message

    def start(self) -> None:
        """Write it anew from a thread, until `release`."""

        def go_on() -> None:
            while not self._over.wait(HEARTBEAT_SECONDS) and not self.is_lost:
                self.beat()

        threading.Thread(target=go_on, daemon=True).start()

    def check(self) -> None:
        """Raises BuildFailed once another build took ROOT over, or may have."""
        self.beat()
        if self.is_lost:
            raise BuildFailed(f"{self.store.url}: another build took it over; what this one committed stays")
        unheard = time.monotonic() - self._renewed
        if self._trouble and unheard >= LEASE_SECONDS:
            raise BuildFailed(
                f"{self.store.url}: nothing could be written there for {unheard:.0f} s ({self._trouble}), so another "
                "build may have taken it over; what this one committed stays"
            )

    def release(self) -> None:
        """Let others in; what is not ours any more stays. Where the store does not answer, time does it."""
        self._over.set()
        with self._writing, suppress(Exception):
            if not self.is_lost:
                self._write("")


@contextmanager
def held(store: Store, run: str, where: str) -> Iterator[Lease]:
    """Hold ROOT by a lease."""
    lease = Lease(store, run, where)
    lease.take()
    lease.start()
    try:
        yield lease
    finally:
        lease.release()


def look(store: Store) -> Seen | None:
    """The lease of a ROOT, by one request; None where there was never one."""
    bucket, _, name = store.path(LEASE_KEY).partition("/")
    try:
        answer = store.fs.call_s3("get_object", Bucket=bucket, Key=name)
        body = json.loads(sync(store.fs.loop, answer["Body"].read))
    except FileNotFoundError:
        return None
    now = answer["ResponseMetadata"]["HTTPHeaders"].get("date")  # the store's
    seconds = parsedate_to_datetime(now).timestamp() if now else time.time()
    age = seconds - answer["LastModified"].timestamp()
    pid, space = body.get("pid", 0), body.get("space", "")
    return Seen(str(answer["ETag"]), body.get("run", ""), body.get("where", ""), age, pid, space)


def process_space() -> str:
    """What tells this machine, since its start, and its numbers of processes from others; "" if nothing does."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def is_fresh(store: Store) -> bool:
    """Whether somebody seems to hold ROOT."""
    seen = look(store) if store.has_conditions else None
    return seen is not None and not seen.is_free


# ---- S3


def _put(store: Store, body: bytes, etag: str) -> str:
    """Write the lease if it still has that ETag, or if there is none; its new ETag.

    Raises:
        Refused: it is another by now. UserError: the store knows no conditions.
    """
    try:
        return store.write_if(LEASE_KEY, body, etag)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise _no_conditions(store) from None
        raise


def _no_conditions(store: Store) -> UserError:
    return UserError(
        f"{store.url}: the store has no conditional writes, so nothing keeps a second build away: "
        "if you see to that, say --sole-writer"
    )
