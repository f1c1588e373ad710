"""The stage `scores`: what models say of each document, in the documents' order. Text is read here, once.

Only sources whose manifest asks for a model have parts. Thresholds are no part of it: `limits` applies them in the
stage `quality`, so another one reads no text and runs no model. Buckets are no column of the file either: they follow
from language, perplexity and the manifest's cut-offs (`with_buckets`).
"""

from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from redpajama.corpus import reader
from redpajama.corpus.stages import CLASSIFIERS, INPUTS, SCORES, per_documents, source_of
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts
from redpajama.engine.stages import Build, versions
from redpajama.engine.tables import read_batches
from redpajama.errors import BuildFailed
from redpajama.manifest import Source
from redpajama.quality.models import classifier, language, model_files, perplexity
from redpajama.quality.models.model_files import ModelError

LANGUAGE, LANGUAGE_SCORE, PERPLEXITY, BUCKET = "q_language", "q_language_score", "q_perplexity", "q_bucket"


class Models(NamedTuple):
    """The loaded models of one source."""

    language: Any
    scorers: dict[str, perplexity.Scorer]
    classifier: Any


def probability_column(name: str) -> str:
    """The column of a classifier's score."""
    return f"q_{name}_prob"


def schema(source: Source, with_classifier: bool = True) -> pa.Schema:
    """The columns of a scores part."""
    columns = [pa.field("doc_id", pa.string())]
    if source.language:
        columns += [pa.field(LANGUAGE, pa.string()), pa.field(LANGUAGE_SCORE, pa.float64())]
    if source.perplexity:
        columns.append(pa.field(PERPLEXITY, pa.float64()))  # null: no model for the language
    if source.classifier and with_classifier:
        columns.append(pa.field(probability_column(source.classifier.name), pa.float64()))
    return pa.schema(columns)


def depends(build: Build, source: Source) -> Counts | None:
    """As `identity`; None where the source asks for no model."""
    return identity(build, source) if source.wants_models else None


def identity(build: Build, source: Source, with_classifier: bool = True) -> dict[str, Any]:
    """All that a source's scores depend on, but for its documents: model hashes and library versions."""
    found: dict[str, Any] = {"versions": versions("fasttext-community", "pyarrow")}
    if source.language:
        found["language"] = language.model_file(build, source).sha256
    if source.perplexity:
        files = perplexity.files_by_language(build, source)
        found["perplexity"] = {name: [file.sha256 for file in pair] for name, pair in files.items()}
        found["versions"] |= versions(*perplexity.LIBRARIES)
    if source.classifier and with_classifier:
        label = build.manifest.classifier_named(source.classifier.name).positive_label
        found["classifier"] = [source.classifier.name, label, classifier.model_file(build, source.classifier).sha256]
    return found


def load(build: Build, source: Source, with_classifier: bool = True) -> Models:
    """A source's models, once per process.

    Raises:
        BuildFailed: one of them cannot be loaded.
    """
    try:
        files = perplexity.files_by_language(build, source) if source.perplexity else {}
        return Models(
            language.load(build, source) if source.language else None,
            {name: perplexity.load(*pair) for name, pair in files.items()},
            classifier.load(build, source.classifier) if source.classifier and with_classifier else None,
        )
    except ModelError as error:
        raise BuildFailed(f"source '{source.name}': {error}") from None


def measure(texts: pa.Array, loaded: Models, positive: str = "") -> dict[str, pa.Array]:
    """Texts -> a column for each of the models that are there."""
    lines, columns = model_files.one_line(texts), {}
    if loaded.language:
        columns[LANGUAGE], columns[LANGUAGE_SCORE] = language.identify(loaded.language, lines)
    if loaded.scorers:
        columns[PERPLEXITY] = _perplexities(texts, columns[LANGUAGE], loaded.scorers)
    if loaded.classifier:
        columns["classifier"] = classifier.score(loaded.classifier, lines, positive)
    return columns


def _perplexities(texts: pa.Array, languages: pa.Array, scorers: dict[str, perplexity.Scorer]) -> pa.DoubleArray:
    found: list[float | None] = [None] * len(texts)
    for name, scorer in scorers.items():
        rows = np.flatnonzero(perplexity.is_language(languages, name))
        values = perplexity.measure(scorer, texts.take(pa.array(rows)).to_pylist())
        for row, value in zip(rows.tolist(), values, strict=True):
            found[row] = value
    return pa.array(found, pa.float64())


def score_part(build: Build, source: Source, documents: PartRecord, outputs: Outputs) -> Counts:
    """The texts of one documents part -> scores, row group by row group."""
    loaded, columns, rows = load(build, source), schema(source), 0
    positive = build.manifest.classifier_named(source.classifier.name).positive_label if source.classifier else ""
    with pq.ParquetWriter(outputs.file(".parquet"), columns, compression="zstd", version="2.6") as writer:
        for batch in read_batches(build.store, documents.file(".parquet"), ["doc_id", "text"]):
            measured = measure(batch.column("text"), loaded, positive)
            table = pa.table([batch.column("doc_id"), *measured.values()], schema=columns)
            writer.write_table(table, row_group_size=table.num_rows)
            rows += table.num_rows
    return {"read": rows, "kept": rows}


STAGE = per_documents(
    "scores",
    version=2,
    libraries=("pyarrow",),
    after=(INPUTS, CLASSIFIERS),
    depends=depends,
    work=score_part,
    size="text_bytes",
)


# ---- for readers


def of_part(build: Build, documents: PartRecord) -> pa.Table | None:
    """Scores and buckets of a documents part, in its order; None where its source asks for no model."""
    table = reader.beside(build, SCORES, documents)
    return with_buckets(table.combine_chunks(), source_of(build, documents)) if table is not None else None


def columns_beside(build: Build, documents: PartRecord) -> pa.Table | None:
    """The same without the ids: to stand beside documents."""
    table = of_part(build, documents)
    return table.drop_columns("doc_id") if table is not None else None


def with_buckets(table: pa.Table, source: Source) -> pa.Table:
    """Scores and the column q_bucket, where the source asks for perplexities."""
    if not source.perplexity:
        return table
    columns = (table.column(name).combine_chunks() for name in (LANGUAGE, PERPLEXITY))
    return table.append_column(BUCKET, perplexity.bucket_of(source.perplexity, *columns))


def buckets_asked(source: Source) -> list[Any]:
    """What buckets depend on beside the scores: where they end; nothing where there are none."""
    wish = source.perplexity
    return [{name: perplexity.cutoffs(wish, name) for name in sorted(wish.models)}] if wish else []


def released_meta(documents: pa.RecordBatch) -> pa.Array:
    """Meta (JSON) with the scores beside it, under CCNet's names: language, language_score, perplexity, bucket; and
    <name>_prob. A language that the source itself named stays as `source_language`."""
    measured = [name for name in documents.schema.names if name.startswith("q_")]
    if not measured:
        return documents.column("meta")
    rows = zip(documents.column("meta").to_pylist(), documents.select(measured).to_pylist(), strict=True)
    merged = (_merge(orjson.loads(meta), row) for meta, row in rows)
    return pa.array([orjson.dumps(each, option=orjson.OPT_SORT_KEYS).decode() for each in merged], pa.string())


def _merge(meta: dict[str, Any], scores: dict[str, Any]) -> dict[str, Any]:
    found = {name.removeprefix("q_"): value for name, value in scores.items() if value is not None}
    old = {"source_language": meta["language"]} if "language" in meta and "language" in found else {}
    return {**meta, **old, **found}
