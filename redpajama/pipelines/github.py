"""GitHub: source files under permissive licences, from BigQuery's table or from repository trees.

Input
    Rows of `bigquery-public-data.github_repos` (contents, files, licenses and languages joined: `repo_name`, `id`,
    `size`, `binary`, `copies`, `ref`, `path`, `mode`, `symlink_target`, `license`, `language`, `content`) as JSON
    lines or Parquet (also with `contents` and `title` for content and path); repository tarballs as GitHub serves
    them; or a directory input with one repository.
Flow
    row or file -> licence -> name -> text -> the file's own licence -> licence header cut -> statistics. The licence
    of a tree is that of the nearest LICENSE or COPYING above a file, told by its wording, or of an R package's
    DESCRIPTION beside a stub. SPDX expressions count as a whole: of an OR one side is enough. What a file's own header
    declares must be allowed too. The unit is the row, or the file of a tree.
Output
    One document a file; meta: `content_hash`, `timestamp` (""), `source`, `line_count`, `max_line_length`,
    `avg_line_length`, `alnum_prop`, and the columns of BigQuery but for `content`. In a tree `id` is the git blob id
    as in BigQuery, `language` the one that the suffix tells, with the size of this file; `encoding` of a file that is
    not in UTF-8. Line ends are line feeds; `size` and `id` are of the raw bytes. The id of a document begins with
    owner and repository, where a tree tells them or its commit, else with the place of the tree in the manifest.
Differs from RedPajama-1T
    The header cut knows the language and takes only what leading comments say of copyright or licence: shebangs,
    `#include`, encoding lines, Markdown headings and what else a comment documents stay. `content_hash` is the MD5 of
    the cleaned text, so that files which differ in their licence header alone agree. Nothing is sampled, deduplicated
    or judged by line length here: the later stages do that, on record.
"""

import hashlib
import posixpath
import re
import string
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from redpajama.extract.encodings import decode_source, unix_lines
from redpajama.extract.license_notices import declaring_lines, own_licenses
from redpajama.extract.licenses import described, identify, is_license_name, is_stub, offers_choice, states_terms
from redpajama.extract.sourcecode import language_of, strip_license_header, suffix_of
from redpajama.extract.spdx import is_allowed
from redpajama.pipelines import Pipeline
from redpajama.raw import decompress, parquet
from redpajama.raw.io import RawFile
from redpajama.raw.tar import Member, is_tar, read_tar
from redpajama.raw.trees import by_tree, read_loose
from redpajama.raw.whole import peek
from redpajama.records import Document, Reason, Tally

ASCII = bytes(range(128))
ASCII_ALNUM = (string.ascii_letters + string.digits).encode()
MAX_NOTICE_CHARS = 20_000  # of one comment that is read for a licence; the longest licences have 35,000
MAX_FILE_BYTES = 64 << 20  # of one source file in a tree; BigQuery's table ends at 1 MiB
DESCRIPTION = "DESCRIPTION"  # of an R package: its licence, where LICENSE is a stub
COLUMNS = (  # as BigQuery calls them, and as some Parquet copies do
    *("repo_name", "id", "document_id", "size", "binary", "copies", "ref", "path", "title", "mode"),
    *("symlink_target", "license", "language", "content", "contents"),
)
_GITHUB_URL = re.compile(
    r"github\.com/(?:repos/)?(?P<owner>[\w.-]+)/(?P<repo>[\w.-]+)/(?:archive|tarball|(?:legacy\.)?tar\.gz)/"
    r"(?:refs/(?:heads|tags)/)?(?P<ref>[^?#]+?)(?:\.tar\.gz|\.tgz)?(?:[?#]|$)"
)
_OWNED_NAME = re.compile(r"(?P<owner>[\w.-]+?)__(?P<repo>[\w.-]+?)(?:-(?P<ref>[0-9a-f]{7,40}))?")
_FOLDER_NAME = re.compile(r"(?P<repo>[\w.-]+?)(?:-(?P<ref>[0-9a-f]{7,40}))?")


class Options(BaseModel):
    """`[source.options]` of a GitHub source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    licenses: tuple[str, ...] = ("mit", "bsd", "apache")  # prefixes of what is allowed: LIKE 'mit%' in the release

    def permits(self, license: str) -> bool:
        """Whether one licence is allowed."""
        return license.lower().startswith(self.licenses)


class Repository(NamedTuple):
    """A repository tree: what its files need to know of it."""

    name: str  # owner/repo, or repo where the owner is not told
    ref: str  # commit, branch or tag; "" where not told
    folder: str  # that all paths begin with, "" where there is none
    licenses: dict[str, list[str]]  # of each folder that has a licence file; [] for terms that are not known
    place: str  # where the tree is from, as the manifest names it

    @property
    def label(self) -> str:
        """`owner/repo@2c8cd3ac958a`, what ids of its files begin with.

        A repository's name alone is no identity, as `main`, `utils` and `dotfiles` have many owners: where neither the
        owner nor the commit is told (12 hexadecimal digits or more, and no date), it is the place.
        """
        if "/" not in self.name and not re.fullmatch(r"(?=[0-9]*[a-f])[0-9a-f]{12,64}", self.ref):
            return self.place
        ref = self.ref[:12] if re.fullmatch(r"[0-9a-f]{12,64}", self.ref) else self.ref
        return f"{self.name}@{ref}" if ref else self.name

    def licenses_of(self, path: str) -> list[str]:
        """The licences of the nearest folder above `path` that has any."""
        folder = path
        while folder:
            folder = posixpath.dirname(folder)
            if folder in self.licenses:
                return self.licenses[folder]
        return []


def read(files: Sequence[RawFile], options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """Rows, tarballs and trees -> one document a file."""
    for group in by_tree(files):
        if group[0].tree:
            yield from read_tree(group, options, source, tally)
            continue
        kind = kind_of(group[0].whole)
        if kind == "parquet":
            for number, row in parquet.rows(group[0], COLUMNS, tally):
                yield from parse_row(row, {"row": number}, options, source, tally)
        elif kind == "tar":
            yield from read_tarball(group[0], options, source, tally)
        else:
            for line, row in decompress.json_rows(group[0], tally):
                yield from parse_row(row, line.place, options, source, tally)


def cuts(file: RawFile, part_bytes: int) -> list[int]:
    """Where parts of a file of rows may begin; a tarball is read as a whole."""
    kind = kind_of(file)
    return [] if kind == "tar" else (parquet if kind == "parquet" else decompress).cuts(file, part_bytes)


def kind_of(file: RawFile) -> str:
    """parquet | tar | lines: by the name, else by the first bytes."""
    name = file.url.partition("?")[0].lower()
    if name.endswith(".parquet"):
        return "parquet"
    if re.search(r"\.(?:tar(?:\.\w+)?|tgz|tbz2?|tzst)$", name):
        return "tar"
    if re.search(r"\.(?:jsonl?|ndjson)(?:\.\w+)?$", name):
        return "lines"
    head, _ = peek(decompress.chunks(file, Tally()))
    return "parquet" if head.startswith(b"PAR1") else "tar" if is_tar(head) else "lines"


# ---- rows


def parse_row(
    row: dict[str, Any], place: dict[str, Any], options: Options, source: str, tally: Tally
) -> Iterator[Document]:
    """One row -> its document, or a row in the ledger."""
    path, repo = row.get("path") or row.get("title"), row.get("repo_name")
    content = row["content"] if "content" in row else row.get("contents")
    if not isinstance(path, str) or not isinstance(repo, str) or not isinstance(content, str | None):
        tally.quarantine("", Reason.MISSING_FIELD, **place, wanted="repo_name, path, content")
        return
    doc_id, licenses = f"{source}/{repo}/{path}", names_in(row.get("license"))
    if reason := why_unwanted(path, licenses, options):
        tally.drop(doc_id, reason, **place, license=", ".join(licenses))
    elif row.get("binary") is True or "\0" in (content or ""):
        tally.drop(doc_id, Reason.BINARY_FILE, **place)
    else:
        size = integer(row.get("size"))
        columns = {
            "repo_name": repo,
            "id": row.get("id") or row.get("document_id"),
            "size": size,
            "binary": row.get("binary"),
            "copies": integer(row.get("copies")),
            "ref": row.get("ref"),
            "path": path,
            "mode": integer(row.get("mode")),
            "symlink_target": row.get("symlink_target"),
            "license": ", ".join(licenses),
            "language": languages_in(row.get("language"), size),
        }
        yield from build_document(doc_id, unix_lines(content or ""), columns, options, tally, place)


def names_in(value: Any) -> list[str]:
    """A licence column, a string or a list of them, as a list."""
    values = value if isinstance(value, list) else [value]
    return [str(name) for name in values if name]


def languages_in(value: Any, size: int | None) -> list[dict[str, Any]]:
    """BigQuery's list of {name, bytes}; a plain name becomes one such entry with the file's own size."""
    if isinstance(value, str):
        return [{"name": value, "bytes": size}]
    entries = [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
    return [{"name": entry.get("name"), "bytes": integer(entry.get("bytes"))} for entry in entries]


def integer(value: Any) -> int | None:
    """BigQuery's JSON export writes integers as strings."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


# ---- trees


def read_tarball(file: RawFile, options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """A repository tarball, streamed twice: for its licences, then for its files."""
    survey = read_tar(decompress.chunks(file, Tally()), MAX_FILE_BYTES, tells_license)
    repository = describe(survey, file.url)
    for member in read_tar(decompress.chunks(file, tally), MAX_FILE_BYTES, is_source_name):
        yield from parse_member(member, repository, options, source, tally)


def read_tree(files: Sequence[RawFile], options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """The files of one repository in a directory input."""
    survey = (read_loose(file, Tally(), MAX_FILE_BYTES, tells_license(file.url)) for file in files)
    repository = describe(survey, files[0].tree.rstrip("/"), has_folder=False)
    for file in files:
        member = read_loose(file, tally, MAX_FILE_BYTES, is_source_name(file.url))
        yield from parse_member(member, repository, options, source, tally)


def tells_license(path: str) -> bool:
    """Whether a file may tell the licence of its folder."""
    return is_license_name(path) or path.endswith(f"/{DESCRIPTION}") or path == DESCRIPTION


def is_source_name(path: str) -> bool:
    """Whether the suffix is on the release's list."""
    return bool(suffix_of(path))


def describe(members: Iterable[Member], url: str, has_folder: bool = True) -> Repository:
    """The repository that members come from: named by the URL, else by the folder that holds them all, if one does."""
    licenses: dict[str, list[str]] = {}
    stubs: set[str] = set()
    choices: set[str] = set()
    tops, commit = set(), ""
    for member in members:
        if member.problem:
            continue
        tops.add(member.name.partition("/")[0] if "/" in member.name else "")
        commit = commit or member.commit
        if tells_license(member.name):
            note_license(member, licenses, stubs, choices)
    for path in choices & licenses.keys():
        licenses[path] = [" or ".join(licenses[path])]
    for path in stubs:
        licenses.setdefault(path, ["unknown"])
    folder = tops.pop() if has_folder and len(tops) == 1 else ""
    name, ref = repository_of(url, folder)
    inner = {inside(path, folder): found for path, found in licenses.items()}
    return Repository(name, ref or commit, folder, inner, place_of(url))


def note_license(member: Member, licenses: dict[str, list[str]], stubs: set[str], choices: set[str]) -> None:
    """Add what a file says to its folder's licences; pointers to others say nothing, stubs only where no other does.

    `choices`: folders whose licences a file without a text of its own calls a choice.
    """
    decoded, folder = decode_source(member.data), posixpath.dirname(member.name)
    text = decoded[0] if decoded else member.data.decode("utf-8", "replace")
    is_description = posixpath.basename(member.name) == DESCRIPTION
    found = described(text) if is_description else identify(text)
    if not found and not is_description and offers_choice(text):
        choices.add(folder)
    elif not found and not is_description and states_terms(text):
        if is_stub(text):
            stubs.add(folder)
        else:
            found = ["unknown"]
    if found:
        known = licenses.setdefault(folder, [])
        known += [name for name in found if name not in known]


def repository_of(url: str, folder: str) -> tuple[str, str]:
    """(owner/repo, ref) from a GitHub URL, a name like `owner__repo-<sha>`, or the folder `repo-<sha>`."""
    name = place_of(url).rpartition("/")[2]
    match = _GITHUB_URL.search(url) or _OWNED_NAME.fullmatch(name) or _FOLDER_NAME.fullmatch(folder or name)
    if match is None:
        return folder or name, ""
    parts = match.groupdict()
    return "/".join(filter(None, (parts.get("owner"), parts["repo"]))), parts["ref"] or ""


def place_of(url: str) -> str:
    """A URL without its scheme, its query and the endings of an archive."""
    path = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://|^(?:\.{0,2}/)+", "", url.partition("?")[0])
    return re.sub(r"\.(?:tar(?:\.\w+)?|tgz|tbz2?|tzst)$", "", path)


def inside(path: str, folder: str) -> str:
    """`path` without the folder that holds everything."""
    return path[len(folder) :].lstrip("/") if folder else path


def parse_member(
    member: Member, repository: Repository, options: Options, source: str, tally: Tally
) -> Iterator[Document]:
    """One file of a tree -> its document, or a row in the ledger."""
    tally.unit()
    if member.problem:
        tally.quarantine("", member.problem, member.data, **member.place)
        return
    path = inside(member.name, repository.folder)
    doc_id, licenses = f"{source}/{repository.label}/{path}", repository.licenses_of(path)
    if reason := why_unwanted(path, licenses, options):
        tally.drop(doc_id, reason, license=", ".join(licenses))
        return
    decoded, place = decode_source(member.data), dict[str, Any](member.place)
    if decoded is None and b"\0" not in member.data:
        tally.drop(doc_id, Reason.UNDECODABLE, **place)
    elif decoded is None or "\0" in decoded[0]:
        tally.drop(doc_id, Reason.BINARY_FILE)
    else:
        columns = tree_columns(member, path, repository, licenses)
        columns |= {} if decoded[1] == "utf-8" else {"encoding": decoded[1]}
        yield from build_document(doc_id, unix_lines(decoded[0]), columns, options, tally, place)


def tree_columns(member: Member, path: str, repository: Repository, licenses: list[str]) -> dict[str, Any]:
    """BigQuery's columns for a file of a tree; `copies` is not known."""
    size = len(member.data)
    blob = hashlib.sha1(b"blob %d\0" % size + member.data, usedforsecurity=False)
    return {
        "repo_name": repository.name,
        "id": blob.hexdigest(),
        "size": size,
        "binary": False,
        "ref": repository.ref,
        "path": path,
        "mode": (0o100755 if member.mode & 0o100 else 0o100644) if member.mode else None,
        "license": ", ".join(licenses),
        "language": [{"name": language_of(path), "bytes": size}],
    }


# ---- documents


def why_unwanted(path: str, licenses: Sequence[str], options: Options) -> Reason | None:
    """Why a file is not taken, by its licences (all must be allowed) and its name; None if it is."""
    if not licenses or not all(is_allowed(license, options.permits) for license in licenses):
        return Reason.LICENSE_NOT_ALLOWED
    if path.endswith(".crt") or is_license_name(path):
        return Reason.LICENSE_FILE
    return None if suffix_of(path) else Reason.WRONG_SUFFIX


def build_document(
    doc_id: str, content: str, columns: dict[str, Any], options: Options, tally: Tally, place: dict[str, Any]
) -> Iterator[Document]:
    """Content -> a document of the cleaned text, unless its own licence is not allowed or nothing is left."""
    stripped = strip_license_header(content, columns["path"])
    text = stripped.text
    if foreign := foreign_licenses([*stripped.notices, *declaring_lines(text)], options):
        tally.drop(doc_id, Reason.LICENSE_NOT_ALLOWED, **place, license=columns["license"], header=", ".join(foreign))
        return
    if not text.strip():
        tally.drop(doc_id, Reason.EMPTY_TEXT)
        return
    meta = {"timestamp": "", "source": "github", **measure(text), **columns}
    yield Document(doc_id, text, {key: value for key, value in meta.items() if value is not None})


def foreign_licenses(notices: Iterable[str], options: Options) -> list[str]:
    """What notices at the top of a file declare of it and is not allowed, whatever its repository's licence."""
    declared = (license for notice in notices for license in own_licenses(notice[:MAX_NOTICE_CHARS]))
    return [license for license in declared if not is_allowed(license, options.permits)]


def measure(text: str) -> dict[str, Any]:
    """The release's statistics of a non-empty text; lengths in characters."""
    lengths = [len(line) for line in text.splitlines()]
    return {
        "content_hash": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
        "line_count": len(lengths),
        "max_line_length": max(lengths),
        "avg_line_length": sum(lengths) / len(lengths),
        "alnum_prop": alnum_chars(text) / len(text),
    }


def alnum_chars(text: str) -> int:
    """How many characters are letters or digits; only those beyond ASCII are looked at one by one."""
    data = text.encode()
    others = data.translate(None, ASCII).decode()
    return len(data) - len(data.translate(None, ASCII_ALNUM)) + sum(map(str.isalnum, others))


PIPELINE = Pipeline(
    name="github",
    version=5,
    unit="file",
    options=Options,
    read=read,
    libraries=("orjson", "pyarrow"),
    cuts=cuts,
    kind="code",
)
