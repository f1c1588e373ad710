"""What a build asked for and never met is named at its end: rules, lists, limits, models."""

import gzip
import json

import numpy as np
import pytest
from corpora import build, cli
from hypothesis import given
from hypothesis import strategies as st

from redpajama.engine.store import Store
from redpajama.manifest import Classifier
from redpajama.quality import classifiers
from redpajama.report import unmet
from redpajama.report.builds import read_build

MANIFEST = """
name = "unmet"
seed = 3
[[source]]
name = "web"
pipeline = "c4"
inputs = ["pages.json.gz"]
[source.quality]
min_chars = 10
max_words = 100000
max_max_line_chars = 20
[source.blocklist]
lists = ["met.txt", "idle.txt"]
[source.clean]
c4_lines = true
bad_words = "words.txt"
bad_words_language = "de"
pii = {{ emails = true, ips = true }}
[source.language]
keep = ["en"]
min_score = 0
"""
LINE = "The river runs through the old town and into the harbour."


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unmet")
    texts = [f"{LINE}\n{LINE} Page {number}.\nAsk me@example.org about all of it." for number in range(4)]
    texts[0] = f"{LINE} {LINE} And one more of them."
    rows = [{"text": text, "url": f"https://{n}.example/", "timestamp": "t"} for n, text in enumerate(texts)]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (folder / "pages.json.gz").write_bytes(gzip.compress(data, mtime=0))
    for name, text in [("met.txt", "1.example"), ("idle.txt", "9.example"), ("words.txt", "darn")]:
        (folder / name).write_text(f"{text}\n")
    (folder / "m.toml").write_text(MANIFEST.format())
    result = cli("build", folder / "m.toml", "--out", folder / "r", "--until", "dedup")
    return folder, result


def test_what_met_nothing_is_named_at_the_end_of_a_build(built):
    folder, result = built
    store = Store(str(folder / "r"))
    lines = unmet.unmet_lines(store, read_build(store))
    assert lines == [
        "unmet   web: clean.bad_words met nothing in 0 documents compared with it, of 4",  # they are English
        "unmet   web: clean.c4_lines removed no line and no page",
        "unmet   web: clean.pii redacted none of: ips",
        "unmet   web: no document fails 2 of 3 rules: max_words, min_chars",
        "unmet   web: no document is on the blocklist idle",  # `met` has one, that a rule had removed before
        "unmet   web: language.min_score = 0 removed nothing",
        "unmet   web: language.keep = ['en'] removed nothing",
    ]
    assert all(line in result.stdout for line in lines)


def test_a_program_is_told_too(built):
    folder, _ = built
    found = json.loads(cli("status", folder / "r", "--json").stdout)
    assert len(found["unmet"]) == 7


# ---- classifiers


SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0]), min_size=1, max_size=9).map(np.array)


@given(SCORES, SCORES)
def test_the_auc_is_how_often_a_positive_one_is_above_a_negative_one(positive, negative):
    pairs = [(one > other) + (one == other) / 2 for one in positive for other in negative]
    assert classifiers.auc(positive, negative) == pytest.approx(sum(pairs) / len(pairs))


def trained(**counts):
    wish = Classifier(name="wiki", positive="a", negative="b")
    return list(unmet._of_training(wish, {("classifiers", "wiki"): counts}))


def test_a_model_that_scores_all_alike_is_warned_of():
    good = trained(held_back=200, auc=0.93, score_p05=0.04, score_p95=0.97)
    assert good == [
        "model   wiki: AUC 0.93 on 200 held-back examples, nine tenths of their scores are from 0.04 to 0.97"
    ]
    flat = trained(held_back=200, auc=0.73, score_p05=0.4999, score_p95=0.5002)
    coin = trained(held_back=200, auc=0.51, score_p05=0.04, score_p95=0.97)
    assert ["warning" in lines[1] for lines in (flat, coin)] == [True, True]
    assert trained(held_back=3) == [
        "model   wiki: 3 held-back examples are too few to say whether it tells its sides apart"
    ]
    assert list(unmet._of_training(Classifier(name="given", path="x"), {})) == []


TRAINING = """
name = "few"
seed = 3
[[classifier]]
name = "wiki"
positive = "good"
negative = "bad"
min_chars = 10
{more}
"""
SOURCE = '[[source]]\nname = "{name}"\npipeline = "c4"\ninputs = ["{name}.json.gz"]\n'


def write_sides(folder, more):
    for name, words in (("good", "river stone abbey bridge"), ("bad", "buy now cheap price")):
        rng = np.random.default_rng(len(words))
        texts = [" ".join(rng.choice(words.split(), 30)) for _ in range(200)]
        rows = [{"text": text, "url": f"https://{name}.org/{n}", "timestamp": "t"} for n, text in enumerate(texts)]
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (folder / f"{name}.json.gz").write_bytes(gzip.compress(data, mtime=0))
    good = SOURCE.format(name="good") + '[source.classifier]\nname = "wiki"\n'
    (folder / "m.toml").write_text(TRAINING.format(more=more) + good + SOURCE.format(name="bad"))
    return folder / "m.toml"


def test_too_few_examples_are_refused_unless_asked_for(tmp_path):
    result = cli("build", write_sides(tmp_path, ""), "--out", tmp_path / "r", "--until", "dedup")
    assert result.returncode == 1
    assert "classifier 'wiki': 200 pages of each side are fewer than min_documents = 1,000" in result.stderr
    result = cli(
        "build", write_sides(tmp_path, "min_documents = 100\nlr = 0.001"), "--out", tmp_path / "r", "--until", "dedup"
    )
    assert result.returncode == 0
    assert "model   wiki: AUC" in result.stdout
    assert "40 held-back examples" in result.stdout
    assert "warning: it scores its sides nearly alike" in result.stdout
    build(write_sides(tmp_path, "min_documents = 100\nepoch = 60\nlr = 0.5"), tmp_path / "r", "--until", "dedup")
    store = Store(str(tmp_path / "r"))
    [line] = [line for line in unmet.unmet_lines(store, read_build(store)) if line.startswith("model")]
    assert "AUC 1 on 40 held-back examples" in line
