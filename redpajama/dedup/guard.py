"""Who lost how much to whom, and the guard that stops a build in which a source would lose too much."""

import json
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus.evidence import sources_of
from redpajama.corpus.stages import DOCUMENTS
from redpajama.corpus.verdicts import HOME
from redpajama.engine import homes
from redpajama.engine.gathered import StageRecord, read_parts
from redpajama.engine.stages import Build
from redpajama.engine.tables import read_table
from redpajama.errors import BuildFailed
from redpajama.manifest import given

MAX_NAMED_CLUSTERS = 20
MAX_NAMED_CHARS = 40  # of a survivor's text


def matrix(lost: pa.Table, others: pa.Table) -> dict[str, dict[str, int]]:
    """Of rows with `doc_id` (of the losers also `bytes`), pair by pair: documents and bytes of text that go.

    {"removed": {"loser's source < other's source": documents}, "removed_bytes": the same with bytes}.
    """
    columns = [*(sources_of(table.column("doc_id")) for table in (lost, others)), lost.column("bytes")]
    pairs = pa.table(columns, ["loser", "other", "bytes"]).group_by(["loser", "other"])
    rows = pairs.aggregate([([], "count_all"), ("bytes", "sum")]).to_pylist()
    found = sorted((f"{row['loser']} < {row['other']}", row) for row in rows)
    return {
        "removed": {pair: row["count_all"] for pair, row in found},
        "removed_bytes": {pair: row["bytes_sum"] for pair, row in found},
    }


def other_of(evidence: str) -> dict[str, str]:
    """{"doc_id", "part"} of the document that the evidence of a duplicate names: its survivor, or the other one."""
    found = json.loads(evidence)
    role = "survivor" if "survivor" in found else "other"
    return {"doc_id": found[role], "part": found[f"{role}_part"]}


def check_wipe_out(build: Build, name: str, record: StageRecord) -> None:
    """A source that would lose more than its `max_removed_fraction` of living documents fails the build by name."""
    removed: Counter[str] = Counter()
    for pair, count in record.counts.get("removed", {}).items():
        removed[pair.partition(" < ")[0]] += count
    for source in build.manifest.source:
        allowed = given(source.max_removed_fraction)
        living, lost = living_before(build, source.name), removed[source.name]
        if lost > allowed * living:
            raise BuildFailed(
                f"source '{source.name}': near-dedup would remove {lost:,} of {living:,} documents "
                f"({lost / living:.2%}), more than max_removed_fraction = {allowed}; "
                f"most are copies of {_largest(build, record, source.name)}"
            )


def living_before(build: Build, source: str) -> int:
    """The documents of a source that the stages before left alive."""
    documents = build.stage(DOCUMENTS)
    living = documents[source].counts["kept"] if source in documents else 0
    return living - sum(removed_from(build, stage, source) for stage in build.removing)


def removed_from(build: Build, stage: str, source: str) -> int:
    """How many documents of a source a stage removed: of its own parts, or of pairs of documents."""
    removed = 0
    for name, record in build.stage(stage).items():
        if "removed" in record.counts:
            pairs = record.counts["removed"].items()
            removed += sum(count for pair, count in pairs if pair.startswith(f"{source} < "))
        elif name == source:
            removed += sum(record.counts.get("dropped", {}).values())
    return removed


def _largest(build: Build, record: StageRecord, source: str) -> str:
    """The documents for which most of a source would go: how many, and their first words."""
    copies: Counter[tuple[str, ...]] = Counter()
    for table in _verdicts(build, record):
        own = table.filter(pc.starts_with(table.column("doc_id"), f"{source}/"))
        copies.update(tuple(other_of(evidence).values()) for evidence in own.column("evidence").to_pylist())
    ranked = sorted(copies.items(), key=lambda item: (-item[1], item[0]))[:MAX_NAMED_CLUSTERS]
    return ", ".join(
        f"{doc_id} ({count:,}: '{first_words(build, doc_id, part, MAX_NAMED_CHARS)}')"
        for (doc_id, part), count in ranked
    )


def _verdicts(build: Build, record: StageRecord) -> Iterator[pa.Table]:
    """All verdicts of a stage that was just committed, before they are dealt out."""
    for part in read_parts(build.store, record):
        yield homes.rows_of(build.store, part, HOME)


def first_words(build: Build, doc_id: str, part: str, chars: int) -> str:
    """The start of a document's text, in one line."""
    start = " ".join(read_text(build, doc_id, part)[: 8 * chars].split())
    return start if len(start) <= chars else start[:chars].rstrip() + "…"


def read_text(build: Build, doc_id: str, part: str) -> str:
    """The text of a document in the documents part of that id; KeyError if it is not there."""
    documents = build.part(DOCUMENTS, part)
    filters = [("doc_id", "=", doc_id)]
    for text in read_table(build.store, documents.file(".parquet"), ["text"], filters).column("text").to_pylist():
        return text
    raise KeyError(doc_id)
