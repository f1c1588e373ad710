"""A build's records -> what became of each source: read, kept, dropped by reason, drawn, and its share."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from redpajama.artifacts import BuildFailed, Store, UserError, read_stage
from redpajama.hashing import canonical_json, sha256_of
from redpajama.manifest import Manifest

DUPLICATES = {"identity": "duplicate-id", "exact": "exact-duplicate", "near": "near-duplicate"}  # stage -> reason


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
    available_tokens: int = 0
    drawn_documents: int = 0
    drawn_copies: int = 0
    drawn_tokens: int = 0
    wanted_share: float = 0.0
    got_share: float = 0.0

    def to_json(self) -> dict[str, Any]:
        tables = {name: dict(sorted(getattr(self, name).items())) for name in ("dropped", "removed")}
        return {**vars(self), **tables}


def find_builds(store: Store, name: str = "") -> list[str]:
    """The name itself, or the names of all builds in ROOT, sorted.

    Raises:
        UserError: there is none, or none of that name; one line.
    """
    keys = [key for key, _ in store.keys("builds") if key.endswith(".json")]
    found = [key.removeprefix("builds/").removesuffix(".json") for key in keys]
    if not found:
        raise UserError(f"{store.url}: no finished build is here")
    if name and name not in found:
        raise UserError(f"{store.url}: no build is called '{name}' ({', '.join(found)})")
    return [name] if name else found


def read_build(store: Store, name: str = "") -> dict[str, Any]:
    """The record of the build called `name`, or of the only one.

    Raises:
        UserError: there is none, or several and no name. BuildFailed: the record cannot be read. One line each.
    """
    found = find_builds(store, name)
    if len(found) > 1:
        raise UserError(f"{store.url}: several builds are here: name one with --build ({', '.join(found)})")
    key = f"builds/{found[0]}.json"
    try:
        return parse_build(store.read(key))
    except ValueError:
        raise BuildFailed(f"{key}: not as it was written") from None


def parse_build(data: bytes) -> dict[str, Any]:
    """A build record from the bytes of its file.

    Raises:
        ValueError: they are not as they were written.
    """
    record = json.loads(data)
    if not isinstance(record, dict) or data != canonical_json(record):
        raise ValueError("not the JSON that a build writes")
    body = {name: value for name, value in record.items() if name != "sha256"}
    if record.get("sha256") != sha256_of([canonical_json(body)]):
        raise ValueError("its SHA-256 is another")
    return record


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
        _add_documents(row, counts)
    for stage in DUPLICATES:
        _add_duplicates(stage, rows, counts.get((stage, "all"), {}))
    for row in rows.values():
        _add_substrings(row, counts.get(("substrings", row.source), {}))
        row.living = row.documents - sum(row.removed.values())
        row.available_tokens = counts.get(("candidates", row.source), {}).get("tokens", 0)
    _add_mixture(manifest, rows, counts)
    return list(rows.values())


def _add_documents(row: SourceRow, counts: dict[tuple[str, str], dict[str, Any]]) -> None:
    """What the pipeline and the quality rules did."""
    made = counts[("documents", row.source)]
    row.raw_bytes, row.read, row.merged, row.documents = (made[k] for k in ("raw_bytes", "read", "merged", "kept"))
    row.dropped.update(made["dropped"])
    row.quarantined = sum(made["quarantined"].values())
    row.damaged_ranges = sum(made["damaged_ranges"].values())
    row.removed.update(counts.get(("quality", row.source), {}).get("dropped", {}))


def _add_duplicates(stage: str, rows: dict[str, SourceRow], counts: dict[str, Any]) -> None:
    """Who lost how many documents, from the `loser < survivor` sums."""
    for pair, number in counts.get("removed", {}).items():
        rows[pair.partition(" < ")[0]].removed[DUPLICATES[stage]] += number


def _add_substrings(row: SourceRow, counts: dict[str, Any]) -> None:
    """Repeated spans that went, those of removed documents too, and the documents of which too little stayed."""
    row.removed.update(counts.get("dropped", {}))
    row.cut_spans, row.cut_bytes = counts.get("spans", 0), counts.get("span_bytes", 0)


def _add_mixture(manifest: Manifest, rows: dict[str, SourceRow], counts: dict[tuple[str, str], dict[str, Any]]) -> None:
    """What was drawn, and the shares wanted and got."""
    mixed = counts.get(("mixture", manifest.name))
    if not mixed:
        return
    weights = {share.source: share.weight for share in manifest.mixture.slice}
    total = sum(mixed["tokens"].values())
    for name, row in rows.items():
        row.drawn_documents = mixed["documents"].get(name, 0)
        row.drawn_copies = mixed["copies"].get(name, 0)
        row.drawn_tokens = mixed["tokens"].get(name, 0)
        row.wanted_share = weights[name] / sum(weights.values())
        row.got_share = row.drawn_tokens / total


def duplicate_matrix(store: Store, record: dict[str, Any]) -> dict[str, dict[str, dict[str, int]]]:
    """{dedup stage: {"loser's source < survivor's source": {"documents", "bytes", "tokens"}}}; bytes of the texts.

    Tokens stand only where they were counted: in builds with a mixture that draws from the loser's source.
    """
    stages, matrix = record["stages"], {}
    counted = {name: read_stage(store, entry["record"]).counts for name, entry in stages.get("candidates", {}).items()}
    for stage in DUPLICATES:
        for entry in stages.get(stage, {}).values():
            counts = read_stage(store, entry["record"]).counts
            for pair, documents in counts.get("removed", {}).items():
                cell = {"documents": documents, "bytes": counts["removed_bytes"][pair]}
                loser = pair.partition(" < ")[0]
                if loser in counted:
                    cell["tokens"] = counted[loser].get("removed_tokens", {}).get(stage, {}).get(pair, 0)
                matrix.setdefault(stage, {})[pair] = cell
    return matrix
