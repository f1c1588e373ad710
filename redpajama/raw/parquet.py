"""Parquet files, row group by row group: what one damaged page spoils is skipped, and the other groups are read.

Values come as JSON has them; what it lacks comes as text: decimals, dates, times (in UTC, where they have a zone),
durations with their unit, bytes in UTF-8 or else base64, NaN and infinities by these names. A map is a list of pairs.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from math import isfinite, isnan
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from redpajama.arrow import open_parquet
from redpajama.errors import is_of_reading
from redpajama.raw import decompress, parquet_pages
from redpajama.raw.io import RawFile, scheme_of
from redpajama.raw.whole import Unreadable
from redpajama.records import Reason, Tally

MAX_ROW_GROUP_BYTES = 16 << 30  # uncompressed, as the footer declares
BATCH_ROWS = 256
TEXT = "content"  # the column that must be text: bytes there that are not UTF-8 are a bad row
ERRORS = (ValueError, OverflowError, KeyError, TypeError, pa.ArrowException)  # of values that Python cannot hold


def rows(file: RawFile, columns: Sequence[str], tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number in the file, {column: value}) of each readable row, one `tally.unit()` each.

    Of `columns` those that the file has are read (all, where it has none of them). A damaged row group is skipped
    with the byte range and the number of rows that the footer gives it; without a readable footer the whole file is.
    A row whose text is not UTF-8 is quarantined. Of a range of the file: the row groups that begin in it.
    """
    tally.file = file.url
    before = tally.skipped_bytes
    with file.open() as stream, file.open() as headers:  # each reads on in its own order
        try:
            parquet = open_parquet(stream, buffer_size=_read_bytes(file), page_checksum_verification=True)
            names = [name for name in columns if name in parquet.schema_arrow.names] or None
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            if is_of_reading(error):
                raise
            tally.skip(file.start, file.stop, _footer_problem(file), error=_first_line(error))
        else:
            yield from _row_groups(parquet, headers, names, file, tally)
    decompress.consume(file, tally)
    tally.consumed_bytes -= tally.skipped_bytes - before


def _read_bytes(file: RawFile) -> int:
    """What Arrow reads at once; 0: a column of a row group.

    Columns are decoded in turn. Far away each turn would be a request, and what its cache reads ahead would be in vain.
    """
    return 0 if scheme_of(file.path) else 1 << 20


def cuts(file: RawFile, part_bytes: int) -> list[int]:
    """Where row groups begin, at which a Parquet file may be cut into ranges; none where its footer is unreadable."""
    with file.open() as stream:
        try:
            metadata = pq.read_metadata(stream)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            if is_of_reading(error):
                raise
            return []
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        starts = sorted(_byte_range(footer, file.bytes)[0] for footer in groups)
    return decompress.spaced(starts, file.bytes, part_bytes)


def _row_groups(
    parquet: pq.ParquetFile, headers: BinaryIO, names: list[str] | None, file: RawFile, tally: Tally
) -> Iterator[tuple[int, dict[str, Any]]]:
    first, passed = 0, file.start  # row number; end of the last skipped range
    for group in range(parquet.num_row_groups):
        footer = parquet.metadata.row_group(group)
        start, end = _byte_range(footer, file.bytes)
        if not file.start <= start < file.stop and not start == file.stop == file.bytes:
            first += footer.num_rows
            continue
        read = 0
        try:
            for batch in _batches(parquet, group, headers, names):
                yield from batch_rows(batch, first + read, tally)
                read += batch.num_rows
        except (pa.ArrowException, OSError, Unreadable) as error:
            if is_of_reading(error):
                raise
            reason = error.reason if isinstance(error, Unreadable) else Reason.DAMAGED
            evidence = {"row_group": group, "rows": footer.num_rows, "rows_read": read, "error": _first_line(error)}
            end = min(end, file.stop)
            tally.skip(max(start, passed), max(end, passed), reason, **evidence)
            passed = max(end, passed)
        first += footer.num_rows


def _batches(
    parquet: pq.ParquetFile, group: int, headers: BinaryIO, names: list[str] | None
) -> Iterator[pa.RecordBatch]:
    footer = parquet.metadata.row_group(group)
    if footer.total_byte_size > MAX_ROW_GROUP_BYTES:
        raise Unreadable(Reason.EXPANSION_LIMIT, f"{footer.total_byte_size:,} bytes in one row group")
    rows = parquet_pages.batch_rows(footer, headers, names, BATCH_ROWS)
    yield from parquet.iter_batches(batch_size=rows, row_groups=[group], columns=names, use_threads=False)


def batch_rows(batch: pa.RecordBatch, first: int, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a batch; one by one only where some value cannot be had: text that is not UTF-8, an impossible date."""
    columns = list(map(_as_text, batch.columns))
    odd = [name for name, column in zip(batch.schema.names, columns, strict=True) if not _is_json(column)]
    batch = pa.record_batch(columns, names=batch.schema.names)
    try:
        found: list[Any] = batch.to_pylist()
    except ERRORS:
        found = [_row_or_error(batch, index) for index in range(batch.num_rows)]
    else:
        if not odd:
            tally.unit(len(found))
            yield from enumerate(found, first)
            return
    if odd:
        found = [_json_row(row, odd) if isinstance(row, dict) else row for row in found]
    for number, row in enumerate(found, first):
        tally.unit()
        if isinstance(row, dict):
            yield number, row
        elif isinstance(row, UnicodeDecodeError):
            tally.quarantine("", Reason.INVALID_UTF8, bytes(row.object), row=number, error=str(row))
        else:
            tally.quarantine("", Reason.INVALID_RECORD, row=number, error=_first_line(row))


def _row_or_error(batch: pa.RecordBatch, index: int) -> dict[str, Any] | Exception:
    try:
        return batch.slice(index, 1).to_pylist()[0]
    except ERRORS as error:
        return error


def _json_row(row: dict[str, Any], odd: list[str]) -> dict[str, Any] | UnicodeDecodeError:
    """The row with JSON's values in its odd columns; the error where its text is bytes that are no text."""
    try:
        return row | {name: row[name].decode() if _is_text(name, row[name]) else json_value(row[name]) for name in odd}
    except UnicodeDecodeError as error:
        return error


def _is_text(name: str, value: Any) -> bool:
    return name == TEXT and isinstance(value, bytes)


def _as_text(column: pa.Array) -> pa.Array:
    """A column of decimals, dates, times or durations as text, any other as it is."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _as_text(column.dictionary_decode())
    if pa.types.is_duration(kind):
        return pc.binary_join_element_wise(column.cast(pa.int64()).cast(pa.string()), kind.unit, " ")
    if pa.types.is_timestamp(kind) and kind.tz:
        return column.cast(pa.timestamp(kind.unit, "UTC")).cast(pa.string())
    return column.cast(pa.string()) if pa.types.is_temporal(kind) or pa.types.is_decimal(kind) else column


def _is_json(column: pa.Array) -> bool:
    """Whether JSON has all values of a column."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_json(column.flatten())
    if pa.types.is_floating(kind):
        return pc.all(pc.is_finite(column.cast(pa.float64()))).as_py() is not False
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return is_text or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)


def json_value(value: Any) -> Any:
    """A value that JSON has for one that Arrow gave."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return float(value) if isfinite(value) else "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return b64encode(value).decode()
    if isinstance(value, list | tuple):
        return list(map(json_value, value))
    if isinstance(value, dict):
        return {str(key): json_value(inner) for key, inner in value.items()}
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _byte_range(footer: pq.RowGroupMetaData, size: int) -> tuple[int, int]:
    """Where the pages of a row group stand, as the footer says, inside a file of `size` bytes."""
    starts, ends = [size], [0]
    for index in range(footer.num_columns):
        column = footer.column(index)
        offsets = (column.dictionary_page_offset, column.data_page_offset)
        start = min(offset for offset in offsets if offset is not None)
        starts.append(start)
        ends.append(start + column.total_compressed_size)
    start = min(max(min(starts), 0), size)
    return start, min(max(max(ends), start), size)


def _footer_problem(file: RawFile) -> Reason:
    with file.open() as stream:
        head = stream.read(4)
        stream.seek(max(file.bytes - 4, 0))
        tail = stream.read(4)
    if b"PAR1" not in (head, tail):
        return Reason.WRONG_FORMAT
    return Reason.DAMAGED if tail == b"PAR1" else Reason.TRUNCATED


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
