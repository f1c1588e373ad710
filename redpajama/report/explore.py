"""One HTML page on every signal of a build: a histogram a source, what a threshold keeps, and who stands next to it.

Everything is in the page: no server, no network. Numbers are computed here, from the columns, at *cuts*: places on a
signal's axis between which documents are counted. Each threshold of the manifest is a cut, and the page's sliders move
from cut to cut, so all that it shows is exact. A threshold is looked at alone: other rules are not applied.

Memory: one signal of all sources at a time, some 40 bytes a document. Texts are read of the documents that are shown,
and of no others.
"""

import json
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from redpajama.arrow import open_parquet
from redpajama.engine.parts import File, PartRecord
from redpajama.engine.stages import Build
from redpajama.engine.store import Store
from redpajama.engine.tables import open_table, read_table
from redpajama.manifest import Source, given
from redpajama.quality import rules, scores
from redpajama.quality.measures import catalogue, inline
from redpajama.report.builds import open_build

BINS = 72
NEIGHBOURS = 10  # documents shown on each side of a threshold
TEXT_CHARS = 300
SLIVER = 0.25  # of a bin's width: nearer to a threshold no cut is made
SKEWED = 20  # a maximum so many medians away asks for a logarithmic axis
STAGES = ("documents", "signals", "scores")  # whose parts hold columns q_..., a row for each document, in their order

Place = tuple[int, int]  # a document: its part and its row there


class Column(NamedTuple):
    """A signal of one source; arrays of one length, in the order of parts and rows."""

    values: np.ndarray  # float64, NaN where nothing was measured
    weights: np.ndarray  # int64: tokens, or bytes


class Axis(NamedTuple):
    """Cuts of a signal, ascending: a document with value v lies in bin i if cuts[i] <= v < cuts[i + 1]."""

    cuts: np.ndarray  # float64; the last is above every value
    is_log: bool
    is_whole: bool  # all values are whole numbers

    def cut_of(self, bound: str, threshold: float) -> float:
        """The place that parts what a threshold keeps from what it does not; a maximum keeps itself."""
        return _cut_of(bound, threshold, self.is_whole)


def _cut_of(bound: str, threshold: float, is_whole: bool) -> float:
    if bound == "min":
        return float(np.ceil(threshold)) if is_whole else threshold
    return float(np.floor(threshold)) + 1 if is_whole else float(np.nextafter(threshold, np.inf))


# ---- columns


class Columns:
    """The signal columns of one source in a build, one at a time."""

    def __init__(self, build: Build, source: Source) -> None:
        self.build, self.source = build, source
        self.documents = build.parts("documents", source.name)
        self.rows = [part.counts["kept"] for part in self.documents]
        self._files = self._find()
        self.unit, self.weights = self._weigh()

    def _find(self) -> dict[str, list[File]]:
        """{column: the file of each documents part that has it}; only numbers."""
        found: dict[str, list[File]] = {}
        for stage in STAGES:
            if self.source.name in self.build.records.get(stage, {}):
                files = [record.file(".parquet") for record in self._beside(stage)]
                for name in _numeric(self.build.store, files[0]) if files else []:
                    found[name] = files
        return found

    def _beside(self, stage: str) -> list[PartRecord]:
        """The parts of a stage in the order of the documents parts that they measure."""
        if stage == "documents":
            return self.documents
        return [given(self.build.made_for(stage, part)) for part in self.documents]

    def _weigh(self) -> tuple[str, np.ndarray]:
        """What a document weighs: its tokens where all are counted, else its bytes."""
        if self.source.name in self.build.records.get("counts", {}):
            files = [record.file(".parquet") for record in self._beside("counts")]
            return "tokens", self._read(files, "n_tokens").astype(np.int64)
        return "bytes", self._read(self._files["q_bytes"], "q_bytes").astype(np.int64)

    def _read(self, files: list[File], name: str) -> np.ndarray:
        tables = [read_table(self.build.store, file, [name]).column(name) for file in files]
        numbers = [pc.fill_null(pc.cast(column, pa.float64()), np.nan).to_numpy() for column in tables]
        return np.concatenate([np.zeros(0), *numbers])

    @property
    def names(self) -> list[str]:
        return list(self._files)

    def read(self, name: str) -> Column:
        return Column(self._read(self._files[name], name), self.weights)

    def place(self, row: int) -> Place:
        """Where a row of a column stands."""
        ends = np.cumsum(self.rows)
        part = int(np.searchsorted(ends, row, side="right"))
        return part, row - int(ends[part] - self.rows[part])

    def texts(self, wanted: Iterable[int]) -> dict[int, dict[str, str]]:
        """{row: id and beginning of the text}; only row groups that hold a wanted row are read."""
        by_part: dict[int, dict[int, int]] = {}
        for row in wanted:
            part, inside = self.place(row)
            by_part.setdefault(part, {})[inside] = row
        found = {}
        for part, rows in by_part.items():
            for inside, doc_id, text in _beginnings(self.build.store, self.documents[part], sorted(rows)):
                found[rows[inside]] = {"id": doc_id, "text": text}
        return found


def _beginnings(store: Store, part: PartRecord, rows: list[int]) -> Iterator[tuple[int, str, str]]:
    """(row, id, beginning of the text) of some rows of a documents part."""
    with open_table(store, part.file(".parquet")) as file:
        parquet, first = open_parquet(file), 0
        for group in range(parquet.num_row_groups):
            end = first + parquet.metadata.row_group(group).num_rows
            if own := [row for row in rows if first <= row < end]:
                table = parquet.read_row_group(group, columns=["doc_id", "text"], use_threads=False)
                few = table.take(pa.array([row - first for row in own], pa.int64()))
                starts = pc.utf8_slice_codeunits(few.column("text"), 0, TEXT_CHARS).to_pylist()
                yield from zip(own, few.column("doc_id").to_pylist(), starts, strict=True)
            first = end


def _numeric(store: Store, file: File) -> list[str]:
    with open_table(store, file) as opened:
        schema = pq.read_schema(opened)
    return [field.name for field in schema if field.name.startswith(inline.PREFIX) and _is_number(field.type)]


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def thresholds(source: Source) -> dict[str, dict[str, float]]:
    """{column: {"min" or "max": threshold}} of the manifest. A perplexity has one a language: it shows none."""
    found: dict[str, dict[str, float]] = {}
    for rule in rules.parse(source.quality):
        found.setdefault(rule.column, {})[rule.bound] = rule.threshold
    if source.language:
        found[scores.LANGUAGE_SCORE] = {"min": source.language.min_score}
    if source.classifier and source.classifier.keep != "pareto":
        found[scores.probability_column(source.classifier.name)] = {"min": source.classifier.keep}
    return found


# ---- axes and counts


def axis(values: np.ndarray, bounds: Iterable[dict[str, float]]) -> Axis:
    """Cuts for a signal's values (without NaN) in all sources, among them one for every threshold on it."""
    is_whole = bool(np.all(values == np.floor(values)))
    exact = {_cut_of(*item, is_whole) for bound in bounds for item in bound.items()}
    if not len(values):
        return Axis(np.array(sorted({0.0, 1.0, *exact})), False, is_whole)
    low, high = float(values.min()), float(values.max())
    above = high + 1 if is_whole else float(np.nextafter(high, np.inf))
    is_log = low >= 0 and high > SKEWED * max(float(np.median(values)), 1e-9)
    inner = _log_cuts(values, high) if is_log else np.linspace(low, high, BINS + 1)
    inner = np.unique(np.round(inner) if is_whole else _six_digits(inner))
    inside = inner[(inner > low) & (inner < (above if is_whole else high))]
    if exact:  # no sliver of a bin beside a threshold
        marks = np.array(sorted(exact))
        gaps = np.abs(_scale(inside, inner, is_log)[:, None] - _scale(marks, inner, is_log)).min(axis=1)
        ends = _scale(np.array([low, high]), inner, is_log)
        inside = inside[gaps > SLIVER * (ends[1] - ends[0]) / BINS]
    return Axis(np.unique([low, *inside, above, *exact]), is_log, is_whole)


def _log_cuts(values: np.ndarray, high: float) -> np.ndarray:
    positive = values[values > 0]
    return np.geomspace(float(positive.min()), high, BINS + 1)


def _scale(places: np.ndarray, cuts: np.ndarray, is_log: bool) -> np.ndarray:
    """Places as the axis shows them; a logarithmic one shows 0 beside the least cut above it."""
    if not is_log:
        return places
    least = min((float(cut) for cut in cuts if cut > 0), default=1.0)
    return np.log(np.maximum(places, least / 2))


def _six_digits(numbers: np.ndarray) -> np.ndarray:
    return np.array([float(f"{number:.6g}") for number in numbers])


def counts(column: Column, cuts: np.ndarray) -> dict[str, list[int]]:
    """Documents and weight in each bin, and of those that were not measured: no rule removes them."""
    is_there = ~np.isnan(column.values)
    bins = np.searchsorted(cuts, column.values[is_there], side="right") - 1
    weights = np.zeros(len(cuts) - 1, np.int64)
    np.add.at(weights, bins, column.weights[is_there])
    return {
        "documents": np.bincount(bins, minlength=len(cuts) - 1).tolist(),
        "weights": weights.tolist(),
        "missing": [int((~is_there).sum()), int(column.weights[~is_there].sum())],
    }


def neighbours(values: np.ndarray, bound: str, threshold: float) -> tuple[list[int], list[int]]:
    """Rows just below and just above a threshold, nearest first; of equal values those that come first."""
    is_above = values >= threshold if bound == "min" else values > threshold
    is_below = values < threshold if bound == "min" else values <= threshold
    return _nearest(values, np.flatnonzero(is_below), -1), _nearest(values, np.flatnonzero(is_above), 1)


def _nearest(values: np.ndarray, rows: np.ndarray, sign: int) -> list[int]:
    distances = sign * values[rows]
    if len(rows) > NEIGHBOURS:
        near = distances <= np.partition(distances, NEIGHBOURS - 1)[NEIGHBOURS - 1]
        rows, distances = rows[near], distances[near]
    return rows[np.lexsort((rows, distances))[:NEIGHBOURS]].tolist()


# ---- the page's data


def explore(store: Store, record: dict[str, Any]) -> dict[str, Any]:
    """A build record -> all that the page shows, ready for JSON."""
    build = open_build(store, record)
    sources = [Columns(build, source) for source in build.manifest.source]
    names = list(dict.fromkeys(name for columns in sources for name in columns.names))
    wanted: dict[str, set[int]] = {columns.source.name: set() for columns in sources}
    shown = [_signal(name, [columns for columns in sources if name in columns.names], wanted) for name in names]
    return {
        "build": build.manifest.name,
        "corpus": record["corpus"],
        "sources": {columns.source.name: _totals(columns) for columns in sources},
        "signals": shown,
        "texts": {columns.source.name: columns.texts(sorted(wanted[columns.source.name])) for columns in sources},
    }


def _totals(columns: Columns) -> dict[str, Any]:
    total = {"documents": len(columns.weights), "weight": int(columns.weights.sum())}
    return {"pipeline": columns.source.pipeline, "unit": columns.unit, **total}


def _signal(name: str, sources: list[Columns], wanted: dict[str, set[int]]) -> dict[str, Any]:
    """One signal in all sources that have it; adds the rows whose texts are shown to `wanted`."""
    bounds = {columns.source.name: thresholds(columns.source).get(name, {}) for columns in sources}
    values = np.concatenate([columns.read(name).values for columns in sources])
    values = values[~np.isnan(values)]
    line = axis(values, bounds.values())
    found = {}
    for columns in sources:
        column, bound = columns.read(name), bounds[columns.source.name]
        near = [_example(column.values, *pair) for pair in _looked_at(column.values, bound)]
        wanted[columns.source.name] |= {row for each in near for side in ("below", "above") for row, _ in each[side]}
        start = {name: int(np.searchsorted(line.cuts, line.cut_of(name, bound[name]))) for name in bound}
        found[columns.source.name] = {**counts(column, line.cuts), "bounds": bound, "start": start, "near": near}
    key = name.removeprefix(inline.PREFIX)
    labels = _labels(line, np.sort(values), bounds.values())
    cuts = {"cuts": _six_digits(line.cuts).tolist(), "at": _positions(line)}
    return {"key": key, "about": describe(key), "log": line.is_log, **cuts, **labels, "sources": found}


def describe(key: str) -> str:
    """What a signal measures, where the catalogue says it."""
    signal = catalogue.SIGNALS.get(key)
    return f"{signal.definition} ({signal.source})" if signal else ""


def _looked_at(values: np.ndarray, bound: dict[str, float]) -> Iterator[tuple[str, float]]:
    """The thresholds whose neighbours are shown: the manifest's, or where it has none the median."""
    yield from sorted(bound.items(), reverse=True)  # min, max
    measured = values[~np.isnan(values)]
    if not bound and len(measured):
        yield "median", float(np.partition(measured, len(measured) // 2)[len(measured) // 2])


def _example(values: np.ndarray, bound: str, threshold: float) -> dict[str, Any]:
    below, above = neighbours(values, "max" if bound == "max" else "min", threshold)
    sides = {side: [[row, float(values[row])] for row in rows] for side, rows in (("below", below), ("above", above))}
    return {"bound": bound, "threshold": threshold, **sides}


def _labels(line: Axis, ordered: np.ndarray, bounds: Iterable[dict[str, float]]) -> dict[str, list[float]]:
    """What to write for a cut: as a minimum the least value from it on, as a maximum the last value below it; the
    manifest's own number where the cut is one of its thresholds. Each of them keeps exactly what the cut keeps."""
    cuts = line.cuts
    places = np.searchsorted(ordered, cuts, side="left")
    whole = np.concatenate([cuts[:1], ordered, cuts[-1:]])
    low, high = whole[places + 1], whole[places]
    for bound in bounds:
        for name, threshold in bound.items():
            (low if name == "min" else high)[cuts == line.cut_of(name, threshold)] = threshold
    return {"low": low.tolist(), "high": high.tolist()}


def _positions(line: Axis) -> list[float]:
    """Where the cuts stand on the axis, 0 to 1."""
    places = _scale(line.cuts, line.cuts, line.is_log)
    width = places[-1] - places[0]
    return np.round((places - places[0]) / (width or 1), 5).tolist()


def render(data: dict[str, Any]) -> str:
    """The page. Texts are data in it, never markup: `<` is escaped, and the page's script writes them as text."""
    page = files("redpajama.report").joinpath("explore.html").read_text(encoding="utf-8")
    body = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return page.replace(
        "@DATA@", body.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    )
