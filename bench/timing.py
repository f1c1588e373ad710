"""Seconds: of a piece of work in this process, and of the parts of a build, as its workers noted them."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def best_seconds(work: Callable[[], Any], rounds: int) -> float:
    """Of the processor, after one round that compiles or loads."""
    work()
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def notes(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(stage, seconds, cpu_seconds, peak_bytes and bytes) of each part; which library encoded one is left out."""
    for path in (root / "timing").rglob("*.json"):
        note = json.loads(path.read_bytes())
        if "seconds" in note:
            yield path.relative_to(root / "timing").parts[0], note
