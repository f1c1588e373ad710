"""What several test files need: the real samples' folder, and builders of raw files and tallies."""

import uuid
from hashlib import sha256
from pathlib import Path

import pytest

from redpajama.io import RawFile

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
