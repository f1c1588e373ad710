"""Compiled kernel: the lines of whole Arrow batches -> 64-bit hashes of what they say, under a rule.

`ccnet` (CCNet, arXiv 1911.00359, section 3.2; cc_net/text_normalizer.py): a line is stripped, in lower case (simple
case mapping), digits are 0, 34 typographic marks and control characters go.
`c4` (TensorFlow Datasets, text/c4_utils.py): stripped, in lower case.
In a corpus of 10**11 different lines some hundred pairs share a hash by chance; CCNet's has 64 bits too.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.arrow import buffers
from redpajama.kernels import END_OF_CODES, OFFSET, PRIME, characters_of, compiled, decode, matches, mix

FEED = 0x0A
SILENT, SPACE = np.uint32(1 << 30), np.uint32(1 << 31)  # flags beside a code
# cc_net/text_normalizer.py, UNICODE_PUNCT, and its control characters
MARKS = "，。、„”“«»１」「《》´∶：？！（）；–—．～’…━〈〉【】％►"
CONTROLS = r"[\x{00}-\x{1f}\x{7f}-\x{9f}]"


class Lines(NamedTuple):
    """The lines of some texts; arrays of one length, in the texts' order."""

    text: np.ndarray  # int64: which text
    hash: np.ndarray  # uint64: of the normalised line; 0 of a blank one


@cache
def line_table(rule: str) -> np.ndarray:
    """uint32[END_OF_CODES]: what each code point becomes; SPACE is stripped at both ends, SILENT is left out."""
    codes = np.arange(END_OF_CODES, dtype=np.uint32)
    codes = codes[(codes < 0xD800) | (codes > 0xDFFF)]  # surrogates are no characters
    characters = characters_of(codes)
    table = np.zeros(END_OF_CODES, np.uint32)
    lower = "".join(pc.utf8_lower(characters).to_pylist())  # one character for one: simple case mapping
    table[codes] = np.frombuffer(lower.encode("utf-32-le"), "<u4")
    if rule == "ccnet":
        table[[ord(mark) for mark in MARKS]] |= SILENT
        table[codes[matches(characters, r"\p{Nd}")]] = ord("0")  # the full-width 1 too, which is among the marks
        table[codes[matches(characters, CONTROLS)]] |= SILENT
    table[[code for code in range(0x3001) if chr(code).isspace()]] |= SPACE
    return table


@compiled
def _hash_line(data, start, end, table):
    """The hash of the normalised line data[start:end]; 0 if nothing is left of it."""
    value, count, place, begun = OFFSET, 0, start, False
    kept, kept_count = OFFSET, 0  # as far as the last character that is not stripped
    while place < end:
        first = np.int64(data[place])
        if first < 0x80:
            code, width = first, 1
        else:
            code, width = decode(data, place, first)
        place += width
        folded = table[code] if code < END_OF_CODES else np.uint32(code)
        begun = begun or folded & SPACE == 0
        if begun and folded & SILENT == 0:
            value = (value ^ np.uint64(folded)) * PRIME
            count += 1
        if folded & SPACE == 0:
            kept, kept_count = value, count
    return max(mix(kept), np.uint64(1)) if kept_count else np.uint64(0)


@compiled
def _hash_lines(data, bounds, table, text, hashes):
    """Every line of every text; an empty text has one line."""
    number = 0
    for which in range(len(bounds) - 1):
        start, end = bounds[which], bounds[which + 1]
        place = start
        while place <= end:
            if place == end or data[place] == FEED:
                text[number] = which
                hashes[number] = _hash_line(data, start, place, table)
                number += 1
                start = place + 1
            place += 1


def hash_lines(texts: pa.LargeStringArray, rule: str) -> Lines:
    """The lines of texts as `str.split("\\n")` cuts them, hashed under a rule."""
    data, bounds = buffers(texts)
    data = data[bounds[0] : bounds[-1]]
    count = len(texts) + int(np.count_nonzero(data == FEED))
    lines = Lines(np.empty(count, np.int64), np.empty(count, np.uint64))
    _hash_lines(data, bounds - bounds[0], line_table(rule), *lines)
    return lines
