"""The stage `candidates-near`: which living documents share a band of their signatures.

A bucket of equal band keys gives one edge for each document but its first, never all pairs; so a hot bucket costs no
more than its rows and needs no cap, it is counted. What is capped, and counted, are the comparisons (`walk`). A bucket
in which the manifest lets no two documents be compared (`policy.comparable`) gives no edge.

Memory: a reducer of band keys holds about BAND_ROWS rows of 16 bytes, twice. No bound depends on the machine: the bytes
are the same under any memory limit that suffices (bench/dedup_scale.py).
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import verdicts
from redpajama.corpus.stages import DOCUMENTS
from redpajama.dedup.near import minhash, policy, signatures
from redpajama.dedup.near.nodes import nodes_of
from redpajama.dedup.near.signatures import parameters, signatures_of
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts, Dealt, Range, Regrouped
from redpajama.engine.splits import pieces
from redpajama.engine.stages import REMOVED, Build
from redpajama.engine.tables import read_batches, write_table
from redpajama.hashing import draw
from redpajama.manifest import Kind, given

BAND_ROWS = 8_000_000  # of band keys in a reducer
HOT_BUCKET = 10_000  # documents with one band key: more are counted as hot
LIBRARIES = ("numpy", "pyarrow")

BANDS = pa.schema([pa.field("key", pa.uint64()), pa.field("node", pa.int64())])
EDGES = pa.schema([pa.field("one", pa.int64()), pa.field("other", pa.int64())])


def depends(build: Build, name: str) -> Counts:
    """Bands, and which sources and kinds of text meet."""
    params, manifest = parameters(build), build.manifest
    return {
        "params": [params.bands, params.rows],
        "kinds": {name: manifest.source_named(name).kind for name in manifest.dedup_order},
        "pairs": policy.pairs(manifest, params),
        **({"documents": _documents(build)} if params.only_between else {}),
    }


def _documents(build: Build) -> dict[str, int]:
    """How many each source has: it tells whose a node is, which the rows of a reducer do not say."""
    return {name: record.counts["kept"] for name, record in build.stage(DOCUMENTS).items()}


def partitions(build: Build, name: str, parts: list[PartRecord]) -> int:
    """A power of two that keeps a reducer's band keys bounded."""
    documents = sum(part.counts["kept"] for part in parts)
    return pieces(documents * parameters(build).bands, BAND_ROWS, len(parts))


def asks(build: Build, documents: PartRecord) -> list[str | int]:
    """Where the part's nodes begin, its signatures, and who of it is gone."""
    signed = signatures.signed_part(build, documents)
    return [nodes_of(build).bounds(documents)[0], signed.content, *verdicts.identity(build, documents)]


def split(build: Build, documents: PartRecord, count: int) -> Dealt:
    """Living documents of one part -> (band key, node), dealt out by key; kinds of text share no key."""
    params, (node, _) = parameters(build), nodes_of(build).bounds(documents)
    manifest, salt = build.manifest, _salt(given(build.manifest.source_named(documents.name).kind))
    if not policy.comparable(manifest, params)[manifest.dedup_order.index(documents.name)].any():
        return
    signed, removed = signatures.signed_part(build, documents), verdicts.removed_ids(build, documents)
    for batch in read_batches(build.store, signed.file(".parquet"), ["doc_id", "ngrams", "signature"]):
        living = pc.and_(verdicts.alive(batch, removed), pc.greater(batch.column("ngrams"), 0))
        rows = np.flatnonzero(living.to_numpy(zero_copy_only=False))
        keys = minhash.band_keys(signatures_of(batch.column("signature"))[rows], params).ravel() ^ salt
        table = pa.table([pa.array(keys), pa.array(np.repeat(node + rows, params.bands))], schema=BANDS)
        yield (keys >> np.uint64(32)).astype(np.int64) * count >> 32, table
        node += batch.num_rows


def _salt(kind: Kind) -> np.uint64:
    return np.uint64(draw(0, "kind of text", kind))


def join_buckets(build: Build, partition: Range, rows: pa.Table, outputs: Outputs) -> Counts:
    """All rows of some keys -> an edge from each bucket's first document to each of its others."""
    keys, members = (rows.column(name).to_numpy() for name in ("key", "node"))
    order = np.lexsort((members, keys))
    keys, members = keys[order], members[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.zeros(0, np.int64)
    sizes = np.diff(np.append(starts, len(keys)))
    useful = np.repeat(sizes > 1, sizes)
    useful[useful] = _may_meet(build, members[useful], np.repeat(np.arange((sizes > 1).sum()), sizes[sizes > 1]))
    edges = distinct_edges(np.repeat(members[starts], sizes)[useful], members[useful])
    write_table(outputs.file(".parquet"), pa.table([pa.array(column) for column in edges], schema=EDGES))
    hot = sizes[sizes > HOT_BUCKET]
    counts = {"buckets": int((sizes > 1).sum()), "hot_buckets": len(hot), "hot_rows": int(hot.sum())}
    return {"read": len(keys), "kept": len(keys), "edges": len(edges[0]), **counts}


def _may_meet(build: Build, members: np.ndarray, buckets: np.ndarray) -> np.ndarray:
    """bool[n]: whether the member's bucket holds two documents that are compared. An economy: `walk` decides."""
    allowed = policy.comparable(build.manifest, parameters(build))
    if allowed.all() or not len(members):
        return np.ones(len(members), bool)
    ranks = nodes_of(build).ranks_of(members)
    counts = np.stack([np.bincount(buckets[ranks == rank], minlength=buckets[-1] + 1) for rank in range(len(allowed))])
    meets = np.zeros(counts.shape[1], bool)
    for one, other in np.argwhere(np.triu(allowed)):
        meets |= (counts[one] > 1) if one == other else (counts[one] > 0) & (counts[other] > 0)
    return meets[buckets]


def distinct_edges(ones: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each pair of two nodes once, sorted: near copies share many bands."""
    real = ones != others
    ones, others = ones[real], others[real]
    order = np.lexsort((others, ones))
    ones, others = ones[order], others[order]
    new = np.ones(len(ones), bool)
    new[1:] = (ones[1:] != ones[:-1]) | (others[1:] != others[:-1])
    return ones[new], others[new]


STAGE = Regrouped(
    name="candidates-near",
    version=5,
    libraries=LIBRARIES,
    after=(DOCUMENTS, signatures.STAGE.name, REMOVED),
    each=DOCUMENTS,
    schema=BANDS,
    depends=depends,
    partitions=partitions,
    split=split,
    asks=asks,
    reduce=join_buckets,
    packing="lz4",  # hashes hardly compress
)
