"""Ids behind a header of 256 int32: llm.c, modded-nanogpt, NeMo Automodel. Documents begin with the end of document.

In our store it ends them; its readers align rows to documents by looking for it in front, as their own preparation puts
it there (llm.c, dev/data/fineweb.py). So of each shard the last one goes and one comes first: as many tokens.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from redpajama.errors import UserError
from redpajama.exports.declared import Export
from redpajama.exports.source import TRAIN

HEADER_INTS = 256
MOST_TOKENS = 2**31 - 1  # the header has it as int32


def header(*values: int) -> bytes:
    """magic, version, tokens, …: 1,024 bytes."""
    found = np.zeros(HEADER_INTS, "<i4")
    found[: len(values)] = values
    return found.tobytes()


def write_headed(export: Export, unit: int, path: Path, head: bytes) -> None:
    """A header, and the documents of one shard, each behind an end of document."""
    with path.open("wb") as file:
        file.write(head)
        for tokens in _begun(export, unit):
            file.write(tokens.data)


def _begun(export: Export, unit: int) -> Iterator[np.ndarray]:
    end = np.array([export.source.vocabulary.end_id], export.dtype)
    for block in export.rows(unit):
        yield end
        yield block.tokens[:-1]


def stem(export: Export, unit: int) -> str:
    """How llm.c and what came after it name files."""
    return f"{export.source.build}_{'train' if export.source.split == TRAIN else 'val'}_{unit:06d}"


def tokens_of(export: Export, unit: int) -> int:
    """How many tokens the file has.

    Raises:
        UserError: more than its header can say.
    """
    shard = export.source.shards[unit]
    if shard.tokens > MOST_TOKENS:
        said = f"{shard.label} has {shard.tokens:,} tokens, and a file holds {MOST_TOKENS:,}"
        raise UserError(f"format '{export.format.name}': {said}: build with a smaller tokens_per_shard")
    return shard.tokens
