"""`scale = "1/16"`: a subset of what the whole mixture would draw, that small, with every repetition rate kept.

All documents of a slice that are drawn as often stand in one stratum; of each stratum the first sixteenth of its tokens
is taken, in the order of a second hash. So a document of the miniature is seen exactly as often as in the whole, each
source keeps its epochs, and a smaller miniature is part of a larger one. (Repetition that matches is what makes small
runs tell something of large ones: arXiv 2606.07597.)
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

from redpajama.corpus.stages import CANDIDATES
from redpajama.engine.stages import Build
from redpajama.engine.tables import read_batches
from redpajama.manifest import given
from redpajama.mixers import matching, selection
from redpajama.mixers.selection import Cut
from redpajama.mixers.shares import Leaf
from redpajama.mixers.withdrawing import Gone

Row = tuple[int, str, int]  # second hash, id, tokens


def scaled(build: Build, leaf: Leaf, row: dict[str, Any], gone: Gone) -> dict[str, Any]:
    """A leaf's row of the budget, with the last document of each stratum; its sums are those of the miniature."""
    scale = Fraction(given(given(build.manifest.mixture).scale))
    partial = boundaries(row["cuts"])
    masses = np.zeros((len(partial) + 1, selection.BUCKETS), np.int64)
    for batch in _candidates(build, leaf):
        strata, second = _strata(batch, partial), selection.second_hashes(batch.column("hash").to_numpy())
        tokens = batch.column("n_tokens").to_numpy()
        for number in range(len(masses)):
            own = strata == number
            masses[number] += selection.histogram(second[own], tokens[own])
    strata, second = selection.strata_of(gone.hashes, gone.ids, partial), selection.second_hashes(gone.hashes)
    goners = [gone.of(strata == number, second) for number in range(len(masses))]
    last = _last(build, leaf, partial, masses, goners, scale)
    taken = [
        reached - own.unreplaced_tokens(Cut(0, key, doc_id))
        for own, (key, doc_id, reached) in zip(goners, last, strict=True)
    ]
    strata_row = [[key, doc_id] for key, doc_id, _ in last]
    return {**row, "strata": strata_row, "cuts": list(_rescaled(row["cuts"], partial, taken, scale))}


def _last(
    build: Build, leaf: Leaf, partial: list[Cut], masses: np.ndarray, goners: Sequence[Gone], scale: Fraction
) -> list[tuple[int, str, int]]:
    """The last document of each stratum that is taken, and the tokens up to its end; what is withdrawn is replaced."""
    found = [(selection.NO_PARTIAL_COPY, "", 0)] * len(masses)
    wanted, ends = {}, {}
    for number, (mass, gone) in enumerate(zip(masses, goners, strict=True)):
        left = mass - gone.replaced_mass()
        if tokens := min(round(int(mass.sum()) * scale), int(left.sum())):
            wanted[number], ends[number] = tokens, selection.boundary_bucket(left, tokens)
    rows = _rows(build, leaf, partial, {number: bucket for number, (bucket, _) in ends.items()}) if ends else {}
    for number, (_, before) in ends.items():
        own = (row for row in rows[number] if row[1] not in goners[number].replaced)
        found[number] = selection.cut_inside(own, before, wanted[number])
    return found


def boundaries(cuts: list[dict[str, Any]]) -> list[Cut]:
    """The places between strata, in order: where a partial epoch of some stage ends."""
    places = {(cut["hash"], cut["doc_id"]) for cut in cuts if cut["hash"] != selection.NO_PARTIAL_COPY}
    return [Cut(0, *place) for place in sorted(places)]


def is_taken(row: dict[str, Any], hashes: np.ndarray, ids: pa.Array) -> np.ndarray:
    """Whether each document is in the miniature: bool[n]; all are where nothing is scaled."""
    if "strata" not in row:
        return np.ones(len(hashes), bool)
    strata, second = selection.strata_of(hashes, ids, boundaries(row["cuts"])), selection.second_hashes(hashes)
    found = np.zeros(len(hashes), bool)
    for number, (key, doc_id) in enumerate(row["strata"]):
        own = np.flatnonzero(strata == number)
        found[own] = selection.copies_of(second[own], ids.take(pa.array(own)).to_pylist(), Cut(0, key, doc_id)) > 0
    return found


def _rescaled(
    cuts: list[dict[str, Any]], partial: list[Cut], taken: list[int], scale: Fraction
) -> Iterator[dict[str, Any]]:
    """Cuts with the miniature's sums: what is expected is what its strata hold, as often as they are drawn."""
    places = [(cut.hash, cut.doc_id) for cut in partial]
    for cut in cuts:
        place = (cut["hash"], cut["doc_id"])
        inside = places.index(place) + 1 if place in places else 0
        expected = sum(tokens * (cut["epochs"] + (number < inside)) for number, tokens in enumerate(taken))
        yield {**cut, "expected_tokens": expected, "stage_tokens": round(cut["stage_tokens"] * scale)}


def _candidates(build: Build, leaf: Leaf) -> Iterator[pa.RecordBatch]:
    number = matching.leaves_of(build, leaf.share.source).index(leaf)
    for record in build.parts(CANDIDATES, leaf.share.source) if leaf.share.source in build.names(CANDIDATES) else ():
        for batch in read_batches(build.store, record.file(".parquet")):
            yield batch.filter(pa.array(batch.column("slice").to_numpy() == number))


def _strata(batch: pa.RecordBatch, partial: list[Cut]) -> np.ndarray:
    return selection.strata_of(batch.column("hash").to_numpy(), batch.column("doc_id"), partial)


def _rows(build: Build, leaf: Leaf, partial: list[Cut], buckets: Mapping[int, int]) -> dict[int, list[Row]]:
    """{stratum: the candidates of its bucket}, of all in one reading: a bucket is 1 / BUCKETS of them."""
    found: dict[int, list[Row]] = {number: [] for number in buckets}
    for batch in _candidates(build, leaf):
        second = selection.second_hashes(batch.column("hash").to_numpy())
        strata, places = _strata(batch, partial), selection.bucket_of(second)
        for number, bucket in buckets.items():
            own = np.flatnonzero((places == bucket) & (strata == number))
            rows = batch.take(pa.array(own))
            columns = (rows.column(name).to_pylist() for name in ("doc_id", "n_tokens"))
            found[number] += zip(second[own].tolist(), *columns, strict=True)
    return found
