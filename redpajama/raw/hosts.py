"""Manners towards web hosts, kept by all processes of one machine together.

A request needs one of its host's places, and a host that asked to be left alone is left alone by everyone. Both are
files in one folder (REDPAJAMA_LOCKS, else /tmp/redpajama-<user id>): a place is a file that is locked, which the kernel
frees when its process is killed; a pause is a file whose modification time is the pause's end. Questions (the headers
of a file) and transfers have places of their own, so that nobody waits an hour to learn a size.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

from redpajama import environment

QUESTION, TRANSFER = "question", "transfer"
MAX_PER_HOST = 4  # places of each kind; REDPAJAMA_PER_HOST sets another number
POLL_SECONDS = 0.1


@contextlib.contextmanager
def place(url: str, kind: str) -> Iterator[None]:
    """Hold a place at the URL's host; waits until one is free and the host's pause is over."""
    with contextlib.ExitStack() as held:
        while not _take(held, url, kind):
            time.sleep(POLL_SECONDS)
        if (left := _file(url, "pause").stat().st_mtime - time.time()) > 0:
            time.sleep(left)
        yield


def pause(url: str, seconds: float) -> None:
    """From now, no process of this machine asks the URL's host for so long; of two pauses the later end holds."""
    path = _file(url, "pause")
    end = max(time.time() + seconds, path.stat().st_mtime)
    os.utime(path, (end, end))


def host_of(url: str) -> str:
    """The host of a URL, with its port, without a password."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def per_host() -> int:
    """How many places of one kind a host has.

    Raises:
        UserError: REDPAJAMA_PER_HOST is no number.
    """
    return int(environment.number("REDPAJAMA_PER_HOST", MAX_PER_HOST)) or MAX_PER_HOST


def _take(held: contextlib.ExitStack, url: str, kind: str) -> bool:
    """Lock the first place that is free, until `held` ends."""
    for number in range(per_host()):
        file = open(_file(url, f"{kind}-{number}"), "ab")  # noqa: SIM115 (closed by `held`, or here)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
        else:
            held.callback(file.close)
            return True
    return False


def _file(url: str, name: str) -> Path:
    """A file of the host's, made where it is not there yet; a new one's time is long past."""
    folder = Path(os.environ.get("REDPAJAMA_LOCKS") or f"/tmp/redpajama-{os.getuid()}")
    path = folder / f"{quote(host_of(url), safe='')}.{name}"
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            os.utime(path, (0, 0))
    return path
