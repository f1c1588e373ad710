"""Partition files, the storage of every regroup: rows with partition numbers in, the rows of any partitions out.

A file is a row of pages (`pages.py`). A reader reads the end of the file (its root, and the whole index of most files),
at most one range of index blocks and one range of pages. Where a page ends depends on the rows and their order alone:
the same rows give the same bytes.
"""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from redpajama.engine.pages import (
    ENTRY,
    MAGIC,
    DamagedPartitions,
    FileEnd,
    Opened,
    Packing,
    PageWriter,
    blake2b,
    crc32,
    damaged,
    decode,
    index_bytes,
    read_at,
    row_bytes,
    schema_digest,
)

__all__ = ["DamagedPartitions"]

PAGE_BYTES = 1 << 20  # of a page's rows before they are packed, at least; a file's last page may be smaller
SPLIT_BYTES = 64 << 20  # of rows that a writer holds as a rule before it sorts and spills them
NUMBERS = 1 << 62  # partition numbers are below
PIECES = 256  # held pieces of a column are joined when there are so many


# ---- writing


class PartitionWriter:
    """Rows with partition numbers, in any order -> one file, sorted by number and within it in order of adding.

    packing: "zstd"; "lz4" for hashes, which hardly compress; None for what must cost little time and may take space.
    alone: no page holds rows of two partitions, so that a page's digest is that of its partition's rows alone.
    held_bytes: rows that are held before they are sorted and spilled (SPLIT_BYTES); these are written twice.
    scratch: the folder of the one file with spilled rows, which has no name (default: where `path` is).
    Leaving the block without an error writes the file; an error leaves nothing. Holds some `held_bytes` of rows and a
    copy of them in passing, then a page or two for each spill.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        *,
        packing: Packing = "zstd",
        alone: bool = False,
        held_bytes: int | None = None,
        scratch: Path | None = None,
    ) -> None:
        row_bytes([pa.nulls(0, field.type) for field in schema], 0)  # raises for nested columns
        self.rows = 0
        self._path, self._schema, self._alone, self._most = path, schema, alone, held_bytes or SPLIT_BYTES
        self._packing = packing
        self._spill = tempfile.TemporaryFile(dir=scratch or path.parent)  # noqa: SIM115 (__exit__ closes it)
        self._runs: list[_Run] = []
        self._let_go()

    def _let_go(self) -> None:
        self._numbers: list[np.ndarray] = []
        self._columns: list[list[pa.Array]] = [[] for _ in self._schema]
        self._joined = 0  # pieces that were made of PIECES small ones each
        self._bytes = 0  # of the rows held

    def add(self, numbers: np.ndarray, table: pa.Table) -> None:
        """Rows (kept by reference until spilled) and their partition numbers, integers[n] below 2**62.

        Raises:
            ValueError: another schema, or numbers that do not fit the rows.
        """
        if not table.schema.equals(self._schema):
            raise ValueError(f"rows have the columns {table.schema.names}, not those of {self._schema.names}")
        numbers = _checked(numbers, table.num_rows)
        self.rows += len(numbers)
        start = 0
        for batch in table.to_batches():
            self._hold(numbers[start : start + batch.num_rows], batch)
            start += batch.num_rows

    def _hold(self, numbers: np.ndarray, batch: pa.RecordBatch) -> None:
        """Keep rows, and spill whenever so many bytes are reached."""
        reached = np.cumsum(row_bytes(batch.columns, batch.num_rows))
        start = 0
        while start < len(numbers):
            before = int(reached[start - 1]) if start else 0
            end = min(int(np.searchsorted(reached, before + self._most - self._bytes)) + 1, len(numbers))
            self._numbers.append(numbers[start:end])
            for held, column in zip(self._columns, batch.columns, strict=True):
                held.append(column.slice(start, end - start))
            self._bytes += int(reached[end - 1]) - before
            start = end
            if self._bytes >= self._most:
                self._spill_rows()
            elif len(self._numbers) - self._joined == PIECES:
                self._join_last()

    def _join_last(self) -> None:
        """Join the last pieces: a writer may get its rows one by one."""
        for held in self._columns:
            held[-PIECES:] = [pa.concat_arrays(held[-PIECES:])]
        self._numbers[-PIECES:] = [np.concatenate(self._numbers[-PIECES:])]
        self._joined += 1

    def _sorted(self) -> tuple[np.ndarray, np.ndarray, list[pa.RecordBatch]]:
        """All rows held, which are let go: their numbers sorted, that order, the rows as they came."""
        numbers = np.concatenate([np.zeros(0, np.int64), *self._numbers])
        batches = [pa.record_batch(list(pieces), schema=self._schema) for pieces in zip(*self._columns, strict=True)]
        self._let_go()
        order = sorted_order(numbers)
        return numbers[order], order, batches

    def _spill_rows(self) -> None:
        pages = PageWriter(self._spill, self._packing and "lz4", PAGE_BYTES, checksum=crc32)
        pages.add(*self._sorted())
        self._runs.append(_Run(self._spill, str(self._path), self._schema, pages.finish()))

    def __enter__(self) -> "PartitionWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._spill:
            if kind is None:
                self._write()

    def _write(self) -> None:
        try:
            with open(self._path, "wb") as file:
                file.write(MAGIC)
                pages = PageWriter(file, self._packing, PAGE_BYTES, self._alone)
                self._write_rows(pages)
                entries = pages.finish()
                file.write(index_bytes(entries, file.tell(), self.rows, self._schema))
        except BaseException:
            self._path.unlink(missing_ok=True)
            raise

    def _write_rows(self, pages: PageWriter) -> None:
        if not self._runs:
            pages.add(*self._sorted())
            return
        self._spill_rows()
        merge(self._runs, pages)


def _checked(numbers: np.ndarray, rows: int) -> np.ndarray:
    """A copy of partition numbers as int64."""
    given = np.asarray(numbers)
    if given.shape != (rows,):
        raise ValueError(f"{given.shape} partition numbers for {rows} rows")
    if rows and (given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= NUMBERS):
        raise ValueError(f"partition numbers are integers from 0 to 2**62 - 1, not {given.min()} to {given.max()}")
    return given.astype(np.int64)


def sorted_order(numbers: np.ndarray) -> np.ndarray:
    """int64[n]: a stable order of partition numbers (int64[n]): a radix sort by 16 bits at a time."""
    if len(numbers) < 2 or (numbers[1:] >= numbers[:-1]).all():
        return np.arange(len(numbers))
    if len(numbers) < 1000:
        return np.argsort(numbers, kind="stable")
    least = numbers.min()
    order = np.argsort(_digit(numbers - least, 0), kind="stable")  # NumPy sorts uint16 by counting
    for place in range(16, int(numbers.max() - least).bit_length(), 16):
        order = order[np.argsort(_digit(numbers[order] - least, place), kind="stable")]
    return order


def _digit(values: np.ndarray, place: int) -> np.ndarray:
    return (values >> place).astype(np.uint16)


# ---- spilled runs


class _Run:
    """A sorted run of rows in the file of spills, read once from its start, a page at a time."""

    def __init__(self, file: Opened, name: str, schema: pa.Schema, entries: np.ndarray) -> None:
        self._file, self._name, self._schema = file, name, schema
        self.entries = entries
        self._next = 0  # page
        self._numbers = np.zeros(0, np.int64)  # of the rows of the page before that were not taken
        self._batch: pa.RecordBatch | None = None

    def until(self, bound: int) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        """The next rows, those with numbers below `bound`, in pieces."""
        while True:
            if not len(self._numbers) and not self._load(bound):
                return
            cut = int(np.searchsorted(self._numbers, bound))
            if cut and self._batch:
                yield self._numbers[:cut], self._batch.slice(0, cut)
                self._numbers, self._batch = self._numbers[cut:], self._batch.slice(cut)
            if len(self._numbers):
                return

    def _load(self, bound: int) -> bool:
        """Read the next page, if it begins below `bound`."""
        self._batch = None
        if self._next == len(self.entries) or self.entries["first"][self._next] >= bound:
            return False
        entry = self.entries[self._next]
        page = read_at(self._file, int(entry["offset"]), int(entry["bytes"]), self._name)
        runs, ends, self._batch = decode(page, entry, self._name, self._schema, crc32)
        self._numbers = np.repeat(runs, np.diff(ends, prepend=0))
        self._next += 1
        return True


def merge(runs: list[_Run], pages: PageWriter) -> None:
    """Write the rows of sorted runs by number, those of one number in the order of the runs.

    A step takes all rows below a bound, sorts them, and lets the rows at the bound, of which there may be any number,
    pass run by run. Bounds are every n-th of the last numbers of all pages: few pages are in memory at a time, and the
    steps are few enough to cut all runs in each.
    """
    lasts = np.sort(np.concatenate([run.entries["last"] for run in runs]))
    every = max(1, len(runs) // 4)
    for bound in np.unique([*lasts[every - 1 :: every], *lasts[-1:]]).tolist():
        _merge_block([piece for run in runs for piece in run.until(bound)], pages)
        for run in runs:
            for numbers, batch in run.until(bound + 1):
                pages.add(numbers, np.arange(len(numbers)), [batch])


def _merge_block(pieces: list[tuple[np.ndarray, pa.RecordBatch]], pages: PageWriter) -> None:
    if not pieces:
        return
    numbers = np.concatenate([piece for piece, _ in pieces])
    order = sorted_order(numbers)
    pages.add(numbers[order], order, [batch for _, batch in pieces])


# ---- reading


def describe(path: Path) -> list[Any]:
    """[bytes, SHA-256 of the root of its index]: it covers the digests of blocks, and these those of pages.

    To read and hash all of a file again would take a fifth of the time in which texts are dealt out.
    """
    with open(path, "rb") as file:
        end = FileEnd(file, path.name)
        return [end.size, sha256(end.data[end.tail.root_at - end.start :]).hexdigest()]


@dataclass(frozen=True)
class Index:
    """The pages of a file, in the order of their rows: arrays with an entry a page."""

    first: np.ndarray  # int64 partition number of the first row
    last: np.ndarray  # int64, of the last row
    offset: np.ndarray  # int64 bytes from the file's start
    bytes: np.ndarray  # int64
    rows: np.ndarray  # int64
    digest: np.ndarray  # uint64[n, 2], `pages.digest_of` the page

    @classmethod
    def of(cls, entries: np.ndarray) -> "Index":
        """The fields of ENTRY[n]."""
        return cls(*(np.ascontiguousarray(entries[name]) for name in ENTRY.names or ()))


def read_index(file: Opened, name: str) -> Index:
    """All pages of a file that is open; `name` is for errors.

    Raises:
        DamagedPartitions: the index is not what was written.
    """
    end = FileEnd(file, name)
    return Index.of(end.entries(0, len(end.root)))


def read_range(file: Opened, name: str, schema: pa.Schema, first: int, end: int) -> pa.Table:
    """The rows with first <= number < end, by number and then in order of adding, of a file that is open.

    Raises:
        DamagedPartitions: what was read is not what was written, or has another schema.
    """
    return read_numbered(file, name, schema, first, end)[1]


def read_numbered(file: Opened, name: str, schema: pa.Schema, first: int, end: int) -> tuple[np.ndarray, pa.Table]:
    """The same with the partition number of each row, int64[n]."""
    index = FileEnd(file, name)
    if index.tail.schema != schema_digest(schema):
        raise damaged(name, "its rows have other columns")
    entries = _between(index.entries(*_places(index.root, first, end)), first, end)
    found = list(_rows(index, schema, entries, first, end))
    numbers = np.concatenate([np.zeros(0, np.int64), *(numbers for numbers, _ in found)])
    return numbers, pa.Table.from_batches([batch for _, batch in found], schema)


def _places(ranges: np.ndarray, first: int, end: int) -> tuple[int, int]:
    """Where those of sorted ranges (with `first` and `last`) stand that may hold a number of first .. end - 1."""
    low = np.searchsorted(ranges["last"], first)
    return int(low), int(max(low, np.searchsorted(ranges["first"], end)))


def _between(entries: np.ndarray, first: int, end: int) -> np.ndarray:
    low, high = _places(entries, first, end)
    return entries[low:high]


def _rows(
    index: FileEnd, schema: pa.Schema, entries: np.ndarray, first: int, end: int
) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
    """Rows and their numbers of pages one after the other (ENTRY[n]), without those outside the range."""
    if not len(entries):
        return
    start = int(entries["offset"][0])
    data = read_at(index.file, start, int(entries["offset"][-1] + entries["bytes"][-1]) - start, index.name)
    for entry in entries:
        at = int(entry["offset"]) - start
        runs, ends, batch = decode(data[at : at + int(entry["bytes"])], entry, index.name, schema, index.checksum)
        ends = np.concatenate([[0], ends])
        low, high = (int(ends[np.searchsorted(runs, number)]) for number in (first, end))
        if low < high:
            numbers = np.repeat(runs, np.diff(ends))[low:high]
            whole = high - low == batch.num_rows  # a slice would keep the whole page
            yield numbers, batch if whole else batch.take(pa.array(np.arange(low, high)))


# ---- digests


def digests_of(indexes: Sequence[Index], count: int) -> np.ndarray:
    """uint64[count, 2]: for each partition below `count` a digest of all pages that may hold its rows, else zeros.

    It depends on the order of a partition's pages in each file, and on no order of the files. A page adds a 64-bit mix
    of its digest and its place to all partitions from its first to its last, modulo 2**64.
    """
    steps = np.zeros((count + 1, 2), np.uint64)
    for index in indexes:
        place = np.arange(len(index.first)) - np.searchsorted(index.first, index.first)  # among pages that begin alike
        salt = mixed(place.astype(np.uint64) + np.uint64(1))
        values = mixed(mixed(index.digest ^ salt[:, None]) + index.digest[:, ::-1])
        np.add.at(steps, np.minimum(index.first, count), values)
        np.subtract.at(steps, np.minimum(index.last + 1, count), values)
    return np.cumsum(steps[:count], axis=0, dtype=np.uint64)


def mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014) for each uint64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def numbers_and_digests(index: Index) -> tuple[np.ndarray, list[str]]:
    """Of a file written with `alone`: each partition number once (int64[n]), and 32 hex digits for all of its pages.

    Raises:
        ValueError: a page holds rows of two partitions.
    """
    if (index.first != index.last).any():
        raise ValueError("a page holds rows of two partitions")
    numbers, starts = np.unique(index.first, return_index=True)
    digests = index.digest.astype("<u8").tobytes()
    bounds = [16 * start for start in [*starts.tolist(), len(index.first)]]
    return numbers, [blake2b(digests[low:high]).hex() for low, high in itertools.pairwise(bounds)]
