"""Where a run stands, from the store alone: what it planned, and which of it a listing shows to be committed.

Nothing is written for it, part by part; a look costs a listing of the stage that is under way. Units of that stage are
counted in its part records, of very many in some of them.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from redpajama.engine.gathered import StageRecord, add_counts, read_stage
from redpajama.engine.parts import Part, committed_each
from redpajama.engine.store import Store
from redpajama.errors import BuildFailed

MAX_RECORDS = 1000  # that are read of a stage under way
WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"


@dataclass
class Standing:
    """One stage of a run."""

    stage: str
    state: str = WAITING
    parts: int = 0  # planned, with those that were done before
    done: int = 0
    units: int = 0  # read, of parts that are done
    is_estimate: bool = False  # of units
    bytes: int = 0  # to do in this run
    bytes_done: int = 0
    seconds: float = 0.0  # since it was planned, or from then to its commit
    reasons: dict[str, int] = field(default_factory=dict)  # why units went, so far

    @property
    def rate(self) -> float:
        """Bytes a second of this run."""
        return self.bytes_done / max(0.3, self.seconds)

    @property
    def seconds_left(self) -> float | None:
        """Of a stage under way; None where nothing tells."""
        if self.state != RUNNING or not self.bytes_done:
            return None
        return (self.bytes - self.bytes_done) / self.rate

    def to_json(self) -> dict[str, Any]:
        left = self.seconds_left
        more = {"bytes_per_second": round(self.rate), "seconds_left": None if left is None else round(left)}
        return {**vars(self), "seconds": round(self.seconds, 1), **more}


def standings(store: Store, about: dict[str, Any]) -> list[Standing]:
    """Every stage of a run, in the order of the flow."""
    folder = f".tmp/{about['run']}"
    times = store.times(folder)
    return [_standing(store, folder, stage, times) for stage in about["steps"]]


def _standing(store: Store, folder: str, stage: str, times: dict[str, float]) -> Standing:
    plan_key, state_key = f"{folder}/plan-{stage}.json", f"{folder}/state-{stage}.json"
    if plan_key not in times:
        return Standing(stage, FAILED if _failed(store, state_key, times) else WAITING)
    plan = store.read_json(plan_key)
    found = Standing(stage, RUNNING, len(plan["parts"]) + len(plan["done"]))
    found.bytes = sum(part.get("size", 0) for part in plan["parts"])
    found.seconds = times.get(state_key, time.time()) - times[plan_key]
    if state_key not in times:
        _look(store, found, plan)
    elif _failed(store, state_key, times):
        _look(store, found, plan)
        found.state = FAILED if found.parts else WAITING  # what follows a failure plans nothing
    else:
        _add(found, _records(store, store.read_json(state_key)["records"].get(stage, {})))
    return found


def _failed(store: Store, key: str, times: dict[str, float]) -> bool:
    return key in times and "failed" in store.read_json(key)


def _records(store: Store, keys: dict[str, str]) -> list[StageRecord]:
    found = []
    for key in keys.values():
        try:
            found.append(read_stage(store, key))
        except BuildFailed:  # partition files that nobody needed, or that are gone
            continue
    return found


def _add(found: Standing, records: list[StageRecord]) -> None:
    """A stage that is committed."""
    found.state, found.bytes_done = DONE, found.bytes
    found.parts = found.done = max(found.parts, sum(record.parts for record in records))
    _count(found, add_counts([record.counts for record in records]))


def _count(found: Standing, counts: dict[str, Any], times: float = 1) -> None:
    found.units = round(counts.get("read", 0) * times)
    found.is_estimate = times != 1
    reasons: Counter[str] = Counter()
    for kind in ("dropped", "quarantined", "damaged_ranges"):
        reasons.update(counts.get(kind, {}))
    found.reasons = {reason: round(number * times) for reason, number in sorted(reasons.items()) if number}


def _look(store: Store, found: Standing, plan: dict[str, Any]) -> None:
    """A stage under way: one listing of each folder that it writes to."""
    folders = {_stem(part).rpartition("/")[0] for part in plan["parts"]}
    there = {key for folder in folders for key in store.sizes(folder)}
    done = [part for part in plan["parts"] if f"{_stem(part)}.json" in there]
    stems = [*plan["done"], *map(_stem, done)]
    found.done, found.bytes_done = len(stems), sum(part.get("size", 0) for part in done)
    read = [record for record in committed_each(store, stems[-MAX_RECORDS:]) if record]
    _count(found, add_counts([record.counts for record in read]), len(stems) / len(read) if read else 1)


def _stem(part: dict[str, Any]) -> str:
    return Part(**part).stem
