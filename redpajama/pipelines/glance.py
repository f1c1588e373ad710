"""A look into raw files before a build: their format, their fields, and what a pipeline makes of the first records.

A local file is read where it lies, of others the first HEAD_BYTES are fetched; each is read for some records and a
share of the time that is given for all. What was read tells the rates by which `plan` reckons.
"""

import bisect
import itertools
import re
import tempfile
import time
from codecs import getincrementaldecoder
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from redpajama.errors import InputError
from redpajama.extract import charsets
from redpajama.manifest import Source
from redpajama.pipelines import pipeline, rows
from redpajama.raw import decompress, tables
from redpajama.raw.download import Unavailable, read_head
from redpajama.raw.hub import hub_address
from redpajama.raw.io import Listed, RawFile, scheme_of
from redpajama.raw.tar import is_tar
from redpajama.records import Document, Reason, Tally
from redpajama.unsigned import unsigned

FILES = 3  # of a source
SECONDS = 10.0  # for all sources
HEAD_BYTES = 1 << 20  # of a file that is not here
HERE_BYTES = 16 << 20  # of one that is here and can be read from its begin alone
OUTCOMES = 2000  # documents and rows of the ledger of a file, at most
SAMPLE_CHARS = 64_000  # of a file's texts, to be encoded and compressed
ENOUGH = 20  # units that tell whether a pipeline reads a file
WHOLE = ("parquet", "arrow", "zip", "7z")  # formats that are read from their end
ROW_FORMATS = ("jsonl", "json list", "parquet", "arrow", "csv", "tsv")
TEXT_FIELDS = ("text", "content", "contents", "body", "document", "raw_content", "article", "abstract")
EPRINT = re.compile(r"^\d{4}/(\d{4}\.\d{4,5}|[a-z-]+\d{7})\.(gz|pdf)$")

Rows = list[dict[str, Any]]
Bring = Callable[[Listed, Path], RawFile | None]  # a file, or its begin, perhaps in a folder; None: it is not to be had


@dataclass
class Look:
    """What a file is."""

    file: Listed
    format: str = "unknown"  # wet warc mediawiki posts jsonl parquet csv … text html binary empty
    rows: Rows = field(default_factory=list)  # the first ones of a table
    table: dict[str, str] = field(default_factory=dict)  # options that the begin of a CSV or TSV asks for
    text: str = ""  # how a text begins

    @property
    def fields(self) -> list[str]:
        """The columns of a table."""
        return list(dict.fromkeys(name for row in self.rows for name in row))


@dataclass
class Trial:
    """What a pipeline made of the begin of a file."""

    file: Listed
    places: int = 1  # for which the file stands, of those that were drawn from the source's bytes
    raw_bytes: int = 0  # that were read
    is_cut: bool = False  # only the begin of the file is here
    seconds: float = 0.0
    documents: int = 0
    text_bytes: int = 0
    counts: dict[str, Any] = field(default_factory=dict)
    first_loss: dict[str, Any] = field(default_factory=dict)  # reason and evidence of the first row of the ledger
    texts: list[str] = field(default_factory=list)  # the first
    sample: list[str] = field(default_factory=list)  # beginnings of texts, SAMPLE_CHARS in all
    sampled: int = 0

    @property
    def units(self) -> int:
        """Raw units, and ranges that could not be read."""
        return self.counts.get("read", 0) + sum(self.counts.get("damaged_ranges", {}).values()) - self._at_cut

    @property
    def unreadable(self) -> int:
        """Of these, what is no document because it cannot be read."""
        return sum(sum(self.counts.get(key, {}).values()) for key in ("quarantined", "damaged_ranges")) - self._at_cut

    @property
    def _at_cut(self) -> int:
        """What is cut off because no more was read."""
        cut_off = (self.counts.get(key, {}).get(Reason.TRUNCATED, 0) for key in ("quarantined", "damaged_ranges"))
        return sum(cut_off) if self.is_cut else 0


# ---- bytes


def sampled(files: Sequence[Listed], count: int = FILES) -> Counter[Listed]:
    """At most so many of the files, in order: those in which the bytes stand that cut the whole into as many parts
    as evenly, and how many of these each has.

    So a large file is read rather than a small one, and the mean of the files' rates is that of the source.
    """
    ends = list(itertools.accumulate(max(1, file.bytes or file.about_bytes) for file in files))
    wanted = [ends[-1] * (2 * place + 1) / (2 * count) for place in range(count)] if files else []
    return Counter(files[bisect.bisect_left(ends, each)] for each in wanted)


def brought(file: Listed, folder: Path) -> RawFile | None:
    """A file, or its begin; None where it is neither here nor can be cut."""
    name = re.sub(r"[^\w.-]", "_", file.url.rpartition("/")[2]) or "file"
    if not file.is_downloaded:
        whole = RawFile(file.url, file.path, file.bytes, "", file.tree)
        if file.bytes <= HERE_BYTES or _format(whole) in WHOLE:
            return whole
        with whole.open() as stream:
            head = stream.read(HERE_BYTES)
    else:
        address, token = hub_address(file.path) if scheme_of(file.path) == "hf" else (file.address, "")
        head = read_head(address, HEAD_BYTES, token)
    target = Path(tempfile.mkdtemp(dir=folder)) / name
    target.write_bytes(head)
    return RawFile(file.url, str(target), len(head), "", file.tree)


# ---- formats


def look(file: Listed, raw: RawFile) -> Look:
    """What a file is, by its first bytes, its name where these tell nothing, and its first rows."""
    found = Look(file, _format(raw))
    if found.format in ROW_FORMATS:
        found.table = _table(_head(raw), found.format)
        found.rows = _first_rows(raw, found.format, found.table)
    elif found.format in ("text", "html"):
        found.text = _head(raw)[:4096].decode("utf-8", "replace")
    return found


def _head(raw: RawFile) -> bytes:
    return decompress.head(raw, 1 << 16)


def _format(raw: RawFile) -> str:
    with raw.open() as stream:
        start = stream.read(8)
    if not start:
        return "empty"
    for magic, name in ((b"PK\x03\x04", "zip"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"%PDF", "pdf"), (b"PAR1", "parquet")):
        if start.startswith(magic):
            return name
    head = _head(raw)
    if is_tar(head[:512]):
        return "tar"
    if head.startswith(tables.ARROW_MAGIC):
        return "arrow"
    return _text_format(head, raw)


def _text_format(head: bytes, raw: RawFile) -> str:
    start = head.removeprefix(decompress.MARK).lstrip()[:4096]
    if start.startswith(b"WARC/"):
        return "wet" if b"WARC-Type: conversion" in head else "warc"
    for mark, name in ((b"<mediawiki", "mediawiki"), (b"<posts", "posts"), (b"<html", "html"), (b"<!doctype", "html")):
        if mark in start[:1024].lower():
            return name
    if known := rows.SUFFIXES.get(rows.PACKED.sub("", raw.url.lower()).rpartition(".")[2]):
        return {"lines": "jsonl", "list": "json list"}.get(known, known)
    if start.startswith(b"{"):
        return "jsonl"
    if start.startswith((b"[{", b"[\n", b"[\r", b"[ ")):
        return "json list"
    return "binary" if b"\0" in start and not start.startswith((b"\xff\xfe", b"\xfe\xff")) else "text"


def _table(head: bytes, format: str) -> dict[str, str]:
    """Delimiter and encoding of a CSV or TSV, where they are not the usual ones."""
    usual = {"csv": ",", "tsv": "\t"}.get(format)
    if not usual:
        return {}
    delimiter, found = tables.delimiter_of(head, usual), {}
    if delimiter != usual:
        found["delimiter"] = delimiter
    if tables.encoding_of(head) == "utf-8" and not _is_utf8(head):
        found["encoding"] = charsets.guessed_encoding(head)
    return found


def _is_utf8(head: bytes) -> bool:
    """Whether bytes, whose last character may be cut off, are UTF-8."""
    try:
        getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _first_rows(raw: RawFile, format: str, table: dict[str, str]) -> Rows:
    kinds = {"jsonl": "lines", "json list": "list"}
    options = rows.Options.model_validate({"format": kinds.get(format, format), "fields": {"meta": "all"}, **table})
    try:
        return [row for _, row in itertools.islice(rows.rows(raw, options, Tally()), ENOUGH)]
    except (pa.ArrowException, orjson.JSONDecodeError):
        return []


# ---- which pipeline


def fitting(found: Look) -> list[str]:
    """The pipelines that read such a file, the likeliest first."""
    simple = {
        "wet": ["common_crawl"],
        "warc": ["common_crawl"],
        "mediawiki": ["wikipedia"],
        "posts": ["stackexchange"],
        "7z": ["stackexchange"],
        "zip": ["files"],
        "html": ["files"],
    }
    if found.format in simple:
        return simple[found.format]
    if found.format in ROW_FORMATS:
        return [*_of_release(found), "rows"]
    if found.format == "tar":
        return ["files", "github", "arxiv"]
    if found.format == "text":
        return ["books", "files"] if "Project Gutenberg" in found.text else ["files"]
    return []


def _of_release(found: Look) -> list[str]:
    """The pipeline of the release that has rows of these fields in this format."""
    fields, format = set(found.fields), found.format
    is_stack = {"content", "max_stars_repo_name"} <= fields or {"content", "hexsha"} <= fields
    if is_stack and format == "parquet":
        return ["the_stack"]
    if {"content", "repo_name", "license"} <= fields and format in ("jsonl", "parquet"):
        return ["github"]
    if format != "jsonl":
        return []
    if {"text", "url"} <= fields and fields - {"text", "url"} in ({"timestamp"}, {"date"}):
        return ["c4"]  # FineWeb has a date among other fields
    metas = [row.get("meta") for row in found.rows]
    of_pile = any(isinstance(meta, dict) and "pile_set_name" in meta for meta in metas)
    return ["pile"] if of_pile and "text" in fields else []


def text_fields(found: Look) -> list[str]:
    """The fields of a table that may be its text: by their usual names, else the longest texts."""
    lengths = {name: _length(found.rows, name) for name in found.fields}
    usual = [name for name in TEXT_FIELDS if lengths.get(name)]
    longest = max(lengths, key=lambda name: lengths[name], default="")
    return usual[:1] or ([longest] if lengths.get(longest) else [])


def _length(rows: Rows, name: str) -> int:
    values = [row[name] for row in rows if row.get(name) is not None]
    return sum(map(len, values)) if all(isinstance(value, str) for value in values) else 0


# ---- what a pipeline makes of it


def attempt(
    source: Source, file: Listed, raw: RawFile, options: dict[str, Any], deadline: float, is_cut: bool = False
) -> Trial:
    """Read a file, or its begin, by the source's pipeline until OUTCOMES, its end, or the deadline (time.monotonic)."""
    reader, tally, found = pipeline(source.pipeline), Tally(), Trial(file, is_cut=is_cut)
    started, lost = time.perf_counter(), 0
    found_documents = reader.read([raw], reader.options(**options), source.name, tally)
    is_whole = False
    while not is_whole and found.documents + lost < OUTCOMES and time.monotonic() < deadline:
        document = next(found_documents, None)
        is_whole = document is None
        if document is not None:
            _add(found, document, tally)
        lost += len(tally.rows)
        for row in tally.rows:
            found.first_loss = found.first_loss or {"reason": str(row.reason), **row.evidence}
        tally.rows.clear()
    found.seconds, found.counts = time.perf_counter() - started, tally.counts()
    found.raw_bytes = raw.bytes if is_whole else tally.consumed_bytes + tally.skipped_bytes
    if is_cut and not found.documents:
        found.raw_bytes = 0  # one unit may be larger than what was read: that tells no rate
    return found


def _add(found: Trial, document: Document, tally: Tally) -> None:
    tally.keep()
    found.documents += 1
    found.text_bytes += len(document.text.encode())
    if len(found.texts) < ENOUGH:
        found.texts.append(document.text)
    if found.sampled < SAMPLE_CHARS:
        found.sample.append(document.text[: SAMPLE_CHARS - found.sampled])
        found.sampled += len(found.sample[-1])


def trials(
    source: Source, files: Sequence[Listed], seconds: float, count: int = FILES, bring: Bring = brought
) -> Iterator[tuple[Look, Trial | None]]:
    """What `count` files of a source are, and what its pipeline makes of each (None: it was not tried)."""
    reader, chosen = pipeline(source.pipeline), sampled(files, count)
    deadline = time.monotonic() + seconds
    options = {key: value for key, value in source.options.items() if key not in reader.side_files}
    with tempfile.TemporaryDirectory(prefix="redpajama-") as folder:
        for number, (file, places) in enumerate(chosen.items()):
            left = deadline - time.monotonic()
            if left <= 0:
                return
            raw = _brought_or_none(file, Path(folder), bring)
            if raw is None:
                continue
            found, own = look(file, raw), _resolved(source, options, raw)
            is_cut = raw.bytes < (file.bytes or file.about_bytes)
            until = time.monotonic() + left / (len(chosen) - number)
            can = found.format != "empty" and not (is_cut and found.format in WHOLE)
            trial = attempt(source, file, raw, own, until, is_cut) if can else None
            yield found, trial and replace(trial, places=places)


def _brought_or_none(file: Listed, folder: Path, bring: Bring) -> RawFile | None:
    try:
        return bring(file, folder)
    except (Unavailable, InputError, PermissionError):
        return None  # whether it is to be had is another question, asked elsewhere


def _resolved(source: Source, options: dict[str, Any], raw: RawFile) -> dict[str, Any]:
    reader = pipeline(source.pipeline)
    more = (
        reader.resolve(reader.options(**options), list(map(unsigned, source.inputs)), [raw]) if reader.resolve else {}
    )
    return {**options, **more}


# ---- what is wrong


def complaints(source: Source, looked: Sequence[tuple[Look, Trial | None]]) -> list[str]:
    """Why the pipeline does not read files, where more of the source is bad than the manifest allows."""
    trials = [trial for _, trial in looked if trial]
    bad, units = (sum(getattr(trial, name) for trial in trials) for name in ("unreadable", "units"))
    if bad <= source.max_bad_fraction * units:
        return []
    return [said for found, trial in looked if (said := complaint(source, found, trial))]


def complaint(source: Source, found: Look, trial: Trial | None) -> str:
    """Why the pipeline does not read a file, and what would; "" where it does."""
    if trial is None or not _fails(source, trial):
        return ""
    loss = trial.first_loss
    what = f"{found.file.url}: {trial.unreadable} of the first {trial.units} units cannot be read: {loss['reason']}"
    wanted = f", wanted {loss['wanted']}" if "wanted" in loss else ""
    has = f"; it is {found.format}{_named_fields(found)}"
    others = [name for name in fitting(found) if name != source.pipeline]
    hint = f"; pipeline = '{others[0]}' would fit{_own_fields(others[0], found)}" if others else ""
    if source.pipeline == "rows" and (texts := text_fields(found)):
        table = "".join(f"options.{key} = '{value}', " for key, value in found.table.items())
        hint = f"; {table}options.fields = {{ text = '{texts[0]}' }} would fit"
    return what + wanted + has + hint


def _fails(source: Source, trial: Trial) -> bool:
    is_bad = trial.unreadable > source.max_bad_fraction * max(trial.units, 1)
    return is_bad and (trial.documents == 0 or 2 * trial.unreadable > trial.units)


def _named_fields(found: Look) -> str:
    return f" with the fields {', '.join(found.fields)}" if found.fields else ""


def _own_fields(name: str, found: Look) -> str:
    texts = text_fields(found)
    return f" with options.fields = {{ text = '{texts[0]}' }}" if name == "rows" and texts and texts != ["text"] else ""
