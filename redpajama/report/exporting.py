"""The exports that a manifest asks for: `ROOT/exports/<build>/<format>`, made anew where the corpus is another."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

from redpajama.corpus.stages import TOKENS
from redpajama.engine.store import Store
from redpajama.exports.folder import PLAN, OtherExport, read_record
from redpajama.exports.run import planned, run
from redpajama.formats import STORE
from redpajama.manifest import Manifest
from redpajama.report.shards import open_source

FOLDER = "exports"


def folder_of(build: str, format: str) -> str:
    """Its key."""
    return f"{FOLDER}/{build}/{format}"


def export_all(store: Store, record: dict[str, Any]) -> None:
    """Write them, or go on; of formats that are no longer asked for, what is there stays.

    Raises:
        UserError: a format does not hold the vocabulary, or is not packed so.
    """
    manifest = Manifest(**record["manifest"])
    formats = [name for name in manifest.shards.formats if name != STORE]  # that is what the store holds
    if not formats or TOKENS not in record["stages"]:
        return
    source = open_source(store, record)
    for name in formats:
        key = folder_of(manifest.name, name)
        export = planned(source, name, store.locate(key), manifest.shards.packing_of(name))
        try:
            run(export, os.cpu_count() or 1)
        except OtherExport:  # of the corpus before this one: nobody else writes there
            store.remove(key)
            run(export, os.cpu_count() or 1)


def finished(store: Store, record: dict[str, Any]) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    """(folder, {file: [bytes, SHA-256]}) of the exports of a build's corpus that are whole."""
    for name in record["manifest"]["shards"]["formats"]:
        folder = folder_of(record["manifest"]["name"], name)
        found = read_record(store, f"{folder}/{PLAN}") or {}
        if "files" in found and found["export"].get("corpus") == record["corpus"]:
            yield folder, found["files"]


def stale(store: Store, records: Iterable[dict[str, Any]]) -> list[str]:
    """The folders of exports that none of these builds asks for, or that are of another corpus than it has now."""
    asked = {
        folder_of(record["manifest"]["name"], name): record["corpus"]
        for record in records
        for name in record["manifest"]["shards"]["formats"]
    }
    there = sorted({"/".join(key.split("/")[:3]) for key, _ in store.keys(FOLDER)})
    return [folder for folder in there if folder not in asked or _corpus_of(store, folder) != asked[folder]]


def _corpus_of(store: Store, folder: str) -> str:
    """The corpus that an export is of; "" where that cannot be told."""
    found = read_record(store, f"{folder}/{PLAN}")
    return str((found or {}).get("export", {}).get("corpus", ""))
