"""MinHash: parameters, presets, what they find, and signatures of texts.

A signature holds, for each of `permutations` hash functions, the least hash of the text's n-grams; two texts of Jaccard
similarity J agree in a fraction J of them (Broder 1997). Texts that agree in all `rows` values of one of `bands` bands
are candidates: with probability 1 - (1 - J^rows)^bands.
"""

from functools import cache
from math import comb
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from redpajama.hashing import draw
from redpajama.manifest import Table, suggestion

VERSION = 1
MAX_DOUBT = 1e-6  # the chance to call a pair similar, or not similar, by its estimate when it is not


class MinHashParams(Table):
    """`[dedup] near`: what is compared and when two texts are candidates, or duplicates.

    The normalisation is the unit's; see `ngrams`.
    """

    unit: Literal["word", "char", "code"] = "word"
    ngram: Annotated[int, Field(ge=1, le=100, strict=True)] = 5
    bands: Annotated[int, Field(ge=1, le=1024, strict=True)] = 14
    rows: Annotated[int, Field(ge=1, le=1024, strict=True)] = 8
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    permutations: Annotated[int, Field(ge=1, le=4096, strict=True)] = 0  # not given: bands * rows

    @model_validator(mode="before")
    @classmethod
    def _count_permutations(cls, values: Any) -> Any:
        given = values if isinstance(values, dict) else {}
        bands, rows = (given.get(key, cls.model_fields[key].default) for key in ("bands", "rows"))
        if "permutations" in given or not (isinstance(bands, int) and isinstance(rows, int)):
            return values
        return {**given, "permutations": bands * rows}

    @model_validator(mode="after")
    def _bands_fit(self) -> "MinHashParams":
        if self.bands * self.rows > self.permutations:
            wanted = f"bands x rows = {self.bands} x {self.rows} = {self.bands * self.rows}"
            raise ValueError(f"{wanted} is more than permutations = {self.permutations}")
        return self


def _preset(ngram: int, bands: int, rows: int, threshold: float, **others: Any) -> MinHashParams:
    return MinHashParams(ngram=ngram, bands=bands, rows=rows, threshold=threshold, **others)


# slimpajama: cerebras/modelzoo slimpajama/dedup (13-grams of words, 0.8, datasketch's optimum for 128 permutations).
# redpajama-v2: togethercomputer/RedPajama-Data, README of v2 (13-grams of words, four similarities, 128 permutations).
# fineweb: arXiv 2406.17557 (5-grams of words, 14 x 8, aimed at 75 % similarity; it verifies nothing, we do).
# stack: arXiv 2211.15533 and bigcode-project/bigcode-dataset near_deduplication (5-grams of tokens, 256, 0.7).
PRESETS = {
    "slimpajama": _preset(13, 9, 13, 0.8, permutations=128),
    "redpajama-v2-0.7": _preset(13, 14, 9, 0.7, permutations=128),
    "redpajama-v2-0.8": _preset(13, 9, 13, 0.8, permutations=128),
    "redpajama-v2-0.9": _preset(13, 5, 25, 0.9, permutations=128),
    "redpajama-v2-1.0": _preset(13, 1, 128, 1.0, permutations=128),
    "fineweb": _preset(5, 14, 8, 0.75),
    "stack": _preset(5, 25, 10, 0.7, unit="code", permutations=256),
}


def parse(near: dict[str, Any] | str) -> MinHashParams:
    """The manifest's `near`: a table, or the name of a preset.

    Raises:
        ValueError: no such preset, or (as pydantic's ValidationError) a table that is wrong.
    """
    if isinstance(near, dict):
        return MinHashParams(**near)
    if near not in PRESETS:
        raise ValueError(f"no preset is called '{near}'{suggestion(near, list(PRESETS))}")
    return PRESETS[near]


def curve(bands: int, rows: int, similarity: float) -> float:
    """The probability that two texts of this Jaccard similarity become candidates: 1 - (1 - J^rows)^bands."""
    return 1 - (1 - similarity**rows) ** bands


@cache
def doubtful(permutations: int, threshold: float) -> tuple[int, int]:
    """The numbers of equal values (low, high), exclusive, between which an estimate decides nothing.

    At `low` or fewer a pair at the threshold would agree so little with a probability of at most MAX_DOUBT; at `high`
    or more it would agree so much. So a pair that is called similar is below the threshold by chance once in a million.
    """
    chances = [
        comb(permutations, equal) * threshold**equal * (1 - threshold) ** (permutations - equal)
        for equal in range(permutations + 1)
    ]
    at_most = np.cumsum(chances)
    at_least = np.cumsum(chances[::-1])[::-1]
    low = int(np.sum(at_most <= MAX_DOUBT)) - 1
    high = permutations + 1 - int(np.sum(at_least <= MAX_DOUBT))
    return low, high


@cache
def _functions(permutations: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors (odd) and addends of x -> a * x + b mod 2**32: fixed for ever, the first n are those of any more."""
    drawn = [draw(0, "minhash", number) for number in range(permutations)]
    factors = np.array([value >> 32 | 1 for value in drawn], np.uint32)
    return factors, np.array([value & 0xFFFFFFFF for value in drawn], np.uint32)


def signatures(texts: pa.LargeStringArray, params: MinHashParams) -> tuple[np.ndarray, np.ndarray]:
    """Texts -> (uint32[n, permutations], int64[n] numbers of n-grams).

    A text without a word (empty, or punctuation only) has 0 n-grams and no signature: its row means nothing.
    """
    from redpajama.dedup import ngrams

    return ngrams.sign(texts, params.unit, params.ngram, *_functions(params.permutations))


def band_keys(signed: np.ndarray, params: MinHashParams) -> np.ndarray:
    """uint32[n, permutations] -> uint64[n, bands]: equal keys are candidates."""
    from redpajama.dedup import ngrams

    return ngrams.band_keys(signed, params.bands, params.rows)
