"""How long documents are: cut where the mixture wants no longer ones, and counted for the report."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

CUT = "cut_bytes"  # of the text that stays; null: all


def limited(
    count: Callable[[pa.Array], np.ndarray], texts: pa.LargeStringArray, sizes: np.ndarray, most: int
) -> tuple[np.ndarray, pa.Array]:
    """Texts with their tokens (int64[n]) -> tokens and bytes (null: all) of the longest beginnings of `most` tokens.

    A text is cut behind white space, where it has some; its beginning is counted as it will be encoded.
    """
    sizes = sizes.copy()
    kept: list[int | None] = [None] * len(sizes)
    for row in np.flatnonzero(sizes > most):
        text = texts[int(row)].as_py()
        sizes[row], kept[row] = beginning(count, text, int(sizes[row]), most)
    return sizes, pa.array(kept, pa.int64())


def beginning(count: Callable[[pa.Array], np.ndarray], text: str, tokens: int, most: int) -> tuple[int, int]:
    """(tokens, bytes) of the longest beginning found of at most `most` tokens: by halves, from the mean size on."""
    places = [place + 1 for place, character in enumerate(text) if character.isspace()] or list(range(1, len(text) + 1))
    low, high, best = 0, len(places), (0, 0)
    guess = max(1, len(places) * most // tokens)
    while low < high:
        middle = min(max(guess, low), high - 1)
        head = text[: places[middle]]
        found = int(count(pa.array([head], pa.large_string()))[0])
        if found <= most:
            low, best = middle + 1, (found, len(head.encode()))
        else:
            high = middle
        guess = (low + high) // 2
    return best


def cut(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Documents without what is beyond their CUT."""
    if CUT not in batch.schema.names:
        return batch
    bounds, batch = batch.column(CUT), batch.drop_columns(CUT)
    if bounds.null_count == len(bounds):
        return batch
    pairs = zip(batch.column("text").to_pylist(), bounds.to_pylist(), strict=True)
    texts = [text if end is None else text.encode()[:end].decode() for text, end in pairs]
    return batch.set_column(batch.schema.get_field_index("text"), "text", pa.array(texts, pa.large_string()))


def account(rows: pa.Table) -> dict[str, Any]:
    """What the report is made of: {"copy_numbers": {copy: rows}, "lengths": {source: {class: documents}}, "squares"}.

    A class is a power of two: so many tokens, or up to twice as many; first copies alone. Squares are those of lengths:
    they say how far a stretch of the stream strays by chance.
    """
    copies = dict(zip(*(each.to_pylist() for each in pc.value_counts(rows.column("copy")).flatten()), strict=True))
    tokens, sources = rows.column("n_tokens").to_numpy(), rows.column("source").combine_chunks().dictionary_encode()
    first, numbers = rows.column("copy").to_numpy() == 0, sources.indices.to_numpy()
    lengths, squares = {}, {}
    for number, source in enumerate(sources.dictionary.to_pylist()):
        own = numbers == number
        classes = np.bincount(np.frexp(tokens[own & first])[1] - 1)
        lengths[source] = {str(1 << power): int(count) for power, count in enumerate(classes.tolist()) if count}
        squares[source] = int((tokens[own].astype(np.float64) ** 2).sum())
    return {"copy_numbers": _named(copies), "lengths": lengths, "squares": squares}


def _named(counts: dict[int, int]) -> dict[str, int]:
    return {str(number): counts[number] for number in sorted(counts)}


def histogram(copy_numbers: Sequence[int]) -> list[int]:
    """Rows by the number of their copy -> documents that are seen 1, 2, … times."""
    return [more - less for more, less in zip(copy_numbers, [*copy_numbers[1:], 0], strict=True)]
