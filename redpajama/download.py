"""Download one file over http(s), resumable and checked; wait when the server asks for it.

A download goes to `<name>.part` beside its target and is renamed when it is whole; `<name>.json` remembers which
version of the file the part belongs to, so that a later run goes on where an earlier one was killed.
"""

import contextlib
import email.utils
import fcntl
import http.client
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # slow to import, and not needed by `redpajama --help`
    from requests import Response

MAX_TRIES = 8  # of a download, without a byte of progress
MAX_LOOK_UPS = 4  # a user waits for them
FIRST_DELAY_SECONDS = 1.0  # doubled after every try
MAX_DELAY_SECONDS = 300.0
TIMEOUT_SECONDS = (20, 120)  # to connect, between two reads
CHUNK_BYTES = 1 << 20
RETRIED = {408, 425, 429, 500, 502, 503, 504}  # HTTP status
Result = TypeVar("Result")


class InputError(ValueError):
    """An input that the manifest names cannot be had: one line that says which, and what would be right."""


class Again(Exception):
    """This try failed; another may do better, after `delay` seconds (None: the usual)."""

    def __init__(self, why: str, delay: float | None = None):
        super().__init__(why)
        self.delay = delay


def look_up(url: str) -> tuple[int, str]:
    """(bytes, ETag or Last-Modified) as the server tells them; 0 and "" where it does not.

    Raises:
        InputError: the server refuses, or does not answer after MAX_LOOK_UPS tries.
    """
    return retrying(url, lambda: _look_up("HEAD", url), MAX_LOOK_UPS)


def _look_up(method: str, url: str) -> tuple[int, str]:
    with _request(method, url, {}) as response:
        if method == "HEAD" and response.status_code in (403, 405, 501):  # no HEAD here: the headers of a GET will do
            return _look_up("GET", url)
        _check_status(response, url)
        return int(response.headers.get("Content-Length", 0)), _version(response)


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


def retrying(url: str, attempt: Callable[[], Result], max_tries: int, progress: Callable[[], int] = int) -> Result:
    """The result of `attempt`, repeated while it raises Again; only tries without progress are numbered."""
    failures, best = 0, progress()
    while True:
        try:
            return attempt()
        except Again as again:
            if progress() > best:
                failures, best = 0, progress()
            failures += 1
            if failures >= max_tries:
                raise InputError(f"{url}: given up after {max_tries} tries: {again}") from None
            usual = FIRST_DELAY_SECONDS * 2 ** (failures - 1)
            time.sleep(min(usual if again.delay is None else again.delay, MAX_DELAY_SECONDS))


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
            total = offset + int(response.headers["Content-Length"]) if "Content-Length" in response.headers else 0
            self._check_size(total)
            if not offset:
                self._write_state({"listed": self.etag, "version": _version(response), "bytes": self.size})
            self._append(response, offset)
        if self.offset() < (total or self.size):
            raise Again(f"{self.offset()} of {total or self.size} bytes")

    def finish(self) -> None:
        """Check the size and give the file its name."""
        self._check_size(self.offset())
        self._write_state({**self.state, "bytes": self.offset()})
        os.replace(self.part, self.target)

    def _continues(self, response: "Response", offset: int) -> bool:
        start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        return bool(start) and int(start[1]) == offset and _version(response) in ("", self.state["version"])

    def _check_size(self, found: int) -> None:
        if self.size and found and found != self.size:
            self.part.unlink(missing_ok=True)
            raise InputError(f"{self.url}: has {found} bytes, wanted {self.size}")

    def _append(self, response: "Response", offset: int) -> None:
        with open(self.part, "r+b" if offset else "wb") as file:
            file.seek(offset)
            for chunk in _body(response):
                file.write(chunk)
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


def _request(method: str, url: str, headers: dict[str, str], token: str = "") -> "Response":
    """A response whose body is not read yet. `requests` drops the token when a redirect leaves the host."""
    import requests

    def authorise(request: Any) -> Any:
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    sent = {"User-Agent": "redpajama", "Accept-Encoding": "identity", **headers}  # bytes as they are stored
    auth = authorise if token else None
    try:
        return requests.request(
            method, url, headers=sent, auth=auth, timeout=TIMEOUT_SECONDS, stream=True, allow_redirects=True
        )
    except (requests.exceptions.InvalidURL, requests.exceptions.TooManyRedirects) as error:
        raise InputError(f"{url}: {error}") from None
    except requests.exceptions.RequestException as error:
        raise Again(_cause(error)) from None


def _check_status(response: "Response", url: str) -> None:
    if response.status_code in RETRIED:
        raise Again(f"HTTP {response.status_code}", _retry_after(response.headers.get("Retry-After", "")))
    if response.status_code not in (200, 206):
        raise InputError(f"{url}: HTTP {response.status_code} {response.reason}")


def _retry_after(value: str) -> float | None:
    """Seconds that a server asks to wait: a number or a date (RFC 9110, 10.2.3)."""
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _version(response: "Response") -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified") or ""


def _body(response: "Response") -> Iterator[bytes]:
    """The body as it was sent; a cut is Again."""
    import urllib3

    try:
        yield from response.raw.stream(CHUNK_BYTES, decode_content=False)
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise Again(_cause(error)) from None


def _cause(error: BaseException) -> str:
    """What happened at the bottom of a library's chain of exceptions."""
    while error.__context__:
        error = error.__context__
    return " ".join(f"{error or type(error).__name__}".split())
