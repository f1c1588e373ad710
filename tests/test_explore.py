"""The explorer's numbers are those of the columns: in the page's data, and on the page in a browser."""

import gzip
import json
import random
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import Browser, find_browser
from corpora import WORDS, build, cli
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.engine.store import Store
from redpajama.report.builds import read_build
from redpajama.report.explore import NEIGHBOURS, Column, axis, counts, explore, neighbours, render
from redpajama.report.explore import _labels as labels

MANIFEST = """
name = "seen"
seed = 5
[tokenizer]
train = { vocab_size = 300 }
[[source]]
name = "news"
pipeline = "c4"
inputs = ["news-*.json.gz"]
[source.quality]
min_words = 12
max_words = 40
min_alpha_fraction = 0.8
[[source]]
name = "web"
pipeline = "c4"
inputs = ["web.json.gz"]
[source.quality]
max_mean_line_chars = 120.5
[source.language]
min_score = 0.3
[[source]]
name = "aside"
pipeline = "c4"
inputs = ["aside.json.gz"]
[mixture]
budget_tokens = 2000
[[mixture.slice]]
source = "news"
weight = 2
[[mixture.slice]]
source = "web"
weight = 1
[[mixture.slice]]
source = "aside"
weight = 0
"""
EVIL = '</script><script>document.title = "owned"</script><b>bold</b> & \u2028 <!-- '


def write_rows(path: Path, count: int, seed: int) -> None:
    rows = []
    for number in range(count):
        chosen = random.Random(1000 * seed + number)
        words = chosen.choices(WORDS, k=4 + number % 50) + ["7"] * (number % 9)
        text = (EVIL if number % 5 == 3 else "") + " ".join(words) + "\nend" * (number % 4)
        rows.append(json.dumps({"text": text, "url": f"https://example.org/{seed}/{number}", "timestamp": "t"}))
    path.write_bytes(gzip.compress("\n".join(rows).encode() + b"\n", mtime=0))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("explore")
    for seed, name in enumerate(["news-0", "news-1", "web", "aside"]):
        write_rows(folder / f"{name}.json.gz", 60, seed)
    (folder / "seen.toml").write_text(MANIFEST)
    build(folder / "seen.toml", folder / "root", "--workers", 1)
    return folder / "root"


@pytest.fixture(scope="module")
def page(root) -> Path:
    path = root.parent / "page.html"
    result = cli("explore", root, "--to", path)
    assert result.returncode == 0, result.stderr
    return path


def data_of(page: Path) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1])


def columns_of(root: Path, source: str) -> dict[str, np.ndarray]:
    """{column: values} as they stand in the files, with n_tokens where counted; joined by id, in no special order."""
    documents = [pq.read_table(path) for path in root.glob(f"documents/{source}-*/part-*.parquet")]
    table = pa.concat_tables(documents).sort_by("doc_id")
    if scored := [pq.read_table(path) for path in root.glob(f"scores/{source}-*/part-*.parquet")]:
        scores = pa.concat_tables(scored).sort_by("doc_id").column("q_language_score")
        table = table.append_column("q_language_score", scores)
    found = {name: table.column(name).to_numpy() for name in table.column_names if name.startswith("q_")}
    if counted := [pq.read_table(path) for path in root.glob(f"counts/{source}-*/part-*.parquet")]:
        found["weight"] = pa.concat_tables(counted).sort_by("doc_id").column("n_tokens").to_numpy()
    return {"weight": found["q_bytes"], **found, "id": np.array(table.column("doc_id").to_pylist())}


# ---- the data


def test_every_signal_counts_every_document_at_every_cut_as_the_columns_do(root, page):
    data = data_of(page)
    assert list(data["sources"]) == ["aside", "news", "web"]
    assert [data["sources"][name]["unit"] for name in ("news", "web", "aside")] == ["tokens", "tokens", "bytes"]
    for signal in data["signals"]:
        is_score = signal["key"] == "language_score"
        assert set(signal["sources"]) == ({"web"} if is_score else {"news", "web", "aside"})
        for source, found in signal["sources"].items():
            columns = columns_of(root, source)
            values, weights = columns[f"q_{signal['key']}"], columns["weight"]
            for cut, (low, high) in enumerate(zip(signal["low"], signal["high"], strict=True)):
                assert sum(found["documents"][cut:]) == (values >= low).sum() or cut == len(signal["low"]) - 1
                assert sum(found["weights"][:cut]) == weights[values <= high].sum() or cut == 0
            assert sum(found["weights"]) == weights.sum() == data["sources"][source]["weight"]
    wanted = {name[2:] for name in columns_of(root, "web") if name.startswith("q_")}
    assert {signal["key"] for signal in data["signals"]} == wanted
    assert next(s for s in data["signals"] if s["key"] == "language_score")["sources"]["web"]["bounds"] == {"min": 0.3}


def test_the_manifests_thresholds_are_exact(root, page):
    words = next(signal for signal in data_of(page)["signals"] if signal["key"] == "words")
    news, values = words["sources"]["news"], columns_of(root, "news")["q_words"]
    assert news["bounds"] == {"min": 12, "max": 40}
    start, end = news["start"]["min"], news["start"]["max"]
    assert (words["low"][start], words["high"][end]) == (12, 40)
    assert sum(news["documents"][start:end]) == ((values >= 12) & (values <= 40)).sum()
    assert 0 < sum(news["documents"][start:end]) < len(values)


def test_the_documents_next_to_a_threshold_are_the_nearest_of_the_columns(root, page):
    data = data_of(page)
    words = next(signal for signal in data["signals"] if signal["key"] == "words")
    columns = columns_of(root, "news")
    values, ids = columns["q_words"], columns["id"]
    for near in words["sources"]["news"]["near"]:
        is_kept = values >= 12 if near["bound"] == "min" else values <= 40
        sides = {"below": is_kept if near["bound"] == "max" else ~is_kept}
        sides["above"] = ~sides["below"]
        for side, where in sides.items():
            shown = [value for _, value in near[side]]
            wanted = sorted(values[where], key=lambda value: abs(value - near["threshold"]))[:NEIGHBOURS]
            assert shown == wanted
            for row, value in near[side]:
                found = data["texts"]["news"][str(row)]
                assert values[ids == found["id"]] == value
                assert len(found["text"]) <= 300


def test_the_page_needs_nothing_else_and_is_the_same_each_time(root, page):
    text = page.read_text()
    assert not re.search(r"(?:src|href|action)\s*=\s*[\"']?(?:https?:)?//|@import|\bfetch\(|XMLHttpRequest|url\(", text)
    assert text.count("</script>") == 2
    again = render(explore(Store(str(root)), read_build(Store(str(root)))))
    assert again == text


def test_a_root_without_a_build_is_one_line(tmp_path):
    result = cli("explore", tmp_path)
    assert result.returncode == 2
    assert "no finished build is here" in result.stderr


# ---- the arithmetic

NUMBERS = st.one_of(st.integers(0, 5).map(float), st.floats(-1e6, 1e6), st.sampled_from([0.1, 0.3, 1e5, 1e9]))
BOUNDS = st.dictionaries(st.sampled_from(["min", "max"]), NUMBERS)


@settings(deadline=None)
@given(values=st.lists(NUMBERS, max_size=30), missing=st.integers(0, 3), bounds=st.lists(BOUNDS, max_size=3))
def test_what_a_cut_keeps_is_what_its_labels_keep(values, missing, bounds):
    there = np.array(values)
    column = Column(np.array(values + [np.nan] * missing), np.arange(len(values) + missing))
    line = axis(there, bounds)
    found, shown = counts(column, line.cuts), labels(line, np.sort(there), bounds)
    assert found["missing"][0] == missing
    assert np.all(np.diff(line.cuts) > 0)
    for cut in range(len(line.cuts) - 1):
        assert sum(found["documents"][cut:]) == (there >= shown["low"][cut]).sum()
    for cut in range(1, len(line.cuts)):
        assert sum(found["documents"][:cut]) == (there <= shown["high"][cut]).sum()
    for name, threshold in (item for bound in bounds for item in bound.items()):
        assert (cut := line.cut_of(name, threshold)) in line.cuts
        keeps = there >= threshold if name == "min" else there <= threshold
        assert np.array_equal(keeps, there >= cut if name == "min" else there < cut)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9).map(float), max_size=40), st.sampled_from(["min", "max"]), st.integers(0, 9))
def test_neighbours_are_the_nearest_and_of_equals_the_first(values, bound, threshold):
    keeps = (lambda value: value >= threshold) if bound == "min" else (lambda value: value > threshold)
    order = sorted(range(len(values)), key=lambda row: (abs(values[row] - threshold), row))
    below = [row for row in order if not keeps(values[row])][:NEIGHBOURS]
    above = [row for row in order if keeps(values[row])][:NEIGHBOURS]
    assert neighbours(np.array(values), bound, threshold) == (below, above)


# ---- the page in a browser

needs_browser = pytest.mark.skipif(not find_browser(), reason="no chromium or chrome is on this machine")
KEPT = "[...document.querySelectorAll('[data-source={}] b[data-value]')].map(each => +each.dataset.value)"
SHOWN = "[...document.querySelectorAll('[data-source={}] b[data-value]')].map(each => each.textContent)"


@pytest.fixture(scope="module")
def browser():
    with Browser() as found:
        yield found


def go_to(browser: Browser, page: Path, key: str, width: int = 1280) -> None:
    browser.open(page, width)
    browser.run(
        f"location.hash = '{key}'; new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    assert browser.run("document.querySelector('h2').textContent") == key


@needs_browser
def test_the_page_shows_the_columns_numbers_and_follows_its_sliders(root, page, browser):
    go_to(browser, page, "words")
    columns = columns_of(root, "news")
    values, weights = columns["q_words"], columns["weight"]
    kept = (values >= 12) & (values <= 40)
    assert browser.run(KEPT.format("news")) == [kept.sum(), weights[kept].sum()]
    assert browser.run(SHOWN.format("news")) == [f"{kept.sum():,}", f"{weights[kept].sum():,}"]
    browser.run("document.getElementById('news-min').focus()")
    seen = set()
    for _ in range(6):
        browser.press("ArrowRight")
        low = float(browser.run("document.querySelector('output[for=news-min]').textContent.replaceAll(',', '')"))
        kept = (values >= low) & (values <= 40)
        assert browser.run(KEPT.format("news")) == [kept.sum(), weights[kept].sum()]
        seen.add(low)
    assert len(seen) > 1
    assert min(seen) >= 12
    browser.run("document.getElementById('news-max').focus()")
    browser.press("End")
    assert browser.run(KEPT.format("news")) == [(values >= low).sum(), weights[values >= low].sum()]
    browser.run("document.querySelector('[data-source=news] button').click()")
    kept = (values >= 12) & (values <= 40)
    assert browser.run(KEPT.format("news")) == [kept.sum(), weights[kept].sum()]


@needs_browser
def test_a_source_without_tokens_shows_bytes(root, page, browser):
    go_to(browser, page, "words")
    columns = columns_of(root, "aside")
    assert browser.run(KEPT.format("aside")) == [len(columns["id"]), columns["q_bytes"].sum()]
    assert "bytes kept" in browser.run("document.querySelector('[data-source=aside] .numbers').textContent")


@needs_browser
def test_texts_are_shown_as_they_are_and_never_run(page, browser):
    data = data_of(page)
    evil = {row for row, found in data["texts"]["news"].items() if found["text"].startswith(EVIL)}
    assert evil
    shows = {}
    for signal in data["signals"]:
        pairs = [
            pair
            for near in signal["sources"].get("news", {"near": []})["near"]
            for pair in near["below"] + near["above"]
        ]
        shows[signal["key"]] = {str(row) for row, _ in pairs}
    go_to(browser, page, next(key for key, rows in shows.items() if rows & evil))
    assert "owned" not in browser.run("document.title")
    shown = browser.run("[...document.querySelectorAll('blockquote')].map(each => each.textContent)")
    assert any(text.startswith(EVIL) for text in shown)
    assert browser.run("document.querySelectorAll('blockquote *').length") == 0


@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_the_window(page, browser, width):
    go_to(browser, page, "words", width)
    browser.run("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert browser.run("document.querySelectorAll('svg rect.kept').length") > 0
