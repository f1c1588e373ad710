"""bzip2 files, of one stream or many: every block is decoded by itself, as a stream of one block.

So the damage unit is the block: `bzip2recover` saves files the same way. A block begins at any bit with the mark
0x314159265359 and its checksum; what ends it is the next mark, of a block or of the stream's end. And a file can be
read from any block on; the checksum of that one's stream, which is made of those of its blocks, is then not looked at.
"""

import bz2
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from redpajama.raw.codecs import READ_BYTES, Piece, Window
from redpajama.records import Reason

_BLOCK, _END = 0x314159265359, 0x177245385090  # 48-bit marks, at any bit offset
_BZ2_HISTORY_BYTES = 4 << 20  # the longest block is under 2.3 MB: 900,001 symbols of at most 20 bits


class Mark(NamedTuple):
    """Where a block, or the end of a stream, begins."""

    bit: int
    is_end: bool


def _needles() -> list[tuple[bytes, int, int, bool]]:
    """(whole bytes of a mark at a bit offset, how many bytes before them it begins, the bit offset, is it an end)."""
    found = []
    for shift, is_end in itertools.product(range(8), (False, True)):
        bits = (_END if is_end else _BLOCK) << (8 - shift)
        whole = bits.to_bytes(7, "big")
        found.append((whole[1:6] if shift else whole[:6], int(shift > 0), shift, is_end))
    return found


_NEEDLES = _needles()


def find_mark(data: bytes, from_bit: int = 0) -> Mark | None:
    """The first mark in `data` that begins at or after a bit offset."""
    best, stop = None, len(data)
    for needle, lead, shift, is_end in _NEEDLES:
        found = data.find(needle, from_bit // 8 + lead, stop)
        while found >= 0:
            bit = (found - lead) * 8 + shift
            bits = int.from_bytes(data[found - lead : found - lead + 7].ljust(7, b"\x00"), "big")
            if bit >= from_bit and bits >> (8 - shift) & 0xFFFFFFFFFFFF == (_END if is_end else _BLOCK):
                if (best is None or bit < best.bit) and bit + 48 <= len(data) * 8:
                    best, stop = Mark(bit, is_end), min(len(data), found + 7)
                break
            found = data.find(needle, found + 1, stop)
    return best


class Bzip2:
    """Reads the blocks of a file, of one stream or many, between the marks."""

    def __init__(self, window: Window):
        window.history = _BZ2_HISTORY_BYTES
        self.window = window
        self.checksum: int | None = None  # of the stream so far; None once a part of it is missing

    def pieces(self, start: int = 0) -> Iterator[Piece]:
        """Adjoining pieces from byte 0, or from one of `starts`, to the end."""
        mark = self.next_mark(start * 8)
        if not start:
            yield from self.between(0, mark)
        while mark:
            following = self.next_mark(_trailer_end(mark) * 8 if mark.is_end else mark.bit + 48)
            if mark.is_end:
                yield from self.trailer(mark, following)
            else:
                yield from self.block(mark, following)
            mark = following

    def starts(self, step: int) -> Iterator[int]:
        """Every `step` bytes, where the next block begins: the byte that holds its first bit."""
        at = step
        while at < self.window.size and (mark := self.next_mark(at * 8)):
            if mark.is_end:
                at = _trailer_end(mark)
            else:
                yield mark.bit // 8
                at = mark.bit // 8 + step

    def next_mark(self, bit: int) -> Mark | None:
        """The first mark at or after a bit offset of the file."""
        at, ahead = bit // 8, 4 << 10
        while data := self.window.read(at, ahead):
            if mark := find_mark(data, max(0, bit - at * 8)):
                return Mark(mark.bit + at * 8, mark.is_end)
            if len(data) < 7 or at + len(data) >= self.window.size:
                return None
            at, ahead = at + len(data) - 6, min(ahead * 8, READ_BYTES)
        return None

    def between(self, at: int, following: Mark | None) -> Iterator[Piece]:
        """The bytes from a stream's end (or the file's start) to the next mark: a stream header, or garbage."""
        self.checksum = None
        if following is None:
            if at < self.window.size:
                yield Piece(self.window.size, reason=self._tail_reason(at))
            return
        header = following.bit // 8 - 4
        if following.bit % 8 or header < at or not re.match(rb"BZh[1-9]", self.window.read(header, 4)):
            yield Piece(following.bit // 8, reason=Reason.DAMAGED, note="no stream header")
            return
        if header > at:
            yield Piece(header, reason=Reason.DAMAGED)
        self.checksum = 0
        yield Piece(header + 4)

    def _tail_reason(self, at: int) -> Reason:
        head = self.window.read(at, 10)
        begun = head[:3] == b"BZh"[: len(head)]
        if begun and len(head) < 10:  # a header and a mark
            return Reason.TRUNCATED
        return Reason.DAMAGED if at or begun else Reason.WRONG_FORMAT

    def trailer(self, mark: Mark, following: Mark | None) -> Iterator[Piece]:
        """The end of a stream with its checksum, then what lies between it and the next mark."""
        end = _trailer_end(mark)
        if end > self.window.size:
            yield Piece(self.window.size, reason=Reason.TRUNCATED)
            return
        stored = self._bits(mark.bit + 48, mark.bit + 80)
        if self.checksum in (None, stored):
            yield Piece(end)
        else:
            yield Piece(end, reason=Reason.DAMAGED, note="checksum of a stream that was already delivered")
        yield from self.between(end, following)

    def block(self, mark: Mark, following: Mark | None) -> Iterator[Piece]:
        """One block up to the next mark; if that fails, the block at the start of these bits, and the rest skipped."""
        stop = following.bit if following else self.window.size * 8
        bits = min(stop, mark.bit + _BZ2_HISTORY_BYTES * 8) - mark.bit
        stream = self._one_block_stream(mark.bit, mark.bit + bits)
        data = _decode_block(stream)
        if data is not None and following and bits == stop - mark.bit:
            if self.checksum is not None:
                crc = self._bits(mark.bit + 48, mark.bit + 80)
                self.checksum = (self.checksum << 1 | self.checksum >> 31) & 0xFFFFFFFF ^ crc
            yield Piece(stop // 8, data)
            return
        self.checksum = None
        if salvaged := _decode_first_block(stream):
            used, data = salvaged
            yield Piece(min(mark.bit // 8 + used - 4, stop // 8), data)
        yield Piece(stop // 8, reason=Reason.DAMAGED if following else Reason.TRUNCATED)

    def _bits(self, start: int, stop: int) -> int:
        """Bits [start, stop) of the file as a number."""
        first, end = start // 8, (stop + 7) // 8
        number = int.from_bytes(self.window.read(first, end - first), "big")
        return number >> (-stop % 8) & ((1 << (stop - start)) - 1)

    def _one_block_stream(self, start: int, stop: int) -> bytes:
        """Bits [start, stop), which begin with a block's mark, as a bzip2 stream of their own."""
        body, crc = self._bits(start, stop), self._bits(start + 48, start + 80)
        bits = stop - start + 80
        padding = -bits % 8
        return b"BZh9" + ((body << 80 | _END << 32 | crc) << padding).to_bytes((bits + padding) // 8, "big")


def _trailer_end(mark: Mark) -> int:
    return (mark.bit + 80 + 7) // 8  # 48 bits of mark, 32 of checksum, up to 7 of padding


def _decode_block(stream: bytes) -> bytes | None:
    decoder = bz2.BZ2Decompressor()
    try:
        data = decoder.decompress(stream)
    except (OSError, ValueError):
        return None
    return data if decoder.eof and not decoder.unused_data else None


def _decode_first_block(stream: bytes, step: int = 4096) -> tuple[int, bytes] | None:
    """(bytes of `stream` used, the first block), whatever follows it; the decoder checks a block when it ends."""
    before = 0
    for size in (step, 1):
        decoder, at = bz2.BZ2Decompressor(), before
        try:
            data = decoder.decompress(stream[:at])
            while not data and at < len(stream):
                before = at
                at += size
                data = decoder.decompress(stream[before:at])
            if size == 1:
                return (at, data + _drain(decoder)) if data else None
        except (OSError, ValueError, EOFError):
            if size == 1:
                return None
    return None


def _drain(decoder: bz2.BZ2Decompressor) -> bytes:
    return b"".join(iter(lambda: decoder.decompress(b""), b""))
