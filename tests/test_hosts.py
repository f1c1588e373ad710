"""Two hosts that share nothing but an object store: network namespaces with addresses of their own.

Each has a read-only root, a private temporary folder and no inputs. `make test-hosts` runs it, as root; where
namespaces are not allowed it says so and skips.
"""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3
import pytest
from corpora import OUTSIDE, build, start_cli, wait_for, write_corpus, write_rows

pytestmark = pytest.mark.hosts
BRIDGE, HERE, HOSTS = "rpjbr0", "10.87.0.1", {"rpja": "10.87.0.2", "rpjb": "10.87.0.3"}
MOUNTS = "mount --make-rprivate / && mount -t tmpfs tmpfs /tmp && mount -o remount,bind,ro /"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def why_not() -> str:
    """Why this machine lets nobody make hosts; "" where it does."""
    if os.name != "posix" or os.geteuid():
        return "network namespaces need root"
    try:
        ip("netns", "add", "rpjtry")
        ip("netns", "exec", "rpjtry", "unshare", "-m", "sh", "-c", MOUNTS)
        ip("link", "add", "rpjtry0", "type", "bridge")
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no network namespaces here: {getattr(error, 'stderr', b'').decode().strip() or error}"
    finally:
        subprocess.run(["ip", "netns", "del", "rpjtry"], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", "rpjtry0"], capture_output=True, check=False)
    return ""


@pytest.fixture(scope="module")
def network():
    """The hosts, with a bridge between them and this machine."""
    if reason := why_not():
        pytest.skip(reason)
    with ExitStack() as undo:
        ip("link", "add", BRIDGE, "type", "bridge")
        undo.callback(ip, "link", "del", BRIDGE)
        ip("addr", "add", f"{HERE}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for name, address in HOSTS.items():
            ip("netns", "add", name)
            undo.callback(ip, "netns", "del", name)
            ip("link", "add", f"{name}0", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"{name}0", "master", BRIDGE, "up")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")
        yield


@pytest.fixture(scope="module")
def s3(network):
    """(client, environment, [(host, method, path)] of what was asked) of a server that all hosts see."""
    from moto.server import ThreadedMotoServer
    from werkzeug.serving import WSGIRequestHandler

    asked = []

    def note(self, *_: object) -> None:
        asked.append((self.client_address[0], self.command, self.path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WSGIRequestHandler, "log_request", note)
        server = ThreadedMotoServer(HERE, port=0, verbose=False)
        server.start()
        url = "http://{}:{}".format(*server.get_host_and_port())
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
        client = boto3.client(
            "s3", endpoint_url=url, aws_access_key_id="key", aws_secret_access_key="secret", region_name="us-east-1"
        )
        client.create_bucket(Bucket="bucket")
        yield client, {**keys, "AWS_ENDPOINT_URL": url, "NO_PROXY": "*"}, asked
        server.stop()


@pytest.fixture(scope="module")
def raw(s3, tmp_path_factory):
    """(manifest whose inputs lie in the bucket, digest of a build in one process)"""
    client, environment, _ = s3
    folder = tmp_path_factory.mktemp("raw")
    manifest = write_corpus(folder)
    for number in range(3, 15):
        write_rows(folder / f"news-{number}.json.gz", 60 * number + 1000, 60)
    for path in folder.glob("*.gz"):
        client.upload_file(str(path), "bucket", f"raw/{path.name}")
        path.unlink()
    manifest.write_text(
        manifest.read_text().replace('"news-', '"s3://bucket/raw/news-').replace('"web-', '"s3://bucket/raw/web-')
    )
    return manifest, build(manifest, folder / "one", "--workers", 1, **environment)


@contextmanager
def cluster(environment: dict[str, str]):
    """Dask's scheduler here, a worker on each host; (address, {host: process})."""
    with socket.socket() as free:
        free.bind((HERE, 0))
        port = free.getsockname()[1]
    dask = [sys.executable, "-m", "dask"]
    quiet = {"start_new_session": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen([*dask, "scheduler", "--host", HERE, "--port", str(port), "--no-dashboard"], **quiet)]
    wait_for(lambda: socket.socket().connect_ex((HERE, port)) == 0)
    address, workers = f"tcp://{HERE}:{port}", {}
    inside = {**os.environ, **environment, "NUMBA_CACHE_DIR": "/tmp/numba", "REDPAJAMA_LOCKS": "/tmp/locks"}
    inside.pop("TMPDIR", None)
    for name, own in HOSTS.items():
        work = [*dask, "worker", address, "--host", own, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        work += ["--local-directory", "/tmp/dask"]
        command = ["ip", "netns", "exec", name, "unshare", "-m", "sh", "-c", f'{MOUNTS} && exec "$@"', "sh", *work]
        workers[own] = subprocess.Popen(command, env=inside, **quiet)
    try:
        yield address, workers
    finally:
        for process in [*started, *workers.values()]:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def digest_of(client, prefix: str) -> dict[str, str]:
    """{key: SHA-256} of all outputs below a prefix."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix=f"{prefix}/")
    keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
    found = {key.removeprefix(f"{prefix}/"): key for key in keys}
    kept = {name: key for name, key in found.items() if name.split("/")[0] not in OUTSIDE}
    read = {name: client.get_object(Bucket="bucket", Key=key)["Body"].read() for name, key in kept.items()}
    return {name: hashlib.sha256(data).hexdigest() for name, data in sorted(read.items())}


def commits(asked, prefix: str) -> dict[str, int]:
    """{host: part records that it wrote}"""
    wrote = [who for who, method, path in asked if method == "PUT" and f"/{prefix}/" in path and "/part-" in path]
    return {own: wrote.count(own) for own in HOSTS.values()}


def test_two_hosts_both_write_and_leave_the_same_files(s3, raw):
    (client, environment, asked), (manifest, reference) = s3, raw
    with cluster(environment) as (address, _):
        process = start_cli("build", manifest, "--out", "s3://bucket/two", "--",
                            "--runner=DaskRunner", f"--dask_client_address={address}", **environment)  # fmt: skip
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said[-2000:]
    assert digest_of(client, "two") == reference
    assert min(commits(asked, "two").values()) > 5


def test_one_host_is_killed_in_the_middle_and_the_files_are_the_same(s3, raw):
    (client, environment, asked), (manifest, reference) = s3, raw
    command = ["build", manifest, "--out", "s3://bucket/killed", "--", "--runner=DaskRunner"]
    with cluster(environment) as (address, workers):
        process = start_cli(*command, f"--dask_client_address={address}", **environment)
        first, worker = next(iter(workers.items()))
        wait_for(lambda: commits(asked, "killed")[first] > 2, 120)
        os.killpg(worker.pid, signal.SIGKILL)
        process.communicate(timeout=300)
        if process.returncode:  # an engine may give up: then the same command goes on
            time.sleep(1)
            process = start_cli(*command, f"--dask_client_address={address}", **environment)
            _, said = process.communicate(timeout=300)
            assert process.returncode == 0, said[-2000:]
    assert digest_of(client, "killed") == reference


def test_an_input_of_this_machine_is_refused_before_any_work(s3, tmp_path):
    manifest = write_corpus(tmp_path / "c")
    address = f"tcp://{HERE}:1"
    process = start_cli("build", manifest, "--out", "s3://bucket/none", "--", "--runner=DaskRunner",
                        f"--dask_client_address={address}", **s3[1])  # fmt: skip
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "nobody answers at" in said or "--shared-files" in said
    assert Path(manifest).exists()
