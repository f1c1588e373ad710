"""Which documents give a slice its tokens, and where their copies stand in the corpus.

Documents are taken whole, in the order of a hash of their id: `epochs` copies of every document, one more of those up
to a cut. The cut is found in two passes over narrow columns: the token mass per hash bucket, then the exact place
inside the one bucket that holds it. A slice overshoots its target by less than one document, whatever the order, the
sharding or the workers; and a larger target takes the same documents and more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from redpajama.hashing import HASH_SPACE, draws

BUCKET_BITS = 14
BUCKETS = 1 << BUCKET_BITS  # 128 KiB of sums a slice; a bucket of 10**9 documents holds about 61,000
NO_PARTIAL_COPY = -1  # below every hash
EIGHTH = 1 << 61  # of the space of keys


@dataclass(frozen=True)
class Cut:
    """`epochs` copies of every document of a slice, and one more up to (hash, doc_id), which is included."""

    epochs: int
    hash: int = NO_PARTIAL_COPY
    doc_id: str = ""


def selection_hashes(seed: int, doc_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Where each document stands in its slice's queue for the partial epoch; uint64[n]."""
    return draws(seed, ["select"], doc_ids)


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


def cut_inside(rows: Iterable[tuple[int, str, int]], tokens_before: int, remainder_tokens: int) -> tuple[int, str, int]:
    """(hash, doc_id, tokens) of the boundary bucket, in any order -> (hash, doc_id) of the last document included, and
    the tokens up to its end.

    Documents are taken in the order of (hash, doc_id) while the sum of those before is less than the remainder.

    Raises:
        ValueError: the rows end before the remainder is reached (they are not those of the histogram).
    """
    running = tokens_before
    for key, doc_id, tokens in sorted(rows):
        running += tokens
        if running >= remainder_tokens:
            return key, doc_id, running
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


def order_keys(seed: int, doc_ids: pa.Array | pa.ChunkedArray, copies: np.ndarray) -> np.ndarray:
    """A uniform key for copy 0, 1, ... (int[n]) of each document; uint64[n]."""
    return draws(seed, ["order"], doc_ids, copies)


def apart(keys: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Keys of documents with all their copies in order (uint64[n], int[n]), no copy close behind the one before it.

    A copy in the first eighth of its epoch, after one in the last of the epoch before, goes to the last of its own; the
    like number of copies goes the other way: in the last eighth after one in the first. So keys stay uniform, and two
    copies stand an eighth of an epoch apart at least.
    """
    moved, shift = keys.copy(), np.uint64(HASH_SPACE - EIGHTH)
    for copy in range(1, int(copies.max(initial=0)) + 1):
        rows = np.flatnonzero(copies == copy)
        own, before = moved[rows], moved[rows - 1]
        late = (before >= shift) & (own < np.uint64(EIGHTH))
        early = (before < np.uint64(EIGHTH)) & (own >= shift)
        moved[rows[late]] += shift
        moved[rows[early]] -= shift
    return moved


def spread(keys: np.ndarray, copies: np.ndarray, end: int, available: int, start: int = 0) -> np.ndarray:
    """Where each copy stands in the shuffled corpus (uint64[n]): copy c in the c-th window of its slice.

    Of a target of e whole epochs and a rest, windows 0 .. e - 1 are available / target wide and the last is as wide as
    the rest: so the slice is as dense everywhere, and copies of a document are an epoch apart as a rule. Within one
    epoch the keys stay. Windows count what was withdrawn later, so that only the cut moves.

    Args:
        keys: uint64[n], uniform.
        copies: int[n], the number of each copy.
        end: tokens of the slice up to the end of this stage; `start`: up to its begin.
    """
    if not available or start // available == (end - 1) // available:
        return keys
    placed = np.zeros(len(keys), np.uint64)
    for copy in np.unique(copies).tolist():
        rows = copies == copy
        low, high = max(copy * available, start), min((copy + 1) * available, end)
        width, before = (high - low) or available, low - start
        place = min(before * HASH_SPACE // (end - start), HASH_SPACE - 1)
        placed[rows] = np.uint64(place) + _scaled(keys[rows], width * HASH_SPACE // (end - start))
    return placed


def _scaled(keys: np.ndarray, factor: int) -> np.ndarray:
    """`key * factor >> 64`, exactly, by halves of 32 bits; `factor` below 2**64."""
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    high_factor, low_factor = np.uint64(factor >> 32), np.uint64(factor & 0xFFFFFFFF)
    high, lower = keys >> half, keys & low
    cross = high * low_factor
    middle = lower * high_factor + (lower * low_factor >> half)
    carry = (cross & low) + (middle & low)
    return high * high_factor + (cross >> half) + (middle >> half) + (carry >> half)


# ---- miniatures


def second_hashes(hashes: np.ndarray) -> np.ndarray:
    """A hash that is independent of the order of the first: its halves, swapped; uint64[n]."""
    half = np.uint64(32)
    return (hashes << half) | (hashes >> half)


def strata_of(hashes: np.ndarray, doc_ids: Sequence[str], cuts: Sequence[Cut]) -> np.ndarray:
    """How many of some cuts, in order, lie before each document: int64[n]. Within one, all have as many copies."""
    found = np.zeros(len(hashes), np.int64)
    for cut in cuts:
        found += 1 - (copies_of(hashes, doc_ids, cut) - cut.epochs)
    return found


def partitions_of(keys: np.ndarray, partitions: int) -> np.ndarray:
    """The partition, of fewer than 2**32 equal slices of the key space in order, that holds each order key.

    `key * partitions >> 64`, exactly, by halves of 32 bits; uint64[n] -> int64[n].
    """
    half, count = np.uint64(32), np.uint64(partitions)
    lower = (keys & np.uint64(0xFFFFFFFF)) * count >> half
    return ((keys >> half) * count + lower >> half).astype(np.int64)
