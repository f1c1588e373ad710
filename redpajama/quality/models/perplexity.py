"""CCNet's perplexity: how surprised a language model of Wikipedia is by a text, and the bucket that follows.

The text is normalised as CCNet does (cc_net/text_normalizer.py), cut into SentencePiece pieces, and scored by KenLM as
one sentence: perplexity = 10^(-sum of log10 p / (pieces + 1)), to 1 decimal. Head is below the 30th percentile of what
CCNet saw in the language, middle below the 60th. CCNet's models: http://dl.fbaipublicfiles.com/cc_net/lm/<language>
.arpa.bin and .sp.model. Needs the extra `perplexity`.

As CCNet: line feeds are deleted with the other control characters, which glues words; its cut-offs were measured on
such text. Differs: CCNet's table maps the fullwidth digit one to a double quote, a slip; here it is a digit like any
other (in CCNet too wherever digits become 0 first, as they do here).
"""

import re
import unicodedata
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.engine.stages import Build
from redpajama.manifest import Perplexity, Source, given
from redpajama.once import once
from redpajama.quality.languages import label_of
from redpajama.quality.models import model_files
from redpajama.quality.models.model_files import KENLM, SENTENCEPIECE, ModelFile

DECIMALS = 1
LIBRARIES = ("sentencepiece", "ufal-kenlm", "unicode")
MODULES = ("kenlm", "sentencepiece")
# head ends below the first, middle below the second: rows 30 and 60 of cc_net/data/cutoff.csv
CUTOFFS = {"en": (340, 520), "de": (370, 590), "fr": (180, 330), "es": (180, 290), "it": (220, 360)}
# cc_net/text_normalizer.py, UNICODE_PUNCT, without its fullwidth digit one
PUNCTUATION = {
    "，": ",", "。": ".", "、": ",", "„": '"', "”": '"', "“": '"', "«": '"', "»": '"', "」": '"', "「": '"', "《": '"',
    "》": '"', "´": "'", "∶": ":", "：": ":", "？": "?", "！": "!", "（": "(", "）": ")", "；": ";", "–": "-",
    "—": " - ", "．": ". ", "～": "~", "’": "'", "…": "...", "━": "-", "〈": "<", "〉": ">", "【": "[", "】": "]",
    "％": "%", "►": "-",
}  # fmt: skip
NOT_PLAIN = re.compile("[^ -/:-~]+")  # all but printable ASCII without digits


class Scorer(NamedTuple):
    """What measures one language."""

    pieces: Any  # sentencepiece.SentencePieceProcessor
    model: Any  # kenlm.Model


def check(source: Source) -> None:
    """What can be wrong with `[source.perplexity]` before any work.

    Raises:
        ValueError: one line: the extra is missing, or a language has no cut-offs.
    """
    if any(find_spec(module) is None for module in MODULES):
        raise ValueError("perplexity needs an extra: pip install 'redpajama[perplexity]'")
    wish = given(source.perplexity)
    if len(models := set(map(label_of, wish.models))) < len(wish.models):
        raise ValueError(f"perplexity.models: of {sorted(wish.models)} two are one language: {sorted(models)}")
    for language in wish.models:
        head, middle = cutoffs(wish, language)
        if not head < middle:
            raise ValueError(f"perplexity.models.{language}: head = {head:g} must be below middle = {middle:g}")


def cutoffs(wish: Perplexity, language: str) -> tuple[float, float]:
    """Where head and middle end (exclusive) in a language that has a model.

    Raises:
        ValueError: neither the manifest nor CCNet says.
    """
    known = CUTOFFS.get(label_of(language), (None, None))
    head, middle = (wish.models[language].head or known[0]), (wish.models[language].middle or known[1])
    if head is None or middle is None:
        raise ValueError(f"perplexity.models.{language}: no cut-offs are known for '{language}': give head and middle")
    return head, middle


def model_of(wish: Perplexity, label: str) -> str:
    """What the manifest calls the language that a model of languages calls `label`.

    Raises:
        KeyError: it has no model for it.
    """
    return {label_of(name): name for name in wish.models}[label_of(label)]


def files_by_language(build: Build, source: Source) -> dict[str, tuple[ModelFile, ModelFile]]:
    """{language: (KenLM, SentencePiece)}"""
    names = {language: f"{source.name}.perplexity.{language}" for language in sorted(given(source.perplexity).models)}
    return {
        language: (model_files.input_file(build, name + KENLM), model_files.input_file(build, name + SENTENCEPIECE))
        for language, name in names.items()
    }


@once(64)
def load(model: ModelFile, tokenizer: ModelFile) -> Scorer:
    """One language's models, once per process; KenLM's binary files are mapped, so processes share them.

    Raises:
        ModelError: one of them cannot be loaded.
    """
    return Scorer(model=load_kenlm(model), pieces=load_pieces(tokenizer))


def load_kenlm(file: ModelFile) -> Any:
    """A KenLM model; pages of a binary file are read when they are needed."""
    import kenlm

    config = kenlm.Config()
    config.show_progress, config.load_method = False, kenlm.LoadMethod.LAZY
    with model_files.local_file(file.path) as path:
        try:
            return kenlm.Model(path, config)
        except (OSError, RuntimeError):
            raise model_files.unusable(file.url, KENLM) from None


def load_pieces(file: ModelFile) -> Any:
    """A SentencePiece model."""
    import sentencepiece

    with model_files.local_file(file.path) as path:
        try:
            return sentencepiece.SentencePieceProcessor(model_file=path)
        except (OSError, RuntimeError):
            raise model_files.unusable(file.url, SENTENCEPIECE) from None


def measure(scorer: Scorer, texts: list[str]) -> list[float]:
    """Texts -> perplexities, to 1 decimal."""
    pieces = scorer.pieces.encode([normalise(text) for text in texts], out_type=str, num_threads=1)
    return [_perplexity(scorer.model, " ".join(each)) for each in pieces]


def _perplexity(model: Any, sentence: str) -> float:
    tokens = len(sentence.split()) + 1  # the end of the sentence is one
    return round(10.0 ** (-model.score(sentence) / tokens), DECIMALS)


def normalise(text: str) -> str:
    """Lower case, no accents (NFD without Mn), every digit 0, typographic marks in ASCII, no control characters."""
    lower = text.strip().lower()
    apart = lower if lower.isascii() else unicodedata.normalize("NFD", lower)
    table = _table()  # a call for each run: a whole text of mostly plain characters takes twice as long
    return NOT_PLAIN.sub(lambda run: run[0].translate(table), apart)


@once(1)
def _table() -> dict[int, str | None]:
    """What becomes of characters after NFD; the steps of CCNet do not touch each other's results."""
    controls = [*range(32), *range(127, 160)]
    everything = [(code, unicodedata.category(chr(code))) for code in range(0x110000)]
    marks = dict.fromkeys([code for code, category in everything if category == "Mn"])
    digits = dict.fromkeys([code for code, category in everything if category == "Nd"], "0")
    return {**marks, **digits, **{ord(mark): plain for mark, plain in PUNCTUATION.items()}, **dict.fromkeys(controls)}


def is_language(labels: pa.StringArray, language: str) -> np.ndarray:
    """Labels of a model of languages (null: none) -> bool[n]."""
    wanted = label_of(language)
    own = [label for label in labels.unique().to_pylist() if label is not None and label_of(label) == wanted]
    return pc.is_in(labels, value_set=pa.array(own, pa.string())).to_numpy(zero_copy_only=False)


def bucket_of(wish: Perplexity, languages: pa.Array, perplexities: pa.Array) -> pa.StringArray:
    """(language, perplexity) -> head, middle, tail; all: the language has no model."""
    values = perplexities.to_numpy(zero_copy_only=False)
    names = np.full(len(values), "all", object)
    for language in wish.models:
        own = is_language(languages, language) & ~np.isnan(values)
        head, middle = cutoffs(wish, language)
        names[own] = np.where(values[own] < head, "head", np.where(values[own] < middle, "middle", "tail"))
    return pa.array(names, pa.string())
