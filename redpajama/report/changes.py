"""What differs between the parameters of two fingerprints, in words: `rules.min_words 6 -> 12`."""

import json
import re
from collections.abc import Iterator
from typing import Any

from redpajama.hashing import canonical_json

UNMEASURED = "not measured yet"  # in the place of the SHA-256 of a file that a build would have to read first
LIBRARIES = ("libraries", "versions", "libraries of lines", "trainer")  # keys of {library: version}
HASH = re.compile("[0-9a-f]{16,64}")
MAX_CHARS = 40  # of a value that is shown

Parameters = dict[str, Any]
Path = tuple[str, ...]


def differences(before: Parameters, now: Parameters) -> list[str]:
    """Each difference in a few words: the stage's own version first, then libraries, then the rest by path.

    What waits for a file that is not measured yet may turn out the same: it is left out.
    """
    old, new = (dict(_leaves(json.loads(canonical_json(each)))) for each in (before, now))
    paths = [path for path in {**old, **new} if old.get(path) != new.get(path) and not _waits(new.get(path))]
    return list(dict.fromkeys(_words(path, old.get(path), new.get(path)) for path in sorted(paths, key=_rank)))


def _waits(value: Any) -> bool:
    return UNMEASURED in canonical_json(value).decode()


def _rank(path: Path) -> tuple[bool, bool, Path]:
    return path[0] != "stage", path[0] not in LIBRARIES, path


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path, scalar or list of scalars) of all that a value holds."""
    named = value if isinstance(value, dict) else _named(value)
    if named is None:
        yield path, value
    for key, each in (named or {}).items():
        yield from _leaves(each, (*path, key))


def _named(value: Any) -> dict[str, Any] | None:
    """A list of pairs, or of tables that have a name, by name; None of any other value."""
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(each, list) and len(each) == 2 and isinstance(each[0], str) for each in value):
        found = dict(value)
    elif all(isinstance(each, dict) and isinstance(each.get("source"), str) for each in value):
        found = {each["source"]: each for each in value}
    else:
        return None
    return found if len(found) == len(value) else None


def _words(path: Path, old: Any, new: Any) -> str:
    if path == ("stage",):
        return f"version {old[1]} -> {new[1]}"
    if path == ("pipeline",) and isinstance(old, list) and isinstance(new, list) and old[0] == new[0]:
        return f"pipeline {old[0]}: version {old[1]} -> {new[1]}"
    name = f"library {path[-1]}" if path[0] in LIBRARIES else ".".join(path)
    if old is None or new is None:
        return f"{name} is new: {_shown(new)}" if old is None else f"{name} is gone, was {_shown(old)}"
    if _shown(old) == _shown(new):
        return f"{name} is another"
    return f"{name} {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        text = ", ".join(map(_shown, value))
    elif isinstance(value, str):
        text = value[:8] if HASH.fullmatch(value) else value
    else:
        text = json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"
