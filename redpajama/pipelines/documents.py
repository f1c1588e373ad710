"""The stages `inputs`, `inputs-split`, `extracted`, `documents`: raw files -> ranges -> documents with their signals.

`inputs` measures the SHA-256 of every raw file and downloads what cannot be read in place. Its records are a memory,
not an output: they are keyed by (URL, place, size, ETag or mtime) and no build names them. A source with
`[source.paragraphs]` is read into the stage `extracted`; its documents are what the stage `paragraphs` leaves of them.
`inputs-split` finds where files above `part_bytes` may be cut, so that each range is a part of its own; a file of a
format that cannot be cut (7z, tar, one gzip member) is one part.
`[source.clean]` works on documents before they are written: C4's lines before those that repeat go, the rest after.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from itertools import compress, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa

from redpajama import io
from redpajama.artifacts import BuildFailed, Outputs, Part, PartRecord, StageRecord, Store
from redpajama.columns import TableWriter, read_batches
from redpajama.dedup import paragraphs
from redpajama.hashing import draw, normal_text_digest
from redpajama.io import RawFile
from redpajama.manifest import Source
from redpajama.pipelines import pipeline
from redpajama.quality import cleaning, signals
from redpajama.records import DOCUMENT_FIELDS, LEDGER_SCHEMA, Document, LedgerRow, Reason, Tally
from redpajama.stages import Build, Result, Step, fingerprint, versions

VERSION = 1
SMALL_FILE_BYTES = 16 << 20  # `groups` in the manifest gathers files below this


# ---- inputs


def plan_inputs(build: Build) -> list[Part]:
    """One part for each listed file."""
    parts = []
    for listed in build.store.read_json(f".tmp/{build.job.run}/listed.json"):
        version = listed["etag"] or f"run {build.job.run}"  # what tells no version is measured every time
        reads = [version, *(listed[key] for key in ("url", "path", "bytes", "sha256"))]
        size = listed["bytes"] or listed["about_bytes"]
        parts.append(Part("inputs", listed["source"], "listed", reads, listed, size))
    return parts


def identify(build: Build, part: Part, outputs: Outputs) -> Result:
    """Fetch one file and measure its SHA-256. The path of a download is its key in ROOT, which may move."""
    spec = part.spec
    listed = io.Listed(**{field.name: spec[field.name] for field in fields(io.Listed)})
    folder = f"inputs/fetched/{part.key}"  # another for each version of the file
    cache = build.store.path(folder) if build.store.local else str(outputs.folder)
    raw = io.fetch(listed, cache, spec["sha256"])
    path = raw.path
    if path != listed.path:
        path = f"{folder}/{Path(path).relative_to(cache)}"
        if not build.store.local:
            build.store.put(path, Path(raw.path))
    found = {"url": raw.url, "path": path, "bytes": raw.bytes, "sha256": raw.sha256, "tree": raw.tree}
    return [found], {"read": 1, "kept": 1, "bytes": raw.bytes}


# ---- inputs-split


def plan_cuts(build: Build) -> list[Part]:
    """One part for each file that is larger than a part should be, where its pipeline can read ranges."""
    parts = []
    for source in build.manifest.source:
        stamp = fingerprint(stage=["inputs-split", VERSION], pipeline=source.pipeline, part_bytes=source.part_bytes)
        for file in found_files(build, source) if hasattr(pipeline(source.pipeline), "cuts") else []:
            if file["bytes"] > source.part_bytes and not file["tree"]:
                reads = [file["url"], file["sha256"]]
                parts.append(Part("inputs-split", source.name, stamp, reads, file, file["bytes"]))
    return parts


def find_cuts(build: Build, part: Part, outputs: Outputs) -> Result:
    """Where one file may be cut."""
    source = build.manifest.source_named(part.name)
    cuts = pipeline(source.pipeline).cuts(_raw_file(build, part.spec), source.part_bytes)
    return [{"url": part.spec["url"], "cuts": cuts}], {"read": 1, "kept": 1, "cuts": len(cuts)}


def found_files(build: Build, source: Source) -> list[dict[str, Any]]:
    """The files of a source as `identify` describes them, by URL."""
    return sorted((record.inputs[0] for record in build.parts("inputs", source.name)), key=lambda file: file["url"])


# ---- documents


def plan_documents(build: Build) -> list[Part]:
    """Parts of every source; where lines that repeat must go, one for each extracted part."""
    sources = build.manifest.source
    plans = [_plan_cleaned if source.paragraphs else partial(_plan_raw, "documents") for source in sources]
    return [part for plan, source in zip(plans, sources, strict=True) for part in plan(build, source)]


def plan_extracted(build: Build) -> list[Part]:
    """Parts of the sources whose lines are to be compared first."""
    sources = [source for source in build.manifest.source if source.paragraphs]
    return [part for source in sources for part in _plan_raw("extracted", build, source)]


def _plan_raw(stage: str, build: Build, source: Source) -> list[Part]:
    """Parts of one source: a directory tree, a group of small files, one file, or a range of one."""
    side = {name: build.parts("inputs", f"{source.name}.{name}")[0].inputs[0] for name in side_fields(source)}
    resolved, words = _resolved(build, source), _bad_words(build, source)
    stamp = documents_fingerprint(
        source,
        resolved | {name: file["sha256"] for name, file in side.items()},
        cleaning.parameters(source.clean, words.sha256 if words else "", before=True, after=stage == "documents"),
    )
    parts = []
    for group in _grouped(list(_ranges(build, source)), source.groups).values():
        reads = [[file["url"], file["sha256"], *filter(None, [file["tree"]]), *_range(file)] for file in group]
        size = sum(RawFile(**file).length for file in group)
        spec = {"files": group, "side": side, "options": resolved}
        parts.append(Part(stage, source.name, stamp, reads, spec, size))
    return parts


def _plan_cleaned(build: Build, source: Source) -> list[Part]:
    """One part for each extracted part: what a part loses depends on all the others."""
    words = _bad_words(build, source)
    stamp = fingerprint(
        stage=["documents-cleaned", VERSION, paragraphs.VERSION, signals.VERSION],
        rule=source.paragraphs.model_dump(mode="json"),
        libraries=versions("pyarrow", *paragraphs.LIBRARIES),
        **cleaning.parameters(source.clean, words.sha256 if words else "", before=False, after=True),
    )
    repeats = [record.sha256 for record in build.parts("paragraphs", source.name)]
    parts = []
    for texts in build.parts("extracted", source.name):
        spec, size = {"texts": texts.stem}, texts.counts["text_bytes"]
        parts.append(Part("documents", source.name, stamp, [texts.sha256, repeats], spec, size))
    return parts


def _ranges(build: Build, source: Source) -> Iterator[dict[str, Any]]:
    """The files of a source, those that were cut as one entry a range."""
    found = [record.inputs[0] for record in build.parts("inputs-split", source.name)]
    cuts = {file["url"]: file["cuts"] for file in found}
    for file in found_files(build, source):
        if inner := cuts.get(file["url"]):
            for start, end in pairwise([0, *inner, file["bytes"]]):
                yield {**file, "start": start, "end": end}
        else:
            yield file


def _resolved(build: Build, source: Source) -> dict[str, Any]:
    """The options of a source that only all of its files tell."""
    module = pipeline(source.pipeline)
    if not hasattr(module, "resolve"):
        return {}
    return module.resolve(module.Options(**source.options), [_raw_file(build, f) for f in found_files(build, source)])


def _range(file: dict[str, Any]) -> list[int]:
    """What tells the ranges of a file apart; nothing for a whole file."""
    return [file["start"], file["end"]] if "end" in file else []


def side_fields(source: Source) -> list[str]:
    """The options of a source that name a side file."""
    return [name for name in pipeline(source.pipeline).SIDE_FILES if source.options.get(name)]


def _bad_words(build: Build, source: Source) -> RawFile | None:
    """The list of `[source.clean]`, if it names one."""
    if not source.clean or not source.clean.bad_words:
        return None
    return _raw_file(build, build.parts("inputs", f"{source.name}.{cleaning.INPUT}")[0].inputs[0])


def _cleaner(build: Build, source: Source) -> cleaning.Cleaner:
    words = _bad_words(build, source)
    return cleaning.Cleaner(source.clean, words.path if words else "")


def documents_fingerprint(source: Source, known: dict[str, Any], clean: dict[str, Any]) -> str:
    """All that the documents of a source depend on, but for its files; quality rules are not among it.

    `known` are options as they were found: the hash of a side file instead of its name, for example; `clean`
    is what cleaning adds.
    """
    module = pipeline(source.pipeline)
    return fingerprint(
        stage=["documents", VERSION, signals.VERSION],
        source=source.name,
        pipeline=[source.pipeline, module.VERSION],
        options=module.Options(**source.options).model_dump(mode="json") | known,
        libraries=versions("pyarrow", *module.LIBRARIES),
        **clean,
    )


def _grouped(files: list[dict[str, Any]], groups: int | None) -> dict[str, list[dict[str, Any]]]:
    """{what the part is: its files}: by tree, by hash of the name where the manifest asks for it, else one by one.

    A range of a file is alone.
    """
    parts = defaultdict(list)
    for file in files:
        if file["tree"]:
            parts[f"tree {file['tree']}"].append(file)
        elif "end" in file:
            parts[f"range {file['start']} {file['url']}"].append(file)
        elif groups and file["bytes"] < SMALL_FILE_BYTES:
            parts[f"group {zlib.crc32(file['url'].encode()) % groups}"].append(file)
        else:
            parts[f"file {file['url']}"].append(file)
    return parts


def build_documents(build: Build, part: Part, outputs: Outputs) -> Result:
    """One part -> documents with signals, and a ledger of everything else."""
    return (clean_part if "texts" in part.spec else read_part)(build, part, outputs)


def read_part(build: Build, part: Part, outputs: Outputs) -> Result:
    """The files of one part -> documents."""
    source = build.manifest.source_named(part.name)
    module = pipeline(source.pipeline)
    files = [_raw_file(build, file) for file in part.spec["files"]]
    side = {name: _raw_file(build, file).path for name, file in part.spec["side"].items()}
    options = module.Options(**{**source.options, **part.spec["options"], **side})
    tally, cleaner = Tally(), _cleaner(build, source)
    with DocumentWriter(outputs.file(".parquet"), source.name) as writer, LedgerWriter(outputs) as ledger:
        full = list(not_empty(files, tally))
        documents = cleaner.before_dedup(module.read(full, options, source.name, tally), tally)
        if not source.paragraphs:
            documents = cleaner.after_dedup(documents, tally, again=False)
        for document, digest in once(documents, tally):
            writer.add_document(document, digest)
            if tally.rows:
                ledger.drain(tally)
        ledger.drain(tally)
    size = sum(file.length for file in files)
    if tally.consumed_bytes + tally.skipped_bytes != size:
        seen = f"{tally.consumed_bytes:,} bytes were read and {tally.skipped_bytes:,} skipped"
        raise BuildFailed(f"source '{source.name}': {seen} of {size:,} in {files[0].url}")
    inputs = [_input(file) for file in files]
    return inputs, {**tally.counts(), **cleaner.counts(), "raw_bytes": size, "text_bytes": writer.text_bytes}


def clean_part(build: Build, part: Part, outputs: Outputs) -> Result:
    """One extracted part, without the lines that repeat -> documents; what became of its raw units is carried on."""
    source = build.manifest.source_named(part.name)
    texts = next(record for record in build.parts("extracted", part.name) if record.stem == part.spec["texts"])
    repeats = paragraphs.repeats_in(build, source, texts)
    tally, cleaner = Tally.resume({**texts.counts, "kept": 0}), _cleaner(build, source)
    with DocumentWriter(outputs.file(".parquet"), source.name) as writer, LedgerWriter(outputs) as ledger:
        ledger.copy(build.store, texts)
        for batch in read_batches(build.store, texts.file(".parquet"), ["doc_id", "text", "meta"]):
            for document in cleaner.after_dedup(cleaned(batch, repeats, tally), tally, again=True):
                tally.keep()
                writer.add_document(document, normal_text_digest(document.text))
            ledger.drain(tally)
    lost = texts.counts["text_bytes"] - writer.text_bytes
    own = {"raw_bytes": texts.counts["raw_bytes"], "text_bytes": writer.text_bytes, "repeated_bytes": lost}
    return texts.inputs, {**tally.counts(), **cleaner.counts(texts.counts), **own}


def cleaned(batch: pa.RecordBatch, repeats: paragraphs.Repeats, tally: Tally) -> Iterator[Document]:
    """Documents (doc_id, text, meta) without their repeated lines; meta says how many there were (as CCNet's does)."""
    rows = batch.to_pylist()
    for row, stay in zip(rows, repeats.stay(batch), strict=True):
        lines = row["text"].split("\n")
        kept = list(compress(lines, stay))
        before = {"original_nlines": len(lines), "original_length": len(row["text"])}
        if not kept:
            tally.drop(row["doc_id"], Reason.NO_PARAGRAPH_LEFT, **before)
            continue
        text = "\n".join(kept)
        meta = {**orjson.loads(row["meta"]), **before, "nlines": len(kept), "length": len(text)}
        yield Document(row["doc_id"], text, meta)


def _input(file: RawFile) -> dict[str, Any]:
    """A file as part records name it, with its range if it is one of several."""
    whole = {"url": file.url, "bytes": file.bytes, "sha256": file.sha256}
    return {**whole, "start": file.start, "end": file.end} if file.end else whole


def _raw_file(build: Build, found: dict[str, Any]) -> RawFile:
    return RawFile(**{**found, "path": build.store.locate(found["path"])})


def not_empty(files: list[RawFile], tally: Tally) -> Iterator[RawFile]:
    """The files that have bytes; one without any is on record as cut off. In a tree an empty file is a file."""
    for file in files:
        if file.bytes or file.tree:
            yield file
        else:
            tally.file = file.url
            tally.skip(0, 0, Reason.TRUNCATED, note="an empty file")


def once(documents: Iterator[Document], tally: Tally) -> Iterator[tuple[Document, bytes]]:
    """Each id once in a part, with the digest of its text: a later record of the same id is dropped, by name."""
    seen: dict[int, int] = {}  # 64 bits of the id -> of the text: about 170 bytes a document
    for document in documents:
        digest = normal_text_digest(document.text)
        key, text = draw(0, document.doc_id), int.from_bytes(digest[:8], "big")
        if key in seen:
            same = seen[key] == text
            tally.drop(document.doc_id, Reason.REPEATED_RECORD if same else Reason.DUPLICATE_ID)
        else:
            seen[key] = text
            tally.keep()
            yield document, digest


class DocumentWriter(TableWriter):
    """Documents -> Parquet: id, text, source, meta, the digest of the normalised text, and the signals."""

    def __init__(self, path: Path, source: str) -> None:
        super().__init__(path, document_schema())
        self.source = source
        self.text_bytes = 0

    def add_document(self, document: Document, digest: bytes) -> None:
        """One document; `digest` is that of its normalised text."""
        size = len(document.text.encode())
        self.text_bytes += size
        meta = orjson.dumps(document.meta, option=orjson.OPT_SORT_KEYS).decode()
        self.add((document.doc_id, document.text, self.source, meta, digest), size)

    def finish(self, arrays: list[pa.Array]) -> list[pa.Array]:
        return arrays + list(signals.measure(arrays[1]).values())


def document_schema() -> pa.Schema:
    """The columns of a documents part."""
    measured = signals.measure(pa.array([""], pa.large_string()))
    columns = [pa.field(name, values.type) for name, values in measured.items()]
    return pa.schema([*DOCUMENT_FIELDS, pa.field("text_digest", pa.binary(16)), *columns])


class LedgerWriter:
    """Ledger rows -> `ledger/part-<key>.parquet`; raw bytes of quarantined units -> `quarantine/part-<key>.bin`."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self._table = TableWriter(outputs.file(".parquet", "ledger/"), LEDGER_SCHEMA)
        self._raw: Any = None
        self._offset = 0

    def copy(self, store: Store, record: PartRecord) -> None:
        """All that another part's ledger holds."""
        for batch in read_batches(store, next(key for key in record.outputs if "/ledger/" in key)):
            for row in batch.to_pylist():
                self._table.add(tuple(row.values()))
        for key in (key for key in record.outputs if "/quarantine/" in key):
            self._offset += self._quarantine().write(store.read(key))

    def drain(self, tally: Tally) -> None:
        """Write the rows that the tally holds."""
        for row in tally.rows:
            evidence = {**row.evidence, **self._keep_raw(row)}
            text = orjson.dumps(evidence, option=orjson.OPT_SORT_KEYS, default=str).decode()
            self._table.add((row.doc_id, "documents", row.verdict, row.reason, row.value, row.threshold, text))
        tally.rows.clear()

    def _keep_raw(self, row: LedgerRow) -> dict[str, int]:
        if not row.raw:
            return {}
        where = {"raw_offset": self._offset, "raw_bytes": len(row.raw)}
        self._offset += self._quarantine().write(row.raw)
        return where

    def _quarantine(self) -> BinaryIO:
        self._raw = self._raw or open(self._outputs.file(".bin", "quarantine/"), "wb")  # noqa: SIM115 (closed in __exit__)
        return self._raw

    def __enter__(self) -> "LedgerWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._table.close()
        if self._raw:
            self._raw.close()


def check_bad_fraction(build: Build, name: str, record: StageRecord) -> None:
    """A source with more bad units than the manifest allows fails the build by name."""
    allowed = build.manifest.source_named(name).max_bad_fraction
    counts = record.counts
    bad = sum(counts["quarantined"].values()) + sum(counts["damaged_ranges"].values())
    met = counts["read"] + sum(counts["damaged_ranges"].values())
    if bad > allowed * met:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in _worst(counts))
        raise BuildFailed(
            f"source '{name}': {bad:,} of {met:,} units are bad ({bad / met:.2%}: {reasons}), more than "
            f"max_bad_fraction = {allowed}; see the ledger in {record.key.rpartition('/')[0]}/ledger/"
        )


def _worst(counts: dict[str, Any]) -> list[tuple[str, int]]:
    bad = [*counts["quarantined"].items(), *counts["damaged_ranges"].items()]
    return sorted(bad, key=lambda item: (-item[1], item[0]))


INPUTS = Step("inputs", plan_inputs, identify, scratch=True)
CUTS = Step("inputs-split", plan_cuts, find_cuts, scratch=True)
EXTRACTED = Step("extracted", plan_extracted, read_part, check_bad_fraction, scratch=True)
DOCUMENTS = Step("documents", plan_documents, build_documents, check_bad_fraction)
