"""`weights = "file.json"` of a mixture: what mixture search found, in the forms that its tools write.

JSON: `{"web": 0.7, …}`, the same below `weights`, `mix` or `train`; each value a number or a table with `weight`; or a
list of tables with `domain` (or `name`, `source`) and `weight` (or `ratio`). CSV: the columns `domain` and `weight`.
RegMix puts `train_` in front of names.
"""

import csv
import json
from math import isfinite
from pathlib import Path
from typing import Any

from redpajama.mistakes import Mistake, suggestion

TABLES = ("weights", "mix", "train")
NAMES, VALUES = ("domain", "name", "source"), ("weight", "ratio")


class WeightsError(ValueError):
    """The file cannot be used; one line."""


def filled(values: dict[str, Any], folder: Path) -> tuple[dict[str, Any], list[Mistake]]:
    """A manifest's values with the weights that its mixture's file gives to slices and groups, and what is wrong.

    A slice that the file does not name has weight 0; slices of a group get what they have `within` it, or keep
    their own where the file names none of them.
    """
    mixture = values.get("mixture")
    if not isinstance(mixture, dict) or not isinstance(path := mixture.get("weights"), str):
        return values, []
    try:
        found = read(folder / path)
    except WeightsError as error:
        return {**values, "mixture": _set(mixture, {}, 1.0)}, [Mistake("mixture.weights", f"{path}: {error}")]
    names = [key for kind in ("slice", "group") for each in _tables(mixture, kind) if (key := _key(each))]
    prefixed = {name: name if name in names else name.removeprefix("train_") for name in found}
    twice = [name for name, own in prefixed.items() if name != own and own in found]
    said = [Mistake("mixture.weights", f"{path}: it has '{name.removeprefix('train_')}' twice") for name in twice]
    found = {prefixed[name]: weight for name, weight in found.items()}
    said += [
        Mistake("mixture.weights", f"{path}: no slice or group is called '{name}'{suggestion(name, names)}")
        for name in found
        if name not in names
    ]
    return {**values, "mixture": _set(mixture, found, 0.0)}, said


def _tables(mixture: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    found = mixture.get(kind, [])
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _key(table: dict[str, Any]) -> str:
    return str(table.get("name") or table.get("source") or "")


def _set(mixture: dict[str, Any], found: dict[str, float], missing: float) -> dict[str, Any]:
    shares = _tables(mixture, "slice")
    parted = {each.get("group") for each in shares if _key(each) in found}
    slices = [
        {**each, "within" if "group" in each else "weight": found.get(_key(each), missing)}
        if "group" not in each or each["group"] in parted
        else each
        for each in shares
    ]
    groups = [{**each, "weight": found.get(_key(each), each.get("weight", 1))} for each in _tables(mixture, "group")]
    return {**mixture, "slice": slices, **({"group": groups} if groups else {})}


def read(path: Path) -> dict[str, float]:
    """{name: weight} of a file.

    Raises:
        WeightsError: it cannot be read, or is of another form.
    """
    try:
        text = path.read_text(encoding="utf-8")
        is_csv = path.suffix == ".csv"
        rows = list(csv.DictReader(text.splitlines())) if is_csv else json.loads(text, object_pairs_hook=_once)
    except OSError as error:
        raise WeightsError(error.strerror or str(error)) from None
    except WeightsError:
        raise
    except ValueError:
        raise WeightsError("neither JSON nor, with a name that ends so, .csv") from None
    found = _pairs(rows)
    if not found or not any(found.values()):
        raise WeightsError('no weights in it: {"web": 0.7, …}, or a list or CSV of domain and weight')
    return found


def _pairs(rows: Any) -> dict[str, float]:
    if isinstance(rows, list):
        named = [(_first(row, NAMES), _first(row, VALUES)) for row in rows if isinstance(row, dict)]
        return _once([(str(name), _weight(name, value)) for name, value in named if name is not None])
    if not isinstance(rows, dict):
        return {}
    if inner := next((rows[name] for name in TABLES if isinstance(rows.get(name), dict | list)), None):
        return _pairs(inner)
    return {name: _weight(name, each.get("weight") if isinstance(each, dict) else each) for name, each in rows.items()}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        name = next(name for number, (name, _) in enumerate(pairs) if name in dict(pairs[:number]))
        raise WeightsError(f"it has '{name}' twice")
    return found


def _first(row: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((row[key] for key in keys if key in row), None)


def _weight(name: Any, value: Any) -> float:
    try:
        weight = float(value)
    except (TypeError, ValueError):
        raise WeightsError(f"the weight of '{name}' is no number: {value!r:.40}") from None
    if not isfinite(weight) or weight < 0:
        raise WeightsError(f"the weight of '{name}' is {weight:g}: it must be 0 or more")
    return weight
