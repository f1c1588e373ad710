"""After a take-down: what no build needs goes, no copy is left in what stays, and where the text remains and why."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import withdrawn
from redpajama.corpus.stages import DOCUMENTS, EXTRACTED, MIXTURE, READ, TAKEDOWN, TOKENS
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import Build
from redpajama.engine.store import Store
from redpajama.engine.tables import read_batches, read_table
from redpajama.errors import BuildFailed
from redpajama.report.builds import find_builds
from redpajama.report.exporting import FOLDER as EXPORTS
from redpajama.report.exporting import folder_of as export_folder
from redpajama.report.shards import LINEAGE
from redpajama.report.verify import verify

DRAWN = (MIXTURE, f"{MIXTURE}-split", TOKENS)  # stages whose files hold text that was drawn


class Absence(NamedTuple):
    """What was searched for copies."""

    documents: int  # that are withdrawn
    drawn_rows: int  # of lineage
    shards: int
    texts: int  # of the mixture
    parts: int  # of the mixture
    copies: list[str]  # where one was found


def sweep(store: Store, builds: Sequence[Build]) -> list[str]:
    """Remove what held drawn text and what no build names: shards, ranges, exports and indexes. Their keys.

    Raises:
        BuildFailed: a record is broken.
    """
    findings = verify(store, find_builds(store), contents=False)
    if findings.problems:
        raise BuildFailed(f"{findings.problems[0]}; superseded files stay: what it names would look like one")
    unnamed = [*findings.strangers, *findings.scratch]
    gone = [key for key in unnamed if key.startswith(tuple(f"{stage}/" for stage in DRAWN))]
    contents = {part.content for build in builds for part in _parts(build, MIXTURE)}
    gone += [key for key, _ in store.keys("index/text") if key.rpartition("/")[2] not in contents]
    for key in gone:
        store.remove(key)
    return [*gone, *_old_exports(store, builds)]


def _old_exports(store: Store, builds: Sequence[Build]) -> Iterator[str]:
    """Exports that their manifests no longer ask for: nothing writes them anew."""
    asked = {export_folder(build.manifest.name, name) for build in builds for name in build.manifest.shards.formats}
    there = {"/".join(key.split("/")[:3]) for key, _ in store.keys(EXPORTS)}
    for folder in sorted(there - asked):
        store.remove(folder)
        yield folder


def search(builds: Sequence[Build]) -> Absence:
    """Look for ids and texts of all that is withdrawn, in the lineage of every shard and in every drawn text."""
    rows, texts, copies = 0, 0, list[str]()
    shards, parts, known = set[str](), set[str](), set[str]()
    for build in builds:
        ids, own = withdrawn.all_ids(build), _texts(build)
        known.update(ids.to_pylist())
        for part in _parts(build, TOKENS):
            shards.add(part.stem)
            for batch in read_batches(build.store, part.file(LINEAGE), ["doc_id"]):
                rows += batch.num_rows
                copies += _where(part, batch, pc.is_in(batch.column("doc_id"), value_set=ids))
        for part in _parts(build, MIXTURE):
            parts.add(part.stem)
            for batch in read_batches(build.store, part.file(".parquet"), ["doc_id", "text"]):
                texts += batch.num_rows
                is_one = pc.is_in(batch.column("doc_id"), value_set=ids)
                copies += _where(part, batch, pc.or_(is_one, _among(batch.column("text"), own)))
    return Absence(len(known), rows, len(shards), texts, len(parts), copies)


def _parts(build: Build, stage: str) -> list[PartRecord]:
    return build.parts(stage) if stage in build.records else []


def _where(part: PartRecord, batch: pa.RecordBatch, hits: pa.Array) -> Iterator[str]:
    yield from (f"{part.stem}: {doc_id}" for doc_id in batch.column("doc_id").filter(hits).to_pylist())


def _among(texts: pa.Array, wanted: pa.Array) -> pa.Array:
    """bool[n]: whether each text is one of some; only those of a length of theirs are looked at."""
    sizes = pc.binary_length(texts)
    rows = np.flatnonzero(pc.is_in(sizes, value_set=pc.binary_length(wanted)).to_numpy(zero_copy_only=False))
    found = np.zeros(len(texts), bool)
    same = pc.is_in(texts.take(pa.array(rows)), value_set=wanted).to_numpy(zero_copy_only=False)
    found[rows[same]] = True
    return pa.array(found)


def _texts(build: Build) -> pa.Array:
    """The texts of all documents that a build leaves out."""
    found = [pa.array([], pa.large_string())]
    for part, ids in holders(build):
        rows = read_table(build.store, part.file(".parquet"), ["text"], filters=[("doc_id", "in", ids)])
        found += rows.column("text").cast(pa.large_string()).chunks
    return pa.concat_arrays(found)


def holders(build: Build) -> Iterator[tuple[PartRecord, list[str]]]:
    """(documents part, ids of its documents that are withdrawn)"""
    for part in _parts(build, TAKEDOWN):
        if part.counts["dropped"]:
            documents = build.part(DOCUMENTS, f"{part.name}/{part.each}")
            yield documents, withdrawn.ids_of(build, documents).to_pylist()


def meant(builds: Iterable[Build], request: str) -> list[dict[str, Any]]:
    """The documents that a request takes out of builds, {"doc_id", "by", "similarity"}: named ones, and copies."""
    found: dict[str, dict[str, Any]] = {}
    for build in builds:
        for source in sorted(build.names(TAKEDOWN)):
            for row in withdrawn.all_rows(build, source).to_pylist():
                if row["request"] == request:
                    found.setdefault(row["doc_id"], {name: row[name] for name in ("doc_id", "by", "similarity")})
    return [found[doc_id] for doc_id in sorted(found)]


def remains(builds: Iterable[Build]) -> dict[str, list[str]]:
    """{why: where} of places that hold the text of withdrawn documents, or may."""
    texts, raw, scratch, unread = (dict[str, None]() for _ in range(4))
    for build in builds:
        held = list(holders(build))
        for source in {part.name for part, _ in held}:
            keys = (key for part in build.parts(DOCUMENTS, source) for key in part.outputs)
            unread |= dict.fromkeys(key for key in keys if "/quarantine/" in key)
        for part, _ in held:
            texts[part.file(".parquet").key] = None
            raw |= dict.fromkeys(file["url"] for file in part.inputs if isinstance(file, dict) and "url" in file)
            scratch |= dict.fromkeys(f"{stage}/" for stage in (READ, EXTRACTED) if build.store.exists(stage))
    return {
        "dedup compares with it, and the lineage of the other shards names this file": list(texts),
        "raw bytes of units of these sources that could not be read, which may hold a copy": sorted(unread),
        "raw inputs are not written": list(raw),
        "texts before line dedup; `redpajama gc --yes` removes them": list(scratch),
    }
