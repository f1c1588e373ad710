"""The stages `counts` and `candidates`: tokens of every document, then what of each slice can be drawn.

`counts` depends on a documents part and the tokenizer alone (and its source's `substrings`, where it has any), so
another quality rule counts nothing again.
`candidates` joins counts and verdicts: ids of living documents in the order in which a partial epoch takes them. Its
record says how many tokens dedup removed: {"removed_tokens": {stage: {"loser's source < survivor's source": tokens}}}.
"""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.artifacts import Outputs, Part, PartRecord
from redpajama.columns import TableWriter, read_batches, write_table
from redpajama.dedup import substrings
from redpajama.mixers.budget import histogram, selection_hash
from redpajama.records import Reason
from redpajama.stages import Build, Result, Step, fingerprint, versions
from redpajama.tokenize.tokenizer import open_tokenizer, tokenizer_part
from redpajama.verdicts import duplicate_pairs, removed_ids, verdict_stages

VERSION = 1
CANDIDATES_VERSION = 2
COUNTS = pa.schema([pa.field("doc_id", pa.string()), pa.field("n_tokens", pa.int64())])
CANDIDATES = pa.schema([pa.field("hash", pa.uint64()), *COUNTS])


def plan_counts(build: Build) -> list[Part]:
    """One part for each documents part of a source that the mixture draws from."""
    tokenizer = tokenizer_part(build)
    stamp = fingerprint(stage=["counts", VERSION], libraries=versions("pyarrow", "tokenizers"))
    parts = []
    for share in build.manifest.mixture.slice:
        for documents in build.parts("documents", share.source) if share.weight else []:
            reads = [documents.sha256, tokenizer.outputs, *substrings.ids(build, share.source)]
            spec = {"file": documents.file(".parquet"), "documents": documents.stem, "tokenizer": tokenizer.stem}
            parts.append(Part("counts", share.source, stamp, reads, spec, documents.counts["text_bytes"]))
    return parts


def count(build: Build, part: Part, outputs: Outputs) -> Result:
    """Token counts of one documents part, end of document not included."""
    tokenizer = open_tokenizer(build)
    documents = tokens = 0
    spans = substrings.spans_of(build, _record(build.parts("documents", part.name), part.spec["documents"]))
    with TableWriter(outputs.file(".parquet"), COUNTS) as writer:
        for whole in read_batches(build.store, part.spec["file"], ["doc_id", "text"]):
            batch = substrings.cut(whole, spans)
            ids = batch.column("doc_id").to_pylist()
            for doc_id, encoded in zip(ids, tokenizer.encode_batch(batch.column("text").to_pylist()), strict=True):
                writer.add((doc_id, len(encoded)))
                tokens += len(encoded)
            documents += len(ids)
    return [part.spec["documents"], part.spec["tokenizer"]], {"read": documents, "kept": documents, "tokens": tokens}


def plan_candidates(build: Build) -> list[Part]:
    """One part for each counted part; all verdicts so far matter."""
    stamp = fingerprint(
        stage=["candidates", CANDIDATES_VERSION], seed=build.manifest.seed, libraries=versions("pyarrow", "numpy")
    )
    verdicts = build.ids(*verdict_stages(build))
    parts = []
    for counts in build.parts("counts"):
        name = counts.id.rpartition("/")[0].rpartition("-")[0]
        spec = {"counts": counts.stem, "documents": counts.inputs[0]}
        parts.append(Part("candidates", name, stamp, [counts.sha256, verdicts], spec, counts.counts["read"]))
    return parts


def choose(build: Build, part: Part, outputs: Outputs) -> Result:
    """Counts minus verdicts -> (selection hash, id, tokens with end of document), sorted, and their histogram."""
    counts = _record(build.parts("counts", part.name), part.spec["counts"])
    documents = _record(build.parts("documents", part.name), part.spec["documents"])
    removed = removed_ids(build, verdict_stages(build), documents)
    read, tables = 0, [CANDIDATES.empty_table()]
    pairs = duplicate_pairs(build, documents)
    removed_tokens: dict[str, Counter[str]] = {stage: Counter() for stage, _ in pairs.values()}
    for batch in read_batches(build.store, counts.file(".parquet")):
        living = batch.filter(pc.invert(pc.is_in(batch.column("doc_id"), value_set=removed)))
        read += living.num_rows
        for doc_id, tokens in zip(*(batch.column(name).to_pylist() for name in ("doc_id", "n_tokens")), strict=True):
            if doc_id in pairs:
                stage, pair = pairs[doc_id]
                removed_tokens[stage][pair] += tokens
        tables.append(_candidates(living.filter(pc.greater(living.column("n_tokens"), 0)), build.manifest.seed))
    rows = pa.concat_tables(tables).sort_by([("hash", "ascending"), ("doc_id", "ascending")])
    write_table(outputs.file(".parquet"), rows)
    mass = histogram(rows.column("hash").to_numpy(), rows.column("n_tokens").to_numpy())
    outputs.file(".histogram").write_bytes(mass.astype("<i8").tobytes())
    dropped = {Reason.NO_TOKENS: read - rows.num_rows} if read > rows.num_rows else {}
    counted = {"read": read, "kept": rows.num_rows, "dropped": dropped, "tokens": int(mass.sum())}
    counted["removed_tokens"] = {stage: dict(sorted(sums.items())) for stage, sums in sorted(removed_tokens.items())}
    return [part.spec["counts"], part.spec["documents"]], counted


def _record(records: list[PartRecord], stem: str) -> PartRecord:
    return next(record for record in records if record.stem == stem)


def _candidates(counts: pa.RecordBatch, seed: int) -> pa.Table:
    ids = counts.column("doc_id")
    hashes = pa.array([selection_hash(seed, doc_id) for doc_id in ids.to_pylist()], pa.uint64())
    return pa.table([hashes, ids, pc.add(counts.column("n_tokens"), 1)], schema=CANDIDATES)


def read_histogram(data: bytes) -> np.ndarray:
    """int64[BUCKETS]: tokens per bucket of the selection hash."""
    return np.frombuffer(data, dtype="<i8")


COUNT = Step("counts", plan_counts, count)
CHOOSE = Step("candidates", plan_candidates, choose)
