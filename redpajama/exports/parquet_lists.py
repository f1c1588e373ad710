"""Parquet of lists of integers, page by page; columns of other kinds are pyarrow's own.

A token has an element in each of three lists, and an element two levels: pyarrow takes 17 ns a token for them, more
than for all else. Here a list's levels are runs, made for all columns at once, and columns of
the same values are compressed once. A page a column and row group:

    repetition levels, definition levels    RLE
    int32                                   BYTE_STREAM_SPLIT: of the four bytes of an id two hold nothing
    int8, which are 0 or 1                  RLE_DICTIONARY of (0, 1)

https://github.com/apache/parquet-format: README, Encodings.md, parquet.thrift.
"""

from base64 import b64encode
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redpajama.arrow import open_parquet
from redpajama.exports import thrift
from redpajama.exports.thrift import Field, struct

MAGIC = b"PAR1"
LEVEL = 1  # of zstd
CODEC = pa.Codec("zstd", compression_level=LEVEL)
ZSTD = 6  # CompressionCodec
ENCODINGS = {"PLAIN": 0, "PLAIN_DICTIONARY": 2, "RLE": 3, "RLE_DICTIONARY": 8, "BYTE_STREAM_SPLIT": 9}
REQUIRED, OPTIONAL, REPEATED = 0, 1, 2  # FieldRepetitionType
INT32, BYTE_ARRAY = 1, 6  # Type
UTF8, LIST, INT_8 = 0, 3, 15  # ConvertedType
DATA_PAGE, DICTIONARY_PAGE = 0, 2  # PageType
FLAGS = np.array([0, 1], "<i4").tobytes()  # the dictionary of int8


class Levels(NamedTuple):
    """Where lists begin and end, as a page has it; made once for all columns whose lists are as long."""

    rows: int
    values: int  # elements, and lists without any
    data: bytes


class Lists(NamedTuple):
    """A column: lists, none null. Columns that are one object are encoded once."""

    levels: Levels
    values: np.ndarray  # of all lists, int32, or int8 of 0 and 1


class Chunk(NamedTuple):
    """The pages of a column in a row group, and what the footer says of them."""

    data: bytes
    path: list[str]
    type: int
    encodings: list[int]
    values: int
    plain_bytes: int  # before compression
    dictionary_bytes: int  # of `data`, the page before the others; 0: none

    def metadata(self, start: int) -> bytes:
        """A ColumnChunk whose first page is at this byte of the file."""
        about = thrift.inner(
            3,
            thrift.i32(1, self.type),
            thrift.integers(2, self.encodings),
            thrift.texts(3, self.path),
            thrift.i32(4, ZSTD),
            thrift.i64(5, self.values),
            thrift.i64(6, self.plain_bytes),
            thrift.i64(7, len(self.data)),
            thrift.i64(9, start + self.dictionary_bytes),
            thrift.i64(11, start) if self.dictionary_bytes else None,
        )
        return struct(thrift.i64(2, 0), about)


class ListFile:
    """Row groups of lists, and of strings beside them -> one Parquet file, as pyarrow reads back with this schema."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """`schema`: lists of int32 or int8 without nulls, and strings.

        Raises:
            TypeError: a column of another kind.
        """
        self._columns = [element for field in schema for element in _elements(field)]
        self._file, self._schema = path.open("wb"), schema
        self._place = self._file.write(MAGIC)
        self._groups: list[bytes] = []
        self._rows = 0

    def write(self, columns: Mapping[str, Lists | pa.Array]) -> None:
        """One row group: the columns by name, all with as many rows; the first are lists."""
        lists = {id(column): column for column in columns.values() if isinstance(column, Lists)}
        made = {same: _chunk(column) for same, column in lists.items()}
        chunks = [_named(field, columns[field.name], made) for field in self._schema]
        self._group(chunks, next(iter(lists.values())).levels.rows)

    def _group(self, chunks: list[Chunk], rows: int) -> None:
        starts = accumulate((len(chunk.data) for chunk in chunks), initial=self._place)
        about = [chunk.metadata(start) for chunk, start in zip(chunks, starts, strict=False)]
        plain = thrift.i64(2, sum(chunk.plain_bytes for chunk in chunks))
        self._groups.append(struct(thrift.structs(1, about), plain, thrift.i64(3, rows)))
        self._rows += rows
        for chunk in chunks:
            self._place += self._file.write(chunk.data)

    def close(self) -> None:
        """Write the footer."""
        arrow = b64encode(self._schema.serialize()).decode()
        footer = struct(
            thrift.i32(1, 2),
            thrift.structs(2, [_root(len(self._schema)), *self._columns]),
            thrift.i64(3, self._rows),
            thrift.structs(4, self._groups),
            thrift.structs(5, [struct(thrift.binary(1, "ARROW:schema"), thrift.binary(2, arrow))]),
            thrift.binary(6, "redpajama"),
        )
        self._file.write(footer + len(footer).to_bytes(4, "little") + MAGIC)
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close() if kind else self.close()


# ---- the schema


def _root(columns: int) -> bytes:
    return struct(thrift.i32(3, REQUIRED), thrift.binary(4, "schema"), thrift.i32(5, columns))


def _elements(field: pa.Field) -> list[bytes]:
    """The SchemaElements of a column."""
    if pa.types.is_string(field.type):
        about = thrift.i32(6, UTF8), thrift.inner(10, thrift.inner(1))
        repetition = thrift.i32(3, OPTIONAL if field.nullable else REQUIRED)
        return [struct(thrift.i32(1, BYTE_ARRAY), repetition, thrift.binary(4, field.name), *about)]
    kind = field.type.value_type if pa.types.is_list(field.type) else None
    if kind not in (pa.int8(), pa.int32()) or field.nullable or field.type.value_field.nullable:
        raise TypeError(f"{field.name}: no list of int8 or int32, without nulls, but {field.type}")
    int8 = thrift.i32(6, INT_8), thrift.inner(10, thrift.inner(10, thrift.byte(1, 8), thrift.flag(2, True)))
    told = list(int8) if kind == pa.int8() else []
    return [
        _group(REQUIRED, field.name, thrift.i32(6, LIST), thrift.inner(10, thrift.inner(3))),
        _group(REPEATED, "list"),
        struct(thrift.i32(1, INT32), thrift.i32(3, REQUIRED), thrift.binary(4, "element"), *told),
    ]


def _group(repetition: int, name: str, *about: Field) -> bytes:
    """An element with one child."""
    return struct(thrift.i32(3, repetition), thrift.binary(4, name), thrift.i32(5, 1), *about)


# ---- pages


def _named(field: pa.Field, column: Lists | pa.Array, made: dict[int, Chunk]) -> Chunk:
    if isinstance(column, Lists):
        return made[id(column)]._replace(path=[field.name, "list", "element"])
    return _own_chunk(field, column)


def _chunk(lists: Lists) -> Chunk:
    (_, count, head), values = lists
    if values.dtype == np.int8:
        pages = [_dictionary_page(), _data_page(head + flags(values), count, "RLE_DICTIONARY")]
        encodings = ["PLAIN", "RLE", "RLE_DICTIONARY"]
    else:
        pages, encodings = (
            [_data_page(b"".join([head, split(values).data]), count, "BYTE_STREAM_SPLIT")],
            ["RLE", "BYTE_STREAM_SPLIT"],
        )
    data, plain = b"".join(page for page, _ in pages), sum(size for _, size in pages)
    dictionary = len(pages[0][0]) if len(pages) > 1 else 0
    return Chunk(data, [], INT32, [ENCODINGS[name] for name in encodings], count, plain, dictionary)


def _data_page(body: bytes, values: int, encoding: str) -> tuple[bytes, int]:
    """A page, and its bytes before compression; its head counts among both."""
    rle = ENCODINGS["RLE"]
    about = thrift.i32(1, values), thrift.i32(2, ENCODINGS[encoding]), thrift.i32(3, rle), thrift.i32(4, rle)
    return _page(DATA_PAGE, body, thrift.inner(5, *about))


def _dictionary_page() -> tuple[bytes, int]:
    return _page(DICTIONARY_PAGE, FLAGS, thrift.inner(7, thrift.i32(1, 2), thrift.i32(2, ENCODINGS["PLAIN"])))


def _page(kind: int, body: bytes, about: Field) -> tuple[bytes, int]:
    packed = CODEC.compress(body, asbytes=True)
    head = struct(thrift.i32(1, kind), thrift.i32(2, len(body)), thrift.i32(3, len(packed)), about)
    return head + packed, len(head) + len(body)


def levels_of(sizes: np.ndarray) -> Levels:
    """Of lists of so many elements (int64[n]).

    A list's first element has repetition level 0, the others 1; definition level 0 says that a list has none.
    """
    both = np.stack([np.ones_like(sizes), np.maximum(sizes - 1, 0)], 1).ravel()
    repetition = runs(both, np.tile(np.array([0, 1], np.uint8), len(sizes)))
    count = np.maximum(sizes, 1)
    definition = runs(count, (sizes > 0).astype(np.uint8))
    data = b"".join(len(levels).to_bytes(4, "little") + levels for levels in (repetition, definition))
    return Levels(len(sizes), int(count.sum()), data)


def flags(values: np.ndarray) -> bytes:
    """Zeros and ones (int8[n]) as indices of one bit into the dictionary of both."""
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    starts = np.concatenate([[0], changes])[: len(values)]
    return b"\x01" + runs(np.diff([*starts, len(values)]), values[starts].astype(np.uint8))


def runs(counts: np.ndarray, values: np.ndarray) -> bytes:
    """Values of one bit (uint8[n]), each so many times (int64[n], 0 among them), as RLE and bit packing has it."""
    counts, values = counts[counts > 0], values[counts > 0]
    if len(counts) and (values == values[0]).all():  # as a rule no list is empty
        counts, values = counts.sum(keepdims=True), values[:1]
    shifts = np.arange(0, 35, 7)
    heads = counts[:, None] << 1 >> shifts
    septets = np.where(heads > 0x7F, heads & 0x7F | 0x80, heads).astype(np.uint8)
    bytes_ = np.concatenate([septets, values[:, None]], 1)
    is_there = np.concatenate([heads > 0, np.ones((len(counts), 1), bool)], 1)
    return bytes_[is_there].tobytes()


def split(values: np.ndarray) -> np.ndarray:
    """int32[n] -> uint8[4, n]: the lowest byte of each, then the next, and so on."""
    bytes_ = np.ascontiguousarray(values, "<i4").view(np.uint8)
    found = np.empty((4, len(values)), np.uint8)
    for place in range(4):
        found[place] = bytes_[place::4]
    return found


def _own_chunk(field: pa.Field, column: pa.Array) -> Chunk:
    """A column as pyarrow writes it, in a file of its own."""
    sink = pa.BufferOutputStream()
    options = {"compression": "zstd", "compression_level": LEVEL, "write_statistics": False, "version": "2.6"}
    pq.write_table(pa.table([column], pa.schema([field])), sink, row_group_size=max(1, len(column)), **options)
    file = sink.getvalue()
    about = open_parquet(pa.BufferReader(file)).metadata.row_group(0).column(0)
    start = about.dictionary_page_offset if about.has_dictionary_page else about.data_page_offset
    data = file.slice(start, about.total_compressed_size).to_pybytes()
    encodings = [ENCODINGS[name] for name in about.encodings]
    plain, dictionary = about.total_uncompressed_size, about.data_page_offset - start
    return Chunk(data, [field.name], BYTE_ARRAY, encodings, about.num_values, plain, dictionary)
