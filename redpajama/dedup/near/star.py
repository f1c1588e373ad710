"""Clusters by large-star and small-star: for more documents than one machine can number in memory.

Kiveris et al., "Connected Components in MapReduce and Beyond" (SoCC 2014), algorithm "alternating": a round is a
large-star and a small-star, each a regroup of edges by node. At the fixed point each cluster is a star around its
smallest node, which is what `clusters.unite` finds. ROUNDS rounds stand in the graph; those after the fixed point have
no parts, and a graph that has none by then fails by name.

Memory: a reducer holds about EDGE_ROWS rows of 16 bytes, thrice, or the edges of its largest cluster.
"""

from functools import partial

import numpy as np
import pyarrow as pa

from redpajama.corpus.stages import DOCUMENTS
from redpajama.dedup.near import candidates, clusters
from redpajama.dedup.near.candidates import EDGES, LIBRARIES, distinct_edges
from redpajama.dedup.near.clusters import CLUSTERED
from redpajama.dedup.near.nodes import nodes_of
from redpajama.engine.gathered import StageRecord
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts, Dealt, Range, Regrouped
from redpajama.engine.splits import pieces
from redpajama.engine.stages import ALL, Build, no_further_check
from redpajama.engine.tables import read_batches, read_table, write_table
from redpajama.errors import BuildFailed

ROUNDS = 8  # the last one only sees that nothing changes
EDGE_ROWS = 4_000_000  # of neighbours in a reducer

NEIGHBOURS = pa.schema([pa.field("node", pa.int64()), pa.field("other", pa.int64())])
Edges = tuple[np.ndarray, np.ndarray]  # int64[n] each: the smaller nodes (centres), the larger ones


# ---- one round


def large_star(nodes: np.ndarray, others: np.ndarray) -> tuple[Edges, int]:
    """All neighbours of some nodes -> each node's larger neighbours linked to the smallest of all; unsettled nodes.

    A node is settled that has only larger neighbours (a centre), or one neighbour, a smaller one (a leaf).
    """
    nodes, others, starts, sizes = _by_node(nodes, others)
    least = others[starts]
    centres = np.repeat(np.minimum(least, nodes[starts]), sizes)
    larger = others > nodes
    unsettled = int(((least < nodes[starts]) & (sizes > 1)).sum())
    return distinct_edges(centres[larger], others[larger]), unsettled


def small_star(nodes: np.ndarray, others: np.ndarray) -> Edges:
    """All smaller neighbours of some nodes -> these, and the node, linked to the smallest of them."""
    nodes, others, starts, sizes = _by_node(nodes, others)
    centres = others[starts]
    ones, linked = np.repeat(centres, sizes), others
    return distinct_edges(np.append(ones, centres), np.append(linked, nodes[starts]))


def _by_node(nodes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours sorted by node; where each node's begin, and how many there are."""
    order = np.lexsort((others, nodes))
    nodes, others = nodes[order], others[order]
    new = np.ones(len(nodes), bool)
    new[1:] = (nodes[1:] != nodes[:-1]) | (others[1:] != others[:-1])
    nodes, others = nodes[new], others[new]
    starts = np.flatnonzero(np.append(True, nodes[1:] != nodes[:-1])) if len(nodes) else np.zeros(0, np.int64)
    return nodes, others, starts, np.diff(np.append(starts, len(nodes)))


# ---- rounds as regroups


def _stages(end: str = "") -> list[str]:
    """The stages whose edges a round may read, in order, up to `end`."""
    names = [candidates.STAGE.name]
    for number in range(1, ROUNDS + 1):
        names += [f"star-{number}-large", f"star-{number}-small"]
    names = names[:-1]
    return names[: names.index(end)] if end else names


def _edges_before(build: Build, stage: str = "") -> str | None:
    """The stage whose edges `stage` goes on with; None where the fixed point is reached."""
    done = [name for name in _stages(stage) if build.names(name)]
    return None if _settled(build, done[-1]) else done[-1]


def _settled(build: Build, stage: str) -> bool:
    return stage.endswith("-large") and build.stage(stage)[ALL].counts["unsettled"] == 0


def _edges(stage: str, build: Build, each: str) -> dict[str, list[PartRecord]]:
    """All parts of edges; nothing where no stars are wanted, or after the fixed point."""
    source = _edges_before(build, stage) if clusters.uses_stars(build) else None
    return {ALL: build.parts(source)} if source else {}


def _documents(build: Build) -> int:
    """How many documents parts there are."""
    return sum(record.parts for record in build.stage(DOCUMENTS).values())


def _partitions(build: Build, name: str, parts: list[PartRecord]) -> int:
    return pieces(2 * sum(part.counts["edges"] for part in parts), EDGE_ROWS, _documents(build))


def split(stage: str, build: Build, edges: PartRecord, count: int) -> Dealt:
    """Edges -> neighbours, dealt out by node: of both ends for a large-star, of the larger end for a small-star."""
    for batch in read_batches(build.store, edges.file(".parquet")):
        ones, others = (batch.column(name).to_numpy() for name in ("one", "other"))
        rows = (others, ones) if stage.endswith("-small") else (np.append(ones, others), np.append(others, ones))
        hashed = (rows[0].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
        table = pa.table([pa.array(column) for column in rows], schema=NEIGHBOURS)
        yield hashed.astype(np.int64) * count >> 32, table


def reduce(stage: str, build: Build, partition: Range, rows: pa.Table, outputs: Outputs) -> Counts:
    """All neighbours of some nodes -> edges of the next star."""
    nodes, others = (rows.column(name).to_numpy() for name in ("node", "other"))
    counts = {"read": rows.num_rows, "kept": rows.num_rows}
    if stage.endswith("-large"):
        edges, counts["unsettled"] = large_star(nodes, others)
    else:
        edges = small_star(nodes, others)
    write_table(outputs.file(".parquet"), pa.table([pa.array(column) for column in edges], schema=EDGES))
    return {**counts, "edges": len(edges[0])}


def check_settled(build: Build, name: str, record: StageRecord) -> None:
    """After the last round nothing may be unsettled."""
    if unsettled := record.counts["unsettled"]:
        raise BuildFailed(
            f"{unsettled:,} documents have no cluster after {ROUNDS} rounds of large-star and small-star: "
            f"their chains of similar documents are too long; set dedup.components to 'union-find'"
        )


def _round(stage: str) -> Regrouped:
    is_last = stage == _stages()[-1]
    return Regrouped(
        name=stage,
        version=2,
        libraries=LIBRARIES,
        after=(DOCUMENTS, *_stages(stage)),
        each=_stages(stage)[-1],
        shares=partial(_edges, stage),
        schema=NEIGHBOURS,
        partitions=_partitions,
        split=partial(split, stage),
        reduce=partial(reduce, stage),
        scratch=True,
        check=check_settled if is_last else no_further_check,
    )


# ---- clusters


def _stars(build: Build, each: str) -> dict[str, list[PartRecord]]:
    """The parts that hold the fixed point: all edges of a centre stand in one."""
    if not clusters.uses_stars(build):
        return {}
    return {ALL: build.parts([name for name in _stages() if build.names(name)][-1])}


def _ranges(build: Build, name: str, parts: list[PartRecord]) -> int:
    return pieces(nodes_of(build).total, EDGE_ROWS, _documents(build))


def asks_nodes(build: Build, stars: PartRecord) -> list[int]:
    """How many documents there are: ranges of nodes are parts of them."""
    return [nodes_of(build).total]


def split_stars(build: Build, stars: PartRecord, count: int) -> Dealt:
    """Whole stars -> their documents with the star's centre and size, dealt out by ranges of nodes."""
    table = read_table(build.store, stars.file(".parquet"))
    centres, members = (table.column(name).to_numpy() for name in ("one", "other"))
    starts = np.flatnonzero(np.append(True, centres[1:] != centres[:-1])) if len(centres) else np.zeros(0, np.int64)
    sizes = np.diff(np.append(starts, len(centres)))
    nodes = np.append(centres[starts], members)
    columns = [nodes, np.append(centres[starts], centres), np.append(sizes, np.repeat(sizes, sizes)) + 1]
    rows = pa.table([pa.array(column) for column in columns], schema=CLUSTERED)
    yield nodes * count // max(1, nodes_of(build).total), rows


def sort_components(build: Build, partition: Range, rows: pa.Table, outputs: Outputs) -> Counts:
    """Clustered documents of one range of nodes, sorted."""
    write_table(outputs.file(".parquet"), rows.sort_by("node"))
    return {"read": rows.num_rows, "kept": rows.num_rows}


ROUND_STAGES = [_round(stage) for stage in _stages()[1:]]
COMPONENTS = Regrouped(
    name=clusters.COMPONENTS,
    version=2,
    libraries=LIBRARIES,
    after=(DOCUMENTS, *_stages()),
    each=_stages()[-1],
    shares=_stars,
    schema=CLUSTERED,
    partitions=_ranges,
    split=split_stars,
    asks=asks_nodes,
    reduce=sort_components,
    is_ordered=True,
    scratch=True,
)
STAGES = [*ROUND_STAGES, COMPONENTS]
