"""What `why` prints of a token of a shard, and of a text's places in the shards."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.text import Text

from redpajama.commands import screen
from redpajama.errors import UserError

if TYPE_CHECKING:
    from redpajama.engine.store import Store


def show_token(store: "Store", record: dict[str, Any], shard: str, token: int, as_json: bool) -> int:
    """Where one token is from: `--shard S --token N`."""
    from redpajama.report.tracing import trace

    if not shard or token < 0:
        raise UserError("--shard and --token go together: a shard, and the number of a token in it, from 0")
    found = trace(store, record, shard, token)
    if as_json:
        screen.show_json(found)
        return 0
    out = screen.console()
    out.print(found["doc_id"], style="bold", soft_wrap=True)
    for line in _of_token(found):
        out.print(line, soft_wrap=True)
    return 0


def _of_token(found: dict[str, Any]) -> Iterator[Text]:
    place = f"token {found['token_in_document']:,} of copy {found['copy']}, sequence {found['sequence']:,} of the shard"
    said = "the end of the document" if found["is_end_of_document"] else f"id {found['id']}"
    yield Text(f"  {place}: {said}")
    start, end = found["characters"]
    yield Text(f"  characters {start:,} to {end:,} of the text; from {', '.join(found['inputs'])}")
    yield Text(f"  {found['before']}").append(found["text"], "reverse").append(found["after"])


def show_places(store: "Store", record: dict[str, Any], text: str, as_json: bool) -> int:
    """Every place of a text in the shards; status 1 where there is none."""
    from redpajama.report.tracing import find

    found = find(store, record, text)
    if as_json:
        screen.show_json({"places": found})
        return 0 if found else 1
    out = screen.console()
    for place in found:
        where = f"{place['shard']}  token {place['token']:,}"
        out.print(f"{where}  {place['doc_id']}, copy {place['copy']}", soft_wrap=True)
    out.print(f"{len(found):,} place(s) of the text in the shards")
    return 0 if found else 1


def is_looked_up(store: "Store", record: dict[str, Any], what: str) -> bool:
    """Whether a text is long enough to be looked up in the shards, and there are some."""
    from redpajama.report.places import SHORTEST

    return bool(record["stages"].get("tokens")) and len(what.encode(errors="replace")) >= SHORTEST
