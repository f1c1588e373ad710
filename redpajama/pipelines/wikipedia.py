"""Wikipedia: the articles of a `pages-articles` dump as plain text.

Input
    `*-pages-articles*.xml` of https://dumps.wikimedia.org, plain, bz2 (multistream or not), gzip or zstd, of any
    export version since 0.3, in UTF-8 or what its declaration or byte order mark says. RedPajama read the dump
    20230320 of 20 languages: bg ca cs da de en es fr hr hu it nl pl pt ro ru sl sr sv uk.
Flow
    dump -> `<page>` -> its latest revision -> wikitext -> comments, tags, variants of the language and references to
    characters resolved as MediaWiki does -> mwparserfromhell's tokens -> per section: files, categories, links to other
    languages, `<ref>`, tables, templates and magic words go, markup is stripped -> sections joined by a blank line. The
    dump's head tells language, address and the names of its namespaces. `redpajama/extract/wikitext.py` and the
    `wiki_….py` beside it say which rule is whose.
Output
    One document an article: namespace 0, no redirect, no disambiguation page. Meta: `title`, `url`, `language`,
    `timestamp` (of the dump, YYYYMMDD: the option `date`, else the date in the file's name, else the day of the page's
    last edit), `source`, `revision`.
Differs from RedPajama-1T
    It ran Hugging Face's `wikipedia` script, which leaves the names of the categories as lines at the end of an
    article, links to other languages in old dumps, runs of blank lines, and now and then a `<ref>`; and which keeps
    disambiguation pages (here dropped; `keep_disambiguation`). The dump's own names of files and categories count too.
    It drops all templates: here those stay that show a character, a quantity, a quotation or prose (`ndash`,
    `convert`, `quote`, `lang`, `nowrap`, … and what they are called on each wiki: `extract/wiki_templates.tsv`). It
    drops formulas: here `<math>` leaves its source between dollar signs, `<chem>` as `$\\ce{…}$`. It leaves marks of
    bold and italic that never close, and glues lines at `<br>`. Items of lists have no leading space. Text has no
    control characters (but tab and line end), noncharacters, U+FEFF or U+FFFD.
    Stubs of bots and other near-duplicates (9.6 % of its documents) are left to quality and dedup.
"""

import re
from collections.abc import Iterator, Sequence
from html import unescape
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from lxml import etree
from mwparserfromhell.parser import ParserError
from pydantic import BaseModel, ConfigDict

from redpajama.extract import wikitext
from redpajama.extract.wiki_links import hidden_prefixes
from redpajama.hashing import content_key
from redpajama.pipelines import Pipeline
from redpajama.raw import decompress, xml
from redpajama.raw.io import RawFile
from redpajama.raw.xml import Kind
from redpajama.records import Document, Reason, Tally

PAGE, END_OF_PAGE = rb"<page[\s>]", rb"</page\s*>"
FILE, CATEGORY = 6, 14
NAMESPACES = {  # what every wiki understands; https://www.mediawiki.org/wiki/Help:Namespaces
    "media": -2, "special": -1, "talk": 1, "user": 2, "user talk": 3, "project": 4, "project talk": 5,
    "file": 6, "image": 6, "file talk": 7, "mediawiki": 8, "mediawiki talk": 9, "template": 10, "template talk": 11,
    "help": 12, "help talk": 13, "category": 14, "category talk": 15,
}  # fmt: skip
REDIRECT = re.compile(
    r"\s*#\s*(redirect\w*|weiterleitung|redirección|redirecionamento|rinvia|rinvio|patrz|przekieruj|tam|doorverwijzing|"
    r"перенаправление|перенапр|перенаправлення|преусмери|виж|пренасочване|přesměruj|omdirigering|átirányítás|"
    r"redirecteaza|preusmeri\w*)\s*:?\s*\[\[",
    re.IGNORECASE,
)
DISAMBIGUATION_TEMPLATES = {  # as wikis list them at MediaWiki:Disambiguationspage, and their redirects
    language: frozenset(re.split(r"\|\s*", names))
    for language, names in {
        "en": """disambig|disambiguation|disambiguation page|disambiguation cleanup|disamb|dab|hndis|hndisambig|geodis|
            geo-dis|numberdis|mathdab|roaddis|schooldis|hospitaldis|shipindex|letter-numbercombdisambig|letter disambig|
            bio-dab|tladisambig""",  # other wikis know these too
        "bg": "пояснение|пояснителна страница",
        "ca": "desambiguació|desambigua|acrònim",
        "cs": "rozcestník",
        "da": "flertydig|flertydig1",
        "de": "begriffsklärung|bkl|bks",
        "es": "desambiguación|desambiguacion|desambig|des",
        "fr": """homonymie|paronymie|désambiguïsation|toponymie|patronymie|patronyme|patronyme basque|patronyme italien|
            isomérie|internationalisation|bandeau standard pour page d'homonymie|arrondissements homonymes|
            batailles homonymes|cantons homonymes|communes françaises homonymes|films homonymes|gouvernements homonymes|
            guerres homonymes|personnes homonymes|saints homonymes|titres homonymes|unités homonymes|villes homonymes|
            édifices religieux homonymes""",
        "hr": "razdvojba|razdvojba1|nova razdvojba|razdvajanje",
        "hu": "egyért|egyert|egyértelműsítő|egyértelműsítő lap",
        "it": "disambigua|sigla2|sigla3|sigla4|cogni",
        "nl": "dp|dp2|dpintro|dp-intro|doorverwijspagina",
        "pl": "ujednoznacznienie|disambrulers|disambigc|strona ujednoznaczniająca",
        "pt": "desambiguação|desambig|desambig-ini|!desambiguação",
        "ro": "dezambiguizare|dezamb|dez|deznume|dezgeo|persoane omonime",
        "ru": "неоднозначность|многозначность|disambig2",
        "sl": "razločitev|disambig-ship|disambig-unit|kazalo ladij|georaz",
        "sr": """вишезначна одредница|вишезначна|вишезначница|višeznačna odrednica|višeznačna-lat|disambig-lat""",
        "sv": """gren|grensida|gaffel|betydelselista|förgrening|förgreningssida|namnförgrening|namngrensida|
            robotskapad förgrening|trebokstavsförgrening|trebokstavsförkortning|fyrbokstavsförgrening|3bgren|3la|3lc|
            4la|4lc|flertydig""",
        "uk": "багатозначність|неоднозначність|disambigg|disambign",
    }.items()
}
ALL_DISAMBIGUATION_TEMPLATES = frozenset().union(*DISAMBIGUATION_TEMPLATES.values())
DISAMBIGUATION_PREFIXES = ("homonymie ", "razločitev ", "razločitev-", "rozcestník ")
DISAMBIGUATION_SUFFIXES = (" disambiguation", " desambiguació")
TEMPLATE_NAME = re.compile(r"\{\{([^{}|<>\[\]]++)(?=\||\}\}|<!--)")
MAX_PARSING_COST = 40_000_000  # see parsing_cost; 1,145 real pages reach 2 million, the limit is some 15 seconds
MAX_DEPTH = 100  # how far back a closing mark is matched; mwparserfromhell goes no deeper either
CONSTRUCT = re.compile(
    r"(\{\{|\[\[|\[(?=//|[a-z]{2,9}:)|\{\|)|<(?!(?:br|hr|img|wbr|references)\b)(\w++)[^<>]*+(?<!/)>|</(\w++)[^<>]*+>"
    r"|\}\}|\]\]|\]|\|\}|(<\w++[^<>]*+(?=<|\Z)|<!--)"
)
CLOSED = re.compile(r"\[\[[^][{}<>]*+\]\]|\{\{[^][{}<>]*+\}\}")  # with nothing inside that could be unclosed
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
    removed: int  # characters that XML forbids


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
                tally.quarantine("", xml.FAULTS[piece.kind], piece.data, offset=piece.offset)
        if head.strip() and not seen_page and not file.start and b"<mediawiki" not in head and not has_page(file):
            tally.unit()
            tally.quarantine("", Reason.WRONG_FORMAT, head, wanted="a MediaWiki export of pages")


# the dump


def cuts(file: RawFile, part_bytes: int) -> list[int]:
    """Where parts of a dump may begin; one that is not in UTF-8 is read as a whole."""
    first = next(iter(decompress.chunks(file, Tally())), None) or b""
    return [] if xml.declared_encoding(first[: xml.DECLARATION_BYTES]) else decompress.cuts(file, part_bytes)


def pieces_of(file: RawFile, tally: Tally) -> Iterator[xml.Piece]:
    """The dump's head, which is empty in a range further on, and the pages of the file's range."""
    chunks = decompress.chunks(file, tally)
    rest = decompress.chunks(file.rest, Tally()) if file.stop < file.bytes else ()
    return xml.records(chunks if file.start else xml.in_utf8(chunks), PAGE, END_OF_PAGE, rest, bool(file.start))


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
    piece: xml.Piece, wiki: Wiki, date: str, options: Options, source: str, tally: Tally
) -> Iterator[Document]:
    """One page -> its document, or a row in the ledger."""
    page = parse_page(piece.data, wiki)
    if isinstance(page, Reason):
        tally.quarantine("", page, piece.data, offset=piece.offset)
        return
    doc_id = f"{source}/{wiki.key}/{page.key}"
    if page.removed:  # said of a page that goes, too: zeros may have taken the end of one and the beginning of the next
        tally.note(doc_id, Reason.FORBIDDEN_CHARACTER, offset=piece.offset, title=page.title, removed=page.removed)
    if reason := reason_to_drop(page, wiki, options):
        tally.drop(doc_id, reason, offset=piece.offset, title=page.title)
        return
    text = to_text(wikitext.with_title(page.wikitext, page.title), wiki)
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
    page, removed = xml.parse_mended(data)
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
        removed=removed,
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
    if not options.keep_disambiguation and is_disambiguation(page.wikitext, wiki.language):
        return Reason.DISAMBIGUATION
    return None


def is_disambiguation(wikitext: str, language: str) -> bool:
    """Whether a page says, by magic word or by one of its wiki's templates, that it only lists others.

    On a wiki of a language that has no list here, the templates of all languages count.
    """
    own = DISAMBIGUATION_TEMPLATES.get(language, ALL_DISAMBIGUATION_TEMPLATES) | DISAMBIGUATION_TEMPLATES["en"]
    if "__DISAMBIG__" in wikitext:
        return True
    names = (" ".join(name.replace("_", " ").split()).lower() for name in TEMPLATE_NAME.findall(wikitext))
    return any(
        name in own or name.startswith(DISAMBIGUATION_PREFIXES) or name.endswith(DISAMBIGUATION_SUFFIXES)
        for name in names
    )


# wikitext


def to_text(source: str, wiki: Wiki) -> str | Reason:
    """Wikitext -> plain text, or why it cannot be parsed."""
    text = wikitext.resolved(source, wiki.language)
    if parsing_cost(text) > MAX_PARSING_COST:
        return Reason.EXPANSION_LIMIT
    try:
        sections = wikitext.sections_of(text, prefixes_to_hide(wiki), wiki.language)
    except ParserError:
        return Reason.UNDECODABLE
    return "\n\n".join(section for section in sections if section)


def parsing_cost(source: str) -> int:
    """A guess of mwparserfromhell's work: at what never closes, or not where it should, it reads on and goes back.

    12 KB of `<x>[[a|</x>]]` take 3 seconds, and the time grows faster than the square.
    """
    text = CLOSED.sub("\0", source)
    at_most = (text.count("{") + text.count("[") + 3 * text.count("<")) * len(source)
    return at_most if at_most <= MAX_PARSING_COST else unclosed(text) * len(source)


def unclosed(text: str) -> int:
    """How many templates, links, tables, tags and quoted attributes do not end, or overlap others."""
    open_now: list[str] = []
    count = 0
    for found in CONSTRUCT.finditer(text):
        opening, tag, closing_tag, broken = found.groups()
        if opening or tag:
            open_now.append(CLOSES.get(opening) or f"</{tag.lower()}")
            count += (found[0].count('"') % 2 + found[0].count("'") % 2) if tag else 0
        elif broken:
            count += 1
        elif (close := f"</{closing_tag.lower()}" if closing_tag else found[0]) in open_now[-MAX_DEPTH:]:
            while open_now.pop() != close:
                count += 1
    return count + sum(close not in MAY_STAY_OPEN for close in open_now)


def prefixes_to_hide(wiki: Wiki) -> frozenset[str]:
    """Prefixes of links that show nothing: of files, of categories, of other languages."""
    local = [name for name, number in wiki.namespaces.items() if number in (FILE, CATEGORY)]
    return hidden_prefixes(local)


PIPELINE = Pipeline(
    name="wikipedia",
    version=5,
    unit="page",
    options=Options,
    read=read,
    libraries=("lxml", "mwparserfromhell"),
    cuts=cuts,
)
