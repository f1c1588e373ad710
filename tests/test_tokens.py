"""The build around the tokenizer: which library ran is said and in no record, and what is encoded alone."""

import gzip
import json

import pytest
from corpora import cli, write_corpus
from stepwise import build_stepwise
from tokenizer_kinds import OTHERS

from redpajama.errors import BuildFailed
from redpajama.manifest import load
from redpajama.tokenize import backends


def given(manifest, library):
    """The manifest with this tokenizer instead of the trained one."""
    path = manifest.parent / "tokenizer.json"
    library.save(str(path))
    manifest.write_text(manifest.read_text().replace("train = { vocab_size = 400 }", f'path = "{path}"'))


def test_a_kind_that_fastokens_refuses_is_said_before_the_build_and_after(tmp_path):
    manifest = write_corpus(tmp_path / "a")
    given(manifest, OTHERS["wordpiece"]())
    result = cli("build", manifest, "--out", tmp_path / "root", "--workers", 1)
    assert result.returncode == 0, result.stderr
    why = "fastokens does not take this tokenizer: normalizer error: unsupported normalizer type: BertNormalizer"
    (line,) = [line for line in result.stderr.splitlines() if "fastokens" in line]
    assert (
        line == f"redpajama: {manifest.parent}/tokenizer.json: {why}; tokenizers encodes it, some twenty times slower"
    )
    assert f"encoded by Hugging Face's tokenizers: {why}" in result.stdout


def test_a_backend_that_was_asked_for_and_cannot_work_is_a_mistake_in_one_line(tmp_path):
    manifest = write_corpus(tmp_path / "a")
    given(manifest, OTHERS["unigram"]())
    manifest.write_text(manifest.read_text().replace("[tokenizer]", '[tokenizer]\nbackend = "fastokens"'))
    result = cli("build", manifest, "--out", tmp_path / "root")
    assert result.returncode == 2
    assert "fastokens does not take this tokenizer" in result.stderr
    assert 'set [tokenizer] backend = "tokenizers"' in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_backend_is_no_part_of_the_manifest_that_is_recorded(tmp_path):
    manifest = write_corpus(tmp_path / "a")
    plain = load(str(manifest))
    manifest.write_text(manifest.read_text().replace("[tokenizer]", '[tokenizer]\nbackend = "tokenizers"'))
    named = load(str(manifest))
    assert named.tokenizer.backend == "tokenizers"
    assert named.model_dump(mode="json") == plain.model_dump(mode="json")


def test_plan_states_what_a_long_word_takes_once_a_build_has_met_one(tmp_path):
    manifest = write_corpus(tmp_path / "a")
    manifest.write_text(manifest.read_text().replace("tokens_per_shard = 2500", "tokens_per_shard = 100_000"))
    row = {
        "text": "A word: " + "ab" * 2_300_000 + " and five more words.",
        "url": "https://x.org/long",
        "timestamp": "t",
    }
    with gzip.open(manifest.parent / "web-2.json.gz", "wt") as file:
        file.write(json.dumps(row) + "\n")
    assert cli("build", manifest, "--out", tmp_path / "root", "--workers", 1).returncode == 0
    shown = cli("plan", manifest, "--out", tmp_path / "root").stdout
    said = [line for line in shown.splitlines() if line.startswith("tokens")]
    assert said == [
        "tokens  web: texts of up to 4.6 MB without a place to cut are encoded alone; a word takes about 60 bytes of "
        "memory a byte, 276 MB"
    ]


def test_a_difference_at_run_time_ends_the_build(tmp_path, monkeypatch):
    encoded = backends.Fast.encode

    def mistaken(self, texts):
        found = encoded(self, texts)
        return (
            found
            if len(texts) > 400 or not any("river" in text for text in texts)
            else found._replace(ids=found.ids + 1)
        )

    monkeypatch.setattr(backends.Fast, "encode", mistaken)
    with pytest.raises(BuildFailed, match=r"give '.*' other ids: set \[tokenizer\] backend = \"tokenizers\""):
        build_stepwise(write_corpus(tmp_path / "a"), tmp_path / "root", "tokens")


def test_special_tokens_in_texts_are_counted_in_the_records_of_tokens(tmp_path):
    manifest = write_corpus(tmp_path / "a")
    rows = gzip.decompress((manifest.parent / "news-0.json.gz").read_bytes()).decode()
    marked = rows.replace("copper", "<|endoftext|> copper")
    (manifest.parent / "news-0.json.gz").write_bytes(gzip.compress(marked.encode(), mtime=0))
    build = build_stepwise(manifest, tmp_path / "root", "tokens")
    found = build.stage("tokens")["small"].counts["literal_specials"]
    assert found.keys() == {"<|endoftext|>"}
    assert found["<|endoftext|>"] > 0
