"""MinHash: parameters, presets, what they find, and signatures of texts.

A signature holds, for each of `permutations` hash functions, the least hash of the text's n-grams; two texts of Jaccard
similarity J agree in a fraction J of them (Broder 1997). Texts that agree in all `rows` values of one of `bands` bands
are candidates: with probability 1 - (1 - J^rows)^bands.
"""

from functools import cache
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from redpajama.hashing import draw
from redpajama.manifest import Kind, suggestion
from redpajama.tables import Table

MAX_DOUBT = 1e-6  # the chance to call a pair similar, or not similar, by its estimate when it is not
SKETCH = 256  # n-grams of a bottom-k sketch, 8 bytes each: standard error at most 0.032
CODE_NGRAM = 5  # tokens, as preset `stack`
BANDS = {"jaccard": (14, 8), "containment": (28, 4)}  # of 112 permutations both: the same signatures serve


class MinHashParams(Table):
    """`[dedup.near]`: what is compared, when two texts are candidates or duplicates, and which of them stays.

    Only texts of one kind are compared: code never with prose. Prose and tables are compared by n-grams of `unit`, code
    by n-grams of its tokens; the normalisation is the unit's, see `ngrams`.
    """

    unit: Literal["word", "char", "code"] = "word"
    ngram: Annotated[int, Field(ge=1, le=100, strict=True)] = 5
    code_ngram: Annotated[int, Field(ge=1, le=100, strict=True)] = CODE_NGRAM  # not given and unit = "code": ngram
    fold_digits: tuple[Kind, ...] = ()  # kinds of text in which every digit counts as 0
    bands: Annotated[int, Field(ge=1, le=1024, strict=True)] = 14  # "optimum": datasketch's choice for the threshold
    rows: Annotated[int, Field(ge=1, le=1024, strict=True)] = 8
    permutations: Annotated[int, Field(ge=1, le=4096, strict=True)] = 0  # not given: bands * rows; for "optimum" 128
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8  # similar from here on
    mode: Literal["jaccard", "containment"] = "jaccard"  # containment: of the text with fewer n-grams in the other
    # which of such two goes: the contained one, whatever order and `prefer` say, or the one that these say
    # that (order), or the one of no more bytes, if it is the contained one (shorter)
    containment: Literal["contained", "order", "shorter"] = "contained"
    verify: Literal["sketch", "exact"] = "sketch"  # sketch: exact n-grams where an estimate is in doubt; exact: always
    prefer: tuple[str, ...] = ("longest",)  # within a source; then the smallest id
    keep: Literal["one", "none"] = "one"  # none: both of a pair go
    only_between: tuple[tuple[str, ...], ...] = ()  # sources; not given: every source with every one and with itself

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = _choose_bands(dict(values))
        if given.get("unit") == "code":
            given.setdefault("code_ngram", given.get("ngram", cls.model_fields["ngram"].default))
        if "permutations" not in given and all(isinstance(given[key], int) for key in ("bands", "rows")):
            given["permutations"] = given["bands"] * given["rows"]
        return given

    @field_validator("prefer")
    @classmethod
    def _are_preferences(cls, prefer: tuple[str, ...]) -> tuple[str, ...]:
        for word in prefer:
            if word not in ("longest", "newest") and not word.removeprefix("signal:").removeprefix("-"):
                raise ValueError(f"'{word}' names no signal")
            if word not in ("longest", "newest") and not word.startswith("signal:"):
                known = ["longest", "newest", "signal:<name>", "signal:-<name>"]
                raise ValueError(f"no preference is called '{word}'{suggestion(word, known)}")
        return prefer

    @field_validator("only_between")
    @classmethod
    def _are_combinations(cls, groups: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        for group in groups:
            if len(group) < 2:
                raise ValueError(f"{list(group)} is no combination: name two sources or more, or one twice")
        return groups

    @model_validator(mode="after")
    def _bands_fit(self) -> "MinHashParams":
        if self.bands * self.rows > self.permutations:
            wanted = f"bands x rows = {self.bands} x {self.rows} = {self.bands * self.rows}"
            raise ValueError(f"{wanted} is more than permutations = {self.permutations}")
        return self

    @property
    def is_directed(self) -> bool:
        """Whether a document goes only where it is the contained one of its pair."""
        return self.mode == "containment" and self.containment != "order" and self.keep == "one"

    def ngrams_of(self, kind: Kind) -> tuple[str, int, bool]:
        """(unit, n, whether digits are folded) of the n-grams of one kind of text."""
        folded = kind in self.fold_digits
        return ("code", self.code_ngram, folded) if kind == "code" else (self.unit, self.ngram, folded)

    def rule(self, kind: Kind) -> str:
        """What two texts of a kind are compared by, for people."""
        unit, ngram, folded = self.ngrams_of(kind)
        words = {"word": "words", "char": "characters", "code": "code tokens"}[unit]
        digits = ", digits folded" if folded else ""
        compared = f"{self.mode} >= {self.threshold:g} of {ngram}-grams of {words}{digits}"
        return f"{compared}; {self.bands} bands of {self.rows} rows"


def _choose_bands(given: dict[str, Any]) -> dict[str, Any]:
    """The table with bands and rows: those given, the mode's own, or datasketch's optimum."""
    if given.get("bands") == "optimum":
        if "rows" in given:
            raise ValueError("bands = 'optimum' chooses the rows too: leave rows out")
        given.setdefault("permutations", 128)
        given["bands"], given["rows"] = optimum(given.get("threshold", 0.8), given["permutations"])
    bands, rows = BANDS.get(given.get("mode", "jaccard"), BANDS["jaccard"])
    given.setdefault("bands", bands)
    given.setdefault("rows", rows)
    return given


def optimum(threshold: object, permutations: object) -> tuple[int, int]:
    """(bands, rows) that make false positives and false negatives, weighed alike, fewest (datasketch's MinHashLSH).

    Raises:
        ValueError: a threshold or a number of permutations that datasketch refuses.
    """
    from datasketch import MinHashLSH

    if not isinstance(threshold, int | float) or not isinstance(permutations, int) or permutations > 4096:
        raise ValueError("bands = 'optimum' needs a threshold in [0, 1] and at most 4,096 permutations")
    chosen = MinHashLSH(threshold=threshold, num_perm=permutations)
    return chosen.b, chosen.r


def _preset(ngram: int, bands: int, rows: int, threshold: float, **others: Any) -> MinHashParams:
    return MinHashParams(ngram=ngram, bands=bands, rows=rows, threshold=threshold, **others)


# slimpajama: cerebras/modelzoo slimpajama/dedup/to_hash.py (n-grams over a string, lower-case and without punctuation:
#   13 characters, though often read as words; 0.8, datasketch's optimum for 128 permutations; it verifies nothing).
# redpajama-v2: togethercomputer/RedPajama-Data, README of v2 (13-grams of words, four similarities, 128 permutations).
# fineweb: arXiv 2406.17557 (5-grams of words, 14 x 8, aimed at 75 % similarity; it verifies nothing, we do).
# stack: arXiv 2211.15533 and bigcode-project/bigcode-dataset near_deduplication (5-grams of tokens, 256, 0.7).
# lossless: every 3-gram of what goes stands in one document that stays, of at least as many bytes; ours.
PRESETS = {
    "lossless": _preset(3, 14, 8, 1.0, code_ngram=3, mode="containment", containment="shorter"),
    "slimpajama": _preset(13, 9, 13, 0.8, unit="char", permutations=128),
    "redpajama-v2-0.7": _preset(13, 14, 9, 0.7, permutations=128),
    "redpajama-v2-0.8": _preset(13, 9, 13, 0.8, permutations=128),
    "redpajama-v2-0.9": _preset(13, 5, 25, 0.9, permutations=128),
    "redpajama-v2-1.0": _preset(13, 1, 128, 1.0, permutations=128),
    "fineweb": _preset(5, 14, 8, 0.75),
    "stack": _preset(5, 25, 10, 0.7, unit="code", permutations=256),
}


def parse(near: dict[str, Any] | str | None) -> MinHashParams:
    """The manifest's `near`: the name of a preset, or a table, which may name one in `preset` and change its keys.

    Raises:
        ValueError: no such preset, or (as pydantic's ValidationError) a table that is wrong.
    """
    given = {"preset": near} if isinstance(near, str) else dict(near or {})
    if "preset" not in given:
        return MinHashParams(**given)
    name = given.pop("preset")
    if name not in PRESETS:
        raise ValueError(f"no preset is called '{name}'{suggestion(str(name), list(PRESETS))}")
    preset = PRESETS[name].model_dump(exclude_unset=True)
    if {"bands", "rows"} & given.keys():  # its permutations belong to its bands
        preset = {key: value for key, value in preset.items() if key not in ("bands", "rows", "permutations")}
    return MinHashParams(**{**preset, **given})


def curve(bands: int, rows: int, similarity: float) -> float:
    """The probability that two texts of this Jaccard similarity become candidates: 1 - (1 - J^rows)^bands."""
    return 1 - (1 - similarity**rows) ** bands


@cache
def functions(permutations: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors (odd) and addends of x -> a * x + b mod 2**32: fixed for ever, the first n are those of any more."""
    drawn = [draw(0, "minhash", number) for number in range(permutations)]
    factors = np.array([value >> 32 | 1 for value in drawn], np.uint32)
    return factors, np.array([value & 0xFFFFFFFF for value in drawn], np.uint32)


def signatures(
    texts: pa.LargeStringArray, params: MinHashParams, kind: Kind = "prose"
) -> tuple[np.ndarray, np.ndarray]:
    """Texts -> (uint32[n, permutations], int64[n] numbers of n-grams).

    A text without a word (empty, or punctuation only) has 0 n-grams and no signature: its row means nothing.
    """
    return sign(texts, params, kind, 0)[:2]


def sign(
    texts: pa.LargeStringArray, params: MinHashParams, kind: Kind, sketch: int
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """As `signatures`, with each text's bottom-k sketch: the `sketch` smallest of its distinct n-grams, uint64, sorted.

    A sketch that is shorter holds them all.
    """
    from redpajama.dedup.near import ngrams

    unit, ngram, folded = params.ngrams_of(kind)
    return ngrams.sign(texts, unit, ngram, *functions(params.permutations), sketch, folded)


def band_keys(signed: np.ndarray, params: MinHashParams) -> np.ndarray:
    """uint32[n, permutations] -> uint64[n, bands]: equal keys are candidates."""
    from redpajama.dedup.near import ngrams

    return ngrams.band_keys(signed, params.bands, params.rows)
