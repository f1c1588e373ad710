"""A build on Dask's own processes: the work spreads, a killed worker is survived, the bytes are the same.

`make test-dask` runs it, in an environment of its own.
"""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from corpora import OUTSIDE, build, cli, digest, start_cli, wait_for, write_corpus, write_rows
from fake_hub import serve_s3
from werkzeug.serving import WSGIRequestHandler

pytestmark = pytest.mark.dask
DEMO = Path(__file__).parents[1] / "manifests/demo.toml"
DEMO_HASH = re.compile(r"^corpus +([0-9a-f]{64})$", re.MULTILINE)


@contextmanager
def cluster(folder: Path, *more: dict[str, str], **environment: str):
    """A scheduler that writes its file to a folder, and two workers of one thread each; the file and the workers.

    Args:
        more: the environment of each worker, beside that of all.
    """
    file = folder / "scheduler.json"
    common = {"start_new_session": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [str(Path(sys.executable).parent / "dask")]
    places = ["--scheduler-file", str(file), "--no-dashboard"]
    processes = [subprocess.Popen([*dask, "scheduler", "--port", "0", *places], **common)]
    wait_for(file.exists)
    for number, own in enumerate(more or ({}, {})):
        here = folder / f"worker-{number}"
        command = [*dask, "worker", "--nthreads", "1", "--no-nanny", *places, "--local-directory", str(here)]
        processes.append(subprocess.Popen(command, env={**os.environ, **environment, **own}, **common))
    try:
        yield file, processes[1:]
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def on(file: Path) -> list[str]:
    """The options of a build on that cluster, which shares this machine's files."""
    return ["--shared-files", "--", "--runner=DaskRunner", f"--dask_scheduler_file={file}"]


def committers(root: Path) -> set[int]:
    """Process ids that committed parts."""
    return {int(found[1]) for path in (root / "timing").rglob("part-*.json") if (found := PID.search(path.read_text()))}


PID = re.compile(r'"pid":(\d+)')


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    manifest = write_corpus(folder)
    for number in range(3, 20):
        write_rows(folder / f"news-{number}.json.gz", 60 * number + 1000, 60)
    return manifest


@pytest.fixture(scope="module")
def reference(many, tmp_path_factory):
    return build(many, tmp_path_factory.mktemp("one") / "r", "--workers", 1)


def test_two_worker_processes_both_commit_parts_and_give_the_same_bytes(many, reference, tmp_path):
    with cluster(tmp_path) as (file, workers):
        assert build(many, tmp_path / "r", *on(file)) == reference
        assert committers(tmp_path / "r") >= {worker.pid for worker in workers}


def test_a_worker_that_is_killed_is_survived_without_a_resume(many, reference, tmp_path):
    root = tmp_path / "r"
    with cluster(tmp_path) as (file, workers):
        process = start_cli("build", many, "--out", root, *on(file))
        wait_for(lambda: len(list(root.glob("timing/documents/*/part-*.json"))) > 2, 120)
        os.kill(workers[0].pid, signal.SIGKILL)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said[-2000:]
    assert digest(root) == reference


def test_the_demo_has_its_hash_on_dask(tmp_path):
    with cluster(tmp_path) as (file, _):
        result = cli("build", DEMO, "--out", tmp_path / "r", *on(file))
    assert result.returncode == 0, result.stderr[-2000:]
    one = cli("build", DEMO, "--out", tmp_path / "one")
    assert DEMO_HASH.search(result.stdout)[1] == DEMO_HASH.search(one.stdout)[1]


def test_a_build_that_is_interrupted_stops_the_workers(many, tmp_path):
    root = tmp_path / "r"
    with cluster(tmp_path) as (file, _):
        process = start_cli("build", many, "--out", root, *on(file))
        wait_for(lambda: len(list(root.glob("timing/documents/*/part-*.json"))) > 2, 120)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "interrupted at" in said
        before = digest(root)
        time.sleep(10)
        assert digest(root) == before


def test_a_scheduler_that_is_not_there_is_one_line(many, tmp_path):
    started = time.monotonic()
    result = cli(
        "build", many, "--out", tmp_path / "r", "--", "--runner=DaskRunner", "--dask_client_address=tcp://127.0.0.1:9"
    )
    assert time.monotonic() - started < 15
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "nobody answers at 127.0.0.1:9" in result.stderr


# ---- parts claimed in a bucket


@pytest.fixture
def s3(monkeypatch):
    """(client, environment, [(method, path)] of what was asked) of a server; parts are claimed that may be."""
    asked = []
    monkeypatch.setattr(WSGIRequestHandler, "log_request", lambda self, *_: asked.append((self.command, self.path)))
    with serve_s3() as (client, environment):
        yield client, {**environment, "REDPAJAMA_CLAIM_BYTES": "1"}, asked


def digest_of(client, prefix: str) -> dict[str, str]:
    """{key: SHA-256} of all outputs below a prefix."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix=f"{prefix}/")
    keys = [each["Key"] for page in pages for each in page["Contents"] if each["Key"].split("/")[1] not in OUTSIDE]
    read = {key: client.get_object(Bucket="bucket", Key=key)["Body"].read() for key in keys}
    return {key.removeprefix(f"{prefix}/"): hashlib.sha256(data).hexdigest() for key, data in sorted(read.items())}


def claimed(asked: list[tuple[str, str]]) -> set[str]:
    """The stages whose parts were claimed."""
    found = (re.search(r"/claims/([^/]+)/\d+$", path) for method, path in asked if method == "PUT")
    return {each[1] for each in found if each}


def test_the_demo_has_its_hash_where_workers_claim_its_parts_in_a_bucket(s3, tmp_path):
    _, environment, asked = s3
    with cluster(tmp_path, **environment) as (file, _):
        result = cli("build", DEMO, "--out", "s3://bucket/demo", *on(file), **environment)
    assert result.returncode == 0, result.stderr[-2000:]
    assert claimed(asked) > {"documents", "counts", "tokens"}
    records = [path for method, path in asked if method == "PUT" and re.search(r"/documents/.*/part-\w+\.json$", path)]
    assert len(records) == len(set(records))
    one = cli("build", DEMO, "--out", tmp_path / "one")
    assert DEMO_HASH.search(result.stdout)[1] == DEMO_HASH.search(one.stdout)[1]


def test_what_a_killed_worker_had_claimed_is_done_without_a_resume(many, reference, s3, tmp_path):
    client, environment, asked = s3
    dies = {"REDPAJAMA_CRASH": "after-claim:20", "REDPAJAMA_CRASH_COUNT": str(tmp_path / "count")}
    with cluster(tmp_path, dies, {}, **environment) as (file, workers):
        result = cli("build", many, "--out", "s3://bucket/killed", *on(file), **environment)
        assert workers[0].wait(5) == -signal.SIGKILL
        assert workers[1].poll() is None
    assert result.returncode == 0, result.stderr[-2000:]
    assert claimed(asked) >= {"documents", "counts"}
    assert digest_of(client, "killed") == reference
