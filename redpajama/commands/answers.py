"""What commands answer with `--json`, as JSON Schema: the one place where it is said. More keys may come.

A test holds each command's answer to its schema.
"""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
MAYBE: Schema = {"type": ["number", "null"]}
ANY: Schema = {"type": "object"}


def record(**fields: Schema) -> Schema:
    """An object that has these fields, and perhaps others."""
    return {"type": "object", "required": sorted(fields), "properties": fields}


def rows(of: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": of}


def by_name(of: Schema) -> Schema:
    """An object whose keys are names."""
    return {"type": "object", "additionalProperties": of}


def perhaps(fields: Schema, **more: Schema) -> Schema:
    """The same object, with fields that are there where they say something."""
    return {**fields, "properties": {**fields["properties"], **more}}


SOURCE_ROW = record(
    source=TEXT,
    raw_bytes=COUNT,
    read=COUNT,
    merged=COUNT,
    documents=COUNT,
    dropped=by_name(COUNT),
    removed=by_name(COUNT),
    quarantined=COUNT,
    damaged_ranges=COUNT,
    living=COUNT,
    cut_spans=COUNT,
    cut_bytes=COUNT,
    shortened=COUNT,
    available_tokens=COUNT,
    drawn_documents=COUNT,
    drawn_copies=COUNT,
    drawn_tokens=COUNT,
    wanted_share=SHARE,
    got_share=SHARE,
)
PAIR = perhaps(record(documents=COUNT, bytes=COUNT), tokens=COUNT)
BUILD = record(
    build=TEXT,
    until=TEXT,
    corpus=TEXT,
    samples=by_name(MAYBE),
    sources=rows(SOURCE_ROW),
    duplicates=by_name(by_name(PAIR)),
    near=ANY,
    unmet=rows(TEXT),
    shards=rows(TEXT),
)
PLANNED = {"type": "array", "prefixItems": [TEXT, NUMBER, NUMBER]}  # what, as it was reckoned, as it came out
STATUS = perhaps(BUILD, stages=by_name(by_name(record(parts=COUNT, counts=ANY))), planned=rows(PLANNED))

STANDING = record(
    stage=TEXT, state=TEXT, parts=COUNT, done=COUNT, units=COUNT, reasons=by_name(COUNT), seconds_left=MAYBE
)
RUN = record(build=TEXT, state=TEXT, said=TEXT, run=TEXT, until=TEXT, progress=rows(STANDING))  # not finished

MISTAKES = record(mistakes=rows(record(key=TEXT, message=TEXT)))
INPUT = record(source=TEXT, url=TEXT, path=TEXT, bytes=COUNT, sha256=TEXT, tree=TEXT, about_bytes=COUNT)
INPUTS_OF = record(
    files=COUNT, bytes=COUNT, unknown_sizes=COUNT, estimates=COUNT, fetch_bytes=COUNT, egress_bytes=COUNT
)
REDO = record(
    stage=TEXT,
    name=TEXT,
    todo={"type": ["integer", "null"]},
    parts={"type": ["integer", "null"]},
    why=rows(TEXT),
    follows={"type": ["array", "null"]},
)
UNAVAILABLE = record(source=TEXT, input=TEXT, state=TEXT, said=TEXT)
TARGET = record(
    wanted_share=SHARE,
    target_tokens=COUNT,
    unique_tokens=COUNT,
    provenance=TEXT,
    epochs=NUMBER,
    effective_tokens=COUNT,
    cap_tokens=COUNT,
    binds=TEXT,
)
PLAN = perhaps(
    record(
        manifest=ANY,
        sources=by_name(INPUTS_OF),
        inputs=rows(INPUT),
        unavailable=rows(UNAVAILABLE),
        reckoned=ANY,
    ),
    near=ANY,
    redo=rows(REDO),
    targets=by_name(TARGET),
    uncounted=rows(TEXT),
)
TARGETS = perhaps(record(manifest=ANY), targets=by_name(TARGET), uncounted=rows(TEXT))  # with --offline

LEDGER = perhaps(record(doc_id=TEXT, fate=TEXT, inputs=rows(TEXT), evidence=ANY), value=MAYBE, threshold=MAYBE)
VERDICT = record(stage=TEXT, reason=TEXT, value=MAYBE, threshold=MAYBE, evidence=ANY)
PLACE = record(shard=TEXT, sequence=COUNT, copy=COUNT, token_offset=COUNT, n_tokens=COUNT)
SPAN = record(start=COUNT, end=COUNT, survivor=TEXT, offset=COUNT, text=TEXT)
DOCUMENT = record(
    doc_id=TEXT,
    fate=TEXT,
    inputs=rows(TEXT),
    input_document={"type": ["integer", "null"]},
    document_part=TEXT,
    document_row=COUNT,
    meta=ANY,
    signals=by_name(MAYBE),
    rules=ANY,
    scores=ANY,
    limits=ANY,
    verdicts=rows(VERDICT),
    difference=rows({"type": "array", "prefixItems": [{"enum": ["=", "-", "+"]}, TEXT], "minItems": 2, "maxItems": 2}),
    spans=rows(SPAN),
    shards=rows(PLACE),
    text=TEXT,
    withdrawn={"type": ["object", "null"]},
)

SHOWN = perhaps(
    record(doc_id=TEXT, source=TEXT),
    text=TEXT,
    raw=TEXT,
    meta=ANY,
    inputs=rows(TEXT),
    stage=TEXT,
    verdict=TEXT,
    reason=TEXT,
    value=MAYBE,
    threshold=MAYBE,
    evidence=ANY,
)
FATE = record(doc_id=TEXT, fate={"enum": ["kept", "removed"]}, similarity=MAYBE, text=TEXT)
CLUSTER = record(
    survivor=TEXT,
    size=COUNT,
    kept=COUNT,
    removed=COUNT,
    unchecked=COUNT,
    sources=by_name(COUNT),
    similarity={"type": ["array", "null"], "items": NUMBER},
    examples=rows(FATE),
)
TWO: Schema = {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2}
DIFF = record(
    same_corpus=FLAG,
    manifest=rows(TEXT),
    inputs=by_name(record(new=rows(TEXT), gone=rows(TEXT), changed=rows(TEXT))),
    counts=by_name(by_name(TWO)),
    mixture=by_name(TWO),
    ids=by_name(record(came=COUNT, went=COUNT, came_first=rows(TEXT), went_first=rows(TEXT))),
)
SIGNALS = record(
    signals=rows(record(name=TEXT, set=TEXT, unit=TEXT, definition=TEXT, source=TEXT, presets=by_name(TEXT))),
    presets=by_name(by_name(ANY)),
    differences=by_name(rows(TEXT)),
)
OPTION = record(name=TEXT, kind=TEXT, default=TEXT, note=TEXT)
PIPELINE = record(name=TEXT, title=TEXT, unit=TEXT, description=TEXT, kind=TEXT, options=rows(OPTION), example=TEXT)
FINDING = record(source=TEXT, input=TEXT, state=TEXT, files=COUNT, bytes=COUNT, is_estimate=FLAG, said=TEXT)
BINS = record(documents=rows(COUNT), weights=rows(COUNT), missing=rows(COUNT), bounds=by_name(NUMBER), near=rows(ANY))
EXPLORE = record(
    build=TEXT,
    corpus=TEXT,
    sources=by_name(record(pipeline=TEXT, unit=TEXT, documents=COUNT, weight=COUNT)),
    signals=rows(record(key=TEXT, about=TEXT, log=FLAG, cuts=rows(NUMBER), sources=by_name(BINS))),
    texts=by_name(by_name(record(id=TEXT, text=TEXT))),
)
TAKEN = record(doc_id=TEXT, by={"enum": ["id", "url", "text", "near"]}, similarity=MAYBE)
SEARCH = record(documents=COUNT, drawn_rows=COUNT, shards=COUNT, texts=COUNT, parts=COUNT, copies=rows(TEXT))
REMOVED = record(
    request=TEXT,
    list=TEXT,
    entries=COUNT,
    documents=rows(TAKEN),
    removed=rows(TEXT),
    search=SEARCH,
    remains=by_name(rows(TEXT)),
    corpus=by_name(TEXT),
    seconds=NUMBER,
)

TOKEN = record(
    shard=TEXT,
    token=COUNT,
    doc_id=TEXT,
    source=TEXT,
    copy=COUNT,
    sequence=COUNT,
    token_in_document=COUNT,
    is_end_of_document=FLAG,
    id=COUNT,
    characters=rows(COUNT),
    before=TEXT,
    text=TEXT,
    after=TEXT,
    inputs=rows(TEXT),
)
PLACES = record(places=rows(record(shard=TEXT, token=COUNT, doc_id=TEXT, copy=COUNT)))
SLICE = record(
    source=TEXT,
    wanted_share=SHARE,
    got_share=SHARE,
    target_tokens=COUNT,
    tokens=COUNT,
    unique_tokens=COUNT,
    epochs=NUMBER,
    effective_tokens=COUNT,
)
MIXED = record(
    budget_tokens=COUNT,
    tokens=COUNT,
    slices=by_name(SLICE),
    sources=by_name(record(documents=COUNT, copies=COUNT, tokens=COUNT, lengths=by_name(COUNT))),
    copies=by_name(COUNT),
    near_copies_counted=FLAG,
    streams=by_name(record(windows=COUNT, tokens=COUNT, sources=by_name(ANY))),
    held_out_tokens=COUNT,
    overshoot=by_name(record(tokens=COUNT, share=NUMBER, doc_id=TEXT)),
)
DOMAIN = record(source=TEXT, tokens=COUNT, share=SHARE, max_epochs=NUMBER, weight=NUMBER)
PRIORS = record(priors=record(relative_sizes=by_name(SHARE), token_counts=by_name(COUNT)), domains=by_name(DOMAIN))
EXPORTED = record(
    to=TEXT,
    format=TEXT,
    packing=TEXT,
    files=COUNT,
    documents=COUNT,
    tokens=COUNT,
    bytes=COUNT,
    written=COUNT,
    opens=TEXT,
)

ANSWERS: dict[str, Schema] = {
    "plan": {"anyOf": [PLAN, TARGETS, MISTAKES]},
    "doctor": rows(FINDING),
    "build": BUILD,
    "status": {"anyOf": [STATUS, RUN]},
    "mixture": {"anyOf": [MIXED, PRIORS]},
    "export": EXPORTED,
    "verify": record(files=COUNT, bytes=COUNT, problems=rows(TEXT), strangers=rows(TEXT), scratch=rows(TEXT)),
    "show": rows(SHOWN),
    "why": {"anyOf": [rows({"anyOf": [DOCUMENT, LEDGER]}), TOKEN, PLACES]},
    "clusters": rows(CLUSTER),
    "explore": EXPLORE,
    "diff": DIFF,
    "sources": {"anyOf": [rows(PIPELINE), PIPELINE]},
    "signals": SIGNALS,
    "remove": REMOVED,
    "gc": record(unnamed=rows(TEXT), removed=FLAG),
}
