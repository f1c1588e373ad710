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


_FORBIDDEN = r"(?:not (?:allowed|permitted|authori[sz]ed)|forbidden|prohibited|disallowed|excluded)"
_MAY_NOT = (  # the names of authors may not be used to endorse, whatever it is
    rf"\b(?:(?:may|must|shall|can|could|should|do|does) ?not|can t|don t|{_FORBIDDEN} (?:to|from|for)) (?:be )?"
    r"(?:(?!liable|endorse|promote)\w+ ){0,8}?"
)
_LIMITED = r"(?:research|academic|educational|personal|evaluation|teaching|non ?profit|scientific|internal)"
_WHO = r"(?:compan(?:y|ies)|corporations?|enterprises?|governments?|employees|citizens|entities|agenc(?:y|ies))"
_FIELDS = (
    r"(?:military|weapons?|warfare|surveillance|law enforcement|police|nuclear|tobacco|fossil fuels?|human rights"
    r"|gambling|artificial intelligence|machine learning|(?:ai|language) models?|cryptocurrenc(?:y|ies)|nfts?"
    r"|unethical|harm)\b"
)
_USE = r"(?:use|usage|purposes?)"
_RESTRICTIONS = (  # over words separated by one space
    _Restriction(
        "non-commercial",
        (
            "commercial",
            "kommerziell",
            "comercial",
            "for profit",
            "for any profit",
            "商業",
            "商业",
            "商用",
            "коммерческ",
        ),
        re.compile(
            r"(?<!\bcommercial and )(?<!\bcommercial or )(?<!\bcommercial as well as )"
            r"(?<!\boccasionally and )"  # as GPL has it
            r"\bnon ?commercial(?:ly)?\b(?!(?: \w+)? (?:and|or|as well as) (?:for )?commercial)"
            rf"|{_MAY_NOT}(?<!non )commercial(?:ly)?\b|\bno commercial {_USE}|\bno commercial distribution"
            r"|\bnot for (?:any )?(?:commercial|profit)\b|\bcommercial (?:use|usage|exploitation|distribution|purposes)"
            r" (?:\w+ ){0,4}(?:not|prohibited|forbidden|requires?|disallowed|excluded)\b"
            rf"|\bcommercial (?:re)?\w+ (?:(?:is|are) )?(?:\w+ly )?{_FORBIDDEN}\b"
            r"|\bnot (?:be )?(?:used|sold) commercially\b"
            r"|\b(?:excluding|except(?: for)?|exception of) commercial\b|\bfor commercial \w+ (?:please )?contact\b"
            r"|\b(?:obtain|purchase|buy|acquire|requires?|needs?) an? (?:\w+ )?commercial licen[cs]e\b"
            r"|\bnicht ?kommerziell|\bkommerzielle \w+ (?:\w+ ){0,3}(?:untersagt|verboten|nicht)\b"
            r"|\bcommerciale? (?:\w+ ){0,3}interdite?\b|\bcomercial (?:\w+ ){0,3}(?:prohibid|proibid)[oa]\b"
            r"|\b(?:no|não|fines no) comercial|\bнекоммерческ|(?:禁止|不得|非|勿)\w{0,6}?商[业用業]|商[用業]\w{0,6}禁止"
            r"|\b(?:commercial|for profit) (?:(?!contributor|distributor)\w+ ){0,3}"
            r"(?:must|needs?|requires?|ha(?:s|ve) to) (?!include|retain|reproduce|keep)"
            rf"|\bunless (?:\w+ ){{0,6}}commercial(?:ly)?\b|\bfor (?:any )?profit (?:\w+ ){{0,3}}{_FORBIDDEN}\b"
        ),
    ),
    _Restriction(
        "limited-use",
        ("only", "solely", "exclusively", "restricted to", "limited to"),
        re.compile(
            rf"\b{_LIMITED} (?:\w+ ){{0,3}}(?:{_USE}|research) only\b"
            rf"|(?<!\bnot )\b(?:restricted|limited) to (?:\w+ ){{0,2}}?{_LIMITED}\b"
            rf"|\b(?:only|solely|exclusively) (?:be )?(?:used|licensed|intended|provided|available|permitted) "
            rf"(?:for|in) (?:\w+ ){{0,2}}?{_LIMITED}\b"
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
            *("cryptocurrenc", " nft", "unethical", " harm"),
            *("human rights", "gambling", "artificial intelligence", "machine learning", "ai model", "language model"),
            *("evil", "anti 996", "hippocratic", "no harm", "responsible ai"),
        ),
        re.compile(
            rf"{_MAY_NOT}{_FIELDS}|\b{_FIELDS} (?:\w+ ){{0,4}}?(?:is|are) (?:\w+ly )?{_FORBIDDEN}\b"
            r"|\bfor good and not (?:for )?evil\b|(?<!\bshall be used )\bfor good not (?:for )?evil\b"
            r"|\bnot (?:be used )?for evil\b|\banti 996\b"
            r"|\b(?:hippocratic|do no harm|responsible ai(?: source code)?) license\b"
        ),
    ),
    _Restriction(
        "no-persons",
        (" by ", " to "),
        re.compile(
            rf"{_MAY_NOT}by (?:\w+ ){{0,3}}?{_WHO}\b|\bdoes not (?:extend|apply) to (?:\w+ ){{0,3}}?{_WHO}\b"
            rf"|\bnot granted to (?:\w+ ){{0,3}}?{_WHO}\b"
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
        ("not modify", "not be modified", "not be altered or", "no derivative", "to modify", "modified", "derivative"),
        re.compile(
            r"\b(?:may|must|shall|can) ?not (?:be )?(?:modify|modified|altered or)\b|\bno derivatives?\b"
            rf"|\b{_FORBIDDEN} to modify\b"
            rf"|\b(?:modified|derivative) (?:versions?|copies|works?) (?:is|are) (?:\w+ly )?{_FORBIDDEN}\b"
        ),
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
