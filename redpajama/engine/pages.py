"""Pages of rows that are sorted by partition number: the bytes of a partition file, and the index behind its pages.

Layout: magic, pages, blocks of index entries, root (an entry a block), tail. A page is a head with the numbers of its
rows (run lengths) and an Arrow record batch without its schema, compressed where that pays. All carry a checksum that
is checked, 128 bits of SHA-256: keys of what reads the rows rest on it, and processors have instructions for it (twice
the speed of BLAKE2b; beside reading and writing no slower than XXH3, measured). Integers are little-endian.
"""

import hashlib
import io
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Literal, NamedTuple, cast

import numpy as np
import pyarrow as pa

from redpajama.arrow import Rows
from redpajama.errors import BuildFailed

END_BYTES = 16 << 10  # what a reader reads first: root and tail always fit
BLOCK_PAGES = 256  # entries of a block, unless the root would have more than ROOT_BLOCKS
ROOT_BLOCKS = 400
TINY_BYTES = 1 << 10  # pages with less are not compressed, which would take forty times as long for nothing
ROW_BYTES = 8  # of each row's partition number

Packing = Literal["zstd", "lz4"] | None  # of pages
Opened = BinaryIO | io.RawIOBase  # a file on this machine, or ranges of one on an object store

MAGIC = b"RPpages2"
OLD_MAGIC = b"RPpages1"  # the same with BLAKE2b
HEAD = struct.Struct("<qqBB6x")  # of a page: first number, runs, bytes of a step between numbers and of a run length
TAIL = struct.Struct("<6q16s16s8s")  # see Tail
ENTRY = np.dtype([(name, "<i8") for name in ("first", "last", "offset", "bytes", "rows")] + [("digest", "<u8", 2)])
ROOT = np.dtype([("first", "<i8"), ("last", "<i8"), ("digest", "<u8", 2)])


class DamagedPartitions(BuildFailed):
    """A partition file that cannot be trusted: one line that names it and says what is wrong."""


class Tail(NamedTuple):
    """The last bytes of a file."""

    size: int  # of the whole file
    blocks_at: int  # where the first block of the index begins
    root_at: int
    pages: int
    block: int  # entries of each block but the last
    rows: int
    schema: bytes  # digest of it
    digest: bytes  # of root and tail, this field being zero
    magic: bytes


Checksum = Callable[[bytes | memoryview], bytes]  # 16 bytes


def blake2b(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def digest_of(data: bytes | memoryview) -> bytes:
    return hashlib.sha256(data).digest()[:16]


def crc32(data: bytes | memoryview) -> bytes:
    """Enough for what this process alone reads again, in a third of the time."""
    return zlib.crc32(data).to_bytes(16, "little")


CHECKSUMS: dict[bytes, Checksum] = {MAGIC: digest_of, OLD_MAGIC: blake2b}


def words(digest: bytes) -> tuple[int, int]:
    return struct.unpack("<QQ", digest)


def schema_digest(schema: pa.Schema) -> bytes:
    """Of names, types and nullability; metadata does not count."""
    return blake2b("\n".join(f"{field.name}\t{field.type}\t{field.nullable}" for field in schema).encode())


# ---- rows


def row_bytes(columns: Iterable[pa.Array], rows: int) -> np.ndarray:
    """int64[rows]: what each row takes in memory, its partition number included; null values have no bytes.

    Raises:
        TypeError: a nested or dictionary column.
    """
    total = np.full(rows, ROW_BYTES, np.int64)
    for column in columns:
        total += _value_bytes(column)
    return total


def _value_bytes(column: pa.Array) -> np.ndarray | int:
    kind = column.type
    if pa.types.is_null(kind):
        return 0
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        return _text_bytes(column, np.int64)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return _text_bytes(column, np.int32)
    if not pa.types.is_primitive(kind) and not pa.types.is_fixed_size_binary(kind):
        raise TypeError(f"partition files hold flat columns, not {kind}")
    return (kind.bit_width + 7) // 8


def _text_bytes(column: pa.Array, width: type[np.signedinteger[Any]]) -> np.ndarray | int:
    if not len(column):
        return 0
    places = np.frombuffer(column.buffers()[1], width)[column.offset : column.offset + len(column) + 1]
    sizes = np.diff(places).astype(np.int64)
    if column.null_count:
        sizes[column.is_null().to_numpy(zero_copy_only=False)] = 0
    return sizes + np.dtype(width).itemsize


# ---- pages


def encode(numbers: np.ndarray, batch: pa.RecordBatch, packing: Packing) -> bytes:
    """A page: rows with their partition numbers, sorted (int64[n])."""
    bounds = np.concatenate(([0], changes(numbers), [len(numbers)]))
    found = numbers[bounds[:-1]]
    steps, lengths = _narrow(found - np.concatenate((found[:1], found[:-1]))), _narrow(bounds[1:] - bounds[:-1])
    head = HEAD.pack(numbers[0], len(found), steps.itemsize, lengths.itemsize) + steps.tobytes() + lengths.tobytes()
    message = _packed(batch, packing)
    return b"".join([head, bytes(-len(head) % 8), message, bytes(-message.size % 8)])  # Arrow wants 8-byte places


def changes(numbers: np.ndarray) -> np.ndarray:
    """Where another number begins in int64[n], int64[k] without 0."""
    return (numbers[1:] != numbers[:-1]).nonzero()[0] + 1


def _packed(batch: pa.RecordBatch, packing: Packing) -> pa.Buffer:
    """An IPC message: what a stream has after its schema."""
    if packing is None:
        return batch.serialize()
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=packing, use_threads=False)
    pa.ipc.new_stream(sink, batch.schema, options=options).write_batch(batch)
    return sink.getvalue().slice(batch.schema.serialize().size)


def _narrow(values: np.ndarray) -> np.ndarray:
    """Non-negative integers in the smallest type that holds them all."""
    most = int(values.max())
    return values.astype(next(f"<u{size}" for size in (1, 2, 4, 8) if most < 1 << 8 * size))


def decode(
    page: memoryview, entry: np.void, name: str, schema: pa.Schema, checksum: Checksum = digest_of
) -> tuple[np.ndarray, np.ndarray, pa.RecordBatch]:
    """A page and its ENTRY -> int64[n] numbers of its runs, int64[n] ends of their rows, rows.

    Raises:
        DamagedPartitions: not the page that the entry knows.
    """
    if words(checksum(page)) != tuple(entry["digest"].tolist()):
        raise damaged(name, f"the page at byte {entry['offset']} has another checksum")
    first, runs, step_bytes, length_bytes = HEAD.unpack_from(page)
    steps = np.frombuffer(page, f"<u{step_bytes}", runs, HEAD.size)
    lengths = np.frombuffer(page, f"<u{length_bytes}", runs, HEAD.size + runs * step_bytes)
    head = HEAD.size + runs * (step_bytes + length_bytes)
    batch = pa.ipc.read_record_batch(pa.py_buffer(page[head + -head % 8 :]), schema)
    return first + np.cumsum(steps, dtype=np.int64), np.cumsum(lengths, dtype=np.int64), batch


def page_ends(sizes: np.ndarray, carried: int, limit: int, breaks: Iterable[int]) -> Iterator[int]:
    """Where pages end in rows of so many bytes (int64[n]), after a page that began with `carried` bytes.

    A page ends with the row that makes it `limit` bytes long, and at all `breaks`.
    """
    reached = np.cumsum(sizes)
    before, beyond = -carried, len(sizes) + 1
    for stop in (*breaks, beyond):
        while (end := min(stop, int(np.searchsorted(reached, before + limit)) + 1)) < beyond:
            yield end
            before = int(reached[end - 1])
            if end == stop:
                break


class PageWriter:
    """Sorted rows -> pages of `limit` bytes and more at the end of a file, and their index entries."""

    def __init__(
        self, file: BinaryIO, packing: Packing, limit: int, alone: bool = False, checksum: Checksum | None = None
    ) -> None:
        """`checksum`: of each page, where it is not `digest_of`."""
        self._file, self._checksum = file, checksum or digest_of
        self._packing = packing
        self._limit = limit
        self._alone = alone
        self._held: list[tuple[np.ndarray, pa.RecordBatch]] = []  # rows of the page that is not full
        self._bytes = 0  # of the rows in _held
        self._offset = file.seek(0, os.SEEK_END)
        self._entries: list[tuple[Any, ...]] = []

    def add(self, numbers: np.ndarray, order: np.ndarray, batches: list[pa.RecordBatch]) -> None:
        """The rows `order` of batches (int64[n]), whose numbers (int64[n]) are sorted and none below those before.

        `batches` is emptied: each column is let go when its rows are joined.
        """
        if not len(numbers):
            return
        if self._alone and self._held and self._held[-1][0][-1] != numbers[0]:
            self.flush()
        sizes = np.concatenate([row_bytes(batch.columns, batch.num_rows) for batch in batches])[order]
        schema, columns = batches[0].schema, [list(pieces) for pieces in zip(*batches, strict=True)]
        batches.clear()
        rows = Rows(schema, columns)
        start = 0
        breaks = changes(numbers).tolist() if self._alone else ()
        for end in page_ends(sizes, self._bytes, self._limit, breaks):
            self._hold(numbers[start:end], sizes[start:end], rows.take(order[start:end]))
            self.flush()
            start = end
        if start < len(numbers):
            self._hold(numbers[start:].copy(), sizes[start:], rows.take(order[start:]))

    def _hold(self, numbers: np.ndarray, sizes: np.ndarray, batch: pa.RecordBatch) -> None:
        self._held.append((numbers, batch))
        self._bytes += int(sizes.sum())

    def flush(self) -> None:
        """Write the rows that are held, if any, as a page."""
        if not self._held:
            return
        numbers = np.concatenate([piece for piece, _ in self._held])
        batches = [batch for _, batch in self._held]
        rows = pa.concat_batches(batches) if len(batches) > 1 else batches[0]  # one would be copied, too
        page = encode(numbers, rows, None if self._bytes < TINY_BYTES else self._packing)
        self._file.write(page)
        self._entries.append(
            (numbers[0], numbers[-1], self._offset, len(page), len(numbers), words(self._checksum(page)))
        )
        self._offset += len(page)
        self._held, self._bytes = [], 0

    def finish(self) -> np.ndarray:
        """ENTRY[n] of all pages, the last one written."""
        self.flush()
        return np.array(self._entries, ENTRY)


# ---- the index


def index_bytes(entries: np.ndarray, offset: int, rows: int, schema: pa.Schema) -> bytes:
    """Blocks, root and tail of a file whose pages (ENTRY[n]) end at `offset`."""
    block = max(BLOCK_PAGES, -(-len(entries) // ROOT_BLOCKS))
    blocks = [entries[start : start + block] for start in range(0, len(entries), block)]
    root = np.array([(each["first"][0], each["last"][-1], words(digest_of(each.tobytes()))) for each in blocks], ROOT)
    root_at = offset + entries.nbytes
    size = root_at + root.nbytes + TAIL.size
    tail = Tail(size, offset, root_at, len(entries), block, rows, schema_digest(schema), bytes(16), MAGIC)
    tail = tail._replace(digest=digest_of(root.tobytes() + TAIL.pack(*tail)))
    return entries.tobytes() + root.tobytes() + TAIL.pack(*tail)


class FileEnd:
    """The end of a file: its tail and root, checked, and what else was read with them."""

    def __init__(self, file: Opened, name: str) -> None:
        self.file, self.name = file, name
        self.size = file.seek(0, os.SEEK_END)
        self.start = max(0, self.size - END_BYTES)
        self.data = read_at(file, self.start, self.size - self.start, name)
        if self.size < len(MAGIC) + TAIL.size:
            raise damaged(name, f"it has only {self.size} bytes")
        self.tail = Tail._make(TAIL.unpack_from(self.data, len(self.data) - TAIL.size))
        self.checksum = CHECKSUMS.get(self.tail.magic, digest_of)
        self.root = self._root()

    def _root(self) -> np.ndarray:
        tail, at = self.tail, self.tail.root_at - self.start
        if tail.magic not in CHECKSUMS or tail.size != self.size or not 0 <= at <= len(self.data) - TAIL.size:
            raise damaged(self.name, "its tail is not that of a partition file of its size")
        covered = self.data[at : len(self.data) - TAIL.size]
        if self.checksum(covered.tobytes() + TAIL.pack(*tail._replace(digest=bytes(16)))) != tail.digest:
            raise damaged(self.name, "the root of its index has another checksum")
        return np.frombuffer(covered, ROOT)

    def entries(self, low: int, high: int) -> np.ndarray:
        """ENTRY[n] of the blocks low to high - 1, read at once where the end does not have them, and checked."""
        if low >= high:
            return np.zeros(0, ENTRY)
        block = self.tail.block
        first, end = low * block, min(high * block, self.tail.pages)
        at, size = self.tail.blocks_at + first * ENTRY.itemsize, (end - first) * ENTRY.itemsize
        inside = at - self.start
        data = self.data[inside : inside + size] if inside >= 0 else read_at(self.file, at, size, self.name)
        for number in range(low, high):
            part = data[(number - low) * block * ENTRY.itemsize :][: block * ENTRY.itemsize]
            if words(self.checksum(part)) != tuple(self.root["digest"][number].tolist()):
                raise damaged(self.name, f"block {number} of its index has another checksum")
        return np.frombuffer(data, ENTRY)


def read_at(file: Opened, offset: int, size: int, name: str) -> memoryview:
    """Bytes of a file, all that were asked for."""
    file.seek(offset)
    data = memoryview(pa.allocate_buffer(size)).cast(
        "B"
    )  # Arrow's memory, which it uses again: new costs a fault a page
    if (found := cast(io.RawIOBase, file).readinto(data) or 0) != size:
        raise damaged(name, f"{found} of {size} bytes are there at byte {offset}")
    return data.toreadonly()


def damaged(name: str, what: str) -> DamagedPartitions:
    return DamagedPartitions(f"{name}: damaged: {what}")
