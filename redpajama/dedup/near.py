"""The stages `signatures`, `candidates-near` and `clusters`: which documents may say almost the same.

Flow: documents -> signatures and sketches (of all documents: no verdict matters, so another rule, threshold or source
set signs no text again) -> band keys of living documents, regrouped -> star edges -> clusters. `survivors` goes on.

A bucket of equal band keys gives one edge for each document but its first, never all pairs; so a hot bucket costs no
more than its rows and needs no cap, it is counted. What is capped, and counted, are the comparisons (`walk`). A bucket
in which the manifest lets no two documents be compared (`policy.comparable`) gives no edge.

Memory: a reducer of band keys holds about BAND_ROWS rows of 16 bytes, twice; `clusters` 9 bytes a document (17 beyond
2**32 of them), or with `components = "star"` a part (`star`). No bound depends on the machine: the bytes are the same
under any memory limit that suffices (bench/dedup_scale.py).
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from redpajama.artifacts import BuildFailed, Outputs, Part, PartRecord
from redpajama.columns import read_batches, read_table, write_table
from redpajama.dedup import minhash, policy
from redpajama.dedup.minhash import MinHashParams
from redpajama.hashing import draw
from redpajama.manifest import Kind
from redpajama.stages import Build, Regroup, Result, Step, fingerprint, partitioned, versions
from redpajama.verdicts import removed_ids, verdict_stages

VERSION = 3
BAND_ROWS = 8_000_000  # of band keys in a reducer
UNION_FIND_BYTES = 8 << 30  # at 9 bytes a document: some 950 million
HOT_BUCKET = 10_000  # documents with one band key: more are counted as hot
CLUSTER_NGRAMS = 1 << 25  # n-grams of one cluster that travel, 256 MiB: large clusters are compared by sketches
MIN_SKETCH = 1024  # with fewer of a document's (standard error above 0.016) none travel
LIBRARIES = ("numpy", "pyarrow")

BANDS = pa.schema([pa.field("key", pa.uint64()), pa.field("node", pa.int64())])
EDGES = pa.schema([pa.field("one", pa.int64()), pa.field("other", pa.int64())])
CLUSTERED = pa.schema([pa.field("node", pa.int64()), pa.field("cluster", pa.int64()), pa.field("size", pa.int64())])

NARROW = ["doc_id", "bytes", "ngrams"]
PACKING = {  # of a signatures part: hashes do not compress
    "compression": {**dict.fromkeys(NARROW, "zstd"), **dict.fromkeys(["signature", "sketch"], "none")},
    "use_dictionary": NARROW,
    "write_statistics": NARROW,
}


def parameters(build: Build) -> MinHashParams:
    """What the manifest asks for."""
    return minhash.parse(build.manifest.dedup.near)


# ---- signatures


def signed_schema(permutations: int) -> pa.Schema:
    """The columns of a signatures part: one row for each document, in the documents' order."""
    signature = pa.field("signature", pa.binary(4 * permutations))
    counts = [pa.field("bytes", pa.int64()), pa.field("ngrams", pa.int64())]  # 0 n-grams: the signature means nothing
    return pa.schema([pa.field("doc_id", pa.string()), *counts, signature, pa.field("sketch", pa.large_binary())])


def plan_signatures(build: Build) -> list[Part]:
    """One part for each documents part."""
    parts = []
    for source in build.manifest.source:
        stamp = fingerprint(
            stage=["signatures", VERSION, minhash.VERSION],
            params=[*parameters(build).ngrams_of(policy.kind_of(source)), parameters(build).permutations],
            sketch=minhash.SKETCH,
            libraries=versions(*LIBRARIES),
        )
        for documents in build.parts("documents", source.name):
            spec, size = _spec_of(documents), documents.counts["text_bytes"]
            parts.append(Part("signatures", source.name, stamp, documents.sha256, spec, size))
    return parts


def _spec_of(documents: PartRecord) -> dict[str, Any]:
    return {"documents": documents.stem, "file": documents.file(".parquet")}


def sign_part(build: Build, part: Part, outputs: Outputs) -> Result:
    """The texts of one documents part -> signatures and sketches, row group by row group."""
    params, rows = parameters(build), 0
    kind = policy.kind_of(build.manifest.source_named(part.name))
    schema = signed_schema(params.permutations)
    with pq.ParquetWriter(outputs.file(".parquet"), schema, version="2.6", **PACKING) as writer:
        for batch in read_batches(build.store, part.spec["file"], ["doc_id", "text", "q_bytes"]):
            signed, counts, sketches = minhash.sign(batch.column("text"), params, kind, minhash.SKETCH)
            values = pa.Array.from_buffers(schema.field("signature").type, len(signed), [None, pa.py_buffer(signed)])
            sizes = batch.column("q_bytes").cast(pa.int64())
            smallest = pa.array([sketch.tobytes() for sketch in sketches], pa.large_binary())
            table = pa.table([batch.column("doc_id"), sizes, pa.array(counts), values, smallest], schema=schema)
            writer.write_table(table, row_group_size=table.num_rows)
            rows += table.num_rows
    return [part.spec["documents"]], {"read": rows, "kept": rows}


def signatures_of(column: pa.Array) -> np.ndarray:
    """A signature column as uint32[n, permutations]."""
    width = column.type.byte_width
    data = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * width : (column.offset + len(column)) * width]
    return data.view(np.uint32).reshape(len(column), width // 4)


# ---- candidates


def nodes(build: Build) -> list[tuple[int, PartRecord]]:
    """(node of its first document, signatures part): a document's node is its number among all documents."""
    parts = build.parts("signatures")
    starts = np.cumsum([0] + [part.counts["kept"] for part in parts]).tolist()
    return list(zip(starts, parts, strict=False))


def name_of(record: PartRecord) -> str:
    """The source of a signatures part."""
    return record.id.rpartition("/")[0].rpartition("-")[0]


def power_of_two(amount: int, limit: int) -> int:
    """The least number of pieces, a power of two, of which none has much more than `limit`."""
    return 1 << max(0, (amount - 1) // limit).bit_length()


def band_partitions(build: Build) -> int:
    """A power of two that keeps a reducer's band keys bounded."""
    documents = sum(record.counts["kept"] for record in build.stage("signatures").values())
    return power_of_two(documents * parameters(build).bands, BAND_ROWS)


def _band_stamp(build: Build) -> str:
    params, manifest = parameters(build), build.manifest
    return fingerprint(
        stage=["candidates-near", VERSION],
        params=[params.bands, params.rows],
        kinds={name: policy.kind_of(manifest.source_named(name)) for name in manifest.dedup_order},
        comparable=policy.comparable(manifest, params).tolist(),
        libraries=versions(*LIBRARIES),
    )


def plan_bands(build: Build) -> list[Part]:
    """One part for each signatures part; what it emits depends on the verdicts so far."""
    stamp, count, verdicts = _band_stamp(build), band_partitions(build), build.ids(*verdict_stages(build))
    parts = []
    for first, signed in nodes(build):
        spec = {"signatures": signed.stem, "first": first, "partitions": count}
        reads = [signed.sha256, first, count, verdicts]
        parts.append(Part("candidates-near-split", name_of(signed), stamp, reads, spec, signed.counts["kept"]))
    return parts


def split_bands(build: Build, part: Part) -> Iterator[tuple[int, pa.Table]]:
    """Living documents of one part -> (band key, node), dealt out by key; kinds of text share no key."""
    params, count, node = parameters(build), part.spec["partitions"], part.spec["first"]
    manifest, salt = build.manifest, _salt(policy.kind_of(build.manifest.source_named(part.name)))
    if not policy.comparable(manifest, params)[manifest.dedup_order.index(part.name)].any():
        return
    signed, documents = records_of(build, part)
    removed = removed_ids(build, verdict_stages(build), documents)
    for batch in read_batches(build.store, signed.file(".parquet"), ["doc_id", "ngrams", "signature"]):
        alive = pc.invert(pc.is_in(batch.column("doc_id"), value_set=removed))
        rows = np.flatnonzero(pc.and_(alive, pc.greater(batch.column("ngrams"), 0)).to_numpy(zero_copy_only=False))
        keys = minhash.band_keys(signatures_of(batch.column("signature"))[rows], params).ravel() ^ salt
        table = pa.table([pa.array(keys), pa.array(np.repeat(node + rows, params.bands))], schema=BANDS)
        yield from partitioned(table, (keys >> np.uint64(32)).astype(np.int64) * count >> 32, count)
        node += batch.num_rows


def _salt(kind: Kind) -> np.uint64:
    return np.uint64(draw(0, "kind of text", kind))


def records_of(build: Build, part: Part) -> tuple[PartRecord, PartRecord]:
    """The signatures part that a part reads, and the documents part behind it."""
    signed = next(record for record in build.parts("signatures", part.name) if record.stem == part.spec["signatures"])
    documents = build.parts("documents", part.name)
    return signed, next(record for record in documents if record.stem == signed.inputs[0])


def plan_candidates(build: Build) -> list[Part]:
    """One part for each partition of the band keys."""
    stamp, count = _band_stamp(build), band_partitions(build)
    upstream = build.ids("signatures", *verdict_stages(build))
    return [
        Part("candidates-near", "all", stamp, [upstream, count, number], {"partition": number, "inputs": upstream})
        for number in range(count)
    ]


def join_buckets(build: Build, part: Part, rows: pa.Table, outputs: Outputs) -> Result:
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
    return part.spec["inputs"], {"read": len(keys), "kept": len(keys), "edges": len(edges[0]), **counts}


def _may_meet(build: Build, members: np.ndarray, buckets: np.ndarray) -> np.ndarray:
    """bool[n]: whether the member's bucket holds two documents that are compared. An economy: `walk` decides."""
    allowed = policy.comparable(build.manifest, parameters(build))
    if allowed.all() or not len(members):
        return np.ones(len(members), bool)
    starts = nodes(build)
    ranks_of_parts = np.array([build.manifest.dedup_order.index(name_of(signed)) for _, signed in starts])
    ranks = ranks_of_parts[np.searchsorted([first for first, _ in starts], members, "right") - 1]
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


# ---- clusters


def plan_clusters(build: Build) -> list[Part]:
    """One part: clusters run through all partitions."""
    stamp = fingerprint(stage=["clusters", VERSION], libraries=versions(*LIBRARIES))
    reads = build.ids("signatures", "candidates-near")
    return [Part("clusters", "all", stamp, reads, {"inputs": reads})]


def cluster(build: Build, part: Part, outputs: Outputs) -> Result:
    """Edges, streamed -> the cluster of each document that has one, sorted by node; a row group for each part.

    Raises:
        BuildFailed: more documents than union-find is meant for.
    """
    return write_clusters(build, part, outputs, _by_union_find(build))


def _by_union_find(build: Build) -> Iterator[pa.Table]:
    """CLUSTERED for each signatures part."""
    from redpajama.dedup import clusters

    starts = nodes(build)
    total = sum(signed.counts["kept"] for _, signed in starts)
    if 9 * total > UNION_FIND_BYTES:
        raise BuildFailed(
            f"clusters of {total:,} documents need {9 * total / 2**30:.0f} GiB in one process, more than "
            f"{UNION_FIND_BYTES >> 30}: set dedup.components to 'star'"
        )
    parents = clusters.singletons(total)
    for record in build.parts("candidates-near"):
        for batch in read_batches(build.store, record.file(".parquet")):
            clusters.unite(parents, *(batch.column(name).to_numpy() for name in ("one", "other")))
    sizes = clusters.measure(parents)
    for first, signed in starts:
        yield _clustered(parents, sizes, first, first + signed.counts["kept"])


def write_clusters(build: Build, part: Part, outputs: Outputs, clustered: Iterator[pa.Table]) -> Result:
    """CLUSTERED tables, one for each signatures part in order -> one file; and what it holds."""
    starts = nodes(build)
    total = sum(signed.counts["kept"] for _, signed in starts)
    counts: Counter[str] = Counter(read=total, kept=total, clusters=0)
    largest = 0
    with pq.ParquetWriter(outputs.file(".parquet"), CLUSTERED, compression="zstd", version="2.6") as writer:
        for (first, signed), table in zip(starts, clustered, strict=True):
            if table.num_rows:
                writer.write_table(table, row_group_size=table.num_rows)
                counts["clustered"] += table.num_rows
                counts["ngrams"] += _travelling(build, signed, table, first)
                counts["clusters"] += pc.sum(pc.equal(table.column("node"), table.column("cluster"))).as_py()
                largest = max(largest, pc.max(table.column("size")).as_py())
    return part.spec["inputs"], {**counts, "largest": largest or min(1, total)}


def _clustered(parents: np.ndarray, sizes: np.ndarray, start: int, end: int) -> pa.Table:
    """CLUSTERED for the nodes of one part that are not alone."""
    roots = parents[start:end]
    rows = np.flatnonzero(sizes[roots] > 1)
    columns = [start + rows, roots[rows].astype(np.int64), sizes[roots[rows]].astype(np.int64)]
    return pa.table([pa.array(column) for column in columns], schema=CLUSTERED)


def _travelling(build: Build, signed: PartRecord, clustered: pa.Table, first: int) -> int:
    """How many n-grams of one part's documents will be regrouped, at most."""
    counts = read_table(build.store, signed.file(".parquet"), ["ngrams"]).column("ngrams").to_numpy()
    sizes, rows = clustered.column("size").to_numpy(), clustered.column("node").to_numpy() - first
    return int(np.minimum(counts[rows], ngram_limit(sizes)).sum())


def ngram_limit(sizes: np.ndarray) -> np.ndarray:
    """Sizes of clusters -> how many n-grams of each of their documents may travel; int64[n]."""
    each = CLUSTER_NGRAMS // sizes
    return np.where(each >= MIN_SKETCH, each, 0)


SIGNATURES = Step("signatures", plan_signatures, sign_part)
CANDIDATES = Regroup("candidates-near", BANDS, plan_bands, split_bands, plan_candidates, join_buckets, hashes=True)
CLUSTERS = Step("clusters", plan_clusters, cluster)
