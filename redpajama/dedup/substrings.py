"""The stage `substrings`: repeated spans of text inside one source, by suffix array; off unless a source asks for it.

Lee et al., "Deduplicating Training Data Makes Language Models Better" (ACL 2022) remove every span of at least 50 BPE
tokens that occurs elsewhere; here the unit is the byte of UTF-8 text (50 tokens of English are about 200), and the
first occurrence stays. Documents stand in the order of their ids, so the result depends on no file or worker.

A byte goes iff it lies in a window of `min_bytes` bytes that begins, whole, at an earlier place of the source, and not
in the window that stays; spans are then narrowed to whole characters. So what goes is always to be read elsewhere.

A stage rewrites no documents: the spans are an artifact, which the readers of text apply (`cut`). A document of which
fewer than `min_chars` characters stay is removed by a verdict instead, and its spans serve as the evidence.

Memory: 10 bytes for each byte of the source's living text, which MAX_BYTES bounds (`memory`).
"""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.artifacts import BuildFailed, Outputs, Part, PartRecord
from redpajama.columns import read_table, write_table
from redpajama.hashing import canonical_json
from redpajama.kernels import compiled
from redpajama.records import Reason
from redpajama.stages import Build, Result, Step, fingerprint, versions
from redpajama.verdicts import VERDICT_SCHEMA, living, verdict_stages, write_verdicts

VERSION = 1
MAX_BYTES = (1 << 31) - 1  # of living text and one END a document: 20 GiB of memory
END = 0xFF  # stands after each document; no byte of UTF-8
LIBRARIES = ("numpy", "pyarrow", "pydivsufsort")

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


# ---- spans


def memory(text_bytes: int) -> int:
    """Bytes of memory for so much text: itself, its suffix array, a first place and a mark for each byte."""
    return 10 * text_bytes


def find_spans(data: np.ndarray, min_bytes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Repeated spans of texts in UTF-8, each followed by END: int64[n] starts, ends, and where each stood before.

    Sorted, disjoint, whole characters. `data` (uint8) must be writable: the suffix array's library asks for it.
    """
    from pydivsufsort import divsufsort

    if len(data) <= min_bytes:
        return tuple(np.zeros((3, 0), np.int64))
    order = divsufsort(data)
    firsts, marks = np.full(len(data), -1, order.dtype), np.zeros(len(data) + 1, np.int8)
    _first_places(data, order, min_bytes, firsts)
    _mark(firsts, min_bytes, marks)
    edges = np.flatnonzero(np.diff(marks, prepend=np.int8(0)))
    starts, ends = edges[::2], edges[1::2]
    places = np.empty(len(starts), np.int64)
    _places_before(firsts, min_bytes, starts, places)
    return _whole_characters(data, starts, ends, places)


def _whole_characters(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spans without the parts of characters at their ends, which have at most 3 bytes."""
    starts, ends = starts.copy(), ends.copy()
    for _ in range(3):
        cut = (data[starts] & 0xC0) == 0x80
        starts, places = starts + cut, places + cut
        ends = ends - ((data[ends] & 0xC0) == 0x80)
    left = starts < ends
    return starts[left], ends[left], places[left]


@compiled
def _first_places(data, order, min_bytes, firsts):
    """For each place whose window occurred before, the first such place; `firsts` holds -1 elsewhere."""
    total, start = len(data), 0
    for rank in range(1, total + 1):
        same = rank < total and _same_window(data, order[rank - 1], order[rank], min_bytes)
        if not same:
            if rank - start > 1:
                least = order[start]
                for each in range(start + 1, rank):
                    least = min(least, order[each])
                for each in range(start, rank):
                    if order[each] != least:
                        firsts[order[each]] = least
            start = rank


@compiled
def _same_window(data, one, other, min_bytes):
    if max(one, other) + min_bytes > len(data):
        return False
    for step in range(min_bytes):  # noqa: SIM110 (Numba has no all())
        if data[one + step] != data[other + step] or data[one + step] == END:
            return False
    return True


@compiled
def _mark(firsts, min_bytes, marks):
    """Mark the bytes of windows that occurred before, but for those of the window that stays."""
    run, done = 0, 0  # marks[run:done] are set
    for place in range(len(firsts)):
        if firsts[place] >= 0:
            start, end = max(place, firsts[place] + min_bytes), place + min_bytes
            if run <= start <= done:
                start = done
            else:
                run = start
            marks[start:end] = 1
            done = end


@compiled
def _places_before(firsts, min_bytes, starts, places):
    """Where the first byte of each span stood before."""
    for span in range(len(starts)):
        start = starts[span]
        for place in range(start, max(-1, start - min_bytes), -1):
            if firsts[place] >= 0 and firsts[place] + min_bytes <= start:
                places[span] = firsts[place] + start - place
                break


# ---- the stage


def plan(build: Build) -> list[Part]:
    """One part for each source that asks for it."""
    parts = []
    for source in build.manifest.source:
        if source.substrings:
            asked = source.substrings.model_dump(mode="json")
            stamp = fingerprint(stage=["substrings", VERSION], params=asked, libraries=versions(*LIBRARIES))
            reads = build.ids("documents", *verdict_stages(build))
            size = (
                build.stage("documents")[source.name].counts["text_bytes"]
                if build.parts("documents", source.name)
                else 0
            )
            parts.append(Part("substrings", source.name, stamp, reads, {"inputs": reads}, size))
    return parts


def find(build: Build, part: Part, outputs: Outputs) -> Result:
    """The living documents of one source -> spans that go, and verdicts on documents of which too little stays.

    Raises:
        BuildFailed: the source has more text than fits.
    """
    asked = build.manifest.source_named(part.name).substrings
    documents = _documents(build, part.name)
    data, bounds = _joined(documents, part.name)
    starts, ends, places = find_spans(data, asked.min_bytes)
    owners, holders = (np.searchsorted(bounds, each, "right") - 1 for each in (starts, places))
    columns = [
        documents.column("part").take(pa.array(owners)),
        documents.column("doc_id").take(pa.array(owners)),
        pa.array(starts - bounds[owners]),
        pa.array(ends - bounds[owners]),
        documents.column("doc_id").take(pa.array(holders)),
        pa.array(places - bounds[holders]),
    ]
    spans = pa.table(columns, schema=SPANS)
    short = _too_short(data, bounds, owners, starts, ends, asked.min_chars)
    write_table(outputs.file(".spans"), spans.sort_by([(name, "ascending") for name in ("part", "doc_id", "start")]))
    write_verdicts(outputs.file(".parquet"), _verdicts(documents, spans, owners, short, asked.min_chars))
    dropped = {Reason.REPEATED_TEXT: len(short)} if short else {}
    counts = {"read": documents.num_rows, "kept": documents.num_rows - len(short), "dropped": dropped}
    return part.spec["inputs"], {**counts, "spans": len(starts), "span_bytes": int((ends - starts).sum())}


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
    for record in build.parts("documents", source):
        for batch in living(build, verdict_stages(build), record, ["doc_id", "text"]):
            part = pa.array([record.id] * batch.num_rows, pa.string())
            tables.append(pa.table([part, batch.column("doc_id"), batch.column("text")], schema=tables[0].schema))
    return pa.concat_tables(tables).sort_by([("doc_id", "ascending"), ("part", "ascending")])


def _joined(documents: pa.Table, source: str) -> tuple[np.ndarray, np.ndarray]:
    """All texts, each followed by END, as uint8; and where each begins, and the last one ends, int64[n + 1]."""
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


def _too_short(
    data: np.ndarray, bounds: np.ndarray, owners: np.ndarray, starts: np.ndarray, ends: np.ndarray, min_chars: int
) -> dict[int, int]:
    """{document: characters that stay} where these are too few; only of documents that lose something."""
    found = {}
    for owner in np.unique(owners).tolist():
        text = data[bounds[owner] : bounds[owner + 1] - 1].tobytes()
        own = owners == owner if len(owners) < 1000 else slice(*np.searchsorted(owners, [owner, owner + 1]))
        places = np.stack([starts[own], ends[own]], axis=1) - bounds[owner]
        chars = len(without(text, places.tolist()).decode().strip())
        if chars < min_chars:
            found[owner] = chars
    return found


def _verdicts(
    documents: pa.Table, spans: pa.Table, owners: np.ndarray, short: dict[int, int], min_chars: int
) -> pa.Table:
    rows = list(short)
    firsts = np.searchsorted(owners, rows)
    survivors = spans.column("survivor").take(pa.array(firsts)).to_pylist()
    counts = [int(count) for count in np.searchsorted(owners, rows, "right") - firsts]
    evidence = [
        canonical_json({"survivor": survivor, "spans": count}).decode()
        for survivor, count in zip(survivors, counts, strict=True)
    ]
    lost = documents.select(["part", "doc_id"]).take(pa.array(rows, pa.int64()))
    columns = [
        *lost.columns,
        pa.array([Reason.REPEATED_TEXT.value] * len(rows), pa.string()),
        pa.array([float(chars) for chars in short.values()], pa.float64()),
        pa.array([float(min_chars)] * len(rows), pa.float64()),
        pa.array(evidence, pa.string()),
    ]
    return pa.table(columns, schema=VERDICT_SCHEMA)


# ---- the readers


def without(text: bytes, spans: list[list[int]]) -> bytes:
    """A text without its spans: sorted, disjoint [start, end) in bytes."""
    places = [0, *(place for span in spans for place in span), len(text)]
    return b"".join(text[start:end] for start, end in zip(places[::2], places[1::2], strict=True))


def ids(build: Build, source: str) -> list[str]:
    """What identifies the spans of a source; nothing where it asks for none."""
    key = build.records.get("substrings", {}).get(source)
    return [key] if key else []


def spans_of(build: Build, part: PartRecord) -> dict[str, list[list[int]]]:
    """{id: spans} of the documents of one part that lose some."""
    source = part.id.rpartition("/")[0].rpartition("-")[0]
    found: dict[str, list[list[int]]] = {}
    for record in build.parts("substrings", source) if ids(build, source) else []:
        table = read_table(build.store, record.file(".spans"), ["doc_id", "start", "end"], [("part", "=", part.id)])
        for doc_id, start, end in zip(*(column.to_pylist() for column in table.columns), strict=True):
            found.setdefault(doc_id, []).append([start, end])
    return found


def cut(batch: pa.RecordBatch, spans: dict[str, list[list[int]]]) -> pa.RecordBatch:
    """Documents (columns `doc_id` and `text` among others) without their spans."""
    ids = batch.column("doc_id").to_pylist() if spans else []
    if not any(doc_id in spans for doc_id in ids):
        return batch
    texts = batch.column("text").to_pylist()
    for row, doc_id in enumerate(ids):
        if doc_id in spans:
            texts[row] = without(texts[row].encode(), spans[doc_id]).decode()
    return batch.set_column(batch.schema.get_field_index("text"), "text", pa.array(texts, pa.large_string()))


STAGE = Step("substrings", plan, find)
