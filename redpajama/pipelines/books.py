"""Books: PG-19, and Project Gutenberg's own text files.

Input
    PG-19 (`train/<id>.txt`, 28,752 books published before 1919, and `metadata.csv`: id, title, year, URL), or raw
    Gutenberg `.txt` files as mirrors hold them (`1342/1342-0.txt`, `pg1342.txt`, `1661/old/advsh10.txt`).
Flow
    file -> encoding (byte order mark, the file's own word, UTF-8, Windows-1252) -> the head is read for title,
    author, language and dates -> head, licence, foot and the producers' credits cut. The unit is the file: one book.
Output
    One document a book; meta: `short_book_title`, `publication_date` (a year; None where not told), `url`, `title`,
    `author`, `language`, `release_date`, `gutenberg_id`, `encoding`, `source`.
Differs from RedPajama-1T
    Books3 (196,640 of its 224,790 books) is refused by name: withdrawn for copyright infringement. Ids are unique,
    where the release gave the two sets the same numbers and lost books by it; no file of PG-19 is overwritten.
    Near-duplicates are left to the dedup stage.
"""

import codecs
import csv
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import fsspec
from pydantic import BaseModel, ConfigDict

from redpajama import decompress
from redpajama.archives import Unreadable, read_whole
from redpajama.hashing import content_key
from redpajama.io import RawFile
from redpajama.records import Document, Reason, Tally

VERSION = 2
UNIT = "book"
LIBRARIES = ()
SIDE_FILES = ("metadata",)

MAX_BOOK_BYTES = 512 << 20  # Gutenberg's longest texts, whole genomes, are about half of it
HEAD_CHARS = 20_000  # in which the fields of a Gutenberg head stand
MAX_INDENT_CHARS = 200  # of a marker's line
FOOT_CHARS = 3_000  # in which the line «End of the Project Gutenberg EBook of …» may stand

WITHDRAWN = re.compile(r"(?<![a-z0-9])(?:the_pile_)?books3(?![a-z0-9])|bibliotik", re.IGNORECASE)
_TEXT_NAME = re.compile(r"(?P<stem>[^/]+?)\.txt(?:\.utf-?8)?(?:\.(?:gz|bz2|zst))?", re.IGNORECASE)
_PG19_PATH = re.compile(r"(?:^|/)(?:train|validation|test)/(?P<id>\d+)\.txt")

_START = re.compile(
    r"^[ \t]*\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG E(?:BOOK|TEXT)(?:[^*]{0,500}\*\*\*|[^\n]*)[^\n]*\n?",
    re.MULTILINE | re.IGNORECASE,
)
_END = re.compile(r"\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG", re.IGNORECASE)  # at the start of a line
_SMALL_PRINT_START = re.compile(r"START\*+THE SMALL PRINT!")
_SMALL_PRINT_END = re.compile(r"^\*END[* ]+THE SMALL PRINT![^\n]*\n?", re.MULTILINE)
_FOOT_LINE = re.compile(r"^[ \t*]*End of (?:the |this )?Project Gutenberg", re.MULTILINE | re.IGNORECASE)
_SPACE = re.compile(r"\s*")
_CREDITS = re.compile(  # paragraphs at the top of a text by those who made the file
    r"(?:\(?(?:Produced by|(?:Scanned|Transcribed|Proofed|Updated)(?: and \w+)? by|Additional editing by"
    r"|HTML version by|E-?text (?:prepared|produced|scanned)|Note: Project Gutenberg also has"
    r"|This (?:e-?text|e-?book) was (?:\w+ and )?(?:produced|prepared|created|scanned|transcribed|converted))"
    r"[^\n]{0,200}(?:\n[^\n]{1,200}){0,12}(?:\n\s*|\Z))+",
    re.IGNORECASE,
)
_BOOK_NUMBER = re.compile(r"\[E-?(?:book|text) ?#? ?(?P<id>\d{1,6})\]", re.IGNORECASE)
_FIRST_LINE = re.compile(r"Project Gutenberg(?:['’]s)? E-?(?:text|book) of (?P<title>[^\n]+)", re.IGNORECASE)
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_FALLBACKS = ("utf-8", "cp1252", "latin-1")
_ENCODINGS = (  # what heads call them; Latin-1 is tried as its superset in print
    (r"utf-?8", "utf-8"),
    (r"ascii", "ascii"),
    (r"latin-?1|8859-1(?!\d)|1252", "cp1252"),
    (r"8859-2(?!\d)|latin-?2", "iso8859-2"),
    (r"8859-7(?!\d)", "iso8859-7"),
    (r"8859-15(?!\d)", "iso8859-15"),
    (r"1250", "cp1250"),
    (r"1251", "cp1251"),
    (r"1253", "cp1253"),
    (r"big-?5", "big5"),
    (r"gb-?(?:2312|k|18030)", "gb18030"),
    (r"shift[-_]?jis", "shift_jis"),
)
_LANGUAGES = {
    **{"english": "en", "french": "fr", "german": "de", "spanish": "es", "italian": "it", "portuguese": "pt"},
    **{"dutch": "nl", "finnish": "fi", "latin": "la", "chinese": "zh", "greek": "el", "swedish": "sv", "danish": "da"},
    **{"esperanto": "eo", "hungarian": "hu", "polish": "pl", "catalan": "ca", "czech": "cs", "norwegian": "no"},
    **{"russian": "ru", "japanese": "ja", "tagalog": "tl", "welsh": "cy", "icelandic": "is", "romanian": "ro"},
}


class Options(BaseModel):
    """`[source.options]` of a books source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metadata: str = ""  # PG-19's metadata.csv: a path or URL


class Book(NamedTuple):
    """A text between its boilerplate, and what the head says."""

    text: str
    head: str  # "" where there was no boilerplate
    cut: bool = False  # there is a head, and no foot: the file ends early


def check_inputs(urls: Sequence[str]) -> str | None:
    """Why these inputs are refused, in one line; None if they are not."""
    for url in urls:
        if WITHDRAWN.search(url):
            return f"'{url}': Books3 is withdrawn for copyright infringement; use PG-19 or Project Gutenberg files"
    return None


def read(files: Sequence[RawFile], options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """Text files -> one document a book. Raises ValueError for Books3."""
    if refusal := check_inputs([file.url for file in files]):
        raise ValueError(refusal)
    catalog = read_catalog(options.metadata) if options.metadata else {}
    for file in files:
        yield from read_book(file, catalog, source, tally)


def read_catalog(path: str) -> dict[str, list[str]]:
    """PG-19's metadata.csv -> {id: [id, title, year, URL]}."""
    with fsspec.open(path, "rt", encoding="utf-8", errors="replace", newline="") as lines:
        return {row[0]: row for row in csv.reader(lines) if len(row) == 4 and row[0].isdigit()}


def read_book(file: RawFile, catalog: dict[str, list[str]], source: str, tally: Tally) -> Iterator[Document]:
    """One file -> its document, or a row in the ledger."""
    tally.unit()
    path = file.url.partition("?")[0]
    name = _TEXT_NAME.fullmatch(posixpath.basename(path))
    doc_id, place = f"{source}/{posixpath.basename(path)}", {"offset": 0, "end": file.bytes}
    if not name:
        decompress.consume(file, tally)
        tally.drop(doc_id, Reason.WRONG_SUFFIX)
        return
    try:
        data = read_whole(file, tally, MAX_BOOK_BYTES)
        text, encoding = decode(data)
    except Unreadable as error:
        tally.quarantine(doc_id, error.reason, **place, error=str(error))
        return
    book = split_boilerplate(text)
    number = pg19_number(path, name["stem"], book, catalog)
    meta = pg19_meta(number, catalog) if number else gutenberg_meta(book.head, path)
    key = f"pg19-{number}" if number else gutenberg_key(file.url, meta["gutenberg_id"])
    if not (number or book.head) or not book.text:
        tally.drop(f"{source}/{key}", Reason.NO_BOOK_TEXT)
    elif book.cut:
        tally.quarantine(f"{source}/{key}", Reason.TRUNCATED, data[-4096:], **place, error="no END line")
    elif b"\0" in data and "\0" in book.text:  # bytes are searched at memory speed
        tally.quarantine(f"{source}/{key}", Reason.DAMAGED, **place, error="zero bytes in the text")
    else:
        yield Document(f"{source}/{key}", book.text, {**meta, "encoding": encoding, "source": "books"})


# ---- bytes -> text


def decode(data: bytes) -> tuple[str, str]:
    """(text with `\\n` line ends, encoding): as a byte order mark says, as the head declares, UTF-8, Windows-1252.

    Latin-1 is read as Windows-1252, its superset in print, wherever the bytes allow it. Raises Unreadable for UTF-16
    that is none.
    """
    mark, marked = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", ""))
    encodings = [marked or declared_encoding(data), *(() if marked.startswith("utf-16") else _FALLBACKS)]
    for encoding in filter(None, encodings):
        try:
            text = data[len(mark) :].decode(encoding)
        except UnicodeDecodeError:
            continue
        return text.replace("\r\n", "\n").replace("\r", "\n"), encoding
    raise Unreadable(Reason.UNDECODABLE, f"not {marked}")


def declared_encoding(data: bytes) -> str:
    """What «Character set encoding:» in the head names, as Python calls it; "" for none and for unknown ones."""
    declared = re.search(rb"Character set encoding:[ \t]*([^\r\n]{1,80})", data[:HEAD_CHARS])
    words = declared[1].decode("latin-1").lower() if declared else ""
    return next((name for pattern, name in _ENCODINGS if re.search(pattern, words)), "")


# ---- head, text, foot


def split_boilerplate(text: str) -> Book:
    """A Gutenberg file -> its text and its head; a text without markers (PG-19 has none) has no head.

    The text stands between the START and END lines (since about 2002), or after «*END*THE SMALL PRINT!» (before).
    Books are long: places are worked out in the whole file, and what is kept is copied once.
    """
    start = _START.search(text) or _SMALL_PRINT_END.search(text, 0, len(text) // 2)
    if start is None:
        return Book(strip_credits(text, 0, _foot(text, 0, len(text))), "")
    begin = start.end()
    ends = [*_line_starts(_END, text, begin, " \t")] or [*_line_starts(_SMALL_PRINT_START, text, begin, "*")]
    end = _without_space(text, begin, ends[-1] if ends else len(text))
    foot = _foot(text, begin, end)
    return Book(strip_credits(text, begin, foot), text[:begin], cut=not ends and foot == end)


def _line_starts(pattern: re.Pattern[str], text: str, begin: int, before: str) -> Iterator[int]:
    """Where lines from `begin` on start in which only characters of `before` stand ahead of the pattern.

    An anchored pattern would try every line; one that begins with a literal is searched for at memory speed.
    """
    for found in pattern.finditer(text, begin):
        least = max(begin, found.start() - MAX_INDENT_CHARS)
        line = text.rfind("\n", least, found.start()) + 1 or least
        if (line > least or line == begin) and not text[line : found.start()].strip(before):
            yield line


def _foot(text: str, begin: int, end: int) -> int:
    """Where the line «End of the Project Gutenberg EBook of …» begins; `end` where there is none."""
    foot = _FOOT_LINE.search(text, max(begin, end - FOOT_CHARS), end)
    return foot.start() if foot else end


def strip_credits(text: str, begin: int, end: int) -> str:
    """What stands from `begin` to `end`, without the paragraphs at its top that name the file's makers."""
    end = _without_space(text, begin, end)
    begin = _SPACE.match(text, begin, end).end()  # type: ignore[union-attr]
    credits = _CREDITS.match(text, begin, end)
    return text[credits.end() : end].strip() if credits else text[begin:end]


def _without_space(text: str, begin: int, end: int) -> int:
    """Where the white space before `end` begins."""
    while end > begin and text[end - 1].isspace():
        end -= 1
    return end


# ---- keys and metadata


def pg19_number(path: str, stem: str, book: Book, catalog: dict[str, list[str]]) -> str:
    """The id of a PG-19 file: in a folder of PG-19's splits, or listed in its catalog; "" for other files."""
    if book.head:
        return ""
    in_split = _PG19_PATH.search(path)
    return in_split["id"] if in_split else stem if stem in catalog else ""


def pg19_meta(number: str, catalog: dict[str, list[str]]) -> dict[str, Any]:
    """The catalog's row for a book, as the release has it, and title and author apart."""
    _, short_title, year, url = catalog.get(number, [number, "", "", f"http://www.gutenberg.org/ebooks/{number}"])
    title, by, author = short_title.rpartition(" by ")
    return {
        "short_book_title": short_title,
        "publication_date": int(year) if year.isascii() and year.isdigit() else None,
        "url": url,
        "title": title if by else short_title,
        "author": author if by else "",
        "language": "en",
        "release_date": "",
        "gutenberg_id": number,
    }


def gutenberg_key(url: str, number: str) -> str:
    """`pg1342-0-5f3a91c2`: number, edition and a hash of the URL, as one edition stands in many places."""
    path = url.partition("?")[0]
    stem = re.sub(r"\.txt.*$", "", posixpath.basename(path), flags=re.IGNORECASE)
    edition = stem if stem.lower().startswith("pg") else f"pg{stem}" if stem[:1].isdigit() else f"pg{number}-{stem}"
    if posixpath.basename(posixpath.dirname(path)) == "old":
        edition = f"pg{number}-old-{stem}"
    return f"{edition}-{content_key(url)[:8]}"


def gutenberg_meta(head: str, path: str) -> dict[str, Any]:
    """What a Gutenberg head and path say about a book."""
    title, author = title_and_author(head)
    number = book_number(head, path)
    language = field(head, "Language")
    release = field(head, "Release Date") or field(head, "First Posted") or field(head, "Posting Date")
    old_style = re.search(r"^\s*([A-Z][a-z]+,? (?:\d+, )?\d{4})\s+\[E-?text", head, re.MULTILINE)
    return {
        "short_book_title": f"{title} by {author}" if title and author else title,
        "publication_date": None,
        "url": f"http://www.gutenberg.org/ebooks/{number}" if number else "",
        "title": title,
        "author": author,
        "language": _LANGUAGES.get(language.lower(), language.lower()),
        "release_date": re.sub(r"\s*\[.*", "", release or (old_style[1] if old_style else "")),
        "gutenberg_id": number,
    }


def field(head: str, name: str) -> str:
    """The value of `Name: value` in a head, with its indented continuation lines; "" where it is missing."""
    pattern = rf"^{name}:[ \t]*(\S[^\n]*(?:\n[ \t]+\S[^\n]*)*)"
    match = re.search(pattern, head[:HEAD_CHARS], re.MULTILINE | re.IGNORECASE)
    return " ".join(match[1].split()) if match else ""


def title_and_author(head: str) -> tuple[str, str]:
    """From the fields of a head; in the oldest ones from the first lines, `… Etext of TITLE, by AUTHOR`."""
    title, author = field(head, "Title"), field(head, "Author")
    first = _FIRST_LINE.search(head)
    series = re.search(r"in our series by ([^\n)*]+)", head)
    if first and not title:
        title, _, by = first["title"].strip(" *").partition(", by ")
        author = author or by
    return title.strip(), author or (series[1].strip() if series else "")


def book_number(head: str, path: str) -> str:
    """Gutenberg's number of a book: as its head says, else as the file or its folders are called; "" if unknown."""
    if match := _BOOK_NUMBER.search(head):
        return match["id"]
    for part in reversed(path.split("/")):
        if match := re.match(r"(?:pg)?(\d{1,6})(?![\d])", part):
            return match[1]
    return ""
