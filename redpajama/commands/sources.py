"""`redpajama sources`: what can be read, and with which options."""

import inspect
import re
from typing import Annotated, Any

import typer

from redpajama.commands import screen
from redpajama.commands.arguments import JsonOption
from redpajama.errors import UserError

OPTION = re.compile(r"^    (?P<name>[a-z_]+): (?P<kind>.+?) = (?P<default>.+?)(?:  # (?P<note>.+))?$")


def command(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="one pipeline, with its options")] = "",
    as_json: JsonOption = False,
) -> int:
    """Every pipeline and what it reads; of one also its options with defaults, and an example."""
    from redpajama.manifest import suggestion
    from redpajama.pipelines import SOURCES

    if name and name not in SOURCES:
        raise UserError(f"no pipeline is called '{name}'{suggestion(name, list(SOURCES))}")
    found = [_describe(each) for each in ([name] if name else SOURCES)]
    if as_json:
        screen.show_json(found[0] if name else found)
        return 0
    out = screen.console()
    if not name:
        table = screen.table("pipeline", "a unit is a", "reads", left=(0, 1, 2))
        for row in found:
            table.add_row(row["name"], row["unit"], row["title"])
        out.print(table)
        screen.say(out, ["`redpajama sources NAME` tells its options."])
        return 0
    screen.prose(out, found[0]["description"])
    out.print()
    out.print(_options(found[0]["options"]))
    out.print(f"\n{found[0]['example']}", soft_wrap=True)
    return 0


def _describe(name: str) -> dict[str, Any]:
    """All that is said of a pipeline: by its module's docstring, its options and their comments, and an example."""
    from redpajama.pipelines import example, pipeline

    reader = pipeline(name)
    said = inspect.cleandoc(inspect.getmodule(reader.read).__doc__ or "")
    title = " ".join(said.partition("\n\n")[0].split())
    facts = {"name": name, "title": title, "unit": reader.unit, "description": said, "kind": reader.kind}
    return {**facts, "options": options(reader.options), "example": example(name)}


def options(model: Any) -> list[dict[str, str]]:
    """name, kind, default and note of each option: the note is the comment in the code, units and all."""
    found = []
    for line in inspect.getsource(model).splitlines():
        is_public = (match := OPTION.match(line)) and not model.model_fields[match["name"]].exclude
        if match and is_public:
            default = model.model_fields[match["name"]].get_default()
            found.append({**match.groupdict(""), "default": _toml(default)})
    return found


def _toml(value: Any) -> str:
    """A default as a manifest would say it; "" for none."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return ""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if hasattr(value, "model_dump"):
        inner = ", ".join(f"{key} = {_toml(each)}" for key, each in value if each is not None)
        return f"{{ {inner} }}"
    return f'"{value}"'.replace("\n", "\\n") if isinstance(value, str) else str(value)


def _options(rows: list[dict[str, str]]) -> Any:
    if not rows:
        return "It has no options."
    table = screen.table("option", "default", "what it is", left=(0, 1, 2))
    for row in rows:
        table.add_row(row["name"], row["default"], row["note"] or row["kind"])
    return table
