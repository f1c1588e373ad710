"""Tolerant decompression: raw files in; decompressed chunks, lines or members out; damage is named, never fatal.

The codec is told by the first bytes, not by the name: gzip (RFC 1952), bzip2, zstd (RFC 8878) or plain. Each codec
has a *damage unit*: the gzip member, the zstd frame, the bzip2 block. Every undamaged unit is delivered whole; a
damaged one is skipped, with its raw byte range in the ledger, and shows as `None` among the chunks.

A unit of at most 64 MiB is verified (checksum, clean end) before any of its bytes are delivered. A longer one is
delivered as it is decoded; when damage shows, the last 64 KiB decoded before it are withheld, as they may be wrong.
After damage, reading goes on at the next unit that decodes. Memory stays bounded, also against bombs.

A large file may be read in ranges that begin where a unit does (`cuts`). A record belongs to the range in which it
begins: the reader of a range goes past its end to finish the last one, and passes over what began before.
"""

import bz2
import itertools
import json
import re
import sys
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson
import zstandard

from redpajama.raw.bzip2 import Bzip2
from redpajama.raw.codecs import (
    CODECS,
    READ_BYTES,
    BadChecksum,
    BrokenUnit,
    Codec,
    Piece,
    Steps,
    Window,
    codec_of,
    proven_end,
    unread_codec,
)
from redpajama.raw.io import RawFile
from redpajama.records import Reason, Tally

MAX_EXPANSION = 250  # decompressed bytes a raw byte, beyond the allowances below; text stays under 30
WHOLE_BYTES = 64 << 20  # units up to this size are verified before they are delivered; also a unit's allowance
FILE_ALLOWANCE_BYTES = 256 << 20  # a file of many small bombs is a bomb
MAX_LINE_BYTES = 64 << 20
MARK = b"\xef\xbb\xbf"  # of byte order, in UTF-8
CONSTANT = re.compile(rb"[:\[,]\s*(?:NaN|-?Infinity)\b")
# JSON's escapes, two that make a character as one; and half of a pair in what passes for UTF-8
ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\xed[\xa0-\xbf][\x80-\xbf])|\\."
)
UNREADABLE = object()
HEAD_BYTES = 1 << 20  # raw, enough for a bzip2 block
HOLD_BYTES = 64 << 10  # withheld before a point of damage
MAX_PADDING_BYTES = 64 << 10  # zeros between gzip members; more is a hole in the file
SAMPLE_BYTES = 4 << 10  # of a damaged range, stored beside the ledger
RESYNC_ALLOWANCE_BYTES = 1 << 30  # decoding work on false starts, plus 64 bytes a raw byte: hostile files end


# --- what the pipelines call


def members(file: RawFile, tally: Tally, max_expansion: int = MAX_EXPANSION) -> Iterator[tuple[int, int, bytes] | None]:
    """(raw start, raw end, decompressed bytes) of each gzip member, zstd frame or bzip2 block; `None` is a gap.

    A unit over 64 MiB, and a plain file, comes in several items that adjoin. When exhausted, the bytes that `tally`
    has as consumed and skipped have grown by `file.length` together.
    """
    tally.file, tally.start = file.url, file.start
    with file.open() as stream:
        window = Window(stream, file.bytes)
        codec, pieces = _pieces(window, file, max_expansion)
        start, written = file.start, 0
        for piece in pieces:
            if start >= file.stop and piece.end > start:
                return  # of the next range
            written += len(piece.data)
            if written > FILE_ALLOWANCE_BYTES + max_expansion * (piece.end - file.start):
                _skip(window, start, Piece(file.stop, reason=Reason.EXPANSION_LIMIT), codec, file, tally)
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


class Line(NamedTuple):
    """One line of a file, without its newline."""

    number: int  # from 1
    offset: int  # of its first byte in the file; of a compressed one, in what its range decodes to
    data: bytes
    is_decoded: bool = False

    @property
    def place(self) -> dict[str, int | bool]:
        """What evidence says of where it stands."""
        end = self.offset + len(self.data)
        return _place(self.number, self.offset, end, self.is_decoded)


def _place(number: int, offset: int, end: int, is_decoded: bool) -> dict[str, int | bool]:
    return {"line": number, "offset": offset, "end": end} | ({"decoded": True} if is_decoded else {})


def lines(file: RawFile, tally: Tally) -> Iterator[Line]:
    """The lines, each a unit of `tally`; blank ones are passed over.

    A gap ends the current line, and what follows it starts another. A byte order mark before the first line is cut.
    Of a range: the lines that begin behind its first newline, numbered from there, up to the first newline behind it.
    """
    if is_refused(file, tally):
        return
    number, is_decoded = 1, codec_name(file) != "plain"
    base = 0 if is_decoded else file.start
    for offset, end, line, ended in _split_lines(_line_chunks(file, tally), inside=file.start > 0):
        if number == 1 and not file.start and line.startswith(MARK):
            offset, line = len(MARK), line[len(MARK) :]
        if len(line) > MAX_LINE_BYTES:
            tally.unit()
            place = _place(number, base + offset, base + end, is_decoded)
            tally.quarantine("", Reason.INVALID_RECORD, line, **place, max_bytes=MAX_LINE_BYTES)
        elif line and not line.isspace():
            tally.unit()
            yield Line(number, base + offset, line, is_decoded)
        number += ended


def _line_chunks(file: RawFile, tally: Tally) -> Iterator[bytes | None]:
    """The chunks of a range, and of what follows it up to the end of the line that begins in it."""
    parts = chunks(file, tally)
    return itertools.chain(parts, _through_newline(chunks(file.rest, Tally()))) if file.stop < file.bytes else parts


def _through_newline(parts: Iterator[bytes | None]) -> Iterator[bytes | None]:
    for part in parts:
        end = part.find(b"\n") + 1 if part else 0
        if part and end:
            yield part[:end]
            return
        yield part


def json_rows(file: RawFile, tally: Tally) -> Iterator[tuple[Line, dict[str, Any]]]:
    """(line, its object) of a file of JSON lines; any other line is quarantined.

    Half of a surrogate pair, which many writers let through, is U+FFFD in what is read, and noted. NaN and infinities,
    which Python's writer lets through, are strings.
    """
    for line in lines(file, tally):
        try:
            row = orjson.loads(line.data)
        except orjson.JSONDecodeError as error:
            row = _mended_row(line, error, tally)
        if isinstance(row, dict):
            yield line, row
        elif row is not UNREADABLE:
            tally.quarantine("", Reason.INVALID_RECORD, line.data, **line.place, wanted="an object")


def _mended_row(line: Line, error: orjson.JSONDecodeError, tally: Tally) -> Any:
    """The value of a line that is no JSON but for halves and constants; UNREADABLE, and in the ledger, of any other."""
    data, halves = without_halves(line.data)
    has_constant = CONSTANT.search(line.data) is not None
    try:
        if not halves and not has_constant:
            raise error
        row = _loads_constants(data) if has_constant else orjson.loads(data)
    except orjson.JSONDecodeError as left:
        tally.quarantine("", Reason.INVALID_JSON, line.data, **line.place, error=str(left))
        return UNREADABLE
    if halves and isinstance(row, dict):
        tally.note("", Reason.LONE_SURROGATE, **line.place, replaced=halves)
    return row


def _loads_constants(data: bytes) -> Any:
    """A line of JSON as Python's own reader has it, but for what is no number. Raises JSONDecodeError."""
    try:
        return json.loads(data, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise orjson.JSONDecodeError(str(error), "", 0) from None


def without_halves(data: bytes) -> tuple[bytes, int]:
    """(JSON in which halves of surrogate pairs, escaped or as three bytes, are U+FFFD; how many there are)."""
    halves = 0

    def mend(found: re.Match[bytes]) -> bytes:
        nonlocal halves
        halves += found["half"] is not None
        return b"\\ufffd" if found["half"] else found[0]

    return ESCAPE.sub(mend, data), halves


def is_refused(file: RawFile, tally: Tally) -> bool:
    """Whether a file is in a compressed format that is not read (lz4, say): skipped, with the format's name."""
    with file.open() as stream:
        head = stream.read(16)
    if codec := unread_codec(head):
        tally.file, tally.start = file.url, file.start
        tally.skip(file.start, file.stop, Reason.WRONG_FORMAT, head, codec=codec, wanted="gzip, zstd, bzip2 or plain")
    return bool(codec)


def read_all(file: RawFile, tally: Tally) -> bytes:
    """All decompressed bytes of a small file; gaps are joined (`tally` has their ranges)."""
    return b"".join(chunk for chunk in chunks(file, tally) if chunk)


def head(file: RawFile, count: int) -> bytes:
    """The first bytes that a file decodes to, to tell what it is; fewer where it is short, none where it is damaged."""
    with file.open() as stream:
        raw = stream.read(HEAD_BYTES)
    readers = {
        "gzip": lambda: zlib.decompressobj(wbits=31).decompress(raw, count),
        "bzip2": lambda: bz2.BZ2Decompressor().decompress(raw, count),
        "zstd": lambda: zstandard.ZstdDecompressor(max_window_size=1 << 31).stream_reader(raw).read(count),
    }
    try:
        return readers.get(codec_of(raw, file.url), lambda: raw[:count])()
    except (zlib.error, OSError, zstandard.ZstdError):
        return b""


def consume(file: RawFile, tally: Tally) -> None:
    """Account for a container that is read by random access: all its bytes are consumed."""
    tally.file = file.url
    tally.consumed_bytes += file.length


def _skip(window: Window, start: int, piece: Piece, codec: str, file: RawFile, tally: Tally) -> None:
    tally.file, tally.start = file.url, file.start  # a caller may have begun another file meanwhile
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


def _split_lines(parts: Iterator[bytes | None], inside: bool = False) -> Iterator[tuple[int, int, bytes, bool]]:
    """(offset, end, line, did a newline or gap end it); of a line that is too long only MAX_LINE_BYTES + 1 bytes stay.

    What stands before the first newline of a range `inside` a file belongs to the range before.
    """
    pending, size = [], 0  # the line under way: joined once, however many chunks it spans
    start = at = 0  # of that line, of the chunk
    for part in _in_blocks(parts):
        if inside:
            before = part.find(b"\n") + 1 if part else 0
            start = at = at + (before or len(part or b""))
            if not part or not before:
                continue
            part, inside = part[before:], False
        *whole, rest = (b"", b"") if part is None else part.split(b"\n")
        if whole:
            pending.append(whole[0])
            end = at + len(whole[0])
            yield start, end, b"".join(pending)[: MAX_LINE_BYTES + 1], True
            start = end + (part is not None)
            for line in itertools.islice(whole, 1, None):
                yield start, start + len(line), line, True
                start += len(line) + 1
            pending, size = [], 0
        at += len(part or b"")
        rest = rest[: MAX_LINE_BYTES + 1 - size]
        if rest:
            pending.append(rest)
            size += len(rest)
    yield start, at, b"".join(pending), False


def _pieces(window: Window, file: RawFile, max_expansion: int) -> tuple[str, Iterator[Piece]]:
    """The codec's name, and the pieces of the file's range, with those that follow where a unit is compressed."""
    codec = codec_of(window.read(0, 4), file.url)
    if codec != "plain" and not window.size:
        return codec, iter([Piece(0, reason=Reason.TRUNCATED)])
    if codec == "bzip2":
        return codec, Bzip2(window).pieces(file.start)
    if codec == "plain":
        return codec, plain_pieces(window, file.start, file.stop)
    units = read_units(Search(window, CODECS[codec]), file.start, max_expansion)
    return codec, (piece for _, piece in units)


def plain_pieces(window: Window, at: int, stop: int) -> Iterator[Piece]:
    """The bytes [at, stop) as they are."""
    while at < stop and (data := window.read(at, min(READ_BYTES, stop - at))):
        at += len(data)
        yield Piece(at, data)
    if at < stop:
        yield Piece(stop, reason=Reason.TRUNCATED)


# --- where parts may begin


def cuts(file: RawFile, part_bytes: int) -> list[int]:
    """Raw offsets at which a file of lines or of XML may be cut into ranges: units begin there.

    A plain file has them anywhere, bzip2 at any block, gzip and zstd only where there are several members or frames;
    these are decoded to find them.
    """
    codec = codec_name(file)
    if codec == "plain":
        return spaced(range(part_bytes, file.bytes, part_bytes), file.bytes, part_bytes)
    if codec != "bzip2":
        return spaced((start for start, _ in unit_chunks(file)), file.bytes, part_bytes)
    with file.open() as stream:
        starts = Bzip2(Window(stream, file.bytes)).starts(part_bytes)
        return spaced(starts, file.bytes, part_bytes)


def codec_name(file: RawFile) -> str:
    """gzip | zstd | bzip2 | plain."""
    with file.open() as stream:
        return codec_of(stream.read(4), file.url)


def spaced(starts: Iterable[int], size: int, part_bytes: int) -> list[int]:
    """Those of ascending offsets that leave at least `part_bytes` before them, and half as much after the last."""
    chosen = [0]
    for start in starts:
        if start - chosen[-1] >= part_bytes and size - start >= part_bytes / 2:
            chosen.append(start)
    return chosen[1:]


def unit_chunks(file: RawFile) -> Iterator[tuple[int, bytes | None]]:
    """As `chunks` of a gzip or zstd file, each with the raw offset at which its unit begins."""
    with file.open() as stream:
        window = Window(stream, file.bytes)
        codec = CODECS[codec_of(window.read(0, 4), file.url)]
        for start, piece in read_units(Search(window, codec), 0, MAX_EXPANSION):
            yield start, None if piece.reason else piece.data


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


def read_units(search: "Search", at: int, max_expansion: int) -> Iterator[tuple[int, Piece]]:
    """(where its unit begins, piece) of all units from offset `at` on; the pieces adjoin, up to the end of the file."""
    window, codec = search.window, search.codec
    while at < window.size:
        start, held = at, Held()
        try:
            for piece in read_unit(codec.steps(window, start), start, held, max_expansion):
                yield start, piece
                at = piece.end
        except BrokenUnit as broken:
            for piece in after_damage(broken, start, at, held, search):
                yield start, piece
                at = piece.end
        else:
            if codec.padded and (end := padding_end(window, at)) > at:
                yield start, Piece(end)
                at = end


def after_damage(broken: BrokenUnit, start: int, at: int, held: Held, search: "Search") -> Iterator[Piece]:
    """What can be trusted of a broken unit, then its skipped range, up to the next sound unit."""
    keep = HOLD_BYTES if broken.reason == Reason.DAMAGED else 0  # before a mere cut all bytes are right
    if held.streamed:
        for piece in held.release(keep):
            yield piece
            at = piece.end
    following = search.next(max(at, start + 1, broken.known_end))
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
