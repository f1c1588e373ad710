"""The steps of a build, one after the other in this process: what `beam.py` carries, without Beam."""

from redpajama.corpus.inputs import listing_key
from redpajama.engine import runner
from redpajama.engine.parts import Part
from redpajama.engine.shapes import Stage
from redpajama.engine.stages import Build, Job
from redpajama.errors import BuildFailed
from redpajama.flow import flow
from redpajama.hashing import canonical_json
from redpajama.manifest import load
from redpajama.preflight import check, complete, list_inputs


def build_stepwise(manifest_path, root, until="dedup") -> Build:
    """Run the flow up to a goal; the build with its records.

    Raises:
        BuildFailed, ManifestError: as a build does.
    """
    manifest = load(str(manifest_path))
    check(manifest, str(manifest_path))
    manifest = complete(manifest)
    job, stages = Job(manifest, str(root), "run"), flow(manifest, until)
    job.store.remove(".tmp")
    job.store.write(listing_key("run"), canonical_json(list_inputs(manifest, str(manifest_path), {})))
    state = runner.run(job, stages)
    if "failed" in state:
        raise BuildFailed(state["failed"])
    return Build(job, state["records"], tuple(stage.name for stage in stages if stage.removes))


def parts_planned(build: Build, stage: Stage) -> list[Part]:
    """The parts of a stage as this build plans them, done or not."""
    return [part for planned in stage.steps()[0].plan(build) for part in planned.parts()]
