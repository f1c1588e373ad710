"""Sentences: those that NLTK 3.5's Punkt finds, oddities included, in time linear in the text."""

import gzip
import json
import re
from hashlib import sha256

import pytest
from conftest import SHARED, needs_shared
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.quality import sentences

NLTK_COUNTS = 9032, 21148
NLTK_HASH = "f02da041f7cee21cccd3ca7550ca14a46765d14d361235480cf7eb8bff125f4c"


def split(text):
    return [text[start:end] for start, end in sentences.spans(text)]


@pytest.mark.parametrize(
    ("text", "found"),  # what nltk==3.5 with the English model of punkt_tab gives
    [
        ("", []),
        ("   ", []),
        ("A title without a mark", ["A title without a mark"]),
        ("This was my favourite Song!!", ["This was my favourite Song!", "!"]),
        ("So what is it then, What ???", ["So what is it then, What ??", "?"]),
        ("Wow!!! It works.", ["Wow!!!", "It works."]),
        ("Really?! I did not know.", ["Really?!", "I did not know."]),
        ("Wait . . . what? Yes.", ["Wait .", ".", ".", "what?", "Yes."]),
        ("He paused... Then he spoke.", ["He paused... Then he spoke."]),
        ('He said "Go away." She left.', ['He said "Go away."', "She left."]),
        ("(He left.) She did not.", ["(He left.)", "She did not."]),
        ("Dr. Smith met Mr. J. Bach in the U.S. on Aug. 3. It rained.",
         ["Dr. Smith met Mr. J. Bach in the U.S. on Aug. 3.", "It rained."]),
        ("It cost 3.50 in 1999. The rest is known.", ["It cost 3.50 in 1999.", "The rest is known."]),
        ("He said “Go away.” She left.", ["He said “Go away.” She left."]),
        ("At 3 p.m. he came. e.g. this one.", ["At 3 p.m. he came.", "e.g.", "this one."]),
        ("One line.\nAnother line.", ["One line.", "Another line."]),
    ],
)  # fmt: skip
def test_sentences_are_those_of_nltk_as_c4_had_it(text, found):
    assert split(text) == found


PIECES = ["Song", "!", "?", ".", "...", '"', ")", " ", "\n", "--", "Mr", "The", "the", "J", "3", "e.g", "“", ",", "co"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_sentences_hold_all_but_white_space_in_order(text):
    found = split(text)
    assert re.sub(r"\s", "", "".join(found)) == re.sub(r"\s", "", text)
    assert all(found)
    for most in (1, 2, 3):
        assert sentences.count(text, most) == min(most, len(found))


@pytest.mark.parametrize("unit", ["x", "!", ". ", "x.", "Mr. ", '."', "a! ", "... ", ". . .x ", "-", ")"])
def test_time_is_linear(unit):
    assert sentences.count(unit * (500_000 // len(unit)), 1 << 30) >= 1


@needs_shared
def test_every_line_of_a_thousand_released_pages_has_nltks_sentences():
    with gzip.open(SHARED / "c4/wimbd/c4-sample.00000-of-00001.json.gz", "rt", encoding="utf-8") as file:
        lines = [line for row in file for line in json.loads(row)["text"].split("\n")]
    found = [list(map(list, sentences.spans(line))) for line in lines]
    # of the same computed by nltk==3.5, PunktSentenceTokenizer with the English parameters of punkt_tab
    assert (len(lines), sum(map(len, found))) == NLTK_COUNTS
    assert sha256(json.dumps(found).encode()).hexdigest() == NLTK_HASH
