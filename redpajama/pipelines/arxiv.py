"""ArXiv: e-print sources as arXiv hands them out, made into readable LaTeX.

Input
    `arXiv_src_YYMM_NNN.tar` of the bulk bucket s3://arxiv/src (members `<yymm>/<id>.gz` and `.pdf`), whose reader pays
    (`requester_pays = true` in the manifest), single e-prints `<id>.gz` (gzip of one TeX file or of a
    tar project), or a directory input with one unpacked paper.
Flow
    e-print -> its files -> characters, as `inputenc` declares them (extract/latex_encodings.py) -> the main TeX file
    with its inputs (latex_files.py), comments out (latex_pieces.py) -> macros without arguments expanded, what macros
    throw away gone (latex_macros.py) -> front and back matter cut (latex.py). The unit is a file inside an e-print; a
    PDF, and an e-print that cannot be opened, are one unit. A file that is input where the text is cut, after the
    appendix say, is `not-included` with `cut` in its evidence.
Output
    One document a paper; meta: `timestamp` (UTC, "" when unknown), `yymm`, `arxiv_id`, `language` ("" until language
    identification), `url`, `source`, `encoding` (utf-8, or those of its files that are not, joined by commas).
Differs from RedPajama-1T
    Files that are not UTF-8 are read in the encoding that they declare, else as Windows-1252, not dropped with their
    whole paper. Files are joined where the main one inputs them, not in the order of the tar; what it never inputs
    (drafts, replies to referees, supplements) is left out. Abstracts are kept, and text before the first heading; of a
    paper without a marked front all but `\\title`, `\\author` and their like. The character before an inline comment is
    kept; `%` in a URL, inline code or a verbatim environment is no comment. Macros may span lines and stand in the
    paper's own styles; what one throws away, `\\newcommand{\\todo}[1]{}` say, goes with it; one that only draws stays.
    Timestamps are UTC, not the builder's time zone. Withdrawn papers (`%auto-ignore`) are dropped by name.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict

from redpajama.extract import latex
from redpajama.extract.latex_encodings import Decoded, decode, decode_paper
from redpajama.extract.latex_files import (
    Project,
    choose_main,
    is_tex_name,
    looks_like_tex,
    merge_inputs,
    merge_styles,
)
from redpajama.extract.latex_pieces import find_syntax
from redpajama.pipelines import Pipeline
from redpajama.raw import decompress
from redpajama.raw.io import RawFile
from redpajama.raw.tar import Member, is_tar, read_tar
from redpajama.raw.trees import by_tree, read_loose
from redpajama.raw.whole import GZIP, Unreadable, expand, peek
from redpajama.records import Document, Reason, Tally

MAX_EPRINT_BYTES = 256 << 20  # as downloaded; arXiv itself accepts 50 MB
MAX_EXPANDED_BYTES = 500 << 20  # of one e-print, all its files together
MAX_RATIO = 250  # of expanded to downloaded bytes, beyond the first 64 MiB
MAX_TEX_BYTES = 16 << 20  # of one TeX file

HEAD_BYTES = 1 << 20  # enough to tell what a file is
PDF = b"%PDF-"
WITHDRAWN = "%auto-ignore"
_BULK_NAME = re.compile(r"arXiv_src_\d{4}_\d{3}\.tar")
_BULK_MEMBER = re.compile(r"\d{4}/[^/]+\.(?:gz|pdf)")
_NEW_ID = re.compile(r"(?P<id>(?P<yymm>\d{4})\.\d{4,5})(?P<version>v\d+)?")
_OLD_ID = re.compile(
    r"(?P<archive>[a-z]+(?:-[a-z]+)?)(?:\.[A-Z]{2})?[/_]?(?P<number>(?P<yymm>\d{4})\d{3})(?P<version>v\d+)?"
)
_NEVER_INPUT = re.compile(  # figures, data, styles
    r"\.(?:png|jpe?g|gif|tiff?|bmp|svg|pdf|e?ps[if]?|zip|gz|bz2|tar|mp4|avi|mov|wav|ttf|otf|pfb|bst|bib|csv|xml|html?"
    r"|ipynb|py|r|nb|log|aux|out)$",
    re.IGNORECASE,
)
_DEFINING = (".tex", ".ltx", ".sty", ".cls")  # files that may define verbatim environments


class Options(BaseModel):
    """`[source.options]` of an ArXiv source: there are none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Paper(NamedTuple):
    """What a paper's name and container say about it."""

    key: str  # the native part of the id
    arxiv_id: str = ""  # without a version
    yymm: str = ""
    modified: float = 0  # POSIX seconds; 0: unknown


def read(files: Sequence[RawFile], options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """Bulk tars, single e-prints and paper trees -> one document a paper."""
    for group in by_tree(files):
        if group[0].tree:
            yield from read_tree(group, source, tally)
        else:
            yield from read_file(group[0], source, tally)


def read_tree(files: Sequence[RawFile], source: str, tally: Tally) -> Iterator[Document]:
    """The unpacked files of one paper -> its document."""
    paper = identify(files[0].tree.rstrip("/").rpartition("/")[2])
    members = [read_loose(file, tally, MAX_TEX_BYTES, _may_be_input(file.relative)) for file in files]
    yield from build_paper(members, paper, source, tally, {m.name: f.url for m, f in zip(members, files, strict=True)})


def read_file(file: RawFile, source: str, tally: Tally) -> Iterator[Document]:
    """A bulk tar, or one e-print."""
    name = file.url.partition("?")[0].rpartition("/")[2]
    with file.open() as stream:
        head = stream.read(HEAD_BYTES)
    if _BULK_NAME.match(name) or (is_tar(head) and _is_bulk(head)):
        yield from read_bulk(file, source, tally)
        return
    paper = identify(name)
    if head.startswith(GZIP):
        paper = paper._replace(modified=int.from_bytes(head[4:8], "little"))  # RFC 1952: MTIME
    decompress.consume(file, tally)
    if file.bytes > MAX_EPRINT_BYTES:
        tally.unit()
        place = {"offset": 0, "end": file.bytes}
        tally.quarantine(f"{source}/{paper.key}", Reason.EXPANSION_LIMIT, head, **place)
        return
    with file.open() as stream:
        yield from read_eprint(stream.read(), paper, {"offset": 0, "end": file.bytes}, source, tally)


def _is_bulk(head: bytes) -> bool:
    first = next(read_tar([head], 0, wanted=lambda name: False), None)
    return first is not None and bool(_BULK_MEMBER.fullmatch(first.name))


def read_bulk(file: RawFile, source: str, tally: Tally) -> Iterator[Document]:
    """A tar of e-prints, streamed: one e-print in memory at a time."""
    for member in read_tar(decompress.chunks(file, tally), MAX_EPRINT_BYTES):
        paper = identify(posixpath.basename(member.name))._replace(modified=member.modified)
        if member.problem:
            tally.unit()
            tally.quarantine("", member.problem, member.data, **member.place)
        else:
            yield from read_eprint(member.data, paper, member.place, source, tally)


def identify(name: str) -> Paper:
    """`2301.00001.gz`, `hep-th9901001.gz`, `math.GT0309136v2` -> the paper's id; any other name stays as the key."""
    stem = re.sub(r"(?:\.tar|\.tgz|\.gz|\.pdf|\.tex)+$", "", name)
    if match := _NEW_ID.fullmatch(stem):
        arxiv_id = match["id"]
    elif match := _OLD_ID.fullmatch(stem):
        arxiv_id = f"{match['archive']}/{match['number']}"
    else:
        return Paper(stem or "unnamed")
    return Paper(arxiv_id + (match["version"] or ""), arxiv_id, match["yymm"])


def read_eprint(
    data: bytes, paper: Paper, place: dict[str, str | int], source: str, tally: Tally
) -> Iterator[Document]:
    """One e-print as downloaded, and where it stands -> its document."""
    doc_id = f"{source}/{paper.key}"
    if data.startswith(PDF):
        tally.unit()
        tally.drop(doc_id, Reason.PDF_ONLY)
        return
    try:
        members = unpack(data)
    except Unreadable as error:
        tally.unit()
        tally.quarantine(doc_id, error.reason, data, **place, error=str(error))
        return
    yield from build_paper(members, paper, source, tally)


def unpack(data: bytes) -> list[Member]:
    """The files of an e-print. Raises Unreadable.

    The bytes of figures and the like are left out. A tar that is damaged is not read in part.
    """
    limit = min(MAX_EXPANDED_BYTES, max(64 << 20, MAX_RATIO * len(data)))
    head, chunks = peek(expand(data, limit))
    if not is_tar(head):
        return [name_lone_file(read_lone_file(chunks))]
    members = list(read_tar(chunks, MAX_TEX_BYTES, _may_be_input))
    for member in members:
        if member.problem in (Reason.DAMAGED, Reason.TRUNCATED, Reason.WRONG_FORMAT):
            raise Unreadable(member.problem, f"the tar is {member.problem} at byte {member.offset:,}")
    if not members:
        raise Unreadable(Reason.WRONG_FORMAT, "a tar without files")
    return members


def read_lone_file(chunks: Iterable[bytes]) -> bytes:
    """An e-print of one file; of a PDF only the beginning. Raises Unreadable for more than a TeX file may have."""
    content = bytearray()
    for chunk in chunks:  # to the end: the gzip stream is checked there
        content += chunk[: MAX_TEX_BYTES + 1 - len(content)]
    if len(content) > MAX_TEX_BYTES and not content.startswith(PDF):
        raise Unreadable(Reason.EXPANSION_LIMIT, f"one file of more than {MAX_TEX_BYTES:,} bytes")
    return bytes(content)


def name_lone_file(content: bytes) -> Member:
    """An e-print of one file, under the name that its content deserves. Raises Unreadable for an empty one."""
    if not content.strip():
        raise Unreadable(Reason.WRONG_FORMAT, "empty")
    if content.startswith(PDF):
        return Member("main.pdf")
    text = content.decode("latin-1")
    is_tex = b"\0" not in content and (text.lstrip().startswith(WITHDRAWN) or looks_like_tex(text))
    return Member("main.tex" if is_tex else "main", content)


def _may_be_input(name: str) -> bool:
    return not _NEVER_INPUT.search(name)


def build_paper(
    members: Sequence[Member], paper: Paper, source: str, tally: Tally, urls: dict[str, str] | None = None
) -> Iterator[Document]:
    """The files of a paper -> its document; each file gets its outcome. `urls` of the files, where they have any."""
    doc_id = f"{source}/{paper.key}"
    merged = merge_paper(members)
    last = {member.name: index for index, member in enumerate(members)}
    for index, member in enumerate(members):
        tally.unit()
        tally.file = (urls or {}).get(member.name, tally.file)
        name = member.name if last[member.name] == index else ""  # an earlier member of the same name is replaced
        if member.problem:
            tally.quarantine(f"{doc_id}/{member.name}", member.problem, member.data, member=member.name)
        elif name and name == merged.main:
            yield from build_document(merged, member, paper, source, tally)
        elif name and name in merged.parts:
            tally.merge()
        elif name and name in merged.cut:
            tally.drop(f"{doc_id}/{member.name}", Reason.NOT_INCLUDED, member=member.name, cut=True)
        else:
            reason = why_left_out(member, bool(merged.main))
            tally.drop(f"{doc_id}/{member.name}", reason, member=member.name)


class Merged(NamedTuple):
    """A paper made of its files."""

    main: str = ""  # its main file; "": it has none
    text: str = ""
    encoding: str = "utf-8"  # those of its files that are not UTF-8, joined by commas
    parts: frozenset[str] = frozenset()  # files that gave text or macros
    cut: frozenset[str] = frozenset()  # files that are input where the text is cut


def merge_paper(members: Sequence[Member]) -> Merged:
    """The files of a paper -> its text, and what became of each."""
    decoded = decode_all(members)
    texts = {name: file.text for name, file in decoded.items()}
    project = Project(texts, find_syntax(text for name, text in texts.items() if name.endswith(_DEFINING)))
    main = choose_main(project, frozenset().union(*(toplevel_names(member) for member in members)))
    if main is None:
        return Merged()
    if any(file.encodings != {"utf-8"} for file in decoded.values()):
        files = {member.name: member.data for member in members if member.name in decoded}
        decoded |= decode_paper(main, files, project.places)
        project = Project({name: decoded[name].text for name in texts}, project.syntax)
    merged, used = merge_inputs(main, project)
    cleaned = latex.clean(merged, merge_styles(merged.masked, main, project), project.syntax)
    others = frozenset().union(*(decoded[name].encodings for name in used)) - {"utf-8"}
    parts = frozenset(used[number] for number in cleaned.files)
    return Merged(main, cleaned.text, ", ".join(sorted(others)) or "utf-8", parts, frozenset(used[1:]) - parts)


def build_document(merged: Merged, main: Member, paper: Paper, source: str, tally: Tally) -> Iterator[Document]:
    """A merged paper -> its document, unless it is withdrawn or empty."""
    doc_id = f"{source}/{paper.key}"
    if main.data.lstrip().startswith(WITHDRAWN.encode()):
        tally.drop(doc_id, Reason.WITHDRAWN, member=main.name)
    elif not merged.text:
        tally.drop(doc_id, Reason.EMPTY_TEXT, member=main.name)
    else:
        meta = {
            "timestamp": timestamp(paper.modified),
            "yymm": paper.yymm,
            "arxiv_id": paper.arxiv_id,
            "language": "",
            "url": f"https://arxiv.org/abs/{paper.arxiv_id}" if paper.arxiv_id else "",
            "source": "arxiv",
            "encoding": merged.encoding,
        }
        yield Document(doc_id, merged.text, meta)


def decode_all(members: Sequence[Member]) -> dict[str, Decoded]:
    """{name: text} of the files that are text, each read alone: as UTF-8, or as Windows-1252.

    Files that arXiv's own machinery ignores (`%auto-ignore`) are left out, unless there is no other TeX file.
    """
    decoded = {
        member.name: decode(member.data)
        for member in members
        if not member.problem and (member.data or is_tex_name(member.name)) and b"\0" not in member.data
    }
    ignored = [name for name in decoded if decoded[name].text.lstrip().startswith(WITHDRAWN) and is_tex_name(name)]
    if len(ignored) < sum(map(is_tex_name, decoded)):
        return {name: file for name, file in decoded.items() if name not in ignored}
    return decoded


def toplevel_names(member: Member) -> frozenset[str]:
    """The main files that arXiv's 00README.XXX (`ms.tex toplevelfile`) or 00README.json names."""
    if member.name == "00README.XXX":
        text = member.data.decode("latin-1")
        return frozenset(match[1] for match in re.finditer(r"^(\S+)[ \t]+toplevelfile", text, re.MULTILINE))
    if member.name == "00README.json":
        try:
            sources = orjson.loads(member.data)["sources"]
            return frozenset(str(part["filename"]) for part in sources if part.get("usage") == "toplevel")
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return frozenset()
    return frozenset()


def why_left_out(member: Member, has_main: bool) -> Reason:
    """Why a file of a paper is no part of its document."""
    if is_tex_name(member.name) and b"\0" not in member.data:
        return Reason.NOT_INCLUDED
    is_pdf = member.name.lower().endswith(".pdf")
    return Reason.PDF_ONLY if is_pdf and not has_main else Reason.NOT_TEX


def timestamp(modified: float) -> str:
    """POSIX seconds -> `2020-07-08T00:05:31Z`; "" for none, or outside of what a calendar has."""
    try:
        return datetime.fromtimestamp(int(modified), UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if modified > 0 else ""
    except (OverflowError, ValueError, OSError):
        return ""


PIPELINE = Pipeline(
    name="arxiv",
    version=4,
    unit="file",
    options=Options,
    read=read,
    libraries=("orjson",),
)
