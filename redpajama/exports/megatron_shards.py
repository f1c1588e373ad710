"""The store's own format again, in shards of another size: many joined, large ones split, no document cut.

Documents stay in their order, and slices apart; the lineage goes with them. What comes out is what a build with that
`tokens_per_shard` would hold. GPT-NeoX takes at most 254 prefixes: this is how more become fewer.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from redpajama.engine.tables import ColumnWriter, read_table
from redpajama.exports import megatron
from redpajama.exports.blends import Prefix, blends
from redpajama.exports.declared import Done, Export, Files, Format
from redpajama.exports.megatron import SUFFIX
from redpajama.exports.source import BLOCK_TOKENS, HELD_OUT, Vocabulary

Run = tuple[int, int, int]  # a shard, its first document, the one behind the last


class Unit(NamedTuple):
    """One new shard."""

    label: str
    runs: list[Run]


def dtype(vocabulary: Vocabulary) -> np.dtype:
    return megatron.dtype_for(vocabulary.size)


def units(export: Export) -> int:
    return len(plan(export))


@lru_cache(maxsize=2)
def plan(export: Export) -> list[Unit]:
    """The new shards; without a size, the old ones."""
    groups, room = dict[str, list[list[Run]]](), dict[str, int]()
    for number, shard in enumerate(export.source.shards):
        runs = groups.setdefault(shard.group, [])
        if not export.shard_tokens:
            runs.append([(number, 0, shard.documents)])
        else:
            room[shard.group] = _deal(export, number, runs, room.get(shard.group, 0))
    return [
        Unit(f"{group}-{number:05d}-of-{len(shards):05d}", runs)
        for group, shards in groups.items()
        for number, runs in enumerate(shards)
    ]


def _deal(export: Export, number: int, shards: list[list[Run]], room: int) -> int:
    """Lay a shard's documents into new ones, as many as fit each; one that fits none has its own.

    Args:
        room: of the last new shard; what is left of it is returned.
    """
    bounds, first = export.source.bounds(number), 0
    while first < len(bounds) - 1:
        last = int(np.searchsorted(bounds, bounds[first] + room, "right")) - 1
        if last > first:
            shards[-1].append((number, first, last))
            room -= int(bounds[last] - bounds[first])
            first = last
        if first < len(bounds) - 1:
            shards.append([])
            room = max(export.shard_tokens, int(bounds[first + 1] - bounds[first]))
    return room


def _tokens(export: Export, run: Run) -> int:
    number, first, last = run
    bounds = export.source.bounds(number)
    return int(bounds[last] - bounds[first])


def write(export: Export, unit: int, files: Files) -> Done:
    """One new shard."""
    label, runs = plan(export)[unit]
    pair = files.file(f"{label}{SUFFIX}.bin"), files.file(f"{label}{SUFFIX}.idx")
    rows, tokens = ColumnWriter(files.file(f"{label}_lineage.parquet"), _lineage_schema(export)), 0
    with megatron.MegatronWriter(*pair, export.dtype) as writer, rows as lineage:
        for run in runs:
            lineage.add(_lineage(export, run, lineage.rows, tokens))
            tokens += _copy(export, run, writer)
    entry = [f"{label}{SUFFIX}", tokens, writer.documents]
    return Done({"documents": writer.documents, "tokens": tokens}, [entry])


def _copy(export: Export, run: Run, writer: megatron.MegatronWriter) -> int:
    """The documents of a run; their tokens."""
    number, first, last = run
    bounds, offset = export.source.bounds(number), int(export.source.starts[number])
    while first < last:
        end = int(np.searchsorted(bounds, bounds[first] + BLOCK_TOKENS, "right")) - 1
        end = min(last, max(first + 1, end))
        tokens = export.source.read(offset + int(bounds[first]), offset + int(bounds[end]))
        writer.extend(tokens, np.diff(bounds[first : end + 1]))
        first = end
    return _tokens(export, run)


def _lineage_schema(export: Export) -> pa.Schema:
    source = export.source
    return read_table(source.store, source.shards[0].lineage, filters=[("sequence", "<", 0)]).schema.remove_metadata()


def _lineage(export: Export, run: Run, sequence: int, offset: int) -> pa.Table:
    """The rows of a run's documents, from a number and a token of the new shard on."""
    number, first, last = run
    own = [("sequence", ">=", first), ("sequence", "<", last)]
    rows = read_table(export.source.store, export.source.shards[number].lineage, filters=own)
    sizes = rows.column("n_tokens").to_numpy()
    renewed = {
        "sequence": pa.array(np.arange(sequence, sequence + len(sizes))),
        "token_offset": pa.array(offset + np.cumsum(sizes) - sizes),
    }
    return pa.table([renewed.get(name, rows.column(name)) for name in rows.column_names], _lineage_schema(export))


def finish(export: Export, entries: list[Any], counts: dict[str, int]) -> dict[str, bytes]:
    """The files that name them to trainers."""
    found = [Prefix(f"{export.to}/{name}", tokens, documents) for name, tokens, documents in entries]
    return blends([], found) if export.source.split == HELD_OUT else blends(found)


FORMAT = Format(
    name="megatron",
    about="Megatron-LM, NeMo, GPT-NeoX: .bin/.idx, in shards of another size",
    opens='IndexedDataset("{to}/…_text_document")',
    write=write,
    finish=finish,
    units=units,
    dtype=dtype,
)
