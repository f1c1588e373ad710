"""How many tokens of each slice: weights, floors and caps -> targets, exact integers that add up to the budget.

Clamped water-filling: a slice gets clamp(rate x weight, floor, cap), at the one rate at which all give the budget; so
what a cap turns away goes to the others by weight. Rounded by Webster's divisors (Sainte-Lague), token by token under
floors and caps: a larger budget lowers no target. All arithmetic is of fractions, weights taken as they are written.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, exp, floor
from typing import Literal

Policy = Literal["weights", "natural", "temperature", "unimax", "epochs"]
OnCap = Literal["spread", "error"]
HALF = Fraction(1, 2)
REPEATS_WORTH = 15.39  # R* of Muennighoff et al. 2023 (arXiv 2305.16264): repeats are worth less and less


class BudgetError(ValueError):
    """The mixture cannot be met; the message is one line that says what was wanted and what can be had."""


@dataclass(frozen=True)
class Slice:
    """A source's wish and means."""

    name: str
    weight: float | Fraction  # relative to the others'
    max_epochs: float
    available_tokens: int  # unique, with one end of document for each document
    min_tokens: int = 0
    pin: int | None = None  # exactly so many tokens, whatever the others get
    limit: int | None = None  # the most that its parts can give, where it has some

    @property
    def most(self) -> int:
        """The most tokens that `max_epochs` allows."""
        if self.limit is not None:
            return self.limit
        return floor(_exact(self.max_epochs) * self.available_tokens)

    @property
    def cap(self) -> int:
        """The most tokens that it may get."""
        return self.most if self.pin is None else min(self.pin, self.most)

    @property
    def least(self) -> int:
        """The fewest that it may get."""
        return self.min_tokens if self.pin is None else self.pin

    @property
    def share(self) -> Fraction:
        """Its weight, exactly; of one that is pinned any will do."""
        return _exact(self.weight) if self.pin is None else Fraction(1)


def weighted(slices: Sequence[Slice], policy: Policy, temperature: float = 1.0) -> list[Slice]:
    """The slices with the weights that a policy gives them; 0 stays 0.

    Args:
        policy: `weights` as they are; `natural` in proportion to what there is; `temperature` to that to the power of
            `temperature` (0.3 to 0.7, say: smaller sources get more); `unimax` all alike, up to their caps (Chung et
            al. 2023, arXiv 2304.09151); `epochs`: a weight is how often a source is to be seen.
    """
    return [replace(each, weight=_weight(each, policy, temperature)) if each.weight else each for each in slices]


def _weight(part: Slice, policy: Policy, temperature: float) -> float | Fraction:
    match policy:
        case "natural":
            return part.available_tokens
        case "temperature":
            return float(f"{part.available_tokens**temperature:.12g}")  # the same with every libm
        case "unimax":
            return 1
        case "epochs":
            return _exact(part.weight) * part.available_tokens
        case "weights":
            return part.weight


def allocate(
    slices: Sequence[Slice], budget_tokens: int, allow_shortfall: bool = False, on_cap: OnCap | None = None
) -> dict[str, int]:
    """Weights -> target tokens by slice name; they add up to the budget exactly.

    Args:
        allow_shortfall: where all caps together are less than the budget, give all that can be had.
        on_cap: "spread": a slice that would pass its cap gives its cap, and the others share the rest by weight;
            "error": it is an error. Not given: as `allow_shortfall` has it.

    Raises:
        BudgetError: a cap binds and must not; the budget is out of reach; a slice with a weight is empty; floors are
            above caps or the budget; or there is no weight at all.
    """
    wanted = [part for part in slices if part.weight > 0 or part.least]
    if not wanted:
        raise BudgetError("mixture: every weight is 0: nothing to draw from; give at least one slice a weight")
    _refuse_floors(wanted, budget_tokens)
    if not allow_shortfall:
        _refuse_empty(wanted)
    if (on_cap or ("spread" if allow_shortfall else "error")) == "error":
        _refuse_caps(wanted, budget_tokens)
    reachable = sum(part.cap for part in wanted)
    if reachable < budget_tokens and not allow_shortfall:
        raise BudgetError(_out_of_reach(wanted, budget_tokens, reachable))
    return dict.fromkeys((part.name for part in slices), 0) | _webster(wanted, min(budget_tokens, reachable))


def capped(slices: Iterable[Slice], targets: dict[str, int]) -> list[str]:
    """Names of the slices that give all their cap allows: the ones to name when the budget is missed."""
    return [part.name for part in slices if part.weight > 0 and targets[part.name] >= part.cap]


def effective_tokens(target: int, available: int) -> float:
    """What the tokens of a slice are worth in fresh ones: U + U R (1 - exp(-(epochs - 1) / R)), R = 15.39.

    Source: Muennighoff et al. 2023 (arXiv 2305.16264), section 3.1, for the repeats.
    """
    if target <= available:
        return float(target)
    return available * (1 + REPEATS_WORTH * (1 - exp(-(target / available - 1) / REPEATS_WORTH)))


# ---- water


def level(slices: Sequence[Slice], budget: Fraction | int, is_capped: bool = True) -> Fraction:
    """The rate at which clamp(rate x weight, floor, cap) of all slices add up to the budget, which is between them."""
    bounds = {Fraction(bound) / part.share for part in slices for bound in _bounds(part, is_capped)}
    points = sorted({Fraction(0), *bounds})
    start = max((point for point in points if _filled(slices, point, is_capped) <= budget), default=Fraction(0))
    missing = budget - _filled(slices, start, is_capped)
    rising = [
        part.share
        for part in slices
        if start * part.share >= part.least and not (is_capped and start * part.share >= part.cap)
    ]
    return start + missing / sum(rising) if rising and missing else start


def _bounds(part: Slice, is_capped: bool) -> tuple[int, ...]:
    return (part.least, part.cap) if is_capped else (part.least,)


def _filled(slices: Iterable[Slice], rate: Fraction, is_capped: bool) -> Fraction:
    return sum((_clamped(part, rate * part.share, is_capped) for part in slices), Fraction(0))


def _clamped(part: Slice, wish: Fraction, is_capped: bool = True) -> Fraction:
    highest = min(wish, Fraction(part.cap)) if is_capped or part.pin is not None else wish
    return max(highest, Fraction(part.least))


def _webster(slices: Sequence[Slice], budget: int) -> dict[str, int]:
    """Integer targets: the next token goes to the slice with the least (target + 1/2) / weight; ties by name.

    Begins near the end, at the level, which is no further than half a token a slice from it.
    """
    rate = level(slices, budget)
    targets = {part.name: int(_clamped(part, Fraction(ceil(rate * part.share - HALF)))) for part in slices}
    while (given := sum(targets.values())) != budget:
        step = 1 if given < budget else -1
        free = [part for part in slices if part.least <= targets[part.name] + step <= part.cap]
        price = {part.name: (targets[part.name] + step * HALF) / part.share for part in free}
        names = sorted(price, key=lambda name: (price[name], name), reverse=step < 0)
        targets[names[0]] += step
    return targets


def _exact(decimal: float | Fraction) -> Fraction:
    """The number as it is written: 0.1 is one tenth, not the nearest binary fraction."""
    return decimal if isinstance(decimal, Fraction) else Fraction(str(decimal))


# ---- what is refused


def _refuse_floors(slices: Sequence[Slice], budget: int) -> None:
    for part in slices:
        if part.least > part.most:
            raise BudgetError(
                f"mixture: '{part.name}' is to give at least {part.least:,} tokens but {_means(part)}; "
                f"lower {'pin' if part.pin is not None else 'min_tokens'} or raise max_epochs"
            )
    if (floors := sum(part.least for part in slices)) > budget:
        named = ", ".join(f"'{part.name}' {part.least:,}" for part in slices if part.least)
        raise BudgetError(
            f"mixture: what slices are to give at least is {floors:,} tokens ({named}), more than the budget of "
            f"{budget:,}; lower min_tokens or pin, or set budget_tokens = {floors}"
        )


def _refuse_empty(slices: Iterable[Slice]) -> None:
    for part in slices:
        if part.available_tokens == 0:
            raise BudgetError(
                f"mixture: '{part.name}' has weight {float(part.weight):g} but no tokens: no document of it is left; "
                "set its weight to 0, or set allow_shortfall = true"
            )


def _refuse_caps(slices: Sequence[Slice], budget: int) -> None:
    """Every slice must get what its weight asks, floors apart."""
    rate = level(slices, budget, is_capped=False)
    binding = [part for part in slices if part.pin is None and rate * part.share > part.cap]
    if not binding:
        return
    highest = min(part.cap / part.share for part in binding)
    reachable = floor(_filled(slices, highest, is_capped=False))
    needed = {part.name: Fraction(ceil(rate * part.share), part.available_tokens) for part in binding}
    epochs = ", ".join(f"of '{name}' to {_up(number)}" for name, number in needed.items())
    raise BudgetError(
        f"mixture: budget of {budget:,} tokens cannot be met with these weights: "
        + ", ".join(f"'{part.name}' wants {ceil(rate * part.share):,} tokens but {_means(part)}" for part in binding)
        + f"; reachable with these weights: {reachable:,} tokens; raise max_epochs {epochs}, "
        + _weights_edit(slices, binding, budget)
        + f'set budget_tokens = {reachable}, or on_cap = "spread": the others give what is missing'
    )


def _weights_edit(slices: Sequence[Slice], binding: Sequence[Slice], budget: int) -> str:
    """The weights at which the caps are just reached."""
    rest = sum((part.share for part in slices if part not in binding and part.pin is None), Fraction(0))
    left = budget - sum(part.cap for part in binding) - sum(part.least for part in slices if part.pin is not None)
    if not rest or left <= 0:
        return ""
    weights = (f"of '{part.name}' to {_down(part.cap * rest / left)}" for part in binding)
    return f"lower the weight {', '.join(weights)}, "


def _out_of_reach(slices: Sequence[Slice], budget: int, reachable: int) -> str:
    factor = Fraction(budget, reachable) if reachable else Fraction(0)
    caps = ", ".join(f"'{part.name}' {part.cap:,}" for part in slices)
    return (
        f"mixture: budget of {budget:,} tokens is out of reach: all caps together are {reachable:,} ({caps}); "
        f"multiply every max_epochs by {_up(factor)}, set budget_tokens = {reachable}, add sources, or set "
        "allow_shortfall = true"
    )


def _means(part: Slice) -> str:
    if part.limit is not None:
        return f"its parts give {part.limit:,} at most"
    epochs = f"{part.max_epochs:g} epoch{'' if part.max_epochs == 1 else 's'}"
    give = "gives" if part.max_epochs == 1 else "give"
    return f"{epochs} of {part.available_tokens:,} {give} {part.most:,}"


def _up(number: Fraction) -> str:
    return f"{ceil(number * 1000) / 1000:g}"


def _down(number: Fraction) -> str:
    return f"{floor(number * 10_000) / 10_000:g}"
