"""What is exported: the shards of a build, read as one stream of tokens; its texts; its vocabulary.

Nothing is encoded again, and nothing but the index of a shard is held whole: 20 bytes a document.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from redpajama.engine.parts import File
from redpajama.engine.store import Store
from redpajama.errors import BuildFailed
from redpajama.exports import megatron

TRAIN, HELD_OUT = SPLITS = "train", "validation"
BLOCK_TOKENS = 4 << 20  # read at once


class Vocabulary(NamedTuple):
    """What trainers must know of the tokenizer."""

    size: int  # one more than the largest id
    end: str  # the text of the end of document
    end_id: int
    pad_id: int  # of a padding token, else the end of document
    sha256: str  # of the tokenizer.json
    file: File


NOTHING = Vocabulary(0, "", 0, 0, "", File("", 0))


class Shard(NamedTuple):
    """One pair of the store, and its lineage."""

    prefix: str  # how its files are called
    label: str  # the same without the key of its part: `<build>-00000-of-00002`
    group: str  # what it is a part of: the build, or a slice of it
    bin: File
    idx: File
    lineage: File
    tokens: int
    documents: int


@dataclass(frozen=True, eq=False)
class Source:
    """A finished build as exporters see it."""

    store: Store
    build: str
    corpus: str  # the hash of the corpus
    seed: int
    split: str  # TRAIN or HELD_OUT
    shards: tuple[Shard, ...]
    texts: tuple[File, ...]  # parts of the mixture
    subsets: dict[str, str]  # source -> what RedPajama calls it
    vocabulary: Vocabulary

    @cached_property
    def starts(self) -> np.ndarray:
        """int64[shards + 1]: the first token of each shard in the stream, and how many there are."""
        return np.concatenate([[0], np.cumsum([shard.tokens for shard in self.shards], dtype=np.int64)])

    @property
    def tokens(self) -> int:
        return int(self.starts[-1])

    @property
    def dtype(self) -> np.dtype:
        """Of the ids in the store."""
        return megatron.dtype_for(self.vocabulary.size)

    def bounds(self, shard: int) -> np.ndarray:
        """int64[documents + 1]: where the documents of a shard begin, in its tokens, and how many these are.

        Raises:
            BuildFailed: the pair is broken; one line.
        """
        return _bounds(self.store, self.shards[shard])

    def read(self, start: int, end: int) -> np.ndarray:
        """The tokens [start, end) of the stream, over the bounds of shards.

        Raises:
            BuildFailed: a file is shorter than its index says.
        """
        first, last = np.searchsorted(self.starts, [start, end - 1], "right") - 1
        shards = range(first, last + 1) if end > start else range(0)
        found = [self._read(shard, start - int(self.starts[shard]), end - int(self.starts[shard])) for shard in shards]
        return found[0] if len(found) == 1 else np.concatenate([np.zeros(0, self.dtype), *found])

    def _read(self, number: int, start: int, end: int) -> np.ndarray:
        shard, size = self.shards[number], self.dtype.itemsize
        start, end = max(0, start), min(end, shard.tokens)
        with self.store.open(*shard.bin) as file:
            file.seek(start * size)
            body = file.read((end - start) * size)
        if len(body) < (end - start) * size:
            raise BuildFailed(f"{shard.bin.key}: it ends at token {start + len(body) // size:,} of {shard.tokens:,}")
        return np.frombuffer(body, self.dtype)

    def blocks(self, number: int) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """(tokens, int64[n + 1] bounds of documents in them, number of the first document) of a shard, block by block.

        A block has BLOCK_TOKENS, less the last document that is not whole there, or one document.
        """
        bounds, offset, first = self.bounds(number), int(self.starts[number]), 0
        while first < len(bounds) - 1:
            last = int(np.searchsorted(bounds, bounds[first] + BLOCK_TOKENS, "right")) - 1
            last = max(last, first + 1)
            own = bounds[first : last + 1]
            yield self.read(offset + int(own[0]), offset + int(own[-1])), own - own[0], first
            first = last


@lru_cache(maxsize=4)
def _bounds(store: Store, shard: Shard) -> np.ndarray:
    """Of a pair that is sound: header, lengths, documents back to back."""
    try:
        with store.open(*shard.idx) as file:
            index = megatron.parse_index(cast(BinaryIO, file), store.size(shard.idx.key), shard.idx.key)
    except (FileNotFoundError, megatron.MegatronError) as error:
        raise BuildFailed(f"{error}; `redpajama verify` tells what else differs, `build` makes it anew") from None
    wrong = megatron.check_index(index, shard.idx.key)
    wanted, length = int(index.sizes.sum(dtype=np.int64)) * index.dtype.itemsize, store.size(shard.bin.key)
    if not wrong and length != wanted:
        said = f"{length:,} bytes, but the index says {wanted:,}" if length >= 0 else "it is missing"
        wrong = f"{shard.bin.key}: {said}"
    if not wrong and (len(index.sizes), wanted) != (shard.documents, shard.tokens * index.dtype.itemsize):
        wrong = f"{shard.idx.key}: {len(index.sizes):,} documents, but its record says {shard.documents:,}"
    if wrong:
        raise BuildFailed(f"{wrong}; `redpajama verify` tells what else differs, `build` makes it anew")
    return np.concatenate([[0], np.cumsum(index.sizes, dtype=np.int64)])
