"""The stage `examples`: documents of this build from which classifiers learn.

They are drawn by a hash of their normalised text, from each source that a `[[classifier]]` names, in parallel: those
that the source's own rules, language and perplexity keep (RedPajama trains on CCNet's head and middle) and that have at
least `min_chars` characters, on **both** sides: RedPajama asks 1000 of the positives only, so its classifier learns
length. Its negatives are the first documents of each file; ours are drawn.
"""

from collections.abc import Iterator

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.arrow import hexadecimal
from redpajama.corpus import reader
from redpajama.corpus.stages import CITATIONS, DOCUMENTS, EXAMPLES, INPUTS, SIGNALS, source_of
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts, PerPart
from redpajama.engine.stages import Build
from redpajama.engine.tables import TableWriter
from redpajama.hashing import HASH_SPACE, draws
from redpajama.manifest import Classifier, Source, given
from redpajama.quality import citations, limits, rules, scores, signals

SPARE = 8  # times as many documents are drawn as are wanted: rules, language and length take their share
ROWS = pa.schema(
    [
        pa.field("draw", pa.uint64()),  # the smallest are taken
        pa.field("positive", pa.bool_()),
        pa.field("doc_id", pa.string()),
        pa.field("text", pa.large_string()),
    ]
)


def trained(build: Build) -> list[Classifier]:
    """The classifiers that this build trains."""
    return [wish for wish in build.manifest.classifier if not wish.path]


def sides(build: Build, each: str) -> Iterator[tuple[str, str]]:
    """(name of the examples, source that they are drawn from) for each classifier's two sides."""
    for wish in trained(build):
        for source in sources_of(wish):
            yield examples_of(wish, source), source


def sources_of(wish: Classifier) -> list[str]:
    """The sources that a classifier's two sides are drawn from, each once."""
    return list(dict.fromkeys([given(wish.positive), given(wish.negative)]))


def examples_of(wish: Classifier, source: str) -> str:
    """What the examples are called that a classifier draws from a source."""
    return f"{wish.name}.{source}"


def _wish_and_source(build: Build, name: str) -> tuple[Classifier, Source]:
    wish, _, source = name.partition(".")
    return build.manifest.classifier_named(wish), build.manifest.source_named(source)


def depends(build: Build, name: str) -> Counts:
    """The classifier's wishes, and what the source keeps."""
    wish, source = _wish_and_source(build, name)
    return {
        "classifier": [wish.name, wish.min_chars, source.name == wish.positive, source.name == wish.negative],
        "seed": build.manifest.seed,
        "rules": list(rules.expand(source.quality).items()),
        "limits": limits.parameters(source.model_copy(update={"classifier": None})),
        "models": scores.identity(build, source, with_classifier=False),
        "shares": _shares(build, wish, source.name),
        "cited": [wish.cited_by, build.contents(CITATIONS)] if wish.cited_by else "",
    }


def asks(build: Build, documents: PartRecord) -> list[str]:
    """Signals, where a rule of the source is about one."""
    _, others = signals.columns_of(rules.parse(source_of(build, documents).quality))
    return reader.identity(build, documents, SIGNALS) if others else []


def _shares(build: Build, wish: Classifier, name: str) -> list[float]:
    """Which fraction of a source's negatives, and of its positives, is taken: powers of two; cited pages are rare, so
    all of them."""
    total, wanted = build.stage(DOCUMENTS)[name].counts["kept"], SPARE * wish.max_documents
    share = 1.0 if wanted >= total else 0.5 ** ((total // wanted).bit_length() - 1)
    return [share, 1.0 if wish.cited_by else share]


def draw_examples(build: Build, name: str, documents: PartRecord, outputs: Outputs) -> Counts:
    """One documents part -> the documents that a classifier may learn from."""
    wish, source = _wish_and_source(build, name)
    own, others = signals.columns_of(rules.parse(source.quality))
    columns = list(dict.fromkeys(["doc_id", "text", "text_digest", "q_chars", "meta", *own]))
    beside = [reader.beside(build, SIGNALS, documents, others) if others else None]
    shares, met = _shares(build, wish, source.name), 0
    with TableWriter(outputs.file(".parquet"), ROWS) as writer:
        for batch in reader.read(build, documents, columns, beside=beside, is_living=False):
            met += batch.num_rows
            for row in _candidates(build, batch, wish, source, shares):
                writer.add(row, len(row[3].encode()))
    return {"read": writer.rows, "kept": writer.rows, "documents": met}


def _candidates(
    build: Build, batch: pa.RecordBatch, wish: Classifier, source: Source, shares: list[float]
) -> list[tuple[int, bool, str, str]]:
    """Rows of ROWS."""
    batch = batch.filter(pc.greater_equal(batch.column("q_chars"), wish.min_chars))
    drawn = draws(build.manifest.seed, [wish.name], hexadecimal(batch.column("text_digest"))).tolist()
    positive = _sides(build, batch, wish, source.name)
    limits_of = {None: 0.0, False: shares[False] * HASH_SPACE, True: shares[True] * HASH_SPACE}
    rows = [row for row, (value, side) in enumerate(zip(drawn, positive, strict=True)) if value < limits_of[side]]
    gone = set(rules.judge(batch, rules.parse(source.quality)).rows.to_pylist())
    rows = _kept_by_models(build, batch, source, [row for row in rows if row not in gone])
    taken = batch.take(pa.array(rows, pa.int64()))
    ids, texts = taken.column("doc_id").to_pylist(), taken.column("text").to_pylist()
    return [(drawn[row], positive[row], *each) for row, *each in zip(rows, ids, texts, strict=True)]


def _sides(build: Build, batch: pa.RecordBatch, wish: Classifier, name: str) -> list[bool | None]:
    """Per document: True a positive, False a negative, None neither."""
    otherwise = False if name == wish.negative else None
    if name != wish.positive:
        return [otherwise] * batch.num_rows
    if not wish.cited_by:
        return [True] * batch.num_rows
    urls = [orjson.loads(meta).get("url", "") for meta in batch.column("meta").to_pylist()]
    own = np.array([citations.url_key(url) for url in urls], np.uint64)
    return [True if cited else otherwise for cited in np.isin(own, citations.cited_keys(build, wish.cited_by)).tolist()]


def _kept_by_models(build: Build, batch: pa.RecordBatch, source: Source, rows: list[int]) -> list[int]:
    """The rows that the source's language and perplexity keep."""
    plain = source.model_copy(update={"classifier": None})
    if not rows or not plain.wants_models:
        return rows
    taken = batch.take(pa.array(rows, pa.int64()))
    measured = scores.measure(taken.column("text"), scores.load(build, plain))
    table = pa.table([taken.column("doc_id"), *measured.values()], schema=scores.schema(plain))
    removals = limits.judge(scores.with_buckets(table, plain), build.manifest, plain)
    gone = {each.row for each in removals}
    return [row for place, row in enumerate(rows) if place not in gone]


STAGE = PerPart(
    name=EXAMPLES,
    version=2,
    after=(DOCUMENTS, INPUTS, SIGNALS, CITATIONS),
    each=DOCUMENTS,
    names=sides,
    depends=depends,
    asks=asks,
    work=draw_examples,
    size="text_bytes",
)
