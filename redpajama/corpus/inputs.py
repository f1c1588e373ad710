"""The stage `inputs`: raw files and side files, measured, and fetched where they cannot be read in place.

Its records are a memory, not an output: they are keyed by (URL, place, size, ETag or mtime) and no build names them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redpajama.engine.parts import Outputs, Part, Result
from redpajama.engine.shapes import Piece, Single
from redpajama.engine.stages import Build
from redpajama.raw import hosts
from redpajama.raw.fetch import fetch
from redpajama.raw.hub import HubPath
from redpajama.raw.io import RawFile, listed_of, scheme_of

Found = dict[str, Any]  # url, path, bytes, sha256, tree; of a range also start and end


def listing_key(run: str) -> str:
    """Where a run keeps what it was given to read."""
    return f".tmp/{run}/listed.json"


def listed_files(build: Build) -> Iterator[Piece]:
    """One part for each listed file."""
    for listed in build.store.read_json(listing_key(build.job.run)):
        yield piece(listed, build.job.run)


def piece(listed: dict[str, Any], run: str) -> Piece:
    """One listed file, as the stage keys it."""
    version = listed["etag"] or f"run {run}"  # what tells no version is measured every time
    reads = [version, *(listed[key] for key in ("url", "path", "bytes", "sha256")), *filter(None, [listed["tree"]])]
    return Piece(listed["source"], reads, listed, listed["bytes"] or listed["about_bytes"])


def identify(build: Build, part: Part, outputs: Outputs) -> Result:
    """Fetch one file and measure its SHA-256. The path of a download is its key in ROOT, which may move."""
    spec = part.spec
    listed = listed_of(spec, build.job.signed)
    folder = f"inputs/fetched/{part.key}"  # another for each version of the file
    cache = build.store.path(folder) if build.store.local else str(outputs.folder)
    raw = fetch(listed, cache, spec["sha256"])
    path = raw.path
    if path != listed.path:
        path = f"{folder}/{Path(path).relative_to(cache)}"
        if not build.store.local:
            build.store.put(path, Path(raw.path))
    found = {"url": raw.url, "path": path, "bytes": raw.bytes, "sha256": raw.sha256, "tree": raw.tree}
    return [found], {"read": 1, "kept": 1, "bytes": raw.bytes}


def lanes(part: Part) -> tuple[str, int]:
    """The host that a file is downloaded from, and how many transfers it gets at once, of all machines together."""
    path = part.spec["path"]
    if scheme_of(path) not in ("http", "https", "hf"):
        return "", 1
    return hosts.host_of(HubPath.parse(path).web if scheme_of(path) == "hf" else path), hosts.per_host()


STAGE = Single(name="inputs", version=1, pieces=listed_files, work=identify, scratch=True, lanes=lanes, weighed=True)


# ---- for readers


def files(build: Build, name: str) -> list[Found]:
    """The files of a source, or of a side file's name, by URL; none where there are none of that name."""
    if name not in build.names(STAGE.name):
        return []
    return sorted((record.inputs[0] for record in build.named(STAGE.name, name)), key=lambda file: file["url"])


def side_file(build: Build, name: str) -> Found:
    """The one file of that name: a list, a model, a tokenizer."""
    [file] = files(build, name)
    return file


def raw_file(build: Build, found: Found) -> RawFile:
    """A file as pipelines read it: its path is resolved."""
    return RawFile(**{**found, "path": build.store.locate(found["path"])})
