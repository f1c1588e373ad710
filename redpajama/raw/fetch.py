"""Listed files -> files whose bytes can be read here, with size and SHA-256.

Object stores are read in place; http(s) and the hub are downloaded first, and so is what an S3 bucket bills its readers
for: the egress is paid once.
"""

from pathlib import Path
from urllib.parse import urlsplit

from redpajama import hashing
from redpajama.errors import InputError
from redpajama.raw.download import copy, download
from redpajama.raw.hub import hub_address
from redpajama.raw.io import Listed, RawFile, filesystem, open_raw, scheme_of
from redpajama.unsigned import unsigned

READ_BYTES = 1 << 20


def fetch(listed: Listed, cache_dir: str | Path, sha256: str = "") -> RawFile:
    """The file, with its size and SHA-256 measured; from the web and the hub it is downloaded to `cache_dir` first.

    Args:
        sha256: the checksum it must have; "" takes any. A file of the hub must have the one that the hub records.

    Raises:
        InputError: not to be had, or of another size or checksum than it must have.
    """
    path = _bring(listed, Path(cache_dir))
    size, found = measure(path)
    wanted = sha256 or (listed.etag if listed.path.startswith("hf://") and len(listed.etag) == 64 else "")
    problem = ""
    if listed.bytes and size != listed.bytes:
        problem = f"has {size} bytes, wanted {listed.bytes}"
    elif wanted and found != wanted:
        problem = f"has sha256 {found}, wanted {wanted}"
    if problem:
        if path != listed.path:
            Path(path).unlink()
        raise InputError(f"{listed.url}: {problem}")
    return RawFile(listed.url, path, size, found, listed.tree)


def _bring(listed: Listed, cache_dir: Path) -> str:
    """Where the bytes can be read: in place, or in the cache after a download."""
    if not listed.is_downloaded:
        return listed.path
    scheme = scheme_of(listed.path)
    url, token = hub_address(listed.path) if scheme == "hf" else (listed.address, "")
    name = urlsplit(unsigned(url)).path.rsplit("/", 1)[-1].strip(".")[-200:]  # quoted, so never a path
    target = cache_dir / hashing.short_id(listed.path) / (name or "file")
    if scheme in ("s3", "gs"):
        store = filesystem(scheme, listed.requester_pays)
        copy(lambda: store.open(listed.path, "rb"), listed.path, target, listed.bytes, listed.etag)
    else:
        download(url, target, listed.bytes, listed.etag, token)
    return str(target)


def measure(path: str) -> tuple[int, str]:
    """(bytes, SHA-256) of a file, read once."""
    with open_raw(path) as file:
        digest = hashing.sha256_of(iter(lambda: file.read(READ_BYTES), b""))
        return file.tell(), digest
