"""CommonCrawl: the pages of WET and WARC files as text.

Input
    WET files (text that CommonCrawl extracted, `WARC-Type: conversion`) and WARC files (the HTTP responses), plain or
    compressed, one record a gzip member or not. RedPajama read the WET files of 2019-30, 2020-05, 2021-04, 2022-05 and
    2023-06, 20 to 25 TB each: `https://data.commoncrawl.org/crawl-data/CC-MAIN-<dump>/wet.paths.gz` lists them.
Flow
    records, told apart by their headers -> WET: the block's lines, stripped, the first one as title (CCNet's
    `process_wet_file.py`) · WARC: HTTP response of status 200 with HTML or plain text -> content and transfer encoding
    undone -> characters by byte order mark, HTTP header, `<meta>` or detection -> main content by resiliparse -> lines.
Output
    One document a page; meta: `url`, `date_download`, `digest`, `length` (characters), `nlines`, `source_domain`,
    `title`, `language` (ISO 639-3, where CommonCrawl names it), `source`. A page has the same id in WET and in WARC.
Not done here
    CCNet's paragraph dedup, language identification, perplexity buckets and RedPajama's classifier: the rooms `dedup`
    and `quality` judge, over the text as it stands here; nor its minimum of 300 characters.
Differs from RedPajama-1T
    It loses url, date and digest: kept. CCNet finds headers by their position and cuts URLs at the first space: read by
    name, and whole. Its `length` is the block's bytes. It knows no WARC: its text is CommonCrawl's, menus and all, ours
    for a WARC is the main content. Records of broken files are quarantined, where CCNet joins or splits them.
"""

import re
import zlib
from base64 import b32encode
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha1
from typing import NamedTuple
from urllib.parse import urlsplit

import brotli
import zstandard
from pydantic import BaseModel, ConfigDict
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5
from resiliparse.parse.html import HTMLTree

from redpajama import decompress
from redpajama.hashing import content_key
from redpajama.io import RawFile
from redpajama.records import MAX_QUARANTINE_BYTES, Document, Reason, Tally

VERSION = 1
UNIT = "WARC record"
LIBRARIES = ("brotli", "resiliparse", "zstandard")

MAX_RECORD_BYTES = 64 << 20  # CommonCrawl cuts a page at 1 MiB, since 2025 at 5 MiB
MAX_HEADER_BYTES = 256 << 10
OVERLAP_BYTES = 1 << 10  # longer than what START matches
START = re.compile(rb"(?:\A|(?<=\n))WARC/[01]\.\d{1,2}[ \t]*\r?\n[\w-]{1,100}[ \t]*:")  # ISO 28500, section 4
END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
END_OF_RECORD = re.compile(rb"\r?\n\r?\n|[\r\n]*(?:\Z|(?=WARC/[01]\.))")
ARC = b"filedesc://"

HTML_TYPES = ("text/html", "application/xhtml+xml")
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
SURROGATE = re.compile("[\ud800-\udfff]")
NESTING = re.compile(r"<(/?)(?:div|article)\b", re.IGNORECASE)
MAX_EXTRACTION_COST = 500_000_000  # characters x depth; resiliparse takes up to 20 ns each for the main content


class Options(BaseModel):
    """`[source.options]` of a CommonCrawl source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    main_content: bool = True  # of HTML pages; False keeps menus, sidebars and footers


class Record(NamedTuple):
    """One WARC record; where it has a `fault`, `block` is its first 64 KiB, header and all."""

    offset: int  # in the decompressed file
    headers: dict[str, str]  # lower-case name -> value
    block: bytes
    fault: Reason | None = None
    note: str = ""


class BadHeader(ValueError):
    """A record's header cannot be read."""


class Undecodable(ValueError):
    """A page's bytes cannot be made text; `reason` says why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def read(files: Sequence[RawFile], options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """The records of each file -> one document a page."""
    for file in files:
        chunks = decompress.chunks(file, tally)
        for record in records(chunks):
            tally.unit()
            if record.block.startswith(ARC) and not record.headers:
                tally.quarantine("", Reason.WRONG_FORMAT, record.block, wanted="WARC; this is ARC, its predecessor")
                for _ in chunks:
                    pass
            elif record.fault:
                tally.quarantine("", record.fault, record.block, offset=record.offset, note=record.note)
            else:
                yield from read_record(record, options, source, tally)


# file -> records


def records(chunks: Iterable[bytes | None]) -> Iterator[Record]:
    """Decompressed chunks -> records. After damage it goes on at the next line that starts one.

    A `Content-Length` is believed only if the record ends where it says. Memory is bounded by MAX_RECORD_BYTES.
    """
    ahead = _Ahead(chunks)
    while ahead.next_nonblank():
        if START.match(ahead.data):
            yield _next_record(ahead)
        else:
            yield _passed_over(ahead, Reason.TRUNCATED if ahead.after_gap else Reason.INVALID_RECORD, "no WARC header")


class _Ahead:
    """The bytes from where the reader stands up to the next gap, fetched as far as asked."""

    def __init__(self, chunks: Iterable[bytes | None]) -> None:
        self.chunks = iter(chunks)
        self.data = bytearray()
        self.offset = 0  # of data[0]
        self.at_gap = self.at_end = False  # what follows `data`
        self.after_gap = False  # what lies before data[0], if nothing was taken since

    def fetch(self, size: int) -> bool:
        """Whether `size` bytes lie ahead."""
        while len(self.data) < size and not (self.at_gap or self.at_end):
            chunk = next(self.chunks, b"")
            self.at_end, self.at_gap = chunk == b"", chunk is None
            self.data += chunk or b""
        return len(self.data) >= size

    def take(self, size: int) -> bytes:
        """Move on by `size` bytes that lie ahead."""
        taken = bytes(self.data[:size])
        del self.data[:size]
        self.offset += size
        self.after_gap = False
        return taken

    def next_nonblank(self) -> bool:
        """Move on to the next byte that is no white space, across gaps; False at the end of the file."""
        while True:
            self.fetch(OVERLAP_BYTES)
            self.take_blank()
            if self.data:
                return self.fetch(OVERLAP_BYTES) or True
            if self.at_end:
                return False
            if self.at_gap:
                self.at_gap, self.after_gap = False, True

    def take_blank(self) -> None:
        """Move on over white space."""
        blank = len(self.data) - len(self.data.lstrip())
        if blank:
            self.take(blank)

    def take_to_next_start(self) -> bytes:
        """Move on to the next start of a record after this byte, or to the gap or end; the first 64 KiB passed."""
        head, searched = bytearray(), 1
        while True:
            found = START.search(self.data, searched)
            more = not found and self.fetch(len(self.data) + 1)
            size = found.start() if found else len(self.data) - OVERLAP_BYTES if more else len(self.data)
            ...
