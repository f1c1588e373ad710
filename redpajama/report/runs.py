"""The run of a build that is under way, or ended before its build record: what it left below `ROOT/.tmp/<run>/`.

The next build of ROOT sweeps it; a build that reaches its end leaves nothing of it.
"""

from typing import Any

from redpajama.engine.runner import state_key
from redpajama.engine.stages import Job, Step
from redpajama.engine.store import Store
from redpajama.hashing import canonical_json
from redpajama.unsigned import unsigned_all

ABOUT = "run.json"


def write_about(job: Job, steps: list[Step], until: str, started: float, where: str) -> None:
    """Say what the run is to do, for whoever looks at it from elsewhere."""
    about = {
        "run": job.run,
        "manifest": unsigned_all(job.manifest.model_dump(mode="json")),
        "until": until,
        "steps": [step.stage for step in steps],
        "removing": [step.stage for step in steps if step.removes],
        "scratch": [step.stage for step in steps if step.scratch],
        "started": started,
        "where": where,
    }
    job.store.write(f".tmp/{job.run}/{ABOUT}", canonical_json(about))


def write_end(job: Job, message: str) -> None:
    """Say why the run ended before its build record."""
    job.store.write(f".tmp/{job.run}/end.json", canonical_json({"message": message}))


def last_run(store: Store) -> dict[str, Any] | None:
    """What the newest run says of itself; None where the last build reached its end."""
    bodies = [store.read_json(key) for key, _ in store.keys(".tmp") if key.endswith(f"/{ABOUT}")]
    return max(bodies, key=lambda about: about["started"], default=None)


def end_of(store: Store, run: str) -> str:
    """Why a run ended; "" of one that is under way, or was killed."""
    key = f".tmp/{run}/end.json"
    return store.read_json(key)["message"] if store.exists(key) else ""


def states_of(store: Store, about: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{stage: the state after it} of the stages that are through, in order."""
    keys = {stage: state_key(about["run"], stage) for stage in about["steps"]}
    there = {key for key, _ in store.keys(f".tmp/{about['run']}")}
    return {stage: store.read_json(key) for stage, key in keys.items() if key in there}


def record_so_far(store: Store, about: dict[str, Any]) -> dict[str, Any]:
    """A build record of the stages that are committed: what readers of a finished build can read of this one."""
    states = states_of(store, about)
    records = list(states.values())[-1].get("records", {}) if states else {}
    named = {stage: records[stage] for stage in about["steps"] if stage in records and stage not in about["scratch"]}
    return {
        "manifest": about["manifest"],
        "until": about["until"],
        "stages": {stage: {name: {"record": key} for name, key in keys.items()} for stage, keys in named.items()},
        "removing": [stage for stage in about["removing"] if stage in named],
        "scratch": {stage: records.get(stage, {}) for stage in about["scratch"]},
        "corpus": "",
    }
