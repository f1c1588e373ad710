"""Hash everything again and add every sum again: what differs from the records."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from redpajama.artifacts import OUTSIDE, BuildFailed, PartRecord, Store, add_counts, read_stage
from redpajama.hashing import sha256_of
from redpajama.report.funnel import parse_build
from redpajama.stages import balance

READ_BYTES = 1 << 20
SCRATCH = re.compile(r".+-split|extracted|star-\d+-(large|small)|components")  # stages whose files serve one build


@dataclass
class Findings:
    """What `verify` found."""

    files: int
    bytes: int
    problems: list[str]  # broken promises
    strangers: list[str]  # files that no build names
    scratch: list[str]  # partition files and texts before line dedup: a later build may use them again


def verify(store: Store, names: list[str], contents: bool = True) -> Findings:
    """Check the builds of these names and every file that they name, and list the files that no build names.

    Args:
        names: where they are not all builds of ROOT, strangers cannot be told, and none are listed.
        contents: hash the outputs again; otherwise only the records.
    """
    findings = Findings(0, 0, [], [], [])
    named = {f"builds/{name}.json" for name in names}
    entries = {(e["record"], e["sha256"]) for key in sorted(named) for e in _stages_of(store, key, findings)}
    is_all = named >= {key for key, _ in store.keys("builds")}
    for record, sha256 in sorted(entries):  # builds share stages: each is checked once
        named |= _check_stage(store, record, sha256, findings, contents)
    for key, _ in store.keys("") if is_all else []:
        if key not in named and not key.startswith(OUTSIDE):
            is_scratch = SCRATCH.fullmatch(key.partition("/")[0]) is not None
            (findings.scratch if is_scratch else findings.strangers).append(key)
    findings.files = len(named)
    return findings


def _stages_of(store: Store, key: str, findings: Findings) -> list[dict[str, str]]:
    """The stage records that a build record names; none if its bytes are not as they were written."""
    try:
        record = parse_build(store.read(key))
    except (FileNotFoundError, ValueError):
        findings.problems.append(f"{key}: missing, or not as it was written")
        return []
    return [entry for names in record["stages"].values() for entry in names.values()]


def _check_stage(store: Store, key: str, sha256: str, findings: Findings, contents: bool) -> set[str]:
    """Check one stage record and all below it; the keys that it names."""
    named = {key}
    try:
        stage = read_stage(store, key)
    except BuildFailed as error:
        findings.problems.append(str(error))
        return named
    if stage.sha256 != sha256:
        findings.problems.append(f"{key}: not the record that the build names")
        return named
    counts, inputs = [], []
    for part in stage.parts:
        named.add(f"{part['part']}.json")
        record = _read_part(store, part, findings)
        if record:
            counts.append(record.counts)
            inputs += record.inputs
            named |= record.outputs.keys()
            if problem := balance(record.counts):
                findings.problems.append(f"{record.stem}.json: {problem}")
            findings.problems += _check_outputs(store, record, findings) if contents else []
    if len(counts) == len(stage.parts) and add_counts(counts) != stage.counts:
        findings.problems.append(f"{key}: its counts are not the sums of its parts")
    findings.problems += [f"{key}: {problem}" for problem in holes(inputs)]
    return named


def holes(inputs: list[Any]) -> Iterator[str]:
    """Files that were read in ranges which do not adjoin from the first byte to the last."""
    ranges = defaultdict(list)
    for file in inputs:
        if isinstance(file, dict) and "end" in file:
            ranges[file["url"], file["bytes"]].append((file["start"], file["end"]))
    for (url, size), found in sorted(ranges.items()):
        starts, ends = zip(*sorted(found), strict=True)
        if (*starts, size) != (0, *ends):
            yield f"the parts of {url} do not read all its {size:,} bytes once"


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


def _check_outputs(store: Store, record: PartRecord, findings: Findings) -> Iterator[str]:
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
