"""`redpajama.dedup.near.walk` in plain Python, pair by pair: what the compiled walk is tested against."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import exp, lgamma, log, log1p
from typing import NamedTuple

import numpy as np

from redpajama.dedup.near import ngrams
from redpajama.dedup.near.minhash import MAX_DOUBT, MinHashParams

MAX_KEPT = 10_000  # kept documents of a cluster that a later one is compared with, by signature
MAX_CHECKED = 1_000  # of these, at most so many by their n-grams or sketches, the likeliest first


class Grams(NamedTuple):
    """Sorted distinct n-gram hashes of a text: all of them, or the smallest."""

    hashes: np.ndarray  # uint64
    whole: bool


@dataclass
class Members:
    """The documents of one cluster in policy order: the first survives."""

    signatures: Sequence[np.ndarray]  # uint32[n, permutations]
    sketches: Sequence[Grams]
    ngrams: Sequence[Grams | None]  # None: did not come along
    sources: np.ndarray  # int[n]: places in `comparable`

    def __len__(self) -> int:
        return len(self.sketches)


class Pair(NamedTuple):
    """How like two documents are; `similar` is None where an estimate is in doubt."""

    similarity: float
    measure: str  # exact | sketch | signature
    similar: bool | None


class Removal(NamedTuple):
    """A document that goes, the other one of its pair, and how like they are."""

    row: int
    other: int  # stays, where `keep = "one"`
    similarity: float
    measure: str
    shared_bands: int


@dataclass
class Outcome:
    removals: list[Removal] = field(default_factory=list)
    unchecked: int = 0  # survivors that a cap or missing n-grams kept from a comparison


# ---- estimates


@cache
def doubtful(values: int, threshold: float) -> tuple[int, int]:
    """The numbers of equal ones among so many values (low, high), exclusive, between which an estimate decides nothing.

    At `low` or fewer a pair at the threshold would agree so little with a probability of at most MAX_DOUBT; at `high`
    or more it would agree so much. So a pair that is called similar is below the threshold by chance once in a million.
    """
    chances = [_binomial(values, equal, threshold) for equal in range(values + 1)]
    at_most = np.cumsum(chances)
    at_least = np.cumsum(chances[::-1])[::-1]
    low = int(np.sum(at_most <= MAX_DOUBT)) - 1
    high = values + 1 - int(np.sum(at_least <= MAX_DOUBT))
    return low, high


def _binomial(values: int, equal: int, chance: float) -> float:
    """The probability of so many of so many, by logarithms: the coefficients themselves overflow."""
    if chance == 1:
        return float(equal == values)
    ways = lgamma(values + 1) - lgamma(equal + 1) - lgamma(values - equal + 1)
    return exp(ways + equal * log(chance) + (values - equal) * log1p(-chance))


# ---- pairs


def compare(members: Members, row: int, other: int, equal: int, params: MinHashParams) -> Pair:
    """Two documents, `equal` of whose signature's values are equal."""
    whole = members.ngrams[row], members.ngrams[other]
    if params.verify == "exact" and all(whole) and all(each.whole for each in whole):
        return _measure(*whole, params)
    by_sketch = _measure(members.sketches[row], members.sketches[other], params)
    if by_sketch.similar is not None:
        return by_sketch
    if params.mode == "jaccard" and equal >= doubtful(params.permutations, params.threshold)[1]:
        return Pair(round(equal / params.permutations, 8), "signature", True)
    return _measure(*whole, params) if all(whole) else by_sketch


def _measure(one: Grams, other: Grams, params: MinHashParams) -> Pair:
    if params.mode == "containment":
        return _contain(one, other, params.threshold, params.is_directed)
    return _jaccard(one, other, params.threshold)


def _jaccard(one: Grams, other: Grams, threshold: float) -> Pair:
    """n-grams of both by n-grams of either; of the k smallest of either where a sketch holds k (KMV, Beyer 2007)."""
    cut = [len(each.hashes) for each in (one, other) if not each.whole]
    shared, seen = ngrams.overlap(one.hashes, other.hashes, min(cut, default=1 << 62))
    return _judge(shared, seen, not cut, threshold)


def _contain(one: Grams, other: Grams, threshold: float, directed: bool) -> Pair:
    """n-grams of both by n-grams of `one`; if not directed, of the one that has fewer: the larger way counts.

    With sketches: of the n-grams up to the largest hash below which both sketches hold all.
    """
    bounds = [int(each.hashes[-1]) if len(each.hashes) else 0 for each in (one, other) if not each.whole]
    held = [each.hashes for each in (one, other)]
    if bounds:
        held = [hashes[: np.searchsorted(hashes, np.uint64(min(bounds)), "right")] for hashes in held]
    shared, _ = ngrams.overlap(*held, 1 << 62)
    pairs = [_judge(shared, len(hashes), not bounds, threshold) for hashes in held]
    pairs = pairs[:1] if directed else pairs
    best = max(pairs, key=lambda pair: pair.similarity)
    sure = [pair.similar for pair in pairs]
    return best._replace(similar=True if True in sure else (None if None in sure else False))


def _judge(shared: int, seen: int, exact: bool, threshold: float) -> Pair:
    """A fraction beside the threshold: sure if all n-grams were seen, or if chance leaves no doubt."""
    similarity = round(shared / seen, 8) if seen else 0.0
    if exact:
        return Pair(similarity, "exact", similarity >= threshold)
    low, high = doubtful(seen, threshold)
    return Pair(similarity, "sketch", True if shared >= high else False if shared <= low else None)


def shared_bands(one: np.ndarray, other: np.ndarray, params: MinHashParams) -> int:
    """In how many bands two signatures are equal."""
    same = (one == other)[: params.bands * params.rows].reshape(params.bands, params.rows)
    return int(same.all(axis=1).sum())


# ---- the walk


class Kept:
    """Documents that later ones are compared with: at most MAX_KEPT."""

    def __init__(self, members: Members, params: MinHashParams, comparable: np.ndarray) -> None:
        self.members, self.params, self.comparable = members, params, comparable
        self.rows: list[int] = []
        self._signed = np.empty((min(len(members), MAX_KEPT), params.permutations), np.uint32)
        self._sources = np.empty(len(self._signed), np.int64)
        self.exceeded = False  # whether some document found no room

    def add(self, row: int) -> None:
        """Remember a document, if there is room."""
        if len(self.rows) == MAX_KEPT:
            self.exceeded = True
            return
        self._signed[len(self.rows)] = self.members.signatures[row]
        self._sources[len(self.rows)] = self.members.sources[row]
        self.rows.append(row)

    def likely(self, row: int) -> tuple[Iterator[tuple[int, int]], bool]:
        """((document, equal values) of those that may be similar, the likeliest first; whether some were left out)."""
        count, params = len(self.rows), self.params
        equal = (self.members.signatures[row] == self._signed[:count]).sum(axis=1)
        chosen = self.comparable[self.members.sources[row], self._sources[:count]]
        if params.mode == "jaccard":
            sure_below = equal <= doubtful(params.permutations, params.threshold)[0]
            chosen = chosen & ~sure_below
        places = np.flatnonzero(chosen)
        places = places[np.argsort(-equal[places], kind="stable")]
        checked = ((self.rows[place], int(equal[place])) for place in places[:MAX_CHECKED])
        return checked, self.exceeded or len(places) > MAX_CHECKED


def walk(members: Members, params: MinHashParams, comparable: np.ndarray) -> Outcome:
    """Which documents of a cluster go: see `_keep_one` and `_keep_none`."""
    return (_keep_one if params.keep == "one" else _keep_none)(members, params, comparable)


def _keep_one(members: Members, params: MinHashParams, comparable: np.ndarray) -> Outcome:
    """Drop each document that is like enough to one that was kept before it, else keep it.

    So a chain A ~ B ~ C removes nothing that is not similar to a document that stays.
    """
    outcome, kept = Outcome(), Kept(members, params, comparable)
    for row in range(len(members)):
        likely, missed = kept.likely(row)
        for other, equal in likely:
            pair = compare(members, row, other, equal, params)
            if _is_similar(pair, members, row, other, params):
                outcome.removals.append(_removal(members, row, other, pair, params))
                break
            missed = missed or _is_open(pair, members, row, other, params)
        else:
            outcome.unchecked += missed
            kept.add(row)
    return outcome


def _keep_none(members: Members, params: MinHashParams, comparable: np.ndarray) -> Outcome:
    """Drop both documents of each pair that is like enough.

    A document that no hash tells from one met before stands for nothing new and is not remembered.
    """
    found: dict[int, Removal] = {}
    outcome, kept = Outcome(), Kept(members, params, comparable)
    for row in range(len(members)):
        likely, missed = kept.likely(row)
        is_new = True
        for other, equal in likely:
            if row in found and other in found and not _is_twin(members, row, other):
                continue
            pair = compare(members, row, other, equal, params)
            if _is_similar(pair, members, row, other, params):
                found.setdefault(row, _removal(members, row, other, pair, params))
                found.setdefault(other, _removal(members, other, row, pair, params))
            if _is_twin(members, row, other):
                is_new = False
                break
            missed = missed or _is_open(pair, members, row, other, params)
        if is_new:
            kept.add(row)
            outcome.unchecked += missed and row not in found
    outcome.removals = [found[row] for row in sorted(found)]
    return outcome


def _is_similar(pair: Pair, members: Members, row: int, other: int, params: MinHashParams) -> bool:
    """Where all n-grams that a large cluster may hold leave a doubt, the estimate decides; not for threshold 1."""
    if pair.similar is None and _has_ngrams(members, row, other):
        return params.threshold < 1 and pair.similarity >= params.threshold
    return bool(pair.similar)


def _is_open(pair: Pair, members: Members, row: int, other: int, params: MinHashParams) -> bool:
    return pair.similar is None and (params.threshold == 1 or not _has_ngrams(members, row, other))


def _has_ngrams(members: Members, row: int, other: int) -> bool:
    return members.ngrams[row] is not None and members.ngrams[other] is not None


def _is_twin(members: Members, row: int, other: int) -> bool:
    """Same source, signature and sketch, and the same n-grams as far as they came along."""
    if members.sources[row] != members.sources[other]:
        return False
    pairs = [(members.signatures[row], members.signatures[other])]
    pairs.append((members.sketches[row].hashes, members.sketches[other].hashes))
    if _has_ngrams(members, row, other):
        pairs.append((members.ngrams[row].hashes, members.ngrams[other].hashes))
    return all(np.array_equal(*pair) for pair in pairs)


def _removal(members: Members, row: int, other: int, pair: Pair, params: MinHashParams) -> Removal:
    bands = shared_bands(members.signatures[row], members.signatures[other], params)
    return Removal(row, other, pair.similarity, pair.measure, bands)


# ---- what the walk will need


def find_doubts(members: Members, params: MinHashParams, comparable: np.ndarray) -> list[int]:
    """The documents whose n-grams decide something, given that no n-grams came along; sorted."""
    find = _doubts_to_keep_one if params.keep == "one" else _doubts_to_keep_none
    return sorted(find(members, params, comparable))


def _doubts_to_keep_one(members: Members, params: MinHashParams, comparable: np.ndarray) -> set[int]:
    """A document surely goes if it is surely like one that surely stays; it is then in nobody's way."""
    doubtful_rows: set[int] = set()
    sure_to_stay: set[int] = set()
    kept = Kept(members, params, comparable)
    for row in range(len(members)):
        pairs = []
        for other, equal in kept.likely(row)[0]:
            similar = compare(members, row, other, equal, params).similar
            if similar and other in sure_to_stay:
                break
            if similar is not False:
                pairs.append((other, similar))
        else:
            kept.add(row)
            if not pairs:
                sure_to_stay.add(row)
            doubtful_rows |= {each for other, similar in pairs if similar is None for each in (row, other)}
    return doubtful_rows


def _doubts_to_keep_none(members: Members, params: MinHashParams, comparable: np.ndarray) -> set[int]:
    """Two that surely go, each for another, need not be compared."""
    doubtful_rows: set[int] = set()
    sure_to_go: set[int] = set()
    kept = Kept(members, params, comparable)
    for row in range(len(members)):
        for other, equal in kept.likely(row)[0]:
            is_twin = _is_twin(members, row, other)
            if row in sure_to_go and other in sure_to_go and not is_twin:
                continue
            similar = compare(members, row, other, equal, params).similar
            if similar:
                sure_to_go |= {row, other}
            if similar is None:
                doubtful_rows |= {row, other}
            if is_twin:
                break
        else:
            kept.add(row)
    return doubtful_rows
