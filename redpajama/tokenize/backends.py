"""The two libraries that turn texts into ids, in one shape: a list of strings in, flat arrays out.

`tokenizers` is the reference. `fastokens` gives the same ids at many times the speed for the kinds that it knows; what
holds it to that is in `parity`. Neither adds special tokens, and both encode a special token's text as the text it is.
"""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple, Self

import fastokens
import numpy as np
import pyarrow as pa
import tokenizers


class Encoded(NamedTuple):
    """The ids of n texts, back to back."""

    ids: np.ndarray  # uint32[tokens]
    bounds: np.ndarray  # int64[n + 1], where each text's ids begin and end

    @property
    def sizes(self) -> np.ndarray:
        """int64[n], tokens."""
        return np.diff(self.bounds)

    def of(self, row: int) -> np.ndarray:
        """uint32[tokens]: the ids of one text."""
        return self.ids[self.bounds[row] : self.bounds[row + 1]]


@dataclass(frozen=True)
class Reference:
    """Hugging Face's `tokenizers`."""

    library: tokenizers.Tokenizer
    name = "tokenizers"
    batch_bytes = 1_000_000  # of text for a call: it holds about 100 bytes for each

    def encode(self, texts: list[str]) -> Encoded:
        """The ids of each text."""
        encodings = self.library.encode_batch_fast(texts, add_special_tokens=False)
        ids = [np.array(encoding.ids, np.uint32) for encoding in encodings]
        return Encoded(np.concatenate([np.zeros(0, np.uint32), *ids]), bounds_of([len(each) for each in ids]))

    def count(self, texts: list[str]) -> np.ndarray:
        """int64[n], tokens of each text."""
        encodings = self.library.encode_batch_fast(texts, add_special_tokens=False)
        return np.fromiter(map(len, encodings), np.int64, len(encodings))

    def check(self, texts: pa.LargeStringArray) -> None:
        """It is what others are held to."""

    def report(self) -> dict[str, Any]:
        """What worked."""
        return {"backend": name_and_version(self.name)}


@dataclass(frozen=True)
class Fast:
    """`fastokens`. A text that its patterns cannot handle is a ValueError: a million spaces under GPT-2's, say."""

    library: fastokens.Tokenizer
    name = "fastokens"
    batch_bytes = 4 << 20  # it holds about 8 bytes for each, and 60 of a single word's

    @classmethod
    def like(cls, reference: Reference) -> Self:
        """The same tokenizer.

        Raises:
            ValueError: it does not know the kind.
        """
        return cls(fastokens.Tokenizer.from_json_str(reference.library.to_str()))

    def encode(self, texts: list[str]) -> Encoded:
        """The ids of each text."""
        ids, bounds = self.library.encode_batch_flat(texts, False, split_special_tokens=True)
        return Encoded(np.frombuffer(ids, "<u4"), np.frombuffer(bounds, "<u8").astype(np.int64))


def bounds_of(sizes: list[int] | np.ndarray) -> np.ndarray:
    """int64[n] -> int64[n + 1]: where things of these sizes begin and end that lie back to back."""
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)


def name_and_version(library: str) -> str:
    """`fastokens 0.3.5`."""
    return f"{library} {version(library)}"
