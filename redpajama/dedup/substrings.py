"""The stage `substrings`: repeated spans of text inside one source, by suffix array; off unless a source asks for it.

Lee et al., "Deduplicating Training Data Makes Language Models Better" (ACL 2022) remove every span of at least 50 BPE
tokens that occurs elsewhere; here the unit is the byte of UTF-8 text (50 tokens of English are about 200), and the
first occurrence stays. Documents stand in the order of their ids, so the result depends on no file or worker.

They are taken one after the other. A byte goes iff it lies in a window of `min_bytes` bytes that *stands* before:
whole, none of its bytes cut, in a document that stays or earlier in its own. What a document loses is known before its
windows count for those after it, and a document that goes whole has none: what goes is always to be read elsewhere.
Spans are then narrowed to clean breaks, `breaks.py`.

A stage rewrites no documents: the spans are an artifact, which the readers of text apply (`cut`). A document of which
fewer than `min_chars` characters stay is removed by a verdict instead, and its spans serve as the evidence: each names
a document that stays, but for those that repeat the document itself.

Memory: 10 bytes for each byte of the source's living text, which MAX_BYTES bounds (`memory`).
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import reader, spans, verdicts
from redpajama.corpus.evidence import evidence_of
from redpajama.corpus.spans import SPANS
from redpajama.corpus.stages import DOCUMENTS
from redpajama.corpus.verdicts import VERDICT_SCHEMA
from redpajama.engine import homes
from redpajama.engine.parts import Outputs, Part, Result
from redpajama.engine.shapes import Counts, Piece, Single
from redpajama.engine.stages import REMOVED, Build
from redpajama.errors import BuildFailed
from redpajama.manifest import given
from redpajama.records import Reason

MAX_BYTES = (1 << 31) - 1  # of living text and one END a document: 20 GiB of memory


def memory(text_bytes: int) -> int:
    """Bytes of memory for so much text: itself, its suffix array, a first place and a mark for each byte."""
    return 10 * text_bytes


# ---- the stage


def pieces(build: Build) -> Iterator[Piece]:
    """One part for each source that asks for it."""
    for source in build.manifest.source:
        if source.substrings and source.name in build.names(DOCUMENTS):
            parts = build.parts(DOCUMENTS, source.name)
            reads = sorted([part.content, *verdicts.identity(build, part)] for part in parts)
            yield Piece(source.name, reads, {}, sum(part.counts["text_bytes"] for part in parts))


def depends(build: Build, name: str) -> Counts:
    """The lengths."""
    return {"params": given(build.manifest.source_named(name).substrings).model_dump(mode="json")}


def find(build: Build, part: Part, outputs: Outputs) -> Result:
    """The living documents of one source -> spans that go, and verdicts on documents of which too little stays.

    Raises:
        BuildFailed: the source has more text than fits.
    """
    from redpajama.dedup import suffixes  # Numba is loaded where it is needed

    asked = given(build.manifest.source_named(part.name).substrings)
    documents = _documents(build, part.name)
    data, bounds = _joined(documents, part.name)
    starts, ends, places, chars = suffixes.find_spans(data, bounds, asked.min_bytes, asked.min_chars)
    owners, holders = (np.searchsorted(bounds, each, "right") - 1 for each in (starts, places))
    columns = [
        documents.column("part").take(pa.array(owners)),
        documents.column("doc_id").take(pa.array(owners)),
        pa.array(starts - bounds[owners]),
        pa.array(ends - bounds[owners]),
        documents.column("doc_id").take(pa.array(holders)),
        pa.array(places - bounds[holders]),
    ]
    found = pa.table(columns, schema=SPANS)
    homes.write(outputs, spans.HOME, homes.numbers_of(found.column("part")), found)
    short = np.flatnonzero((chars >= 0) & (chars < asked.min_chars))
    lost = documents.select(["part", "doc_id"]).take(pa.array(short))
    verdicts.write(
        outputs, _verdicts(lost, chars[short], asked.min_chars, found.filter(pa.array(np.isin(owners, short))))
    )
    dropped = {Reason.REPEATED_TEXT: len(short)} if len(short) else {}
    counts = {"read": documents.num_rows, "kept": documents.num_rows - len(short), "dropped": dropped}
    return [], {**counts, "spans": len(starts), "span_bytes": int((ends - starts).sum())}


def _documents(build: Build, source: str) -> pa.Table:
    """(part, doc_id, text) of the living documents of a source, by id."""
    tables = [
        pa.table(
            {
                "part": pa.array([], pa.string()),
                "doc_id": pa.array([], pa.string()),
                "text": pa.array([], pa.large_string()),
            }
        )
    ]
    for record in build.parts(DOCUMENTS, source):
        for batch in reader.read(build, record, ["doc_id", "text"]):
            part = pa.array([record.id] * batch.num_rows, pa.string())
            tables.append(pa.table([part, batch.column("doc_id"), batch.column("text")], schema=tables[0].schema))
    return pa.concat_tables(tables).sort_by([("doc_id", "ascending"), ("part", "ascending")])


def _joined(documents: pa.Table, source: str) -> tuple[np.ndarray, np.ndarray]:
    """All texts, each followed by END, as uint8; and where each begins, and the last one ends, int64[n + 1]."""
    from redpajama.dedup.suffixes import END

    sizes = pc.binary_length(documents.column("text").cast(pa.large_binary())).to_numpy()
    bounds = np.append(0, np.cumsum(sizes + 1))
    if bounds[-1] > MAX_BYTES:
        raise BuildFailed(
            f"source '{source}': substrings takes at most {MAX_BYTES:,} bytes of text, these are {bounds[-1]:,}: "
            f"split the source, or leave it out"
        )
    data = np.full(bounds[-1], END, np.uint8)
    for (start, end), text in zip(pairwise(bounds.tolist()), documents.column("text"), strict=True):
        data[start : end - 1] = np.frombuffer(text.as_buffer(), np.uint8)
    return data, bounds


def _verdicts(lost: pa.Table, chars: np.ndarray, min_chars: int, spans: pa.Table) -> pa.Table:
    """Verdicts on documents (part, doc_id) that go whole, with the number of their spans and the first other document
    that holds one."""
    ids = lost.column("doc_id")
    counts = pc.value_counts(spans.column("doc_id").combine_chunks())
    numbers = counts.field("counts").take(pc.index_in(ids, value_set=counts.field("values")))
    others = spans.filter(pc.not_equal(spans.column("doc_id"), spans.column("survivor")))
    firsts = pc.index_in(ids, value_set=others.column("doc_id"))
    survivors = others.column("survivor").take(firsts)
    named = evidence_of({"survivor": pc.fill_null(survivors, ""), "spans": numbers})
    columns = [
        *lost.columns,
        pa.repeat(Reason.REPEATED_TEXT.value, lost.num_rows),
        pa.array(chars, pa.float64()),
        pa.repeat(pa.scalar(float(min_chars)), lost.num_rows),
        pc.if_else(pc.is_valid(survivors), named, evidence_of({"spans": numbers})),
    ]
    return pa.table(columns, schema=VERDICT_SCHEMA)


STAGE = Single(
    name=spans.STAGE,
    version=3,
    libraries=("numpy", "pyarrow", "pydivsufsort"),
    after=(DOCUMENTS, REMOVED),
    depends=depends,
    pieces=pieces,
    work=find,
    weighed=True,
    removes=True,
    homes=(verdicts.HOME, spans.HOME),
)
