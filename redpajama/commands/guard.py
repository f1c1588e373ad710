"""What guards a running build: Ctrl-C, workers that die, and a terminal that Beam would fill."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redpajama.commands import running
from redpajama.commands.progress import Progress
from redpajama.commands.terminal import say
from redpajama.engine import runner, workers
from redpajama.engine.stages import Job
from redpajama.mixers.withdrawing import EMPTIES
from redpajama.report import runs

LOOK_SECONDS, GRACE_SECONDS = 3.0, 3.0  # together with a listing below ten
STORE_SECONDS = 8.0  # that the end of a build waits for its store, each time


class Guard:
    """Ends the build, workers and all, on Ctrl-C or when a worker dies; nothing finished is lost.

    While it watches, standard error goes to a file: Beam's worker processes inherit it and have much to say there.
    """

    def __init__(self, flow: list[Any], quiet: bool, is_local: bool = True) -> None:
        self._terminal = os.fdopen(os.dup(2), "w")
        self.progress = Progress(flow, self._terminal, quiet)
        self.is_local = is_local
        self.job: Job | None = None
        self._watch: workers.Watch | None = None
        self._last_word = threading.Lock()  # who has it ends the process; never let go

    def __enter__(self) -> "Guard":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if type(error).__name__ == "EngineFailed":  # its module loads Beam
                self._stop_if_a_worker_died()
        finally:
            self.close()

    def watch(self, job: Job, finished: Callable[[], bool]) -> None:
        """Called when the run has its id."""
        self.job = job
        signal.signal(signal.SIGINT, lambda *_: self._stop("interrupted", 130))
        signal.signal(signal.SIGTERM, lambda *_: self._stop("terminated", 143))

        def over() -> bool:
            return finished() or job.store.exists(runner.last_state_key(job.run))

        self._watch = workers.Watch(job.claims, over, self._a_worker_died)
        self._watch.start()
        threading.Thread(target=self._look_for_failures, args=(job, over), daemon=True).start()
        self.progress.start(job, self.is_local)
        log = Path(job.store.path("timing/workers.log") if job.store.local else f"{job.claims}/workers.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        sys.stderr.flush()
        with open(log, "ab") as file:
            os.dup2(file.fileno(), 2)

    def _look_for_failures(self, job: Job, over: Callable[[], bool]) -> None:
        """A part that failed ends the build though others are under way: they get a moment, and would be in vain."""
        is_over = False
        while not is_over:
            time.sleep(LOOK_SECONDS)
            with contextlib.suppress(Exception):  # a store that does not answer now may answer the next time
                is_over = over()
                message = "" if is_over else workers.first_failure(job.store, job.run)
                if message and not message.startswith(EMPTIES):  # nothing else is under way, and `remove` goes on
                    time.sleep(GRACE_SECONDS)
                    if not (is_over := over()):
                        self._fail(message)

    def _stop(self, how: str, status: int) -> None:
        """The user ends it."""
        if self._last_word.acquire(blocking=False):  # once is enough
            self._end(f"{how}{self._where()}; the same command goes on from here", status)

    def _where(self) -> str:
        """` at documents (12 of 40 parts)`, or nothing where that cannot be told at once."""
        found: list[str] = []
        if job := self.job:
            _within(2, lambda: found.append(running.place_of(job.store, job.run, self.progress.stages)))
        return "".join(found)

    def close(self) -> None:
        """Give the terminal back."""
        self.progress.stop()
        sys.stderr.flush()
        os.dup2(self._terminal.fileno(), 2)

    def _fail(self, message: str) -> None:
        """It cannot go on; where another thread ends the process already, wait for that."""
        self._last_word.acquire()
        self._end(message, 1)

    def _a_worker_died(self, message: str) -> None:
        """A terminal, or who ends a job, sends its signal to workers, too: then it is for this process to say so."""
        if self._watch and self._watch.exit_signal() in (signal.SIGINT, signal.SIGTERM):
            time.sleep(GRACE_SECONDS)
        self._fail(message)

    def _stop_if_a_worker_died(self) -> None:
        """Beam raised: if a worker was killed, say which part it was at and leave."""
        time.sleep(0.5)  # its exit status comes from another thread
        if self._watch and self._watch.exit_code:
            self._a_worker_died(self._watch.epitaph(self._watch.dead_workers()))

    def _end(self, message: str, status: int) -> None:
        """No worker commits anything more, the job is cancelled, others are let in, and this process is over."""
        from redpajama.engine import beam  # it is loaded by now

        self.close()
        say(message)
        if job := self.job:
            _within(STORE_SECONDS, lambda: workers.stop(job), lambda: runs.write_end(job, message))
            workers.kill_workers(job.claims)
            beam.cancel()
            _within(STORE_SECONDS, workers.let_go)  # last: who comes next must meet no worker of this run
        os._exit(status)


def _within(seconds: float, *work: Callable[[], object]) -> None:
    """Do it, and wait for it so long: a store that is gone must not keep this process."""

    def do() -> None:
        for each in work:
            with contextlib.suppress(Exception):
                each()

    doing = threading.Thread(target=do, daemon=True)
    doing.start()
    doing.join(seconds)
