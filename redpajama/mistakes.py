"""Every mistake of a manifest at once: what pydantic finds, and what it would find were that mended.

A validator that fails hides those that would run after it. So what is wrong is mended in a copy (a misspelt key gets
its likely name, a bad value its default, a missing one a placeholder) and the copy is checked again, until it is whole.
"""

import types
from collections.abc import Sequence
from copy import deepcopy
from difflib import get_close_matches
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from redpajama.errors import UserError

MAX_ROUNDS = 12
PLACEHOLDERS: dict[str, Any] = {  # of what must be there, and of what is missed where it goes
    "name": "unnamed",
    "seed": 0,
    "pipeline": "rows",
    "inputs": ["unnamed"],
    "dataset": {"path": "unnamed"},
    "dump": [{"id": "CC-MAIN-2023-06"}],
    "id": "CC-MAIN-2023-06",
    "path": "unnamed",
    "source": [{"name": "unnamed", "pipeline": "rows", "inputs": ["unnamed"]}],
    "budget_tokens": 1,
    "weight": 1,
    "vocab_size": 512,
    "min_bytes": 200,
    "lists": ["unnamed"],
}
READ_KEYS = ("inputs", "dump", "dataset")  # of a source: one of them says what is read

Place = tuple[int | str, ...]  # the keys from the top, list items from 0
Model = TypeVar("Model", bound=BaseModel)


class Mistake(NamedTuple):
    """What is wrong, and where: `source[2].inputs`; "" is the manifest as a whole."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message


class ManifestError(UserError):
    """The manifest is wrong; the message is one line that says where, what, and what would be right."""

    def __init__(self, path: str, mistakes: Sequence[Mistake]) -> None:
        more = f" (`redpajama plan` tells all {len(mistakes)} mistakes)" if len(mistakes) > 1 else ""
        super().__init__(f"{path}: {mistakes[0]}{more}")
        self.path, self.mistakes = path, list(mistakes)


class Several(ValueError):
    """What a validator raises that looks at more than one thing; `messages` has a line for each."""

    def __init__(self, messages: Sequence[str]) -> None:
        super().__init__("\n".join(messages))
        self.messages = list(messages)


class UnknownKeys(Several):
    """Keys that a table does not have."""

    def __init__(self, keys: Sequence[str], known: Sequence[str]) -> None:
        super().__init__([f"unknown key '{key}'{suggestion(key, known)}" for key in keys])
        self.keys, self.known = list(keys), list(known)


class Examined(NamedTuple):
    """A manifest as far as it can be understood."""

    model: Any  # with every mistake mended; None where that failed
    mistakes: list[Mistake]
    mended: set[Place]  # what in the model is not what the manifest says

    def is_sound(self, *place: int | str) -> bool:
        """Whether nothing at a place, around it or in it was mended."""
        return not any(each[: len(place)] == place[: len(each)] for each in self.mended)


def suggestion(word: str, known: Sequence[str]) -> str:
    """`; did you mean 'x'?` where a known word is near, else the list of known words."""
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(sorted(known))}"


def examine(model: type[Model], values: dict[str, Any]) -> Examined:
    """All mistakes of `values`, in the order in which they are met."""
    values, found, mended = deepcopy(values), dict[Mistake, None](), set[Place]()
    for _ in range(MAX_ROUNDS):
        try:
            return Examined(model(**values), list(found), mended)
        except ValidationError as error:
            problems = error.errors(include_url=False)
        places = [_place_in(values, problem) for problem in problems]
        for problem, place in zip(problems, places, strict=True):
            is_new = place not in mended or isinstance(problem.get("ctx", {}).get("error"), UnknownKeys)
            if is_new and not (place == () and _has_unknown_name(mended)):
                found |= dict.fromkeys(mistakes_of(problem, model, _shown(problem, place)))
        for place, problem in sorted(zip(places, problems, strict=True), key=_last_first):
            mended |= _mend(values, place, problem, model)
    return Examined(None, list(found), mended)


def _last_first(found: tuple[Place, Any]) -> list[tuple[bool, Any]]:
    return [(isinstance(step, str), -step if isinstance(step, int) else step) for step in found[0]]


def _has_unknown_name(mended: set[Place]) -> bool:
    """Whether a source lost its name: then nothing can be said of who is named."""
    return any(place == ("source",) or (place[0] == "source" and place[2:] == ("name",)) for place in mended if place)


def _place_in(values: Any, problem: Any) -> Place:
    """Where a problem stands in the values: pydantic goes on with the members of a union.

    One table may stand where a list of them is meant.
    """
    place: Place = ()
    for step in problem["loc"]:
        if isinstance(values, dict) and isinstance(step, int) and place:
            continue
        is_there = (
            step in values if isinstance(values, dict) else isinstance(values, list) and step in range(len(values))
        )
        if not is_there:
            return (*place, step) if problem["type"] == "missing" else place
        values, place = values[step], (*place, step)
    return place


def _shown(problem: Any, place: Place) -> Place:
    """The same as a message has it: each table of a list with its number."""
    strings = _strings(place)
    loc = tuple(problem["loc"])
    return next((loc[:n] for n in range(len(place), len(loc) + 1) if _strings(loc[:n]) == strings), place)


def _strings(place: Place) -> int:
    return sum(isinstance(step, str) for step in place)


# ---- in words


def mistakes_of(problem: Any, model: type[BaseModel], place: Place = ()) -> list[Mistake]:
    """One problem that pydantic found -> `source[2].inputs` and what is wrong there."""
    place = place or tuple(problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = list(table_at(model, place[:-1]).model_fields)
        return [Mistake(key_of(place[:-1]), f"unknown key '{place[-1]}'{suggestion(str(place[-1]), known)}")]
    raised = problem.get("ctx", {}).get("error")
    if isinstance(raised, Several):
        return [Mistake(key_of(place), message) for message in raised.messages]
    message = problem["msg"].removeprefix("Value error, ")
    got = "" if problem["type"] in ("missing", "value_error") else f", not {problem['input']!r:.80}"
    return [Mistake(key_of(place), f"{message}{got}")]


def key_of(place: Sequence[int | str]) -> str:
    """`source[2].inputs`: items are counted from 1."""
    return "".join(f"[{step + 1}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")


def table_at(model: type[BaseModel], place: Place) -> type[BaseModel]:
    """The model of the table at a place."""
    for step in place:
        if isinstance(step, str):
            model = next(iter(_models_in(model.model_fields[step].annotation)), model)
    return model


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    inner = get_args(annotation) if get_origin(annotation) in (list, Annotated, Union, types.UnionType, tuple) else ()
    return [each for argument in inner for each in _models_in(argument)]


# ---- mending


def _mend(values: Any, place: Place, problem: Any, model: type[BaseModel]) -> set[Place]:
    """Make the values pass at a place; gives the places at which they no longer say what the manifest says."""
    raised = problem.get("ctx", {}).get("error")
    if isinstance(raised, UnknownKeys):
        _rename(table_in(values, place), raised.keys, raised.known)
        return set()
    if not place:
        return _mend_whole(values)
    parent = _parent(values, place)
    if parent is None:
        return set()
    key: Any = place[-1]
    if problem["type"] == "extra_forbidden":
        _rename(parent, [str(key)], list(table_at(model, place[:-1]).model_fields))
        return set()
    if len(place) == 2 and place[0] == "source":
        return _mend_source(parent, key)
    if problem["type"] == "missing" and key not in PLACEHOLDERS:
        return _mend(values, place[:-1], {"type": "value_error"}, model)
    if key in PLACEHOLDERS:
        parent[key] = _placeholder(place)
    elif isinstance(parent, list) or key in parent:
        del parent[key]
    return {place}


def _mend_source(sources: list[Any], number: int) -> set[Place]:
    """A source that reads one thing, and asks for no perplexity where it does not say the language."""
    place, table = ("source", number), sources[number]
    if not isinstance(table, dict):
        sources[number] = {"name": f"unnamed-{number}", "pipeline": "rows", "inputs": ["unnamed"]}
        return {place}
    given = [key for key in READ_KEYS if table.get(key)]
    for key in [*given[1:], *(["perplexity"] if "language" not in table else [])]:
        table.pop(key, None)
    if not given:
        table["inputs"] = ["unnamed"]
    return {(*place, key) for key in (given[1:] or READ_KEYS[: not given])}


def _mend_whole(values: dict[str, Any]) -> set[Place]:
    """Parts that do not agree: what names sources goes, and sources get names of their own."""
    values.get("dedup", {}).pop("order", None)
    seen = set[Any]()
    for number, table in enumerate(values["source"]):
        for key in ("classifier", "tokens"):
            table.pop(key, None)
        if table["name"] in seen:
            table["name"] = f"{table['name']}-{number}"
        seen.add(table["name"])
    return {(key,) for key in ("mixture", "classifier") if values.pop(key, None) is not None}


def _placeholder(place: Place) -> Any:
    number = next((step for step in reversed(place) if isinstance(step, int)), 0)
    return f"unnamed-{number}" if place[-1] == "name" else deepcopy(PLACEHOLDERS[str(place[-1])])


def _parent(values: Any, place: Place) -> Any:
    """The table or list that holds a place; None where it is gone by now."""
    for step in place[:-1]:
        if not (step in values if isinstance(values, dict) else step in range(len(values))):
            return None
        values = values[step]
    key = place[-1]
    return values if isinstance(values, dict) or key in range(len(values)) else None


def table_in(values: Any, place: Place) -> Any:
    """What stands at a place."""
    for step in place:
        values = values[step]
    return values


def _rename(table: dict[str, Any], keys: Sequence[str], known: Sequence[str]) -> None:
    """Give misspelt keys the names that they are near; drop what is near none, or stands there already."""
    for key in keys:
        value, near = table.pop(key), get_close_matches(key, known, n=1, cutoff=0.6)
        if near and near[0] not in table:
            table[near[0]] = value
