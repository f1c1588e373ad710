"""`redpajama clusters`: what near-dedup put together."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.text import Text

from redpajama.commands import screen
from redpajama.commands.arguments import BuildOption, JsonOption, RootArgument, open_root


def command(
    root: RootArgument,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="how many")] = 20,
    name: BuildOption = "",
    as_json: JsonOption = False,
) -> int:
    """The largest clusters of near-duplicates: survivor, sources, what went, how like they were, how they begin."""
    from redpajama.report.builds import read_build
    from redpajama.report.clusters import largest_clusters

    store = open_root(root)
    clusters = largest_clusters(store, read_build(store, name), top)
    if as_json:
        screen.show_json(clusters)
        return 0
    out = screen.console()
    screen.say(out, (line for cluster in clusters for line in _lines(cluster)))
    if not clusters:
        out.print("no two documents were candidates")
    return 0


def _lines(cluster: dict[str, Any]) -> Iterator[Text]:
    """The survivor, the counts, and the beginnings of a few."""
    likeness = ", similarity {:g} to {:g}".format(*cluster["similarity"]) if cluster["similarity"] else ""
    sources = ", ".join(f"{source} {number:,}" for source, number in cluster["sources"].items())
    counts = f"{cluster['size']:,} documents ({sources}): {cluster['removed']:,} removed, {cluster['kept']:,} kept"
    if cluster["unchecked"]:
        counts += f" (of them {cluster['unchecked']:,} not compared with all that they may be like)"
    yield Text(cluster["survivor"], style="bold")
    yield Text(f"  {counts}{likeness}")
    for example in cluster["examples"]:
        value = "" if example["similarity"] is None else f" {example['similarity']:g}"
        yield Text(f"  {example['fate']}{value}: {example['text']}", style="dim")
