"""Rows of one length, gathered in arrays of so many rows."""

from collections.abc import Iterator

import numpy as np

from redpajama.exports.declared import Export
from redpajama.exports.packing import padded


def chunks_of(export: Export, unit: int, most: int, counts: dict[str, int]) -> Iterator[np.ndarray]:
    """[rows, length] with `most` rows each, the last with the rest; adds to tokens, rows and padding."""
    held: list[np.ndarray] = []
    for block in export.rows(unit):
        rows = padded(block, export.length, export.source.vocabulary.pad_id)
        counts["tokens"] += len(block.tokens)
        counts["rows"] += len(rows)
        counts["padding"] += rows.size - len(block.tokens)
        held.append(rows)
        while sum(map(len, held)) >= most:
            whole = held[0] if len(held) == 1 else np.concatenate(held)
            yield np.ascontiguousarray(whole[:most])
            held = [whole[most:]]
    if any(map(len, held)):
        yield np.concatenate(held)
