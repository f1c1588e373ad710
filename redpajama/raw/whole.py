"""Small files whole in memory, each below a limit: as they lie on disk, and gzip inside of an archive."""

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from redpajama.raw import decompress
from redpajama.raw.io import RawFile
from redpajama.records import Reason, Tally

GZIP = b"\x1f\x8b"
HEAD_BYTES = 512  # enough to tell a tar by its first block
STEP_BYTES = 1 << 20  # decompressed bytes a decoding step


class Unreadable(ValueError):
    """The bytes cannot be opened; `reason` says why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def read_whole(file: RawFile, tally: Tally, max_bytes: int) -> bytes:
    """The decompressed bytes of one small file; all its raw bytes are accounted for, whatever it raises.

    Raises Unreadable where the file is damaged or longer than `max_bytes`.
    """
    damaged, data = False, bytearray()
    for chunk in decompress.chunks(file, tally):
        damaged |= chunk is None
        if len(data) <= max_bytes:  # beyond, go on counting only
            data += chunk or b""
    if damaged:
        raise Unreadable(Reason.DAMAGED, "the compressed file is damaged")
    if len(data) > max_bytes:
        raise Unreadable(Reason.EXPANSION_LIMIT, f"more than {max_bytes:,} bytes")
    return bytes(data)


def expand(data: bytes, max_bytes: int) -> Iterator[bytes]:
    """`data` through up to two layers of gzip, as chunks. Raises Unreadable on damage or beyond `max_bytes`."""
    stream: Iterator[bytes] = iter([data])
    for _ in range(2):
        head, stream = peek(stream)
        if not head.startswith(GZIP):
            break
        stream = _gunzip(stream, max_bytes)
    return stream


def peek(stream: Iterable[bytes | None], count: int = HEAD_BYTES) -> tuple[bytes, Iterator[Any]]:
    """The first `count` bytes (fewer before a gap or the end) and the whole stream again."""
    stream, taken, head = iter(stream), [], b""
    for chunk in stream:
        taken.append(chunk)
        head += (chunk or b"")[:count]
        if chunk is None or len(head) >= count:
            break

    def again() -> Iterator[Any]:
        yield from taken
        yield from stream

    return head[:count], again()


def _gunzip(stream: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """Members of a gzip stream, one after the other; what follows the last one is ignored, as gzip does."""
    decoder, expanded, closed = zlib.decompressobj(wbits=31), 0, False
    for data in stream:
        while data:
            if closed and not data.startswith(GZIP[:1]):
                return
            try:
                out = decoder.decompress(data, STEP_BYTES)
            except zlib.error as error:
                raise Unreadable(Reason.DAMAGED, str(error)) from error
            expanded += len(out)
            if expanded > max_bytes:
                raise Unreadable(Reason.EXPANSION_LIMIT, f"more than {max_bytes:,} bytes")
            yield out
            data, closed = decoder.unconsumed_tail, False
            if decoder.eof:
                data, decoder, closed = decoder.unused_data, zlib.decompressobj(wbits=31), True
    if not closed:
        raise Unreadable(Reason.TRUNCATED, "the gzip stream ends early")
