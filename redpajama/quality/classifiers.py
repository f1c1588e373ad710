"""The stage `classifiers`: examples -> trained fastText classifiers.

It takes as many of one side as of the other, at most `max_documents` and at least `min_documents`, no text twice, in
the order of the draw, and trains in one thread: the model is an artifact, and the same documents give the same bytes.
One in HELD_BACK is not trained on but scored: the record says how well the model tells the sides apart (the AUC: how
often a positive one scores above a negative one), and from where to where it scores them.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from redpajama.corpus.stages import CLASSIFIERS
from redpajama.engine.parts import Outputs, Part, PartRecord, Result
from redpajama.engine.shapes import Counts, Piece, Single
from redpajama.engine.stages import Build
from redpajama.engine.tables import read_batches
from redpajama.errors import BuildFailed
from redpajama.manifest import Classifier
from redpajama.quality import examples
from redpajama.quality.examples import examples_of, trained
from redpajama.quality.models import classifier, model_files
from redpajama.quality.models.model_files import ModelFile

HELD_BACK = 10
MIN_JUDGED = 10  # held-back examples of each side: of fewer no share is told
BUCKETS = 64  # of examples while they are sorted: one at a time is in memory


def wished(build: Build) -> Iterator[Piece]:
    """One part for each classifier."""
    for wish in trained(build):
        records = _records(build, wish)
        size = sum(record.counts["kept"] for record in records)
        yield Piece(wish.name, sorted(record.content for record in records), {}, size)


def depends(build: Build, name: str) -> Counts:
    """The wish and the seed."""
    wish = build.manifest.classifier_named(name)
    return {"classifier": wish.model_dump(mode="json"), "seed": build.manifest.seed}


def _records(build: Build, wish: Classifier) -> list[PartRecord]:
    names = [examples_of(wish, source) for source in examples.sources_of(wish)]
    return [record for name in names for record in build.parts(examples.STAGE.name, name)]


def train(build: Build, part: Part, outputs: Outputs) -> Result:
    """Examples -> the model.

    Raises:
        BuildFailed: one side has none.
    """
    wish = build.manifest.classifier_named(part.name)
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
        if size < wish.min_documents:
            raise BuildFailed(
                f"classifier '{wish.name}': {size:,} pages of each side are fewer than min_documents = "
                f"{wish.min_documents:,}: it would score all pages nearly alike; give more, or set min_documents"
            )
        lines, held_back = Path(folder, "examples.txt"), Path(folder, "held-back.txt")
        _write_lines(build, records, wish, {side: keys[:size] for side, keys in sides.items()}, lines, held_back)
        model = outputs.file("-model.bin")
        model_files.train(lines, wish, build.manifest.seed, model)
        judged = judge(ModelFile(wish.name, str(model), part.key), wish, held_back)
    taken, found = 2 * size, sum(record.counts["kept"] for record in records)
    counts = {"read": taken, "kept": taken, "positives": size, "negatives": size, "candidates": found, **judged}
    return [record.id for record in records], counts


def judge(file: ModelFile, wish: Classifier, examples: Path) -> Counts:
    """What a model says of labelled lines: their number, the AUC, and the 5th and 95th percentile of the scores.

    Nothing where one side has fewer than MIN_JUDGED lines with a known word.
    """
    rows = [line.rstrip("\n").partition(" ") for line in examples.read_text(encoding="utf-8").split("\n") if line]
    values = classifier.score(model_files.load(file), [text for _, _, text in rows], wish.positive_label)
    scores = values.to_numpy(zero_copy_only=False)
    is_positive = np.array([label == wish.positive_label for label, _, _ in rows], bool)
    positive, negative = (scores[side & ~np.isnan(scores)] for side in (is_positive, ~is_positive))
    if min(len(positive), len(negative)) < MIN_JUDGED:
        return {"held_back": len(rows)}
    low, high = np.quantile(np.concatenate([positive, negative]), [0.05, 0.95])
    spread = {"score_p05": round(float(low), 4), "score_p95": round(float(high), 4)}
    return {"held_back": len(rows), "auc": round(auc(positive, negative), 4), **spread}


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """How often a value of one array (float64[n]) is above one of the other (float64[m]); an equal one counts half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.sum() / (2 * len(positive) * len(negative)))


def _sorted_keys(build: Build, records: list[PartRecord], positive: bool) -> np.ndarray:
    """The distinct draws of one side; uint64[n]."""
    columns = [np.zeros(0, np.uint64)]
    for record in records:
        for batch in read_batches(build.store, record.file(".parquet"), ["draw", "positive"]):
            mine = pc.equal(batch.column("positive"), positive)
            columns.append(batch.column("draw").filter(mine).to_numpy())
    return np.unique(np.concatenate(columns))


def _write_lines(
    build: Build,
    records: list[PartRecord],
    wish: Classifier,
    taken: dict[bool, np.ndarray],
    path: Path,
    held_back: Path,
) -> None:
    """The taken examples in the order of their draws: both sides mixed, as fastText reads its file from end to end.

    Each HELD_BACK-th goes to the other file.
    """
    labels = {True: wish.positive_label, False: wish.negative_label}
    with ExitStack() as stack:
        buckets = [stack.enter_context(open(path.with_name(f"{n}"), "w+b")) for n in range(BUCKETS)]
        for bucket, drawn, side, text in _taken(build, records, taken):
            buckets[bucket].write(f"{drawn:020} {classifier.example(labels[side], text)}".encode())
        targets = [stack.enter_context(open(name, "wb")) for name in (path, held_back)]
        number = 0
        for file in buckets:
            file.seek(0)
            for _, same in groupby(sorted(file), key=lambda line: line[:20]):  # one text may have several documents
                number += 1
                targets[number % HELD_BACK == 0].write(next(same)[21:])


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


STAGE = Single(
    name=CLASSIFIERS,
    version=3,
    libraries=("fasttext-community",),
    after=(examples.STAGE.name,),
    depends=depends,
    pieces=wished,
    work=train,
)
