"""Rows that a later stage asks for part by part, dealt out by part once: who asks opens one file of each stage.

A stage with homes writes each such file (`Home.ending`) sorted by the *home* of its rows: the content of the part that
will ask, as a number. Two steps more gather these files into few and bring the rows of some homes together, a row group
a home, in Parquet; the record of such a file says which homes it holds, so planners open none. Homes stand together by
the leading bits of their content, about HOME_PARTS to a file: so K parts of a stage, gathered into F files, cost
K + F x P / HOME_PARTS opens.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from redpajama.arrow import open_parquet
from redpajama.engine.gathered import Parts, parts_of
from redpajama.engine.pages import damaged
from redpajama.engine.partitions import PartitionWriter, describe, digests_of, read_index, read_numbered
from redpajama.engine.parts import File, Outputs, Part, PartRecord, Result
from redpajama.engine.splits import splits_of
from redpajama.engine.stages import ALL, Build, Planned, Step, fingerprint, versions
from redpajama.engine.store import Store
from redpajama.engine.tables import buffered
from redpajama.errors import is_of_reading
from redpajama.hashing import sha256_of, short_id

VERSION = 1
HOME_PARTS = 16  # parts that ask one file, about
MOST_FILES = 4096
HOME_BYTES = 1 << 20  # of one request to an object store: about what a home has
DIRECT = 64  # so many parts are dealt out without being gathered first
BITS = 62  # of a home's number
ENDING = "-homes"  # of the stage whose parts are homes


class Home(NamedTuple):
    """A file of rows that are asked for part by part."""

    ending: str
    schema: pa.Schema
    order: tuple[str, ...]  # the columns by which a home's rows are sorted
    of: str  # the stage whose parts ask


def stage_of(stage: str) -> str:
    """The stage whose parts are homes."""
    return f"{stage}{ENDING}"


def number_of(content: str) -> int:
    """A content as the number of a home."""
    return int(content, 16) >> (64 - BITS)


def numbers_of(contents: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """int64[n] of contents, or of ids that end with one (strings)."""
    found = contents.combine_chunks() if isinstance(contents, pa.ChunkedArray) else contents
    words = found.dictionary_encode()
    numbers = np.array([number_of(word[-16:]) for word in words.dictionary.to_pylist()], np.int64)
    return numbers[words.indices.to_numpy()] if len(found) else np.zeros(0, np.int64)


def numbers_of_integers(contents: pa.ChunkedArray) -> np.ndarray:
    """int64[n] of contents that are integers (uint64)."""
    return (contents.to_numpy() >> np.uint64(64 - BITS)).astype(np.int64)


def write(outputs: Outputs, home: Home, homes: np.ndarray, rows: pa.Table) -> None:
    """Rows with the numbers of their homes (int64[n]) -> the file that is dealt out."""
    with PartitionWriter(outputs.file(home.ending), home.schema) as writer:
        writer.add(homes, rows.cast(home.schema))


# ---- the steps


def split_of(stage: str) -> str:
    """The stage whose parts gather those of a stage, where there are many."""
    return f"{stage}-homes-split"


def steps(stage: str, homes: tuple[Home, ...], after: tuple[str, ...]) -> list[Step]:
    """What deals the rows of a stage out: parts are gathered first where there are more than DIRECT."""
    own = (*after, stage, *(home.of for home in homes))
    gathering = Step(split_of(stage), own, partial(_plan_splits, stage, homes), partial(_split, homes), scratch=True)
    plan, work = partial(_plan, stage, homes), partial(_gather, stage, homes)
    return [gathering, Step(stage_of(stage), (*own, split_of(stage)), plan, work, spent=split_of(stage))]


class _Dealing(NamedTuple):
    """What one name of a stage has to do."""

    name: str
    parameters: dict[str, Any]
    wanted: str
    parts: int  # of the stage
    files: int  # of homes

    @property
    def stamp(self) -> str:
        return fingerprint(self.parameters)


def _dealings(stage: str, homes: tuple[Home, ...], build: Build) -> list[_Dealing]:
    declared, found = [[home.ending, str(home.schema), home.order] for home in homes], []
    parameters = {"stage": ["homes", VERSION], "homes": declared, "libraries": versions("pyarrow")}
    for name, record in build.stage(stage).items():
        count = file_count(_asking(build, homes[0].of, name))
        found.append(_Dealing(name, parameters, short_id([count, record.key, record.sha256]), record.parts, count))
    return found


def _asking(build: Build, of: str, name: str) -> int:
    """How many parts may ask: those of the name, or of all names where the stage concerns all."""
    records = build.stage(of)
    return sum(records[each].parts for each in ([name] if name in records else records))


def file_count(parts: int) -> int:
    """A power of two."""
    return min(MOST_FILES, 1 << max(0, (parts - 1) // HOME_PARTS).bit_length())


def _plan_splits(stage: str, homes: tuple[Home, ...], build: Build) -> list[Planned]:
    """Needless where the homes are committed."""
    found = []
    for each in _dealings(stage, homes, build):
        if each.parts > DIRECT:
            groups = splits_of(list(build.named(stage, each.name)))
            parts = partial(_split_parts, stage, each, groups)
            found.append(Planned(each.name, each.parameters, each.wanted, len(groups), parts, stage_of(stage)))
    return found


def _split_parts(stage: str, dealing: _Dealing, groups: list[list[PartRecord]]) -> list[Part]:
    own = split_of(stage), dealing.name, dealing.stamp
    reads = [[part.content for part in group] for group in groups]
    spec = [{"of": [[part.stage, part.id] for part in group]} for group in groups]
    return [Part(*own, *each) for each in zip(reads, spec, strict=True)]


def _split(homes: tuple[Home, ...], build: Build, part: Part, outputs: Outputs) -> Result:
    """The rows of some parts -> one file, by home."""
    rows = 0
    for home in homes:
        with PartitionWriter(outputs.file(home.ending, describe=describe), home.schema) as writer:
            for stage, id in part.spec["of"]:
                writer.add(*_rows(build.store, build.part(stage, id), home, 0, 1 << BITS))
        rows += writer.rows
    return [], {"read": rows, "kept": rows}


def _plan(stage: str, homes: tuple[Home, ...], build: Build) -> list[Planned]:
    return [
        Planned(each.name, each.parameters, each.wanted, each.files, partial(_parts, stage, homes, build, each))
        for each in _dealings(stage, homes, build)
    ]


def _parts(stage: str, homes: tuple[Home, ...], build: Build, dealing: _Dealing) -> list[Part]:
    count = dealing.files
    digests = [_digests(build, stage, dealing.name, home, count) for home in homes]
    return [
        Part(
            stage_of(stage),
            dealing.name,
            dealing.stamp,
            [count, number, [each[number].tolist() for each in digests]],
            {"number": number, "count": count},
            label=f"home-{number:04d}",
        )
        for number in range(count)
    ]


def _gathered(build: Build, stage: str, name: str) -> Parts:
    """The parts that hold the rows: gathered ones, or the stage's own."""
    gathered = split_of(stage)
    return build.named(gathered if name in build.names(gathered) else stage, name)


def _digests(build: Build, stage: str, name: str, home: Home, count: int) -> np.ndarray:
    """uint64[count, 2]: of the rows that each file of homes will hold."""
    indexes = []
    for record in _gathered(build, stage, name):
        file = record.file(home.ending)
        with build.store.open(*file) as opened:
            index = read_index(opened, file.key)
        shift = BITS - count.bit_length() + 1
        indexes.append(replace(index, first=index.first >> shift, last=index.last >> shift))
    return digests_of(indexes, count)


def _gather(stage: str, homes: tuple[Home, ...], build: Build, part: Part, outputs: Outputs) -> Result:
    """The rows of some homes -> a file of each kind; {ending: {home: [row group, digest]}} goes on record."""
    rows, held = 0, {}
    for home in homes:
        table, numbers = _rows_of(build, stage, part, home)
        held[home.ending] = _write(outputs, home, table, numbers)
        rows += table.num_rows
    return [held], {"read": rows, "kept": rows}


def _rows_of(build: Build, stage: str, part: Part, home: Home) -> tuple[pa.Table, np.ndarray]:
    """All rows of some homes, sorted, and the home of each."""
    width = 1 << (BITS - part.spec["count"].bit_length() + 1)
    start = part.spec["number"] * width
    tables, numbers = [home.schema.empty_table()], [np.zeros(0, np.int64)]
    for record in _gathered(build, stage, part.name):
        found, rows = _rows(build.store, record, home, start, start + width)
        tables.append(rows)
        numbers.append(found)
    table, homes_of = pa.concat_tables(tables), np.concatenate(numbers)
    keyed = table.append_column("home", pa.array(homes_of))
    order = pc.sort_indices(keyed, sort_keys=[(name, "ascending") for name in ("home", *home.order)])
    return table.take(order), homes_of[order.to_numpy()]


def _rows(store: Store, part: PartRecord, home: Home, first: int, end: int) -> tuple[np.ndarray, pa.Table]:
    """The rows of one part with homes from `first` to `end` - 1, and these."""
    file = part.file(home.ending)
    with store.open(*file) as opened:
        return read_numbered(opened, file.key, home.schema, first, end)


def _write(outputs: Outputs, home: Home, table: pa.Table, numbers: np.ndarray) -> dict[str, list[Any]]:
    """A row group a home; {home: [its number, a digest of the rows]}."""
    starts = np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1])) if len(numbers) else np.zeros(0, np.int64)
    ends, held, table = np.append(starts[1:], len(numbers))[: len(starts)], {}, table.combine_chunks()
    path = outputs.file(f"{home.ending}.parquet")
    with pq.ParquetWriter(path, home.schema, compression="zstd", version="2.6", write_page_checksum=True) as writer:
        for group, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            rows = table.take(pa.array(np.arange(start, end)))  # a slice would bring bytes of its neighbours
            writer.write_table(rows, row_group_size=rows.num_rows)
            held[str(numbers[start])] = [group, _digest(rows)]
    return held


def _digest(rows: pa.Table) -> str:
    """Of rows in their order: of what their stream holds."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    return sha256_of([sink.getvalue()])[:16]


def rows_of(store: Store, part: PartRecord, home: Home) -> pa.Table:
    """All rows that one part wrote by home."""
    return _rows(store, part, home, 0, 1 << BITS)[1]


# ---- who asks


def read(build: Build, stage: str, part: PartRecord, home: Home, columns: list[str] | None = None) -> pa.Table:
    """The rows of a stage for one part; nothing where the stage has none for its name."""
    if (own := _find(build, stage, part, home)) is None:
        empty = home.schema.empty_table()
        return empty.select(columns) if columns else empty
    with _opened(build.store, own.file) as opened:
        return opened.read_row_group(own.group, columns=columns, use_threads=False)


def digest(build: Build, stage: str, part: PartRecord, home: Home) -> str:
    """What identifies these rows: "" for none."""
    own = _find(build, stage, part, home)
    return own.digest if own else ""


def all_rows(build: Build, stage: str, home: Home) -> Iterator[pa.Table]:
    """All rows of a stage, home by home: for reports."""
    for record in build.parts(stage_of(stage)):
        with _opened(build.store, record.file(f"{home.ending}.parquet")) as opened:
            for group in range(opened.num_row_groups):
                yield opened.read_row_group(group, use_threads=False)


class _Held(NamedTuple):
    """Where the rows of a home are."""

    file: File
    group: int
    digest: str


def _find(build: Build, stage: str, part: PartRecord, home: Home) -> _Held | None:
    names = build.names(stage_of(stage))
    if (key := names.get(part.name) or names.get(ALL)) is None:
        return None
    number = number_of(part.content)
    bits = len(parts_of(build.store, key)).bit_length() - 1
    return _held(build.store, key, number >> (BITS - bits), home.ending).get(str(number))


@lru_cache(maxsize=1 << 14)  # planners ask for all homes of some stages, in no order
def _held(store: Store, key: str, place: int, ending: str) -> dict[str, _Held]:
    """{home: its rows} of one file of homes, as its record says."""
    record = parts_of(store, key)[place]
    file = record.file(f"{ending}.parquet")
    return {home: _Held(file, *held) for home, held in record.inputs[0][ending].items()}


@contextmanager
def _opened(store: Store, file: File) -> Iterator[pq.ParquetFile]:
    """A file of homes; its pages are checked.

    Raises:
        DamagedPartitions: it is missing, or not what was written.
    """
    try:
        with store.open(*file) as opened:
            yield open_parquet(buffered(opened, HOME_BYTES), page_checksum_verification=True)
    except (OSError, pa.ArrowInvalid) as error:
        if is_of_reading(error) and not isinstance(error, FileNotFoundError):
            raise
        raise damaged(file.key, " ".join(str(error).split())) from None
