"""Texts -> the signals of the sets that are wanted: whole Arrow batches, no Python object per text.

A block of texts is folded once; then each text is read by characters and words, by lines, and by folded words, and its
words' n-grams level by level. Kernels count in integers; ratios are taken here, rounded to 8 decimals as numpy does.
RedPajama-V2's signals are null where it says null (no word, no line); fractions of nothing are 0 elsewhere.

Beyond a block and its folded twin it takes 24 bytes for each word of the longest text, and 24 for each line feed of a
block.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.arrow import buffers
from redpajama.kernels import compiled
from redpajama.quality import cleaning, sentences
from redpajama.quality.measures import characters, lines, repetition, words
from redpajama.quality.measures.catalogue import names_of
from redpajama.quality.measures.stop_words import ENGLISH
from redpajama.quality.measures.words import (
    DISTINCT,
    FOLDED_WORDS,
    GOPHER_STOPS,
    LISTED,
    OTHER_BREAKS,
    TALLIES,
    WORDS,
)

PREFIX = "q_"
BLOCK_BYTES = 1 << 20  # of texts measured together: small enough for the processor's cache

ENOUGH = cleaning.MIN_SENTENCES
GOPHER_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Gopher, appendix A.1.1
# C4's, in the order of the kernel's bits; all but the first three name a policy
_BOILERPLATE = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
PHRASES = ("lorem ipsum", "javascript", "{", *_BOILERPLATE)
ENTROPY, NUMBER_FRACTIONS, UPPER_FRACTIONS, FLOATS = 0, 1, 2, 3


class Lists(NamedTuple):
    """Sets of hashes that the kernels look words up in."""

    stop_words: np.ndarray
    gopher: np.ndarray
    listed: np.ndarray  # sequences of words, see `repetition.joined_hash`
    sizes: np.ndarray  # int64: how many words these have


def word_lists(stop_words: Iterable[str] = ENGLISH, bad_words: Iterable[str] = ()) -> Lists:
    """Lists for the kernels. `bad_words`: folded entries of one word or more, one space between two."""
    entries = [np.array([words.hash_of(word) for word in entry.split(" ")], np.uint64) for entry in set(bad_words)]
    listed = sorted({int(repetition.joined_hash(entry, 0, len(entry))) for entry in entries})
    return Lists(
        repetition.hash_set(np.array(sorted(map(words.hash_of, stop_words)), np.uint64)),
        repetition.hash_set(np.array(sorted(map(words.hash_of, GOPHER_STOP_WORDS)), np.uint64)),
        repetition.hash_set(np.array(listed, np.uint64)),
        np.array(sorted(set(map(len, entries))), np.int64),
    )


@cache
def _default_lists() -> Lists:
    return word_lists()


def _ascii(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


@cache
def _phrases() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """C4's phrases in one array (uint8), where each begins and ends (int64), and for each byte, a bit for each phrase
    whose first byte it may be in either case, and one for each whose second (uint16[256])."""
    ends = np.cumsum([0, *map(len, PHRASES)])
    begins, goes_on = np.zeros(256, np.uint16), np.zeros(256, np.uint16)
    for which, phrase in enumerate(PHRASES):
        begins[[ord(phrase[0]), ord(phrase[0].upper())]] |= 1 << which
        goes_on[[ord(phrase[1]), ord(phrase[1].upper())] if len(phrase) > 1 else slice(None)] |= 1 << which
    return _ascii("".join(PHRASES)), ends, begins, goes_on


@cache
def _needles() -> tuple[np.ndarray, np.ndarray, np.uint64, np.ndarray]:
    """lorem, ipsum; the hash of javascript; the XML declaration."""
    return _ascii("lorem"), _ascii("ipsum"), np.uint64(words.hash_of("javascript")), _ascii("<?xml version=")


# ---- kernels


@compiled
def _count_listed(hashes, count, listed, sizes):
    found = 0
    for size in sizes:
        for place in range(count - size + 1):
            if repetition.contains(listed, repetition.joined_hash(hashes, place, size)):
                found += 1
    return found


@compiled
def _count_stops(keys, gopher):
    found = 0
    for key in keys:
        if repetition.contains(gopher, key):
            found += 1
    return found


@compiled
def _measure_raw(
    data, bounds, feeds_in_all, classes, lists, wants, phrases, brackets, declaration, tallies, floats, repeats
):
    """Raw texts -> int64[n, TALLIES], float64[n, FLOATS], int64[n, REPEATS]; wants: n-grams, lines, C4, code."""
    longest = 0
    for text in range(len(bounds) - 1):
        longest = max(longest, bounds[text + 1] - bounds[text])
    room = longest // 2 + 2
    hashes, sums = np.empty(room, np.uint64), np.empty(room + 1, np.int32)
    numbers, at = np.empty(room, np.int32), np.empty(room, np.int32)
    feeds = np.empty((feeds_in_all + 1, 3), np.int64)
    want_repeats, want_lines, want_c4, want_code = wants
    for text in range(len(bounds) - 1):
        place, end, tally = bounds[text], bounds[text + 1], tallies[text]
        words.read_words(data, place, end, classes, lists[0], tally, hashes, sums, feeds)
        if want_lines:
            floats[text, UPPER_FRACTIONS] = lines.read_lines(data, place, end, classes, feeds, tally)
        if want_repeats:
            if tally[OTHER_BREAKS]:
                lines.read_breaks(data, place, end, classes, tally)
            lines.read_paragraphs(data, place, end, classes, tally)
            count = tally[WORDS]
            keys, counts = repetition.number(hashes[:count], numbers[:count])
            tally[GOPHER_STOPS] = _count_stops(keys, lists[1])
            repetition.repeats(numbers[:count], counts, sums, True, at, hashes, repeats[text])
        if want_c4:
            lines.read_c4(data, place, end, classes, feeds, phrases, brackets, tally)
        if want_code:
            lines.read_code(data, place, end, declaration, tally)


@compiled
def _measure_folded(data, bounds, classes, lists, needles, tallies, floats, repeats):
    """Folded texts -> as `_measure_raw`."""
    longest = 0
    for text in range(len(bounds) - 1):
        longest = max(longest, bounds[text + 1] - bounds[text])
    room = longest // 2 + 2
    hashes, sums = np.empty(room, np.uint64), np.empty(room + 1, np.int32)
    numbers, at = np.empty(room, np.int32), np.empty(room, np.int32)
    for text in range(len(bounds) - 1):
        place, end, tally = bounds[text], bounds[text + 1], tallies[text]
        numbers_in_lines = words.read_folded(data, place, end, classes, tally, hashes, sums, *needles)
        floats[text, NUMBER_FRACTIONS] = numbers_in_lines
        count = tally[FOLDED_WORDS]
        tally[LISTED] = _count_listed(hashes, count, lists[2], lists[3])
        keys, counts = repetition.number(hashes[:count], numbers[:count])
        tally[DISTINCT], floats[text, ENTROPY] = len(keys), words.entropy(counts, count)
        repetition.repeats(numbers[:count], counts, sums, False, at, hashes, repeats[text])


# ---- what others call


def measure(texts: pa.LargeStringArray, sets: list[str], lists: Lists | None = None) -> dict[str, pa.Array]:
    """Texts -> a column `q_...` for each signal of the sets: counts as int64, all else as float64.

    Without a list of bad words `rps_doc_ldnoobw_words` is null.

    Raises:
        ValueError: a text is null.
    """
    lists = lists or _default_lists()
    blocks = [_measure_block(block, sets, lists) for block in _blocks(texts)]
    names = names_of(sets)
    return {PREFIX + name: pa.concat_arrays([block[name] for block in blocks]) for name in names}


def _blocks(texts: pa.LargeStringArray) -> Iterator[pa.LargeStringArray]:
    """Slices of about BLOCK_BYTES, at least one text each (or the only, empty one)."""
    _, bounds = buffers(texts)
    start, last = 0, len(texts)
    while True:
        fitting = int(np.searchsorted(bounds, bounds[start] + BLOCK_BYTES, side="right")) - 1
        end = min(max(fitting, start + 1), last)
        yield texts.slice(start, end - start)
        if end == last:
            return
        start = end


def _measure_block(texts: pa.LargeStringArray, sets: list[str], lists: Lists) -> dict[str, pa.Array]:
    data, bounds = buffers(texts)
    data, bounds = data[bounds[0] : bounds[-1]], bounds - bounds[0]
    counted = Counted.empty(len(texts))
    lorem, ipsum, javascript, declaration = _needles()
    wants = (
        "gopher" in sets,
        bool({"gopher", "fineweb", "c4", "redpajama-v2"} & {*sets}),
        "c4" in sets,
        "code" in sets,
    )
    brackets = np.flatnonzero(data == ord("[")) if "c4" in sets else np.zeros(0, np.int64)
    feeds = int(np.count_nonzero(data == words.FEED))
    _measure_raw(
        data, bounds, feeds, characters.classes(), lists, wants, _phrases(), brackets, declaration,
        counted.tallies, counted.floats, counted.raw_repeats,
    )  # fmt: skip
    if "redpajama-v2" in sets:
        folded = fold(data, bounds)
        _measure_folded(
            *folded, characters.classes(), lists, (lorem, ipsum, javascript),
            counted.tallies, counted.floats, counted.folded_repeats,
        )  # fmt: skip
    if "c4" in sets:
        _count_few_sentences(data, bounds, counted)
    return {name: _column(name, counted, lists) for name in names_of(sets)}


def _count_few_sentences(data: np.ndarray, bounds: np.ndarray, counted: "Counted") -> None:
    """Where C4 finds fewer than ENOUGH sentences, their number: only texts of one or two kept lines may have so few."""
    kept, marks, raw = counted.c4_kept, counted.c4_sentences, data.tobytes()
    is_short = (kept > 0) & (kept <= lines.C4_PLACES)
    is_sure = is_short & (kept + counted.c4_breaks >= ENOUGH)
    marks[is_sure] = np.maximum(marks[is_sure], ENOUGH)
    rows = np.flatnonzero(is_short & ~is_sure)
    places = counted.tallies[rows, words.C4_FIRST : words.C4_SECOND_END + 1] + bounds[rows, None]
    for row, (first, first_end, second, second_end) in zip(rows.tolist(), places.tolist(), strict=True):
        found = [raw[first:first_end].decode(), raw[second:second_end].decode()][: kept[row]]
        exact = sum(sentences.count(cleaning.CITATION.sub("", line), ENOUGH) for line in found)
        marks[row] = max(ENOUGH, marks[row]) if exact >= ENOUGH else exact


def fold(data: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of texts and where they begin and end -> the same of the folded texts."""
    out, out_bounds = np.empty(characters.MAX_GROWTH * len(data) + 4, np.uint8), np.empty_like(bounds)
    needs_order = np.zeros(len(bounds) - 1, bool)
    words.fold(data, bounds, characters.folding(), out, out_bounds, needs_order)
    if not needs_order.any():
        return out, out_bounds
    sizes = [None, pa.py_buffer(out_bounds), pa.py_buffer(out)]
    folded = pa.Array.from_buffers(pa.large_string(), len(needs_order), sizes)
    mask = pa.array(needs_order)
    return buffers(pc.replace_with_mask(folded, mask, pc.utf8_normalize(folded.filter(mask), form="NFD")))


def folded(entries: list[str]) -> list[str]:
    """Entries of a list of words as they would stand in a folded text, one space between two words."""
    data, bounds = fold(*buffers(pa.array(entries, pa.large_string())))
    return [" ".join(data[a:b].tobytes().decode().split()) for a, b in pairwise(bounds.tolist())]


class Counted(NamedTuple):
    """What the kernels counted, a row a text."""

    tallies: np.ndarray  # int64[n, TALLIES]
    floats: np.ndarray  # float64[n, FLOATS]
    raw_repeats: np.ndarray  # int64[n, REPEATS]: of white-space words
    folded_repeats: np.ndarray

    @classmethod
    def empty(cls, texts: int) -> "Counted":
        repeats = (texts, repetition.REPEATS)
        return cls(
            np.zeros((texts, len(TALLIES)), np.int64),
            np.zeros((texts, FLOATS)),
            np.zeros(repeats, np.int64),
            np.zeros(repeats, np.int64),
        )

    def __getattr__(self, name: str) -> np.ndarray:
        return self.tallies[:, TALLIES.index(name)]


# ---- columns


def _column(name: str, counted: Counted, lists: Lists) -> pa.Array:
    if name == "rps_doc_ldnoobw_words" and not len(lists.sizes):
        return pa.nulls(len(counted.tallies), pa.int64())
    values = RECIPES[name](counted)
    return pa.array(values, from_pandas=True) if values.dtype == np.float64 else pa.array(values)  # NaN is null


def _ratio(part: np.ndarray, whole: np.ndarray, of_nothing: float = 0.0) -> np.ndarray:
    """part / whole to 8 decimals."""
    found = np.divide(part, whole, out=np.full(len(part), of_nothing), where=whole > 0)
    return np.round(found, 8)


Recipe = Callable[[Counted], np.ndarray]


def _count(name: str) -> Recipe:
    return lambda c: getattr(c, name).copy()


def _share(part: str, whole: str, of_nothing: float = 0.0) -> Recipe:
    return lambda c: _ratio(getattr(c, part), getattr(c, whole), of_nothing)


def _share_or_null(part: str, whole: str) -> Recipe:
    return _share(part, whole, np.nan)


def _mean_of(column: int, whole: str) -> Recipe:
    return lambda c: _ratio(c.floats[:, column], getattr(c, whole), np.nan)


def _entropy(counted: Counted) -> np.ndarray:
    return np.where(counted.folded_words > 0, np.round(counted.floats[:, ENTROPY], 8), np.nan)


def _folded_text_chars(counted: Counted) -> np.ndarray:
    """Words with one space between two."""
    return counted.folded_chars + np.maximum(counted.folded_words - 1, 0)


def _stop_words(counted: Counted) -> np.ndarray:
    return np.where(counted.folded_words > 0, _ratio(counted.stop_tokens, counted.tokens), 0.0)


def _repeats(column: int, raw: bool) -> Recipe:
    if raw:
        return lambda c: _ratio(c.raw_repeats[:, column], c.chars)
    return lambda c: _ratio(c.folded_repeats[:, column], c.folded_chars)


RECIPES: dict[str, Recipe] = {
    "rps_doc_curly_bracket": _share("curly", "chars"),
    "rps_doc_lorem_ipsum": lambda c: _ratio(c.lorem, _folded_text_chars(c)),
    "rps_doc_ldnoobw_words": _count("listed"),
    "rps_doc_stop_word_fraction": _stop_words,
    "rps_doc_num_sentences": _count("sentences"),
    "rps_doc_word_count": _count("folded_words"),
    "rps_doc_mean_word_length": _share_or_null("folded_chars", "folded_words"),
    "rps_doc_symbol_to_word_ratio": lambda c: _ratio(c.hashes + c.ellipses, c.tokens, np.nan),
    "rps_doc_frac_lines_end_with_ellipsis": _share_or_null("ellipsis_lines", "lines"),
    "rps_doc_frac_no_alph_words": _share_or_null("no_latin_tokens", "tokens"),
    "rps_doc_frac_unique_words": _share_or_null("distinct", "folded_words"),
    "rps_doc_unigram_entropy": _entropy,
    "rps_doc_frac_all_caps_words": _share_or_null("caps_tokens", "tokens"),
    "rps_lines_ending_with_terminal_punctution_mark_mean": _share_or_null("terminal_lines", "lines"),
    "rps_lines_javascript_counts_sum": _count("javascript"),
    "rps_lines_num_words_mean": _share_or_null("folded_words", "lines"),
    "rps_lines_uppercase_letter_fraction_mean": _mean_of(UPPER_FRACTIONS, "lines"),
    "rps_lines_numerical_chars_fraction_mean": _mean_of(NUMBER_FRACTIONS, "lines"),
    "rps_lines_start_with_bulletpoint_mean": _share_or_null("bullet_lines", "lines"),
    "gopher_words": _count("real_words"),
    "gopher_mean_word_chars": _share("real_chars", "real_words"),
    "gopher_hash_ratio": _share("hashes", "words"),
    "gopher_ellipsis_ratio": _share("ellipses", "words"),
    "gopher_bullet_line_fraction": _share("break_bullet_lines", "break_lines"),
    "gopher_ellipsis_line_fraction": _share("break_ellipsis_lines", "break_lines"),
    "gopher_alpha_word_fraction": _share("alpha_words", "words"),
    "gopher_stop_words": _count("gopher_stops"),
    "gopher_repeated_paragraph_fraction": _share("repeated_paragraphs", "paragraphs"),
    "gopher_repeated_paragraph_char_fraction": _share("repeated_paragraph_chars", "chars"),
    "gopher_repeated_line_fraction": _share("repeated_lines", "split_lines"),
    "gopher_repeated_line_char_fraction": _share("repeated_line_chars", "chars"),
    "fineweb_stopped_line_fraction": _share("stopped_lines", "full_lines"),
    "fineweb_short_line_fraction": _share("short_lines", "full_lines"),
    "fineweb_repeated_line_char_fraction": lambda c: _ratio(c.repeated_full_chars, c.chars - c.feeds),
    "fineweb_line_feed_ratio": _share("feeds", "words"),
    "c4_kept_line_fraction": _share("c4_kept", "c4_lines"),
    "c4_sentences": _count("c4_sentences"),
    "c4_lorem_ipsum_lines": _count("c4_lorem"),
    "c4_curly_bracket_lines": _count("c4_curly"),
    "c4_javascript_lines": _count("c4_javascript"),
    "c4_policy_lines": _count("c4_policy"),
    "code_xml_declaration": _count("xml_declaration"),
}
_SIZES = range(2, repetition.LARGEST + 1)
_V2 = {n: f"rps_doc_frac_chars_top_{n}gram" if n < 5 else f"rps_doc_frac_chars_dupe_{n}grams" for n in _SIZES}
_RAW = {n: f"gopher_top_{n}gram_char_ratio" if n < 5 else f"gopher_repeated_{n}gram_char_fraction" for n in _SIZES}
RECIPES |= {name: _repeats(n - 2, raw=False) for n, name in _V2.items()}
RECIPES |= {name: _repeats(n - 2, raw=True) for n, name in _RAW.items()}
