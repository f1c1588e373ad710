"""One build: the flow from raw files to shards, run to its end and written down."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from redpajama.corpus import withdrawn
from redpajama.corpus.inputs import listing_key
from redpajama.corpus.stages import INPUTS
from redpajama.engine import workers
from redpajama.engine.claims import MIN_MEAN_BYTES
from redpajama.engine.gathered import stage_of
from redpajama.engine.shapes import Stage
from redpajama.engine.stages import Build, Job
from redpajama.engine.store import Store, check_layout, crash_point, mark_layout
from redpajama.errors import BuildFailed
from redpajama.flow import flow, from_withdrawal
from redpajama.hashing import canonical_json, sha256_of
from redpajama.manifest import Manifest
from redpajama.raw.io import without_secrets
from redpajama.report import current, exporting, runs
from redpajama.report.builds import records_of
from redpajama.unsigned import unsigned_all

Watch = Callable[[Job, Callable[[], bool]], Any]


def _nobody(job: Job, finished: Callable[[], bool]) -> None:
    """Nobody watches."""


def build(
    manifest: Manifest,
    listed: list[dict[str, Any]],
    root: str,
    arguments: list[str],
    *,
    until: str = "tokens",
    rehash: bool = False,
    shares: int = 1,
    is_sole: bool = False,
    environment: dict[str, str] | None = None,
    watch: Watch = _nobody,
) -> dict[str, Any]:
    """Run the flow and write `builds/<name>.json`; returns that record.

    Args:
        shares: as in `beam.run`.
        environment: variables that workers get, wherever they are; they are not written down.
        is_sole: nobody else writes to ROOT, the user says: no lease.
        watch: called with the job and a function that is true once it is over: shows progress, guards the workers.

    Raises:
        BuildFailed: the data failed a promise. RootBusy: another build holds ROOT.
    """
    from redpajama.engine import beam

    lists = withdrawn.named(manifest.withdrawn, manifest.folder)
    store = Store(root)
    check_layout(store)
    with workers.hold_root(root, is_sole) as (run, claims):
        mark_layout(store)
        requests = withdrawn.take_in(store, lists)
        stages = flow(manifest, until, sum(file["bytes"] or file["about_bytes"] for file in listed), bool(requests))
        listed, signed = without_secrets(listed)
        more: dict[str, Any] = {"signed": signed, "environment": environment or {}, "withdrawn": requests}
        job = Job(manifest, store.url, run, **_claiming(store, claims, shares, is_sole), **more)
        if rehash:
            job.store.remove("inputs")
        job.store.write(listing_key(run), canonical_json(listed))
        return _through(job, stages, until, lambda: beam.run(job, stages, arguments, shares), claims, watch)


def build_again(
    record: dict[str, Any],
    root: str,
    arguments: list[str],
    *,
    shares: int = 1,
    is_sole: bool = False,
    watch: Watch = _nobody,
) -> dict[str, Any]:
    """Leave out what is withdrawn by now of a finished build, without its inputs: the flow from `takedown` on.

    The result is what `build` makes of the same manifest. Arguments and errors as there.
    """
    from redpajama.engine import beam

    store, until = Store(root), record["until"]
    with workers.hold_root(root, is_sole) as (run, claims):
        manifest, before = Manifest(**record["manifest"]), records_of(record)
        gone = withdrawn.in_root(store)
        job = Job(manifest, store.url, run, **_claiming(store, claims, shares, is_sole), withdrawn=gone)
        stages = from_withdrawal(manifest, until)
        begun = beam.Begun(before, tuple(record["removing"]))
        return _through(
            job, stages, until, lambda: beam.run(job, stages, arguments, shares, begun), claims, watch, record
        )


def _claiming(store: Store, claims: str, shares: int, is_sole: bool) -> dict[str, Any]:
    """How the workers of a job share its parts: by that folder, in the store, or as they are dealt."""
    return {"claims": claims if shares else "", "claim_bytes": claim_bytes(store, shares, is_sole)}


def claim_bytes(store: Store, shares: int, is_sole: bool) -> int:
    """How large parts are that workers claim in the store; 0 where they share a folder, or nobody tried conditions."""
    return 0 if shares or is_sole or not store.has_conditions else MIN_MEAN_BYTES


def _through(
    job: Job,
    stages: list[Stage],
    until: str,
    work: Callable[[], dict[str, Any]],
    claims: str,
    watch: Watch,
    earlier: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run stages to their end, commit the build, and publish it; its record."""
    store = job.store
    steps = [step for stage in stages for step in stage.steps()]
    runs.write_about(job, steps, until, time.time(), workers.holder())
    over: list[bool] = []
    watch(replace(job, claims=claims), lambda: bool(over))
    try:
        state: dict[str, Any] = work() if stages else {"records": records_of(earlier or {})}
    except BuildFailed as error:
        runs.write_end(job, str(error))
        raise
    finally:
        over.append(True)
    if "failed" in state:
        runs.write_end(job, state["failed"])
        raise BuildFailed(state["failed"])
    record = commit_build(Build(job, state["records"]), stages, until, earlier)
    current.publish(store, record)
    exporting.export_all(store, record)
    return record


def commit_build(
    build: Build, stages: list[Stage], until: str, earlier: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write the record that makes the stage records one build.

    Args:
        earlier: the record of the build whose first stages these are not.
    """
    steps, before = [step for stage in stages for step in stage.steps()], earlier or {"scratch": {}, "removing": []}
    scratch = {step.stage for step in steps if step.scratch} | before["scratch"].keys()
    # keys of inputs tell place and time, and partition files are made only where a regroup is not there
    passing = {INPUTS, *(step.spent for step in steps)}
    named = {stage: keys for stage, keys in build.records.items() if stage not in scratch}
    records = {
        stage: {name: {"record": key, "sha256": stage_of(build.store, key).sha256} for name, key in keys.items()}
        for stage, keys in named.items()
    }
    passed = {**before["scratch"], **{step.stage: {} for step in steps if step.stage in passing}}
    scratch_keys = {stage: passed.get(stage, build.records.get(stage, {})) for stage in sorted(scratch)}
    body = {
        "manifest": unsigned_all(build.manifest.model_dump(mode="json")),
        "until": until,
        "stages": records,
        "removing": [*before["removing"], *(step.stage for step in steps if step.removes)],
        "scratch": scratch_keys,
        "corpus": corpus_hash(build, stages[-1].name) if stages else before["corpus"],
    }
    body |= {"withdrawn": build.job.withdrawn} if build.job.withdrawn else {}
    record = {**body, "sha256": sha256_of([canonical_json(body)])}
    crash_point("before-build-record")
    workers.check_held(build.job.run)
    build.store.write(f"builds/{build.manifest.name}.json", canonical_json(record))
    crash_point("after-build-record")
    return record


def corpus_hash(build: Build, stage: str) -> str:
    """SHA-256 over the names and SHA-256s of a stage's files: one line that says two corpora are equal."""
    outputs = [output for part in build.parts(stage) for output in part.outputs.items()]
    files = sorted((key.rpartition("/")[2], out["sha256"]) for key, out in outputs)
    return sha256_of(f"{sha}  {name}\n".encode() for name, sha in files)
