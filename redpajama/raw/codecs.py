"""The units of compressed files: how to read raw bytes anywhere, and decode one gzip member or zstd frame of them.

Formats: gzip is RFC 1952, zstd RFC 8878, the dictionary inside a file
https://iipc.github.io/warc-specifications/specifications/warc-zstd/. A decoder is a generator of steps, so that its
caller can look at the bytes, hold them back or stop between any two; it raises `BrokenUnit` where a unit cannot be
decoded further.
"""

import itertools
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import BinaryIO, NamedTuple

import zstandard
from isal import isal_zlib

from redpajama.records import Reason

READ_BYTES = 1 << 20
FEED_BYTES = 32 << 10  # raw bytes a decoding step: what one step can hide from the hold-back
STEP_BYTES = 64 << 10  # decompressed bytes a decoding step

Steps = Iterator[tuple[int, bytes]]  # (raw offset reached, bytes decoded since the step before)


class Piece(NamedTuple):
    """What the raw bytes from the last piece's end up to `end` hold, or why they cannot be read."""

    end: int
    data: bytes = b""
    reason: Reason | None = None
    note: str = ""


class BrokenUnit(Exception):
    """A member or frame that cannot be decoded further."""

    def __init__(self, reason: Reason = Reason.DAMAGED, note: str = ""):
        super().__init__(note or reason)
        self.reason, self.note = reason, note
        self.known_end = 0  # what stands before it is no unit


class BadChecksum(BrokenUnit):
    """A unit with a clean end whose trailer, raw bytes [start, end), disagrees with its content."""

    def __init__(self, start: int, end: int):
        super().__init__(note="checksum")
        self.start, self.end = start, end


class Window:
    """Random access to a raw file's bytes through one buffer; cheap where reads move forward."""

    def __init__(self, stream: BinaryIO, size: int):
        self.stream, self.size = stream, size
        self.start, self.buffer, self.history = 0, b"", 0  # `history`: bytes kept behind the point being read

    def read(self, at: int, count: int) -> bytes:
        """Up to `count` bytes from offset `at`; fewer only at the end of the file."""
        lead = at - self.start
        if lead < 0 or lead + count > len(self.buffer):
            self._fill(at, min(count, self.size - at))
            lead = at - self.start
        return self.buffer[lead : lead + count]

    def _fill(self, at: int, count: int) -> None:
        end = self.start + len(self.buffer)
        if not self.start <= at <= end:
            self.start, self.buffer, end = at, b"", at
            self.stream.seek(at)
        wanted = min(at + max(count, READ_BYTES), self.size) - end
        if wanted <= 0:
            return
        cut = max(0, at - self.history - self.start)
        parts = [self.buffer[cut:]]
        while wanted > 0 and (part := self.stream.read(wanted)):
            parts.append(part)
            wanted -= len(part)
        self.start, self.buffer = self.start + cut, b"".join(parts)

    def sample(self, at: int, count: int) -> bytes:
        """As `read`, for a look back that leaves the buffer where it is."""
        if at >= self.start:
            return self.read(at, count)
        self.stream.seek(at)
        data = self.stream.read(count)
        self.stream.seek(self.start + len(self.buffer))
        return data

    def find(self, pattern: bytes, at: int) -> Iterator[int]:
        """Offsets >= `at` of `pattern`, ascending."""
        while len(data := self.read(at, READ_BYTES)) >= len(pattern):
            found = data.find(pattern)
            while found >= 0:
                yield at + found
                found = data.find(pattern, found + 1)
            at += len(data) - len(pattern) + 1

    @cached_property
    def dictionary(self) -> "zstandard.ZstdCompressionDict | BrokenUnit | None":
        """What the file's zstd frames are decoded with, if it begins with a dictionary; or what is wrong with that."""
        try:
            return zstd_dictionary(self)
        except BrokenUnit as broken:
            return broken

    def zeros_end(self, at: int) -> int:
        """The offset of the first byte from `at` on that is not zero, or the file's end."""
        while data := self.read(at, READ_BYTES):
            rest = data.lstrip(b"\x00")
            at += len(data) - len(rest)
            if rest:
                break
        return at


class Codec(NamedTuple):
    """How to read and to find the units of a format."""

    name: str
    magic: bytes  # every unit worth finding starts with it
    steps: Callable[[Window, int], Steps]  # decode the unit at an offset; raises BrokenUnit
    padded: bool  # zeros may follow a unit
    partial: bool  # the start of a damaged unit is delivered if nothing but that unit is in the file


# --- gzip


def gzip_steps(window: Window, start: int) -> Steps:
    """Decode the gzip member at `start`."""
    at = _gzip_content(window, start)
    decoder, checksum, total = isal_zlib.decompressobj(wbits=-15), 0, 0
    feed = FEED_BYTES // 2
    while not decoder.eof:
        data = decoder.unconsumed_tail
        if not data:
            data = window.read(at, feed)
            at += len(data)
            feed = FEED_BYTES
        try:
            out = decoder.decompress(data, STEP_BYTES)
        except isal_zlib.error:
            raise BrokenUnit from None
        if not data and not out and not decoder.eof:
            raise BrokenUnit(Reason.TRUNCATED)
        checksum, total = isal_zlib.crc32(out, checksum), total + len(out)
        yield at - len(decoder.unconsumed_tail) - len(decoder.unused_data), out
    at -= len(decoder.unused_data)
    trailer = window.read(at, 8)
    if len(trailer) < 8:
        raise BrokenUnit(Reason.TRUNCATED)
    if trailer != checksum.to_bytes(4, "little") + (total & 0xFFFFFFFF).to_bytes(4, "little"):
        raise BadChecksum(at, at + 8)
    yield at + 8, b""


def _gzip_content(window: Window, start: int) -> int:
    """The offset of the deflate stream of the member at `start`, past its header."""
    head = _need(window, start, 10, b"\x1f\x8b\x08")
    flags, at = head[3], start + 10
    if flags & 0xE0:
        raise BrokenUnit
    if flags & 4:
        at += 2 + int.from_bytes(_need(window, at, 2), "little")
    for name in (8, 16):
        if flags & name:
            found = window.read(at, 65536).find(b"\x00")
            if found < 0:
                raise BrokenUnit(Reason.DAMAGED if at + 65536 <= window.size else Reason.TRUNCATED)
            at += found + 1
    if flags & 2:
        stored = int.from_bytes(_need(window, at, 2), "little")
        if stored != zlib.crc32(window.read(start, at - start)) & 0xFFFF:
            raise BrokenUnit
        at += 2
    return at


def proven_end(window: Window, start: int, steps: Iterable[tuple[int, bytes]]) -> int:
    """The raw offset before which a damaged member looks as it was written; `start` if that cannot be told.

    A deflate decoder notices few damages before the checksum at the end (of flipped bits under 2 %, measured): it goes
    on with wrong text. So the decoded bytes are encoded again, as zlib would: they are sound where that gives the same
    raw bytes, that is up to the damaged deflate block (16,383 symbols, some 100 kB of text). Not seen is damage that
    puts one letter for another of equally many bits: 15 % of flipped bits in a file of C4.
    """
    content = best = _gzip_content(window, start)
    for level in (6, 9, 1, 2, 3, 4, 5, 7, 8):
        encoder, at = zlib.compressobj(level, zlib.DEFLATED, -15), content
        encoded = (encoder.compress(data) for _, data in steps)
        for part in itertools.chain(encoded, (encoder.flush() for _ in range(1))):
            if part != window.read(at, len(part)):
                break
            at += len(part)
        best = max(best, at)
    return best if best > content else start


def _need(window: Window, at: int, count: int, magic: bytes = b"") -> bytes:
    """Exactly `count` bytes at `at`, which start with `magic`."""
    data = window.read(at, count)
    if not (data.startswith(magic) or magic.startswith(data)):
        raise BrokenUnit
    if len(data) < count:
        raise BrokenUnit(Reason.TRUNCATED)
    return data


# --- zstd

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_ZSTD_BLOCK_BYTES = 128 << 10
_ZSTD_DICTIONARY = b"\x5d\x2a\x4d\x18"  # the skippable frame that holds one
MAX_DICTIONARY_BYTES = 8 << 20  # beyond it a decoder may refuse


def zstd_dictionary(window: Window) -> zstandard.ZstdCompressionDict | None:
    """The dictionary in a file's first frame, plain or as a zstd frame; what has no dictionary's header is content.

    Raises:
        BrokenUnit: it is cut off, too large or damaged.
    """
    head = window.sample(0, 8)
    if not head.startswith(_ZSTD_DICTIONARY):
        return None
    size = int.from_bytes(head[4:], "little")
    if size > MAX_DICTIONARY_BYTES:
        raise BrokenUnit(Reason.EXPANSION_LIMIT, f"a zstd dictionary of {size:,} bytes")
    data = window.sample(8, size)
    if len(data) < size or len(head) < 8:
        raise BrokenUnit(Reason.TRUNCATED, "the zstd dictionary breaks off")
    try:
        if data.startswith(_ZSTD_MAGIC):
            data = _whole_frame(data)
        dictionary = zstandard.ZstdCompressionDict(data)
        zstandard.ZstdDecompressor(dict_data=dictionary).decompressobj()  # reads its tables
    except zstandard.ZstdError as error:
        raise BrokenUnit(Reason.DAMAGED, f"the zstd dictionary: {error}") from None
    return dictionary


def _whole_frame(data: bytes) -> bytes:
    """A compressed dictionary, decoded."""
    with zstandard.ZstdDecompressor(max_window_size=MAX_DICTIONARY_BYTES).stream_reader(data) as reader:
        found = reader.read(MAX_DICTIONARY_BYTES + 1)
    if len(found) > MAX_DICTIONARY_BYTES:
        raise BrokenUnit(Reason.EXPANSION_LIMIT, f"a zstd dictionary of more than {MAX_DICTIONARY_BYTES:,} bytes")
    return found


def zstd_steps(window: Window, start: int) -> Steps:
    """Decode the zstd frame at `start`, a block a step: a block never grows beyond 128 KiB."""
    if _ZSTD_SKIPPABLE.match(window.read(start, 4)):
        end = _zstd_skippable_end(window, start)
        if start == 0 and isinstance(window.dictionary, BrokenUnit):
            window.dictionary.known_end = end
            raise window.dictionary
        yield end, b""
        return
    head = _need(window, start, 5, _ZSTD_MAGIC) + window.read(start + 5, 13)
    known = None if isinstance(window.dictionary, BrokenUnit) else window.dictionary
    decoder = zstandard.ZstdDecompressor(dict_data=known, max_window_size=1 << 31).decompressobj()
    try:
        header_bytes = zstandard.frame_header_size(head)
        at = start + header_bytes
        decoder.decompress(_need(window, start, header_bytes))
        last = False
        while not last:
            block, last = _zstd_block(window, at)
            at += len(block)
            yield at, decoder.decompress(block)
    except zstandard.ZstdError:
        raise BrokenUnit from None
    if head[4] & 4:  # the frame has a checksum
        checksum = _need(window, at, 4)
        at += 4
        try:
            decoder.decompress(checksum)
        except zstandard.ZstdError:
            raise BadChecksum(at - 4, at) from None
    if not decoder.eof:
        raise BrokenUnit
    yield at, b""


def _zstd_block(window: Window, at: int) -> tuple[bytes, bool]:
    """(raw block with its header, is it the frame's last)."""
    header = int.from_bytes(_need(window, at, 3), "little")
    kind, size = header >> 1 & 3, header >> 3
    if kind == 3 or size > _ZSTD_BLOCK_BYTES:
        raise BrokenUnit
    return _need(window, at, 3 + (1 if kind == 1 else size)), bool(header & 1)


def _zstd_skippable_end(window: Window, start: int) -> int:
    """The end of a skippable frame; broken unless a frame or the file's end is there (its length may be damaged)."""
    end = start + 8 + int.from_bytes(_need(window, start, 8)[4:], "little")
    follows = window.read(end, 4) if end < window.size else b""
    if end > window.size:
        raise BrokenUnit(Reason.TRUNCATED)
    if follows and not (_ZSTD_MAGIC.startswith(follows) or _ZSTD_SKIPPABLE.match(follows)):
        raise BrokenUnit
    return end


# --- which codec

GZIP = Codec("gzip", b"\x1f\x8b\x08", gzip_steps, padded=True, partial=True)
ZSTD = Codec("zstd", _ZSTD_MAGIC, zstd_steps, padded=False, partial=False)
CODECS = {codec.name: codec for codec in (GZIP, ZSTD)}
_SUFFIXES = {
    "gz": "gzip",
    "gzip": "gzip",
    "tgz": "gzip",
    "zst": "zstd",
    "zstd": "zstd",
    "bz2": "bzip2",
    "tbz2": "bzip2",
}
_UNREAD = {  # formats that are told by their first bytes, and not read as a stream
    b"\x04\x22\x4d\x18": "lz4",
    b"\x02\x21\x4c\x18": "lz4",  # legacy
    b"\xfd7zXZ\x00": "xz",
    b"LZIP": "lzip",
    b"\x1f\x9d": "compress",
    b"\xff\x06\x00\x00sNaPpY": "snappy",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
}


def unread_codec(head: bytes) -> str:
    """The name of a compressed format that no codec here reads, by a file's first bytes; "" of any other file."""
    return next((name for magic, name in _UNREAD.items() if head.startswith(magic)), "")


def codec_of(head: bytes, url: str = "") -> str:
    """gzip | zstd | bzip2 | plain: by a file's first bytes; where these tell nothing, as its name claims."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith(_ZSTD_MAGIC) or _ZSTD_SKIPPABLE.match(head):
        return "zstd"
    if re.match(rb"BZh[1-9]", head):
        return "bzip2"
    return _SUFFIXES.get(re.split("[?#]", url)[0].rpartition(".")[2].lower(), "plain")
