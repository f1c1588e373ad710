"""What a mixture asks of each slice, reckoned from counts alone: what a plan shows before any input is listed.

Counts come from the manifest (`tokens` of a source, with who says so); those that a build of the same measured replace
them, those of a build of another kind stand in where nobody says anything.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from redpajama.manifest import Manifest, given
from redpajama.mixers import allocation, shares
from redpajama.mixers.allocation import BudgetError, Slice
from redpajama.mixers.shares import Leaf
from redpajama.tables import Mixture


class Count(NamedTuple):
    """Unique tokens of a slice, and who says so."""

    tokens: int
    provenance: str  # measured | published | estimated


class Target(NamedTuple):
    """A row of the table."""

    slice: str
    wanted_share: float  # of the budget, as weights have it
    target_tokens: int
    unique_tokens: int
    provenance: str
    epochs: float
    effective_tokens: int  # after Muennighoff et al. 2023: repeats are worth less and less
    cap_tokens: int
    binds: str  # cap | floor | pin, or ""


class Targets(NamedTuple):
    """All rows; where the budget cannot be met, what the caps allow, and why."""

    rows: list[Target]
    budget_tokens: int
    missing: list[str]  # slices that nobody has counted: then there are no rows
    error: str


def given_mixture(manifest: Manifest) -> Mixture:
    """The mixture of a manifest that has one."""
    return given(manifest.mixture)


def of_build(manifest: Manifest, before: Manifest, tokens: Mapping[str, int]) -> dict[str, Count]:
    """{leaf: its count} of those that a finished build counted: estimates where it asked for something else.

    Args:
        manifest, before: complete manifests (`preflight.complete`); `before` is the build's.
        tokens: {leaf: unique tokens} as the build has it.
    """
    if before.mixture is None or manifest.tokenizer != before.tokenizer:
        return {}
    provenance = "measured" if _counted_by(manifest) == _counted_by(before) else "estimated"
    known = {leaf.name: _takes(leaf) for leaf in shares.leaves(before.mixture)}
    return {
        leaf.name: Count(tokens[leaf.name], provenance)
        for leaf in shares.leaves(given_mixture(manifest))
        if leaf.name in tokens and known.get(leaf.name) == _takes(leaf)
    }


def _takes(leaf: Leaf) -> tuple[Any, ...]:
    curve = leaf.share.curve and (leaf.share.curve.by, leaf.share.curve.bounds)
    return leaf.share.source, leaf.share.where, curve


def _counted_by(manifest: Manifest) -> tuple[Any, ...]:
    """What counts hang on, but for the files behind the inputs."""
    mixture = given_mixture(manifest)
    rest = manifest.model_dump(exclude={"name", "mixture", "shards", "withdrawn", "source"})
    sources = [source.model_dump(exclude={"tokens"}) for source in manifest.source]
    limits = mixture.validation, mixture.max_document_tokens, mixture.long_documents, mixture.max_copies
    return rest, sources, limits, [_takes(leaf) for leaf in shares.leaves(mixture)]


def counts_of(manifest: Manifest, built: Mapping[str, Count]) -> dict[str, Count]:
    """{leaf: its count} of those that are counted at all.

    Args:
        built: those of a build: measured ones replace what others say, estimates do not.
    """
    found: dict[str, Count] = {}
    leaves = shares.leaves(given_mixture(manifest))
    for leaf in leaves:
        said = leaf.share.tokens or (
            manifest.source_named(leaf.share.source).tokens if _is_whole_source(leaf, leaves) else None
        )
        if leaf.bin is not None:
            bins = given(leaf.share.curve).tokens
            found |= {leaf.name: Count(bins[leaf.bin], "estimated")} if bins else {}
        elif said:
            found[leaf.name] = Count(said.value, said.source)
    own = {leaf.name: built[leaf.name] for leaf in leaves if leaf.name in built}
    return own | found | {name: count for name, count in own.items() if count.provenance == "measured"}


def _is_whole_source(leaf: Leaf, leaves: list[Leaf]) -> bool:
    return leaf.share.is_whole and sum(each.share.source == leaf.share.source for each in leaves) == 1


def targets_of(mixture: Mixture, counts: Mapping[str, Count]) -> Targets:
    """The table of a mixture."""
    drawn = [leaf for leaf in shares.leaves(mixture) if leaf.is_drawn]
    if missing := [leaf.name for leaf in drawn if leaf.name not in counts]:
        return Targets([], mixture.budget_tokens, missing, "")
    available = {name: count.tokens for name, count in counts.items()}
    error = ""
    try:
        wanted = _sums(shares.allocate_stages(mixture, available))
    except BudgetError as refusal:
        error, wanted = str(refusal), _as_far_as_it_goes(mixture, available)
    asked, slices = shares.wanted_shares(mixture, available), shares.slices(mixture, available)
    rows = [_row(slices[leaf.name], wanted[leaf.name], asked[leaf.name], counts[leaf.name]) for leaf in drawn]
    return Targets(rows, mixture.budget_tokens, [], error)


def _as_far_as_it_goes(mixture: Mixture, available: Mapping[str, int]) -> dict[str, int]:
    try:
        return _sums(shares.allocate_stages(mixture, available, allow_shortfall=True))
    except BudgetError:
        return dict.fromkeys((leaf.name for leaf in shares.leaves(mixture)), 0)


def _sums(stages: list[dict[str, int]]) -> dict[str, int]:
    return {leaf: sum(stage[leaf] for stage in stages) for leaf in stages[0]}


def _row(part: Slice, target: int, asked: float, count: Count) -> Target:
    effective = round(allocation.effective_tokens(target, count.tokens)) if count.tokens else 0
    epochs = target / count.tokens if count.tokens else 0.0
    bound = binding(part, target)
    return Target(part.name, asked, target, count.tokens, count.provenance, epochs, effective, part.cap, bound)


def binding(part: Slice, target: int) -> str:
    """What keeps a slice from the share that its weight asks for."""
    if part.pin is not None:
        return "pin"
    if target >= part.cap:
        return "cap"
    return "floor" if part.min_tokens and target == part.min_tokens else ""
