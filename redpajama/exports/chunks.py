"""Rows of one length, gathered in files of so many rows."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from redpajama.exports.declared import Export
from redpajama.exports.packing import padded


def chunks_of(export: Export, unit: int, most: int, counts: dict[str, int]) -> Iterator[list[np.ndarray]]:
    """[rows, length] in parts, `most` rows together, the last with the rest; adds to tokens, rows and padding."""
    held: list[np.ndarray] = []
    for block in export.rows(unit):
        rows = padded(block, export.length, export.source.vocabulary.pad_id)
        counts["tokens"] += len(block.tokens)
        counts["rows"] += len(rows)
        counts["padding"] += rows.size - len(block.tokens)
        while (missing := most - rows_in(held)) <= len(rows):
            yield [*held, rows[:missing]]
            held, rows = [], rows[missing:]
        held.append(rows)
    if rows_in(held):
        yield held


def rows_in(chunk: list[np.ndarray]) -> int:
    return sum(map(len, chunk))


def write_chunk(path: Path, head: bytes, chunk: list[np.ndarray]) -> int:
    """One file: what stands before the rows, and these; how many bytes that are."""
    with path.open("wb") as file:
        return file.write(head) + sum(file.write(rows.data) for rows in chunk)
