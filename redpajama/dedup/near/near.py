"""The stage `near`: inside each cluster, who goes, for whom, on what evidence.

Flow: clustered documents with their sketches, and the n-grams of those in doubt, regrouped by cluster -> in each
cluster, documents in policy order (`policy`), compared (`walk`) -> verdicts. Texts are read for n-grams alone.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import verdicts
from redpajama.corpus.evidence import evidence_of, sources_of
from redpajama.corpus.stages import DOCUMENTS
from redpajama.corpus.verdicts import VERDICT_SCHEMA
from redpajama.dedup import guard
from redpajama.dedup.near import clusters, doubts, loss, pairs, policy, rows, signatures, walk
from redpajama.dedup.near.signatures import parameters
from redpajama.engine import homes
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts, Dealt, Range, Regrouped
from redpajama.engine.stages import REMOVED, Build
from redpajama.manifest import given
from redpajama.records import Reason

VERDICT_ROWS = 1 << 16  # made at once
NAMED = ["part", "doc_id", "bytes", "total"]  # what a verdict says of a document
MAX_NAMED_CLUSTERS = 20  # in the counts of a part


def partitions(build: Build, name: str, parts: list[PartRecord]) -> int:
    """A power of two that keeps a reducer's rows bounded."""
    if parameters(build).verify == "sketch":
        return rows.partitions(build, parts, build.stage(doubts.STAGE.name)["all"].counts.get("ngrams", 0))
    signed = sum(record.counts["ngrams"] for record in build.stage(signatures.STAGE.name).values())
    documents = sum(part.counts["kept"] for part in parts)
    clustered = build.stage(clusters.NAME)["all"].counts.get("clustered", 0)
    ngrams = signed * clustered // max(1, documents)  # as many as the mean document has
    return rows.partitions(build, parts, ngrams)


def asks(build: Build, documents: PartRecord) -> list[str | int]:
    """The same as for doubts, and these."""
    return [*rows.asks(build, documents), homes.digest(build, doubts.STAGE.name, documents, doubts.HOME)]


def split(build: Build, documents: PartRecord, count: int) -> Dealt:
    """The clustered documents of one part, with the n-grams of those that need them."""
    is_exact = parameters(build).verify == "exact"
    wanted = None if is_exact else homes.read(build, doubts.STAGE.name, documents, doubts.HOME)
    yield from rows.split(build, documents, count, wanted)


def reduce(build: Build, partition: Range, table: pa.Table, outputs: Outputs) -> Counts:
    """All documents of some clusters -> a verdict for each that goes."""
    params, (table, members) = parameters(build), rows.in_order(table)
    outcome = walk.walk(members, params, policy.comparable(build.manifest, params))
    losses = loss.measure(members, outcome) if params.keep == "one" else None
    roots = table.column("cluster").to_numpy()[members.bounds[:-1]]
    del members  # what is wide makes room for the verdicts
    lost, others = (table.select(NAMED).take(pa.array(each)) for each in (outcome.rows, outcome.others))
    verdicts.write(outputs, _verdicts(build, lost, others, outcome, losses))
    dropped = {Reason.NEAR_DUPLICATE: len(outcome.rows)} if len(outcome.rows) else {}
    sizes = np.bincount(outcome.measures, minlength=len(pairs.MEASURES)).tolist()
    measures = {name: count for name, count in sorted(zip(pairs.MEASURES, sizes, strict=True)) if count}
    counts = {"read": table.num_rows, "kept": table.num_rows - len(outcome.rows), "dropped": dropped}
    found = {"measured_by": measures, **_unchecked(roots, outcome.unchecked), **_lost(lost, losses)}
    return {**counts, **found, **guard.matrix(lost, others)}


def _unchecked(roots: np.ndarray, counts: np.ndarray) -> Counts:
    """Survivors that were not compared with all that they may be like: in how many clusters, and in the worst ones."""
    worst = np.argsort(-counts, kind="stable")[:MAX_NAMED_CLUSTERS]
    named = {str(roots[each]): int(counts[each]) for each in sorted(worst) if counts[each]}
    return {"unchecked": int(counts.sum()), "unchecked_clusters": int((counts > 0).sum()), "unchecked_in": named}


def _lost(lost: pa.Table, losses: loss.Losses | None) -> Counts:
    """About how many n-grams of the documents that went stand in no survivor, of how many, and documents by share."""
    if losses is None:
        return {}
    ngrams = lost.column("total").to_numpy()
    sums = {"removed_ngrams": int(ngrams.sum()), "lost_ngrams": int(np.rint(ngrams * losses.all).sum())}
    return {**sums, "lost_shares": loss.classes(losses.all)}


def _verdicts(
    build: Build, lost: pa.Table, others: pa.Table, outcome: walk.Outcome, losses: loss.Losses | None
) -> pa.Table:
    """VERDICT_SCHEMA for all removals, a row each of `lost` and of `others`."""
    params, count = parameters(build), lost.num_rows
    blocks = (slice(start, start + VERDICT_ROWS) for start in range(0, count, VERDICT_ROWS))
    evidence = [_evidence(build, lost[block], others[block], outcome, losses, block) for block in blocks]
    columns = [
        lost.column("part"),
        lost.column("doc_id"),
        pa.repeat(pa.scalar(Reason.NEAR_DUPLICATE.value), count),
        pa.array(outcome.similarities, pa.float64()),
        pa.repeat(pa.scalar(params.threshold, pa.float64()), count),
        pa.chunked_array(evidence, pa.string()),
    ]
    return pa.table(columns, schema=VERDICT_SCHEMA)


def _evidence(
    build: Build,
    lost: pa.Table,
    others: pa.Table,
    outcome: walk.Outcome,
    losses: loss.Losses | None,
    block: slice,
) -> pa.Array:
    """One block, as its pieces take a few times the room of the evidence.

    `survivor` is alive; with `keep = "none"` the `other` of the pair goes too. `lost` is the share of the document's
    `ngrams` that stand in no survivor, `lost_to_survivor` that which does not stand in its own.
    """
    held = {} if losses is None else {"lost": losses.all[block], "lost_to_survivor": losses.own[block]}
    params, named = parameters(build), build.manifest.source
    role = "survivor" if params.keep == "one" else "other"
    rules = pa.array([params.rule(given(source.kind)) for source in named], pa.string())
    sources, ids = sources_of(lost.column("doc_id")), others.column("doc_id")
    return evidence_of(
        {
            "source": sources,
            role: ids,
            f"{role}_source": sources_of(ids),
            f"{role}_part": others.column("part"),
            "similarity_by": pa.array(pairs.MEASURES).take(pa.array(outcome.measures[block])),
            "shared_bands": pa.array(outcome.shared_bands[block]),
            "ngrams": lost.column("total"),
            **{name: pa.array(np.round(shares, 4)) for name, shares in held.items()},
            "compared": rules.take(pc.index_in(sources, value_set=pa.array([source.name for source in named]))),
        }
    )


STAGE = Regrouped(
    name="near",
    version=4,
    libraries=("numpy", "pyarrow"),
    after=(*rows.AFTER, doubts.STAGE.name, REMOVED),
    each=DOCUMENTS,
    schema=rows.ROWS,
    depends=rows.depends,
    partitions=partitions,
    split=split,
    asks=asks,
    reduce=reduce,
    check=guard.check_wipe_out,
    removes=True,
    packing="lz4",  # hashes hardly compress
    homes=(verdicts.HOME,),
)
