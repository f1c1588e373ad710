"""What a removal took along: shares of n-grams that stand in no survivor, the lossless preset, and what reports say."""

import json
import random

import numpy as np
import pytest
from corpora import build, cli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from near_corpora import (
    DEFAULT,
    documents_of,
    families,
    fresh,
    grams,
    members,
    packed,
    verdicts_of,
    walked,
    write_sources,
)
from stepwise import build_stepwise

from redpajama.commands import screen
from redpajama.dedup.near import loss, minhash, walk
from redpajama.dedup.near.minhash import MinHashParams
from redpajama.engine.store import Store
from redpajama.report.builds import read_build
from redpajama.report.why import why

ALL = np.ones((9, 9), bool)
ALLOW = "max_removed_fraction = 1\n"


def share_in_none(text, others, params=DEFAULT):
    """By plain sets."""
    own = set(grams(text, params).tolist())
    held = {gram for other in others for gram in grams(other, params).tolist()}
    return len(own - held) / len(own)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1 << 30), st.sampled_from([0.3, 0.6, 0.8]))
def test_losses_of_texts_that_sketches_hold_whole_are_exact(seed, threshold):
    params, texts = MinHashParams(threshold=threshold), families(seed, count=6, words=60)
    cluster = packed([members(texts, params)])
    outcome = walk.walk(cluster, params, ALL)
    survivors = [text for row, text in enumerate(texts) if row not in outcome.rows]
    found = loss.measure(cluster, outcome)
    for row, other, own, every in zip(outcome.rows, outcome.others, found.own, found.all, strict=True):
        assert own == pytest.approx(share_in_none(texts[row], [texts[other]]))
        assert every == pytest.approx(share_in_none(texts[row], survivors))


def test_losses_of_long_texts_are_estimated_to_their_stated_error():
    numbers = iter(range(1 << 20))
    base = fresh(numbers, 8000)
    texts = [" ".join(base), " ".join([*base[:7200], *fresh(numbers, 700)])]
    cluster = packed([members(texts, with_ngrams=False)])
    outcome = walk.walk(cluster, MinHashParams(threshold=0.6), ALL)
    (found,) = loss.measure(cluster, outcome).all
    assert found == pytest.approx(share_in_none(texts[1], texts[:1]), abs=4 * np.sqrt(0.09 * 0.91 / minhash.SKETCH))


def test_what_another_survivor_holds_is_not_lost():
    numbers = iter(range(1000))
    base, own, other = fresh(numbers, 100), fresh(numbers, 10), fresh(numbers, 60)
    texts = [" ".join(base), " ".join([*other, *own]), " ".join([*base[:95], *own])]
    cluster = packed([members(texts)])
    outcome = walk.walk(cluster, MinHashParams(threshold=0.7), ALL)
    assert outcome.rows.tolist() == [2]
    (own_share,), (share,) = loss.measure(cluster, outcome)
    assert own_share > share > 0


def test_classes_count_every_document_once():
    assert loss.classes(np.array([0.0, 0.001, 0.01, 0.3, 1.0])) == {"0": 1, "0.01": 2, "0.5": 1, "1": 1}


def boilerplate(seed=4):
    """Two pages of 889 words: a frame of 800 and an article of 89 each."""
    numbers = iter(range(1 << 20))
    frame = fresh(numbers, 800)
    return [" ".join([*frame[:400], *fresh(numbers, 89), *frame[400:]]) for _ in range(2)]


def test_the_ledger_why_and_status_say_what_a_likeness_of_frames_took(tmp_path):
    pages = boilerplate()
    path = write_sources(tmp_path / "raw", {"web": pages}, "{ threshold = 0.75 }", {"web": ALLOW})
    build(path, tmp_path / "root", "--workers", 1, "--until", "dedup")
    store = Store(str(tmp_path / "root"))
    stories = [story for page in pages for story in why(store, read_build(store, ""), page)]
    [gone] = [story for story in stories if story["verdicts"]]
    evidence = gone["verdicts"][0]["evidence"]
    assert evidence["lost"] == evidence["lost_to_survivor"] == pytest.approx(93 / 885, abs=0.05)
    assert evidence["ngrams"] == 885
    assert f"{evidence['lost']:.1%} of its n-grams (about" in gone["fate"]
    assert "of 885) in no survivor" in gone["fate"]
    said = " ".join(cli("status", tmp_path / "root").stdout.split())
    account = json.loads(cli("status", tmp_path / "root", "--json").stdout)["near"]
    assert account["removed_ngrams"] == 885
    assert account["lost_ngrams"] / 885 == pytest.approx(evidence["lost"], abs=0.01)
    assert f"about {account['lost_ngrams']:,} of their 885 n-grams" in said
    assert sum(account["lost_shares"].values()) == 1
    assert (account["unchecked"], account["hot_buckets"]) == (0, 0)


def test_caps_and_hot_keys_are_told():
    found = {"unchecked": 12, "unchecked_clusters": 3, "hot_buckets": 2, "hot_rows": 30_400}
    assert screen.near_lines(found) == [
        "near-dedup left open: 12 survivors in 3 clusters were not compared with all that they may be like",
        "hot band keys: 2, of 30,400 documents",
    ]
    assert screen.near_lines({}) == []


def test_clusters_say_how_many_survivors_were_left_open(tmp_path, monkeypatch):
    monkeypatch.setattr(walk, "MAX_CHECKED", 0)
    texts = [" ".join([*(f"w{n}" for n in range(150)), "end" * number]) for number in range(1, 4)]
    path = write_sources(tmp_path / "raw", {"web": texts}, "{}", {"web": ALLOW})
    built = build_stepwise(path, tmp_path / "root", "dedup")
    [record] = built.stage("near").values()
    assert record.counts["unchecked"] == sum(record.counts["unchecked_in"].values()) > 0
    assert record.counts["unchecked_clusters"] == len(record.counts["unchecked_in"]) == 1


# ---- the lossless preset


@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 30), sketch=st.sampled_from([20, 256]))
def test_lossless_removes_only_what_one_survivor_of_no_fewer_bytes_holds_whole(
    tmp_path_factory, seed, sketch, monkeypatch
):
    folder, rng = tmp_path_factory.mktemp("lossless"), random.Random(seed)
    texts = families(seed, count=8, words=60)
    words = [text.split() for text in texts]
    texts += [" ".join(each[rng.randrange(4) : len(each) - rng.randrange(4)]) for each in words]
    with monkeypatch.context() as patch:
        patch.setattr(minhash, "SKETCH", sketch)
        path = write_sources(
            folder / "raw", {"web": texts}, '{ preset = "lossless", bands = 50, rows = 2 }', {"web": ALLOW}
        )
        built = build_stepwise(path, folder / "root", "dedup")
    found, held = verdicts_of(built), documents_of(built)
    params = minhash.parse(built.manifest.dedup.near)
    for doc_id, (survivor, value, evidence) in found.items():
        assert survivor not in found
        assert value == 1.0
        assert share_in_none(held[doc_id], [held[survivor]], params) == 0 == evidence["lost"]
        assert len(held[survivor].encode()) >= len(held[doc_id].encode())
    assert len(found) > 0


def test_threshold_one_is_never_told_by_an_estimate():
    numbers = iter(range(1 << 20))
    words = fresh(numbers, 4000)
    texts = [" ".join(words), " ".join(words[10:])]
    params = minhash.parse("lossless")
    cut = members(texts, params)
    cut.ngrams = [each._replace(hashes=each.hashes[:600], whole=False) for each in cut.ngrams]
    outcome = walked(cut, params)
    assert outcome.removals == []
    assert outcome.unchecked == 1
    assert [each.row for each in walked(members(texts, params), params).removals] == [1]
