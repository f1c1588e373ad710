"""What a table of the manifest is; and those that say how much of each source is drawn, and into what files."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import isnan, nan
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from redpajama.formats import FORMATS, PACKED, STORE
from redpajama.mistakes import Several, UnknownKeys, suggestion

NAME = re.compile(r"[a-z][a-z0-9_-]*")
MIXTURE_PART_TOKENS = 8_000_000  # about 35 MB of text
MAX_REPEATS = 7  # of a curve: OLMo 3 saw its best web pages so often
Policy = Literal["weights", "natural", "temperature", "unimax", "epochs"]


class Table(BaseModel):
    """A TOML table: closed (an unknown key is an error with a suggestion) and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, dict) and (unknown := sorted(values.keys() - cls.model_fields.keys())):
            raise UnknownKeys(unknown, list(cls.model_fields))
        return values


def with_pipelines(values: dict[str, Any]) -> dict[str, Any]:
    """A manifest's values, where each source that is made of a reading has the reading's pipeline."""
    readings, sources = values.get("reading"), values.get("source")
    if not isinstance(sources, list):
        return values
    tables = [each for each in readings if isinstance(each, dict)] if isinstance(readings, list) else []
    known = {each.get("name"): each.get("pipeline", "rows") for each in tables}
    filled = [
        {"pipeline": known.get(each["reading"], "rows"), **each}
        if isinstance(each, dict) and isinstance(each.get("reading"), str)
        else each
        for each in sources
    ]
    return {**values, "source": filled}


class Tokens(Table):
    """`tokens = { value = 878_000_000_000, source = "published" }`: how many unique tokens there are, and who says so.

    A build's own counts take their place.
    """

    value: int = Field(ge=0)
    source: Literal["measured", "published", "estimated"]
    tokenizer: str | None = None  # that counted them; not given: the manifest's


class Bounds(Table):
    """`{ min = 0.5, max = 0.9 }`: values from `min` and below `max`."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _holds_something(self) -> "Bounds":
        if self.min is None and self.max is None:
            raise ValueError("give min or max")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"no value is at least {self.min:g} and below {self.max:g}")
        return self


Value = str | bool | int | float


def _kind_of(condition: Any) -> str:
    """Which of the forms of a condition is meant: so a mistake is told of that one alone."""
    return "range" if isinstance(condition, dict | Bounds) else "list" if isinstance(condition, list) else "value"


Condition = Annotated[  # a value, one of several, a range
    Annotated[Value, Tag("value")] | Annotated[list[Value], Tag("list")] | Annotated[Bounds, Tag("range")],
    Discriminator(_kind_of),
]


class Curve(Table):
    """`curve = { by = "wiki_prob", bounds = [0.25, 0.5], repeats = [0, 1, 3] }`: the better, the more often.

    Bin 0 is what lies below the first bound, or has no value; each other begins at its bound.
    """

    by: str  # a score, a signal, or a number in the meta
    bounds: list[Annotated[float, Field(allow_inf_nan=False)]] = Field(min_length=1)
    repeats: list[Annotated[float, Field(ge=0, le=MAX_REPEATS)]]
    # unique tokens of each bin, as far as anybody knows; a build's own counts take their place
    tokens: list[int] | None = Field(default=None, exclude_if=lambda value: value is None)

    @model_validator(mode="after")
    def _is_monotone(self) -> "Curve":
        found = []
        if any(one >= other for one, other in pairwise(self.bounds)):
            found.append(f"bounds must rise, and {_list(self.bounds)} do not")
        if any(one > other for one, other in pairwise(self.repeats)):
            found.append(f"repeats must not fall, and {_list(self.repeats)} do: the better is seen as often at least")
        if len(self.repeats) != len(self.bounds) + 1:
            bins = len(self.bounds) + 1
            found.append(f"{len(self.bounds)} bounds make {bins} bins, and repeats has {len(self.repeats)}")
        if not any(self.repeats):
            found.append("repeats are all 0: nothing is drawn; weight = 0 leaves the slice out")
        if self.tokens is not None and len(self.tokens) != len(self.repeats):
            found.append(f"tokens has {len(self.tokens)} bins, and repeats {len(self.repeats)}")
        if found:
            raise Several(found)
        return self


class Slice(Table):
    """`[[mixture.slice]]`: a source, or a part of one, and its share of the budget."""

    source: str
    name: str | None = Field(default=None, exclude_if=lambda value: value is None)  # not given: the source's
    # what its documents have: keys of the meta, scores, signals. The first slice whose `where` one meets takes it
    where: dict[str, Condition] | None = Field(default=None, exclude_if=lambda value: value is None)
    # relative to the others'; of the policy `epochs`: how often it is to be seen; of others: 0 leaves it out
    weight: float | None = Field(default=None, ge=0, allow_inf_nan=False, exclude_if=lambda value: value is None)
    group: str | None = Field(default=None, exclude_if=lambda value: value is None)  # whose tokens it shares
    within: float = Field(default=1, ge=0, allow_inf_nan=False, exclude_if=lambda value: value == 1)  # its share there
    max_epochs: float = Field(default=1, gt=0, le=16)
    min_tokens: int = Field(default=0, ge=0, exclude_if=lambda value: not value)
    # exactly so many tokens; below 1: so much of its group
    pin: Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    curve: Curve | None = Field(default=None, exclude_if=lambda value: value is None)
    tokens: Tokens | None = Field(default=None, exclude_if=lambda value: value is None)  # that it is said to hold

    @property
    def key(self) -> str:
        """What it is called."""
        return self.name or self.source

    @property
    def is_whole(self) -> bool:
        """Whether it takes all that is left of its source."""
        return self.where is None

    def mistakes(self, policy: str) -> Iterator[str]:
        """What is wrong with it, in a mixture of that policy."""
        where = f"slice '{self.key}'"
        is_told = not (self.weight is None and self.pin is None and self.curve is None)
        if self.group is None and policy in ("weights", "epochs") and not is_told:
            yield f'{where} has no weight; policy = "{policy}" needs one'
        if not NAME.fullmatch(self.key):
            yield f"{where}: not a name: lower-case letters, digits, _ and -, a letter first"
        if self.group is not None and self.weight is not None:
            yield f"{where} is in group '{self.group}', which has the weight; its share there is called within"
        if self.group is None and self.within != 1:
            yield f"{where}: within goes with group: name one"
        if self.pin is not None and self.weight == 0:
            yield f"{where}: weight = 0 leaves it out, and pin wants it"
        if self.pin is not None and self.min_tokens:
            yield f"{where}: give either pin or min_tokens, and not both"
        if isinstance(self.pin, float) and self.group is None:
            yield f"{where}: pin = {self.pin:g} is a share of a group: name one, or pin a number of tokens"
        if self.curve is not None and self.max_epochs != 1:
            yield f"{where}: its curve says how often each bin is seen, and max_epochs does not go with it"
        if self.where == {}:
            yield f"{where}: where is empty: every document meets it; leave it out, or name a key"


class Group(Table):
    """`[[mixture.group]]`: slices that share one weight; what they have of it their `within` says, or a policy."""

    name: str
    weight: float = Field(default=1, ge=0, allow_inf_nan=False)
    policy: Policy = Field(default="weights", exclude_if=lambda value: value == "weights")  # inside
    temperature: float = Field(default=0.7, gt=0, le=1, exclude_if=lambda value: value == 0.7)
    min_tokens: int = Field(default=0, ge=0, exclude_if=lambda value: not value)
    pin: int | None = Field(default=None, ge=0, exclude_if=lambda value: value is None)


class Stage(Table):
    """`[[mixture.stage]]`: tokens that follow those of the stage before, with weights of its own."""

    name: str | None = Field(default=None, exclude_if=lambda value: value is None)  # not given: stage1, stage2, …
    budget_tokens: int = Field(gt=0)
    # of slices and groups, by name; of those not named: as they stand. 0 leaves one out of the stage
    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default={})


class Mixture(Table):
    """`[mixture]`: how many tokens, and how much of each source."""

    budget_tokens: int = Field(gt=0)  # with stages: their sum
    allow_shortfall: bool = False
    # where a slice would pass its cap: others share the rest, or it is an error; not given: as allow_shortfall has it
    on_cap: Literal["spread", "error"] | None = Field(default=None, exclude_if=lambda value: value is None)
    policy: Policy = Field(default="weights", exclude_if=lambda value: value == "weights")
    temperature: float = Field(default=0.7, gt=0, le=1, exclude_if=lambda value: value == 0.7)  # a power of the sizes
    # a file of mixture search, relative to the manifest's folder: it is read where the manifest is
    weights: str | None = Field(default=None, exclude_if=lambda value: value is None)
    scale: str | None = Field(default=None, pattern=r"^1/[1-9]\d*$", exclude_if=lambda value: value is None)
    # of documents: that much is held out before anything is drawn
    validation: float = Field(default=0, ge=0, lt=1, exclude_if=lambda value: not value)
    # longer documents are cut there, or left out
    max_document_tokens: int | None = Field(default=None, ge=2, exclude_if=lambda value: value is None)
    long_documents: Literal["cut", "leave_out"] = Field(default="cut", exclude_if=lambda value: value == "cut")
    # of a text in the whole stream, near copies of all sources included
    max_copies: int | None = Field(default=None, ge=1, exclude_if=lambda value: value is None)
    group: list[Group] = Field(default=[], exclude_if=lambda value: not value)
    stage: list[Stage] = Field(default=[], exclude_if=lambda value: not value)
    slice: list[Slice] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _add_stages_up(cls, values: Any) -> Any:
        stages = values.get("stage") if isinstance(values, dict) else None
        if not isinstance(stages, list) or "budget_tokens" in values:
            return values
        budgets = [each.get("budget_tokens") for each in stages if isinstance(each, dict)]
        is_sound = budgets and all(isinstance(tokens, int) for tokens in budgets)
        return {**values, "budget_tokens": sum(budgets)} if is_sound else values

    @model_validator(mode="after")
    def _is_sound(self) -> "Mixture":
        of_slices = (said for share in self.slice for said in share.mistakes(self.policy))
        if found := [*self._of_all(), *self._of_names(), *self._of_stages(), *of_slices]:
            raise Several(found)
        return self

    def group_of(self, share: Slice) -> Group | None:
        """The group that a slice is in."""
        return next((group for group in self.group if group.name == share.group), None)

    def is_drawn(self, share: Slice) -> bool:
        """Whether a slice gives any tokens, in some stage."""
        if self.stage:
            return any(self.of_stage(number).is_drawn(share) for number in range(len(self.stage)))
        share = next(each for each in self.slice if each.key == share.key)
        group = self.group_of(share)
        return bool(share.weight != 0 and share.within and (group is None or group.weight))

    @property
    def stage_names(self) -> list[str]:
        """The names of the stages; "" of the only one."""
        return [stage.name or f"stage{number}" for number, stage in enumerate(self.stage, 1)] or [""]

    def of_stage(self, number: int) -> "Mixture":
        """The mixture of one stage alone: its budget, and its weights."""
        if not self.stage:
            return self
        stage, key = self.stage[number], "weight"
        groups = [each.model_copy(update={key: stage.weights.get(each.name, each.weight)}) for each in self.group]
        slices = [
            each.model_copy(update={"within" if each.group else key: stage.weights[each.key]})
            if each.key in stage.weights
            else each
            for each in self.slice
        ]
        return self.model_copy(
            update={"budget_tokens": stage.budget_tokens, "group": groups, "slice": slices, "stage": []}
        )

    def drawn_sources(self) -> set[str]:
        """The sources that give any tokens."""
        return {share.source for share in self.slice if self.is_drawn(share)}

    def _of_all(self) -> Iterator[str]:
        if not any(self.is_drawn(share) for share in self.slice):
            yield "every weight is 0: nothing to draw from; give at least one slice a weight"
        if self.on_cap == "error" and self.allow_shortfall:
            yield 'allow_shortfall = true goes with on_cap = "spread": caps bind wherever a budget is missed'
        if "temperature" in self.model_fields_set and self.policy != "temperature":
            yield 'temperature goes with policy = "temperature"'

    def _of_stages(self) -> Iterator[str]:
        if not self.stage:
            return
        if (total := sum(stage.budget_tokens for stage in self.stage)) != self.budget_tokens:
            yield f"budget_tokens is {self.budget_tokens:,}, and its stages have {total:,}: leave it out"
        known = [each.key for each in self.slice] + [group.name for group in self.group]
        for name in sorted({name for stage in self.stage for name in stage.weights} - set(known)):
            yield f"stage: no slice or group is called '{name}'{suggestion(name, known)}"
        names = [*self.stage_names, "validation"]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"stage '{name}' is named twice, or as what is held out"
        if bound := [each.key for each in self.slice if each.pin is not None or each.min_tokens]:
            yield f"slice '{bound[0]}': pin and min_tokens do not go with stages: their weights say what each gets"
        if curved := [each.key for each in self.slice if each.curve and each.weight is None and not each.group]:
            yield f"slice '{curved[0]}': with stages a curve needs a weight: its own sum belongs to no stage"

    def _of_names(self) -> Iterator[str]:
        groups, keys = [group.name for group in self.group], [share.key for share in self.slice]
        for name in sorted({name for name in [*groups, *keys] if [*groups, *keys].count(name) > 1}):
            same_source = sum(share.name is None and share.source == name for share in self.slice) > 1
            more = ": slices of one source have names of their own" if same_source else ""
            yield f"'{name}' is named twice{more}"
        for share in self.slice:
            if share.group and share.group not in groups:
                hint = suggestion(share.group, groups) if groups else "; add a [[mixture.group]]"
                yield f"slice '{share.key}': no group is called '{share.group}'{hint}"
        for name in groups:
            if name not in {share.group for share in self.slice}:
                yield f"group '{name}' has no slice"
        yield from self._unmet()

    def _unmet(self) -> Iterator[str]:
        whole: dict[str, str] = {}
        for share in self.slice:
            first = whole.get(share.source, share.key)
            if share.key != first:
                yield f"slice '{share.key}' gets nothing: '{first}' before it takes all of '{share.source}'"
            if share.is_whole:
                whole.setdefault(share.source, share.key)


class Packing(Table):
    """`packing = { method = "best-fit", length = 2048 }`: how exports of rows fill them."""

    method: Literal["none", "concatenate", "best-fit"] | None = None  # not given: what the format's readers expect
    length: int = Field(default=2048, ge=2, le=1 << 24)  # tokens a row


class Shards(Table):
    """`[shards]`: the training files."""

    tokens_per_shard: int = Field(default=100_000_000, gt=0)
    per: Literal["mixture", "slice"] = Field(default="mixture", exclude_if=lambda value: value == "mixture")
    formats: list[str] = [STORE]  # what is exported once the build is done, to ROOT/exports/<build>/<format>
    packing: Packing = Field(default=Packing(), exclude_if=lambda value: value == Packing())

    @field_validator("formats")
    @classmethod
    def _are_known(cls, names: list[str]) -> list[str]:
        if unknown := [name for name in names if name not in FORMATS]:
            raise Several([f"no format is called '{name}'{suggestion(name, list(FORMATS))}" for name in unknown])
        return names

    @model_validator(mode="after")
    def _is_packed_as_asked(self) -> "Shards":
        if self.packing != Packing() and not any(name in PACKED for name in self.formats):
            raise ValueError(f"packing goes with a format of rows: {', '.join(PACKED)}")
        refused = [name for name in self.formats if name in PACKED and self.packing.method not in (None, *PACKED[name])]
        if refused:
            raise ValueError(f"packing by '{self.packing.method}' is nothing for {refused[0]}")
        return self

    def packing_of(self, name: str) -> Packing:
        """How an export is packed; not at all where its format has no rows."""
        return self.packing if name in PACKED else Packing()

    def count(self, total_tokens: int) -> int:
        """How many shards a corpus of so many tokens has."""
        return max(1, -(-total_tokens // self.tokens_per_shard))

    def ranges(self, total_tokens: int, enlarged: int = 1) -> int:
        """How many parts of the mixture make one shard: each is sorted in memory. `enlarged`: times as large."""
        return max(1, -(-min(self.tokens_per_shard, total_tokens) // (MIXTURE_PART_TOKENS * enlarged)))


def _list(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


# ---- conditions


def meets_all(table: Any, where: Mapping[str, Condition]) -> bool:
    """Whether a table of values (a document's meta) has all that is asked for."""
    return all(meets(value_at(table, key), condition) for key, condition in where.items())


def value_at(table: Any, key: str) -> Any:
    """What stands at a key; `a.b` is the key b of a table a."""
    if isinstance(table, dict) and key not in table and "." in key:
        head, _, rest = key.partition(".")
        return value_at(table.get(head), rest)
    return table.get(key) if isinstance(table, dict) else None


def meets(value: Any, condition: Condition) -> bool:
    """Whether a value is what is asked for; a list has to hold it."""
    if isinstance(value, list):
        return any(meets(each, condition) for each in value)
    if isinstance(condition, Bounds):
        number = number_of(value)
        least = condition.min is None or number >= condition.min
        return not isnan(number) and least and (condition.max is None or number < condition.max)
    wanted = condition if isinstance(condition, list) else [condition]
    return any(type(value) is type(each) and value == each for each in wanted) or _equal_number(value, wanted)


def _equal_number(value: Any, wanted: Sequence[Any]) -> bool:
    number = number_of(value)
    return any(number == number_of(each) for each in wanted)


def number_of(value: Any) -> float:
    """A value as a number; NaN where it is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else nan
