"""Which slice a document belongs to: the first of its source whose `where` it meets; of a curve, the bin of its value.

Keys are looked up as scores (`language`, `perplexity`, `bucket`, `<classifier>_prob`), then as signals that the build
has measured, then in the document's meta, where `a.b` is the key b of a table a.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from redpajama.corpus import reader
from redpajama.corpus.stages import SIGNALS, source_of
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import Build
from redpajama.engine.tables import read_table
from redpajama.manifest import given
from redpajama.mixers import shares
from redpajama.mixers.shares import Leaf
from redpajama.quality import scores
from redpajama.quality.measures import inline
from redpajama.quality.measures.catalogue import SIGNALS as SIGNALS_KNOWN
from redpajama.quality.measures.inline import PREFIX
from redpajama.tables import Condition, meets, number_of, value_at

NONE = -1  # no slice takes the document


def leaves_of(build: Build, source: str) -> list[Leaf]:
    """The leaves of a source, by number."""
    return shares.leaves(given(build.manifest.mixture), source)


def looks(leaves: Sequence[Leaf]) -> bool:
    """Whether documents must be looked at to know their leaf."""
    return bool(keys_of(leaves))


def keys_of(leaves: Sequence[Leaf]) -> list[str]:
    """All keys that decide, sorted."""
    named = {key for leaf in leaves for key in leaf.share.where or {}}
    return sorted(named | {leaf.share.curve.by for leaf in leaves if leaf.share.curve})


def unmeasured(leaves: Sequence[Leaf], measured: Sequence[str]) -> dict[str, str]:
    """{key: slice} of what is the name of a signal, and is not measured: it would be taken for a key of the meta."""
    known = {signal.name for signal in SIGNALS_KNOWN.values()}
    named = {key: leaf.share.key for leaf in reversed(leaves) for key in keys_of([leaf])}
    return {key: slice for key, slice in sorted(named.items()) if key in known and key not in measured}


def identity(build: Build, documents: PartRecord) -> list[Any]:
    """What the leaves of a part's documents hang on, beside the documents; nothing where none is looked at."""
    source = source_of(build, documents)
    if not looks(leaves := leaves_of(build, source.name)):
        return []
    asked = [[leaf.name, leaf.share.model_dump(mode="json", include={"where", "curve"})] for leaf in leaves]
    own = [own.content if (own := build.made_for(stage, documents)) else "" for stage in (SIGNALS, scores.STAGE.name)]
    return [asked, own, scores.buckets_asked(source)]


def numbers(build: Build, documents: PartRecord) -> np.ndarray:
    """The number of each document's leaf among those of its source, in the documents' order: int16[n]."""
    leaves = leaves_of(build, documents.name)
    if not looks(leaves):
        return np.zeros(documents.counts["kept"], np.int16)
    return numbers_of(leaves, _values(build, documents, keys_of(leaves)), documents.counts["kept"])


def numbers_of(leaves: Sequence[Leaf], values: dict[str, list[Any]], rows: int) -> np.ndarray:
    """The same from the values of all keys: int16[rows], NONE where no leaf takes a document."""
    found = np.full(rows, NONE, np.int16)
    for number, leaf in enumerate(leaves):
        if leaf.bin in (None, 0):  # the bins of a slice follow each other
            free = (found == NONE) & _meets(leaf.share.where or {}, values, rows)
            found[free] = number
            if leaf.share.curve:
                found[free] += bins_of(values[leaf.share.curve.by], leaf.share.curve.bounds)[free]
    return found


def bins_of(values: Sequence[Any], bounds: Sequence[float]) -> np.ndarray:
    """How many bounds each value has reached: int16[n]; 0 of what is no number."""
    numbers = np.array([number_of(value) for value in values], np.float64)
    return np.searchsorted(np.asarray(bounds), np.nan_to_num(numbers, nan=-np.inf), side="right").astype(np.int16)


def _meets(where: dict[str, Condition], values: dict[str, list[Any]], rows: int) -> np.ndarray:
    met = np.ones(rows, bool)
    for key, condition in where.items():
        met &= np.fromiter((meets(value, condition) for value in values[key]), bool, rows)
    return met


def _values(build: Build, documents: PartRecord, keys: list[str]) -> dict[str, list[Any]]:
    """{key: the value of each document, None where it has none}"""
    scored, measured = scores.of_part(build, documents), reader.beside(build, SIGNALS, documents)
    own = read_table(build.store, documents.file(".parquet"), ["meta", *_inline(keys)])
    found: dict[str, list[Any]] = {}
    for table in filter(None, (own, measured, scored)):
        columns = {key: f"{PREFIX}{key}" for key in keys if f"{PREFIX}{key}" in table.column_names}
        found |= {key: table.column(name).to_pylist() for key, name in columns.items()}
    if in_meta := [key for key in keys if key not in found]:
        found |= in_metas(own.column("meta"), in_meta)
    return found


def _inline(keys: list[str]) -> list[str]:
    return [f"{PREFIX}{key}" for key in keys if key in inline.SIGNALS]


def in_metas(metas: pa.ChunkedArray, keys: Sequence[str]) -> dict[str, list[Any]]:
    """{key: its value in each meta (JSON)}"""
    found: dict[str, list[Any]] = {key: [] for key in keys}
    for meta in metas.to_pylist():
        table = orjson.loads(meta)
        for key, column in found.items():
            column.append(value_at(table, key))
    return found
