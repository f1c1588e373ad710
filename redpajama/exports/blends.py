"""Files that name shards to trainers, with their tokens as weights: once through is one pass over the mixture."""

import json
from typing import NamedTuple

NEOX_PREFIXES = 254  # GPT-NeoX asserts fewer than 255


class Prefix(NamedTuple):
    """A pair as trainers are told of it."""

    path: str  # without .bin and .idx
    tokens: int
    documents: int


def blends(prefixes: list[Prefix], held_out: list[Prefix] | None = None) -> dict[str, bytes]:
    """The files, by name; what is held out stands apart in GPT-NeoX's.

    neox.yml: a part of GPT-NeoX's configuration (JSON is YAML). megatron.txt: for `--data-args-path`.
    megatron-splits.json, where something is held out: for `--per-split-data-args-path`.
    megatron-sequences.json: for `--per-dataset-sequences-path`, so that no index is opened at the start.
    """
    neox = {
        "train-data-paths": [each.path for each in prefixes],
        "train-data-weights": [each.tokens for each in prefixes],
        **({"valid-data-paths": [each.path for each in held_out]} if held_out else {}),
        **({"valid-data-weights": [each.tokens for each in held_out]} if held_out else {}),
        "data_impl": "mmap",  # its default, "infer", finds nothing
    }
    sequences = {each.path: [each.documents, each.documents + 1] for each in [*prefixes, *(held_out or [])]}
    words = {
        "train": [word for each in prefixes for word in (str(each.tokens), each.path)],
        "valid": [word for each in held_out or [] for word in (str(each.tokens), each.path)],
        "test": [],
    }
    return {
        **({"megatron-splits.json": (json.dumps(words, indent=2) + "\n").encode()} if held_out else {}),
        "neox.yml": (json.dumps(neox, indent=2) + "\n").encode(),
        "megatron.txt": "".join(f"{each.tokens} {each.path}\n" for each in prefixes).encode(),
        "megatron-sequences.json": (json.dumps(sequences, indent=2) + "\n").encode(),
    }


def warning(count: int) -> str:
    """What is to be said where GPT-NeoX would refuse so many."""
    if count <= NEOX_PREFIXES:
        return ""
    said = f"GPT-NeoX takes at most {NEOX_PREFIXES} prefixes, and there are {count:,}"
    return f"{said}: `redpajama export ROOT --format megatron --shard-tokens N --to DIR` joins them"
