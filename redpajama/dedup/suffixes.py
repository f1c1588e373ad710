"""Compiled kernel: repeated spans of texts, by suffix array (`substrings.py` says which)."""

from typing import NamedTuple

import numpy as np

from redpajama.dedup.breaks import break_table, narrow, stripped_chars
from redpajama.kernels import compiled

END = 0xFF  # stands after each document; no byte of UTF-8
NOWHERE = -1


class Found(NamedTuple):
    """Spans that go, sorted and disjoint, int64[n] each; and what they leave of each document, int64[documents]."""

    starts: np.ndarray
    ends: np.ndarray
    places: np.ndarray  # where the span's first byte stands, in a document that stays or earlier in its own
    chars: np.ndarray  # characters that stay of a document that loses something; -1 of others


def find_spans(data: np.ndarray, bounds: np.ndarray, min_bytes: int, min_chars: int) -> Found:
    """Repeated spans of texts in UTF-8, each followed by END.

    Args:
        data: uint8, writable: the suffix array's library asks for it.
        bounds: int64[documents + 1]: where each text begins, and the last END ends.
    """
    from pydivsufsort import divsufsort

    chars = np.full(len(bounds) - 1, NOWHERE, np.int64)
    if len(data) <= min_bytes:
        none = np.zeros(0, np.int64)
        return Found(none, none, none, chars)
    order = divsufsort(data)
    firsts, marks = np.full(len(data), NOWHERE, order.dtype), np.zeros(len(data) + 1, np.int8)
    _first_places(data, order, min_bytes, firsts)
    order[:] = NOWHERE  # its memory serves as `standing`
    _walk(data, bounds, firsts, order, min_bytes, min_chars, break_table(), marks, chars)
    edges = np.flatnonzero(np.diff(marks, prepend=np.int8(0)))
    starts, ends = edges[::2], edges[1::2]
    return Found(starts, ends, firsts[starts].astype(np.int64), chars)


@compiled
def _first_places(data, order, min_bytes, firsts):
    """For each place whose window stands elsewhere too, the least such place; `firsts` holds NOWHERE for others."""
    total, start = len(data), 0
    for rank in range(1, total + 1):
        same = rank < total and _same_window(data, order[rank - 1], order[rank], min_bytes)
        if not same:
            if rank - start > 1:
                least = order[start]
                for each in range(start + 1, rank):
                    least = min(least, order[each])
                for each in range(start, rank):
                    firsts[order[each]] = least
            start = rank


@compiled
def _same_window(data, one, other, min_bytes):
    if max(one, other) + min_bytes > len(data):
        return False
    for step in range(min_bytes):  # noqa: SIM110 (Numba has no all())
        if data[one + step] != data[other + step] or data[one + step] == END:
            return False
    return True


@compiled
def _walk(data, bounds, firsts, standing, size, min_chars, table, marks, chars):
    """Document by document: mark what stands before, and forget what a document held that goes whole.

    `standing` holds, at the first place of equal windows, where one stands that stays. `firsts` holds, once its
    document is done, at the start of each span where that stands.
    """
    for document in range(len(chars)):
        begin, end = bounds[document], bounds[document + 1] - 1
        if not _mark(firsts, standing, begin, end, size, marks) or not _narrow(data, begin, end, table, marks):
            continue
        chars[document] = stripped_chars(data, begin, end, marks, table)
        _note_places(firsts, standing, begin, end, size, marks)
        if chars[document] < min_chars:
            _forget(firsts, standing, begin, end)


@compiled
def _mark(firsts, standing, begin, end, size, marks):
    """Mark the bytes of a document's windows that stand before, whole; whether there are any.

    A window that stands here first is a candidate until its last byte is passed: if one of its bytes was marked by
    then, it stands not. One that overlaps with its repetition is *pinned*: no byte of it is marked any more.
    """
    run, done, pinned, last = begin, begin, begin, begin - 1  # marks[run:done] are set last; `last` of those passed
    for place in range(begin, end + 1):
        if place > begin and marks[place - 1]:
            last = place - 1
        passed = place - size
        if passed >= begin and firsts[passed] >= 0 and standing[firsts[passed]] == passed and last >= passed:
            standing[firsts[passed]] = NOWHERE
        if firsts[place] < 0:
            continue
        first = standing[firsts[place]]
        if first > passed:  # not passed yet, so it may be broken
            if last >= first or (done > first and run < first + size):
                first = NOWHERE
            else:
                pinned = max(pinned, first + size)
        if first >= 0:
            start, run_end = max(place, pinned), place + size
            run = run if start <= done and done > begin else start
            marks[max(start, min(done, run_end)) : run_end] = 1
            done = run_end
        elif done <= place:
            standing[firsts[place]] = place
    return done > begin


@compiled
def _narrow(data, begin, end, table, marks):
    """Unmark what no clean break bounds; whether something is left."""
    place, is_left = begin, False
    while place < end:
        if not marks[place]:
            place += 1
            continue
        stop = place
        while stop < end and marks[stop]:
            stop += 1
        first, after = narrow(data, begin, end, place, stop, table)
        marks[place:first] = 0
        marks[max(first, after) : stop] = 0
        is_left = is_left or first < after
        place = stop
    return is_left


@compiled
def _note_places(firsts, standing, begin, end, size, marks):
    """Note at the start of each span where its first byte stands."""
    for start in range(end - 1, begin - 1, -1):  # backwards: the windows before a start are still to be read
        if not marks[start] or (start > begin and marks[start - 1]):
            continue
        for place in range(start, max(begin - 1, start - size), -1):
            first = standing[firsts[place]] if firsts[place] >= 0 else NOWHERE
            if 0 <= first < place and first + size <= start:
                firsts[start] = first + start - place
                break


@compiled
def _forget(firsts, standing, begin, end):
    """No window of a document stands any more. (Where a span begins, none of its own did.)"""
    for place in range(begin, end):
        if firsts[place] >= 0 and standing[firsts[place]] == place:
            standing[firsts[place]] = NOWHERE
