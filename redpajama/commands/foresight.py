"""What a build is reckoned to take, for `plan`; kept when it begins, so that `status` sets it beside what came out."""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redpajama.hashing import canonical_json, short_id
from redpajama.raw.io import Listed, RawFile, listed_of, scheme_of

if TYPE_CHECKING:
    from redpajama.commands.table import Table
    from redpajama.engine.store import Store
    from redpajama.manifest import Manifest
    from redpajama.mistakes import Mistake
    from redpajama.pipelines.glance import Bring, Trial

SECONDS = 5.0  # at most, of looking into files when a build begins
OWN_BYTES = 48  # of text for each entry of a tokenizer that is trained: less says nothing of its tokens
ENTRY_BYTES = 64  # of a trained tokenizer's file
NAMES = {
    "documents": "documents",
    "text_bytes": "text, MB",
    "tokens": "tokens",
    "core_seconds": "core-seconds",
    "disk_bytes": "disk, MB",
}

# ---- looking


def look_into(
    model: "Manifest",
    listed: list[dict[str, Any]],
    wrong: "list[Mistake]",
    seconds: float | None = None,
    bring: "Bring | None" = None,
) -> "dict[str, list[Trial]]":
    """{source: what its pipeline made of some of its files}; what it cannot read is put into `wrong`.

    A source with another mistake in it is not tried.

    Args:
        seconds: for all; `glance.SECONDS` if not given.
        bring: another way to a file than `glance.brought`.
    """
    from redpajama.mistakes import Mistake, key_of
    from redpajama.pipelines import SOURCES, glance
    from redpajama.preflight import readers

    tried: dict[str, list[Trial]] = {}
    amiss = {mistake.key.split(".")[0] for mistake in wrong}
    sources = [(key_of(place), source) for place, source in readers(model)]
    sources = [(key, source) for key, source in sources if key not in amiss and source.pipeline in SOURCES]
    deadline = time.monotonic() + (glance.SECONDS if seconds is None else seconds)
    for place, (key, source) in enumerate(sources):
        files = [listed_of(entry, {}) for entry in listed if entry["source"] == source.name]
        own = max(0.0, deadline - time.monotonic()) / (len(sources) - place)
        looked = list(glance.trials(source, files, own, bring=bring or glance.brought))
        wrong += [Mistake(f"{key}.inputs", said) for said in glance.complaints(source, looked)]
        if trials := [trial for _, trial in looked if trial]:
            tried[source.name] = trials
    return tried


# ---- reckoning


def foresee(
    manifest: "Manifest", listed: list[dict[str, Any]], tried: "Mapping[str, Sequence[Trial]]", cores: int
) -> dict[str, Any]:
    """{reading: by source, stages, documents, text_bytes, tokens, core_seconds, seconds, disk_bytes, peak_disk_bytes}.

    Empty where nothing was looked into. Sources that were not, or whose sizes a web server does not say, are left out,
    and named in `unknown`.

    Args:
        listed: the inputs, as `preflight.list_inputs` gives them.
    """
    from redpajama.flow import flow
    from redpajama.report import costs, reckon

    sizes = {source.name: 0 for source in manifest.readers}
    for entry in listed:
        sizes[entry["source"]] = sizes.get(entry["source"], 0) + (entry["bytes"] or entry["about_bytes"])
    unsized = {entry["source"] for entry in listed if _is_unsized(entry)}
    tried = {name: trials for name, trials in tried.items() if name not in unsized}
    reading = reckon.reckon(sizes, tried, _bytes_a_token(manifest, listed, tried))
    if not reading:
        return {}
    steps = {step.stage for stage in flow(manifest, raw_bytes=sum(sizes.values())) for step in stage.steps()}
    found = costs.reckon(_totals(manifest, listed, tried, reading), steps)
    seconds = costs.wall_seconds(found["core_seconds"], cores, bool(steps & {"signatures", "signals"}))
    sums = {key: sum(row[key] for row in reading.values()) for key in ("documents", "text_bytes", "tokens")}
    unknown = [source.name for source in manifest.readers if source.name not in reading]
    return {**found, **sums, "reading": reading, "cores": cores, "seconds": round(seconds, 1), "unknown": unknown}


def _is_unsized(entry: dict[str, Any]) -> bool:
    return not (entry["bytes"] or entry["about_bytes"]) and scheme_of(entry["path"]) in ("http", "https")


def _totals(
    manifest: "Manifest",
    listed: list[dict[str, Any]],
    tried: "Mapping[str, Sequence[Trial]]",
    reading: Mapping[str, Mapping[str, Any]],
) -> Any:
    from redpajama.report.costs import Totals

    mixture, sums = (
        manifest.mixture,
        {
            key: sum(row[key] for row in reading.values())
            for key in ("documents", "text_bytes", "tokens", "core_seconds")
        },
    )
    budget = round(mixture.budget_tokens * Fraction(mixture.scale or 1)) if mixture else 0
    stored = sum(row["text_bytes"] * _stored_share(tried[name]) for name, row in reading.items())
    return Totals(
        sources=len(manifest.source),
        files=len(listed),
        raw_bytes=sum(entry["bytes"] or entry["about_bytes"] for entry in listed),
        parts=sum(_parts(source, listed) for source in manifest.readers),
        documents=sums["documents"],
        text_bytes=sums["text_bytes"],
        stored_bytes=round(stored),
        tokens=sums["tokens"],
        reading_seconds=sums["core_seconds"],
        budget_tokens=budget,
        shards=-(-budget // manifest.shards.tokens_per_shard) if budget else 0,
        **_of_tokenizer(manifest, listed),
    )


def _parts(source: Any, listed: list[dict[str, Any]]) -> int:
    """Of documents: trees, groups of small files, ranges of what can be cut, files."""
    from redpajama.pipelines import pipeline

    reader, files = pipeline(source.pipeline), [entry for entry in listed if entry["source"] == source.name]
    sizes = [entry["bytes"] or entry["about_bytes"] for entry in files if not entry["tree"]]
    trees = len({entry["tree"] for entry in files if entry["tree"]})
    ranges = sum(max(1, size // source.part_bytes) for size in sizes) if reader.cuts else len(sizes)
    if source.groups or reader.is_gathered:
        return min(len(files), source.groups or max(1, sum(sizes) // source.part_bytes)) or 1
    return trees + ranges


def _of_tokenizer(manifest: "Manifest", listed: list[dict[str, Any]]) -> dict[str, int]:
    from redpajama.exports.megatron import dtype_for
    from redpajama.tokenize.tokenizer import INPUT

    wish = manifest.tokenizer
    if wish and wish.train:
        size = ENTRY_BYTES * wish.train.vocab_size
        return {"tokenizer_bytes": size, "token_bytes": dtype_for(wish.train.vocab_size).itemsize}
    size = sum(entry["bytes"] for entry in listed if entry["source"] == INPUT)
    path = _given(listed)
    return {"tokenizer_bytes": size, **({"token_bytes": dtype_for(_ids(path)).itemsize} if path else {})}


def _given(listed: list[dict[str, Any]]) -> str:
    """The path of the tokenizer that the manifest names; "" where it is not on this machine."""
    from redpajama.tokenize.tokenizer import INPUT

    paths = [entry["path"] for entry in listed if entry["source"] == INPUT]
    return paths[0] if paths and os.path.isfile(paths[0]) else ""


def _ids(path: str) -> int:
    """How many ids a tokenizer's file has room for."""
    import tokenizers

    return max(tokenizers.Tokenizer.from_file(path).get_vocab().values(), default=0) + 1


def _stored_share(trials: "Sequence[Trial]") -> float:
    """What texts compress to, of their size."""
    import zstandard

    from redpajama.report.costs import STORED

    data = "".join(text for trial in trials for text in trial.sample).encode(errors="replace")
    return len(zstandard.ZstdCompressor(level=3).compress(data)) / len(data) if data else STORED


# ---- tokens


def _bytes_a_token(
    manifest: "Manifest", listed: list[dict[str, Any]], tried: "Mapping[str, Sequence[Trial]]"
) -> dict[str, float]:
    """{source: bytes a token} by the manifest's tokenizer, or one that is trained on the texts that were read."""
    texts = {name: [text for trial in trials for text in trial.sample] for name, trials in tried.items()}
    with tempfile.TemporaryDirectory(prefix="redpajama-") as folder:
        path = _tokenizer(manifest, listed, texts, folder)
        return {name: _rate(path, own) for name, own in texts.items() if any(own)} if path else {}


def _tokenizer(manifest: "Manifest", listed: list[dict[str, Any]], texts: Mapping[str, list[str]], folder: str) -> str:
    """The path of a tokenizer; "" where none is here, or the texts are too few to train one."""
    from redpajama.tokenize import encode

    wish = manifest.tokenizer
    if wish and wish.path:
        return _given(listed)
    every = [text for own in texts.values() for text in own]
    if not wish or not wish.train or sum(map(len, every)) < OWN_BYTES * wish.train.vocab_size / 2:
        return ""
    encode.train(every, wish.train.vocab_size, Path(folder, "tokenizer.json"))
    return str(Path(folder, "tokenizer.json"))


def _rate(path: str, texts: list[str]) -> float:
    import tokenizers

    library = tokenizers.Tokenizer.from_file(path)
    library.no_truncation()
    encoded = library.encode_batch_fast(texts, add_special_tokens=False)
    return sum(len(text.encode()) for text in texts) / max(1, sum(len(each.ids) for each in encoded) + len(texts))


# ---- on the screen


def sources_table(reading: dict[str, dict[str, Any]]) -> "Table":
    """A row a source, and the sums; what it is reckoned from stands in the last columns."""
    from redpajama.commands import screen

    found = screen.table("reckoned", "documents", "tokens", "core-seconds", "from MB read", "bytes a token")
    sums = {key: sum(row[key] for row in reading.values()) for key in ("documents", "tokens", "core_seconds")}
    for name, row in [*reading.items(), *([("all", sums)] if len(reading) > 1 else [])]:
        numbers = (f"~{row['documents']:,}", f"~{row['tokens']:,}", f"~{row['core_seconds']:,.2f}")
        basis = (
            (f"{row['reckoned_from_bytes'] / 1e6:,.2f}", f"{row['bytes_a_token']:.2f}") if row is not sums else ("", "")
        )
        found.add_row(name, *numbers, *basis)
    return found


def lines(found: dict[str, Any], price: float) -> Iterator[str]:
    """What `plan` says of the whole, each with its basis."""
    if not found:
        return
    seconds, cores = found["core_seconds"], found["cores"]
    yield (
        f"time  ~{found['seconds']:,.0f} s on {cores} core(s), ~{seconds:,.1f} core-seconds in all stages "
        f"(reading as measured here, the others by rates of earlier builds; all documents stay)"
    )
    if price:
        yield f"cost  ~${seconds / 3600 * price:,.2f} at ${price:g} a core-hour (of the core-seconds)"
    yield (
        f"disk  ~{found['disk_bytes'] / 1e6:,.2f} MB stay, ~{found['peak_disk_bytes'] / 1e6:,.2f} MB at the peak "
        f"(texts as they compress here; partition files go once they are read)"
    )
    if found["unknown"]:
        yield f"unknown  of {', '.join(found['unknown'])} nothing was read, or no size is known: not in these sums"


# ---- kept


def key_of(name: str) -> str:
    """Where a build's figures are kept: outside every hash."""
    return f"index/plan-{name}.json"


def keep(store: "Store", manifest: "Manifest", listed: list[dict[str, Any]], cores: int) -> None:
    """Write down what a plan would have said of a build, unless that was done of the same manifest and inputs."""
    inputs = [[entry["url"], entry["bytes"], entry["sha256"]] for entry in listed]
    stamp = short_id([manifest.model_dump(mode="json"), inputs])
    if kept(store, manifest.name).get("stamp") == stamp:
        return
    tried = look_into(manifest, listed, [], SECONDS, _from_copies(store, manifest, listed))
    found = foresee(manifest, listed, tried, cores)
    store.write(key_of(manifest.name), canonical_json({"stamp": stamp, **found}))


def _from_copies(store: "Store", manifest: "Manifest", listed: list[dict[str, Any]]) -> "Bring":
    """What was downloaded is looked at where the build put it, so that no server is asked again."""
    from redpajama.pipelines import glance
    from redpajama.report.listing import copy_of

    entries = {(entry["path"], entry["url"]): entry for entry in listed}

    def bring(file: Listed, folder: Path) -> RawFile | None:
        if not file.is_downloaded:
            return glance.brought(file, folder)
        copy = copy_of(manifest, store, entries[file.path, file.url])
        here = copy and replace(file, path=copy["path"], bytes=copy["bytes"], requester_pays=False)
        return glance.brought(here, folder) if here else None

    return bring


def kept(store: "Store", name: str) -> dict[str, Any]:
    """The figures of a build; empty where there are none."""
    return store.read_json(key_of(name)) if store.exists(key_of(name)) else {}


def beside(store: "Store", record: dict[str, Any]) -> list[tuple[str, float, float]]:
    """(what, as planned, as it came out) of a finished build."""
    from redpajama.report.costs import compare
    from redpajama.report.outcome import outcome

    plan = kept(store, record["manifest"]["name"])
    is_whole = "core_seconds" in plan and record["until"] == "tokens" and not plan["unknown"]
    return compare(plan, outcome(store, record)) if is_whole else []


def table(store: "Store", record: dict[str, Any]) -> "Table | None":
    """The same, as `status` shows it; None where nothing was planned."""
    from redpajama.commands import screen

    rows = beside(store, record)
    found = screen.table("planned and built", "planned", "built", "planned/built")
    for name, before, after in rows:
        unit = 1e6 if name.endswith("bytes") else 1
        shape = ",.2f" if unit > 1 or name.endswith("seconds") else ",.0f"
        ratio = f"{before / after:.2f}" if after else ""
        found.add_row(NAMES[name], f"{before / unit:{shape}}", f"{after / unit:{shape}}", ratio)
    return found if rows else None
