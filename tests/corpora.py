"""Small corpora made at test time, and the command line as a user calls it."""

import gzip
import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

WORDS = ["river", "stone", "light", "winter", "measure", "letter", "garden", "engine", "signal", "harbour", "copper"]
MANIFEST = """
name = "small"
seed = 11
[tokenizer]
train = {{ vocab_size = 400 }}
[[source]]
name = "news"
pipeline = "c4"
inputs = {news}
[source.quality]
min_words = {min_words}
[[source]]
name = "web"
pipeline = "c4"
inputs = ["web-*.json.gz"]
max_bad_fraction = 0.2
[dedup]
order = ["news", "web"]
[mixture]
budget_tokens = 6000
[[mixture.slice]]
source = "news"
weight = 2
max_epochs = 4
[[mixture.slice]]
source = "web"
weight = 1
max_epochs = 4
[shards]
tokens_per_shard = 2500
"""


def write_rows(path: Path, first: int, count: int, seed: int = 0) -> None:
    """`count` C4 rows whose contents depend on their numbers alone."""
    lines = []
    for number in range(first, first + count):
        words = random.Random(number + 1000 * seed).choices(WORDS, k=5 + number % 40)
        row = {"text": " ".join(words).capitalize() + ".", "url": f"https://example.org/{number}", "timestamp": "t"}
        lines.append(json.dumps(row))
    path.write_bytes(gzip.compress("\n".join(lines).encode() + b"\n", mtime=0))


def write_corpus(folder: Path, *, news: str = '["news-*.json.gz"]', min_words: int = 6) -> Path:
    """Two sources of C4 rows with duplicates between them and some broken lines; returns the manifest's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in range(3):
        write_rows(folder / f"news-{part}.json.gz", 60 * part, 60)
    write_rows(folder / "web-0.json.gz", 150, 80)
    bad = b'{"text": "cut off\n{"url": "x"}\n{"text": " ", "url": "y", "timestamp": ""}\n'
    good = gzip.decompress((folder / "web-0.json.gz").read_bytes())
    (folder / "web-1.json.gz").write_bytes(gzip.compress(bad + good[:3000].rpartition(b"\n")[0] + b"\n", mtime=0))
    return write_manifest(folder, news=news, min_words=min_words)


def write_manifest(folder: Path, *, news: str = '["news-*.json.gz"]', min_words: int = 6) -> Path:
    manifest = folder / "small.toml"
    manifest.write_text(MANIFEST.format(news=news, min_words=min_words))
    return manifest


READ_AT_LOAD = {"REDPAJAMA_CLAIM_BYTES", "REDPAJAMA_LEASE_SECONDS", "REDPAJAMA_TELL_SECONDS"}


def cli(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Run the command to its end, in a copy of a process that has its modules loaded: else that is half of the time."""
    command = [*map(str, arguments)]
    if READ_AT_LOAD & {*environment, *os.environ}:
        process = start_cli(*arguments, **environment)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(command, process.returncode, out, err)
    with tempfile.TemporaryDirectory() as folder, _environment(environment):
        said = [Path(folder, name) for name in ("out", "err")]
        process = start_process(_run_command, command, said, os.getcwd())
        process.join(300)
        if process.exitcode is None:
            os.killpg(process.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(command, 300)
        return subprocess.CompletedProcess(command, process.exitcode, *(path.read_text() for path in said))


def _run_command(arguments: list[str], said: list[Path], folder: str) -> None:
    from redpajama import cli

    os.chdir(folder)
    for number, path in enumerate(said, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.argv = ["redpajama", *arguments]
    cli.main()


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in more.items():
            patch.setenv(name, value)
        yield


def start_cli(*arguments: object, **environment: str) -> subprocess.Popen:
    """Start `python -m redpajama` in a process group of its own, so that killing the group leaves nothing."""
    command = [sys.executable, "-m", "redpajama", *map(str, arguments)]
    return subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def build(manifest: Path, root: object, *options: object, **environment: str) -> dict[str, str]:
    """Build, insist that it worked, and return the digest of ROOT."""
    result = cli("build", manifest, "--out", root, *options, **environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return digest(Path(root))


OUTSIDE = ("timing", ".tmp", "inputs", "index", "current", "exports", ".lock", ".workers", ".layout", ".lease")


def digest(root: Path) -> dict[str, str]:
    """{file: SHA-256} of everything below ROOT that is an output, partition files too."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    relative = {path: path.relative_to(root) for path in files}
    return {
        str(relative[path]): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if relative[path].parts[0] not in OUTSIDE
    }


FORKS = multiprocessing.get_context("forkserver")
WITHOUT_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


@cache
def start_server() -> None:
    """Start the process that the others are copies of: it has no thread that could hold a lock while it is copied."""
    FORKS.set_forkserver_preload(["pytest", "preloaded"])
    with _environment({**WITHOUT_THREADS, "PYTHONPATH": str(Path(__file__).parent)}):
        forkserver.ensure_running()


def start_process(work: Callable[..., object], *arguments: object) -> BaseProcess:
    """Do the work of a module's function in a process group of its own, in the environment of this moment."""
    start_server()
    process = FORKS.Process(target=_alone, args=(dict(os.environ), work, *arguments))
    process.start()
    return process


def _alone(environment: dict[str, str], work: Callable[..., object], *arguments: object) -> None:
    os.setpgid(0, 0)
    os.environ.clear()
    os.environ.update(environment)
    work(*arguments)


def exit_code(process: BaseProcess) -> int | None:
    """Its exit status once it has ended; minus the signal that killed it."""
    process.join(60)
    return process.exitcode


def wait_for(condition, seconds: float = 60) -> None:
    """Poll until `condition()` is true; a folder that goes while it looks is a reason to look again."""
    end = time.monotonic() + seconds
    while True:
        with suppress(FileNotFoundError):
            if condition():
                return
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
