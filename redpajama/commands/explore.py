"""`redpajama explore`: a page on the signals of a build."""

from pathlib import Path
from typing import Annotated

import typer

from redpajama.commands import screen
from redpajama.commands.arguments import BuildOption, JsonOption, RootArgument, open_root


def command(
    root: RootArgument,
    to: Annotated[str, typer.Option("--to", metavar="FILE", help="where the page goes")] = "explore.html",
    name: BuildOption = "",
    as_json: JsonOption = False,
) -> int:
    """Write one HTML page: each signal's histogram, what a threshold keeps, and the documents next to it.

    With --json the page's numbers and texts instead, and no page.
    """
    from redpajama.report.builds import read_build
    from redpajama.report.explore import explore, render

    store = open_root(root)
    found = explore(store, read_build(store, name))
    if as_json:
        screen.show_json(found)
        return 0
    page = render(found).encode("utf-8", "replace")
    Path(to).write_bytes(page)
    screen.say(screen.console(), [f"{to}: {len(page) / 1e6:,.2f} MB; open it in a browser"])
    return 0
