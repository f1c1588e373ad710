"""What a manifest can ask of near-dedup, through all stages: kinds, preferences, combinations, modes, verification."""

import random
import re
import tomllib
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from near_corpora import documents_of, families, fresh, grams, similarity, texts_gone, verdicts_of, write_sources
from stepwise import build_stepwise

from redpajama.dedup.near import minhash, policy, rows
from redpajama.dedup.near.minhash import MinHashParams
from redpajama.flow import flow
from redpajama.manifest import ManifestError, load, parse
from redpajama.preflight import check

CODE = 'kind = "code"\n'
ALLOW = "max_removed_fraction = 1\n"


def copies(seed, count=3, words=150):
    """Texts that differ in their last word alone."""
    base = fresh(iter(range(seed * 10_000, (seed + 1) * 10_000)), words)
    return [" ".join([*base, "end" * number]) for number in range(1, count + 1)]


# ---- any manifest


@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1 << 30),
    mode=st.sampled_from(["jaccard", "containment", "containment in order"]),
    keep=st.sampled_from(["one", "none"]),
    verify=st.sampled_from(["sketch", "exact"]),
    between=st.booleans(),
)
def test_any_policy_keeps_its_promises_in_any_order_and_sharding(
    tmp_path_factory, seed, mode, keep, verify, between, monkeypatch
):
    """Sketches of 30 leave much in doubt. With b and c apart nothing inside a, b or c is compared."""
    folder, rng = tmp_path_factory.mktemp("any"), random.Random(seed)
    texts = families(seed, count=12, words=60)
    sources = {name: texts[number::3] for number, name in enumerate("abc")}
    mode, _, order = mode.partition(" in ")
    near = f'containment = "{order or "contained"}", mode = "{mode}", bands = 50, rows = 2'
    near += f', keep = "{keep}", verify = "{verify}"'
    near += ', only_between = [["a", "b"], ["a", "c"]]' if between else ""
    results = []
    with monkeypatch.context() as patch:
        patch.setattr(minhash, "SKETCH", 30)
        for number, files in enumerate((1, 3)):
            shuffled = {name: rng.sample(each, len(each)) for name, each in sources.items()}
            more = dict.fromkeys(sources, ALLOW)
            path = write_sources(folder / f"{number}", shuffled, f"{{ {near} }}", more, files, order=list("abc"))
            results.append(build_stepwise(path, folder / f"root-{number}"))
        state = results[0]
        texts, verdicts = documents_of(state), verdicts_of(state)
        strip = [{doc_id: each[:2] for doc_id, each in verdicts_of(one).items()} for one in results]
        assert strip[0] == strip[1]
        _check_promises(state, texts, verdicts)  # `extent` is of short sketches, too


def _check_promises(state, texts, verdicts):
    manifest = state.manifest
    params = minhash.parse(manifest.dedup.near)
    allowed, ranks = policy.comparable(manifest, params), {name: rank for rank, name in enumerate(manifest.dedup_order)}

    def meet(one, other):
        return allowed[ranks[one.partition("/")[0]], ranks[other.partition("/")[0]]]

    for doc_id, (other, value, evidence) in verdicts.items():
        truth = similarity(texts[doc_id], texts[other], params)
        assert truth >= params.threshold
        assert value == truth or evidence["similarity_by"] in ("sketch", "signature")
        assert evidence["similarity_by"] == "exact" or params.verify == "sketch"
        assert meet(doc_id, other)
        assert (other in verdicts) == (params.keep == "none")
    removed = verdicts.keys() | verdicts_of(state, "identity").keys() | verdicts_of(state, "exact").keys()
    [record] = state.stage("near").values()
    assert record.counts["unchecked"] == 0
    assert sum(record.counts["dropped"].values()) == len(verdicts) == record.counts["read"] - record.counts["kept"]
    living = sorted(texts.keys() - removed)
    if params.is_directed:
        living.sort(key=lambda doc_id: extent(texts[doc_id], params))
    for other, one in combinations(living, 2):
        if meet(one, other) and similarity(texts[one], texts[other], params) >= params.threshold:
            assert not _share_a_band(texts[one], texts[other], params)  # were never candidates


def extent(text, params):
    sketch = grams(text, params)[: minhash.SKETCH]
    return int(rows.extents(pa.array([sketch.tobytes()], pa.large_binary()))[0])


def _share_a_band(one, other, params):
    keys = minhash.band_keys(minhash.signatures(pa.array([one, other], pa.large_string()), params)[0], params)
    return bool((keys[0] == keys[1]).any())


# ---- kinds of text


def test_code_is_not_compared_with_prose_nor_tables_with_either(tmp_path):
    short, middle, long = copies(1)
    sources = {"prose": [short], "code": [middle], "rows": [long], "more": [middle + " more"]}
    more = {"code": CODE, "rows": 'kind = "tables"\n', "more": CODE + ALLOW}
    state = build_stepwise(write_sources(tmp_path / "raw", sources, more=more), tmp_path / "root")
    assert texts_gone(state) == {middle + " more": middle}


def test_code_is_compared_by_its_tokens_in_their_case(tmp_path):
    names = [f"variable_{number} = Value{number}" for number in range(60)]
    first, upper = "\n".join(names), "\n".join(names).upper()
    spaced = first.replace(" = ", "  =  ") + ";"
    for kind, wanted in (("", {first, upper}), (CODE, {first})):
        more = {"web": kind + ALLOW}
        path = write_sources(tmp_path / f"raw{len(kind)}", {"web": [first, upper, spaced]}, more=more)
        state = build_stepwise(path, tmp_path / f"root{len(kind)}")
        assert texts_gone(state).keys() == wanted
        [rule] = {evidence["compared"] for *_, evidence in verdicts_of(state).values()}
        assert ("5-grams of code tokens" if kind else "5-grams of words") in rule


def test_digits_count_unless_the_manifest_folds_them(tmp_path):
    pages = [" ".join(f"on day {day} it was {day + page} degrees" for day in range(40)) for page in (100, 200)]
    for near, gone in (("{}", 0), ('{ fold_digits = ["prose"] }', 1), ('{ fold_digits = ["tables", "code"] }', 0)):
        root = tmp_path / str(len(near))
        state = build_stepwise(write_sources(root / "raw", {"web": pages}, near), root / "root")
        assert len(verdicts_of(state)) == gone


# ---- who stays


@pytest.mark.parametrize(
    ("prefer", "stays"),
    [
        ('["longest"]', "long"),
        ('["newest"]', "new"),
        ('["signal:mean_line_chars", "newest"]', "long"),
        ('["signal:-bytes"]', "old"),
        ('["signal:lines", "newest"]', "new"),  # one line each
    ],
)
def test_inside_a_source_the_manifest_says_who_stays(tmp_path, prefer, stays):
    words = " ".join(fresh(iter(range(200)), 150))
    texts = {"old": words, "new": words + " x", "long": words + " xyz"}
    times = {"old": "2019-01-01T00:00:00Z", "new": "2021-01-01T00:00:00Z", "long": ""}
    rows = [{"text": text, "timestamp": times[name]} for name, text in texts.items()]
    path = write_sources(tmp_path / "raw", {"web": rows}, f"{{ prefer = {prefer} }}")
    gone = texts_gone(build_stepwise(path, tmp_path / "root"))
    assert gone == {text: texts[stays] for name, text in texts.items() if name != stays}


def test_with_keep_none_both_of_a_pair_go_and_each_names_the_other(tmp_path):
    one, other, _ = copies(2)
    alone = " ".join(fresh(iter(range(5000, 6000)), 100))
    sources = {"a": [one, alone], "b": [other]}
    path = write_sources(tmp_path / "raw", sources, '{ keep = "none" }', dict.fromkeys(sources, ALLOW))
    state = build_stepwise(path, tmp_path / "root")
    assert texts_gone(state) == {one: other, other: one}
    assert all("survivor" not in evidence for *_, evidence in verdicts_of(state).values())
    assert state.stage("near")["all"].counts["removed"] == {"a < b": 1, "b < a": 1}


def test_only_between_compares_no_other_combination(tmp_path):
    one, two, three, four = copies(3, 4)
    sources = {"a": [one, two], "b": [three], "c": [four]}
    more = dict.fromkeys(sources, ALLOW)
    path = write_sources(tmp_path / "raw", sources, '{ only_between = [["a", "b"]] }', more)
    state = build_stepwise(path, tmp_path / "root")
    assert texts_gone(state) == {three: two}
    assert state.stage("clusters")["all"].counts["clustered"] == 3  # c never entered
    path = write_sources(tmp_path / "raw", sources, '{ only_between = [["a", "b"], ["a", "a"], ["b", "c"]] }', more)
    assert texts_gone(build_stepwise(path, tmp_path / "root")) == {one: two, three: two}  # b is gone: c has nobody


def test_a_bucket_without_a_pair_that_may_meet_gives_no_edge(tmp_path):
    sources = {"a": copies(4), "b": copies(5)}
    path = write_sources(tmp_path / "raw", sources, '{ only_between = [["a", "b"]] }')
    state = build_stepwise(path, tmp_path / "root")
    assert state.stage("candidates-near")["all"].counts["buckets"] > 14
    assert state.stage("candidates-near")["all"].counts["edges"] == 0


# ---- measures


HASHES = st.integers(0, 9) | st.integers(0, (1 << 64) - 1)


@settings(deadline=None)
@given(st.dictionaries(HASHES, st.booleans(), max_size=40))
@example({**dict.fromkeys(range(7), True), (1 << 64) - 1: False})
def test_what_contains_another_comes_before_it(hashes):
    inner = {each for each, is_inside in hashes.items() if is_inside}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minhash, "SKETCH", 8)
        sketches = [np.array(sorted(each)[:8], np.uint64).tobytes() for each in (hashes, inner)]
        outer_key, inner_key = rows.extents(pa.array(sketches, pa.large_binary())).tolist()
    assert outer_key <= inner_key
    assert outer_key < inner_key or sketches[0] == sketches[1] or outer_key == (1 << 64) - 1 - 8  # as large as may be


def test_containment_finds_an_excerpt(tmp_path):
    words = fresh(iter(range(2000)), 400)
    whole, half = " ".join(words), " ".join(words[60:300])
    for near, gone in (("{}", {}), ('{ mode = "containment" }', {half: whole})):
        root = tmp_path / str(len(near))
        state = build_stepwise(write_sources(root / "raw", {"web": [whole, half]}, near), root / "root")
        assert texts_gone(state) == gone
    [(_, value, evidence)] = verdicts_of(state).values()
    assert (value, evidence["compared"][:11]) == (1.0, "containment")


@pytest.mark.parametrize("near", ['prefer = ["newest"]', 'prefer = ["signal:-bytes"]', "prefer = []"])
@pytest.mark.parametrize("words", [150, 4000])  # of which a sketch holds all, or few
def test_what_is_contained_goes_whatever_the_order_says(tmp_path, near, words):
    numbers = iter(range(1 << 30))
    whole = [fresh(numbers, words) for _ in range(6)]
    halves = [each[words // 40 :] for each in whole]
    sources = {
        "first": [{"text": " ".join(each), "timestamp": "2024-01-01T00:00:00Z"} for each in halves[:3]],
        "second": [{"text": " ".join(each), "timestamp": "2020-01-01T00:00:00Z"} for each in [*whole, *halves[3:]]],
    }
    wanted = {" ".join(half): " ".join(all) for half, all in zip(halves, whole, strict=True)}
    more = dict.fromkeys(sources, ALLOW)
    for containment in ("contained", "order"):
        rule = f'{{ mode = "containment", containment = "{containment}", {near} }}'
        root = tmp_path / containment
        state = build_stepwise(write_sources(root / "raw", sources, rule, more), root / "root")
        assert (texts_gone(state) == wanted) == (containment == "contained")


def test_sketches_and_exact_ngrams_agree_and_texts_in_doubt_alone_are_measured(tmp_path):
    rng, numbers, texts = random.Random(3), iter(range(1 << 30)), []
    for distance in (1, 1, 1, 16, 19, 20, 22, 26, 90):
        words = fresh(numbers, 1000)
        edited = list(words)
        for place in rng.sample(range(0, 1000, 5), distance):
            edited[place] = f"e{next(numbers)}"
        texts += [" ".join(words), " ".join([*edited, "end"])]
    found = {}
    for verify in ("sketch", "exact"):
        path = write_sources(tmp_path / verify, {"web": texts}, f'{{ verify = "{verify}", rows = 4, bands = 28 }}')
        state = build_stepwise(path, tmp_path / f"root-{verify}")
        found[verify] = texts_gone(state), state.stage("near")["all"].counts["measured_by"]
        assert ("doubts" in state.records) == (verify == "sketch")
        if verify == "sketch":
            doubts = state.stage("doubts")["all"].counts
            assert 0 < doubts["doubtful"] < doubts["read"]
    assert found["sketch"][0] == found["exact"][0]
    assert set(found["sketch"][1]) == {"exact", "sketch"}
    assert set(found["exact"][1]) == {"exact"}


def test_verify_exact_has_no_stage_of_doubts(tmp_path):
    path = write_sources(tmp_path, {"web": copies(6)}, '{ verify = "exact" }')
    assert "doubts" not in [stage.name for stage in flow(load(str(path)), "dedup")]


# ---- what a manifest says


@pytest.mark.parametrize(
    ("near", "message"),
    [
        ({"prefer": ["longets"]}, "prefer: no preference is called 'longets'; did you mean 'longest'?"),
        ({"prefer": ["signal:wrods"]}, ": prefer: no signal is called 'wrods'; did you mean 'words'?"),
        ({"prefer": ["signal:"]}, "prefer: 'signal:' names no signal"),
        ({"only_between": [["web", "wiki"]]}, ": only_between: no source is named 'wiki'; known: code, web"),
        (
            {"only_between": [["web"]]},
            "only_between: ['web'] is no combination: name two sources or more, or one twice",
        ),
        ({"only_between": [["web", "code"]]}, ": only_between: nothing would be compared: sources of different kinds"),
        ({"keep": "all"}, "keep: Input should be 'one' or 'none'"),
        ({"mode": "cosine"}, "mode: Input should be 'jaccard' or 'containment'"),
        ({"verify": "no"}, "verify: Input should be 'sketch' or 'exact'"),
        ({"fold_digits": ["words"]}, "fold_digits[1]: Input should be 'prose', 'code' or 'tables'"),
        ({"bands": "optimum", "rows": 3}, ": bands = 'optimum' chooses the rows too: leave rows out"),
        ({"preset": "finewb"}, ": no preset is called 'finewb'; did you mean 'fineweb'?"),
        ({"preset": "fineweb", "rows": 200, "permutations": 256}, "200 = 2800 is more than permutations = 256"),
    ],
)
def test_a_wrong_policy_is_one_line(near, message):
    sources = [{"name": name, "pipeline": "c4", "inputs": ["x"]} for name in ("web", "code")]
    sources[1]["kind"] = "code"
    with pytest.raises(ManifestError) as error:
        check(parse({"name": "x", "seed": 1, "source": sources, "dedup": {"near": near}}, "x.toml"), "x.toml")
    assert str(error.value).startswith("x.toml: dedup.near")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_preset_can_be_changed_and_bands_can_be_datasketchs_optimum():
    params = minhash.parse({"preset": "slimpajama", "keep": "none"})
    assert (params.ngram, params.bands, params.rows, params.permutations) == (13, 9, 13, 128)
    params = minhash.parse({"preset": "slimpajama", "bands": 20, "rows": 6})
    assert (params.ngram, params.permutations) == (13, 120)
    params = minhash.parse({"bands": "optimum", "threshold": 0.8})
    assert (params.bands, params.rows, params.permutations) == (9, 13, 128)  # as SlimPajama's
    params = minhash.parse({"mode": "containment"})
    assert (params.bands, params.rows, params.permutations) == (28, 4, 112)
    assert minhash.parse("stack").ngrams_of("code") == ("code", 5, False)


def test_the_table_in_the_readme_is_one_that_parses():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"```toml\n(\[dedup\.near\]\n.*?)```", readme, re.DOTALL)
    near = tomllib.loads(shown[1])["dedup"]["near"]
    assert minhash.parse(near).model_dump(exclude_defaults=True) == {
        "fold_digits": ("prose",),
        "only_between": (("web", "wiki"),),
        "permutations": 112,
    }
    assert near.keys() >= MinHashParams.model_fields.keys() - {"permutations"}
