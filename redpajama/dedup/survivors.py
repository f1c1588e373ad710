"""The stages `doubts` and `near`: inside each cluster, who goes, for whom, on what evidence.

Flow: clustered documents with their sketches, regrouped by cluster -> the few whose n-grams decide something (`doubts`;
with `verify = "exact"` it is left out, and all n-grams decide) -> the same rows, with those n-grams, regrouped -> in
each cluster, documents in policy order (`policy`), compared (`walk`) -> verdicts. Texts are read for n-grams alone.

Memory: a reducer holds about REDUCE_BYTES, or its largest cluster: the signatures and sketches of its documents and,
for all of them together, at most CLUSTER_NGRAMS n-grams of 8 bytes; and its verdicts. Nothing of that is copied.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.artifacts import Outputs, Part, PartRecord
from redpajama.columns import Blobs, read_batches, read_row_group, read_table, write_table
from redpajama.dedup import guard, minhash, policy, walk
from redpajama.dedup.near import (
    CLUSTER_NGRAMS,
    LIBRARIES,
    name_of,
    ngram_limit,
    nodes,
    parameters,
    power_of_two,
    records_of,
)
from redpajama.hashing import canonical_json
from redpajama.records import Reason
from redpajama.stages import Build, Regroup, Result, fingerprint, partitioned, versions
from redpajama.verdicts import VERDICT_SCHEMA, write_verdicts

VERSION = 2
REDUCE_BYTES = 256 << 20  # of signatures, sketches and n-grams in a reducer
ROW_BYTES = 250  # of a row's other columns
VERDICT_ROWS = 1 << 16  # made at once
WIDE = ["signature", "sketch", "ngrams"]
NAMED = ["part", "doc_id", "bytes"]  # what a verdict says of a document

ROWS = pa.schema(
    [
        pa.field("cluster", pa.int64()),
        pa.field("rank", pa.int32()),  # of the source in [dedup] order: the smaller keeps its copy
        pa.field("preference", pa.binary()),  # the smaller stays
        pa.field("doc_id", pa.string()),
        pa.field("part", pa.string()),
        pa.field("node", pa.int64()),
        pa.field("bytes", pa.int64()),
        pa.field("count", pa.int64()),  # n-grams, repeated ones too, that may travel
        pa.field("signature", pa.large_binary()),
        pa.field("sketch", pa.large_binary()),  # sorted uint64, little-endian: the smallest distinct n-grams
        pa.field("sketch_is_whole", pa.bool_()),
        pa.field("ngrams", pa.large_binary()),  # as many as may travel; null: none did
        pa.field("ngrams_are_whole", pa.bool_()),
    ]
)
ORDER = [(name, "ascending") for name in ("cluster", "rank", "preference", "doc_id", "part")]
DOUBTS_SCHEMA = pa.schema([pa.field("node", pa.int64())])


# ---- rows


def _plan_split(stage: str, build: Build, count: int, upstream: list[str]) -> list[Part]:
    """One part for each signatures part. The threshold is no part of it."""
    params = parameters(build)
    stamp = fingerprint(
        stage=[stage, VERSION, minhash.VERSION],
        params=[params.unit, params.ngram, params.code_ngram, params.fold_digits, params.prefer, params.verify],
        kinds={source.name: policy.kind_of(source) for source in build.manifest.source},
        order=build.manifest.dedup_order,
        libraries=versions(*LIBRARIES),
    )
    parts = []
    for first, signed in nodes(build):
        spec = {"signatures": signed.stem, "first": first, "partitions": count}
        reads = [signed.sha256, first, count, upstream]
        parts.append(Part(f"{stage}-split", name_of(signed), stamp, reads, spec, signed.counts["kept"]))
    return parts


def _split(build: Build, part: Part, with_ngrams: bool) -> Iterator[tuple[int, pa.Table]]:
    """The documents of one part that have a cluster, dealt out by cluster."""
    signed, documents = records_of(build, part)
    start, count = part.spec["first"], part.spec["partitions"]
    end = start + signed.counts["kept"]
    clustered = _between(build, "clusters", start, end)
    wanted = _wanted(build, clustered, start, end) if with_ngrams else np.zeros(0, np.int64)
    for number, batch in enumerate(read_batches(build.store, signed.file(".parquet")) if len(clustered) else []):
        first, last = np.searchsorted(clustered.column("node").to_numpy(), [start, start + batch.num_rows])
        if last > first:
            own = clustered.slice(first, last - first)
            places = pa.array(own.column("node").to_numpy() - start)
            table = Group(build, part.name, documents, number, places, own, batch.take(places)).rows(wanted)
            hashed = table.column("cluster").to_numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            yield from partitioned(table, (hashed >> np.uint64(32)).astype(np.int64) * count >> 32, count)
        start += batch.num_rows


def _wanted(build: Build, clustered: pa.Table, start: int, end: int) -> np.ndarray:
    """The nodes whose n-grams travel: those in doubt, or all."""
    chosen = clustered if parameters(build).verify == "exact" else _between(build, "doubts", start, end)
    return chosen.column("node").to_numpy()


def _between(build: Build, stage: str, start: int, end: int) -> pa.Table:
    """The rows of a stage for the nodes of one part, by node."""
    bounds = [("node", ">=", start), ("node", "<", end)]
    tables = [read_table(build.store, record.file(".parquet"), filters=bounds) for record in build.parts(stage)]
    return pa.concat_tables(tables).sort_by("node")


@dataclass(frozen=True)
class Group:
    """The clustered documents of one row group of a documents part."""

    build: Build
    source: str
    documents: PartRecord
    number: int  # of the row group
    places: pa.Array  # in the row group
    clustered: pa.Table  # node, cluster and its size
    signed: pa.RecordBatch  # their signatures and sketches

    def rows(self, wanted: np.ndarray) -> pa.Table:
        """ROWS, with the n-grams of the `wanted` nodes."""
        params, count = parameters(self.build), len(self.places)
        columns, sizes = policy.columns(params), self.signed.column("bytes").to_numpy()
        limits = ngram_limit(self.clustered.column("size").to_numpy())
        values = [
            self.clustered.column("cluster"),
            pa.array(np.full(count, self.build.manifest.dedup_order.index(self.source)), pa.int32()),
            policy.preferences(params, sizes, self._read(columns) if columns else None),
            self.signed.column("doc_id"),
            pa.repeat(pa.scalar(self.documents.id), count),
            self.clustered.column("node"),
            self.signed.column("bytes"),
            pa.array(np.minimum(self.signed.column("ngrams").to_numpy(), limits)),
            self.signed.column("signature").cast(pa.large_binary()),
            *self._sketches(),
            *self._ngrams(wanted, limits),
        ]
        return pa.table(values, schema=ROWS)

    def _read(self, columns: list[str], places: pa.Array | None = None) -> pa.Table:
        whole = read_row_group(self.build.store, self.documents.file(".parquet"), self.number, columns)
        return whole.take(self.places if places is None else places)

    def _sketches(self) -> tuple[pa.Array, pa.Array]:
        """Sketches as they travel, and whether they hold all n-grams: a cluster of 200,000 has room for fewer."""
        sketches = self.signed.column("sketch")
        sizes = pc.binary_length(sketches).to_numpy()
        ends = 8 * np.minimum(minhash.SKETCH, CLUSTER_NGRAMS // self.clustered.column("size").to_numpy())
        if (sizes > ends).any():
            values = zip(sketches.to_pylist(), ends.tolist(), strict=True)
            sketches = pa.array([value[:end] for value, end in values], pa.large_binary())
        return sketches, pa.array((sizes < 8 * minhash.SKETCH) & (sizes <= ends))

    def _ngrams(self, wanted: np.ndarray, limits: np.ndarray) -> tuple[pa.Array, pa.Array]:
        """The n-grams of the documents that are wanted, and whether they are all; null for others."""
        from redpajama.dedup import ngrams

        values: list[bytes | None] = [None] * len(limits)
        whole = [False] * len(limits)
        rows = np.flatnonzero(np.isin(self.clustered.column("node").to_numpy(), wanted) & (limits > 0))
        if len(rows):
            texts = self._read(["text"], self.places.take(pa.array(rows))).column("text").combine_chunks()
            made = parameters(self.build).ngrams_of(policy.kind_of(self.build.manifest.source_named(self.source)))
            for row, grams in zip(rows, ngrams.distinct_ngrams(texts, *made), strict=True):
                values[row], whole[row] = grams[: limits[row]].tobytes(), bool(len(grams) <= limits[row])
        return pa.array(values, pa.large_binary()), pa.array(whole, pa.bool_())


def _partitions(build: Build, ngrams: int) -> int:
    """A power of two that keeps a reducer's rows, with so many n-grams in all, bounded."""
    clustered = build.stage("clusters")["all"].counts.get("clustered", 0)
    document = 4 * parameters(build).permutations + 8 * minhash.SKETCH + ROW_BYTES
    return power_of_two(8 * ngrams + document * clustered, REDUCE_BYTES)


# ---- clusters of rows


def _in_order(rows: pa.Table) -> tuple[pa.Table, walk.Members]:
    """Rows by ORDER: the narrow columns, and the wide ones where they stand."""
    order = pc.sort_indices(rows, sort_keys=ORDER)
    narrow = rows.drop_columns(WIDE).take(order)
    signatures, sketches, ngrams = (Blobs.of(rows.column(name), order.to_numpy()) for name in WIDE)
    whole = (narrow.column(name).to_numpy() for name in ("sketch_is_whole", "ngrams_are_whole"))
    clusters, ranks = (narrow.column(name).to_numpy() for name in ("cluster", "rank"))
    bounds = np.append(np.flatnonzero(np.append(True, clusters[1:] != clusters[:-1])[: len(clusters)]), len(clusters))
    return narrow, walk.Members(signatures, sketches, next(whole), ngrams, next(whole), ranks.astype(np.int64), bounds)


# ---- doubts


def plan_doubt_split(build: Build) -> list[Part]:
    """One part for each signatures part."""
    return _plan_split("doubts", build, _partitions(build, 0), build.ids("clusters"))


def split_sketches(build: Build, part: Part) -> Iterator[tuple[int, pa.Table]]:
    """The clustered documents of one part with their sketches."""
    yield from _split(build, part, with_ngrams=False)


def plan_doubts(build: Build) -> list[Part]:
    """One part for each partition of the clusters."""
    return _plan_reduce("doubts", build, _partitions(build, 0), build.ids("clusters"))


def doubt(build: Build, part: Part, rows: pa.Table, outputs: Outputs) -> Result:
    """All documents of some clusters -> the nodes of those whose n-grams decide something."""
    params, (rows, members) = parameters(build), _in_order(rows)
    found = walk.find_doubts(members, params, policy.comparable(build.manifest, params))
    chosen = rows.select(["node", "count"]).take(pa.array(found)).sort_by("node")
    write_table(outputs.file(".parquet"), chosen.select(["node"]).cast(DOUBTS_SCHEMA))
    counts = {"read": rows.num_rows, "kept": rows.num_rows, "doubtful": len(found)}
    return part.spec["inputs"], {**counts, "ngrams": pc.sum(chosen.column("count")).as_py() or 0}


def _plan_reduce(stage: str, build: Build, count: int, upstream: list[str]) -> list[Part]:
    stamp = fingerprint(
        stage=[stage, VERSION, minhash.VERSION],
        params=parameters(build).model_dump(mode="json"),
        comparable=policy.comparable(build.manifest, parameters(build)).tolist(),
        order=build.manifest.dedup_order,
        libraries=versions(*LIBRARIES),
    )
    return [
        Part(stage, "all", stamp, [upstream, count, number], {"partition": number, "inputs": upstream})
        for number in range(count)
    ]


# ---- survivors


def _deciders(build: Build) -> list[str]:
    """The stages that say which documents' n-grams travel."""
    return ["clusters", *(["doubts"] if parameters(build).verify == "sketch" else [])]


def cluster_partitions(build: Build) -> int:
    """A power of two that keeps a reducer's rows bounded."""
    return _partitions(build, build.stage(_deciders(build)[-1])["all"].counts.get("ngrams", 0))


def plan_members(build: Build) -> list[Part]:
    """One part for each signatures part."""
    return _plan_split("near", build, cluster_partitions(build), build.ids(*_deciders(build)))


def split_members(build: Build, part: Part) -> Iterator[tuple[int, pa.Table]]:
    """The clustered documents of one part, with the n-grams of those that need them."""
    yield from _split(build, part, with_ngrams=True)


def plan_near(build: Build) -> list[Part]:
    """One part for each partition of the clusters."""
    return _plan_reduce("near", build, cluster_partitions(build), build.ids("documents", *_deciders(build)))


def reduce(build: Build, part: Part, rows: pa.Table, outputs: Outputs) -> Result:
    """All documents of some clusters -> a verdict for each that goes."""
    params, (rows, members) = parameters(build), _in_order(rows)
    outcome = walk.walk(members, params, policy.comparable(build.manifest, params))
    del members  # what is wide makes room for the verdicts
    lost, others = (rows.select(NAMED).take(pa.array(each)) for each in (outcome.rows, outcome.others))
    write_verdicts(outputs.file(".parquet"), _verdicts(build, lost, others, outcome))
    dropped = {Reason.NEAR_DUPLICATE: len(outcome.rows)} if len(outcome.rows) else {}
    sizes = np.bincount(outcome.measures, minlength=len(walk.MEASURES)).tolist()
    measures = {name: count for name, count in sorted(zip(walk.MEASURES, sizes, strict=True)) if count}
    counts = {"read": rows.num_rows, "kept": rows.num_rows - len(outcome.rows), "dropped": dropped}
    return part.spec["inputs"], {
        **counts,
        "unchecked": outcome.unchecked,
        "measured_by": measures,
        **guard.matrix(lost, others),
    }


def _verdicts(build: Build, lost: pa.Table, others: pa.Table, outcome: walk.Outcome) -> pa.Table:
    """VERDICT_SCHEMA for all removals, a row each of `lost` and of `others`."""
    params, count = parameters(build), lost.num_rows
    blocks = (slice(start, start + VERDICT_ROWS) for start in range(0, count, VERDICT_ROWS))
    evidence = [pa.array(_evidence(build, lost[block], others[block], outcome, block), pa.string()) for block in blocks]
    columns = [
        lost.column("part"),
        lost.column("doc_id"),
        pa.repeat(pa.scalar(Reason.NEAR_DUPLICATE.value), count),
        pa.array(outcome.similarities, pa.float64()),
        pa.repeat(pa.scalar(params.threshold, pa.float64()), count),
        pa.chunked_array(evidence, pa.string()),
    ]
    return pa.table(columns, schema=VERDICT_SCHEMA)


def _evidence(build: Build, lost: pa.Table, others: pa.Table, outcome: walk.Outcome, block: slice) -> list[str]:
    """One block: as Python objects, all evidence would take more than the rows. Copies of one document share theirs."""
    params, made = parameters(build), cache(_as_json)
    rules = {source.name: params.rule(policy.kind_of(source)) for source in build.manifest.source}
    sources = [doc_id.partition("/")[0] for doc_id in lost.column("doc_id").to_pylist()]
    pairs = zip(
        sources,
        others.column("doc_id").to_pylist(),
        others.column("part").to_pylist(),
        outcome.measures[block].tolist(),
        outcome.shared_bands[block].tolist(),
        strict=True,
    )
    return [made(params.keep, rules[pair[0]], *pair) for pair in pairs]


def _as_json(keep: str, rule: str, source: str, other: str, other_part: str, measure: int, shared_bands: int) -> str:
    """`survivor` is alive; with `keep = "none"` the `other` of the pair goes too."""
    role = "survivor" if keep == "one" else "other"
    evidence = {
        "source": source,
        role: other,
        f"{role}_source": other.partition("/")[0],
        f"{role}_part": other_part,
        "similarity_by": walk.MEASURES[measure],
        "shared_bands": shared_bands,
        "compared": rule,
    }
    return canonical_json(evidence).decode()


DOUBTS = Regroup("doubts", ROWS, plan_doubt_split, split_sketches, plan_doubts, doubt, hashes=True)
NEAR = Regroup("near", ROWS, plan_members, split_members, plan_near, reduce, guard.check_wipe_out, hashes=True)
