"""Rows of files that are tables, beside JSON lines and Parquet: CSV and TSV, Arrow's IPC, one JSON list."""

import codecs
import csv
import re
from collections.abc import Iterator
from functools import partial
from io import StringIO
from itertools import islice
from typing import Any

import orjson
import pyarrow as pa

from redpajama.errors import is_of_reading
from redpajama.raw import decompress, parquet
from redpajama.raw.io import RawFile
from redpajama.raw.whole import Unreadable, peek, read_whole
from redpajama.records import Reason, Tally

MAX_LIST_BYTES = 1 << 30  # of a file that is one JSON list
SPLIT_BYTES = 1 << 20
DELIMITERS = ",;\t|"
MAX_GUESSED = 20  # rows that tell the delimiter
UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
UNREAD = re.compile("[\udc00-\udcff]")  # bytes that are none of the encoding
ESCAPED = "redpajama.escaped"
ARROW_MAGIC = b"ARROW1"  # of the file format; a stream has none

Row = tuple[int, dict[str, Any]]  # number in the file, from 0; {column: value}


def csv_rows(file: RawFile, delimiter: str, encoding: str | None, tally: Tally) -> Iterator[Row]:
    """The rows below the header of a CSV (RFC 4180), each a unit; a line break may stand in quotes.

    It is in that encoding, else in the UTF-16 that its mark tells, else in UTF-8. A row is quarantined that has more or
    fewer values than the header, or bytes that are none of the encoding.
    """
    csv.field_size_limit(decompress.MAX_LINE_BYTES)
    reader, header, number = csv.reader(_text_lines(file, encoding, tally), delimiter=delimiter), None, 0
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            tally.unit()
            tally.quarantine("", Reason.INVALID_RECORD, row=number, line=reader.line_num, error=str(error))
            continue
        if row is None:
            return
        if header is None:
            header = row
        elif row:
            tally.unit()
            yield from _fields(header, row, number, tally)
            number += 1


def is_encoding(name: str) -> bool:
    """Whether Python knows an encoding of texts of that name."""
    try:
        codecs.getincrementaldecoder(name)
        b"a".decode(name, "replace")
    except (LookupError, ValueError):
        return False
    return True


def delimiter_of(head: bytes, usual: str) -> str:
    """What stands between the values of a CSV: what cuts its first rows into most columns, as a rule all into as many.

    `usual` where nothing cuts them into more than that.
    """
    return max([usual, *DELIMITERS.replace(usual, "")], key=partial(_columns, head))


def _columns(head: bytes, delimiter: str) -> int:
    """How many columns the header has, if most rows below it have as many; else 1."""
    text = head.decode(encoding_of(head), "replace").removeprefix("\ufeff")
    try:
        header, *rows = filter(None, islice(csv.reader(StringIO(text, newline=""), delimiter=delimiter), MAX_GUESSED))
    except (csv.Error, ValueError):
        return 1
    return len(header) if 2 * sum(len(row) == len(header) for row in rows) >= len(rows) else 1


def _fields(header: list[str], row: list[str], number: int, tally: Tally) -> Iterator[Row]:
    raw = ",".join(row).encode("utf-8", ESCAPED)
    if len(row) != len(header):
        wanted = f"{len(header)} values, as the header has"
        tally.quarantine("", Reason.INVALID_RECORD, raw, row=number, values=len(row), wanted=wanted)
    elif any(UNREAD.search(value) for value in row if not value.isascii()):
        tally.quarantine("", Reason.INVALID_UTF8, raw, row=number)
    else:
        yield number, dict(zip(header, row, strict=True))


def encoding_of(head: bytes) -> str:
    """UTF-16 if its byte order mark is there, which is what Windows calls Unicode; else UTF-8."""
    return UTF16.get(head[:2], "utf-8")


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    """As `surrogateescape`, but for any byte: a code unit of UTF-16 has such below 128, too."""
    if isinstance(error, UnicodeDecodeError):
        return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end
    if isinstance(error, UnicodeEncodeError):
        return bytes(ord(each) & 0xFF for each in error.object[error.start : error.end]), error.end
    raise error


codecs.register_error(ESCAPED, _escaped)


def _text_lines(file: RawFile, encoding: str | None, tally: Tally) -> Iterator[str]:
    """Lines with their ends: CR, LF or both, and no other character. Bytes not of the encoding are surrogates.

    What a gap cuts off is a line.
    """
    pending: list[str] = []
    for text in _texts(file, encoding, tally):
        for line in StringIO(text, newline=""):
            pending.append(line)
            if line.endswith(("\n", "\r")):
                yield "".join(pending)
                pending.clear()
    if pending:
        yield "".join(pending)


def _texts(file: RawFile, encoding: str | None, tally: Tally) -> Iterator[str]:
    """The decompressed file as text, in pieces; a gap is a line's end. A byte order mark before it is cut."""
    first, chunks = peek(decompress.chunks(file, tally))
    encoding = encoding or encoding_of(first or b"")
    decoder, is_first, is_torn = codecs.getincrementaldecoder(encoding)(ESCAPED), True, False
    for chunk in chunks:
        whole = _aligned(chunk, encoding) if chunk and is_torn else chunk or b""
        for at in range(0, len(whole) or 1, SPLIT_BYTES):
            text = decoder.decode(whole[at : at + SPLIT_BYTES]) if chunk else decoder.decode(b"", final=True) + "\n"
            yield text.removeprefix("\ufeff") if is_first else text
            is_first = is_first and not text
        is_torn = chunk is None
    yield decoder.decode(b"", final=True)


def _aligned(chunk: bytes, encoding: str) -> bytes:
    """What comes after a gap, from where its characters begin: a line feed tells, if each has two bytes or four."""
    feed = "\n".encode(encoding)
    return chunk[max(0, chunk.find(feed)) % len(feed) :]


def arrow_rows(file: RawFile, tally: Tally) -> Iterator[Row]:
    """The rows of an Arrow IPC file (Feather 2) or stream, each a unit. What follows a damaged batch is skipped."""
    tally.file, number = file.url, 0
    with file.open() as stream:
        try:
            for batch in _batches(stream):
                yield from parquet.batch_rows(batch, number, tally)
                number += batch.num_rows
        except (pa.ArrowException, ValueError, OSError) as error:
            if is_of_reading(error):
                raise
            reason = Reason.DAMAGED if number else Reason.WRONG_FORMAT
            tally.skip(file.start, file.stop, reason, rows_read=number, error=str(error).partition("\n")[0][:200])
            return
    decompress.consume(file, tally)


def _batches(stream: Any) -> Iterator[pa.RecordBatch]:
    is_file = stream.read(len(ARROW_MAGIC)) == ARROW_MAGIC
    stream.seek(0)
    reader = pa.ipc.open_file(stream) if is_file else pa.ipc.open_stream(stream)
    for batch in (reader.get_batch(each) for each in range(reader.num_record_batches)) if is_file else reader:
        batch.validate(full=True)
        yield from (batch.slice(at, parquet.BATCH_ROWS) for at in range(0, batch.num_rows, parquet.BATCH_ROWS))


def json_list(file: RawFile, tally: Tally) -> Iterator[Row]:
    """The objects of a file that is one JSON list, each a unit; a file that is none is one unit that is quarantined."""
    try:
        found = orjson.loads(read_whole(file, tally, MAX_LIST_BYTES).removeprefix(decompress.MARK))
        if not isinstance(found, list):
            raise ValueError("not a list")
    except (Unreadable, ValueError) as error:
        tally.unit()
        reason = error.reason if isinstance(error, Unreadable) else Reason.INVALID_JSON
        tally.quarantine("", reason, error=str(error))
        return
    for number, row in enumerate(found):
        tally.unit()
        if isinstance(row, dict):
            yield number, row
        else:
            tally.quarantine("", Reason.INVALID_RECORD, row=number, wanted="an object")
