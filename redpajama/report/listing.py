"""The raw files of a manifest now, against those that an earlier build read: new, changed, gone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from redpajama.corpus import inputs
from redpajama.corpus.inputs import Found
from redpajama.engine.gathered import read_parts, read_stage
from redpajama.engine.parts import Part, PartRecord, committed_each
from redpajama.engine.stages import Build, Job, Planned
from redpajama.engine.store import Store
from redpajama.hashing import canonical_json
from redpajama.manifest import Manifest
from redpajama.report.changes import UNMEASURED

SHOWN = 3  # names of files


@dataclass(frozen=True)
class Files:
    """The files of one source, or of a side file's name."""

    name: str
    records: tuple[PartRecord, ...]  # as the stage `inputs` would have them, UNMEASURED where it must read first
    unmeasured: int
    changes: tuple[str, ...]  # in words; empty: they are those of the earlier build
    is_certain: bool  # some file is another for sure, not only by its date


def listed_now(manifest: Manifest, store: Store, listed: list[dict[str, Any]], record: dict[str, Any]) -> list[Files]:
    """What the build would find of each name. A file whose address, size and ETag or date are known is not read.

    Args:
        listed: as `preflight.list_inputs` gives it.
        record: of the earlier build.
    """
    earlier = _earlier_files(store, record)
    found = [_files(store, planned, earlier.get(planned.name)) for planned in _planned(manifest, store, listed)]
    gone = earlier.keys() - {files.name for files in found}
    return [*found, *(_files_of(name, (), earlier[name]) for name in sorted(gone))]


def copy_of(manifest: Manifest, store: Store, listed: dict[str, Any]) -> Found | None:
    """The copy of a file that a build downloaded; None where there is none, or the server tells no version of it."""
    [planned] = _planned(manifest, store, [listed])
    [record] = committed_each(store, [part.stem for part in planned.parts()])
    if record is None or not store.exists(record.inputs[0]["path"]):
        return None
    return {**record.inputs[0], "path": store.locate(record.inputs[0]["path"])}


def _planned(manifest: Manifest, store: Store, listed: list[dict[str, Any]]) -> list[Planned]:
    """What the stage `inputs` plans for these files; what tells no version is not known from any run."""
    stage = replace(inputs.STAGE, pieces=lambda build: [inputs.piece(each, "") for each in listed])
    [step] = stage.steps()
    return step.plan(Build(Job(manifest, store.url), {}))


def _earlier_files(store: Store, record: dict[str, Any]) -> dict[str, dict[str, Found]]:
    """{source: {url: bytes, sha256}} of the files that an earlier build made documents of."""
    found: dict[str, dict[str, Found]] = {}
    for name, entry in record["stages"].get("documents", {}).items():
        parts = read_parts(store, read_stage(store, entry["record"]))
        found[name] = {file["url"]: file for part in parts for file in part.inputs}
    return found


def _files(store: Store, planned: Planned, earlier: dict[str, Found] | None) -> Files:
    return _files_of(planned.name, tuple(_records(store, planned)), earlier)


def _records(store: Store, planned: Planned) -> Iterable[PartRecord]:
    """The records of files that were measured; of the others what the listing says."""
    key = planned.record_of(inputs.STAGE.name)
    if store.exists(key):
        return read_parts(store, read_stage(store, key))
    parts = planned.parts()
    records = committed_each(store, [part.stem for part in parts])
    return [record or _unmeasured(part) for part, record in zip(parts, records, strict=True)]


def _unmeasured(part: Part) -> PartRecord:
    listed = part.spec
    found = {key: listed[key] for key in ("url", "bytes", "tree")}
    found |= {"sha256": listed["sha256"] or UNMEASURED, "path": f"inputs/{part.key}"}  # nothing lies there
    return PartRecord(part.stem, "", part.key, "", canonical_json([found]).decode(), "{}", "{}")


def _files_of(name: str, records: tuple[PartRecord, ...], earlier: dict[str, Found] | None) -> Files:
    now = {record.inputs[0]["url"]: record.inputs[0] for record in records}
    unmeasured = [record.inputs[0]["url"] for record in records if not record.sha256]
    if earlier is None:  # a side file, or a source that was not there
        changes, is_certain = _said("to measure", unmeasured), False
    else:
        both = [url for url in now if url in earlier]
        new, gone = [url for url in now if url not in earlier], [url for url in earlier if url not in now]
        changed = [url for url in both if _is_other(now[url], earlier[url])]
        touched = [url for url in both if url in unmeasured and url not in changed]
        is_certain = bool(new or gone or changed)
        said = (("new", new), ("changed", changed), ("gone", gone), ("another date or ETag", touched))
        changes = [words for each in said for words in _said(*each)]
    return Files(name, records, len(unmeasured), tuple(changes), is_certain)


def _is_other(now: Found, earlier: Found) -> bool:
    """Whether a file is another for sure: by its hash, or where that is not known by its size."""
    if now["sha256"] != UNMEASURED:
        return now["sha256"] != earlier["sha256"]
    return bool(now["bytes"]) and now["bytes"] != earlier["bytes"]


def _said(what: str, urls: Sequence[str]) -> list[str]:
    more = f" and {len(urls) - SHOWN:,} more" if len(urls) > SHOWN else ""
    return [f"{what}: {', '.join(urls[:SHOWN])}{more}"] if urls else []
