"""`ROOT/current/<build>/`: exactly the shards of the last build, a card beside each, and what names them to trainers.

On a disk it is a link to a folder of links, switched by one rename: whoever opens it sees the old shards or the new
ones, and never both. On an object store it is a list, `shards.json`, written last. The files keep the names that they
have in the store, so no index that a trainer keeps beside them can be taken for another shard's.
"""

import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from redpajama.corpus.stages import BUDGET, MIXTURE
from redpajama.engine.gathered import add_counts
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import Build
from redpajama.engine.store import Store
from redpajama.engine.tables import read_batches
from redpajama.exports.blends import Prefix, blends
from redpajama.exports.megatron import SUFFIX
from redpajama.exports.source import HELD_OUT, TRAIN, Source
from redpajama.hashing import canonical_json, sha256_of, short_id
from redpajama.report.builds import open_build
from redpajama.report.shards import LINEAGE, open_source, shard_of, split_of, token_parts
from redpajama.tokenize.tokens import sums_of

FOLDER = "current"


class Wanted(NamedTuple):
    """What the folder holds."""

    links: dict[str, str]  # name -> key of the file
    files: dict[str, bytes]  # name -> contents


def folder_of(build: str) -> str:
    """Its key."""
    return f"{FOLDER}/{build}"


def wanted(store: Store, record: dict[str, Any]) -> Wanted | None:
    """What `current/<build>` has to hold; None for a build without shards."""
    build = open_build(store, record)
    if not (parts := token_parts(build)):
        return None
    source = open_source(store, record)
    links = {key.rpartition("/")[2]: key for part in parts for key in sorted(part.outputs)}
    cards = [_card(build, record, source, part) for part in parts]
    place = store.locate(folder_of(source.build))
    splits: dict[str, list[Prefix]] = {TRAIN: [], HELD_OUT: []}
    for part, shard in zip(parts, map(shard_of, parts), strict=True):
        splits[split_of(build, part)].append(Prefix(f"{place}/{shard.prefix}{SUFFIX}", shard.tokens, shard.documents))
    files = {f"{shard_of(part).prefix}.json": _pretty(card) for part, card in zip(parts, cards, strict=True)}
    whole = {"build": source.build, "corpus": source.corpus, "shards": [_listed(card) for card in cards]}
    files["shards.json"] = _pretty({**whole, "sources": _sources(build)})
    return Wanted(links, {**files, **blends(splits[TRAIN], splits[HELD_OUT])})


def publish(store: Store, record: dict[str, Any]) -> None:
    """Make `current/<build>` hold the shards of this build, or take it away where there are none."""
    name, found = record["manifest"]["name"], wanted(store, record)
    if store.local:
        _switch(Path(store.path(FOLDER)), name, found)
    elif found:
        _list(store, folder_of(name), found)
    else:
        store.remove(folder_of(name))


def differences(store: Store, record: dict[str, Any]) -> list[str]:
    """What `current/<build>` holds otherwise than it should; nothing where there is no such folder yet."""
    name, found = record["manifest"]["name"], wanted(store, record)
    key = folder_of(name)
    if not store.exists(key) or found is None:
        return []
    place = store.locate(key).encode()
    wrong = [each for each, body in found.files.items() if not _is_as(_read(store, f"{key}/{each}"), body, place)]
    if store.local:
        wrong += [each for each, target in found.links.items() if not _leads_to(store, f"{key}/{each}", target)]
    return [f"{key}/{each}: not as the build has it; `redpajama build` makes it anew" for each in sorted(wrong)]


# ---- on a disk and on an object store


def _switch(folder: Path, name: str, found: Wanted | None) -> None:
    """Make the folder of links, then rename a link to it over the old one; then the folder before goes."""
    link = folder / name
    if found is None:
        with suppress(FileNotFoundError):
            link.unlink()
    else:
        folder.mkdir(exist_ok=True)
        contents = sorted((each, sha256_of([body])) for each, body in found.files.items())
        target = f".{name}-{short_id([found.links, contents])}"
        if not _is_whole(folder / target, found):
            _fill(folder / f"{target}.part", found)
            shutil.rmtree(folder / target, ignore_errors=True)
            os.rename(folder / f"{target}.part", folder / target)
        fresh = folder / f"{target}.link"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        if link.is_dir() and not link.is_symlink():
            shutil.rmtree(link)  # a copy of ROOT that followed the link
        os.replace(fresh, link)
    kept = os.readlink(link) if link.is_symlink() else ""
    for each in folder.glob(f".{name}-*"):
        if re.fullmatch(rf"\.{re.escape(name)}-[0-9a-f]{{16}}(\.part|\.link)?", each.name) and each.name != kept:
            shutil.rmtree(each, ignore_errors=True)


def _is_whole(folder: Path, found: Wanted) -> bool:
    """Whether a folder of links holds all that it should; what trainers put there is theirs."""
    links = all(
        (folder / each).is_symlink() and os.readlink(folder / each) == _up(key) for each, key in found.links.items()
    )
    return links and all(_holds(folder / each, body) for each, body in found.files.items())


def _holds(path: Path, body: bytes) -> bool:
    return path.is_file() and not path.is_symlink() and path.read_bytes() == body


def _up(key: str) -> str:
    """A key below ROOT, seen from the folder of links."""
    return f"../../{key}"


def _fill(folder: Path, found: Wanted) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for each, key in found.links.items():
        (folder / each).symlink_to(_up(key))
    for each, body in found.files.items():
        (folder / each).write_bytes(body)


def _list(store: Store, key: str, found: Wanted) -> None:
    """Cards first, the list last; then those of the build before go."""
    before = {each for each, _ in store.keys(key)}
    for each, body in sorted(found.files.items(), key=lambda item: item[0] == "shards.json"):
        store.write(f"{key}/{each}", body)
    for each in before - {f"{key}/{name}" for name in found.files}:
        store.remove(each)


def _read(store: Store, key: str) -> bytes | None:
    try:
        return store.read(key)
    except FileNotFoundError:
        return None


def _is_as(body: bytes | None, wanted: bytes, place: bytes) -> bool:
    """Whether a file is as it should be, but for the place that it names, from where all may have been moved."""
    first, *others = map(re.escape, wanted.split(place))
    pattern = first + b"".join((b"(.+?)" if not number else b"\\1") + each for number, each in enumerate(others))
    return body is not None and re.fullmatch(pattern, body, re.DOTALL) is not None


def _leads_to(store: Store, key: str, target: str) -> bool:
    return os.path.realpath(store.path(key)) == os.path.realpath(store.path(target)) and store.exists(target)


# ---- cards


def _card(build: Build, record: dict[str, Any], source: Source, part: PartRecord) -> dict[str, Any]:
    """What there is to know of one shard. Files are named by their keys below ROOT."""
    words, prefix = source.vocabulary, part.stem.rpartition("/")[2]
    return {
        "build": source.build,
        "corpus": source.corpus,
        "manifest": sha256_of([canonical_json(record["manifest"])]),
        "prefix": f"{prefix}{SUFFIX}",
        "format": "megatron",
        "split": split_of(build, part),
        "dtype": source.dtype.name,
        "documents": part.counts["kept"],
        "tokens": part.counts["tokens"],
        "sources": _held(build, part),
        "tokenizer": {"sha256": words.sha256, "vocab_size": words.size, "end": words.end, "end_id": words.end_id},
        "files": {key: part.outputs[key] for key in sorted(part.outputs)},
    }


def _listed(card: dict[str, Any]) -> dict[str, Any]:
    return {name: card[name] for name in ("prefix", "split", "documents", "tokens", "files")}


def _held(build: Build, part: PartRecord) -> dict[str, Any]:
    """{source: its documents, copies and tokens} of one shard."""
    if "sources" in part.counts:
        return part.counts["sources"]
    columns = ["source", "copy", "n_tokens"]  # of a shard of before these were counted
    return add_counts([sums_of(batch) for batch in read_batches(build.store, part.file(LINEAGE), columns)])


def _sources(build: Build) -> dict[str, Any]:
    """{source: documents, copies, tokens, epochs} of the whole mixture. Epochs: its tokens by all that there were."""
    counts = build.stage(MIXTURE)[build.manifest.name].counts
    budget = build.store.read_json(build.parts(BUDGET)[0].file(".budget").key)
    found = {}
    for source, tokens in sorted(counts["tokens"].items()):
        had = sum(row["available_tokens"] for slice, row in budget.items() if row.get("source", slice) == source)
        sums = {name: counts[name].get(source, 0) for name in ("documents", "copies")}
        found[source] = {**sums, "tokens": tokens, "epochs": round(tokens / had, 6) if had else 0}
    return found


def _pretty(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
