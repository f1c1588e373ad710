"""`redpajama gc`: the files that no build names. The only command that removes any."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from redpajama.commands import screen
from redpajama.commands.arguments import JsonOption, RootArgument, SoleWriterOption, open_root
from redpajama.errors import BuildFailed

if TYPE_CHECKING:
    from redpajama.engine.store import Store


def command(
    root: RootArgument,
    yes: Annotated[bool, typer.Option("--yes", help="remove them")] = False,
    sole_writer: SoleWriterOption = False,
    as_json: JsonOption = False,
) -> int:
    """List what no build names; with --yes remove it."""
    from redpajama.engine.workers import hold_root

    store, out = open_root(root), screen.console()
    with hold_root(store.url, sole_writer) if yes else nullcontext():  # not while a build runs
        unnamed = _unnamed(store)
        for key in unnamed:
            if yes:
                store.remove(key)
            if not as_json:
                out.print(f"{'removed ' if yes else ''}{key}", soft_wrap=True)
    if as_json:
        screen.show_json({"unnamed": unnamed, "removed": yes})
        return 0
    hint = "" if yes or not unnamed else "; --yes removes them"
    out.print(f"{len(unnamed):,} file(s) that no build names{hint}")
    return 0


def _unnamed(store: "Store") -> list[str]:
    """Keys of files that no build names, those last that a later build may use again.

    Raises:
        BuildFailed: a record is broken.
    """
    from redpajama.report.builds import find_builds
    from redpajama.report.verify import verify

    findings = verify(store, find_builds(store), contents=False)
    if findings.problems:
        raise BuildFailed(f"{findings.problems[0]}; nothing was removed: what it names would look like garbage")
    return findings.strangers + findings.scratch
