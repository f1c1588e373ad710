"""One build a ROOT where there is no `flock`: a lease, an object that tells who holds ROOT, written anew while he does.

Writes are conditional (`If-None-Match: *`, `If-Match: <etag>`), so of two that come at once one wins. Its age is told
by the store's own times: when it was written against when another object is written now. After LEASE_SECONDS without a
heartbeat it may be taken over, at once where its holder was a process of this machine that is dead; whoever lost it
writes no build record.
"""

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from redpajama.engine.store import Store
from redpajama.errors import BuildFailed, UserError
from redpajama.hashing import canonical_json

LEASE_KEY = ".lease"
LEASE_SECONDS = float(os.environ.get("REDPAJAMA_LEASE_SECONDS", "60"))
HEARTBEAT_SECONDS = LEASE_SECONDS / 4


class Seen(NamedTuple):
    """A lease as it lies in the store."""

    etag: str
    where: str
    age: float  # seconds since it was written
    pid: int  # of the holder
    space: str  # where that number means something

    @property
    def is_dead(self) -> bool:
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
        if seen and seen.age < LEASE_SECONDS and not seen.is_dead:
            wait = f"if that was killed, try again in {LEASE_SECONDS - seen.age:.0f} s"
            raise LeaseHeld(f"{self.store.url}: another build holds it ({seen.where}); {wait}")
        try:
            self.etag = self._write(seen.etag if seen else "")
        except Refused:
            now = look(self.store)
            raise LeaseHeld(
                f"{self.store.url}: another build holds it ({now.where if now else 'just begun'})"
            ) from None
        if not seen:
            self._check_conditions()

    def _check_conditions(self) -> None:
        """A store that ignores conditions would let two builds in."""
        with suppress(Refused):
            _put(self.store, canonical_json({"run": "", "where": "nobody"}), "")
            self.store.remove(LEASE_KEY)
            raise UserError(
                f"{self.store.url}: the store has no conditional writes, so nothing keeps a second build away: "
                "if you see to that, say --sole-writer"
            )

    def _write(self, etag: str) -> str:
        process = {"pid": os.getpid(), "space": process_space()}
        body = {"run": self.run, "where": self.where, **process, "beat": uuid.uuid4().hex}  # another ETag each time
        return _put(self.store, canonical_json(body), etag)

    def beat(self) -> None:
        """Write it anew; a store that does not answer may answer the next time."""
        try:
            self.etag = self._write(self.etag)
        except Refused:
            self.is_lost = True
        except OSError:
            return

    def start(self) -> None:
        """Write it anew from a thread, until `release`."""

        def go_on() -> None:
            while not self._over.wait(HEARTBEAT_SECONDS) and not self.is_lost:
                self.beat()

        threading.Thread(target=go_on, daemon=True).start()

    def check(self) -> None:
        """Raises BuildFailed once another build took ROOT over."""
        self.beat()
        if self.is_lost:
            raise BuildFailed(f"{self.store.url}: another build took it over; what this one committed stays")

    def release(self) -> None:
        """Let others in."""
        self._over.set()
        if not self.is_lost:
            self.store.remove(LEASE_KEY)


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
    """The lease of a ROOT; None where there is none."""
    info = _info(store, LEASE_KEY)
    if info is None:
        return None
    try:
        body = json.loads(store.read(LEASE_KEY))
    except FileNotFoundError:
        return None
    age = _now(store) - info["LastModified"].timestamp()
    return Seen(str(info["ETag"]), body.get("where", ""), age, body.get("pid", 0), body.get("space", ""))


def process_space() -> str:
    """What tells this machine, since its start, and its numbers of processes from others; "" if nothing does."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def is_fresh(store: Store) -> bool:
    """Whether somebody seems to hold ROOT; by this machine's clock, for a reader may not be allowed to write."""
    info = _info(store, LEASE_KEY) if store.has_conditions else None
    return info is not None and abs(time.time() - info["LastModified"].timestamp()) < LEASE_SECONDS


def _now(store: Store) -> float:
    """The store's own time: of an object that is written now."""
    key = f".tmp/clock-{uuid.uuid4().hex}"
    store.write(key, b"")
    info = _info(store, key)
    store.remove(key)
    return info["LastModified"].timestamp() if info else 0.0


# ---- S3


class Refused(Exception):
    """A condition does not hold."""


def _info(store: Store, key: str) -> dict[str, Any] | None:
    bucket, _, name = store.path(key).partition("/")
    try:
        return store.fs.call_s3("head_object", Bucket=bucket, Key=name)
    except FileNotFoundError:
        return None


def _put(store: Store, body: bytes, etag: str) -> str:
    """Write the lease if it still has that ETag, or if there is none; its new ETag.

    Raises:
        Refused: it is another by now.
    """
    bucket, _, name = store.path(LEASE_KEY).partition("/")
    condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
    try:
        return str(store.fs.call_s3("put_object", Bucket=bucket, Key=name, Body=body, **condition)["ETag"])
    except FileExistsError:
        raise Refused from None
    except FileNotFoundError:
        raise Refused from None  # it was let go
    except OSError as error:
        if "pre-condition" in str(error) or "ConditionalRequestConflict" in repr(error.__cause__):
            raise Refused from None
        raise
