"""An index of the mixture's texts, made when it is first asked for: `ROOT/index/text/<part>`, outside every hash.

Winnowing (Schleimer, Wilkerson and Aiken 2003): of each window of 32 runs of 16 bytes the smallest hash is kept with
its row. Whatever holds a text of 47 bytes holds the hash of each of its windows, so one look-up finds all rows that may
hold it; the text itself decides. Eight bytes an entry, about half as large as the text; a file a part of the mixture.
"""

from collections.abc import Iterator

import numpy as np

from redpajama.arrow import buffers
from redpajama.engine.parts import File
from redpajama.engine.store import Store
from redpajama.engine.tables import read_batches

GRAM, WINDOW = 16, 32
SHORTEST = GRAM + WINDOW - 1  # bytes of a text that can be looked up
STEP = 4 << 20  # bytes hashed at once
HALF, LOWER = np.uint64(32), np.uint64(0xFFFFFFFF)
MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))


def rows_with(store: Store, content: str, file: File, text: str) -> list[int]:
    """Rows of a part of the mixture that may hold a text of at least SHORTEST bytes."""
    packed, least = _index(store, content, file), smallest(np.frombuffer(text.encode(), np.uint8))
    lows = np.unique(least) << HALF
    spans = np.searchsorted(packed, lows), np.searchsorted(packed, lows | LOWER, "right")
    rarest = int(np.argmin(spans[1] - spans[0]))
    return np.unique(packed[spans[0][rarest] : spans[1][rarest]] & LOWER).tolist()


def smallest(data: np.ndarray) -> np.ndarray:
    """uint8[n] -> uint64[n - 46]: the smallest 32-bit hash of a run in each window."""
    if len(data) < SHORTEST:
        return np.zeros(0, np.uint64)
    words = np.ndarray(len(data) - 7, "<u8", np.ascontiguousarray(data), strides=(1,))
    hashes = (words[:-8] * MIX[0]) ^ (words[8:] * MIX[1])
    hashes ^= hashes >> np.uint64(29)
    least = ((hashes * MIX[2]) >> np.uint64(32)).astype(np.uint32)
    width = 1
    while width < WINDOW:
        least = np.minimum(least[:-width], least[width:])
        width *= 2
    return least.astype(np.uint64)


def _index(store: Store, content: str, file: File) -> np.ndarray:
    """`_packed` of a part, from the store where it is."""
    key = f"index/text/{content}"
    if not store.exists(key):
        packed = _packed(store, file)
        store.write(key, packed.tobytes())
        return packed
    if store.local and store.size(key):
        return np.memmap(store.path(key), np.uint64, "r")
    return np.frombuffer(store.read(key), np.uint64)


def _packed(store: Store, file: File) -> np.ndarray:
    """uint64[n], sorted: a hash in the upper half, its row in the lower."""
    found, row = [np.zeros(0, np.uint64)], 0
    for batch in read_batches(store, file, ["text"]):
        data, bounds = buffers(batch.column("text"))
        found += _entries(data, bounds, row)
        row += batch.num_rows
    return np.unique(np.concatenate(found))


def _entries(data: np.ndarray, bounds: np.ndarray, first: int) -> Iterator[np.ndarray]:
    """Of the texts in a buffer; windows over the end of one stand under it too, and are seen to be nothing."""
    for start in range(int(bounds[0]), int(bounds[-1]), STEP):
        least = smallest(data[start : min(start + STEP + SHORTEST - 1, int(bounds[-1]))])
        rows = np.searchsorted(bounds, np.arange(start, start + len(least)), "right") - 1 + first
        entries = (least << HALF) | rows.astype(np.uint64)
        yield entries[np.flatnonzero(np.diff(entries, prepend=entries[:1] + np.uint64(1)))]
