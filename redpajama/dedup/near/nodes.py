"""A document's node: its number among all documents, by part and row. Clusters are found over such compact numbers.

Parts stand in the order of what they hold: the contents of the documents tell the numbers, and no part's key does.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from redpajama.corpus.stages import DOCUMENTS
from redpajama.engine import homes
from redpajama.engine.gathered import parts_of
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import Build
from redpajama.engine.store import Store


class Nodes(NamedTuple):
    """Where each documents part begins; by source's name, then by content."""

    starts: np.ndarray  # int64[parts + 1]: its first node, and the number of all documents
    homes: np.ndarray  # int64[parts]
    ranks: np.ndarray  # int64[parts]: of the source in [dedup] order
    places: dict[int, int]  # home -> part

    @property
    def total(self) -> int:
        return int(self.starts[-1])

    def bounds(self, documents: PartRecord) -> tuple[int, int]:
        """The first node of a part, and the one after its last."""
        place = self.places[homes.number_of(documents.content)]
        return int(self.starts[place]), int(self.starts[place + 1])

    def homes_of(self, nodes: np.ndarray) -> np.ndarray:
        """int64[n]: the homes of the parts that nodes stand in."""
        return self.homes[self._parts(nodes)] if len(nodes) else np.zeros(0, np.int64)

    def ranks_of(self, nodes: np.ndarray) -> np.ndarray:
        """int64[n]: the ranks of the sources of nodes."""
        return self.ranks[self._parts(nodes)]

    def _parts(self, nodes: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.starts, nodes, "right") - 1


def nodes_of(build: Build) -> Nodes:
    """The numbering of a build's documents, made once a process."""
    names = build.names(DOCUMENTS)
    return _number(build.store, tuple(sorted(names.items())), tuple(build.manifest.dedup_order))


@lru_cache(maxsize=4)
def _number(store: Store, records: tuple[tuple[str, str], ...], order: tuple[str, ...]) -> Nodes:
    counts, found, ranks = [0], [], []
    for name, key in records:
        for part in sorted(parts_of(store, key), key=lambda part: part.content):
            counts.append(part.counts["kept"])
            found.append(homes.number_of(part.content))
            ranks.append(order.index(name))
    places = {home: place for place, home in enumerate(found)}
    return Nodes(np.cumsum(counts), np.array(found, np.int64), np.array(ranks, np.int64), places)
