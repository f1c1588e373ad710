"""Compiled kernels: the words of a text, numbered -> how much of it its n-grams repeat.

An n-gram can only stand twice if both (n - 1)-grams in it do. So each level looks at the places that the level before
left, by the pair of its two (n - 1)-grams' numbers: exact, without a hash of the n-gram, and soon nothing is left.
"""

import numpy as np

from redpajama.kernels import BASE, compiled, mix

LARGEST = 10  # words of the longest n-gram
TOPS = 3  # n-grams of 2, 3, 4 words: the most frequent one
DUPES = 6  # n-grams of 5 to 10 words: all that repeat
REPEATS = TOPS + DUPES
FIRST_SLOTS = 1 << 16


@compiled
def _slot(table, keys, key):
    """Where `key` stands in an open-addressing table of numbers from 1, or where it would."""
    mask = np.uint64(len(table) - 1)
    slot = (key * BASE >> np.uint64(29)) & mask
    while table[slot] != 0 and keys[table[slot] - 1] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@compiled
def _grown(table, keys, count):
    """A table of four times the slots, with the same keys; and room for more of them."""
    larger, room = np.zeros(4 * len(table), np.int32), np.empty(2 * len(table), np.uint64)
    room[:count] = keys[:count]
    for number in range(count):
        larger[_slot(larger, room, room[number])] = number + 1
    return larger, room


@compiled
def slots_for(total):
    """Slots of a table to begin with: twice the keys, at most FIRST_SLOTS. What has more different keys grows."""
    slots = 64
    while slots < 2 * total and slots < FIRST_SLOTS:
        slots *= 2
    return slots


@compiled
def _number_until_full(values, numbers, place, table, keys, found):
    """As `number`, from `place` on, until `keys` is full; (next place, keys)."""
    mask = np.uint64(len(table) - 1)
    while place < len(values):
        key = values[place]
        slot = (key * BASE >> np.uint64(29)) & mask
        which = table[slot]
        while which != 0 and keys[which - 1] != key:
            slot = (slot + np.uint64(1)) & mask
            which = table[slot]
        if which == 0:
            if found == len(keys):
                break
            keys[found] = key
            found += 1
            which = table[slot] = found
        numbers[place] = which - 1
        place += 1
    return place, found


@compiled
def number(values, numbers):
    """uint64[n] -> int32[n]: equal values get equal numbers, 0, 1, ... by first occurrence; and uint64[m] their keys,
    int32[m] their counts."""
    table = np.zeros(slots_for(len(values)), np.int32)
    keys = np.empty(len(table) // 2, np.uint64)
    place, found = _number_until_full(values, numbers, 0, table, keys, 0)
    while place < len(values):
        table, keys = _grown(table, keys, found)
        place, found = _number_until_full(values, numbers, place, table, keys, found)
    counts = np.zeros(found, np.int32)
    for row in range(len(values)):
        counts[numbers[row]] += 1
    return keys[:found], counts


@compiled
def _join(at, now, left, keys):
    """Pairs of n-grams that stand side by side: their keys, and in `at` their places; how many."""
    joined = 0
    for row in range(left - 1):
        is_pair = at[row + 1] == at[row] + 1
        keys[joined] = np.uint64(now[row]) << np.uint64(32) | np.uint64(now[row + 1])
        at[joined] = at[row]
        joined += np.int64(is_pair)  # written anyway, and kept or overwritten: nothing to guess for the processor
    return joined


@compiled
def _top_chars(at, now, joined, counts, sums, ngram, gap):
    """Characters of the most frequent n-gram (of several the first), times its count; 0 where none repeats."""
    best = 0
    for which in range(1, len(counts)):
        if counts[which] > counts[best]:
            best = which
    if len(counts) == 0 or counts[best] < 2:
        return 0
    for row in range(joined):
        if now[row] == best:
            return (sums[at[row] + ngram] - sums[at[row]] + gap * (ngram - 1)) * counts[best]
    return 0


@compiled
def _keep_repeated(at, now, joined, counts):
    left = 0
    for row in range(joined):
        is_kept = counts[now[row]] > 1
        at[left], now[left] = at[row], now[row]
        left += np.int64(is_kept)
    return left


@compiled
def _covered_chars(at, left, sums, ngram):
    """Characters of words that stand in an n-gram that repeats: each counted once."""
    total, done = np.int64(0), 0
    for row in range(left):
        total += sums[at[row] + ngram] - sums[max(at[row], done)]
        done = at[row] + ngram
    return total


@compiled
def _skipped_chars(at, now, left, counts, sums, ngram):
    """Characters of n-grams seen before, reading on behind each of them (datatrove's `find_all_duplicate`)."""
    seen = np.zeros(len(counts), np.bool_)
    total, place = np.int64(0), 0
    for row in range(left):
        if at[row] >= place:
            if seen[now[row]]:
                total += sums[at[row] + ngram] - sums[at[row]]
                place = at[row] + ngram
            seen[now[row]] = True
    return total


@compiled
def repeats(numbers, counts, sums, as_gopher, at, keys, out):
    """Words by number, and characters before each (int32[words + 1]) -> `out`: top 2, 3, 4, repeated 5 ... 10.

    As RedPajama-V2 does: characters of the words alone; all copies of what repeats, overlaps once. `as_gopher`, as
    datatrove does: the top n-gram with the spaces between its words, one that stands once too; copies but the first.
    Overwrites `numbers`; `at` and `keys` are scratch of at least its length.
    """
    words = len(numbers)
    out[:] = 0
    left = 0
    for place in range(words):
        is_kept = counts[numbers[place]] > 1
        at[left], numbers[left] = place, numbers[place]
        left += np.int64(is_kept)
    for ngram in range(2, LARGEST + 1):
        joined = _join(at, numbers, left, keys)
        _, counts = number(keys[:joined], numbers[:joined])
        if ngram < 2 + TOPS:
            out[ngram - 2] = _top_chars(at, numbers, joined, counts, sums, ngram, 1 if as_gopher else 0)
            if as_gopher and out[ngram - 2] == 0 and words >= ngram:
                out[ngram - 2] = sums[ngram] + ngram - 1
        left = _keep_repeated(at, numbers, joined, counts)
        if ngram >= 2 + TOPS and as_gopher:
            out[ngram - 2] = _skipped_chars(at, numbers, left, counts, sums, ngram)
        elif ngram >= 2 + TOPS:
            out[ngram - 2] = _covered_chars(at, left, sums, ngram)


# ---- sets of words


@compiled
def contains(table, key):
    """Whether an open-addressing set of hashes, 0 where free, holds `key`."""
    mask = np.uint64(len(table) - 1)
    slot = key & mask
    found = table[slot]
    while (found != 0) & (found != key):  # seldom: no guess at whether the key is there
        slot = (slot + np.uint64(1)) & mask
        found = table[slot]
    return found == key


def hash_set(hashes: np.ndarray) -> np.ndarray:
    """uint64[n] distinct hashes -> an open-addressing table for `contains`, at most a quarter full."""
    table = np.zeros(1 << max(4, (4 * len(hashes)).bit_length()), np.uint64)
    for value in hashes:
        slot = int(value) & (len(table) - 1)
        while table[slot]:
            slot = (slot + 1) & (len(table) - 1)
        table[slot] = value
    return table


@compiled
def joined_hash(hashes, place, words):
    """The hash of a sequence of words, from theirs."""
    value = np.uint64(words)
    for word in range(words):
        value = mix(value * BASE + hashes[place + word])
    return value | np.uint64(1)
