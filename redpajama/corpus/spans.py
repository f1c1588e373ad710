"""Spans of text that a reader leaves out, as they stand elsewhere in the source: written by home, cut by readers."""

import pyarrow as pa

from redpajama.corpus.stages import DOCUMENTS
from redpajama.engine import homes
from redpajama.engine.homes import Home
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import Build

STAGE = "substrings"
SPANS = pa.schema(
    [
        pa.field("part", pa.string()),
        pa.field("doc_id", pa.string()),
        pa.field("start", pa.int64()),  # bytes of the document's UTF-8 text
        pa.field("end", pa.int64()),
        pa.field("survivor", pa.string()),  # the document that holds the first occurrence of the span's first window
        pa.field("offset", pa.int64()),  # its byte there
    ]
)
HOME = Home(".spans", SPANS, ("doc_id", "start"), DOCUMENTS)
Spans = dict[str, list[list[int]]]  # {id: [start, end) each}


def identity(build: Build, documents: PartRecord) -> str:
    """What identifies the spans of one documents part; "" for none."""
    return homes.digest(build, STAGE, documents, HOME)


def of_part(build: Build, documents: PartRecord) -> Spans:
    """The spans of the documents of one part that lose some."""
    table = homes.read(build, STAGE, documents, HOME, ["doc_id", "start", "end"])
    found: Spans = {}
    for doc_id, start, end in zip(*(column.to_pylist() for column in table.columns), strict=True):
        found.setdefault(doc_id, []).append([start, end])
    return found


def without(text: bytes, spans: list[list[int]]) -> bytes:
    """A text without its spans: sorted, disjoint [start, end) in bytes."""
    places = [0, *(place for span in spans for place in span), len(text)]
    return b"".join(text[start:end] for start, end in zip(places[::2], places[1::2], strict=True))


def cut(batch: pa.RecordBatch, spans: Spans) -> pa.RecordBatch:
    """Documents (columns `doc_id` and `text` among others) without their spans."""
    ids = batch.column("doc_id").to_pylist() if spans else []
    if not any(doc_id in spans for doc_id in ids):
        return batch
    texts = batch.column("text").to_pylist()
    for row, doc_id in enumerate(ids):
        if doc_id in spans:
            texts[row] = without(texts[row].encode(), spans[doc_id]).decode()
    return batch.set_column(batch.schema.get_field_index("text"), "text", pa.array(texts, pa.large_string()))
