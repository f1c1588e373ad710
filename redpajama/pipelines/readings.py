"""The stage `read`: raw files of a `[[reading]]`, read once, dealt out to the sources that are made of them.

A document goes to the first source whose `where` its meta meets; it takes that source's name in its id. What went into
no source, what could not be read, and the raw bytes stand with the first of the sources: so sums over all are those of
the files.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from redpajama.corpus import origins
from redpajama.corpus.ledger import LedgerWriter
from redpajama.corpus.origins import Input, Origins
from redpajama.engine.partitions import PartitionWriter, read_range
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts
from redpajama.engine.stages import Build
from redpajama.hashing import canonical_json, short_id
from redpajama.manifest import Source, given
from redpajama.records import Document, Reason, Tally
from redpajama.tables import meets_all

ENDING = ".partitions"
SCHEMA = pa.schema(
    [pa.field("doc_id", pa.string()), pa.field("text", pa.large_string()), pa.field("meta", pa.string())]
)
BATCH_BYTES = 8 << 20


def sources_of(build: Build, reading: str) -> list[Source]:
    """The sources that are made of a reading, in the manifest's order."""
    return [source for source in build.manifest.source if source.reading == reading]


def deal(
    documents: Iterator[Document], sources: list[Source], made_of: list[Origins], tally: Tally, prefix: str
) -> Iterator[tuple[int, Document]]:
    """(number of its source, document) of each that a source takes; ids are the source's.

    `made_of`: of each source, the files of its documents.
    """
    for document in documents:
        number = next((n for n, each in enumerate(sources) if meets_all(document.meta, each.where or {})), None)
        if number is None:
            tally.drop(document.doc_id, Reason.NOT_SELECTED)
            continue
        tally.keep()
        made_of[number].add(tally.file)
        own = f"{sources[number].name}/{document.doc_id.removeprefix(prefix + '/')}"
        yield number, document._replace(doc_id=own)


def write(outputs: Outputs, dealt: Iterator[tuple[int, Document]], ledger: LedgerWriter, tally: Tally) -> Counts:
    """Documents by source -> the part's file; {"dealt": {source's number: documents}, "digests": of what each got}."""
    counts, digests = Counter[str](), defaultdict[str, Any](sha256)
    with PartitionWriter(outputs.file(ENDING), SCHEMA) as writer:
        for numbers, rows in _batches(dealt):
            writer.add(numbers, rows)
            for number, row in zip(numbers.tolist(), rows.to_pylist(), strict=True):
                counts[str(number)] += 1
                digests[str(number)].update(canonical_json(row))
            ledger.drain(tally)
    return {
        "dealt": {number: counts[number] for number in sorted(counts)},
        "digests": {number: digests[number].hexdigest() for number in sorted(digests)},
    }


def inputs(files: list[Input], made_of: list[Origins]) -> list[Input]:
    """The files of a part; where they are several, each with how many documents a source has of it."""
    if len(files) == 1:
        return files
    counts = zip(*(each.counts() for each in made_of), strict=True)
    return [{**file, "rows": list(rows)} for file, rows in zip(files, counts, strict=True)]


def _batches(dealt: Iterator[tuple[int, Document]]) -> Iterator[tuple[np.ndarray, pa.Table]]:
    rows: list[tuple[int, str, str, str]] = []
    size = 0
    for number, document in dealt:
        meta = orjson.dumps(document.meta, option=orjson.OPT_SORT_KEYS).decode()
        rows.append((number, document.doc_id, document.text, meta))
        size += len(document.text)
        if size > BATCH_BYTES:
            yield _table(rows)
            rows, size = [], 0
    if rows:
        yield _table(rows)


def _table(rows: list[tuple[int, str, str, str]]) -> tuple[np.ndarray, pa.Table]:
    numbers, *columns = zip(*rows, strict=True)
    return np.array(numbers), pa.table(
        [pa.array(each, field.type) for each, field in zip(columns, SCHEMA, strict=True)], SCHEMA
    )


# ---- for the sources


def number_of(build: Build, source: Source) -> int:
    """Its number among those of its reading."""
    return [each.name for each in sources_of(build, given(source.reading))].index(source.name)


def identity(build: Build, source: Source, part: PartRecord) -> list[Any]:
    """What a source's own documents of a part are; of the first also all that stands with it."""
    number = number_of(build, source)
    account = [short_id([part.inputs_json, part.outputs_json, part.counts_json])] if number == 0 else []
    return [part.counts["digests"].get(str(number), ""), [each["sha256"] for each in part.inputs], *account]


def inputs_of(build: Build, source: Source, part: PartRecord) -> list[Input]:
    """The files of a part, with the rows that are a source's own."""
    number = number_of(build, source)
    return [{**file, "rows": file["rows"][number]} if "rows" in file else file for file in part.inputs]


def documents_of(
    build: Build, source: Source, part: PartRecord, files: list[Input], tally: Tally
) -> Iterator[Document]:
    """A source's own documents of a part, which was made of some files."""
    number, file = number_of(build, source), part.file(ENDING)
    with build.store.open(*file) as opened:
        rows = read_range(opened, file.key, SCHEMA, number, number + 1)
    columns = (column.to_pylist() for column in rows.columns)
    for doc_id, text, meta, url in zip(*columns, origins.urls(files), strict=False):  # of one file there is no last
        tally.file = url
        yield Document(doc_id, text, orjson.loads(meta))


def tally_of(build: Build, source: Source, part: PartRecord) -> Tally:
    """What became of the units that stand with a source, before its documents are kept."""
    number, counts = number_of(build, source), part.counts
    own = counts["dealt"].get(str(number), 0)
    if number:
        return Tally(read=own)
    others = sum(counts["dealt"].values()) - own
    return Tally.resume({**counts, "read": counts["read"] - others, "kept": 0})
