"""Inside a cluster: what goes is as similar as it says, no similar pair is left, and estimates decide without doubt."""

import json
import random
import time
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
import walk_reference
from hypothesis import given, settings
from hypothesis import strategies as st
from near_corpora import ALL, DEFAULT, doubts_of, families, fresh, grams, members, packed, plain, similarity, walked

from redpajama.dedup.near import minhash, pairs, policy, union_find, walk
from redpajama.dedup.near.minhash import MinHashParams
from redpajama.engine.tables import Blobs
from redpajama.manifest import parse
from redpajama.preflight import complete

THRESHOLDS = st.sampled_from([0.5, 0.7, 0.8, 0.95, 1.0])
MODES = st.sampled_from(["jaccard", "containment", "order"])
VARIANTS = st.tuples(THRESHOLDS, MODES, st.sampled_from(["one", "none"]))


def params_of(variant, **more):
    threshold, mode, keep = variant
    if mode == "order":
        mode, more["containment"] = "containment", "order"
    return MinHashParams(threshold=threshold, mode=mode, keep=keep, **more)


# ---- clusters


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40), st.randoms())
def test_union_find_joins_what_is_connected_in_any_order(edges, rng):
    groups = [{node} for node in range(20)]
    for one, other in edges:
        joined = groups[one] | groups[other]
        for node in joined:
            groups[node] = joined
    rng.shuffle(edges)
    parents = union_find.singletons(20)
    ones, others = (np.array([edge[side] for edge in edges], np.int64) for side in (0, 1))
    union_find.unite(parents, ones, others)
    sizes = union_find.measure(parents)
    assert parents.tolist() == [min(group) for group in groups]
    assert sizes.tolist() == [len(group) if min(group) == node else 0 for node, group in enumerate(groups)]


# ---- the walk


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 30), VARIANTS)
def test_a_walk_removes_what_is_similar_to_what_it_names_and_leaves_no_similar_pair(seed, variant):
    params, texts = params_of(variant), families(seed, count=6)
    outcome = walked(members(texts, params), params, ALL)
    gone = {each.row for each in outcome.removals}
    for each in outcome.removals:
        assert each.similarity == similarity(texts[each.row], texts[each.other], params) >= params.threshold
        assert each.measure == "exact"
        assert (each.other in gone) == (params.keep == "none")
        assert each.other < each.row or params.keep == "none"
    for one, other in combinations([row for row in range(len(texts)) if row not in gone], 2):
        assert similarity(texts[other], texts[one], params) < params.threshold
    assert outcome.unchecked == 0


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1 << 30), VARIANTS)
def test_keep_none_removes_exactly_those_that_have_a_similar_one(seed, variant):
    params, texts = params_of(variant).model_copy(update={"keep": "none"}), families(seed, count=4)
    wanted = set()
    for one, other in combinations(range(len(texts)), 2):
        if similarity(texts[one], texts[other], params) >= params.threshold:
            wanted |= {one, other}
    assert [each.row for each in walked(members(texts, params), params, ALL).removals] == sorted(wanted)


def test_a_chain_removes_only_what_is_similar_to_a_document_that_stays():
    numbers = iter(range(1000))
    words = fresh(numbers, 200)
    chain = [" ".join(words[start : start + 150]) for start in (0, 12, 24, 36)]
    assert similarity(chain[0], chain[1]) > 0.8 > similarity(chain[0], chain[2])
    removals = walked(members(chain), DEFAULT, ALL).removals
    assert [(each.row, each.other) for each in removals] == [(1, 0), (3, 2)]
    nothing = MinHashParams(keep="none")
    assert [each.row for each in walked(members(chain), nothing, ALL).removals] == [0, 1, 2, 3]


def test_a_page_inside_a_longer_one_is_contained_and_not_similar():
    numbers = iter(range(1000))
    words = fresh(numbers, 300)
    texts = [" ".join(words), " ".join(words[50:150])]
    assert walked(members(texts), DEFAULT, ALL).removals == []
    params = MinHashParams(mode="containment")
    [removal] = walked(members(texts, params), params, ALL).removals
    assert (removal.row, removal.other, removal.similarity) == (1, 0, 1.0)


def test_sources_that_do_not_meet_are_not_compared():
    texts = ["one two three four five six"] * 4
    comparable = np.array([[False, True], [True, False]])
    removals = walked(members(texts, sources=[0, 0, 1, 1]), DEFAULT, comparable).removals
    assert [(each.row, each.other) for each in removals] == [(2, 0), (3, 0)]


def test_comparisons_beyond_a_cap_are_counted(monkeypatch):
    texts = families(3, count=20)
    everything = walked(members(texts), DEFAULT, ALL)
    assert everything.unchecked == 0
    monkeypatch.setattr(walk, "MAX_KEPT", 3)
    capped = walked(members(texts), DEFAULT, ALL)
    assert capped.unchecked == len(texts) - 4 - len(capped.removals)  # the first without room met all kept ones
    assert len(capped.removals) < len(everything.removals)
    monkeypatch.setattr(walk, "MAX_KEPT", 100)
    monkeypatch.setattr(walk, "MAX_CHECKED", 0)
    assert walked(members(texts), DEFAULT, ALL).removals == []


# ---- the compiled walk, and the plain one


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 1 << 30), VARIANTS, st.sampled_from(["sketch", "exact"]), st.sampled_from([2, 40, 256]))
def test_the_compiled_walk_is_the_plain_one(seed, variant, verify, sketch):
    """Whatever came along: n-grams of all, some or none, whole or cut; sources that may not meet; caps."""
    rng, params = random.Random(seed), params_of(variant, verify=verify)
    comparable = np.array([[True, rng.random() < 0.7], [False, True]])
    comparable[1, 0] = comparable[0, 1]
    some = [some_members(rng, params, sketch) for _ in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        for name, caps in (("MAX_KEPT", [2, 9, 10_000]), ("MAX_CHECKED", [0, 1, 1_000])):
            cap = rng.choice(caps)
            patch.setattr(walk, name, cap)
            patch.setattr(walk_reference, name, cap)
        apart = [walk_reference.walk(each, params, comparable) for each in some]
        assert [walked(each, params, comparable) for each in some] == apart
        for each in some:
            assert doubts_of(each, params, comparable) == walk_reference.find_doubts(each, params, comparable)
        together = plain(walk.walk(packed(some), params, comparable))
    starts = np.cumsum([0] + [len(each) for each in some]).tolist()
    pairs = [(start, each) for start, one in zip(starts, apart, strict=False) for each in one.removals]
    assert together.removals == [each._replace(row=start + each.row, other=start + each.other) for start, each in pairs]
    assert together.unchecked == sum(each.unchecked for each in apart)


def some_members(rng, params, sketch):
    texts = families(rng.random(), count=rng.randrange(1, 6), words=rng.choice([70, 120]))
    texts += rng.sample(texts, rng.randrange(1 + len(texts) // 2))
    found = members(texts, params, sketch=sketch, sources=[rng.randrange(2) for _ in texts])
    share, cut = rng.choice([0, 0.5, 1]), rng.choice([20, 1 << 30])
    for row, each in enumerate(found.ngrams):
        kept = walk_reference.Grams(each.hashes[:cut], len(each.hashes) <= cut)
        found.ngrams[row] = kept if rng.random() < share else None
    return found


@pytest.mark.parametrize("threshold", [0.01, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0])
def test_what_an_estimate_leaves_in_doubt_is_what_the_whole_distribution_says(threshold):
    for values in (*range(300), 1024, 5000):
        assert pairs.doubtful(values, threshold) == walk_reference.doubtful(values, threshold)


# ---- estimates and doubts


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 30), VARIANTS)
def test_with_the_ngrams_of_doubtful_documents_alone_what_goes_is_what_goes_with_all(seed, variant):
    """Sketches of 40 leave many pairs in doubt."""
    params, texts = params_of(variant), families(seed, count=5)
    blind = members(texts, params, with_ngrams=False, sketch=40)
    doubts = doubts_of(blind, params, ALL)
    for row in doubts:
        blind.ngrams[row] = walk_reference.Grams(grams(texts[row], params), True)
    outcome = walked(blind, params, ALL)
    gone = {each.row for each in outcome.removals}
    assert gone == {each.row for each in walked(members(texts, params), params, ALL).removals}
    assert outcome.unchecked == 0
    for each in outcome.removals:
        truth = similarity(texts[each.row], texts[each.other], params)
        assert truth >= params.threshold
        assert each.measure != "exact" or each.similarity == truth


def test_few_documents_of_long_families_are_in_doubt():
    rng, numbers, texts = random.Random(5), iter(range(1 << 30)), []
    for _ in range(60):
        words = fresh(numbers, 2000)
        texts.append(" ".join(words))
        words[rng.randrange(2000)] = "changed"
        texts.append(" ".join(words))
    blind = members(texts, with_ngrams=False)
    outcome = walked(blind, DEFAULT, ALL)
    assert doubts_of(blind, DEFAULT, ALL) == []
    assert len(outcome.removals) == 60
    assert {each.measure for each in outcome.removals} == {"sketch"}
    for each in outcome.removals:
        truth = similarity(texts[each.row], texts[each.other])
        assert each.similarity == pytest.approx(truth, abs=5 * (truth * (1 - truth) / minhash.SKETCH) ** 0.5)


def test_verify_exact_measures_every_pair_on_all_ngrams():
    numbers = iter(range(1 << 30))
    words = fresh(numbers, 2000)
    texts = [" ".join(words), " ".join([*words, "end"])]
    for verify, measure in (("sketch", "sketch"), ("exact", "exact")):
        params = MinHashParams(verify=verify)
        [removal] = walked(members(texts, params), params, ALL).removals
        assert removal.measure == measure
    assert removal.similarity == similarity(*texts)


def test_without_ngrams_or_sketches_only_signatures_without_doubt_remove():
    numbers, texts = iter(range(1 << 40, 1 << 41)), families(4, count=20)
    texts += [f"{text} {next(numbers)}" for text in texts]
    blind = members(texts, with_ngrams=False, sketch=1)
    outcome = walked(blind, DEFAULT, ALL)
    high = pairs.doubtful(112, 0.8)[1]
    assert outcome.removals
    assert outcome.unchecked
    for each in outcome.removals:
        equal = int((blind.signatures[each.row] == blind.signatures[each.other]).sum())
        assert equal >= high
        assert (each.similarity, each.measure) == (round(equal / 112, 8), "signature")
        assert similarity(texts[each.row], texts[each.other]) >= 0.8


@pytest.mark.parametrize("mode", ["jaccard", "containment"])
def test_sketches_measure_long_documents_to_their_stated_error(mode):
    numbers = iter(range(1 << 20))
    words = fresh(numbers, 20_000)
    texts = [" ".join(words), " ".join([*words[:8_450], *fresh(numbers, 4_550)])]
    texts = texts if mode == "containment" else [" ".join(words[:19_800]), texts[0]]
    params = MinHashParams(mode=mode, threshold=0.5)
    [removal] = walked(members(texts, params, with_ngrams=False), params, ALL).removals
    assert removal.measure == "sketch"
    assert removal.similarity == pytest.approx(similarity(*texts[::-1], params), abs=0.1)


@pytest.mark.parametrize("keep", ["one", "none"])
@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_copies_of_one_document_cost_time_by_their_number_alone(count, keep):
    one = members([" ".join(fresh(iter(range(400)), 400))], with_ngrams=False)
    one.sketches[0] = walk_reference.Grams(one.sketches[0].hashes[: near_limit(count)], False)
    alone, rows = packed([one]), np.zeros(count, np.int64)
    blobs = (Blobs.of(each.column, rows) for each in (alone.signatures, alone.sketches, alone.ngrams))
    signatures, sketches, ngrams = blobs
    no = np.zeros(count, bool)
    crowd = walk.Members(signatures, sketches, no, ngrams, no, rows, np.array([0, count]))
    started = time.monotonic()
    outcome = walk.walk(crowd, MinHashParams(keep=keep), ALL)
    assert len(outcome.rows) == count - (keep == "one")
    assert outcome.unchecked == 0
    assert time.monotonic() - started < 5 + count / 50_000  # 1 to 2 microseconds each; room to compile, and ample


def near_limit(size):
    from redpajama.dedup.near import rows

    return min(minhash.SKETCH, rows.CLUSTER_NGRAMS // size)


# ---- policy


def manifest_of(sources, near=None, order=None):
    source = [{"name": name, "inputs": ["x"], **more} for name, more in sources.items()]
    dedup = {"near": near or {}, "order": order or []}
    return complete(parse({"name": "x", "seed": 1, "source": source, "dedup": dedup}, "x"))


def test_code_is_never_compared_with_prose():
    manifest = manifest_of(
        {
            "web": {"pipeline": "c4"},
            "code": {"pipeline": "github"},
            "more": {"pipeline": "pile", "kind": "code"},
            "rows": {"pipeline": "pile", "kind": "tables"},
        }
    )
    found = policy.comparable(manifest, DEFAULT).astype(int).tolist()
    assert found == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]


def test_only_between_names_the_combinations_and_a_source_twice_means_inside_it():
    manifest = manifest_of({name: {"pipeline": "c4"} for name in "abc"}, order=["c", "b", "a"])
    for groups, wanted in (
        ([["a", "b"]], {"ab"}),
        ([["a", "b", "c"]], {"ab", "ac", "bc"}),
        ([["a", "b"], ["c", "c"]], {"ab", "cc"}),
        ([], {"aa", "ab", "ac", "bb", "bc", "cc"}),
    ):
        found = policy.comparable(manifest, MinHashParams(only_between=groups))
        assert (found == found.T).all()
        pairs = {"".join(sorted("cba"[place] for place in pair)) for pair in np.argwhere(found)}
        assert pairs == wanted


def sorted_by(params, sizes, documents=None):
    keys = policy.preferences(params, np.array(sizes), documents).to_pylist()
    return sorted(range(len(sizes)), key=keys.__getitem__)


@given(st.lists(st.one_of(st.floats(allow_infinity=True), st.none()), min_size=1, max_size=9))
def test_signals_are_preferred_by_size_whatever_the_sign_and_none_comes_last(values):
    values = [float("nan") if value is None else value for value in values]
    table = pa.table({"q_words": pa.array(values, pa.float64())})
    missing = [np.isnan(value) for value in values]
    known = [0 if gone else value for gone, value in zip(missing, values, strict=True)]
    largest = sorted(range(len(values)), key=lambda row: (missing[row], -known[row]))
    smallest = sorted(range(len(values)), key=lambda row: (missing[row], known[row]))
    assert sorted_by(MinHashParams(prefer=["signal:words"]), [1] * len(values), table) == largest
    assert sorted_by(MinHashParams(prefer=["signal:-words"]), [1] * len(values), table) == smallest


def test_preferences_count_in_their_order():
    metas = [{"timestamp": "2019-04-25T12:57:54Z"}, {"timestamp": "20240520"}, {"timestamp": ""}, {"yymm": "2405"}]
    table = pa.table({"meta": [json.dumps(meta) for meta in metas]})
    assert sorted_by(MinHashParams(prefer=["newest"]), [1, 1, 1, 1], table) == [1, 3, 0, 2]
    assert sorted_by(MinHashParams(prefer=["longest", "newest"]), [5, 4, 5, 5], table) == [3, 0, 2, 1]
    assert sorted_by(MinHashParams(prefer=["newest", "longest"]), [1, 1, 5, 1], table) == [1, 3, 0, 2]
    assert sorted_by(MinHashParams(), [3, 9, 5]) == [1, 2, 0]
    assert sorted_by(MinHashParams(prefer=[]), [3, 9, 5]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("meta", "time"),
    [
        ({"timestamp": "1970-01-01T00:01:00Z"}, 60),
        ({"timestamp": "1970-01-01T00:01:00"}, 60),  # no zone: UTC
        ({"timestamp": "1970-01-01T02:00:00+02:00"}, 0),
        ({"timestamp": "19700102"}, 86400),
        ({"timestamp": "t", "date_download": "1970-01-01T00:00:01Z"}, 1),
        ({"timestamp": "", "yymm": "9901"}, 915148800),
        ({"timestamp": "", "yymm": "0701"}, 1167609600),
        ({"yymm": "0713"}, None),
        ({"timestamp": None, "yymm": ""}, None),
        ({}, None),
    ],
)
def test_a_documents_time_is_what_its_source_states(meta, time):
    assert policy.known_time(meta) == time
