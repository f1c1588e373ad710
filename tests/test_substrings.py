"""Substring dedup: what goes is to be read elsewhere in the source, and is cut where text is read."""

import gzip
import json
import re

import numpy as np
import pytest
from corpora import build, cli
from hypothesis import given, settings
from hypothesis import strategies as st
from stepwise import build_stepwise

from redpajama.corpus import spans, verdicts
from redpajama.corpus.spans import without
from redpajama.dedup import substrings
from redpajama.dedup.suffixes import END, find_spans
from redpajama.engine.store import Store
from redpajama.engine.tables import read_table
from redpajama.errors import BuildFailed
from redpajama.manifest import ManifestError
from redpajama.report.builds import read_build
from redpajama.report.why import why

SPACED = st.text(st.sampled_from("ab é\n"), max_size=60)
UNSPACED = st.text(st.sampled_from("文字本"), max_size=40)
TEXTS = st.lists(SPACED, max_size=6) | st.lists(UNSPACED, max_size=6) | st.lists(SPACED | UNSPACED, max_size=6)


def joined(texts):
    data = b"".join(text.encode() + bytes([END]) for text in texts)
    bounds = np.append(0, np.cumsum([len(text.encode()) + 1 for text in texts])).astype(np.int64)
    return np.frombuffer(data, np.uint8).copy(), bounds


def pieces_that_stay(texts, size, min_chars):
    """What `find_spans` leaves: for each document None where it goes whole, else the pieces between its spans."""
    data, bounds = joined(texts)
    found = find_spans(data, bounds, size, min_chars)
    pieces = []
    for number, text in enumerate(texts):
        inside = (found.starts >= bounds[number]) & (found.starts < bounds[number + 1])
        own = np.stack([found.starts[inside], found.ends[inside]], axis=1) - bounds[number]
        edges = [0, *own.ravel().tolist(), len(text.encode())]
        own = [text.encode()[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]
        goes = 0 <= found.chars[number] < min_chars
        pieces.append(None if goes else own)
    return found, bounds, pieces


@settings(deadline=None, max_examples=300)
@given(TEXTS, st.integers(1, 12), st.integers(1, 12))
def test_every_span_that_was_cut_stands_among_the_living(texts, size, min_chars):
    found, bounds, pieces = pieces_that_stay(texts, size, min_chars)
    living = [piece for own in pieces if own for piece in own]
    raw = joined(texts)[0].tobytes()
    for start, end in zip(found.starts.tolist(), found.ends.tolist(), strict=True):
        owner = int(np.searchsorted(bounds, start, "right")) - 1
        held = living if pieces[owner] else [*living, *left_of(found, raw, bounds, owner)]
        for byte in range(start, end):
            windows = [raw[at : at + size] for at in range(max(0, byte - size + 1), byte + 1)]
            assert any(len(window) == size and any(window in piece for piece in held) for window in windows)


def left_of(found, raw, bounds, owner):
    """The pieces of a document that goes whole: what it repeats of itself is told by them."""
    own = [(s, e) for s, e in zip(found.starts, found.ends, strict=True) if bounds[owner] <= s < bounds[owner + 1]]
    edges = [bounds[owner], *(place for span in own for place in span), bounds[owner + 1] - 1]
    return [raw[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]


@settings(deadline=None, max_examples=300)
@given(TEXTS, st.integers(1, 12), st.integers(1, 12))
def test_a_span_says_where_it_stands_in_a_document_that_stays(texts, size, min_chars):
    found, bounds, pieces = pieces_that_stay(texts, size, min_chars)
    data = joined(texts)[0]
    for start, place in zip(found.starts, found.places, strict=True):
        owner, holder = np.searchsorted(bounds, [start, place], "right") - 1
        assert place < start
        assert data[place] == data[start]
        assert holder == owner or pieces[holder] is not None


@settings(deadline=None, max_examples=300)
@given(st.lists(UNSPACED, max_size=6), st.integers(1, 12))
def test_no_window_stands_twice_among_the_living(texts, size):
    _, _, pieces = pieces_that_stay(texts, size, 1)
    seen = set()
    for piece in (piece.decode() for own in pieces if own for piece in own):
        chars = -(-size // 3) + 2  # whole characters of three bytes, one of them lost at either end
        for at in range(0, len(piece) - chars + 1, chars):
            assert piece[at : at + chars] not in seen or len(piece) < 2 * chars
        seen |= {piece[at : at + chars] for at in range(len(piece) - chars + 1)}


def test_the_last_copy_stays_where_the_document_that_held_the_first_goes_whole():
    shared, other, own = ("".join(chr(start + number) for number in range(size)) for start, size in RUNS)
    _, _, pieces = pieces_that_stay([other, shared + other, shared + own], 200, 200)
    assert pieces == [[other.encode()], None, [(shared + own).encode()]]


RUNS = [(0x4E00, 150), (0x5000, 1000), (0x6000, 1000)]


def test_a_window_that_is_cut_by_two_others_is_no_first_place():
    one, two, three, four = "一二三四五", "六七八九十", "甲乙丙丁戊", "子丑寅卯辰"
    middle = two + three
    texts = [one + two, three + four, one + middle + four, middle]
    _, _, pieces = pieces_that_stay(texts, 18, 1)
    assert middle in b"".join(piece for own in pieces[2:] if own for piece in own).decode()


def test_the_first_occurrence_stays_whole_and_the_rest_goes():
    passage = "the same passage of a licence. "
    texts = ["1 " + passage + "2", "3 " + passage + "4", passage * 3]
    _, _, pieces = pieces_that_stay(texts, 20, 1)
    assert [own and b"".join(own).decode() for own in pieces] == [texts[0], "3 4", None]


def test_a_run_of_one_character_keeps_one_window():
    found, _, _ = pieces_that_stay(["字" * 1000], 51, 1)
    assert (found.starts.tolist(), found.ends.tolist()) == ([51], [3000])


@pytest.mark.parametrize(
    ("before", "span", "after", "left"),
    [
        ("text ", "the same words here \n", "NoNewline", "text  \nNoNewline"),  # the line's end stays
        ("a text", " the same words here", " on", "a text on"),
        ("line one\n", "the same words here\n", "line two", "line one\nline two"),
        ("字", "同じ文字の並びがここにも", "か\u3099", "字か\u3099"),
        ("字", "同じ文字の並びがここにもか", "\u3099字", "字か\u3099字"),  # a mark stays with its letter
        ("x", "ភាសាខ្មែរភាសាខ្មែរភាសា", "្មx", "xភាសា្មx"),  # what the first letter follows is a word
    ],
)
def test_spans_end_at_words_graphemes_and_lines(before, span, after, left):
    texts = [f"0 {span} 1", before + span + after]
    _, _, pieces = pieces_that_stay(texts, 15, 1)
    if before == "x":
        assert b"".join(pieces[1]).decode().startswith("x")
        assert "\u17d2" + "ម" in b"".join(pieces[1]).decode()
    else:
        assert b"".join(pieces[1]).decode() == left


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("ab \n文\u0301"), max_size=60), max_size=5), st.integers(1, 9))
def test_no_word_is_torn_and_no_two_are_joined(texts, size):
    _, _, pieces = pieces_that_stay(texts, size, 1)
    words = {word for text in texts for word in re.findall(r"[ab\u0301]+", text)}
    for own in pieces:
        for word in re.findall(r"[ab\u0301]+", b"".join(own or []).decode()):
            assert word in words


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
    [lost] = [row for table in verdicts.every(state, "substrings") for row in table.to_pylist()]
    assert whole[lost["doc_id"]] == LICENCE + "short"
    assert (lost["reason"], lost["value"], lost["threshold"]) == ("repeated-text", 5.0, 20.0)
    assert json.loads(lost["evidence"])["survivor"] in mixed
    assert mixed.keys() == whole.keys() - {lost["doc_id"]}
    assert sum(LICENCE in row["text"] for row in mixed.values()) == 1
    found = [spans.of_part(state, part) for part in state.parts("documents")]
    for doc_id, places in {key: value for each in found for key, value in each.items()}.items():
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
    found = [
        {key: value for part in state.parts("documents") for key, value in spans.of_part(state, part).items()}
        for state in (one, other)
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 15


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
    monkeypatch.setattr("redpajama.preflight.find_spec", lambda name: None)
    with pytest.raises(ManifestError, match=r"source\[1\].substrings: pydivsufsort is missing: pip install"):
        build_stepwise(manifest, tmp_path / "root", "dedup")
