"""Parquet of lists of integers, page by page; columns of other kinds are pyarrow's own.

A token has an element in each of three lists, and an element two levels: pyarrow takes 17 ns a token for them, more
than for all else. Here a list's levels are runs, made for all columns at once, and columns of the same values are
encoded once. A page a column and row group, not compressed:

    repetition levels, definition levels    RLE
    integers                                RLE_DICTIONARY of 0, 1, 2, ...: indices of 16 bits are the ids as shards
                                            hold them, and zstd would make them a tenth less
    int8, which are 0 or 1                  RLE_DICTIONARY of 0, 1: runs

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
from redpajama.errors import BuildFailed
from redpajama.exports import thrift
from redpajama.exports.thrift import Field, struct

MAGIC = b"PAR1"
LEVEL = 1  # of zstd
UNCOMPRESSED, ZSTD = 0, 6  # CompressionCodec
ENCODINGS = {"PLAIN": 0, "PLAIN_DICTIONARY": 2, "RLE": 3, "RLE_DICTIONARY": 8}
REQUIRED, OPTIONAL, REPEATED = 0, 1, 2  # FieldRepetitionType
INT32, BYTE_ARRAY = 1, 6  # Type
UTF8, LIST, INT_8 = 0, 3, 15  # ConvertedType
DATA_PAGE, DICTIONARY_PAGE = 0, 2  # PageType
Body = bytes | memoryview  # uint8
WIDTHS = 16, 24, 32  # bits of an index
SHARE = 4  # values there must be to each word


class Levels(NamedTuple):
    """Where lists begin and end, as a page has it; made once for all columns whose lists are as long."""

    rows: int
    values: int  # elements, and lists without any
    data: bytes


class Lists(NamedTuple):
    """A column: lists, none null. Columns that are one object are encoded once."""

    levels: Levels
    values: np.ndarray  # of all lists: integers from 0 on
    words: np.ndarray | None = None  # int32: what these values stand for; None: themselves


class Flags(NamedTuple):
    """A column: lists of 0 and 1, by their runs over all lists; some may be empty."""

    levels: Levels
    counts: np.ndarray  # int64[runs]
    values: np.ndarray  # uint8[runs]


class Chunk(NamedTuple):
    """The pages of a column in a row group, and what the footer says of them."""

    data: list[Body]
    size: int  # of `data`, bytes
    type: int
    codec: int
    encodings: list[int]
    values: int
    plain_bytes: int  # before compression
    dictionary_bytes: int  # of `data`, the page before the others; 0: none

    def metadata(self, path: list[str], start: int) -> bytes:
        """The ColumnChunk of a column, its first page at this byte of the file."""
        about = thrift.inner(
            3,
            thrift.i32(1, self.type),
            thrift.integers(2, self.encodings),
            thrift.texts(3, path),
            thrift.i32(4, self.codec),
            thrift.i64(5, self.values),
            thrift.i64(6, self.plain_bytes),
            thrift.i64(7, self.size),
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

    def write(self, columns: Mapping[str, Lists | Flags | pa.Array]) -> None:
        """One row group: the columns by name, all with as many rows; the first are lists."""
        lists = {id(column): column for column in columns.values() if not isinstance(column, pa.Array)}
        made = {same: _chunk(column) for same, column in lists.items()}
        asked = ((field, columns[field.name]) for field in self._schema)
        chunks = [_own_chunk(field, each) if isinstance(each, pa.Array) else made[id(each)] for field, each in asked]
        self._group(chunks, next(iter(lists.values())).levels.rows)

    def _group(self, chunks: list[Chunk], rows: int) -> None:
        starts = accumulate((chunk.size for chunk in chunks), initial=self._place)
        placed = zip(chunks, map(_path, self._schema), starts, strict=False)  # the last is where the next group begins
        about = [chunk.metadata(path, start) for chunk, path, start in placed]
        plain = thrift.i64(2, sum(chunk.plain_bytes for chunk in chunks))
        self._groups.append(struct(thrift.structs(1, about), plain, thrift.i64(3, rows)))
        self._rows += rows
        for chunk in chunks:
            self._file.writelines(chunk.data)
            self._place += chunk.size

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


def _path(field: pa.Field) -> list[str]:
    """The names that lead to the values of a column."""
    return [field.name] if pa.types.is_string(field.type) else [field.name, "list", "element"]


def _group(repetition: int, name: str, *about: Field) -> bytes:
    """An element with one child."""
    return struct(thrift.i32(3, repetition), thrift.binary(4, name), thrift.i32(5, 1), *about)


# ---- pages


def _chunk(lists: Lists | Flags) -> Chunk:
    _, count, levels = lists.levels
    words, *body = _flags(lists) if isinstance(lists, Flags) else _indices(lists)
    first = _page(DICTIONARY_PAGE, len(words), "PLAIN", words.astype("<i4").tobytes())
    data = [*first, *_page(DATA_PAGE, count, "RLE_DICTIONARY", levels, *body)]
    encodings = [ENCODINGS[name] for name in ("PLAIN", "RLE", "RLE_DICTIONARY")]
    size = sum(map(len, data))
    return Chunk(data, size, INT32, UNCOMPRESSED, encodings, count, size, sum(map(len, first)))


def _page(kind: int, values: int, encoding: str, *body: Body) -> list[Body]:
    """A page of either kind, its levels as RLE.

    Raises:
        BuildFailed: it would have more bytes than a page can have, of a document with half a billion tokens.
    """
    size, rle = sum(map(len, body)), ENCODINGS["RLE"]
    if size >= 1 << 31:
        raise BuildFailed(f"a page of Parquet cannot have {size:,} bytes: export documents packed in rows of a length")
    about = [thrift.i32(1, values), thrift.i32(2, ENCODINGS[encoding])]
    if kind == DATA_PAGE:
        about += [thrift.i32(3, rle), thrift.i32(4, rle)]
    inner = thrift.inner(5 if kind == DATA_PAGE else 7, *about)
    return [struct(thrift.i32(1, kind), thrift.i32(2, size), thrift.i32(3, size), inner), *body]


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


def _flags(flags: Flags) -> tuple[np.ndarray, bytes, bytes]:
    """The dictionary of both, and indices of one bit."""
    return np.arange(2), b"\x01", runs(flags.counts, flags.values)


def _indices(lists: Lists) -> tuple[np.ndarray, bytes, memoryview, bytes]:
    """A dictionary, and indices into it: one run, bit-packed in eights."""
    words, places = _dictionary(lists.values, lists.words)
    width = next(width for width in WIDTHS if len(words) <= 1 << width)
    eights = -(-len(places) // 8)
    head = bytes([width]) + thrift.varint(eights << 1 | 1)
    return words, head, _narrow(places, width), bytes((8 * eights - len(places)) * width // 8)


def _dictionary(values: np.ndarray, words: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """A dictionary of 0, 1, 2, ... to the largest, or of the words; and where each value stands in it.

    Of few values, which that would outweigh, one of those that there are.
    """
    size = int(values.max(initial=0)) + 1 if words is None else len(words)
    if size > len(values) // SHARE:
        return np.unique(values if words is None else words[values], return_inverse=True)
    return (np.arange(size) if words is None else words), values


def _narrow(places: np.ndarray, width: int) -> memoryview:
    """The lowest bits of each, back to back."""
    if width == 16:
        return np.ascontiguousarray(places, "<u2").view(np.uint8).data
    bytes_ = np.ascontiguousarray(places, "<u4").view(np.uint8).reshape(-1, 4)
    return np.ascontiguousarray(bytes_[:, : width // 8]).ravel().data


def runs(counts: np.ndarray, values: np.ndarray) -> bytes:
    """Values of one bit (uint8[n]), each so many times (int64[n], 0 among them), as RLE and bit packing has it."""
    counts, values = counts[counts > 0], values[counts > 0]
    starts = np.flatnonzero(np.diff(values, prepend=values[:1] ^ 1))
    counts, values = np.add.reduceat(counts, starts) if len(starts) else counts, values[starts]
    shifts = np.arange(0, 35, 7)
    heads = counts[:, None] << 1 >> shifts
    septets = np.where(heads > 0x7F, heads & 0x7F | 0x80, heads).astype(np.uint8)
    bytes_ = np.concatenate([septets, values[:, None]], 1)
    is_there = np.concatenate([heads > 0, np.ones((len(counts), 1), bool)], 1)
    return bytes_[is_there].tobytes()


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
    return Chunk([data], len(data), BYTE_ARRAY, ZSTD, encodings, about.num_values, plain, dictionary)
