"""`redpajama status`: stages, parts and counts of a build, from the store alone."""

from typing import TYPE_CHECKING, Any

from redpajama.commands import foresight, screen
from redpajama.commands.arguments import BuildOption, JsonOption, RootArgument, open_root

if TYPE_CHECKING:
    from redpajama.commands.table import Table
    from redpajama.engine.store import Store


def command(root: RootArgument, name: BuildOption = "", as_json: JsonOption = False) -> int:
    """Stages, parts and counts of a build in ROOT: finished, running, failed or stopped."""
    from redpajama.manifest import Manifest
    from redpajama.pipelines import sample
    from redpajama.report.builds import read_build
    from redpajama.report.funnel import funnel
    from redpajama.report.runs import last_run

    store = open_root(root)
    about = last_run(store)
    if about and name in ("", about["manifest"]["name"]):
        return _show_run(store, about, as_json)
    record = read_build(store, name)
    if as_json:
        screen.show_json(
            {
                **screen.build_json(store, record),
                "stages": _stages(store, record),
                "planned": foresight.beside(store, record),
            }
        )
        return 0
    out = screen.console()
    out.print(_stage_table(store, record))
    out.print()
    out.print(screen.funnel_table(funnel(store, record)))
    screen.print_matrices(out, store, record)
    screen.print_near(out, store, record)
    if planned := foresight.table(store, record):
        out.print()
        out.print(planned)
    screen.say(out, sample.lines(Manifest(**record["manifest"])))
    out.print(f"corpus   {record['corpus']}", style="bold", soft_wrap=True)
    return 0


def _show_run(store: "Store", about: dict[str, Any], as_json: bool) -> int:
    """A run that is under way, or that ended before its build record."""
    from redpajama.commands import running
    from redpajama.report.standing import standings

    if as_json:
        screen.show_json(running.run_json(store, about))
        return 0
    out, found = screen.console(), standings(store, about)
    screen.say(out, running.run_lines(store, about, found))
    out.print(running.run_table(found))
    screen.say(out, [running.reason_line(found)])
    return 0


def _stages(store: "Store", record: dict[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """{stage: {name: {"parts", "counts"}}}"""
    return {
        stage: {name: _stage(store, entry["record"]) for name, entry in names.items()}
        for stage, names in record["stages"].items()
    }


def _stage(store: "Store", key: str) -> dict[str, Any]:
    from redpajama.engine.gathered import read_stage

    stage = read_stage(store, key)
    return {"parts": stage.parts, "counts": stage.counts}


def _stage_table(store: "Store", record: dict[str, Any]) -> "Table":
    from redpajama.flow import in_order
    from redpajama.manifest import Manifest

    table = screen.table("stage", "name", "parts", "read", "kept", "dropped", left=(0, 1), keys=2)
    found_of = _stages(store, record)
    for stage in in_order(Manifest(**record["manifest"]), found_of):
        for name, found in found_of[stage].items():
            counts = found["counts"]
            dropped = sum(counts.get("dropped", {}).values())
            numbers = (found["parts"], counts.get("read", 0), counts.get("kept", 0), dropped)
            table.add_row(stage, name, *(f"{number:,}" for number in numbers))
    return table
