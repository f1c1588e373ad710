"""What an exception means to whoever runs a build: one line; the traceback goes to a log.

Three kinds: what may pass (a reset connection), which is tried again; what the system refuses (a full disk, no right,
no credentials, an end point that is dead); and a mistake of ours. What is wrong with the data never comes here: it is a
BuildFailed or an InputError, which `errors.is_of_reading` tells from the first two.
"""

import errno
import traceback
from enum import StrEnum
from typing import NamedTuple

from redpajama.unsigned import unsigned_text

LOG = "timing/workers.log"
PASSING = {errno.EIO, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET,
           errno.ECONNABORTED, errno.EPIPE, errno.ENETRESET, errno.ENETDOWN, errno.EREMOTEIO}  # fmt: skip
PASSING_NAMES = ("SlowDown", "RequestTimeout", "ServiceUnavailable", "InternalError", "Throttling")
PASSING_KINDS = {  # names of exceptions of botocore, aiohttp, http.client, requests and urllib3
    "HTTPClientError", "ResponseParserError", "IncompleteReadError", "IncompleteRead", "ClientConnectionError",
    "ClientPayloadError", "ConnectionError", "Timeout", "ChunkedEncodingError", "ProtocolError",
}  # fmt: skip
REFUSALS = {  # names of exceptions, of libraries that need not be here, and what helps
    "NoCredentialsError": "no credentials for the object store: set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY",
    "PartialCredentialsError": "half of the credentials for the object store: set both AWS keys",
    "TokenRetrievalError": "the credentials for the object store have run out: log in again",
    "DefaultCredentialsError": "no credentials for Google Cloud: run gcloud auth application-default login",
    "RefreshError": "the credentials for Google Cloud have run out: log in again",
    "EndpointConnectionError": "nobody answers there",
    "ConnectTimeoutError": "nobody answers there",
    "InvalidAccessKeyId": "the object store does not know these credentials",
    "MemoryError": "no memory is left: fewer --workers, or a smaller part_bytes",
}


class Kind(StrEnum):
    """Whose turn it is."""

    PASSING = "passing"
    REFUSED = "refused"
    OURS = "ours"


class Fault(NamedTuple):
    """An exception in words."""

    kind: Kind
    message: str  # one line

    def told(self, where: str, log: str) -> str:
        """The line for the user: what, where, and what to do next."""
        if self.kind is Kind.OURS:
            advice = f"this is a mistake of redpajama: please report it with {log}, which has the traceback"
        else:
            advice = f"the same command goes on from here once that is mended; the traceback is in {log}"
        return f"{where}: {self.message}; {advice}" if where else f"{self.message}; {advice}"


def explain(error: BaseException) -> Fault:
    """What an exception means."""
    chain = list(_chain(error))
    for each in chain:
        for kind in type(each).__mro__:
            if kind.__name__ in REFUSALS:
                return Fault(Kind.REFUSED, f"{REFUSALS[kind.__name__]} ({_line(each)})")
    for each in chain:
        if isinstance(each, OSError) and each.errno is not None:
            passing = each.errno in PASSING
            return Fault(Kind.PASSING if passing else Kind.REFUSED, _system_line(each))
        kinds = {kind.__name__ for kind in type(each).__mro__}
        if isinstance(each, TimeoutError) or kinds & PASSING_KINDS or any(name in str(each) for name in PASSING_NAMES):
            return Fault(Kind.PASSING, _line(each))
    if isinstance(error, OSError):
        return Fault(Kind.REFUSED, _line(error))
    return Fault(Kind.OURS, f"{_line(error)} ({_place(error)})")


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in found:
        found.append(each)
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return found


def _line(error: BaseException) -> str:
    said = unsigned_text(" ".join(str(error).split()))
    return f"{type(error).__name__}: {said}"[:500] if said else type(error).__name__


def _system_line(error: OSError) -> str:
    """`No space left on device: /data/x`."""
    said = error.strerror or str(error)
    return unsigned_text(" ".join(f"{said}: {error.filename}".split()) if error.filename else said)


def _place(error: BaseException) -> str:
    """Where it was raised: `judge.py:120`."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/redpajama/" in frame.filename] or frames
    return f"{own[-1].filename.rpartition('/')[2]}:{own[-1].lineno}" if own else "no place"


def traceback_of(error: BaseException) -> str:
    """The whole traceback, for a log, without secrets."""
    return "".join(map(unsigned_text, traceback.format_exception(error)))
