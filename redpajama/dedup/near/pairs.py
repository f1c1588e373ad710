"""Two documents of a cluster: are they similar? Compiled; `walk` asks.

A pair is decided by the first of these that leaves no doubt (`doubtful`: one in a million): both sketches hold all
n-grams (exact); the two sketches; the two signatures; all n-grams, where they came along (exact).

Rows are read where Arrow holds them, by address.
"""

from functools import cache
from math import exp, lgamma, log, log1p, sqrt
from typing import NamedTuple

import numpy as np
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from redpajama.dedup.near.minhash import MAX_DOUBT, SKETCH
from redpajama.dedup.near.ngrams import overlap
from redpajama.kernels import compiled

MEASURES = ("exact", "sketch", "signature")
EXACT, BY_SKETCH, BY_SIGNATURE = range(3)
DIFFERENT, SIMILAR, IN_DOUBT = range(3)
ALL = np.int64(1) << 62
SPREAD = 12  # standard deviations: what lies further from the mean is less likely than 1e-13


class Grams(NamedTuple):
    """Sorted distinct n-gram hashes of texts: all of them, or the smallest."""

    places: np.ndarray  # int64[n] addresses of uint64
    sizes: np.ndarray  # int64[n] bytes; -1: did not come along
    whole: np.ndarray  # bool[n]


class Rows(NamedTuple):
    """`Members` for the kernels."""

    signatures: np.ndarray  # int64[n] addresses
    sketches: Grams
    ngrams: Grams
    sources: np.ndarray


class Rule(NamedTuple):
    """`MinHashParams` for the kernels, and what follows from them."""

    permutations: int
    bands: int
    rows: int
    threshold: float
    contained: bool
    directed: bool  # only the first of a pair is asked whether it is contained
    exact: bool
    keep_one: bool
    low: int  # equal values of two signatures: as few are a different pair for sure, without doubt
    high: int  # as many a similar one
    doubts: np.ndarray  # int64[SKETCH + 1, 2]: `doubtful` for so many values
    comparable: np.ndarray  # bool[sources, sources]
    max_kept: int
    max_checked: int


# ---- estimates


@compiled
def doubtful(values, threshold):
    """The numbers of equal ones among so many values (low, high), exclusive, between which an estimate decides nothing.

    At `low` or fewer a pair at the threshold would agree so little with a probability of at most MAX_DOUBT; at `high`
    or more it would agree so much. So a pair that is called similar is below the threshold by chance once in a million.
    """
    if threshold == 1:
        return values - 1, values + 1
    middle, spread = values * threshold, SPREAD * (sqrt(values * threshold * (1 - threshold)) + 1)
    low, total = max(0, int(middle - spread)), 0.0
    while low <= values:
        total += _chance(values, low, threshold)
        if total > MAX_DOUBT:
            break
        low += 1
    high, total = min(values, int(middle + spread) + 1), 0.0
    while high >= 0:
        total += _chance(values, high, threshold)
        if total > MAX_DOUBT:
            break
        high -= 1
    return low - 1, high + 1


@compiled
def _chance(values, equal, chance):
    """The binomial probability of so many of so many, by logarithms: the coefficients themselves overflow."""
    ways = lgamma(values + 1) - lgamma(equal + 1) - lgamma(values - equal + 1)
    return exp(ways + equal * log(chance) + (values - equal) * log1p(-chance))


@compiled
def _doubts(doubts, threshold):
    for values in range(len(doubts)):
        doubts[values] = doubtful(values, threshold)


@cache
def table(threshold: float) -> np.ndarray:
    """int64[SKETCH + 1, 2]: `doubtful` of 0 to SKETCH values."""
    doubts = np.empty((SKETCH + 1, 2), np.int64)
    _doubts(doubts, threshold)
    return doubts


# ---- rows where they stand


@intrinsic
def _pointer(typing, address):
    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


@compiled
def hashes(grams, row):
    """uint64[]: the n-grams of a row, where they stand; none that did not come along."""
    return carray(_pointer(grams.places[row]), (max(0, grams.sizes[row]) // 8,), np.uint64)


@compiled
def signature(members, row, rule):
    """uint32[permutations]"""
    return carray(_pointer(members.signatures[row]), (rule.permutations,), np.uint32)


@compiled
def _came(grams, row, other):
    return grams.sizes[row] >= 0 and grams.sizes[other] >= 0


@compiled
def are_equal(one, other):
    """Whether two arrays hold the same."""
    if len(one) != len(other):
        return False
    for place in range(len(one)):  # noqa: SIM110 (Numba has no all())
        if one[place] != other[place]:
            return False
    return True


# ---- pairs


@compiled
def _reaches(similarity, threshold):
    """Similarities are compared as they are shown: to 8 decimals."""
    return np.rint(similarity * 1e8) / 1e8 >= threshold


@compiled
def _judge(shared, seen, exact, rule):
    """(similarity, measure, judgement) of a fraction: sure if all n-grams were seen, or if chance leaves no doubt."""
    similarity = shared / seen if seen else 0.0
    if exact:
        return similarity, EXACT, SIMILAR if _reaches(similarity, rule.threshold) else DIFFERENT
    if seen < len(rule.doubts):
        low, high = rule.doubts[seen]
    else:
        low, high = doubtful(seen, rule.threshold)
    return similarity, BY_SKETCH, SIMILAR if shared >= high else DIFFERENT if shared <= low else IN_DOUBT


@compiled
def _jaccard(grams, row, other, rule):
    """n-grams of both by n-grams of either; of the k smallest of either where a sketch holds k (KMV, Beyer 2007)."""
    one, two, end = hashes(grams, row), hashes(grams, other), ALL
    if not grams.whole[row]:
        end = min(end, len(one))
    if not grams.whole[other]:
        end = min(end, len(two))
    shared, seen = overlap(one, two, end)
    return _judge(shared, seen, end == ALL, rule)


@compiled
def _contain(grams, row, other, rule):
    """n-grams of both by n-grams of `row`, which comes after the larger ones (`rows.extents`); where the rule is not
    directed, of the one that has fewer: both ways are tried, the larger counts.

    With sketches: of the n-grams up to the largest hash below which both sketches hold all.
    """
    one, two = hashes(grams, row), hashes(grams, other)
    cut_one, cut_two = not grams.whole[row], not grams.whole[other]
    if cut_one or cut_two:
        bound = np.uint64(0xFFFFFFFFFFFFFFFF)
        if cut_one:
            bound = min(bound, one[-1] if len(one) else np.uint64(0))
        if cut_two:
            bound = min(bound, two[-1] if len(two) else np.uint64(0))
        one, two = one[: np.searchsorted(one, bound, "right")], two[: np.searchsorted(two, bound, "right")]
    shared, _ = overlap(one, two, ALL)
    first = _judge(shared, len(one), not (cut_one or cut_two), rule)
    if rule.directed:
        return first
    second = _judge(shared, len(two), not (cut_one or cut_two), rule)
    judged = SIMILAR if SIMILAR in (first[2], second[2]) else max(first[2], second[2])
    return max(first[0], second[0]), first[1], judged


@compiled
def _measure(grams, row, other, rule):
    if rule.contained:
        return _contain(grams, row, other, rule)
    return _jaccard(grams, row, other, rule)


@compiled
def compare(members, row, other, equal, rule):
    """(similarity, measure, judgement) of two documents, `equal` of whose signature's values are equal."""
    grams = members.ngrams
    came = _came(grams, row, other)
    if rule.exact and came and grams.whole[row] and grams.whole[other]:
        return _measure(grams, row, other, rule)
    by_sketch = _measure(members.sketches, row, other, rule)
    if by_sketch[2] != IN_DOUBT:
        return by_sketch
    if not rule.contained and equal >= rule.high:
        return equal / rule.permutations, BY_SIGNATURE, SIMILAR
    return _measure(grams, row, other, rule) if came else by_sketch


@compiled
def is_similar(pair, members, row, other, rule):
    """Where all n-grams that a large cluster may hold leave a doubt, the estimate itself decides; but for threshold 1,
    which says that not one n-gram differs."""
    if pair[2] == IN_DOUBT and _came(members.ngrams, row, other):
        return rule.threshold < 1 and _reaches(pair[0], rule.threshold)
    return pair[2] == SIMILAR


@compiled
def is_open(pair, members, row, other, rule):
    """Whether nothing decides a pair."""
    return pair[2] == IN_DOUBT and (rule.threshold == 1 or not _came(members.ngrams, row, other))


@compiled
def is_twin(members, row, other, equal, rule):
    """Same source, signature and sketch, and the same n-grams as far as they came along."""
    if equal < rule.permutations or members.sources[row] != members.sources[other]:
        return False
    if not are_equal(hashes(members.sketches, row), hashes(members.sketches, other)):
        return False
    if not _came(members.ngrams, row, other):
        return True
    return are_equal(hashes(members.ngrams, row), hashes(members.ngrams, other))
