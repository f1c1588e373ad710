"""What is held out for validation: drawn before mixing, by the text, so that no copy of it is trained on.

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

GONE, HELD = -1, -2  # instead of a leaf's number


def identity(build: Build, documents: PartRecord) -> list[Any]:
    """What it hangs on beside a part's documents: near copies that are alive."""
    return [homes.digest(build, FAMILIES, documents, families.HOME)]


def families_of(build: Build, documents: PartRecord, ids: pa.Table) -> dict[str, pa.Array]:
    """{"family": uint64[n] or null, "is_full": bool[n]} of each document of a part, in its order."""
    rows = homes.read(build, FAMILIES, documents, families.HOME)
    places = pc.index_in(ids.column("doc_id"), value_set=rows.column("doc_id").combine_chunks())
    full = pc.fill_null(rows.column("is_full").take(places), False)
    return {"family": rows.column("family").take(places), "is_full": full}


def is_held(build: Build, documents: PartRecord, own: dict[str, pa.Array]) -> pa.Array:
    """bool[n]: whether each document of a part is held out."""
    fraction = given(build.manifest.mixture).validation
    rows = documents.counts["kept"]
    if not fraction:
        return pa.array(np.zeros(rows, bool))
    digests = read_table(build.store, documents.file(".parquet"), ["text_digest"]).column("text_digest")
    drawn = draws(build.manifest.seed, ["validation"], digests.cast(pa.binary()))
    keys = pc.if_else(pc.is_valid(own["family"]), own["family"], pa.array(drawn))
    return pc.less(keys, pa.scalar(min(int(fraction * HASH_SPACE), HASH_SPACE - 1), pa.uint64()))


def drawn_numbers(build: Build, documents: PartRecord, counts: pa.Table) -> np.ndarray:
    """The number of each document's leaf: int16[n]; HELD of what is held out, GONE of what no slice may draw."""
    own = families_of(build, documents, counts)
    held = is_held(build, documents, own).to_numpy(zero_copy_only=False)
    full, numbers = own["is_full"].to_numpy(zero_copy_only=False), matching.numbers(build, documents)
    limit = given(build.manifest.mixture).max_document_tokens
    drawn = [number for number, leaf in enumerate(matching.leaves_of(build, documents.name)) if leaf.is_drawn]
    gone = full | ~np.isin(numbers, drawn)
    if limit is not None:
        gone |= counts.column("n_tokens").to_numpy() >= limit
    return np.where(gone, GONE, np.where(held, HELD, numbers)).astype(np.int16)
