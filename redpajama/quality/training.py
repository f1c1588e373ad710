"""The stages `examples` and `classifiers`: documents of this build -> trained fastText classifiers.

`examples` draws documents by a hash of their normalised text, from each source that a `[[classifier]]` names, in
parallel: those that the source's own rules, language and perplexity keep (RedPajama trains on CCNet's head and middle)
and that have at least `min_chars` characters, on **both** sides: RedPajama asks 1000 of the positives only, so its
classifier learns length. Its negatives are the first documents of each file; ours are drawn.

`classifiers` takes as many of one side as of the other, at most `max_documents`, no text twice, in the order of the
draw, and trains in one thread: the model is an artifact, and the same documents give the same bytes.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.artifacts import BuildFailed, Outputs, Part, PartRecord
from redpajama.columns import TableWriter, read_batches
from redpajama.hashing import HASH_SPACE, draw
from redpajama.manifest import Classifier, Source
from redpajama.quality import annotations, citations, classifier, limits, models, rules, scores
from redpajama.stages import Build, Result, Step, fingerprint, versions

VERSION = 1
SPARE = 8  # times as many documents are drawn as are wanted: rules, language and length take their share
BUCKETS = 64  # of examples while they are sorted: one at a time is in memory
EXAMPLES = pa.schema(
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


# ---- examples


def plan_examples(build: Build) -> list[Part]:
    """One part for each documents part that a classifier draws from."""
    parts = []
    for wish in trained(build):
        for name in dict.fromkeys([wish.positive, wish.negative]):
            source = build.manifest.source_named(name)
            stamp = fingerprint(
                stage=["examples", VERSION],
                classifier=[wish.name, wish.min_chars, name == wish.positive, name == wish.negative],
                seed=build.manifest.seed,
                rules=list(rules.expand(source.quality).items()),
                limits=limits.parameters(source.model_copy(update={"classifier": None})),
                models=scores.identity(build, source, with_classifier=False),
            )
            shares, cited = _shares(build, wish, name), build.ids("citations") if wish.cited_by else []
            for documents in build.parts("documents", name):
                spec = {"file": documents.file(".parquet"), "documents": documents.stem, "classifier": wish.name}
                spec |= {"source": name, "shares": shares}
                reads, size = [documents.sha256, shares, cited], documents.counts["text_bytes"]
                if measured := annotations.needed_record(build, source, documents.stem):
                    reads.append(measured.sha256)
                parts.append(Part("examples", f"{wish.name}.{name}", stamp, reads, spec, size))
    return parts


def _shares(build: Build, wish: Classifier, name: str) -> list[float]:
    """Which fraction of a source's negatives, and of its positives, is taken: powers of two; cited pages are rare, so
    all of them."""
    total, wanted = build.stage("documents")[name].counts["kept"], SPARE * wish.max_documents
    share = 1.0 if wanted >= total else 0.5 ** ((total // wanted).bit_length() - 1)
    return [share, 1.0 if wish.cited_by else share]


def draw_examples(build: Build, part: Part, outputs: Outputs) -> Result:
    """One documents part -> the documents that a classifier may learn from."""
    wish = build.manifest.classifier_named(part.spec["classifier"])
    source, documents = build.manifest.source_named(part.spec["source"]), 0
    own, others = annotations.columns_of(rules.parse(source.quality))
    columns = list(dict.fromkeys(["doc_id", "text", "text_digest", "q_chars", "meta", *own]))
    with TableWriter(outputs.file(".parquet"), EXAMPLES) as writer:
        batches = read_batches(build.store, part.spec["file"], columns)
        for batch in annotations.beside(build, source.name, part.spec["documents"], batches, others):
            documents += batch.num_rows
            for row in _candidates(build, batch, wish, source, part.spec["shares"]):
                writer.add(row, len(row[3].encode()))
    return [part.spec["documents"]], {"read": writer.rows, "kept": writer.rows, "documents": documents}


def _candidates(
    build: Build, batch: pa.RecordBatch, wish: Classifier, source: Source, shares: list[float]
) -> list[tuple[int, bool, str, str]]:
    """Rows of EXAMPLES."""
    batch = batch.filter(pc.greater_equal(batch.column("q_chars"), wish.min_chars))
    drawn = [draw(build.manifest.seed, wish.name, digest.hex()) for digest in batch.column("text_digest").to_pylist()]
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


# ---- classifiers


def plan_training(build: Build) -> list[Part]:
    """One part for each classifier."""
    return [
        Part(
            "classifiers",
            wish.name,
            fingerprint(
                stage=["classifiers", VERSION],
                classifier=wish.model_dump(mode="json"),
                seed=build.manifest.seed,
                libraries=versions("fasttext-community"),
            ),
            [record.sha256 for record in _records(build, wish)],
            {"classifier": wish.name},
            sum(record.counts["kept"] for record in _records(build, wish)),
        )
        for wish in trained(build)
    ]


def _records(build: Build, wish: Classifier) -> list[PartRecord]:
    names = dict.fromkeys([wish.positive, wish.negative])
    return [record for name in names for record in build.parts("examples", f"{wish.name}.{name}")]


def train(build: Build, part: Part, outputs: Outputs) -> Result:
    """Examples -> the model.

    Raises:
        BuildFailed: one side has none.
    """
    wish = build.manifest.classifier_named(part.spec["classifier"])
    records = _records(build, wish)
    with tempfile.TemporaryDirectory(prefix="redpajama-") as folder:
        sides = {side: _sorted_keys(build, records, side) for side in (True, False)}
        sides[False] = np.setdiff1d(sides[False], sides[True], assume_unique=True)  # the same text: a positive
        size = min(wish.max_documents, *map(len, sides.values()))
        if not size:
            lacking = wish.negative if len(sides[True]) else wish.positive
            cited = f" that '{wish.cited_by}' cites" if wish.cited_by and lacking == wish.positive else ""
            raise BuildFailed(
                f"classifier '{wish.name}': source '{lacking}' has no page{cited} of at least "
                f"{wish.min_chars:,} characters that its rules keep: nothing to learn from"
            )
        lines = Path(folder, "examples.txt")
        _write_lines(build, records, wish, {side: keys[:size] for side, keys in sides.items()}, lines)
        models.train(lines, wish, build.manifest.seed, outputs.file("-model.bin"))
    taken, found = 2 * size, sum(record.counts["kept"] for record in records)
    counts = {"read": taken, "kept": taken, "positives": size, "negatives": size, "candidates": found}
    return [record.stem for record in records], counts


def _sorted_keys(build: Build, records: list[PartRecord], positive: bool) -> np.ndarray:
    """The distinct draws of one side; uint64[n]."""
    columns = [np.zeros(0, np.uint64)]
    for record in records:
        for batch in read_batches(build.store, record.file(".parquet"), ["draw", "positive"]):
            mine = pc.equal(batch.column("positive"), positive)
            columns.append(batch.column("draw").filter(mine).to_numpy())
    return np.unique(np.concatenate(columns))


def _write_lines(
    build: Build, records: list[PartRecord], wish: Classifier, taken: dict[bool, np.ndarray], path: Path
) -> None:
    """The taken examples in the order of their draws: both sides mixed, as fastText reads its file from end to end."""
    labels = {True: wish.positive_label, False: wish.negative_label}
    with ExitStack() as stack:
        buckets = [stack.enter_context(open(path.with_name(f"{n}"), "w+b")) for n in range(BUCKETS)]
        for bucket, drawn, side, text in _taken(build, records, taken):
            buckets[bucket].write(f"{drawn:020} {classifier.example(labels[side], text)}".encode())
        target = stack.enter_context(open(path, "wb"))
        for file in buckets:
            file.seek(0)
            for _, same in groupby(sorted(file), key=lambda line: line[:20]):  # one text may have several documents
                target.write(next(same)[21:])


def _taken(
    build: Build, records: list[PartRecord], taken: dict[bool, np.ndarray]
) -> Iterator[tuple[int, int, bool, str]]:
    """(bucket, draw, side, text): a bucket is a range of draws, all of them hold about the same number."""
    ranks = np.sort(np.concatenate(list(taken.values())))
    for record in records:
        for batch in read_batches(build.store, record.file(".parquet"), ["draw", "positive", "text"]):
            for drawn, side, text in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                place = int(np.searchsorted(taken[side], np.uint64(drawn)))
                if place < len(taken[side]) and taken[side][place] == drawn:
                    yield int(np.searchsorted(ranks, np.uint64(drawn))) * BUCKETS // len(ranks), drawn, side, text


EXAMPLE_STEP = Step("examples", plan_examples, draw_examples)
STAGE = Step("classifiers", plan_training, train)
