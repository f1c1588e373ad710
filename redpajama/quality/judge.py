"""The stage `quality`: signal columns and the manifest's rules -> verdicts. No text is read."""

import pyarrow as pa

from redpajama.artifacts import Outputs, Part
from redpajama.columns import read_table
from redpajama.hashing import canonical_json
from redpajama.quality import rules
from redpajama.stages import Build, Result, Step, fingerprint, versions
from redpajama.verdicts import VERDICT_SCHEMA, write_verdicts

VERSION = 1


def plan(build: Build) -> list[Part]:
    """One part for each documents part."""
    parts = []
    for source in build.manifest.source:
        stamp = fingerprint(
            stage=["quality", VERSION], rules=list(source.quality.items()), libraries=versions("pyarrow")
        )
        for documents in build.parts("documents", source.name):
            spec = {"documents": documents.stem, "file": documents.file(".parquet"), "id": documents.id}
            parts.append(Part("quality", source.name, stamp, documents.sha256, spec, documents.counts["kept"]))
    return parts


def judge_part(build: Build, part: Part, outputs: Outputs) -> Result:
    """The signals of one documents part -> a verdict for each document that a rule removes."""
    wanted = rules.parse(build.manifest.source_named(part.name).quality)
    columns = sorted({rule.column for rule in wanted})
    table = read_table(build.store, part.spec["file"], ["doc_id", *columns])
    failing = rules.judge(table, wanted)
    verdicts = pa.table(
        [
            pa.array([part.spec["id"]] * len(failing.rows), pa.string()),
            table.column("doc_id").take(failing.rows),
            failing.reasons,
            failing.values,
            failing.thresholds,
            pa.array([canonical_json({"rule": rule}).decode() for rule in failing.rules.to_pylist()], pa.string()),
        ],
        schema=VERDICT_SCHEMA,
    )
    write_verdicts(outputs.file(".parquet"), verdicts)
    dropped = {entry["values"]: entry["counts"] for entry in failing.rules.value_counts().to_pylist()}
    kept = table.num_rows - verdicts.num_rows
    return [part.spec["documents"]], {"read": table.num_rows, "kept": kept, "dropped": dict(sorted(dropped.items()))}


STAGE = Step("quality", plan, judge_part)
