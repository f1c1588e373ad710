"""The largest clusters of near-duplicates: who is in them, who went, how like they were, and how their texts begin."""

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.artifacts import Store, UserError
from redpajama.columns import read_batches, read_table
from redpajama.dedup import guard, near
from redpajama.report.why import open_build
from redpajama.stages import Build

EXAMPLES = 3
EXAMPLE_CHARS = 100


@dataclass
class Cluster:
    """Documents that candidates connect. Only pairs that were measured are known to be similar."""

    size: int
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
    if "clusters" not in build.records or "near" not in build.records:
        raise UserError(f"{store.url}: build '{record['manifest']['name']}' has no near-dedup: give [dedup] a `near`")
    clusters = _largest(build, top)
    roots = _add_members(build, clusters)
    _add_removals(build, roots)
    shown = [cluster.to_json(build) for cluster in clusters.values()]
    return sorted(shown, key=lambda cluster: (-cluster["size"], cluster["survivor"]))


def _clustered(build: Build) -> Iterator[pa.RecordBatch]:
    for record in build.parts("clusters"):
        yield from read_batches(build.store, record.file(".parquet"))


def _largest(build: Build, top: int) -> dict[int, Cluster]:
    """{root: cluster without members}: every row says how large its cluster is."""
    best: dict[int, int] = {}
    for batch in _clustered(build):
        best |= dict(zip(batch.column("cluster").to_pylist(), batch.column("size").to_pylist(), strict=True))
        best = dict(heapq.nsmallest(top, best.items(), key=lambda item: (-item[1], item[0])))
    return {root: Cluster(size) for root, size in best.items()}


def _add_members(build: Build, clusters: dict[int, Cluster]) -> dict[str, list[Cluster]]:
    """Fill in the members' ids; {id: its clusters} (versions of one id may stand in several parts)."""
    wanted, found = pa.array(list(clusters), pa.int64()), []
    for batch in _clustered(build):
        found.append(batch.filter(pc.is_in(batch.column("cluster"), value_set=wanted)))
    table = pa.Table.from_batches(found, near.CLUSTERED).sort_by("node")
    nodes, roots = (table.column(name).to_numpy() for name in ("node", "cluster"))
    by_id: dict[str, list[Cluster]] = {}
    for first, signed in near.nodes(build):
        start, end = np.searchsorted(nodes, [first, first + signed.counts["kept"]])
        if end > start:
            ids = read_table(build.store, signed.file(".parquet"), ["doc_id"]).column("doc_id")
            documents = signed.inputs[0].partition("/")[2]
            chosen = ids.take(pa.array(nodes[start:end] - first)).to_pylist()
            for doc_id, root in zip(chosen, roots[start:end].tolist(), strict=True):
                clusters[root].members[doc_id] = documents
                by_id.setdefault(doc_id, []).append(clusters[root])
    return by_id


def _add_removals(build: Build, by_id: dict[str, list[Cluster]]) -> None:
    wanted = pa.array(list(by_id), pa.string())
    for record in build.parts("near"):
        for batch in read_batches(build.store, record.file(".parquet"), ["doc_id", "value", "evidence"]):
            for row in batch.filter(pc.is_in(batch.column("doc_id"), value_set=wanted)).to_pylist():
                other = guard.other_of(row["evidence"])["doc_id"]
                for cluster in by_id[row["doc_id"]]:
                    if other in cluster.members:
                        cluster.removed[row["doc_id"]] = (row["value"], other)
