"""Slices within sources: which documents they take, how groups and curves share tokens out, and what a build draws."""

import itertools
import json
import random

import numpy as np
import pytest
from corpora import WORDS, cli
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama import preflight
from redpajama.engine.gathered import read_stage
from redpajama.engine.store import Store
from redpajama.engine.tables import read_table
from redpajama.manifest import ManifestError, parse
from redpajama.mixers import matching, shares
from redpajama.mixers.allocation import BudgetError
from redpajama.report.builds import open_build, read_build
from redpajama.tables import Bounds, Mixture

NO_DEADLINE = settings(deadline=None)


def mixture(*slices: dict, **keys) -> Mixture:
    return Mixture(**{"budget_tokens": 100, "on_cap": "spread", "slice": list(slices), **keys})


def numbers(slices: list[dict], values: dict[str, list]) -> list[int]:
    leaves = shares.leaves(mixture(*({"source": "s", "weight": 1, **each} for each in slices)))
    return matching.numbers_of(leaves, values, len(next(iter(values.values())))).tolist()


# ---- which documents


@pytest.mark.parametrize(
    ("value", "condition", "is_met"),
    [
        ("en", "en", True),
        ("en", ["de", "en"], True),
        (["mit", "bsd"], "bsd", True),
        (2019, 2019.0, True),
        (True, 1, False),
        (True, True, True),
        (None, "en", False),
        (None, Bounds(max=3), False),
        ("3", Bounds(max=4), False),
        (3, Bounds(min=3, max=4), True),
        (4, Bounds(min=3, max=4), False),
    ],
)
def test_a_value_meets_what_is_asked_for(value, condition, is_met):
    assert matching.meets(value, condition) is is_met


def test_the_first_slice_whose_where_a_document_meets_takes_it():
    slices = [{"name": "a", "where": {"language": "en"}}, {"name": "b", "where": {"year": {"min": 2020}}}]
    values = {"language": ["en", "de", "en", None], "year": [2021, 2021, 1999, 1999]}
    assert numbers(slices, values) == [0, 1, 0, -1]
    assert numbers([*slices, {"name": "rest"}], values) == [0, 1, 0, 2]


def test_bins_begin_at_their_bounds_and_what_has_no_value_is_in_the_first():
    slices = [
        {"name": "a", "where": {"language": "en"}, "curve": {"by": "p", "bounds": [0.25, 0.5], "repeats": [0, 1, 2]}},
        {"name": "rest"},
    ]
    values = {"language": ["en"] * 5 + ["de"], "p": [0.1, 0.25, 0.49, 0.5, None, 0.9]}
    assert numbers(slices, values) == [0, 1, 1, 2, 0, 3]


def test_keys_with_points_are_looked_up_in_tables_of_the_meta():
    metas = [json.dumps(each) for each in ({"a": {"b": 1}}, {"a.b": 2}, {"a": 3}, {})]
    import pyarrow as pa

    assert matching.in_metas(pa.chunked_array([metas]), ["a.b"]) == {"a.b": [1, 2, None, None]}


# ---- how tokens are shared out


def test_a_group_has_one_weight_and_its_slices_share_that():
    slices = [
        {"source": "a", "group": "web", "within": 1},
        {"source": "b", "group": "web", "within": 3},
        {"source": "c", "weight": 1},
    ]
    mixed = mixture(*slices, group=[{"name": "web", "weight": 3}], budget_tokens=400)
    assert shares.allocate(mixed, {"a": 1000, "b": 1000, "c": 1000}) == {"a": 75, "b": 225, "c": 100}
    assert shares.allocate(mixed, {"a": 1000, "b": 100, "c": 1000}) == {"a": 200, "b": 100, "c": 100}
    assert shares.wanted_shares(mixed, {"a": 9, "b": 9, "c": 9}) == {"a": 3 / 16, "b": 9 / 16, "c": 1 / 4}


def test_a_group_may_share_by_a_policy_of_its_own():
    slices = [{"source": "a", "group": "web"}, {"source": "b", "group": "web"}]
    mixed = mixture(*slices, group=[{"name": "web", "weight": 3, "policy": "natural"}])
    assert shares.allocate(mixed, {"a": 300, "b": 100}) == {"a": 75, "b": 25}


def test_a_pin_keeps_tokens_or_a_share_of_the_group_when_others_change():
    for weight in (1, 5):
        slices = [
            {"source": "a", "group": "web", "pin": 0.25},
            {"source": "b", "group": "web", "within": weight},
            {"source": "c", "group": "web"},
            {"source": "d", "pin": 40},
        ]
        found = shares.allocate(mixture(*slices, group=[{"name": "web"}]), dict.fromkeys("abcd", 1000))
        assert (found["a"], found["d"], sum(found.values())) == (15, 40, 100)


def test_a_curve_without_a_weight_gives_the_sum_of_its_bins():
    curve = {"by": "p", "bounds": [0.5, 0.9], "repeats": [0, 1.5, 7]}
    mixed = mixture({"source": "a", "curve": curve}, {"source": "b", "weight": 1}, budget_tokens=1000)
    found = shares.allocate(mixed, {"a.0": 500, "a.1": 100, "a.2": 20, "b": 2000})
    assert found == {"a.0": 0, "a.1": 150, "a.2": 140, "b": 710}


def test_a_curve_with_a_weight_keeps_its_shape_up_to_seven_repeats():
    curve = {"by": "p", "bounds": [0.5, 0.9], "repeats": [0, 1, 2]}
    mixed = mixture({"source": "a", "weight": 1, "curve": curve}, {"source": "b", "weight": 1}, budget_tokens=1400)
    assert shares.allocate(mixed, {"a.0": 500, "a.1": 100, "a.2": 20, "b": 2000})["a.1"] == 560
    assert shares.allocate(mixed, {"a.0": 500, "a.1": 100, "a.2": 20, "b": 2000})["a.2"] == 140


@st.composite
def trees(draw):
    """Mixtures of groups, curves and slices, and what there is of each leaf."""
    slices, groups = [], []
    for number in range(draw(st.integers(1, 3))):
        groups.append({"name": f"g{number}", "weight": draw(st.integers(1, 5))})
        for inner in range(draw(st.integers(1, 3))):
            within = draw(st.sampled_from([0.5, 1, 3]))
            slices.append({"source": f"s{number}{inner}", "group": f"g{number}", "within": within, "max_epochs": 2})
    slices.append({"source": "free", "weight": 2, "max_epochs": draw(st.sampled_from([1, 4]))})
    if draw(st.booleans()):
        curve = {
            "by": "p",
            "bounds": [1, 2],
            "repeats": sorted(draw(st.lists(st.integers(1, 7), min_size=3, max_size=3))),
        }
        slices.append({"source": "bins", "weight": 1, "curve": curve})
    mixed = mixture(*slices, group=groups)
    return mixed, {leaf.name: draw(st.integers(1, 5000)) for leaf in shares.leaves(mixed)}


@NO_DEADLINE
@given(trees(), st.integers(1, 20_000), st.integers(0, 5000))
def test_all_levels_add_up_to_the_budget_and_a_larger_one_lowers_no_leaf(tree, tokens, more):
    mixed, available = tree
    before, after = (
        shares.allocate(mixed, available, budget, allow_shortfall=True) for budget in (tokens, tokens + more)
    )
    wishes = shares.slices(mixed, available)
    assert sum(before.values()) == min(tokens, sum(wish.cap for wish in wishes.values() if wish.weight))
    assert all(before[name] <= wishes[name].cap for name in before)
    assert all(after[name] >= before[name] for name in before)
    bins = [before[f"bins.{n}"] / available[f"bins.{n}"] for n in range(3) if "bins.0" in before]
    assert all(one <= other + 1 / min(available.values()) for one, other in itertools.pairwise(bins))


@NO_DEADLINE
@given(trees())
def test_wanted_shares_add_up_to_all(tree):
    mixed, available = tree
    assert sum(shares.wanted_shares(mixed, available).values()) == pytest.approx(1)


def test_floors_of_a_group_reach_its_slices():
    slices = [
        {"source": "a", "group": "g", "min_tokens": 30},
        {"source": "b", "group": "g"},
        {"source": "c", "weight": 9},
    ]
    found = shares.allocate(mixture(*slices, group=[{"name": "g", "weight": 1}]), dict.fromkeys("abc", 1000))
    assert found == {"a": 30, "b": 0, "c": 70}


def test_a_group_that_cannot_give_its_pin_is_one_line():
    slices = [{"source": "a", "group": "g"}, {"source": "b", "weight": 1}]
    with pytest.raises(BudgetError, match=r"'g' is to give at least 60 tokens but its parts give 50 at most"):
        shares.allocate(mixture(*slices, group=[{"name": "g", "pin": 60}]), {"a": 50, "b": 1000})


# ---- mistakes


CURVE = {"by": "p", "bounds": [1.0], "repeats": [1, 2]}
WRONG = {
    "an empty where": ([{"source": "a", "weight": 1, "where": {}}], "where is empty: every document meets it"),
    "a curve that falls": (
        [{"source": "a", "curve": {**CURVE, "repeats": [2, 1]}}],
        "repeats must not fall, and 2, 1 do",
    ),
    "bounds that fall": (
        [{"source": "a", "curve": {**CURVE, "bounds": [2.0, 1.0], "repeats": [1, 1, 1]}}],
        "bounds must rise, and 2, 1 do not",
    ),
    "too few bins": ([{"source": "a", "curve": {**CURVE, "repeats": [1]}}], "1 bounds make 2 bins, and repeats has 1"),
    "eight repeats": ([{"source": "a", "curve": {**CURVE, "repeats": [1, 8]}}], "less than or equal to 7"),
    "two of a name": ([{"source": "a", "weight": 1}, {"source": "a", "weight": 2}], "slices of one source have names"),
    "a slice that gets nothing": (
        [{"source": "a", "weight": 1}, {"source": "a", "name": "b", "weight": 1, "where": {"x": 1}}],
        "slice 'b' gets nothing: 'a' before it takes all of 'a'",
    ),
    "an unknown group": ([{"source": "a", "group": "g"}], "no group is called 'g'; add a [[mixture.group]]"),
    "a range of nothing": (
        [{"source": "a", "weight": 1, "where": {"x": {"min": 2, "max": 1}}}],
        "no value is at least 2",
    ),
    "a share of no group": ([{"source": "a", "pin": 0.5}], "pin = 0.5 is a share of a group: name one"),
    "an unknown source": ([{"source": "b", "weight": 1}], "mixture.slice: no source is named 'b'"),
    "a signal nobody measures": (
        [{"source": "a", "weight": 1, "where": {"rps_doc_word_count": {"min": 9}}}],
        "asks for the signal 'rps_doc_word_count', which is not measured: add signals = [\"redpajama-v2\"]",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_slices_is_one_line_with_the_edit(case):
    slices, message = WRONG[case]
    values = {
        "name": "m",
        "seed": 1,
        "tokenizer": {"path": "t.json"},
        "source": [{"name": "a", "pipeline": "c4", "inputs": ["x.gz"]}],
        "mixture": {"budget_tokens": 9, "slice": slices},
    }
    with pytest.raises(ManifestError) as caught:
        preflight.check(parse(values, "m.toml"), "m.toml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- a build


MANIFEST = """
name = "slices"
seed = 5
tokenizer.train.vocab_size = 400
[[source]]
name = "wiki"
pipeline = "rows"
inputs = ["*.jsonl"]
options.fields = { text = "text", id = "id", meta = "all" }
[mixture]
budget_tokens = 6000
on_cap = "spread"
[[mixture.slice]]
name = "english"
source = "wiki"
where = { language = "en", year = { min = 2000 } }
weight = 3
max_epochs = 4
[[mixture.slice]]
name = "long"
source = "wiki"
where = { words = { min = 30 } }
weight = 1
max_epochs = 2
[[mixture.slice]]
name = "scored"
source = "wiki"
curve = { by = "score", bounds = [0.5, 0.8], repeats = [0, 1, 3] }
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slices")
    (folder / "m.toml").write_text(MANIFEST)
    for part in range(3):
        drawn, lines = random.Random(part), []
        for number in range(80):
            row = {
                "id": f"{part}-{number}",
                "text": " ".join(drawn.choices(WORDS, k=10 + number % 30)),
                "language": drawn.choice(["en", "de"]),
                "year": 1990 + number % 20,
                "score": round(drawn.random(), 3),
            }
            lines.append(json.dumps(row))
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    result = cli("build", folder / "m.toml", "--out", folder / "r")
    assert result.returncode == 0, result.stderr[-3000:]
    store = Store(str(folder / "r"))
    record = read_build(store)
    build = open_build(store, record)
    rows = [row for part in build.parts("mixture") for row in read_table(store, part.file(".parquet")).to_pylist()]
    return build, rows, store, record


def of(rows: list[dict], slice: str) -> list[dict]:
    return [{**row, **json.loads(row["meta"])} for row in rows if row["slice"] == slice]


def test_each_slice_of_a_build_has_the_documents_that_it_asks_for(corpus):
    _, rows, _, _ = corpus
    assert {row["slice"] for row in rows} == {"english", "long", "scored.1", "scored.2"}
    assert all(row["language"] == "en" and row["year"] >= 2000 for row in of(rows, "english"))
    assert all(len(row["text"].split()) >= 30 for row in of(rows, "long"))
    assert all(0.5 <= row["score"] < 0.8 for row in of(rows, "scored.1"))
    assert all(row["score"] >= 0.8 for row in of(rows, "scored.2"))
    assert {row["doc_id"] for row in of(rows, "english")}.isdisjoint(row["doc_id"] for row in of(rows, "long"))


def test_the_best_bin_is_seen_three_times_and_targets_are_met_to_a_document(corpus):
    build, rows, store, record = corpus
    from redpajama.mixers.budget import read_budget

    copies = np.unique([row["doc_id"] for row in of(rows, "scored.2")], return_counts=True)[1]
    assert set(copies.tolist()) == {3}
    budget = read_budget(build)
    got = read_stage(store, record["stages"]["mixture"]["slices"]["record"]).counts["slices"]
    for leaf, row in budget.items():
        assert 0 <= got.get(leaf, 0) - row["cuts"][0]["target_tokens"] < 200
    targets = {leaf: row["cuts"][0]["target_tokens"] for leaf, row in budget.items()}
    assert sum(targets.values()) == 6000
    assert abs(targets["english"] - 3 * targets["long"]) < 4


def test_the_shards_know_nothing_of_slices_and_verify_holds(corpus):
    _, rows, store, record = corpus
    assert cli("verify", store.url).returncode == 0
    tokens = read_stage(store, record["stages"]["tokens"]["slices"]["record"]).counts
    assert tokens["kept"] == len(rows)
