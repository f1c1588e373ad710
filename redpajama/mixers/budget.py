"""The stage `budget`: histograms of all candidates -> token targets, and the cut of each slice. One part.

Its table has for each leaf of the mixture (a slice, or a bin of its curve) and each stage the target, the whole epochs,
and the last document of the partial one (`allocation`). What a take-down withdraws acts after all this: targets, epochs
and windows stay, and only the cut moves, as far as the partial epoch has documents (`withdrawing`).
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow.compute as pc

from redpajama.corpus import losses, withdrawn
from redpajama.corpus.stages import BUDGET, CANDIDATES, DOCUMENTS, TAKEDOWN
from redpajama.engine.parts import Outputs, Part, Result
from redpajama.engine.shapes import Counts, Piece, Single
from redpajama.engine.stages import REMOVED, Build
from redpajama.engine.store import Store
from redpajama.engine.tables import read_table
from redpajama.errors import BuildFailed
from redpajama.hashing import canonical_json
from redpajama.manifest import given
from redpajama.mixers import families, matching, miniature, selection, shares, withdrawing
from redpajama.mixers.allocation import BudgetError
from redpajama.mixers.candidates import read_histograms
from redpajama.mixers.selection import BUCKET_BITS, Cut
from redpajama.mixers.shares import Leaf
from redpajama.mixers.withdrawing import Gone

Masses = dict[str, np.ndarray]  # of each leaf: tokens per bucket of the selection hash


def pieces(build: Build) -> Iterator[Piece]:
    """One part: everything hangs together."""
    gone = withdrawn.all_identities(build)
    yield Piece(build.manifest.name, [build.contents(CANDIDATES), gone] if gone else build.contents(CANDIDATES))


def depends(build: Build, name: str) -> Counts:
    """The whole mixture, but for what sources are said to hold, and the longest shard."""
    said: Any = {"slice": {"__all__": {"tokens": True, "curve": {"tokens"}}}, "weights": True}
    asked = given(build.manifest.mixture).model_dump(mode="json", exclude=said)
    return {"mixture": asked, "tokens_per_shard": build.manifest.shards.tokens_per_shard}


def set_budget(build: Build, part: Part, outputs: Outputs) -> Result:
    """Histograms of all candidates -> {leaf: what there is and what is wanted, a cut for each stage}."""
    mixture = given(build.manifest.mixture)
    masses = _masses(build)
    available = {name: int(mass.sum()) for name, mass in masses.items()}
    _refuse_long(build)
    try:
        stages = shares.allocate_stages(mixture, available)
    except BudgetError as error:
        raise BuildFailed(_with_losses(build, str(error), available)) from None
    if not any(sum(targets.values()) for targets in stages):
        raise BuildFailed(_with_losses(build, "mixture: no source has a token left to draw", available))
    wanted = shares.wanted_shares(mixture, available)
    table: dict[str, dict[str, Any]] = {}
    gone = withdrawing.find(build)
    withdrawing.refuse_empty(mixture, available, gone)
    for leaf in shares.leaves(mixture):
        cuts = _cuts(build, leaf, [targets[leaf.name] for targets in stages], masses[leaf.name], gone[leaf.name])
        row = {"source": leaf.share.source, "wanted_share": wanted[leaf.name], "available_tokens": available[leaf.name]}
        row |= {"cuts": cuts}
        table[leaf.name] = miniature.scaled(build, leaf, row, gone[leaf.name]) if mixture.scale else row
    outputs.file(".budget").write_bytes(canonical_json(table))
    sizes = [sum(row["cuts"][number]["stage_tokens"] for row in table.values()) for number in range(len(stages))]
    return [], {
        "budget_tokens": mixture.budget_tokens,
        "target_tokens": sum(sizes),
        "streams": {str(number): size for number, size in enumerate(sizes)},
        "held_out_tokens": _held_out_tokens(build),
        "wanted": wanted,
        **withdrawing.counts_of(build, gone),
        **families.copies_of(build, table),
    }


def _refuse_long(build: Build) -> None:
    """A document longer than a shard makes the shard as long as itself."""
    limit = build.manifest.shards.tokens_per_shard
    longest: list[list[Any]] = [[0, ""], *(part.inputs[-1]["longest"] for part in build.parts(CANDIDATES))]
    tokens, doc_id = max(longest)
    if tokens > limit:
        raise BuildFailed(
            f"mixture: {doc_id} has {tokens:,} tokens, more than tokens_per_shard = {limit}: set "
            f"mixture.max_document_tokens = {limit}, which cuts it, or tokens_per_shard = {tokens}"
        )


def _held_out_tokens(build: Build) -> int:
    sums = [record.counts.get("held_out", {}) for record in build.stage(CANDIDATES).values()]
    return sum(each.get("tokens", 0) for each in sums)


def _masses(build: Build) -> Masses:
    """The sums over all candidates, of each leaf."""
    found: Masses = {}
    for source in dict.fromkeys(share.source for share in given(build.manifest.mixture).slice):
        leaves = matching.leaves_of(build, source)
        total = np.zeros((len(leaves), selection.BUCKETS), np.int64)
        parts = build.parts(CANDIDATES, source) if source in build.names(CANDIDATES) else []
        for body in build.store.read_each([part.file(".histogram").key for part in parts]):
            total += read_histograms(given(body))
        found |= {leaf.name: total[number] for number, leaf in enumerate(leaves)}
    return found


def _with_losses(build: Build, message: str, available: Mapping[str, int]) -> str:
    """The message, and why nothing is left of the sources without a token."""
    empty = {leaf.share.source for leaf in shares.leaves(given(build.manifest.mixture)) if not available[leaf.name]}
    return "; ".join([message, *(losses.told(build, source) for source in sorted(empty))])


def _cuts(build: Build, leaf: Leaf, targets: list[int], mass: np.ndarray, gone: Gone) -> list[dict[str, Any]]:
    """Up to which document a leaf is drawn at the end of each stage; every stage goes on where the last one stopped.

    Epochs and the rest are counted with what is withdrawn; what others replace is taken from them in the order of the
    partial epoch, to its end at most: no document gets more copies than it could have had.
    """
    available, found, end, left = int(mass.sum()), [], 0, mass - gone.replaced_mass()
    for target in targets:
        start, end = end, end + target
        epochs, remainder = selection.split_epochs(end, available)
        cut, reached = Cut(epochs), 0
        if remainder and (wanted := min(remainder + epochs * gone.replaced_tokens, int(left.sum()))):
            bucket, before = selection.boundary_bucket(left, wanted)
            rows = (row for row in _bucket_rows(build, leaf, bucket) if row[1] not in gone.replaced)
            key, doc_id, reached = selection.cut_inside(rows, before, wanted)
            cut = Cut(epochs, key, doc_id)
        found.append(
            {
                "start_tokens": start,
                "target_tokens": end,
                "expected_tokens": epochs * (available - gone.replaced_tokens) + reached - gone.unreplaced_tokens(cut),
                "stage_tokens": target,
                "epochs": cut.epochs,
                "hash": cut.hash,
                "doc_id": cut.doc_id,
            }
        )
    return found


def cut_of(row: dict[str, Any]) -> Cut:
    """A cut as the table has it."""
    return Cut(row["epochs"], row["hash"], row["doc_id"])


def _bucket_rows(build: Build, leaf: Leaf, bucket: int) -> Iterator[tuple[int, str, int]]:
    """The candidates of one bucket of a leaf; row-group statistics keep the rest unread."""
    number = matching.leaves_of(build, leaf.share.source).index(leaf)
    low, high = bucket << (64 - BUCKET_BITS), ((bucket + 1) << (64 - BUCKET_BITS)) - 1
    bounds = [("hash", ">=", low), ("hash", "<=", high)]
    for record in build.parts(CANDIDATES, leaf.share.source):
        table = read_table(build.store, record.file(".parquet"), filters=bounds)
        table = table.filter(pc.equal(table.column("slice"), number))
        yield from zip(*(table.column(name).to_pylist() for name in ("hash", "doc_id", "n_tokens")), strict=True)


def read_budget(build: Build) -> dict[str, dict[str, Any]]:
    """The committed budget table: {leaf: row}."""
    return _read_budget(build.store, build.parts(BUDGET)[0].file(".budget").key)


@lru_cache(maxsize=2)
def _read_budget(store: Store, key: str) -> dict[str, dict[str, Any]]:
    return json.loads(store.read(key))


STAGE = Single(
    name=BUDGET,
    version=4,
    libraries=("numpy",),
    after=(CANDIDATES, DOCUMENTS, TAKEDOWN, REMOVED),
    depends=depends,
    pieces=pieces,
    work=set_budget,
)
