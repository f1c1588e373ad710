"""The one reader of the corpus: documents of a part, alive, without cut spans, columns of other stages beside them.

A document is alive for a stage if no stage that removes, and that it declares, has a verdict on it. What stands beside
are stages with a row for each document of a part, in its order: signals, scores, counts.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from redpajama.corpus import spans, verdicts
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import Build
from redpajama.engine.tables import read_batches, read_table


def read(
    build: Build,
    documents: PartRecord,
    columns: list[str],
    *,
    beside: Sequence[pa.Table | None] = (),
    is_living: bool = True,
    is_cut: bool = False,
) -> Iterator[pa.RecordBatch]:
    """The documents of one part, row group by row group.

    Args:
        beside: tables with a row for each document, in order: their columns follow; None adds none.
        is_living: leave out what the stage's declared verdicts removed.
        is_cut: leave spans out of `text` that stand elsewhere in the source.
    """
    removed = verdicts.removed_ids(build, documents) if is_living else ()
    cuts = spans.of_part(build, documents) if is_cut else {}
    start = 0
    for batch in read_batches(build.store, documents.file(".parquet"), columns):
        rows, start = batch.num_rows, start + batch.num_rows
        for table in beside:
            batch = _append(batch, table.slice(start - rows, rows)) if table is not None else batch
        if len(removed):
            batch = batch.filter(verdicts.alive(batch, removed))
        if batch.num_rows:
            yield spans.cut(batch, cuts)


def _append(batch: pa.RecordBatch, table: pa.Table) -> pa.RecordBatch:
    for name in table.column_names:
        batch = batch.append_column(name, table.column(name).combine_chunks())
    return batch


def beside(build: Build, stage: str, documents: PartRecord, columns: list[str] | None = None) -> pa.Table | None:
    """Columns of a stage for one documents part, a row a document; None where the stage has nothing for its source."""
    own = build.made_for(stage, documents)
    return own and read_table(build.store, own.file(".parquet"), columns)


def identity(build: Build, documents: PartRecord, *stages: str, is_cut: bool = False) -> list[str]:
    """What identifies all that a reader applies to a part, and what these stages have beside it."""
    found = [own.content if (own := build.made_for(stage, documents)) else "" for stage in stages]
    cuts = [spans.identity(build, documents)] if is_cut else []
    return [*verdicts.identity(build, documents), *found, *cuts]
