"""Whether somebody answers at an address, asked before work begins: libraries try for minutes."""

import os
import socket
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from redpajama.errors import UserError
from redpajama.unsigned import unsigned

SECONDS = 5.0


def check_address(host: str, port: int, what: str) -> None:
    """Raises UserError where nobody answers at a port within SECONDS."""
    try:
        with socket.create_connection((host, port), timeout=SECONDS):
            return
    except OSError as error:
        why = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise UserError(f"{what}: nobody answers at {host}:{port} ({why})") from None


def check_scheduler(address: str) -> None:
    """Raises UserError where an address of Dask's is none, or where no scheduler answers."""
    what = f"--dask_client_address={address}"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise UserError(f"{what}: wanted tcp://HOST:PORT")
    check_address(host, port, what)


def check_store(url: str) -> None:
    """Raises UserError where the end point that the environment names for S3 does not answer; proxies are not asked."""
    address = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url.startswith("s3://") or not address:
        return
    parts = urlsplit(address)
    if not parts.hostname:
        raise UserError(f"AWS_ENDPOINT_URL: {unsigned(address)} is no address")
    if not _has_proxy(parts.scheme, parts.hostname):
        check_address(parts.hostname, parts.port or (80 if parts.scheme == "http" else 443), f"{url}: AWS_ENDPOINT_URL")


def _has_proxy(scheme: str, host: str) -> bool:
    """Whether botocore asks a proxy for a host; its variables may be written small, and no_proxy excepts hosts."""
    return scheme in getproxies() and not proxy_bypass(host)
