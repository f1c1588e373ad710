"""StackExchange: the posts of a site's data dump, one question with its answers to a document.

Input
    `Posts.xml` of a site (plain, gzip, bz2 or zstd), or the site's `.7z` as archive.org serves it
    (https://archive.org/details/stackexchange): one `<row>` a post. The 2023-03 dump has 183 sites, 92 GB of 7z.
    The site is named by the option `site`, else by the archive (`ai.stackexchange.com.7z`,
    `stackoverflow.com-Posts.7z`), else by the folder that holds `Posts.xml`; a name that is no host's names none.
Flow
    row -> post with its HTML as text -> spilled to a temporary SQLite file -> read back thread by thread, in order of
    question id -> `Q: title body`, then `A: body` for each answer, the highest score first, ties by id.
    Memory holds one thread. Temporary disk: about the posts' text, twice; for a `.7z` its Posts.xml too, as zstd.
Output
    One document a question. An answer is merged into it, or dropped: its question is not in the dump, or is dropped
    itself, or the score is below `min_answer_score`. Meta: `language`, `url`, `timestamp`, `source`, `question_score`,
    and `title`, `tags`, `site`, `authors` (of the question, then of each answer), `license`. Without a site there is no
    `site`, `url` and `language`, and no author has a page. Characters that XML forbids go, with a note in the ledger.
Differs from RedPajama-1T
    Its scores sort as strings, so that 9 stands before 85: here as numbers. Its site of `stackoverflow.com-Posts.7z`
    has the `-Posts` in every URL. Its `timestamp` is the constant 2023-03-29: here the question's own date. Its
    `language` is a guess by lid.176 per document: here the site's. Authors and licence are kept, for CC BY-SA asks for
    them. HTML is read as HTML: entities and code survive, blocks end their lines, items of all lists begin with `* `.
    Each post's licence is kept: as the dump names it, else by its date. It keeps the 28 sites that have most lines in
    Posts.xml: here `sites = "largest-28"` goes by bytes, which the header of a 7z tells. A `.7z` that fails its
    checksum gives no documents at all. A file is one part: an answer may stand anywhere behind its question.
"""

import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, field_validator

from redpajama.extract.plain import clean
from redpajama.extract.posthtml import html_to_text
from redpajama.pipelines import Pipeline
from redpajama.raw import decompress, sevenzip, xml
from redpajama.raw.io import RawFile
from redpajama.raw.whole import Unreadable
from redpajama.raw.xml import Kind
from redpajama.records import Document, Reason, Tally

ROW, END_OF_ROW = rb"<row[\s/>]", rb'"\s*(/>|>\s*</row\s*>)'
INT64, TAG_NAME = re.compile(r"-?\d{1,18}", re.ASCII), re.compile(r"[^<>|]+")
QUESTION, ANSWER = "1", "2"  # PostTypeId; https://meta.stackexchange.com/q/2677 has the dump's schema
OTHER_TABLES = {"badges", "comments", "posthistory", "postlinks", "tags", "users", "votes"}
LICENSES = {  # of what was written from that day on; https://meta.stackexchange.com/q/347758
    "2018-05-02": "CC BY-SA 4.0",
    "2011-04-08": "CC BY-SA 3.0",
    "": "CC BY-SA 2.5",
}
# a host's name: of the network (https://stackexchange.com/sites), or another that ends as hosts do
HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
PUBLIC_HOST = re.compile(HOST.pattern.replace("[a-z]{2,63}", "(?:com|net|org|edu|gov|info|io|dev)"))
LARGEST = re.compile(r"largest-([1-9]\d*)")
LANGUAGES = {  # sites that are not in English
    "es.stackoverflow.com": "es",
    "ja.stackoverflow.com": "ja",
    "pt.stackoverflow.com": "pt",
    "ru.stackoverflow.com": "ru",
    "rus.stackexchange.com": "ru",
}


class Options(BaseModel):
    """`[source.options]` of a StackExchange source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    site: str = ""  # host name; "" takes it from the file's name or folder
    sites: tuple[str, ...] | str = ()  # host names, or "largest-28"; files of other sites are left out; () keeps all
    min_question_score: int | None = None  # a question below it goes with all its answers; None keeps all
    min_answer_score: int | None = None

    @field_validator("site")
    @classmethod
    def _is_a_host(cls, site: str) -> str:
        if site and not HOST.fullmatch(site):
            raise ValueError(f"'{site}' is no host name, as 'cooking.stackexchange.com' is")
        return site

    @field_validator("sites")
    @classmethod
    def _are_sites(cls, sites: tuple[str, ...] | str) -> tuple[str, ...] | str:
        if isinstance(sites, str) and not LARGEST.fullmatch(sites):
            raise ValueError(f"wanted a list of host names, or 'largest-28', not '{sites}'")
        return sites


class Post(NamedTuple):
    """One question or answer; `thread` is the question's id."""

    doc_id: str
    thread: int
    id: int
    score: int
    is_answer: bool
    text: str
    title: str
    tags: list[str]
    created: str
    author: str
    license: str
    offset: int  # of its row, in the decoded Posts.xml


def read(files: Sequence[RawFile], options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """Each file is one site's posts -> its threads, in order of question id."""
    for file in files:
        site = options.site or site_of(file.url)
        tally.file = file.url
        if options.sites and site not in options.sites:
            decompress.consume(file, tally)
            tally.unit()
            tally.drop("", Reason.NOT_SELECTED, site=site)
            continue
        with TemporaryDirectory(prefix="stackexchange-") as folder, _spill(Path(folder) / "posts") as spill:
            chunks = _posts_xml(file, Path(folder) / "posts.xml.zst", tally)
            prefix = f"{source}/{site or place_of(file.url)}/"
            spill.executemany(INSERT, map(_row, _posts(chunks, site, prefix, tally)))
            for _, rows in groupby(spill.execute(SELECT), key=itemgetter(0)):
                yield from join_thread([Post(*orjson.loads(row)) for _, row in rows], site, options, tally)


def resolve(options: Options, inputs: Sequence[str], files: Sequence[RawFile]) -> dict[str, Any]:
    """The options that depend on all files of a source: `largest-28` as the names of these sites.

    The largest have most bytes of Posts.xml; of two alike the first by name.
    """
    if not isinstance(options.sites, str):
        return {}
    sizes: Counter[str] = Counter()
    for file in files:
        sizes[options.site or site_of(file.url)] += posts_bytes(file)
    del sizes[""]
    ranked = sorted(filter(sizes.get, sizes), key=lambda site: (-sizes[site], site))
    return {"sites": sorted(ranked[: int(options.sites.removeprefix("largest-"))])}


def posts_bytes(file: RawFile) -> int:
    """Bytes of the Posts.xml in a 7z, which its header tells, or of the file itself; 0 of a damaged one or none."""
    return sevenzip.member_bytes(file, is_posts) if sevenzip.is_7z(file) else file.bytes


def is_posts(name: str) -> bool:
    """Whether a member of an archive is its table of posts."""
    return name.rsplit("/", 1)[-1].lower() == "posts.xml"


def site_of(url: str) -> str:
    """The host name that a file's place is, "" where it is another name."""
    place = place_of(url).lower()
    return place if PUBLIC_HOST.fullmatch(place) else ""


def place_of(url: str) -> str:
    """The stem of `ai.stackexchange.com.7z`, `stackoverflow.com-Posts.7z`; of `Posts.xml` that of its folder."""
    *folders, name = [part for part in url.split("/") if part]
    return stem_of(name) or (stem_of(folders[-1]) if folders else "")


def stem_of(name: str) -> str:
    """A file's or folder's name without its endings, and without `Posts`."""
    stem = re.sub(r"\.(7z|(xml)?(\.(gz|bz2|zst))?)$", "", name, flags=re.IGNORECASE)
    return re.sub(r"([-_.]|^)posts$", "", stem, flags=re.IGNORECASE)


def language_of(site: str) -> str:
    """The language that a site is written in; its meta site's too."""
    return LANGUAGES.get(site.replace(".meta.", "."), "en")


# Posts.xml -> posts


def _posts(chunks: Iterable[bytes | None], site: str, prefix: str, tally: Tally) -> Iterator[Post]:
    """The questions and answers of a Posts.xml; every other row goes into `tally`."""
    seen_row, head = False, b""
    for piece in xml.records(xml.in_utf8(chunks), opening=ROW, closing=END_OF_ROW):
        if piece.kind is Kind.HEAD:
            if root_of(piece.data) in OTHER_TABLES:
                tally.unit()
                tally.drop("", Reason.NOT_A_POST, table=root_of(piece.data))
                for _ in chunks:
                    pass
                return
            head = piece.data
            continue
        seen_row = True
        tally.unit()
        if piece.kind is Kind.RECORD:
            yield from parse_row(piece.data, piece.offset, site, prefix, tally)
        else:
            tally.quarantine("", xml.FAULTS[piece.kind], piece.data, offset=piece.offset)
    if not seen_row and root_of(head) != "posts" and head.strip():
        tally.unit()
        tally.quarantine("", Reason.WRONG_FORMAT, head, wanted="a Posts.xml of rows")


def root_of(head: bytes) -> str:
    """The name of the first element in the bytes before the first row: `posts`, `badges`, ..."""
    root = re.search(rb"<([A-Za-z]\w*)", head)
    return root[1].decode().lower() if root else ""


def parse_row(row: bytes, offset: int, site: str, prefix: str, tally: Tally) -> Iterator[Post]:
    """One row -> its post, if it is a readable question or answer; `prefix` begins its id."""
    element, removed = xml.parse_mended(row)
    if isinstance(element, Reason):
        tally.quarantine("", element, row, offset=offset)
        return
    doc_id = prefix + element.get("Id", "?")
    if element.get("PostTypeId") not in (QUESTION, ANSWER, None):
        tally.drop(doc_id, Reason.NOT_A_POST, post_type=element.get("PostTypeId"), offset=offset)
        return
    try:
        post = to_post(dict(element.attrib), doc_id, site, offset)
    except KeyError as error:
        tally.quarantine(doc_id, Reason.MISSING_FIELD, row, offset=offset, wanted=error.args[0])
    except ValueError as error:
        tally.quarantine(doc_id, Reason.INVALID_RECORD, row, offset=offset, error=str(error))
    else:
        if removed:
            tally.note(doc_id, Reason.FORBIDDEN_CHARACTER, offset=offset, removed=removed)
        yield post


def to_post(row: dict[str, str], doc_id: str, site: str, offset: int) -> Post:
    """The attributes of a row -> its post. KeyError: a field is missing; ValueError: one cannot be read."""
    is_answer = row["PostTypeId"] == ANSWER
    number = as_int64(row["Id"])
    return Post(
        doc_id=doc_id,
        thread=as_int64(row["ParentId"]) if is_answer else number,
        id=number,
        score=as_int64(row.get("Score", "0")),
        is_answer=is_answer,
        text=html_to_text(row.get("Body", "")),
        title="" if is_answer else " ".join(clean(row["Title"]).split()),
        tags=TAG_NAME.findall(row.get("Tags", "")),  # "<a><b>", since 2024 "|a|b|"
        created=row.get("CreationDate", ""),
        author=author_of(row, site),
        license=row.get("ContentLicense") or license_of(row.get("CreationDate", "")),
        offset=offset,
    )


def as_int64(digits: str) -> int:
    """A decimal number of at most 64 bits; ValueError otherwise."""
    if not INT64.fullmatch(digits):
        raise ValueError(f"not a number: {digits[:40]!r}")
    return int(digits)


def license_of(created: str) -> str:
    """The licence of a post of that date, "" where the date is unknown; dumps before 2020 name no licences."""
    return next(name for day, name in LICENSES.items() if created >= day) if created else ""


def author_of(row: dict[str, str], site: str) -> str:
    """The author's page; only a name where the account is gone, a name or number where the site is unknown, or ""."""
    owner, name = row.get("OwnerUserId"), row.get("OwnerDisplayName", "")
    if owner and site:
        return f"https://{site}/users/{owner}"
    return name or (f"user {owner}" if owner else "")


# posts -> threads

CREATE = "create table post (thread integer, is_answer integer, score integer, id integer, row blob)"
INSERT = "insert into post values (?, ?, ?, ?, ?)"
SELECT = "select thread, row from post order by thread, is_answer, score desc, id, rowid"


def _row(post: Post) -> tuple[int, bool, int, int, bytes]:
    return post.thread, post.is_answer, post.score, post.id, orjson.dumps(list(post))


@contextmanager
def _spill(path: Path) -> Iterator[sqlite3.Connection]:
    """A table on disk that sorts in bounded memory; it need not survive a crash."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript("pragma journal_mode=off; pragma synchronous=off; pragma cache_size=-65536; begin;")
        connection.execute(CREATE)
        yield connection


def join_thread(posts: list[Post], site: str, options: Options, tally: Tally) -> Iterator[Document]:
    """The posts of one thread, question first and answers by falling score -> its document, if the question stays."""
    posts = list(_without_repeats(posts, tally))
    if posts[0].is_answer:
        for answer in posts:
            tally.drop(answer.doc_id, Reason.ORPHAN_ANSWER, offset=answer.offset, question=answer.thread)
        return
    question, *answers = posts
    if reason := reason_to_drop(question, options.min_question_score):
        for post in posts:
            _drop(post, reason, question, options.min_question_score, tally)
        return
    kept = []
    for answer in answers:
        if reason := reason_to_drop(answer, options.min_answer_score):
            _drop(answer, reason, answer, options.min_answer_score, tally)
        else:
            kept.append(answer)
            tally.merge()
    yield to_document(question, kept, site)


def _without_repeats(posts: Iterable[Post], tally: Tally) -> Iterator[Post]:
    """Posts with an id of their own; of rows with the same id the first in sorted order stays."""
    seen: dict[int, Post] = {}
    for post in posts:
        first = seen.setdefault(post.id, post)
        if first is post:
            yield post
        else:
            same = first._replace(offset=0) == post._replace(offset=0)
            reason = Reason.REPEATED_RECORD if same else Reason.DUPLICATE_ID
            tally.drop(post.doc_id, reason, offset=post.offset, survivor_offset=first.offset)


def reason_to_drop(post: Post, min_score: int | None) -> Reason | None:
    """Why a post makes no text; of a question, that takes its answers along."""
    if min_score is not None and post.score < min_score:
        return Reason.LOW_SCORE
    return None if post.title or post.text else Reason.EMPTY_TEXT


def _drop(post: Post, reason: Reason, judged: Post, min_score: int | None, tally: Tally) -> None:
    """Drop `post` because of `judged`: itself, or the question that it answers."""
    evidence = {} if judged is post else {"question": judged.doc_id}
    value, threshold = (judged.score, min_score) if reason is Reason.LOW_SCORE else (None, None)
    tally.drop(post.doc_id, reason, value=value, threshold=threshold, offset=post.offset, **evidence)


def to_document(question: Post, answers: list[Post], site: str) -> Document:
    """A question and the answers that stay -> RedPajama's text and fields."""
    text = "\n\nA: ".join([f"Q: {question.title} {question.text}".rstrip(), *(answer.text for answer in answers)])
    of_site = {"language": language_of(site), "url": f"https://{site}/questions/{question.id}", "site": site}
    meta = (of_site if site else {}) | {
        "timestamp": question.created,
        "source": "stackexchange",
        "question_score": str(question.score),
        "title": question.title,
        "tags": question.tags,
        "authors": [question.author, *(answer.author for answer in answers)],
        "license": question.license,
        "licenses": [question.license, *(answer.license for answer in answers)],
    }
    return Document(question.doc_id, text, meta)


# .7z -> Posts.xml


def _posts_xml(file: RawFile, scratch: Path, tally: Tally) -> Iterator[bytes | None]:
    """The decompressed bytes of a Posts.xml, from whatever holds it."""
    return _from_archive(file, scratch, tally) if sevenzip.is_7z(file) else decompress.chunks(file, tally)


def _from_archive(file: RawFile, scratch: Path, tally: Tally) -> Iterator[bytes]:
    """The bytes of the archive's Posts.xml."""
    try:
        found = sevenzip.unpack(file, _the_posts, scratch)
    except Unreadable as error:
        return tally.skip(0, file.bytes, error.reason, error=str(error))
    decompress.consume(file, tally)
    if not found:
        tally.unit()
        return tally.drop("", Reason.NOT_A_POST, wanted="Posts.xml in the archive")
    yield from sevenzip.read_unpacked(scratch)


def _the_posts(names: list[str]) -> str | None:
    """The one Posts.xml of an archive. Raises ValueError if there are several."""
    posts = [name for name in names if is_posts(name)]
    if len(posts) > 1:
        raise ValueError(f"more than one Posts.xml: {posts[:4]}")
    return posts[0] if posts else None


PIPELINE = Pipeline(
    name="stackexchange",
    version=4,
    unit="post",
    options=Options,
    read=read,
    libraries=("lxml", "py7zr"),
    resolve=resolve,
)
