"""The largest clusters of near-duplicates: who is in them, who went, how like they were, and how their texts begin."""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import verdicts
from redpajama.corpus.stages import DOCUMENTS
from redpajama.dedup import guard
from redpajama.dedup.near import clusters, near
from redpajama.dedup.near.nodes import nodes_of
from redpajama.engine import homes
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import Build
from redpajama.engine.store import Store
from redpajama.engine.tables import read_table
from redpajama.errors import UserError
from redpajama.report.builds import open_build

EXAMPLES = 3
EXAMPLE_CHARS = 100


@dataclass
class Cluster:
    """Documents that candidates connect. Only pairs that were measured are known to be similar."""

    size: int
    unchecked: int = 0  # survivors that were not compared with all that they may be like
    members: dict[str, str] = field(default_factory=dict)  # id -> documents part
    removed: dict[str, tuple[float, str]] = field(default_factory=dict)  # id -> (similarity, survivor or other one)

    def to_json(self, build: Build) -> dict[str, Any]:
        """What is shown of it."""
        named = Counter(other for _, other in self.removed.values())
        kept = sorted(self.members.keys() - self.removed.keys())
        first = min(named, key=lambda doc_id: (-named[doc_id], doc_id)) if named else kept[0]
        similarities = sorted(value for value, _ in self.removed.values())
        return {
            "survivor": first,  # the one for which most went, or that is named most; without removals the smallest id
            "size": self.size,
            "kept": len(kept),
            "removed": len(self.removed),
            "unchecked": self.unchecked,
            "sources": dict(sorted(Counter(doc_id.partition("/")[0] for doc_id in self.members).items())),
            "similarity": [similarities[0], similarities[-1]] if similarities else None,
            "examples": [self._example(build, doc_id) for doc_id in self._examples(first)],
        }

    def _examples(self, first: str) -> list[str]:
        """The survivor and those that are least like theirs: the doubtful cases."""
        least = heapq.nsmallest(EXAMPLES, self.removed.items(), key=lambda item: (item[1], item[0]))
        others = [doc_id for doc_id, _ in least] + sorted(self.members.keys() - self.removed.keys())
        return [first, *(doc_id for doc_id in others if doc_id != first)][:EXAMPLES]

    def _example(self, build: Build, doc_id: str) -> dict[str, Any]:
        similarity, _ = self.removed.get(doc_id, (None, ""))
        text = guard.first_words(build, doc_id, self.members[doc_id], EXAMPLE_CHARS)
        fate = "removed" if doc_id in self.removed else "kept"
        return {"doc_id": doc_id, "fate": fate, "similarity": similarity, "text": text}


def largest_clusters(store: Store, record: dict[str, Any], top: int) -> list[dict[str, Any]]:
    """The `top` largest clusters of a build, the largest first.

    Raises:
        UserError: it has no near-dedup; one line.
    """
    build = open_build(store, record)
    if clusters.NAME not in build.records or near.STAGE.name not in build.records:
        raise UserError(f"{store.url}: build '{record['manifest']['name']}' has no near-dedup: give [dedup] a `near`")
    found = _largest(build, top)
    _add_removals(build, _add_members(build, found))
    shown = [cluster.to_json(build) for cluster in found.values()]
    return sorted(shown, key=lambda cluster: (-cluster["size"], cluster["survivor"]))


def _largest(build: Build, top: int) -> dict[int, Cluster]:
    """{root: cluster without members}: every row says how large its cluster is."""
    best: dict[int, int] = {}
    for table in homes.all_rows(build, clusters.NAME, clusters.HOME):
        best |= dict(zip(table.column("cluster").to_pylist(), table.column("size").to_pylist(), strict=True))
        best = dict(heapq.nsmallest(top, best.items(), key=lambda item: (-item[1], item[0])))
    known = {root: count for part in build.parts(near.STAGE.name) for root, count in _unchecked(part).items()}
    return {root: Cluster(size, known.get(str(root), 0)) for root, size in best.items()}


def _unchecked(part: PartRecord) -> dict[str, int]:
    """{root: survivors left open} of the worst clusters of a part."""
    return part.counts["unchecked_in"]


def _add_members(build: Build, found: dict[int, Cluster]) -> dict[str, list[Cluster]]:
    """Fill in the members' ids; {id: its clusters} (versions of one id may stand in several parts)."""
    wanted, nodes = pa.array(list(found), pa.int64()), nodes_of(build)
    by_id: dict[str, list[Cluster]] = {}
    for documents in build.parts(DOCUMENTS):
        members = homes.read(build, clusters.NAME, documents, clusters.HOME)
        own = members.filter(pc.is_in(members.column("cluster"), value_set=wanted))
        if own.num_rows:
            ids = read_table(build.store, documents.file(".parquet"), ["doc_id"]).column("doc_id")
            places = own.column("node").to_numpy() - nodes.bounds(documents)[0]
            chosen = ids.take(pa.array(places)).to_pylist()
            for doc_id, root in zip(chosen, own.column("cluster").to_pylist(), strict=True):
                found[root].members[doc_id] = documents.id
                by_id.setdefault(doc_id, []).append(found[root])
    return by_id


def _add_removals(build: Build, by_id: dict[str, list[Cluster]]) -> None:
    wanted = pa.array(list(by_id), pa.string())
    for table in verdicts.every(build, near.STAGE.name):
        for row in table.filter(pc.is_in(table.column("doc_id"), value_set=wanted)).to_pylist():
            other = guard.other_of(row["evidence"])["doc_id"]
            for cluster in by_id[row["doc_id"]]:
                if other in cluster.members:
                    cluster.removed[row["doc_id"]] = (row["value"], other)
