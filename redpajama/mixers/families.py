"""Near copies that are drawn together: how often a text stands in the stream, all its near copies counted."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import withdrawn
from redpajama.corpus.stages import CANDIDATES
from redpajama.engine.parts import Outputs
from redpajama.engine.shapes import Counts
from redpajama.engine.stages import Build
from redpajama.engine.tables import read_table, write_table
from redpajama.mixers import matching, miniature, selection
from redpajama.mixers.selection import Cut

ENDING = ".families"  # a Parquet file; `.parquet` ends that of the candidates
SCHEMA = pa.schema(
    [
        pa.field("family", pa.uint64()),
        pa.field("slice", pa.int16()),
        pa.field("hash", pa.uint64()),
        pa.field("doc_id", pa.string()),
    ]
)


def write(outputs: Outputs, rows: pa.Table) -> None:
    """The members of families among some candidates (SCHEMA)."""
    write_table(outputs.file(ENDING), rows.select(SCHEMA.names).cast(SCHEMA))


def copies_of(build: Build, budget: dict[str, dict[str, Any]]) -> Counts:
    """{"families": {copies in the stream: families}, "members": the same of each member alone}; {} where none is known.

    Families of which several live are few: dedup left them.
    """
    together: Counter[int] = Counter()
    alone: Counter[int] = Counter()
    for source in build.names(CANDIDATES):
        budgets = [budget[leaf.name] for leaf in matching.leaves_of(build, source)]
        gone = withdrawn.all_rows(build, source).column("doc_id").combine_chunks()
        for part in build.parts(CANDIDATES, source):
            if any(key.endswith(ENDING) for key in part.outputs):
                rows = read_table(build.store, part.file(ENDING))
                rows = rows.filter(pc.invert(pc.is_in(rows.column("doc_id"), value_set=gone)))
                for family, times in zip(rows.column("family").to_pylist(), _times(rows, budgets), strict=True):
                    together[family] += times
                    alone[times] += 1
    if not together:
        return {}
    sizes = Counter(together.values())
    return {
        "families": {str(times): sizes[times] for times in sorted(sizes)},
        "members": {str(times): alone[times] for times in sorted(alone)},
    }


def _times(rows: pa.Table, budgets: list[dict[str, Any]]) -> list[int]:
    """How often each row is drawn in all."""
    numbers, hashes, ids = rows.column("slice").to_numpy(), rows.column("hash").to_numpy(), rows.column("doc_id")
    found = np.zeros(rows.num_rows, np.int64)
    for number, row in enumerate(budgets):
        own = np.flatnonzero(numbers == number)
        last = row["cuts"][-1]
        cut = Cut(last["epochs"], last["hash"], last["doc_id"])
        own_ids = ids.take(pa.array(own))
        taken = miniature.is_taken(row, hashes[own], own_ids)
        found[own] = np.where(taken, selection.copies_of(hashes[own], own_ids.to_pylist(), cut), 0)
    return found.tolist()
