"""Several threads of one process, as slots of a TaskManager are: the bytes are the same, a model is loaded once."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from corpora import digest
from declared import forget
from stepwise import build_stepwise

from redpajama.engine import runner
from redpajama.once import once
from redpajama.tokenize import encode

THREADS = 8
DEMO = Path(__file__).parents[1] / "manifests/demo.toml"


def test_however_many_threads_ask_a_thing_is_loaded_once():
    loads, ready = [], threading.Barrier(THREADS)

    @once(2)
    def load(name: str) -> str:
        loads.append(name)
        time.sleep(0.05)
        return name * 2

    def ask(number: int) -> str:
        ready.wait()
        return load("ab"[number % 2])

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(ask, range(THREADS))) == ["aa", "bb"] * (THREADS // 2)
    assert sorted(loads) == ["a", "b"]


def test_what_could_not_be_loaded_is_asked_for_again():
    tries = []

    @once(1)
    def load() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("not yet")
        return len(tries)

    with pytest.raises(OSError, match="not yet"):
        load()
    assert (load(), load()) == (2, 2)


@pytest.mark.slow
def test_eight_threads_build_the_demo_to_the_same_bytes_and_load_its_tokenizer_once(tmp_path, monkeypatch):
    forget()
    build_stepwise(DEMO, tmp_path / "one", "tokens")
    forget()
    loads, load = [], encode.load
    monkeypatch.setattr(encode, "load", lambda *args: loads.append(args[0]) or load(*args))

    def run(job, flow):
        runner.start(job)
        with ThreadPoolExecutor(THREADS) as pool:
            for turn in runner.turns(job, flow):
                numbers = range(runner.plan(turn))
                deque = list(pool.map(lambda number, turn=turn: runner.do(turn, number), numbers))
                assert len(deque) == len(numbers)
                state = runner.commit(turn)
        return state

    monkeypatch.setattr(runner, "run", run)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(2e-6)
    try:
        build_stepwise(DEMO, tmp_path / "eight", "tokens")
    finally:
        sys.setswitchinterval(interval)
    assert digest(tmp_path / "eight") == digest(tmp_path / "one")
    assert len(loads) == 2  # where it is made, to see that it can be; and once for all that use it
