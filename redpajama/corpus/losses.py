"""Why documents of a source are gone, as the stages committed so far have counted it."""

from collections import Counter
from typing import Any

from redpajama.corpus.stages import DOCUMENTS
from redpajama.engine.stages import Build

SHOWN = 5  # reasons


def losses(build: Build, source: str) -> Counter[str]:
    """{reason: raw units that became no document, and documents that later stages removed}."""
    found: Counter[str] = Counter()
    if made := build.stage(DOCUMENTS).get(source):
        for kind in ("dropped", "quarantined", "damaged_ranges"):
            found.update(made.counts.get(kind, {}))
    for stage in build.removing:
        for name, record in build.stage(stage).items():
            found.update(_removed(source, name, record.counts))
    return found


def _removed(source: str, name: str, counts: dict[str, Any]) -> dict[str, int]:
    """What a stage removed of a source: of its own parts, or of pairs of documents."""
    if "removed" not in counts:
        return counts.get("dropped", {}) if name == source else {}
    lost = sum(number for pair, number in counts["removed"].items() if pair.startswith(f"{source} < "))
    return {next(iter(counts["dropped"]), "removed"): lost} if lost else {}


def told(build: Build, source: str) -> str:
    """`'web': 60 read, below-minimum 58, truncated 2`."""
    made = build.stage(DOCUMENTS).get(source)
    read = made.counts["read"] if made else 0
    ranked = sorted(losses(build, source).items(), key=lambda item: (-item[1], item[0]))
    more = [f"{len(ranked) - SHOWN} more reasons"] if len(ranked) > SHOWN else []
    return ", ".join(
        [f"'{source}': {read:,} read", *(f"{reason} {number:,}" for reason, number in ranked[:SHOWN]), *more]
    )
