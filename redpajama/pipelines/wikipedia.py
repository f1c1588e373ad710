"""Wikipedia: the articles of a `pages-articles` dump as plain text.

Input
    `*-pages-articles*.xml` of https://dumps.wikimedia.org, plain, bz2 (multistream or not), gzip or zstd, of any
    export version since 0.3, in UTF-8 or what its declaration or byte order mark says. RedPajama read the dump
    20230320 of 20 languages: bg ca cs da de en es fr hr hu it nl pl pt ro ru sl sr sv uk.
Flow
    dump -> `<page>` -> its latest revision -> wikitext parsed by mwparserfromhell -> per section: files, categories,
    links to other languages, `<ref>`, tables, templates and magic words go, markup is stripped -> sections joined by a
    blank line. The dump's head tells language, address and the names of its namespaces.
Output
    One document an article: namespace 0, no redirect, no disambiguation page. Meta: `title`, `url`, `language`,
    `timestamp` (of the dump, YYYYMMDD: the option `date`, else the date in the file's name, else the day of the page's
    last edit), `source`, `revision`.
Differs from RedPajama-1T
    It ran Hugging Face's `wikipedia` script, which leaves the names of the categories as lines at the end of an
    article, links to other languages in old dumps, runs of blank lines, and now and then a `<ref>`; and which keeps
    disambiguation pages (here dropped; `keep_disambiguation`). The dump's own names of files and categories count too.
    Stubs of bots and other near-duplicates (9.6 % of its documents) are left to quality and dedup.
"""

import re
from collections.abc import Iterator, Sequence
from html import unescape
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import mwparserfromhell
from lxml import etree
from mwparserfromhell.nodes import Tag, Wikilink
from mwparserfromhell.parser import ParserError
from mwparserfromhell.wikicode import Wikicode
from pydantic import BaseModel, ConfigDict

from redpajama import decompress, markup
from redpajama.hashing import content_key
from redpajama.io import RawFile
from redpajama.markup import Kind
from redpajama.records import Document, Reason, Tally

VERSION = 1
UNIT = "page"
LIBRARIES = ("lxml", "mwparserfromhell")
SIDE_FILES = ()

PAGE, END_OF_PAGE = rb"<page[\s>]", rb"</page\s*>"
MEDIA, FILE, CATEGORY = -2, 6, 14
NAMESPACES = {  # what every wiki understands; https://www.mediawiki.org/wiki/Help:Namespaces
    "media": -2, "special": -1, "talk": 1, "user": 2, "user talk": 3, "project": 4, "project talk": 5,
    "file": 6, "image": 6, "file talk": 7, "mediawiki": 8, "mediawiki talk": 9, "template": 10, "template talk": 11,
    "help": 12, "help talk": 13, "category": 14, "category talk": 15,
}  # fmt: skip
FILE_PREFIXES = """file image media datei bild fichier archivo imagen immagine bestand afbeelding plik grafika ficheiro
    imagem файл изображение зображення датотека слика slika datoteka файл картинка soubor fil billede fájl kép fitxer
    imatge fișier fişier imagine""".split()  # noqa: SIM905
CATEGORY_PREFIXES = """category kategorie kategori catégorie categoría categoria categorie kategoria категория категорія
    категорија kategorija kategória""".split()  # noqa: SIM905
REDIRECT = re.compile(
    r"\s*#\s*(redirect\w*|weiterleitung|redirección|redirecionamento|rinvia|rinvio|patrz|przekieruj|tam|doorverwijzing|"
    r"перенаправление|перенапр|перенаправлення|преусмери|виж|пренасочване|přesměruj|omdirigering|átirányítás|"
    r"redirecteaza|preusmeri\w*)\s*:?\s*\[\[",
    re.IGNORECASE,
)
DISAMBIGUATION_TEMPLATES = frozenset(
    """disambig|disambiguation|disambiguation page|disambiguation cleanup|disamb|dab|dis|hndis|geodis|numberdis|mathdab|
    roaddis|schooldis|hospitaldis|shipindex|letter-numbercombdisambig|begriffsklärung|bkl|homonymie|paronymie|
    désambiguïsation|toponymie|patronymie|desambiguación|desambiguacion|des|disambigua|ujednoznacznienie|desambiguação|
    desambig|desambiguação|dp|doorverwijspagina|неоднозначность|disambig2|багатозначність|неоднозначність|
    вишезначна одредница|вишезначница|višeznačna odrednica|razdvojba|razdvajanje|пояснение|пояснителна страница|
    rozcestník|flertydig|flertydig1|egyért|egyértelműsítő lap|desambiguació|dezambiguizare|dez|razločitev|gren|
    förgrening|förgreningssida|grensida""".replace("\n    ", "").split("|")
)
DISAMBIGUATION_SUFFIXES = (" disambiguation", " desambiguació")
TEMPLATE_NAME = re.compile(r"\{\{([^{}|<>\[\]]++)(?=\||\}\}|<!--)")
MAGIC_WORD = re.compile(r"__[^\W\d_]++(?:_[^\W\d_]++)*+__")
SURROGATE = re.compile("[\ud800-\udfff]")
OTHER_LANGUAGE = re.compile(
    r"(?!(?:doi|isbn|issn|pmid|rfc|www|wp|wikt|s|w|d|c):)(?:[a-z]{2,3}|simple|[a-z]{2,3}-[a-z-]{2,10}):\s*\S"
)
MAX_PARSING_COST = 40_000_000  # see parsing_cost; 1,145 real pages reach 2 million, the limit is some 15 seconds
MAX_DEPTH = 100  # how far back a closing mark is matched; mwparserfromhell goes no deeper either
CONSTRUCT = re.compile(
    r"(\{\{|\[\[|\[(?=//|[a-z]{2,9}:)|\{\|)|<(?!(?:br|hr|img|wbr|references)\b)(\w++)[^<>]*+(?<!/)>|</(\w++)[^<>]*+>"
    r"|\}\}|\]\]|\]|\|\}|(<\w++[^<>]*+(?=<|\Z)|<!--)"
)
RAW_TAGS = {"ce", "chem", "gallery", "graph", "math", "nowiki", "pre", "score", "source", "syntaxhighlight", "timeline"}
MAX_RAW_CHARS = 20_000
CLOSES = {"{{": "}}", "[[": "]]", "[": "]", "{|": "|}"}
MAY_STAY_OPEN = {f"</{tag}" for tag in ("li", "dd", "dt", "p", "section", "td", "th", "tr")}


class Options(BaseModel):
    """`[source.options]` of a Wikipedia source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    language: str = ""  # "" takes it from the dump's head, else from the file's name
    languages: tuple[str, ...] = ()  # pages of other languages are dropped; () keeps all
    date: str = ""  # YYYYMMDD of the dump; "" takes it from the file's name, else from each page
    keep_disambiguation: bool = False


class Wiki(NamedTuple):
    """What a dump's head tells about it."""

    language: str
    key: str  # in a doc_id: the language, for another wiki than a Wikipedia its host
    base: str  # the URL of a page but for its title
    namespaces: dict[str, int]  # lower-case name -> number


class Page(NamedTuple):
    """One `<page>` with its latest revision."""

    key: str  # the page's id; of a page without one, its content key
    title: str
    namespace: int
    is_redirect: bool
    revision: str
    edited: str  # YYYY-MM-DDThh:mm:ssZ
    model: str
    wikitext: str


def read(files: Sequence[RawFile], options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """The pages of each dump -> one document an article."""
    for file in files:
        pieces, seen_page = pieces_of(file, tally), False
        head = next(pieces).data
        head = head_of(file) if file.start else head
        wiki, date = wiki_of(head, file.url, options), options.date or date_of(file.url)
        for piece in pieces:
            seen_page = True
            tally.unit()
            if piece.kind is Kind.RECORD:
                yield from read_page(piece, wiki, date, options, source, tally)
            else:
                tally.quarantine("", markup.FAULTS[piece.kind], piece.data, offset=piece.offset)
        if head.strip() and not seen_page and not file.start and b"<mediawiki" not in head and not has_page(file):
            tally.unit()
            tally.quarantine("", Reason.WRONG_FORMAT, head, wanted="a MediaWiki export of pages")


# the dump


def cuts(file: RawFile, part_bytes: int) -> list[int]:
    """Where parts of a dump may begin; one that is not in UTF-8 is read as a whole."""
    first = next(iter(decompress.chunks(file, Tally())), None) or b""
    return [] if markup.declared_encoding(first[: markup.DECLARATION_BYTES]) else decompress.cuts(file, part_bytes)


def pieces_of(file: RawFile, tally: Tally) -> Iterator[markup.Piece]:
    """The dump's head, which is empty in a range further on, and the pages of the file's range."""
    chunks = decompress.chunks(file, tally)
    rest = decompress.chunks(file.rest, Tally()) if file.stop < file.bytes else ()
    return markup.records(chunks if file.start else markup.in_utf8(chunks), PAGE, END_OF_PAGE, rest, bool(file.start))


def head_of(file: RawFile) -> bytes:
    """What stands before the first page, whatever range of the file is read."""
    return next(pieces_of(file.whole, Tally())).data


def has_page(file: RawFile) -> bool:
    """Whether the file has pages at all, in whatever range."""
    return any(piece.kind is not Kind.HEAD for piece in pieces_of(file.whole, Tally()))


def wiki_of(head: bytes, url: str, options: Options) -> Wiki:
    """What the bytes before the first page tell; they may be damaged, so each fact is looked for alone."""
    text = head.decode("utf-8", "replace")
    base = _first(r"<base>\s*([^<>\s]+)\s*</base>", text)
    host = (urlsplit(base).hostname or "") if re.match(r"https?://[\w.-]+/", base) else ""
    found = host.removesuffix(".wikipedia.org") if host.endswith(".wikipedia.org") else ""
    declared = _first(r"""<mediawiki\b[^<>]*\bxml:lang\s*=\s*["']([\w-]+)""", text)
    language = options.language or found or declared or _first(r"([a-z_]+)wiki\b[^/]*$", url).replace("_", "-") or "und"
    is_wikipedia = bool(options.language or found or not host)
    names = re.findall(r'<namespace key="(-?\d{1,5})"[^<>]*>([^<]+)</namespace>', text)
    return Wiki(
        language=language,
        key=language if is_wikipedia else host,
        base=f"https://{language}.wikipedia.org/wiki/" if is_wikipedia else base.rsplit("/", 1)[0] + "/",
        namespaces=NAMESPACES | {unescape(name).lower(): int(number) for number, name in names},
    )


def date_of(url: str) -> str:
    """The date in `enwiki-20230320-pages-articles.xml.bz2`, or ""."""
    return _first(r"-(\d{8})-[^/]*$", url)


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""


# pages


def read_page(
    piece: markup.Piece, wiki: Wiki, date: str, options: Options, source: str, tally: Tally
) -> Iterator[Document]:
    """One page -> its document, or a row in the ledger."""
    page = parse_page(piece.data, wiki)
    if isinstance(page, Reason):
        tally.quarantine("", page, piece.data, offset=piece.offset)
        return
    doc_id = f"{source}/{wiki.key}/{page.key}"
    if reason := reason_to_drop(page, wiki, options):
        tally.drop(doc_id, reason, offset=piece.offset, title=page.title)
        return
    text = to_text(page.wikitext, wiki)
    if isinstance(text, Reason):
        tally.quarantine(doc_id, text, piece.data, offset=piece.offset, title=page.title)
    elif not text:
        tally.drop(doc_id, Reason.EMPTY_TEXT, offset=piece.offset, title=page.title)
    else:
        meta = {
            "title": page.title,
            "url": wiki.base + quote(page.title),
            "language": wiki.language,
            "timestamp": date or page.edited[:10].replace("-", ""),
            "source": "wikipedia",
            "revision": page.revision,
        }
        yield Document(doc_id, text, meta)


def parse_page(data: bytes, wiki: Wiki) -> Page | Reason:
    """The bytes of a `<page>` -> its latest revision, or why there is none."""
    page = markup.parse(data)
    if isinstance(page, Reason):
        return page
    title, revisions = page.findtext("title"), page.findall("revision")
    if not title or not revisions:
        return Reason.MISSING_FIELD
    latest = max(enumerate(revisions), key=lambda pair: (pair[1].findtext("timestamp") or "", pair[0]))[1]
    wikitext = latest.findtext("text") or ""
    return Page(
        key=page.findtext("id") or content_key(title),
        title=title,
        namespace=namespace_of(page, title, wiki),
        is_redirect=page.find("redirect") is not None or REDIRECT.match(wikitext) is not None,
        revision=latest.findtext("id") or "",
        edited=latest.findtext("timestamp") or "",
        model=latest.findtext("model") or "wikitext",
        wikitext=wikitext,
    )


def namespace_of(page: etree._Element, title: str, wiki: Wiki) -> int:
    """The page's namespace; exports before 0.6 have it only as the title's prefix."""
    number = page.findtext("ns") or ""
    if re.fullmatch(r"-?\d{1,5}", number, re.ASCII):
        return int(number)
    prefix, colon, _ = title.partition(":")
    return wiki.namespaces.get(prefix.lower(), 0) if colon else 0


def reason_to_drop(page: Page, wiki: Wiki, options: Options) -> Reason | None:
    """Why a page is no article."""
    if options.languages and wiki.language not in options.languages:
        return Reason.NOT_SELECTED
    if page.namespace != 0 or page.model != "wikitext":
        return Reason.NOT_AN_ARTICLE
    if page.is_redirect:
        return Reason.REDIRECT
    if not options.keep_disambiguation and is_disambiguation(page.wikitext):
        return Reason.DISAMBIGUATION
    return None


def is_disambiguation(wikitext: str) -> bool:
    """Whether a page says, by magic word or by one of the usual templates, that it only lists others."""
    if "__DISAMBIG__" in wikitext:
        return True
    names = (" ".join(name.replace("_", " ").split()).lower() for name in TEMPLATE_NAME.findall(wikitext))
    return any(name in DISAMBIGUATION_TEMPLATES or name.endswith(DISAMBIGUATION_SUFFIXES) for name in names)


# wikitext


def to_text(wikitext: str, wiki: Wiki) -> str | Reason:
    """Wikitext -> plain text as Hugging Face's `wikipedia` script makes it, or why it cannot be parsed."""
    if parsing_cost(wikitext) > MAX_PARSING_COST:
        return Reason.EXPANSION_LIMIT
    try:
        code = mwparserfromhell.parse(wikitext)
        hide(code, links_to_hide(wiki))
        sections = code.get_sections(flat=True, include_lead=True, include_headings=True)
        texts = [tidy(section.strip_code()) for section in sections]
    except (ParserError, RecursionError):
        return Reason.UNDECODABLE
    return "\n\n".join(text for text in texts if text)


def tidy(text: str) -> str:
    """Without magic words, spaces at the end of a line, more than one blank line, and halves of characters."""
    text = SURROGATE.sub("\ufffd", text)  # from `&#xD800;`
    text = MAGIC_WORD.sub(lambda word: "" if word[0].isupper() else word[0], text)
    text = "\n".join(line.rstrip(" \t") for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def parsing_cost(wikitext: str) -> int:
    """A guess of mwparserfromhell's work: at what never closes, or not where it should, it reads on and goes back.

    12 KB of `<b>[[a|</b>]]` take 3 seconds, and the time grows faster than the square.
    """
    quotes = sum(line.count("''") * len(line) for line in wikitext.split("\n"))
    return unclosed(_without_comments(wikitext)) * len(wikitext) + quotes // 10


def unclosed(text: str) -> int:
    """How many templates, links, tables, tags and quoted attributes do not end, or overlap others."""
    open_now: list[str] = []
    count = at = 0
    while found := CONSTRUCT.search(text, at):
        at = found.end()
        opening, tag, closing_tag, broken = found.groups()
        if opening or tag:
            open_now.append(CLOSES.get(opening) or f"</{tag.lower()}")
            at = _end_of_raw(text, tag, at) if tag and tag.lower() in RAW_TAGS else at
            count += (found[0].count('"') % 2 + found[0].count("'") % 2) if tag else 0
        elif broken:
            count += 1
        elif (close := f"</{closing_tag.lower()}" if closing_tag else found[0]) in open_now[-MAX_DEPTH:]:
            while open_now.pop() != close:
                count += 1
    return count + sum(close not in MAY_STAY_OPEN for close in open_now)


def _end_of_raw(text: str, tag: str, at: int) -> int:
    """Where the content of a tag ends in which nothing is markup, `<math>` say."""
    end = text.find(f"</{tag}", at, at + MAX_RAW_CHARS)
    return end if end >= 0 else at


def _without_comments(wikitext: str) -> str:
    parts, at = [], 0
    while (start := wikitext.find("<!--", at)) >= 0 and (end := wikitext.find("-->", start)) >= 0:
        parts.append(wikitext[at:start])
        at = end + len("-->")
    return "".join([*parts, wikitext[at:]])


def links_to_hide(wiki: Wiki) -> re.Pattern[str]:
    """Matches the title of a link that shows as no text: to a file, to a category, to another language."""
    local = [name for name, number in wiki.namespaces.items() if number in (MEDIA, FILE, CATEGORY)]
    prefixes = "|".join(map(re.escape, sorted({*FILE_PREFIXES, *CATEGORY_PREFIXES, *local})))
    return re.compile(rf"\s*(?:(?i:{prefixes})\s*:|{OTHER_LANGUAGE.pattern})")


def hide(code: Wikicode, links: re.Pattern[str]) -> None:
    """Empty the nodes that are no part of the text. (Removing them would search the page for each.)"""
    for node in code.ifilter(recursive=True, forcetype=(Wikilink, Tag)):
        if isinstance(node, Wikilink):
            if links.match(str(node.title)):
                node.text = ""
        elif str(node.tag).strip().lower() in {"ref", "table"}:
            node.contents = ""
