"""After a take-down: what no build needs goes, no copy is left in what stays, and where the text remains and why."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import withdrawn
from redpajama.corpus.stages import DOCUMENTS, EXAMPLES, EXTRACTED, MIXTURE, READ, SAMPLED, TAKEDOWN, TOKENS
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import Build
from redpajama.engine.store import Store
from redpajama.engine.tables import read_batches, read_table
from redpajama.engine.workers import hold_root
from redpajama.errors import BuildFailed
from redpajama.hashing import text_digests
from redpajama.report import exporting
from redpajama.report.builds import find_builds, read_build
from redpajama.report.shards import LINEAGE
from redpajama.report.verify import verify

DRAWN = (MIXTURE, f"{MIXTURE}-split", TOKENS)  # stages whose files hold text that was drawn
TAKEN_FROM = (DOCUMENTS, EXAMPLES)  # stages before a take-down with texts
HOLDS_TEXT = re.compile(r"[^/]+/[^/]+/(quarantine/.*|part-[^/]*\.parquet)")  # of their files
SCRATCH = (READ, EXTRACTED, SAMPLED)  # with texts


class Absence(NamedTuple):
    """What was searched for copies."""

    documents: int  # that are withdrawn
    drawn_rows: int  # of lineage
    shards: int
    texts: int  # of the mixture
    parts: int  # of the mixture
    copies: list[str]  # where one was found


def sweep(store: Store, builds: Sequence[Build], is_sole: bool = False) -> list[str]:
    """Remove what held drawn text and what no build names: shards, ranges, exports and indexes. Their keys.

    Args:
        is_sole: nobody else writes to ROOT, the user says.

    Raises:
        BuildFailed: a record is broken. RootBusy: a build goes on here.
    """
    with hold_root(store.url, is_sole):
        names = find_builds(store)
        findings = verify(store, names, contents=False)
        if findings.problems:
            raise BuildFailed(f"{findings.problems[0]}; superseded files stay: what it names would look like one")
        gone = [*_superseded(store, builds, [*findings.strangers, *findings.scratch])]
        gone += exporting.stale(store, [read_build(store, name) for name in names])
        for key in gone:
            store.remove(key)
    return gone


def _superseded(store: Store, builds: Sequence[Build], unnamed: list[str]) -> Iterator[str]:
    yield from (key for key in unnamed if key.startswith(tuple(f"{stage}/" for stage in DRAWN)))
    contents = {part.content for build in builds for part in _parts(build, MIXTURE)}
    yield from (key for key, _ in store.keys("index/text") if key.rpartition("/")[2] not in contents)


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
                copies += _where(part, batch, pc.or_(is_one, among(batch.column("text"), own)))
    return Absence(len(known), rows, len(shards), texts, len(parts), copies)


def _parts(build: Build, stage: str) -> list[PartRecord]:
    return build.parts(stage) if stage in build.records else []


def _where(part: PartRecord, batch: pa.RecordBatch, hits: pa.Array) -> Iterator[str]:
    yield from (f"{part.stem}: {doc_id}" for doc_id in batch.column("doc_id").filter(hits).to_pylist())


class Told(NamedTuple):
    """What tells some texts, of which there may be more than memory holds."""

    sizes: pa.Array  # bytes
    digests: pa.Array  # binary(16), `hashing.text_digests`


def told_by(texts: pa.Array) -> Told:
    """What tells these texts."""
    return Told(pc.unique(pc.binary_length(texts)), text_digests(texts))


def among(texts: pa.Array, wanted: Told) -> pa.Array:
    """bool[n]: whether each text is one of some; only those of a length of theirs are hashed."""
    alike = pc.is_in(pc.binary_length(texts), value_set=wanted.sizes).to_numpy(zero_copy_only=False)
    rows, found = np.flatnonzero(alike), np.zeros(len(texts), bool)
    digests = text_digests(texts.take(pa.array(rows)))
    found[rows[pc.is_in(digests, value_set=wanted.digests).to_numpy(zero_copy_only=False)]] = True
    return pa.array(found)


def _texts(build: Build) -> Told:
    """The texts of all documents that a build leaves out."""
    found = [told_by(pa.array([], pa.large_string()))]
    for part, ids in holders(build):
        rows = read_table(build.store, part.file(".parquet"), ["text"], filters=[("doc_id", "in", ids)])
        found.append(told_by(rows.column("text").cast(pa.large_string()).combine_chunks()))
    return Told(*(pa.concat_arrays([each[place] for each in found]) for place in range(2)))


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


def remains(builds: Sequence[Build]) -> dict[str, list[str]]:
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
            scratch |= dict.fromkeys(f"{stage}/" for stage in SCRATCH if build.store.exists(stage))
    return {
        "dedup compares with it, and the lineage of the other shards names this file": list(texts),
        "classifiers learned from it, and what they say is on record": sorted(_learned_from(builds)),
        "raw bytes of units of these sources that could not be read, which may hold a copy": sorted(unread),
        "raw inputs are not written": list(raw),
        "texts before line dedup, and to train a tokenizer; `redpajama gc --yes` removes them": list(scratch),
        "of earlier builds, which may hold it; `redpajama gc --yes` removes them": _of_earlier(builds),
    }


def _learned_from(builds: Sequence[Build]) -> set[str]:
    """Examples of classifiers among which a withdrawn document is."""
    found = set[str]()
    for build in builds:
        ids = withdrawn.all_ids(build) if _parts(build, TAKEDOWN) else pa.array([], pa.string())
        for part in _parts(build, EXAMPLES) if len(ids) else []:
            own = read_table(build.store, part.file(".parquet"), ["doc_id"]).column("doc_id")
            if pc.any(pc.is_in(own, value_set=ids)).as_py():
                found.add(part.file(".parquet").key)
    return found


def _of_earlier(builds: Sequence[Build]) -> list[str]:
    """Files with texts of documents that none of the builds names."""
    parts = [part for build in builds for stage in TAKEN_FROM for part in _parts(build, stage)]
    named = {key for part in parts for key in part.outputs}
    stores = {build.store for build in builds}
    there = [key for store in stores for stage in TAKEN_FROM for key, _ in store.keys(stage)]
    return [key for key in there if key not in named and HOLDS_TEXT.fullmatch(key)]
