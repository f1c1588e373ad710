"""The stage `citations`: the external links in the references of a Wikipedia dump.

RedPajama's positives are pages that Wikipedia cites. Its extractor takes one match a line between `<ref>` and `</ref>`,
so it misses `<ref name=...>`, references over several lines, and all but one of those on the same line. Here: every
`<ref>` with or without attributes, and `{{#tag:ref|...}}`; in it every http and https link (CommonCrawl fetches no
other), bracketed, bare or as a template's argument. Comments do not count, nor do pages outside the main namespace.

Output: a row for each link, in the dump's order: `key` (see `url_key`) and `url`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from redpajama.corpus import inputs
from redpajama.corpus.stages import INPUTS
from redpajama.engine.parts import File, Outputs, Part, Result
from redpajama.engine.shapes import Piece, Single
from redpajama.engine.stages import Build
from redpajama.engine.store import Store
from redpajama.engine.tables import TableWriter, read_batches
from redpajama.hashing import draw
from redpajama.once import once
from redpajama.raw import decompress, xml
from redpajama.raw.io import RawFile
from redpajama.raw.xml import Kind
from redpajama.records import Reason, Tally

LINKS = pa.schema([pa.field("key", pa.uint64()), pa.field("url", pa.string())])
PAGE, END_OF_PAGE = rb"<page[\s>]", rb"</page\s*>"
HIDDEN = re.compile(r"<!--.*?-->|<nowiki>.*?</nowiki>", re.DOTALL | re.IGNORECASE)
OPENING = re.compile(r"<ref(?:\s[^<>]*)?>", re.IGNORECASE)
TAG_FUNCTION = re.compile(r"\{\{\s*#tag:\s*ref\s*\|", re.IGNORECASE)
BRACES = re.compile(r"\{\{|\}\}")
MAX_REFERENCE_CHARS = 20_000  # in a template; what is longer has lost its end
# MediaWiki: a link ends at a blank, a bracket, a quote or a tag, in a template at a bar or a brace too; `''` is markup
LINK = re.compile(r"(?:https?:|(?<=\[))//[^\s<>\[\]{}|\"]+", re.IGNORECASE)
TRAILING = ".,;:!?'"


def cited_urls(wikitext: str) -> Iterator[str]:
    """The http and https links in a page's references, in order, repeated ones too."""
    text = HIDDEN.sub("", wikitext) if "<!--" in wikitext or "<nowiki" in wikitext.lower() else wikitext
    for reference in references(text):
        for found in LINK.finditer(reference):
            if url := _trimmed(found[0]):
                yield url


def references(text: str) -> Iterator[str]:
    """What stands in each reference of a wikitext without comments."""
    lower, end = text.lower(), 0
    for opening in OPENING.finditer(text):
        if opening[0].endswith("/>") or opening.start() < end:
            continue  # names another reference, or stands inside one
        end = lower.find("</ref", opening.end())
        if end < 0:
            break
        yield text[opening.end() : end]
    end = 0
    for opening in TAG_FUNCTION.finditer(text):
        if opening.start() >= end:
            end = _end_of_template(text, opening.end())
            yield text[opening.end() : end]


def _end_of_template(text: str, start: int) -> int:
    """From inside a template to its end, or to where it has lost it."""
    depth = 1
    for brace in BRACES.finditer(text, start, start + MAX_REFERENCE_CHARS):
        depth += 1 if brace[0] == "{{" else -1
        if not depth:
            return brace.start()
    return start + MAX_REFERENCE_CHARS


def _trimmed(link: str) -> str:
    """A link without the punctuation that MediaWiki leaves outside; "" if nothing is left of it."""
    link = link.partition("''")[0].replace("&amp;", "&")
    link = link.rstrip(TRAILING if "(" in link else TRAILING + ")")
    link = f"https:{link}" if link.startswith("//") else link
    return link if len(link) > len("https://") else ""


def url_key(url: str) -> int:
    """64 bits of a URL but for what two names of one page differ in: scheme, host's case and `www.`, port 80 and 443,
    a slash at the end, and the fragment."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").removeprefix("www.")
        port = "" if parts.port in (None, 80, 443) else f":{parts.port}"
    except ValueError:
        return draw(0, "url", url)
    return draw(0, "url", f"{host}{port}{parts.path.rstrip('/')}?{parts.query}")


# ---- the stage


def dumps(build: Build) -> Iterator[Piece]:
    """One part for each raw file of the Wikipedia sources whose links a classifier asks for."""
    for name in sorted({classifier.cited_by for classifier in build.manifest.classifier if classifier.cited_by}):
        for file in inputs.files(build, name):
            yield Piece(name, [file["url"], file["sha256"]], {"file": file}, file["bytes"])


def extract(build: Build, part: Part, outputs: Outputs) -> Result:
    """The pages of one dump -> their links. What is damaged is on record in the documents' ledger."""
    file = inputs.raw_file(build, part.spec["file"])
    dropped: Counter[str] = Counter()
    pages = 0
    with TableWriter(outputs.file(".parquet"), LINKS) as writer:
        for reason, wikitext in wikitexts(file):
            pages += 1
            dropped.update([reason] if reason else [])
            for url in dict.fromkeys(cited_urls(wikitext)):
                writer.add((url_key(url), url))
    counts = {"read": pages, "kept": pages - dropped.total(), "dropped": dict(sorted(dropped.items()))}
    return [{"url": file.url, "sha256": file.sha256}], {**counts, "links": writer.rows}


def wikitexts(file: RawFile) -> Iterator[tuple[Reason | None, str]]:
    """Each page: (None, its last wikitext), or why it does not count and ""."""
    pieces = xml.records(xml.in_utf8(decompress.chunks(file, Tally())), PAGE, END_OF_PAGE)
    for piece in pieces:
        if piece.kind is not Kind.HEAD:
            page = xml.parse(piece.data) if piece.kind is Kind.RECORD else xml.FAULTS[piece.kind]
            if isinstance(page, Reason):
                yield page, ""
            elif (page.findtext("ns") or "0").strip() != "0":
                yield Reason.NOT_AN_ARTICLE, ""
            else:
                yield None, page.findtext("revision[last()]/text") or ""


@once(2)
def _keys(store: Store, files: tuple[File, ...]) -> np.ndarray:
    columns = [np.zeros(0, np.uint64)]
    for file in files:
        columns += [batch.column("key").to_numpy() for batch in read_batches(store, file, ["key"])]
    return np.unique(np.concatenate(columns))


def cited_keys(build: Build, source: str) -> np.ndarray:
    """The distinct keys of all URLs that a Wikipedia source cites, sorted; uint64[n], 8 bytes a link."""
    return _keys(build.store, tuple(record.file(".parquet") for record in build.named(STAGE.name, source)))


STAGE = Single(
    name="citations",
    version=2,
    libraries=("lxml", "pyarrow"),
    after=(INPUTS,),
    pieces=dumps,
    work=extract,
    weighed=True,
)
