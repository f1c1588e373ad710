"""What `plan` says would be redone is what a build redoes, for the reason that it gives."""

import json
import os
import shutil
from dataclasses import replace
from importlib.metadata import version as installed
from pathlib import Path

import pytest
from corpora import write_corpus, write_rows
from stepwise import build_stepwise

from redpajama import cli
from redpajama.build import commit_build
from redpajama.engine.runner import read_plan, turns
from redpajama.engine.store import Store, mark_layout
from redpajama.flow import flow
from redpajama.manifest import load
from redpajama.preflight import complete, list_inputs
from redpajama.quality import judge
from redpajama.report.builds import read_build
from redpajama.report.changes import differences
from redpajama.report.redo import redo

ALL = ("identity", "exact", "candidates-near", "clusters", "near")
MIXED = ("tokenizer", "counts", "candidates", "budget", "mixture", "tokens")


def built_root(manifest: Path, root: Path) -> Path:
    """A finished build, made in this process."""
    mark_layout(Store(str(root)))
    build = build_stepwise(manifest, root, "tokens")
    commit_build(build, flow(build.manifest), "tokens")
    return root


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """(manifest, ROOT) of a finished build with every kind of dedup."""
    manifest = write_corpus(tmp_path_factory.mktemp("raw"))
    text = manifest.read_text().replace("[dedup]", '[dedup]\nnear = { threshold = 0.8, verify = "exact" }')
    manifest.write_text(text.replace("max_bad_fraction = 0.2", 'max_bad_fraction = 0.2\nparagraphs = { rule = "c4" }'))
    return manifest, built_root(manifest, tmp_path_factory.mktemp("built") / "r")


@pytest.fixture
def corpus(built, tmp_path):
    """(manifest, ROOT) that a test may change; raw files are put back where they were measured."""
    manifest, root = built[0], tmp_path / "r"
    shutil.copytree(built[1], root)
    shutil.copytree(manifest.parent, tmp_path / "raw")
    yield manifest, root
    shutil.rmtree(manifest.parent)
    shutil.copytree(tmp_path / "raw", manifest.parent)


def foreseen(manifest: Path, root: Path) -> list:
    model, store = complete(load(str(manifest))), Store(str(root))
    return redo(model, store, flow(model), list_inputs(model, str(manifest), {}), read_build(store, model.name))


def done_by_a_build(manifest: Path, root: Path) -> tuple[dict, dict]:
    """({(stage, name): parts that a build has to do}, {(stage, name): key of its record})."""
    build = build_stepwise(manifest, root, "tokens")
    found: dict = {}
    for turn in turns(build.job, flow(build.manifest)):
        for part in read_plan(build.job, turn.step.stage).parts:
            key = turn.step.stage, part.name
            found[key] = found.get(key, 0) + 1
    return found, {(stage, name): key for stage, names in build.records.items() for name, key in names.items()}


def check_against_a_build(manifest: Path, root: Path) -> dict:
    """Plan, build, compare; {(stage, name): row of the plan}."""
    rows = {(row.stage, row.name): row for row in foreseen(manifest, root)}
    before = read_build(Store(str(root)), "small")["stages"]
    done, records = done_by_a_build(manifest, root)
    for stage, name in done:
        whole = stage.removesuffix("-split").removesuffix("-homes")
        assert (whole, name) in rows or (stage, name) in rows, f"{stage} of {name} was redone unforeseen"
    for key, row in rows.items():
        if row.todo is not None:
            assert done.get(key, 0) == row.todo, row
        if not row.follows and row.todo != 0 and row.stage in before:
            earlier = before[row.stage].get(row.name, {}).get("record")
            assert records[key] != earlier or done.get(key), f"{row} has a reason, and nothing of it is another"
    return rows


def direct(rows: dict) -> dict:
    """{(stage, name): reasons} of what has one of its own."""
    return {key: row.why for key, row in rows.items() if not row.follows}


def rewrite(manifest: Path, old: str, new: str) -> None:
    text = manifest.read_text()
    assert old in text
    manifest.write_text(text.replace(old, new))


# ---- nothing, and files


def test_without_a_change_nothing_would_be_redone(corpus):
    assert foreseen(*corpus) == []
    assert done_by_a_build(*corpus)[0] == {}


def test_rows_that_were_gathered_to_be_dealt_out_are_no_longer_needed(tmp_path, monkeypatch):
    monkeypatch.setattr("redpajama.engine.homes.DIRECT", 0)
    manifest = write_corpus(tmp_path / "raw")
    assert foreseen(manifest, built_root(manifest, tmp_path / "r")) == []


def test_the_record_of_a_build_is_the_same_when_it_had_nothing_to_do(corpus):
    before = (corpus[1] / "builds/small.json").read_bytes()
    built_root(*corpus)
    assert (corpus[1] / "builds/small.json").read_bytes() == before


def test_a_new_file_adds_a_documents_part_and_is_named(corpus):
    write_rows(corpus[0].parent / "news-3.json.gz", 400, 30)
    rows = check_against_a_build(*corpus)
    assert direct(rows) == {("inputs", "news"): ("new: news-3.json.gz",)}
    assert rows["documents", "news"][2:] == (1, 4, (), ("inputs", "news"))
    assert ("documents", "web") not in rows
    assert {stage for stage, _ in rows} == {"inputs", "documents", "quality", "signatures", "families", *ALL, *MIXED}


def test_other_bytes_of_a_file_redo_its_part(corpus):
    write_rows(corpus[0].parent / "news-1.json.gz", 500, 45)
    rows = check_against_a_build(*corpus)
    assert direct(rows) == {("inputs", "news"): ("changed: news-1.json.gz",)}
    assert rows["documents", "news"][2:] == (1, 3, (), ("inputs", "news"))


def test_a_file_that_is_gone_is_named_though_no_part_is_to_do(corpus):
    (corpus[0].parent / "news-2.json.gz").unlink()
    rows = check_against_a_build(*corpus)
    assert direct(rows) == {("inputs", "news"): ("gone: news-2.json.gz",)}
    assert rows["documents", "news"][2:] == (0, 2, (), ("inputs", "news"))


def test_a_file_with_another_date_is_to_measure_and_the_rest_may_turn_out_the_same(corpus):
    os.utime(corpus[0].parent / "news-0.json.gz")
    rows = {(row.stage, row.name): row for row in foreseen(*corpus)}
    assert direct(rows) == {("inputs", "news"): ("another date or ETag: news-0.json.gz",)}
    assert done_by_a_build(*corpus)[0] == {("inputs", "news"): 1}


# ---- rules


@pytest.mark.parametrize(
    ("old", "new", "reasons"),
    [
        ("min_words = 6", "min_words = 9", {("quality", "news"): ("rules.min_words 6 -> 9",)}),
        ("weight = 2", "weight = 3", {("budget", "small"): ("mixture.slice.news.weight 2 -> 3",)}),
        ("per_shard = 2500", "per_shard = 1500", {("budget", "small"): ("tokens_per_shard 2500 -> 1500",)}),
        ("vocab_size = 400", "vocab_size = 420", {("tokenizer", "small"): ("train.vocab_size 400 -> 420",)}),
        (
            '"c4" }',
            '"ccnet" }',
            {(stage, "web"): ("rule.rule c4 -> ccnet",) for stage in ("paragraphs", "documents")},
        ),
    ],
)
def test_a_rule_is_named_with_both_its_values(corpus, old, new, reasons):
    rewrite(corpus[0], old, new)
    found = direct(check_against_a_build(*corpus))
    assert found == reasons


def test_another_order_of_sources_is_named_where_it_decides(corpus):
    rewrite(corpus[0], '["news", "web"]', '["web", "news"]')
    found = direct(check_against_a_build(*corpus))
    assert found.keys() == {(stage, "all") for stage in ("identity", "exact", "near", "families")}
    assert set(found.values()) == {("order news, web -> web, news",)}


def test_another_threshold_of_near_dedup_is_named_where_it_decides(corpus):
    rewrite(corpus[0], "threshold = 0.8", "threshold = 0.6")
    found = direct(check_against_a_build(*corpus))
    assert "params.threshold 0.8 -> 0.6" in found["near", "all"]
    assert not [key for key in found if key[0] in ("identity", "exact", "quality", "documents")]


# ---- versions


def test_a_raised_version_of_a_stage_is_named(corpus, monkeypatch):
    monkeypatch.setattr(judge, "STAGE", replace(judge.STAGE, version=judge.STAGE.version + 1))
    found = direct(check_against_a_build(*corpus))
    reason = f"version {judge.STAGE.version - 1} -> {judge.STAGE.version}"
    assert found == {("quality", "news"): (reason,), ("quality", "web"): (reason,)}


@pytest.mark.parametrize(
    ("library", "stages"),
    [("orjson", {"extracted", "documents"}), ("tokenizers", {"tokenizer", "counts", "tokens"}), ("pyarrow", None)],
)
def test_another_version_of_a_library_is_named_wherever_it_makes_bytes(corpus, monkeypatch, library, stages):
    other = {library: "99.1"}
    monkeypatch.setattr("redpajama.engine.stages.version", lambda name: other.get(name) or installed(name))
    found = direct(check_against_a_build(*corpus))
    assert {why for reasons in found.values() for why in reasons} == {f"library {library} {installed(library)} -> 99.1"}
    assert stages is None or {stage for stage, _ in found} == stages


# ---- what comes and goes


def test_a_new_source_is_not_built_yet(corpus):
    more = '[[source]]\nname = "more"\npipeline = "c4"\ninputs = ["web-0.json.gz"]\n[dedup]'
    rewrite(corpus[0], "[dedup]", more)
    rewrite(corpus[0], "[shards]", '[[mixture.slice]]\nsource = "more"\nweight = 0\n[shards]')
    rewrite(corpus[0], '["news", "web"]', '["news", "web", "more"]')
    found = direct(check_against_a_build(*corpus))
    assert {key for key, why in found.items() if why == ("not built yet",)} >= {("documents", "more")}
    assert ("documents", "news") not in found


def test_a_stage_that_the_manifest_asks_for_no_more_is_named(corpus):
    rewrite(corpus[0], 'paragraphs = { rule = "c4" }', "")
    rewrite(corpus[0], "[dedup]", "[dedup]\nexact = false")
    found = direct(check_against_a_build(*corpus))
    assert found["exact", "all"] == ("no longer asked for",)


def test_scratch_that_was_removed_is_made_again(corpus):
    Store(str(corpus[1])).remove("extracted")
    found = direct(check_against_a_build(*corpus))
    assert found == {("extracted", "web"): ("its files are not all there",)}


# ---- the command


def listing(root: Path) -> dict:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def test_the_command_prints_a_table_of_80_columns_and_writes_nothing(corpus, capsys, monkeypatch):
    monkeypatch.setattr("redpajama.commands.screen.WIDTH", 80)
    before = listing(corpus[1])
    assert cli.run(["plan", str(corpus[0]), "--out", str(corpus[1])]) == 0
    assert "holds a finished build 'small': nothing would be redone." in capsys.readouterr().out
    rewrite(corpus[0], "min_words = 6", "min_words = 9")
    assert cli.run(["plan", str(corpus[0]), "--out", str(corpus[1])]) == 0
    told = capsys.readouterr().out.partition("this would be redone:")[2].splitlines()
    assert "quality          news       3 of 3  rules.min_words 6 -> 9" in [line.rstrip() for line in told]
    assert "counts           news, web  ? of 5  follows quality of news" in [line.rstrip() for line in told]
    assert max(map(len, told)) <= 80
    assert listing(corpus[1]) == before


def test_programs_get_every_name_and_a_root_without_a_build_has_none(corpus, capsys, tmp_path):
    rewrite(corpus[0], "weight = 2", "weight = 3")
    assert cli.run(["plan", str(corpus[0]), "--out", str(corpus[1]), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["redo"][0]
    wanted = {"stage": "budget", "name": "small", "todo": 1, "parts": 1, "follows": None}
    assert first == {**wanted, "why": ["mixture.slice.news.weight 2 -> 3"]}
    assert cli.run(["plan", str(corpus[0]), "--out", str(tmp_path / "other"), "--json"]) == 0
    assert "redo" not in json.loads(capsys.readouterr().out)


# ---- words


def test_differences_are_told_by_path():
    before = {"stage": ["x", 2], "libraries": {"numpy": "2.0"}, "rules": [["a", 1], ["b", 2]], "model": "ab" * 32}
    now = {"stage": ["x", 3], "libraries": {"numpy": "2.1"}, "rules": [["a", 1.5]], "model": "cd" * 32, "seed": 4}
    assert differences(before, now) == [
        "version 2 -> 3",
        "library numpy 2.0 -> 2.1",
        "model abababab -> cdcdcdcd",
        "rules.a 1 -> 1.5",
        "rules.b is gone, was 2",
        "seed is new: 4",
    ]


def test_a_library_that_enters_twice_is_told_once():
    before, now = ({"libraries": {"pyarrow": each}, "versions": {"pyarrow": each}} for each in ("25.0", "25.1"))
    assert differences(before, now) == ["library pyarrow 25.0 -> 25.1"]


def test_what_waits_for_a_file_is_no_difference_yet():
    before, now = {"lists": {"bad": "ab" * 32}, "seed": 1}, {"lists": {"bad": "not measured yet"}, "seed": 1}
    assert differences(before, now) == []
