"""Documents of clusters as rows: what `doubts` and `near` regroup by cluster, and how a reducer holds them.

Memory: a reducer holds about REDUCE_BYTES, or its largest cluster: the signatures and sketches of its documents and,
for all of them together, at most CLUSTER_NGRAMS n-grams of 8 bytes. Nothing of that is copied.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus.stages import DOCUMENTS
from redpajama.dedup.near import clusters, minhash, policy, signatures, walk
from redpajama.dedup.near.nodes import nodes_of
from redpajama.dedup.near.signatures import parameters
from redpajama.engine import homes
from redpajama.engine.parts import PartRecord
from redpajama.engine.shapes import Counts, Dealt
from redpajama.engine.splits import pieces
from redpajama.engine.stages import Build
from redpajama.engine.tables import Blobs, read_batches, read_row_group
from redpajama.manifest import Kind, given

REDUCE_BYTES = 256 << 20  # of signatures, sketches and n-grams in a reducer
ROW_BYTES = 250  # of a row's other columns
CLUSTER_NGRAMS = 1 << 25  # n-grams of one cluster that travel, 256 MiB: large clusters are compared by sketches
MIN_SKETCH = 1024  # with fewer of a document's (standard error above 0.016) none travel
WIDE = ["signature", "sketch", "ngrams"]
AFTER = (DOCUMENTS, signatures.STAGE.name, clusters.NAME)

ROWS = pa.schema(
    [
        pa.field("cluster", pa.int64()),
        pa.field("extent", pa.uint64()),  # the smaller stays: see `extents`
        pa.field("rank", pa.int32()),  # of the source in [dedup] order: the smaller keeps its copy
        pa.field("preference", pa.binary()),  # the smaller stays
        pa.field("doc_id", pa.string()),
        pa.field("part", pa.string()),
        pa.field("node", pa.int64()),
        pa.field("bytes", pa.int64()),
        pa.field("total", pa.int64()),  # n-grams, repeated ones too
        pa.field("count", pa.int64()),  # of them, those that may travel
        pa.field("signature", pa.large_binary()),
        pa.field("sketch", pa.large_binary()),  # sorted uint64, little-endian: the smallest distinct n-grams
        pa.field("sketch_is_whole", pa.bool_()),
        pa.field("ngrams", pa.large_binary()),  # as many as may travel; null: none did
        pa.field("ngrams_are_whole", pa.bool_()),
    ]
)
ORDER = [(name, "ascending") for name in ("cluster", "extent", "rank", "preference", "doc_id", "part")]


def depends(build: Build, name: str) -> Counts:
    """All that near-dedup asks for, and which sources meet."""
    params = parameters(build)
    return {
        "params": params.model_dump(mode="json"),
        "comparable": policy.comparable(build.manifest, params).tolist(),
        "kinds": {source.name: source.kind for source in build.manifest.source},
        "order": build.manifest.dedup_order,
    }


def asks(build: Build, documents: PartRecord) -> list[str | int]:
    """Where the part's nodes begin, its signatures and its clusters."""
    first, _ = nodes_of(build).bounds(documents)
    signed = signatures.signed_part(build, documents)
    return [first, signed.content, homes.digest(build, clusters.NAME, documents, clusters.HOME)]


def partitions(build: Build, parts: list[PartRecord], ngrams: int) -> int:
    """A power of two that keeps a reducer's rows, with so many n-grams in all, bounded."""
    clustered = build.stage(clusters.NAME)["all"].counts.get("clustered", 0)
    document = 4 * parameters(build).permutations + 8 * minhash.SKETCH + ROW_BYTES
    return pieces(8 * ngrams + document * clustered, REDUCE_BYTES, len(parts))


def split(build: Build, documents: PartRecord, count: int, wanted: pa.Table | None) -> Dealt:
    """The documents of one part that have a cluster, dealt out by cluster.

    Args:
        wanted: the nodes whose n-grams travel; None: those of all.
    """
    start, _ = nodes_of(build).bounds(documents)
    clustered = homes.read(build, clusters.NAME, documents, clusters.HOME)
    chosen = (clustered if wanted is None else wanted).column("node").to_numpy()
    signed = signatures.signed_part(build, documents)
    for number, batch in enumerate(read_batches(build.store, signed.file(".parquet")) if len(clustered) else []):
        first, last = np.searchsorted(clustered.column("node").to_numpy(), [start, start + batch.num_rows])
        if last > first:
            own = clustered.slice(first, last - first)
            places = pa.array(own.column("node").to_numpy() - start)
            table = Group(build, documents, number, places, own, batch.take(places)).rows(chosen)
            hashed = table.column("cluster").to_numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            yield (hashed >> np.uint64(32)).astype(np.int64) * count >> 32, table
        start += batch.num_rows


@dataclass(frozen=True)
class Group:
    """The clustered documents of one row group of a documents part."""

    build: Build
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
            pa.array(self._extents()),
            pa.array(np.full(count, self.build.manifest.dedup_order.index(self.documents.name)), pa.int32()),
            policy.preferences(params, sizes, self._read(columns) if columns else None),
            self.signed.column("doc_id"),
            pa.repeat(pa.scalar(self.documents.id), count),
            self.clustered.column("node"),
            self.signed.column("bytes"),
            self.signed.column("ngrams"),
            pa.array(np.minimum(self.signed.column("ngrams").to_numpy(), limits)),
            self.signed.column("signature").cast(pa.large_binary()),
            *self._sketches(),
            *self._ngrams(wanted, limits),
        ]
        return pa.table(values, schema=ROWS)

    def _extents(self) -> np.ndarray:
        params = parameters(self.build)
        if not params.is_directed:
            return np.zeros(len(self.places), np.uint64)
        if params.containment == "shorter":
            return ~self.signed.column("bytes").to_numpy().astype(np.uint64)
        return extents(self.signed.column("sketch"))

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
        from redpajama.dedup.near import ngrams

        values: list[bytes | None] = [None] * len(limits)
        whole = [False] * len(limits)
        rows = np.flatnonzero(np.isin(self.clustered.column("node").to_numpy(), wanted) & (limits > 0))
        if len(rows):
            texts = self._read(["text"], self.places.take(pa.array(rows))).column("text").combine_chunks()
            kind: Kind = given(self.build.manifest.source_named(self.documents.name).kind)
            made = parameters(self.build).ngrams_of(kind)
            for row, grams in zip(rows, ngrams.distinct_ngrams(texts, *made), strict=True):
                values[row], whole[row] = grams[: limits[row]].tobytes(), bool(len(grams) <= limits[row])
        return pa.array(values, pa.large_binary()), pa.array(whole, pa.bool_())


def extents(sketches: pa.LargeBinaryArray) -> np.ndarray:
    """Sketches -> a key by which texts with more distinct n-grams come first; uint64[n].

    Where a sketch is cut, its largest hash: (k - 1) / it estimates how many there are (KMV, Beyer 2007), and in a text
    that contains another it is never the larger of both. So nothing that is contained comes before what contains it.
    """
    _, offsets, data = sketches.buffers()
    bounds = np.frombuffer(offsets, np.int64)[sketches.offset : sketches.offset + len(sketches) + 1]
    sizes = np.diff(bounds) // 8
    most = np.uint64(0xFFFFFFFFFFFFFFFF)
    found = most - sizes.astype(np.uint64)
    cut = sizes >= minhash.SKETCH
    last = bounds[1:][cut][:, None] + np.arange(-8, 0)
    if cut.any():
        largest = np.frombuffer(data, np.uint8)[last].copy().view("<u8")[:, 0]
        found[cut] = np.minimum(largest, most - np.uint64(minhash.SKETCH))  # before all that are whole
    return found


def ngram_limit(sizes: np.ndarray) -> np.ndarray:
    """Sizes of clusters -> how many n-grams of each of their documents may travel; int64[n]."""
    each = CLUSTER_NGRAMS // sizes
    return np.where(each >= MIN_SKETCH, each, 0)


def in_order(rows: pa.Table) -> tuple[pa.Table, walk.Members]:
    """Rows by ORDER: the narrow columns, and the wide ones where they stand."""
    order = pc.sort_indices(rows, sort_keys=ORDER)
    narrow = rows.drop_columns(WIDE).take(order)
    signatures, sketches, ngrams = (Blobs.of(rows.column(name), order.to_numpy()) for name in WIDE)
    whole = (narrow.column(name).to_numpy() for name in ("sketch_is_whole", "ngrams_are_whole"))
    clusters, ranks = (narrow.column(name).to_numpy() for name in ("cluster", "rank"))
    bounds = np.append(np.flatnonzero(np.append(True, clusters[1:] != clusters[:-1])[: len(clusters)]), len(clusters))
    return narrow, walk.Members(signatures, sketches, next(whole), ngrams, next(whole), ranks.astype(np.int64), bounds)
