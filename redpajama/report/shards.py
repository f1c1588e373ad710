"""A finished build as exporters see it: its shards in order, its texts, its vocabulary."""

import re
from typing import Any

from redpajama.corpus.stages import MIXTURE, TOKENIZER, TOKENS
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import Build
from redpajama.engine.store import Store
from redpajama.errors import UserError
from redpajama.exports.megatron import SUFFIX
from redpajama.exports.source import HELD_OUT, TRAIN, Shard, Source, Vocabulary
from redpajama.manifest import Manifest, given
from redpajama.report.builds import open_build
from redpajama.tokenize import encode
from redpajama.tokenize.tokenizer import ENDING, tokenizer_part

BIN, IDX, LINEAGE = f"{SUFFIX}.bin", f"{SUFFIX}.idx", "_lineage.parquet"
RELEASED = ("common_crawl", "c4", "github", "books", "arxiv", "wikipedia", "stackexchange")  # subsets of RedPajama-1T


def open_source(store: Store, record: dict[str, Any], split: str = TRAIN) -> Source:
    """The tokens and texts that a build record names: those to train on, or those that are held out.

    Raises:
        UserError: the build ended before there were any.
    """
    build = open_build(store, record)
    if MIXTURE not in build.records or TOKENIZER not in build.records:
        raise UserError(f"build '{build.manifest.name}' has no mixture: there is nothing to export")
    return Source(
        store=store,
        build=build.manifest.name,
        corpus=record["corpus"],
        seed=build.manifest.seed,
        split=split,
        shards=tuple(shard_of(part) for part in token_parts(build) if split_of(build, part) == split),
        texts=tuple(part.file(".parquet") for part in build.parts(MIXTURE) if split_of_range(part) == split),
        subsets=subsets(build.manifest),
        vocabulary=vocabulary(build),
    )


def token_parts(build: Build) -> list[PartRecord]:
    """The records of the shards, in order."""
    return build.parts(TOKENS) if TOKENS in build.records else []


def split_of(build: Build, part: PartRecord) -> str:
    """Whether a shard is trained on or held out: as the ranges of the mixture are that it was made of."""
    return split_of_range(build.part(MIXTURE, part.inputs[0].removeprefix(f"{MIXTURE}/")))


def split_of_range(part: PartRecord) -> str:
    """The same of a range of the mixture: what is held out is counted apart."""
    return HELD_OUT if part.counts.get("held_out") else TRAIN


def shard_of(part: PartRecord) -> Shard:
    """One pair."""
    prefix = part.stem.rpartition("/")[2]
    label = prefix.rpartition("-")[0]
    group = re.sub(r"-\d{5,}-of-\d{5,}$", "", label)
    pair, lineage = (part.file(BIN), part.file(IDX)), part.file(LINEAGE)
    return Shard(prefix, label, group, *pair, lineage, part.counts["tokens"], part.counts["kept"])


def subsets(manifest: Manifest) -> dict[str, str]:
    """source -> the subset of RedPajama-1T that its pipeline makes; of other pipelines, its own name."""
    return {each.name: each.pipeline if each.pipeline in RELEASED else each.name for each in manifest.source}


def vocabulary(build: Build) -> Vocabulary:
    """Of the build's tokenizer."""
    part = tokenizer_part(build)
    file = part.file(ENDING)
    wish = given(build.manifest.tokenizer).end_of_document
    end, end_id, pad_id = encode.ends_with(build.store.read(file.key), wish, file.key)
    return Vocabulary(part.counts["vocab_size"], end, end_id, pad_id, part.outputs[file.key]["sha256"], file)
