"""CommonCrawl: the pages of WET and WARC files as text.

Input
    WET files (text that CommonCrawl extracted, `WARC-Type: conversion`) and WARC files (the HTTP responses), plain or
    compressed, one record a gzip member or not. RedPajama read the WET files of 2019-30, 2020-05, 2021-04, 2022-05 and
    2023-06, 20 to 25 TB each: `https://data.commoncrawl.org/crawl-data/CC-MAIN-<dump>/wet.paths.gz` lists them,
    and `[[source.dump]]` in the manifest takes them from there.
Flow
    records, told apart by their headers -> WET: the block's lines, stripped, the first one as title (CCNet's
    `process_wet_file.py`) · WARC: HTTP response of status 200 with HTML or plain text -> content and transfer encoding
    undone -> characters by byte order mark, HTTP header, `<meta>` or detection -> main content by resiliparse -> lines.
Output
    One document a page; meta: `url`, `date_download`, `digest`, `length` (characters), `nlines`, `source_domain`,
    `title`, `language` (ISO 639-3, where CommonCrawl names it), `source`. A page has the same id in WET and in WARC.
Not done here
    What a manifest asks for by tables of the source: CCNet's paragraph dedup (`[source.paragraphs]`), and then, over
    the lines that it leaves, CCNet's language identification and perplexity buckets and RedPajama's classifier
    (`[source.language]`, `[source.perplexity]`, `[source.classifier]`; see `quality/scores.py` and `limits.py`), and
    CCNet's minimum of 300 characters (`[source.quality] min_chars`), which it does not apply again, and so keeps stubs.
Differs from RedPajama-1T
    It loses url, date and digest: kept. CCNet finds headers by their position and cuts URLs at the first space: read by
    name, and whole. Its `length` is the block's bytes. It knows no WARC: its text is CommonCrawl's, menus and all, ours
    for a WARC is the main content. Records of broken files are quarantined, where CCNet joins or splits them.
"""

import re
from collections.abc import Iterator, Sequence
from html import unescape
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5
from resiliparse.parse.html import ElementNode, HTMLTree

from redpajama import decompress
from redpajama.hashing import content_key
from redpajama.io import RawFile
from redpajama.records import Document, Reason, Tally
from redpajama.warc import (
    ARC,
    Record,
    Undecodable,
    decode_body,
    digest_of,
    http_header,
    media_type,
    record_cuts,
    records,
)

VERSION = 2
UNIT = "WARC record"
LIBRARIES = ("brotli", "resiliparse", "zstandard")
SIDE_FILES = ()

HTML_TYPES = ("text/html", "application/xhtml+xml")
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
CHARSET_OF_META = re.compile(rb"<meta\b[^>]{0,500}?\bcharset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
MAX_REPLACED_FRACTION = 0.01  # of the characters of a page whose encoding is told rightly
SURROGATE = re.compile("[\ud800-\udfff]")
NESTING = re.compile(r"<(/?)(?:div|article|ul)\b", re.IGNORECASE)
SHALLOW = 3  # a `<ul>` with fewer elements between it and `<body>` is a menu to resiliparse
SHALLOW_LISTS = "body > ul, body > * > ul, body > * > * > ul"
MAX_LINKED_FRACTION = 0.5  # of the text of a list that is no menu
THREE_BYTES = re.compile("[\u0800-\ud7ff\uf900-\uffff]")  # in UTF-8; without the private use area
LONE = re.compile(rf">\s*+({THREE_BYTES.pattern}|&#?\w{{2,8}};)(?=\s*<)")
GUARD = "\ufdd0"  # a noncharacter, free for use inside a program (Unicode 23.7)
MAX_EXTRACTION_COST = 500_000_000  # characters x depth; resiliparse takes up to 20 ns each for the main content


cuts = record_cuts


class Options(BaseModel):
    """`[source.options]` of a CommonCrawl source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    main_content: bool = True  # of HTML pages; False keeps menus, sidebars and footers


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
                where = {"offset": record.offset, "end": record.end}
                tally.quarantine("", record.fault, record.block, **where, note=record.note)
            else:
                yield from read_record(record, options, source, tally)


# record -> document


def read_record(record: Record, options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """One whole record -> its page, or a row in the ledger."""
    doc_id, where = f"{source}/{key_of(record.headers)}", {"offset": record.offset, "end": record.end}
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
    main = options.main_content and len(text) * max_depth(text) <= MAX_EXTRACTION_COST
    tree = HTMLTree.parse(guard_lone_characters(text) if main else text)
    if main:
        shelter_lists(tree)
    plain = _clean(extract_plain_text(tree, main_content=main, alt_texts=False))
    return Page(" ".join(_clean(tree.title or "").split()), "\n".join(to_lines(plain)).strip("\n"))


def _clean(text: str) -> str:
    return SURROGATE.sub("\ufffd", text.replace(GUARD, ""))


def guard_lone_characters(html: str) -> str:
    """HTML in which no text is one character of three bytes: resiliparse takes `<b>中</b>` for an icon and drops it.

    Its test is meant for the private use area of icon fonts, whose characters are left to it.
    """
    return LONE.sub(lambda found: found[0] + GUARD if THREE_BYTES.fullmatch(unescape(found[1])) else found[0], html)


def shelter_lists(tree: HTMLTree) -> None:
    """Make lists of text look like none of menus: further from the root, and without links.

    resiliparse drops every `<ul>` near the root, and anywhere one of which more than a fifth is linked.
    """
    for found in filter(is_prose, select(tree.body, SHALLOW_LISTS)):
        for _ in range(SHALLOW):
            wrapper = tree.create_element("div")
            found.parent.replace_child(wrapper, found)
            wrapper.append_child(found)
    for found in filter(is_prose, select(tree.body, "ul")):
        for link in select(found, "a"):
            plain = tree.create_element("span")
            for child in list(link.child_nodes):
                plain.append_child(child)
            link.parent.replace_child(plain, link)


def select(element: ElementNode | None, selector: str) -> list[ElementNode]:
    """The elements below one that a CSS selector names: a slice, since resiliparse searches again for each step."""
    return element.query_selector_all(selector)[:] if element else []


def is_prose(found: ElementNode) -> bool:
    """Whether most of an element's text is outside of links."""
    left = MAX_LINKED_FRACTION * len(found.text)
    for link in select(found, "a"):
        left -= len(link.text)
        if left <= 0:  # links that never end hold one another: a page of them would take for ever
            return False
    return left > 0


def max_depth(html: str) -> int:
    """How deep `<div>`, `<article>` and `<ul>` nest, at most: the main content is told by what is in each of them."""
    depth = deepest = 0
    if len(html) * html.count("<") > MAX_EXTRACTION_COST:  # else it cannot matter
        for tag in NESTING.finditer(html):
            depth = max(0, depth - 1) if tag[1] else depth + 1
            deepest = max(deepest, depth)
    return deepest


def to_unicode(payload: bytes, http: dict[str, str]) -> str:
    """Characters by byte order mark, HTTP header, `<meta>` (WHATWG HTML, 13.2.3.2), else UTF-8, else detection."""
    text = payload.decode(declared_encoding(payload, http) or "utf-8", "replace")
    if text.count("\ufffd") > MAX_REPLACED_FRACTION * len(text):  # nothing declared, or falsely
        guess = payload.decode(detect_encoding(payload), "replace")
        text = min(text, guess, key=lambda candidate: candidate.count("\ufffd"))
    return SURROGATE.sub("\ufffd", text.removeprefix("\ufeff"))


def declared_encoding(payload: bytes, http: dict[str, str]) -> str | None:
    """What a page says that its encoding is; None if it says nothing, or nothing that a browser knows."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if payload.startswith(mark):
            return encoding
    in_header = CHARSET.search(http.get("content-type", ""))
    in_page = CHARSET_OF_META.search(payload, 0, 1024)
    if in_header and (encoding := map_encoding_to_html5(in_header[1], fallback_utf8=False)):
        return encoding
    encoding = map_encoding_to_html5(in_page[1].decode("ascii"), fallback_utf8=False) if in_page else None
    return "utf-8" if encoding and encoding.startswith("utf-16") else encoding  # who can read it knows better
