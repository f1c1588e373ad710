"""The target table of a plan: from counts alone, with who says so, before any input is listed."""

import json
from pathlib import Path

import pytest
from corpora import build, write_corpus

from redpajama import cli, preflight
from redpajama.manifest import ManifestError, load, parse
from redpajama.mixers import targets
from redpajama.mixers.targets import Count

FOLDER = Path(__file__).parents[1] / "manifests"
SOURCE = {"pipeline": "c4", "inputs": ["nowhere/*.gz"]}
MANIFEST = {
    "name": "m",
    "seed": 1,
    "tokenizer": {"path": "tokenizer.json"},
    "source": [
        {"name": "web", **SOURCE, "tokens": {"value": 1000, "source": "published"}},
        {"name": "wiki", **SOURCE, "tokens": {"value": 50, "source": "estimated"}},
        {"name": "off", **SOURCE},
    ],
    "mixture": {
        "budget_tokens": 800,
        "on_cap": "spread",
        "slice": [
            {"source": "web", "weight": 3, "max_epochs": 2},
            {"source": "wiki", "weight": 1, "max_epochs": 3},
            {"source": "off", "weight": 0},
        ],
    },
}


def table_of(values: dict, built: dict[str, Count] | None = None) -> targets.Targets:
    model = parse(values, "m.toml")
    return targets.targets_of(targets.given_mixture(model), targets.counts_of(model, built or {}))


def test_the_table_says_what_is_wanted_and_got_and_what_binds():
    web, wiki = table_of(MANIFEST).rows
    assert web == ("web", 0.75, 650, 1000, "published", 0.65, 650, 2000, "")
    assert wiki[:6] == ("wiki", 0.25, 150, 50, "estimated", 3.0)
    assert (wiki.cap_tokens, wiki.binds) == (150, "cap")
    assert wiki.effective_tokens == 144  # 95.8 % of three epochs


def test_what_a_build_measured_replaces_what_others_say():
    web, wiki = table_of(MANIFEST, {"wiki": Count(400, "measured")}).rows
    assert (web.provenance, wiki.provenance) == ("published", "measured")
    assert (wiki.unique_tokens, wiki.target_tokens, wiki.binds) == (400, 200, "")


def test_without_a_count_nothing_is_guessed():
    values = json.loads(json.dumps(MANIFEST))
    del values["source"][0]["tokens"]
    assert table_of(values) == ([], 800, ["web"], "")


def test_a_budget_out_of_reach_shows_what_the_caps_allow_and_why():
    values = {**MANIFEST, "mixture": {**MANIFEST["mixture"], "budget_tokens": 3000}}
    found = table_of(values)
    assert [row.target_tokens for row in found.rows] == [2000, 150]
    assert "budget of 3,000 tokens is out of reach: all caps together are 2,150" in found.error


def test_counts_of_another_tokenizer_are_a_mistake_with_the_edit():
    values = json.loads(json.dumps(MANIFEST))
    values["source"][0]["tokens"]["tokenizer"] = "hf://other"
    with pytest.raises(ManifestError) as caught:
        parse(values, "m.toml")
    assert str(caught.value) == (
        "m.toml: source 'web': its tokens were counted by 'hf://other', and the mixture counts by 'tokenizer.json'; "
        "leave tokens.tokenizer out if both have the same vocabulary"
    )


@pytest.mark.parametrize("name", ["redpajama-1t", "redpajama-2t"])
def test_plan_prints_targets_offline_and_says_which_counts_are_estimates(name, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "list_all", lambda *_: pytest.fail("an input was listed"))
    path = str(FOLDER / f"{name}.toml")
    assert cli.run(["plan", path, "--out", str(tmp_path), "--offline"]) == 0
    said = capsys.readouterr().out
    budget = load(path).mixture.budget_tokens
    assert f"{budget:,} of {budget:,} tokens" in said
    assert "~ estimated: cc-2019-30" in said
    assert cli.run(["plan", path, "--out", str(tmp_path), "--offline", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["targets"]
    assert sum(row["target_tokens"] for row in rows.values()) == budget


def test_offline_needs_no_extra(capsys, tmp_path, monkeypatch):
    find = preflight.find_spec
    monkeypatch.setattr(preflight, "find_spec", lambda name: None if name == "pydivsufsort" else find(name))
    path = tmp_path / "m.toml"
    path.write_text(
        'name = "m"\nseed = 1\n[[source]]\nname = "a"\npipeline = "c4"\ninputs = ["x.gz"]\nsubstrings.min_bytes = 200\n'
    )
    assert cli.run(["plan", str(path), "--out", str(tmp_path / "r"), "--offline"]) == 0
    (tmp_path / "x.gz").write_bytes(b"")
    assert cli.run(["plan", str(path), "--out", str(tmp_path / "r")]) == 2
    assert "pydivsufsort is missing" in capsys.readouterr().err


def test_a_plan_after_a_build_rests_on_what_it_measured(tmp_path, capsys):
    manifest = write_corpus(tmp_path / "raw")
    text = manifest.read_text().replace('name = "web"', 'name = "web"\ntokens = { value = 7, source = "estimated" }')
    manifest.write_text(text)
    build(manifest, tmp_path / "r", "--until", "mixture")
    assert cli.run(["plan", str(manifest), "--out", str(tmp_path / "r"), "--offline", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["targets"]
    assert {row["provenance"] for row in rows.values()} == {"measured"}
    assert rows["web"]["unique_tokens"] > 7


def test_counts_that_differ_by_name_alone_keep_their_provenance():
    model = parse(MANIFEST, "m.toml")
    built = {"wiki": Count(9, "measured")}
    assert targets.counts_of(model, built) == {"web": Count(1000, "published"), **built}


@pytest.mark.parametrize(
    ("where", "key", "value", "expected"),
    [
        ("mixture", "budget_tokens", 700, {"web": "measured", "wiki": "measured"}),
        ("mixture", "validation", 0.1, {"web": "published", "wiki": "estimated"}),
        ("dedup", "exact", False, {"web": "published", "wiki": "estimated"}),
        ("tokenizer", "path", "other.json", {"web": "published"}),
    ],
)
def test_what_a_build_counted_that_asked_for_something_else_is_an_estimate(where, key, value, expected):
    before = json.loads(json.dumps(MANIFEST))
    del before["source"][1]["tokens"]
    now = json.loads(json.dumps(before))
    now[where] = {**now.get(where, {}), key: value}
    now = parse(now, "m.toml")
    built = targets.of_build(now, parse(before, "m.toml"), {"web": 8, "wiki": 9})
    assert {name: count.provenance for name, count in targets.counts_of(now, built).items()} == expected


def test_a_slice_that_takes_other_documents_than_in_a_build_is_not_counted_by_it():
    values = json.loads(json.dumps(MANIFEST))
    values["mixture"]["slice"][1]["where"] = {"year": [2020]}
    assert "wiki" not in targets.of_build(parse(values, "m.toml"), parse(MANIFEST, "m.toml"), {"wiki": 9})
