"""The stage `quality`: signals, URLs, scores and the manifest's limits -> verdicts. No text is read."""

from collections import Counter

import pyarrow as pa

from redpajama.artifacts import Outputs, Part
from redpajama.columns import read_table
from redpajama.hashing import canonical_json
from redpajama.manifest import Source
from redpajama.quality import annotations, blocklist, limits, rules, scores
from redpajama.quality.limits import Removal
from redpajama.stages import Build, Result, Step, fingerprint, versions
from redpajama.verdicts import VERDICT_SCHEMA, write_verdicts

VERSION = 1


def plan(build: Build) -> list[Part]:
    """One part for each documents part."""
    parts = []
    for source in build.manifest.source:
        stamp = fingerprint(
            stage=["quality", VERSION],
            rules=list(rules.expand(source.quality).items()),
            libraries=versions("pyarrow"),
            **_limits(build, source),
            **blocklist.parameters(build, source),
        )
        for documents in build.parts("documents", source.name):
            spec = {"documents": documents.stem, "file": documents.file(".parquet"), "id": documents.id}
            reads = documents.sha256
            if measured := annotations.needed_record(build, source, documents.stem):
                reads, spec["signals"] = [reads, measured.sha256], measured.stem
            if scored := scores.record_of(build, source.name, documents.stem):
                reads, spec["scores"] = [reads, scored.sha256], scored.stem
            parts.append(Part("quality", source.name, stamp, reads, spec, documents.counts["kept"]))
    return parts


def _limits(build: Build, source: Source) -> dict[str, object]:
    if not source.wants_models:
        return {}
    is_drawn = source.classifier and source.classifier.keep == "pareto"
    return {"limits": limits.parameters(source), "seed": build.manifest.seed if is_drawn else None}


def judge_part(build: Build, part: Part, outputs: Outputs) -> Result:
    """The signals and scores of one documents part -> a verdict for each document that does not stay.

    A document that fails a rule is gone for that rule, then for a list that has its URL, then for what models say.
    """
    wanted = rules.parse(build.manifest.source_named(part.name).quality)
    table = _signals(build, part, wanted)
    failing = rules.judge(table, wanted)
    first = dict.fromkeys(failing.rows.to_pylist())
    for each in [*_listed(build, part), *_scored(build, part)]:
        first.setdefault(each.row, each)
    removals = [each for each in first.values() if each]
    verdicts = pa.concat_tables([_of_rules(part, table, failing), _of_removals(part, table, removals)])
    write_verdicts(outputs.file(".parquet"), verdicts)
    dropped = Counter(failing.rules.to_pylist()) + Counter(each.reason.value for each in removals)
    kept = table.num_rows - verdicts.num_rows
    inputs = [part.spec[key] for key in ("documents", "signals", "scores") if key in part.spec]
    return inputs, {"read": table.num_rows, "kept": kept, "dropped": dict(sorted(dropped.items()))}


def _listed(build: Build, part: Part) -> list[Removal]:
    """What the source's lists of domains and URLs remove; `meta` is read only where there are any."""
    source = build.manifest.source_named(part.name)
    if not source.blocklist:
        return []
    metas = read_table(build.store, part.spec["file"], ["meta"]).column("meta").to_pylist()
    found = blocklist.judge(build, source, metas)
    return [Removal(row, reason, None, None, {"category": name, "entry": entry}) for row, reason, name, entry in found]


def _scored(build: Build, part: Part) -> list[Removal]:
    """What the limits on scores remove."""
    if "scores" not in part.spec:
        return []
    table = scores.of_part(build, part.name, part.spec["documents"])
    return limits.judge(table, build.manifest, build.manifest.source_named(part.name))


def _of_rules(part: Part, table: pa.Table, failing: rules.Failures) -> pa.Table:
    columns = [
        pa.array([part.spec["id"]] * len(failing.rows), pa.string()),
        table.column("doc_id").take(failing.rows),
        failing.reasons,
        failing.values,
        failing.thresholds,
        pa.array([canonical_json({"rule": rule}).decode() for rule in failing.rules.to_pylist()], pa.string()),
    ]
    return pa.table(columns, schema=VERDICT_SCHEMA)


def _of_removals(part: Part, table: pa.Table, removals: list[Removal]) -> pa.Table:
    columns = [
        pa.array([part.spec["id"]] * len(removals), pa.string()),
        table.column("doc_id").take(pa.array([each.row for each in removals], pa.int64())),
        pa.array([each.reason.value for each in removals], pa.string()),
        pa.array([each.value for each in removals], pa.float64()),
        pa.array([each.threshold for each in removals], pa.float64()),
        pa.array([canonical_json(each.evidence).decode() for each in removals], pa.string()),
    ]
    return pa.table(columns, schema=VERDICT_SCHEMA)


def _signals(build: Build, part: Part, wanted: tuple[rules.Rule, ...]) -> pa.Table:
    """doc_id and the columns that the rules name."""
    own, others = annotations.columns_of(wanted)
    table = read_table(build.store, part.spec["file"], ["doc_id", *own])
    if others:
        measured = annotations.of_part(build, part.name, part.spec["documents"], others)
        for name in others:
            table = table.append_column(name, measured.column(name))
    return table


STAGE = Step("quality", plan, judge_part)
