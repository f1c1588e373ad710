"""What came out of a mixture, from the records of a build: wanted and got, copies, lengths, how even the stream is."""

from collections.abc import Sequence
from math import sqrt
from typing import Any

from redpajama.corpus import streams
from redpajama.corpus.stages import BUDGET, CANDIDATES, MIXTURE
from redpajama.engine.gathered import add_counts
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import Build
from redpajama.manifest import given
from redpajama.mixers import allocation, lengths
from redpajama.mixers.budget import read_budget

OVERSHOOT = 0.01  # of a target: more is told, with the document that does it


def account(build: Build) -> dict[str, Any]:
    """All of it, as programs read it."""
    name = build.manifest.name
    counts, budget = build.stage(MIXTURE)[name].counts, build.stage(BUDGET)[name].counts
    own = [(stream, parts) for stream, parts in streams.by_stream(build, build.parts(MIXTURE, name))]
    trained = [(stream, parts) for stream, parts in own if stream.name != streams.VALIDATION]
    held = sum(counts.get("held_out", {}).get("tokens", {}).values())
    return {
        "budget_tokens": budget["budget_tokens"],
        "tokens": sum(counts["tokens"].values()),
        "slices": _slices(build, counts),
        "sources": {each: _source(counts, each) for each in sorted(counts["tokens"])},
        "copies": _copies(counts, budget),
        "near_copies_counted": build.manifest.dedup.near is not None,
        "streams": {stream.name: _even(parts) for stream, parts in trained},
        "held_out_tokens": held,
        "overshoot": overshoot(build),
    }


def _slices(build: Build, counts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A row for each leaf that is drawn from."""
    got, total = counts.get("slices", counts["tokens"]), max(1, sum(counts["tokens"].values()))
    found = {}
    for leaf, row in read_budget(build).items():
        target, tokens = sum(cut["stage_tokens"] for cut in row["cuts"]), got.get(leaf, 0)
        if target or tokens:
            unique = row["available_tokens"]
            found[leaf] = {
                "source": row["source"],
                "wanted_share": row["wanted_share"],
                "got_share": tokens / total,
                "target_tokens": target,
                "tokens": tokens,
                "unique_tokens": unique,
                "epochs": row["cuts"][-1]["target_tokens"] / unique,
                "effective_tokens": round(_effective(row, tokens)),
            }
    return found


def _effective(row: dict[str, Any], tokens: int) -> float:
    """What the tokens are worth in fresh ones; those of a miniature as its epochs have it."""
    whole = row["cuts"][-1]["target_tokens"]
    return allocation.effective_tokens(whole, row["available_tokens"]) * tokens / whole if whole else 0.0


def _source(counts: dict[str, Any], source: str) -> dict[str, Any]:
    sums = {key: counts[key].get(source, 0) for key in ("documents", "copies", "tokens")}
    classes = counts["lengths"].get(source, {})
    return {**sums, "lengths": {key: classes[key] for key in sorted(classes, key=int)}}


def _copies(counts: dict[str, Any], budget: dict[str, Any]) -> dict[str, int]:
    """{times: texts that stand so often in the stream}, near copies that are alive counted as one text."""
    numbers = counts["copy_numbers"]
    seen = lengths.histogram([numbers[key] for key in sorted(numbers, key=int)])
    found = {times: documents for times, documents in enumerate(seen, 1)}
    for key, sign in (("members", -1), ("families", 1)):
        for times, number in budget.get(key, {}).items():
            found[int(times)] = found.get(int(times), 0) + sign * number
    return {str(times): found[times] for times in sorted(found) if times and found[times]}


def _even(parts: Sequence[PartRecord]) -> dict[str, Any]:
    """How far the shares of sources stray from window to window (a range each), and how far chance would take them.

    The share of a source with share p strays by sqrt((1 - p)^2 q + p^2 (Q - q)) x sqrt((1 - 1/K) / K) of a window of
    T / K tokens; q is the sum of the squared lengths of its documents, Q that of all. Spread copies stray less.
    """
    windows = [part.counts["tokens"] for part in parts if part.counts.get("tokens")]
    sums = add_counts([part.counts for part in parts])
    total, count = sum(sums.get("tokens", {}).values()), len(windows)
    found: dict[str, Any] = {"windows": count, "tokens": total, "sources": {}}
    for source in sorted(sums.get("tokens", {})) if count > 1 else ():
        share, own = sums["tokens"][source] / total, sums["squares"][source]
        rest = sum(sums["squares"].values()) - own
        chance = sqrt(((1 - share) ** 2 * own + share**2 * rest) * (1 - 1 / count) / count) / (total / count)
        strays = [each.get(source, 0) / sum(each.values()) - share for each in windows]
        measured = sqrt(sum(stray**2 for stray in strays) / count)
        found["sources"][source] = {"share": share, "deviation": measured, "expected_deviation": chance}
    return found


def overshoot_lines(found: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each leaf of `overshoot`, for people."""
    return [
        f"'{leaf}' has {row['tokens']:,} tokens more than its target ({row['share']:.1%}): its last document"
        f"{', {doc_id}, is'.format(**row) if row['doc_id'] else 's are'} that long; max_document_tokens would cut it"
        for leaf, row in found.items()
    ]


def overshoot(build: Build) -> dict[str, dict[str, Any]]:
    """{leaf: tokens beyond its target, the share, and the last document} of leaves that overshoot by more than 1 %.

    A miniature has a last document in each stratum: none is named where there are several.
    """
    found = {}
    for leaf, row in read_budget(build).items():
        target, cut = sum(cut["stage_tokens"] for cut in row["cuts"]), row["cuts"][-1]
        more = cut["expected_tokens"] - target
        if target and more > OVERSHOOT * target:
            found[leaf] = {"tokens": more, "share": more / target, "doc_id": _last(row)}
    return found


def _last(row: dict[str, Any]) -> str:
    """The document that ends a leaf; "" of several."""
    ids = [doc_id for _, doc_id in row["strata"] if doc_id] if "strata" in row else [row["cuts"][-1]["doc_id"]]
    return ids[0] if len(ids) == 1 else ""


def priors(build: Build) -> dict[str, Any]:
    """What mixture search starts from: {"priors": {"relative_sizes", "token_counts"}, "domains": each in full}.

    The form of olmix's `priors`; RegMix and CLIMB take the shares.
    """
    sizes: dict[str, int] = {}
    for record in build.stage(CANDIDATES).values():
        sizes |= record.counts["slices"]
    total = max(1, sum(sizes.values()))
    drawn = {leaf: row for leaf, row in read_budget(build).items() if sizes.get(leaf)}
    shares = {share.key: share for share in given(build.manifest.mixture).slice}
    domains = {
        leaf: {
            "source": row["source"],
            "tokens": sizes[leaf],
            "share": sizes[leaf] / total,
            "max_epochs": shares[leaf.partition(".")[0]].max_epochs,
            "weight": row["wanted_share"],
        }
        for leaf, row in sorted(drawn.items())
    }
    relative = {leaf: each["share"] for leaf, each in domains.items()}
    counts = {leaf: each["tokens"] for leaf, each in domains.items()}
    return {"priors": {"relative_sizes": relative, "token_counts": counts}, "domains": domains}
