"""Compiled kernels: characters and words of a text, each unit read once.

Raw text: white-space words (`str.split()`: Gopher, FineWeb) and WordPunct tokens (runs of \\w, and runs of what is
neither \\w nor white space: RedPajama-V2's raw words) in one pass. Folded text, RedPajama-V2's normalised one: without
ASCII punctuation, in lower case (character by character, a capital sigma always as σ), NFD; its words are those of
`str.split()` too. A word is known by 64 bits of a hash of its bytes.
"""

import numpy as np

from redpajama.kernels import END_OF_CODES, OFFSET, PRIME, compiled, decode, mix
from redpajama.quality.measures.characters import (
    ALPHA,
    ELLIPSIS,
    LATIN,
    LOWER,
    MARK,
    NUMERIC,
    RARE,
    SPACE,
    UPPER,
    WORD,
)
from redpajama.quality.measures.repetition import contains

FEED = 0x0A
NUMERIC_BIT = NUMERIC.bit_length() - 1
UPPER_BIT = UPPER.bit_length() - 1
TALLIES = [  # of the raw text
    *("chars", "tokens", "caps_tokens", "no_latin_tokens", "stop_tokens", "curly", "hashes", "ellipses", "sentences"),
    *("feeds", "other_breaks", "words", "alpha_words", "real_words", "real_chars", "gopher_stops"),
    # of the folded text
    *("folded_words", "folded_chars", "lorem", "javascript", "distinct", "listed"),
    # of lines
    *("lines", "terminal_lines", "ellipsis_lines", "bullet_lines", "break_lines", "break_ellipsis_lines"),
    *("break_bullet_lines", "full_lines", "stopped_lines", "short_lines", "repeated_full_chars", "split_lines"),
    *("repeated_lines", "repeated_line_chars", "paragraphs", "repeated_paragraphs", "repeated_paragraph_chars"),
    # of C4's rules, and of code
    *("c4_lines", "c4_kept", "c4_lorem", "c4_curly", "c4_javascript", "c4_policy", "c4_sentences"),
    *(
        "c4_first",
        "c4_first_end",
        "c4_second",
        "c4_second_end",
        "c4_breaks",
        "xml_declaration",
    ),  # bytes: where two kept lines stand
]
(
    CHARS, TOKENS, CAPS_TOKENS, NO_LATIN_TOKENS, STOP_TOKENS, CURLY, HASHES, ELLIPSES, SENTENCES, FEEDS, OTHER_BREAKS,
    WORDS, ALPHA_WORDS, REAL_WORDS, REAL_CHARS, GOPHER_STOPS,
    FOLDED_WORDS, FOLDED_CHARS, LOREM, JAVASCRIPT, DISTINCT, LISTED,
    LINES, TERMINAL_LINES, ELLIPSIS_LINES, BULLET_LINES, BREAK_LINES, BREAK_ELLIPSIS_LINES, BREAK_BULLET_LINES,
    FULL_LINES, STOPPED_LINES, SHORT_LINES, REPEATED_FULL_CHARS, SPLIT_LINES, REPEATED_LINES, REPEATED_LINE_CHARS,
    PARAGRAPHS, REPEATED_PARAGRAPHS, REPEATED_PARAGRAPH_CHARS,
    C4_LINES, C4_KEPT, C4_LOREM, C4_CURLY, C4_JAVASCRIPT, C4_POLICY, C4_SENTENCES,
    C4_FIRST, C4_FIRST_END, C4_SECOND, C4_SECOND_END, C4_BREAKS, XML_DECLARATION,
) = range(len(TALLIES))  # fmt: skip


@compiled
def finished(value):
    """The hash of a word from the running value over its bytes; never 0."""
    return mix(value) | np.uint64(1)


@compiled
def hash_word(data):
    value = OFFSET
    for byte in data:
        value = (value ^ np.uint64(byte)) * PRIME
    return finished(value)


def hash_of(word: str) -> int:
    """The hash by which a word is known."""
    return int(hash_word(np.frombuffer(word.encode(), np.uint8)))


@compiled
def _close_token(seen, token, stop_words, tally):
    tally[TOKENS] += 1
    tally[STOP_TOKENS] += np.int64(contains(stop_words, finished(token)))
    tally[NO_LATIN_TOKENS] += np.int64(seen & LATIN == 0)
    tally[CAPS_TOKENS] += np.int64((seen & UPPER != 0) & (seen & LOWER == 0))


@compiled
def _close_word(word, chars, seen, everywhere, tally, hashes, sums):
    words = tally[WORDS]
    hashes[words] = finished(word)
    sums[words + 1] = sums[words] + chars
    tally[WORDS] = words + 1
    is_real = np.int64(everywhere & MARK == 0)
    tally[ALPHA_WORDS] += np.int64(seen & ALPHA != 0)
    tally[REAL_WORDS] += is_real
    tally[REAL_CHARS] += is_real * chars


@compiled
def _count_rare(code, place, dots, last_dot, tally):
    """One of the characters that are counted by themselves; (dots of an unfinished ellipsis, where the last is)."""
    if code == ord("."):
        dots = dots + 1 if place == last_dot + 1 else 1
        if dots == 3:
            tally[ELLIPSES] += 1
            dots = 0
        return dots, place
    if code == ord("{") or code == ord("}"):
        tally[CURLY] += 1
    elif code == ord("#"):
        tally[HASHES] += 1
    elif code == ELLIPSIS:
        tally[ELLIPSES] += 1
    elif code != ord("!") and code != ord("?"):
        tally[OTHER_BREAKS] += 1
    return dots, last_dot


@compiled
def _close_line(feed, place, chars, uppers):
    feed[0], feed[1], feed[2] = place, chars, uppers


@compiled
def _read_run(data, place, end, classes, word, token):
    """A run of ASCII word characters: (where it ends, both hashes, flags of any, flags of all, upper-case ones)."""
    seen, all_of, uppers = np.int64(0), np.int64(MARK), np.int64(0)
    while place < end and data[place] < 0x80 and classes[data[place]] & WORD:
        flags, byte = np.int64(classes[data[place]]), np.uint64(data[place])
        word, token = (word ^ byte) * PRIME, (token ^ byte) * PRIME
        seen, all_of = seen | flags, all_of & flags
        uppers += flags >> UPPER_BIT & 1
        place += 1
    return place, word, token, seen, all_of, uppers


@compiled
def read_words(data, place, end, classes, stop_words, tally, hashes, sums, feeds):
    """One raw text -> its tally; white-space words as `hashes` and the characters before each (`sums`, one more); where
    its line feeds are, and for each the characters and the upper-case ones of its line, the feed not among them."""
    chars, line_chars, line_upper, feed_count, sentences = 0, 0, 0, 0, 0
    kind, token, token_seen = 0, OFFSET, 0  # of the WordPunct token: 0 is none, 1 marks, 2 a word
    in_word, word, word_chars, word_seen, everywhere = False, OFFSET, 0, 0, 0
    in_sentence, dots, last_dot = False, 0, np.int64(-2)
    sums[0] = 0
    while place < end:
        first = np.int64(data[place])
        if first < 0x80:
            code, width = first, 1
        else:
            code, width = decode(data, place, first)
        flags = np.int64(classes[code]) if code < END_OF_CODES else np.int64(0)
        new_kind = 2 if flags & WORD else 0 if flags & SPACE else 1
        if new_kind != kind:
            if kind:
                _close_token(token_seen, token, stop_words, tally)
            kind, token, token_seen = new_kind, OFFSET, 0
            if kind == 2 and not in_sentence:
                sentences += 1
                in_sentence = True
        if flags & SPACE:
            if in_word:
                _close_word(word, word_chars, word_seen, everywhere, tally, hashes, sums)
            in_word = False
        else:
            if not in_word:
                in_word, word, word_chars, word_seen, everywhere = True, OFFSET, 0, 0, MARK
            for step in range(width):
                byte = np.uint64(data[place + step])
                word, token = (word ^ byte) * PRIME, (token ^ byte) * PRIME
            word_chars, word_seen, everywhere, token_seen = (
                word_chars + 1, word_seen | flags, everywhere & flags, token_seen | flags
            )  # fmt: skip
            line_upper += 1 if flags & UPPER else 0
        line_chars += 1
        chars += 1
        place += width
        if kind == 2:  # on to the end of a run of ASCII word characters: most of any text in Latin letters
            run = place
            place, word, token, seen, all_of, uppers = _read_run(data, place, end, classes, word, token)
            word_seen, token_seen, everywhere = word_seen | seen, token_seen | seen, everywhere & all_of
            word_chars, line_chars, chars = word_chars + place - run, line_chars + place - run, chars + place - run
            line_upper += uppers
        elif flags & RARE:
            if code == FEED:
                _close_line(feeds[feed_count], place - 1, line_chars - 1, line_upper)
                feed_count, line_chars, line_upper = feed_count + 1, 0, 0
            else:
                dots, last_dot = _count_rare(code, place - width, dots, last_dot, tally)
                in_sentence = in_sentence and code != ord(".") and code != ord("!") and code != ord("?")
    if kind:
        _close_token(token_seen, token, stop_words, tally)
    if in_word:
        _close_word(word, word_chars, word_seen, everywhere, tally, hashes, sums)
    _close_line(feeds[feed_count], end, line_chars, line_upper)
    tally[CHARS], tally[SENTENCES], tally[FEEDS] = chars, sentences, feed_count


# ---- the folded text


@compiled
def _encode(code, out, place):
    """A code point beyond ASCII as UTF-8; its bytes."""
    if code < 0x800:
        out[place], out[place + 1] = 0xC0 | code >> 6, 0x80 | code & 0x3F
        return 2
    if code < 0x10000:
        out[place], out[place + 1], out[place + 2] = 0xE0 | code >> 12, 0x80 | code >> 6 & 0x3F, 0x80 | code & 0x3F
        return 3
    out[place], out[place + 1] = 0xF0 | code >> 18, 0x80 | code >> 12 & 0x3F
    out[place + 2], out[place + 3] = 0x80 | code >> 6 & 0x3F, 0x80 | code & 0x3F
    return 4


@compiled
def _fold_character(data, place, first, folding, out, written):
    """One character beyond ASCII in lower case and NFD; (its code, its bytes, bytes written)."""
    _, lower, starts, parts, _ = folding
    code, width = decode(data, place, first)
    if code >= END_OF_CODES:
        return code, width, _encode(code, out, written)
    size = starts[code + 1] - starts[code]
    for step in range(size):
        out[written + step] = parts[starts[code] + step]
    if size:
        return code, width, size
    small = np.int64(lower[code])
    if small < 0x80:
        out[written] = small
        return code, width, 1
    return code, width, _encode(small, out, written)


@compiled
def fold(data, bounds, folding, out, out_bounds, needs_order):
    """Texts without ASCII punctuation, in lower case, each character in NFD; `needs_order`: bool[n], it has a mark that
    stood alone, so marks may have to change places."""
    written, ascii_fold, is_mark = 0, folding[0], folding[4]
    out_bounds[0] = 0
    for text in range(len(bounds) - 1):
        place, end = bounds[text], bounds[text + 1]
        while place < end:
            first = np.int64(data[place])
            if first < 0x80:
                out[written] = ascii_fold[first]
                written += 1 if ascii_fold[first] != 255 else 0
                place += 1
            else:
                code, width, more = _fold_character(data, place, first, folding, out, written)
                needs_order[text] |= code < END_OF_CODES and is_mark[code]
                place, written = place + width, written + more
        out_bounds[text + 1] = written


@compiled
def begins_with(data, place, end, what):
    """Whether data[place:end] begins with the bytes `what`."""
    step = 0
    while step < len(what) and place + step < end and data[place + step] == what[step]:
        step += 1
    return step == len(what)


@compiled
def read_folded(data, place, end, classes, tally, hashes, sums, lorem, ipsum, javascript):
    """One folded text -> its tally, its words as in `read_words`; the sum of its lines' fractions of numbers."""
    words, line_words, chars, line_chars, numbers, fractions = 0, 0, 0, 0, 0, 0.0
    in_word, word, start, after_lorem = False, OFFSET, place, False
    sums[0] = 0
    while place <= end:
        if place == end:
            code, width, flags = np.int64(FEED), 1, np.int64(SPACE)
        else:
            code, width = np.int64(data[place]), 1
            if code >= 0x80:
                code, width = decode(data, place, code)
            flags = np.int64(classes[code]) if code < END_OF_CODES else np.int64(0)
        if flags & SPACE:
            if in_word:
                hashes[words], sums[words + 1] = finished(word), chars
                tally[JAVASCRIPT] += 1 if hashes[words] == javascript else 0
                tally[LOREM] += 1 if after_lorem and begins_with(data, start, place, ipsum) else 0
                after_lorem = (
                    data[place - 1] == ord("m") and place - start >= 5 and begins_with(data, place - 5, place, lorem)
                )
                words, line_words, in_word = words + 1, line_words + 1, False
            if code == FEED:
                if line_words:
                    fractions += numbers / (line_chars + line_words - 1)
                line_words, line_chars, numbers = 0, 0, 0
        else:
            if not in_word:
                in_word, word, start = True, OFFSET, place
            for step in range(width):
                word = (word ^ np.uint64(data[place + step])) * PRIME
            chars += 1
            line_chars += 1
            numbers += 1 if flags & NUMERIC else 0
            place += width
            run = place
            while place < end and data[place] < 0x80 and classes[data[place]] & SPACE == 0:
                word = (word ^ np.uint64(data[place])) * PRIME
                numbers += np.int64(classes[data[place]]) >> NUMERIC_BIT & 1
                place += 1
            chars += place - run
            line_chars += place - run
            continue
        place += width
    tally[FOLDED_WORDS], tally[FOLDED_CHARS] = words, chars
    return fractions


@compiled
def entropy(counts, total):
    """Of the words, in nats, summed in the order of their first occurrence."""
    value = 0.0
    for count in counts:
        value += -count / total * np.log(count / total)
    return value
