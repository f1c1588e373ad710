"""Files: folders and archives of your own, a document a file.

Input
    Text files (`.txt`, `.md`, `.rst`, `.html`, …), named by a pattern or in a folder (it ends in `/`), plain
    or as gzip, bzip2 or zstd; tar and zip archives of such files.
Flow
    file -> characters (byte order mark, UTF-8, else detection; of HTML as browsers do) -> document, its lines ended by
    LF; of HTML the main content. The unit is the file.
Output
    One document a file, its id the path below the fixed part of the pattern, in an archive with the archive's own
    before it; meta: `path`, of HTML `title`, `source`.
"""

import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from redpajama.extract.charsets import to_unicode
from redpajama.extract.encodings import unix_lines
from redpajama.extract.html import MAX_ATTRIBUTES, has_many_attributes, title_and_text
from redpajama.pipelines import Pipeline
from redpajama.raw import decompress
from redpajama.raw.io import RawFile, scheme_of
from redpajama.raw.tar import Member, read_tar
from redpajama.raw.trees import read_loose
from redpajama.raw.whole import Unreadable, expand, read_whole
from redpajama.raw.zip import read_zip
from redpajama.records import Document, Reason, Tally

MAX_FILE_BYTES = 256 << 20
PACKED = re.compile(r"\.(?:gz|bz2|zst|zstd)$", re.IGNORECASE)
TAR = re.compile(r"\.(?:tar|tar\.(?:gz|bz2|zst|zstd)|tgz|tbz2?|tzst)$", re.IGNORECASE)
HTML = (".html", ".htm", ".xhtml")


class Options(BaseModel):
    """`[source.options]` of a source of files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suffixes: tuple[str, ...] = (".txt", ".text", ".md", ".markdown", ".rst", ".org", ".adoc", *HTML)
    main_content: bool = True  # of HTML: without menus, sidebars and footers
    roots: tuple[str, ...] = Field(default=(), exclude=True)  # the fixed parts of the patterns

    def is_wanted(self, path: str) -> bool:
        """Whether a file has one of the suffixes."""
        return PACKED.sub("", path.lower()).endswith(tuple(suffix.lower() for suffix in self.suffixes))


def read(files: Sequence[RawFile], options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """Files, and those in archives -> one document each."""
    for file in files:
        path = relative(file, options.roots)
        for member in members(file, options, tally):
            yield from document(
                posixpath.join(path, member.name) if member.name else path, member, options, source, tally
            )


def relative(file: RawFile, roots: Sequence[str]) -> str:
    """A file's path below its folder, or below the longest fixed part of a pattern that it lies under."""
    if file.tree:
        return file.relative.lstrip("/")
    root = max((root for root in roots if file.url.startswith(root)), key=len, default="")
    return file.url.removeprefix(root).lstrip("/")


def fixed_part(pattern: str) -> str:
    """The folders of a pattern before its first wildcard, with a slash at their end."""
    plain = pattern if scheme_of(pattern) else posixpath.normpath(pattern)
    return re.split(r"[*?\[]", plain, maxsplit=1)[0].rpartition("/")[0] + "/"


def resolve(options: Options, inputs: Sequence[str], files: Sequence[RawFile]) -> dict[str, Any]:
    """The fixed parts of the patterns: ids begin behind them."""
    return {"roots": sorted({fixed_part(pattern) for pattern in inputs})}


def members(file: RawFile, options: Options, tally: Tally) -> Iterator[Member]:
    """The files of an archive, or the file itself, without a name; each a unit."""
    if TAR.search(file.url):
        found = read_tar(decompress.chunks(file, tally), MAX_FILE_BYTES, options.is_wanted)
    elif file.url.lower().endswith(".zip"):
        found = read_zip(file, tally, MAX_FILE_BYTES, options.is_wanted)
    elif file.tree and not options.is_wanted(file.url):
        found = iter([read_loose(file, tally, MAX_FILE_BYTES, wanted=False)._replace(name="")])
    else:
        found = iter([_itself(file, tally)])
    for member in found:
        tally.unit()
        yield member


def _itself(file: RawFile, tally: Tally) -> Member:
    try:
        return Member("", read_whole(file, tally, MAX_FILE_BYTES))
    except Unreadable as error:
        return Member("", b"", error.reason)


def document(path: str, member: Member, options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """One file -> its document, or a row in the ledger."""
    doc_id = f"{source}/{path}"
    place: dict[str, Any] = dict(member.place) if member.name or member.end else {}
    if member.problem:
        tally.quarantine(doc_id, member.problem, member.data, **place)
        return
    if not options.is_wanted(path):
        tally.drop(doc_id, Reason.WRONG_SUFFIX, **place, wanted=", ".join(options.suffixes))
        return
    try:
        data = b"".join(expand(member.data, MAX_FILE_BYTES))
    except Unreadable as error:
        tally.quarantine(doc_id, error.reason, member.data, **place)
        return
    is_html = PACKED.sub("", path.lower()).endswith(HTML)
    text = to_unicode(data) if is_html else unix_lines(to_unicode(data, is_html=False))
    if "\0" in text:
        tally.drop(doc_id, Reason.BINARY_FILE, **place)
        return
    raw = text
    title, text = title_and_text(text, options.main_content) if is_html else ("", text)
    if not text or text.isspace():
        tally.drop(doc_id, Reason.EMPTY_TEXT, **place)
        return
    if is_html and has_many_attributes(raw):
        tally.note(doc_id, Reason.EXPANSION_LIMIT, **place, max_attributes=MAX_ATTRIBUTES)
    yield Document(doc_id, text, {"path": path, **({"title": title} if title else {}), "source": "files"})


PIPELINE = Pipeline(
    name="files",
    version=2,
    unit="file",
    options=Options,
    read=read,
    libraries=("resiliparse",),
    resolve=resolve,
    is_gathered=True,
)
