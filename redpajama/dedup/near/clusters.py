"""The stage `clusters`: edges -> the cluster of each document that has one, by the part that holds it.

Up to UNION_FIND_DOCUMENTS one process joins them by union-find over nodes, at 9 bytes a document (17 beyond 2**32);
beyond, or with `components = "star"`, the stars of `star` are written by range of nodes. Both give the same rows.
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus.stages import DOCUMENTS
from redpajama.dedup.near import candidates
from redpajama.dedup.near.nodes import nodes_of
from redpajama.engine.homes import Home
from redpajama.engine.partitions import PartitionWriter
from redpajama.engine.parts import Outputs, Part, Result
from redpajama.engine.shapes import Piece, Single
from redpajama.engine.stages import ALL, Build
from redpajama.engine.tables import read_batches, read_table
from redpajama.errors import BuildFailed

NAME = "clusters"
COMPONENTS = "components"  # the stage whose parts are ranges of nodes in stars
UNION_FIND_DOCUMENTS = 700_000_000
BLOCK = 1 << 20  # nodes that are written at once

CLUSTERED = pa.schema([pa.field("node", pa.int64()), pa.field("cluster", pa.int64()), pa.field("size", pa.int64())])
HOME = Home(".members", CLUSTERED, ("node",), DOCUMENTS)


def uses_stars(build: Build) -> bool:
    """Whether clusters are found by regroups: as the manifest says, else by the number of documents."""
    wish = build.manifest.dedup.components
    too_many = nodes_of(build).total > UNION_FIND_DOCUMENTS
    return wish == "star" or (wish == "auto" and too_many and COMPONENTS in build.records)


def pieces(build: Build) -> Iterator[Piece]:
    """One part for all; of stars, one for each range of nodes."""
    if not uses_stars(build):
        _check_memory(nodes_of(build).total)
        yield Piece(ALL, [build.contents(DOCUMENTS), build.contents(candidates.STAGE.name)])
        return
    for record in build.parts(COMPONENTS):
        reads = [build.contents(DOCUMENTS), record.content]
        yield Piece(ALL, reads, {"of": record.id}, record.counts["kept"], record.stem.rpartition("/")[2][:11])


def _check_memory(documents: int) -> None:
    if documents > UNION_FIND_DOCUMENTS:
        raise BuildFailed(
            f"clusters of {documents:,} documents need {9 * documents / 2**30:.0f} GiB in one process: "
            f"set dedup.components to 'star'"
        )


def find(build: Build, part: Part, outputs: Outputs) -> Result:
    """CLUSTERED by home, and what it holds."""
    tables = _of_stars(build, part) if "of" in part.spec else _by_union_find(build)
    sizes: Counter[str] = Counter()
    numbers, counts = nodes_of(build), Counter(read=0, kept=0, clusters=0, clustered=0)
    with PartitionWriter(outputs.file(HOME.ending), CLUSTERED) as writer:
        for table in tables:
            writer.add(numbers.homes_of(table.column("node").to_numpy()), table)
            counts["read"] += table.num_rows
            counts["kept"] += table.num_rows
            counts["clustered"] += table.num_rows
            roots = table.filter(pc.equal(table.column("node"), table.column("cluster"))).column("size").to_numpy()
            counts["clusters"] += len(roots)
            sizes.update(size_classes(roots))
    return [], {**counts, "sizes": dict(sorted(sizes.items()))}


def size_classes(sizes: np.ndarray) -> dict[str, int]:
    """{power of two: how many clusters have so many documents or up to twice as many}"""
    classes, counts = np.unique(np.frexp(sizes)[1] - 1, return_counts=True)
    return {str(1 << int(power)): int(count) for power, count in zip(classes, counts, strict=True)}


def _of_stars(build: Build, part: Part) -> Iterator[pa.Table]:
    yield read_table(build.store, build.part(COMPONENTS, part.spec["of"]).file(".parquet"))


def _by_union_find(build: Build) -> Iterator[pa.Table]:
    from redpajama.dedup.near import union_find  # Numba is loaded where it is needed

    total = nodes_of(build).total
    parents = union_find.singletons(total)
    for record in build.parts(candidates.STAGE.name):
        for batch in read_batches(build.store, record.file(".parquet")):
            union_find.unite(parents, *(batch.column(name).to_numpy() for name in ("one", "other")))
    sizes = union_find.measure(parents)
    for start in range(0, total, BLOCK):
        yield _clustered(parents, sizes, start, min(total, start + BLOCK))


def _clustered(parents: np.ndarray, sizes: np.ndarray, start: int, end: int) -> pa.Table:
    """CLUSTERED for the nodes of one block that are not alone."""
    roots = parents[start:end]
    rows = np.flatnonzero(sizes[roots] > 1)
    columns = [start + rows, roots[rows].astype(np.int64), sizes[roots[rows]].astype(np.int64)]
    return pa.table([pa.array(column) for column in columns], schema=CLUSTERED)


STAGE = Single(
    name=NAME,
    version=5,
    libraries=candidates.LIBRARIES,
    after=(DOCUMENTS, candidates.STAGE.name, COMPONENTS),
    pieces=pieces,
    work=find,
    homes=(HOME,),
)
