"""A disk that is full, a real small file system: a build and an export say so in one line, and go on with more room."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpora import build, cli, digest, write_corpus


class Disk:
    """A file system of its own, in memory, of so many KB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, kilobytes: int) -> None:
        options = f"remount,size={kilobytes}k"
        subprocess.run(["mount", "-o", options, self.folder], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    """128 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "none", folder], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no file system may be mounted here: {made.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.skipif(not shutil.which("mount") or os.name != "posix", reason="there is no mount")
def test_a_build_on_a_full_disk_is_told_and_goes_on(disk, tmp_path):
    manifest, root = write_corpus(tmp_path / "in"), disk.folder / "root"
    told = cli("build", manifest, "--out", root, "--workers", 1)
    assert told.returncode == 1
    (line,) = told.stderr.strip().splitlines()
    assert "No space left on device" in line
    disk.resize(20_000)
    assert build(manifest, root, "--workers", 1) == build(manifest, tmp_path / "whole", "--workers", 1)


@pytest.mark.skipif(not shutil.which("mount") or os.name != "posix", reason="there is no mount")
@pytest.mark.parametrize("name", ["megatron", "parquet", "olmo", "nanogpt", "mds", "litdata", "text-jsonl"])
def test_an_export_to_a_full_disk_is_told_and_goes_on(disk, tmp_path_factory, built, name):
    disk.resize(16)
    arguments = ("export", built, "--format", name, "--to", disk.folder / "x")
    told = cli(*arguments)
    assert told.returncode == 1
    (line,) = told.stderr.strip().splitlines()
    assert "No space left on device" in line
    assert not list(disk.folder.glob("x/.redpajama/files/*/*"))
    disk.resize(20_000)
    assert cli(*arguments).returncode == 0
    other = tmp_path_factory.mktemp("other")
    assert cli("export", built, "--format", name, "--to", other / "x").returncode == 0
    found, wanted = ({k: v for k, v in digest(f / "x").items() if own(k)} for f in (disk.folder, other))
    assert found == wanted


def own(name: str) -> bool:
    """Not what holds the export's address."""
    return name not in ("megatron.txt", "neox.yml", "megatron-sequences.json", ".redpajama/export.json")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build(write_corpus(folder / "in"), folder / "root", "--workers", 1)
    return folder / "root"
