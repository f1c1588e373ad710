"""Compiled kernel: which texts NFC may change, and those in NFC; so equal texts of `hashing.normal_text_digest` have
equal n-grams.

Nearly no text needs it, and normalising all would cost more than signing them. A text needs it that holds a character
which NFC never leaves as it is, a pair that may compose (Hangul's letters; kana and its voicing mark), or marks out of
canonical order (UAX #15). Where diacritics are folded (`ngrams`), what they compose with is none of these. The tables
and NFC are Python's, as those of exact dedup: pyarrow's NFC decomposes, as of 25.0.
"""

import unicodedata
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.arrow import buffers
from redpajama.kernels import END_OF_CODES, characters_of, compiled, decode, matches

FIRST, SECOND, CHANGES, PASSED = (np.uint8(1 << bit) for bit in range(4))  # of a pair that composes; alone; as if none
NOT_ASCII = np.uint64(0x8080808080808080)
LETTERS, SYLLABLES = (0x1100, 0x1113), (0xAC00, 0xD7A4)  # of Hangul
VOWELS, FINALS = (0x1161, 0x1176), (0x11A8, 0x11C3)


@cache
def tables(folded: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """uint8[END_OF_CODES] each: the flags of each code point, and its canonical combining class.

    Args:
        folded: from where to where marks are none, as the n-grams leave them out.
    """
    codes = np.arange(END_OF_CODES, dtype=np.uint32)
    codes = codes[(codes < 0xD800) | (codes > 0xDFFF)]  # surrogates are no characters
    characters = characters_of(codes)
    flags, classes = np.zeros((2, END_OF_CODES), np.uint8)
    parted = pc.not_equal(pc.utf8_normalize(characters, form="NFD"), characters).to_numpy(zero_copy_only=False)
    for start, end in (LETTERS, SYLLABLES):
        flags[start:end] |= FIRST
    for start, end in (VOWELS, FINALS):
        flags[start:end] |= SECOND
    for code in codes[parted].tolist():
        parts = unicodedata.decomposition(chr(code)).split()
        if not unicodedata.is_normalized("NFC", chr(code)):
            flags[code] |= CHANGES
        elif len(parts) == 2:
            flags[int(parts[0], 16)] |= FIRST
            flags[int(parts[1], 16)] |= SECOND
    for code in codes[matches(characters, r"\p{M}")].tolist():
        classes[code] = unicodedata.combining(chr(code))
    flags[slice(*folded)], classes[slice(*folded)] = PASSED, 0
    return flags, classes


@compiled
def _find(
    data: np.ndarray, words: np.ndarray, bounds: np.ndarray, flags: np.ndarray, classes: np.ndarray, found: np.ndarray
) -> None:
    """Set found[text] of each text that NFC may change; `words` are the bytes of `data`, eight at once but for the last
    ones: those of ASCII alone are passed over."""
    text, before, after = 0, 0, -1  # `before`: the character that ends where the next may begin, at `after`
    for word in range(len(words) + 1):
        if word < len(words) and not words[word] & NOT_ASCII:
            continue
        for place in range(8 * word, min(8 * word + 8, len(data))):
            if data[place] & 0xC0 != 0xC0:
                continue
            while place >= bounds[text + 1]:
                text, after = text + 1, -1
            if place != after:
                before = int(data[place - 1]) if place > bounds[text] else 0
            code, width = decode(data, place, np.int64(data[place]))
            after = place + width
            if code >= len(flags):
                before = 0
            elif not flags[code] & PASSED:
                if flags[code] & CHANGES or _may_change(flags[code], classes[code], flags[before], classes[before]):
                    found[text] = True
                before = code


@compiled
def _may_change(flag: int, rank: int, flag_before: int, rank_before: int) -> bool:
    """Whether NFC may join a character to the one before, or to one that marks part it from, or put it before that."""
    if flag & SECOND and (flag_before & FIRST or rank_before > 0):
        return True
    return 0 < rank < rank_before


def composed(texts: pa.LargeStringArray, folded: tuple[int, int]) -> pa.LargeStringArray:
    """Texts, those in NFC that need it; see `tables`."""
    data, bounds = buffers(texts)
    own, found = data[bounds[0] : bounds[-1]], np.zeros(len(texts), bool)
    _find(own, own[: len(own) // 8 * 8].view(np.uint64), bounds - bounds[0], *tables(folded), found)
    if not found.any():
        return texts
    normal = [unicodedata.normalize("NFC", text) for text in texts.filter(pa.array(found)).to_pylist()]
    return pc.replace_with_mask(texts, pa.array(found), pa.array(normal, texts.type))
