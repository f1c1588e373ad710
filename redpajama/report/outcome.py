"""What a finished build took: documents, text, tokens, core-seconds and bytes on disk, as `costs` reckons them."""

from collections.abc import Iterator
from typing import Any

from redpajama.engine.gathered import StageRecord, read_parts, read_stage
from redpajama.engine.store import Store


def outcome(store: Store, record: dict[str, Any]) -> dict[str, float | None]:
    """{documents, text_bytes, tokens, core_seconds, disk_bytes}; None of what is not on record.

    Documents, text and tokens are those of all documents before any is removed; seconds those of the parts that were
    made here, and only a disk has them. What is scratch, no build names: of a ROOT with several it counts for each.
    """
    stages = {
        stage: [read_stage(store, entry["record"]) for entry in names.values()]
        for stage, names in record["stages"].items()
    }
    made = [each.counts for each in stages.get("documents", [])]
    counted = [each.counts for each in stages.get("counts", [])]
    named = {key for found in stages.values() for each in found for key in _keys(store, each)}
    return {
        "documents": sum(counts["kept"] for counts in made),
        "text_bytes": sum(counts["text_bytes"] for counts in made),
        "tokens": sum(counts["tokens"] for counts in counted) if len(counted) == len(made) else None,
        "core_seconds": _seconds(store, record, named) if store.local else None,
        "disk_bytes": sum(size for key, size in store.keys("") if _is_of(key, record, named)),
    }


def _keys(store: Store, stage: StageRecord) -> Iterator[str]:
    """The files of a stage, records too."""
    yield from (stage.key, *(file["key"] for file in stage.gathered))
    for part in read_parts(store, stage):
        yield from (f"{part.stem}.json", *part.outputs)


def _is_of(key: str, record: dict[str, Any], named: set[str]) -> bool:
    """Whether a file is a build's: it names it, or its stages without names made it."""
    return (
        key in named or key.partition("/")[0] in record["scratch"] or key == f"builds/{record['manifest']['name']}.json"
    )


def _seconds(store: Store, record: dict[str, Any], named: set[str]) -> float:
    """Of the parts of all stages."""
    keys = [key for key, _ in store.keys("timing") if key.endswith(".json")]
    notes = [store.read_json(key) for key in keys if _is_of(key.removeprefix("timing/"), record, named)]
    return round(sum(note.get("cpu_seconds", 0.0) for note in notes), 2)
