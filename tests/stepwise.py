"""The steps of a build, one after the other in this process: what `beam.py` does, without Beam."""

from redpajama.artifacts import commit_stage, run_part
from redpajama.build import check, flow, list_inputs
from redpajama.hashing import canonical_json
from redpajama.manifest import load
from redpajama.stages import Build, Job, Regroup, balance


def build_stepwise(manifest_path, root, until="dedup") -> Build:
    """Run the flow up to a goal; the build with its records.

    Raises:
        BuildFailed, ManifestError: as a build does.
    """
    manifest = load(str(manifest_path))
    check(manifest, str(manifest_path))
    job, records = Job(manifest, str(root), "run"), {}
    job.store.write(".tmp/run/listed.json", canonical_json(list_inputs(manifest, str(manifest_path), {})))
    for each in flow(manifest, until):
        for step in each.as_steps() if isinstance(each, Regroup) else [each]:
            records[step.stage] = _run(step, Build(job, dict(records)))
    return Build(job, records)


def _run(step, build) -> dict[str, str]:
    folders = {}
    for part in step.plan(build):
        record = run_part(build.store, part, lambda outputs, part=part: step.work(build, part, outputs))
        assert balance(record.counts) is None
        folders.setdefault(part.folder, (part.name, []))[1].append(record)
    done = {}
    for folder, (name, records) in folders.items():
        stage = commit_stage(build.store, folder, records)
        step.check(build, name, stage)
        done[name] = stage.key
    return done
