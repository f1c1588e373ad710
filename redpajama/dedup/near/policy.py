"""Which texts are compared, and which of two similar ones stays.

*Compared* are two documents of one kind of text (prose, code, tables) whose sources the manifest lets meet: with
`only_between`, those that stand at two places of one of its lists. So `[["a", "b"]]` compares documents of a with
documents of b, and none inside a or b; `["a", "a"]` compares inside a.

*Stays*: with `mode = "containment"` the document that contains the other, whatever follows here, unless
`containment = "order"` asks for that; the document whose source stands earlier in `[dedup] order`; inside one source
what `prefer` says, one after the other; then the smaller id. `longest` counts the text's bytes. `newest` goes by the
time that the source's records state, see `known_time`; a document that states none is older than any that does.
`signal:<name>` keeps the larger value, `signal:-<name>` the smaller one; no value is worse than any.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from redpajama.dedup.near.minhash import MinHashParams
from redpajama.manifest import Manifest, suggestion

TIME_FIELDS = ("timestamp", "date_download")  # of meta, the first that says something
SIGN = np.uint64(1 << 63)


def comparable(manifest: Manifest, params: MinHashParams) -> np.ndarray:
    """bool[n, n] over the sources in `[dedup] order`: whether their documents are compared."""
    kinds = np.array([manifest.source_named(name).kind for name in manifest.dedup_order])
    allowed = np.full((len(kinds), len(kinds)), not params.only_between)
    ranks = {name: rank for rank, name in enumerate(manifest.dedup_order)}
    for group in params.only_between:
        places = [ranks[name] for name in group]
        for at, one in enumerate(places):
            for other in places[at + 1 :]:
                allowed[one, other] = allowed[other, one] = True
    return allowed & (kinds[:, None] == kinds)


def pairs(manifest: Manifest, params: MinHashParams) -> list[list[str]]:
    """The same in names, [one, other] sorted, in no order of sources."""
    names, allowed = manifest.dedup_order, comparable(manifest, params)
    return sorted(sorted([names[one], names[other]]) for one, other in np.argwhere(np.triu(allowed)))


def check(manifest: Manifest, params: MinHashParams, signals: Sequence[str]) -> None:
    """What the table alone does not know: the names of sources and signals.

    Raises:
        ValueError: one line that names the key.
    """
    names = [source.name for source in manifest.source]
    for name in (name for group in params.only_between for name in group):
        if name not in names:
            raise ValueError(f"only_between: no source is named '{name}'{suggestion(name, names)}")
    if params.only_between and not comparable(manifest, params).any():
        raise ValueError("only_between: nothing would be compared: sources of different kinds never are")
    for word in signal_names(params):
        if word not in signals:
            raise ValueError(f"prefer: no signal is called '{word}'{suggestion(word, list(signals))}")


def signal_names(params: MinHashParams) -> list[str]:
    """The signals that `prefer` names."""
    return [word.partition(":")[2].removeprefix("-") for word in params.prefer if word.startswith("signal:")]


def columns(params: MinHashParams) -> list[str]:
    """The columns of a documents part that `prefer` looks at, but for the number of bytes."""
    return [*(["meta"] if "newest" in params.prefer else []), *(f"q_{name}" for name in signal_names(params))]


def preferences(params: MinHashParams, sizes: np.ndarray, documents: pa.Table | None) -> pa.Array:
    """A binary key for each document: the smaller one stays. `documents` has the `columns`, `sizes` are bytes."""
    keys = [_preference(word, sizes, documents) for word in params.prefer]
    return packed(keys) if keys else pa.array([b""] * len(sizes), pa.binary())


def packed(keys: list[np.ndarray]) -> pa.Array:
    """uint64[n] keys, the first counts most -> binary keys of that order."""
    data = pa.py_buffer(np.stack(keys, axis=1).astype(">u8").tobytes())
    fixed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(8 * len(keys)), len(keys[0]), [None, data])
    return fixed.cast(pa.binary())


def _preference(word: str, sizes: np.ndarray, documents: pa.Table | None) -> np.ndarray:
    """uint64[n]: the smaller is preferred."""
    if word == "longest":
        return descending(sizes.astype(np.float64))
    if documents is None:
        raise LookupError(f"'{word}' is told by columns, and none were read")
    if word == "newest":
        times = [known_time(orjson.loads(meta)) for meta in documents.column("meta").to_pylist()]
        return descending(np.array([np.nan if time is None else time for time in times], np.float64))
    name = word.removeprefix("signal:")
    values = documents.column(f"q_{name.removeprefix('-')}").to_numpy().astype(np.float64)
    return descending(-values if name.startswith("-") else values)


def descending(values: np.ndarray) -> np.ndarray:
    """float64 -> uint64 in the opposite order; NaN comes last. (The bits of a float sort as it does, but for signs.)"""
    bits = (values + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    ascending = np.where(bits & SIGN, ~bits, bits | SIGN)
    return np.where(np.isnan(values), np.uint64(0xFFFFFFFFFFFFFFFF), ~ascending)


def known_time(meta: dict[str, Any]) -> float | None:
    """When this text was fetched or last changed, as its source states it: seconds since 1970 (UTC), or None.

    C4 `timestamp` and CommonCrawl `date_download`: the crawl. Wikipedia `timestamp`: the dump, or the day of the edit.
    StackExchange `timestamp`: the question. arXiv `timestamp`: the last change of a file, else `yymm`, the first day of
    the month of its number. GitHub, The Stack, books and the Pile state none. Times are compared inside one source.
    """
    for field in TIME_FIELDS:
        try:
            time = datetime.fromisoformat(str(meta.get(field) or ""))
        except ValueError:
            continue
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    yymm = str(meta.get("yymm") or "")
    if len(yymm) != 4 or not yymm.isascii() or not yymm.isdecimal() or not 1 <= int(yymm[2:]) <= 12:
        return None
    year = int(yymm[:2])
    return datetime(1900 + year if year >= 91 else 2000 + year, int(yymm[2:]), 1, tzinfo=UTC).timestamp()
