"""Inside clusters: which documents go, and what that needs to know. Compiled; `near` and `doubts` bring the rows.

Each document is compared with those before it (`pairs`), the likeliest first. What no estimate decides and has no
n-grams is *in doubt*: `find_doubts` names the documents whose n-grams `walk` will need.

A cluster may fill a reducer's memory: nothing of it is copied but the signatures of MAX_KEPT documents.
tests/walk_reference.py says the same in plain Python.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from redpajama.dedup.near.minhash import MinHashParams
from redpajama.dedup.near.pairs import (
    DIFFERENT,
    IN_DOUBT,
    SIMILAR,
    Grams,
    Rows,
    Rule,
    are_equal,
    compare,
    doubtful,
    is_open,
    is_similar,
    is_twin,
    signature,
    table,
)
from redpajama.engine.tables import Blobs
from redpajama.kernels import compiled

MAX_KEPT = 10_000  # kept documents of a cluster that a later one is compared with, by signature
MAX_CHECKED = 1_000  # of these, at most so many by their n-grams or sketches, the likeliest first


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
    unchecked: np.ndarray  # int64[clusters]: survivors that a cap or missing n-grams kept from a comparison


@compiled
def _note(found, members, row, other, pair, rule):
    """A document that goes, and in how many bands the two signatures are equal."""
    one, two, bands = signature(members, row, rule), signature(members, other, rule), 0
    for band in range(rule.bands):
        start, end = band * rule.rows, (band + 1) * rule.rows
        bands += are_equal(one[start:end], two[start:end])
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
    kept.signed[count] = signature(members, row, rule)
    kept.counts[0] += 1


@compiled
def _count_equal(kept, members, row, rule):
    """Fill `kept.equal` and count, in `kept.starts`, how many documents share so many values."""
    own, allowed = signature(members, row, rule), rule.comparable[members.sources[row]]
    permutations = kept.signed.shape[1]
    kept.starts[:] = 0
    for place in range(kept.counts[0]):
        equal = np.int32(0)
        for number in range(permutations):
            equal += np.int32(own[number] == kept.signed[place, number])
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
            pair = compare(members, row, other, kept.equal[place], rule)
            if is_similar(pair, members, row, other, rule):
                _note(found, members, row, other, pair, rule)
                break
            missed = missed or is_open(pair, members, row, other, rule)
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
            if both_gone and not is_twin(members, row, other, kept.equal[place], rule):
                continue
            pair = compare(members, row, other, kept.equal[place], rule)
            if is_similar(pair, members, row, other, rule):
                if found.others[row] < 0:
                    _note(found, members, row, other, pair, rule)
                if found.others[other] < 0:
                    _note(found, members, other, row, pair, rule)
            if is_twin(members, row, other, kept.equal[place], rule):
                is_new = False
                break
            missed = missed or is_open(pair, members, row, other, rule)
        if is_new:
            _add(kept, members, row, rule)
            unchecked += missed and found.others[row] < 0
    return unchecked


@compiled
def _walk(members, bounds, rule, kept, out):
    found, unchecked = out
    for cluster in range(len(bounds) - 1):
        kept.counts[:] = 0
        if rule.keep_one:
            unchecked[cluster] = _keep_one(members, bounds[cluster], bounds[cluster + 1], rule, kept, found)
        else:
            unchecked[cluster] = _keep_none(members, bounds[cluster], bounds[cluster + 1], rule, kept, found)


def walk(members: Members, params: MinHashParams, comparable: np.ndarray) -> Outcome:
    """Which documents of some clusters go: see `_keep_one` and `_keep_none`."""
    count = len(members)
    found = Found(np.full(count, -1), np.empty(count), np.empty(count, np.int8), np.empty(count, np.int32))
    unchecked = np.zeros(max(0, len(members.bounds) - 1), np.int64)
    _run(_walk, members, params, comparable, (found, unchecked))
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
    banding = (params.permutations, params.bands, params.rows)
    flags = (params.mode == "containment", params.is_directed, params.verify == "exact", params.keep == "one")
    low, high = doubtful(params.permutations, threshold)
    tables = (table(threshold), np.ascontiguousarray(comparable))
    return Rule(*banding, threshold, *flags, low, high, *tables, MAX_KEPT, MAX_CHECKED)


# ---- what the walk will need


@compiled
def _doubts_to_keep_one(members, start, end, rule, kept, doubts, stays):
    """See `find_doubts`; `stays`: surely."""
    for row in range(start, end):
        likely, _ = _find_likely(kept, members, row, rule)
        open_pairs, is_met, is_gone = 0, False, False
        for place in kept.likely[:likely]:
            other = kept.rows[place]
            judged = compare(members, row, other, kept.equal[place], rule)[2]
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
            twin = is_twin(members, row, other, kept.equal[place], rule)
            if goes[row] and goes[other] and not twin:
                continue
            judged = compare(members, row, other, kept.equal[place], rule)[2]
            if judged == SIMILAR:
                goes[row] = goes[other] = True
            if judged == IN_DOUBT:
                doubts[row] = doubts[other] = True
            if twin:
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
