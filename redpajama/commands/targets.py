"""What `redpajama plan` says first: the target of each slice, before any input is listed."""

from typing import TYPE_CHECKING, Any

from redpajama.commands import screen

if TYPE_CHECKING:
    from redpajama.commands.table import Table
    from redpajama.manifest import Manifest
    from redpajama.mistakes import Mistake
    from redpajama.mixers.targets import Count, Target, Targets

MARKS = {"measured": "", "published": "p", "estimated": "~"}


def before_listing(path: str, out: str, as_json: bool) -> "tuple[dict[str, Any], list[Mistake]]":
    """Print the table; gives it as JSON has it, and the mistakes that show without listing an input.

    What an extra would be needed for is no mistake here: it is told where inputs are listed.

    Raises:
        ManifestError: it is no TOML, or nothing of it can be understood.
    """
    from redpajama import manifest

    found = manifest.examine_all(manifest.read(path), path)
    if found.model is None:
        raise manifest.ManifestError(path, found.mistakes)
    drawn = found.model.mixture and not found.mistakes and _targets(found.model, out)
    if drawn and not as_json:
        _show(drawn)
    if drawn and drawn.error:
        from redpajama.mistakes import Mistake

        return to_json(drawn), [Mistake("", drawn.error)]
    return to_json(drawn) if drawn else {}, []


def stop_offline(path: str, drawn: dict[str, Any], as_json: bool) -> "list[Mistake]":
    """What `--offline` says after the table; gives the mistakes that no input and no extra shows."""
    from redpajama import manifest, preflight

    found = manifest.examine_all(manifest.read(path), path)
    known = [each for each in preflight.mistakes(found.model, found.is_sound) if "pip install" not in each.message]
    if not found.mistakes and not known:
        if as_json:
            screen.show_json({"manifest": found.model.model_dump(mode="json"), **drawn})
        else:
            screen.say(screen.console(), ["Offline: no input was listed; nothing was written."])
    return [*found.mistakes, *known]


def _targets(model: "Manifest", out: str) -> "Targets":
    from redpajama.mixers import targets

    return targets.targets_of(targets.given_mixture(model), targets.counts_of(model, counted(model, out)))


def counted(model: "Manifest", out: str) -> "dict[str, Count]":
    """{leaf of the mixture: its unique tokens} that the finished build of that name counted, if there is one."""
    from redpajama.engine.gathered import read_stage
    from redpajama.engine.store import Store
    from redpajama.manifest import Manifest, ManifestError
    from redpajama.mixers import targets
    from redpajama.preflight import complete
    from redpajama.report.builds import read_build

    store = Store(out)
    if not store.exists(f"builds/{model.name}.json"):
        return {}
    record, tokens = read_build(store, model.name), dict[str, int]()
    for entry in record["stages"].get("candidates", {}).values():
        tokens |= read_stage(store, entry["record"]).counts["slices"]
    try:
        return targets.of_build(complete(model), Manifest(**record["manifest"]), tokens)
    except (ManifestError, ValueError):  # mistakes are told together; a build of an older version asks for unknown keys
        return {}


def to_json(found: "Targets") -> dict[str, Any]:
    """As programs read it."""
    rows = {row.slice: {key: value for key, value in row._asdict().items() if key != "slice"} for row in found.rows}
    return {"targets": rows, "uncounted": found.missing}


def _show(found: "Targets") -> None:
    out = screen.console()
    if found.missing:
        names = ", ".join(f"'{name}'" for name in found.missing)
        said = 'tokens = { value = …, source = "published" } in its [[source]], or a build, tells'
        screen.say(out, [f"targets unknown: nobody has counted {names}; {said}"])
        return
    out.print(_table(found.rows))
    screen.say(out, [*lines(found), ""])


def _table(rows: "list[Target]") -> "Table":
    names = ("slice", "wanted", "target", "share", "unique", "epochs", "effective", "cap", "binds")
    table, total = screen.table(*names, left=(0, 8)), max(1, sum(row.target_tokens for row in rows))
    for row in rows:
        table.add_row(
            row.slice,
            f"{row.wanted_share:.2%}",
            f"{row.target_tokens:,}",
            f"{row.target_tokens / total:.2%}",
            f"{MARKS[row.provenance]}{row.unique_tokens:,}",
            f"{row.epochs:.3f}",
            f"{row.effective_tokens:,}",
            f"{row.cap_tokens:,}",
            row.binds,
        )
    return table


def lines(found: "Targets") -> list[str]:
    """The sums, and whose counts they rest on."""
    target, effective = (
        sum(getattr(row, name) for row in found.rows) for name in ("target_tokens", "effective_tokens")
    )
    unique = sum(row.unique_tokens for row in found.rows)
    said = [
        f"{target:,} of {found.budget_tokens:,} tokens from {unique:,} unique ones, worth {effective:,} fresh ones."
    ]
    for provenance, mark in (("published", "p"), ("estimated", "~")):
        if names := [row.slice for row in found.rows if row.provenance == provenance]:
            said.append(f"{mark} {provenance}: {', '.join(names)}; a build measures them.")
    if heavy := [f"{row.slice} {row.epochs:.1f}" for row in found.rows if row.epochs > 4]:
        said.append(
            f"more than 4 epochs: {', '.join(heavy)}: repeats beyond the fourth are worth little in one source."
        )
    return said
