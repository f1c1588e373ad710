"""Candidates -> clusters -> survivors: union-find over compact ids, and the walk that decides inside a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from redpajama.dedup import ngrams
from redpajama.dedup.minhash import MinHashParams, doubtful
from redpajama.dedup.ngrams import compiled

MAX_KEPT = 10_000  # kept documents of a cluster that a later one is compared with, by signature
MAX_CHECKED = 1_000  # of these, at most so many by their n-grams, the likeliest first

# ---- union-find


def singletons(count: int) -> np.ndarray:
    """Every node its own parent: 4 bytes a node, 8 beyond 2**32 nodes."""
    return np.arange(count, dtype=np.uint32 if count < 1 << 32 else np.uint64)


@compiled
def _root(parents, node):
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@compiled
def unite(parents, ones, others):
    """Join the clusters of each pair. A cluster's root is its smallest node, whatever the order of the pairs."""
    for pair in range(len(ones)):
        one, other = _root(parents, ones[pair]), _root(parents, others[pair])
        if one < other:
            parents[other] = one
        elif other < one:
            parents[one] = other


def measure(parents: np.ndarray) -> np.ndarray:
    """Point every node at its root; returns how many nodes each root has, 0 for the others."""
    sizes = np.zeros_like(parents)
    _measure_roots(parents, sizes)
    return sizes


@compiled
def _measure_roots(parents, sizes):
    for node in range(len(parents)):
        root = _root(parents, node)
        parents[node] = root
        sizes[root] += 1


# ---- the walk


@dataclass
class Members:
    """The documents of one cluster in policy order: the first survives."""

    signatures: Sequence[np.ndarray]  # uint32[n, permutations]
    ngrams: Sequence[np.ndarray]  # sorted distinct hashes; the smallest of them where `totals` says that there are more
    totals: np.ndarray  # distinct n-grams of each document; int64[n]


class Removal(NamedTuple):
    """A document that goes, the one that stays for it, and how like they are."""

    row: int
    survivor: int
    similarity: float
    measure: str  # exact | sketch | estimate
    shared_bands: int


@dataclass
class Outcome:
    removals: list[Removal] = field(default_factory=list)
    unchecked: int = 0  # survivors that a cap or a missing sketch kept from a comparison


class Measured(NamedTuple):
    similarity: float
    measure: str


def walk(members: Members, params: MinHashParams) -> Outcome:
    """Drop each document that is like enough to one that was kept before it, else keep it.

    A chain A ~ B ~ C removes nothing that is not similar to a document that stays. Like enough is measured on the
    n-grams; a pair whose estimate leaves no doubt that it is not (`minhash.doubtful`) is not measured.
    """
    outcome = Outcome()
    kept: list[int] = []
    signed = np.empty((min(len(members.totals), MAX_KEPT), params.permutations), np.uint32)
    for row in range(len(members.totals)):
        equal = ngrams.equal_counts(members.signatures[row], signed[: len(kept)])
        found, missed = _survivor(members, row, kept, equal, params)
        if found:
            outcome.removals.append(found)
            continue
        outcome.unchecked += missed or len(kept) == MAX_KEPT
        if len(kept) < MAX_KEPT:
            signed[len(kept)] = members.signatures[row]
            kept.append(row)
    return outcome


def _survivor(
    members: Members, row: int, kept: list[int], equal: np.ndarray, params: MinHashParams
) -> tuple[Removal | None, bool]:
    """The likeliest kept document that reaches the threshold; and whether one that may have was not measured."""
    low, high = doubtful(params.permutations, params.threshold)
    likely = np.flatnonzero(equal > low)
    if not len(members.ngrams[row]):  # nothing to measure with: the likeliest alone decides
        likely = likely[equal[likely].argmax() :][:1] if len(likely) else likely
    likely = likely[np.argsort(-equal[likely], kind="stable")]
    missed = len(likely) > MAX_CHECKED
    for place in likely[:MAX_CHECKED]:
        other = kept[place]
        found = _measure(members, row, other)
        if found is None and equal[place] >= high:
            found = Measured(round(int(equal[place]) / params.permutations, 8), "estimate")
        if found is None:
            missed = True
        elif found.similarity >= params.threshold:
            bands = _shared_bands(members.signatures[row], members.signatures[other], params)
            return Removal(row, other, *found, bands), False
    return None, missed


def _measure(members: Members, row: int, other: int) -> Measured | None:
    """By all n-grams, or by two sketches; None where the cluster was too large for either."""
    one, two = members.ngrams[row], members.ngrams[other]
    held = [len(each) for each, at in ((one, row), (two, other)) if len(each) < members.totals[at]]
    if not held:
        return Measured(ngrams.jaccard(one, two), "exact")
    return Measured(ngrams.jaccard(one, two, min(held)), "sketch") if min(held) else None


def _shared_bands(one: np.ndarray, other: np.ndarray, params: MinHashParams) -> int:
    same = (one == other)[: params.bands * params.rows].reshape(params.bands, params.rows)
    return int(same.all(axis=1).sum())
