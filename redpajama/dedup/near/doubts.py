"""The stage `doubts`: clustered documents with their sketches -> the few whose n-grams decide something.

With `verify = "exact"` it is left out, and all n-grams decide.
"""

import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus.stages import DOCUMENTS
from redpajama.dedup.near import policy, rows, walk
from redpajama.dedup.near.signatures import parameters
from redpajama.engine import homes
from redpajama.engine.homes import Home
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts, Dealt, Range, Regrouped
from redpajama.engine.stages import Build

NODES = pa.schema([pa.field("node", pa.int64())])
HOME = Home(".doubts", NODES, ("node",), DOCUMENTS)


def partitions(build: Build, name: str, parts: list[PartRecord]) -> int:
    """No n-grams travel."""
    return rows.partitions(build, parts, 0)


def split(build: Build, documents: PartRecord, count: int) -> Dealt:
    """The clustered documents of one part with their sketches."""
    yield from rows.split(build, documents, count, wanted=NODES.empty_table())


def doubt(build: Build, partition: Range, table: pa.Table, outputs: Outputs) -> Counts:
    """All documents of some clusters -> the nodes of those whose n-grams decide something."""
    params, (table, members) = parameters(build), rows.in_order(table)
    found = walk.find_doubts(members, params, policy.comparable(build.manifest, params))
    chosen = table.select(["node", "count", "part"]).take(pa.array(found))
    homes.write(outputs, HOME, homes.numbers_of(chosen.column("part")), chosen.select(["node"]))
    counts = {"read": table.num_rows, "kept": table.num_rows, "doubtful": len(found)}
    return {**counts, "ngrams": pc.sum(chosen.column("count")).as_py() or 0}


STAGE = Regrouped(
    name="doubts",
    version=4,
    libraries=("numpy", "pyarrow"),
    after=rows.AFTER,
    each=DOCUMENTS,
    schema=rows.ROWS,
    depends=rows.depends,
    partitions=partitions,
    split=split,
    asks=rows.asks,
    reduce=doubt,
    packing="lz4",  # hashes hardly compress
    homes=(HOME,),
)
