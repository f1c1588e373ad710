"""Where a run stands, from the store alone: what it planned, and which of it a listing shows to be committed.

Nothing is written for it, part by part; a look costs a listing of the stage that is under way. Units of that stage are
counted in its part records, of many in some of them: at most so many new ones are read in a look, each once.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from redpajama.engine import runner
from redpajama.engine.gathered import StageRecord, add_counts, read_stage
from redpajama.engine.parts import Part, committed_each
from redpajama.engine.store import Store
from redpajama.errors import BuildFailed

NEAR_RECORDS, FAR_RECORDS = 1000, 100  # that are read at a look, on a disk and on an object store: a request each
MOST_RECORDS = 10_000  # that are read of a stage in all
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


class Standings:
    """The stages of one run, looked at again and again: what was read once is not asked for again."""

    def __init__(self, store: Store, about: dict[str, Any], most: int | None = None) -> None:
        """`most`: part records that a look reads."""
        self.store, self.steps, self.run = store, about["steps"], about["run"]
        self._most = (NEAR_RECORDS if store.local else FAR_RECORDS) if most is None else most
        self._done: dict[str, Standing] = {}
        self._stage = ""  # the one under way, of which the rest tells
        self._sizes: dict[str, int] = {}  # {stem: bytes} of the parts to do in this run
        self._before: list[str] = []  # stems of those that were done before
        self._read: set[str] = set()
        self._counts: dict[str, Any] = {}  # of those that were read

    def look(self) -> list[Standing]:
        """Every stage, in the order of the flow."""
        times = self.store.times(f".tmp/{self.run}")
        return [self._done.get(stage) or self._standing(stage, times) for stage in self.steps]

    def _standing(self, stage: str, times: dict[str, float]) -> Standing:
        planned, through = runner.plan_key(self.run, stage), runner.state_key(self.run, stage)
        state = self.store.read_json(through) if through in times else {}
        if planned not in times:
            return Standing(stage, FAILED if "failed" in state else WAITING)
        found = Standing(stage, RUNNING)
        found.seconds = times.get(through, time.time()) - times[planned]
        if state and "failed" not in state:
            found.bytes = self.store.read_json(runner.totals_key(self.run, stage))["bytes"]
            _add(found, _records(self.store, state["records"].get(stage, {})))
            self._done[stage] = found
            return found
        self._look_at(found)
        if state:
            found.state = FAILED if found.parts else WAITING  # what follows a failure plans nothing
        return found

    def _look_at(self, found: Standing) -> None:
        """A stage under way: one listing of each folder that it writes to."""
        if self._stage != found.stage:
            self._begin(found.stage)
        there = {
            key for folder in {stem.rpartition("/")[0] for stem in self._sizes} for key in self.store.sizes(folder)
        }
        done = [stem for stem in self._sizes if f"{stem}.json" in there]
        found.parts, found.bytes = len(self._sizes) + len(self._before), sum(self._sizes.values())
        found.done, found.bytes_done = len(done) + len(self._before), sum(map(self._sizes.__getitem__, done))
        self._read_some([*self._before, *done])
        _count(found, self._counts, found.done / len(self._read) if self._read else 1)

    def _begin(self, stage: str) -> None:
        plan = self.store.read_json(runner.plan_key(self.run, stage))
        self._stage, self._before, self._read, self._counts = stage, plan["done"], set(), {}
        self._sizes = {Part(**part).stem: part.get("size", 0) for part in plan["parts"]}

    def _read_some(self, stems: list[str]) -> None:
        """Add the counts of parts that are new, of many those that stand an equal step apart."""
        new = [stem for stem in stems if stem not in self._read]
        most = min(self._most, MOST_RECORDS - len(self._read))
        new = new[:: -(-len(new) // most)] if new and most > 0 else []
        found = {stem: record for stem, record in zip(new, committed_each(self.store, new), strict=True) if record}
        self._read.update(found)
        self._counts = add_counts([self._counts, *(record.counts for record in found.values())])


def standings(store: Store, about: dict[str, Any]) -> list[Standing]:
    """Every stage of a run, in the order of the flow: one look."""
    return Standings(store, about).look()


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
