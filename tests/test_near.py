"""Near-dedup: nothing goes but for a document that stays and is as similar as it says, in any order and sharding."""

import gzip
import json
import random
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from corpora import build, cli, named
from hypothesis import given, settings
from hypothesis import strategies as st
from stepwise import build_stepwise

from redpajama.artifacts import BuildFailed
from redpajama.build import check
from redpajama.columns import Blobs, read_table
from redpajama.dedup import clusters, minhash, near, ngrams
from redpajama.dedup.minhash import MinHashParams, curve
from redpajama.manifest import ManifestError, parse
from redpajama.report.why import why

DEFAULT = MinHashParams()
SOURCE = """
[[source]]
name = "{name}"
pipeline = "c4"
inputs = ["{name}-*.json.gz"]
{more}
"""


def write_sources(folder, sources, near="{}", more=None, files=1, order=None):
    """{source: texts} -> raw files and a manifest; the texts are dealt out to so many files."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = f'name = "near"\nseed = 1\n[dedup]\nnear = {near}\norder = {json.dumps(order or list(sources))}\n'
    for name, texts in sources.items():
        rows = [{"text": text, "url": f"https://{name}.org/{text[:200]}", "timestamp": "t"} for text in texts]
        for number in range(files):
            data = "".join(json.dumps(row) + "\n" for row in rows[number::files]).encode()
            (folder / f"{name}-{number}.json.gz").write_bytes(gzip.compress(data, mtime=0))
        manifest += SOURCE.format(name=name, more=(more or {}).get(name, ""))
    path = folder / "near.toml"
    path.write_text(manifest)
    return path


def documents_of(built):
    """{doc_id: text}"""
    tables = [read_table(built.store, part.file(".parquet"), ["doc_id", "text"]) for part in built.parts("documents")]
    return {row["doc_id"]: row["text"] for table in tables for row in table.to_pylist()}


def verdicts_of(built, stage="near"):
    """{doc_id: (survivor, similarity, evidence)}"""
    found = {}
    for part in built.parts(stage):
        for row in read_table(built.store, part.file(".parquet")).to_pylist():
            evidence = json.loads(row["evidence"])
            found[row["doc_id"]] = (evidence["survivor"], row["value"], evidence)
    return found


def grams(text, params=DEFAULT):
    return ngrams.distinct_ngrams(pa.array([text], pa.large_string()), params.unit, params.ngram)[0]


def similarity(one, other, params=DEFAULT):
    return ngrams.jaccard(grams(one, params), grams(other, params))


def fresh(numbers, count):
    return [f"w{next(numbers)}" for _ in range(count)]


def families(seed, count=40, words=120):
    """Texts of which some are edited copies of others, a few places at a time: chains and stars."""
    rng, numbers, texts = random.Random(seed), iter(range(1 << 30)), []
    for _ in range(count):
        base = fresh(numbers, words + rng.randrange(20))
        texts.append(" ".join(base))
        for _ in range(rng.randrange(5)):
            start = rng.randrange(len(base) - 12)
            edited = [*base[:start], *fresh(numbers, rng.randrange(1, 12)), *base[start + rng.randrange(12) :]]
            texts.append(" ".join(edited))
            base = edited if rng.random() < 0.5 else base
    return texts


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
    parents = clusters.singletons(20)
    ones, others = (np.array([edge[side] for edge in edges], np.int64) for side in (0, 1))
    clusters.unite(parents, ones, others)
    sizes = clusters.measure(parents)
    assert parents.tolist() == [min(group) for group in groups]
    assert sizes.tolist() == [len(group) if min(group) == node else 0 for node, group in enumerate(groups)]


def members(texts, params=DEFAULT):
    held = [grams(text, params) for text in texts]
    signed = minhash.signatures(pa.array(texts, pa.large_string()), params)[0]
    return clusters.Members(signed, held, np.array([len(each) for each in held]))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1 << 30), st.sampled_from([0.5, 0.7, 0.8, 0.95, 1.0]))
def test_a_walk_removes_what_is_like_a_document_that_stays_and_leaves_no_similar_pair(seed, threshold):
    params = MinHashParams(threshold=threshold)
    texts = families(seed, count=6)
    outcome = clusters.walk(members(texts, params), params)
    gone = {each.row for each in outcome.removals}
    for each in outcome.removals:
        assert each.survivor < each.row
        assert each.survivor not in gone
        assert each.similarity == similarity(texts[each.row], texts[each.survivor]) >= threshold
        assert each.measure == "exact"
    for one, other in combinations([row for row in range(len(texts)) if row not in gone], 2):
        assert similarity(texts[one], texts[other]) < threshold
    assert outcome.unchecked == 0


def test_a_chain_removes_only_what_is_similar_to_a_document_that_stays():
    numbers = iter(range(1000))
    words = fresh(numbers, 200)
    chain = [" ".join(words[start : start + 150]) for start in (0, 12, 24, 36)]
    assert similarity(chain[0], chain[1]) > 0.8 > similarity(chain[0], chain[2])
    removals = clusters.walk(members(chain), DEFAULT).removals
    assert [(each.row, each.survivor) for each in removals] == [(1, 0), (3, 2)]


def test_comparisons_beyond_a_cap_are_counted(monkeypatch):
    texts = families(3, count=20)
    everything = clusters.walk(members(texts), DEFAULT)
    assert everything.unchecked == 0
    monkeypatch.setattr(clusters, "MAX_KEPT", 3)
    capped = clusters.walk(members(texts), DEFAULT)
    assert capped.unchecked == len(texts) - 3 - len(capped.removals)
    assert len(capped.removals) < len(everything.removals)
    monkeypatch.setattr(clusters, "MAX_KEPT", 100)
    monkeypatch.setattr(clusters, "MAX_CHECKED", 0)
    assert clusters.walk(members(texts), DEFAULT).removals == []


def test_without_ngrams_only_estimates_without_doubt_remove():
    numbers, texts = iter(range(1 << 40, 1 << 41)), families(4, count=20)
    texts += [f"{text} {next(numbers)}" for text in texts]
    whole = members(texts)
    blind = clusters.Members(whole.signatures, [each[:0] for each in whole.ngrams], whole.totals)
    outcome = clusters.walk(blind, DEFAULT)
    high = minhash.doubtful(112, 0.8)[1]
    assert outcome.removals
    assert outcome.unchecked
    for each in outcome.removals:
        equal = int((whole.signatures[each.row] == whole.signatures[each.survivor]).sum())
        assert equal >= high
        assert (each.similarity, each.measure) == (round(equal / 112, 8), "estimate")
        assert similarity(texts[each.row], texts[each.survivor]) >= 0.8


def test_sketches_measure_long_documents_to_their_stated_error():
    numbers = iter(range(1 << 20))
    words = fresh(numbers, 20_000)
    texts = [" ".join(words), " ".join(words[:18_500] + fresh(numbers, 1_500))]
    whole = members(texts)
    cut = clusters.Members(whole.signatures, [each[:2048] for each in whole.ngrams], whole.totals)
    [removal] = clusters.walk(cut, DEFAULT).removals
    assert removal.measure == "sketch"
    assert removal.similarity == pytest.approx(similarity(*texts), abs=3 * (0.25 / 2048) ** 0.5)


def test_short_documents_of_a_hot_cluster_keep_all_their_ngrams_and_long_ones_a_good_sketch_or_none():
    sizes = np.array([2, 30_000, 40_000, 40_000, 10_000_000])
    totals = np.array([1 << 20, 5000, 5000, 700, 700])
    wanted = [near.MAX_NGRAMS, near.CLUSTER_NGRAMS // 30_000, 0, 700, 0]
    assert near.sketch_size(sizes, totals).tolist() == wanted
    assert wanted[1] >= near.MIN_SKETCH


@given(st.lists(st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=4), max_size=4), st.randoms())
def test_blobs_are_the_values_of_a_column_in_any_order(chunks, rng):
    arrays = [pa.array([np.array(each, np.uint64).tobytes() for each in chunk], pa.large_binary()) for chunk in chunks]
    column = pa.chunked_array([array[1:] for array in arrays], pa.large_binary())
    values = [value for chunk in chunks for value in chunk[1:]]
    order = rng.sample(range(len(values)), len(values))
    blobs = Blobs(column, np.uint64, pa.array(order, pa.int64()))
    assert [blobs[row].tolist() for row in range(len(blobs))] == [values[place] for place in order]
    part = blobs.between(1, 3)
    assert [part[row].tolist() for row in range(len(part))] == [values[place] for place in order[1:3]]


# ---- the stages


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two sources of families with copies across; three files each."""
    folder = tmp_path_factory.mktemp("near")
    texts = families(7)
    rng = random.Random(1)
    sources = {"books": texts[::2], "web": texts[1::2] + texts[:20:2]}
    for name, each in sources.items():
        sources[name] = rng.sample(each, len(each))
    path = write_sources(folder / "raw", sources, files=3)
    return path, sources, build_stepwise(path, folder / "root")


def test_every_removal_names_a_survivor_and_its_evidence_computes_again(built):
    _, _, state = built
    texts, verdicts = documents_of(state), verdicts_of(state)
    removed = {**verdicts_of(state, "identity"), **verdicts_of(state, "exact"), **verdicts}
    assert len(verdicts) > 30
    for doc_id, (survivor, value, evidence) in verdicts.items():
        assert survivor not in removed
        assert value == similarity(texts[doc_id], texts[survivor]) >= 0.8
        assert evidence["measure"] == "exact"
        keys = [minhash.band_keys(members([texts[each]]).signatures, DEFAULT) for each in (doc_id, survivor)]
        assert evidence["shared_bands"] == int((keys[0] == keys[1]).sum())
        assert not (doc_id.startswith("books/") and survivor.startswith("web/"))
    alive = [doc_id for doc_id in texts if doc_id not in removed]
    assert len(alive) + len(removed) == len(texts)
    assert max(similarity(texts[one], texts[other]) for one, other in combinations(alive, 2)) < 0.8


def test_records_count_what_the_verdicts_hold(built):
    state, verdicts = built[2], verdicts_of(built[2])
    [record] = state.stage("near").values()
    assert record.counts["dropped"] == {"near-duplicate": len(verdicts)}
    assert record.counts["read"] == record.counts["kept"] + len(verdicts)
    pairs = [f"{doc_id.partition('/')[0]} < {each[0].partition('/')[0]}" for doc_id, each in verdicts.items()]
    assert record.counts["removed"] == {pair: pairs.count(pair) for pair in sorted(set(pairs))}
    assert set(pairs) == {"books < books", "web < books", "web < web"}
    assert record.counts["unchecked"] == 0


@pytest.mark.parametrize("files", [1, 5])
def test_another_order_and_sharding_remove_the_same_for_the_same(built, tmp_path, files):
    _, sources, state = built
    shuffled = {name: random.Random(files).sample(texts, len(texts)) for name, texts in sources.items()}
    again = build_stepwise(write_sources(tmp_path / "raw", shuffled, files=files), tmp_path / "root")
    strip = lambda found: {key: (each[0], each[1], each[2]["shared_bands"]) for key, each in found.items()}  # noqa: E731
    assert strip(verdicts_of(again)) == strip(verdicts_of(state))


def test_many_partitions_remove_the_same(built, tmp_path, monkeypatch):
    path, _, state = built
    monkeypatch.setattr(near, "BAND_ROWS", 500)
    monkeypatch.setattr(near, "REDUCE_BYTES", 10_000)
    again = build_stepwise(path, tmp_path / "root")
    assert len(again.parts("candidates-near")) > 2
    assert len(again.parts("near")) > 2
    assert verdicts_of(again) == verdicts_of(state)


def test_workers_and_backends_give_the_same_bytes(built, tmp_path):
    path, _, state = built
    one = build(path, tmp_path / "one", "--workers", 1)
    assert build(path, tmp_path / "two", "--workers", 2) == one
    assert named(build(path, tmp_path / "beam", "--workers", 1, "--regroup", "beam")) == named(one)
    assert {part.outputs[part.file(".parquet")]["sha256"] for part in state.parts("near")} <= set(one.values())
    assert "near-duplicate" in cli("status", tmp_path / "one").stdout
    assert cli("verify", tmp_path / "one").returncode == 0


def test_another_threshold_signs_nothing_again_and_reads_no_text(built, tmp_path):
    path, root = built[0], tmp_path / "root"
    build_stepwise(path, root)
    before = set(root.rglob("*"))
    other = path.with_name("other.toml")
    other.write_text(path.read_text().replace("near = {}", "near = { threshold = 0.95 }"))
    again = build_stepwise(other, root)
    assert {file.relative_to(root).parts[0] for file in root.rglob("*") if file not in before} == {"near"}
    assert all(each[1] >= 0.95 for each in verdicts_of(again).values())


def test_why_names_the_survivor_and_the_similarity(built):
    state = built[2]
    doc_id, (survivor, value, _) = next(iter(verdicts_of(state).items()))
    stages = {name: {each: {"record": key} for each, key in keys.items()} for name, keys in state.records.items()}
    [story] = why(state.store, {"manifest": state.manifest.model_dump(mode="json"), "stages": stages}, doc_id)
    assert story["fate"] == (
        f"removed by near: near-duplicate, similarity {value:g} of at least 0.8, survivor {survivor}"
    )


def test_what_quality_removed_is_no_survivor(tmp_path):
    numbers = iter(range(10_000))
    words = fresh(numbers, 200)
    longer, shorter = " ".join([*words, "end"]), " ".join(words)
    more = {"web": "[source.quality]\nmax_words = 200\n"}
    state = build_stepwise(write_sources(tmp_path / "raw", {"web": [longer, shorter]}, more=more), tmp_path / "root")
    assert verdicts_of(state) == {}
    assert len(verdicts_of_quality(state)) == 1


def verdicts_of_quality(built):
    return [
        row for part in built.parts("quality") for row in read_table(built.store, part.file(".parquet")).to_pylist()
    ]


def test_the_longer_stays_then_the_smaller_id_and_the_earlier_source_before_both(tmp_path):
    numbers = iter(range(10_000))
    words = fresh(numbers, 200)
    short, long = " ".join(words), " ".join([*words, "end"])
    sources = {"first": [short], "second": [long, short + " fin"]}
    more = {"second": "max_removed_fraction = 1\n"}
    state = build_stepwise(write_sources(tmp_path / "raw", sources, more=more), tmp_path / "a")
    assert {each[0].partition("/")[0] for each in verdicts_of(state).values()} == {"first"}
    more = {"first": "max_removed_fraction = 1\n"}
    path = write_sources(tmp_path / "raw", sources, more=more, order=["second", "first"])
    state = build_stepwise(path, tmp_path / "b")
    texts, verdicts = documents_of(state), verdicts_of(state)
    assert len(verdicts) == 2
    [survivor] = {each[0] for each in verdicts.values()}
    twins = [doc_id for doc_id, text in texts.items() if len(text) == len(long)]
    assert len(twins) == 2
    assert survivor == min(twins)


# ---- truth


@pytest.mark.parametrize("count", [2000, pytest.param(50_000, marks=pytest.mark.slow)])
def test_templated_documents_do_not_collapse(tmp_path, count):
    numbers = iter(range(1 << 30))
    head, foot = fresh(numbers, 60), fresh(numbers, 60)
    texts = [" ".join(head + fresh(numbers, 60) + foot) for _ in range(count)]
    state = build_stepwise(write_sources(tmp_path / "raw", {"web": texts}), tmp_path / "root")
    [candidates] = state.stage("clusters").values()
    assert candidates.counts["largest"] > 100  # they do meet: what saves them is that pairs are measured
    assert verdicts_of(state) == {}
    [record] = state.stage("near").values()
    assert record.counts["unchecked"] == max(0, count - clusters.MAX_KEPT)  # beyond the cap, counted


def test_planted_copies_go_as_often_as_the_curve_says_and_only_above_the_threshold(tmp_path):
    numbers, levels, pairs, words = iter(range(1 << 30)), np.arange(0.5, 0.96, 0.05), 150, 100
    texts, level_of = [], {}
    for level in levels:
        shared = round(2 * (words - 4) * level / (1 + level)) + 4
        for _ in range(pairs):
            common = fresh(numbers, shared)
            twins = [" ".join(common + fresh(numbers, words - shared)) for _ in range(2)]
            level_of |= dict.fromkeys(twins, (shared - 4) / (2 * (words - 4) - (shared - 4)))
            texts += twins
    path = write_sources(tmp_path / "raw", {"web": texts}, near="{ threshold = 0.7 }")
    state = build_stepwise(path, tmp_path / "root")
    ids = documents_of(state)
    gone = [level_of[ids[doc_id]] for doc_id in verdicts_of(state)]
    assert min(gone) >= 0.7
    real = {level for level in level_of.values() if level >= 0.7}
    wanted = sum(curve(14, 8, level) for level in real) / len(real)
    assert abs(len(gone) / (pairs * len(real)) - wanted) < 0.02
    found = [level for level in gone if level >= 0.9]
    assert len(found) >= 0.99 * pairs * sum(level >= 0.9 for level in real)


# ---- bad input


def test_texts_without_words_short_ones_and_endless_ones_are_clear_cases(tmp_path):
    texts = ["!!! ???", "?!", "one two", "One, two!", "three", "word " * 5000, "word " * 9000, "word " * 4]
    more = {"web": "max_removed_fraction = 1\n"}
    state = build_stepwise(write_sources(tmp_path / "raw", {"web": texts}, more=more), tmp_path / "root")
    documents = documents_of(state)
    pairs = {(documents[doc_id][:9], documents[each[0]][:9], each[1]) for doc_id, each in verdicts_of(state).items()}
    assert pairs == {("one two", "One, two!", 1.0), ("word word", "word word", 1.0)}
    assert len(verdicts_of(state)) == 2


def test_a_corpus_without_documents_or_duplicates_builds(tmp_path):
    numbers = iter(range(1000))
    state = build_stepwise(write_sources(tmp_path / "a", {"web": [" ".join(fresh(numbers, 50))]}), tmp_path / "r")
    assert state.stage("near")["all"].counts["read"] == 0
    state = build_stepwise(write_sources(tmp_path / "b", {"web": []}), tmp_path / "s")
    assert verdicts_of(state) == {}


def test_a_document_of_50_mb_is_signed_and_one_too_long_to_travel_compared(tmp_path):
    words = " ".join(f"{number:x}" for number in range(8_000_000))
    assert len(words) > 50_000_000
    signed, counts = minhash.signatures(pa.array([words, words[:-7000]], pa.large_string()), DEFAULT)
    assert counts.tolist() == [7_999_996, 7_998_996]
    assert (signed[0] == signed[1]).sum() > 105
    more = {"web": "max_removed_fraction = 1\n"}
    path = write_sources(tmp_path / "raw", {"web": [words[:2_000_000], words[:1_993_000]]}, more=more)
    state = build_stepwise(path, tmp_path / "root")
    [(_, value, evidence)] = verdicts_of(state).values()
    assert evidence["measure"] == "sketch"
    assert value > 0.99


# ---- the guard, and what a manifest says


def test_a_source_that_would_lose_too_much_fails_and_names_its_largest_clusters(tmp_path):
    numbers = iter(range(10_000))
    words = fresh(numbers, 300)
    copies = [" ".join([*words, *fresh(numbers, 1 + number % 3)]) for number in range(30)]
    more = {"web": "max_removed_fraction = 0.6\n"}
    path = write_sources(tmp_path / "raw", {"web": [*copies, *families(1, 5)]}, more=more)
    with pytest.raises(BuildFailed) as error:
        build_stepwise(path, tmp_path / "root")
    message = str(error.value)
    assert message.startswith("source 'web': near-dedup would remove ")
    assert "more than max_removed_fraction = 0.6; most go for web/" in message
    assert "(29)" in message
    assert "\n" not in message
    path.write_text(path.read_text().replace("max_removed_fraction = 0.6\n", ""))  # 0.9 for c4
    assert len(verdicts_of(build_stepwise(path, tmp_path / "root"))) > 29


def test_a_manifest_without_near_is_as_it_was():
    values = {"name": "x", "seed": 1, "source": [{"name": "web", "pipeline": "c4", "inputs": ["x"]}]}
    manifest = parse(values, "x.toml")
    assert "near" not in manifest.dedup.model_dump()
    assert "max_removed_fraction" not in manifest.source[0].model_dump()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("finewb", "x.toml: dedup.near: no preset is called 'finewb'; did you mean 'fineweb'?"),
        ({"band": 3}, "x.toml: dedup.near: unknown key 'band'; did you mean 'bands'?"),
        ({"rows": 0}, "x.toml: dedup.near.rows: Input should be greater than or equal to 1"),
        ({"permutations": 100}, "x.toml: dedup.near: bands x rows = 14 x 8 = 112 is more than permutations = 100"),
    ],
)
def test_a_wrong_near_is_one_line(given, message):
    values = {"name": "x", "seed": 1, "source": [{"name": "web", "pipeline": "c4", "inputs": ["x"]}]}
    with pytest.raises(ManifestError) as error:
        check(parse({**values, "dedup": {"near": given}}, "x.toml"), "x.toml")
    assert str(error.value) == message
