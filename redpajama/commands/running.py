"""How a run stands, as `status` and a running build show it."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from redpajama.commands import screen
from redpajama.engine import workers
from redpajama.report import runs
from redpajama.report.standing import DONE, FAILED, RUNNING, WAITING, Standing, Standings, standings

if TYPE_CHECKING:
    from redpajama.commands.table import Table
    from redpajama.engine.store import Store

SHOWN = 8  # reasons


def run_json(store: "Store", about: dict[str, Any]) -> dict[str, Any]:
    """What `status --json` tells of a run."""
    found = standings(store, about)
    state, said = state_of(store, about, found)
    named = {name: about[name] for name in ("run", "until", "started", "where")}
    stages = [each.to_json() for each in found]
    return {"build": about["manifest"]["name"], "state": state, "said": said, **named, "progress": stages}


def state_of(store: "Store", about: dict[str, Any], found: list[Standing]) -> tuple[str, str]:
    """(`running`, `failed`, `stopped`, its last message)."""
    if said := runs.end_of(store, about["run"]) or workers.first_failure(store, about["run"]):
        return FAILED, said
    if workers.is_held(store):
        return RUNNING, ""
    stage = next((each.stage for each in found if each.state == RUNNING), "its end")
    return "stopped", f"it ended without a word at {stage} (killed, say); the same command goes on from there"


def run_lines(store: "Store", about: dict[str, Any], found: list[Standing]) -> Iterator[str]:
    """The head and what was said at last."""
    state, said = state_of(store, about, found)
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(about["started"]))
    yield f"build '{about['manifest']['name']}' until {about['until']}: {state}; begun {since} by {about['where']}"
    if said:
        yield f"last failure: {said}" if state == FAILED else said


def reason_line(found: list[Standing]) -> str:
    """Why units and documents went so far."""
    reasons: Counter[str] = Counter()
    for each in found:
        reasons.update(each.reasons)
    ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    more = f", and {len(ranked) - SHOWN} more" if len(ranked) > SHOWN else ""
    return "reasons so far: " + (", ".join(f"{name} {number:,}" for name, number in ranked[:SHOWN]) or "none") + more


def run_table(found: list[Standing]) -> "Table":
    """A row a stage, in the order of the flow; those that wait in one row."""
    table = screen.table("stage", "state", "parts", "units", "MB/s", "left", left=(0, 1))
    for each in found:
        if each.state != WAITING:
            table.add_row(*row_of(each))
    if waiting := [each.stage for each in found if each.state == WAITING]:
        more = f", and {len(waiting) - 1} more" if len(waiting) > 1 else ""
        table.add_row(waiting[0], f"waiting{more}", "", "", "", "")
    return table


def row_of(each: Standing) -> list[str]:
    """stage, state, parts done of planned, units, MB a second, time left"""
    units = f"{'~' if each.is_estimate else ''}{each.units:,}"
    rate = f"{each.rate / 1e6:,.2f}" if each.bytes_done else ""
    return [each.stage, each.state, f"{each.done:,}/{each.parts:,}", units, rate, time_left(each)]


def time_left(each: Standing) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    left = each.seconds_left
    if left is None or each.state == DONE:
        return ""
    minutes = round(left / 60)
    return (
        f"{left:,.0f} s" if left < 90 else f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
    )


def place_of(store: "Store", run: str, steps: list[str]) -> str:
    """` at documents (12 of 40 parts)`; nothing before a stage is planned."""
    found = Standings(store, {"run": run, "steps": steps}, most=0).look()
    begun = [each for each in found if each.state != WAITING]
    return f" at {begun[-1].stage} ({begun[-1].done:,} of {begun[-1].parts:,} parts)" if begun else ""
