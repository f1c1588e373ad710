"""The stage `counts`: the tokens of every document, in the documents' order; end of document not included.

It depends on a documents part and the tokenizer alone (and on the spans that `substrings` cut from it), so another
quality rule counts nothing again.
"""

import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import reader, spans
from redpajama.corpus.stages import COUNTS, DOCUMENTS, TOKENIZER, per_documents
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts
from redpajama.engine.stages import Build
from redpajama.engine.tables import ColumnWriter
from redpajama.manifest import Source, given
from redpajama.mixers import lengths
from redpajama.tokenize.encode import Tokenizer
from redpajama.tokenize.tokenizer import note_backend, open_tokenizer, tokenizer_part

SCHEMA = pa.schema([pa.field("doc_id", pa.string()), pa.field("n_tokens", pa.int64())])

CUT_SCHEMA = SCHEMA.append(pa.field(lengths.CUT, pa.int64()))


def depends(build: Build, source: Source) -> Counts | None:
    """The tokenizer, and where long documents are cut; nothing is counted that the mixture does not draw from."""
    if not is_drawn(build, source.name):
        return None
    cut = {"cut": limit} if (limit := cut_at(build)) is not None else {}
    return {"tokenizer": tokenizer_part(build).content, **cut}


def cut_at(build: Build) -> int | None:
    """The most tokens of a document, its end not counted; None where none is cut."""
    mixture = given(build.manifest.mixture)
    if mixture.max_document_tokens is None or mixture.long_documents != "cut":
        return None
    return mixture.max_document_tokens - 1


def is_drawn(build: Build, source: str) -> bool:
    """Whether the mixture draws from a source."""
    return source in given(build.manifest.mixture).drawn_sources()


def asks(build: Build, documents: PartRecord) -> list[str]:
    """The spans that are cut."""
    return [spans.identity(build, documents)]


def count(build: Build, source: Source, documents: PartRecord, outputs: Outputs) -> Counts:
    """Token counts of one documents part."""
    tokenizer, tokens, shortened, most = open_tokenizer(build), 0, 0, cut_at(build)
    with ColumnWriter(outputs.file(".parquet"), SCHEMA if most is None else CUT_SCHEMA) as writer:
        for batch in reader.read(build, documents, ["doc_id", "text"], is_living=False, is_cut=True):
            counted = count_batch(tokenizer, batch, most)
            writer.add(counted)
            tokens += pc.sum(counted.column("n_tokens")).as_py()
            shortened += counted.num_rows - counted.column(lengths.CUT).null_count if most is not None else 0
    note_backend(build, outputs.part, tokenizer)
    cuts = {"shortened": shortened} if shortened else {}
    return {"read": writer.rows, "kept": writer.rows, "tokens": tokens, **cuts}


def count_batch(tokenizer: Tokenizer, batch: pa.RecordBatch, most: int | None = None) -> pa.Table:
    """Documents (doc_id, text) -> SCHEMA, in their order; with the most tokens that they may have, CUT_SCHEMA."""
    texts = batch.column("text")
    sizes = tokenizer.count(texts)
    if most is None:
        return pa.table([batch.column("doc_id"), pa.array(sizes)], schema=SCHEMA)
    sizes, kept = lengths.limited(tokenizer.count, texts, sizes, most)
    return pa.table([batch.column("doc_id"), pa.array(sizes), kept], schema=CUT_SCHEMA)


STAGE = per_documents(
    COUNTS,
    version=3,
    libraries=("pyarrow", "tokenizers"),
    after=(DOCUMENTS, TOKENIZER, spans.STAGE),
    depends=depends,
    asks=asks,
    work=count,
    size="text_bytes",
)
