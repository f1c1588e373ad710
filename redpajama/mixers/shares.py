"""The mixture as a tree: groups hold slices, a slice with a curve holds its bins; the leaves are what is drawn from.

A node's cap is what its children can give; tokens are shared out from the top, each level by `allocation`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor, inf
from typing import NamedTuple

from redpajama.mixers import allocation
from redpajama.mixers.allocation import BudgetError, OnCap, Policy, Slice
from redpajama.tables import MAX_REPEATS, Group, Mixture
from redpajama.tables import Slice as Share


class Leaf(NamedTuple):
    """What is drawn from: a slice, or a bin of its curve."""

    name: str  # the slice's; of a bin `<slice>.<number>`
    share: Share
    bin: int | None
    is_drawn: bool


def leaves(mixture: Mixture, source: str | None = None) -> list[Leaf]:
    """All leaves, or those of one source, in the manifest's order; also what is not drawn takes its documents."""
    return [
        leaf
        for share in mixture.slice
        if source in (None, share.source)
        for leaf in _leaves(share, mixture.is_drawn(share))
    ]


def _leaves(share: Share, is_drawn: bool) -> Iterator[Leaf]:
    if share.curve is None:
        yield Leaf(share.key, share, None, is_drawn)
        return
    for number, repeats in enumerate(share.curve.repeats):
        yield Leaf(f"{share.key}.{number}", share, number, bool(is_drawn and repeats))


@dataclass(frozen=True)
class Node:
    """A part of the tree: its wish and means, and those of its children."""

    wish: Slice
    children: tuple["Node", ...] = ()
    policy: Policy = "weights"  # among the children
    temperature: float = 1.0
    pinned: float | None = None  # its share of what holds it
    spreads: bool = False  # children share out what one turns away, whatever the mixture says


def tree(mixture: Mixture, available: Mapping[str, int], taken: Mapping[str, int] | None = None) -> Node:
    """The mixture, with the unique tokens of each leaf, and those that earlier stages took of it."""
    node = _tree(mixture, available)
    return _without(node, taken) if taken else node


def _without(node: Node, taken: Mapping[str, int]) -> Node:
    """The same, where leaves can give only what is left of them."""
    children = tuple(_without(child, taken) for child in node.children)
    drawn = [child.wish for child in children if child.wish.weight]
    left = sum(each.cap for each in drawn) if children else max(0, node.wish.most - taken.get(node.wish.name, 0))
    return replace(node, wish=replace(node.wish, limit=left), children=children)


def _tree(mixture: Mixture, available: Mapping[str, int]) -> Node:
    nodes: list[Node] = []
    for share in mixture.slice:
        group = mixture.group_of(share)
        if group is None:
            weight = 1 if share.weight is None else share.weight
            nodes.append(_of_share(share, weight, available, mixture.max_copies))
        elif group.name not in {node.wish.name for node in nodes}:
            nodes.append(_of_group(group, mixture, available))
    return _parent("", nodes, mixture.policy, mixture.temperature)


def _of_group(group: Group, mixture: Mixture, available: Mapping[str, int]) -> Node:
    inside = [
        _of_share(share, share.within, available, mixture.max_copies)
        for share in mixture.slice
        if share.group == group.name
    ]
    node = _parent(group.name, inside, group.policy, group.temperature)
    wish = replace(node.wish, weight=group.weight, pin=group.pin)
    least = max(group.min_tokens, wish.min_tokens) if group.pin is None else 0
    return replace(node, wish=replace(wish, min_tokens=least))


def _of_share(share: Share, weight: float, available: Mapping[str, int], max_copies: int | None) -> Node:
    pin = share.pin if isinstance(share.pin, int) else None
    pinned = share.pin if isinstance(share.pin, float) else None
    if share.curve is None:
        unique = available.get(share.key, 0)
        wish = Slice(share.key, weight, min(share.max_epochs, max_copies or inf), unique, share.min_tokens, pin)
        return Node(wish, pinned=pinned)
    bins = [
        Slice(f"{share.key}.{number}", repeats, min(MAX_REPEATS, max_copies or inf), tokens)
        for number, repeats in enumerate(share.curve.repeats)
        for tokens in [available.get(f"{share.key}.{number}", 0)]
    ]
    bins = [each if each.available_tokens else replace(each, weight=0) for each in bins]
    node = _parent(share.key, [Node(each) for each in bins], "epochs", 1.0)
    if pin is None and pinned is None and share.weight is None and share.group is None:
        pin = sum(floor(each.share * each.available_tokens) for each in bins)  # the curve's own sum
    wish = replace(node.wish, weight=weight, min_tokens=share.min_tokens, pin=pin)
    return replace(node, wish=wish, pinned=pinned, spreads=True)


def _parent(name: str, nodes: Sequence[Node], policy: Policy, temperature: float) -> Node:
    drawn = [node.wish for node in nodes if node.wish.weight]
    unique, most = sum(each.available_tokens for each in drawn), sum(each.cap for each in drawn)
    floors = sum(each.least for each in drawn)
    return Node(Slice(name, 1, 1, unique, floors, limit=most), tuple(nodes), policy, temperature)


# ---- from the top down


def allocate_stages(
    mixture: Mixture, available: Mapping[str, int], allow_shortfall: bool | None = None
) -> list[dict[str, int]]:
    """Target tokens of each leaf in each stage; a stage can have what the caps and the stages before leave of it.

    Raises:
        BudgetError: as `allocate`.
    """
    found: list[dict[str, int]] = []
    for number, name in enumerate(mixture.stage_names):
        taken = {leaf: sum(stage[leaf] for stage in found) for leaf in found[0]} if found else {}
        try:
            found.append(allocate(mixture.of_stage(number), available, None, allow_shortfall, taken))
        except BudgetError as error:
            raise BudgetError(f"{name}: {error}" if name else str(error)) from None
    return found


def allocate(
    mixture: Mixture,
    available: Mapping[str, int],
    budget_tokens: int | None = None,
    allow_shortfall: bool | None = None,
    taken: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Target tokens of each leaf; they add up to the budget exactly.

    Args:
        available: unique tokens of each leaf.
        budget_tokens, allow_shortfall: instead of the mixture's.
        taken: what earlier stages had of each leaf.

    Raises:
        BudgetError: as `allocation.allocate`, of whatever level.
    """
    shortfall = mixture.allow_shortfall if allow_shortfall is None else allow_shortfall
    on_cap = mixture.on_cap if allow_shortfall is None else None
    found = dict.fromkeys((leaf.name for leaf in leaves(mixture)), 0)
    budget = mixture.budget_tokens if budget_tokens is None else budget_tokens
    return found | dict(_shared_out(tree(mixture, available, taken), budget, shortfall, on_cap))


def _shared_out(node: Node, tokens: int, shortfall: bool, on_cap: OnCap | None) -> Iterator[tuple[str, int]]:
    """(leaf, tokens) of all that is below a node, which has so many."""
    slices = [_pinned(child, tokens) for child in node.children]
    weighted = allocation.weighted(slices, node.policy, node.temperature)
    rule: OnCap | None = "spread" if node.spreads else on_cap
    found = allocation.allocate(weighted, tokens, shortfall, rule) if tokens else {}
    for child in node.children:
        got = found.get(child.wish.name, 0)
        if child.children:
            yield from _shared_out(child, got, shortfall, on_cap)
        else:
            yield child.wish.name, got


def _pinned(child: Node, tokens: int) -> Slice:
    """A child's wish; of one that keeps a share, so many of its parent's tokens."""
    if child.pinned is None:
        return child.wish
    return replace(child.wish, pin=floor(Fraction(str(child.pinned)) * tokens), min_tokens=0)


def wanted_shares(mixture: Mixture, available: Mapping[str, int]) -> dict[str, float]:
    """{leaf: the share of the budget that weights and pins ask for, in all stages}; they add up to 1."""
    found = dict.fromkeys((leaf.name for leaf in leaves(mixture)), 0.0)
    for number in range(len(mixture.stage_names)):
        stage = mixture.of_stage(number)
        share = stage.budget_tokens / mixture.budget_tokens
        for name, wanted in _wanted(tree(stage, available), share, stage.budget_tokens):
            found[name] += wanted
    return found


def _wanted(node: Node, share: float, tokens: float) -> Iterator[tuple[str, float]]:
    slices = [_pinned(child, round(tokens)) for child in node.children]
    weighted = allocation.weighted(slices, node.policy, node.temperature)
    fixed = {
        each.name: min(1.0, each.pin / tokens) for each in weighted if each.weight and each.pin is not None and tokens
    }
    free = {each.name: float(each.share) for each in weighted if each.weight and each.pin is None}
    rest, total = max(0.0, 1 - sum(fixed.values())), sum(free.values())
    for child in node.children:
        name = child.wish.name
        own = fixed.get(name, rest * free.get(name, 0.0) / total if total else 0.0)
        if child.children:
            yield from _wanted(child, share * own, tokens * own)
        else:
            yield name, share * own


def slices(mixture: Mixture, available: Mapping[str, int]) -> dict[str, Slice]:
    """{leaf: its wish and means}, floors and pins among them."""
    return {node.wish.name: node.wish for node in _ends(tree(mixture, available))}


def _ends(node: Node) -> Iterator[Node]:
    for child in node.children:
        yield from _ends(child) if child.children else [child]
