"""What the documents that go held alone: the share of a document's n-grams that stand in no survivor. Compiled.

Measured inside its cluster, on the sketches that are at hand: the n-grams of the document up to the largest hash below
which its own and its survivor's sketch hold all, sought in the sketches of all survivors of the cluster (the first
MAX_KEPT of them). Exact where both sketches hold all n-grams; else an estimate, with a standard error of at most
sqrt(share * (1 - share) / 256), and of what only another survivor holds rather too high.
"""

from typing import NamedTuple

import numpy as np

from redpajama.dedup.near import walk
from redpajama.dedup.near.pairs import Grams, hashes
from redpajama.kernels import compiled

BOUNDS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of the classes that a report counts


class Losses(NamedTuple):
    """For each document that goes, shares of its n-grams; float64[n] each."""

    own: np.ndarray  # that do not stand in its survivor
    all: np.ndarray  # that stand in no survivor


def measure(members: "walk.Members", outcome: "walk.Outcome") -> Losses:
    """Of the documents that go for one that stays."""
    sketches = Grams(members.sketches.places, members.sketches.sizes, members.sketches_are_whole)
    others = np.full(len(members), -1)
    others[outcome.rows] = outcome.others
    found = np.zeros((len(members), 2))
    _measure(sketches, members.bounds, others, walk.MAX_KEPT, found)
    return Losses(*found[outcome.rows].T)


def classes(shares: np.ndarray) -> dict[str, int]:
    """{upper bound: how many are at most so large, and above the bound before}; of all bounds that occur."""
    counts = np.bincount(np.searchsorted(BOUNDS, shares), minlength=len(BOUNDS)).tolist()
    return {f"{bound:g}": count for bound, count in zip(BOUNDS, counts, strict=True) if count}


@compiled
def _measure(sketches: Grams, bounds: np.ndarray, others: np.ndarray, max_kept: int, found: np.ndarray) -> None:
    for cluster in range(len(bounds) - 1):
        start, end = bounds[cluster], bounds[cluster + 1]
        if (others[start:end] < 0).all():
            continue
        held = _held(sketches, others, start, end, max_kept)
        for row in range(start, end):
            if others[row] >= 0:
                found[row] = _shares(sketches, row, others[row], held)


@compiled
def _held(sketches: Grams, others: np.ndarray, start: int, end: int, max_kept: int) -> np.ndarray:
    """uint64[n], sorted: what the sketches of the survivors of a cluster hold."""
    count, kept = 0, 0
    for row in range(start, end):
        if others[row] < 0 and kept < max_kept:
            count, kept = count + len(hashes(sketches, row)), kept + 1
    held, count, kept = np.empty(count, np.uint64), 0, 0
    for row in range(start, end):
        if others[row] < 0 and kept < max_kept:
            own = hashes(sketches, row)
            held[count : count + len(own)] = own
            count, kept = count + len(own), kept + 1
    if kept > 1:
        held.sort()
    return held


@compiled
def _shares(sketches: Grams, row: int, other: int, held: np.ndarray) -> tuple[float, float]:
    """Of the n-grams of one document, those that its survivor, and those that no survivor holds."""
    one, two = hashes(sketches, row), hashes(sketches, other)
    bound = np.uint64(0xFFFFFFFFFFFFFFFF)
    if not sketches.whole[row] and len(one):
        bound = one[-1]
    if not sketches.whole[other] and len(two):
        bound = min(bound, two[-1])
    seen, own, lost = 0, 0, 0
    for value in one[: np.searchsorted(one, bound, "right")]:
        seen += 1
        place = np.searchsorted(two, value)
        if place == len(two) or two[place] != value:
            own += 1
            place = np.searchsorted(held, value)
            lost += place == len(held) or held[place] != value
    return (own / seen, lost / seen) if seen else (0.0, 0.0)
