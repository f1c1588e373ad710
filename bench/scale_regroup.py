"""A regroup alone: P parts of small rows into K partitions, through the engine, with every open and byte counted."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scaled

from redpajama.engine import partitions
from redpajama.engine.partitions import PartitionWriter
from redpajama.engine.parts import Outputs, Part, PartRecord, Result
from redpajama.engine.shapes import Dealt, Piece, Range, Regrouped, Single
from redpajama.engine.stages import Build, Job
from redpajama.engine.tables import read_table
from redpajama.manifest import parse

ROWS = 400  # of a part
TEXT_BYTES = 120  # of a row
SCHEMA = pa.schema([("key", pa.uint64()), ("text", pa.large_string())])
MANIFEST = {"name": "regroup", "seed": 1, "source": [{"name": "web", "pipeline": "c4", "inputs": ["x"]}]}


@dataclass
class Regroup:
    """What one cost; bytes of partition files are those of all splits."""

    splits: int
    split: scaled.Count
    reduce: scaled.Count
    file_bytes: int
    row_bytes: int  # packed alike, without partitions

    @property
    def all(self) -> scaled.Count:
        return self.split + self.reduce


def rows_of(number: int, rows: int = ROWS) -> pa.Table:
    """Rows with random keys and texts of words."""
    random = np.random.default_rng(number)
    words = scaled.words()
    starts = random.integers(0, len(words) - 30, rows)
    texts = [" ".join(words[start : start + 30])[:TEXT_BYTES] for start in starts]
    return pa.table(
        [pa.array(random.integers(0, 1 << 62, rows, np.uint64)), pa.array(texts, pa.large_string())], SCHEMA
    )


def write_part(build: Build, part: Part, outputs: Outputs) -> Result:
    pq.write_table(rows_of(part.spec["number"]), outputs.file(".parquet"))
    return [], {"read": ROWS, "kept": ROWS}


def numbered(parts: int, build: Build) -> Iterator[Piece]:
    yield from (Piece("web", number, {"number": number}, ROWS) for number in range(parts))


def fixed(count: int, build: Build, name: str, parts: list[PartRecord]) -> int:
    return count


def split(build: Build, part: PartRecord, count: int) -> Dealt:
    rows = read_table(build.store, part.file(".parquet"))
    yield numbers_of(rows, count), rows


def numbers_of(rows: pa.Table, count: int) -> np.ndarray:
    """int64[n]: the partition of each row."""
    return (rows.column("key").to_numpy() >> np.uint64(30)).astype(np.int64) * count >> 32


def reduce(build: Build, partition: Range, rows: pa.Table, outputs: Outputs) -> dict[str, Any]:
    pq.write_table(rows.sort_by("key"), outputs.file(".parquet"))
    return {"read": rows.num_rows, "kept": rows.num_rows}


def flow(parts: int, count: int) -> list[Any]:
    """A stage of so many parts, regrouped."""
    rows = Single(name="rows", version=1, pieces=partial(numbered, parts), work=write_part)
    regrouped = Regrouped(
        name="regrouped",
        version=1,
        each="rows",
        after=("rows",),
        schema=SCHEMA,
        partitions=partial(fixed, count),
        split=split,
        reduce=reduce,
    )
    return [rows, regrouped]


def measure(root: Path, parts: int, count: int) -> Regroup:
    """Regroup so many parts into so many partitions."""
    claims = root / ".tmp/run/claims"
    (claims / "done").mkdir(parents=True)
    job = Job(parse(MANIFEST, "regroup.toml"), str(root), "run", claims=str(claims))
    with mock.patch.object(partitions, "PAGE_BYTES", scaled.PAGE_BYTES):
        _, splits, ranges = scaled.counted_steps(job, flow(parts, count), keep_splits=True)
        files = list(root.glob("regrouped-split/*/*.partitions"))
        packed = sum(packed_bytes(map(rows_of, range(first, parts, len(files)))) for first in range(len(files)))
    size = sum(path.stat().st_size for path in files)
    return Regroup(len(files), splits.all, ranges.all, size, packed)


def packed_bytes(tables: Iterator[pa.Table]) -> int:
    """Bytes of rows in a stream of compressed batches that are as large as a page."""
    rows = pa.concat_tables(tables).combine_chunks()
    sink, options = pa.BufferOutputStream(), pa.ipc.IpcWriteOptions(compression="zstd")
    batch = max(1, partitions.PAGE_BYTES * rows.num_rows // (rows.nbytes + 8 * rows.num_rows))
    with pa.ipc.new_stream(sink, SCHEMA, options=options) as stream:
        stream.write_table(rows, max_chunksize=batch)
    return sink.tell()


def growth_of_file(folder: Path, counts: tuple[int, ...]) -> dict[int, float]:
    """{number of partitions: bytes of a full split file to those of its rows}."""
    rows = pa.concat_tables([rows_of(number, 20_000) for number in range(10)]).combine_chunks()
    found = {}
    for count in counts:
        with PartitionWriter(folder / "counted", SCHEMA) as writer:
            writer.add(numbers_of(rows, count), rows)
        found[count] = (folder / "counted").stat().st_size / packed_bytes(iter([rows]))
    return found
