"""The stage `families`: near copies that dedup left alive, so that later choices treat them as one text.

A family is the living documents of one cluster, where there are several: likely copies that were none by measure. Its
first, in dedup's order, stands for all: by it what is held out is drawn, and copies are counted. With `max_copies` the
members behind those that fill it are told.
"""

from math import ceil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import reader, verdicts
from redpajama.corpus.families import HOME
from redpajama.corpus.stages import DOCUMENTS, FAMILIES
from redpajama.dedup.near import clusters
from redpajama.dedup.near.nodes import nodes_of
from redpajama.engine import homes
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts, Dealt, Range, Regrouped
from redpajama.engine.splits import pieces
from redpajama.engine.stages import REMOVED, Build
from redpajama.hashing import draws
from redpajama.manifest import given

PARTITION_ROWS = 1_000_000

ROWS = pa.schema(
    [
        pa.field("cluster", pa.int64()),
        pa.field("rank", pa.int32()),  # of the source in [dedup] order
        pa.field("doc_id", pa.string()),
        pa.field("part", pa.string()),
        pa.field("copies", pa.int32()),  # the most that its slices may draw of it
    ]
)


def depends(build: Build, name: str) -> Counts:
    """The seed, dedup's order, how many copies a text may have, and what slices may draw of one."""
    limits = {"max_copies": given(build.manifest.mixture).max_copies, "copies": most_copies(build)}
    return {"seed": build.manifest.seed, "order": build.manifest.dedup_order, **limits}


def most_copies(build: Build) -> dict[str, int]:
    """{source: the most copies of a document that its slices may draw}; {} where nobody asks."""
    mixture = given(build.manifest.mixture)
    if mixture.max_copies is None:
        return {}
    found: dict[str, int] = {}
    for share in mixture.slice:
        most = ceil(max(share.curve.repeats) if share.curve else share.max_epochs) if mixture.is_drawn(share) else 0
        found[share.source] = max(found.get(share.source, 0), min(most, mixture.max_copies))
    return found


def partitions(build: Build, name: str, parts: list[PartRecord]) -> int:
    """A power of two that keeps a reducer's rows bounded."""
    clustered = build.stage(clusters.NAME)["all"].counts.get("clustered", 0)
    return pieces(clustered, PARTITION_ROWS, len(parts))


def asks(build: Build, documents: PartRecord) -> list[str]:
    """Who is gone, and the clusters."""
    return [*verdicts.identity(build, documents), homes.digest(build, clusters.NAME, documents, clusters.HOME)]


def split(build: Build, documents: PartRecord, count: int) -> Dealt:
    """The living documents of one part that are in clusters, dealt out by cluster."""
    numbers, members = nodes_of(build), homes.read(build, clusters.NAME, documents, clusters.HOME)
    first, end = numbers.bounds(documents)
    of_row = np.full(end - first, -1, np.int64)
    of_row[members.column("node").to_numpy() - first] = members.column("cluster").to_numpy()
    rank, copies = build.manifest.dedup_order.index(documents.name), most_copies(build).get(documents.name, 0)
    beside = [pa.table({"cluster": of_row})]
    for batch in reader.read(build, documents, ["doc_id"], beside=beside) if members.num_rows else ():
        batch = batch.filter(pc.greater_equal(batch.column("cluster"), 0))
        rows = batch.num_rows
        same = [pa.repeat(pa.scalar(value, kind), rows) for value, kind in _same(rank, documents.id, copies)]
        table = pa.table([batch.column("cluster"), same[0], batch.column("doc_id"), *same[1:]], schema=ROWS)
        yield batch.column("cluster").to_numpy() % count, table


def _same(rank: int, part: str, copies: int) -> list[tuple[int | str, pa.DataType]]:
    return [(rank, pa.int32()), (part, pa.string()), (copies, pa.int32())]


def reduce(build: Build, partition: Range, rows: pa.Table, outputs: Outputs) -> Counts:
    """All living members of some clusters -> the families of several, by home."""
    rows = rows.sort_by([(name, "ascending") for name in ("cluster", "rank", "doc_id", "part")])
    found = families(rows, build.manifest.seed, given(build.manifest.mixture).max_copies)
    homes.write(outputs, HOME, homes.numbers_of(found.column("part")), found)
    return {"read": rows.num_rows, "kept": rows.num_rows, "members": found.num_rows}


def families(rows: pa.Table, seed: int, max_copies: int | None) -> pa.Table:
    """ROWS in order -> HOME's rows, of clusters with several."""
    clusters_of, copies = rows.column("cluster").to_numpy(), rows.column("copies").to_numpy().astype(np.int64)
    starts = (
        np.flatnonzero(np.append(True, clusters_of[1:] != clusters_of[:-1])) if len(rows) else np.zeros(0, np.int64)
    )
    sizes = np.diff(np.append(starts, len(rows)))
    filled = np.cumsum(copies) - np.repeat((np.cumsum(copies) - copies)[starts], sizes)
    drawn = draws(seed, ["validation"], rows.column("doc_id").take(pa.array(starts)))
    full = filled > max_copies if max_copies is not None else np.zeros(len(rows), bool)
    columns = [rows.column("part"), rows.column("doc_id"), pa.array(np.repeat(drawn, sizes)), pa.array(full)]
    several = np.repeat(sizes > 1, sizes)
    return pa.table(columns, schema=HOME.schema).filter(pa.array(several))


STAGE = Regrouped(
    name=FAMILIES,
    version=1,
    libraries=("pyarrow",),
    after=(DOCUMENTS, clusters.NAME, REMOVED),
    each=DOCUMENTS,
    schema=ROWS,
    depends=depends,
    partitions=partitions,
    split=split,
    asks=asks,
    reduce=reduce,
    homes=(HOME,),
)
