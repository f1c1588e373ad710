"""Tolerant decompression: raw files in; decompressed chunks, lines or members out; damage is named, never fatal.

The codec is told by the first bytes, not by the name: gzip (RFC 1952), bzip2, zstd (RFC 8878) or plain. Each codec
has a *damage unit*: the gzip member, the zstd frame, the bzip2 block. Every undamaged unit is delivered whole; a
damaged one is skipped, with its raw byte range in the ledger, and shows as `None` among the chunks.

A unit of at most 64 MiB is verified (checksum, clean end) before any of its bytes are delivered. A longer one is
delivered as it is decoded; when damage shows, the last 64 KiB decoded before it are withheld, as they may be wrong.
After damage, reading goes on at the next unit that decodes. Memory stays bounded, also against bombs.
"""

import itertools
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

import orjson

from redpajama.bzip2 import Bzip2
from redpajama.codecs import (
    GZIP,
    READ_BYTES,
    ZSTD,
    BadChecksum,
    BrokenUnit,
    Codec,
    Piece,
    Steps,
    Window,
    codec_of,
    proven_end,
)
from redpajama.io import RawFile
from redpajama.records import Reason, Tally

MAX_EXPANSION = 250  # decompressed bytes a raw byte, beyond the allowances below; text stays under 30
WHOLE_BYTES = 64 << 20  # units up to this size are verified before they are delivered; also a unit's allowance
FILE_ALLOWANCE_BYTES = 256 << 20  # a file of many small bombs is a bomb
MAX_LINE_BYTES = 64 << 20
HOLD_BYTES = 64 << 10  # withheld before a point of damage
MAX_PADDING_BYTES = 64 << 10  # zeros between gzip members; more is a hole in the file
SAMPLE_BYTES = 4 << 10  # of a damaged range, stored beside the ledger
RESYNC_ALLOWANCE_BYTES = 1 << 30  # decoding work on false starts, plus 64 bytes a raw byte: hostile files end


# --- what the pipelines call


def members(file: RawFile, tally: Tally, max_expansion: int = MAX_EXPANSION) -> Iterator[tuple[int, int, bytes] | None]:
    """(raw start, raw end, decompressed bytes) of each gzip member, zstd frame or bzip2 block; `None` is a gap.

    A unit over 64 MiB, and a plain file, comes in several items that adjoin. When exhausted, the bytes that `tally`
    has as consumed and skipped have grown by `file.bytes` together.
    """
    tally.file = file.url
    with file.open() as stream:
        window = Window(stream, file.bytes)
        codec, pieces = _pieces(window, file.url, max_expansion)
        start = written = 0
        for piece in pieces:
            written += len(piece.data)
            if written > FILE_ALLOWANCE_BYTES + max_expansion * piece.end:
                _skip(window, start, Piece(file.bytes, reason=Reason.EXPANSION_LIMIT), codec, file, tally)
                yield None
                return
            if piece.reason:
                _skip(window, start, piece, codec, file, tally)
                yield None
            else:
                tally.consumed_bytes += piece.end - start
                if piece.data:
                    yield start, piece.end, piece.data
            start = piece.end


def chunks(file: RawFile, tally: Tally, max_expansion: int = MAX_EXPANSION) -> Iterator[bytes | None]:
    """Decompressed bytes; `None` is a gap: damage lies between what came before and what comes next.

    Where every record is a gzip member or zstd frame of its own (WARC), a chunk is a record, and a gap is followed
    by the start of one; files that were recompressed as one member need the reader's own splitting all the same.
    """
    for member in members(file, tally, max_expansion):
        yield member and member[2]


def lines(file: RawFile, tally: Tally) -> Iterator[tuple[int, bytes]]:
    """(1-based line number, line without its newline), each a unit of `tally`; blank lines are passed over.

    A gap ends the current line, and what follows it starts another. A byte order mark before the first line is cut.
    """
    number = 1
    for line, ended in _split_lines(chunks(file, tally)):
        if number == 1 and line:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) > MAX_LINE_BYTES:
            tally.unit()
            tally.quarantine("", Reason.INVALID_RECORD, line, line=number, max_bytes=MAX_LINE_BYTES)
        elif line and not line.isspace():
            tally.unit()
            yield number, line
        number += ended


def json_rows(file: RawFile, tally: Tally) -> Iterator[tuple[int, dict[str, Any], bytes]]:
    """(line number, object, its line) of a file of JSON lines; any other line is quarantined."""
    for number, line in lines(file, tally):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            tally.quarantine("", Reason.INVALID_JSON, line, line=number, error=str(error))
            continue
        if isinstance(row, dict):
            yield number, row, line
        else:
            tally.quarantine("", Reason.INVALID_RECORD, line, line=number, wanted="an object")


def read_all(file: RawFile, tally: Tally) -> bytes:
    """All decompressed bytes of a small file; gaps are joined (`tally` has their ranges)."""
    return b"".join(chunk for chunk in chunks(file, tally) if chunk)


def consume(file: RawFile, tally: Tally) -> None:
    """Account for a container that is read by random access: all its bytes are consumed."""
    tally.file = file.url
    tally.consumed_bytes += file.bytes


def _skip(window: Window, start: int, piece: Piece, codec: str, file: RawFile, tally: Tally) -> None:
    tally.file = file.url  # a caller may have begun another file meanwhile
    note = {"note": piece.note} if piece.note else {}
    sample = window.sample(start, min(piece.end - start, SAMPLE_BYTES))
    tally.skip(start, piece.end, piece.reason or Reason.DAMAGED, sample, codec=codec, **note)


def _in_blocks(parts: Iterator[bytes | None]) -> Iterator[bytes | None]:
    """The same in blocks of at most READ_BYTES: a list of lines that fits the processor's cache."""
    for part in parts:
        if part is None or len(part) <= READ_BYTES:
            yield part
        else:
            yield from (part[at : at + READ_BYTES] for at in range(0, len(part), READ_BYTES))


def _split_lines(parts: Iterator[bytes | None]) -> Iterator[tuple[bytes, bool]]:
    """(line, did a newline or gap end it); of a line that is too long only MAX_LINE_BYTES + 1 bytes are kept."""
    pending, size = [], 0  # the line under way: joined once, however many chunks it spans
    for part in _in_blocks(parts):
        *whole, rest = (b"", b"") if part is None else part.split(b"\n")
        if whole:
            pending.append(whole[0])
            yield b"".join(pending)[: MAX_LINE_BYTES + 1], True
            for line in itertools.islice(whole, 1, None):
                yield line, True
            pending, size = [], 0
        rest = rest[: MAX_LINE_BYTES + 1 - size]
        if rest:
            pending.append(rest)
            size += len(rest)
    yield b"".join(pending), False


def _pieces(window: Window, url: str, max_expansion: int) -> tuple[str, Iterator[Piece]]:
    """The codec's name, and the file's pieces."""
    codec = codec_of(window.read(0, 4), url)
    if codec != "plain" and not window.size:
        return codec, iter([Piece(0, reason=Reason.TRUNCATED)])
    if codec == "bzip2":
        return codec, Bzip2(window).pieces()
    if codec == "plain":
        return codec, plain_pieces(window)
    return codec, read_units(window, GZIP if codec == "gzip" else ZSTD, max_expansion)


def plain_pieces(window: Window) -> Iterator[Piece]:
    """The file as it is."""
    at = 0
    while data := window.read(at, READ_BYTES):
        at += len(data)
        yield Piece(at, data)
    if at < window.size:
        yield Piece(window.size, reason=Reason.TRUNCATED)


# --- gzip members, zstd frames


class Held:
    """Bytes decoded and not yet delivered, each with the raw offset that its step reached."""

    def __init__(self) -> None:
        self.steps: deque[tuple[int, bytes]] = deque()
        self.size = self.total = 0
        self.streamed = False  # has a part of the unit been delivered?

    def add(self, end: int, data: bytes) -> None:
        self.steps.append((end, data))
        self.size += len(data)
        self.total += len(data)

    def release(self, keep: int = 0, before: int = sys.maxsize) -> list[Piece]:
        """The oldest steps as one piece, or none; at least `keep` bytes stay, and steps that end after `before`."""
        end, parts = 0, []
        while self.steps and self.size - len(self.steps[0][1]) >= keep and self.steps[0][0] <= before:
            end, data = self.steps.popleft()
            parts.append(data)
            self.size -= len(data)
        return [Piece(end, b"".join(parts))] if parts else []


def read_unit(steps: Steps, start: int, held: Held, max_expansion: int) -> Iterator[Piece]:
    """The unit as one piece, verified; as several if it is over WHOLE_BYTES. On BrokenUnit the rest is in `held`."""
    try:
        for end, data in steps:
            held.add(end, data)
            if held.total > WHOLE_BYTES + max_expansion * (end - start):
                raise BrokenUnit(Reason.EXPANSION_LIMIT)
            if held.total > WHOLE_BYTES and held.size >= READ_BYTES + HOLD_BYTES:
                held.streamed = True
                yield from held.release(HOLD_BYTES)
    except BadChecksum as bad:
        if not held.streamed:
            raise
        yield from held.release()
        yield Piece(bad.end, reason=bad.reason, note="checksum of a unit that was already delivered")
        return
    yield from held.release()


def read_units(window: Window, codec: Codec, max_expansion: int) -> Iterator[Piece]:
    """All units of a file and what lies between them, as adjoining pieces from byte 0 to the end."""
    search = Search(window, codec)
    at = 0
    while at < window.size:
        start, held = at, Held()
        try:
            for piece in read_unit(codec.steps(window, start), start, held, max_expansion):
                yield piece
                at = piece.end
        except BrokenUnit as broken:
            for piece in after_damage(broken, start, at, held, search):
                yield piece
                at = piece.end
        else:
            if codec.padded and (end := padding_end(window, at)) > at:
                yield Piece(end)
                at = end


def after_damage(broken: BrokenUnit, start: int, at: int, held: Held, search: "Search") -> Iterator[Piece]:
    """What can be trusted of a broken unit, then its skipped range, up to the next sound unit."""
    keep = HOLD_BYTES if broken.reason == Reason.DAMAGED else 0  # before a mere cut all bytes are right
    if held.streamed:
        for piece in held.release(keep):
            yield piece
            at = piece.end
    following = search.next(max(at, start + 1))
    if following is None and start == 0 and not held.streamed and search.codec.partial:
        proven = proven_end(search.window, start, held.steps) if keep and held.steps else start
        yield from held.release(before=proven) if proven > start else held.release(keep)
    reason = broken.reason
    if reason == Reason.TRUNCATED and following is not None:
        reason = Reason.DAMAGED
    elif reason == Reason.DAMAGED and start == 0 and following is None and not search.begins():
        reason = Reason.WRONG_FORMAT
    yield Piece(search.window.size if following is None else following, reason=reason, note=broken.note)


def padding_end(window: Window, at: int) -> int:
    """Where the zeros after a gzip member end; `at` if they look like a hole in the file."""
    if window.read(at, 1) != b"\x00":
        return at
    end = window.zeros_end(at)
    return end if end == window.size or end - at <= MAX_PADDING_BYTES else at


class Search:
    """Finds the next sound unit: one that decodes to its end, or for WHOLE_BYTES at least."""

    def __init__(self, window: Window, codec: Codec):
        self.window, self.codec = window, codec
        self.work = 0  # bytes decoded on trial in this file

    def begins(self) -> bool:
        """Does the file begin as one of this codec?"""
        return codec_of(self.window.read(0, 4)) == self.codec.name

    def next(self, at: int) -> int | None:
        """The offset of the first sound unit from `at` on."""
        for candidate in self.window.find(self.codec.magic, at):
            if self.work > RESYNC_ALLOWANCE_BYTES + 64 * candidate:
                return None  # made to waste our time
            if self._is_sound(candidate):
                return candidate
        return None

    def _is_sound(self, start: int) -> bool:
        self.work += 4096
        total = 0
        try:
            for _, data in self.codec.steps(self.window, start):
                total += len(data)
                self.work += len(data)
                if total > WHOLE_BYTES:
                    break
        except BrokenUnit:
            return False
        return True
