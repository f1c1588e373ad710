"""The live table of a running build; into a pipe a line every half minute."""

import contextlib
import threading
import time
from typing import TextIO

from rich.live import Live

from redpajama import environment
from redpajama.commands import screen
from redpajama.commands.table import Table
from redpajama.commands.terminal import Terminal, say
from redpajama.engine import workers
from redpajama.engine.runner import totals_key
from redpajama.engine.shapes import Stage
from redpajama.engine.stages import Job

STORE_SECONDS = 3.0  # between two looks into a store
PIPE_SECONDS = environment.number("REDPAJAMA_TELL_SECONDS", 30)  # between two lines into a pipe


class Progress:
    """A line a stage: parts done, units and MB a second, time left; in a thread.

    From what workers note, where they are of this machine; else from the store, as `status` has it.
    """

    def __init__(self, flow: list[Stage], terminal: TextIO, quiet: bool) -> None:
        self.stages = [step.stage for stage in flow for step in stage.steps()]
        self.console = Terminal(file=terminal)
        self.terminal, self.quiet = terminal, quiet
        self.is_local = True
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._plans: dict[str, tuple[int, int]] = {}
        self._first_seen: dict[str, float] = {}
        self._last_seen: dict[str, float] = {}  # before it was done

    def start(self, job: Job, is_local: bool = True) -> None:
        self.is_local = is_local
        if not self.quiet:
            show = self._show if self.console.is_terminal else self._tell
            self._thread = threading.Thread(target=show, args=(job,), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(timeout=2)

    def _show(self, job: Job) -> None:
        from redpajama.commands.running import run_table
        from redpajama.report.standing import Standings

        done, far = workers.Done(job.claims), Standings(job.store, {"run": job.run, "steps": self.stages})
        with Live(console=self.console, refresh_per_second=4, transient=True) as live:
            while not self._over.wait(0.3 if self.is_local else STORE_SECONDS):
                with contextlib.suppress(Exception):  # the run's folder goes at its end, and a store may be busy
                    live.update(self.table(job, done.look()) if self.is_local else run_table(far.look()))

    def _tell(self, job: Job) -> None:
        """A line for the stage that is under way."""
        from redpajama.commands.running import row_of
        from redpajama.report.standing import WAITING, Standings

        most, standings = 0, Standings(job.store, {"run": job.run, "steps": self.stages})
        while not self._over.wait(PIPE_SECONDS):
            with contextlib.suppress(Exception):
                found = standings.look()
                begun = [each for each in found if each.state != WAITING]
                if begun and not self._over.is_set() and len(begun) >= most:  # the run's folder goes at its end
                    most = len(begun)
                    stage, state, parts, units, rate, left = row_of(begun[-1])
                    more = "".join([f", {rate} MB/s" if rate else "", f", {left} left" if left else ""])
                    head = f"{stage} ({len(begun)} of {len(found)}) {state}"
                    say(f"{head}: {parts} parts, {units} units{more}", self.terminal)

    def table(self, job: Job, done: dict[str, dict[str, int]]) -> Table:
        """A row for each stage that has a plan."""
        table = screen.table("stage", "parts", "units", "MB/s", "time left")
        for stage in self.stages:
            if stage not in self._plans and (planned := _planned(job, stage)):
                self._plans[stage] = planned
            if stage in self._plans:
                row = self._row(stage, self._plans[stage], done.get(stage, {"parts": 0, "units": 0, "bytes": 0}))
                table.add_row(*row)
        return table

    def _row(self, stage: str, planned: tuple[int, int], done: dict[str, int]) -> list[str]:
        parts, size = planned
        started = self._first_seen.setdefault(stage, time.monotonic())
        if done["parts"] < parts:
            self._last_seen[stage] = time.monotonic()
        rate = done["bytes"] / max(0.3, self._last_seen.get(stage, started) - started)
        left = "" if done["parts"] == parts or not rate else f"{(size - done['bytes']) / rate:,.0f} s"
        return [stage, f"{done['parts']:,}/{parts:,}", f"{done['units']:,}", f"{rate / 1e6:,.1f}", left]


def _planned(job: Job, stage: str) -> tuple[int, int] | None:
    """(parts, bytes) to do of a stage, or None before it is planned."""
    key = totals_key(job.run, stage)
    if not job.store.local or not job.store.exists(key):
        return None
    totals = job.store.read_json(key)
    return totals["parts"], totals["bytes"]
