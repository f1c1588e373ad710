"""How large the values of a Parquet file are, from its footer and the headers of its pages: nothing is decoded for it.

A page header is a struct in Thrift's compact protocol (parquet.thrift, PageHeader); only sizes and counts are kept.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import pyarrow.parquet as pq

from redpajama.raw.whole import Unreadable
from redpajama.records import Reason

MAX_VALUE_BYTES = 64 << 20  # as of a line of text; no value is decoded that is larger
MAX_PAGE_BYTES = 2 << 30  # uncompressed; Arrow holds a page at a time
MAX_BATCH_BYTES = 256 << 20
SMALL_BYTES = 1 << 20  # a dictionary of so little cannot make a batch too large
HEADER_BYTES = (256, 1 << 16, 16 << 20)  # read at once: it may hold a value's minimum and maximum
BINARY, STRUCT = 8, 12  # Thrift's types that are no integers


class Page(NamedTuple):
    """What the header of a page says of it."""

    bytes: int  # uncompressed
    values: int
    end: int  # in the file


def batch_rows(footer: pq.RowGroupMetaData, file: BinaryIO, names: list[str] | None, most: int) -> int:
    """How many rows of a row group may be decoded at once, at most `most`.

    Raises:
        Unreadable: it holds a value, or a page, of more bytes than is allowed.
    """
    largest = 0
    for index in range(footer.num_columns):
        column = footer.column(index)
        is_read = names is None or column.path_in_schema.split(".")[0] in names
        if is_read and column.physical_type == "BYTE_ARRAY" and column.total_uncompressed_size > SMALL_BYTES:
            largest = max(largest, _largest(column, file))
    return max(1, min(most, MAX_BATCH_BYTES // max(1, largest)))


def _largest(column: pq.ColumnChunkMetaData, file: BinaryIO) -> int:
    """Bytes that no value of the dictionary exceeds; 0 without one: then a batch is no larger than its pages."""
    dictionary = 0
    is_small = column.total_uncompressed_size <= MAX_VALUE_BYTES
    for number, page in enumerate(_pages(column, file)):
        name = column.path_in_schema
        if page.bytes > MAX_VALUE_BYTES * max(1, page.values):
            raise Unreadable(Reason.EXPANSION_LIMIT, f"{name}: a value of more than {MAX_VALUE_BYTES:,} bytes")
        if page.bytes > MAX_PAGE_BYTES:
            raise Unreadable(Reason.EXPANSION_LIMIT, f"{name}: a page of {page.bytes:,} bytes")
        if number == 0 and column.dictionary_page_offset is not None:
            dictionary = page.bytes
        if is_small:
            break
    return dictionary


def _pages(column: pq.ColumnChunkMetaData, file: BinaryIO) -> Iterator[Page]:
    offsets = (column.dictionary_page_offset, column.data_page_offset)
    place = min(offset for offset in offsets if offset is not None)
    end = place + column.total_compressed_size
    while place < end:
        page = read_page(file, place)
        place = page.end
        yield page


def read_page(file: BinaryIO, place: int) -> Page:
    """The page whose header begins at a place.

    Raises:
        Unreadable: there is none.
    """
    for size in HEADER_BYTES:
        file.seek(place)
        data = file.read(size)
        try:
            fields, header_bytes = _struct(data, 0, 0)
            page = Page(fields[2], next((fields[kind] for kind in (5, 7, 8) if kind in fields), 1), 0)
            if page.bytes < 0 or page.values < 0 or fields[3] < 0:
                break
            return page._replace(end=place + header_bytes + fields[3])
        except IndexError:  # the header goes on
            continue
        except (KeyError, ValueError):
            break
    raise Unreadable(Reason.DAMAGED, f"no header of a page at {place}")


def _struct(data: bytes, place: int, depth: int) -> tuple[dict[int, int], int]:
    """({number of a field: its integer, or of a struct in it the first field}, where it ends).

    IndexError: it goes on; ValueError: it is none.
    """
    fields: dict[int, int] = {}
    number = 0
    while head := data[place]:
        place += 1
        kind, step = head & 15, head >> 4
        if not step:
            step, place = _integer(data, place)
            number = 0
        number += step
        value, place = _value(data, place, kind, depth)
        fields[number] = value
    return fields, place + 1


def _value(data: bytes, place: int, kind: int, depth: int) -> tuple[int, int]:
    if depth > 8:
        raise ValueError(kind)
    if kind in (1, 2):  # true, false: the type says it
        return kind, place
    if kind == 3:
        return data[place], place + 1
    if kind in (4, 5, 6):
        return _integer(data, place)
    if kind == BINARY:
        size, place = _varint(data, place)
        if place + size > len(data):
            raise IndexError(place)
        return 0, place + size
    if kind == STRUCT:
        fields, place = _struct(data, place, depth + 1)
        return fields.get(1, 0), place
    raise ValueError(kind)  # no other type stands in a page header


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError(value)


def _integer(data: bytes, place: int) -> tuple[int, int]:
    """A zigzag varint."""
    value, place = _varint(data, place)
    return (value >> 1) ^ -(value & 1), place
