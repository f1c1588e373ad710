"""Beam's own job service with an external worker pool: the cheapest engine that is another process."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from corpora import wait_for


@contextmanager
def portable_job_service():
    """Beam's own job service and an external worker pool, as processes of their own."""
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            ports.append(free.getsockname()[1])
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    commands = [
        ["apache_beam.runners.portability.local_job_service_main", "-p", str(ports[0])],
        ["apache_beam.runners.worker.worker_pool_main", "--service_port", str(ports[1])],
    ]
    services = [
        subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for command in commands
    ]  # fmt: skip
    try:
        for port in ports:
            wait_for(lambda port=port: socket.socket().connect_ex(("localhost", port)) == 0)
        yield ports
    finally:
        for service in services:
            os.killpg(service.pid, signal.SIGKILL)


def options(jobs: int, pool: int) -> list[str]:
    """What goes after `--` to build on it."""
    runner = ["--runner=PortableRunner", f"--job_endpoint=localhost:{jobs}"]
    return [*runner, "--environment_type=EXTERNAL", f"--environment_config=localhost:{pool}"]
