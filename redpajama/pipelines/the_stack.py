"""The Stack and StarCoderData: source files of permissive repositories, as BigCode releases them.

Input
    Parquet of bigcode/the-stack or the-stack-dedup, v1.1 or newer (`data/<language>/*.parquet`): `hexsha`, `size`,
    `ext`, `lang`, `content`, and for stars, issues and forks the repository that has most of them, with its licences.
    Or of bigcode/starcoderdata (`<language>/*.parquet`): `id`, `content`, `max_stars_repo_path`,
    `max_stars_repo_name`, `max_stars_count`; its folders of issues, commits and notebooks have other columns and are
    not read. A revision that is a commit's hash or a branch cannot be told apart by age: name the version.
Flow
    row -> not opted out -> language -> licence -> StarCoder's rules for its language, if asked for -> document. The
    unit is the row.
Output
    One document a row; meta: `hexsha`, `size`, `ext`, `lang`, `max_stars_repo_path`, `max_stars_repo_name`,
    `max_stars_repo_head_hexsha`, `max_stars_repo_licenses`, `max_stars_count`, `source`. Of StarCoderData: `lang` (the
    folder), the three columns of the most starred repository, `source`; the id is `<source>/<folder>/<id>`.
StarCoder's rules (arXiv 2305.06161, section 3; bigcode-project/bigcode-dataset, preprocessing/filtering.py)
    `filters = "starcoder"`, or a table of single rules: `{ preset = "starcoder", max_data_chars = 20000 }`. What hangs
    on the language is judged here, because no signal knows the language: XML, HTML, JSON and YAML. What does not (the
    lines, letters and digits) becomes rules of `[source.quality]`, unless that table has them: another threshold of
    those reads no file again. BigCode's thresholds for each extension are a table that they publish
    (`preprocessing/visual_inspection.csv`): `extensions` names it, by path or URL, and then it stands for those rules;
    a file whose extension it does not include is left out. Each drop has rule, value and threshold on record.
Differs from RedPajama-1T
    It has no Stack: this is the plan for its second version. Licences are checked again: all that the row names for
    its most starred repository must be allowed, SPDX expressions as a whole, where the release asks it of any one
    repository; which ones are is a published list (redpajama/license_lists.py), by default that of v1.1. v1.0 has weak
    copyleft: refused. Requests to opt out that came after a release are honoured by a list of names. StarCoderData has
    no licences to check: its rows are of v1.2. Its texts begin at random with a line of marks
    (`<reponame>…<filename>…<gh_stars>…`), which are words of one tokenizer: taken off, unless `keep_prefix`; what they
    say is in the meta. Line ends are line feeds.
"""

import csv
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import fsspec
import pyarrow as pa
from lxml import etree
from pydantic import BaseModel, ConfigDict, Field, field_validator

from redpajama.errors import InputError
from redpajama.extract.encodings import unix_lines
from redpajama.extract.license_lists import allowed, fold, misspelt
from redpajama.extract.spdx import is_allowed
from redpajama.pipelines import Pipeline
from redpajama.quality.measures import inline
from redpajama.raw import parquet
from redpajama.raw.io import RawFile
from redpajama.records import Document, Reason, Tally
from redpajama.tables import Table

MIN_VERSION = (1, 1)
RELEASE = re.compile(r"hf://datasets/bigcode/(the-stack(?:-dedup|-v2[\w-]*)?)(?:@([^/]*))?/", re.IGNORECASE)
VERSION_TAG = re.compile(r"v(\d+)(?:\.(\d+))?")
REPOSITORY_COLUMNS = ("max_stars_repo_name", "max_issues_repo_name", "max_forks_repo_name")
META_COLUMNS = (
    *("hexsha", "size", "ext", "lang", "max_stars_repo_path", "max_stars_repo_name", "max_stars_repo_head_hexsha"),
    *("max_stars_repo_licenses", "max_stars_count"),
)
STARCODER_COLUMNS = ("lang", "max_stars_repo_path", "max_stars_repo_name", "max_stars_count")
COLUMNS = (*META_COLUMNS, *REPOSITORY_COLUMNS[1:], "id", "content")
PREFIX = re.compile(
    r"(?=<(?:reponame|filename|gh_stars)>)(?:<reponame>.*?)?(?:<filename>.*?)?(?:<gh_stars>[\d+-]+)?(?:\n|\Z)"
)

XML_DECLARATION = "<?xml version="
DATA_LANGUAGES = ("json", "yaml")
NAMES = {"c#": "c-sharp", "f#": "f-sharp", "cpp": "c++"}  # of a language: BigCode's three spellings
HTML_PARSER = {"encoding": "utf-8", "remove_comments": True, "remove_pis": True, "huge_tree": True}


class Filters(Table):
    """Rules for single languages; None: no such rule. Bounds are inclusive, as those of `[source.quality]`."""

    min_xml_offset_chars: int | None = Field(default=None, ge=1)  # `<?xml version=` ends before it: out, but for XSLT
    min_html_text_fraction: float | None = Field(default=None, ge=0, le=1)  # text that a reader sees, of all characters
    min_html_text_chars: int | None = Field(default=None, ge=0)
    min_data_chars: int | None = Field(default=None, ge=0)  # JSON and YAML
    max_data_chars: int | None = Field(default=None, ge=0)
    min_data_alpha_fraction: float | None = Field(default=None, ge=0, le=1)
    lines: bool = False  # QUALITY, or the table of `extensions`


PRESETS = {
    "starcoder": {
        "min_xml_offset_chars": 100,
        "min_html_text_fraction": 0.2,
        "min_html_text_chars": 100,
        "min_data_chars": 50,
        "max_data_chars": 5000,
        "min_data_alpha_fraction": 0.5,
        "lines": True,
    }
}
QUALITY = {  # of `lines`
    "max_max_line_chars": 1000,
    "max_mean_line_chars": 100,
    "min_alnum_fraction": 0.25,
    "min_alpha_fraction": 0.25,
}


class Options(BaseModel):
    """`[source.options]` of a Stack source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    languages: tuple[str, ...] = ()  # values of `lang`, in any case; none: all
    licenses: tuple[str, ...] = ("the-stack-v1.1",)  # profiles and SPDX identifiers, these in any case
    optouts: str = ""  # a path or URL: one owner/repo a line, or an owner alone
    filters: Filters = Filters()
    extensions: str = ""  # a path or URL: BigCode's table of thresholds for each language and extension
    keep_prefix: bool = False  # of StarCoderData's texts

    @field_validator("licenses", mode="before")
    @classmethod
    def _one_name_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("licenses")
    @classmethod
    def _knows_profiles(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if slip := misspelt(names):
            raise ValueError(f"'{slip[0]}' is no profile; did you mean '{slip[1]}'?")
        return names

    @field_validator("filters", mode="before")
    @classmethod
    def _lay_over_preset(cls, value: Any) -> Any:
        given = {"preset": value} if isinstance(value, str) else value
        if not isinstance(given, dict) or "preset" not in given:
            return given
        if given["preset"] not in PRESETS:
            raise ValueError(f"'{given['preset']}' is no preset; known: {', '.join(PRESETS)}")
        return PRESETS[given["preset"]] | {key: rule for key, rule in given.items() if key != "preset"}


def check_inputs(urls: Sequence[str]) -> str | None:
    """Why a release is not read, or None: one before MIN_VERSION, or one without texts."""
    for url in urls:
        release = RELEASE.match(url)
        tag = VERSION_TAG.fullmatch(release[2] or "") if release else None
        if release and release[1].casefold().startswith("the-stack-v2"):
            return f"'{url}': The Stack v2 has no texts, only ids of Software Heritage; wanted the-stack or -dedup"
        if tag and (int(tag[1]), int(tag[2] or 0)) < MIN_VERSION:
            return (
                f"'{url}': The Stack before v1.1 has code under weak copyleft (MPL, EPL, LGPL), and code whose authors "
                "opted out; wanted @v1.1 or newer, or no revision for the latest"
            )
    return None


def quality_rules(options: Options) -> dict[str, float]:
    """The rules of `[source.quality]` that the options bring with them."""
    return dict(QUALITY) if options.filters.lines and not options.extensions else {}


class Limits(NamedTuple):
    """What one extension of one language must keep to; None: no such rule."""

    max_max_line_chars: float | None
    max_mean_line_chars: float | None
    min_alnum_fraction: float | None
    min_alpha_fraction: float | None


class Choice(NamedTuple):
    """The options as they are compared: folded, and the files they name read."""

    languages: frozenset[str]
    permits: Callable[[tuple[str, ...]], bool]  # whether all these licences are allowed
    optouts: frozenset[str]
    filters: Filters
    extensions: dict[tuple[str, str], Limits]  # (language, extension)
    has_rules: bool  # whether one of these two asks for any
    keep_prefix: bool


def read(files: Sequence[RawFile], options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """Rows of the release -> one document each."""
    choice = choose(options)
    for file in files:
        folder = posixpath.basename(posixpath.dirname(file.url))
        for number, row in parquet.rows(file, COLUMNS, tally):
            if "hexsha" not in row and "id" in row:
                row["lang"] = folder
            yield from parse_row(row, number, choice, source, tally)


def choose(options: Options) -> Choice:
    """Fold the options' names; reads the list of those who opted out and the table of extensions."""
    return Choice(
        frozenset(map(language_key, options.languages)),
        permitting(options.licenses),
        read_optouts(options.optouts) if options.optouts else frozenset(),
        options.filters,
        read_extensions(options.extensions) if options.extensions else {},
        bool(options.extensions) or options.filters != Filters(),
        options.keep_prefix,
    )


def read_optouts(path: str) -> frozenset[str]:
    """Names of repositories and owners, folded; blank lines and `#` comments are passed over."""
    with fsspec.open(path, "rt", encoding="utf-8", errors="replace") as lines:
        names = (line.partition("#")[0].strip().casefold() for line in lines)
        return frozenset(name for name in names if name)


def read_extensions(path: str) -> dict[tuple[str, str], Limits]:
    """BigCode's CSV -> the limits of each (language, extension) that it includes; a cell that is no number is no limit.

    Raises:
        InputError: it lacks a column.
    """
    with fsspec.open(path, "rt", encoding="utf-8", errors="replace", newline="") as lines:
        rows = list(csv.DictReader(lines))
    wanted = {"language", "extension", "Include", "Long_line_threshold", "Alphanum_threshold", "Alpha filter"}
    if missing := sorted(wanted - set(rows[0] if rows else ())):
        raise InputError(f"{path}: no column '{missing[0]}'; wanted BigCode's preprocessing/visual_inspection.csv")
    return {
        (language_key(row["language"]), row["extension"].casefold()): _limits(row)
        for row in rows
        if row["Include"] == "1"
    }


def _limits(row: dict[str, str]) -> Limits:
    names = ("Long_line_threshold", "Alphanum_threshold", "Alpha filter")
    longest, alnum, alpha = (float(row[name]) if re.fullmatch(r"\d+(\.\d+)?", row[name]) else None for name in names)
    return Limits(longest, QUALITY["max_mean_line_chars"] if longest else None, alnum, alpha)


def language_key(name: Any) -> str:
    """A language as `lang`, folder and table of extensions all have it: `C#`, `c-sharp` -> `c-sharp`."""
    key = str(name).casefold().replace(" ", "-")
    return NAMES.get(key, key)


def parse_row(row: dict[str, Any], number: int, choice: Choice, source: str, tally: Tally) -> Iterator[Document]:
    """One row -> its document, or a row in the ledger."""
    name, text = native_key(row), row.get("content")
    if not name or not isinstance(text, str):
        tally.quarantine("", Reason.MISSING_FIELD, row=number, wanted="hexsha or id, content")
        return
    doc_id, licenses = f"{source}/{name}", licenses_in(row.get("max_stars_repo_licenses"))
    is_starcoder = "hexsha" not in row
    if is_starcoder and not choice.keep_prefix:
        text = PREFIX.sub("", text, count=1) if PREFIX.match(text) else text
    if choice.optouts and (optout := find_optout(row, choice.optouts)):
        tally.drop(doc_id, Reason.NOT_SELECTED, row=number, optout=optout)
    elif choice.languages and language_key(row.get("lang")) not in choice.languages:
        tally.drop(doc_id, Reason.NOT_SELECTED, row=number, lang=row.get("lang"))
    elif not is_starcoder and not choice.permits(tuple(licenses)):
        tally.drop(doc_id, Reason.LICENSE_NOT_ALLOWED, row=number, license=", ".join(licenses))
    elif not text or text.isspace():
        tally.drop(doc_id, Reason.EMPTY_TEXT, row=number)
    elif choice.extensions and _extension(row) not in choice.extensions:
        tally.drop(doc_id, Reason.NOT_SELECTED, row=number, lang=row.get("lang"), ext=_extension(row)[1])
    elif failure := first_failure(text, row, choice):
        rule, value, threshold = failure
        reason = Reason.BELOW_MINIMUM if rule.startswith("min_") else Reason.ABOVE_MAXIMUM
        tally.drop(doc_id, reason, value=value, threshold=threshold, row=number, rule=rule)
    else:
        yield Document(doc_id, unix_lines(text), describe(row, licenses, is_starcoder))


def native_key(row: dict[str, Any]) -> str:
    """`hexsha`, or of StarCoderData, whose ids count within a language, `<language>/<id>`; "" where neither is."""
    if isinstance(hexsha := row.get("hexsha"), str):
        return hexsha
    found = row.get("id") if "hexsha" not in row else None
    return "/".join(filter(None, [row.get("lang"), str(found)])) if found not in (None, "") else ""


def describe(row: dict[str, Any], licenses: list[str], is_starcoder: bool) -> dict[str, Any]:
    """The row's meta."""
    if is_starcoder:
        return {name: row.get(name) for name in STARCODER_COLUMNS} | {"source": "starcoderdata"}
    meta = {name: row.get(name) for name in META_COLUMNS}
    meta["max_stars_repo_licenses"], meta["source"] = licenses, "the_stack"
    return meta


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


def permitting(names: Sequence[str]) -> Callable[[tuple[str, ...]], bool]:
    """Whether a row has licences, and profiles and identifiers of these names allow each of them as a whole."""
    permitted = allowed(names)

    @lru_cache(maxsize=10_000)  # millions of rows have the same few lists
    def permits(licenses: tuple[str, ...]) -> bool:
        return bool(licenses) and all(is_allowed(license, lambda name: fold(name) in permitted) for license in licenses)

    return permits


# ---- StarCoder's rules


def first_failure(text: str, row: dict[str, Any], choice: Choice) -> tuple[str, float, float | None] | None:
    """(rule, value, threshold) of the first rule for its language that a text fails."""
    if not choice.has_rules:
        return None
    limits = choice.extensions.get(_extension(row)) if choice.extensions else None
    measured = measure(text, language_key(row.get("lang")), choice.filters, limits)
    return next((found for found in measured if _fails(*found)), None)


def _fails(rule: str, value: float, threshold: float | None) -> bool:
    if threshold is None:
        return False
    return value < threshold if rule.startswith("min_") else value > threshold


def _extension(row: dict[str, Any]) -> tuple[str, str]:
    """(language, extension) as the table of extensions has them."""
    suffix = posixpath.splitext(str(row.get("max_stars_repo_path") or ""))[1].lstrip(".")
    extension = row["ext"] or "" if "ext" in row else suffix
    return language_key(row.get("lang")), str(extension).casefold()


def measure(
    text: str, language: str, filters: Filters, limits: Limits | None = None
) -> Iterator[tuple[str, float, float | None]]:
    """(rule, value, threshold) of each rule for a language, in order; nothing is measured that is not asked for."""
    if filters.min_xml_offset_chars and language != "xslt":
        offset = text.find(XML_DECLARATION, 0, filters.min_xml_offset_chars)
        if offset >= 0:
            yield "min_xml_offset_chars", offset, filters.min_xml_offset_chars
    if language == "html" and (filters.min_html_text_fraction or filters.min_html_text_chars):
        seen = visible_chars(text)
        yield "min_html_text_fraction", round(seen / len(text), 8), filters.min_html_text_fraction
        yield "min_html_text_chars", seen, filters.min_html_text_chars
    if language in DATA_LANGUAGES:
        yield "min_data_chars", len(text), filters.min_data_chars
        yield "max_data_chars", len(text), filters.max_data_chars
        if filters.min_data_alpha_fraction and not limits:
            yield "min_data_alpha_fraction", _signals(text)["alpha_fraction"], filters.min_data_alpha_fraction
    if limits:
        values = _signals(text)
        yield from ((rule, values[rule[4:]], threshold) for rule, threshold in limits._asdict().items())


def visible_chars(html: str) -> int:
    """Characters of a page's text with all its white space, without scripts, styles and comments; 0 of no page.

    As BeautifulSoup's `get_text` in BigCode's filter, but for pages nested deeper than the 2,048 that libxml2 reads.
    """
    root = etree.fromstring(html.encode(), etree.HTMLParser(**HTML_PARSER))
    if root is None:
        return 0
    etree.strip_elements(root, "script", "style", with_tail=False)
    return sum(map(len, root.itertext()))


def _signals(text: str) -> dict[str, float]:
    """The signals of one text, by their names without prefix."""
    measured = inline.measure(pa.array([text], pa.large_string()))
    return {name.removeprefix(inline.PREFIX): column[0].as_py() for name, column in measured.items()}


PIPELINE = Pipeline(
    name="the_stack",
    version=3,
    unit="row",
    options=Options,
    read=read,
    libraries=("pyarrow", "lxml"),
    side_files=("optouts", "extensions"),
    cuts=parquet.cuts,
    check_inputs=check_inputs,
    quality_rules=quality_rules,
    kind="code",
)
