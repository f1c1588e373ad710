"""`redpajama schema`: the manifest as JSON Schema, for editors; what a command answers, for programs."""

from typing import Annotated, Any

import typer

from redpajama.commands import screen
from redpajama.commands.answers import ANSWERS
from redpajama.errors import UserError

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def command(
    name: Annotated[str, typer.Argument(metavar="[COMMAND]", help="what it answers with --json")] = "",
) -> int:
    """Write the manifest's JSON Schema, by which an editor completes and checks TOML; or that of a command's --json."""
    if name and name not in ANSWERS:
        from redpajama.manifest import suggestion

        raise UserError(f"no command '{name}' answers with JSON{suggestion(name, list(ANSWERS))}")
    screen.show_json({"$schema": DRAFT, **ANSWERS[name]} if name else schema())
    return 0


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a manifest; the options of a source are those of its pipeline."""
    from redpajama.manifest import Manifest
    from redpajama.pipelines import SOURCES, pipeline

    found = Manifest.model_json_schema()
    del found["properties"]["folder"]
    source, rules = found["$defs"]["Source"], []
    source["properties"]["pipeline"]["enum"] = list(SOURCES)
    for name in SOURCES:
        options = pipeline(name).options.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
        found["$defs"] |= {f"{name}.{key}": table for key, table in options.pop("$defs", {}).items()}
        found["$defs"][f"{name}.Options"] = options
        then = {"properties": {"options": {"$ref": f"#/$defs/{name}.Options"}}}
        rules.append({"if": {"properties": {"pipeline": {"const": name}}}, "then": then})
    source["allOf"] = rules
    _either(source, "pipeline", "reading")
    _either(found["$defs"]["Mixture"], "budget_tokens", "stage")
    return {"$schema": DRAFT, **found}


def _either(table: dict[str, Any], key: str, other: str) -> None:
    """A key that is needed only where the other is not given, which tells it."""
    table["required"].remove(key)
    table["anyOf"] = [{"required": [key]}, {"required": [other]}]
