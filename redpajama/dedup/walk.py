"""Inside clusters: which pairs are similar, and which documents go. Compiled; `survivors` brings the rows.

A pair is decided by the first of these that leaves no doubt (`doubtful`: one in a million): both sketches hold all
n-grams (exact); the two sketches; the two signatures; all n-grams, where they came along (exact). What no estimate
decides and has no n-grams is *in doubt*: `find_doubts` names the documents whose n-grams `walk` will need.

Rows are read where Arrow holds them, by address: a cluster may fill a reducer's memory, and nothing of it is copied but
the signatures of MAX_KEPT documents. tests/walk_reference.py says the same in plain Python.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import exp, lgamma, log, log1p, sqrt
from typing import Any, NamedTuple

import numpy as np
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from redpajama.columns import Blobs
from redpajama.dedup.minhash import MAX_DOUBT, SKETCH, MinHashParams
from redpajama.dedup.ngrams import overlap
from redpajama.kernels import compiled

MAX_KEPT = 10_000  # kept documents of a cluster that a later one is compared with, by signature
MAX_CHECKED = 1_000  # of these, at most so many by their n-grams or sketches, the likeliest first
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


@dataclass(frozen=True)
class Members:
    """The documents of clusters: the clusters one after the other, each in policy order: its first survives."""

    signatures: Blobs  # uint32[permutations] each
    sketches: Blobs  # uint64
    sketches_are_whole: np.ndarray  # bool[n]
    ngrams: Blobs  # uint64; null: did not come along
    ngrams_are_whole: np.ndarray
    sources: np.ndarray  # int64[n]: places in `comparable`
    bounds: np.ndarray  # int64[clusters + 1]: where each begins, and the last one ends

    def __len__(self) -> int:
        return len(self.sources)


class Rows(NamedTuple):
    """`Members` for the kernels."""

    signatures: np.ndarray  # int64[n] addresses
    sketches: Grams
    ngrams: Grams
    sources: np.ndarray


class Rule(NamedTuple):
    """`MinHashParams` for the kernels, and what follows from them."""

    bands: int
    rows: int
    threshold: float
    contained: bool
    exact: bool
    keep_one: bool
    low: int  # equal values of two signatures: as few are a different pair for sure, without doubt
    high: int  # as many a similar one
    doubts: np.ndarray  # int64[SKETCH + 1, 2]: `doubtful` for so many values
    comparable: np.ndarray  # bool[sources, sources]
    max_kept: int
    max_checked: int


class Kept(NamedTuple):
    """Documents of a cluster that later ones are compared with, and room to say how like they are to one."""

    rows: np.ndarray  # int64[MAX_KEPT]
    signed: np.ndarray  # uint32[MAX_KEPT, permutations]
    equal: np.ndarray  # int64[MAX_KEPT] values that a document shares; -1: not compared
    likely: np.ndarray  # int64[MAX_KEPT] places in these arrays, the likeliest first
    starts: np.ndarray  # int64[permutations + 2]
    counts: np.ndarray  # int64[2]: how many there are; whether some document found no room


class Found(NamedTuple):
    """For each row, the other one of its pair, and how like they are."""

    others: np.ndarray  # int64[n]; -1: it stays
    similarities: np.ndarray  # float64[n]
    measures: np.ndarray  # int8[n]: places in MEASURES
    shared_bands: np.ndarray  # int32[n]


@dataclass(frozen=True)
class Outcome:
    """The documents that go, and for each the other one of its pair, which stays where `keep = "one"`."""

    rows: np.ndarray  # int64[m], sorted
    others: np.ndarray  # int64[m]
    similarities: list[float]  # to 8 decimals
    measures: np.ndarray  # int8[m]: places in MEASURES
    shared_bands: np.ndarray  # int32[m]
    unchecked: int  # survivors that a cap or missing n-grams kept from a comparison


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
def _table(threshold: float) -> np.ndarray:
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
def _hashes(grams, row):
    return carray(_pointer(grams.places[row]), (max(0, grams.sizes[row]) // 8,), np.uint64)


@compiled
def _signature(members, row, kept):
    return carray(_pointer(members.signatures[row]), (kept.signed.shape[1],), np.uint32)


@compiled
def _came(grams, row, other):
    return grams.sizes[row] >= 0 and grams.sizes[other] >= 0


@compiled
def _are_equal(one, other):
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
    one, two, end = _hashes(grams, row), _hashes(grams, other), ALL
    if not grams.whole[row]:
        end = min(end, len(one))
    if not grams.whole[other]:
        end = min(end, len(two))
    shared, seen = overlap(one, two, end)
    return _judge(shared, seen, end == ALL, rule)


@compiled
def _contain(grams, row, other, rule):
    """n-grams of both by n-grams of the one that has fewer; which that is, both ways are tried, the larger counts.

    With sketches: of the n-grams up to the largest hash below which both sketches hold all.
    """
    one, two = _hashes(grams, row), _hashes(grams, other)
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
    second = _judge(shared, len(two), not (cut_one or cut_two), rule)
    judged = SIMILAR if SIMILAR in (first[2], second[2]) else max(first[2], second[2])
    return max(first[0], second[0]), first[1], judged


@compiled
def _measure(grams, row, other, rule):
    if rule.contained:
        return _contain(grams, row, other, rule)
    return _jaccard(grams, row, other, rule)


@compiled
def _compare(members, row, other, equal, rule, kept):
    """(similarity, measure, judgement) of two documents, `equal` of whose signature's values are equal."""
    grams = members.ngrams
    came = _came(grams, row, other)
    if rule.exact and came and grams.whole[row] and grams.whole[other]:
        return _measure(grams, row, other, rule)
    by_sketch = _measure(members.sketches, row, other, rule)
    if by_sketch[2] != IN_DOUBT:
        return by_sketch
    if not rule.contained and equal >= rule.high:
        return equal / kept.signed.shape[1], BY_SIGNATURE, SIMILAR
    return _measure(grams, row, other, rule) if came else by_sketch


@compiled
def _is_similar(pair, members, row, other, rule):
    """Where all n-grams that a large cluster may hold leave a doubt, the estimate itself decides."""
    if pair[2] == IN_DOUBT and _came(members.ngrams, row, other):
        return _reaches(pair[0], rule.threshold)
    return pair[2] == SIMILAR


@compiled
def _is_open(pair, members, row, other):
    """Whether nothing decides a pair."""
    return pair[2] == IN_DOUBT and not _came(members.ngrams, row, other)


@compiled
def _is_twin(members, row, other, equal, kept):
    """Same source, signature and sketch, and the same n-grams as far as they came along."""
    if equal < kept.signed.shape[1] or members.sources[row] != members.sources[other]:
        return False
    if not _are_equal(_hashes(members.sketches, row), _hashes(members.sketches, other)):
        return False
    if not _came(members.ngrams, row, other):
        return True
    return _are_equal(_hashes(members.ngrams, row), _hashes(members.ngrams, other))


@compiled
def _note(found, members, row, other, pair, rule, kept):
    """A document that goes, and in how many bands the two signatures are equal."""
    one, two, bands = _signature(members, row, kept), _signature(members, other, kept), 0
    for band in range(rule.bands):
        start, end = band * rule.rows, (band + 1) * rule.rows
        bands += _are_equal(one[start:end], two[start:end])
    found.others[row], found.similarities[row] = other, pair[0]
    found.measures[row], found.shared_bands[row] = pair[1], bands


# ---- the walk


@compiled
def _add(kept, members, row, rule):
    """Remember a document, if there is room."""
    count = kept.counts[0]
    if count == rule.max_kept:
        kept.counts[1] = 1
        return
    kept.rows[count] = row
    kept.signed[count] = _signature(members, row, kept)
    kept.counts[0] += 1


@compiled
def _count_equal(kept, members, row, rule):
    """Fill `kept.equal` and count, in `kept.starts`, how many documents share so many values."""
    signature, allowed = _signature(members, row, kept), rule.comparable[members.sources[row]]
    permutations = kept.signed.shape[1]
    kept.starts[:] = 0
    for place in range(kept.counts[0]):
        equal = np.int32(0)
        for number in range(permutations):
            equal += np.int32(signature[number] == kept.signed[place, number])
        chosen = allowed[members.sources[kept.rows[place]]] and (rule.contained or equal > rule.low)
        kept.equal[place] = equal if chosen else -1
        if chosen:
            kept.starts[permutations - equal + 1] += 1


@compiled
def _find_likely(kept, members, row, rule):
    """Fill `kept.likely` with those that may be similar; (how many to compare with, whether some are left out)."""
    _count_equal(kept, members, row, rule)
    permutations = kept.signed.shape[1]
    for equal in range(permutations):
        kept.starts[equal + 1] += kept.starts[equal]
    total = kept.starts[permutations] + kept.starts[permutations + 1]
    for place in range(kept.counts[0]):
        equal = kept.equal[place]
        if equal >= 0:
            kept.likely[kept.starts[permutations - equal]] = place
            kept.starts[permutations - equal] += 1
    return min(total, rule.max_checked), kept.counts[1] == 1 or total > rule.max_checked


@compiled
def _keep_one(members, start, end, rule, kept, found):
    """Drop each document that is like enough to one that was kept before it, else keep it.

    So a chain A ~ B ~ C removes nothing that is not similar to a document that stays.
    """
    unchecked = 0
    for row in range(start, end):
        likely, missed = _find_likely(kept, members, row, rule)
        for place in kept.likely[:likely]:
            other = kept.rows[place]
            pair = _compare(members, row, other, kept.equal[place], rule, kept)
            if _is_similar(pair, members, row, other, rule):
                _note(found, members, row, other, pair, rule, kept)
                break
            missed = missed or _is_open(pair, members, row, other)
        if found.others[row] < 0:
            unchecked += missed
            _add(kept, members, row, rule)
    return unchecked


@compiled
def _keep_none(members, start, end, rule, kept, found):
    """Drop both documents of each pair that is like enough.

    A document that no hash tells from one met before stands for nothing new and is not remembered.
    """
    unchecked = 0
    for row in range(start, end):
        likely, missed = _find_likely(kept, members, row, rule)
        is_new = True
        for place in kept.likely[:likely]:
            other = kept.rows[place]
            both_gone = found.others[row] >= 0 and found.others[other] >= 0
            if both_gone and not _is_twin(members, row, other, kept.equal[place], kept):
                continue
            pair = _compare(members, row, other, kept.equal[place], rule, kept)
            if _is_similar(pair, members, row, other, rule):
                if found.others[row] < 0:
                    _note(found, members, row, other, pair, rule, kept)
                if found.others[other] < 0:
                    _note(found, members, other, row, pair, rule, kept)
            if _is_twin(members, row, other, kept.equal[place], kept):
                is_new = False
                break
            missed = missed or _is_open(pair, members, row, other)
        if is_new:
            _add(kept, members, row, rule)
            unchecked += missed and found.others[row] < 0
    return unchecked


@compiled
def _walk(members, bounds, rule, kept, found):
    unchecked = 0
    for cluster in range(len(bounds) - 1):
        kept.counts[:] = 0
        if rule.keep_one:
            unchecked += _keep_one(members, bounds[cluster], bounds[cluster + 1], rule, kept, found)
        else:
            unchecked += _keep_none(members, bounds[cluster], bounds[cluster + 1], rule, kept, found)
    return unchecked


def walk(members: Members, params: MinHashParams, comparable: np.ndarray) -> Outcome:
    """Which documents of some clusters go: see `_keep_one` and `_keep_none`."""
    count = len(members)
    found = Found(np.full(count, -1), np.empty(count), np.empty(count, np.int8), np.empty(count, np.int32))
    unchecked = _run(_walk, members, params, comparable, found)
    rows = np.flatnonzero(found.others >= 0)
    others, similarities, measures, bands = (each[rows] for each in found)
    return Outcome(rows, others, [round(each, 8) for each in similarities.tolist()], measures, bands, unchecked)


def _run(kernel: Callable[..., Any], members: Members, params: MinHashParams, comparable: np.ndarray, out: Any) -> Any:
    signatures, sketches, ngrams, bounds = members.signatures, members.sketches, members.ngrams, members.bounds
    room = min(MAX_KEPT, int(np.diff(bounds).max(initial=0)))
    rows = Rows(
        signatures.places,
        Grams(sketches.places, sketches.sizes, members.sketches_are_whole),
        Grams(ngrams.places, ngrams.sizes, members.ngrams_are_whole),
        members.sources,
    )
    kept = Kept(
        np.empty(room, np.int64),
        np.empty((room, params.permutations), np.uint32),
        np.empty(room, np.int64),
        np.empty(room, np.int64),
        np.empty(params.permutations + 2, np.int64),
        np.empty(2, np.int64),
    )
    return kernel(rows, bounds, _rule(params, comparable), kept, out)


def _rule(params: MinHashParams, comparable: np.ndarray) -> Rule:
    threshold = float(params.threshold)
    flags = (params.mode == "containment", params.verify == "exact", params.keep == "one")
    sure = doubtful(params.permutations, threshold)
    tables = (_table(threshold), np.ascontiguousarray(comparable))
    return Rule(params.bands, params.rows, threshold, *flags, *sure, *tables, MAX_KEPT, MAX_CHECKED)


# ---- what the walk will need


@compiled
def _doubts_to_keep_one(members, start, end, rule, kept, doubts, stays):
    """See `find_doubts`; `stays`: surely."""
    for row in range(start, end):
        likely, _ = _find_likely(kept, members, row, rule)
        open_pairs, is_met, is_gone = 0, False, False
        for place in kept.likely[:likely]:
            other = kept.rows[place]
            judged = _compare(members, row, other, kept.equal[place], rule, kept)[2]
            if judged == SIMILAR and stays[other]:
                is_gone = True
                break
            is_met = is_met or judged != DIFFERENT
            if judged == IN_DOUBT:
                kept.likely[open_pairs] = place  # overwrites what was read
                open_pairs += 1
        if not is_gone:
            _add(kept, members, row, rule)
            stays[row] = not is_met
            doubts[row] = doubts[row] or open_pairs > 0
            for place in kept.likely[:open_pairs]:
                doubts[kept.rows[place]] = True


@compiled
def _doubts_to_keep_none(members, start, end, rule, kept, doubts, goes):
    """See `find_doubts`; `goes`: surely."""
    for row in range(start, end):
        likely, _ = _find_likely(kept, members, row, rule)
        is_new = True
        for place in kept.likely[:likely]:
            other = kept.rows[place]
            is_twin = _is_twin(members, row, other, kept.equal[place], kept)
            if goes[row] and goes[other] and not is_twin:
                continue
            judged = _compare(members, row, other, kept.equal[place], rule, kept)[2]
            if judged == SIMILAR:
                goes[row] = goes[other] = True
            if judged == IN_DOUBT:
                doubts[row] = doubts[other] = True
            if is_twin:
                is_new = False
                break
        if is_new:
            _add(kept, members, row, rule)


@compiled
def _find_doubts(members, bounds, rule, kept, out):
    doubts, sure = out
    for cluster in range(len(bounds) - 1):
        kept.counts[:] = 0
        if rule.keep_one:
            _doubts_to_keep_one(members, bounds[cluster], bounds[cluster + 1], rule, kept, doubts, sure)
        else:
            _doubts_to_keep_none(members, bounds[cluster], bounds[cluster + 1], rule, kept, doubts, sure)


def find_doubts(members: Members, params: MinHashParams, comparable: np.ndarray) -> np.ndarray:
    """The documents whose n-grams decide something, given that no n-grams came along; int64[m], sorted.

    With `keep = "one"` a document surely goes if it is surely like one that surely stays; it is then in nobody's way.
    With "none" two that surely go, each for another, need not be compared.
    """
    doubts, sure = np.zeros((2, len(members)), bool)
    _run(_find_doubts, members, params, comparable, (doubts, sure))
    return np.flatnonzero(doubts)
