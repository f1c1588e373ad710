"""`fastokens` is used where it gives the ids of `tokenizers`: asked at the start, and of a sample of what it encodes.

At the start both encode the texts of `adversarial`. If fastokens refuses the kind, or one of them has other ids, it is
not used. At run time both encode a sample of each call's texts (`sample`); a difference ends the build.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from redpajama.errors import BuildFailed
from redpajama.tokenize import adversarial
from redpajama.tokenize.backends import Encoded, Fast, Reference, bounds_of, name_and_version
from redpajama.tokenize.sample import Sample

BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")


def differences(texts: Sequence[str], one: Encoded, other: Encoded) -> list[str]:
    """Those of the texts whose ids differ."""
    if np.array_equal(one.bounds, other.bounds) and np.array_equal(one.ids, other.ids):
        return []
    return [text for row, text in enumerate(texts) if not np.array_equal(one.of(row), other.of(row))]


def choose(reference: Reference, specials: Sequence[str]) -> "Checked":
    """fastokens under watch.

    Where it takes the text of a special token or of a byte's (`<0x41>`) for the token, `tokenizers` has such texts.

    Raises:
        ValueError: it refuses the kind, or differs; one line.
    """
    try:
        fast = Fast.like(reference)
        names = [*specials, *filter(BYTE_TOKEN.fullmatch, sorted(reference.library.get_vocab()))]
        ordinary = [text for text in adversarial.ordinary() if not any(name in text for name in names)]
        differing = _differing(reference, fast, ordinary)
        is_literal = not _differing(reference, fast, adversarial.literal(names))
    except ValueError as error:
        raise ValueError(f"fastokens does not take this tokenizer: {str(error).splitlines()[0]}") from None
    if differing:
        raise ValueError(f"{_both()} give {differing[0]!a:.80} other ids")
    return Checked(reference, fast, "" if is_literal else "|".join([*map(re.escape, specials), BYTE_TOKEN.pattern]))


def _differing(reference: Reference, fast: Fast, texts: list[str]) -> list[str]:
    return differences(texts, reference.encode(texts), fast.encode(texts))


def _both() -> str:
    return f"{name_and_version('fastokens')} and {name_and_version('tokenizers')}"


def pattern_of(specials: Iterable[str]) -> str:
    """A regular expression that finds special tokens' own texts, the longest first; "" for none."""
    return "|".join(map(re.escape, sorted(specials, key=lambda each: (-len(each), each))))


# ---- at run time


@dataclass(frozen=True)
class Checked:
    """fastokens, with a sample of its texts encoded by `tokenizers` as well.

    Texts that match `detours` are encoded by `tokenizers` alone, see `choose`, and all texts of a call that it refuses.
    """

    reference: Reference
    fast: Fast
    detours: str
    sample: Sample = field(default_factory=Sample)
    name = Fast.name
    batch_bytes = Fast.batch_bytes

    def check(self, texts: pa.LargeStringArray) -> None:
        """Encode a sample of a call's texts, one at least, by both.

        Raises:
            BuildFailed: a sampled passage has other ids in `tokenizers`.
        """
        passages = self.sample.draw(texts)
        if found := differences(passages, self.encode(passages), self.reference.encode(passages)):
            raise BuildFailed(
                f'tokenizer: {_both()} give {found[0]!a:.300} other ids: set [tokenizer] backend = "tokenizers" and '
                "build in another folder, or without its counts, signals and tokens: parts made before may be wrong too"
            )

    def count(self, texts: list[str]) -> np.ndarray:
        """int64[n], tokens of each text."""
        return self.encode(texts).sizes

    def report(self) -> dict[str, Any]:
        """What worked, and since the last report: what was checked, and what was left to `tokenizers`."""
        sample = self.sample
        checked = {"passages": sample.passages, "bytes": sample.bytes}
        left = {"detoured": sample.detoured, "refused": sample.refused}
        sample.passages, sample.bytes, sample.detoured, sample.refused = 0, 0, 0, []
        return {"backend": name_and_version(self.name), "checked": checked, **left}

    def encode(self, texts: list[str]) -> Encoded:
        """The ids of each text."""
        away = np.array([bool(self.detours) and bool(re.search(self.detours, text)) for text in texts])
        if not away.any():
            return self._fast(texts)
        self.sample.detoured += int(away.sum())
        some, others = ([text for text, is_away in zip(texts, away, strict=True) if is_away == kind] for kind in (1, 0))
        return merged(self.reference.encode(some), self._fast(others), away)

    def _fast(self, texts: list[str]) -> Encoded:
        try:
            return self.fast.encode(texts)
        except ValueError as error:
            self.sample.refused.append(str(error))
            return self.reference.encode(texts)


def merged(some: Encoded, others: Encoded, is_some: np.ndarray) -> Encoded:
    """The ids of texts in their order, of which `is_some` (bool[n]) tells where each was encoded."""
    sizes = np.zeros(len(is_some), np.int64)
    sizes[is_some], sizes[~is_some] = some.sizes, others.sizes
    ids = np.empty(int(sizes.sum()), np.uint32)
    is_some_id = np.repeat(is_some, sizes)
    ids[is_some_id], ids[~is_some_id] = some.ids, others.ids
    return Encoded(ids, bounds_of(sizes))
