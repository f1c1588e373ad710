"""Exports on the hub: what is uploaded, what a second run sends, refusals in one line. The hub is on this machine."""

import json
from pathlib import Path

import pytest
from corpora import build, cli, write_corpus
from fake_hub import HERE, Uploads, serve

from redpajama.exports import push


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pushed")
    build(write_corpus(folder / "in"), folder / "root", "--workers", 1)
    return folder / "root"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub without files."""
    web = Uploads({})
    with serve(web) as url:
        for name, value in {**HERE, **environment(url, tmp_path)}.items():
            monkeypatch.setenv(name, value)
        yield web


def environment(url: str, folder: Path) -> dict[str, str]:
    """What the hub's client is told."""
    return {"HF_ENDPOINT": url, "HF_TOKEN": "hf_x", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "hf")}


def export(root: Path, to: Path, *more: object):
    return cli("export", root, "--format", "parquet", "--to", to, "--push", "user/corpus", *more)


def files_of(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(".redpajama/")}


def test_every_file_of_an_export_is_uploaded_the_card_last_and_nothing_twice(root, hub, tmp_path):
    result = export(root, tmp_path / "x")
    assert result.returncode == 0, result.stderr
    assert f"pushed  {hub.url}/datasets/user/corpus" in result.stdout
    assert hub.files == files_of(tmp_path / "x")
    assert hub.commits[-1][-1] == "README.md"
    assert {each.token for each in hub.requests if each.path.endswith("/commit/main")} == {"Bearer hf_x"}
    before = len(hub.commits)
    assert export(root, tmp_path / "x").returncode == 0
    assert len(hub.commits) == before


def test_an_upload_that_was_refused_midway_goes_on(root, hub, tmp_path, monkeypatch):
    (tmp_path / "x").mkdir()
    for number in range(5):
        (tmp_path / f"x/{number}.bin").write_bytes(bytes([number]) * 2000)
    monkeypatch.setattr(push, "COMMIT_FILES", 2)
    hub.fails = 2
    from redpajama.errors import BuildFailed

    with pytest.raises(BuildFailed, match=r"--push user/corpus: .*403.*; the same command goes on from there"):
        push.push(str(tmp_path / "x"), "user/corpus")
    assert sorted(hub.files) == ["0.bin", "1.bin"]
    sent = [request.path for request in hub.requests if request.method == "PUT"]
    push.push(str(tmp_path / "x"), "user/corpus")
    assert hub.files == files_of(tmp_path / "x")
    again = [request.path for request in hub.requests if request.method == "PUT"][len(sent) :]
    assert len(sent) == 4
    assert len(again) == 1  # two were there, and two were sent before the commit was refused


def test_what_the_hub_refuses_is_one_line(root, tmp_path, hub):
    for name, said in (("no-owner/a/b", "Repo id"), ("user/--", "--push user/--: ")):
        result = cli("export", root, "--format", "olmo", "--to", tmp_path / "y", "--push", name)
        assert result.returncode == 2
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_hub_that_does_not_answer_is_one_line(root, tmp_path):
    told = environment("http://127.0.0.1:9", tmp_path)
    result = cli(
        "export", root, "--format", "olmo", "--to", tmp_path / "x", "--push", "user/corpus", "--json", **told, **HERE
    )
    assert result.returncode == 1
    assert result.stderr.startswith("redpajama: --push user/corpus: ")
    assert "the same command goes on from there" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert json.loads((tmp_path / "x/.redpajama/export.json").read_text())["files"]
