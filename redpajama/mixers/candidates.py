"""The stage `candidates`: what of each slice can be drawn: ids of living documents in the order of a partial epoch.

A document is drawn for the slice that takes it (`matching`); histograms stand one after the other, a leaf each.

Its record says how many tokens dedup removed: {"removed_tokens": {stage: {"loser's source < survivor's source":
tokens}}}.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import reader, verdicts
from redpajama.corpus.stages import CANDIDATES, COUNTS, DOCUMENTS, FAMILIES, SCORES, SIGNALS
from redpajama.engine.gathered import add_counts
from redpajama.engine.parts import Outputs, Part, PartRecord, Result
from redpajama.engine.shapes import Counts, Piece, Single
from redpajama.engine.splits import groups_of
from redpajama.engine.stages import REMOVED, Build
from redpajama.engine.tables import write_table
from redpajama.manifest import given
from redpajama.mixers import families, held_out, matching
from redpajama.mixers.counts import is_drawn
from redpajama.mixers.selection import BUCKETS, histogram, selection_hashes
from redpajama.records import Reason

GROUP, MOST_GROUPS = 16, 500  # documents parts in one, at least: `budget` is a single part and opens each twice
SCHEMA = pa.schema(
    [
        pa.field("hash", pa.uint64()),
        pa.field("doc_id", pa.string()),
        pa.field("n_tokens", pa.int64()),  # with the end of document
        pa.field("slice", pa.int16()),  # the number of the leaf among those of the source
    ]
)


def depends(build: Build, name: str) -> Counts | None:
    """The seed."""
    return {"seed": build.manifest.seed} if is_drawn(build, name) else None


def pieces(build: Build) -> Iterator[Piece]:
    """One part for some GROUP documents parts of a source that is counted: `budget` reads all of them."""
    counted = sorted(build.names(COUNTS))
    about = max(GROUP, sum(build.stage(DOCUMENTS)[source].parts for source in counted) // MOST_GROUPS)
    for source in counted:
        for group in groups_of(build.parts(DOCUMENTS, source), about):
            spec = {"of": [part.id for part in group]}
            kept = sum(part.counts["kept"] for part in group)
            yield Piece(source, [_reads(build, part) for part in group], spec, kept)


def _reads(build: Build, documents: PartRecord) -> list[Any]:
    own = reader.identity(build, documents, COUNTS)
    return [documents.content, *own, *held_out.identity(build, documents)]


def choose(build: Build, part: Part, outputs: Outputs) -> Result:
    """Counts minus verdicts -> (selection hash, id, tokens with end of document), sorted, and their histogram."""
    tables, members, counts = [SCHEMA.empty_table()], [], []
    for id in part.spec["of"]:
        rows, own, sums = _of_part(build, build.part(DOCUMENTS, id))
        tables.append(rows)
        members.append(own)
        counts.append(sums)
    rows = pa.concat_tables(tables).sort_by([("hash", "ascending"), ("doc_id", "ascending")])
    write_table(outputs.file(".parquet"), rows)
    if sum(own.num_rows for own in members):
        families.write(outputs, pa.concat_tables(members))
    leaves = matching.leaves_of(build, part.name)
    numbers, (hashes, tokens) = rows.column("slice").to_numpy(), _arrays(rows)
    masses = [histogram(hashes[numbers == number], tokens[numbers == number]) for number in range(len(leaves))]
    outputs.file(".histogram").write_bytes(np.stack(masses).astype("<i8").tobytes())
    found = {leaf.name: int(mass.sum()) for leaf, mass in zip(leaves, masses, strict=True)}
    return [*(f"{DOCUMENTS}/{id}" for id in part.spec["of"]), {"longest": _longest(rows)}], {
        **add_counts(counts),
        "slices": found,
    }


def _longest(rows: pa.Table) -> list[Any]:
    """[tokens, id] of the longest document."""
    if not rows.num_rows:
        return [0, ""]
    row = rows.slice(int(np.argmax(rows.column("n_tokens").to_numpy())), 1).to_pylist()[0]
    return [row["n_tokens"], row["doc_id"]]


def _arrays(rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    return rows.column("hash").to_numpy(), rows.column("n_tokens").to_numpy()


def _of_part(build: Build, documents: PartRecord) -> tuple[pa.Table, pa.Table, Counts]:
    """The candidates of one documents part, those of them that are in families, and what became of its documents."""
    counts = held_out.placed(build, documents, given(reader.beside(build, COUNTS, documents)))
    removed = verdicts.removed(build, documents, "doc_id", "evidence")
    living = counts.filter(pc.invert(pc.is_in(counts.column("doc_id"), value_set=verdicts.ids_of(removed))))
    left = np.bincount(living.column("left").to_numpy() - held_out.DRAWN, minlength=len(held_out.REASONS) + 1)[1:]
    dropped = dict(zip(held_out.REASONS, left.tolist(), strict=True))
    chosen = living.filter(pc.equal(living.column("left"), held_out.DRAWN))
    rows = _candidates(chosen, build.manifest.seed)
    members = rows.append_column("family", chosen.column("family")).filter(pc.is_valid(chosen.column("family")))
    return (
        rows,
        members,
        {
            "read": living.num_rows,
            "kept": rows.num_rows,
            "dropped": {reason.value: number for reason, number in dropped.items() if number},
            "tokens": _tokens(rows),
            "removed_tokens": _removed_tokens(counts, verdicts.duplicate_pairs(removed)),
            **_held_out(living),
        },
    )


def _held_out(living: pa.Table) -> Counts:
    """{"held_out": {"documents", "tokens" with ends of documents}}; {} where none is."""
    held = living.filter(pc.equal(living.column("left"), held_out.REASONS.index(Reason.HELD_OUT)))
    return {"held_out": {"documents": held.num_rows, "tokens": _tokens(held) + held.num_rows}} if held.num_rows else {}


def _tokens(rows: pa.Table) -> int:
    return pc.sum(rows.column("n_tokens")).as_py() or 0


def _removed_tokens(counts: pa.Table, pairs: pa.Table) -> dict[str, dict[str, int]]:
    """{stage: {"loser's source < survivor's source": tokens}} for rows of counts and of PAIRS."""
    places = pc.index_in(counts.column("doc_id"), value_set=pairs.column("doc_id"))
    lost = pairs.select(["stage", "pair"]).take(places).append_column("tokens", counts.column("n_tokens"))
    groups = lost.filter(places.is_valid()).group_by(["stage", "pair"]).aggregate([("tokens", "sum")])
    sums: dict[str, dict[str, int]] = {stage: {} for stage in sorted(pairs.column("stage").unique().to_pylist())}
    for row in groups.sort_by([("stage", "ascending"), ("pair", "ascending")]).to_pylist():
        sums[row["stage"]][row["pair"]] = row["tokens_sum"]
    return sums


def _candidates(counts: pa.Table, seed: int) -> pa.Table:
    ids = counts.column("doc_id")
    hashes = pa.array(selection_hashes(seed, ids))
    return pa.table([hashes, ids, pc.add(counts.column("n_tokens"), 1), counts.column("slice")], schema=SCHEMA)


def read_histograms(data: bytes) -> np.ndarray:
    """int64[leaves, BUCKETS]: tokens per bucket of the selection hash."""
    return np.frombuffer(data, dtype="<i8").reshape(-1, BUCKETS)


STAGE = Single(
    name=CANDIDATES,
    version=4,
    libraries=("pyarrow", "numpy"),
    after=(DOCUMENTS, COUNTS, SCORES, SIGNALS, FAMILIES, REMOVED),
    depends=depends,
    pieces=pieces,
    work=choose,
)
