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
SIDE_FILES = ()

MAX_RECORD_BYTES = 64 << 20  # CommonCrawl cuts a page at 1 MiB, since 2025 at 5 MiB
MAX_HEADER_BYTES = 256 << 10
OVERLAP_BYTES = 1 << 10  # longer than what START matches
START = re.compile(rb"(?:\A|(?<=\n))WARC/[01]\.\d{1,2}[ \t]{0,9}\r?\n[\w-]{1,99}[ \t]{0,9}:")  # ISO 28500, section 4
END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
BLANK = re.compile(rb"\s*")
BETWEEN = re.compile(rb"[\r\n]*")  # two records; by the standard two line ends
VERSION_LINE = re.compile(rb"WARC/[01]\.")
CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]{0,999})?\r?\n")
ARC = b"filedesc://"

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
ZSTD_STEP = 1 << 10  # of input: expands to 32 MiB at most
HTML_TYPES = ("text/html", "application/xhtml+xml")
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
SURROGATE = re.compile("[\ud800-\udfff]")
NESTING = re.compile(r"<(/?)(?:div|article)\b", re.IGNORECASE)
SHALLOW = 3  # a `<ul>` with fewer elements between it and `<body>` is a menu to resiliparse
SHALLOW_LISTS = "body > ul, body > * > ul, body > * > * > ul"
MAX_LINKED_FRACTION = 0.5  # of the text of a list that is no menu
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
                break
            if record.fault:
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
            try:
                chunk = next(self.chunks)
            except StopIteration:
                self.at_end = True
            else:
                self.at_gap = chunk is None
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
        if blank := BLANK.match(self.data).end():
            self.take(blank)

    def take_to_next_start(self) -> bytes:
        """Move on to the next start of a record after this byte, or to the gap or end; the first 64 KiB passed."""
        passed = bytearray()
        while not (found := START.search(self.data, 1)) and self.fetch(len(self.data) + 1):
            passed += self.take(max(0, len(self.data) - 1 - OVERLAP_BYTES))
            del passed[MAX_QUARANTINE_BYTES:]
        passed += self.take(found.start() if found else len(self.data))
        return bytes(passed[:MAX_QUARANTINE_BYTES])


def _next_record(ahead: _Ahead) -> Record:
    """The record that starts here, or what is wrong with it."""
    offset, start = ahead.offset, _end_of_header(ahead)
    try:
        headers = parse_header(bytes(ahead.data[:start]))
        length = content_length(headers)
    except BadHeader as error:
        return _passed_over(ahead, _reason(ahead) if not start else Reason.INVALID_RECORD, str(error))
    if length > MAX_RECORD_BYTES:
        return _passed_over(ahead, Reason.EXPANSION_LIMIT, f"Content-Length {length}")
    end = start + length
    if not ahead.fetch(end):
        return _passed_over(ahead, _reason(ahead), f"Content-Length {length}")
    if not _ends(ahead, start, end, headers):
        return _passed_over(ahead, Reason.INVALID_RECORD, f"does not end at its Content-Length {length}")
    ahead.take(start)
    return Record(offset, headers, ahead.take(length))


def _ends(ahead: _Ahead, start: int, end: int, headers: dict[str, str]) -> bool:
    """Whether the record ends there: the next one or nothing follows, or an empty line and the digest is right."""
    ahead.fetch(end + OVERLAP_BYTES)
    after = BETWEEN.match(ahead.data, end).end()
    if after == len(ahead.data) or VERSION_LINE.match(ahead.data, after):
        return True
    digest = headers.get("warc-block-digest", "")
    is_right = not digest.startswith("sha1:") or digest == digest_of(bytes(ahead.data[start:end]))
    return ahead.data.count(b"\n", end, after) > 1 and is_right


def _reason(ahead: _Ahead) -> Reason:
    """Why a record has no end where all bytes up to a gap or the end are fetched."""
    return Reason.INVALID_RECORD if START.search(ahead.data, 1) else Reason.TRUNCATED


def _passed_over(ahead: _Ahead, fault: Reason, note: str) -> Record:
    """What stands from here to the next record, as one."""
    offset = ahead.offset
    head = ahead.take_to_next_start()
    if offset == 0 and fault is not Reason.TRUNCATED and ahead.at_end and not ahead.data and not START.match(head):
        fault, note = Reason.WRONG_FORMAT, "no WARC record in this file"
    return Record(offset, {}, head, fault, note)


def _end_of_header(ahead: _Ahead) -> int:
    """Where the block of the record here begins; 0 if that is not found."""
    size = OVERLAP_BYTES
    while True:
        complete = ahead.fetch(size)
        found = END_OF_HEADER.search(ahead.data, 0, MAX_HEADER_BYTES)
        if found or not complete or size > MAX_HEADER_BYTES:
            return found.end() if found else 0
        size *= 2


def parse_header(head: bytes, is_strict: bool = True) -> dict[str, str]:
    """The named fields of a WARC or HTTP header but for its first line: lower-case name -> first value."""
    fields: dict[str, str] = {}
    name = ""
    for line in re.split(r"\r?\n", head.decode("utf-8", "replace"))[1:]:
        if line[:1] in (" ", "\t") and name in fields:
            fields[name] += " " + line.strip()
        elif line:
            name, colon, value = line.partition(":")
            name = name.strip().lower()
            if colon and name:
                fields.setdefault(name, value.strip())
            elif is_strict:
                raise BadHeader(f"no field: {line[:80]!r}")
    return fields


def content_length(headers: dict[str, str]) -> int:
    """The length of the block in bytes."""
    digits = headers.get("content-length", "")
    if not re.fullmatch(r"\d{1,18}", digits, re.ASCII):
        raise BadHeader(f"Content-Length {digits[:80]!r}")
    return int(digits)


# record -> document


def read_record(record: Record, options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """One whole record -> its page, or a row in the ledger."""
    doc_id, where = f"{source}/{key_of(record.headers)}", {"offset": record.offset}
    kind, url = record.headers.get("warc-type", "").lower(), url_of(record.headers)
    if kind in ("conversion", "response") and not url:
        tally.quarantine(doc_id, Reason.MISSING_FIELD, record.block, **where, wanted="WARC-Target-URI")
        return
    if reason := reason_to_drop(kind, record):
        tally.drop(doc_id, reason, **where, type=kind, url=url)
        return
    try:
        page = text_page(record.block) if kind == "conversion" else http_page(record, options)
    except Undecodable as error:
        tally.quarantine(doc_id, error.reason, record.block, **where, url=url, error=str(error))
        return
    if page.text:
        yield Document(doc_id, page.text, meta_of(page, record, url))
    else:
        tally.drop(doc_id, Reason.EMPTY_TEXT, **where, url=url)


class Page(NamedTuple):
    """What a reader would see."""

    title: str
    text: str


def key_of(headers: dict[str, str]) -> str:
    """The page's key: the id of the response, which a WET record refers to; of a record without any, a content key."""
    refers = headers.get("warc-refers-to") if headers.get("warc-type", "").lower() == "conversion" else None
    record_id = refers or headers.get("warc-record-id", "")
    key = record_id.strip("<>").removeprefix("urn:uuid:")
    return key or content_key(url_of(headers), headers.get("warc-date", ""))


def url_of(headers: dict[str, str]) -> str:
    """The page's URL; WARC 1.0 puts it in angle brackets, and wget does."""
    return headers.get("warc-target-uri", "").strip("<> ")


def reason_to_drop(kind: str, record: Record) -> Reason | None:
    """Why a record is no page with text."""
    if kind not in ("conversion", "response"):
        return Reason.NOT_A_PAGE
    if kind == "conversion":
        return None if media_type(record.headers, "text/plain") == "text/plain" else Reason.NOT_HTML
    status = re.match(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})\b", record.block)
    if not status:
        return Reason.NOT_HTML  # a DNS answer, say
    if status[1] != b"200":
        return Reason.HTTP_ERROR
    return None if _is_text(http_header(record.block)[0], record) else Reason.NOT_HTML


def _is_text(http: dict[str, str], record: Record) -> bool:
    """Whether a response is a page; a server that says nothing is taken at its first bytes."""
    declared = media_type(http) or record.headers.get("warc-identified-payload-type", "").lower()
    if declared:
        return declared in (*HTML_TYPES, "text/plain")
    return re.search(rb"(?i)<(!doctype html|html|head|body)\b", record.block[:4096]) is not None


def media_type(headers: dict[str, str], default: str = "") -> str:
    """`text/html` of `Content-Type: Text/HTML; charset=…`."""
    return headers.get("content-type", default).partition(";")[0].strip().lower()


def meta_of(page: Page, record: Record, url: str) -> dict[str, str | int]:
    """RedPajama's fields, as its later release of CommonCrawl has them."""
    headers = record.headers
    meta: dict[str, str | int] = {
        "url": url,
        "date_download": headers.get("warc-date", ""),
        "digest": headers.get("warc-block-digest") or headers.get("warc-payload-digest") or digest_of(record.block),
        "length": len(page.text),
        "nlines": page.text.count("\n") + 1,
        "source_domain": domain_of(url),
        "title": page.title,
        "source": "common_crawl",
    }
    if language := headers.get("warc-identified-content-language"):
        meta["language"] = language
    return meta


def digest_of(block: bytes) -> str:
    """A digest as CommonCrawl writes it."""
    return "sha1:" + b32encode(sha1(block).digest()).decode()


def domain_of(url: str) -> str:
    """The URL's host, with its port if it has one; "" of what is no URL."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


# WET block -> page


def text_page(block: bytes) -> Page:
    """CommonCrawl's text as CCNet cuts it: the first line is the title, the others the text."""
    try:
        lines = to_lines(block.decode())
    except UnicodeDecodeError as error:
        raise Undecodable(Reason.INVALID_UTF8, str(error)) from None
    return Page(lines[0], "\n".join(lines[1:]).strip("\n"))


def to_lines(text: str) -> list[str]:
    """Stripped lines, at least one; blank ones stay."""
    return [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]


# HTTP response -> page


def http_page(record: Record, options: Options) -> Page:
    """The title and the text of a page as a server sent it."""
    http, payload = http_header(record.block)
    text = to_unicode(decode_body(http, payload, "warc-truncated" in record.headers), http)
    if media_type(http) == "text/plain":
        return Page("", "\n".join(to_lines(text)).strip("\n"))
    tree = HTMLTree.parse(text)
    main = options.main_content and len(text) * max_depth(text) <= MAX_EXTRACTION_COST
    if main:
        shelter_lists(tree)
    plain = SURROGATE.sub("\ufffd", extract_plain_text(tree, main_content=main, alt_texts=False))
    title = SURROGATE.sub("\ufffd", tree.title or "")
    return Page(" ".join(title.split()), "\n".join(to_lines(plain)).strip("\n"))


def shelter_lists(tree: HTMLTree) -> None:
    """Move lists of text further from the root: near it, resiliparse takes every `<ul>` for a menu and drops it."""
    for found in tree.body.query_selector_all(SHALLOW_LISTS) if tree.body else ():
        linked = sum(len(link.text) for link in found.query_selector_all("a"))
        if linked < MAX_LINKED_FRACTION * len(found.text):
            for _ in range(SHALLOW):
                wrapper = tree.create_element("div")
                found.parent.replace_child(wrapper, found)
                wrapper.append_child(found)


def http_header(block: bytes) -> tuple[dict[str, str], bytes]:
    """The fields of an HTTP response and its payload."""
    end = END_OF_HEADER.search(block)
    head, payload = (block[: end.start()], block[end.end() :]) if end else (block, b"")
    return parse_header(head, is_strict=False), payload


def max_depth(html: str) -> int:
    """How deep `<div>` and `<article>` nest, at most: the main content is told by what is in each of them."""
    depth = deepest = 0
    if len(html) * html.count("<") > MAX_EXTRACTION_COST:  # else it cannot matter
        for tag in NESTING.finditer(html):
            depth = max(0, depth - 1) if tag[1] else depth + 1
            deepest = max(deepest, depth)
    return deepest


def to_unicode(payload: bytes, http: dict[str, str]) -> str:
    """Characters by byte order mark, HTTP header, `<meta>`, or else detection (WHATWG HTML, 13.2.3.2)."""
    mark = next((encoding for bom, encoding in BYTE_ORDER_MARKS.items() if payload.startswith(bom)), None)
    charset = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", http.get("content-type", ""), re.IGNORECASE)
    named = map_encoding_to_html5(charset[1], fallback_utf8=False) if charset else None
    text = payload.decode(mark or named or detect_encoding(payload, from_html_meta=True), "replace")
    if text.count("\ufffd") * 100 > len(text):  # a false declaration
        guess = payload.decode(detect_encoding(payload), "replace")
        text = min(text, guess, key=lambda candidate: candidate.count("\ufffd"))
    return SURROGATE.sub("\ufffd", text.removeprefix("\ufeff"))


def decode_body(http: dict[str, str], payload: bytes, may_be_cut: bool) -> bytes:
    """A response's payload without its transfer and content encodings.

    Crawlers undo them and leave the header as it was: what does not look encoded is taken as it is.
    """
    if "chunked" in http.get("transfer-encoding", "").lower():
        payload = unchunk(payload)
    for encoding in reversed(http.get("content-encoding", "").lower().replace(",", " ").split()):
        payload = _decoded(encoding.removeprefix("x-"), payload, may_be_cut)
    return payload


def unchunk(payload: bytes) -> bytes:
    """The data of a chunked body (RFC 9112, 7.1), or the payload itself where it is not chunked."""
    parts, at = [], 0
    while size := CHUNK.match(payload, at):
        length, begin = int(size[1], 16), size.end()
        parts.append(payload[begin : begin + length])
        at = begin + length
        if not length or at >= len(payload):
            return b"".join(parts)
        if payload[at : at + 2] != b"\r\n":
            break
        at += 2
    if len(parts) > 1:
        raise Undecodable(Reason.UNDECODABLE, f"no chunk at {at} of a chunked body")
    return payload


def _decoded(encoding: str, payload: bytes, may_be_cut: bool) -> bytes:
    try:
        if encoding == "gzip" and payload[:2] == GZIP:
            return _inflated(payload, 31, may_be_cut)
        if encoding == "deflate" and not payload.lstrip().startswith(b"<"):
            return _inflated(payload, 15 if payload[:1] == b"\x78" else -15, may_be_cut)
        if encoding == "br" and not payload.lstrip().startswith(b"<"):
            return _from_brotli(payload, may_be_cut)
        if encoding == "zstd" and payload[:4] == ZSTD:
            return _from_zstd(payload, may_be_cut)
    except (zlib.error, brotli.error, zstandard.ZstdError) as error:
        raise Undecodable(Reason.UNDECODABLE, f"{encoding}: {error}") from None
    return payload


def _inflated(payload: bytes, wbits: int, may_be_cut: bool) -> bytes:
    data = b""
    while True:
        decoder = zlib.decompressobj(wbits)
        data += decoder.decompress(payload, MAX_RECORD_BYTES + 1)
        payload = decoder.unused_data
        if len(data) > MAX_RECORD_BYTES or payload[:2] != GZIP:  # else another member follows
            return _checked(data, decoder.eof, may_be_cut)


def _from_brotli(payload: bytes, may_be_cut: bool) -> bytes:
    decoder = brotli.Decompressor()
    data = decoder.process(payload, output_buffer_limit=MAX_RECORD_BYTES + 1)
    return _checked(data, decoder.is_finished(), may_be_cut)


def _from_zstd(payload: bytes, may_be_cut: bool) -> bytes:
    decoder = zstandard.ZstdDecompressor(max_window_size=MAX_RECORD_BYTES).decompressobj()
    data = bytearray()
    for at in range(0, len(payload), ZSTD_STEP):
        if decoder.eof or len(data) > MAX_RECORD_BYTES:
            break
        data += decoder.decompress(payload[at : at + ZSTD_STEP])
    return _checked(bytes(data), decoder.eof, may_be_cut)


def _checked(data: bytes, finished: bool, may_be_cut: bool) -> bytes:
    """`data`, if it is whole and not too large."""
    if len(data) > MAX_RECORD_BYTES:
        raise Undecodable(Reason.EXPANSION_LIMIT, f"more than {MAX_RECORD_BYTES} bytes")
    if not finished and not may_be_cut:
        raise Undecodable(Reason.TRUNCATED, "the encoded page breaks off")
    return data
