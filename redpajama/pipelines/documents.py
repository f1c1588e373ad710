"""The stages `extracted` and `documents`: raw files -> documents with their signals.

A source with `[source.paragraphs]` is read into `extracted`; its documents are what the stage `paragraphs` leaves of
them. `[source.clean]` works on documents before they are written: C4's lines before those that repeat go, the rest
after. Each file says in its metadata which inputs it is made of: so no two parts hold the same.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import compress
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import inputs, origins
from redpajama.corpus.inputs import Found
from redpajama.corpus.ledger import LedgerWriter
from redpajama.corpus.origins import Input, Origins
from redpajama.corpus.stages import EXTRACTED, INPUTS, READ
from redpajama.dedup import paragraphs
from redpajama.engine import tables
from redpajama.engine.gathered import StageRecord
from redpajama.engine.parts import Outputs, Part, Result
from redpajama.engine.shapes import Counts, Piece, Single
from redpajama.engine.stages import Build, versions
from redpajama.engine.tables import TableWriter, read_batches
from redpajama.errors import BuildFailed
from redpajama.hashing import normal_text_digest, short_id
from redpajama.manifest import Source, given
from redpajama.pipelines import cuts, pipeline, readings
from redpajama.pipelines.versions import VERSION_BYTES, Versions
from redpajama.quality import cleaning
from redpajama.quality.measures import inline
from redpajama.raw.io import RawFile
from redpajama.records import DOCUMENT_FIELDS, Document, Reason, Tally
from redpajama.unsigned import unsigned

LIBRARIES = ("pyarrow", "unicode", "zlib")
SMALL_FILE_BYTES = 16 << 20  # files below it are gathered, as `groups` in the manifest or the pipeline asks
FILES_A_PART = 10_000


# ---- parts


def raw_parts(build: Build, source: Source) -> Iterator[Piece]:
    """Parts of one source: a directory tree, a group of small files, one file, or a range of one."""
    side = _side_files(build, source)
    resolved = _resolved(build, source)
    for group in _grouped(cuts.ranges(build, source), source).values():
        reads = [[file["url"], file["sha256"], *filter(None, [file["tree"]]), *_range(file)] for file in group]
        size = sum(RawFile(**file).length for file in group)
        yield Piece(source.name, reads, {"files": group, "side": side, "options": resolved}, size)


def cleaned_parts(build: Build, source: Source) -> Iterator[Piece]:
    """One part for each extracted part: what it loses is what `paragraphs` found for it.

    Its ledger and counts are carried on; they may change where no text does.
    """
    for texts in build.parts(EXTRACTED, source.name):
        account = short_id([texts.inputs_json, texts.outputs_json, texts.counts_json])
        reads = [texts.content, paragraphs.identity(build, texts), account]
        yield Piece(source.name, reads, {"texts": texts.id}, texts.counts["text_bytes"])


def extracted_parts(build: Build) -> Iterator[Piece]:
    """Parts of the sources whose lines are to be compared first."""
    for source in build.manifest.source:
        if source.paragraphs:
            yield from raw_parts(build, source)


def document_parts(build: Build) -> Iterator[Piece]:
    """Parts of every source; where lines that repeat must go, one for each extracted part."""
    for source in build.manifest.source:
        if source.reading:
            yield from shared_parts(build, source)
        else:
            yield from (cleaned_parts if source.paragraphs else raw_parts)(build, source)


def shared_parts(build: Build, source: Source) -> Iterator[Piece]:
    """One part for each part of the reading that it is made of."""
    number = readings.number_of(build, source)
    for part in build.parts(READ, given(source.reading)):
        size = part.counts["dealt"].get(str(number), 0)
        yield Piece(source.name, readings.identity(build, source, part), {"read": part.id}, size)


def read_parts(build: Build) -> Iterator[Piece]:
    """Parts of all readings."""
    for reading in build.manifest.reading:
        yield from raw_parts(build, reading)


def _side_files(build: Build, source: Source) -> dict[str, Found]:
    return {name: inputs.side_file(build, f"{source.name}.{name}") for name in side_fields(source)}


def side_fields(source: Source) -> list[str]:
    """The options of a source that name a side file."""
    return [name for name in pipeline(source.pipeline).side_files if source.options.get(name)]


def _resolved(build: Build, source: Source) -> dict[str, Any]:
    """The options of a source that only all of its files tell."""
    reader = pipeline(source.pipeline)
    if not reader.resolve:
        return {}
    files = [inputs.raw_file(build, found) for found in inputs.files(build, source.name)]
    return reader.resolve(reader.options(**source.options), list(map(unsigned, source.inputs)), files)


def _range(file: Found) -> list[int]:
    """What tells the ranges of a file apart; nothing for a whole file."""
    return [file["start"], file["end"]] if "end" in file else []


def _grouped(files: list[Found], source: Source) -> dict[str, list[Found]]:
    """{what the part is: its files}: by tree; by hash of the name where manifest or pipeline ask for it; one by one.

    A range of a file is alone.
    """
    is_gathered = pipeline(source.pipeline).is_gathered
    parts, groups = defaultdict(list), source.groups or (_group_count(files, source) if is_gathered else None)
    for file in files:
        if file["tree"] and not is_gathered:
            parts[f"tree {file['tree']}"].append(file)
        elif "end" in file:
            parts[f"range {file['start']} {file['url']}"].append(file)
        elif groups and file["bytes"] < SMALL_FILE_BYTES:
            parts[f"group {zlib.crc32(file['url'].encode()) % groups}"].append(file)
        else:
            parts[f"file {file['url']}"].append(file)
    return parts


def _group_count(files: list[Found], source: Source) -> int:
    """A power of two, so that some more files seldom change it: of parts of some `part_bytes` and FILES_A_PART."""
    small = [file["bytes"] for file in files if file["bytes"] < SMALL_FILE_BYTES]
    return 1 << max(sum(small) // source.part_bytes, len(small) // FILES_A_PART).bit_length()


# ---- fingerprints


def raw_depends(build: Build, source: Source, *, is_extracted: bool) -> dict[str, Any]:
    """All that the reading of a source depends on, but for its files; quality rules are not among it."""
    side = {name: file["sha256"] for name, file in _side_files(build, source).items()}
    known, rule = _resolved(build, source) | side, build.manifest.dedup.versions
    made = reading(source, known, _cleaning(build, source, before=True, after=not is_extracted))
    return {**made, **({"versions of an id": rule} if rule != "longest" else {})}


def reading(source: Source, known: dict[str, Any], clean: dict[str, Any]) -> dict[str, Any]:
    """The same of what was looked up.

    Args:
        known: options as they were found: the hash of a side file instead of its name, for example.
        clean: what cleaning adds.
    """
    reader = pipeline(source.pipeline)
    return {
        "source": source.name,
        "pipeline": [source.pipeline, reader.version],
        "options": reader.options(**source.options).model_dump(mode="json") | known,
        "versions": versions(*reader.libraries),
        **_compared_as(source),
        **clean,
    }


def _compared_as(source: Source) -> dict[str, Any]:
    """The kind of text, where the digest of a normalised text is not prose's."""
    kind = source.kind or pipeline(source.pipeline).kind
    return {"kind": kind} if kind != "prose" else {}


def _cleaning(build: Build, source: Source, *, before: bool, after: bool) -> dict[str, Any]:
    words = _bad_words(build, source)
    return cleaning.parameters(source.clean, words.sha256 if words else "", before=before, after=after)


def extracted_depends(build: Build, name: str) -> Counts:
    """As for documents, but for what is cleaned after line dedup."""
    return raw_depends(build, build.manifest.source_named(name), is_extracted=True)


def document_depends(build: Build, name: str) -> Counts:
    """What the pipeline depends on; where lines were compared, the rule, and what is cleaned after it."""
    source = build.manifest.source_named(name)
    if source.reading:
        cleaned = _cleaning(build, source, before=True, after=True)
        return {
            "source": name,
            "versions of an id": build.manifest.dedup.versions,
            **_compared_as(source),
            **cleaned,
        }
    if not source.paragraphs:
        return raw_depends(build, source, is_extracted=False)
    rule = source.paragraphs.model_dump(mode="json")
    cleaned = _cleaning(build, source, before=False, after=True)
    return {"rule": rule, "libraries of lines": versions("numpy"), **_compared_as(source), **cleaned}


def read_depends(build: Build, name: str) -> Counts:
    """As for documents that are read for one source; and who takes which of them."""
    reading_of = build.manifest.source_named(name)
    taken = [
        [each.name, each.model_dump(mode="json")["where"] if each.where else {}]
        for each in readings.sources_of(build, name)
    ]
    return {**raw_depends(build, reading_of, is_extracted=True), "sources": taken}


def _bad_words(build: Build, source: Source) -> RawFile | None:
    """The list of `[source.clean]`, if it names one."""
    if not source.clean or not source.clean.bad_words:
        return None
    return inputs.raw_file(build, inputs.side_file(build, f"{source.name}.{cleaning.INPUT}"))


def _cleaner(build: Build, source: Source) -> cleaning.Cleaner:
    words = _bad_words(build, source)
    return cleaning.Cleaner(source.clean, words.path if words else "")


# ---- work


def build_documents(build: Build, part: Part, outputs: Outputs) -> Result:
    """One part -> documents with signals, and a ledger of everything else."""
    work = clean_part if "texts" in part.spec else share_part if "read" in part.spec else read_part
    return work(build, part, outputs)


def deal_part(build: Build, part: Part, outputs: Outputs) -> Result:
    """The files of one part of a reading -> documents by source."""
    reading_of, sources, tally = build.manifest.source_named(part.name), readings.sources_of(build, part.name), Tally()
    reader = pipeline(reading_of.pipeline)
    files, options = _opened(build, reading_of, part)
    full = files if reader.is_gathered else list(not_empty(files, tally))
    documents = reader.read(full, options, part.name, tally)
    with LedgerWriter(outputs) as ledger:
        made_of = [Origins(_inputs(files)) for _ in sources]
        deal = readings.deal(documents, sources, made_of, tally, part.name)
        dealt = readings.write(outputs, deal, ledger, tally)
        ledger.drain(tally)
    size = _all_bytes(files, tally, part.name)
    return readings.inputs(_inputs(files), made_of), {**tally.counts(), "raw_bytes": size, **dealt}


def share_part(build: Build, part: Part, outputs: Outputs) -> Result:
    """A source's own documents of one part of a reading -> documents."""
    source, shared = build.manifest.source_named(part.name), build.part(READ, part.spec["read"])
    tally, cleaner = readings.tally_of(build, source, shared), _cleaner(build, source)
    versions, is_first = (
        Versions(tally, given(source.kind), build.manifest.dedup.versions),
        not readings.number_of(build, source),
    )
    made_of = readings.inputs_of(build, source, shared)
    with _writers(source, part.reads, made_of, outputs) as (writer, ledger):
        if is_first:
            ledger.copy(build.store, shared)
        read = readings.documents_of(build, source, shared, made_of, tally)
        documents = cleaner.before_dedup(read, tally)
        for versioned in versions.chosen(cleaner.after_dedup(documents, tally, again=False)):
            writer.add_document(*versioned, tally.file)
        ledger.drain(tally)
    writer.leave_out(versions.superseded)
    size = shared.counts["raw_bytes"] if is_first else 0
    return writer.inputs(), {**tally.counts(), **cleaner.counts(), "raw_bytes": size, "text_bytes": writer.text_bytes}


def _opened(build: Build, source: Source, part: Part) -> tuple[list[RawFile], Any]:
    """The files of a part, and the options of its pipeline as they were found."""
    files = [inputs.raw_file(build, file) for file in part.spec["files"]]
    side = {name: inputs.raw_file(build, file).path for name, file in part.spec["side"].items()}
    return files, pipeline(source.pipeline).options(**{**source.options, **part.spec["options"], **side})


def _all_bytes(files: list[RawFile], tally: Tally, source: str) -> int:
    """The raw bytes of some files.

    Raises:
        BuildFailed: they were neither read nor skipped.
    """
    size = sum(file.length for file in files)
    if tally.consumed_bytes + tally.skipped_bytes != size:
        seen = f"{tally.consumed_bytes:,} bytes were read and {tally.skipped_bytes:,} skipped"
        raise BuildFailed(f"source '{source}': {seen} of {size:,} in {files[0].url}")
    return size


def read_part(build: Build, part: Part, outputs: Outputs) -> Result:
    """The files of one part -> documents."""
    source = build.manifest.source_named(part.name)
    reader = pipeline(source.pipeline)
    files, options = _opened(build, source, part)
    tally, cleaner = Tally(), _cleaner(build, source)
    versions = Versions(tally, given(source.kind), build.manifest.dedup.versions)
    with _writers(source, part.reads, _inputs(files), outputs) as (writer, ledger):
        full = files if reader.is_gathered else list(not_empty(files, tally))
        documents = cleaner.before_dedup(reader.read(full, options, source.name, tally), tally)
        if not source.paragraphs:
            documents = cleaner.after_dedup(documents, tally, again=False)
        for versioned in versions.chosen(documents):
            writer.add_document(*versioned, tally.file)
            if tally.rows:
                ledger.drain(tally)
        ledger.drain(tally)
    writer.leave_out(versions.superseded)
    size = _all_bytes(files, tally, source.name)
    return writer.inputs(), {
        **tally.counts(),
        **cleaner.counts(),
        "raw_bytes": size,
        "text_bytes": writer.text_bytes,
    }


def clean_part(build: Build, part: Part, outputs: Outputs) -> Result:
    """One extracted part, without the lines that repeat -> documents; what became of its raw units is carried on."""
    source = build.manifest.source_named(part.name)
    texts = build.part(EXTRACTED, part.spec["texts"])
    repeats = paragraphs.repeats_in(build, source, texts)
    tally, cleaner = Tally.resume({**texts.counts, "kept": 0}), _cleaner(build, source)
    urls = origins.urls(texts.inputs)
    with _writers(source, part.reads[:2], texts.inputs, outputs) as (writer, ledger):
        ledger.copy(build.store, texts)
        for batch in read_batches(build.store, texts.file(".parquet"), ["doc_id", "text", "meta", "version"]):
            ranked = dict(zip(*(batch.column(name).to_pylist() for name in ("doc_id", "version")), strict=True))
            for document in cleaner.after_dedup(cleaned(batch, repeats, urls, tally), tally, again=True):
                tally.keep()
                digest = normal_text_digest(document.text, given(source.kind))
                writer.add_document(document, digest, ranked[document.doc_id], tally.file)
            ledger.drain(tally)
    lost = texts.counts["text_bytes"] - writer.text_bytes
    own = {"raw_bytes": texts.counts["raw_bytes"], "text_bytes": writer.text_bytes, "repeated_bytes": lost}
    return writer.inputs(), {**tally.counts(), **cleaner.counts(texts.counts), **own}


def cleaned(
    batch: pa.RecordBatch, repeats: paragraphs.Repeats, urls: Iterator[str], tally: Tally
) -> Iterator[Document]:
    """Documents (doc_id, text, meta) without their repeated lines; meta says how many there were (as CCNet's does).

    `urls`: of the raw file of each.
    """
    rows = batch.to_pylist()
    for row, stay in zip(rows, repeats.stay(batch), strict=True):
        tally.file = next(urls)
        lines = row["text"].split("\n")
        kept = list(compress(lines, stay))
        before = {"original_nlines": len(lines), "original_length": len(row["text"])}
        if not kept:
            tally.drop(row["doc_id"], Reason.NO_PARAGRAPH_LEFT, **before)
            continue
        text = "\n".join(kept)
        meta = {**orjson.loads(row["meta"]), **before, "nlines": len(kept), "length": len(text)}
        yield Document(row["doc_id"], text, meta)


def _inputs(files: list[RawFile]) -> list[Input]:
    return list(map(_input, files))


def _input(file: RawFile) -> Input:
    """A file as part records name it, with its range if it is one of several."""
    whole = {"url": file.url, "bytes": file.bytes, "sha256": file.sha256}
    return {**whole, "start": file.start, "end": file.end} if file.end else whole


def not_empty(files: list[RawFile], tally: Tally) -> Iterator[RawFile]:
    """The files that have bytes; one without any is on record as cut off. In a tree an empty file is a file."""
    for file in files:
        if file.bytes or file.tree:
            yield file
        else:
            tally.file = file.url
            tally.skip(0, 0, Reason.TRUNCATED, note="an empty file")


@contextmanager
def _writers(
    source: Source, made_of: list[Any], files: list[Input], outputs: Outputs
) -> Iterator[tuple["DocumentWriter", LedgerWriter]]:
    documents = DocumentWriter(outputs.file(".parquet"), source.name, files, short_id([source.name, made_of]))
    with documents as writer, LedgerWriter(outputs) as ledger:
        yield writer, ledger


class DocumentWriter(TableWriter):
    """Documents -> Parquet: id, text, source, meta, the digest of the normalised text, what ranks the versions of an
    id, and the signals."""

    def __init__(self, path: Path, source: str, files: list[Input], made_of: str = "") -> None:
        """`made_of`: what tells the files; it goes into the metadata, so that no two parts have the same bytes."""
        super().__init__(path, document_schema(), {"made of": made_of})
        self.path, self.source = path, source
        self.text_bytes = 0
        self._origins, self._gone = Origins(files), list[int]()

    def add_document(self, document: Document, digest: bytes, version: bytes, url: str) -> None:
        """One document, as a `Versioned` has it, and its raw file."""
        self._origins.add(url)
        size = len(document.text.encode())
        self.text_bytes += size
        meta = orjson.dumps(document.meta, option=orjson.OPT_SORT_KEYS).decode()
        self.add((document.doc_id, document.text, self.source, meta, digest, version), size)

    def leave_out(self, rows: list[int]) -> None:
        """Take rows of the closed file out again."""
        self._gone = rows
        if rows:
            self.text_bytes -= pc.sum(tables.leave_out(self.path, rows).column("q_bytes")).as_py()

    def inputs(self) -> list[Input]:
        """The files, for the part's record."""
        return self._origins.inputs(self._gone)

    def finish(self, arrays: list[pa.Array]) -> list[pa.Array]:
        return arrays + list(inline.measure(arrays[1]).values())


def document_schema() -> pa.Schema:
    """The columns of a documents part."""
    measured = inline.measure(pa.array([""], pa.large_string()))
    columns = [pa.field(name, values.type) for name, values in measured.items()]
    digests = [pa.field("text_digest", pa.binary(16)), pa.field("version", pa.binary(VERSION_BYTES))]
    return pa.schema([*DOCUMENT_FIELDS, *digests, *columns])


def check_bad_fraction(build: Build, name: str, record: StageRecord) -> None:
    """A source with more bad units than the manifest allows fails the build by name; a reading speaks for its own."""
    source = build.manifest.source_named(name)
    if source.reading:
        return
    allowed = source.max_bad_fraction
    counts = record.counts
    bad = sum(counts["quarantined"].values()) + sum(counts["damaged_ranges"].values())
    met = counts["read"] + sum(counts["damaged_ranges"].values())
    if bad > allowed * met:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in _worst(counts))
        raise BuildFailed(
            f"source '{name}': {bad:,} of {met:,} units are bad ({bad / met:.2%}: {reasons}), more than "
            f"max_bad_fraction = {allowed}; "
            f"the ledger is {build.store.path(record.folder)}/ledger/, "
            f"and `redpajama show {build.store.url} {name} --quarantined` shows it"
        )


def _worst(counts: dict[str, Any]) -> list[tuple[str, int]]:
    bad = [*counts["quarantined"].items(), *counts["damaged_ranges"].items()]
    return sorted(bad, key=lambda item: (-item[1], item[0]))


EXTRACTED_STAGE = Single(
    name=EXTRACTED,
    version=4,
    libraries=LIBRARIES,
    after=(INPUTS, cuts.STAGE.name),
    depends=extracted_depends,
    pieces=extracted_parts,
    work=read_part,
    check=check_bad_fraction,
    weighed=True,
    scratch=True,
)
READ_STAGE = Single(
    name=READ,
    version=2,
    libraries=LIBRARIES,
    after=(INPUTS, cuts.STAGE.name),
    depends=read_depends,
    pieces=read_parts,
    work=deal_part,
    check=check_bad_fraction,
    weighed=True,
    scratch=True,
)
STAGE = Single(
    name="documents",
    version=4,
    libraries=LIBRARIES,
    after=(INPUTS, cuts.STAGE.name, READ, EXTRACTED, paragraphs.STAGE.name),
    depends=document_depends,
    pieces=document_parts,
    work=build_documents,
    check=check_bad_fraction,
    weighed=True,
)
