"""`redpajama init`: a manifest for files as they lie."""

import re
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from redpajama.commands import screen
from redpajama.errors import UserError


def command(
    places: Annotated[list[str], typer.Argument(metavar="FOLDER|FILES…", help="what to read")],
    to: Annotated[str, typer.Option("--to", metavar="FILE", help="where the manifest goes; it must not be there")] = "",
) -> int:
    """Write a commented manifest for your files: format, fields, language, size and licences are looked up in them."""
    from redpajama.pipelines.draft import draft, render

    if to and Path(to).exists():
        raise UserError(f"{to}: is there already; name another file, or remove it")
    target = Path(to or "manifest.toml").resolve()
    name = re.sub(r"[^a-z0-9_-]+", "-", target.stem.lower()).strip("-")
    text = render(draft(places, target.parent), name if re.match("[a-z]", name) else f"corpus-{name}")
    if not to:
        screen.console().print(text, soft_wrap=True, end="")
        return 0
    target.write_text(text, encoding="utf-8")
    out = screen.console()
    screen.say(out, [f"{to}: written; `redpajama plan {quote(to)} --out ROOT` tells what it would build"])
    return 0
