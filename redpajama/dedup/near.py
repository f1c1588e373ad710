"""The stages `signatures`, `candidates-near`, `clusters` and `near`: one document of those that say almost the same.

Flow: documents -> signatures (of all documents: no verdict matters, so another rule, threshold or source set reads no
text again) -> band keys of living documents, regrouped -> star edges -> clusters -> inside each, documents in policy
order: source order, then the longest, then the id. One is removed iff its measured n-gram similarity to a document that
stays reaches the threshold.

A bucket of equal band keys gives one edge for each document but its first, never all pairs; so a hot bucket costs no
more than its rows and needs no cap, it is counted. What is capped, and counted, are the comparisons (`clusters.walk`).

Memory: a reducer of band keys holds about BAND_ROWS rows of 16 bytes, twice; `clusters` 9 bytes a document (17 beyond
2**32 of them); a reducer of clusters about REDUCE_BYTES, or its largest cluster: the signatures of its documents and,
for all of them together, at most CLUSTER_NGRAMS n-grams of 8 bytes; and their verdicts. No bound depends on the
machine: the bytes are the same under any memory limit that suffices (bench/dedup_scale.py).
"""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from redpajama.artifacts import BuildFailed, Outputs, Part, PartRecord, StageRecord
from redpajama.columns import Blobs, read_batches, read_table, write_table
from redpajama.dedup import minhash
from redpajama.dedup.minhash import MinHashParams
from redpajama.hashing import canonical_json
from redpajama.records import Reason
from redpajama.stages import Build, Regroup, Result, Step, fingerprint, partitioned, versions
from redpajama.verdicts import VERDICT_SCHEMA, removed_ids, verdict_stages, write_verdicts

VERSION = 2
BAND_ROWS = 8_000_000  # of band keys in a reducer
REDUCE_BYTES = 256 << 20  # of signatures and n-grams in a reducer
UNION_FIND_BYTES = 8 << 30  # at 9 bytes a document: some 950 million
HOT_BUCKET = 10_000  # documents with one band key: more are counted as hot
MAX_NGRAMS = 1 << 16  # distinct n-grams of a document that travel; a longer one is compared by so many of them
CLUSTER_NGRAMS = 1 << 25  # n-grams of one cluster that travel, 256 MiB: large clusters are compared by sketches
MIN_SKETCH = 1024  # with fewer (standard error above 0.016) none travel, and estimates decide where they are sure
LIBRARIES = ("numpy", "pyarrow")
WEB_PIPELINES = ("common_crawl", "c4")
MAX_NAMED_CLUSTERS = 20
VERDICT_ROWS = 1 << 16

BANDS = pa.schema([pa.field("key", pa.uint64()), pa.field("node", pa.int64())])
EDGES = pa.schema([pa.field("one", pa.int64()), pa.field("other", pa.int64())])
CLUSTERED = pa.schema([pa.field("node", pa.int64()), pa.field("cluster", pa.int64()), pa.field("size", pa.int64())])
ROWS = pa.schema(
    [
        pa.field("cluster", pa.int64()),
        pa.field("rank", pa.int32()),  # of the source in [dedup] order: the smaller keeps its copy
        pa.field("shortness", pa.int64()),  # minus the text's bytes: the longer stays
        pa.field("doc_id", pa.string()),
        pa.field("part", pa.string()),
        pa.field("signature", pa.large_binary()),
        pa.field("ngrams", pa.large_binary()),  # sorted uint64, little-endian: the smallest distinct ones
        pa.field("total", pa.int64()),  # distinct n-grams of the document
    ]
)
ORDER = [(name, "ascending") for name in ("cluster", "rank", "shortness", "doc_id", "part")]


def parameters(build: Build) -> MinHashParams:
    """What the manifest asks for."""
    return minhash.parse(build.manifest.dedup.near)


# ---- signatures


def signed_schema(permutations: int) -> pa.Schema:
    """The columns of a signatures part: one row for each document, in the documents' order."""
    signature = pa.field("signature", pa.binary(4 * permutations))
    counts = [pa.field("bytes", pa.int64()), pa.field("ngrams", pa.int64())]  # 0 n-grams: the signature means nothing
    return pa.schema([pa.field("doc_id", pa.string()), *counts, signature])


def plan_signatures(build: Build) -> list[Part]:
    """One part for each documents part."""
    params = parameters(build)
    stamp = fingerprint(
        stage=["signatures", VERSION, minhash.VERSION],
        params=[params.unit, params.ngram, params.permutations],
        libraries=versions(*LIBRARIES),
    )
    return [
        Part("signatures", source.name, stamp, documents.sha256, _spec_of(documents), documents.counts["text_bytes"])
        for source in build.manifest.source
        for documents in build.parts("documents", source.name)
    ]


def _spec_of(documents: PartRecord) -> dict[str, Any]:
    return {"documents": documents.stem, "file": documents.file(".parquet")}


def sign_part(build: Build, part: Part, outputs: Outputs) -> Result:
    """The texts of one documents part -> signatures, row group by row group."""
    params, rows = parameters(build), 0
    schema = signed_schema(params.permutations)
    with pq.ParquetWriter(outputs.file(".parquet"), schema, compression="zstd", version="2.6") as writer:
        for batch in read_batches(build.store, part.spec["file"], ["doc_id", "text", "q_bytes"]):
            signed, counts = minhash.signatures(batch.column("text"), params)
            values = pa.Array.from_buffers(schema.field("signature").type, len(signed), [None, pa.py_buffer(signed)])
            sizes = batch.column("q_bytes").cast(pa.int64())
            table = pa.table([batch.column("doc_id"), sizes, pa.array(counts), values], schema=schema)
            writer.write_table(table, row_group_size=table.num_rows)
            rows += table.num_rows
    return [part.spec["documents"]], {"read": rows, "kept": rows}


def _signatures_of(column: pa.Array) -> np.ndarray:
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


def _name(record: PartRecord) -> str:
    return record.id.rpartition("/")[0].rpartition("-")[0]


def power_of_two(amount: int, limit: int) -> int:
    """The number of partitions that hold at most about `limit` each."""
    return 1 << max(0, (amount - 1) // limit).bit_length()


def band_partitions(build: Build) -> int:
    """A power of two that keeps a reducer's band keys bounded."""
    documents = sum(record.counts["kept"] for record in build.stage("signatures").values())
    return power_of_two(documents * parameters(build).bands, BAND_ROWS)


def plan_bands(build: Build) -> list[Part]:
    """One part for each signatures part; what it emits depends on the verdicts so far."""
    params, count, verdicts = parameters(build), band_partitions(build), build.ids(*verdict_stages(build))
    stamp = fingerprint(
        stage=["candidates-near", VERSION], params=[params.bands, params.rows], libraries=versions(*LIBRARIES)
    )
    parts = []
    for first, signed in nodes(build):
        spec = {"signatures": signed.stem, "first": first, "partitions": count}
        reads = [signed.sha256, first, count, verdicts]
        parts.append(Part("candidates-near-split", _name(signed), stamp, reads, spec, signed.counts["kept"]))
    return parts


def split_bands(build: Build, part: Part) -> Iterator[tuple[int, pa.Table]]:
    """Living documents of one part -> (band key, node), dealt out by key."""
    params, count, node = parameters(build), part.spec["partitions"], part.spec["first"]
    signed, documents = _records(build, part)
    removed = removed_ids(build, verdict_stages(build), documents)
    for batch in read_batches(build.store, signed.file(".parquet"), ["doc_id", "ngrams", "signature"]):
        alive = pc.invert(pc.is_in(batch.column("doc_id"), value_set=removed))
        rows = np.flatnonzero(pc.and_(alive, pc.greater(batch.column("ngrams"), 0)).to_numpy(zero_copy_only=False))
        keys = minhash.band_keys(_signatures_of(batch.column("signature"))[rows], params).ravel()
        table = pa.table([pa.array(keys), pa.array(np.repeat(node + rows, params.bands))], schema=BANDS)
        yield from partitioned(table, (keys >> np.uint64(32)).astype(np.int64) * count >> 32, count)
        node += batch.num_rows


def _records(build: Build, part: Part) -> tuple[PartRecord, PartRecord]:
    """The signatures part that a part reads, and the documents part behind it."""
    signed = next(record for record in build.parts("signatures", part.name) if record.stem == part.spec["signatures"])
    documents = build.parts("documents", part.name)
    return signed, next(record for record in documents if record.stem == signed.inputs[0])


def plan_candidates(build: Build) -> list[Part]:
    """One part for each partition of the band keys."""
    params, count = parameters(build), band_partitions(build)
    stamp = fingerprint(
        stage=["candidates-near", VERSION], params=[params.bands, params.rows], libraries=versions(*LIBRARIES)
    )
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
    centres = np.repeat(members[starts], sizes)
    edges = distinct_edges(centres, members)
    write_table(outputs.file(".parquet"), pa.table([pa.array(column) for column in edges], schema=EDGES))
    hot = sizes[sizes > HOT_BUCKET]
    counts = {"buckets": int((sizes > 1).sum()), "hot_buckets": len(hot), "hot_rows": int(hot.sum())}
    return part.spec["inputs"], {"read": len(keys), "kept": len(keys), "edges": len(edges[0]), **counts}


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
    return int(np.minimum(counts[rows], _share(sizes)).sum())


def _share(sizes: np.ndarray) -> np.ndarray:
    """Sizes of clusters -> how many n-grams of each of their documents may travel; int64[n]."""
    return np.minimum(MAX_NGRAMS, CLUSTER_NGRAMS // sizes)


def sketch_size(sizes: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Sizes of clusters and distinct n-grams of their documents -> how many travel: all, a good sketch or none."""
    each = _share(sizes)
    return np.where((totals <= each) | (each >= MIN_SKETCH), np.minimum(totals, each), 0)


# ---- survivors


def cluster_partitions(build: Build) -> int:
    """A power of two that keeps a reducer's signatures and n-grams bounded."""
    counts = build.stage("clusters")["all"].counts
    document = 4 * parameters(build).permutations + 200
    return power_of_two(8 * counts.get("ngrams", 0) + document * counts.get("clustered", 0), REDUCE_BYTES)


def plan_members(build: Build) -> list[Part]:
    """One part for each signatures part. The threshold is no part of it: another one reads no text."""
    params, count, clusters = parameters(build), cluster_partitions(build), build.ids("clusters")
    stamp = fingerprint(
        stage=["near-split", VERSION, minhash.VERSION],
        params=[params.unit, params.ngram],
        order=build.manifest.dedup_order,
        libraries=versions(*LIBRARIES),
    )
    parts = []
    for first, signed in nodes(build):
        spec = {"signatures": signed.stem, "first": first, "partitions": count}
        reads = [signed.sha256, first, count, clusters]
        parts.append(Part("near-split", _name(signed), stamp, reads, spec, signed.counts["kept"]))
    return parts


def split_members(build: Build, part: Part) -> Iterator[tuple[int, pa.Table]]:
    """The documents of one part that have a cluster, with their n-grams, dealt out by cluster."""
    signed, documents = _records(build, part)
    start, count = part.spec["first"], part.spec["partitions"]
    clustered = _clustered_between(build, start, start + signed.counts["kept"])
    if not clustered.num_rows:
        return
    texts = read_batches(build.store, documents.file(".parquet"), ["text"])
    for batch, text in zip(read_batches(build.store, signed.file(".parquet")), texts, strict=True):
        own = _between(clustered, start, start + batch.num_rows)
        rows = pa.array(own.column("node").to_numpy() - start)
        if len(rows):
            table = _members(build, part.name, documents, own, batch.take(rows), text.column("text").take(rows))
            hashed = own.column("cluster").to_numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            yield from partitioned(table, (hashed >> np.uint64(32)).astype(np.int64) * count >> 32, count)
        start += batch.num_rows


def _clustered_between(build: Build, start: int, end: int) -> pa.Table:
    [record] = build.parts("clusters")
    return read_table(build.store, record.file(".parquet"), filters=[("node", ">=", start), ("node", "<", end)])


def _between(clustered: pa.Table, start: int, end: int) -> pa.Table:
    first, last = np.searchsorted(clustered.column("node").to_numpy(), [start, end])
    return clustered.slice(first, last - first)


def _members(
    build: Build, source: str, documents: PartRecord, own: pa.Table, signed: pa.RecordBatch, texts: pa.Array
) -> pa.Table:
    """ROWS for the clustered documents of one batch."""
    from redpajama.dedup import ngrams

    params = parameters(build)
    grams = ngrams.distinct_ngrams(texts, params.unit, params.ngram)
    totals = np.array([len(each) for each in grams], np.int64)
    ends = sketch_size(own.column("size").to_numpy(), totals)
    columns = [
        own.column("cluster"),
        pa.array(np.full(len(texts), build.manifest.dedup_order.index(source)), pa.int32()),
        pc.negate(signed.column("bytes")),
        signed.column("doc_id"),
        pa.array([documents.id] * len(texts), pa.string()),
        signed.column("signature").cast(pa.large_binary()),
        pa.array([each[:end].tobytes() for each, end in zip(grams, ends, strict=True)], pa.large_binary()),
        pa.array(totals),
    ]
    return pa.table(columns, schema=ROWS)


def plan_near(build: Build) -> list[Part]:
    """One part for each partition of the clusters."""
    params, count = parameters(build).model_dump(mode="json"), cluster_partitions(build)
    order, libraries = build.manifest.dedup_order, versions(*LIBRARIES)
    stamp = fingerprint(stage=["near", VERSION, minhash.VERSION], params=params, order=order, libraries=libraries)
    upstream = build.ids("documents", "clusters")
    return [
        Part("near", "all", stamp, [upstream, count, number], {"partition": number, "inputs": upstream})
        for number in range(count)
    ]


def reduce(build: Build, part: Part, rows: pa.Table, outputs: Outputs) -> Result:
    """All documents of some clusters -> a verdict for each that is similar enough to one that stays."""
    from redpajama.dedup import clusters

    params, order = parameters(build), pc.sort_indices(rows, sort_keys=ORDER)
    signed, grams = Blobs(rows.column("signature"), np.uint32, order), Blobs(rows.column("ngrams"), np.uint64, order)
    rows = rows.drop_columns(["signature", "ngrams"]).take(order)  # the wide columns stay where they are
    totals = rows.column("total").to_numpy()
    removals, unchecked = [], 0
    for start, end in pairwise(_bounds(rows.column("cluster").to_numpy())):
        members = clusters.Members(signed.between(start, end), grams.between(start, end), totals[start:end])
        outcome = clusters.walk(members, params)
        removals += [each._replace(row=start + each.row, survivor=start + each.survivor) for each in outcome.removals]
        unchecked += outcome.unchecked
    lost = rows.take(pa.array([each.row for each in removals], pa.int64()))
    kept = rows.take(pa.array([each.survivor for each in removals], pa.int64()))
    write_verdicts(outputs.file(".parquet"), _verdicts(lost, kept, removals, params))
    dropped = {Reason.NEAR_DUPLICATE: len(removals)} if removals else {}
    counts = {"read": rows.num_rows, "kept": rows.num_rows - len(removals), "dropped": dropped, "unchecked": unchecked}
    return part.spec["inputs"], {**counts, "removed": _matrix(lost, kept)}


def _bounds(numbers: np.ndarray) -> list[int]:
    """Where the runs of equal numbers begin, and where the last one ends."""
    return [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(numbers)] if len(numbers) else []


def _verdicts(lost: pa.Table, kept: pa.Table, removals: list[Any], params: MinHashParams) -> pa.Table:
    """VERDICT_SCHEMA for all removals, made in blocks: their Python objects would take more than the rows."""
    blocks = [(start, min(start + VERDICT_ROWS, len(removals))) for start in range(0, len(removals), VERDICT_ROWS)]
    tables = [
        _verdict_table(lost.slice(start, end - start), kept.slice(start, end - start), removals[start:end], params)
        for start, end in blocks
    ]
    return pa.concat_tables([VERDICT_SCHEMA.empty_table(), *tables])


def _verdict_table(lost: pa.Table, kept: pa.Table, removals: list[Any], params: MinHashParams) -> pa.Table:
    survivors = zip(kept.column("doc_id").to_pylist(), kept.column("part").to_pylist(), removals, strict=True)
    evidence = [
        canonical_json(
            {"survivor": doc_id, "survivor_part": part, "measure": each.measure, "shared_bands": each.shared_bands}
        ).decode()
        for doc_id, part, each in survivors
    ]
    columns = [
        lost.column("part"),
        lost.column("doc_id"),
        pa.array([Reason.NEAR_DUPLICATE.value] * len(removals), pa.string()),
        pa.array([each.similarity for each in removals], pa.float64()),
        pa.array([params.threshold] * len(removals), pa.float64()),
        pa.array(evidence, pa.string()),
    ]
    return pa.table(columns, schema=VERDICT_SCHEMA)


def _matrix(lost: pa.Table, kept: pa.Table) -> dict[str, int]:
    """{"loser's source < survivor's source": documents}: who lost to whom."""
    pairs = zip(lost.column("doc_id").to_pylist(), kept.column("doc_id").to_pylist(), strict=True)
    return dict(sorted(Counter(f"{one.partition('/')[0]} < {other.partition('/')[0]}" for one, other in pairs).items()))


# ---- the guard against a wipe-out


def check_wipe_out(build: Build, name: str, record: StageRecord) -> None:
    """A source that would lose more than its `max_removed_fraction` of living documents fails the build by name."""
    removed: Counter[str] = Counter()
    for pair, count in record.counts.get("removed", {}).items():
        removed[pair.partition(" < ")[0]] += count
    for source in build.manifest.source:
        allowed = source.max_removed_fraction
        if allowed is None:
            allowed = 0.9 if source.pipeline in WEB_PIPELINES else 0.5
        living, lost = living_before(build, source.name), removed[source.name]
        if lost > allowed * living:
            raise BuildFailed(
                f"source '{source.name}': near-dedup would remove {lost:,} of {living:,} documents "
                f"({lost / living:.2%}), more than max_removed_fraction = {allowed}; "
                f"most go for {_largest(build, record, source.name)}"
            )


def living_before(build: Build, source: str) -> int:
    """The documents of a source that quality, identity and exact left alive."""
    living = build.stage("documents")[source].counts["kept"] if source in build.records["documents"] else 0
    for stage in verdict_stages(build):
        for name, record in build.stage(stage).items():
            if stage == "quality" and name == source:
                living -= sum(record.counts.get("dropped", {}).values())
            pairs = record.counts.get("removed", {}).items()
            living -= sum(count for pair, count in pairs if pair.startswith(f"{source} < "))
    return living


def _largest(build: Build, record: StageRecord, source: str) -> str:
    """The survivors for which most documents of a source would go."""
    survivors: Counter[str] = Counter()
    for entry in record.parts:
        for batch in read_batches(build.store, f"{entry['part']}.parquet", ["doc_id", "evidence"]):
            own = batch.filter(pc.starts_with(batch.column("doc_id"), f"{source}/"))
            survivors.update(json.loads(evidence)["survivor"] for evidence in own.column("evidence").to_pylist())
    ranked = sorted(survivors.items(), key=lambda item: (-item[1], item[0]))[:MAX_NAMED_CLUSTERS]
    return ", ".join(f"{doc_id} ({count:,})" for doc_id, count in ranked)


SIGNATURES = Step("signatures", plan_signatures, sign_part)
CANDIDATES = Regroup("candidates-near", BANDS, plan_bands, split_bands, plan_candidates, join_buckets)
CLUSTERS = Step("clusters", plan_clusters, cluster)
NEAR = Regroup("near", ROWS, plan_members, split_members, plan_near, reduce, check_wipe_out)
