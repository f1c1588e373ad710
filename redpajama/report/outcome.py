"""What a finished build took: documents, text, tokens, core-seconds and bytes on disk, as `costs` reckons them."""

from typing import Any

from redpajama.engine.gathered import read_stage
from redpajama.engine.store import OUTSIDE, Store


def outcome(store: Store, record: dict[str, Any]) -> dict[str, float | None]:
    """{documents, text_bytes, tokens, core_seconds, disk_bytes}; None of what is not on record.

    Documents, text and tokens are those of all documents before any is removed; seconds those of the parts that were
    made here, and only a disk has them. All of ROOT is listed once.
    """
    sizes = {key: size for key, size in store.keys("") if not key.startswith(OUTSIDE)}
    made = [read_stage(store, entry["record"]).counts for entry in record["stages"].get("documents", {}).values()]
    counted = [read_stage(store, entry["record"]).counts for entry in record["stages"].get("counts", {}).values()]
    return {
        "documents": sum(counts["kept"] for counts in made),
        "text_bytes": sum(counts["text_bytes"] for counts in made),
        "tokens": sum(counts["tokens"] for counts in counted) if len(counted) == len(made) else None,
        "core_seconds": _seconds(store) if store.local else None,
        "disk_bytes": sum(sizes.values()) + sum(size for key, size in store.keys("inputs")),
    }


def _seconds(store: Store) -> float:
    """Of the parts of all stages; of parts that another build made too, where ROOT has several."""
    keys = [key for key, _ in store.keys("timing") if key.endswith(".json")]
    notes = [store.read_json(key) for key in keys]
    return round(sum(note.get("cpu_seconds", 0.0) for note in notes), 2)
