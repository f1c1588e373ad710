"""How many tokens of each slice, and which documents: weights and caps -> targets -> copies.

Targets are exact integers (largest remainders, so that they add up to the budget). Documents are then taken whole, in
the order of a hash of their id: `epochs` copies of every document, one more of those up to a cut. The cut is found in
two passes over narrow columns: the token mass per hash bucket, then the exact place inside the one bucket that holds
it. A slice overshoots its target by less than one document, whatever the order, the sharding or the workers; and a
larger target takes the same documents and more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import numpy as np

from redpajama.hashing import draw

BUCKET_BITS = 14
BUCKETS = 1 << BUCKET_BITS  # 128 KiB of sums a slice; a bucket of 10**9 documents holds about 61,000
NO_PARTIAL_COPY = -1  # below every hash


class BudgetError(ValueError):
    """The mixture cannot be met; the message is one line that says what was wanted and what can be had."""


@dataclass(frozen=True)
class Slice:
    """A source's wish and means."""

    name: str
    weight: float  # relative to the others'
    max_epochs: float
    available_tokens: int  # unique, with one end of document for each document

    @property
    def cap(self) -> int:
        """The most tokens that `max_epochs` allows."""
        return floor(_exact(self.max_epochs) * self.available_tokens)


@dataclass(frozen=True)
class Cut:
    """`epochs` copies of every document of a slice, and one more up to (hash, doc_id), which is included."""

    epochs: int
    hash: int = NO_PARTIAL_COPY
    doc_id: str = ""


def allocate(slices: Sequence[Slice], budget_tokens: int, allow_shortfall: bool = False) -> dict[str, int]:
    """Weights -> target tokens by slice name; they add up to the budget exactly.

    With `allow_shortfall` a slice that would pass its cap gives its cap, and the others share the rest by weight
    (clamped water-filling); where all are capped the sum is what can be had, less than the budget.

    Raises:
        BudgetError: a cap binds or a slice with a weight is empty, and shortfall is not allowed; or no weight at all.
    """
    wanted = [part for part in slices if part.weight > 0]
    if not wanted:
        raise BudgetError("mixture: every weight is 0: nothing to draw from; give at least one slice a weight")
    if not allow_shortfall:
        _refuse_empty(wanted)
        _refuse_unreachable(wanted, budget_tokens)
    targets = dict.fromkeys((part.name for part in slices), 0)
    return targets | _fill(wanted, budget_tokens)


def capped(slices: Iterable[Slice], targets: dict[str, int]) -> list[str]:
    """Names of the slices that give all their cap allows: the ones to name when the budget is missed."""
    return [part.name for part in slices if part.weight > 0 and targets[part.name] >= part.cap]


def _fill(slices: Sequence[Slice], budget: int) -> dict[str, int]:
    """Clamp what passes its cap, share the rest, until nothing passes."""
    targets: dict[str, int] = {}
    while slices:
        shares = _shares(slices, budget)
        full = [part for part in slices if shares[part.name] > part.cap]
        if not full:
            return targets | _round(shares, budget)
        targets |= {part.name: part.cap for part in full}
        budget -= sum(part.cap for part in full)
        slices = [part for part in slices if part.name not in targets]
    return targets


def _shares(slices: Iterable[Slice], budget: int) -> dict[str, Fraction]:
    weights = {part.name: _exact(part.weight) for part in slices}
    total = sum(weights.values())
    return {name: budget * weight / total for name, weight in weights.items()}


def _round(shares: dict[str, Fraction], budget: int) -> dict[str, int]:
    """Largest remainders (Hamilton): each share rounded down or up so that the sum is the budget; ties by name."""
    targets = {name: floor(share) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: (targets[name] - shares[name], name))
    for name in by_remainder[: budget - sum(targets.values())]:
        targets[name] += 1
    return targets


def _exact(decimal: float) -> Fraction:
    """The number as it is written: 0.1 is one tenth, not the nearest binary fraction."""
    return Fraction(str(decimal))


def _refuse_empty(slices: Iterable[Slice]) -> None:
    for part in slices:
        if part.available_tokens == 0:
            raise BudgetError(
                f"mixture: '{part.name}' has weight {part.weight:g} but no tokens: no document of it is left; "
                "set its weight to 0, or set allow_shortfall = true"
            )


def _refuse_unreachable(slices: Sequence[Slice], budget: int) -> None:
    shares = _shares(slices, budget)
    binding = [part for part in slices if shares[part.name] > part.cap]
    if not binding:
        return
    reachable = floor(min(budget * part.cap / shares[part.name] for part in binding))
    raise BudgetError(
        f"mixture: budget of {budget:,} tokens cannot be met: "
        + ", ".join(_wish(part, shares[part.name]) for part in binding)
        + f"; reachable with these weights: {reachable:,} tokens; "
        + f"raise max_epochs, lower {'its weight' if len(binding) == 1 else 'their weights'} or the budget, "
        + "or set allow_shortfall = true"
    )


def _wish(part: Slice, share: Fraction) -> str:
    epochs = f"{part.max_epochs:g} epoch{'' if part.max_epochs == 1 else 's'}"
    give = "gives" if part.max_epochs == 1 else "give"
    return f"'{part.name}' wants {ceil(share):,} tokens but {epochs} of {part.available_tokens:,} {give} {part.cap:,}"


def selection_hash(seed: int, doc_id: str) -> int:
    """Where a document stands in its slice's queue for the partial epoch, in [0, 2**64)."""
    return draw(seed, "select", doc_id)


def split_epochs(target_tokens: int, available_tokens: int) -> tuple[int, int]:
    """A target -> whole epochs, and the remainder that a partial epoch must supply (less than one epoch)."""
    return divmod(target_tokens, available_tokens) if target_tokens else (0, 0)


def histogram(hashes: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Selection hashes (uint64) and token counts -> int64[BUCKETS], the tokens per bucket; parts' histograms add up."""
    mass = np.zeros(BUCKETS, np.int64)
    np.add.at(mass, bucket_of(hashes), tokens.astype(np.int64))
    return mass


def bucket_of(hashes: np.ndarray) -> np.ndarray:
    """The top bits of each hash (uint64) as int64: buckets keep the order of the hashes."""
    return (hashes >> np.uint64(64 - BUCKET_BITS)).astype(np.int64)


def boundary_bucket(mass: np.ndarray, remainder_tokens: int) -> tuple[int, int]:
    """The bucket in which the running sum reaches the remainder, and the tokens in the buckets before it.

    Raises:
        ValueError: the remainder is not in 1 .. the histogram's sum.
    """
    running = np.cumsum(mass)
    if not 0 < remainder_tokens <= running[-1]:
        raise ValueError(f"a remainder of {remainder_tokens} tokens cannot be cut from {running[-1]}")
    bucket = int(np.searchsorted(running, remainder_tokens))
    return bucket, int(running[bucket] - mass[bucket])


def cut_inside(rows: Iterable[tuple[int, str, int]], tokens_before: int, remainder_tokens: int) -> tuple[int, str]:
    """(hash, doc_id, tokens) of the boundary bucket, in any order -> (hash, doc_id) of the last document included.

    Documents are taken in the order of (hash, doc_id) while the sum of those before is less than the remainder.

    Raises:
        ValueError: the rows end before the remainder is reached (they are not those of the histogram).
    """
    running = tokens_before
    for key, doc_id, tokens in sorted(rows):
        running += tokens
        if running >= remainder_tokens:
            return key, doc_id
    raise ValueError(f"the boundary bucket ends at {running} tokens, before the remainder of {remainder_tokens}")


def copies(cut: Cut, key: int, doc_id: str) -> int:
    """How often the document with selection hash `key` is in the mixture."""
    return cut.epochs + ((key, doc_id) <= (cut.hash, cut.doc_id))


def copies_of(hashes: np.ndarray, doc_ids: Sequence[str], cut: Cut) -> np.ndarray:
    """`copies` of many documents: uint64[n] and n ids (strings or an Arrow array) -> int64[n]."""
    counts = np.full(len(hashes), cut.epochs, np.int64)
    if cut.hash == NO_PARTIAL_COPY:
        return counts
    boundary = np.uint64(cut.hash)
    counts += hashes < boundary
    for row in np.flatnonzero(hashes == boundary):  # one document as a rule: only equal hashes need the id
        counts[row] += str(doc_ids[int(row)]) <= cut.doc_id
    return counts


def order_key(seed: int, doc_id: str, copy: int) -> int:
    """Where copy 0, 1, ... of a document stands in the shuffled corpus, in [0, 2**64)."""
    return draw(seed, "order", doc_id, copy)


def partition_of(key: int, partitions: int) -> int:
    """The partition, of equal slices of the key space in order, that holds an order key."""
    return int(key) * partitions >> 64
