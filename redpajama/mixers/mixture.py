"""The stages `budget` and `mixture`: token targets, then the shuffled corpus.

`budget` is one part: it adds the histograms up, allocates the budget and finds each slice's cut. `mixture` is the one
place where text crosses a shuffle: each copy of a document gets a key = hash(seed, id, copy); a part is a range of
keys, sorted inside. That is a uniform shuffle which no runner, sharding or order of files can change.
"""

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.artifacts import BuildFailed, Outputs, Part, StageRecord
from redpajama.columns import read_batches, read_table, write_table
from redpajama.dedup import substrings
from redpajama.hashing import canonical_json
from redpajama.mixers import budget
from redpajama.mixers.budget import BUCKET_BITS, BudgetError, Cut, Slice
from redpajama.mixers.counts import read_histogram
from redpajama.quality import scores
from redpajama.stages import Build, Regroup, Result, Step, fingerprint, partitioned, versions
from redpajama.verdicts import removed_ids, verdict_stages

VERSION = 1

ROWS = pa.schema(
    [
        pa.field("order", pa.uint64()),
        pa.field("doc_id", pa.string()),
        pa.field("copy", pa.int32()),
        pa.field("source", pa.string()),
        pa.field("part", pa.string()),  # the documents part that holds it
        pa.field("n_tokens", pa.int64()),  # with the end of document
        pa.field("text", pa.large_string()),
        pa.field("meta", pa.string()),
    ]
)


# ---- budget


def plan_budget(build: Build) -> list[Part]:
    """One part: everything hangs together."""
    mixture = build.manifest.mixture.model_dump(mode="json")
    stamp = fingerprint(stage=["budget", VERSION], mixture=mixture, libraries=versions("numpy"))
    return [Part("budget", build.manifest.name, stamp, build.ids("candidates"))]


def set_budget(build: Build, part: Part, outputs: Outputs) -> Result:
    """Histograms of all candidates -> {slice: target, epochs, cut, expected tokens}."""
    mixture = build.manifest.mixture
    masses = {share.source: _mass(build, share.source) for share in mixture.slice if share.weight}
    slices = [
        Slice(share.source, share.weight, share.max_epochs, int(masses[share.source].sum()) if share.weight else 0)
        for share in mixture.slice
    ]
    try:
        targets = budget.allocate(slices, mixture.budget_tokens, mixture.allow_shortfall)
    except BudgetError as error:
        raise BuildFailed(str(error)) from None
    if not sum(targets.values()):
        raise BuildFailed("mixture: no source has a token left to draw")
    table = {each.name: _cut(build, each, targets[each.name], masses) for each in slices}
    outputs.file(".budget").write_bytes(canonical_json(table))
    return build.ids("candidates"), {"budget_tokens": mixture.budget_tokens, "target_tokens": sum(targets.values())}


def _mass(build: Build, source: str) -> np.ndarray:
    total = np.zeros(budget.BUCKETS, np.int64)
    for record in build.parts("candidates", source) if source in build.records["candidates"] else []:
        total += read_histogram(build.store.read(record.file(".histogram")))
    return total


def _cut(build: Build, share: Slice, target: int, masses: dict[str, np.ndarray]) -> dict[str, int | str | float]:
    """One slice's row of the budget table: what is wanted, and up to which document it is drawn."""
    row = {"weight": share.weight, "available_tokens": share.available_tokens, "target_tokens": target}
    if not target:
        return {**row, "epochs": 0, "cut_hash": budget.NO_PARTIAL_COPY, "cut_doc_id": ""}
    epochs, remainder = budget.split_epochs(target, share.available_tokens)
    cut = Cut(epochs)
    if remainder:
        bucket, before = budget.boundary_bucket(masses[share.name], remainder)
        cut = Cut(epochs, *budget.cut_inside(_bucket_rows(build, share.name, bucket), before, remainder))
    return {**row, "epochs": cut.epochs, "cut_hash": cut.hash, "cut_doc_id": cut.doc_id}


def _bucket_rows(build: Build, source: str, bucket: int) -> Iterator[tuple[int, str, int]]:
    """The candidates of one bucket; row-group statistics keep the rest unread."""
    low, high = bucket << (64 - BUCKET_BITS), ((bucket + 1) << (64 - BUCKET_BITS)) - 1
    bounds = [("hash", ">=", pa.scalar(low, pa.uint64())), ("hash", "<=", pa.scalar(high, pa.uint64()))]
    for record in build.parts("candidates", source):
        table = read_table(build.store, record.file(".parquet"), filters=bounds)
        yield from zip(*(table.column(name).to_pylist() for name in ("hash", "doc_id", "n_tokens")), strict=True)


def read_budget(build: Build) -> dict[str, dict]:
    """The committed budget table."""
    return json.loads(build.store.read(build.parts("budget")[0].file(".budget")))


# ---- mixture


def partitions(build: Build) -> int:
    """How many mixture parts: a whole number for each shard."""
    total = build.stage("budget")[build.manifest.name].counts["target_tokens"]
    return build.manifest.shards.count(total) * build.manifest.shards.ranges(total)


def plan_split(build: Build) -> list[Part]:
    """One part for each candidates part."""
    stamp = fingerprint(stage=["mixture", VERSION], seed=build.manifest.seed, libraries=versions("pyarrow"))
    table, count = build.parts("budget")[0], partitions(build)
    return [
        Part(
            "mixture-split",
            candidates.id.rpartition("/")[0].rpartition("-")[0],
            stamp,
            [candidates.sha256, table.sha256, count],
            {"counts": candidates.inputs[0], "documents": candidates.inputs[1], "partitions": count},
            candidates.counts["tokens"],
        )
        for candidates in build.parts("candidates")
    ]


def split(build: Build, part: Part) -> Iterator[tuple[int, pa.Table]]:
    """The copies of one part's documents, dealt out by order key."""
    row = read_budget(build)[part.name]
    cut = Cut(row["epochs"], row["cut_hash"], row["cut_doc_id"])
    counts, documents = (
        next(record for record in build.parts(stage, part.name) if record.stem == part.spec[stage])
        for stage in ("counts", "documents")
    )
    tokens = read_table(build.store, counts.file(".parquet"), ["n_tokens"]).column("n_tokens").to_numpy()
    removed = removed_ids(build, verdict_stages(build), documents)
    scored = scores.of_part(build, part.name, documents.stem)
    spans = substrings.spans_of(build, documents)
    start, count = 0, part.spec["partitions"]
    for batch in read_batches(build.store, documents.file(".parquet"), ["doc_id", "text", "source", "meta"]):
        if scored:
            batch = scores.beside(batch, scored.slice(start, batch.num_rows))
        own = tokens[start : start + batch.num_rows]  # counts stand in the order of the documents
        start += batch.num_rows
        alive = pc.invert(pc.is_in(batch.column("doc_id"), value_set=removed)).to_numpy(zero_copy_only=False)
        table = _copies(substrings.cut(batch, spans), own, alive & (own > 0), cut, documents.id, build.manifest.seed)
        keys = table.column("order").to_pylist()
        yield from partitioned(table, np.array([budget.partition_of(key, count) for key in keys], np.int64), count)


def _copies(
    batch: pa.RecordBatch, tokens: np.ndarray, drawable: np.ndarray, cut: Cut, part: str, seed: int
) -> pa.Table:
    """ROWS for every copy of every document of a batch that the cut takes."""
    ids = batch.column("doc_id").to_pylist()
    hashes = np.array([budget.selection_hash(seed, doc_id) for doc_id in ids], np.uint64)
    times = np.where(drawable, budget.copies_of(hashes, ids, cut), 0)
    rows = np.repeat(np.arange(len(ids)), times)
    copies = np.concatenate([np.arange(n, dtype=np.int32) for n in times]) if len(rows) else np.empty(0, np.int32)
    order = [budget.order_key(seed, ids[row], int(copy)) for row, copy in zip(rows, copies, strict=True)]
    taken = batch.take(pa.array(rows))
    columns = [
        pa.array(order, pa.uint64()),
        taken.column("doc_id"),
        pa.array(copies),
        taken.column("source"),
        pa.array([part] * len(rows), pa.string()),
        pa.array(tokens[rows] + 1),
        taken.column("text"),
        scores.released_meta(taken),
    ]
    return pa.table(columns, schema=ROWS)


def plan_reduce(build: Build) -> list[Part]:
    """One part for each range of order keys."""
    count = partitions(build)
    stamp = fingerprint(stage=["mixture", VERSION], seed=build.manifest.seed, libraries=versions("pyarrow"))
    upstream = build.ids("budget", "candidates", "documents")
    return [
        Part(
            "mixture",
            build.manifest.name,
            stamp,
            [upstream, count, number],
            {"partition": number, "inputs": upstream},
            label=f"range-{number:05d}",
        )
        for number in range(count)
    ]


def reduce(build: Build, part: Part, rows: pa.Table, outputs: Outputs) -> Result:
    """All copies of one range -> sorted by (order, id, copy)."""
    rows = rows.sort_by([("order", "ascending"), ("doc_id", "ascending"), ("copy", "ascending")])
    write_table(outputs.file(".parquet"), rows)
    return part.spec["inputs"], {"read": rows.num_rows, "kept": rows.num_rows, **_sums(rows)}


def _sums(rows: pa.Table) -> dict[str, dict[str, int]]:
    """{"documents", "copies", "tokens"}: {source: sum}; documents are counted once, copies each time."""
    sources = rows.column("source").to_pylist()
    tokens: Counter[str] = Counter()
    for source, count in zip(sources, rows.column("n_tokens").to_pylist(), strict=True):
        tokens[source] += count
    first = rows.filter(pc.equal(rows.column("copy"), 0)).column("source").to_pylist()
    return {"documents": dict(Counter(first)), "copies": dict(Counter(sources)), "tokens": dict(tokens)}


def check_targets(build: Build, name: str, record: StageRecord) -> None:
    """Each slice got its target, and less than one document more."""
    got = record.counts.get("tokens", {})
    for source, row in read_budget(build).items():
        if got.get(source, 0) < row["target_tokens"]:
            raise BuildFailed(f"mixture: '{source}' got {got.get(source, 0):,} of {row['target_tokens']:,} tokens")


BUDGET = Step("budget", plan_budget, set_budget)
MIXTURE = Regroup("mixture", ROWS, plan_split, split, plan_reduce, reduce, check_targets)
