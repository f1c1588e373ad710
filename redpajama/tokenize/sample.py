"""Which passages of texts are encoded by both libraries, while one of them works.

Of each call's texts: a passage, one around other writing than ASCII and one around a combining mark, where there are
such; and a few characters around every character beyond ASCII, and every pair of a character and a mark, that the
process has not met before: libraries differ by their Unicode tables, so one rare character is where a difference would
be. The bytes of UTF-8 are looked at as they lie; only what is not ASCII is decoded.
"""

import unicodedata
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pyarrow as pa

from redpajama.arrow import buffers

PASSAGE = 250  # bytes on both sides: together less than a thousandth of a call
NEIGHBOURS = 8  # characters on both sides of one that is new
MOST_NEW = 8000  # of a call; the others are new again in the next
END_OF_CODES = 0x110000
PAIRS = 1 << 20  # pairs of a character and a mark are told apart by a hash
END_OF_TABLE = 0x40000  # beyond it there are no marks but tags and variation selectors


@dataclass
class Sample:
    """What is checked of the texts that pass, and the account of it."""

    met: np.ndarray = field(default_factory=lambda: np.zeros(END_OF_CODES + PAIRS, bool))  # bool[codes, then pairs]
    passages: int = 0
    bytes: int = 0
    detoured: int = 0  # texts
    refused: list[str] = field(default_factory=list)  # why, for each call

    def draw(self, texts: pa.LargeStringArray) -> list[str]:
        """Passages of a call's texts, as above."""
        data, bounds = buffers(texts)
        data, bounds = data[bounds[0] : bounds[-1]], bounds - bounds[0]
        middle = len(texts) // 2
        others = np.flatnonzero(data >= 0xC0)  # where a character of several bytes begins
        codes = codes_at(data, others)
        is_mark = marks_table()[codes]
        wide = [bounds[middle : middle + 2].sum() // 2, *_middle(others), *_middle(others[is_mark])]
        spans = [*around(data, bounds, np.array(wide), PASSAGE), *self._new(data, bounds, others, codes, is_mark)]
        passages = [data[start:end].tobytes().decode() for start, end in spans]
        self.passages += len(passages)
        self.bytes += sum(int(end - start) for start, end in spans)
        return passages

    def _new(
        self, data: np.ndarray, bounds: np.ndarray, places: np.ndarray, codes: np.ndarray, is_mark: np.ndarray
    ) -> np.ndarray:
        """int64[k, 2]: spans around what was not met before, at `places` with these code points.

        A mark (`is_mark`, bool for each place) has not been met before it was after that character.
        """
        before = codes_at(data, begins(data, np.maximum(places[is_mark] - 1, 0)))
        keys = codes.copy()
        keys[is_mark] = END_OF_CODES + (before * 0x9E3779B1 + codes[is_mark]) % PAIRS
        new = np.flatnonzero(~self.met[keys])
        _, first = np.unique(keys[new], return_index=True)
        chosen = np.sort(new[first])[:MOST_NEW]
        self.met[keys[chosen]] = True
        return united(windows(data, bounds, places[chosen]))


def _middle(places: np.ndarray) -> np.ndarray:
    return places[len(places) // 2 :][:1]


def codes_at(data: np.ndarray, places: np.ndarray) -> np.ndarray:
    """int64[n]: the code points of characters that begin at these places of UTF-8 (uint8[bytes])."""
    first, *tails = (data[np.minimum(places + further, len(data) - 1)].astype(np.int64) for further in range(4))
    one, two, three = (tail & 0x3F for tail in tails)
    wide = (first & 0x0F) << 12 | one << 6 | two
    widest = (first & 0x07) << 18 | one << 12 | two << 6 | three
    kinds = [first < 0x80, first < 0xE0, first < 0xF0]
    return np.select(kinds, [first, (first & 0x1F) << 6 | one, wide], widest)


def begins(data: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Where the characters begin in which these places are."""
    for _ in range(3):
        places = places - (data[places] & 0xC0 == 0x80)
    return places


def around(data: np.ndarray, bounds: np.ndarray, places: np.ndarray, reach: int) -> np.ndarray:
    """int64[n, 2]: spans of some `reach` bytes on both sides of places, in their texts, of whole characters."""
    if not len(data):
        return np.zeros((len(places), 2), np.int64)
    row = np.minimum(np.searchsorted(bounds, places, "right"), len(bounds) - 1)
    ends = [np.maximum(places - reach, bounds[row - 1]), np.minimum(places + reach + 1, bounds[row])]
    inner = [begins(data, np.minimum(each, len(data) - 1)) for each in ends]
    return np.stack([np.where(end < len(data), place, end) for end, place in zip(ends, inner, strict=True)], axis=1)


def windows(data: np.ndarray, bounds: np.ndarray, places: np.ndarray) -> np.ndarray:
    """int64[n, 2]: spans of NEIGHBOURS characters on both sides of those that begin at places, in their texts."""
    row = np.searchsorted(bounds, places, "right")
    starts, ends = places, places
    for _ in range(NEIGHBOURS):
        starts = begins(data, np.maximum(starts - 1, bounds[row - 1]))
    for _ in range(NEIGHBOURS + 1):
        ends = np.minimum(ends + _width(data[np.minimum(ends, len(data) - 1)]), bounds[row])
    return np.stack([starts, ends], axis=1)


def _width(first: np.ndarray) -> np.ndarray:
    """Bytes of the characters that begin so."""
    return 1 + (first >= 0xC0).astype(np.int64) + (first >= 0xE0) + (first >= 0xF0)


def united(spans: np.ndarray) -> np.ndarray:
    """Sorted spans, none in another: those that overlap made one."""
    if not len(spans):
        return spans
    is_first = np.append(True, spans[1:, 0] >= spans[:-1, 1])
    return np.stack([spans[is_first, 0], spans[np.append(is_first[1:], True), 1]], axis=1)


@cache
def marks_table() -> np.ndarray:
    """bool[code points]: combining marks, jamo that compose, and what this Python's Unicode does not know yet."""
    table = np.zeros(END_OF_CODES, bool)
    table[:END_OF_TABLE] = [unicodedata.category(chr(code)) in ("Mn", "Mc", "Me", "Cn") for code in range(END_OF_TABLE)]
    table[0x1160:0x1200] = True
    return table
