"""Tables on the screen: they fit, numbers stand right and whole, words are not cut."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from redpajama.commands import screen
from redpajama.commands.table import HELD, LONG, broken


def lines_of(table, width: int = 80) -> list[str]:
    out = Console(width=width, file=io.StringIO(), highlight=False, markup=False, emoji=False)
    out.print(table)
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


def test_numbers_stand_right_and_text_breaks_between_words():
    table = screen.table("name", "count", "what it is", left=(0, 2))
    table.add_row("one", "1,234", "a few words that take more than a line of so narrow a screen")
    table.add_row("twenty", "5", "short")
    assert lines_of(table, 40) == [
        "name    count  what it is",
        "one     1,234  a few words that take",
        "               more than a line of so",
        "               narrow a screen",
        "twenty      5  short",
    ]


def test_columns_that_find_no_room_go_below_with_the_name_again_and_without_rows_that_say_nothing():
    table = screen.table("source", "read", "kept", "why", left=(0, 3))
    table.add_row("web", "1,234,567,890", "1,234,567,890", "too-short 12")
    table.add_row("books", "7", "7", "")
    assert lines_of(table, 36) == [
        "source           read           kept",
        "web     1,234,567,890  1,234,567,890",
        "books               7              7",
        "",
        "source  why",
        "web     too-short 12",
    ]


def test_no_line_breaks_at_a_blank_that_is_held():
    assert broken(f"empty-text{HELD}1, http-error{HELD}1", 16) == [f"empty-text{HELD}1,", f"http-error{HELD}1"]
    table = screen.table("source", "why", left=(0, 1))
    table.add_row("web", Text(f"empty-text{HELD}1, http-error{HELD}1"))
    assert lines_of(table, 24) == ["source  why", "web     empty-text 1,", "        http-error 1"]


def test_a_path_breaks_after_a_slash():
    assert broken("read of folder/with/many/parts/of-its-name.jsonl", 24) == [
        "read of folder/with/",
        "many/parts/of-its-name.",
        "jsonl",
    ]


words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z", "M"]), min_size=1, max_size=30)
names = words.map(lambda word: word[: LONG // 2])  # of characters of two cells each
sentences = st.lists(words, max_size=8).map(" ".join)


@given(
    st.lists(st.tuples(names, st.integers(0, 10**15), sentences, st.integers(0, 10**6)), max_size=6),
    st.integers(LONG + 2 + 19, 120),  # a name, a gap, and the longest number
)
def test_no_line_is_wider_than_the_screen_and_no_number_is_broken(rows, width):
    table = screen.table("name", "number", "text", "other", left=(0, 2))
    for name, number, text, other in rows:
        table.add_row(name, f"{number:,}", text, f"{other:,}")
    lines = lines_of(table, width)
    assert all(cell_len(line) <= width for line in lines)
    for _, number, _, other in rows:
        assert any(f"{number:,}" in line for line in lines)
        assert any(f"{other:,}" in line for line in lines)


@given(sentences, st.integers(LONG, 80))
def test_what_is_broken_holds_every_word_whole_that_is_not_long(text, width):
    lines = broken(text, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    for word in text.split():
        assert cell_len(word) > LONG or any(word in line.split() for line in lines)


@pytest.mark.parametrize(("said", "width"), [("", 80), ("100", 100), ("0", 80), ("wide", 80)])
def test_in_a_pipe_a_screen_is_as_wide_as_columns_says_or_80(monkeypatch, said, width):
    monkeypatch.setenv("COLUMNS", said)
    assert screen.console().width == width
