"""Each export as its trainer's own loader reads it, and byte for byte as the trainer's own writer writes it."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from corpora import build, write_corpus

from redpajama.engine.store import Store
from redpajama.exports.run import planned, run
from redpajama.exports.source import Source
from redpajama.report.builds import read_build
from redpajama.report.shards import open_source
from redpajama.tables import Packing

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = {"": ".venv-loaders", "mds": ".venv-loaders-mds", "olmo": ".venv-loaders-olmo"}
LENGTH = 48


def python_of(environment: str) -> Path:
    """The interpreter of a loaders' environment, which `make test-loaders` or `make test-loaders-all` makes."""
    given = os.environ.get(f"REDPAJAMA_LOADERS_{environment.upper() + '_' if environment else ''}PYTHON")
    found = Path(given or ROOT / ENVIRONMENTS[environment] / "bin/python")
    assert found.exists(), f"{found} is not there: `make test-loaders-all` sets the environments up"
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Source:
    folder = tmp_path_factory.mktemp("loaders")
    build(write_corpus(folder / "in"), folder / "root", "--workers", 1)
    store = Store(str(folder / "root"))
    return open_source(store, read_build(store))


def read(source: Source, reader: str, folder: Path, tmp_path: Path, environment: str = "") -> dict:
    """What `read_exports.py` says; it found no problem."""
    bounds = [source.bounds(number)[:-1] + source.starts[number] for number in range(len(source.shards))]
    wanted = {"tokens": source.read(0, source.tokens), "bounds": np.concatenate([*bounds, [source.tokens]])}
    facts = {"length": LENGTH, "end": source.vocabulary.end_id, "size": source.vocabulary.size}
    np.savez(tmp_path / "wanted.npz", **wanted, shards=source.starts, **facts)
    script = Path(__file__).with_name("read_exports.py")
    command = [python_of(environment), script, reader, folder, tmp_path / "wanted.npz"]
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": ""}
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environ, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["problems"] == []
    return found


def export(source: Source, name: str, to: Path, method: str | None = None, shard_tokens: int = 0) -> Path:
    run(planned(source, name, str(to), Packing(method=method, length=LENGTH), shard_tokens), workers=2)
    return to


@pytest.mark.loaders
@pytest.mark.parametrize("shard_tokens", [0, 900, 1_000_000])
def test_megatron_reads_writes_and_blends_shards_of_any_size(source, tmp_path, shard_tokens):
    found = read(source, "megatron", export(source, "megatron", tmp_path / "x", None, shard_tokens), tmp_path)
    assert found["same_bytes"] >= 2
    assert found["tokens_of_a_sample"] == LENGTH


@pytest.mark.loaders
def test_the_readers_of_megatron_and_gpt_neox_open_what_the_build_names(source, tmp_path):
    folder = Path(source.store.path("current/small"))
    read(source, "neox", folder, tmp_path)
    assert read(source, "megatron", folder, tmp_path)["same_bytes"] == 2 * len(source.shards)


@pytest.mark.loaders
@pytest.mark.parametrize("method", ["none", "concatenate", "best-fit"])
def test_datasets_loads_parquet(source, tmp_path, method):
    found = read(source, "parquet", export(source, "parquet", tmp_path / "x", method), tmp_path)
    assert found["rows"] > 10


@pytest.mark.loaders
def test_datasets_loads_texts_and_datatrove_makes_our_shard_of_them(source, tmp_path):
    joined = export(source, "megatron", tmp_path / "joined", None, 1_000_000)
    folder = export(source, "text-jsonl", tmp_path / "x")
    (folder / "golden").mkdir()
    for path in [*joined.glob("*.bin"), *joined.glob("*.idx"), joined / "tokenizer.json"]:
        shutil.copy(path, folder / "golden")
    found = read(source, "text", folder, tmp_path)
    assert found["subsets"] == ["c4"]
    assert found["golden"]
    assert read(source, "text", export(source, "text-parquet", tmp_path / "y"), tmp_path)["rows"] == found["rows"]


@pytest.mark.loaders
def test_datatrove_reads_and_writes_ds(source, tmp_path):
    assert read(source, "datatrove", export(source, "datatrove", tmp_path / "x"), tmp_path)["same_bytes"] > 3


@pytest.mark.loaders
@pytest.mark.parametrize("method", ["concatenate"])
def test_litdata_reads_and_writes_chunks(source, tmp_path, method):
    assert read(source, "litdata", export(source, "litdata", tmp_path / "x", method), tmp_path)["same_bytes"] > 1


@pytest.mark.loaders_all
def test_mosaicml_streaming_reads_and_writes_mds(source, tmp_path):
    assert read(source, "mds", export(source, "mds", tmp_path / "x"), tmp_path, "mds")["same_bytes"] > 2


@pytest.mark.loaders_all
def test_olmo_core_reads_npy(source, tmp_path):
    read(source, "olmo", export(source, "olmo", tmp_path / "x"), tmp_path, "olmo")


@pytest.mark.loaders
def test_a_small_model_learns_from_the_demos_shards(tmp_path):
    build(ROOT / "manifests/demo.toml", tmp_path / "demo", "--workers", 1)
    script = ROOT / "examples/train_tiny.py"
    result = subprocess.run(
        [python_of(""), script, tmp_path / "demo/current/demo"], capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stderr[-3000:]
    losses = [float(line.split()[-1]) for line in result.stdout.splitlines() if line.startswith("step")]
    assert len(losses) == 50
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 1
