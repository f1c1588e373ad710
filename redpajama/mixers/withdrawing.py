"""What is withdrawn of each leaf of the mixture, and what that does to its cut."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow.compute as pc

from redpajama.corpus import withdrawn
from redpajama.engine.shapes import Counts
from redpajama.engine.stages import Build
from redpajama.errors import BuildFailed
from redpajama.manifest import given
from redpajama.mixers import held_out, matching, selection, shares
from redpajama.mixers.selection import Cut
from redpajama.tables import Mixture

EMPTIES = "withdrawn: "  # how the message of a slice without documents begins


@dataclass(frozen=True)
class Gone:
    """The withdrawn candidates of one leaf: those that others replace, and those whose place stays empty."""

    ids: list[str]
    tokens: np.ndarray  # int64[n], with the end of document
    is_replaced: np.ndarray  # bool[n]
    hashes: np.ndarray  # uint64[n], by which they are drawn

    def of(self, own: np.ndarray, hashes: np.ndarray) -> "Gone":
        """Some of them (bool[n]), drawn by other hashes (uint64[n])."""
        ids = [id for id, is_own in zip(self.ids, own, strict=True) if is_own]
        return Gone(ids, self.tokens[own], self.is_replaced[own], hashes[own])

    @cached_property
    def replaced(self) -> frozenset[str]:
        """The ids of those that others replace."""
        return frozenset(id for id, is_replaced in zip(self.ids, self.is_replaced, strict=True) if is_replaced)

    @property
    def replaced_tokens(self) -> int:
        return int(self.tokens[self.is_replaced].sum())

    def replaced_mass(self) -> np.ndarray:
        """int64[BUCKETS]: the tokens of those that others replace, per bucket of the hash."""
        return selection.histogram(self.hashes[self.is_replaced], self.tokens[self.is_replaced])

    def unreplaced_tokens(self, cut: Cut) -> int:
        """The tokens that a leaf has less than its cut says, as their place stays empty."""
        return int((selection.copies_of(self.hashes, self.ids, cut) * self.tokens)[~self.is_replaced].sum())


def find(build: Build) -> dict[str, Gone]:
    """{leaf: what is withdrawn of it}"""
    found: dict[str, Gone] = {}
    mixture, seed = given(build.manifest.mixture), build.manifest.seed
    for source in dict.fromkeys(share.source for share in mixture.slice):
        rows = withdrawn.all_rows(build, source)
        for number, leaf in enumerate(matching.leaves_of(build, source)):
            own = rows.filter(pc.equal(rows.column("slice"), number))
            ids, tokens, refill = (own.column(name) for name in ("doc_id", "n_tokens", "refill"))
            hashes = selection.selection_hashes(seed, ids)
            found[leaf.name] = Gone(ids.to_pylist(), tokens.to_numpy(), refill.to_numpy(), hashes)
    return found


def refuse_empty(mixture: Mixture, available: dict[str, int], gone: dict[str, Gone]) -> None:
    """Raises BuildFailed where all that a slice could draw is withdrawn."""
    for share in mixture.slice:
        leaves = [leaf.name for leaf in shares.leaves(mixture, share.source) if leaf.share is share and leaf.is_drawn]
        had = sum(available[name] for name in leaves)
        if had and had == sum(int(gone[name].tokens.sum()) for name in leaves):
            number = sum(len(gone[name].ids) for name in leaves)
            raise BuildFailed(
                f"{EMPTIES}slice '{share.key}' would be empty: all its {number:,} documents are named; leave some, "
                f"or give it weight 0 first"
            )


def counts_of(build: Build, gone: dict[str, Gone]) -> Counts:
    """{"withdrawn": {leaf: documents}, "withdrawn_held_out_tokens"}; {} where nothing is withdrawn."""
    found: dict[str, Any] = {"withdrawn": {leaf: len(each.ids) for leaf, each in gone.items() if each.ids}}
    held = 0
    for source in sorted({share.source for share in given(build.manifest.mixture).slice}):
        rows = withdrawn.all_rows(build, source)
        own = pc.equal(rows.column("slice"), held_out.HELD)
        held += pc.sum(rows.filter(own).column("n_tokens")).as_py() or 0
    found |= {"withdrawn_held_out_tokens": held}
    return {name: value for name, value in found.items() if value}
