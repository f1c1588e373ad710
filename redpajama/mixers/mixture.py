"""The stage `mixture`: the corpus, drawn and shuffled.

It is the one place where text crosses a shuffle: each copy of a document gets a key = hash(seed, id, copy), moved into
the window of its copy where documents are repeated (`selection.spread`); a part is a range of keys, sorted inside. That
is a uniform shuffle which no runner, sharding or order of files can change.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import reader, spans, streams, withdrawn
from redpajama.corpus.stages import (
    BUDGET,
    CANDIDATES,
    COUNTS,
    DOCUMENTS,
    FAMILIES,
    MIXTURE,
    SCORES,
    SIGNALS,
    TAKEDOWN,
    source_of,
)
from redpajama.corpus.streams import VALIDATION
from redpajama.engine.gathered import StageRecord
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts, Dealt, Range, Regrouped
from redpajama.engine.splits import enlarged
from redpajama.engine.stages import REMOVED, Build
from redpajama.engine.tables import write_taken
from redpajama.errors import BuildFailed
from redpajama.manifest import given
from redpajama.mixers import held_out, lengths, matching, miniature, selection, shares
from redpajama.mixers.budget import cut_of, read_budget
from redpajama.quality import scores

KEYS = ("order", "doc_id", "copy")  # by which ranges are sorted
ROWS = pa.schema(
    [
        pa.field("order", pa.uint64()),
        pa.field("doc_id", pa.string()),
        pa.field("copy", pa.int32()),
        pa.field("source", pa.string()),
        pa.field("part", pa.string()),  # the documents part that holds it
        pa.field("n_tokens", pa.int64()),  # with the end of document
        pa.field("text", pa.large_string()),
        pa.field("meta", pa.string()),
        pa.field("slice", pa.string()),  # the leaf; it is written where it tells more than the source
    ]
)


def depends(build: Build, name: str) -> Counts:
    """The seed. Which rows there are is seen in them."""
    return {"seed": build.manifest.seed}


def drawn_parts(build: Build, each: str) -> dict[str, list[PartRecord]]:
    """The documents parts of sources that are drawn from."""
    return {build.manifest.name: [part for name in sorted(build.names(CANDIDATES)) for part in build.parts(each, name)]}


def partitions(build: Build, name: str, parts: list[PartRecord]) -> int:
    """How many ranges: a whole number for each shard of each stream."""
    return sum(streams.ranges(build, enlarged(len(parts))))


def asks(build: Build, documents: PartRecord) -> list[Any]:
    """The budget, the part's counts, scores with their buckets, and spans, and who of it is gone."""
    own = reader.identity(build, documents, COUNTS, SCORES, is_cut=True)
    buckets = scores.buckets_asked(source_of(build, documents))
    asked = [*held_out.identity(build, documents), *withdrawn.identity(build, documents)]
    return [build.contents(BUDGET), *own, *buckets, *asked]


def split(build: Build, documents: PartRecord, count: int) -> Dealt:
    """The copies of one part's documents, dealt out by stream and order key."""
    budget, seed = read_budget(build), build.manifest.seed
    leaves = [leaf for leaf in enumerate(matching.leaves_of(build, documents.name)) if leaf[1].is_drawn]
    counts = given(reader.beside(build, COUNTS, documents))
    beside = [
        counts.drop_columns("doc_id"),
        scores.columns_beside(build, documents),
        _numbers(build, documents, counts),
    ]
    places = _places(build, count)
    for batch in reader.read(build, documents, ["doc_id", "text", "source", "meta"], beside=beside, is_cut=True):
        batch = lengths.cut(batch)
        for number, leaf in leaves:
            table, stages = _copies(_own(batch, number), leaf.name, budget[leaf.name], documents.id, seed)
            for stage in range(len(budget[leaf.name]["cuts"])):
                own = table.filter(pa.array(stages == stage)) if len(places) > 1 else table
                yield _partition(own, places[stage]), own
        if len(places) > len(streams.trained(build)):
            held = _once(_own(batch, held_out.HELD), documents.id, seed)
            yield _partition(held, places[-1]), held


def _places(build: Build, count: int) -> list[tuple[int, int]]:
    """(first range, ranges) of each stream."""
    sizes = streams.ranges_of(build, count)
    return [(sum(sizes[:number]), size) for number, size in enumerate(sizes)]


def _partition(rows: pa.Table, place: tuple[int, int]) -> np.ndarray:
    first, ranges = place
    return first + selection.partitions_of(rows.column("order").to_numpy(), ranges)


def _numbers(build: Build, documents: PartRecord, counts: pa.Table) -> pa.Table:
    """The number of each document's leaf; HELD of what is held out, GONE of what is not drawn, or withdrawn."""
    numbers, gone = held_out.drawn_numbers(build, documents, counts), withdrawn.ids_of(build, documents)
    numbers[pc.is_in(counts.column("doc_id"), value_set=gone).to_numpy()] = held_out.GONE
    return pa.table({"slice": numbers})


def _own(batch: pa.RecordBatch, number: int) -> pa.RecordBatch:
    own = pc.equal(batch.column("slice"), pa.scalar(number, pa.int16()))
    return batch if pc.all(own).as_py() else batch.filter(own)


def _copies(batch: pa.RecordBatch, leaf: str, row: dict[str, Any], part: str, seed: int) -> tuple[pa.Table, np.ndarray]:
    """ROWS for every copy of every document (with its n_tokens) of a batch that its leaf's row of the budget takes, and
    the number of the stage in which each is seen."""
    ids, tokens = batch.column("doc_id"), batch.column("n_tokens").to_numpy()
    hashes = selection.selection_hashes(seed, ids)
    ends = np.stack([selection.copies_of(hashes, ids, cut_of(cut)) for cut in row["cuts"]])
    times = np.where((tokens > 0) & miniature.is_taken(row, hashes, ids), ends[-1], 0)
    rows = np.repeat(np.arange(len(ids)), times)
    copies = (np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)).astype(np.int32)
    stages = (copies >= ends[:, rows]).sum(axis=0)
    taken = batch if (times == 1).all() else batch.take(pa.array(rows))  # texts are copied where they must be
    keys = selection.apart(selection.order_keys(seed, taken.column("doc_id"), copies), copies)
    order = np.zeros(len(rows), np.uint64)
    for number, cut in enumerate(row["cuts"]):
        own = stages == number
        window = cut["target_tokens"], row["available_tokens"], cut["start_tokens"]
        order[own] = selection.spread(keys[own], copies[own], *window)
    return _rows(taken, order, copies, part, leaf), stages


def _once(batch: pa.RecordBatch, part: str, seed: int) -> pa.Table:
    """ROWS for each document of a batch, once, in a uniform order."""
    batch = batch.filter(pc.greater(batch.column("n_tokens"), 0))
    copies = np.zeros(batch.num_rows, np.int32)
    return _rows(batch, selection.order_keys(seed, batch.column("doc_id"), copies), copies, part, VALIDATION)


def _rows(taken: pa.RecordBatch, order: np.ndarray, copies: np.ndarray, part: str, leaf: str) -> pa.Table:
    columns = [
        pa.array(order),
        taken.column("doc_id"),
        pa.array(copies),
        taken.column("source"),
        pa.repeat(part, len(copies)),
        pc.add(taken.column("n_tokens"), 1),
        taken.column("text"),
        scores.released_meta(taken),
        pa.repeat(leaf, len(copies)),
    ]
    return pa.table(columns, schema=ROWS)


def reduce(build: Build, partition: Range, rows: pa.Table, outputs: Outputs) -> Counts:
    """All copies of one range -> sorted by (order, id, copy)."""
    is_told = has_slices(build)
    order = pc.sort_indices(rows.select(list(KEYS)), [(key, "ascending") for key in KEYS]).to_numpy()
    write_taken(outputs.file(".parquet"), rows if is_told else rows.drop_columns("slice"), order)
    rows = rows.drop_columns(["text", "meta"]).take(pa.array(order))
    sums = {"read": rows.num_rows, "kept": rows.num_rows}
    if streams.stream_of(build, partition.number, partition.of).name == VALIDATION:
        return sums | {"held_out": _by(rows, "source")}
    return (
        sums
        | _by(rows, "source")
        | lengths.account(rows)
        | ({"slices": _by(rows, "slice")["tokens"]} if is_told else {})
    )


def has_slices(build: Build) -> bool:
    """Whether slices are more, or other, than sources."""
    return any(leaf.name != leaf.share.source for leaf in shares.leaves(given(build.manifest.mixture)))


def _by(rows: pa.Table, name: str) -> dict[str, dict[str, int]]:
    """{"documents", "copies", "tokens"}: {source, or slice: sum}; documents are counted once, copies each time."""
    first = rows.select([name]).filter(pc.equal(rows.column("copy"), 0))
    sums = rows.group_by(name).aggregate([([], "count_all"), ("n_tokens", "sum")])
    documents = first.group_by(name).aggregate([([], "count_all")])
    return {
        "documents": _sums(documents, name, "count_all"),
        "copies": _sums(sums, name, "count_all"),
        "tokens": _sums(sums, name, "n_tokens_sum"),
    }


def _sums(sums: pa.Table, key: str, name: str) -> dict[str, int]:
    return dict(zip(sums.column(key).to_pylist(), sums.column(name).to_pylist(), strict=True))


def check_targets(build: Build, name: str, record: StageRecord) -> None:
    """Each slice got what its cut takes: its target, and less than one document more."""
    got = record.counts.get("slices" if has_slices(build) else "tokens", {})
    for leaf, row in read_budget(build).items():
        expected = row["cuts"][-1]["expected_tokens"]
        if got.get(leaf, 0) != expected:
            raise BuildFailed(
                f"mixture: '{leaf}' got {got.get(leaf, 0):,} of the {expected:,} tokens that its cut takes"
            )
    held = sum(record_of.get("tokens", {}).values()) if (record_of := record.counts.get("held_out")) else 0
    counts = build.stage(BUDGET)[name].counts
    if held != (wanted := counts["held_out_tokens"] - counts.get("withdrawn_held_out_tokens", 0)):
        raise BuildFailed(f"mixture: {held:,} of {wanted:,} tokens were held out")


STAGE = Regrouped(
    name=MIXTURE,
    version=3,
    libraries=("pyarrow",),
    after=(BUDGET, CANDIDATES, COUNTS, DOCUMENTS, SCORES, SIGNALS, FAMILIES, TAKEDOWN, spans.STAGE, REMOVED),
    each=DOCUMENTS,
    shares=drawn_parts,
    schema=ROWS,
    depends=depends,
    partitions=partitions,
    split=split,
    asks=asks,
    reduce=reduce,
    check=check_targets,
    is_ordered=True,
    alone=True,  # a take-down redoes the ranges that held what goes
    held_bytes=512 << 20,  # what most parts have: texts are written once
    packing=None,  # texts pass through here once: LZ4 would halve the scratch and take a fifth of the time
)
