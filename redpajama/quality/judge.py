"""The stage `quality`: signals, URLs, scores and the manifest's limits -> verdicts. No text is read."""

import json
from collections import Counter
from functools import lru_cache

import pyarrow as pa

from redpajama.corpus import reader, verdicts
from redpajama.corpus.evidence import evidence_of
from redpajama.corpus.stages import INPUTS, SCORES, SIGNALS, per_documents
from redpajama.corpus.verdicts import VERDICT_SCHEMA
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts
from redpajama.engine.stages import Build
from redpajama.engine.tables import read_table
from redpajama.hashing import canonical_json
from redpajama.manifest import Source, given
from redpajama.quality import blocklist, limits, rules, scores, signals
from redpajama.quality.limits import Removal


def depends(build: Build, source: Source) -> Counts:
    """The rules, limits and lists."""
    listed = blocklist.parameters(build, source)
    return {"rules": list(rules.expand(source.quality).items()), **_limits(build, source), **listed}


def _limits(build: Build, source: Source) -> dict[str, object]:
    if not source.wants_models:
        return {}
    is_drawn = source.classifier and source.classifier.keep == "pareto"
    found = {"limits": limits.parameters(source), "seed": build.manifest.seed if is_drawn else None}
    return found | {"named": limits.named(build.manifest, source)}


def asks(build: Build, documents: PartRecord) -> list[str]:
    """Signals where a rule is about one of that stage, and scores."""
    is_measured = _asks_signals(canonical_json(build.manifest.source_named(documents.name).quality))
    return reader.identity(build, documents, *([SIGNALS] if is_measured else []), SCORES)


@lru_cache(maxsize=256)  # a planner asks for each part
def _asks_signals(quality: bytes) -> bool:
    """Whether rules (JSON) are about columns of the stage `signals`."""
    return bool(signals.columns_of(rules.parse(json.loads(quality)))[1])


def judge_part(build: Build, source: Source, documents: PartRecord, outputs: Outputs) -> Counts:
    """The signals and scores of one documents part -> a verdict for each document that does not stay.

    A document that fails a rule is gone for that rule, then for a list that has its URL, then for what models say.
    """
    wanted = rules.parse(source.quality)
    table = _signals(build, documents, wanted)
    failing = rules.judge(table, wanted)
    first, listed = dict.fromkeys(failing.rows.to_pylist()), _listed(build, source, documents)
    for each in [*listed, *_scored(build, source, documents)]:
        first.setdefault(each.row, each)
    removals = [each for each in first.values() if each]
    removed = pa.concat_tables([_of_rules(documents, table, failing), _of_removals(documents, table, removals)])
    verdicts.write_beside(outputs, removed)
    dropped = Counter(failing.rules.to_pylist()) + Counter(each.reason.value for each in removals)
    kept = table.num_rows - removed.num_rows
    counts = {"read": table.num_rows, "kept": kept, "dropped": dict(sorted(dropped.items()))}
    return counts | {"met": rules.met(table, wanted)} | _met_lists(build, source, listed)


def _met_lists(build: Build, source: Source, listed: list[Removal]) -> Counts:
    """{"listed": {list: the documents that it has}}, 0 for one that has none; nothing where there is no list."""
    names = {file.category: 0 for file in blocklist.list_files(build, source)}
    return {"listed": names | Counter(each.evidence["category"] for each in listed)} if names else {}


def _listed(build: Build, source: Source, documents: PartRecord) -> list[Removal]:
    """What the source's lists of domains and URLs remove; `meta` is read only where there are any."""
    if not source.blocklist:
        return []
    metas = read_table(build.store, documents.file(".parquet"), ["meta"]).column("meta").to_pylist()
    found = blocklist.judge(build, source, metas)
    return [Removal(row, reason, None, None, {"category": name, "entry": entry}) for row, reason, name, entry in found]


def _scored(build: Build, source: Source, documents: PartRecord) -> list[Removal]:
    """What the limits on scores remove."""
    table = scores.of_part(build, documents)
    return limits.judge(table, build.manifest, source) if table is not None else []


def _of_rules(documents: PartRecord, table: pa.Table, failing: rules.Failures) -> pa.Table:
    columns = [
        pa.repeat(documents.id, len(failing.rows)),
        table.column("doc_id").take(failing.rows),
        failing.reasons,
        failing.values,
        failing.thresholds,
        evidence_of({"rule": failing.rules}),
    ]
    return pa.table(columns, schema=VERDICT_SCHEMA)


def _of_removals(documents: PartRecord, table: pa.Table, removals: list[Removal]) -> pa.Table:
    columns = [
        pa.repeat(documents.id, len(removals)),
        table.column("doc_id").take(pa.array([each.row for each in removals], pa.int64())),
        pa.array([each.reason.value for each in removals], pa.string()),
        pa.array([each.value for each in removals], pa.float64()),
        pa.array([each.threshold for each in removals], pa.float64()),
        pa.array([canonical_json(each.evidence).decode() for each in removals], pa.string()),
    ]
    return pa.table(columns, schema=VERDICT_SCHEMA)


def _signals(build: Build, documents: PartRecord, wanted: tuple[rules.Rule, ...]) -> pa.Table:
    """doc_id and the columns that the rules name."""
    own, others = signals.columns_of(wanted)
    table = read_table(build.store, documents.file(".parquet"), ["doc_id", *own])
    measured = given(reader.beside(build, SIGNALS, documents, others)) if others else table
    for name in others:
        table = table.append_column(name, measured.column(name))
    return table


STAGE = per_documents(
    "quality",
    version=3,
    libraries=("pyarrow", "unicode"),  # blocklists compare addresses in lower case
    after=(INPUTS, SIGNALS, SCORES),
    depends=depends,
    asks=asks,
    work=judge_part,
    removes=True,
)
