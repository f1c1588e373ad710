"""What a mixture's report says, and both ends of mixture search."""

import csv
import io
import json

import pytest
from corpora import build, write_corpus

from redpajama import cli
from redpajama.commands import build as build_command
from redpajama.engine.store import Store
from redpajama.manifest import ManifestError, load, parse
from redpajama.mixers import account, lengths
from redpajama.report.builds import read_build

VALUES = {
    "name": "m",
    "seed": 1,
    "tokenizer": {"path": "t.json"},
    "source": [{"name": name, "pipeline": "c4", "inputs": ["x.gz"]} for name in ("web", "wiki")],
    "mixture": {"budget_tokens": 9, "weights": "found.json", "slice": [{"source": "web"}, {"source": "wiki"}]},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("account")
    build(write_corpus(folder / "raw"), folder / "r")
    return folder / "r"


def test_the_report_says_what_was_wanted_and_got(root, capsys):
    assert cli.run(["mixture", str(root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["slices"].keys() == {"news", "web"}
    news = found["slices"]["news"]
    assert (news["wanted_share"], news["target_tokens"]) == (pytest.approx(2 / 3), 4000)
    assert news["got_share"] == pytest.approx(news["tokens"] / found["tokens"])
    copies = sum(int(times) * number for times, number in found["copies"].items())
    assert copies == sum(row["copies"] for row in found["sources"].values())
    assert sum(found["copies"].values()) == sum(row["documents"] for row in found["sources"].values())
    for row in found["sources"].values():
        assert sum(row["lengths"].values()) == row["documents"]
    even = found["streams"][""]
    assert (even["windows"], even["tokens"]) == (3, found["tokens"])
    assert all(row["deviation"] < 4 * row["expected_deviation"] for row in even["sources"].values())
    assert cli.run(["mixture", str(root)]) == 0
    said = capsys.readouterr().out
    assert "exact copies only: there is no near-dedup" in said
    assert "by chance" in said


def test_a_slice_that_one_document_takes_beyond_its_target_is_told_with_it():
    row = {"cuts": [{"stage_tokens": 100, "expected_tokens": 150, "doc_id": "a/1"}]}
    close = {"cuts": [{"stage_tokens": 100, "expected_tokens": 101, "doc_id": "b/1"}]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(account, "read_budget", lambda _: {"a": row, "b": close})
        assert account.overshoot(None) == {"a": {"tokens": 50, "share": 0.5, "doc_id": "a/1"}}
        row["strata"] = [[1, "a/2"], [2, "a/3"]]  # of a miniature
        assert "its last documents are that long" in account.overshoot_lines(account.overshoot(None))[0]


def test_a_build_tells_of_such_a_slice_as_the_report_does(root, capsys, monkeypatch):
    row = {"tokens": 50, "share": 0.5, "doc_id": "news/7"}
    monkeypatch.setattr(account, "overshoot", lambda build: {"news": row})
    store = Store(str(root))
    build_command._show(read_build(store), str(root), 1.0, False)
    line = "'news' has 50 tokens more than its target (50.0%): its last document, news/7, is that long"
    assert line in " ".join(capsys.readouterr().out.split())


def test_documents_by_how_often_they_are_seen_follow_from_the_numbers_of_copies():
    assert lengths.histogram([10, 4, 1]) == [6, 3, 1]


def test_priors_are_what_mixture_search_takes(root, capsys):
    assert cli.run(["mixture", str(root), "--priors"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(found["priors"]["relative_sizes"].values()) == pytest.approx(1)
    assert cli.run(["mixture", str(root), "--priors", "--format", "csv"]) == 0
    rows = {row["domain"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert {name: int(row["tokens"]) for name, row in rows.items()} == found["priors"]["token_counts"]
    assert rows["news"]["max_epochs"] == "4.0"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("found.json", '{"web": 3, "wiki": 1}'),
        ("found.json", '{"weights": {"web": 3, "wiki": 1}}'),
        ("found.json", '{"mix": {"web": {"weight": 3, "repetition_factor": 1}, "wiki": {"weight": 1}}}'),
        ("found.json", '{"train": {"train_web": 3, "train_wiki": 1}}'),
        ("found.json", '[{"domain": "web", "weight": 3}, {"domain": "wiki", "weight": 1}]'),
        ("found.csv", "domain,weight\nweb,3\nwiki,1\n"),
    ],
)
def test_weights_are_read_in_the_forms_that_search_writes(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    values = {**VALUES, "mixture": {**VALUES["mixture"], "weights": name}}
    mixture = parse(values, str(tmp_path / "m.toml")).mixture
    assert [share.weight for share in mixture.slice] == [3, 1]


def test_a_slice_that_the_file_leaves_out_is_left_out(tmp_path):
    (tmp_path / "found.json").write_text('{"web": 1}')
    mixture = parse(VALUES, str(tmp_path / "m.toml")).mixture
    assert [share.weight for share in mixture.slice] == [1, 0]


def test_slices_of_a_group_of_which_the_file_names_none_keep_what_they_have_within_it(tmp_path):
    (tmp_path / "found.json").write_text('{"all": 1}')
    slices = [{"source": "web", "group": "all", "within": 3}, {"source": "wiki", "group": "all"}]
    mixture = {**VALUES["mixture"], "slice": slices, "group": [{"name": "all"}]}
    found = parse({**VALUES, "mixture": mixture}, str(tmp_path / "m.toml")).mixture
    assert [share.within for share in found.slice] == [3, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "found.json: neither JSON nor, with a name that ends so, .csv"),
        ("[]", "found.json: no weights in it"),
        ('{"web": 0}', "found.json: no weights in it"),
        ('{"web": "much"}', "found.json: the weight of 'web' is no number: 'much'"),
        ('{"web": -1}', "found.json: the weight of 'web' is -1: it must be 0 or more"),
        ('{"webs": 1, "wiki": 1}', "found.json: no slice or group is called 'webs'; did you mean 'web'?"),
        ('{"web": 1, "wiki": 1, "web": 2}', "found.json: it has 'web' twice"),
        ('[{"domain": "web", "weight": 1}, {"domain": "web", "weight": 2}]', "found.json: it has 'web' twice"),
        ('{"web": 1, "train_web": 2}', "found.json: it has 'web' twice"),
        (None, "found.json: No such file or directory"),
    ],
)
def test_a_file_of_weights_that_cannot_be_used_is_one_line(tmp_path, text, message):
    if text is not None:
        (tmp_path / "found.json").write_text(text)
    with pytest.raises(ManifestError) as caught:
        parse(VALUES, str(tmp_path / "m.toml"))
    assert f"mixture.weights: {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_build_without_a_mixture_has_no_report(tmp_path, capsys):
    manifest = write_corpus(tmp_path / "raw")
    build(manifest, tmp_path / "r", "--until", "dedup")
    assert load(str(manifest)).mixture is not None
    assert cli.run(["mixture", str(tmp_path / "r")]) == 2
    assert "this build has no mixture: it ended with 'dedup'" in capsys.readouterr().err
