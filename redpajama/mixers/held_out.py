"""Which documents a slice may draw, and what is held out for validation: drawn before mixing, by the text, so that no
copy of it is trained on.

A draw is a hash of the normalised text, and of near copies that are alive together one of their first: a family is held
out as a whole. Without near-dedup only exact copies go with each other.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import families
from redpajama.corpus.stages import FAMILIES
from redpajama.engine import homes
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import Build
from redpajama.engine.tables import read_table
from redpajama.hashing import HASH_SPACE, draws
from redpajama.manifest import given
from redpajama.mixers import matching
from redpajama.records import Reason

GONE, HELD = -1, -2  # instead of a leaf's number
REASONS = (Reason.NO_TOKENS, Reason.TOO_MANY_TOKENS, Reason.NOT_SELECTED, Reason.MAX_COPIES, Reason.HELD_OUT)
DRAWN = -1  # instead of a reason's place


def identity(build: Build, documents: PartRecord) -> list[Any]:
    """What `placed` hangs on beside a part's documents and counts."""
    mixture = given(build.manifest.mixture)
    seed = build.manifest.seed if mixture.validation else None
    asked = [seed, mixture.validation, mixture.max_document_tokens, _drawn(build, documents.name)]
    return [*asked, homes.digest(build, FAMILIES, documents, families.HOME), *matching.identity(build, documents)]


def families_of(build: Build, documents: PartRecord, ids: pa.Table) -> dict[str, pa.Array]:
    """{"family": uint64[n] or null, "is_full": bool[n]} of each document of a part, in its order."""
    rows = homes.read(build, FAMILIES, documents, families.HOME)
    places = pc.index_in(ids.column("doc_id"), value_set=rows.column("doc_id").combine_chunks())
    full = pc.fill_null(rows.column("is_full").take(places), False)
    return {"family": rows.column("family").take(places), "is_full": full}


def is_held(build: Build, documents: PartRecord, family: pa.Array) -> np.ndarray:
    """bool[n]: whether each document of a part, of a family (uint64[n] or null) or none, is held out."""
    fraction = given(build.manifest.mixture).validation
    rows = documents.counts["kept"]
    if not fraction:
        return np.zeros(rows, bool)
    digests = read_table(build.store, documents.file(".parquet"), ["text_digest"]).column("text_digest")
    drawn = draws(build.manifest.seed, ["validation"], digests.cast(pa.binary()))
    keys = pc.if_else(pc.is_valid(family), family, pa.array(drawn))
    held = pc.less(keys, pa.scalar(min(int(fraction * HASH_SPACE), HASH_SPACE - 1), pa.uint64()))
    return held.to_numpy(zero_copy_only=False)


def placed(build: Build, documents: PartRecord, counts: pa.Table) -> pa.Table:
    """A part's counts with `slice` (the number of each document's leaf), `family` (uint64 or null), and `left`: the
    place of the first of REASONS why it is not drawn, DRAWN where it is."""
    own, numbers = families_of(build, documents, counts), matching.numbers(build, documents)
    limit, tokens = given(build.manifest.mixture).max_document_tokens, counts.column("n_tokens").to_numpy()
    reasons = {
        Reason.NO_TOKENS: tokens == 0,
        Reason.TOO_MANY_TOKENS: tokens >= limit if limit is not None else np.zeros(len(tokens), bool),
        Reason.NOT_SELECTED: ~np.isin(numbers, _drawn(build, documents.name)),
        Reason.MAX_COPIES: own["is_full"].to_numpy(zero_copy_only=False),
        Reason.HELD_OUT: is_held(build, documents, own["family"]),
    }
    left = np.select([reasons[reason] for reason in REASONS], range(len(REASONS)), DRAWN)
    counts = counts.append_column("slice", pa.array(numbers)).append_column("family", own["family"])
    return counts.append_column("left", pa.array(left, pa.int8()))


def _drawn(build: Build, source: str) -> list[int]:
    """The numbers of the leaves that are drawn from."""
    return [number for number, leaf in enumerate(matching.leaves_of(build, source)) if leaf.is_drawn]


def drawn_numbers(build: Build, documents: PartRecord, counts: pa.Table) -> np.ndarray:
    """The number of each document's leaf: int16[n]; HELD of what is held out, GONE of what no slice may draw."""
    own = placed(build, documents, counts)
    numbers, left = own.column("slice").to_numpy(), own.column("left").to_numpy()
    return np.select([left == DRAWN, left == REASONS.index(Reason.HELD_OUT)], [numbers, HELD], GONE).astype(np.int16)
