"""Compiled kernel: where a span may be cut out of a text, so that no word, grapheme or line is torn or joined.

A break is clean at both ends of the text, after white space, and after a character of a script written without spaces
(UNSPACED, with the punctuation of CJK) that no mark, joiner or stacked consonant follows: the extended grapheme
clusters of UAX #29 are not cut, nor Khmer's, Myanmar's and Tai Tham's stacks. Both ends of a span are clean breaks. So
what stands before it ends with a space or such a character, and what stands after it begins with a whole word.

A span that begins in the midst of a line leaves the line's end where it is.
"""

from functools import cache

import numpy as np

from redpajama.kernels import END_OF_CODES, UNSPACED, characters_of, compiled, decode, matches

BLANK, UNSPACED_LETTER, EXTENDS, STACKS, ENDS_LINE = (np.uint8(1 << bit) for bit in range(5))
CJK_MARKS = r"[\x{3001}-\x{3003}\x{3008}-\x{3011}\x{3014}-\x{301F}\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF20}\x{FF3B}-\x{FF65}]"
EXTENDING = (
    r"[\p{M}\x{200C}\x{200D}\x{0E33}\x{0EB3}\x{FF9E}\x{FF9F}\x{1F3FB}-\x{1F3FF}]"  # UAX #29: Extend, SpacingMark
)
STACKING = (0x1039, 0x17D2, 0x1A60, 0x1B44, 0xA9C0)  # the signs that put the next consonant below
LINE_ENDS = (0x0A, 0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029)


@cache
def break_table() -> np.ndarray:
    """uint8[END_OF_CODES]: the flags of each code point."""
    codes = np.arange(END_OF_CODES, dtype=np.uint32)
    codes = codes[(codes < 0xD800) | (codes > 0xDFFF)]  # surrogates are no characters
    characters = characters_of(codes)
    table = np.zeros(END_OF_CODES, np.uint8)
    table[[code for code in range(0x3001) if chr(code).isspace()]] |= BLANK
    table[codes[matches(characters, UNSPACED) | matches(characters, CJK_MARKS)]] |= UNSPACED_LETTER
    table[codes[matches(characters, EXTENDING)]] |= EXTENDS
    table[list(STACKING)] |= STACKS
    table[list(LINE_ENDS)] |= ENDS_LINE
    return table


@compiled
def _flags(data: np.ndarray, place: int, table: np.ndarray) -> np.uint8:
    """The flags of the character that begins at `place`; what lies beyond the table only extends (variation)."""
    first = np.int64(data[place])
    code = first if first < 0x80 else decode(data, place, first)[0]
    return table[code] if code < len(table) else EXTENDS


@compiled
def _before(data: np.ndarray, place: int) -> int:
    """Where the character before `place` begins."""
    place -= 1
    while data[place] & 0xC0 == 0x80:
        place -= 1
    return place


@compiled
def _is_clean(data: np.ndarray, begin: int, end: int, place: int, table: np.ndarray) -> bool:
    """Whether the text data[begin:end] may be cut at `place`."""
    if place in (begin, end):
        return True
    if data[place] & 0xC0 == 0x80:
        return False
    before, after = _flags(data, _before(data, place), table), _flags(data, place, table)
    if before & STACKS or after & EXTENDS:
        return False
    return before & (BLANK | UNSPACED_LETTER) != 0


@compiled
def narrow(data: np.ndarray, begin: int, end: int, start: int, stop: int, table: np.ndarray) -> tuple[int, int]:
    """The largest (start, stop) with clean ends inside a span of the text data[begin:end]; an empty one if none is."""
    while start < stop and not _is_clean(data, begin, end, start, table):
        start += 1
    while stop > start and not _is_clean(data, begin, end, stop, table):
        stop -= 1
    if start == begin or start >= stop or _flags(data, _before(data, start), table) & ENDS_LINE:
        return start, stop
    place, has_line_end = stop, False
    while place > start:
        before = _before(data, place)
        flags = _flags(data, before, table)
        if not flags & BLANK:
            break
        has_line_end = has_line_end or flags & ENDS_LINE != 0
        place = before
    return start, place if has_line_end else stop


@compiled
def stripped_chars(data: np.ndarray, begin: int, end: int, marks: np.ndarray, table: np.ndarray) -> int:
    """How many characters of the text data[begin:end] are not marked, but for the white space at both ends."""
    chars, blanks = 0, 0
    for place in range(begin, end):
        if marks[place] or data[place] & 0xC0 == 0x80:
            continue
        if not _flags(data, place, table) & BLANK:
            chars += blanks + 1
            blanks = 0
        elif chars:
            blanks += 1
    return chars
