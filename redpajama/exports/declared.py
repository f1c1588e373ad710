"""What a format declares, and what it is given to write one unit of an export."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from redpajama.errors import UserError
from redpajama.exports.packing import Block, rows_of
from redpajama.exports.source import HELD_OUT, Source, Vocabulary

UINT16_IDS = 1 << 16
TOKENIZER = "tokenizer.json"  # the file beside tokens


class Files(Protocol):
    """Where a unit's files are written: they come to their names when all of them are whole."""

    def file(self, name: str) -> Path:
        """A temporary path for the file of that name in the export."""


class Done(NamedTuple):
    """What one unit gave."""

    counts: dict[str, int]  # documents, tokens; rows and padding where the format has them
    entries: Sequence[Any] = ()  # JSON that `finish` makes the index of


@dataclass(frozen=True)
class Export:
    """One export: what of, into which format, and how rows are filled."""

    source: Source
    format: "Format"
    to: str  # the folder, as its files are named to others
    method: str
    length: int
    shard_tokens: int  # of new shards of the store's own format

    @property
    def dtype(self) -> np.dtype:
        """Of the ids in the export."""
        return self.format.dtype(self.source.vocabulary)

    def opens(self, to: str) -> str:
        """The line that opens it in a folder."""
        own = {"split": self.source.split, "length": self.length}
        own |= {"short": "val", "flag": "-j"} if self.source.split == HELD_OUT else {"short": "train", "flag": "-i"}
        return self.format.opens.format(to=to, **own)

    def rows(self, unit: int) -> Iterator[Block]:
        """The rows of one shard, their ids as the format holds them."""
        for block in rows_of(self.source, unit, self.method, self.length):
            yield block._replace(tokens=block.tokens.astype(self.dtype, copy=False))

    def name_of(self, unit: int) -> str:
        """`train-00000-of-00002`: what Hugging Face calls files of a split."""
        return f"{self.source.split}-{unit:05d}-of-{self.format.units(self):05d}"


def wide_enough(vocabulary: Vocabulary) -> np.dtype:
    """uint16 where it holds every id, else uint32."""
    return np.dtype("<u2" if vocabulary.size <= UINT16_IDS else "<u4")


def shard_each(export: Export) -> int:
    """A unit for each shard."""
    return len(export.source.shards)


def text_each(export: Export) -> int:
    """A unit for each part of the mixture."""
    return len(export.source.texts)


def no_index(export: Export, entries: list[Any], counts: dict[str, int]) -> dict[str, bytes]:
    """The files of the units are all that there is."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format: one file in `exports/`, one line in `formats.FORMATS`."""

    name: str
    about: str  # who reads it
    opens: str  # the line that opens it, with what `Export.opens` puts in
    write: Callable[[Export, int, Files], Done]  # one unit
    finish: Callable[[Export, list[Any], dict[str, int]], dict[str, bytes]] = no_index  # entries and sums -> more files
    units: Callable[[Export], int] = shard_each
    dtype: Callable[[Vocabulary], np.dtype] = wide_enough
    packings: tuple[str, ...] = ("none",)  # the first where nothing is asked for
    has_tokens: bool = True


def uint16_alone(name: str, instead: str) -> Callable[[Vocabulary], np.dtype]:
    """A `dtype` that refuses vocabularies of more ids."""

    def dtype(vocabulary: Vocabulary) -> np.dtype:
        if vocabulary.size > UINT16_IDS:
            said = f"'{name}' holds ids of 16 bits, up to 65,535; the tokenizer has {vocabulary.size:,}"
            raise UserError(f"format {said}: use '{instead}'")
        return np.dtype("<u2")

    return dtype
