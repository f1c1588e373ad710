"""Books: PG-19, and Project Gutenberg's own text files.

Input
    PG-19 (`train/<id>.txt`, 28,752 books published before 1919, and `metadata.csv`: id, title, year, URL), or raw
    Gutenberg `.txt` files as mirrors hold them (`1342/1342-0.txt`, `pg1342.txt`, `1661/old/advsh10.txt`).
Flow
    file -> encoding (byte order mark, the file's own word, UTF-8, Windows-1252) -> the head is read for title,
    author, language and dates -> head, licence, foot and the producers' credits cut, in the layouts of all years. The
    unit is the file: one book. A whole text without a foot is kept, with the note `no-foot` in the ledger; one that
    breaks off in the middle of a line is quarantined.
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
from typing import Any

import fsspec
from pydantic import BaseModel, ConfigDict

from redpajama.extract.encodings import unix_lines
from redpajama.extract.gutenberg import Book, split_boilerplate
from redpajama.extract.gutenberg_head import HEAD_CHARS, field, title_and_author
from redpajama.hashing import content_key
from redpajama.pipelines import Pipeline
from redpajama.raw import decompress
from redpajama.raw.io import RawFile
from redpajama.raw.whole import Unreadable, read_whole
from redpajama.records import Document, Reason, Tally

MAX_BOOK_BYTES = 512 << 20  # Gutenberg's longest texts, whole genomes, are about half of it

WITHDRAWN = re.compile(r"(?<![a-z0-9])(?:the_pile_)?books3(?![a-z0-9])|bibliotik", re.IGNORECASE)
_TEXT_NAME = re.compile(r"(?P<stem>[^/]+?)\.txt(?:\.utf-?8)?(?:\.(?:gz|bz2|zst))?", re.IGNORECASE)
_PG19_PATH = re.compile(r"(?:^|/)(?:train|validation|test)/(?P<id>\d+)\.txt")

_BOOK_NUMBER = re.compile(r"\[E-?(?:book|text) ?#? ?(?P<id>\d{1,6})\]", re.IGNORECASE)
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
    doc_id, end = f"{source}/{posixpath.basename(path)}", file.bytes
    if not name:
        decompress.consume(file, tally)
        tally.drop(doc_id, Reason.WRONG_SUFFIX)
        return
    try:
        data = read_whole(file, tally, MAX_BOOK_BYTES)
        text, encoding = decode(data)
    except Unreadable as error:
        tally.quarantine(doc_id, error.reason, offset=0, end=end, error=str(error))
        return
    book = split_boilerplate(text)
    number = pg19_number(path, name["stem"], book, catalog)
    meta = pg19_meta(number, catalog) if number else gutenberg_meta(book.head, path)
    key = f"pg19-{number}" if number else gutenberg_key(file.url, meta["gutenberg_id"])
    if not (number or book.head) or not book.text:
        tally.drop(f"{source}/{key}", Reason.NO_BOOK_TEXT)
    elif book.head and book.is_cut:
        tally.quarantine(f"{source}/{key}", Reason.TRUNCATED, data[-4096:], offset=0, end=end, error="ends in a line")
    elif b"\0" in data and "\0" in book.text:  # bytes are searched at memory speed
        tally.quarantine(f"{source}/{key}", Reason.DAMAGED, offset=0, end=end, error="zero bytes in the text")
    else:
        if book.head and not book.has_foot:
            tally.note(f"{source}/{key}", Reason.NO_FOOT, offset=0, end=end)
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
        return unix_lines(text), encoding
    raise Unreadable(Reason.UNDECODABLE, f"not {marked}")


def declared_encoding(data: bytes) -> str:
    """What «Character set encoding:» in the head names, as Python calls it; "" for none and for unknown ones."""
    declared = re.search(rb"Character set encoding:[ \t]*([^\r\n]{1,80})", data[:HEAD_CHARS])
    words = declared[1].decode("latin-1").lower() if declared else ""
    return next((name for pattern, name in _ENCODINGS if re.search(pattern, words)), "")


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


def book_number(head: str, path: str) -> str:
    """Gutenberg's number of a book: as its head says, else as the file or its folders are called; "" if unknown."""
    if match := _BOOK_NUMBER.search(head):
        return match["id"]
    for part in reversed(path.split("/")):
        if match := re.match(r"(?:pg)?(\d{1,6})(?![\d])", part):
            return match[1]
    return ""


PIPELINE = Pipeline(
    name="books",
    version=4,
    unit="book",
    options=Options,
    read=read,
    libraries=(),
    side_files=("metadata",),
    check_inputs=check_inputs,
)
