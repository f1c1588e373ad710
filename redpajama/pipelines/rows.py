"""Rows: tables of your own, a document a row.

Input
    JSON lines (`.jsonl`, `.ndjson`), one JSON list, CSV and TSV with a header, plain or as gzip, bzip2 or zstd;
    Parquet; Arrow IPC (`.arrow`, `.feather`, as the data sets library keeps them). The name tells the format, else
    the first bytes.
Flow
    row -> its fields -> document. Nothing is filtered but rows without text. The unit is the row.
Output
    One document a row, its id that of the row, else a hash of URL and text; meta: `url` if there is one, the fields
    that `meta` names, and `source` where none of them is called so.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from redpajama.hashing import content_key
from redpajama.pipelines import Pipeline
from redpajama.raw import decompress, parquet, tables
from redpajama.raw.io import RawFile
from redpajama.records import Document, Reason, Tally

Format = Literal["lines", "list", "parquet", "arrow", "csv", "tsv"]
SUFFIXES: dict[str, Format] = {
    **dict.fromkeys(("jsonl", "ndjson"), "lines"),
    **dict.fromkeys(("parquet", "pq"), "parquet"),
    **dict.fromkeys(("arrow", "feather", "ipc"), "arrow"),
    **{"csv": "csv", "tsv": "tsv"},
}
PACKED = re.compile(r"\.(?:gz|bz2|zst|zstd)$")
MAX_INT = 1 << 63
MISSING = object()

Where = int | decompress.Line  # a row's number from 0, or its line


class Fields(BaseModel):
    """`fields = { text = "content", id = "id", url = "link", meta = ["date"] }`; `a.b` is the field b of a."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str | tuple[str, ...] = "text"  # of a list: those that a row has, joined
    id: str | None = None
    url: str | None = None
    meta: tuple[str, ...] | Literal["all"] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """The fields that make the text."""
        return (self.text,) if isinstance(self.text, str) else self.text

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns to read of a table that has them apart; () for all."""
        own = [*self.texts, *filter(None, (self.id, self.url)), *(self.meta if self.meta != "all" else ())]
        return () if self.meta == "all" else tuple(dict.fromkeys([*own, *(name.split(".")[0] for name in own)]))


class Options(BaseModel):
    """`[source.options]` of a source of rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fields: Fields = Fields()  # text, id, url, meta: by name or path (a.b); text and meta may be lists, meta "all"
    joiner: str = "\n\n"  # between the fields of a text
    format: Format | None = None  # not given: as the name or the first bytes tell
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)  # of CSV; not given: a comma, of TSV a tab
    encoding: str | None = None  # of CSV; not given: UTF-8, or UTF-16 with its mark

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, name: str | None) -> str | None:
        if name is not None and not tables.is_encoding(name):
            raise ValueError(f"'{name}' is no encoding of texts, such as \"cp1252\"")
        return name


def read(files: Sequence[RawFile], options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """Rows -> one document each."""
    chosen = Chosen.of(options)
    for file in files:
        for where, row in rows(file, options, tally):
            if found := document(row, where, chosen, source, tally):
                yield found


class Chosen(NamedTuple):
    """The fields, looked up once and not for each row."""

    text: str  # the only field of the text; "" where there are several
    texts: tuple[str, ...]
    joiner: str
    id: str | None
    url: str | None
    meta: tuple[str, ...] | None  # None: all that nothing else has
    used: frozenset[str | None]

    @classmethod
    def of(cls, options: Options) -> "Chosen":
        fields = options.fields
        only, meta = fields.text if isinstance(fields.text, str) else "", None if fields.meta == "all" else fields.meta
        used = frozenset({*fields.texts, fields.id, fields.url})
        return cls(only, fields.texts, options.joiner, fields.id, fields.url, meta, used)


def rows(file: RawFile, options: Options, tally: Tally) -> Iterator[tuple[Where, dict[str, Any]]]:
    """(where it stands, row) of each readable row of a file, one `tally.unit()` each."""
    kind = options.format or format_of(file.whole) or "lines"
    readers: dict[str, Callable[[Tally], Iterator[tuple[Any, dict[str, Any]]]]] = {
        "lines": partial(decompress.json_rows, file),
        "parquet": partial(parquet.rows, file, options.fields.columns),
        "arrow": partial(tables.arrow_rows, file),
        "csv": partial(tables.csv_rows, file, options.delimiter or ",", options.encoding),
        "tsv": partial(tables.csv_rows, file, options.delimiter or "\t", options.encoding),
        "list": partial(tables.json_list, file),
    }
    return readers[kind](tally)


def _place(where: Where) -> dict[str, Any]:
    """As evidence has it."""
    return {"row": where} if isinstance(where, int) else where.place


def format_of(file: RawFile) -> Format | None:
    """By the name, else by the first bytes; None where these tell nothing."""
    name = PACKED.sub("", file.url.partition("?")[0].lower())
    if known := SUFFIXES.get(name.rpartition(".")[2]):
        return known
    head = decompress.head(file, 512)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(tables.ARROW_MAGIC):
        return "arrow"
    starts: dict[bytes, Format] = {b"[": "list", b"{": "lines"}
    return starts.get(head.removeprefix(decompress.MARK).lstrip()[:1])


def cuts(file: RawFile, part_bytes: int) -> list[int]:
    """Where parts of JSON lines and Parquet may begin; other tables are read as a whole."""
    cutters = {"lines": decompress.cuts, "parquet": parquet.cuts}
    cut = cutters.get(format_of(file) or "")
    return cut(file, part_bytes) if cut else []


def document(row: dict[str, Any], where: Where, chosen: Chosen, source: str, tally: Tally) -> Document | None:
    """One row -> its document, or a row in the ledger."""
    text = row.get(chosen.text)
    if not isinstance(text, str):
        text = _text(row, where, chosen, tally)
        if text is None:
            return None
    url = _text_of(row, chosen.url) if chosen.url else ""
    own = _text_of(row, chosen.id) if chosen.id else ""
    doc_id = f"{source}/{own or content_key(url, text)}"
    if not text or text.isspace():
        tally.drop(doc_id, Reason.EMPTY_TEXT, **_place(where))
        return None
    found = {"source": "rows", **meta(row, chosen)} if chosen.meta != () else {"source": "rows"}
    if url:
        found["url"] = url
    return Document(doc_id, text, found)


def _text(row: dict[str, Any], where: Where, chosen: Chosen, tally: Tally) -> str | None:
    """The fields of the text that a row has, joined; None, and a row in the ledger, where there is none."""
    texts = [value for name in chosen.texts if (value := field(row, name)) is not MISSING]
    strange = [value for value in texts if not isinstance(value, str | None)]
    if texts and not strange:
        return chosen.joiner.join(filter(None, texts))
    found: dict[str, Any] = {"is": type(strange[0]).__name__} if strange else {"found": ", ".join(map(str, row))[:500]}
    tally.quarantine("", Reason.MISSING_FIELD, **_place(where), wanted=", ".join(chosen.texts), **found)
    return None


def field(row: dict[str, Any], name: str) -> Any:
    """A field by its name, else by its path; MISSING where a row has none."""
    if name in row:
        return row[name]
    head, dot, rest = name.partition(".")
    inner = row.get(head) if dot else None
    return field(inner, rest) if isinstance(inner, dict) else MISSING


def _text_of(row: dict[str, Any], name: str) -> str:
    """A field as text; "" where there is none."""
    value = row.get(name, MISSING)
    if isinstance(value, str):
        return value
    value = field(row, name)
    return "" if value is MISSING or value is None else str(value)


def meta(row: dict[str, Any], chosen: Chosen) -> dict[str, Any]:
    """The fields of a row that `meta` names; "all": those that nothing else has. What JSON has no word for is text."""
    if chosen.meta is None:
        return {name: plain(value) for name, value in row.items() if name not in chosen.used}
    found = {}
    for name in chosen.meta:
        value = row.get(name, MISSING)
        value = field(row, name) if value is MISSING else value
        if value is not MISSING:
            found[name] = value if isinstance(value, str) else plain(value)
    return found


def plain(value: Any) -> Any:
    """A value as JSON has it: bytes that are no UTF-8 as escapes, decimals, dates and large numbers as text."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    is_large = isinstance(value, int) and not -MAX_INT <= value < 2 * MAX_INT
    return value if isinstance(value, str | int | float | None) and not is_large else str(value)


PIPELINE = Pipeline(
    name="rows",
    version=2,
    unit="row",
    options=Options,
    read=read,
    libraries=("orjson", "pyarrow"),
    cuts=cuts,
)
