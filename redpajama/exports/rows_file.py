"""Lists of tokens as Parquet, page by page: Arrow's writer looks at every element to find where lists begin.

Here lengths are known, and levels are runs. A column has a page in each row group: levels, then ids split by byte (of
four, two hold nothing), under zstd. Masks are runs over a dictionary of 0 and 1. No list is empty, no value is null.
Format: github.com/apache/parquet-format, parquet.thrift and Encodings.md.
"""

import struct as layout
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa

from redpajama.exports.thrift import BINARY, I32, I64, LIST, STRUCT, struct

MAGIC, VERSION, CREATOR = b"PAR1", 2, b"redpajama"
INT32, BYTE_ARRAY = 1, 6  # kinds of values
REQUIRED, REPEATED = 0, 2
UTF8, AS_LIST, INT_8 = 0, 3, 15  # what values stand for
PLAIN, RLE, BY_DICTIONARY, BY_BYTE = 0, 3, 8, 9  # encodings
ZSTD = 6
DATA, DICTIONARY = 0, 2  # kinds of pages
SHIFTS = np.arange(0, 35, 7, dtype=np.uint64)
TABLE = layout.pack("<2i", 0, 1)  # the dictionary of masks


class Column(NamedTuple):
    """A list of int32 or int8, or a string."""

    name: str
    kind: str  # int32, int8, string

    @property
    def path(self) -> list[bytes]:
        """Of its values."""
        return [self.name.encode(), *([b"list", b"element"] if self.kind != "string" else [])]


class Chunk(NamedTuple):
    """The values of a column in a row group: compressed, so that equal ones may be written twice."""

    values: int
    encoding: int
    size: int  # before it was compressed
    body: bytes
    has_table: bool = False


# ---- values


def ids(values: np.ndarray, sizes: np.ndarray, holes: np.ndarray | None = None, filler: int = 0) -> Chunk:
    """Whole numbers of 2 or 4 bytes in lists of these sizes; `filler` at the places of holes."""
    levels = np.frombuffer(_levels(sizes), np.uint8)
    body = np.zeros(len(levels) + 4 * len(values), np.uint8)
    body[: len(levels)] = levels
    split = body[len(levels) :].reshape(4, -1)
    for place in range(values.itemsize):
        np.right_shift(values, 8 * place, out=split[place], casting="unsafe")
    if holes is not None:
        split[:, holes] = np.frombuffer(layout.pack("<i", filler), np.uint8)[:, None]
    return _chunk(len(values), BY_BYTE, body)


def mask(filled: np.ndarray, sizes: np.ndarray) -> Chunk:
    """In lists of these sizes so many ones, then zeros."""
    lengths = np.column_stack([filled, sizes - filled]).ravel()
    body = _runs(lengths, np.tile(np.array([1, 0], np.uint8), len(sizes)))
    return _chunk(int(sizes.sum()), BY_DICTIONARY, _levels(sizes) + b"\x01" + body, has_table=True)  # of 1 bit


def strings(values: Iterable[str]) -> Chunk:
    """One a row."""
    found = [each.encode() for each in values]
    return _chunk(len(found), PLAIN, b"".join(layout.pack("<I", len(each)) + each for each in found))


def _chunk(values: int, encoding: int, body: "bytes | np.ndarray", has_table: bool = False) -> Chunk:
    return Chunk(values, encoding, len(body), _compressed(body), has_table)


def _compressed(body: "bytes | np.ndarray") -> bytes:
    return bytes(pa.Codec("zstd", compression_level=1).compress(body, asbytes=True))


def _levels(sizes: np.ndarray) -> bytes:
    """Where lists begin (0 at a first element, 1 at the others), and that each element is there (1)."""
    begins = _runs(
        np.column_stack([np.ones_like(sizes), sizes - 1]).ravel(), np.tile(np.array([0, 1], np.uint8), len(sizes))
    )
    there = _runs(sizes.sum(keepdims=True), np.ones(1, np.uint8))
    return b"".join(layout.pack("<I", len(each)) + each for each in (begins, there))


def _runs(lengths: np.ndarray, values: np.ndarray) -> bytes:
    """Runs of values of one bit: twice the length as a varint, then the value. Runs of none are left out."""
    some = lengths > 0
    parts = (lengths[some].astype(np.uint64) << np.uint64(1))[:, None] >> SHIFTS
    found, used = np.empty((len(parts), 6), np.uint8), np.ones((len(parts), 6), bool)
    found[:, :5] = (parts & np.uint64(127)) | ((parts > np.uint64(127)).astype(np.uint64) << np.uint64(7))
    found[:, 5], used[:, 1:5] = values[some], parts[:, 1:] > 0
    return found[used].tobytes()


# ---- the file


class RowsFile:
    """Row groups -> one Parquet file."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._file, self._columns = path.open("wb"), columns
        self._file.write(MAGIC)
        self._groups: list[bytes] = []
        self.rows = 0

    def add(self, rows: int, chunks: Sequence[Chunk]) -> None:
        """One row group: a chunk a column."""
        found = [self._write(column, chunk) for column, chunk in zip(self._columns, chunks, strict=True)]
        size = sum(chunk.size for chunk in chunks)
        self._groups.append(struct((1, LIST, (STRUCT, found)), (2, I64, size), (3, I64, rows)))
        self.rows += rows

    def _write(self, column: Column, chunk: Chunk) -> bytes:
        """The pages of a column; what the footer says of them."""
        start, size = self._file.tell(), 0
        if chunk.has_table:
            told = struct((1, I32, 2), (2, I32, PLAIN))
            size += self._page(DICTIONARY, len(TABLE), _compressed(TABLE), (7, STRUCT, told))
        first = self._file.tell()
        told = struct((1, I32, chunk.values), (2, I32, chunk.encoding), (3, I32, RLE), (4, I32, RLE))
        size += self._page(DATA, chunk.size, chunk.body, (5, STRUCT, told))
        about = [
            (1, I32, BYTE_ARRAY if column.kind == "string" else INT32),
            (2, LIST, (I32, sorted({chunk.encoding, RLE, *([PLAIN] if chunk.has_table else [])}))),
            (3, LIST, (BINARY, column.path)),
            (4, I32, ZSTD),
            (5, I64, chunk.values),
            (6, I64, size),
            (7, I64, self._file.tell() - start),
            (9, I64, first),
        ]
        about += [(11, I64, start)] if chunk.has_table else []
        return struct((2, I64, start), (3, STRUCT, struct(*about)))

    def _page(self, kind: int, size: int, body: bytes, told: tuple[int, int, bytes]) -> int:
        """Its bytes, were it not compressed."""
        head = struct((1, I32, kind), (2, I32, size), (3, I32, len(body)), told)
        self._file.write(head)
        self._file.write(body)
        return len(head) + size

    def close(self) -> None:
        """Write the footer."""
        schema = [struct((4, BINARY, b"schema"), (5, I32, len(self._columns)))]
        schema += [each for column in self._columns for each in _elements(column)]
        groups = (STRUCT, self._groups)
        told = struct(
            (1, I32, VERSION), (2, LIST, (STRUCT, schema)), (3, I64, self.rows), (4, LIST, groups), (6, BINARY, CREATOR)
        )
        self._file.write(told + layout.pack("<I", len(told)) + MAGIC)
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()


def _elements(column: Column) -> list[bytes]:
    """What the schema says of a column."""
    name = column.name.encode()
    if column.kind == "string":
        return [struct((1, I32, BYTE_ARRAY), (3, I32, REQUIRED), (4, BINARY, name), (6, I32, UTF8))]
    stands_for = [(6, I32, INT_8)] if column.kind == "int8" else []
    return [
        struct((3, I32, REQUIRED), (4, BINARY, name), (5, I32, 1), (6, I32, AS_LIST)),
        struct((3, I32, REPEATED), (4, BINARY, b"list"), (5, I32, 1)),
        struct((1, I32, INT32), (3, I32, REQUIRED), (4, BINARY, b"element"), *stands_for),
    ]
