"""A build's records -> what became of each source: read, kept, dropped by reason, drawn, and its share."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from redpajama.engine.gathered import read_stage
from redpajama.engine.store import Store
from redpajama.manifest import Manifest, given


@dataclass
class SourceRow:
    """One source's way through a build. Units are the source's raw units; later stages count documents."""

    source: str
    raw_bytes: int = 0
    read: int = 0
    merged: int = 0
    documents: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # raw units, by the pipeline's reason
    removed: Counter[str] = field(default_factory=Counter)  # documents, by the rule or dedup stage that removed them
    quarantined: int = 0
    damaged_ranges: int = 0
    living: int = 0  # documents that passed quality and dedup
    cut_spans: int = 0  # of text that stands elsewhere in the source
    cut_bytes: int = 0
    shortened: int = 0  # documents that are cut to the mixture's max_document_tokens
    available_tokens: int = 0
    drawn_documents: int = 0
    drawn_copies: int = 0
    drawn_tokens: int = 0
    wanted_share: float = 0.0
    got_share: float = 0.0

    def to_json(self) -> dict[str, Any]:
        tables = {name: dict(sorted(getattr(self, name).items())) for name in ("dropped", "removed")}
        return {**vars(self), **tables}


def funnel(store: Store, record: dict[str, Any]) -> list[SourceRow]:
    """One row a source, in the manifest's order."""
    manifest = Manifest(**record["manifest"])
    rows = {source.name: SourceRow(source.name) for source in manifest.source}
    counts = {
        (stage, name): read_stage(store, entry["record"]).counts
        for stage, names in record["stages"].items()
        for name, entry in names.items()
    }
    for row in rows.values():
        _add_documents(row, counts[("documents", row.source)])
    for (stage, name), sums in counts.items():
        if stage in record["removing"]:
            _add_removed(rows, name, sums)
    for row in rows.values():
        row.living = row.documents - sum(row.removed.values())
        row.shortened = counts.get(("counts", row.source), {}).get("shortened", 0)
        row.available_tokens = counts.get(("candidates", row.source), {}).get("tokens", 0)
    _add_mixture(manifest, rows, counts)
    return list(rows.values())


def _add_documents(row: SourceRow, made: dict[str, Any]) -> None:
    """What the pipeline did."""
    row.raw_bytes, row.read, row.merged, row.documents = (made[k] for k in ("raw_bytes", "read", "merged", "kept"))
    row.dropped.update(made["dropped"])
    row.quarantined = sum(made["quarantined"].values())
    row.damaged_ranges = sum(made["damaged_ranges"].values())


def _add_removed(rows: dict[str, SourceRow], name: str, counts: dict[str, Any]) -> None:
    """What a stage removed: of pairs of documents by `loser < survivor`, else of the source that it judged.

    Spans that were cut stand beside it, those of removed documents too.
    """
    if "removed" in counts:
        for pair, number in counts["removed"].items():
            rows[pair.partition(" < ")[0]].removed[reason_of(counts)] += number
        return
    rows[name].removed.update(counts.get("dropped", {}))
    rows[name].cut_spans += counts.get("spans", 0)
    rows[name].cut_bytes += counts.get("span_bytes", 0)


def reasons(store: Store, record: dict[str, Any]) -> dict[str, str]:
    """{stage: the one reason for which it removes duplicates} of the stages that removed some."""
    found: dict[str, str] = {}
    for stage in record["removing"]:
        for entry in record["stages"].get(stage, {}).values():
            counts = read_stage(store, entry["record"]).counts
            found |= {stage: reason_of(counts)} if counts.get("removed") else {}
    return found


def reason_of(counts: dict[str, Any]) -> str:
    """The one reason for which a stage removes duplicates."""
    return next(iter(counts["dropped"]))


def near_account(store: Store, record: dict[str, Any]) -> dict[str, Any]:
    """What near-dedup left open, and what its removals held alone; {} without near-dedup.

    {"hot_buckets", "hot_rows": band keys that very many documents share, and how many documents; "unchecked",
    "unchecked_clusters": survivors that a cap or missing n-grams kept from a comparison. Where one of a pair stays,
    also "removed_ngrams", "lost_ngrams": of the documents that went, all and about those in no survivor; "lost_shares":
    {share of a document's n-grams, at most: documents}}
    """
    counts: dict[str, Any] = {}
    for stage in ("candidates-near", "near"):
        for entry in record["stages"].get(stage, {}).values():
            counts |= read_stage(store, entry["record"]).counts
    if "unchecked" not in counts:
        return {}
    always = ("hot_buckets", "hot_rows", "unchecked", "unchecked_clusters")
    lost = ("removed_ngrams", "lost_ngrams", "lost_shares") if counts.get("lost_shares") else ()
    return {name: counts.get(name, 0) for name in (*always, *lost)}


def _add_mixture(manifest: Manifest, rows: dict[str, SourceRow], counts: dict[tuple[str, str], dict[str, Any]]) -> None:
    """What was drawn, and the shares wanted and got."""
    mixed = counts.get(("mixture", manifest.name))
    if not mixed:
        return
    wanted = Counter[str]()
    for share in given(manifest.mixture).slice:
        leaves = counts["budget", manifest.name]["wanted"].items()
        wanted[share.source] += sum(part for leaf, part in leaves if leaf.partition(".")[0] == share.key)
    total = sum(mixed["tokens"].values())
    for name, row in rows.items():
        row.drawn_documents = mixed["documents"].get(name, 0)
        row.drawn_copies = mixed["copies"].get(name, 0)
        row.drawn_tokens = mixed["tokens"].get(name, 0)
        row.wanted_share = wanted[name]
        row.got_share = row.drawn_tokens / total


def duplicate_matrix(store: Store, record: dict[str, Any]) -> dict[str, dict[str, dict[str, int]]]:
    """{stage: {"loser's source < survivor's source": {"documents", "bytes", "tokens"}}}; bytes of the texts.

    Tokens stand only where they were counted: in builds with a mixture that draws from the loser's source.
    """
    stages, matrix = record["stages"], defaultdict[str, dict[str, dict[str, int]]](dict)
    counted = {name: read_stage(store, entry["record"]).counts for name, entry in stages.get("candidates", {}).items()}
    for stage in record["removing"]:
        for entry in stages.get(stage, {}).values():
            counts = read_stage(store, entry["record"]).counts
            for pair, documents in counts.get("removed", {}).items():
                cell = {"documents": documents, "bytes": counts["removed_bytes"][pair]}
                loser = pair.partition(" < ")[0]
                if loser in counted:
                    cell["tokens"] = counted[loser].get("removed_tokens", {}).get(stage, {}).get(pair, 0)
                matrix[stage][pair] = cell
    return matrix
