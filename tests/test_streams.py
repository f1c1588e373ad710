"""Stages, miniatures, what is held out, long documents, near copies together: what a build makes of them."""

import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from corpora import WORDS
from hypothesis import given, settings
from hypothesis import strategies as st
from stepwise import build_stepwise

from redpajama.dedup.near import families
from redpajama.engine.tables import read_table
from redpajama.errors import BuildFailed
from redpajama.exports import megatron
from redpajama.manifest import ManifestError, parse
from redpajama.mixers import lengths, selection
from redpajama.mixers.budget import read_budget
from redpajama.mixers.selection import Cut

NO_DEADLINE = settings(deadline=None)
HEAD = """
name = "streams"
seed = 5
tokenizer.train.vocab_size = 300
shards.tokens_per_shard = 3000
[[source]]
name = "news"
pipeline = "rows"
inputs = ["news.jsonl"]
options.fields = { text = "text", id = "id" }
[[source]]
name = "web"
pipeline = "rows"
inputs = ["web.jsonl"]
options.fields = { text = "text", id = "id" }
"""
PLAIN = """
[mixture]
budget_tokens = 16000
slice = [{ source = "news", weight = 1, max_epochs = 4 }, { source = "web", weight = 3, max_epochs = 4 }]
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for name, count in {"news": 120, "web": 300}.items():
        drawn = random.Random(name)
        rows = [{"id": f"{n}", "text": " ".join(drawn.choices(WORDS, k=5 + n % 30))} for n in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


class Built:
    """A build of a mixture over the same raw files, and what its mixture holds, in order."""

    def __init__(self, raw: Path, root: Path, mixture: str, head: str = HEAD) -> None:
        manifest = raw / f"{root.name}.toml"
        manifest.write_text(head + mixture)
        self.build = build_stepwise(manifest, root, "tokens")
        self.store = self.build.store
        self.parts = self.build.parts("mixture")
        self.counts = self.build.stage("mixture")["streams"].counts
        self.shards = [part.stem.rpartition("/")[2].rpartition("-")[0] for part in self.build.parts("tokens")]

    def rows(self, held_out: bool = False) -> list[dict]:
        own = [part for part in self.parts if ("held_out" in part.counts) is held_out]
        return [row for part in own for row in read_table(self.store, part.file(".parquet")).to_pylist()]

    def copies(self) -> Counter[str]:
        return Counter(row["doc_id"] for row in self.rows())


@pytest.fixture(scope="module")
def plain(raw, tmp_path_factory) -> Built:
    return Built(raw, tmp_path_factory.mktemp("b") / "plain", PLAIN)


# ---- stages


@pytest.fixture(scope="module")
def staged(raw, tmp_path_factory) -> Built:
    stages = """
[mixture]
slice = [{ source = "news", weight = 1, max_epochs = 4 }, { source = "web", weight = 3, max_epochs = 4 }]
[[mixture.stage]]
budget_tokens = 10000
[[mixture.stage]]
name = "anneal"
budget_tokens = 6000
weights = { news = 3, web = 1 }
"""
    return Built(raw, tmp_path_factory.mktemp("b") / "staged", stages)


def test_stages_have_their_budgets_and_weights_and_shards_of_their_own(staged):
    cuts = {leaf: row["cuts"] for leaf, row in read_budget(staged.build).items()}
    assert [cut["stage_tokens"] for cut in cuts["news"]] == [2500, 4500]
    assert [cut["stage_tokens"] for cut in cuts["web"]] == [7500, 1500]
    assert sorted({name.rsplit("-", 3)[0] for name in staged.shards}) == ["streams-anneal", "streams-stage1"]
    first = [name for name in staged.shards if "stage1" in name]
    assert len(first) == 4


def test_a_stage_goes_on_where_the_one_before_it_stopped(staged):
    seen: dict[str, list[int]] = {}
    for row in staged.rows():
        seen.setdefault(row["doc_id"], []).append(row["copy"])
    assert all(sorted(copies) == list(range(len(copies))) for copies in seen.values())
    sizes = {name: {len(copies) for id, copies in seen.items() if id.startswith(name)} for name in ("news", "web")}
    assert all(max(counts) - min(counts) <= 1 for counts in sizes.values())


def test_a_stage_alone_is_part_of_the_stages_as_a_multiset(raw, staged, tmp_path):
    first = Built(raw, tmp_path / "first", PLAIN.replace("16000", "10000"))
    assert first.copies() <= staged.copies()
    assert [row["doc_id"] for row in first.rows()] == [row["doc_id"] for row in staged.rows()][: len(first.rows())]


def test_stages_that_do_not_add_up_are_one_line_with_the_edit():
    values = {
        "name": "m",
        "seed": 1,
        "tokenizer": {"path": "t.json"},
        "source": [{"name": "a", "pipeline": "c4", "inputs": ["x.gz"]}],
        "mixture": {"slice": [{"source": "a", "weight": 1}], "stage": [{"budget_tokens": 9, "weights": {"b": 1}}]},
    }
    with pytest.raises(ManifestError, match="stage: no slice or group is called 'b'"):
        parse(values, "m.toml")
    values["mixture"] |= {"stage": [{"budget_tokens": 9}], "budget_tokens": 8}
    with pytest.raises(ManifestError, match="budget_tokens is 8, and its stages have 9: leave it out"):
        parse(values, "m.toml")


# ---- miniatures


@pytest.mark.parametrize("parts", [2, 8])
def test_a_miniature_is_a_subset_with_every_repetition_rate_kept(raw, plain, tmp_path, parts):
    small = Built(raw, tmp_path / "small", PLAIN.replace("[mixture]", f'[mixture]\nscale = "1/{parts}"'))
    whole, own = plain.copies(), small.copies()
    assert all(own[doc_id] == whole[doc_id] for doc_id in own)
    tokens = small.counts["tokens"]
    for leaf, row in read_budget(plain.build).items():
        assert (
            0 <= tokens[leaf] - row["cuts"][0]["target_tokens"] / parts < 2 * 3 * 60
        )  # two strata, of documents thrice
    rates = {}
    for name, built in (("whole", whole), ("small", own)):
        counts = [times for doc_id, times in built.items() if doc_id.startswith("news")]
        rates[name] = sum(counts) / len(counts)
    assert rates["small"] == pytest.approx(rates["whole"], rel=0.1)


def test_a_smaller_miniature_is_part_of_a_larger_one(raw, tmp_path):
    found = [
        Built(raw, tmp_path / f"s{parts}", PLAIN.replace("[mixture]", f'[mixture]\nscale = "1/{parts}"')).copies()
        for parts in (2, 5)
    ]
    assert found[1] < found[0]


# ---- what is held out


@pytest.fixture(scope="module")
def held(raw, tmp_path_factory) -> Built:
    mixture = PLAIN.replace("[mixture]", "[mixture]\nvalidation = 0.1").replace("16000", "12000")
    return Built(raw, tmp_path_factory.mktemp("b") / "held", mixture)


def test_a_tenth_of_all_documents_is_held_out_and_none_of_it_is_trained_on(held):
    out = held.rows(held_out=True)
    texts = {row["text"] for row in held.rows()}
    assert texts.isdisjoint(row["text"] for row in out)
    assert len(out) == len({row["doc_id"] for row in out}) == pytest.approx(42, abs=18)
    assert {row["source"] for row in out} == {"news", "web"}
    assert sum(held.counts["held_out"]["documents"].values()) == len(out)


def test_held_out_documents_have_shards_of_their_own(held):
    own = [part for part in held.build.parts("tokens") if "-validation-" in part.stem]
    assert len(own) == 1
    index = megatron.read_index(Path(held.store.path(own[0].file(".idx").key)))
    assert len(index.sizes) == len(held.rows(held_out=True))


def test_another_budget_holds_out_the_same(raw, held, tmp_path):
    mixture = PLAIN.replace("[mixture]", "[mixture]\nvalidation = 0.1").replace("16000", "5000")
    other = Built(raw, tmp_path / "other", mixture)
    assert [row["doc_id"] for row in other.rows(held_out=True)] == [row["doc_id"] for row in held.rows(held_out=True)]
    more = Built(raw, tmp_path / "more", mixture.replace("0.1", "0.2"))
    ids = {row["doc_id"] for row in more.rows(held_out=True)}
    assert ids > {row["doc_id"] for row in held.rows(held_out=True)}


# ---- long documents


def words(texts: pa.Array) -> np.ndarray:
    return np.array([len(text.split()) for text in texts.to_pylist()])


@NO_DEADLINE
@given(st.lists(st.text(alphabet="ab \n", max_size=60), max_size=5), st.integers(1, 8))
def test_long_texts_are_cut_at_the_longest_beginning_that_fits(texts, most):
    array = pa.array(texts, pa.large_string())
    sizes, kept = lengths.limited(words, array, words(array), most)
    for text, size, end in zip(texts, sizes.tolist(), kept.to_pylist(), strict=True):
        head = text if end is None else text.encode()[:end].decode()
        assert (len(head.split()), head) == (size, text[: len(head)])
        assert size == min(most, len(text.split()))


def test_a_first_word_that_is_too_long_is_cut_inside():
    """Else nothing of the document stays, and it counts as one without tokens."""
    texts = pa.array(["wordswithoutspace and more", "  背景としての文章", "ab cd"], pa.large_string())
    sizes, kept = lengths.limited(letters, texts, letters(texts), 6)
    assert sizes.tolist() == [6, 6, 4]
    assert kept.to_pylist() == [6, 2 + 3 * 6, None]
    batch = lengths.cut(pa.record_batch({"text": texts, lengths.CUT: kept}))
    assert batch.column("text").to_pylist() == ["wordsw", "  背景としての", "ab cd"]


def letters(texts: pa.Array) -> np.ndarray:
    return np.array([len("".join(text.split())) for text in texts.to_pylist()])


@pytest.mark.parametrize("way", ["cut", "leave_out"])
def test_no_document_of_a_build_has_more_tokens_than_allowed(raw, plain, tmp_path, way):
    keys = f'[mixture]\nmax_document_tokens = 40\nlong_documents = "{way}"'
    short = Built(raw, tmp_path / way, PLAIN.replace("[mixture]", keys).replace("16000", "8000"))
    whole = {row["doc_id"]: row for row in plain.rows()}
    rows = short.rows()
    assert max(row["n_tokens"] for row in rows) <= 40 < max(row["n_tokens"] for row in whole.values())
    cut = [row for row in rows if row["doc_id"] in whole and whole[row["doc_id"]]["n_tokens"] > 40]
    assert bool(cut) is (way == "cut")
    told = sum(record.counts.get("shortened", 0) for record in short.build.stage("counts").values())
    assert bool(told) is (way == "cut")
    assert all(whole[row["doc_id"]]["text"].startswith(row["text"]) and row["n_tokens"] > 30 for row in cut)


def test_a_document_longer_than_a_shard_is_one_line_with_the_edit(raw, tmp_path):
    head = HEAD.replace("tokens_per_shard = 3000", "tokens_per_shard = 50")
    (raw / "long.toml").write_text(head + PLAIN)
    said = "tokens, more than tokens_per_shard = 50: set mixture.max_document_tokens = 50, which cuts it"
    (raw / "before.toml").write_text(HEAD + PLAIN)
    build_stepwise(raw / "before.toml", tmp_path / "r", "mixture")  # what fits a longer shard is no answer
    with pytest.raises(BuildFailed, match=said):
        build_stepwise(raw / "long.toml", tmp_path / "r", "mixture")


# ---- keys


@NO_DEADLINE
@given(st.integers(1, 10**6), st.lists(st.integers(1, 10**7), min_size=1, max_size=4))
def test_windows_of_all_stages_meet_without_gap_or_overlap(available, stages):
    start = 0
    for tokens in stages:
        end, place = start + tokens, 0
        for copy in range(start // available, min((end - 1) // available, start // available + 3) + 1):
            keys = np.array([0, 2**64 - 1], np.uint64)
            low, high = selection.spread(keys, np.full(2, copy), end, available, start).tolist()
            assert abs(low - place) <= 1
            place = high + 1
        start = end


def test_strata_hold_documents_that_are_seen_as_often():
    ids = pa.array([f"s/{number}" for number in range(500)])
    hashes = selection.selection_hashes(3, ids)
    cuts = [Cut(1, int(0.2 * 2**64)), Cut(1, int(0.6 * 2**64))]
    strata = selection.strata_of(hashes, ids, cuts)
    times = [tuple(selection.copies(cut, int(key), "") for cut in cuts) for key in hashes]
    assert len({(stratum, each) for stratum, each in zip(strata.tolist(), times, strict=True)}) == 3


# ---- near copies that stayed alive


def family_rows(*members: tuple[int, int, str, int]) -> pa.Table:
    names = ("cluster", "rank", "doc_id", "copies")
    columns = {name: [member[place] for member in members] for place, name in enumerate(names)}
    columns["part"] = [f"{doc_id}/0123456789abcdef" for doc_id in columns["doc_id"]]
    return pa.table([columns[name] for name in families.ROWS.names], schema=families.ROWS)


def test_members_of_a_family_have_one_draw_and_those_behind_the_limit_are_told():
    rows = family_rows(
        (1, 0, "a", 2), (1, 1, "b", 1), (1, 2, "c", 2), (5, 0, "alone", 9), (9, 0, "d", 3), (9, 0, "e", 1)
    )
    found = families.families(rows, 7, 3).to_pydict()
    assert found["doc_id"] == ["a", "b", "c", "d", "e"]
    assert found["is_full"] == [False, False, True, False, True]
    one, other = found["family"][0], found["family"][3]
    assert found["family"] == [one, one, one, other, other]
    assert not any(families.families(rows, 7, None).to_pydict()["is_full"])


NEAR = """
[dedup]
near = { preset = "fineweb", threshold = 0.99, bands = 30, rows = 3 }
"""


@pytest.fixture(scope="module")
def alike(tmp_path_factory) -> Path:
    """Documents in pairs, one of each source, that differ in one word of thirty: likely copies, and none by measure."""
    folder, drawn = tmp_path_factory.mktemp("alike"), random.Random(4)
    sources: dict[str, list[dict]] = {"news": [], "web": []}
    for number in range(80):
        text = [f"{drawn.choice(WORDS)}{drawn.randrange(1000)}" for _ in range(30)]
        sources["news"].append({"id": f"{number}", "text": " ".join(text)})
        sources["web"].append({"id": f"{number}", "text": " ".join([*text[:29], "other"])})
    for name, rows in sources.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_no_near_copy_of_what_is_held_out_stays_in_training(alike, tmp_path):
    mixture = PLAIN.replace("[mixture]", "[mixture]\nvalidation = 0.2\nallow_shortfall = true")
    built = Built(alike, tmp_path / "near", mixture, HEAD + NEAR)
    out = {row["doc_id"].partition("/")[2] for row in built.rows(held_out=True)}
    trained = {row["doc_id"].partition("/")[2] for row in built.rows()}
    assert 5 < len(out) < 30
    assert len(built.rows(held_out=True)) == 2 * len(out)
    assert trained.isdisjoint(out)


def test_copies_of_a_text_are_counted_and_limited_with_its_near_copies(alike, tmp_path):
    mixture = PLAIN.replace("[mixture]", "[mixture]\nallow_shortfall = true").replace("16000", "99000")
    free = Built(alike, tmp_path / "free", mixture, HEAD + NEAR)
    assert free.build.stage("budget")["streams"].counts["families"] == {"8": 80}
    limited = Built(alike, tmp_path / "limited", mixture.replace("[mixture]", "[mixture]\nmax_copies = 4"), HEAD + NEAR)
    together = Counter(row["doc_id"].partition("/")[2] for row in limited.rows())
    assert set(together.values()) == {4}
    dropped = [record.counts["dropped"] for record in limited.build.stage("candidates").values()]
    assert dropped == [{}, {"max-copies": 80}]
