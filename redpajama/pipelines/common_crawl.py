"""CommonCrawl: the pages of WET and WARC files as text.

Input
    WET files (text that CommonCrawl extracted, `WARC-Type: conversion`) and WARC files (the HTTP responses), plain or
    compressed, one record a gzip member or not. RedPajama read the WET files of 2019-30, 2020-05, 2021-04, 2022-05 and
    2023-06, 20 to 25 TB each: `https://data.commoncrawl.org/crawl-data/CC-MAIN-<dump>/wet.paths.gz` lists them,
    and `[[source.dump]]` in the manifest takes them from there.
Flow
    records, told apart by their headers -> WET: the block's lines, stripped, the first one as title (CCNet's
    `process_wet_file.py`) · WARC: HTTP response of status 200 -> codings undone (`raw/bodies.py`) -> HTML or plain text
    by what the server says and the first bytes (`raw/media.py`) -> characters by byte order mark, HTTP header, `<meta>`
    or a guess (`extract/charsets.py`) -> main content by resiliparse -> lines; those of `<pre>` and of plain text keep
    their indentation.
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
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from redpajama.extract import charsets, html, plain
from redpajama.hashing import content_key
from redpajama.pipelines import Pipeline
from redpajama.raw import bodies, decompress, media
from redpajama.raw.io import RawFile
from redpajama.raw.warc import ARC, Record, digest_of, http_header, record_cuts, records
from redpajama.raw.whole import Unreadable
from redpajama.records import Document, Reason, Tally

STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})\b")
DATE = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?Z)?)?)?", re.ASCII)  # W3C's, as WARC 1.1 has it
DIGITS = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)", re.ASCII)  # ARC's


class Options(BaseModel):
    """`[source.options]` of a CommonCrawl source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    main_content: bool = True  # of HTML pages; False keeps menus, sidebars and footers


def read(files: Sequence[RawFile], options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """The records of each file -> one document a page."""
    for file in files:
        if decompress.is_refused(file, tally):
            continue
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
    try:
        page = read_page(kind, url, record, options)
    except Unreadable as error:
        tally.quarantine(doc_id, error.reason, record.block, **where, url=url, error=str(error))
        return
    if isinstance(page, NoPage):
        evidence: dict[str, Any] = {**where, "type": kind, "url": url, **({"found": page.found} if page.found else {})}
        tally.drop(doc_id, page.reason, **evidence)
        return
    if page.text:
        date = record.headers.get("warc-date", "")
        if date and date != date_of(date):
            tally.note(doc_id, Reason.MALFORMED_DATE, **where, url=url, date=date[:80])
        if page.is_cut:
            tally.note(doc_id, Reason.EXPANSION_LIMIT, **where, url=url, max_attributes=html.MAX_ATTRIBUTES)
        yield Document(doc_id, page.text, meta_of(page, record, url))
    else:
        is_title = kind == "conversion" and page.title
        tally.drop(doc_id, Reason.ONLY_A_TITLE if is_title else Reason.EMPTY_TEXT, **where, url=url)


class Page(NamedTuple):
    """What a reader would see."""

    title: str
    text: str
    is_cut: bool = False  # some element has more attributes than are read


class NoPage(NamedTuple):
    """Why a record is no page with text; `found`: the type of what it is instead, where that is known."""

    reason: Reason
    found: str = ""


def key_of(headers: dict[str, str]) -> str:
    """The page's key: the id of the response, which a WET record refers to; of a record without any, a content key."""
    refers = headers.get("warc-refers-to") if headers.get("warc-type", "").lower() == "conversion" else None
    record_id = refers or headers.get("warc-record-id", "")
    key = record_id.strip("<>").removeprefix("urn:uuid:")
    return key or content_key(url_of(headers), headers.get("warc-date", ""))


def url_of(headers: dict[str, str]) -> str:
    """The page's URL; WARC 1.0 puts it in angle brackets, and wget does."""
    return headers.get("warc-target-uri", "").strip("<> ")


def read_page(kind: str, url: str, record: Record, options: Options) -> Page | NoPage:
    """The page in a record of some type. Raises Unreadable."""
    if kind == "conversion":
        declared = media.media_type(record.headers.get("content-type", media.PLAIN)).essence
        return text_page(record.block) if declared == media.PLAIN else NoPage(Reason.NOT_HTML)
    return http_page(url, record, options) if kind == "response" else NoPage(Reason.NOT_A_PAGE)


def meta_of(page: Page, record: Record, url: str) -> dict[str, str | int]:
    """RedPajama's fields, as its later release of CommonCrawl has them."""
    headers = record.headers
    date = date_of(headers.get("warc-date", ""))
    meta: dict[str, str | int] = {
        "url": url,
        **({"date_download": date} if date else {}),
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


@lru_cache(maxsize=64)
def date_of(written: str) -> str:
    """A WARC-Date in its standard's form: as it is, from another known form, or "" of what is no date.

    Forms: ISO 8601 with any separator or offset, fourteen digits as in ARC, and HTTP's (RFC 9110, 5.6.7).
    """
    text = DIGITS.sub(r"\1-\2-\3T\4:\5:\6", written.strip(), count=1)
    is_standard = DATE.fullmatch(text)
    try:
        found = _moment(text + "0000-01-01"[len(text) :] if is_standard else text)
    except (ValueError, OverflowError):
        return ""
    return text if is_standard else found.isoformat(timespec="seconds") + "Z"


def _moment(text: str) -> datetime:
    """A date in UTC, without its zone. Raises ValueError, OverflowError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = parsedate_to_datetime(text)
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found


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
        raise Unreadable(Reason.INVALID_UTF8, str(error)) from None
    return Page(lines[0], "\n".join(lines[1:]).strip("\n"))


def to_lines(text: str) -> list[str]:
    """Stripped lines, at least one; blank ones stay."""
    return list(map(str.strip, plain.to_unix(text).split("\n")))


# HTTP response -> page


def http_page(url: str, record: Record, options: Options) -> Page | NoPage:
    """The title and the text of a page as a server sent it; rules for what is one are in `raw/media.py`."""
    status = STATUS.match(record.block)
    if not status:
        return NoPage(Reason.NOT_HTML)  # a DNS answer, say
    if status[1] != b"200":
        return NoPage(Reason.HTTP_ERROR)
    if path_of(url) == "/robots.txt":
        return NoPage(Reason.NOT_A_PAGE, "robots.txt")  # RFC 9309: a message to crawlers
    fields, payload = http_header(record.block)
    declared = media.media_type(fields.get("content-type", ""))
    identified = media.media_type(record.headers.get("warc-identified-payload-type", "")).essence
    if not media.may_be_page(declared.essence, identified):
        return NoPage(Reason.NOT_HTML)
    if media.OF_FILES.match(identified) and (found := media.signature_of(payload)):
        return NoPage(Reason.NOT_HTML, found)
    body = bodies.decode_body(fields, payload, "warc-truncated" in record.headers)
    kind, found = media.page_type(declared, identified, body)
    if not kind:
        return NoPage(Reason.NOT_HTML, found)
    text = charsets.to_unicode(body, declared.charset, is_html=kind != media.PLAIN)
    text = text.removesuffix("\ufffd")  # half a character, where the crawler stopped
    if kind == media.PLAIN:
        return Page("", plain.plain_text(text))
    return Page(*html.title_and_text(text, options.main_content), html.has_many_attributes(text))


def path_of(url: str) -> str:
    """The path of a URL, "" of what is none."""
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


PIPELINE = Pipeline(
    name="common_crawl",
    version=4,
    unit="WARC record",
    options=Options,
    read=read,
    libraries=("brotli", "resiliparse", "zstandard"),
    cuts=record_cuts,
    max_removed_fraction=0.9,
)
