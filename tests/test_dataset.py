"""Inputs by data set: the files of a split, from a folder and from the hub."""

import gzip
import json

import pytest
from corpora import cli, write_rows
from fake_hub import HERE, Hub, Web, serve

MANIFEST = """
name = "own"
seed = 1
[[source]]
name = "mine"
pipeline = "rows"
dataset = {dataset}
options.fields = {{ text = "text", url = "url" }}
"""
CARD = b"""---
configs:
- config_name: en
  data_files: [{split: train, path: "en/*.jsonl*"}, {split: validation, path: "held/*.jsonl"}]
- config_name: de
  data_files: "de/*.jsonl"
---
# A small data set
"""


def data_files(folder) -> dict[str, bytes]:
    """{path: bytes} of a data set of two configurations and two splits."""
    write_rows(folder / "rows.gz", 0, 40)
    lines = gzip.decompress((folder / "rows.gz").read_bytes()).splitlines(keepends=True)
    files = {"en/a.jsonl": b"".join(lines[:15]), "en/b.jsonl.gz": gzip.compress(b"".join(lines[15:30]), mtime=0)}
    return {**files, "held/a.jsonl": b"".join(lines[30:35]), "de/a.jsonl": b"".join(lines[35:]), "README.md": CARD}


def manifest(folder, **dataset):
    inner = ", ".join(f"{key} = {json.dumps(value)}" for key, value in dataset.items())
    (folder / "m.toml").write_text(MANIFEST.format(dataset=f"{{ {inner} }}"))
    return folder / "m.toml"


def build_sum(path, root, **environment) -> tuple[int, list[str]]:
    """(documents, the URLs of what was read) of a build."""
    result = cli("build", path, "--out", root, "--workers", 1, "--until", "documents", "--json", **environment)
    assert result.returncode == 0, result.stderr
    records = [json.loads(each.read_bytes()) for each in root.glob("documents/*/part-*.json")]
    urls = sorted({file["url"] for record in records for file in record["inputs"]})
    return json.loads(result.stdout)["sources"][0]["documents"], urls


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "raw").mkdir()
    for name, data in data_files(tmp_path / "raw").items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(data)
    return tmp_path


@pytest.fixture
def environment(tmp_path):
    return {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1", **HERE}


def test_a_folder_is_read_by_configuration_and_split(folder, environment):
    path = manifest(folder, path="set", name="en")
    assert build_sum(path, folder / "r", **environment) == (30, ["set/en/a.jsonl", "set/en/b.jsonl.gz"])
    path = manifest(folder, path="set", name="en", split="validation")
    assert build_sum(path, folder / "r2", **environment) == (5, ["set/held/a.jsonl"])


def test_the_hub_is_read_at_one_commit(folder, environment):
    files = {f"datasets/org/own/{name}": data for name, data in data_files(folder / "raw").items()}
    hub = Hub(files, cdn=Web(dict(files)))
    with serve(hub.cdn), serve(hub) as url:
        path = manifest(folder, path="org/own", name="de")
        found = build_sum(path, folder / "r", HF_ENDPOINT=url, **environment)
        assert found == (5, [f"hf://datasets/org/own@{hub.commit}/de/a.jsonl"])
        said = cli("doctor", path, HF_ENDPOINT=url, **environment)
        assert "ok" in said.stdout
        path = manifest(folder, path="org/absent")
        lost = cli("plan", path, "--out", folder / "r", HF_ENDPOINT=url, **environment)
        assert lost.returncode == 1
        assert "dead: mine: org/absent" in lost.stdout


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"name": "en", "split": "tain"}, "no split is called 'tain'; did you mean 'train'?"),
        ({"name": "fr"}, "'fr' not found. Available: ['en', 'de']"),
        ({}, "Config name is missing"),
    ],
)
def test_what_a_data_set_has_not_is_one_line(folder, environment, wish, said):
    result = cli("plan", manifest(folder, path="set", **wish), "--out", folder / "r", **environment)
    assert result.returncode == 2
    assert "source[1].dataset: set: " in result.stderr
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_source_reads_one_thing(folder, environment):
    path = manifest(folder, path="set")
    path.write_text(path.read_text().replace('pipeline = "rows"', 'pipeline = "rows"\ninputs = ["set/de/*"]'))
    result = cli("plan", path, "--out", folder / "r", **environment)
    assert "give either inputs or dataset, and not both" in result.stderr
