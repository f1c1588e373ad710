"""Which library encoded a build, and what could not be cut: from the notes beside the times, which only a disk has."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from redpajama.engine.store import Store
from redpajama.report.builds import open_build
from redpajama.tokenize.tokenizer import note_key

WORD_BYTES = 60  # of memory for each of a long word's (measured, fastokens 0.3.5)


def _notes(store: Store, record: dict[str, Any], stage: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(source, note) of the parts of a stage that used the tokenizer."""
    for part in open_build(store, record).parts(stage) if store.local else []:
        if store.exists(key := note_key(part.stem)):
            yield part.name, store.read_json(key)


def fallback_lines(store: Store, record: dict[str, Any]) -> list[str]:
    """Why fastokens did not run, where that was not wanted."""
    notes = _notes(store, record, "tokenizer")
    return [f"encoded by Hugging Face's tokenizers: {note['fallback']}" for _, note in notes if note["fallback"]]


def long_piece_lines(store: Store, record: dict[str, Any]) -> list[str]:
    """What texts that cannot be cut took in a finished build: they are encoded alone."""
    longest: Counter[str] = Counter()
    for source, note in _notes(store, record, "counts"):
        longest[source] = max(longest[source], note["longest_piece_bytes"])
    return [
        f"tokens  {source}: texts of up to {size / 1e6:,.1f} MB without a place to cut are encoded alone; a word takes "
        f"about {WORD_BYTES} bytes of memory a byte, {size * WORD_BYTES / 1e6:,.0f} MB"
        for source, size in sorted(longest.items())
        if size
    ]
