"""What people see of near-dedup: the plan, the guard, clusters, matrices, and why a document is gone."""

import json
import random

import numpy as np
import pytest
from corpora import cli
from near_corpora import documents_of, families, fresh, verdicts_of, write_sources
from stepwise import build_stepwise

from redpajama.commands import screen
from redpajama.dedup.near import forecast, minhash
from redpajama.dedup.near.minhash import MinHashParams
from redpajama.engine.tables import read_table
from redpajama.errors import BuildFailed
from redpajama.manifest import load
from redpajama.preflight import complete
from redpajama.report.clusters import largest_clusters
from redpajama.report.difference import CUT, MAX_CHARS, word_difference
from redpajama.report.funnel import duplicate_matrix
from redpajama.report.why import why

MIXTURE = """
[tokenizer]
train = { vocab_size = 300 }
[mixture]
budget_tokens = 1000
slice = [{ source = "books", weight = 1 }, { source = "web", weight = 1 }, { source = "rest", weight = 0 }]
"""


def record_of(state):
    stages = {name: {each: {"record": key} for each, key in keys.items()} for name, keys in state.records.items()}
    return {"manifest": state.manifest.model_dump(mode="json"), "stages": stages, "removing": list(state.removing)}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Three sources: exact and near copies across; the third is counted in no tokens."""
    folder = tmp_path_factory.mktemp("near")
    texts = families(11, count=20)
    sources = {"books": texts[::2], "web": texts[1::2] + texts[:6:2], "rest": texts[::5]}
    path = write_sources(folder / "raw", sources, files=2, more=dict.fromkeys(sources, "max_removed_fraction = 1\n"))
    head, _, tail = path.read_text().partition("[dedup]")
    path.write_text(f"{head}{MIXTURE}[dedup]{tail}")
    return build_stepwise(path, folder / "root", until="mixture")


# ---- the matrix


def test_the_matrix_has_documents_bytes_and_tokens_of_what_went_for_what(built):
    texts, sources = documents_of(built), ("books", "web", "rest")
    tokens = {
        row["doc_id"]: row["n_tokens"]
        for part in built.parts("counts")
        for row in read_table(built.store, part.file(".parquet")).to_pylist()
    }
    matrix = duplicate_matrix(built.store, record_of(built))
    assert matrix.keys() == {"exact", "near"}
    for stage, pairs in matrix.items():
        wanted = {}
        for doc_id, (survivor, *_) in verdicts_of(built, stage).items():
            pair = f"{doc_id.partition('/')[0]} < {survivor.partition('/')[0]}"
            cell = wanted.setdefault(pair, {"documents": 0, "bytes": 0, "tokens": 0})
            cell["documents"] += 1
            cell["bytes"] += len(texts[doc_id].encode())
            cell["tokens"] += tokens.get(doc_id, 0)
        for pair, cell in wanted.items():
            assert cell.pop("tokens") > 0 or pair.startswith("rest < ")
            assert ("tokens" in pairs[pair]) == (not pair.startswith("rest < "))
            assert {key: pairs[pair][key] for key in cell} == cell
        assert pairs.keys() == wanted.keys()
        assert {pair.partition(" < ")[0] for pair in pairs} <= set(sources)
    counted = [cell["tokens"] for pairs in matrix.values() for cell in pairs.values() if "tokens" in cell]
    assert sum(counted) == sum(tokens.get(doc_id, 0) for s in ("exact", "near") for doc_id in verdicts_of(built, s))


def test_the_matrix_is_printed_with_tokens_or_bytes(built, capsys):
    screen.print_matrices(screen.console(), built.store, record_of(built))
    printed = capsys.readouterr().out
    assert "exact-duplicate of →" in printed
    assert "near-duplicate of →" in printed
    rows = [(line.split()[0], " B)" in line) for line in printed.splitlines() if line.startswith(("web", "rest"))]
    assert set(rows) == {("web", False), ("rest", True)}


# ---- clusters and why


def test_the_largest_clusters_are_shown_with_what_went(built):
    verdicts, texts = verdicts_of(built), documents_of(built)
    clusters = largest_clusters(built.store, record_of(built), 3)
    [counts] = [record.counts for record in built.stage("clusters").values()]
    assert max(map(int, counts["sizes"])) <= clusters[0]["size"] < 2 * max(map(int, counts["sizes"]))
    assert [each["size"] for each in clusters] == sorted((each["size"] for each in clusters), reverse=True)
    for each in clusters:
        assert each["kept"] + each["removed"] == each["size"] == sum(each["sources"].values())
        low, high = each["similarity"]
        assert 0.8 <= low <= high <= 1
        assert each["examples"][0]["doc_id"] == each["survivor"]
        for example in each["examples"]:
            assert (example["fate"] == "removed") == (example["doc_id"] in verdicts)
            assert texts[example["doc_id"]].startswith(example["text"].removesuffix("…"))
    every = largest_clusters(built.store, record_of(built), 10_000)
    assert len(every) == counts["clusters"]
    assert sum(each["removed"] for each in every) == len(verdicts)


def test_why_says_how_alike_and_shows_the_words_that_differ(built):
    texts, verdicts = documents_of(built), verdicts_of(built)
    for doc_id, (survivor, value, evidence) in list(verdicts.items())[:5]:
        [story] = why(built.store, record_of(built), doc_id)
        lost, count = evidence["lost"], evidence["ngrams"]
        assert story["fate"] == (
            f"removed by near: near-duplicate, similarity {value:g} (exact) of at least 0.8, "
            f"{evidence['shared_bands']} bands shared, {lost:.1%} of its n-grams (about {round(lost * count):,} of "
            f"{count:,}) in no survivor, survivor {survivor}"
        )
        one, other = (set(text.split()) for text in (texts[doc_id], texts[survivor]))
        for kind, words in story["difference"]:
            said = set(words.split()) - {CUT}
            assert said <= {"=": one & other, "-": one, "+": other}[kind]
        shown = {kind: " ".join(words for each, words in story["difference"] if each == kind) for kind in "-+"}
        assert set(shown["-"].split()) >= one - other
        assert set(shown["+"].split()) >= other - one
        assert story["verdicts"][0]["evidence"].keys() == evidence.keys()


def test_a_difference_is_short_and_names_both_sides():
    words = [f"w{number}" for number in range(1000)]
    edited = [*words[:500], "new", *words[501:]]
    found = word_difference(" ".join(words), " ".join(edited))
    assert found == [
        ("=", f"{CUT} w494 w495 w496 w497 w498 w499"),
        ("-", "w500"),
        ("+", "new"),
        ("=", f"w501 w502 w503 w504 w505 w506 {CUT}"),
    ]
    assert word_difference("a b c", "a b c") == []
    assert word_difference("a b", "") == [("-", "a b")]
    rng = random.Random(1)
    long = [" ".join(rng.choices(words, k=20_000)) for _ in range(2)]
    found = word_difference(*long)
    assert sum(len(text) for _, text in found) <= MAX_CHARS + len(found) + 1
    assert found[-1][1].endswith(CUT)


# ---- the guard


def test_a_source_that_would_lose_too_much_fails_with_its_largest_clusters_and_a_rerun_goes_on(tmp_path):
    numbers = iter(range(10_000))
    words = fresh(numbers, 300)
    copies = [" ".join([*words, *fresh(numbers, 1 + number % 3)]) for number in range(30)]
    more = {"web": "max_removed_fraction = 0.6\n"}
    path = write_sources(tmp_path / "raw", {"web": [*copies, *families(1, 5)]}, more=more)
    with pytest.raises(BuildFailed) as error:
        build_stepwise(path, tmp_path / "root")
    message = str(error.value)
    assert message.startswith("source 'web': near-dedup would remove ")
    assert "more than max_removed_fraction = 0.6; most are copies of web/" in message
    assert "(29: 'w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 " in message
    assert "\n" not in message
    before = written(tmp_path / "root")
    path.write_text(path.read_text().replace("max_removed_fraction = 0.6\n", ""))  # 0.9 for c4
    assert len(verdicts_of(build_stepwise(path, tmp_path / "root"))) > 29
    after = written(tmp_path / "root")
    assert after == before  # nothing was done twice: it had all been there


def written(root):
    """{file: when it was written} of outputs."""
    others = {".tmp", "timing", "near-split", "near-homes"}  # the last are made once the check has passed
    return {file: file.stat().st_mtime_ns for file in root.rglob("*.*") if not others & set(file.parts)}


# ---- the plan


def test_a_plan_prints_the_curve_and_the_costs(tmp_path):
    path = write_sources(tmp_path / "raw", {"web": ["a text"]}, '{ bands = 9, rows = 13, verify = "exact" }')
    result = cli("plan", path, "--out", tmp_path / "root")
    assert result.returncode == 0, result.stderr
    assert "jaccard >= 0.8 of 5-grams of words; 9 bands of 13 rows" in result.stdout
    assert "0.80 39.88%" in result.stdout  # 1 - (1 - 0.8^13)^9
    assert "1.00 100.00%" in result.stdout
    assert "of 1,000,000 documents: signatures 468 MB" in result.stdout
    assert "verify = exact: reads every clustered document again" in result.stdout
    found = json.loads(cli("plan", path, "--out", tmp_path / "root", "--json").stdout)["near"]
    assert found["recall"]["0.90"] == round(minhash.curve(9, 13, 0.9), 4)
    assert found["rules"] == {"prose": "jaccard >= 0.8 of 5-grams of words; 9 bands of 13 rows"}
    assert cli("clusters", tmp_path / "root").returncode == 2


def test_a_plan_of_containment_says_what_bands_find_of_excerpts(tmp_path):
    path = write_sources(tmp_path / "raw", {"web": ["a text"]}, '{ mode = "containment" }')
    manifest, params = complete(load(str(path))), MinHashParams(mode="containment")
    found = forecast.forecast(manifest, params)["recall_by_size"]
    assert found["1.00"] == 1.0
    assert found["0.50"] == round(minhash.curve(28, 4, 0.5), 4)


def test_excerpts_are_candidates_as_often_as_the_plan_says():
    import pyarrow as pa

    params, numbers, rng = MinHashParams(mode="containment"), iter(range(1 << 30)), random.Random(2)
    for size in (0.75, 0.5, 0.25):
        pairs = []
        for _ in range(600):
            words = fresh(numbers, 204)
            count = round(200 * size) + 4
            start = rng.randrange(205 - count)
            pairs.append([" ".join(words), " ".join(words[start : start + count])])
        ones, others = (
            minhash.band_keys(minhash.signatures(pa.array(each, pa.large_string()), params)[0], params)
            for each in zip(*pairs, strict=True)
        )
        found = np.mean((ones == others).any(axis=1))
        assert found == pytest.approx(forecast.contained(params, size), abs=0.06)
