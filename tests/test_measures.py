"""Signals of the stage: the kernels agree with plain Python on any text, in any batch, on real documents."""

import gzip
import json
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from conftest import SHARED, needs_shared
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference_signals import reference

from redpajama.quality.measures import batch as measures
from redpajama.quality.measures import catalogue, characters
from redpajama.quality.measures.batch import measure, word_lists
from redpajama.quality.measures.catalogue import SETS, SIGNALS

BAD = ("bad", "very bad", "a b a b", "naïve".replace("ï", "i\u0308"))
LISTS = word_lists(bad_words=BAD)

WORDS = ["the", "and", "Of", "a", "b", "A", "bad", "very", "naïve", "NAÏVE", "lorem", "ipsum", "Lorem", "JavaScript"]
WORDS += ["#", "...", "…", "•", "-", "–", "{", "}", "don't", "ΣΑΣ", "İ", "ǅ", "ﬁ", "half½", "一二", "٣", "42", "x_y"]
WORDS += [
    "e\u0301",
    "a\u0323\u0302",
    "a\u0302\u0323",
    "각",
    "≠",
    "\u1fef",
    "\u212a",
    "\u037e",
    "😀",
    "𝒳",
    "文。",
    "\x00",
]
WORDS += [
    "[1]",
    "[٣]",
    "[edit]",
    "[citation needed]",
    "[]",
    "[[2]]",
    "so.[3]",
    "[a]",
    "it is so here now. [4]",
    "[edit",
]
WORDS += ["terms of use", "use cookies.", "PRIVACY POLICY", "<?xml version=", "one two three four five.", "z" * 31]
GAPS = [
    " ",
    " ",
    " ",
    "\n",
    "\n\n",
    "\n\n\n",
    "",
    ". ",
    "! ",
    '"\n',
    "...\n",
    "surely. ",
    "? 7",
    "\r\n",
    "\t",
    "\x0b",
    "\x1c",
    "\x85",
]
GAPS += ["\u00a0", "\u2001", "\u2028", "\u3000", ".\n", "? ", "\r", " \n"]
ASSIGNED = st.characters(exclude_categories=["Cs", "Cn"])  # NFD of what Python does not know yet may differ
PIECES = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GAPS)).map("".join), max_size=40).map("".join)
REPEATING = st.lists(st.sampled_from("abc"), max_size=80).map(" ".join)
TEXTS = st.one_of(st.text(ASSIGNED), PIECES, REPEATING)


def arrow(texts):
    return pa.array(texts, pa.large_string())


def measured(texts, lists=LISTS):
    """One dict of signals for each text."""
    columns = measure(arrow(texts), list(SETS), lists)
    rows = zip(*(column.to_pylist() for column in columns.values()), strict=True)
    return [dict(zip((name[2:] for name in columns), row, strict=True)) for row in rows]


def assert_same(texts):
    for text, found in zip(texts, measured(texts), strict=True):
        expected = reference(text, BAD)
        assert {name: found[name] for name in expected} == expected, repr(text[:200])
        assert found.keys() == expected.keys()


@settings(deadline=None, max_examples=300)
@given(st.lists(TEXTS, max_size=6))
@example(["", "\n", " ", "a", "\n\n", "\na\n", "\n\na\n\n\na", "a\n\n \n\na", "...", ".", "x\r\ny\r\n"])
@example(["0 0 0 . .\r0 0 0 . ."])  # Punkt finds more sentences in its two lines than the pattern does
@example(["lorem ipsum Lorem, IPSUM! loremipsum lorem\nipsum", "\u2001a\u2000", "\uffff", "\U0010ffff a"])
def test_signals_of_any_texts_are_those_of_the_reference(texts):
    assert_same(texts)


@settings(deadline=None, max_examples=60)
@given(st.lists(TEXTS, min_size=1, max_size=6), st.integers(1, 20), st.data())
def test_neither_blocks_nor_slices_of_a_batch_change_a_signal(texts, size, data):
    whole = measure(arrow(texts), list(SETS), LISTS)
    start = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(start, len(texts)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "BLOCK_BYTES", size)
        assert measure(arrow(texts), list(SETS), LISTS) == whole
        part = measure(arrow(texts).slice(start, stop - start), list(SETS), LISTS)
    assert part == {name: column.slice(start, stop - start) for name, column in whole.items()}


@settings(deadline=None, max_examples=20)
@given(st.lists(TEXTS, max_size=4), st.sets(st.sampled_from(SETS)))
def test_a_set_measured_alone_has_the_same_values(texts, wanted):
    whole = measure(arrow(texts), list(SETS), LISTS)
    sets = [name for name in SETS if name in wanted]
    assert measure(arrow(texts), sets, LISTS) == {f"q_{name}": whole[f"q_{name}"] for name in catalogue.names_of(sets)}


def test_many_different_words_and_lines_are_counted_beyond_the_first_table():
    text = "\n\n".join(f"w{number}" for number in range(40_000))
    assert_same([text, "short"])


@pytest.mark.parametrize("unit", ["a ", "word\n", "x", "\x00", "\n", "no. ", "é ", "a b c d e f g h i j k\n\n"])
def test_long_texts_of_one_repeated_piece_are_measured(unit):
    assert_same([unit * 5_000])


@pytest.mark.slow  # half a minute and 2 GB together; `pytest -m "not slow"` leaves them out
@pytest.mark.parametrize(
    ("unit", "words"), [("word ", 10_000_000), ("x", 1), ("\x00", 1), ("\n", 0), ("é\n", 16_666_666)]
)
def test_a_text_of_fifty_megabytes_is_measured(unit, words):
    (found,) = measured([unit * (50_000_000 // len(unit.encode()))])
    assert found["rps_doc_word_count"] == words


def test_columns_are_named_and_typed_and_the_catalogue_is_complete():
    columns = measure(arrow(["text"]), list(SETS))
    assert [name[2:] for name in columns] == [name for name, each in SIGNALS.items() if each.set in SETS]
    counts = {f"q_{each.name}" for each in SIGNALS.values() if each.unit == "count" and each.set in SETS}
    assert {name for name, column in columns.items() if column.type == pa.int64()} == counts
    assert {columns[name].type for name in columns.keys() - counts} == {pa.float64()}
    assert columns["q_rps_doc_ldnoobw_words"].null_count == 1  # no list was given


def test_what_is_a_fraction_is_never_more_than_one():
    texts = ["a a a a a a a a a a a a a", "x\nx\nx\nx", "a\n\na\n\na", "••••", "1 1 1"]
    for found in measured(texts):
        for name, value in found.items():
            assert SIGNALS[name].unit != "fraction" or value is None or 0 <= value <= 1, name


@pytest.mark.parametrize("texts", [arrow([]), arrow(["a"]).slice(1), arrow(["", "", ""]), pa.array(["ab", "é"])])
def test_empty_and_narrow_arrays_are_measured(texts):
    assert len(measure(texts, list(SETS))["q_gopher_words"]) == len(texts)


def test_a_null_text_is_refused():
    with pytest.raises(ValueError, match="1 of 2 texts are null"):
        measure(arrow(["a", None]), ["gopher"])


def test_stop_words_of_another_language_count():
    (found,) = measured(["и не то"], word_lists(stop_words=["и", "не"]))
    assert found["rps_doc_stop_word_fraction"] == 0.66666667


# ---- by hand: what papers and code say, not what the reference repeats


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("One two. Three?! Four", "rps_doc_num_sentences", 3),
        ("a b a b a b", "rps_doc_frac_chars_top_2gram", 1.0),  # "a b" 3 times: 2 * 3 of 6
        ("a b c", "rps_doc_frac_chars_top_2gram", 0.0),
        ("a b c d e x a b c d e", "rps_doc_frac_chars_dupe_5grams", 0.90909091),  # all but the x
        ("a b c d e x a b c d e", "gopher_repeated_5gram_char_fraction", 0.23809524),  # 5 of 21: the second copy
        ("a b c", "gopher_top_2gram_char_ratio", 0.6),  # datatrove: one that stands once counts, 3 of 5
        ("one\n\ntwo\n\none", "gopher_repeated_paragraph_fraction", 0.33333333),
        ("one\ntwo\none", "gopher_repeated_line_char_fraction", 0.27272727),
        ("HELLO World 42", "rps_doc_frac_all_caps_words", 0.33333333),
        ("it's", "rps_doc_frac_no_alph_words", 0.33333333),  # it, ', s
        ("Don't stop", "rps_doc_word_count", 2),
        ("É e\u0301", "rps_doc_frac_unique_words", 0.5),  # one word in NFD and lower case
        ("İ", "rps_doc_mean_word_length", 2.0),  # i and a dot above, as Python has it
        ("lorem ipsum", "rps_doc_lorem_ipsum", 0.09090909),
        ("very bad bad", "rps_doc_ldnoobw_words", 3),
        ("• one\n- two\nthree", "gopher_bullet_line_fraction", 0.66666667),
        ("• one\n- two\nthree", "rps_lines_start_with_bulletpoint_mean", 0.33333333),
        ("short\n" + "long line " * 5, "fineweb_short_line_fraction", 0.5),
        ("end.\nend。\nend", "fineweb_stopped_line_fraction", 0.66666667),
        ("We use cookies on this site.\nHere are five words kept.", "c4_kept_line_fraction", 0.5),
        ("Please enable JavaScript to see this.", "c4_javascript_lines", 1),
    ],
)
def test_each_definition_by_hand(text, name, value):
    assert measured([text])[0][name] == value


def test_sentence_ends_are_one_hundred_and_fifty_nine_and_marks_are_datatroves():
    assert len(characters.sentence_ends()) == 159
    assert np.count_nonzero(characters.classes() & characters.MARK) == 281  # len(datatrove's PUNCTUATION_SET)


def test_only_one_character_becomes_two_in_lower_case():
    assert [c for c in range(0x110000) if len(chr(c).lower()) > 1] == [characters.DOTTED_I]


def test_no_character_grows_more_in_a_folded_text_than_there_is_room_for():
    table = characters.folding()
    for code in np.flatnonzero(np.diff(table.starts)):
        assert table.starts[code + 1] - table.starts[code] <= characters.MAX_GROWTH * len(chr(code).encode())
    growth = [len(chr(low).encode()) / len(chr(code).encode()) for code, low in enumerate(table.lower) if low]
    assert max(growth) <= characters.MAX_GROWTH


def test_beyond_the_tables_no_character_has_a_class():
    for code in range(characters.END_OF_CODES, 0x110000):
        one = chr(code)
        assert not any((one.isalnum(), one.isspace(), unicodedata.combining(one))), hex(code)


# ---- real documents


@needs_shared
@pytest.mark.parametrize("name", ["pile_cc", "wikipedia_(en)", "github", "pubmed_abstracts"])
def test_real_documents_have_the_signals_of_the_reference(name):
    with gzip.open(SHARED / "pile/mimir" / name / "test_raw.jsonl.gz", "rt", encoding="utf-8") as file:
        assert_same([json.loads(line)["original"] for line, _ in zip(file, range(40), strict=False)])


@needs_shared
def test_real_pages_of_c4_and_books_have_the_signals_of_the_reference():
    with gzip.open(SHARED / "c4/wimbd/c4-sample.00000-of-00001.json.gz", "rt", encoding="utf-8") as file:
        assert_same([json.loads(line)["text"] for line, _ in zip(file, range(300), strict=False)])
    assert_same([(SHARED / "books/wss22/pg11.txt").read_text(encoding="utf-8")])
