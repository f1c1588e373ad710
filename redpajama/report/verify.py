"""Hash everything again and add every sum again: what differs from the records."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from redpajama.corpus import withdrawn
from redpajama.engine.gathered import StageRecord, add_counts, read_parts, read_stage
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import balance
from redpajama.engine.store import OUTSIDE, Store
from redpajama.errors import BuildFailed
from redpajama.hashing import sha256_of
from redpajama.report import exporting
from redpajama.report.builds import parse_build
from redpajama.report.current import differences

READ_BYTES = 1 << 20


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
    builds = [_build_of(store, key, findings) for key in sorted(named)]
    stages = [names for build in builds for names in build["stages"].values()]
    entries = {(entry["record"], entry["sha256"]) for names in stages for entry in names.values()}
    scratch = {stage for build in builds for stage in build["scratch"]}
    requests = withdrawn.in_root(store)
    for build in builds:
        findings.problems += _check_lists(build, requests)
        if contents:  # what is made of the build's files: nothing of these hangs on it
            findings.problems += _check_current(store, build)
            findings.problems += _check_exports(store, build, findings)
    is_all = named >= {key for key, _ in store.keys("builds")}
    for record, sha256 in sorted(entries):  # builds share stages: each is checked once
        named |= _check_stage(store, record, sha256, findings, contents)
    for key, _ in store.keys("") if is_all else []:
        if key not in named and not key.startswith(OUTSIDE):
            (findings.scratch if key.partition("/")[0] in scratch else findings.strangers).append(key)
    findings.files = len(named)
    return findings


def _build_of(store: Store, key: str, findings: Findings) -> dict[str, Any]:
    """A build record; one that names nothing if its bytes are not as they were written."""
    try:
        return parse_build(store.read(key))
    except (FileNotFoundError, ValueError):
        findings.problems.append(f"{key}: missing, or not as it was written")
        return {"stages": {}, "scratch": []}


def _check_current(store: Store, build: dict[str, Any]) -> list[str]:
    """What `current/<build>` has otherwise; a broken record is told elsewhere."""
    try:
        return differences(store, build) if build["stages"] else []
    except (BuildFailed, KeyError, OSError, ValueError):
        return []


def _check_exports(store: Store, build: dict[str, Any], findings: Findings) -> Iterator[str]:
    """The exports that the build's manifest asks for, against their own records."""
    if not build["stages"]:
        return
    for folder, files in exporting.finished(store, build):
        for problem in _check_files(store, {f"{folder}/{name}": entry for name, entry in files.items()}, findings):
            yield f"{problem}; remove it, and `redpajama build` makes it anew"


def _check_lists(build: dict[str, Any], requests: dict[str, str]) -> Iterator[str]:
    """What is withdrawn otherwise than when the build was made."""
    known = build.get("withdrawn", {}) if build["stages"] else requests
    for request in sorted(known.keys() | requests.keys()):
        if request not in requests:
            yield f"{withdrawn.key_of(request)}: missing"
        elif request not in known:
            yield (
                f"{withdrawn.key_of(request)}: build '{build['manifest']['name']}' was made before it; "
                f"`redpajama build` leaves out what it names"
            )
        elif known[request] != requests[request]:
            yield f"{withdrawn.key_of(request)}: not the list that the build was made with"


def _check_stage(store: Store, key: str, sha256: str, findings: Findings, contents: bool) -> set[str]:
    """Check one stage record and all below it; the keys that it names."""
    try:
        stage = read_stage(store, key)
        if stage.sha256 != sha256:
            raise BuildFailed(f"{key}: not the record that the build names")
        parts = read_parts(store, stage)
    except BuildFailed as error:
        findings.problems.append(str(error))
        return {key}
    findings.bytes += sum(file["bytes"] for file in stage.gathered)
    named = {key, *(file["key"] for file in stage.gathered)}
    for part in parts:
        named |= {f"{part.stem}.json", *part.outputs}
        findings.problems += _check_part(store, part, findings, contents)
    findings.problems += _check_sums(stage, parts)
    return named


def _check_sums(stage: StageRecord, parts: Sequence[PartRecord]) -> Iterator[str]:
    if add_counts([part.counts for part in parts]) != stage.counts:
        yield f"{stage.key}: its counts are not the sums of its parts"
    yield from (f"{stage.key}: {problem}" for problem in holes([each for part in parts for each in part.inputs]))


def _check_part(store: Store, part: PartRecord, findings: Findings, contents: bool) -> Iterator[str]:
    """A part's own record, its balance, and its files."""
    yield from _check_record(store, part, findings)
    if problem := balance(part.counts):
        yield f"{part.stem}.json: {problem}"
    if contents:
        yield from _check_outputs(store, part, findings)


def _check_record(store: Store, part: PartRecord, findings: Findings) -> Iterator[str]:
    try:
        body = store.read(f"{part.stem}.json")
    except FileNotFoundError:
        yield f"{part.stem}.json: missing"
        return
    findings.bytes += len(body)
    if sha256_of([body]) != part.sha256:
        yield f"{part.stem}.json: not the record that the stage names"


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


def _check_outputs(store: Store, record: PartRecord, findings: Findings) -> Iterator[str]:
    wanted = {key: (output["bytes"], output["sha256"]) for key, output in record.outputs.items()}
    yield from _check_files(store, wanted, findings)


def _check_files(store: Store, wanted: Mapping[str, Sequence[Any]], findings: Findings) -> Iterator[str]:
    """{key: (bytes, SHA-256)}"""
    for key, (bytes_, sha256) in wanted.items():
        if not store.exists(key):
            yield f"{key}: missing"
            continue
        with store.open(key) as file:
            found = sha256_of(iter(partial(file.read, READ_BYTES), b""))
            size = file.tell()
        findings.bytes += size
        if size != bytes_:
            yield f"{key}: {size:,} bytes, not {bytes_:,}"
        elif found != sha256:
            yield f"{key}: its SHA-256 is {found[:12]}…, not {sha256[:12]}…"
