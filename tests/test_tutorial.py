"""The tutorial, followed from an empty folder by its commands alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SHARED, needs_shared

CHECKOUT = Path(__file__).parents[1]
REAL = {
    "WET": SHARED / "commoncrawl/crate/example.wet.gz",
    "WIKI": SHARED / "wikipedia/minidumps/fr/wiki.xml.bz2",
}


def blocks() -> list[str]:
    """The commands, block by block."""
    return re.findall(r"```sh\n(.+?)```", (CHECKOUT / "docs" / "tutorial.md").read_text(), re.DOTALL)


def follow(folder: Path, **environment: str) -> dict[str, str]:
    """{first line of a block: what it printed}; one shell, which stops at the first failure."""
    (folder / "bin").mkdir()
    for name, command in {"redpajama": "-m redpajama ", "python": ""}.items():
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec {sys.executable} {command}"$@"\n')
        (folder / "bin" / name).chmod(0o755)
    (folder / "empty").mkdir()
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    given = {**os.environ, "PATH": path, "CHECKOUT": str(CHECKOUT), "PYTHONPATH": str(CHECKOUT), **environment}
    script = "set -e\n" + "\necho '#####'\n".join(blocks())
    result = subprocess.run(["sh", "-c", script], cwd=folder / "empty", env=given, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    said = result.stdout.split("#####\n")
    return {block.strip().splitlines()[0]: text for block, text in zip(blocks(), said, strict=True)} | {
        "errors": result.stderr
    }


@pytest.mark.parametrize("files", ["of the demo", pytest.param("real", marks=needs_shared)])
def test_the_tutorial_leads_from_an_empty_folder_to_shards(tmp_path, files):
    said = follow(tmp_path, **({name: str(path) for name, path in REAL.items()} if files == "real" else {}))
    manifest = said["redpajama init data --to own.toml"]
    found = re.findall(r'^pipeline = "(\w+)"', manifest, re.MULTILINE)
    assert sorted(found) == ["common_crawl", "files", "rows", "rows", "wikipedia"]
    assert "nothing was written" in said["redpajama plan own.toml --out corpus"]
    assert "status 2" in said['sed \'s/text = "body"/text = "boddy"/\' own.toml > wrong.toml']
    assert "wanted boddy; it is jsonl with the fields id, title, body" in " ".join(said["errors"].split())
    assert "everything is as the records say" in said["redpajama build own.toml --out corpus"]
    story = said["redpajama status corpus"]
    assert "The pump of hall" in story
    assert "reports/r7" in story
    assert "removed by exact: exact-duplicate" in story
    assert said["ls corpus/tokens/*/*.bin"].strip().endswith(".bin")
