"""`redpajama plan`: what a build would read, fetch and cost."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redpajama.commands import foresight, screen, targets
from redpajama.commands.arguments import JsonOption, ManifestArgument, MirrorOption, OutOption, mirrors
from redpajama.commands.foresight import look_into
from redpajama.commands.table import HELD
from redpajama.commands.terminal import say
from redpajama.raw.io import listed_of, without_secrets
from redpajama.unsigned import unsigned_all, unsigned_text

if TYPE_CHECKING:
    from redpajama.commands.table import Table
    from redpajama.engine.store import Store
    from redpajama.manifest import Manifest, Source
    from redpajama.mistakes import Mistake
    from redpajama.report.redo import Redo

SHOWN = 3  # names, and reasons, of a row


def command(
    manifest: ManifestArgument,
    out: OutOption,
    mirror: MirrorOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="list no input: targets alone")] = False,
    price: Annotated[float, typer.Option("--price-per-core-hour", metavar="DOLLARS", min=0, help="adds the cost")] = 0,
    as_json: JsonOption = False,
) -> int:
    """What would run, with sizes, and all mistakes: of the manifest, and of what a look into the inputs shows."""
    from redpajama.engine.store import Store, check_layout

    drawn, missed = targets.before_listing(manifest, out, as_json)
    if offline:
        wrong = [] if missed else targets.stop_offline(manifest, drawn, as_json)
        return tell_mistakes(manifest, [*missed, *wrong], as_json) if missed or wrong else 0
    lost: list[dict[str, str]] = []
    model, listed, wrong = understood(manifest, mirrors(mirror), lost)
    tried = look_into(model, listed, wrong)
    wrong += missed
    if wrong:
        return tell_mistakes(manifest, wrong, as_json)
    store, rows = Store(out), source_rows(model, listed)
    check_layout(store)
    redone = _redo(model, listed, store)
    reckoned = foresight.foresee(model, listed, tried, os.cpu_count() or 1)
    if as_json:
        near = {"near": _near_json(model)} if model.dedup.near is not None else {}
        inputs = {"sources": rows, "inputs": without_secrets(listed)[0], "unavailable": lost, "reckoned": reckoned}
        redo = {} if redone is None else {"redo": [row.to_json() for row in redone]}
        screen.show_json({"manifest": unsigned_all(model.model_dump(mode="json")), **drawn, **inputs, **near, **redo})
    else:
        _print(model, rows, lost, store)
        if reckoned:
            screen.console().print(foresight.sources_table(reckoned["reading"]))
        screen.say(screen.console(), foresight.lines(reckoned, price))
        if redone is not None:
            _print_redo(model.name, redone, out)
    return 1 if lost else 0


# ---- what is wrong


def understood(
    path: str, mirrored: dict[str, str], lost: list[dict[str, str]]
) -> "tuple[Manifest, list[dict[str, Any]], list[Mistake]]":
    """The manifest as far as it can be understood, its inputs, and all mistakes.

    Raises:
        ManifestError: it is no TOML, or nothing of it can be understood.
    """
    from redpajama import manifest, preflight

    found = manifest.examine_all(manifest.read(path), path)
    if found.model is None:
        raise manifest.ManifestError(path, found.mistakes)
    wrong = [*found.mistakes, *preflight.mistakes(found.model, found.is_sound)]
    listed = preflight.list_all(found.model, mirrored, wrong, lost, found.is_sound)
    return found.model if wrong else preflight.complete(found.model), listed, wrong


def tell_mistakes(path: str, wrong: "list[Mistake]", as_json: bool) -> int:
    """A line for each; the exit status."""
    if as_json:
        told = [{name: unsigned_text(value) for name, value in mistake._asdict().items()} for mistake in wrong]
        screen.show_json({"mistakes": told})
    for mistake in wrong if not as_json else ():
        say(f"{path}: {mistake}")
    return 2


def source_rows(manifest: "Manifest", listed: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """{source: files, bytes (reckoned where `estimates`), files of unknown size, bytes to fetch, and to pay for}."""
    keys = ("files", "bytes", "unknown_sizes", "estimates", "fetch_bytes", "egress_bytes")
    rows = {source.name: dict.fromkeys(keys, 0) for source in [*manifest.reading, *manifest.source]}
    for entry in listed:
        file = listed_of(entry, {})
        row = rows.setdefault(entry["source"], dict.fromkeys(keys, 0))
        size = file.bytes or file.about_bytes
        row["files"] += 1
        row["bytes"] += size
        row["unknown_sizes"] += not size and "://" in file.url  # the server does not say
        row["estimates"] += not file.bytes and file.about_bytes > 0
        row["fetch_bytes"] += size if file.is_downloaded else 0
        row["egress_bytes"] += size if file.requester_pays else 0
    return rows


def _print(manifest: "Manifest", rows: dict[str, dict[str, int]], lost: list[dict[str, str]], store: "Store") -> None:
    """Every source, the sums, what is gone, what dedup would take, and what is already there."""
    from redpajama.pipelines import sample

    out = screen.console()
    out.print(_table(manifest, rows))
    screen.say(out, _sums(manifest, list(rows.values())))
    screen.say(out, (f"{each['state']}: {each['source']}: {each['said']}" for each in lost))
    screen.say(out, sample.lines(manifest))
    screen.say(out, _costs(manifest, store, sum(row["bytes"] for row in rows.values())))


# ---- the sources


def _table(manifest: "Manifest", rows: dict[str, dict[str, int]]) -> "Table":
    names = ("source", "pipeline", "files", "raw MB", "to fetch", "weight", "max epochs", "quality rules")
    table = screen.table(*names, left=(0, 1, 7))
    slices = manifest.mixture.slice if manifest.mixture else []
    shares = {share.source: share for share in slices if [each.source for each in slices].count(share.source) == 1}
    for source in [*manifest.reading, *manifest.source]:
        row, share = rows[source.name], shares.get(source.name)
        wanted = [*(f"{key} {_shown(value)}" for key, value in source.quality.items()), *_limits(source)]
        rules = ", ".join(each.replace(" ", HELD) for each in wanted)
        sizes = [f"{_sign([row])}{row[key] / 1e6:,.2f}" for key in ("bytes", "fetch_bytes")]
        more = "+" if row["unknown_sizes"] else ""
        weight = "" if share is None or share.weight is None else f"{share.weight:g}"
        mixture = (weight, f"{share.max_epochs:g}") if share else ("", "")
        fetch = sizes[1] + more if row["fetch_bytes"] or more else ""
        table.add_row(source.name, source.pipeline, f"{row['files']:,}", sizes[0] + more, fetch, *mixture, rules)
    return table


def _shown(bound: float | str | list[str]) -> str:
    """The value of a quality key: a bound, or the names of presets."""
    if isinstance(bound, list):
        return " + ".join(bound)
    return bound if isinstance(bound, str) else f"{bound:g}"


def _limits(source: "Source") -> list[str]:
    """What the models' limits keep, in words."""
    found = []
    if source.language:
        kept = "/".join(source.language.keep) or "any language"
        found.append(f"{kept} from {source.language.min_score:g}")
    if source.perplexity:
        found.append(f"perplexity {'/'.join(source.perplexity.keep)}")
    if source.classifier:
        found.append(f"{source.classifier.name}_prob {source.classifier.keep}")
    return found


def _sign(rows: Iterable[dict[str, int]]) -> str:
    return "~" if any(row["estimates"] for row in rows) else ""


def _sums(manifest: "Manifest", rows: list[dict[str, int]]) -> Iterator[str]:
    files, size, fetched, egress = (
        sum(row[key] for row in rows) for key in ("files", "bytes", "fetch_bytes", "egress_bytes")
    )
    fetch = f", {fetched / 1e6:,.2f} MB of them to fetch" if fetched else ""
    budget = f", to {manifest.mixture.budget_tokens:,} tokens" if manifest.mixture else ""
    yield f"{files:,} files, {_sign(rows)}{size / 1e6:,.2f} MB{fetch}{budget}; nothing was written."
    if any(row["estimates"] for row in rows):
        yield "~ sizes are reckoned: of a dump only a few files are asked."
    if egress:
        yield f"{egress / 1e6:,.2f} MB leave buckets whose reader pays: Amazon bills you for the egress."


# ---- what dedup would take


def _near_json(manifest: "Manifest") -> dict[str, Any]:
    from redpajama.dedup.near import forecast, minhash

    return forecast.forecast(manifest, minhash.parse(manifest.dedup.near))


def _costs(manifest: "Manifest", store: "Store", raw_bytes: int) -> Iterator[str]:
    """What near-dedup would find and cost, what texts that cannot be cut took, and what cutting spans would."""
    from redpajama.report.builds import read_build
    from redpajama.report.encoding import long_piece_lines

    cut = [source.name for source in manifest.source if source.substrings]
    has_near = manifest.dedup.near is not None
    sizes = _text_bytes(store, manifest.name) if has_near or cut else {}
    if has_near:
        yield from _near_lines(manifest, raw_bytes, sum(sizes.values()))
    if manifest.mixture and store.exists(f"builds/{manifest.name}.json"):
        yield from long_piece_lines(store, read_build(store, manifest.name))
    for name in cut:
        yield f"substrings  {name}: {_substrings_memory(sizes, name)}"


def _near_lines(manifest: "Manifest", raw_bytes: int, text_bytes: int) -> list[str]:
    from redpajama.dedup.near import forecast, minhash

    return forecast.lines(manifest, minhash.parse(manifest.dedup.near), raw_bytes, text_bytes)


def _substrings_memory(sizes: dict[str, int], source: str) -> str:
    """In bytes where a finished build tells the size of the source's text."""
    from redpajama.dedup import substrings

    words = f"{substrings.memory(1)} bytes of memory a byte of living text, at most {substrings.MAX_BYTES:,} of these"
    memory = f"{substrings.memory(sizes.get(source, 0)) / 1e6:,.0f} MB"
    return f"{words}; {memory} for all documents of the last build" if sizes else words


def _text_bytes(store: "Store", name: str) -> dict[str, int]:
    """{source: bytes of all documents} of the finished build called `name`; empty where there is none."""
    from redpajama.engine.gathered import read_stage
    from redpajama.report.builds import read_build

    if not store.exists(f"builds/{name}.json"):
        return {}
    stages = read_build(store, name)["stages"]["documents"]
    return {source: read_stage(store, entry["record"]).counts["text_bytes"] for source, entry in stages.items()}


# ---- what would be redone


def _redo(manifest: "Manifest", listed: list[dict[str, Any]], store: "Store") -> "list[Redo] | None":
    """What a build would do that ROOT does not hold; None where it holds no finished build of that name."""
    if not store.exists(f"builds/{manifest.name}.json"):
        return None
    from redpajama.corpus import withdrawn
    from redpajama.flow import flow
    from redpajama.report.builds import read_build
    from redpajama.report.redo import redo

    raw_bytes = sum(file["bytes"] or file["about_bytes"] for file in listed)
    requests = withdrawn.together(store, withdrawn.named(manifest.withdrawn, manifest.folder))
    stages = flow(manifest, raw_bytes=raw_bytes, withdraws=bool(requests))
    return redo(manifest, store, stages, listed, read_build(store, manifest.name), requests)


def _print_redo(name: str, redone: "list[Redo]", root: str) -> None:
    out = screen.console()
    head = f"{root} holds a finished build '{name}'"
    if not redone:
        screen.say(out, [f"{head}: nothing would be redone."])
        return
    screen.say(out, [f"{head}; this would be redone:"])
    out.print(_redo_table(redone))
    if any(row.follows for row in redone):
        screen.say(out, ["What follows may turn out the same: equal output redoes nothing."])


def _redo_table(redone: "list[Redo]") -> "Table":
    """A row for each stage and reason; `?` parts are known once what they read is made."""
    table = screen.table("stage", "name", "parts", "why", left=(0, 1, 3))
    groups: dict[tuple[str, tuple[str, ...], tuple[str, str] | None], list[Redo]] = {}
    for row in redone:
        groups.setdefault((row.stage, row.why, row.follows), []).append(row)
    for (stage, _, _), rows in groups.items():
        table.add_row(stage, _some([row.name for row in rows]), _parts(rows), _why(rows[0]))
    return table


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= SHOWN else f"{', '.join(names[:SHOWN])} +{len(names) - SHOWN}"


def _parts(rows: "list[Redo]") -> str:
    return f"{_sum([row.todo for row in rows])} of {_sum([row.parts for row in rows])}"


def _sum(counts: list[int | None]) -> str:
    known = [count for count in counts if count is not None]
    return f"{sum(known):,}" if len(known) == len(counts) else "?"


def _why(row: "Redo") -> str:
    if row.follows:
        return f"follows {row.follows[0]} of {row.follows[1]}"
    return "; ".join([*row.why[:SHOWN], *([f"and {len(row.why) - SHOWN} more"] if len(row.why) > SHOWN else [])])
