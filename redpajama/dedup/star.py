"""Clusters by large-star and small-star: for more documents than one machine can number in memory.

Kiveris et al., "Connected Components in MapReduce and Beyond" (SoCC 2014), algorithm "alternating": a round is a
large-star and a small-star, each a regroup of edges by node. At the fixed point each cluster is a star around its
smallest node, which is what `clusters.unite` finds. ROUNDS rounds stand in the graph; those after the fixed point have
no parts, and a graph that has none by then fails by name.

Memory: a reducer holds about EDGE_ROWS rows of 16 bytes, thrice, or the edges of its largest cluster.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa

from redpajama.artifacts import BuildFailed, Outputs, Part, PartRecord, StageRecord
from redpajama.columns import read_batches, read_table, write_table
from redpajama.dedup import near
from redpajama.dedup.near import CLUSTERED, EDGES, LIBRARIES
from redpajama.stages import Build, Regroup, Result, Step, fingerprint, partitioned, versions

VERSION = 1
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
    return near.distinct_edges(centres[larger], others[larger]), unsettled


def small_star(nodes: np.ndarray, others: np.ndarray) -> Edges:
    """All smaller neighbours of some nodes -> these, and the node, linked to the smallest of them."""
    nodes, others, starts, sizes = _by_node(nodes, others)
    centres = others[starts]
    ones, linked = np.repeat(centres, sizes), others
    return near.distinct_edges(np.append(ones, centres), np.append(linked, nodes[starts]))


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
    names = [near.CANDIDATES.stage]
    for number in range(1, ROUNDS + 1):
        names += [f"star-{number}-large", f"star-{number}-small"]
    names = names[:-1]
    return names[: names.index(end)] if end else names


def _edges_before(build: Build, stage: str = "") -> str | None:
    """The stage whose edges `stage` goes on with; None where the fixed point is reached."""
    done = [name for name in _stages(stage) if build.records.get(name)]
    return None if _settled(build, done[-1]) else done[-1]


def _settled(build: Build, stage: str) -> bool:
    return stage.endswith("-large") and build.stage(stage)["all"].counts["unsettled"] == 0


def _partitions(build: Build, source: str) -> int:
    return near.power_of_two(2 * build.stage(source)["all"].counts["edges"], EDGE_ROWS)


def plan_split(stage: str, build: Build) -> list[Part]:
    """One part for each part of edges; none after the fixed point."""
    if (source := _edges_before(build, stage)) is None:
        return []
    count, stamp = _partitions(build, source), _stamp(stage)
    return [
        Part(f"{stage}-split", "all", stamp, [record.sha256, count], _spec(record, count))
        for record in build.parts(source)
    ]


def _stamp(stage: str) -> str:
    return fingerprint(stage=[stage, VERSION], libraries=versions(*LIBRARIES))


def _spec(record: PartRecord, count: int) -> dict[str, str | int]:
    return {"file": record.file(".parquet"), "partitions": count}


def split(stage: str, build: Build, part: Part) -> Iterator[tuple[int, pa.Table]]:
    """Edges -> neighbours, dealt out by node: of both ends for a large-star, of the larger end for a small-star."""
    count = part.spec["partitions"]
    for batch in read_batches(build.store, part.spec["file"]):
        ones, others = (batch.column(name).to_numpy() for name in ("one", "other"))
        rows = (others, ones) if stage.endswith("-small") else (np.append(ones, others), np.append(others, ones))
        hashed = (rows[0].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
        table = pa.table([pa.array(column) for column in rows], schema=NEIGHBOURS)
        yield from partitioned(table, hashed.astype(np.int64) * count >> 32, count)


def plan_reduce(stage: str, build: Build) -> list[Part]:
    """One part for each partition of the nodes; none after the fixed point."""
    if (source := _edges_before(build, stage)) is None:
        return []
    count, upstream = _partitions(build, source), build.ids(source)
    specs = [{"partition": number, "inputs": upstream} for number in range(count)]
    return [Part(stage, "all", _stamp(stage), [upstream, count, spec["partition"]], spec) for spec in specs]


def reduce(stage: str, build: Build, part: Part, rows: pa.Table, outputs: Outputs) -> Result:
    """All neighbours of some nodes -> edges of the next star."""
    nodes, others = (rows.column(name).to_numpy() for name in ("node", "other"))
    counts = {"read": rows.num_rows, "kept": rows.num_rows}
    if stage.endswith("-large"):
        edges, counts["unsettled"] = large_star(nodes, others)
    else:
        edges = small_star(nodes, others)
    write_table(outputs.file(".parquet"), pa.table([pa.array(column) for column in edges], schema=EDGES))
    return part.spec["inputs"], {**counts, "edges": len(edges[0])}


def check_settled(build: Build, name: str, record: StageRecord) -> None:
    """After the last round nothing may be unsettled."""
    if unsettled := record.counts["unsettled"]:
        raise BuildFailed(
            f"{unsettled:,} documents have no cluster after {ROUNDS} rounds of large-star and small-star: "
            f"their chains of similar documents are too long; set dedup.components to 'union-find'"
        )


def _round(stage: str) -> Regroup:
    last = {"check": check_settled} if stage == _stages()[-1] else {}
    steps = (partial(plan_split, stage), partial(split, stage), partial(plan_reduce, stage), partial(reduce, stage))
    return Regroup(stage, NEIGHBOURS, *steps, **last, scratch=True)


# ---- clusters


def _documents(build: Build) -> int:
    return sum(record.counts["kept"] for record in build.stage("signatures").values())


def _ranges(build: Build) -> int:
    return near.power_of_two(_documents(build), EDGE_ROWS)


def _stars(build: Build) -> list[PartRecord]:
    """The parts that hold the fixed point: all edges of a centre stand in one."""
    return build.parts([name for name in _stages() if build.records.get(name)][-1])


def plan_stars(build: Build) -> list[Part]:
    """One part for each part of the fixed point."""
    count = _ranges(build)
    reads = [count, _documents(build)]
    return [
        Part("components-split", "all", _stamp("components"), [record.sha256, *reads], _spec(record, count))
        for record in _stars(build)
    ]


def split_stars(build: Build, part: Part) -> Iterator[tuple[int, pa.Table]]:
    """Whole stars -> their documents with the star's centre and size, dealt out by ranges of nodes."""
    count, total = part.spec["partitions"], _documents(build)
    table = read_table(build.store, part.spec["file"])
    centres, members = (table.column(name).to_numpy() for name in ("one", "other"))
    starts = np.flatnonzero(np.append(True, centres[1:] != centres[:-1])) if len(centres) else np.zeros(0, np.int64)
    sizes = np.diff(np.append(starts, len(centres)))
    nodes = np.append(centres[starts], members)
    columns = [nodes, np.append(centres[starts], centres), np.append(sizes, np.repeat(sizes, sizes)) + 1]
    rows = pa.table([pa.array(column) for column in columns], schema=CLUSTERED)
    yield from partitioned(rows, nodes * count // max(1, total), count)


def plan_components(build: Build) -> list[Part]:
    """One part for each range of nodes, in their order."""
    count, upstream = _ranges(build), [*build.ids("signatures"), *(record.sha256 for record in _stars(build))]
    stamp = _stamp("components")
    return [
        Part(
            "components",
            "all",
            stamp,
            [upstream, count, number],
            {"partition": number, "inputs": upstream},
            label=f"range-{number:05d}",
        )
        for number in range(count)
    ]


def sort_components(build: Build, part: Part, rows: pa.Table, outputs: Outputs) -> Result:
    """Clustered documents of one range of nodes, sorted."""
    write_table(outputs.file(".parquet"), rows.sort_by("node"))
    return part.spec["inputs"], {"read": rows.num_rows, "kept": rows.num_rows}


def cluster(build: Build, part: Part, outputs: Outputs) -> Result:
    """As `near.cluster`, to the byte; memory is bounded by a part."""
    return near.write_clusters(build, part, outputs, _clustered(build))


def _clustered(build: Build) -> Iterator[pa.Table]:
    """CLUSTERED for each signatures part."""
    ranges, count, total = build.parts("components"), _ranges(build), _documents(build)
    for first, signed in near.nodes(build):
        end = first + signed.counts["kept"]
        met = ranges[first * count // max(1, total) : (max(first, end - 1) * count // max(1, total)) + 1]
        bounds = [("node", ">=", first), ("node", "<", end)]
        tables = [read_table(build.store, record.file(".parquet"), filters=bounds) for record in met]
        yield pa.concat_tables([CLUSTERED.empty_table(), *tables]).combine_chunks()


ROUND_STAGES = [_round(stage) for stage in _stages()[1:]]
COMPONENTS = Regroup("components", CLUSTERED, plan_stars, split_stars, plan_components, sort_components, scratch=True)
CLUSTERS = Step("clusters", near.plan_clusters, cluster)
STAGES = [*ROUND_STAGES, COMPONENTS, CLUSTERS]
