"""Documents -> rows: one a document; concatenated and cut into rows of a length; or packed by best fit.

Best fit (Ding et al. 2024, arXiv 2404.10830): documents longer than a row are cut into whole rows and a rest; then each
piece, the longest first, goes where it leaves the least room. No document that fits a row is cut, and no token is lost.
"""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np

from redpajama.exports.source import BLOCK_TOKENS, Source

WINDOW_TOKENS = 1 << 26  # packed at once: 128 MiB of uint16


class Block(NamedTuple):
    """Rows: the pieces of documents that they hold, back to back."""

    tokens: np.ndarray
    pieces: np.ndarray  # int64[pieces + 1] in the tokens
    rows: np.ndarray  # int64[rows + 1] in the pieces
    first: int  # number of the first piece's document in its shard, where rows are documents; else -1

    @property
    def bounds(self) -> np.ndarray:
        """int64[rows + 1]: where the rows begin in the tokens."""
        return self.pieces[self.rows]


def rows_of(source: Source, shard: int, method: str, length: int) -> Iterator[Block]:
    """The rows of one shard, in order.

    Concatenated, a row belongs to the shard that it begins in: so only the last of a corpus is short.
    """
    if method == "none":
        return _documents(source, shard)
    return _concatenated(source, shard, length) if method == "concatenate" else _best_fit(source, shard, length)


def _documents(source: Source, shard: int) -> Iterator[Block]:
    for tokens, bounds, first in source.blocks(shard):
        yield Block(tokens, bounds, np.arange(len(bounds)), first)


def _concatenated(source: Source, shard: int, length: int) -> Iterator[Block]:
    start, end = (-(-int(place) // length) * length for place in source.starts[shard : shard + 2])
    step = max(1, BLOCK_TOKENS // length) * length
    for low in range(start, end, step):
        high = min(low + step, end, source.tokens)
        cuts = np.arange(low, high, length)
        pieces = np.union1d(np.concatenate([cuts, [high]]), _starts_between(source, low, high))
        rows = np.searchsorted(pieces, np.concatenate([cuts, [high]]))
        yield Block(source.read(low, high), pieces - low, rows, -1)


def _starts_between(source: Source, low: int, high: int) -> np.ndarray:
    """int64: where documents begin in (low, high) of the stream."""
    found = [np.zeros(0, np.int64)]
    first, last = np.searchsorted(source.starts, [low, high - 1], "right") - 1
    for shard in range(first, last + 1):
        bounds = source.bounds(shard) + source.starts[shard]
        found.append(bounds[np.searchsorted(bounds, low, "right") : np.searchsorted(bounds, high, "left")])
    return np.concatenate(found)


def _best_fit(source: Source, shard: int, length: int) -> Iterator[Block]:
    bounds, offset, first = source.bounds(shard), int(source.starts[shard]), 0
    while first < len(bounds) - 1:
        last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + WINDOW_TOKENS, "right")) - 1)
        own = bounds[first : last + 1]
        yield from _window(source.read(offset + int(own[0]), offset + int(own[-1])), own - own[0], length)
        first = last


def _window(tokens: np.ndarray, bounds: np.ndarray, length: int) -> Iterator[Block]:
    """The rows of some documents."""
    starts, sizes = cut(bounds, length)
    order, rows = packed(sizes, length)
    starts, sizes = starts[order], sizes[order]
    filled = np.add.reduceat(sizes, rows[:-1])
    ends = np.concatenate([[0], np.cumsum(filled)])
    low = 0
    while low < len(filled):
        high = max(low + 1, int(np.searchsorted(ends, ends[low] + BLOCK_TOKENS, "right")) - 1)
        own = slice(rows[low], rows[high])
        pieces = np.concatenate([[0], np.cumsum(sizes[own])])
        spans = zip(starts[own].tolist(), (starts[own] + sizes[own]).tolist(), strict=True)
        gathered = np.concatenate([tokens[start:end] for start, end in spans])
        yield Block(gathered, pieces, rows[low : high + 1] - rows[low], -1)
        low = high


def cut(bounds: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Documents (int64[n + 1]) -> the starts and sizes of their pieces of at most `length`, in order."""
    sizes = np.diff(bounds)
    counts = -(-sizes // length)
    firsts = np.cumsum(counts) - counts
    inside = np.arange(counts.sum()) - np.repeat(firsts, counts)
    starts = np.repeat(bounds[:-1], counts) + inside * length
    return starts, np.minimum(np.repeat(bounds[1:], counts) - starts, length)


def packed(sizes: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of 1 to `length` tokens -> their numbers row by row (int64[n]), and where each row begins among these.

    Best fit decreasing; pieces of a size are laid in one step. Rows stand in the order of the piece that opened them,
    as documents are shuffled; inside a row pieces stand in their own order.
    """
    longest_first = np.argsort(-sizes, kind="stable")
    placed = np.empty(len(sizes), np.int64)
    room = _Room(length)
    values, counts = np.unique(sizes, return_counts=True)
    laid = [room.lay(*each) for each in zip(values[::-1].tolist(), counts[::-1].tolist(), strict=True)]
    placed[longest_first] = np.concatenate([longest_first[:0], *chain.from_iterable(laid)])
    opener = np.full(room.rows, len(sizes), np.int64)
    opened = longest_first[::-1]
    opener[placed[opened]] = opened  # the first that was laid is written last
    rank = np.empty(room.rows, np.int64)
    rank[np.argsort(opener)] = np.arange(room.rows)
    row = rank[placed]
    order = np.argsort(row, kind="stable")
    return order, np.concatenate([[0], np.cumsum(np.bincount(row, minlength=room.rows))])


class _Room:
    """Rows by the room that is left in them."""

    def __init__(self, length: int) -> None:
        self.length, self.rows = length, 0
        self._with: dict[int, np.ndarray] = {}  # room -> rows
        self._mask = 0  # bit r: there are rows with room r

    def lay(self, size: int, count: int) -> list[np.ndarray]:
        """The rows of `count` pieces of one size, in parts: always the fullest that has room, else a new one."""
        found = []
        while count and (fitting := self._mask >> size):
            room = size + (fitting & -fitting).bit_length() - 1
            rows = self._with[room]
            each = room // size  # a row that took one piece stays the fullest that has room
            used = rows[: -(-count // each)]
            self._keep(room, rows[len(used) :])
            found.append(self._fill(used, room, size, count))
            count -= len(found[-1])
        if count:
            used = np.arange(self.rows, self.rows + -(-count // (self.length // size)))
            self.rows += len(used)
            found.append(self._fill(used, self.length, size, count))
        return found

    def _fill(self, rows: np.ndarray, room: int, size: int, count: int) -> np.ndarray:
        """Lay up to `count` pieces into rows of one room, as many as go into each."""
        each = room // size
        laid = rows.repeat(each)[:count]
        whole = len(laid) // each
        self._add(room - each * size, rows[:whole])
        if rest := len(laid) - whole * each:
            self._add(room - rest * size, rows[whole : whole + 1])
        return laid

    def _add(self, room: int, rows: np.ndarray) -> None:
        if room and len(rows):
            held = self._with.get(room, rows[:0])
            self._keep(room, np.concatenate([held, rows]) if len(held) else rows)

    def _keep(self, room: int, rows: np.ndarray) -> None:
        self._with[room] = rows
        self._mask = self._mask | (1 << room) if len(rows) else self._mask & ~(1 << room)


def padded(block: Block, length: int, pad: int) -> np.ndarray:
    """The rows, each `length` tokens long: [rows, length]."""
    bounds, rows = block.bounds, len(block.rows) - 1
    lacking = length - np.diff(bounds)
    filler, found, start = np.full(length, pad, block.tokens.dtype), [], 0
    for row in np.flatnonzero(lacking).tolist():
        end = int(bounds[row + 1])
        found += [block.tokens[start:end], filler[: lacking[row]]]
        start = end
    whole = np.concatenate([*found, block.tokens[start:]]) if found else block.tokens
    return whole.reshape(rows, length)
