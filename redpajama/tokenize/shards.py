"""The stage `tokens`: mixture parts -> Megatron `.bin/.idx` shards, each with a lineage sidecar.

The sidecar has a row for each sequence, in order: which document it is, which copy, from which source, and in which
documents part its text stands.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from redpajama.artifacts import BuildFailed, Outputs, Part, PartRecord, StageRecord
from redpajama.columns import TableWriter, read_batches
from redpajama.stages import Build, Result, Step, fingerprint, versions
from redpajama.tokenize import megatron
from redpajama.tokenize.tokenizer import open_tokenizer, tokenizer_part

VERSION = 1

LINEAGE = pa.schema(
    [
        pa.field("sequence", pa.int64()),  # its number in the shard
        pa.field("doc_id", pa.string()),
        pa.field("copy", pa.int32()),
        pa.field("source", pa.string()),
        pa.field("document_part", pa.string()),  # key of the Parquet file, relative to ROOT
        pa.field("token_offset", pa.int64()),  # of its first token in the .bin
        pa.field("n_tokens", pa.int64()),  # with the end of document
    ]
)


def plan(build: Build) -> list[Part]:
    """One part for each shard: consecutive ranges of the mixture. A range without documents makes no shard."""
    ranges = sorted(build.parts("mixture"), key=lambda record: record.stem)
    size = build.manifest.shards.ranges(build.stage("budget")[build.manifest.name].counts["target_tokens"])
    groups = [ranges[start : start + size] for start in range(0, len(ranges), size)]
    groups = [group for group in groups if sum(record.counts["kept"] for record in group)]
    stamp = fingerprint(stage=["tokens", VERSION], libraries=versions("tokenizers", "numpy", "pyarrow"))
    labels = [f"{build.manifest.name}-{number:05d}-of-{len(groups):05d}" for number in range(len(groups))]
    return [_shard(build, stamp, group, label) for group, label in zip(groups, labels, strict=True)]


def _shard(build: Build, stamp: str, group: list[PartRecord], label: str) -> Part:
    tokenizer = tokenizer_part(build)
    reads = [[record.sha256 for record in group], tokenizer.outputs, label]
    files = {record.stem: record.file(".parquet") for record in group}
    spec = {"mixture": files, "tokenizer": tokenizer.stem}
    tokens = sum(sum(record.counts["tokens"].values()) for record in group)
    return Part("tokens", build.manifest.name, stamp, reads, spec, tokens, label)


def write_shard(build: Build, part: Part, outputs: Outputs) -> Result:
    """Encode the documents of one shard in order, each followed by the end of document.

    Raises:
        BuildFailed: a document's tokens are not as many as were counted when the budget was made.
    """
    tokenizer = open_tokenizer(build)
    end = np.array([tokenizer.eod_id])
    documents = {record.id: record.file(".parquet") for record in build.parts("documents")}
    paths = outputs.file("_text_document.bin"), outputs.file("_text_document.idx")
    writer = megatron.MegatronWriter(*paths, megatron.dtype_for(tokenizer.vocab_size))
    offset = 0
    with writer, TableWriter(outputs.file("_lineage.parquet"), LINEAGE) as lineage:
        for row in _rows(build, part):
            doc_id, copy, source, home, n_tokens, text = row
            tokens = np.concatenate([tokenizer.encode_batch([text])[0], end])
            if len(tokens) != n_tokens:
                raise BuildFailed(f"tokens: {doc_id} has {len(tokens):,} tokens, but {n_tokens:,} were counted")
            writer.add(tokens)
            lineage.add((lineage.rows, doc_id, copy, source, documents[home], offset, n_tokens))
            offset += n_tokens
    counts = {"read": lineage.rows, "kept": lineage.rows, "tokens": offset}
    return [*part.spec["mixture"], part.spec["tokenizer"]], counts


def _rows(build: Build, part: Part) -> Iterator[tuple]:
    """(doc_id, copy, source, part, n_tokens, text) of the shard's ranges, one after the other."""
    names = ["doc_id", "copy", "source", "part", "n_tokens", "text"]
    for key in part.spec["mixture"].values():
        for batch in read_batches(build.store, key, names):
            yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def check_tokens(build: Build, name: str, record: StageRecord) -> None:
    """The shards hold what the mixture holds, document for document and token for token."""
    mixture = build.stage("mixture")[name].counts
    wanted = sum(mixture["tokens"].values())
    if (record.counts["tokens"], record.counts["kept"]) != (wanted, mixture["kept"]):
        raise BuildFailed(f"tokens: {record.counts['tokens']:,} tokens in the shards, {wanted:,} in the mixture")


STAGE = Step("tokens", plan, write_shard, check_tokens)
