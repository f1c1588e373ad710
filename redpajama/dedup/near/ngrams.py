"""Compiled kernels: UTF-8 bytes of whole Arrow batches -> hashes of normalised n-grams -> MinHash signatures.

Normalisation, exactly. Texts are taken in NFC (`normal`), so texts that are the same to exact dedup have the same
n-grams. Units `word` and `char`: a *word* is a run of letters, marks and numbers (general categories L, M, N as the RE2
inside pyarrow knows them); everything else (punctuation, symbols, white space, planes 4 to 16) only separates. Letters
are lower-case, without the diacritics U+0300 to U+036F and the points of Arabic, Hebrew and Syriac, composed or not.
Format characters (Cf: soft hyphen, joiners, marks of direction), variation selectors and the tatweel are passed over,
but for U+200B, which is a space. Digits stay as they are. Scripts written without spaces (UNSPACED) have one character
a word.
Unit `char` takes its n-grams from the characters of the words, joined by one space. Unit `code`: a token is a run of
letters, marks, numbers and `_`, as it stands; everything else only separates. With `fold_digits` every decimal digit
(general category Nd) counts as 0, as in CCNet.

An n-gram's hash has 64 bits. A text shorter than an n-gram is one n-gram, its own; a text without a word has none.
Fingerprints of users name pyarrow, for the Unicode tables.

Whoever else compares texts by n-grams (decontamination, say) calls `distinct_ngrams` for a batch of texts and a list of
forbidden ones with the same unit, n and folding: equal n-grams have equal hashes in every process and on every machine,
and `np.isin` or `jaccard` tells what two texts share. For texts too long to hold 8 bytes an n-gram, `sign` with no
permutations and a `sketch` keeps the smallest hashes only.
"""

from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.arrow import buffers
from redpajama.dedup.near.normal import composed
from redpajama.kernels import BASE, END_OF_CODES, OFFSET, PRIME, UNSPACED, characters_of, compiled, decode, matches, mix

WORD = r"[\p{L}\p{M}\p{N}]"
DIACRITICS = (0x0300, 0x0370)
NO_MARKS = (0, 0)
POINTS = (  # vowels and signs of reading, which most texts leave out: those of Hebrew, Arabic and Syriac
    r"\x{0591}-\x{05BD}\x{05BF}\x{05C1}\x{05C2}\x{05C4}\x{05C5}\x{05C7}"
    r"\x{0610}-\x{061A}\x{064B}-\x{065F}\x{0670}\x{06D6}-\x{06DC}\x{06DF}-\x{06E4}\x{06E7}\x{06E8}\x{06EA}-\x{06ED}"
    r"\x{08D3}-\x{08E1}\x{08E3}-\x{08FF}\x{0711}\x{0730}-\x{074A}"
)
MARKS = rf"[\x{{0300}}-\x{{036F}}{POINTS}]"
UNSEEN = r"[\p{Cf}\x{0640}\x{180B}-\x{180F}\x{FE00}-\x{FE0F}]"
WORD_SPACE = 0x200B
SPACE = 0x20
IS_ALONE, IS_SILENT = np.uint32(1 << 31), np.uint32(1 << 30)  # flags beside a code; a silent one is passed over

BUCKETS = 1024  # of a sketch that is being sorted
PIECE = 4096  # n-grams held at once: a signature needs no more, however long the text

ROLLED, COUNT, WORD_HASH, IN_WORD, STATE_WORDS = 0, 1, 2, 3, 4  # what a text's state holds between pieces


# ---- tables


@cache
def fold_table(unit: str, fold_digits: bool = False) -> np.ndarray:
    """uint32[END_OF_CODES]: what each code point becomes, with its flags; 0 separates."""
    if fold_digits:
        table, codes = fold_table(unit).copy(), np.arange(END_OF_CODES, dtype=np.uint32)
        codes = codes[(codes < 0xD800) | (codes > 0xDFFF)]
        table[codes[matches(characters_of(codes), r"\p{Nd}")]] = ord("0")
        return table
    codes = np.arange(END_OF_CODES, dtype=np.uint32)
    codes = codes[(codes < 0xD800) | (codes > 0xDFFF)]  # surrogates are no characters
    characters = characters_of(codes)
    table = np.zeros(END_OF_CODES, np.uint32)
    in_word = matches(characters, WORD)
    if unit == "code":
        table[codes[in_word]] = codes[in_word]
        table[ord("_")] = ord("_")
        return table
    table[codes[in_word]] = _fold(codes, characters)[in_word]
    table[codes[matches(characters, MARKS) | matches(characters, UNSEEN)]] = IS_SILENT
    table[WORD_SPACE] = 0
    table[codes[in_word & matches(characters, UNSPACED)]] |= IS_ALONE
    return table


def _fold(codes: np.ndarray, characters: pa.Array) -> np.ndarray:
    """Each code point in lower case, without its diacritics where nothing else is decomposed."""
    parts = pc.utf8_normalize(characters, form="NFD")
    accented = matches(parts, rf"^.{MARKS}+$")
    bare = pc.if_else(pa.array(accented), pc.utf8_slice_codeunits(parts, 0, 1), characters)
    lower = pc.utf8_lower(bare).buffers()[2].to_pybytes().decode()  # one character for one: simple case mapping
    return np.frombuffer(lower.encode("utf-32-le"), "<u4")


# ---- kernels


@compiled
def _roll(rolled, word, slot, ring, leaving):
    """The polynomial of the last n words (or characters) with one more; and the ring's next slot."""
    rolled = rolled * BASE + word - ring[slot] * leaving
    ring[slot] = word
    slot += 1
    return rolled, slot if slot < len(ring) else 0


@compiled
def _power(ngram):
    power = np.uint64(1)
    for _ in range(ngram):
        power *= BASE
    return power


@compiled
def _resume(state, ring):
    """What a text's state says at the start of a piece: in local variables, which is what makes the loops fast."""
    count = np.int64(state[COUNT])
    return _power(len(ring)), 0, state[ROLLED], count, count % len(ring)


@compiled
def _emit(rolled, count, ring, out, found):
    """Count one more word, and write the n-gram that it ends; (words so far, n-grams that `out` holds)."""
    count += 1
    if count >= len(ring):
        out[found] = mix(rolled)
        found += 1
    return count, found


@compiled
def _word_ngrams(data, place, end, table, state, ring, out):
    """Words of data[place:end] -> n-gram hashes in `out` until it is full; (next place, n-grams)."""
    leaving, found, rolled, count, slot = _resume(state, ring)
    word, in_word = state[WORD_HASH], state[IN_WORD] != 0
    while place < end and found < len(out) - 2:
        first = np.int64(data[place])
        if first < 0x80:
            code, width = first, 1
        else:
            code, width = decode(data, place, first)
        place += width
        folded = table[code] if code < END_OF_CODES else np.uint32(0)
        if folded & IS_SILENT:
            continue
        if in_word and (folded == 0 or folded & IS_ALONE):
            rolled, slot = _roll(rolled, mix(word), slot, ring, leaving)
            count, found = _emit(rolled, count, ring, out, found)
            in_word = False
        if folded & IS_ALONE:
            rolled, slot = _roll(rolled, mix((OFFSET ^ np.uint64(folded)) * PRIME), slot, ring, leaving)
            count, found = _emit(rolled, count, ring, out, found)
        elif folded:
            word = ((word if in_word else OFFSET) ^ np.uint64(folded)) * PRIME
            in_word = True
    if place >= end and in_word:
        rolled, slot = _roll(rolled, mix(word), slot, ring, leaving)
        count, found = _emit(rolled, count, ring, out, found)
        in_word = False
    state[WORD_HASH], state[IN_WORD] = word, np.uint64(in_word)
    state[ROLLED], state[COUNT] = rolled, np.uint64(count)
    return place, found


@compiled
def _char_ngrams(data, place, end, table, state, ring, out):
    """As `_word_ngrams`, for the characters of the words joined by one space."""
    leaving, found, rolled, count, slot = _resume(state, ring)
    space = mix(np.uint64(SPACE))
    apart = state[IN_WORD] != 0  # a separator stands before the next character of a word
    while place < end and found < len(out) - 2:
        first = np.int64(data[place])
        if first < 0x80:
            code, width = first, 1
        else:
            code, width = decode(data, place, first)
        place += width
        folded = table[code] if code < END_OF_CODES else np.uint32(0)
        if folded & IS_SILENT:
            continue
        apart = apart or folded == 0 or (folded & IS_ALONE) != 0
        if folded:
            if apart and count > 0:
                rolled, slot = _roll(rolled, space, slot, ring, leaving)
                count, found = _emit(rolled, count, ring, out, found)
            rolled, slot = _roll(rolled, mix(np.uint64(folded)), slot, ring, leaving)
            count, found = _emit(rolled, count, ring, out, found)
            apart = (folded & IS_ALONE) != 0
    state[IN_WORD] = np.uint64(apart)
    state[ROLLED], state[COUNT] = rolled, np.uint64(count)
    return place, found


@compiled
def _piece(data, place, end, table, by_char, state, ring, out):
    """The next n-grams of a text; (next place, n-grams). A text shorter than an n-gram is its own."""
    if by_char:
        place, found = _char_ngrams(data, place, end, table, state, ring, out)
    else:
        place, found = _word_ngrams(data, place, end, table, state, ring, out)
    if place >= end and 0 < state[COUNT] < np.uint64(len(ring)):
        out[found] = mix(state[ROLLED] ^ state[COUNT])
        found += 1
    return place, found


@compiled
def _all_ngrams(data, place, end, table, by_char, ngram):
    """Every n-gram hash of one text, repeated ones too; uint64[n]."""
    state, ring, out = np.zeros(STATE_WORDS, np.uint64), np.zeros(ngram, np.uint64), np.empty(PIECE, np.uint64)
    hashes, total = np.empty(PIECE, np.uint64), 0
    while place < end:
        place, found = _piece(data, place, end, table, by_char, state, ring, out)
        if total + found > len(hashes):
            grown = np.empty(2 * len(hashes), np.uint64)
            grown[:total] = hashes[:total]
            hashes = grown
        hashes[total : total + found] = out[:found]
        total += found
    return hashes[:total]


@compiled
def _lower(ngrams, found, factors, addends, signature):
    """Fold n-grams into the minimum of each permutation x -> a * x + b mod 2**32."""
    for number in range(len(factors)):
        factor, addend, least = factors[number], addends[number], signature[number]
        for place in range(found):
            value = np.uint32(ngrams[place] * factor + addend)
            least = value if value < least else least
        signature[number] = least


@compiled
def _sort(held, count, bound, spare, starts):
    """Sort held[:count], hashes up to `bound`: about evenly spread, so into buckets first, then by insertion."""
    shift = np.uint64(0)
    while bound >> shift >= np.uint64(BUCKETS):
        shift += np.uint64(1)
    starts[:] = 0
    for place in range(count):
        starts[(held[place] >> shift) + np.uint64(1)] += 1
    for bucket in range(BUCKETS):
        starts[bucket + 1] += starts[bucket]
    for place in range(count):
        bucket = held[place] >> shift
        spare[starts[bucket]] = held[place]
        starts[bucket] += 1
    for place in range(count):
        value, before = spare[place], place
        while before > 0 and held[before - 1] > value:
            held[before] = held[before - 1]
            before -= 1
        held[before] = value


@compiled
def _smallest(held, count, end, bound, spare, starts):
    """Sort held[:count] and leave its distinct values, at most `end`; how many there are."""
    _sort(held, count, bound, spare, starts)
    distinct = 0
    for place in range(count):
        if distinct < end and (distinct == 0 or held[place] != held[distinct - 1]):
            held[distinct] = held[place]
            distinct += 1
    return distinct


@compiled
def _collect(ngrams, found, held, count, bound, end, spare, starts):
    """Add n-grams to the candidates of a bottom-k sketch of `end`; (how many are held, what none may exceed)."""
    for place in range(found):
        if ngrams[place] <= bound:
            held[count] = ngrams[place]
            count += 1
            if count == len(held):
                count = _smallest(held, count, end, bound, spare, starts)
                bound = held[end - 1] if count == end else bound
    return count, bound


@compiled
def _sign(data, bounds, table, by_char, ngram, factors, addends, signatures, counts, sketches, sizes):
    """Texts -> their signatures, numbers of n-grams, sketches and the sketches' sizes, written to the last four."""
    state, ring = np.zeros(STATE_WORDS, np.uint64), np.zeros(ngram, np.uint64)
    out, high = np.empty(PIECE, np.uint64), np.empty(PIECE, np.uint32)
    size = sketches.shape[1]
    held, spare, starts = np.empty(4 * size, np.uint64), np.empty(4 * size, np.uint64), np.empty(BUCKETS + 1, np.int64)
    for text in range(len(counts)):
        state[:], ring[:] = 0, 0
        place, end = bounds[text], bounds[text + 1]
        kept, bound = 0, np.uint64(0xFFFFFFFFFFFFFFFF)
        while place < end:
            place, found = _piece(data, place, end, table, by_char, state, ring, out)
            for number in range(found):
                high[number] = np.uint32(out[number] >> np.uint64(32))
            _lower(high, found, factors, addends, signatures[text])
            counts[text] += found
            if size:
                kept, bound = _collect(out, found, held, kept, bound, size, spare, starts)
        sizes[text] = _smallest(held, kept, size, bound, spare, starts)
        sketches[text, : sizes[text]] = held[: sizes[text]]


@compiled
def _band_keys(signatures, bands, rows, keys):
    """uint32[n, permutations] -> uint64[n, bands]: a hash of each band's number and values."""
    for text in range(len(signatures)):
        for band in range(bands):
            key = mix(OFFSET ^ np.uint64(band))
            for row in range(rows):
                key = mix(key * BASE + np.uint64(signatures[text, band * rows + row]))
            keys[text, band] = key


@compiled
def overlap(one, other, end):
    """Of two sorted arrays of distinct n-grams: (how many both hold, how many there are), among the `end` smallest."""
    first, second, seen, shared = 0, 0, 0, 0
    while seen < end and first < len(one) and second < len(other):
        if one[first] == other[second]:
            shared += 1
            first += 1
            second += 1
        elif one[first] < other[second]:
            first += 1
        else:
            second += 1
        seen += 1
    return shared, min(end, seen + len(one) - first + len(other) - second)


# ---- what others call


def _normal(texts: pa.LargeStringArray, unit: str) -> pa.LargeStringArray:
    """Texts in NFC as far as the table of the unit sees a difference."""
    return composed(texts, NO_MARKS if unit == "code" else DIACRITICS)


def distinct_ngrams(texts: pa.LargeStringArray, unit: str, ngram: int, fold_digits: bool = False) -> list[np.ndarray]:
    """The hashes of each text's distinct n-grams, sorted; uint64[] each. Takes 8 bytes an n-gram of one text."""
    data, bounds = buffers(_normal(texts, unit))
    table, by_char = fold_table(unit, fold_digits), unit == "char"
    every = (_all_ngrams(data, bounds[text], bounds[text + 1], table, by_char, ngram) for text in range(len(texts)))
    return [_sorted_distinct(hashes) for hashes in every]


def _sorted_distinct(hashes: np.ndarray) -> np.ndarray:
    """As `np.unique`, which builds a hash table first and is three times as slow."""
    hashes.sort()
    new = np.ones(len(hashes), bool)
    np.not_equal(hashes[1:], hashes[:-1], out=new[1:])
    return hashes[new]


def sign(
    texts: pa.LargeStringArray,
    unit: str,
    ngram: int,
    factors: np.ndarray,
    addends: np.ndarray,
    sketch: int = 0,
    fold_digits: bool = False,
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Texts -> (uint32[n, permutations], int64[n] numbers of n-grams, n sketches); a signature of 0 n-grams is none.

    A sketch holds the `sketch` smallest of the text's distinct n-grams, sorted, uint64; where it is shorter, all.
    """
    data, bounds = buffers(_normal(texts, unit))
    table = fold_table(unit, fold_digits)
    signatures = np.full((len(texts), len(factors)), 0xFFFFFFFF, np.uint32)
    counts, sizes = np.zeros((2, len(texts)), np.int64)
    sketches = np.empty((len(texts), sketch), np.uint64)
    _sign(data, bounds, table, unit == "char", ngram, factors, addends, signatures, counts, sketches, sizes)
    return signatures, counts, [sketches[text, :size] for text, size in enumerate(sizes)]


def band_keys(signatures: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """uint32[n, permutations] -> uint64[n, bands]."""
    keys = np.empty((len(signatures), bands), np.uint64)
    _band_keys(signatures, bands, rows, keys)
    return keys


def jaccard(one: np.ndarray, other: np.ndarray, end: int = 1 << 62) -> float:
    """The Jaccard similarity of two sorted arrays of distinct n-grams, to 8 decimals; of nothing and nothing it is 0.

    With `end`, of the so many smallest of their union alone: an estimate from two bottom-k sketches of at least `end`,
    whose standard error is at most sqrt(0.25 / end) (Beyer et al. 2007, KMV).
    """
    shared, seen = overlap(one, other, end)
    return round(shared / seen, 8) if seen else 0.0
