"""Near-dedup: nothing goes but for a document that stays and is as similar as it says, in any order and sharding."""

import random
import time
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from corpora import build, cli
from near_corpora import (
    DEFAULT,
    documents_of,
    families,
    fresh,
    members,
    similarity,
    verdicts_of,
    write_sources,
)
from stepwise import build_stepwise

from redpajama.dedup.near import candidates, minhash, near, rows, walk
from redpajama.dedup.near.minhash import curve
from redpajama.engine.parts import Part, run_part
from redpajama.engine.shapes import Range
from redpajama.engine.stages import Build, Job
from redpajama.engine.tables import read_table
from redpajama.manifest import ManifestError, parse
from redpajama.preflight import check, complete

ALLOW = "max_removed_fraction = 1\n"


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
        assert evidence["similarity_by"] == "exact"
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
    wanted, found = (
        {doc_id: _without_parts(*each) for doc_id, each in verdicts_of(one).items()} for one in (state, again)
    )
    assert found == wanted


def _without_parts(other, similarity, evidence):
    return other, similarity, {key: value for key, value in evidence.items() if not key.endswith("_part")}


def test_many_partitions_remove_the_same(built, tmp_path, monkeypatch):
    path, _, state = built
    monkeypatch.setattr(candidates, "BAND_ROWS", 500)
    monkeypatch.setattr(rows, "REDUCE_BYTES", 10_000)
    again = build_stepwise(path, tmp_path / "root")
    assert len(again.parts("candidates-near")) > 2
    assert len(again.parts("near")) > 2
    assert verdicts_of(again) == verdicts_of(state)


def test_two_workers_give_the_same_bytes(built, tmp_path):
    path, _, state = built
    one = build(path, tmp_path / "one", "--workers", 1)
    assert build(path, tmp_path / "two", "--workers", 2) == one
    assert {part.outputs[part.file(".verdicts").key]["sha256"] for part in state.parts("near")} <= set(one.values())
    assert "near-duplicate" in cli("status", tmp_path / "one").stdout
    assert cli("verify", tmp_path / "one").returncode == 0


def test_another_threshold_signs_nothing_again(built, tmp_path):
    path, root = built[0], tmp_path / "root"
    build_stepwise(path, root)
    before = set(root.rglob("*"))
    other = path.with_name("other.toml")
    other.write_text(path.read_text().replace("near = {}", "near = { threshold = 0.95 }"))
    again = build_stepwise(other, root)
    written = {file.relative_to(root).parts[0] for file in root.rglob("*.*") if file not in before}
    homes = {"doubts-homes", "near-homes"}  # the splits are gone again
    assert written - {".tmp", "timing"} == {"doubts", "near", *homes}
    assert all(each[1] >= 0.95 for each in verdicts_of(again).values())


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
    [found] = state.stage("clusters").values()
    assert any(int(size) >= 64 for size in found.counts["sizes"])  # they do meet: pairs are measured, so none goes
    assert verdicts_of(state) == {}
    [record] = state.stage("near").values()
    assert record.counts["unchecked"] <= max(0, count - walk.MAX_KEPT)  # beyond the cap, counted


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


def test_documents_of_50_mb_are_signed_and_long_ones_compared_by_their_sketches(tmp_path):
    words = " ".join(f"{number:x}" for number in range(8_000_000))
    assert len(words) > 50_000_000
    signed, counts = minhash.signatures(pa.array([words, words[:-7000]], pa.large_string()), DEFAULT)
    assert counts.tolist() == [7_999_996, 7_998_996]
    assert (signed[0] == signed[1]).sum() > 105
    more = {"web": "max_removed_fraction = 1\n"}
    path = write_sources(tmp_path / "raw", {"web": [words[:2_000_000], words[:1_993_000]]}, more=more)
    state = build_stepwise(path, tmp_path / "root")
    [(_, value, evidence)] = verdicts_of(state).values()
    assert evidence["similarity_by"] == "sketch"
    assert value > 0.98


# ---- what a manifest says


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
        (
            {"rows": 0},
            "x.toml: dedup.near.rows: Input should be greater than or equal to 1, not 0"
            " (`redpajama plan` tells all 2 mistakes)",
        ),
        ({"permutations": 100}, "x.toml: dedup.near: bands x rows = 14 x 8 = 112 is more than permutations = 100"),
    ],
)
def test_a_wrong_near_is_one_line(given, message):
    values = {"name": "x", "seed": 1, "source": [{"name": "web", "pipeline": "c4", "inputs": ["x"]}]}
    with pytest.raises(ManifestError) as error:
        check(parse({**values, "dedup": {"near": given}}, "x.toml"), "x.toml")
    assert str(error.value) == message


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["one", "none"])
def test_a_hundred_thousand_near_copies_are_one_cluster(tmp_path, keep):
    """Through all stages; about a minute each."""
    base = " ".join(fresh(iter(range(1000)), 100))
    texts = [f"{base} {number}" for number in range(100_000)]
    path = write_sources(tmp_path / "raw", {"web": texts}, f'{{ keep = "{keep}" }}', {"web": ALLOW})
    state = build_stepwise(path, tmp_path / "root")
    [clusters], [record] = state.stage("clusters").values(), state.stage("near").values()
    assert (clusters.counts["clustered"], clusters.counts["clusters"]) == (100_000, 1)
    assert record.counts["dropped"] == {"near-duplicate": 100_000 - (keep == "one")}
    assert record.counts["unchecked"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["one", "none"])
def test_a_million_copies_of_one_document_pass_one_reducer(tmp_path, keep):
    """Some ten seconds each, by far the most of it verdicts; 2 GB of memory."""
    count, values = 1_000_000, {"name": "x", "seed": 1, "source": [{"name": "web", "pipeline": "c4", "inputs": ["x"]}]}
    manifest = complete(parse({**values, "dedup": {"near": {"keep": keep}}}, "x.toml"))
    copy = members([" ".join(fresh(iter(range(400)), 400))])
    sketch = copy.sketches[0].hashes[: rows.CLUSTER_NGRAMS // count].tobytes()
    same = {"part": "web/0123456789abcdef", "bytes": 2400, "total": 396, "count": 0, "ngrams": None}
    same |= {"signature": copy.signatures[0].tobytes(), "sketch": sketch, "preference": b"", "doc_id": ""}
    same |= {"sketch_is_whole": False, "ngrams_are_whole": False}
    columns = {field.name: pa.repeat(pa.scalar(same.get(field.name, 0), field.type), count) for field in rows.ROWS}
    columns["doc_id"] = pa.array([f"web/{number:07d}" for number in range(count)])
    part, whole = Part("near", "all", "x", ["x"]), Range("all", 0, 1)
    state = Build(Job(manifest, str(tmp_path), "run"), {})
    table, started = pa.table(columns, schema=rows.ROWS), time.monotonic()
    record = run_part(state.store, part, lambda outputs: ([], near.reduce(state, whole, table, outputs)))
    assert time.monotonic() - started < 120
    assert record.counts["dropped"] == {"near-duplicate": count - (keep == "one")}
    assert record.counts["removed"] == {"web < web": count - (keep == "one")}
