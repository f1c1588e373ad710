"""Drives a build from the command line: how many workers, progress, Ctrl-C, and workers that die."""

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from redpajama import build, screen, workers
from redpajama.manifest import Manifest
from redpajama.stages import Job, Regroup

SMALL_BUILD_BYTES = 64 << 20  # below this, worker processes cost more than they give


@dataclass(frozen=True)
class Wish:
    """What the command line asked for."""

    root: str
    until: str
    workers: str
    beam_options: list[str]
    group_by_key: bool
    rehash: bool
    as_json: bool


def drive(manifest: Manifest, listed: list[dict[str, Any]], wish: Wish) -> int:
    """Run the build and show what came out; the exit status."""
    os.environ.update(environment())
    logging.getLogger().setLevel(logging.ERROR)  # Beam warns of cloud packages that are not needed
    from redpajama import beam

    count = worker_count(wish.workers, sum(file["bytes"] or file["about_bytes"] for file in listed))
    arguments = beam.beam_arguments(count, wish.beam_options)
    guard = Guard(build.flow(manifest, wish.until), quiet=wish.as_json)
    started = time.monotonic()
    try:
        record = build.build(
            manifest,
            listed,
            wish.root,
            arguments,
            until=wish.until,
            rehash=wish.rehash,
            shares=count if beam.is_local(arguments) else 0,
            group_by_key=wish.group_by_key,
            watch=guard.watch,
        )
    except RuntimeError:
        guard.stop_if_a_worker_died()
        raise
    finally:
        guard.close()
    return screen.show_build(record, wish.root, time.monotonic() - started, wish.as_json)


def worker_count(wish: str, input_bytes: int) -> int:
    """`auto`: one process for small inputs, else one a core."""
    if wish != "auto":
        return int(wish)
    return 1 if input_bytes < SMALL_BUILD_BYTES else os.cpu_count() or 1


def environment() -> dict[str, str]:
    """One thread in every library's own pool: the workers are the parallelism. The user's own settings hold."""
    pools = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS"]
    return {**dict.fromkeys(pools, "1"), "TOKENIZERS_PARALLELISM": "false"} | dict(os.environ)


class Guard:
    """Ends the build, workers and all, on Ctrl-C or when a worker dies; nothing finished is lost.

    While it watches, standard error goes to a file: Beam's worker processes inherit it and have much to say there.
    """

    def __init__(self, flow: list[Any], quiet: bool) -> None:
        self._terminal = os.fdopen(os.dup(2), "w")
        self.progress = Progress(flow, self._terminal, quiet)
        self.job: Job | None = None
        self._watch: workers.Watch | None = None

    def watch(self, job: Job, finished: Callable[[], bool]) -> None:
        """Called when the run has its id."""
        self.job = job
        signal.signal(signal.SIGINT, lambda *_: self._end("interrupted; the same command goes on from here", 130))
        signal.signal(signal.SIGTERM, lambda *_: self._end("terminated; the same command goes on from here", 143))

        def over() -> bool:
            return finished() or job.store.exists(f".tmp/{job.run}/state.json")

        self._watch = workers.Watch(job.claims, over, lambda message: self._end(message, 1))
        self._watch.start()
        self.progress.start(job)
        log = Path(job.store.path("timing/workers.log") if job.store.local else f"{job.claims}/workers.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        sys.stderr.flush()
        with open(log, "ab") as file:
            os.dup2(file.fileno(), 2)

    def close(self) -> None:
        """Give the terminal back."""
        self.progress.stop()
        sys.stderr.flush()
        os.dup2(self._terminal.fileno(), 2)

    def stop_if_a_worker_died(self) -> None:
        """Beam raised: if a worker was killed, say which part it was at and leave."""
        time.sleep(0.5)  # its exit status comes from another thread
        if self._watch and self._watch.exit_code:
            self._end(self._watch.epitaph(self._watch.dead_workers()), 1)

    def _end(self, message: str, status: int) -> None:
        self.close()
        sys.stderr.write(f"redpajama: {message}\n")
        sys.stderr.flush()
        workers.kill_workers(self.job.claims)
        os._exit(status)


class Progress:
    """A line a stage: parts done, units and MB a second, time left; from what workers note, in a thread."""

    def __init__(self, flow: list[Any], terminal: TextIO, quiet: bool) -> None:
        names = [[step.split_stage, step.stage] if isinstance(step, Regroup) else [step.stage] for step in flow]
        self.stages = [name for group in names for name in group]
        self.console = Console(file=terminal)
        self.shown = self.console.is_terminal and not quiet
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._notes: dict[str, dict[str, int]] = {}  # of parts, by file name
        self._plans: dict[str, tuple[int, int]] = {}
        self._first_seen: dict[str, float] = {}
        self._last_seen: dict[str, float] = {}  # before it was done

    def start(self, job: Job) -> None:
        if self.shown:
            self._thread = threading.Thread(target=self._show, args=(job,), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(timeout=2)

    def _show(self, job: Job) -> None:
        with Live(console=self.console, refresh_per_second=4, transient=True) as live:
            while not self._over.wait(0.3):
                with contextlib.suppress(FileNotFoundError):  # the run's folder goes when the build ends
                    live.update(self._table(job))

    def _table(self, job: Job) -> Table:
        done, table = workers.progress(job, self._notes), Table(box=None, header_style="dim")
        for title in ("stage", "parts", "units", "MB/s", "time left"):
            table.add_column(title, justify="left" if title == "stage" else "right")
        for stage in self.stages:
            if stage not in self._plans and (planned := _planned(job, stage)):
                self._plans[stage] = planned
            if stage in self._plans:
                row = self._row(stage, self._plans[stage], done.get(stage, {"done": 0, "units": 0, "bytes": 0}))
                table.add_row(*row)
        return table

    def _row(self, stage: str, planned: tuple[int, int], done: dict[str, int]) -> list[str]:
        parts, size = planned
        started = self._first_seen.setdefault(stage, time.monotonic())
        if done["done"] < parts:
            self._last_seen[stage] = time.monotonic()
        rate = done["bytes"] / max(0.3, self._last_seen.get(stage, started) - started)
        left = "" if done["done"] == parts or not rate else f"{(size - done['bytes']) / rate:,.0f} s"
        return [stage, f"{done['done']:,}/{parts:,}", f"{done['units']:,}", f"{rate / 1e6:,.1f}", left]


def _planned(job: Job, stage: str) -> tuple[int, int] | None:
    """(parts, bytes) of a stage's plan, or None before it is made."""
    key = f".tmp/{job.run}/plan-{stage}.json"
    if not job.store.local or not job.store.exists(key):
        return None
    parts = json.loads(job.store.read(key))
    return len(parts), sum(part["size"] for part in parts)
