"""Signals: what is measured on every text, for a whole Arrow batch at once and without a Python object per text.

A *character* is a Unicode code point. A *line* ends with "\\n" or with the text: a final "\\n" starts no other line, so
an empty text has no line; "\\r" is a character like any other. *Whitespace* is what `str.split()` splits at. *Letters*
and *digits* are the general categories L and N as the RE2 inside pyarrow knows them (`\\p{L}`, `\\p{N}`). Fractions and
means of nothing are 0. Floats are rounded to 8 decimals, so that no sum's order shows in them.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.arrow import buffers
from redpajama.quality.measures.catalogue import names_of

PREFIX = "q_"  # of the columns

SIGNALS = tuple(names_of(["inline"]))  # defined in the catalogue

BLOCK_BYTES = 1 << 20  # texts measured together: small enough for the processor's cache
LINE_FEED = 0x0A
WHITESPACE = (*range(0x09, 0x0E), *range(0x1C, 0x21), 0x85, 0xA0, 0x1680)
WHITESPACE += (*range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
LETTER, DIGIT, SPACE = 1, 2, 4  # bits of a character's class
END_OF_CLASSES = 0x40000  # planes 4 to 16 hold no letter, digit or whitespace


def measure(texts: pa.LargeStringArray) -> dict[str, pa.Array]:
    """Texts -> a column `q_...` for each signal: counts as int64, fractions and means as float64.

    Works in blocks of whole texts; beyond the texts it takes some ten times BLOCK_BYTES, or the longest text.

    Raises:
        ValueError: a text is null.
    """
    blocks = [_measure_block(data, bounds) for data, bounds in _blocks(*buffers(texts))]
    return {PREFIX + name: pa.array(np.concatenate([block[name] for block in blocks])) for name in SIGNALS}


def _measure_block(data: np.ndarray, bounds: np.ndarray) -> dict[str, np.ndarray]:
    """uint8[bytes] of n texts and the n + 1 places where they begin and end -> n values for each signal."""
    is_first_byte = (data & 0xC0) != 0x80
    classes = _classify(data)
    chars = _count(is_first_byte, bounds)
    lines, longest = _measure_lines(data, is_first_byte, bounds)
    return {
        "chars": chars,
        "bytes": np.diff(bounds),
        "words": _count(_word_starts(classes & SPACE != 0, bounds), bounds),
        "lines": lines,
        "max_line_chars": longest,
        "mean_line_chars": _ratio(chars, lines),
        "alnum_fraction": _ratio(_count(classes & (LETTER | DIGIT) != 0, bounds), chars),
        "alpha_fraction": _ratio(_count(classes & LETTER != 0, bounds), chars),
    }


def _classify(data: np.ndarray) -> np.ndarray:
    """The class of each character at its first byte; whitespace at all its bytes; 0 elsewhere. uint8[bytes]."""
    of_byte = np.zeros(256, np.uint8)
    of_byte[:128] = _class_table(128)[:128]
    classes = of_byte.take(data)
    first = np.flatnonzero(data >= 0xC0)
    if len(first):
        codes = np.minimum(_decode(data, first), END_OF_CLASSES)
        classes[first] = found = _class_table(END_OF_CLASSES)[codes]
        spaces = found == SPACE
        classes[first[spaces] + 1] = SPACE
        classes[first[spaces & (codes >= 0x800)] + 2] = SPACE
    return classes


def _decode(data: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The code points of the characters of two to four bytes whose first bytes are at `first`. int32[n]."""
    codes = data[first].astype(np.int32)
    length = 2 + (codes >= 0xE0) + (codes >= 0xF0)
    codes &= 0x7F >> length
    for place in range(1, 4):
        more = np.flatnonzero(length > place)
        codes[more] = codes[more] << 6 | data[first[more] + place] & 0x3F
    return codes


@cache
def _class_table(end: int) -> np.ndarray:
    """The class of each code point below `end`, and 0 for `end` itself. uint8[end + 1]."""
    codes = np.arange(end)
    codes = codes[(codes < 0xD800) | (codes > 0xDFFF)]  # surrogates are no characters
    characters = pa.array(list(codes.astype("<u4").tobytes().decode("utf-32-le")), pa.large_string())
    table = np.zeros(end + 1, np.uint8)
    for bit, pattern in ((LETTER, r"\p{L}"), (DIGIT, r"\p{N}")):
        table[codes] |= np.uint8(bit) * pc.match_substring_regex(characters, pattern).to_numpy(zero_copy_only=False)
    table[[code for code in WHITESPACE if code < end]] = SPACE
    return table


def _word_starts(is_space: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Marks the first byte of each word: no whitespace, and before it whitespace or another text."""
    starts = ~is_space
    starts[1:] &= is_space[:-1]
    first = bounds[:-1][np.diff(bounds) > 0]
    starts[first] = ~is_space[first]
    return starts


def _measure_lines(data: np.ndarray, is_first_byte: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per text: its lines, and the characters of the longest; int64[n] each."""
    has_text = np.diff(bounds) > 0
    feeds = data == LINE_FEED
    starts = np.zeros(len(data), bool)
    starts[1:] = feeds[:-1]
    starts[bounds[:-1][has_text]] = True
    lines = _count(starts, bounds)
    line_chars = _count(is_first_byte & ~feeds, np.append(np.flatnonzero(starts), len(data)))
    longest = np.zeros_like(lines)
    if len(line_chars):
        first_line = (np.cumsum(lines) - lines)[has_text]
        longest[has_text] = np.maximum.reduceat(line_chars, first_line)
    return lines, longest


def _count(marks: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """How many of bool[bytes] are set in each [bounds[i], bounds[i + 1]); int64[n]. By rank over a bit vector."""
    packed = np.packbits(marks, bitorder="little")
    words = np.zeros(len(marks) // 64 + 1, "<u8")
    words.view(np.uint8)[: len(packed)] = packed
    counts = np.bitwise_count(words)
    before_word = np.cumsum(counts, dtype=np.int64) - counts
    word, bit = bounds >> 6, (bounds & 63).astype(np.uint64)
    below = (np.uint64(1) << bit) - np.uint64(1)
    return np.diff(before_word[word] + np.bitwise_count(words[word] & below))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole to 8 decimals; 0 where there is nothing."""
    return np.round(np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0), 8)


def _blocks(data: np.ndarray, bounds: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Runs of whole texts of about BLOCK_BYTES, at least one text each (or the only, empty run)."""
    start, last = 0, len(bounds) - 1
    while True:
        fitting = int(np.searchsorted(bounds, bounds[start] + BLOCK_BYTES, side="right")) - 1
        end = min(max(fitting, start + 1), last)
        yield data[bounds[start] : bounds[end]], bounds[start : end + 1] - bounds[start]
        if end == last:
            return
        start = end
