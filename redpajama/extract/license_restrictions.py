"""What a text forbids that the permissive licence in it permits: for whom, for what, whether to sell or to change.

The Open Source Definition (https://opensource.org/osd) rules such terms out by its points 1 (sale), 3 (derived works),
5 (persons) and 6 (fields of endeavour). They are told by their wording, near a word that all of them have.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

NEAR_CHARS = 150  # around the word; no pattern is longer on either side


class _Restriction(NamedTuple):
    """A name of our own, words of which one stands in each of its wordings, and these."""

    name: str
    words: tuple[str, ...]
    pattern: re.Pattern[str]


_MAY_NOT = r"\b(?:may|must|shall|can|could|should) ?not (?:be )?(?:(?!liable)\w+ ){0,8}?"
_LIMITED = r"(?:research|academic|educational|personal|evaluation|teaching|non ?profit|scientific)"
_USE = r"(?:use|usage|purposes?)"
_RESTRICTIONS = (  # over words separated by one space
    _Restriction(
        "non-commercial",
        ("commercial", "not for profit", "not for any profit"),
        re.compile(
            r"(?<!\bcommercial and )(?<!\bcommercial or )(?<!\bcommercial as well as )"
            r"(?<!\boccasionally and )"  # as GPL has it
            r"\bnon ?commercial(?:ly)?\b(?!(?: \w+)? (?:and|or|as well as) (?:for )?commercial)"
            rf"|{_MAY_NOT}(?<!non )commercial(?:ly)?\b|\bno commercial {_USE}|\bno commercial distribution"
            r"|\bnot for (?:any )?(?:commercial|profit)\b|\bcommercial (?:use|usage|exploitation|distribution|purposes)"
            r" (?:\w+ ){0,4}(?:not|prohibited|forbidden|requires?|disallowed|excluded)\b"
        ),
    ),
    _Restriction(
        "limited-use",
        ("only", "solely", "exclusively"),
        re.compile(
            rf"\b{_LIMITED} (?:\w+ ){{0,3}}{_USE} only\b"
            rf"|\b(?:only|solely|exclusively) for (?:\w+ ){{0,2}}?{_LIMITED} (?:\w+ ){{0,2}}?{_USE}\b"
        ),
    ),
    _Restriction(
        "field-of-use",
        (
            *(
                "military",
                "weapon",
                "warfare",
                "surveillance",
                "law enforcement",
                "police",
                "nuclear",
                "tobacco",
                "fossil",
            ),
            *("human rights", "gambling", "artificial intelligence", "machine learning", "ai model", "language model"),
            *("evil", "anti 996", "hippocratic", "no harm", "responsible ai"),
        ),
        re.compile(
            rf"{_MAY_NOT}(?:military|weapons?|warfare|surveillance|law enforcement|police|nuclear|tobacco|fossil fuels?"
            r"|human rights|gambling|artificial intelligence|machine learning|(?:ai|language) models?)\b"
            r"|\bfor good and not (?:for )?evil\b|(?<!\bshall be used )\bfor good not (?:for )?evil\b"
            r"|\bnot (?:be used )?for evil\b|\banti 996\b"
            r"|\b(?:hippocratic|do no harm|responsible ai(?: source code)?) license\b"
        ),
    ),
    _Restriction(
        "no-competition",
        ("compet", "hosted service", "managed service"),
        re.compile(rf"{_MAY_NOT}(?:compet(?:e|es|ing|itive|itors?)|(?:hosted|managed) service)\b"),
    ),
    _Restriction(
        "no-sale",
        ("sell ", "sold ", "for sale"),
        re.compile(rf"{_MAY_NOT}(?:sell|sold|resell|resold)\b|\bnot for sale\b|\bright to sell the software\b"),
    ),
    _Restriction(
        "no-derivatives",
        ("not modify", "not be modified", "not be altered or", "no derivative"),
        re.compile(r"\b(?:may|must|shall|can) ?not (?:be )?(?:modify|modified|altered or)\b|\bno derivatives?\b"),
    ),
)


def restrictions(words: str) -> list[str]:
    """The names of what a text forbids; takes its words in lower case, with one space around each."""
    return [name for name, hints, pattern in _RESTRICTIONS if _is_near(pattern, words, hints)]


def _is_near(pattern: re.Pattern[str], words: str, hints: tuple[str, ...]) -> bool:
    return any(pattern.search(words, max(0, at - NEAR_CHARS), at + NEAR_CHARS) for at in _places(words, hints))


def _places(words: str, hints: tuple[str, ...]) -> Iterator[int]:
    for hint in hints:
        at = words.find(hint)
        while at >= 0:
            yield at
            at = words.find(hint, at + len(hint))
