"""The document, the ledger of what did not become one, and the reasons: the words all stages share.

A raw unit (a WARC record, a page, a post, a member, a row) ends in exactly one of four ways: it is *kept* as a
document, *merged* into a named document, *dropped* for a named reason, or *quarantined* as unreadable. `Tally`
counts units as the reader meets them and outcomes as the pipeline decides them; the two must agree.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import pyarrow as pa

MAX_QUARANTINE_BYTES = 64 * 1024  # raw bytes kept of one quarantined unit


class Reason(StrEnum):
    """Every cause of a drop, a quarantine or a note. The values are the report's rows: kebab-case, stable."""

    # dropped by a pipeline
    EMPTY_TEXT = "empty-text"
    ONLY_A_TITLE = "only-a-title"  # a WET record of one line
    REPEATED_RECORD = "repeated-record"  # the same id and the same content again in one part
    NOT_A_PAGE = "not-a-page"  # WARC: request, metadata, warcinfo, revisit
    NOT_HTML = "not-html"
    HTTP_ERROR = "http-error"
    NO_PARAGRAPH_LEFT = "no-paragraph-left"
    WRONG_SUFFIX = "wrong-suffix"
    LICENSE_FILE = "license-file"
    LICENSE_NOT_ALLOWED = "license-not-allowed"
    BINARY_FILE = "binary-file"
    WITHDRAWN = "withdrawn"
    NOT_SELECTED = "not-selected"  # another slice, language or site than the manifest names
    NO_BOOK_TEXT = "no-book-text"
    PDF_ONLY = "pdf-only"
    NOT_TEX = "not-tex"
    NOT_INCLUDED = "not-included"  # a TeX file that the main file never inputs, or inputs where its text is cut
    NO_SECTION = "no-section"
    REDIRECT = "redirect"
    DISAMBIGUATION = "disambiguation"
    NOT_AN_ARTICLE = "not-an-article"
    NOT_A_POST = "not-a-post"  # tag wikis, moderator nominations, ...
    ORPHAN_ANSWER = "orphan-answer"
    LOW_SCORE = "low-score"
    # dropped by [source.clean]
    LOREM_IPSUM = "lorem-ipsum"
    CURLY_BRACKET = "curly-bracket"
    FEW_SENTENCES = "few-sentences"
    BAD_WORD = "bad-word"
    # quarantined: the unit cannot be read
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    EXPANSION_LIMIT = "expansion-limit"
    WRONG_FORMAT = "wrong-format"
    INVALID_UTF8 = "invalid-utf8"
    INVALID_JSON = "invalid-json"
    INVALID_XML = "invalid-xml"
    INVALID_RECORD = "invalid-record"
    MISSING_FIELD = "missing-field"
    UNSAFE_PATH = "unsafe-path"
    UNDECODABLE = "undecodable"
    # noted: the unit is kept, and something of it was mended
    MALFORMED_DATE = "malformed-date"
    LONE_SURROGATE = "lone-surrogate"
    FORBIDDEN_CHARACTER = "forbidden-character"
    # verdicts of later stages
    BELOW_MINIMUM = "below-minimum"
    ABOVE_MAXIMUM = "above-maximum"
    LOW_LANGUAGE_SCORE = "low-language-score"
    LANGUAGE_NOT_KEPT = "language-not-kept"
    PERPLEXITY_BUCKET = "perplexity-bucket"
    BELOW_CLASSIFIER_THRESHOLD = "below-classifier-threshold"
    BLOCKED_DOMAIN = "blocked-domain"
    BLOCKED_URL = "blocked-url"
    DUPLICATE_ID = "duplicate-id"
    EXACT_DUPLICATE = "exact-duplicate"
    NEAR_DUPLICATE = "near-duplicate"
    REPEATED_TEXT = "repeated-text"  # too little is left of it without the spans that its source holds elsewhere
    NO_TOKENS = "no-tokens"
    TOO_MANY_TOKENS = "too-many-tokens"  # longer than the mixture's max_document_tokens
    MAX_COPIES = "max-copies"  # near copies of it are drawn as often as any text may be
    HELD_OUT = "held-out"  # for validation
    # notes on what was kept
    NO_FOOT = "no-foot"  # a book without the line that ends it: whole as far as one can see


class Document(NamedTuple):
    """One text of the corpus. `doc_id` is `<source>/<native key>`, unique and stable for life."""

    doc_id: str
    text: str
    meta: dict[str, Any]  # RedPajama's fields for the source; JSON-serialisable


DOCUMENT_FIELDS = [
    pa.field("doc_id", pa.string()),
    pa.field("text", pa.large_string()),
    pa.field("source", pa.string()),
    pa.field("meta", pa.string()),  # canonical JSON
]

LEDGER_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string()),  # "" where the unit never had one
        pa.field("stage", pa.string()),
        pa.field("verdict", pa.string()),  # dropped | quarantined | noted
        pa.field("reason", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("evidence", pa.string()),  # canonical JSON: file, offset, end, survivor, ...
    ]
)


class LedgerRow(NamedTuple):
    """One row of `LEDGER_SCHEMA`; `evidence` is a dict until it is written."""

    doc_id: str
    verdict: str
    reason: Reason
    value: float | None
    threshold: float | None
    evidence: dict[str, Any]
    raw: bytes = b""  # of a quarantined unit, at most MAX_QUARANTINE_BYTES; stored beside the ledger


@dataclass
class Tally:
    """What became of each raw unit and each raw byte of one part.

    The *reader* calls `unit` for each raw unit it meets and `skip` for each byte range it cannot read; the
    *pipeline* calls `merge`, `drop` or `quarantine`, or yields a Document (then the stage calls `keep`).
    """

    file: str = ""  # the URL being read: readers set it, every row's evidence names it
    start: int = 0  # raw byte from which lines, and offsets in what is decoded, are counted; evidence calls it `from`
    read: int = 0
    kept: int = 0
    merged: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    damaged: Counter[str] = field(default_factory=Counter)  # byte ranges, not units
    noted: Counter[str] = field(default_factory=Counter)  # of units that have an outcome
    consumed_bytes: int = 0
    skipped_bytes: int = 0
    rows: list[LedgerRow] = field(default_factory=list)  # drained by the stage

    @classmethod
    def resume(cls, counts: dict[str, Any]) -> "Tally":
        """A tally that goes on from the `counts` of another."""
        sums = {name: counts[name] for name in ("read", "kept", "merged", "consumed_bytes", "skipped_bytes")}
        tally = cls(**sums)
        tally.dropped, tally.quarantined = Counter(counts["dropped"]), Counter(counts["quarantined"])
        tally.damaged, tally.noted = Counter(counts["damaged_ranges"]), Counter(counts.get("noted", {}))
        return tally

    def unit(self, count: int = 1) -> None:
        """The reader met `count` more raw units."""
        self.read += count

    def keep(self, count: int = 1) -> None:
        """`count` units became documents."""
        self.kept += count

    def merge(self, count: int = 1) -> None:
        """`count` units went into a document that another unit names (an answer into its thread)."""
        self.merged += count

    def drop(
        self,
        doc_id: str,
        reason: Reason,
        *,
        value: float | None = None,
        threshold: float | None = None,
        **evidence: Any,
    ) -> None:
        """One readable unit is not wanted, for a named reason."""
        self.dropped[reason] += 1
        self._row(doc_id, "dropped", reason, value, threshold, self._from(evidence))

    def quarantine(self, doc_id: str, reason: Reason, raw: bytes = b"", **evidence: Any) -> None:
        """One unit cannot be read. `raw` is its bytes, kept up to 64 KiB; evidence says where it stood."""
        self.quarantined[reason] += 1
        self._row(doc_id, "quarantined", reason, None, None, self._from(evidence), raw[:MAX_QUARANTINE_BYTES])

    def note(self, doc_id: str, reason: Reason, **evidence: Any) -> None:
        """One unit is kept, and is not as it was written: evidence says what of it. It counts as no outcome."""
        self.noted[reason] += 1
        self._row(doc_id, "noted", reason, None, None, self._from(evidence))

    def _from(self, evidence: dict[str, Any]) -> dict[str, Any]:
        return {"from": self.start, **evidence} if self.start else evidence

    def skip(self, start: int, end: int, reason: Reason, raw: bytes = b"", **evidence: Any) -> None:
        """Raw bytes [start, end) of the current file are unreadable; how many units they held is unknown."""
        self.damaged[reason] += 1
        self.skipped_bytes += end - start
        where = {"offset": start, "end": end, **evidence}
        self._row("", "quarantined", reason, None, None, where, raw[:MAX_QUARANTINE_BYTES])

    def _row(
        self,
        doc_id: str,
        verdict: str,
        reason: Reason,
        value: float | None,
        threshold: float | None,
        evidence: dict[str, Any],
        raw: bytes = b"",
    ) -> None:
        self.rows.append(LedgerRow(doc_id, verdict, reason, value, threshold, {"file": self.file, **evidence}, raw))

    def counts(self) -> dict[str, Any]:
        """The sums as they stand in the part record."""
        noted = {"noted": dict(sorted(self.noted.items()))} if self.noted else {}
        return noted | {
            "read": self.read,
            "kept": self.kept,
            "merged": self.merged,
            "dropped": dict(sorted(self.dropped.items())),
            "quarantined": dict(sorted(self.quarantined.items())),
            "damaged_ranges": dict(sorted(self.damaged.items())),
            "consumed_bytes": self.consumed_bytes,
            "skipped_bytes": self.skipped_bytes,
        }
