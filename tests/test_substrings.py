"""Substring dedup: what goes is to be read elsewhere in the source, and is cut where text is read."""

import gzip
import json

import numpy as np
import pytest
from corpora import build, cli
from hypothesis import given, settings
from hypothesis import strategies as st
from stepwise import build_stepwise

from redpajama.artifacts import BuildFailed, Store
from redpajama.columns import read_table
from redpajama.dedup import substrings
from redpajama.dedup.spans import find_spans
from redpajama.dedup.substrings import END, without
from redpajama.manifest import ManifestError
from redpajama.report.funnel import read_build
from redpajama.report.why import why

TEXTS = st.lists(st.text(st.sampled_from("abé文😀"), max_size=40), max_size=6)


def joined(texts):
    data = b"".join(text.encode() + bytes([END]) for text in texts)
    return np.frombuffer(data, np.uint8).copy()


def marked(data, size):
    """The definition, place by place: {byte that goes}."""
    raw, found = data.tobytes(), set()
    for place in range(len(raw) - size + 1):
        window = raw[place : place + size]
        first = raw.find(window)
        if END not in window and first < place:
            found |= set(range(max(place, first + size), place + size))
    return found


@settings(deadline=None)
@given(TEXTS, st.integers(1, 9))
def test_spans_are_the_repeated_windows_narrowed_to_characters(texts, size):
    data = joined(texts)
    wanted = marked(data, size)
    starts, ends, places = (each.tolist() for each in find_spans(data, size))
    found = {byte for start, end in zip(starts, ends, strict=True) for byte in range(start, end)}
    assert found <= wanted
    assert all(data[byte] & 0xC0 == 0x80 or data[byte] >= 0xC0 for byte in wanted - found)  # parts of characters
    for start, end, place in zip(starts, ends, places, strict=True):
        data[start:end].tobytes().decode()
        assert place < start
        assert data[place] == data[start]


@settings(deadline=None)
@given(TEXTS, st.integers(1, 9))
def test_what_goes_stands_before_in_the_source(texts, size):
    data = joined(texts)
    raw = data.tobytes()
    for start, end, _ in zip(*(each.tolist() for each in find_spans(data, size)), strict=True):
        for byte in range(start, end):
            windows = [raw[at : at + size] for at in range(max(0, byte - size + 1), byte + 1)]
            assert any(raw.find(window) + size <= byte for window in windows if len(window) == size)


def test_the_first_occurrence_stays_whole_and_the_rest_goes():
    passage = "the same passage of a licence. "
    texts = ["1" + passage + "2", "3" + passage + "4", passage * 3]
    data, at = joined(texts), np.cumsum([0] + [len(text) + 1 for text in texts])
    starts, ends, _ = find_spans(data, 20)
    left = []
    for number, text in enumerate(texts):
        own = [
            [s - at[number], e - at[number]]
            for s, e in zip(starts, ends, strict=True)
            if at[number] <= s < at[number + 1]
        ]
        left.append(without(text.encode(), own).decode())
    assert left == [texts[0], "34", ""]


def test_a_run_of_one_character_keeps_one_window():
    starts, ends, _ = find_spans(joined(["x" * 1000]), 50)
    assert (starts.tolist(), ends.tolist()) == ([50], [1000])


# ---- in a build

MANIFEST = """
name = "spans"
seed = 1
[tokenizer]
train = {{ vocab_size = 300 }}
[[source]]
name = "web"
pipeline = "c4"
inputs = ["web-*.json.gz"]
{asked}
[mixture]
budget_tokens = 100_000
allow_shortfall = true
[[mixture.slice]]
source = "web"
weight = 1
"""
LICENCE = "Permission is granted, free of charge, to any person who obtains a copy of this text and keeps this notice. "


def write_corpus(folder, texts, files, asked="substrings = { min_bytes = 60, min_chars = 20 }"):
    folder.mkdir(parents=True)
    rows = [{"text": text, "url": f"https://web.org/{text[:30]}", "timestamp": "t"} for text in texts]
    for number in range(files):
        lines = "".join(json.dumps(row) + "\n" for row in rows[number::files]).encode()
        (folder / f"web-{number}.json.gz").write_bytes(gzip.compress(lines, mtime=0))
    (folder / "spans.toml").write_text(MANIFEST.format(asked=asked))
    return folder / "spans.toml"


def rows_of(state, stage):
    tables = [read_table(state.store, part.file(".parquet")) for part in state.parts(stage)]
    return [row for table in tables for row in table.to_pylist()]


TEXTS_WITH_COPIES = [
    *(
        f"{number} unlike other words{number * 7919}, {LICENCE * (number % 2)}and {number**5} an end"
        for number in range(30)
    ),
    LICENCE + "short",
]


def test_the_mixture_reads_and_counts_the_text_that_stays(tmp_path):
    state = build_stepwise(write_corpus(tmp_path / "raw", TEXTS_WITH_COPIES, 2), tmp_path / "root", "mixture")
    mixed = {row["doc_id"]: row for row in rows_of(state, "mixture")}
    whole = {row["doc_id"]: row["text"] for row in rows_of(state, "documents")}
    [lost] = rows_of(state, "substrings")
    assert whole[lost["doc_id"]] == LICENCE + "short"
    assert (lost["reason"], lost["value"], lost["threshold"]) == ("repeated-text", 5.0, 20.0)
    assert json.loads(lost["evidence"])["survivor"] in mixed
    assert mixed.keys() == whole.keys() - {lost["doc_id"]}
    assert sum(LICENCE in row["text"] for row in mixed.values()) == 1
    spans = [substrings.spans_of(state, part) for part in state.parts("documents")]
    for doc_id, places in {key: value for each in spans for key, value in each.items()}.items():
        if doc_id in mixed:
            assert mixed[doc_id]["text"] == without(whole[doc_id].encode(), places).decode()
    tokens = {row["doc_id"]: row["n_tokens"] for row in rows_of(state, "counts")}
    plain = build_stepwise(write_corpus(tmp_path / "b", TEXTS_WITH_COPIES, 2, ""), tmp_path / "b-root", "mixture")
    before = {row["doc_id"]: row["n_tokens"] for row in rows_of(plain, "counts")}
    assert all((tokens[key] < before[key]) == (len(mixed[key]["text"]) < len(whole[key])) for key in mixed)


def test_why_shows_the_spans_that_were_cut_and_status_how_many(tmp_path):
    path, root = write_corpus(tmp_path / "raw", TEXTS_WITH_COPIES, 2), tmp_path / "root"
    build(path, root, "--workers", 1)
    status = json.loads(cli("status", root, "--json").stdout)
    [row] = status["sources"]
    counts = status["stages"]["substrings"]["web"]["counts"]
    assert (row["cut_spans"], row["cut_bytes"]) == (counts["spans"], counts["span_bytes"])
    assert row["removed"] == {"repeated-text": 1}
    assert row["living"] == row["documents"] - 1
    assert f"spans cut ({counts['span_bytes']:,} B)" in " ".join(cli("status", root).stdout.split())
    store = Store(str(root))
    texts = {story["doc_id"]: story for text in TEXTS_WITH_COPIES for story in why(store, read_build(store), text)}
    cut = [story for story in texts.values() if story["spans"]]
    assert len(cut) == 15
    for story in cut:
        for span in story["spans"]:
            assert span["survivor"] in texts
            assert LICENCE[:40] in span["text"]
    [gone] = [story for story in cut if story["verdicts"]]
    assert "removed by substrings: repeated-text, survivor " in gone["fate"]
    assert "Permission is granted" in cli("why", root, gone["doc_id"]).stdout


def test_another_sharding_and_order_cut_the_same(tmp_path):
    one = build_stepwise(write_corpus(tmp_path / "a", TEXTS_WITH_COPIES, 1), tmp_path / "one", "dedup")
    other = build_stepwise(write_corpus(tmp_path / "b", TEXTS_WITH_COPIES[::-1], 5), tmp_path / "other", "dedup")
    spans = [
        {key: value for part in state.parts("documents") for key, value in substrings.spans_of(state, part).items()}
        for state in (one, other)
    ]
    assert spans[0] == spans[1]
    assert len(spans[0]) == 15


def test_a_source_with_more_text_than_fits_fails_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(substrings, "MAX_BYTES", 1000)
    with pytest.raises(BuildFailed, match="source 'web': substrings takes at most 1,000 bytes of text"):
        build_stepwise(write_corpus(tmp_path / "a", TEXTS_WITH_COPIES, 1), tmp_path / "one", "dedup")


def test_a_source_without_documents_has_no_spans(tmp_path):
    state = build_stepwise(write_corpus(tmp_path / "a", [], 1), tmp_path / "root", "dedup")
    assert state.stage("substrings")["web"].counts["spans"] == 0


def test_plan_declares_the_memory_and_a_missing_library_is_one_line(tmp_path, monkeypatch):
    manifest = write_corpus(tmp_path / "a", TEXTS_WITH_COPIES, 1)
    shown = cli("plan", manifest, "--out", tmp_path / "root")
    assert "substrings  web: 10 bytes of memory a byte of living text" in shown.stdout
    monkeypatch.setattr("redpajama.build.find_spec", lambda name: None)
    with pytest.raises(ManifestError, match=r"source\[1\].substrings: pydivsufsort is missing: pip install"):
        build_stepwise(manifest, tmp_path / "root", "dedup")
