"""The story of a document, as `why` finds it, in sentences; nothing is in them that is not on record."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

Story = dict[str, Any]
SHOWN_CHARS = 300  # of a value that a record gives
FORMS = {"=": "{}", "-": "[-{}-]", "+": "{{+{}+}}"}  # both have it, this text alone, the other alone


def told(story: Story) -> Iterator[str]:
    """A sentence for each thing that is on record: fate, place in the shards, origin, measures, what was cut."""
    yield f"It {'was' if story['fate'].split()[0] in PASSED else 'is'} {story['fate']}."
    yield from map(_in_shards, story.get("shards", []))
    yield _origin(story)
    if story.get("evidence"):
        yield f"The ledger says: {_named(story['evidence'])}."
    if meta := story.get("meta"):
        yield f"Its source says: {_named(meta)}."
    if story.get("signals"):
        yield f"Measured: {_named(story['signals'])}."
    if story.get("rules"):
        yield f"Rules of its source: {'; '.join(_rules(story))}."
    if story.get("scores"):
        yield f"Models say: {_named(story['scores'])}."
    if story.get("limits"):
        yield f"Limits on what models say: {_named(story['limits'])}."
    yield from (
        f"{verdict['stage']} has on record: {_named(verdict['evidence'])}." for verdict in _with_evidence(story)
    )
    yield from map(_span, story.get("spans", []))
    if story.get("text"):
        yield f"Its text begins: {' '.join(story['text'].split())}"


PASSED = ("removed", "withdrawn", "dropped", "quarantined", "noted")  # the first word of a fate that is a deed


def difference(story: Story) -> list[tuple[str, str]]:
    """(kind, words) of what a near-duplicate and its survivor do not share; the words as they are shown."""
    return [(kind, FORMS[kind].format(words)) for kind, words in story.get("difference") or []]


def _in_shards(place: dict[str, Any]) -> str:
    """Tokens of the .bin, counted from 0."""
    first, count = place["token_offset"], place["n_tokens"]
    where = f"tokens {first:,} to {first + count - 1:,} of {place['shard']}"
    return f"Copy {place['copy'] + 1} is {where} ({count:,} tokens, sequence {place['sequence']:,})."


def _origin(story: Story) -> str:
    """The raw file, or those that it may be from, and where the document stands since."""
    files = story["inputs"]
    read = files[0] if len(files) == 1 else f"one of {len(files):,} files: {_some(files)}"
    if "document_part" not in story:
        return f"It was read from {read}."
    row, own = story["document_row"], story["input_document"]
    among = f", document {own:,}, from 0, of those made of it" if own not in (None, row) else ""
    return f"It was read from {read}{among}; it is row {row:,}, from 0, of {story['document_part']}."


def _some(files: list[str], shown: int = 3) -> str:
    more = f" and {len(files) - shown:,} more" if len(files) > shown else ""
    return f"{', '.join(files[:shown])}{more}"


def _rules(story: Story) -> Iterator[str]:
    """Each with what was measured beside it."""
    for key, bound in story["rules"].items():
        _, _, signal = key.partition("_")
        measured = story["signals"].get(signal)
        yield f"{key} = {_number(bound)}" + ("" if measured is None else f" (it has {_number(measured)})")


def _with_evidence(story: Story) -> Iterable[dict[str, Any]]:
    return (verdict for verdict in story.get("verdicts", []) if verdict["evidence"])


def _span(span: dict[str, Any]) -> str:
    where = f"bytes {span['start']:,} to {span['end']:,}"
    return f"Cut from it: {where}, as they stand in {span['survivor']} from byte {span['offset']:,}: {span['text']} …"


def _named(values: dict[str, Any]) -> str:
    """`name value, name value`; nothing of what is empty."""
    return ", ".join(f"{key} {_value(value)}" for key, value in values.items() if value not in (None, "", [], {}))


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"({_named(value)})"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return "/".join(value)
    if isinstance(value, int | float):
        return _number(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _value(value) if not isinstance(value, bool) else str(value).lower()
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
