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

    A text is cut behind white space, where its beginning has some; it is counted as it will be encoded.
    """
    sizes = sizes.copy()
    kept: list[int | None] = [None] * len(sizes)
    for row in np.flatnonzero(sizes > most):
        text = texts[int(row)].as_py()
        sizes[row], kept[row] = beginning(count, text, int(sizes[row]), most)
    return sizes, pa.array(kept, pa.int64())


def beginning(count: Callable[[pa.Array], np.ndarray], text: str, tokens: int, most: int) -> tuple[int, int]:
    """(tokens, bytes) of the longest beginning of at most `most` tokens; inside the first word where that is longer."""
    start = len(text) - len(text.lstrip())
    places = [place for place in range(start + 1, len(text) + 1) if text[place - 1].isspace()]
    found = _longest(count, text, places, len(places) * most // tokens, most)
    if found[1]:
        return found
    places = list(range(start + 1, places[0] if places else len(text) + 1))
    return _longest(count, text, places, len(text) * most // tokens, most)


def _longest(
    count: Callable[[pa.Array], np.ndarray], text: str, places: list[int], guess: int, most: int
) -> tuple[int, int]:
    """(tokens, bytes) of the longest beginning that ends at one of some places: by halves, from a guess on."""
    low, high, best = 0, len(places), (0, 0)
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
    is_cut, texts = pc.is_valid(bounds), batch.column("text")
    pairs = zip(texts.filter(is_cut).to_pylist(), bounds.filter(is_cut).to_pylist(), strict=True)
    heads = pa.array([text.encode()[:end].decode() for text, end in pairs], texts.type)
    place = batch.schema.get_field_index("text")
    return batch.set_column(place, "text", pc.replace_with_mask(texts, is_cut, heads))


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
