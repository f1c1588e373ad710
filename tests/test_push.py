"""Exports on the hub: what is uploaded, what a second run sends, refusals in one line. The hub is on this machine."""

import json
import re
from pathlib import Path

import pytest
from corpora import build, cli, write_corpus
from fake_hub import HERE, Uploads, serve
from huggingface_hub import constants

from redpajama.engine.parts import describe_whole
from redpajama.errors import BuildFailed, UserError
from redpajama.exports import push
from redpajama.exports.folder import Folder


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
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # another test may have loaded it before
        yield web


def environment(url: str, folder: Path) -> dict[str, str]:
    """What the hub's client is told."""
    return {"HF_ENDPOINT": url, "HF_TOKEN": "hf_x", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "hf")}


def export(root: Path, to: Path, *more: object):
    return cli("export", root, "--format", "parquet", "--to", to, "--push", "user/corpus", *more)


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of an export, and its record under the name that it has on the hub."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    files = {name: path.read_bytes() for name, path in found.items() if not name.startswith(".redpajama/")}
    return {**files, ".redpajama/train.json": (folder / ".redpajama/export.json").read_bytes()}


def finished(folder: Path, *names: str) -> str:
    """An export of these files, 2,000 bytes each; its folder."""
    export = Folder(str(folder), {"format": "olmo", "split": "train"})
    for place, name in enumerate(names):
        export.store.write(name, bytes([place]) * 2000)
    export.finish({name: describe_whole(folder / name) for name in names})
    return str(folder)


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
    finished(tmp_path / "x", *(f"{number}.bin" for number in range(5)))
    monkeypatch.setattr(push, "COMMIT_FILES", 2)
    hub.fails = 2
    with pytest.raises(BuildFailed, match=r"--push user/corpus: .*403.*; the same command goes on from there"):
        push.push(str(tmp_path / "x"), "user/corpus")
    assert sorted(hub.files) == ["0.bin", "1.bin"]
    sent = [request.path for request in hub.requests if request.method == "PUT"]
    push.push(str(tmp_path / "x"), "user/corpus")
    assert hub.files == files_of(tmp_path / "x")
    again = [request.path for request in hub.requests if request.method == "PUT"][len(sent) :]
    assert len(sent) == 4
    assert len(again) == 1  # two were there, and two were sent before the commit was refused


def test_what_an_earlier_push_of_the_split_had_goes_and_what_others_have_stays(hub, tmp_path):
    push.push(finished(tmp_path / "x", "data/train-0", "data/train-1", "tokenizer.json"), "user/corpus")
    hub.files |= {".gitattributes": b"", "notes.txt": b"theirs"}
    other = {"files": {"tokenizer.json": [1, "0"], "data/validation-0": [1, "0"]}}
    hub.files |= {".redpajama/validation.json": json.dumps(other).encode(), "data/validation-0": b"v"}
    push.push(finished(tmp_path / "y", "data/train-0"), "user/corpus")
    theirs = [".gitattributes", ".redpajama/train.json", ".redpajama/validation.json", "data/validation-0", "notes.txt"]
    assert sorted(hub.files) == sorted([*theirs, "data/train-0", "tokenizer.json"])
    before = len(hub.commits)
    push.push(str(tmp_path / "y"), "user/corpus")
    assert len(hub.commits) == before


def test_the_card_names_the_files_of_each_split_that_was_pushed(root, hub, tmp_path):
    assert export(root, tmp_path / "x").returncode == 0
    own = hub.files["README.md"]
    assert own.count(b"- split: ") == 1
    hub.files[".redpajama/validation.json"] = json.dumps({"files": {"data/validation-0": [1, "0"]}}).encode()
    assert export(root, tmp_path / "x").returncode == 0
    front = hub.files["README.md"].partition(b"\n---")[0].decode()
    assert re.findall(r"- split: (\w+)\n    path: (\S+)", front) == [
        ("train", "data/train-*"), ("validation", "data/validation-*")
    ]  # fmt: skip
    assert hub.files["README.md"].partition(b"\n---")[2] == own.partition(b"\n---")[2]


def test_files_of_others_that_would_be_read_as_the_exports_are_refused(hub, tmp_path):
    hub.files["data/train-00000-of-00009.parquet"] = b"theirs"
    with pytest.raises(UserError, match=r"it has data/train-00000-of-00009.parquet, which is none of this export's"):
        push.push(finished(tmp_path / "x", "data/train-0"), "user/corpus")
    assert list(hub.files) == ["data/train-00000-of-00009.parquet"]


def test_a_file_that_was_changed_is_not_uploaded_and_files_of_others_are_neither(hub, tmp_path):
    folder = finished(tmp_path / "x", "0.bin", "1.bin")
    (tmp_path / "x/private.txt").write_text("mine")
    (tmp_path / "x/1.bin").write_bytes(b"\x01" * 1999 + b"\x02")
    with pytest.raises(BuildFailed, match=r"x/1.bin: not as it was exported: remove it, and the same command"):
        push.push(folder, "user/corpus")
    assert hub.files == {}
    (tmp_path / "x/1.bin").write_bytes(b"\x01" * 2000)
    push.push(folder, "user/corpus")
    assert sorted(hub.files) == [".redpajama/train.json", "0.bin", "1.bin"]


def test_a_token_that_the_hub_does_not_know_is_the_users_mistake(root, hub, tmp_path):
    hub.token = "hf_other"
    result = export(root, tmp_path / "x")
    said = "--push user/corpus: the hub refuses it (401): HF_TOKEN is missing, or not valid"
    assert (result.returncode, result.stderr) == (2, f"redpajama: {said}\n")


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
