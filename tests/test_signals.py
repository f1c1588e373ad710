"""Signals: a plain-Python reference agrees with the columnar kernels on any text, however texts are batched."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from conftest import SHARED, needs_shared
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.quality.measures import inline

PIECES = ["", " ", "\n", "\n\n", "\r\n", "\t", "\x0b", "\x1c", "\x85", "\u00a0", "\u1680", "\u180e", "\u2003", "\u2028"]
PIECES += [
    "\u200b",
    "\u3000",
    "\x00",
    "a",
    "Zz",
    "7",
    "½",
    "٣",
    "é",
    "e\u0301",
    "ß",
    "文字",
    "ꙮ",
    "😀",
    "𝒳",
    "𑁍",
    "\U000e0041",
]
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=30).map("".join))


def arrow(texts):
    return pa.array(texts, pa.large_string())


def measured(texts):
    """One dict of signals for each text."""
    columns = inline.measure(arrow(texts))
    return [
        {name.removeprefix("q_"): value for name, value in zip(columns, values, strict=True)}
        for values in zip(*(column.to_pylist() for column in columns.values()), strict=True)
    ]


def share(part, whole):
    return round(part / whole * 1e8) / 1e8 if whole else 0.0


def matching(text, pattern):
    """How many characters of the text are in a class of RE2's."""
    return pc.sum(pc.match_substring_regex(arrow(list(text)), pattern)).as_py() or 0


def reference(text):
    """The definitions, word for word, in plain Python."""
    lines = text.removesuffix("\n").split("\n") if text else []
    return {
        "chars": len(text),
        "bytes": len(text.encode()),
        "words": len(text.split()),
        "lines": len(lines),
        "max_line_chars": max(map(len, lines), default=0),
        "mean_line_chars": share(len(text), len(lines)),
        "alnum_fraction": share(matching(text, r"[\p{L}\p{N}]"), len(text)),
        "alpha_fraction": share(matching(text, r"\p{L}"), len(text)),
    }


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=8))
def test_signals_of_any_texts_are_those_of_the_reference(texts):
    assert measured(texts) == [reference(text) for text in texts]


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=8), st.integers(1, 20), st.data())
def test_neither_blocks_nor_slices_of_a_batch_change_a_signal(texts, size, data):
    whole = measured(texts)
    start = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(start, len(texts)))
    columns = inline.measure(arrow(texts).slice(start, stop - start))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inline, "BLOCK_BYTES", size)
        assert measured(texts) == whole
        again = inline.measure(arrow(texts).slice(start, stop - start))
    assert again == columns
    assert columns["q_words"].to_pylist() == [each["words"] for each in whole[start:stop]]
    assert columns["q_max_line_chars"].to_pylist() == [each["max_line_chars"] for each in whole[start:stop]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, 0, 0, 0, 0, 0.0, 0.0, 0.0)),
        ("\n", (1, 1, 0, 1, 0, 1.0, 0.0, 0.0)),
        ("a\nbcd", (5, 5, 2, 2, 3, 2.5, 0.8, 0.8)),
        ("a\nbcd\n", (6, 6, 2, 2, 3, 3.0, 0.66666667, 0.66666667)),
        ("a\n\nbc\n\n", (7, 7, 2, 4, 2, 1.75, 0.42857143, 0.42857143)),
        ("x = 1\r\n", (7, 7, 3, 1, 6, 7.0, 0.28571429, 0.14285714)),
        ("naïve café", (10, 12, 2, 1, 10, 10.0, 0.9, 0.9)),
        ("天 気", (3, 7, 2, 1, 3, 3.0, 0.66666667, 0.66666667)),
        ("天\u3000気\u00a0x", (5, 12, 3, 1, 5, 5.0, 0.6, 0.6)),
        ("😀 ½ ٣", (5, 10, 3, 1, 5, 5.0, 0.4, 0.0)),
        ("e\u0301", (2, 3, 1, 1, 2, 2.0, 0.5, 0.5)),
    ],
)
def test_each_signal_by_hand(text, expected):
    assert measured([text]) == [dict(zip(inline.SIGNALS, expected, strict=True))]


def test_words_do_not_run_from_one_text_into_the_next():
    assert [each["words"] for each in measured(["one", "", "two", " ", "three four", "\u3000", "五"])] == [
        1,
        0,
        1,
        0,
        2,
        0,
        1,
    ]


def test_lines_do_not_run_from_one_text_into_the_next():
    assert [each["max_line_chars"] for each in measured(["abc", "", "de\n", "\n", "fghi"])] == [3, 0, 2, 0, 4]


def test_columns_are_named_and_typed():
    columns = inline.measure(arrow(["text"]))
    assert list(columns) == ["q_" + name for name in inline.SIGNALS]
    floats = {"q_mean_line_chars", "q_alnum_fraction", "q_alpha_fraction"}
    assert {name for name, column in columns.items() if column.type == pa.float64()} == floats
    assert {column.type for name, column in columns.items() if name not in floats} == {pa.int64()}
    assert all(column.null_count == 0 for column in columns.values())


@pytest.mark.parametrize("texts", [arrow([]), arrow(["a"]).slice(1), arrow(["", "", ""]), pa.array(["ab", "é"])])
def test_empty_and_narrow_arrays_are_measured(texts):
    columns = inline.measure(texts)
    assert columns["q_chars"].to_pylist() == [len(text) for text in texts.to_pylist()]
    assert columns["q_chars"].type == pa.int64()


def test_a_null_text_is_refused():
    with pytest.raises(ValueError, match="1 of 3 texts are null"):
        inline.measure(arrow(["a", None, "b"]))


def test_every_character_has_the_class_that_re2_gives_it():
    codes = [code for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    characters = "".join(map(chr, codes))
    classes = inline._classify(np.frombuffer(characters.encode(), np.uint8))
    firsts = classes[(np.frombuffer(characters.encode(), np.uint8) & 0xC0) != 0x80]
    array = arrow(list(characters))
    for bit, pattern in ((inline.LETTER, r"\p{L}"), (inline.DIGIT, r"\p{N}")):
        assert np.array_equal(
            firsts & bit != 0, pc.match_substring_regex(array, pattern).to_numpy(zero_copy_only=False)
        )
    assert [codes[row] for row in np.flatnonzero(firsts == inline.SPACE)] == [c for c in codes if chr(c).isspace()]


@needs_shared
@pytest.mark.parametrize("name", ["pile_cc", "wikipedia_(en)", "github", "pubmed_abstracts"])
def test_real_documents_have_the_signals_of_the_reference(name):
    with gzip.open(SHARED / "pile/mimir" / name / "test_raw.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["original"] for line, _ in zip(file, range(60), strict=False)]
    assert len(texts) == 60
    assert measured(texts) == [reference(text) for text in texts]
