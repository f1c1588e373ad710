"""Limits on scores: which documents the models' tables in the manifest keep, and why the others are gone.

In CCNet's and RedPajama's order: a sure language, a wanted one, a wanted bucket of perplexity, a classifier's score;
the first that a document fails is the reason. A missing score fails nothing: nothing is removed without evidence.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from redpajama.manifest import Manifest, Source, given
from redpajama.quality.languages import label_of
from redpajama.quality.models import classifier, perplexity
from redpajama.quality.scores import BUCKET, LANGUAGE, LANGUAGE_SCORE, PERPLEXITY, probability_column
from redpajama.records import Reason


class Removal(NamedTuple):
    """A document that does not stay."""

    row: int
    reason: Reason
    value: float | None
    threshold: float | None  # what the value should have been: at least, or for a perplexity below
    evidence: dict[str, Any]  # model, and the label that it gave


def parameters(source: Source) -> dict[str, Any]:
    """What the limits of a source depend on, for fingerprints and for people."""
    found: dict[str, Any] = {}
    if source.language:
        found["language"] = source.language.model_dump(mode="json", include={"keep", "min_score"})
    if source.perplexity:
        bounds = {name: perplexity.cutoffs(source.perplexity, name) for name in sorted(source.perplexity.models)}
        found["perplexity"] = {"keep": list(source.perplexity.keep), "cutoffs": bounds}
    if source.classifier:
        found["classifier"] = source.classifier.model_dump(mode="json")
    return found


def named(manifest: Manifest, source: Source) -> list[str]:
    """What evidence calls the models and the label: names, which may change where their bytes do not."""
    found = [_language_model(source)] if source.language else []
    if source.perplexity:
        found += [source.perplexity.models[name].model for name in sorted(source.perplexity.models)]
    if source.classifier:
        found.append(manifest.classifier_named(source.classifier.name).positive_label)
    return found


def judge(table: pa.Table, manifest: Manifest, source: Source) -> list[Removal]:
    """Scores with buckets -> the documents that do not stay, in order of rows.

    Limits whose columns the table lacks are not applied.
    """
    found: dict[int, Removal] = {}
    for check in (_unsure, _unwanted_languages, _unwanted_buckets, _low_scores):
        for removal in check(table, manifest, source):
            found.setdefault(removal.row, removal)
    return [found[row] for row in sorted(found)]


def _unsure(table: pa.Table, manifest: Manifest, source: Source) -> Iterator[Removal]:
    if source.language:
        scores, least = _numbers(table, LANGUAGE_SCORE), source.language.min_score
        rows = np.flatnonzero(scores < least)
        for row, label in zip(rows.tolist(), table.column(LANGUAGE).take(pa.array(rows)).to_pylist(), strict=True):
            evidence = {"model": _language_model(source), "label": label}
            yield Removal(row, Reason.LOW_LANGUAGE_SCORE, float(scores[row]), least, evidence)


def _unwanted_languages(table: pa.Table, manifest: Manifest, source: Source) -> Iterator[Removal]:
    if source.language and source.language.keep:
        scores, wanted = _numbers(table, LANGUAGE_SCORE), set(map(label_of, source.language.keep))
        for row, label in enumerate(table.column(LANGUAGE).to_pylist()):
            if label is not None and label_of(label) not in wanted:
                evidence = {"model": _language_model(source), "label": label, "keep": list(source.language.keep)}
                yield Removal(row, Reason.LANGUAGE_NOT_KEPT, float(scores[row]), None, evidence)


def _unwanted_buckets(table: pa.Table, manifest: Manifest, source: Source) -> Iterator[Removal]:
    wish = source.perplexity
    if wish:
        values, languages = _numbers(table, PERPLEXITY), table.column(LANGUAGE).to_pylist()
        for row, bucket in enumerate(table.column(BUCKET).to_pylist()):
            if bucket not in wish.keep:
                evidence = {"label": bucket, "language": languages[row], "keep": list(wish.keep)}
                if bucket == "all":
                    yield Removal(row, Reason.PERPLEXITY_BUCKET, None, None, {"model": None, **evidence})
                    continue
                language = perplexity.model_of(wish, languages[row])
                head, middle = perplexity.cutoffs(wish, language)
                bound = middle if bucket == "tail" and "middle" in wish.keep else head
                evidence["model"] = wish.models[language].model
                yield Removal(row, Reason.PERPLEXITY_BUCKET, float(values[row]), bound, evidence)


def _low_scores(table: pa.Table, manifest: Manifest, source: Source) -> Iterator[Removal]:
    wish = source.classifier
    if wish and (column := probability_column(wish.name)) in table.column_names:
        label, scores = manifest.classifier_named(wish.name).positive_label, _numbers(table, column)
        bounds = _bounds(table, manifest.seed, wish)
        fails = scores <= bounds if wish.keep == "pareto" else scores < bounds
        for row in np.flatnonzero(fails).tolist():
            evidence = {"model": wish.name, "label": label, "keep": wish.keep}
            reason = Reason.BELOW_CLASSIFIER_THRESHOLD
            yield Removal(row, reason, float(scores[row]), float(bounds[row]), evidence)


def _bounds(table: pa.Table, seed: int, wish: Any) -> np.ndarray:
    if wish.keep != "pareto":
        return np.full(table.num_rows, wish.keep)
    ids = table.column("doc_id").to_pylist()
    return np.array([classifier.pareto_bound(seed, wish.name, doc_id) for doc_id in ids])


def _numbers(table: pa.Table, column: str) -> np.ndarray:
    """float64[n]; NaN where there is none."""
    return table.column(column).to_numpy()


def _language_model(source: Source) -> str:
    return given(source.language).path or "lid.176.ftz"
