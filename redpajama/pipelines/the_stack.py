"""The Stack: source files of permissive repositories, as BigCode releases them.

Input
    Parquet of bigcode/the-stack or the-stack-dedup (`data/<language>/*.parquet`): `hexsha`, `size`, `ext`, `lang`,
    `content`, and for stars, issues and forks the repository that has most of them, with its licences.
Flow
    row -> not opted out -> language -> licence -> document. The unit is the row.
Output
    One document a row; meta: `hexsha`, `size`, `ext`, `lang`, `max_stars_repo_path`, `max_stars_repo_name`,
    `max_stars_repo_head_hexsha`, `max_stars_repo_licenses`, `max_stars_count`, `source`.
Differs from RedPajama-1T
    It has no Stack: this is the plan for its second version. Licences are checked again: all that the row names for
    its most starred repository must be allowed, where the release asks it of any one repository. Requests to opt out
    that came after a release are honoured by a list of names.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import fsspec
from pydantic import BaseModel, ConfigDict

from redpajama.archives import parquet_rows
from redpajama.io import RawFile
from redpajama.records import Document, Reason, Tally

VERSION = 1
UNIT = "row"
LIBRARIES = ("pyarrow",)
SIDE_FILES = ("optouts",)

PERMISSIVE = (  # without weak copyleft (EPL, LGPL, MPL), as the release since v1.1
    *("0BSD", "AFL-3.0", "Apache-2.0", "Artistic-2.0", "BlueOak-1.0.0", "BSD-1-Clause", "BSD-2-Clause"),
    *("BSD-2-Clause-FreeBSD", "BSD-2-Clause-Patent", "BSD-3-Clause", "BSD-3-Clause-Clear", "BSD-4-Clause", "BSL-1.0"),
    *("CC0-1.0", "CNRI-Python", "ECL-2.0", "EFL-2.0", "ISC", "MIT", "MIT-0", "MIT-feh", "NCSA", "NTP"),
    *("PostgreSQL", "PSF-2.0", "Python-2.0", "UPL-1.0", "Unlicense", "W3C", "WTFPL", "X11", "Zlib", "ZPL-2.1"),
)
REPOSITORY_COLUMNS = ("max_stars_repo_name", "max_issues_repo_name", "max_forks_repo_name")
META_COLUMNS = (
    *("hexsha", "size", "ext", "lang", "max_stars_repo_path", "max_stars_repo_name", "max_stars_repo_head_hexsha"),
    *("max_stars_repo_licenses", "max_stars_count"),
)
COLUMNS = (*META_COLUMNS, *REPOSITORY_COLUMNS[1:], "content")


class Options(BaseModel):
    """`[source.options]` of a Stack source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    languages: tuple[str, ...] = ()  # values of `lang`, in any case; none: all
    licenses: tuple[str, ...] = PERMISSIVE  # SPDX identifiers, in any case
    optouts: str = ""  # a path or URL: one owner/repo a line, or an owner alone


class Choice(NamedTuple):
    """The options as they are compared: folded."""

    languages: frozenset[str]
    licenses: frozenset[str]
    optouts: frozenset[str]


def read(files: Sequence[RawFile], options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """Rows of the release -> one document each."""
    choice = choose(options)
    for file in files:
        for number, row in parquet_rows(file, COLUMNS, tally):
            yield from parse_row(row, number, choice, source, tally)


def choose(options: Options) -> Choice:
    """Fold the options' names; reads the list of those who opted out."""
    languages = frozenset(name.casefold() for name in options.languages)
    licenses = frozenset(name.casefold() for name in options.licenses)
    return Choice(languages, licenses, read_optouts(options.optouts) if options.optouts else frozenset())


def read_optouts(path: str) -> frozenset[str]:
    """Names of repositories and owners, folded; blank lines and `#` comments are passed over."""
    with fsspec.open(path, "rt", encoding="utf-8", errors="replace") as lines:
        names = (line.partition("#")[0].strip().casefold() for line in lines)
        return frozenset(name for name in names if name)


def parse_row(row: dict[str, Any], number: int, choice: Choice, source: str, tally: Tally) -> Iterator[Document]:
    """One row -> its document, or a row in the ledger."""
    hexsha, text = row.get("hexsha"), row.get("content")
    if not isinstance(hexsha, str) or not hexsha or not isinstance(text, str):
        tally.quarantine("", Reason.MISSING_FIELD, row=number, wanted="hexsha, content")
        return
    doc_id, licenses = f"{source}/{hexsha}", licenses_in(row.get("max_stars_repo_licenses"))
    if optout := find_optout(row, choice.optouts):
        tally.drop(doc_id, Reason.NOT_SELECTED, row=number, optout=optout)
    elif choice.languages and str(row.get("lang")).casefold() not in choice.languages:
        tally.drop(doc_id, Reason.NOT_SELECTED, row=number, lang=row.get("lang"))
    elif not licenses or not all(name.casefold() in choice.licenses for name in licenses):
        tally.drop(doc_id, Reason.LICENSE_NOT_ALLOWED, row=number, license=", ".join(licenses))
    elif not text.strip():
        tally.drop(doc_id, Reason.EMPTY_TEXT, row=number)
    else:
        meta = {name: row.get(name) for name in META_COLUMNS}
        yield Document(doc_id, text, {**meta, "max_stars_repo_licenses": licenses, "source": "the_stack"})


def find_optout(row: dict[str, Any], optouts: frozenset[str]) -> str:
    """The first of the row's repositories that is opted out, itself or by its owner; "" for none."""
    for column in REPOSITORY_COLUMNS:
        name = str(row.get(column) or "")
        if name and optouts & {name.casefold(), name.casefold().partition("/")[0]}:
            return name
    return ""


def licenses_in(value: Any) -> list[str]:
    """A list of names, or the form {list: [{item: name}]} that some dumps have."""
    if isinstance(value, dict):
        value = value.get("list")
    entries = value if isinstance(value, list) else [value]
    names = (next(iter(entry.values()), None) if isinstance(entry, dict) else entry for entry in entries)
    return [str(name) for name in names if name]
