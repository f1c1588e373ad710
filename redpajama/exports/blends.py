"""Files that name shards to trainers, with their tokens as weights: once through is one pass over the mixture."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

NEOX_PREFIXES = 254  # GPT-NeoX asserts fewer than 255


class Prefix(NamedTuple):
    """A pair as trainers are told of it."""

    path: str  # without .bin and .idx
    tokens: int
    documents: int


def blends(prefixes: list[Prefix], held_out: Sequence[Prefix] = ()) -> dict[str, bytes]:
    """The files, by name; what is held out stands apart, but where there is nothing else.

    neox.yml: a part of GPT-NeoX's configuration (JSON is YAML). megatron.txt: for `--data-args-path`.
    megatron-splits.json, where something is held out: for `--per-split-data-args-path`.
    megatron-sequences.json: for `--per-dataset-sequences-path`, so that no index is opened at the start.
    """
    neox = {
        **(_paths("train", prefixes) if prefixes else {}),
        **(_paths("valid", held_out) if held_out else {}),
        "data_impl": "mmap",  # its default, "infer", finds nothing
    }
    sequences = {each.path: [each.documents, each.documents + 1] for each in [*prefixes, *held_out]}
    words = {
        "train": [word for each in prefixes for word in (str(each.tokens), each.path)],
        "valid": [word for each in held_out for word in (str(each.tokens), each.path)],
        "test": [],
    }
    return {
        **({"megatron-splits.json": _json(words)} if held_out else {}),
        "neox.yml": _json(neox),
        "megatron.txt": "".join(f"{each.tokens} {each.path}\n" for each in prefixes or held_out).encode(),
        "megatron-sequences.json": _json(sequences),
    }


def _paths(split: str, prefixes: Sequence[Prefix]) -> dict[str, list[Any]]:
    tokens = [each.tokens for each in prefixes]
    return {f"{split}-data-paths": [each.path for each in prefixes], f"{split}-data-weights": tokens}


def _json(value: Any) -> bytes:
    """Paths stand as they are, so that those of a folder that was moved are told apart from changed ones."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def warnings(count: int, place: str) -> Iterator[str]:
    """What is to be said where trainers would refuse so many prefixes, or their place."""
    if count > NEOX_PREFIXES:
        said = f"GPT-NeoX takes at most {NEOX_PREFIXES} prefixes, and there are {count:,}"
        yield f"{said}: `redpajama export ROOT --format megatron --shard-tokens N --to DIR` joins them"
    if len(place.split()) > 1:
        yield f"Megatron takes paths apart at white space, and '{place}' has some: give it a link without"
