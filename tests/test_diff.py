"""`diff` of two builds, `schema`, and what the command line says of itself."""

import json
import tomllib
from pathlib import Path

import pytest
from corpora import write_corpus

from redpajama import __version__, cli
from redpajama.commands.schema import schema
from redpajama.pipelines import SOURCES

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> tuple[str, str]:
    """Builds of the same files with two rules, the second without a file."""
    folder = tmp_path_factory.mktemp("diff")
    for root, min_words in (("one", 6), ("two", 12)):
        path = write_corpus(folder, min_words=min_words)
        if root == "two":
            (folder / "news-2.json.gz").unlink()
        assert not cli.run(["build", str(path), "--out", str(folder / root), "--until", "dedup", "--workers", "1"])
    return str(folder / "one"), str(folder / "two")


def said(capfd, *arguments: str) -> str:
    capfd.readouterr()
    assert not cli.run(list(arguments))
    return capfd.readouterr().out


def test_two_builds_differ_in_rules_inputs_counts_and_documents(roots, capfd):
    found = json.loads(said(capfd, "diff", *roots, "--json"))
    assert any("min_words 6 -> 12" in change for change in found["manifest"])
    assert found["inputs"]["news"] == {"new": [], "gone": ["news-2.json.gz"], "changed": []}
    assert found["counts"]["news"]["read"] == [180, 120]
    assert found["counts"]["news"]["min_words"][0] < found["counts"]["news"]["min_words"][1]
    assert found["ids"]["news"]["came"] == 0
    before, now = found["counts"]["news"]["living"]
    assert found["ids"]["news"]["went"] == before - now
    text = said(capfd, "diff", *roots)
    assert "inputs    news: gone: news-2.json.gz" in text
    assert "the corpora differ" in text


def test_a_build_and_itself_differ_in_nothing(roots, capfd):
    found = json.loads(said(capfd, "diff", roots[0], roots[0], "--json"))
    assert found["same_corpus"]
    assert not found["manifest"]
    assert not any(found["counts"].values())
    assert {(ids["came"], ids["went"]) for ids in found["ids"].values()} == {(0, 0)}
    assert "the corpora are the same" in said(capfd, "diff", roots[0], roots[0])


def test_the_schema_knows_every_key_of_the_shipped_manifests_and_the_options_of_each_pipeline(capfd):
    found = json.loads(said(capfd, "schema"))
    assert found == json.loads(json.dumps(schema()))
    assert found["$defs"]["Source"]["properties"]["pipeline"]["enum"] == list(SOURCES)
    for path in (CHECKOUT / "manifests").glob("*.toml"):
        values = tomllib.loads(path.read_text())
        assert values.keys() <= found["properties"].keys()
        for source in [*values["source"], *values.get("reading", [])]:
            assert source.keys() <= found["$defs"]["Source"]["properties"].keys()
            assert "pipeline" in source or "reading" in source
            if "reading" in source:
                continue
            known = found["$defs"][f"{source['pipeline']}.Options"].get("properties", {})
            assert source.get("options", {}).keys() <= known.keys()


def test_what_no_build_names_is_listed_for_programs(roots, capfd):
    found = json.loads(said(capfd, "gc", roots[0], "--json"))
    assert not found["removed"]
    assert all((Path(roots[0]) / key).exists() for key in found["unnamed"])


def test_version_and_completion_are_told(capfd):
    assert said(capfd, "--version") == f"redpajama {__version__}\n"
    assert "--install-completion" in said(capfd, "--help")
