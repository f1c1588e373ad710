"""WARC files: a stream of bytes -> its records, and the header of the HTTP message in one of them.

Records are found by their headers, not by position; `Content-Length` is believed only where a record ends there. After
damage, reading goes on at the next record. ISO 28500; https://iipc.github.io/warc-specifications/
"""

import re
from base64 import b32encode
from collections.abc import Iterable, Iterator
from hashlib import sha1
from typing import NamedTuple

from redpajama.raw import decompress
from redpajama.raw.io import RawFile
from redpajama.records import MAX_QUARANTINE_BYTES, Reason, Tally

MAX_RECORD_BYTES = 64 << 20  # CommonCrawl cuts a page at 1 MiB, since 2025 at 5 MiB
MAX_HEADER_BYTES = 256 << 10
OVERLAP_BYTES = 1 << 10  # longer than what START matches
START = re.compile(rb"(?:\A|(?<=\n))WARC/[01]\.\d{1,2}[ \t]{0,9}\r?\n[\w-]{1,99}[ \t]{0,9}:")  # ISO 28500, section 4
END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
END_OR_START = re.compile(rb"(\r?\n\r?\n)|" + START.pattern)
FIELD_NAME = re.compile(r"[!-9;-~]+")
BLANK = re.compile(rb"\s*")
BETWEEN = re.compile(rb"[\r\n]*")  # two records; by the standard two line ends
VERSION_LINE = re.compile(rb"WARC/[01]\.")
ARC = b"filedesc://"


class Record(NamedTuple):
    """One WARC record; where it has a `fault`, `block` is its first 64 KiB, header and all."""

    offset: int  # in the decompressed file
    headers: dict[str, str]  # lower-case name -> value
    block: bytes
    fault: Reason | None = None
    note: str = ""
    end: int = 0  # of the block, or of what a fault passed over, in the decompressed file


class BadHeader(ValueError):
    """A record's header cannot be read."""


def records(chunks: Iterable[bytes | None]) -> Iterator[Record]:
    """Decompressed chunks -> records. After damage it goes on at the next line that starts one.

    A `Content-Length` is believed only if the record ends where it says. Memory is bounded by MAX_RECORD_BYTES.
    """
    ahead = _Ahead(chunks)
    while ahead.next_nonblank():
        if START.match(ahead.data):
            yield _next_record(ahead)
        else:
            yield _passed_over(ahead, Reason.TRUNCATED if ahead.after_gap else Reason.INVALID_RECORD, "no WARC header")


def record_cuts(file: RawFile, part_bytes: int) -> list[int]:
    """Raw offsets at which a WARC file may be cut: where a whole record begins, and with it a member or frame.

    Only the reader knows where records begin: a page may itself be a WARC file. So the file is read to find them.
    """
    codec = decompress.codec_name(file)
    starts: Iterator[int] = iter(())  # bzip2: its blocks begin anywhere
    if codec == "plain":
        starts = (record.offset for record in records(decompress.chunks(file, Tally())) if not record.fault)
    elif codec != "bzip2":
        starts = _starts_of_both(file)
    return decompress.spaced(starts, file.bytes, part_bytes)


def _starts_of_both(file: RawFile) -> Iterator[int]:
    """Raw offsets where a unit of a compressed file begins with a record."""
    raw_of: dict[int, int] = {}  # offset in the decoded file -> of the unit that begins there

    def chunks() -> Iterator[bytes | None]:
        decoded, last = 0, -1
        for raw, data in decompress.unit_chunks(file):
            if raw != last:
                raw_of[decoded] = raw
            decoded, last = decoded + len(data or b""), raw
            yield data

    for record in records(chunks()):
        if not record.fault and record.offset in raw_of:
            yield raw_of[record.offset]


def _end_of(pattern: re.Pattern[bytes], data: bytes | bytearray, start: int = 0) -> int:
    """Where what a pattern matches at `start` ends; `start` where it matches nothing."""
    match = pattern.match(data, start)
    return match.end() if match else start


class _Ahead:
    """The bytes from where the reader stands up to the next gap, fetched as far as asked."""

    def __init__(self, chunks: Iterable[bytes | None]) -> None:
        self.chunks = iter(chunks)
        self.data = bytearray()
        self.offset = 0  # of data[0]
        self.at_gap = self.at_end = False  # what follows `data`
        self.after_gap = False  # what lies before data[0], if nothing was taken since

    def fetch(self, size: int) -> bool:
        """Whether `size` bytes lie ahead."""
        while len(self.data) < size and not (self.at_gap or self.at_end):
            try:
                chunk = next(self.chunks)
            except StopIteration:
                self.at_end = True
            else:
                self.at_gap = chunk is None
                self.data += chunk or b""
        return len(self.data) >= size

    def take(self, size: int) -> bytes:
        """Move on by `size` bytes that lie ahead."""
        taken = bytes(self.data[:size])
        del self.data[:size]
        self.offset += size
        self.after_gap = False
        return taken

    def next_nonblank(self) -> bool:
        """Move on to the next byte that is no white space, across gaps; False at the end of the file."""
        while True:
            self.fetch(OVERLAP_BYTES)
            self.take_blank()
            if self.data:
                return self.fetch(OVERLAP_BYTES) or True
            if self.at_end:
                return False
            if self.at_gap:
                self.at_gap, self.after_gap = False, True

    def take_blank(self) -> None:
        """Move on over white space."""
        if blank := _end_of(BLANK, self.data):
            self.take(blank)

    def take_to_next_start(self) -> bytes:
        """Move on to the next start of a record after this byte, or to the gap or end; the first 64 KiB passed."""
        passed = bytearray()
        while not (found := START.search(self.data, 1)) and self.fetch(len(self.data) + 1):
            passed += self.take(max(0, len(self.data) - 1 - OVERLAP_BYTES))
            del passed[MAX_QUARANTINE_BYTES:]
        passed += self.take(found.start() if found else len(self.data))
        return bytes(passed[:MAX_QUARANTINE_BYTES])


def _next_record(ahead: _Ahead) -> Record:
    """The record that starts here, or what is wrong with it."""
    offset, start = ahead.offset, _end_of_header(ahead)
    try:
        headers = parse_header(bytes(ahead.data[:start]))
        length = content_length(headers)
    except BadHeader as error:
        return _passed_over(ahead, _reason(ahead) if not start else Reason.INVALID_RECORD, str(error))
    if length > MAX_RECORD_BYTES:
        return _passed_over(ahead, Reason.EXPANSION_LIMIT, f"Content-Length {length}")
    end = start + length
    if not ahead.fetch(end):
        return _passed_over(ahead, _reason(ahead), f"Content-Length {length}")
    if not _ends(ahead, start, end, headers):
        return _passed_over(ahead, Reason.INVALID_RECORD, f"does not end at its Content-Length {length}")
    ahead.take(start)
    block = ahead.take(length)
    return Record(offset, headers, block, end=ahead.offset)


def _ends(ahead: _Ahead, start: int, end: int, headers: dict[str, str]) -> bool:
    """Whether the record ends there: the next one or nothing follows, or an empty line and the digest is right."""
    ahead.fetch(end + OVERLAP_BYTES)
    after = _end_of(BETWEEN, ahead.data, end)
    if after == len(ahead.data) or VERSION_LINE.match(ahead.data, after):
        return True
    digest = headers.get("warc-block-digest", "")
    is_right = not digest.startswith("sha1:") or digest == digest_of(bytes(ahead.data[start:end]))
    return ahead.data.count(b"\n", end, after) > 1 and is_right


def _reason(ahead: _Ahead) -> Reason:
    """Why a record has no end where all bytes up to a gap or the end are fetched."""
    return Reason.INVALID_RECORD if START.search(ahead.data, 1) else Reason.TRUNCATED


def _passed_over(ahead: _Ahead, fault: Reason, note: str) -> Record:
    """What stands from here to the next record, as one."""
    offset = ahead.offset
    head = ahead.take_to_next_start()
    if offset == 0 and fault is not Reason.TRUNCATED and ahead.at_end and not ahead.data and not START.match(head):
        fault, note = Reason.WRONG_FORMAT, "no WARC record in this file"
    return Record(offset, {}, head, fault, note, ahead.offset)


def _end_of_header(ahead: _Ahead) -> int:
    """Where the block of the record here begins; 0 if another record begins before, or nothing does."""
    size = OVERLAP_BYTES
    while True:
        complete = ahead.fetch(size)
        found = END_OR_START.search(ahead.data, 1, MAX_HEADER_BYTES)
        if found or not complete or size > MAX_HEADER_BYTES:
            return found.end() if found and found[1] else 0
        size *= 2


def parse_header(head: bytes, is_http: bool = False) -> dict[str, str]:
    """The named fields of a WARC or HTTP header but for its first line: lower-case name -> value.

    Of a field that stands there twice, WARC's first value; HTTP's are joined by commas (RFC 9110, 5.3).
    """
    fields: dict[str, list[list[str]]] = {}  # each value in its lines
    lines: list[str] = []  # of the field under way
    for line in head.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")[1:]:
        if line[:1] in (" ", "\t") and lines:
            lines.append(line.strip())
        elif line:
            name, colon, value = line.partition(":")
            name = name.strip().lower()
            if colon and FIELD_NAME.fullmatch(name):
                lines = [value.strip()]
                if name in fields:
                    fields[name].append(lines)
                else:
                    fields[name] = [lines]
            elif not is_http:
                raise BadHeader(f"no field: {line[:80]!r}")
    if is_http:
        return {name: ", ".join(map(" ".join, values)) for name, values in fields.items()}
    return {name: " ".join(values[0]) for name, values in fields.items()}


def content_length(headers: dict[str, str]) -> int:
    """The length of the block in bytes."""
    digits = headers.get("content-length", "")
    if not re.fullmatch(r"\d{1,18}", digits, re.ASCII):
        raise BadHeader(f"Content-Length {digits[:80]!r}")
    return int(digits)


def digest_of(block: bytes) -> str:
    """A digest as CommonCrawl writes it."""
    return "sha1:" + b32encode(sha1(block).digest()).decode()


def http_header(block: bytes) -> tuple[dict[str, str], bytes]:
    """The fields of an HTTP response and its payload."""
    end = END_OF_HEADER.search(block, 0, MAX_HEADER_BYTES)
    head, payload = (block[: end.start()], block[end.end() :]) if end else (block[:MAX_HEADER_BYTES], b"")
    return parse_header(head, is_http=True), payload
