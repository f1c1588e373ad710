"""Hash everything again and add every sum again: what differs from the records."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from redpajama.artifacts import OUTSIDE, PartRecord, Store, add_counts, read_stage
from redpajama.hashing import canonical_json, sha256_of
from redpajama.stages import balance

READ_BYTES = 1 << 20


@dataclass
class Findings:
    """What `verify` found."""

    files: int
    bytes: int
    problems: list[str]  # broken promises
    strangers: list[str]  # files that no build names
    scratch: list[str]  # partition files of finished regroups: a later build may use them again


def verify(store: Store, names: list[str]) -> Findings:
    """Check the builds of these names and every file that they name, and list the files that none of them names."""
    findings = Findings(0, 0, [], [], [])
    named = {f"builds/{name}.json" for name in names}
    for key in sorted(named):
        for entry in _stages_of(store, key, findings):
            named |= _check_stage(store, entry, findings)
    for key, _ in store.keys(""):
        if key not in named and not key.startswith(OUTSIDE):
            is_scratch = key.partition("/")[0].endswith("-split")
            (findings.scratch if is_scratch else findings.strangers).append(key)
    findings.files = len(named)
    return findings


def _stages_of(store: Store, key: str, findings: Findings) -> list[dict[str, str]]:
    """The stage records that a build record names; none if its bytes are not as they were written."""
    try:
        data = store.read(key)
        record = json.loads(data)
        body = {name: value for name, value in record.items() if name != "sha256"}
        sound = data == canonical_json(record) and record["sha256"] == sha256_of([canonical_json(body)])
    except (FileNotFoundError, ValueError, KeyError, AttributeError):
        sound = False
    if not sound:
        findings.problems.append(f"{key}: missing, or not as it was written")
        return []
    return [entry for names in record["stages"].values() for entry in names.values()]


def _check_stage(store: Store, entry: dict[str, str], findings: Findings) -> set[str]:
    """Check one stage record and all below it; the keys that it names."""
    key = entry["record"]
    named = {key}
    try:
        stage = read_stage(store, key)
    except (FileNotFoundError, ValueError, KeyError):
        findings.problems.append(f"{key}: missing or unreadable")
        return named
    if stage.sha256 != entry["sha256"]:
        findings.problems.append(f"{key}: not the record that the build names")
        return named
    counts = []
    for part in stage.parts:
        named.add(f"{part['part']}.json")
        record = _read_part(store, part, findings)
        if record:
            counts.append(record.counts)
            named |= record.outputs.keys()
            findings.problems += _check_part(store, record, findings)
    if len(counts) == len(stage.parts) and add_counts(counts) != stage.counts:
        findings.problems.append(f"{key}: its counts are not the sums of its parts")
    return named


def _read_part(store: Store, part: dict[str, str], findings: Findings) -> PartRecord | None:
    try:
        body = store.read(f"{part['part']}.json")
    except FileNotFoundError:
        findings.problems.append(f"{part['part']}.json: missing")
        return None
    if sha256_of([body]) != part["sha256"]:
        findings.problems.append(f"{part['part']}.json: not the record that the stage names")
        return None
    findings.bytes += len(body)
    return PartRecord.parse(part["part"], body)


def _check_part(store: Store, record: PartRecord, findings: Findings) -> Iterator[str]:
    if problem := balance(record.counts):
        yield f"{record.stem}.json: {problem}"
    for key, wanted in record.outputs.items():
        if not store.exists(key):
            yield f"{key}: missing"
            continue
        with store.open(key) as file:
            found = sha256_of(iter(partial(file.read, READ_BYTES), b""))
            size = file.tell()
        findings.bytes += size
        if size != wanted["bytes"]:
            yield f"{key}: {size:,} bytes, not {wanted['bytes']:,}"
        elif found != wanted["sha256"]:
            yield f"{key}: its SHA-256 is {found[:12]}…, not {wanted['sha256'][:12]}…"
