"""Two builds side by side: inputs, rules, what went and why, tokens, the mixture, and which documents came and went.

Parts that both builds hold, with the same verdicts on them, are passed over: time and memory follow what differs.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import reader, verdicts
from redpajama.corpus.stages import DOCUMENTS
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import Build
from redpajama.engine.store import Store
from redpajama.report.builds import open_build
from redpajama.report.changes import differences
from redpajama.report.funnel import SourceRow, funnel

EXAMPLES = 5  # ids, and files, that are shown
COUNTS = ("read", "documents", "living", "available_tokens", "drawn_documents", "drawn_copies", "drawn_tokens")

Side = tuple[Store, dict[str, Any]]  # ROOT, and the record of a build in it


def compare(one: Side, other: Side) -> dict[str, Any]:
    """What differs, from `one` to `other`; `same_corpus` says whether anything does that reaches the shards."""
    records, builds = (one[1], other[1]), [open_build(*side) for side in (one, other)]
    rows = [{row.source: row for row in funnel(*side)} for side in (one, other)]
    names = list(dict.fromkeys([*rows[0], *rows[1]]))
    return {
        "same_corpus": records[0]["corpus"] == records[1]["corpus"],
        "manifest": differences(*(_by_name(record["manifest"]) for record in records)),
        "inputs": {name: _inputs(builds, name) for name in names},
        "counts": {name: _counts(*(each.get(name, SourceRow(name)) for each in rows)) for name in names},
        "mixture": {name: [each.get(name, SourceRow(name)).got_share for each in rows] for name in names},
        "ids": {name: _ids(builds, name) for name in names},
    }


def _by_name(manifest: dict[str, Any]) -> dict[str, Any]:
    return {**manifest, "source": {source["name"]: source for source in manifest["source"]}}


def _parts(build: Build, source: str) -> list[PartRecord]:
    return build.parts(DOCUMENTS, source) if source in build.names(DOCUMENTS) else []


def _inputs(builds: list[Build], source: str) -> dict[str, list[str]]:
    """Files that are new, gone, or have other bytes."""
    before, now = (
        {file["url"]: file["sha256"] for part in _parts(build, source) for file in part.inputs} for build in builds
    )
    changed = sorted(url for url in before.keys() & now.keys() if before[url] != now[url])
    return {"new": sorted(now.keys() - before.keys()), "gone": sorted(before.keys() - now.keys()), "changed": changed}


def _counts(before: SourceRow, now: SourceRow) -> dict[str, list[int]]:
    """{what: [before, now]} of all that differs: units, documents, tokens, and each reason."""
    found = {name: [getattr(before, name), getattr(now, name)] for name in COUNTS}
    reasons = [row.dropped + row.removed for row in (before, now)]
    found |= {reason: [each[reason] for each in reasons] for reason in sorted({*reasons[0], *reasons[1]})}
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def _ids(builds: list[Build], source: str) -> dict[str, Any]:
    """How many living documents came and went, and the first of their ids."""
    parts = [{_identity(build, part): part for part in _parts(build, source)} for build in builds]
    before, now = (
        _living(build, [part for key, part in own.items() if key not in others])
        for build, own, others in zip(builds, parts, parts[::-1], strict=True)
    )
    came = now.filter(pc.invert(pc.is_in(now, value_set=before)))
    went = before.filter(pc.invert(pc.is_in(before, value_set=now)))
    examples = {"came_first": _first(came), "went_first": _first(went)}
    return {"came": len(came), "went": len(went), **examples}


def _identity(build: Build, part: PartRecord) -> str:
    return " ".join([part.content, *verdicts.identity(build, part)])


def _living(build: Build, parts: list[PartRecord]) -> pa.ChunkedArray:
    chunks: Iterator[pa.Array] = (
        batch.column("doc_id") for part in parts for batch in reader.read(build, part, ["doc_id"])
    )
    return pa.chunked_array(list(chunks), pa.string())


def _first(ids: pa.ChunkedArray) -> list[str]:
    return sorted(ids.to_pylist())[:EXAMPLES]
