"""`redpajama diff`: what differs between two builds."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from redpajama.commands import screen
from redpajama.commands.arguments import JsonOption, RootArgument, open_root

SHOWN = 5  # names of files


def command(
    root: RootArgument,
    other: Annotated[str, typer.Argument(metavar="ROOT2", help="the one to compare it with")],
    name: Annotated[str, typer.Option("--build", metavar="NAME", help="which build of the first")] = "",
    other_name: Annotated[str, typer.Option("--build2", metavar="NAME", help="which of the second")] = "",
    as_json: JsonOption = False,
) -> int:
    """Inputs, rules, counts by reason, tokens and shares of two builds, and which documents came and went."""
    from redpajama.report.builds import read_build
    from redpajama.report.compare import compare

    stores = open_root(root), open_root(other)
    records = read_build(stores[0], name), read_build(stores[1], other_name)
    found = compare((stores[0], records[0]), (stores[1], records[1]))
    if as_json:
        screen.show_json(found)
        return 0
    out = screen.console()
    screen.say(out, _lines(found))
    table = _table(found)
    if table.rows:
        out.print(table)
    screen.say(out, _ids(found["ids"]))
    out.print("the corpora are the same" if found["same_corpus"] else "the corpora differ", style="bold")
    return 0


def _lines(found: dict[str, Any]) -> Iterator[str]:
    for change in found["manifest"]:
        yield f"manifest  {change}"
    for source, kinds in found["inputs"].items():
        for kind, files in kinds.items():
            if files:
                more = f" and {len(files) - SHOWN:,} more" if len(files) > SHOWN else ""
                yield f"inputs    {source}: {kind}: {', '.join(files[:SHOWN])}{more}"


def _table(found: dict[str, Any]) -> Any:
    table = screen.table("source", "what", "before", "now", "change", left=(0, 1), keys=2)
    for source, counts in found["counts"].items():
        for what, (before, now) in counts.items():
            table.add_row(source, what, f"{before:,}", f"{now:,}", f"{now - before:+,}")
    for source, (before, now) in found["mixture"].items():
        if before != now:
            table.add_row(source, "share", f"{before:.2%}", f"{now:.2%}", f"{now - before:+.2%}")
    return table


def _ids(found: dict[str, Any]) -> Iterator[str]:
    for source, ids in found.items():
        for kind in ("came", "went"):
            if ids[kind]:
                shown = ", ".join(ids[f"{kind}_first"])
                yield f"{kind}      {source}: {ids[kind]:,} documents: {shown}{' …' if ids[kind] > SHOWN else ''}"
