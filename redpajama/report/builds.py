"""The finished builds of a ROOT: which there are, their records, and what their stages saw."""

import json
from typing import Any

from redpajama.engine.stages import Build, Job
from redpajama.engine.store import Store
from redpajama.errors import BuildFailed, UserError
from redpajama.hashing import canonical_json, sha256_of
from redpajama.manifest import Manifest
from redpajama.report.runs import last_run, record_so_far


def find_builds(store: Store, name: str = "") -> list[str]:
    """The name itself, or the names of all builds in ROOT, sorted.

    Raises:
        UserError: there is none, or none of that name; one line.
    """
    keys = [key for key, _ in store.keys("builds") if key.endswith(".json")]
    found = [key.removeprefix("builds/").removesuffix(".json") for key in keys]
    if not found:
        raise UserError(f"{store.url}: no finished build is here")
    if name and name not in found:
        raise UserError(f"{store.url}: no build is called '{name}' ({', '.join(found)})")
    return [name] if name else found


def read_build(store: Store, name: str = "") -> dict[str, Any]:
    """The record of the build called `name`, or of the only one; before the first is finished, what is committed of it.

    Raises:
        UserError: there is none, or several and no name. BuildFailed: the record cannot be read. One line each.
    """
    about = last_run(store)
    if about and name in ("", about["manifest"]["name"]) and not store.exists("builds"):
        return record_so_far(store, about)
    found = find_builds(store, name)
    if len(found) > 1:
        raise UserError(f"{store.url}: several builds are here: name one with --build ({', '.join(found)})")
    key = f"builds/{found[0]}.json"
    try:
        return parse_build(store.read(key))
    except ValueError:
        raise BuildFailed(f"{key}: not as it was written") from None


def parse_build(data: bytes) -> dict[str, Any]:
    """A build record from the bytes of its file.

    Raises:
        ValueError: they are not as they were written.
    """
    record = json.loads(data)
    if not isinstance(record, dict) or data != canonical_json(record):
        raise ValueError("not the JSON that a build writes")
    body = {name: value for name, value in record.items() if name != "sha256"}
    if record.get("sha256") != sha256_of([canonical_json(body)]):
        raise ValueError("its SHA-256 is another")
    return record


def open_build(store: Store, record: dict[str, Any]) -> Build:
    """A finished build, as its stages saw it."""
    stages = record["stages"].items()
    records = {stage: {name: entry["record"] for name, entry in names.items()} for stage, names in stages}
    removing = tuple(stage for stage in record["removing"] if stage in records)
    job = Job(Manifest(**record["manifest"]), store.url, withdrawn=record.get("withdrawn", {}))
    return Build(job, records, removing)


def records_of(record: dict[str, Any]) -> dict[str, dict[str, str]]:
    """{stage: {name: key of its record}} of a build, scratch too."""
    named = {stage: {name: each["record"] for name, each in names.items()} for stage, names in record["stages"].items()}
    return {**record["scratch"], **named}
