"""Compiled kernels: the lines and paragraphs of a text, and C4's rules for lines.

Lines end at line feeds, a final one starts no other; Gopher's bullets and ellipses count `str.splitlines`, as datatrove
does. Equal lines and paragraphs are known by a 64-bit hash.
"""

import numpy as np

from redpajama.kernels import BASE, END_OF_CODES, OFFSET, PRIME, compiled, decode, mix
from redpajama.quality.measures.characters import BREAK, BULLET, DIGIT, ELLIPSIS, QUOTE, SPACE, STOP, WORD
from redpajama.quality.measures.repetition import number
from redpajama.quality.measures.words import (
    BREAK_BULLET_LINES,
    BREAK_ELLIPSIS_LINES,
    BREAK_LINES,
    BULLET_LINES,
    C4_BREAKS,
    C4_CURLY,
    C4_FIRST,
    C4_JAVASCRIPT,
    C4_KEPT,
    C4_LINES,
    C4_LOREM,
    C4_POLICY,
    C4_SENTENCES,
    ELLIPSIS_LINES,
    FEED,
    FEEDS,
    FULL_LINES,
    LINES,
    OTHER_BREAKS,
    PARAGRAPHS,
    REPEATED_FULL_CHARS,
    REPEATED_LINE_CHARS,
    REPEATED_LINES,
    REPEATED_PARAGRAPH_CHARS,
    REPEATED_PARAGRAPHS,
    SHORT_LINES,
    SPLIT_LINES,
    STOPPED_LINES,
    TERMINAL_LINES,
    XML_DECLARATION,
    begins_with,
)

SHORT_LINE_CHARS = 30  # FineWeb (arXiv 2406.17557, section 3.6; datatrove, `short_line_length`)
C4_MIN_WORDS, C4_MAX_WORD_CHARS = 5, 1000
C4_EDIT, C4_NEEDED = (np.frombuffer(mark, np.uint8) for mark in (b"[edit]", b"[citation needed]"))
C4_PLACES = 2  # of so many kept lines it is noted where they stand: of more, sentences need no exact count
SURE_LETTERS = 7
XML_CHARS = 100  # StarCoder (arXiv 2305.06161, section 3.2)


@compiled
def flags_at(data, place, classes):
    """The class of the character at `place`, its code, and its bytes."""
    code, width = np.int64(data[place]), 1
    if code >= 0x80:
        code, width = decode(data, place, code)
    return np.int64(classes[code]) if code < END_OF_CODES else np.int64(0), code, width


@compiled
def last_of(data, start, end):
    """Where the last character of data[start:end], which has one, begins."""
    place = end - 1
    while place > start and data[place] & 0xC0 == 0x80:
        place -= 1
    return place


@compiled
def strip(data, start, end, classes):
    """Without white space on both sides."""
    while start < end:
        flags, _, width = flags_at(data, start, classes)
        if flags & SPACE == 0:
            break
        start += width
    while start < end:
        place = last_of(data, start, end)
        if flags_at(data, place, classes)[0] & SPACE == 0:
            break
        end = place
    return start, end


@compiled
def ends_in_ellipsis(data, start, end, code):
    """`code`: of the last character."""
    if code == ELLIPSIS:
        return True
    return end - start >= 3 and data[end - 1] == ord(".") and data[end - 2] == ord(".") and data[end - 3] == ord(".")


@compiled
def _hash_span(data, start, end):
    """64 bits of data[start:end], in four lanes."""
    one, two, three, four = OFFSET, OFFSET ^ BASE, OFFSET * BASE, mix(OFFSET)
    place = start
    while place + 4 <= end:
        one = (one ^ np.uint64(data[place])) * PRIME
        two = (two ^ np.uint64(data[place + 1])) * PRIME
        three = (three ^ np.uint64(data[place + 2])) * PRIME
        four = (four ^ np.uint64(data[place + 3])) * PRIME
        place += 4
    while place < end:
        one = (one ^ np.uint64(data[place])) * PRIME
        place += 1
    value = mix(one ^ np.uint64(end - start)) * BASE + two
    return mix(mix(value) * BASE + three) * BASE + four


@compiled
def _count_edges(data, start, end, classes, tally):
    """How a line begins and ends, without white space at both sides; False: it is blank."""
    start, end = strip(data, start, end, classes)
    if start == end:
        return False
    flags, first, _ = flags_at(data, start, classes)
    last = flags_at(data, last_of(data, start, end), classes)[1]
    tally[BULLET_LINES] += 1 if flags & BULLET else 0
    tally[BREAK_BULLET_LINES] += 1 if first == 0x2022 or first == ord("-") else 0
    tally[ELLIPSIS_LINES] += 1 if ends_in_ellipsis(data, start, end, last) else 0
    tally[TERMINAL_LINES] += 1 if last == ord(".") or last == ord("!") or last == ord("?") or last == QUOTE else 0
    return True


@compiled
def read_lines(data, start, end, classes, feeds, tally):
    """The line feeds of one text -> its tally; the sum of its lines' fractions of upper-case characters."""
    count = tally[FEEDS] + (1 if start < end and data[end - 1] != FEED else 0)
    tally[LINES] = tally[BREAK_LINES] = count
    hashes, chars, full = np.empty(count, np.uint64), np.empty(count, np.int64), np.empty(count, np.bool_)
    held, line, uppers = 0, start, 0.0
    for row in range(count):
        stop = feeds[row, 0]
        line_chars = feeds[row, 1]
        if feeds[row, 2]:
            uppers += feeds[row, 2] / (line_chars + (1 if stop < end else 0))
        is_full = _count_edges(data, line, stop, classes, tally)
        if is_full:
            tally[FULL_LINES] += 1
            tally[SHORT_LINES] += 1 if line_chars <= SHORT_LINE_CHARS else 0
            last = flags_at(data, last_of(data, line, stop), classes)[0]
            tally[STOPPED_LINES] += 1 if last & STOP else 0
        if line < stop:
            hashes[held], chars[held], full[held] = _hash_span(data, line, stop), line_chars, is_full
            held += 1
        line = stop + 1
    _count_repeated_lines(hashes[:held], chars, full, tally)
    if start < end:
        _count_empty_ends(data[start] == FEED, data[end - 1] == FEED, held, tally)
    tally[BREAK_ELLIPSIS_LINES] = tally[ELLIPSIS_LINES]
    return uppers


@compiled
def _count_repeated_lines(hashes, chars, full, tally):
    numbers, seen = np.empty(len(hashes), np.int32), -1
    number(hashes, numbers)
    for row in range(len(hashes)):
        if numbers[row] > seen:
            seen = numbers[row]
        else:
            tally[REPEATED_LINES] += 1
            tally[REPEATED_LINE_CHARS] += chars[row]
            tally[REPEATED_FULL_CHARS] += chars[row] if full[row] else 0


@compiled
def _count_empty_ends(before, after, held, tally):
    """Split at runs of line feeds, a text that begins or ends with one has an empty line there, too."""
    tally[SPLIT_LINES] = held + (1 if before else 0) + (1 if after else 0)
    tally[REPEATED_LINES] += 1 if before and after else 0


@compiled
def read_breaks(data, place, end, classes, tally):
    """Gopher's measures of lines where other characters than line feeds end some."""
    own = np.zeros(len(tally), np.int64)
    line, lines = place, 0
    while place < end:
        flags, code, width = flags_at(data, place, classes)
        place += width
        if flags & BREAK:
            _count_edges(data, line, place - width, classes, own)
            lines += 1
            if code == ord("\r") and place < end and data[place] == FEED:
                place += 1
            line = place
    if line < end:
        _count_edges(data, line, end, classes, own)
        lines += 1
    tally[BREAK_LINES], tally[BREAK_BULLET_LINES] = lines, own[BREAK_BULLET_LINES]
    tally[BREAK_ELLIPSIS_LINES] = own[ELLIPSIS_LINES]


@compiled
def _count_chars(data, start, end):
    chars = 0
    for place in range(start, end):
        chars += 1 if data[place] & 0xC0 != 0x80 else 0
    return chars


@compiled
def read_paragraphs(data, start, end, classes, tally):
    """Paragraphs: what two or more line feeds separate, in the text without white space at its ends."""
    start, end = strip(data, start, end, classes)
    hashes, chars = np.empty(tally[FEEDS] // 2 + 1, np.uint64), np.empty(tally[FEEDS] // 2 + 1, np.int64)
    held, begin, place = 0, start, start
    while place <= end:
        if place == end or (data[place] == FEED and data[place + 1] == FEED):
            hashes[held], chars[held] = _hash_span(data, begin, place), _count_chars(data, begin, place)
            held += 1
            while place < end and data[place] == FEED:
                place += 1
            begin = place
            if place == end:
                break
        place += 1
    numbers, seen = np.empty(held, np.int32), -1
    number(hashes[:held], numbers)
    tally[PARAGRAPHS] = held
    for row in range(held):
        if numbers[row] > seen:
            seen = numbers[row]
        else:
            tally[REPEATED_PARAGRAPHS] += 1
            tally[REPEATED_PARAGRAPH_CHARS] += chars[row]


# ---- C4
#
# Its rules for lines (TensorFlow Datasets, text/c4_utils.py, `clean_page`), as `cleaning.py` has them. A line is one of
# `str.splitlines`, stripped. It loses its citation marks before its end is looked at, but not the white space before
# them: `So it is. [1]` ends with a space, and goes. Letters are folded as ASCII: C4's `str.lower` would also read a
# Kelvin sign as the k of `cookies`.


@compiled
def _phrases_in(data, place, end, phrases, ends, begins, goes_on):
    """Which of the ASCII phrases stand in data[place:end] in any case, a bit each; they stand in lower case in one
    array, up to `ends`; `begins`, `goes_on`: uint16[256], a bit for each phrase whose first, second byte it may be."""
    found = 0
    while place < end:
        candidates = np.int64(begins[data[place]]) & ~found
        if candidates and place + 1 < end:
            candidates &= np.int64(goes_on[data[place + 1]])
        which = 0
        while candidates:
            if candidates & 1 and _is_phrase(data, place, end, phrases, ends[which], ends[which + 1]):
                found |= 1 << which
            candidates >>= 1
            which += 1
        place += 1
    return found


@compiled
def _is_phrase(data, place, end, phrases, first, last):
    if end - place < last - first:
        return False
    for step in range(last - first):
        byte = data[place + step]
        byte = byte | 0x20 if ord("A") <= byte <= ord("Z") else byte
        if byte != phrases[first + step]:
            return False
    return True


@compiled
def _words_of(data, place, end, classes):
    """(white-space words, characters of the longest, sentences) of a line."""
    words, chars, longest, sentences, in_sentence = 0, 0, 0, 0, False
    while place < end:
        flags, code, width = flags_at(data, place, classes)
        place += width
        chars = 0 if flags & SPACE else chars + 1
        words += 1 if chars == 1 else 0
        if flags & WORD:
            sentences += np.int64(not in_sentence)
            in_sentence, run = True, place
            while place < end and data[place] < 0x80 and classes[data[place]] & WORD:
                place += 1
            chars += place - run
        elif code == ord(".") or code == ord("!") or code == ord("?"):
            in_sentence = False
        longest = max(longest, chars)
    return words, longest, sentences


@compiled
def _citation_end(data, place, end, classes):
    """Where the citation mark that begins at `place`, a bracket, ends: [], [12], [edit]; `place` where it is none."""
    at = place + 1
    while at < end:
        flags, _, width = flags_at(data, at, classes)
        if flags & DIGIT == 0:
            break
        at += width
    if at < end and data[at] == ord("]"):
        return at + 1
    if begins_with(data, place, end, C4_EDIT):
        return place + len(C4_EDIT)
    return place + len(C4_NEEDED) if begins_with(data, place, end, C4_NEEDED) else place


@compiled
def _without_citations(data, start, end, classes, room):
    """A line without its citation marks in `room`; its bytes."""
    place, size = start, 0
    while place < end:
        after = _citation_end(data, place, end, classes) if data[place] == ord("[") else place
        if after == place:
            room[size] = data[place]
            size, after = size + 1, place + 1
        place = after
    return size


@compiled
def _is_kept(data, start, end, classes, phrases, tally):
    """Whether a line without citation marks stays, in the order of `clean_page`; lines that take the page along do."""
    last = data[end - 1] if start < end else np.uint8(FEED)
    if last != ord(".") and last != ord("?") and last != ord("!") and last != ord('"'):
        return False
    if ends_in_ellipsis(data, start, end, np.int64(last)):
        return False
    words, longest, sentences = _words_of(data, start, end, classes)
    if words < C4_MIN_WORDS or longest > C4_MAX_WORD_CHARS:
        return False
    found = _phrases_in(data, start, end, *phrases)
    tally[C4_LOREM] += found & 1
    if found & 2:
        tally[C4_JAVASCRIPT] += 1
        return False
    tally[C4_CURLY] += found >> 2 & 1
    if found >> 3:
        tally[C4_POLICY] += 1
        return False
    tally[C4_SENTENCES] += max(1, sentences)
    return True


@compiled
def _sure_breaks(data, place, end):
    """How often a sentence ends in a line for certain (as `sentences.SURE_BREAK`, ASCII only), up to C4_PLACES."""
    found, letters = 0, 0
    while place < end and found < C4_PLACES:
        byte = data[place]
        place += 1
        if ord("a") <= byte <= ord("z"):
            letters += 1
            continue
        if byte == ord("?") or byte == ord("!") or (byte == ord(".") and letters >= SURE_LETTERS):
            after = place
            while after < end and data[after] == ord(" "):
                after += 1
            is_word = after < end and (
                ord("a") <= data[after] | 0x20 <= ord("z") or ord("0") <= data[after] <= ord("9")
            )
            found += 1 if after > place and is_word else 0
        letters = 0
    return found


@compiled
def _line_end(data, place, end, classes):
    """(where the line that begins at `place` ends, where the next begins), as `str.splitlines` has them."""
    while place < end:
        flags, code, width = flags_at(data, place, classes)
        if flags & BREAK:
            after = place + width
            return place, after + 1 if code == ord("\r") and after < end and data[after] == FEED else after
        place += width
    return end, end


@compiled
def read_c4(data, start, end, classes, feeds, phrases, brackets, tally):
    """Every line of a text; of the first C4_PLACES that stay, where they stand in the text.

    `brackets`: int64[], where [ stands in the data.
    """
    line, row, room = start, 0, np.empty(0, np.uint8)
    while line < end:
        if tally[OTHER_BREAKS]:
            stop, after = _line_end(data, line, end, classes)
        else:
            stop, after = feeds[row, 0], feeds[row, 0] + 1
            row += 1
        first, last = strip(data, line, stop, classes)
        line = after
        if first == last:
            continue
        tally[C4_LINES] += 1
        if np.searchsorted(brackets, first) == np.searchsorted(brackets, last):
            is_kept = _is_kept(data, first, last, classes, phrases, tally)
        elif _words_of(data, first, last, classes)[1] > C4_MAX_WORD_CHARS:
            is_kept = False
        else:
            room = room if len(room) >= last - first else np.empty(2 * (last - first), np.uint8)
            size = _without_citations(data, first, last, classes, room)
            is_kept = _is_kept(room, 0, size, classes, phrases, tally)
        if is_kept:
            if tally[C4_KEPT] < C4_PLACES:
                tally[C4_BREAKS] += _sure_breaks(data, first, last)
                tally[C4_FIRST + 2 * tally[C4_KEPT]] = first - start
                tally[C4_FIRST + 2 * tally[C4_KEPT] + 1] = last - start
            tally[C4_KEPT] += 1


@compiled
def read_code(data, start, end, declaration, tally):
    """Whether an XML declaration stands in the first XML_CHARS characters."""
    place, chars = start, 0
    while place < end and chars < XML_CHARS and tally[XML_DECLARATION] == 0:
        chars += 1 if data[place] & 0xC0 != 0x80 else 0
        if chars + len(declaration) - 1 <= XML_CHARS and begins_with(data, place, end, declaration):
            tally[XML_DECLARATION] = 1
        place += 1
