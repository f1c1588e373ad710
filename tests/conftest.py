"""What several test files need: the real samples' folder, builders of raw files, stores on a disk and in a bucket."""

import os
import uuid
from hashlib import sha256
from pathlib import Path

import fsspec
import pytest

from redpajama.engine.store import Store
from redpajama.raw.io import RawFile

os.environ.setdefault("REDPAJAMA_SYNC", "no")  # of every build that a test starts, too

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the real samples are not here: {SHARED}")


def raw_file(path: Path, url: str = "", tree: str = "") -> RawFile:
    """A RawFile for a local path, as the inputs stage would describe it."""
    data = Path(path).read_bytes()
    return RawFile(url or str(path), str(path), len(data), sha256(data).hexdigest(), tree)


def write_raw(folder: Path, name: str, data: bytes) -> RawFile:
    """Write `data` to `folder/name` and describe it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return raw_file(path, url=name)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes give a test no name: packed ones hold the time, and parallel workers compare names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def _own_locks(tmp_path_factory, monkeypatch):
    """Each test's servers are hosts of its own: a port may be another test's again."""
    monkeypatch.setenv("REDPAJAMA_LOCKS", str(tmp_path_factory.getbasetemp() / "locks" / uuid.uuid4().hex))


@pytest.fixture(scope="module")
def bucket():
    """An S3 server that this process's libraries find by themselves: its client."""
    from fake_hub import serve_s3  # takes a second to load

    with serve_s3() as (client, environment), pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        yield client
        fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path) -> Store:
    """An empty Store, on a disk and in a bucket."""
    if request.param == "local":
        return Store(str(tmp_path / "root"))
    request.getfixturevalue("bucket")
    return Store(f"s3://bucket/{tmp_path.name}/root/")
