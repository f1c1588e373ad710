"""`redpajama show`: documents of a build, and what did not become one, as one would read them."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.text import Text

from redpajama.commands import screen
from redpajama.commands.arguments import BuildOption, JsonOption, RootArgument, open_root
from redpajama.errors import UserError

TEXT_CHARS = 1200  # of a text on the screen


def command(
    root: RootArgument,
    source: Annotated[str, typer.Argument(metavar="[SOURCE]", help="one source; none: all")] = "",
    count: Annotated[int, typer.Option("-n", metavar="N", min=1, help="how many")] = 5,
    dropped: Annotated[str, typer.Option(metavar="REASON", help="what went for a reason, or for any")] = "",
    quarantined: Annotated[bool, typer.Option("--quarantined", help="what could not be read")] = False,
    by: Annotated[str, typer.Option(metavar="SIGNAL", help="from its lowest value to its highest")] = "",
    name: BuildOption = "",
    as_json: JsonOption = False,
) -> int:
    """Documents drawn by hash, or by a signal; or what went, with the reason and the raw bytes."""
    from redpajama.report.builds import open_build, read_build
    from redpajama.report.reading import Wish, read

    if sum(map(bool, (dropped, quarantined, by))) > 1:
        raise UserError("give one of --dropped, --quarantined and --by")
    store = open_root(root)
    wish = Wish(source, count, dropped, quarantined, by)
    entries = read(open_build(store, read_build(store, name)), wish)
    if as_json:
        screen.show_json(entries)
        return 0
    out = screen.console()
    for entry in entries:
        screen.say(out, _lines(entry))
        screen.verbatim(out, _text(entry))
        out.print()
    if not entries:
        out.print("there is nothing of that kind")
    return 0


def _lines(entry: dict[str, Any]) -> Iterator[Text]:
    """The id, and what is on record beside it."""
    yield Text(entry["doc_id"] or "(a unit without an id)", style="bold")
    if "reason" in entry:
        yield Text(f"{_verdict(entry)}", style="red")
    beside = {key: value for key, value in entry.items() if key not in NOT_BESIDE and value not in (None, "")}
    for key, value in {**beside, **entry.get("meta", {}), **entry.get("evidence", {})}.items():
        yield Text(f"{key}: {_shown(value)}", style="dim")


def _shown(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(entry: dict[str, Any]) -> Iterator[Text]:
    """The beginning of the text, or of the raw bytes."""
    text = entry.get("text", entry.get("raw", "")).replace("\r\n", "\n")
    yield from (Text(line) for line in text[:TEXT_CHARS].split("\n"))
    if len(text) > TEXT_CHARS:
        yield Text(f"… {len(text) - TEXT_CHARS:,} more characters; --json has them all", style="dim")


NOT_BESIDE = ("doc_id", "text", "raw", "meta", "evidence", "reason", "verdict", "stage", "value", "threshold", "source")


def _verdict(entry: dict[str, Any]) -> str:
    """`dropped by documents: empty-text`, with the value and its bound where there are any."""
    measured = "" if entry["value"] is None else f", measured {entry['value']:g}"
    bound = "" if entry["threshold"] is None else f" against {entry['threshold']:g}"
    return f"{entry.get('verdict', 'removed')} by {entry['stage']}: {entry['reason']}{measured}{bound}"
