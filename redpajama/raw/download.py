"""Download one file over http(s), resumable and checked; wait when the server asks for it.

A download goes to `<name>.part` beside its target and is renamed when it is whole; `<name>.json` remembers which
version of the file the part belongs to, so that a later run goes on where an earlier one was killed. How many requests
a host gets at once, and its wish to be left alone, are shared by all processes of the machine (redpajama/raw/hosts.py).
"""

import contextlib
import email.utils
import fcntl
import http.client
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

from redpajama.errors import InputError
from redpajama.raw import hosts

if TYPE_CHECKING:  # slow to import, and not needed by `redpajama --help`
    from requests import Response, Session

MAX_TRIES = 8  # of a download, without a byte of progress
MAX_LOOK_UPS = 4  # a user waits for them
FIRST_DELAY_SECONDS = 1.0  # doubled after every try
MAX_DELAY_SECONDS = 300.0
TIMEOUT_SECONDS = (20, 120)  # to connect, between two reads
CHUNK_BYTES = 1 << 20
RETRIED = {408, 425, 429, 500, 502, 503, 504}  # HTTP status
THROTTLED = {429, 503}  # the host has too much to do: nobody asks it for a while
Result = TypeVar("Result")
_local = threading.local()


class State(StrEnum):
    """What a host says of an input; the values are words of `doctor`'s report."""

    OK = "ok"
    MOVED = "moved"  # it is there, at another host
    DEAD = "dead"
    FORBIDDEN = "forbidden"
    REQUESTER_PAYS = "requester-pays"
    NO_ANSWER = "no answer"


class Unavailable(InputError):
    """What the manifest names is not to be had, through no fault of the manifest's form."""

    def __init__(self, message: str, state: State):
        super().__init__(message)
        self.state = state


class NoAnswer(Unavailable):
    """A host that may be well again tomorrow: it did not answer, or only with errors of its own."""

    def __init__(self, message: str):
        super().__init__(message, State.NO_ANSWER)


class Again(Exception):
    """This try failed; another may do better, after `delay` seconds (None: the usual)."""

    def __init__(self, why: str, delay: float | None = None, throttled: bool = False):
        super().__init__(why)
        self.delay = delay
        self.throttled = throttled


class Answer(NamedTuple):
    """What a server says of a file without sending it."""

    status: int  # HTTP
    reason: str
    bytes: int  # 0 where it does not say
    version: str  # ETag, or Last-Modified, or ""
    url: str  # where the file is, after redirects

    @property
    def state(self) -> State:
        """What the status means."""
        return _state_of(self.status)


def one_line(error: Exception) -> str:
    """What an error says, for a message of one line."""
    return " ".join(str(error).split())


def _state_of(status: int) -> State:
    if status in (200, 206):
        return State.OK
    return State.DEAD if status in (404, 410) else State.FORBIDDEN


def look_up(url: str) -> tuple[int, str]:
    """(bytes, ETag or Last-Modified) as the server tells them; 0 and "" where it does not.

    Raises:
        InputError: the server refuses, or does not answer after MAX_LOOK_UPS tries.
    """
    answer = ask(url)
    if answer.state is not State.OK:
        raise Unavailable(f"{url}: HTTP {answer.status} {answer.reason}", answer.state)
    return answer.bytes, answer.version


def ask(url: str, token: str = "") -> Answer:
    """The server's final answer to a HEAD request, a refusal too; redirects are followed. `token` as in `download`.

    Raises:
        NoAnswer: there is none after MAX_LOOK_UPS tries.
    """
    return retrying(url, lambda: _ask("HEAD", url, token), MAX_LOOK_UPS)


def _ask(method: str, url: str, token: str) -> Answer:
    with _request(method, url, {}, token, hosts.QUESTION) as response:
        if method == "GET" or response.status_code not in (403, 405, 501):
            _check_health(response)
            size = _length(response) if response.ok else 0
            return Answer(response.status_code, response.reason, size, _version(response), response.url)
    return _ask("GET", url, token)  # no HEAD here: the headers of a GET will do


def read(url: str, max_bytes: int) -> bytes:
    """The bytes of a small file: a list of other files, say.

    Raises:
        InputError: refused, larger than `max_bytes`, or not to be had in MAX_LOOK_UPS tries.
    """
    return retrying(url, lambda: _read(url, max_bytes), MAX_LOOK_UPS)


def _read(url: str, max_bytes: int) -> bytes:
    data = bytearray()
    with _request("GET", url, {}) as response:
        _check_status(response, url)
        for chunk in _body(response):
            data += chunk
            if len(data) > max_bytes:
                raise InputError(f"{url}: has more than {max_bytes:,} bytes")
        if len(data) < _length(response):
            raise Again(f"{len(data)} bytes of {_length(response)}")
    return bytes(data)


def read_head(url: str, count: int, token: str = "") -> bytes:
    """The first bytes of a file, or all of one that is shorter; asked once.

    Raises:
        InputError: refused, or not to be had.
    """

    def attempt() -> bytes:
        data = bytearray()
        with _request("GET", url, {"Range": f"bytes=0-{count - 1}"}, token) as response:
            _check_status(response, url)
            for chunk in _body(response):
                data += chunk
                if len(data) >= count:
                    break
        return bytes(data[:count])

    return retrying(url, attempt, 1)


def download(url: str, target: Path, size: int = 0, etag: str = "", token: str = "") -> bool:
    """Bring `url` to `target`; False if it was there already, in the version that `etag` names.

    Args:
        size: the bytes it must have; 0 if unknown.
        token: sent as a bearer token, to the host of `url` and to no other.

    Raises:
        InputError: refused, of another size, or not to be had in MAX_TRIES.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(f"{target.name}.lock")):
        transfer = Transfer(url, target, size, etag, token)
        if transfer.is_done():
            return False
        target.unlink(missing_ok=True)
        retrying(url, transfer.attempt, MAX_TRIES, transfer.offset)
        transfer.finish()
    return True


def copy(open_source: Callable[[], BinaryIO], url: str, target: Path, size: int, etag: str) -> bool:
    """Bring an object of a store to `target`, as `download` does; `open_source` opens it, seekable.

    Its library repeats what fails. A copy that was broken off goes on where it ended, if `etag` is still the same.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(f"{target.name}.lock")):
        transfer = Transfer(url, target, size, etag, "")
        if transfer.is_done():
            return False
        target.unlink(missing_ok=True)
        transfer.append_from(open_source)
        transfer.finish()
    return True


def retrying(url: str, attempt: Callable[[], Result], max_tries: int, progress: Callable[[], int] = int) -> Result:
    """The result of `attempt`, repeated while it raises Again; only tries without progress are numbered.

    What the host asks for is a pause for all, and the next attempt waits for its end; else this process alone waits.
    """
    failures, best = 0, progress()
    while True:
        try:
            return attempt()
        except Again as again:
            if progress() > best:
                failures, best = 0, progress()
            failures += 1
            if failures >= max_tries:
                raise NoAnswer(f"{url}: given up after {max_tries} tries: {again}") from None
            usual = FIRST_DELAY_SECONDS * 2 ** (failures - 1)
            delay = min(usual if again.delay is None else again.delay, MAX_DELAY_SECONDS)
            if again.throttled:
                hosts.pause(url, delay)
            else:
                time.sleep(delay)


class Transfer:
    """One download under way: its part file, and what is known of the version that the part is from."""

    def __init__(self, url: str, target: Path, size: int, etag: str, token: str):
        self.url, self.target, self.size, self.etag, self.token = url, target, size, etag, token
        self.part = target.with_name(f"{target.name}.part")
        self.state_path = target.with_name(f"{target.name}.json")
        self.state = self._read_state()
        if self.state.get("listed") != etag:
            self.part.unlink(missing_ok=True)
            self.state = {}

    def is_done(self) -> bool:
        """Is the whole file here, in the version that was listed?"""
        if not self.etag or not self.state or not self.target.is_file():
            return False
        return self.target.stat().st_size == self.state["bytes"]

    def offset(self) -> int:
        """Bytes of the part so far."""
        return self.part.stat().st_size if self.part.exists() else 0

    def attempt(self) -> None:
        """Go on from the part's end, or from the start if the server wants it so."""
        offset = self.offset()
        if offset and offset == self.state.get("bytes"):
            return
        version = self.state.get("version", "")
        resume = bool(offset and version and not version.startswith("W/"))
        headers = {"Range": f"bytes={offset}-", "If-Range": version} if resume else {}
        with _request("GET", self.url, headers, self.token) as response:
            if resume and response.status_code in (206, 416) and not self._continues(response, offset):
                self.part.unlink()
                raise Again("the file changed while it was downloaded", 0)
            _check_status(response, self.url)
            offset = offset if resume and response.status_code == 206 else 0
            length = _length(response)
            total = offset + length if length else 0
            self._check_size(total)
            if not offset:
                self._write_state({"listed": self.etag, "version": _version(response), "bytes": self.size})
            self._append(response, offset)
        if self.offset() < (total or self.size):
            raise Again(f"{self.offset()} of {total or self.size} bytes")

    def append_from(self, open_source: Callable[[], BinaryIO]) -> None:
        """Read what the part lacks from an object that has the version listed."""
        offset = self.offset()
        if not offset:
            self._write_state({"listed": self.etag, "bytes": self.size})
        with open_source() as source, open(self.part, "ab") as file:
            source.seek(offset)
            while chunk := source.read(CHUNK_BYTES):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())

    def finish(self) -> None:
        """Check the size and give the file its name."""
        self._check_size(self.offset())
        self._write_state({**self.state, "bytes": self.offset()})
        os.replace(self.part, self.target)

    def _continues(self, response: "Response", offset: int) -> bool:
        start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        return start is not None and int(start[1]) == offset and _version(response) in ("", self.state["version"])

    def _check_size(self, found: int) -> None:
        if self.size and found and found != self.size:
            self.part.unlink(missing_ok=True)
            raise InputError(f"{self.url}: has {found} bytes, wanted {self.size}")

    def _append(self, response: "Response", offset: int) -> None:
        with open(self.part, "r+b" if offset else "wb") as file:
            file.seek(offset)
            for chunk in _body(response):
                file.write(chunk)
                if self.size and file.tell() > self.size:
                    break  # it would go on for ever; `finish` says what is wrong
            file.flush()
            os.fsync(file.fileno())

    def _read_state(self) -> dict[str, Any]:
        try:
            return json.loads(self.state_path.read_bytes())
        except (OSError, ValueError):
            return {}

    def _write_state(self, state: dict[str, Any]) -> None:
        self.state = state
        write_atomically(self.state_path, json.dumps(state, sort_keys=True).encode())


def write_atomically(path: Path, data: bytes) -> None:
    """Write a small file so that a reader sees the old bytes or the new."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    draft.write_bytes(data)
    os.replace(draft, path)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process at a time; the kernel frees the lock of one that is killed."""
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _request(
    method: str, url: str, headers: dict[str, str], token: str = "", kind: str = hosts.TRANSFER
) -> Iterator["Response"]:
    """A response whose body is not read yet; the request has its place at the host until the response is closed.

    A redirect needs no place of its own. `requests` drops the token when one leaves the host.
    """
    with hosts.place(url, kind), _send(method, url, headers, token) as response:
        yield response


def _send(method: str, url: str, headers: dict[str, str], token: str) -> "Response":
    import requests

    def authorise(request: Any) -> Any:
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    sent = {"User-Agent": "redpajama", "Accept-Encoding": "identity", **headers}  # bytes as they are stored
    auth = authorise if token else None
    try:
        return _session().request(
            method, url, headers=sent, auth=auth, timeout=TIMEOUT_SECONDS, stream=True, allow_redirects=True
        )
    except requests.exceptions.InvalidSchema as error:
        raise InputError(f"{url}: leads to another scheme than http: {one_line(error)}") from None
    except (requests.exceptions.InvalidURL, requests.exceptions.TooManyRedirects) as error:
        raise InputError(f"{url}: {one_line(error)}") from None
    except requests.exceptions.RequestException as error:
        raise Again(_cause(error)) from None


def _session() -> "Session":
    """This thread's connections, kept open between requests."""
    import requests

    if not hasattr(_local, "session"):
        _local.session = requests.Session()
    return _local.session


def _check_status(response: "Response", url: str) -> None:
    _check_health(response)
    state = _state_of(response.status_code)
    if state is not State.OK:
        raise Unavailable(f"{url}: HTTP {response.status_code} {response.reason}", state)


def _check_health(response: "Response") -> None:
    """Another try is due where the server is not well."""
    if response.status_code in RETRIED:
        delay = _retry_after(response.headers.get("Retry-After", ""))
        raise Again(f"HTTP {response.status_code}", delay, response.status_code in THROTTLED)


def _retry_after(value: str) -> float | None:
    """Seconds that a server asks to wait: a number or a date (RFC 9110, 10.2.3)."""
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _length(response: "Response") -> int:
    """Bytes of the body, as its header says; 0 where it says nothing or nonsense."""
    told = response.headers.get("Content-Length", "").strip()
    return int(told) if told.isascii() and told.isdecimal() else 0


def _version(response: "Response") -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified") or ""


def _body(response: "Response") -> Iterator[bytes]:
    """The body as it was sent, each piece as it arrives: a cut, which is Again, loses nothing that came before it."""
    import urllib3

    try:
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
            yield chunk
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise Again(_cause(error)) from None


def _cause(error: BaseException) -> str:
    """What happened at the bottom of a library's chain of exceptions."""
    while error.__context__:
        error = error.__context__
    return " ".join((str(error) or type(error).__name__).split())
