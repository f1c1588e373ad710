"""The stages `identity` and `exact`: one document per id, then one per normalised text, across all sources.

Only narrow columns are regrouped: a 16-byte key, the source's rank, the id and the part that holds the document.
Only documents alive after quality take part, so only living ones survive.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.artifacts import Outputs, Part, PartRecord
from redpajama.dedup import guard
from redpajama.hashing import canonical_json, text_digest
from redpajama.records import Reason
from redpajama.stages import Build, Regroup, Result, fingerprint, partitioned, versions
from redpajama.verdicts import VERDICT_SCHEMA, living, write_verdicts

VERSION = 2
PARTITION_ROWS = 1_000_000  # about 120 MB of rows in a reducer, and as much again to sort them

ROWS = pa.schema(
    [
        pa.field("key", pa.binary(16)),
        pa.field("rank", pa.int32()),  # of the source in [dedup] order: the smaller keeps its copy
        pa.field("shortness", pa.int64()),  # minus the text's bytes: of two versions of one id the longer stays
        pa.field("doc_id", pa.string()),
        pa.field("part", pa.string()),
        pa.field("bytes", pa.int64()),  # of the text
    ]
)
ORDER = [(name, "ascending") for name in ("key", "rank", "shortness", "doc_id", "part")]


def partitions(build: Build) -> int:
    """A power of two that keeps a reducer's rows bounded."""
    documents = sum(record.counts["kept"] for record in build.stage("documents").values())
    return 1 << max(0, (documents - 1) // PARTITION_ROWS).bit_length()


def plan_split(stage: str, before: list[str], build: Build) -> list[Part]:
    """One part for each documents part; what it emits depends on the verdicts so far."""
    count = partitions(build)
    ranks = {name: rank for rank, name in enumerate(build.manifest.dedup_order)}
    parts = []
    for source in build.manifest.source:
        stamp = fingerprint(stage=[stage, VERSION], rank=ranks[source.name], libraries=versions("pyarrow"))
        for documents in build.parts("documents", source.name):
            reads = [documents.sha256, count, *_verdicts_that_matter(build, before, documents)]
            spec = {"documents": documents.stem, "rank": ranks[source.name], "partitions": count}
            parts.append(Part(f"{stage}-split", source.name, stamp, reads, spec, documents.counts["kept"]))
    return parts


def _verdicts_that_matter(build: Build, before: list[str], documents: PartRecord) -> list[str]:
    """Quality judges part by part, so only the part's own verdicts count; later stages judge all at once."""
    own = [record.sha256 for record in build.parts("quality") if record.inputs[0] == documents.stem]
    return own + build.ids(*[stage for stage in before if stage != "quality"])


def split(stage: str, before: list[str], build: Build, part: Part) -> Iterator[tuple[int, pa.Table]]:
    """The living documents of one part as rows, dealt out by key."""
    documents = next(record for record in build.parts("documents", part.name) if record.stem == part.spec["documents"])
    for batch in living(build, before, documents, ["doc_id", "text_digest", "q_bytes"]):
        ids = batch.column("doc_id")
        keys = batch.column("text_digest") if stage == "exact" else _id_digests(ids)
        rank = pa.array(np.full(len(ids), part.spec["rank"]), pa.int32())
        # one text under many ids: the smallest id stays; one id with many texts: the longest stays
        size = batch.column("q_bytes").cast(pa.int64())
        shortness = pc.negate(size) if stage == "identity" else pa.array(np.zeros(len(ids), np.int64))
        columns = [keys, rank, shortness, ids, _repeat(documents.id, ids), size]
        table = pa.table(columns, schema=ROWS)
        yield from partitioned(table, _partition_numbers(keys, part.spec["partitions"]), part.spec["partitions"])


def _id_digests(ids: pa.Array) -> pa.Array:
    return pa.array([text_digest(doc_id) for doc_id in ids.to_pylist()], pa.binary(16))


def _repeat(value: str, like: pa.Array) -> pa.Array:
    return pa.array([value] * len(like), pa.string())


def _partition_numbers(keys: pa.Array, count: int) -> np.ndarray:
    """The top bits of each key; `count` is a power of two."""
    words = np.frombuffer(b"".join(key[:4] for key in keys.to_pylist()), dtype=">u4").astype(np.int64)
    return words * count >> 32


def plan_reduce(stage: str, before: list[str], build: Build) -> list[Part]:
    """One part for each partition of the keys."""
    count = partitions(build)
    stamp = fingerprint(stage=[stage, VERSION], order=build.manifest.dedup_order, libraries=versions("pyarrow"))
    upstream = build.ids("documents", *before)
    specs = [{"partition": number, "inputs": upstream} for number in range(count)]
    return [Part(stage, "all", stamp, [upstream, count, spec["partition"]], spec) for spec in specs]


def reduce(stage: str, build: Build, part: Part, rows: pa.Table, outputs: Outputs) -> Result:
    """All rows of some keys -> a verdict for every document but the first of each key, which is the survivor."""
    rows = rows.sort_by(ORDER)
    keys = np.frombuffer(b"".join(rows.column("key").to_pylist()), dtype="S16")
    first = np.ones(len(keys), bool)
    first[1:] = keys[1:] != keys[:-1]
    survivor = np.maximum.accumulate(np.where(first, np.arange(len(keys)), 0)) if len(keys) else np.arange(0)
    losers = np.flatnonzero(~first)
    lost, kept = rows.take(pa.array(losers)), rows.take(pa.array(survivor[losers]))
    write_verdicts(outputs.file(".parquet"), _verdict_table(stage, lost, kept))
    dropped = {REASONS[stage]: len(losers)} if len(losers) else {}
    counts = {"read": len(keys), "kept": int(first.sum()), "dropped": dropped, **guard.matrix(lost, kept)}
    return part.spec["inputs"], counts


REASONS = {"identity": Reason.DUPLICATE_ID, "exact": Reason.EXACT_DUPLICATE}


def _verdict_table(stage: str, lost: pa.Table, kept: pa.Table) -> pa.Table:
    pairs = zip(kept.column("doc_id").to_pylist(), kept.column("part").to_pylist(), strict=True)
    evidence = [canonical_json({"survivor": doc_id, "survivor_part": part}).decode() for doc_id, part in pairs]
    nothing = pa.nulls(lost.num_rows, pa.float64())
    reasons = pa.array([REASONS[stage].value] * lost.num_rows, pa.string())
    columns = [lost.column("part"), lost.column("doc_id"), reasons, nothing, nothing, pa.array(evidence, pa.string())]
    return pa.table(columns, schema=VERDICT_SCHEMA)


def regroup(stage: str, before: list[str]) -> Regroup:
    """The regroup of one of the two stages; `before` are the stages whose verdicts it respects."""
    return Regroup(
        stage,
        ROWS,
        partial(plan_split, stage, before),
        partial(split, stage, before),
        partial(plan_reduce, stage, before),
        partial(reduce, stage),
    )


IDENTITY = regroup("identity", ["quality"])
EXACT = regroup("exact", ["quality", "identity"])
