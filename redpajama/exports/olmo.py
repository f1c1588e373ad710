"""OLMo's and Dolma's token files: ids back to back without any header, although they are called `.npy`.

Beside each a `.csv.gz` without a head row: start, end, id, src, loc: the document's tokens [start, end), and where it
is from: here the lineage file of the shard and the row there, from 1. Layout: `dolma tokens`; OLMo-core's
`NumpyFSLDataset` reads start and end as the documents' bounds.
"""

import csv
import gzip
import io
from collections.abc import Iterator

from redpajama.engine.tables import read_table
from redpajama.exports.declared import Done, Export, Files, Format


def write(export: Export, unit: int, files: Files) -> Done:
    """One shard as a file of ids and one of documents."""
    shard = export.source.shards[unit]
    with files.file(f"part-0-{unit:05d}.npy").open("wb") as file:
        for block in export.rows(unit):
            file.write(block.tokens.data)
    with gzip.GzipFile(files.file(f"part-0-{unit:05d}.csv.gz"), "wb", 1, mtime=0) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        csv.writer(text, lineterminator="\n").writerows(_documents(export, unit))
        text.flush()
    return Done({"documents": shard.documents, "tokens": shard.tokens})


def _documents(export: Export, unit: int) -> Iterator[tuple[int, int, str, str, int]]:
    shard, bounds = export.source.shards[unit], export.source.bounds(unit).tolist()
    ids = read_table(export.source.store, shard.lineage, ["doc_id"]).column("doc_id").to_pylist()
    for row, doc_id in enumerate(ids):
        yield bounds[row], bounds[row + 1], doc_id, shard.lineage.key, row + 1


FORMAT = Format(
    name="olmo",
    about="OLMo-core, Dolma, MaxText: raw ids in .npy, documents in .csv.gz",
    opens='NumpyFSLDatasetConfig(paths=["{to}/part-0-00000.npy", …], …)',
    write=write,
)
