"""The stage `takedown`: which documents of a part are withdrawn (`corpus/withdrawn.py`); there with the first list.

It is no verdict: withdrawn documents take part in dedup, and targets, windows and ranges are counted with them;
`budget` moves the cuts, `mixture` leaves them out.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import reader, verdicts, withdrawn
from redpajama.corpus.stages import COUNTS, FAMILIES, SCORES, SIGNALS, TAKEDOWN, per_documents
from redpajama.corpus.withdrawn import ROWS, Hit, Lists
from redpajama.dedup.near import minhash, signatures
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts
from redpajama.engine.stages import REMOVED, Build
from redpajama.engine.tables import read_table, write_table
from redpajama.manifest import Source, given
from redpajama.mixers import held_out
from redpajama.records import Reason

SIGNATURES = signatures.STAGE.name


def depends(build: Build, source: Source) -> Counts | None:
    """The lists, and from where on two texts are alike."""
    if not build.job.withdrawn:
        return None
    near = build.manifest.dedup.near
    threshold = {"threshold": minhash.parse(near).threshold} if near is not None else {}
    return {"lists": sorted(build.job.withdrawn.values()), **threshold}


def asks(build: Build, documents: PartRecord) -> list[object]:
    """Tokens, signatures, and what decides where a document is drawn."""
    own = reader.identity(build, documents, COUNTS, SIGNATURES)
    return [*own, *held_out.identity(build, documents)]


def find(build: Build, source: Source, documents: PartRecord, outputs: Outputs) -> Counts:
    """The withdrawn documents of one part, with their tokens and their leaf."""
    lists = withdrawn.lists_of(build)
    table = read_table(build.store, documents.file(".parquet"), ["doc_id", "text_digest", "meta"])
    found = _near(build, source, documents, lists) | withdrawn.hits(lists, table)
    rows = sorted(found)
    ids = table.column("doc_id").take(pa.array(rows, pa.int64()))
    hits = [found[row] for row in rows]
    columns = [pa.array([getattr(hit, name) for hit in hits], ROWS.field(name).type) for name in Hit._fields]
    places = _places(build, documents, np.array(rows, np.int64), ids)
    write_table(outputs.file(".parquet"), pa.table([ids, *columns, *places], schema=ROWS))
    return {
        "read": table.num_rows,
        "kept": table.num_rows - len(rows),
        "dropped": {Reason.WITHDRAWN.value: len(rows)} if rows else {},
    }


def _near(build: Build, source: Source, documents: PartRecord, lists: Lists) -> dict[int, Hit]:
    """{row: why} of near copies, where near-dedup signs the texts as the lists have them."""
    if not lists.near or (part := build.made_for(SIGNATURES, documents)) is None:
        return {}
    params = minhash.parse(build.manifest.dedup.near)
    signed = lists.near.get((*params.ngrams_of(given(source.kind)), params.permutations))
    if signed is None:
        return {}
    table = read_table(build.store, part.file(".parquet"), ["ngrams", "signature"])
    rows = np.flatnonzero(table.column("ngrams").to_numpy())
    if not len(rows):
        return {}
    values = signatures.signatures_of(table.column("signature").combine_chunks())[rows]
    found = withdrawn.near_hits(signed, values, params.threshold)
    return {int(rows[row]): hit for row, hit in found.items()}


def _places(build: Build, documents: PartRecord, rows: np.ndarray, ids: pa.ChunkedArray) -> list[pa.Array]:
    """The tokens of each row, and the number of its leaf; GONE of what the mixture has not anyway."""
    counts = reader.beside(build, COUNTS, documents) if len(rows) else None
    if counts is None:
        return [pa.array(np.zeros(len(rows), np.int64)), pa.array(np.full(len(rows), held_out.GONE, np.int16))]
    numbers = held_out.drawn_numbers(build, documents, counts)[rows]
    numbers[pc.is_in(ids, value_set=verdicts.removed_ids(build, documents)).to_numpy()] = held_out.GONE
    return [pa.array(counts.column("n_tokens").to_numpy()[rows] + 1), pa.array(numbers)]


STAGE = per_documents(
    TAKEDOWN,
    version=2,
    libraries=("numpy", "pyarrow"),
    after=(COUNTS, SIGNALS, SCORES, FAMILIES, SIGNATURES, REMOVED),
    depends=depends,
    asks=asks,
    work=find,
)
