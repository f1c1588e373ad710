"""`redpajama why`: the story of one document."""

from typing import Annotated

import typer
from rich.text import Text

from redpajama.commands import screen
from redpajama.commands.arguments import BuildOption, JsonOption, RootArgument, open_root
from redpajama.errors import UserError


def command(
    root: RootArgument,
    what: Annotated[
        str,
        typer.Argument(
            metavar="ID|URL|TEXT", help="a document's id, its URL, or its text; after -- where it begins with a dash"
        ),
    ] = "",
    shard: Annotated[str, typer.Option(metavar="S", help="where a token is from: the shard")] = "",
    token: Annotated[int, typer.Option(metavar="N", help="and its number in the shard, from 0")] = -1,
    places: Annotated[bool, typer.Option("--places", help="every place of a text in the shards")] = False,
    name: BuildOption = "",
    as_json: JsonOption = False,
) -> int:
    """Where a document came from, each signal and threshold, why it is gone or where it is in the shards."""
    from redpajama.commands import traced
    from redpajama.report.builds import read_build
    from redpajama.report.told import difference, told
    from redpajama.report.why import why

    store = open_root(root)
    record = read_build(store, name)
    if shard or token != -1:
        return traced.show_token(store, record, shard, token, as_json)
    if not what:
        raise UserError("name a document's id, its URL or its text, or --shard and --token")
    stories = why(store, record, what) if not places else []
    if places or (not stories and traced.is_looked_up(store, record, what)):
        return traced.show_places(store, record, what, as_json)
    if as_json:
        screen.show_json(stories)
        return 0 if stories else 1
    out = screen.console()
    for number, story in enumerate(stories):
        if number:
            out.print()
        out.print(Text(story["doc_id"] or "(a unit without an id)", style="bold"), soft_wrap=True)
        screen.say(out, [f"  {sentence}" for sentence in told(story)])
        if pieces := difference(story):
            screen.say(out, [_difference(pieces)])
    if not stories:
        screen.say(out, [f"nothing on record has the id, the URL or the text {what[:80]!r}"])
    return 0 if stories else 1


def _difference(pieces: list[tuple[str, str]]) -> Text:
    """Words of this text alone [-so-], of the other alone {+so+}; in colour where there is any."""
    text = Text("  What differs: ")
    for kind, words in pieces:
        text.append(f"{words} ", {"=": "", "-": "red", "+": "green"}[kind])
    return text
