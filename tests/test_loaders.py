"""The shards as Megatron's own reader sees them: every document decodes to the text that its lineage points to."""

import gzip
import json
import os
import subprocess
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from conftest import SHARED, needs_shared
from corpora import build, cli, write_rows

from redpajama.tokenize import encode

ROOT = Path(__file__).parents[1]
PYTHON = Path(os.environ.get("REDPAJAMA_LOADERS_PYTHON", ROOT / ".venv-loaders/bin/python"))
NEOX = SHARED / "models/tokenizers/gpt-neox-20b/20B_tokenizer.json"
HARD = {
    "nfd": unicodedata.normalize("NFD", "Café Ærøskøbing, Škoda, Ångström: crème brûlée à la carte, 각하.\n"),
    "literal": "Split with <|endoftext|> between documents; <|padding|> pads. <|endoftext|>",
    "only-literal": "<|endoftext|>",
    "spaces": "def f(x):\n        if x:\n                return  1\n\n\n\t\t x" + " " * 61 + "\n" + " " * 24 + "end   ",
    "emoji": "👩‍👩‍👧‍👦 family, 🏳️‍🌈 flag, 👍🏽 thumb; 漢字と かな、한국어 문장。𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \u200b\ufeff\u00a0 فارسی",
    "controls": "a\x00b\x01c\x7f\r\n\u2028\u0085 d",
    "one": "x",
    "long": "measure the river twice " * 900,
}
MANIFEST = """
name = "loaded"
seed = 5
[tokenizer]
{tokenizer}
[[source]]
name = "hard"
pipeline = "c4"
inputs = ["hard.json.gz"]
[[source]]
name = "plain"
pipeline = "c4"
inputs = ["plain-*.json.gz"]
[mixture]
budget_tokens = 1_000_000
allow_shortfall = true
[[mixture.slice]]
source = "hard"
weight = 1
max_epochs = 2
[[mixture.slice]]
source = "plain"
weight = 1
[shards]
tokens_per_shard = 13_000
"""

pytestmark = pytest.mark.loaders


def write_corpus(folder: Path, tokenizer: str) -> Path:
    rows = [{"text": text, "url": name, "timestamp": ""} for name, text in HARD.items()]
    folder.joinpath("hard.json.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode(), mtime=0))
    for part in range(2):
        write_rows(folder / f"plain-{part}.json.gz", 300 * part, 300)
    manifest = folder / "loaded.toml"
    manifest.write_text(MANIFEST.format(tokenizer=tokenizer))
    return manifest


def read_with_megatron(root: Path) -> dict:
    """What `read_with_megatron.py` says of a build, in the loaders' environment."""
    assert PYTHON.exists(), f"{PYTHON} is not there: `make test-loaders` sets the trainers' environment up"
    command = [PYTHON, Path(__file__).with_name("read_with_megatron.py"), root, "--texts"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def check(manifest: Path, root: Path, normalised, token_bytes: int = 2) -> None:
    """Build, read back, and compare with the records and with the raw texts."""
    build(manifest, root, "--workers", 1)
    found = read_with_megatron(root)
    said = json.loads(cli("status", root, "--json").stdout)["stages"]["tokens"]["loaded"]
    assert found["problems"] == []
    assert found["documents"] == found["ends"] == said["counts"]["kept"] == 2 * len(HARD) + 600
    assert found["tokens"] == said["counts"]["tokens"]
    assert found["tokens"] * token_bytes == sum(path.stat().st_size for path in root.glob("tokens/*/*.bin"))
    assert found["shards"] == said["parts"] > 1
    copies = Counter(text for doc_id, _, text in found["texts"] if doc_id.startswith("hard/"))
    assert copies == dict.fromkeys(map(normalised, HARD.values()), 2)
    print({name: value for name, value in found.items() if name != "texts"})  # noqa: T201  the totals


@needs_shared
def test_megatron_reads_every_document_of_a_build_with_the_tokenizer_of_gpt_neox(tmp_path):
    manifest = write_corpus(tmp_path, f'path = "{NEOX}"')
    check(manifest, tmp_path / "r", lambda text: unicodedata.normalize("NFC", text))


def test_megatron_reads_every_document_of_a_build_with_a_tokenizer_trained_on_it(tmp_path):
    manifest = write_corpus(tmp_path, "train = { vocab_size = 500 }")
    check(manifest, tmp_path / "r", lambda text: text)


def test_megatron_reads_ids_of_32_bits(tmp_path):
    """A vocabulary of 70,000, more than uint16 holds, with one word at its end."""
    encode.train(["river stone"], 300, tmp_path / "t.json")
    file = json.loads((tmp_path / "t.json").read_text())
    vocabulary = file["model"]["vocab"]
    vocabulary.update({f"(unused {number})": number for number in range(len(vocabulary), 70_000)})
    token = {"content": "measure", "special": False, "single_word": False, "lstrip": False, "rstrip": False}
    file["added_tokens"].append({**token, "id": 70_000, "normalized": False})
    (tmp_path / "t.json").write_text(json.dumps(file))
    check(write_corpus(tmp_path, 'path = "t.json"'), tmp_path / "r", lambda text: text, token_bytes=4)
