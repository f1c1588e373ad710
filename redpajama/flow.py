"""The corpus on one screen: which stages a build has, and in which order."""

from collections.abc import Iterable

from redpajama.corpus import inputs
from redpajama.dedup import copies, exact, paragraphs, substrings
from redpajama.dedup.near import minhash
from redpajama.engine.shapes import Stage
from redpajama.manifest import Manifest, given
from redpajama.mixers import budget, candidates, counts, mixture, takedown
from redpajama.pipelines import cuts, documents
from redpajama.quality import citations, classifiers, examples, judge, scores, signals
from redpajama.tokenize import tokenizer, tokens

UNTIL = ("documents", "dedup", "mixture", "tokens")
STARS_FROM_BYTES = 20 << 30  # of raw input: what is smaller holds no more documents than union-find takes


def flow(manifest: Manifest, until: str = "tokens", raw_bytes: int = 0, withdraws: bool = False) -> list[Stage]:
    """The stages of a build, in order. Without a `[mixture]` it ends with dedup.

    Args:
        raw_bytes: of all inputs: large builds have the stages for more documents than one process can join.
        withdraws: some documents are withdrawn.
    """
    mixed = manifest.mixture is not None
    needed = mixed or any(map(signals.wants_tokens, manifest.source))
    is_given = bool(needed and given(manifest.tokenizer).path)
    by_goal: dict[str, list[Stage]] = {
        "documents": _documents(manifest, is_given),
        "dedup": [*_quality(manifest), *_dedup(manifest, raw_bytes)],
        "mixture": [*([] if is_given else tokenizer.TRAINED), *_mixing(withdraws)] if mixed else [],
        "tokens": [tokens.STAGE] if mixed else [],
    }
    return [stage for goal in UNTIL[: UNTIL.index(until) + 1] for stage in by_goal[goal]]


def in_order(manifest: Manifest, names: Iterable[str]) -> list[str]:
    """The steps that a build's record names, as they follow each other."""
    steps = [
        step.stage for stage in flow(manifest, raw_bytes=STARS_FROM_BYTES, withdraws=True) for step in stage.steps()
    ]
    places = {name: place for place, name in enumerate(steps)}
    return sorted(names, key=lambda name: (places.get(name, len(places)), name))


def _documents(manifest: Manifest, is_given: bool) -> list[Stage]:
    lines = [documents.EXTRACTED_STAGE, paragraphs.STAGE] if any(each.paragraphs for each in manifest.source) else []
    shared = [documents.READ_STAGE] if manifest.reading else []
    return [inputs.STAGE, *([tokenizer.GIVEN] if is_given else []), cuts.STAGE, *shared, *lines, documents.STAGE]


def _quality(manifest: Manifest) -> list[Stage]:
    trained = [classifier for classifier in manifest.classifier if not classifier.path]
    return [
        *([signals.STAGE] if any(map(signals.wanted_sets, manifest.source)) else []),
        *([citations.STAGE] if any(classifier.cited_by for classifier in trained) else []),
        *([examples.STAGE, classifiers.STAGE] if trained else []),
        *([scores.STAGE] if any(source.wants_models for source in manifest.source) else []),
        judge.STAGE,
    ]


def _dedup(manifest: Manifest, raw_bytes: int) -> list[Stage]:
    """The stages that find copies."""
    asked = manifest.dedup
    takes_all = asked.exact and asked.near is not None and minhash.parse(asked.near).keep == "none"
    return [
        exact.IDENTITY,
        *([exact.with_firsts() if takes_all else exact.EXACT] if asked.exact else []),
        *(_near(manifest, raw_bytes) if asked.near is not None else []),
        *([copies.STAGE] if takes_all else []),
        *([substrings.STAGE] if any(source.substrings for source in manifest.source) else []),
        *([_families()] if asked.near is not None and manifest.mixture else []),
    ]


def _families() -> Stage:
    from redpajama.dedup.near import families  # as it loads Numba

    return families.STAGE


def _near(manifest: Manifest, raw_bytes: int) -> list[Stage]:
    from redpajama.dedup.near import candidates, clusters, doubts, near, signatures, star  # these load Numba

    wish = manifest.dedup.components
    stars = star.STAGES if wish == "star" or (wish == "auto" and raw_bytes >= STARS_FROM_BYTES) else []
    doubtful = [doubts.STAGE] if minhash.parse(manifest.dedup.near).verify == "sketch" else []
    return [signatures.STAGE, candidates.STAGE, *stars, clusters.STAGE, *doubtful, near.STAGE]


def _mixing(withdraws: bool) -> list[Stage]:
    return [counts.STAGE, candidates.STAGE, *([takedown.STAGE] if withdraws else []), budget.STAGE, mixture.STAGE]


def from_withdrawal(manifest: Manifest, until: str) -> list[Stage]:
    """The stages that a take-down does again, of a build up to a goal."""
    found = flow(manifest, until, withdraws=True)
    return found[found.index(takedown.STAGE) :] if takedown.STAGE in found else []
