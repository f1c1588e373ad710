"""Rows of files that are tables, beside JSON lines and Parquet: CSV and TSV, Arrow's IPC, one JSON list."""

import csv
from codecs import getincrementaldecoder
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
from redpajama.raw.whole import Unreadable, read_whole
from redpajama.records import Reason, Tally

MAX_LIST_BYTES = 1 << 30  # of a file that is one JSON list
SPLIT_BYTES = 1 << 20
DELIMITERS = ",;\t|"
MAX_GUESSED = 20  # rows that tell the delimiter
ARROW_MAGIC = b"ARROW1"  # of the file format; a stream has none

Row = tuple[int, dict[str, Any]]  # number in the file, from 0; {column: value}


def csv_rows(file: RawFile, delimiter: str, tally: Tally) -> Iterator[Row]:
    """The rows below the header of a CSV (RFC 4180) in UTF-8, each a unit; a line break may stand in quotes.

    A row is quarantined that has more or fewer values than the header, or bytes that are not UTF-8.
    """
    csv.field_size_limit(decompress.MAX_LINE_BYTES)
    reader, header, number = csv.reader(_text_lines(file, tally), delimiter=delimiter), None, 0
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


def delimiter_of(head: bytes, usual: str) -> str:
    """What stands between the values of a CSV: what cuts its first rows into most columns, as a rule all into as many.

    `usual` where nothing cuts them into more than that.
    """
    return max([usual, *DELIMITERS.replace(usual, "")], key=partial(_columns, head))


def _columns(head: bytes, delimiter: str) -> int:
    """How many columns the header has, if most rows below it have as many; else 1."""
    text = head.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        header, *rows = filter(None, islice(csv.reader(StringIO(text, newline=""), delimiter=delimiter), MAX_GUESSED))
    except (csv.Error, ValueError):
        return 1
    return len(header) if 2 * sum(len(row) == len(header) for row in rows) >= len(rows) else 1


def _fields(header: list[str], row: list[str], number: int, tally: Tally) -> Iterator[Row]:
    raw = ",".join(row).encode("utf-8", "surrogateescape")
    if len(row) != len(header):
        wanted = f"{len(header)} values, as the header has"
        tally.quarantine("", Reason.INVALID_RECORD, raw, row=number, values=len(row), wanted=wanted)
    elif any("\udc80" <= each <= "\udcff" for value in row if not value.isascii() for each in value):
        tally.quarantine("", Reason.INVALID_UTF8, raw, row=number)
    else:
        yield number, dict(zip(header, row, strict=True))


def _text_lines(file: RawFile, tally: Tally) -> Iterator[str]:
    """Lines with their ends: CR, LF or both, and no other character. Bytes that are not UTF-8 are surrogates.

    What a gap cuts off is a line.
    """
    pending: list[str] = []
    for text in _texts(file, tally):
        for line in StringIO(text, newline=""):
            pending.append(line)
            if line.endswith(("\n", "\r")):
                yield "".join(pending)
                pending.clear()
    if pending:
        yield "".join(pending)


def _texts(file: RawFile, tally: Tally) -> Iterator[str]:
    """The decompressed file as text, in pieces; a gap is a line's end. A byte order mark before it is cut."""
    decoder, is_first = getincrementaldecoder("utf-8")("surrogateescape"), True
    for chunk in decompress.chunks(file, tally):
        for at in range(0, len(chunk or b"") or 1, SPLIT_BYTES):
            text = decoder.decode(chunk[at : at + SPLIT_BYTES]) if chunk else decoder.decode(b"", final=True) + "\n"
            yield text.removeprefix("\ufeff") if is_first else text
            is_first = is_first and not text
    yield decoder.decode(b"", final=True)


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
