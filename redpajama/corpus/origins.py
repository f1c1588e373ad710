"""Which raw file a document is from.

The rows of a documents part stand in the order of its files; where these are several, the part's record says of each
how many rows are its (`rows`). Records of older versions do not.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, repeat
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from redpajama.engine.parts import PartRecord
from redpajama.engine.store import Store
from redpajama.engine.tables import read_table

Input = dict[str, Any]  # of a part: url, bytes, sha256; of a range start and end; rows


class Origins:
    """The raw file of each row of a part, while they are written."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._inputs = inputs
        self._numbers = {file["url"]: number for number, file in enumerate(inputs)}
        self._of_rows = array("I")

    def add(self, url: str) -> None:
        """One row."""
        self._of_rows.append(self._numbers[url])

    def counts(self, gone: Sequence[int] = ()) -> list[int]:
        """How many rows are of each file, without those that are gone."""
        rows = np.frombuffer(self._of_rows, np.uintc)
        return np.bincount(np.delete(rows, np.array(gone, np.int64)), minlength=len(self._inputs)).tolist()

    def inputs(self, gone: Sequence[int] = ()) -> list[Input]:
        """The files as the part's record has them."""
        if len(self._inputs) == 1:
            return list(self._inputs)
        return [{**file, "rows": rows} for file, rows in zip(self._inputs, self.counts(gone), strict=True)]


def urls(inputs: Sequence[Input]) -> Iterator[str]:
    """The raw file of each row of a part, in order."""
    if len(inputs) == 1:
        return repeat(inputs[0]["url"])
    return chain.from_iterable(repeat(file["url"], file["rows"]) for file in inputs)


class Origin(NamedTuple):
    """Where a document is from, as far as that is on record."""

    inputs: list[str]  # the file, or those that its part was made of
    row: int | None  # its number among the documents of that file, or of that range of it; from 0


def row_of(store: Store, part: PartRecord, doc_id: str) -> int:
    """The number of a document's row in its part, from 0."""
    return pc.index(read_table(store, part.file(".parquet"), ["doc_id"]).column("doc_id"), doc_id).as_py()


def origin(part: PartRecord, row: int) -> Origin:
    """Of a row of a documents part."""
    files = part.inputs
    if len(files) > 1 and "rows" not in files[0]:
        return Origin(list(map(place, files)), None)
    starts = [0, *accumulate(file.get("rows", 0) for file in files[:-1])]
    number = bisect_right(starts, row) - 1
    return Origin([place(files[number])], row - starts[number])


def place(file: Input) -> str:
    """A file that a part read, with the range if it read only that."""
    return f"{file['url']} bytes {file['start']}-{file['end']}" if "end" in file else file["url"]
