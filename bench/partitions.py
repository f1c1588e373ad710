"""Partition files in pages against Parquet with a row group for each partition: what a regroup writes and opens.

    python bench/partitions.py [--rounds 3]

Three sets of rows: 2.6 million lines (three integers and a flag) over 16,384 partitions; 12,000 documents of 10 KB over
64 and 131,072 partitions. Processor seconds of writing, bytes of the file against those of the same rows packed without
partitions, processor milliseconds to open a file and read one partition; medians of rounds that take turns. The peer
deals out the batches of 50,000 rows as they come: a writer that streams cannot sort all its rows at once.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redpajama.engine.partitions import PartitionWriter, read_range

ADDED_ROWS = 50_000
READS = 20
HASHED = {"compression": "lz4", "use_dictionary": False}
Pieces = Iterator[tuple[np.ndarray, pa.Table]]


def lines(random: np.random.Generator, count: int = 2_600_000) -> pa.Table:
    """Hashes of lines, a document of some 100 lines each, 100 parts."""
    documents = np.sort(random.integers(0, count // 100, count))
    columns = {
        "line": random.integers(0, 1 << 64, count, np.uint64),
        "document": random.integers(0, 1 << 64, count // 100, np.uint64)[documents],
        "part": random.integers(0, 1 << 64, 100, np.uint64)[documents * 100 // (count // 100)],
        "again": random.random(count) < 0.02,
    }
    return pa.table(columns)


def documents(random: np.random.Generator, count: int = 12_000) -> pa.Table:
    """Texts of 10 KB: words drawn with Zipf's frequencies, which pack as real texts do."""
    words = np.array(["".join(map(chr, random.integers(97, 123, size))) for size in random.integers(2, 11, 30_000)])
    drawn = words[np.minimum(random.zipf(1.2, (count, 1_600)), len(words)) - 1]
    columns = {
        "order": pa.array(random.integers(0, 1 << 64, count, np.uint64)),
        "doc_id": pa.array([f"source:{number:09}" for number in range(count)]),
        "part": pa.array(["documents/source-00001"] * count),
        "n_tokens": pa.array(random.integers(1_000, 4_000, count)),
        "text": pa.array([" ".join(row) for row in drawn], pa.large_string()),
        "meta": pa.array(['{"language":"en","license":"CC BY 4.0"}'] * count),
    }
    return pa.table(columns)


def pieces(numbers: np.ndarray, rows: pa.Table) -> Pieces:
    """The rows as a split meets them, a batch at a time."""
    for start in range(0, len(numbers), ADDED_ROWS):
        yield numbers[start : start + ADDED_ROWS], rows.slice(start, ADDED_ROWS)


def write_pages(path: Path, numbers: np.ndarray, rows: pa.Table, hashes: bool) -> None:
    with PartitionWriter(path, rows.schema, packing="lz4" if hashes else "zstd") as writer:
        for some, table in pieces(numbers, rows):
            writer.add(some, table)


def read_pages(path: Path, schema: pa.Schema, number: int) -> pa.Table:
    with open(path, "rb") as file:
        return read_range(file, path.name, schema, number, number + 1)


def write_groups(path: Path, numbers: np.ndarray, rows: pa.Table, hashes: bool) -> None:
    """A row group for each partition, the list of partitions in the file's metadata; each batch is dealt out."""
    held: dict[int, list[pa.Table]] = defaultdict(list)
    for some, table in pieces(numbers, rows):
        for number, dealt in deal(some, table):
            held[number].append(dealt)
    with pq.ParquetWriter(path, rows.schema, **(HASHED if hashes else {"compression": "zstd"})) as writer:
        for number in sorted(held):
            group = pa.concat_tables(held[number])
            writer.write_table(group, row_group_size=group.num_rows)
        writer.add_key_value_metadata({"partitions": json.dumps(sorted(held))})


def deal(numbers: np.ndarray, rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each partition."""
    order = np.argsort(numbers, kind="stable")
    found, starts = np.unique(numbers[order], return_index=True)
    dealt = rows.take(pa.array(order))
    for number, start, end in zip(found.tolist(), starts, [*starts[1:], len(order)], strict=True):
        yield number, dealt.slice(start, end - start)


def read_groups(path: Path, _: pa.Schema, number: int) -> pa.Table:
    file = pq.ParquetFile(path)
    groups = json.loads(file.metadata.metadata[b"partitions"])
    return file.read_row_group(groups.index(number), use_threads=False)


def packed_bytes(path: Path, numbers: np.ndarray, rows: pa.Table, hashes: bool) -> int:
    """What the rows take in one stream of record batches of 1 MiB and more, in the order of their numbers."""
    rows = rows.take(pa.array(np.argsort(numbers, kind="stable")))
    batch = max(1, (1 << 20) * rows.num_rows // rows.nbytes)
    options = pa.ipc.IpcWriteOptions(compression="lz4" if hashes else "zstd")
    with pa.ipc.new_stream(path, rows.schema, options=options) as stream:
        stream.write_table(rows, max_chunksize=batch)
    return path.stat().st_size


def seconds(work: Callable[..., object], *arguments: object) -> float:
    """Processor seconds of this process."""
    started = time.process_time()
    work(*arguments)
    return time.process_time() - started


def measure(path: Path, numbers: np.ndarray, rows: pa.Table, hashes: bool, rounds: int) -> dict[str, list[float]]:
    """Medians for ours and the peer: seconds of writing, bytes, milliseconds of a read."""
    asked = np.unique(numbers)[:: max(1, len(np.unique(numbers)) // READS)][:READS].tolist()
    results: dict[str, list[list[float]]] = {"pages": [], "groups": []}
    for _ in range(rounds):
        for name, write, read in [("pages", write_pages, read_pages), ("groups", write_groups, read_groups)]:
            wrote = seconds(write, path, numbers, rows, hashes)
            reads = statistics.median(seconds(read, path, rows.schema, number) for number in asked)
            assert read(path, rows.schema, asked[0]).num_rows == (numbers == asked[0]).sum()
            results[name].append([wrote, path.stat().st_size, 1000 * reads])
    return {name: [statistics.median(each) for each in zip(*found, strict=True)] for name, found in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    random = np.random.default_rng(5)
    texts = documents(random)
    cases = [("lines", lines(random), 16_384, True), *(("documents", texts, count, False) for count in (64, 131_072))]
    sys.stdout.write(
        "rows       partitions  packed MB |  pages: CPU s     MB  ms a read |  groups: CPU s     MB  ms a read\n"
    )
    totals = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows")
        for name, rows, count, hashes in cases:
            numbers = random.integers(0, count, rows.num_rows)
            packed = packed_bytes(path, numbers, rows, hashes) / 1e6
            found = totals[name, count] = measure(path, numbers, rows, hashes, rounds)
            cells = [f"{wrote:13.2f} {size / 1e6:6.1f} {read:10.2f}" for wrote, size, read in found.values()]
            sys.stdout.write(f"{name:10} {count:10,} {packed:10.1f} | {cells[0]} |  {cells[1]}\n")
    ours, peer = (totals["lines", 16_384][each][0] for each in ("pages", "groups"))
    sys.stdout.write(f"RESULT partitions ours={ours:.2f} peer={peer:.2f} unit=CPU s ratio={peer / ours:.1f}\n")


if __name__ == "__main__":
    main()
