"""Compiled kernel: repeated spans of texts, by suffix array (`substrings.py` says which)."""

import numpy as np

from redpajama.dedup.ngrams import compiled
from redpajama.dedup.substrings import END


def find_spans(data: np.ndarray, min_bytes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Repeated spans of texts in UTF-8, each followed by END: int64[n] starts, ends, and where each stood before.

    Sorted, disjoint, whole characters. `data` (uint8) must be writable: the suffix array's library asks for it.
    """
    from pydivsufsort import divsufsort

    if len(data) <= min_bytes:
        return tuple(np.zeros((3, 0), np.int64))
    order = divsufsort(data)
    firsts, marks = np.full(len(data), -1, order.dtype), np.zeros(len(data) + 1, np.int8)
    _first_places(data, order, min_bytes, firsts)
    _mark(firsts, min_bytes, marks)
    edges = np.flatnonzero(np.diff(marks, prepend=np.int8(0)))
    starts, ends = edges[::2], edges[1::2]
    places = np.empty(len(starts), np.int64)
    _places_before(firsts, min_bytes, starts, places)
    return _whole_characters(data, starts, ends, places)


def _whole_characters(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spans without the parts of characters at their ends, which have at most 3 bytes."""
    starts, ends = starts.copy(), ends.copy()
    for _ in range(3):
        cut = (data[starts] & 0xC0) == 0x80
        starts, places = starts + cut, places + cut
        ends = ends - ((data[ends] & 0xC0) == 0x80)
    left = starts < ends
    return starts[left], ends[left], places[left]


@compiled
def _first_places(data, order, min_bytes, firsts):
    """For each place whose window occurred before, the first such place; `firsts` holds -1 elsewhere."""
    total, start = len(data), 0
    for rank in range(1, total + 1):
        same = rank < total and _same_window(data, order[rank - 1], order[rank], min_bytes)
        if not same:
            if rank - start > 1:
                least = order[start]
                for each in range(start + 1, rank):
                    least = min(least, order[each])
                for each in range(start, rank):
                    if order[each] != least:
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
def _mark(firsts, min_bytes, marks):
    """Mark the bytes of windows that occurred before, but for those of the window that stays."""
    run, done = 0, 0  # marks[run:done] are set
    for place in range(len(firsts)):
        if firsts[place] >= 0:
            start, end = max(place, firsts[place] + min_bytes), place + min_bytes
            if run <= start <= done:
                start = done
            else:
                run = start
            marks[start:end] = 1
            done = end


@compiled
def _places_before(firsts, min_bytes, starts, places):
    """Where the first byte of each span stood before."""
    for span in range(len(starts)):
        start = starts[span]
        for place in range(start, max(-1, start - min_bytes), -1):
            if firsts[place] >= 0 and firsts[place] + min_bytes <= start:
                places[span] = firsts[place] + start - place
                break
