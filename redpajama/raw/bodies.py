"""The body of an HTTP response without its transfer and content codings, however its header has them.

RFC 9110, 8.4; RFC 9112, 6 and 7. Crawlers undo codings and leave the header as it was, servers declare what they did
not do, or do twice what they declare: so the bytes decide, and what the header says is tried where they tell nothing.
"""

import codecs
import re
import zlib
from collections.abc import Callable

import brotli
import zstandard

from redpajama.raw import media
from redpajama.raw.whole import Unreadable
from redpajama.records import Reason

MAX_BODY_BYTES = 64 << 20
MAX_CODINGS = 6
GZIP, ZSTD, COMPRESS = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x1f\x9d"
ZSTD_STEP = 1 << 10  # of input: expands to 32 MiB at most
CHUNK = re.compile(rb"[ \t]*+([0-9a-fA-F]{1,16})[ \t]*+(?:;[^\r\n]{0,4096})?+(\r?\n)")
LINE_END = re.compile(rb"\r?\n")
BLANK_LINES = re.compile(rb"(?:\r?\n)*+")
MIN_CHUNK_BYTES = 64
MIN_SURE_BYTES = 200  # so many bytes at random have a control character
OTHERS = ("deflate", "br")  # have no magic
NOTHING = {"", "identity", "none", "chunked", "binary", "8bit", "7bit"}


def decode_body(http: dict[str, str], payload: bytes, may_be_cut: bool) -> bytes:
    """A response's payload without its codings, also those that its header does not name.

    Args:
        http: its header; repeated fields joined by commas.
        may_be_cut: the crawler stopped before its end.

    Raises:
        Unreadable: it cannot be decoded, or is too large.
    """
    transfer, content = (codings(http.get(f"{name}-encoding", "")) for name in ("transfer", "content"))
    if "chunked" in transfer:
        payload = unchunk(payload)
    for coding in reversed([*content, *transfer]):
        if coding not in NOTHING:
            payload = _undo(coding, payload, may_be_cut)
    for _ in range(MAX_CODINGS):
        if is_chunked(payload):
            payload = unchunk(payload)
        elif coding := _by_magic(payload):
            payload = _decoded(coding, payload, may_be_cut)
        elif (found := _hidden(payload)) is not None:
            payload = found
        else:
            return payload
    raise Unreadable(Reason.EXPANSION_LIMIT, f"more than {MAX_CODINGS} codings")


def codings(value: str) -> list[str]:
    """The codings in a header, in the order in which they were applied: `x-gzip` is gzip."""
    names = (name.partition(";")[0].strip(" \t\"'").lower() for name in re.split(r"[,\s]+", value))
    return [name.removeprefix("x-") for name in names if name]


# chunks


def is_chunked(payload: bytes) -> bool:
    """Whether a body that nobody called chunked is: all sizes are right, up to its end, and one is no small number."""
    largest, at = 0, _start(payload)
    while size := CHUNK.match(payload, at):
        length = int(size[1], 16)
        end, largest = size.end() + length, max(largest, length)
        after = LINE_END.match(payload, end)
        if not length or end >= len(payload) or not after:
            return at > 0 and largest >= MIN_CHUNK_BYTES and (not length or end >= len(payload))
        at = after.end()
    return largest >= MIN_CHUNK_BYTES and at == len(payload)


def _start(payload: bytes) -> int:
    """Where the first chunk begins if there is one."""
    blank = BLANK_LINES.match(payload)
    return blank.end() if blank else 0


def unchunk(payload: bytes) -> bytes:
    """The data of a chunked body, or the payload itself where it is not chunked; extensions, trailers and what stands
    empty before the first chunk go.

    Raises:
        Unreadable: it begins with a chunk, and what follows is none.
    """
    parts: list[bytes] = []
    at = _start(payload)
    while size := CHUNK.match(payload, at):
        end = size.end() + int(size[1], 16)
        after = LINE_END.match(payload, end)
        if not parts and size[2] == b"\n" and not after and end != len(payload):
            return payload  # a line of a text
        parts.append(payload[size.end() : end])
        if end == size.end() or end >= len(payload):
            return b"".join(parts)
        if not after:
            raise Unreadable(Reason.UNDECODABLE, f"no end of a chunk at {end} of a chunked body")
        at = after.end()
    if parts and payload[at:].strip():
        raise Unreadable(Reason.UNDECODABLE, f"no chunk at {at} of a chunked body")
    return b"".join(parts) if parts else payload


# compression


def _undo(coding: str, payload: bytes, may_be_cut: bool) -> bytes:
    """The payload without one coding that the header names, if it has that or any other."""
    named = _by_magic(payload)
    if named or not payload or media.is_ascii_text(payload):
        return _decoded(named, payload, may_be_cut) if named else payload
    problem = Unreadable(Reason.UNDECODABLE, f"{coding}: no such coding is read")
    for name in filter(DECODERS.get, dict.fromkeys([coding, *(OTHERS if media.has_controls(payload) else ())])):
        try:
            return _decoded(name, payload, may_be_cut=False)
        except Unreadable as error:
            if error.reason is Reason.EXPANSION_LIMIT:
                raise
            problem = error if name == coding else problem
    if _may_be_text(payload):
        return payload
    if may_be_cut and problem.reason is Reason.TRUNCATED:
        return _decoded(coding, payload, may_be_cut)
    raise problem


def _hidden(payload: bytes) -> bytes | None:
    """What a payload without text or signature is in zlib's format or brotli, if it is whole and a text; else None."""
    for coding in OTHERS if media.binary_type(payload) == media.OCTETS else ():
        try:
            found = _decoded(coding, payload, may_be_cut=False)
        except Unreadable:
            continue
        if found and (_by_magic(found) or _may_be_text(found)):
            return found
    return None


def _may_be_text(payload: bytes) -> bool:
    """Whether the beginning may be text in some charset: no control character in much, or few and UTF-8 or ASCII."""
    head = payload[: media.HEADER_BYTES]
    if len(head) >= MIN_SURE_BYTES and not media.has_controls(head):
        return True
    characters = codecs.getincrementaldecoder("utf-8")("replace").decode(head)
    ascii_bytes = len(head.decode("ascii", "ignore"))
    return not media.binary_type(head, is_html=True) and ("\ufffd" not in characters or ascii_bytes >= len(head) / 10)


def _by_magic(payload: bytes) -> str:
    """The coding that a payload's first bytes tell, "" where they tell none."""
    if payload[:2] == GZIP:
        return "gzip"
    if payload[:4] == ZSTD:
        return "zstd"
    return "compress" if payload[:2] == COMPRESS else ""


def _decoded(coding: str, payload: bytes, may_be_cut: bool) -> bytes:
    if coding not in DECODERS:
        raise Unreadable(Reason.UNDECODABLE, f"{coding}: no such coding is read")
    try:
        return DECODERS[coding](payload, may_be_cut)
    except DECODING_ERRORS as error:
        raise Unreadable(Reason.UNDECODABLE, f"{coding}: {error}") from None


def _from_gzip(payload: bytes, may_be_cut: bool) -> bytes:
    data = b""
    while True:
        decoder = zlib.decompressobj(31)
        data += decoder.decompress(payload, MAX_BODY_BYTES + 1 - len(data))
        payload = decoder.unused_data
        if len(data) > MAX_BODY_BYTES or payload[:2] != GZIP:  # else another member follows
            return _checked(data, decoder.eof, may_be_cut)


def _from_deflate(payload: bytes, may_be_cut: bool) -> bytes:
    """zlib's format, as the standard has it, or bare deflate, as some servers do."""
    is_zlib = payload[0] & 15 == 8 and int.from_bytes(payload[:2], "big") % 31 == 0
    decoder = zlib.decompressobj(15 if is_zlib else -15)
    return _checked(decoder.decompress(payload, MAX_BODY_BYTES + 1), decoder.eof, may_be_cut)


def _from_brotli(payload: bytes, may_be_cut: bool) -> bytes:
    decoder = brotli.Decompressor()
    data = decoder.process(payload, output_buffer_limit=MAX_BODY_BYTES + 1)
    return _checked(data, decoder.is_finished(), may_be_cut)


def _from_zstd(payload: bytes, may_be_cut: bool) -> bytes:
    data = bytearray()
    decoder = zstandard.ZstdDecompressor(max_window_size=MAX_BODY_BYTES).decompressobj()
    for at in range(0, len(payload), ZSTD_STEP):
        data += decoder.decompress(payload[at : at + ZSTD_STEP])
        while decoder.eof and decoder.unused_data[:4] == ZSTD:  # another frame follows
            rest = decoder.unused_data
            decoder = zstandard.ZstdDecompressor(max_window_size=MAX_BODY_BYTES).decompressobj()
            data += decoder.decompress(rest)
        if decoder.eof or len(data) > MAX_BODY_BYTES:
            break
    return _checked(bytes(data), decoder.eof, may_be_cut)


def _checked(data: bytes, finished: bool, may_be_cut: bool) -> bytes:
    """`data`, if it is whole and not too large."""
    if len(data) > MAX_BODY_BYTES:
        raise Unreadable(Reason.EXPANSION_LIMIT, f"more than {MAX_BODY_BYTES} bytes")
    if not finished and not may_be_cut:
        raise Unreadable(Reason.TRUNCATED, "the encoded page breaks off")
    return data


DECODERS: dict[str, Callable[[bytes, bool], bytes]] = {
    "gzip": _from_gzip,
    "deflate": _from_deflate,
    "br": _from_brotli,
    "zstd": _from_zstd,
}
DECODING_ERRORS = (zlib.error, brotli.error, zstandard.ZstdError)
