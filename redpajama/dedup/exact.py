"""The stages `identity` and `exact`: one document per id, then one per normalised text, across all sources.

Which texts are the same, by kind of text: `hashing.normal_text_digest`. Which copy stays: that of the source that
stands earlier in `[dedup] order`; inside one source what near-dedup's `prefer` says, if there is near-dedup; then the
smaller id. With its `keep = "none"` the first goes too, once near-dedup has compared it: the stage `copies`.

Of the versions of one id that stays which `[dedup] versions` says (`pipelines/versions.py`), among all, before quality:
so it is the same one whether they stand in one part or in many. Of equal texts only documents alive after quality take
part, so only living ones survive.

Only narrow columns are regrouped: a 16-byte key, the source's rank, the id and the part that holds the document.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.arrow import fixed_bytes
from redpajama.corpus import reader, verdicts
from redpajama.corpus.evidence import evidence_of
from redpajama.corpus.stages import DOCUMENTS
from redpajama.corpus.verdicts import HOME, VERDICT_SCHEMA
from redpajama.dedup import guard
from redpajama.dedup.near import minhash, policy
from redpajama.dedup.near.minhash import MinHashParams
from redpajama.engine import homes
from redpajama.engine.homes import Home
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts, Dealt, Range, Regrouped
from redpajama.engine.splits import pieces
from redpajama.engine.stages import REMOVED, Build
from redpajama.hashing import text_digests
from redpajama.records import Reason

PARTITION_ROWS = 1_000_000  # about 120 MB of rows in a reducer, and as much again to sort them

ROWS = pa.schema(
    [
        pa.field("key", pa.binary(16)),
        pa.field("rank", pa.int32()),  # of the source in [dedup] order: the smaller keeps its copy
        pa.field("preference", pa.binary()),  # the smaller stays
        pa.field("doc_id", pa.string()),
        pa.field("part", pa.string()),
        pa.field("bytes", pa.int64()),  # of the text
        pa.field("living", pa.bool_()),  # after the stages before
    ]
)
NAME = "exact"
FIRSTS = Home(  # with `keep = "none"`: the first of equal texts, and another of them
    ".firsts",
    pa.schema(
        [*(pa.field(name, pa.string()) for name in ("part", "doc_id", "other_part", "other")), ROWS.field("bytes")]
    ),
    ("doc_id",),
    DOCUMENTS,
)
ORDER = [(name, "ascending") for name in ("key", "rank", "preference", "doc_id", "part")]


def depends(stage: str, build: Build, name: str) -> Counts:
    """What says whose copy stays."""
    params = near_parameters(build) if stage == "exact" else None
    return {"order": build.manifest.dedup_order, **({"policy": [params.prefer, params.keep]} if params else {})}


def near_parameters(build: Build) -> MinHashParams | None:
    """What the manifest asks of near-dedup; None where it asks for none."""
    near = build.manifest.dedup.near
    return None if near is None else minhash.parse(near)


def partitions(build: Build, name: str, parts: list[PartRecord]) -> int:
    """A power of two that keeps a reducer's rows bounded."""
    documents = sum(record.counts["kept"] for record in parts)
    return pieces(documents, PARTITION_ROWS, len(parts))


def split_identity(build: Build, documents: PartRecord, count: int) -> Dealt:
    """All documents of one part, with those that are gone, as rows, dealt out by id."""
    removed = verdicts.removed_ids(build, documents)
    for batch in reader.read(build, documents, ["doc_id", "version", "q_bytes"], is_living=False):
        keys = text_digests(batch.column("doc_id"))
        living, version = verdicts.alive(batch, removed), batch.column("version").cast(pa.binary())
        yield _partition_numbers(keys, count), _rows(build, documents, batch, keys, version, living)


def split_exact(build: Build, documents: PartRecord, count: int) -> Dealt:
    """The living documents of one part as rows, dealt out by what their normalised texts are."""
    params = near_parameters(build)
    columns = policy.columns(params) if params else []
    for batch in reader.read(build, documents, ["doc_id", "text_digest", "q_bytes", *columns]):
        keys, living = batch.column("text_digest"), pa.repeat(True, batch.num_rows)
        preference = pa.repeat(pa.scalar(b""), batch.num_rows)
        if params:
            preference = policy.preferences(params, batch.column("q_bytes").to_numpy(), pa.Table.from_batches([batch]))
        yield _partition_numbers(keys, count), _rows(build, documents, batch, keys, preference, living)


def _rows(
    build: Build, documents: PartRecord, batch: pa.RecordBatch, keys: pa.Array, preference: pa.Array, living: pa.Array
) -> pa.Table:
    rank = pa.scalar(build.manifest.dedup_order.index(documents.name), pa.int32())
    ranks, part = pa.repeat(rank, batch.num_rows), pa.repeat(pa.scalar(documents.id), batch.num_rows)
    size = batch.column("q_bytes").cast(pa.int64())
    return pa.table([keys, ranks, preference, batch.column("doc_id"), part, size, living], schema=ROWS)


def _partition_numbers(keys: pa.Array, count: int) -> np.ndarray:
    """The top bits of each key; `count` is a power of two."""
    words = fixed_bytes(keys)[:, :4].copy().view(">u4")[:, 0]
    return words.astype(np.int64) * count >> 32


def reduce(stage: str, build: Build, range: Range, rows: pa.Table, outputs: Outputs) -> Counts:
    """All rows of some keys -> a verdict for every living document but the first of each key, which is the survivor.

    The first version of an id may be gone: then no other takes its place.
    """
    rows = rows.sort_by(ORDER)
    keys, living = fixed_bytes(rows.column("key")), rows.column("living").to_numpy()
    first = np.ones(len(keys), bool)
    first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    survivor = np.maximum.accumulate(np.where(first, np.arange(len(keys)), 0)) if len(keys) else np.arange(0)
    losers = np.flatnonzero(~first & living)
    lost, kept = rows.take(pa.array(losers)), rows.take(pa.array(survivor[losers]))
    if takes_all(build) and stage == NAME:
        _write_firsts(outputs, lost, kept, survivor[losers])
        kept = kept.set_column(kept.column_names.index("living"), "living", pa.repeat(False, kept.num_rows))
    verdicts.write(outputs, _verdict_table(stage, lost, kept))
    dropped = {REASONS[stage]: len(losers)} if len(losers) else {}
    read = int(living.sum())
    return {"read": read, "kept": read - len(losers), "dropped": dropped, **guard.matrix(lost, kept)}


def takes_all(build: Build) -> bool:
    """Whether all of equal texts go."""
    params = near_parameters(build)
    return params is not None and params.keep == "none"


def _write_firsts(outputs: Outputs, lost: pa.Table, kept: pa.Table, survivor: np.ndarray) -> None:
    """The first of each group of equal texts with the second; `lost` and `kept` have a row for each pair."""
    once = pa.array(np.unique(survivor, return_index=True)[1])
    first, second = kept.take(once), lost.take(once)
    columns = [*(table.column(name) for table in (first, second) for name in ("part", "doc_id")), first.column("bytes")]
    firsts = pa.table(columns, schema=FIRSTS.schema)
    homes.write(outputs, FIRSTS, homes.numbers_of(firsts.column("part")), firsts)


SPLITS = {"identity": split_identity, "exact": split_exact}
REASONS = {"identity": Reason.DUPLICATE_ID, "exact": Reason.EXACT_DUPLICATE}


def _verdict_table(stage: str, lost: pa.Table, kept: pa.Table) -> pa.Table:
    """Evidence names a `survivor`, or the `other` one where that is gone too."""
    named = (kept.column("doc_id"), kept.column("part"))
    survivors, others = (
        evidence_of(dict(zip((role, f"{role}_part"), named, strict=True))) for role in ("survivor", "other")
    )
    evidence = pc.if_else(kept.column("living"), survivors, others)
    nothing = pa.nulls(lost.num_rows, pa.float64())
    reasons = pa.repeat(REASONS[stage].value, lost.num_rows)
    columns = [lost.column("part"), lost.column("doc_id"), reasons, nothing, nothing, evidence]
    return pa.table(columns, schema=VERDICT_SCHEMA)


def _stage(name: str) -> Regrouped:
    return Regrouped(
        name=name,
        version=4,
        libraries=("pyarrow",),
        after=(DOCUMENTS, REMOVED),
        each=DOCUMENTS,
        schema=ROWS,
        depends=partial(depends, name),
        partitions=partitions,
        split=SPLITS[name],
        asks=verdicts.identity,
        reduce=partial(reduce, name),
        removes=True,
        homes=(HOME,),
    )


def with_firsts() -> Regrouped:
    """The stage `exact` where all of equal texts go: it tells the firsts too."""
    return replace(EXACT, homes=(HOME, FIRSTS))


IDENTITY, EXACT = _stage("identity"), _stage(NAME)
