"""A fastText classifier of whole documents: RedPajama's "could Wikipedia cite this page?", and its like.

A score is the probability of the positive label. RedPajama computes it as p where the positive label is the most
probable, else 1 - p; so do we for models of two labels, and for more labels it is the positive one's own p. RedPajama
keeps a page from 0.25 on. GPT-3 (arXiv 2005.14165, appendix A) kept one iff a Pareto draw was above 1 - score, which
lets a few low scores through: `keep = "pareto"`.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from redpajama.corpus.stages import CLASSIFIERS
from redpajama.engine.stages import Build
from redpajama.hashing import HASH_SPACE, draw
from redpajama.manifest import Classified
from redpajama.quality.models import model_files
from redpajama.quality.models.model_files import FASTTEXT, LABEL, ModelError, ModelFile

DECIMALS = 4  # of a score
PARETO_SHAPE = 9.0  # GPT-3's alpha
PARETO_DECIMALS = 6


def model_file(build: Build, wish: Classified) -> ModelFile:
    """The model of a `[[classifier]]`: the given file, or the one that this build trained."""
    if build.manifest.classifier_named(wish.name).path:
        return model_files.input_file(build, f"{wish.name}.classifier{FASTTEXT}")
    [record] = build.parts(CLASSIFIERS, wish.name)
    file = record.file("-model.bin")
    return ModelFile(wish.name, build.store.locate(file.key), record.outputs[file.key]["sha256"])


def load(build: Build, wish: Classified) -> Any:
    """The model, once per process.

    Raises:
        ModelError: it cannot be loaded, or knows no such label.
    """
    classifier, file = build.manifest.classifier_named(wish.name), model_file(build, wish)
    model = model_files.load(file)
    if classifier.positive_label not in model.labels:
        known = ", ".join(sorted(model.labels)[:10])
        raise ModelError(f"{file.url}: no label is called '{classifier.positive_label}'; known: {known}")
    return model


def score(model: Any, texts: list[str], positive: str) -> pa.DoubleArray:
    """Texts of one line each -> probabilities of the label `positive`, to 4 decimals; null where no word is known."""
    labels, scores = model_files.predict(model, texts, k=1 if len(model.labels) == 2 else -1)
    values = [_positive(*found, positive) for found in zip(labels, scores, strict=True)]
    return pa.array(values, pa.float64(), from_pandas=True)


def _positive(labels: list[str], scores: np.ndarray, positive: str) -> float:
    if not labels:
        return np.nan
    chance = float(scores[labels.index(positive)]) if positive in labels else 1 - float(scores[0])
    return min(1.0, max(0.0, round(chance, DECIMALS)))


def pareto_bound(seed: int, name: str, doc_id: str) -> float:
    """The score that a document must exceed under `keep = "pareto"`: 1 - x, to 6 decimals; x follows numpy's pareto(9).

    That is the Lomax distribution, x = (1 - u)^(-1/9) - 1 with u uniform in [0, 1), here a hash of the id.
    """
    uniform = (draw(seed, "pareto", name, doc_id) >> 11) / (HASH_SPACE >> 11)
    return round(2 - (1 - uniform) ** (-1 / PARETO_SHAPE), PARETO_DECIMALS)


def example(label: str, text: str) -> str:
    """One line of training; a word of the text that looks like a label is none."""
    return f"{label} {text.replace(LABEL, '').replace(chr(10), ' ').strip()}\n"
