"""Export a build: unit by unit, several at once; what is done already is not done again."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

from redpajama.engine.gathered import add_counts
from redpajama.engine.store import Store
from redpajama.errors import UserError
from redpajama.exports.declared import TOKENIZER, Export, Format
from redpajama.exports.folder import Folder
from redpajama.exports.source import NOTHING, Source
from redpajama.formats import FORMATS, STORE
from redpajama.hashing import sha256_of
from redpajama.mistakes import suggestion
from redpajama.tables import Packing

TURN_SECONDS = 0.0005


class Result(NamedTuple):
    """What an export gave."""

    counts: dict[str, int]
    files: dict[str, list[Any]]  # name -> [bytes, SHA-256]
    redone: int  # units that were not there


def format_named(name: str) -> Format:
    """The declaration of a format.

    Raises:
        UserError: there is none of that name.
    """
    if name not in FORMATS:
        raise UserError(f"no format is called '{name}'{suggestion(name, list(FORMATS))}")
    return import_module(FORMATS[name]).FORMAT


def refusal(name: str, vocab_size: int) -> str:
    """Why a format does not hold so many ids; "" where it does."""
    format = format_named(name)
    try:
        format.dtype(NOTHING._replace(size=vocab_size))
    except UserError as error:
        return str(error) if format.has_tokens else ""
    return ""


def planned(source: Source, name: str, to: str, packing: Packing, shard_tokens: int = 0) -> Export:
    """An export that can be done.

    Raises:
        UserError: the format does not hold the vocabulary, or cannot be packed so; one line.
    """
    format = format_named(name)
    method = packing.method or format.packings[0]
    if method not in format.packings:
        raise UserError(f"format '{name}' is not packed by '{method}': it takes {', '.join(format.packings)}")
    if shard_tokens and name != STORE:
        raise UserError(f"new sizes of shards go with the format '{STORE}'")
    if not (source.shards if format.has_tokens else source.texts):
        what = f"{'shards' if format.has_tokens else 'texts'} for {source.split}"
        raise UserError(f"build '{source.build}' has no {what} to export")
    if format.has_tokens:
        format.dtype(source.vocabulary)
    return Export(source, format, Store(to).url, method, packing.length if method != "none" else 0, shard_tokens)


def run(export: Export, workers: int, told: Callable[[int, int], None] = lambda done, of: None) -> Result:
    """Do it, or go on with it.

    Args:
        workers: units that are written at once.
        told: called with how many units are there, and of how many.

    Raises:
        UserError: DIR holds something else. BuildFailed: a shard is broken.
    """
    folder = Folder(export.to, _identity(export))
    with folder.held():
        records, redone = _units(export, folder, workers, told)
        files = {name: entry for record in records for name, entry in record["files"].items()}
        counts = add_counts([record["counts"] for record in records])
        for name, body in _ends(export, [entry for record in records for entry in record["entries"]], counts).items():
            folder.store.write(name, body)
            files[name] = [len(body), sha256_of([body])]
        folder.finish(files)
    return Result(counts, files, redone)


def _units(
    export: Export, folder: Folder, workers: int, told: Callable[[int, int], None]
) -> tuple[list[dict[str, Any]], int]:
    """The records of all units, and how many were written now."""
    count = export.format.units(export)
    there = {number: record for number in range(count) if (record := folder.unit(number))}
    missing = [number for number in range(count) if number not in there]
    told(len(there), count)
    with _short_turns(), ThreadPoolExecutor(workers) as pool:
        try:
            for number, record in zip(
                missing, pool.map(lambda each: _write(export, folder, each), missing), strict=True
            ):
                there[number] = record
                told(len(there), count)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # those under way end first
            raise
    return [there[number] for number in range(count)], len(missing)


@contextmanager
def _short_turns() -> Iterator[None]:
    """A thread that comes out of zstd or SHA-256 gets the interpreter soon: by default another keeps it for 5 ms."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(TURN_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _identity(export: Export) -> dict[str, Any]:
    """What tells one export from another."""
    source = export.source
    named = {
        "format": export.format.name,
        "build": source.build,
        "corpus": source.corpus,
        "split": source.split,
        "method": export.method,
    }
    return {**named, "length": export.length, "shard_tokens": export.shard_tokens}


def _write(export: Export, folder: Folder, number: int) -> dict[str, Any]:
    record: dict[str, Any] = {}
    with folder.writing(number, record) as files:
        done = export.format.write(export, number, files)
        record |= {"counts": done.counts, "entries": list(done.entries)}
    return record


def _ends(export: Export, entries: list[Any], counts: dict[str, int]) -> dict[str, bytes]:
    """Indexes and cards, and the tokenizer beside tokens."""
    found = export.format.finish(export, entries, counts)
    if export.format.has_tokens:
        found[TOKENIZER] = export.source.store.read(export.source.vocabulary.file.key)
    return found
