"""What happened to one document or raw unit: every stage's word on it, found by id, URL or text.

A URL may be written as a browser shows it (`corpus/addresses.py`).
"""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import origins, reader, spans, verdicts, withdrawn
from redpajama.corpus.addresses import address_of, mentioned
from redpajama.corpus.stages import SIGNALS
from redpajama.dedup import guard
from redpajama.engine import homes
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import Build
from redpajama.engine.store import Store
from redpajama.engine.tables import read_batches, read_table
from redpajama.hashing import normal_text_digest
from redpajama.manifest import KINDS, given
from redpajama.quality import limits, rules, scores
from redpajama.records import Reason
from redpajama.report.builds import open_build
from redpajama.report.difference import Piece, word_difference

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


def _limit(found: Iterator[Any]) -> list[Any]:
    return [item for item, _ in zip(found, range(MAX_FOUND), strict=False)]


def _find_documents(build: Build, what: str) -> Iterator[tuple[dict[str, Any], PartRecord]]:
    """Documents whose id, URL or text is `what`; their other columns are read only where there is one."""
    digests, address = pa.array([normal_text_digest(what, kind) for kind in KINDS], pa.binary(16)), address_of(what)
    needle = f'"url":{json.dumps(what, ensure_ascii=False)}'
    for part in build.parts("documents"):
        for batch in read_batches(build.store, part.file(".parquet"), ["doc_id", "text_digest", "meta"]):
            digest = batch.column("text_digest")
            hits = pc.or_(pc.equal(batch.column("doc_id"), what), pc.is_in(digest, value_set=digests))
            hits = pc.or_(hits, pc.match_substring(batch.column("meta"), needle))
            hits = pc.or_(hits, mentioned(batch.column("meta"), address)) if address else hits
            if ids := batch.column("doc_id").filter(hits).to_pylist():
                rows = read_table(build.store, part.file(".parquet"), filters=[("doc_id", "in", ids)])
                yield from ((row, part) for row in rows.to_pylist())


def _find_ledger(build: Build, what: str) -> Iterator[tuple[dict[str, Any], PartRecord]]:
    """Ledger rows whose id is `what` or whose evidence names it."""
    needle, address = json.dumps(what, ensure_ascii=False), address_of(what)
    for part in build.parts("documents"):
        file = part.beside("ledger")
        for batch in read_batches(build.store, file) if file else ():
            hits = pc.equal(batch.column("doc_id"), what)
            hits = pc.or_(hits, pc.match_substring(batch.column("evidence"), needle))
            hits = pc.or_(hits, mentioned(batch.column("evidence"), address)) if address else hits
            for row in batch.filter(hits).to_pylist():
                yield row, part


def _ledger_story(row: dict[str, Any], part: PartRecord) -> dict[str, Any]:
    evidence = json.loads(row["evidence"])
    own = [file for file in part.inputs if file["url"] == evidence.get("file")]
    return {
        "doc_id": row["doc_id"],
        "fate": f"{row['verdict']} by the pipeline: {row['reason']}",
        "value": row["value"],
        "threshold": row["threshold"],
        "evidence": evidence,
        "inputs": list(map(origins.place, own or part.inputs)),
    }


def _story(build: Build, row: dict[str, Any], part: PartRecord) -> dict[str, Any]:
    """A document: where it came from, its signals beside the rules, verdicts, and its places in the shards."""
    verdicts = list(_verdicts(build, row["doc_id"], part))
    places = list(_places(build, row["doc_id"])) if not verdicts else []
    taken = withdrawn.of_part(build, part).filter(pc.field("doc_id") == row["doc_id"]).to_pylist()
    source = build.manifest.source_named(row["source"])
    measured = reader.beside(build, SIGNALS, part)
    number = origins.row_of(build.store, part, row["doc_id"])
    origin = origins.origin(part, number)
    signals = row | (_row_of(measured, row["doc_id"]) if measured else {})
    return {
        "doc_id": row["doc_id"],
        "fate": _withdrawn(taken[0]) if taken else _fate(build, row["source"], verdicts, places),
        "withdrawn": {name: taken[0][name] for name in ("request", "by", "similarity", "refill")} if taken else None,
        "inputs": origin.inputs,
        "input_document": origin.row,
        "document_part": part.file(".parquet").key,
        "document_row": number,
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
    table = scores.of_part(build, part)
    found = _row_of(table, row["doc_id"]) if table else {}
    return {name.removeprefix("q_"): value for name, value in found.items() if name != "doc_id"}


def _row_of(table: pa.Table, doc_id: str) -> dict[str, Any]:
    return table.filter(pc.equal(table.column("doc_id"), doc_id)).to_pylist()[0]


def _fate(build: Build, source: str, verdicts: list[dict[str, Any]], places: list[dict[str, Any]]) -> str:
    if verdicts:
        first = verdicts[0]
        evidence = first["evidence"]
        rule = evidence.get("rule")
        said = f"{rule} = {first['threshold']:g}, measured {first['value']:g}" if rule else first["reason"]
        if first["stage"] == "near":
            said += f", similarity {first['value']:g} ({evidence['similarity_by']}) of at least {first['threshold']:g}"
            said += f", {evidence['shared_bands']} bands shared{_lost(evidence)}"
        if label := evidence.get("label"):
            said += _by_model(label, first)
        other = [f", {role} {evidence[role]}" for role in ("survivor", "other") if role in evidence]
        return f"removed by {first['stage']}: {said}{''.join(other)}"
    if places:
        return f"in the shards, {len(places)} cop{'y' if len(places) == 1 else 'ies'}"
    if "tokens" in build.records:
        is_drawn = source in given(build.manifest.mixture).drawn_sources()
        return (
            f"alive, but not drawn: {'its slice had its tokens without it' if is_drawn else 'its slice has weight 0'}"
        )
    return "alive"


def _withdrawn(row: dict[str, Any]) -> str:
    """What took a document down, and how it was told."""
    by = {"id": "its id", "url": "its URL", "text": "its text", "near": f"{row['similarity'] or 0:g} of a near copy"}
    return f"withdrawn by request '{row['request']}' ({by[row['by']]}), {withdrawn.key_of(row['request'])}"


def _lost(evidence: dict[str, Any]) -> str:
    """What a near-duplicate held alone: much of it where the likeness is that of a page's frame."""
    if "lost" not in evidence:
        return ""
    count = round(evidence["lost"] * evidence["ngrams"])
    return f", {evidence['lost']:.1%} of its n-grams (about {count:,} of {evidence['ngrams']:,}) in no survivor"


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
    table = homes.read(build, spans.STAGE, part, spans.HOME)
    for span in table.filter(pc.equal(table.column("doc_id"), row["doc_id"])).to_pylist():
        shown = text[span["start"] : span["end"]].decode()[:MAX_SPAN_CHARS]
        found.append({key: span[key] for key in ("start", "end", "survivor", "offset")} | {"text": shown})
    return found


def _verdicts(build: Build, doc_id: str, part: PartRecord) -> Iterator[dict[str, Any]]:
    for stage in build.removing:
        table = verdicts.of_part(build, stage, part)
        for row in table.filter(pc.equal(table.column("doc_id"), doc_id)).to_pylist():
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
            yield {"shard": record.file(".bin").key, **place}
