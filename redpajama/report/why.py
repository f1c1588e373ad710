"""What happened to one document or raw unit: every stage's word on it, found by id, URL or text."""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from redpajama.artifacts import PartRecord, Store
from redpajama.columns import read_batches, read_table
from redpajama.dedup import guard, substrings
from redpajama.hashing import normal_text_digest
from redpajama.manifest import Manifest
from redpajama.quality import annotations, limits, rules, scores
from redpajama.records import Reason
from redpajama.report.difference import Piece, word_difference
from redpajama.stages import Build, Job
from redpajama.verdicts import verdict_stages

MAX_FOUND = 20
MAX_SPAN_CHARS = 80


def why(store: Store, record: dict[str, Any], what: str) -> list[dict[str, Any]]:
    """Everything on record about `what`: a document's id, a URL in its meta or evidence, or its text.

    Returns at most MAX_FOUND stories: {"doc_id", "fate", and what led to it}.
    """
    what = what.encode(errors="replace").decode()  # a command line may hold bytes that are no UTF-8
    build = open_build(store, record)
    stories = [_story(build, row, part) for row, part in _limit(_find_documents(build, what))]
    stories += [_ledger_story(row, part) for row, part in _limit(_find_ledger(build, what))]
    return stories[:MAX_FOUND]


def open_build(store: Store, record: dict[str, Any]) -> Build:
    """A finished build, as its stages saw it."""
    stages = record["stages"].items()
    records = {stage: {name: entry["record"] for name, entry in names.items()} for stage, names in stages}
    return Build(Job(Manifest(**record["manifest"]), store.url), records)


def _limit(found: Iterator[Any]) -> list[Any]:
    return [item for item, _ in zip(found, range(MAX_FOUND), strict=False)]


def _find_documents(build: Build, what: str) -> Iterator[tuple[dict[str, Any], PartRecord]]:
    """Documents whose id, URL or text is `what`; their other columns are read only where there is one."""
    digest = pa.scalar(normal_text_digest(what), pa.binary(16))
    needle = f'"url":{json.dumps(what, ensure_ascii=False)}'
    for part in build.parts("documents"):
        for batch in read_batches(build.store, part.file(".parquet"), ["doc_id", "text_digest", "meta"]):
            hits = pc.or_(pc.equal(batch.column("doc_id"), what), pc.equal(batch.column("text_digest"), digest))
            hits = pc.or_(hits, pc.match_substring(batch.column("meta"), needle))
            if ids := batch.column("doc_id").filter(hits).to_pylist():
                rows = read_table(build.store, part.file(".parquet"), filters=[("doc_id", "in", ids)])
                yield from ((row, part) for row in rows.to_pylist())


def _find_ledger(build: Build, what: str) -> Iterator[tuple[dict[str, Any], PartRecord]]:
    """Ledger rows whose id is `what` or whose evidence names it."""
    needle = json.dumps(what, ensure_ascii=False)
    for part in build.parts("documents"):
        ledger = next(key for key in part.outputs if "/ledger/" in key)
        for batch in read_batches(build.store, ledger):
            hits = pc.equal(batch.column("doc_id"), what)
            hits = pc.or_(hits, pc.match_substring(batch.column("evidence"), needle))
            for row in batch.filter(hits).to_pylist():
                yield row, part


def _place(file: dict[str, Any]) -> str:
    """A file that a part read, with the range if it read only that."""
    return f"{file['url']} bytes {file['start']}-{file['end']}" if "end" in file else file["url"]


def _ledger_story(row: dict[str, Any], part: PartRecord) -> dict[str, Any]:
    return {
        "doc_id": row["doc_id"],
        "fate": f"{row['verdict']} by the pipeline: {row['reason']}",
        "value": row["value"],
        "threshold": row["threshold"],
        "evidence": json.loads(row["evidence"]),
        "inputs": [_place(file) for file in part.inputs],
    }


def _story(build: Build, row: dict[str, Any], part: PartRecord) -> dict[str, Any]:
    """A document: where it came from, its signals beside the rules, verdicts, and its places in the shards."""
    verdicts = list(_verdicts(build, row["doc_id"], part))
    places = list(_places(build, row["doc_id"])) if not verdicts else []
    source = build.manifest.source_named(row["source"])
    measured = annotations.of_part(build, row["source"], part.stem, filters=[("doc_id", "=", row["doc_id"])])
    signals = row | (measured.to_pylist()[0] if measured else {})
    return {
        "doc_id": row["doc_id"],
        "fate": _fate(build, row["source"], verdicts, places),
        "inputs": [_place(file) for file in part.inputs],
        "document_part": part.file(".parquet"),
        "meta": json.loads(row["meta"]),
        "signals": {name[2:]: value for name, value in signals.items() if name.startswith("q_")},
        "rules": rules.expand(source.quality),
        "scores": _scores(build, row, part),
        "limits": limits.parameters(source),
        "verdicts": verdicts,
        "difference": _difference(build, row["text"], verdicts),
        "spans": [] if verdicts and verdicts[0]["stage"] != "substrings" else _spans(build, row, part),
        "shards": places,
        "text": row["text"][:300],
    }


def _scores(build: Build, row: dict[str, Any], part: PartRecord) -> dict[str, Any]:
    """What models said of a document; nothing where none was asked."""
    table = scores.of_part(build, row["source"], part.stem)
    found = table.filter(pc.equal(table.column("doc_id"), row["doc_id"])).to_pylist() if table else [{}]
    return {name.removeprefix("q_"): value for name, value in found[0].items() if name != "doc_id"}


def _fate(build: Build, source: str, verdicts: list[dict[str, Any]], places: list[dict[str, Any]]) -> str:
    if verdicts:
        first = verdicts[0]
        evidence = first["evidence"]
        rule = evidence.get("rule")
        said = f"{rule} = {first['threshold']:g}, measured {first['value']:g}" if rule else first["reason"]
        if first["stage"] == "near":
            said += f", similarity {first['value']:g} ({evidence['similarity_by']}) of at least {first['threshold']:g}"
            said += f", {evidence['shared_bands']} bands shared"
        if label := evidence.get("label"):
            said += _by_model(label, first)
        other = [f", {role} {evidence[role]}" for role in ("survivor", "other") if role in evidence]
        return f"removed by {first['stage']}: {said}{''.join(other)}"
    if places:
        return f"in the shards, {len(places)} cop{'y' if len(places) == 1 else 'ies'}"
    if "tokens" in build.records:
        weight = next(share.weight for share in build.manifest.mixture.slice if share.source == source)
        return f"alive, but not drawn: {'its slice had its tokens without it' if weight else 'its slice has weight 0'}"
    return "alive"


def _by_model(label: str, verdict: dict[str, Any]) -> str:
    """`, __label__wiki by wiki, 0.1 of at least 0.25`: which model said what."""
    model, value, threshold = verdict["evidence"]["model"], verdict["value"], verdict["threshold"]
    said = f", {label} by {model}" if model else f", {label}"
    said += f", {value:g}" if value is not None else ""
    wanted = "below" if verdict["reason"] == Reason.PERPLEXITY_BUCKET else "at least"
    return f"{said} (wanted {wanted} {threshold:g})" if threshold is not None else said


def _difference(build: Build, text: str, verdicts: list[dict[str, Any]]) -> list[Piece]:
    """What a near-duplicate ("-") and the one it went for ("+") do not share."""
    for verdict in verdicts:
        if verdict["stage"] == "near":
            other = guard.other_of(json.dumps(verdict["evidence"]))
            return word_difference(text, guard.read_text(build, other["doc_id"], other["part"]))
    return []


def _spans(build: Build, row: dict[str, Any], part: PartRecord) -> list[dict[str, Any]]:
    """Spans that were cut from a document: bytes of its text, how they begin, and where they stand first."""
    found, text = [], row["text"].encode()
    filters = [("part", "=", part.id), ("doc_id", "=", row["doc_id"])]
    for record in build.parts("substrings", row["source"]) if substrings.ids(build, row["source"]) else []:
        for span in read_table(build.store, record.file(".spans"), filters=filters).to_pylist():
            shown = text[span["start"] : span["end"]].decode()[:MAX_SPAN_CHARS]
            found.append({key: span[key] for key in ("start", "end", "survivor", "offset")} | {"text": shown})
    return found


def _verdicts(build: Build, doc_id: str, part: PartRecord) -> Iterator[dict[str, Any]]:
    for stage in verdict_stages(build):
        for record in build.parts(stage):
            table = read_table(
                build.store, record.file(".parquet"), filters=[("part", "=", part.id), ("doc_id", "=", doc_id)]
            )
            for row in table.to_pylist():
                yield {
                    "stage": stage,
                    "reason": row["reason"],
                    "value": row["value"],
                    "threshold": row["threshold"],
                    "evidence": json.loads(row["evidence"]),
                }


def _places(build: Build, doc_id: str) -> Iterator[dict[str, Any]]:
    for record in build.parts("tokens") if "tokens" in build.records else []:
        table = read_table(build.store, record.file("_lineage.parquet"), filters=[("doc_id", "=", doc_id)])
        for row in table.to_pylist():
            place = {key: row[key] for key in ("sequence", "copy", "token_offset", "n_tokens")}
            yield {"shard": record.file(".bin"), **place}
