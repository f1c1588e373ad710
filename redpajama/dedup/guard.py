"""Who lost how much to whom, and the guard that stops a build in which a source would lose too much."""

import json
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from redpajama.artifacts import BuildFailed, StageRecord
from redpajama.columns import read_batches, read_table
from redpajama.manifest import Source
from redpajama.stages import Build
from redpajama.verdicts import verdict_stages

WEB_PIPELINES = ("common_crawl", "c4")
MAX_NAMED_CLUSTERS = 20
MAX_NAMED_CHARS = 40  # of a survivor's text


def matrix(lost: pa.Table, others: pa.Table) -> dict[str, dict[str, int]]:
    """Of rows with `doc_id` (of the losers also `bytes`), pair by pair: documents and bytes of text that go.

    {"removed": {"loser's source < other's source": documents}, "removed_bytes": the same with bytes}.
    """
    columns = [*(_sources(table.column("doc_id")) for table in (lost, others)), lost.column("bytes")]
    pairs = pa.table(columns, ["loser", "other", "bytes"]).group_by(["loser", "other"])
    rows = pairs.aggregate([([], "count_all"), ("bytes", "sum")]).to_pylist()
    found = sorted((f"{row['loser']} < {row['other']}", row) for row in rows)
    return {
        "removed": {pair: row["count_all"] for pair, row in found},
        "removed_bytes": {pair: row["bytes_sum"] for pair, row in found},
    }


def _sources(doc_ids: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.struct_field(pc.extract_regex(doc_ids, "^(?P<source>[^/]*)"), "source")


def other_of(evidence: str) -> dict[str, str]:
    """{"doc_id", "part"} of the document that the evidence of a duplicate names: its survivor, or the other one."""
    found = json.loads(evidence)
    role = "survivor" if "survivor" in found else "other"
    return {"doc_id": found[role], "part": found[f"{role}_part"]}


def allowed_fraction(source: Source) -> float:
    """Of its living documents, how many near-dedup may remove."""
    if source.max_removed_fraction is not None:
        return source.max_removed_fraction
    return 0.9 if source.pipeline in WEB_PIPELINES else 0.5


def check_wipe_out(build: Build, name: str, record: StageRecord) -> None:
    """A source that would lose more than its `max_removed_fraction` of living documents fails the build by name."""
    removed: Counter[str] = Counter()
    for pair, count in record.counts.get("removed", {}).items():
        removed[pair.partition(" < ")[0]] += count
    for source in build.manifest.source:
        allowed, living, lost = allowed_fraction(source), living_before(build, source.name), removed[source.name]
        if lost > allowed * living:
            raise BuildFailed(
                f"source '{source.name}': near-dedup would remove {lost:,} of {living:,} documents "
                f"({lost / living:.2%}), more than max_removed_fraction = {allowed}; "
                f"most are copies of {_largest(build, record, source.name)}"
            )


def living_before(build: Build, source: str) -> int:
    """The documents of a source that quality, identity and exact left alive."""
    living = build.stage("documents")[source].counts["kept"] if source in build.records["documents"] else 0
    for stage in verdict_stages(build):
        for name, record in build.stage(stage).items():
            if stage == "quality" and name == source:
                living -= sum(record.counts.get("dropped", {}).values())
            pairs = record.counts.get("removed", {}).items()
            living -= sum(count for pair, count in pairs if pair.startswith(f"{source} < "))
    return living


def _largest(build: Build, record: StageRecord, source: str) -> str:
    """The documents for which most of a source would go: how many, and their first words."""
    copies: Counter[tuple[str, str]] = Counter()
    for entry in record.parts:
        for batch in read_batches(build.store, f"{entry['part']}.parquet", ["doc_id", "evidence"]):
            own = batch.filter(pc.starts_with(batch.column("doc_id"), f"{source}/"))
            copies.update(tuple(other_of(evidence).values()) for evidence in own.column("evidence").to_pylist())
    ranked = sorted(copies.items(), key=lambda item: (-item[1], item[0]))[:MAX_NAMED_CLUSTERS]
    return ", ".join(
        f"{doc_id} ({count:,}: '{first_words(build, doc_id, part, MAX_NAMED_CHARS)}')"
        for (doc_id, part), count in ranked
    )


def first_words(build: Build, doc_id: str, part: str, chars: int) -> str:
    """The start of a document's text, in one line."""
    start = " ".join(read_text(build, doc_id, part)[: 8 * chars].split())
    return start if len(start) <= chars else start[:chars].rstrip() + "…"


def read_text(build: Build, doc_id: str, part: str) -> str:
    """The text of a document in the documents part of that id; KeyError if it is not there."""
    for record in build.parts("documents", doc_id.partition("/")[0]):
        if record.id == part:
            filters = [("doc_id", "=", doc_id)]
            for text in read_table(build.store, record.file(".parquet"), ["text"], filters).column("text").to_pylist():
                return text
    raise KeyError(doc_id)
