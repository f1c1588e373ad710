"""Which template shows how on which wiki: reads `wiki_templates.tsv`.

A row of that table says the wiki's language (`*`: all wikis), how templates show (`wiki_templates.Shown`: a number, a
pattern in quotes as JSON writes it, or a function's name), and their names in lower case with bars between. Own rows of
a language go before the common ones; a wiki without rows has the common ones and the names of quotations of all.
"""

import json
import re
from functools import cache, lru_cache
from pathlib import Path

from redpajama.extract import wiki_templates
from redpajama.extract.wiki_links import LANGUAGES
from redpajama.extract.wiki_templates import Call, Shown

TABLE = Path(__file__).with_name("wiki_templates.tsv")
PREFIXES: dict[str, tuple[tuple[str, Shown], ...]] = {  # names that go on with a language's code, say
    "*": (("lang-", 1), ("script/", 1), ("transl-", -1)),
    "de": (("zitat-", wiki_templates.quotation),),
    "fi": (("k-", 1),),
    "hr": (("jez-", 1),),
    "hu": (("nyelv-", 1),),
    "ro": (("ill-", 1),),
    "sl": (("jezik-", 1),),
    "sr": (("јез-", 1), ("jez-", 1), ("језик-", 1), ("jezik-", 1)),
}
PATTERNS: dict[str, tuple[tuple[re.Pattern[str], Shown], ...]] = {  # of whole names
    "*": ((re.compile(r"\d{1,2}/\d{1,2}"), wiki_templates.name_as_fraction),),
    "ca": ((re.compile(r"segle [ivxlcdm]+"), wiki_templates.name_itself),),
    "de": ((re.compile(f"(?:{'|'.join(sorted(LANGUAGES))}|grc|akk|goh|gmh|non)s"), 1),),  # {{enS|…}}: name and text
    "en": ((re.compile(r".+[ -]span"), wiki_templates.first_or_text),),
    "es": ((re.compile(r"siglo [ivxlcdm]+"), wiki_templates.name_itself),),
    "fr": (
        (
            re.compile(r"ier|ire|[vx]e|[ivxlcdm]{2,}e|\d{1,4}(?:er|re|ère|e|è|ème|d|de|nd|nde)"),
            wiki_templates.name_itself,
        ),
        (re.compile(r"[ivxlcdm]+er? (?:siècle|millénaire)(?: av\. j\.-c\.)?"), wiki_templates.name_itself),
    ),
}


def lower(call: Call) -> str:
    return call.get("1").lower()


def upper(call: Call) -> str:
    return call.get("1").upper()


def first_lower(call: Call) -> str:
    return call.get("1")[:1].lower() + call.get("1")[1:]


def first_upper(call: Call) -> str:
    return call.get("1")[:1].upper() + call.get("1")[1:]


SAME_NAMES = {"simple": "en"}  # wikis that took their templates from another

FUNCTIONS: dict[str, Shown] = {  # {{name:argument}}; https://www.mediawiki.org/wiki/Help:Magic_words#Formatting
    "formatnum": wiki_templates.number,
    "lc": lower,
    "uc": upper,
    "lcfirst": first_lower,
    "ucfirst": first_upper,
}


@cache
def names_of(language: str) -> dict[str, Shown]:
    """Every name that shows prose on the wiki of a language."""
    rows, language = _rows(), SAME_NAMES.get(language, language)
    own = {name: shown for wiki, shown, name in rows if wiki == language}
    if not own:
        own = {name: shown for _, shown, name in rows if shown is wiki_templates.quotation and name != "citation"}
    return {name: shown for wiki, shown, name in rows if wiki == "*"} | own


@cache
def _rows() -> list[tuple[str, Shown, str]]:
    """(wiki, how it shows, name) of every name of the table."""
    lines = (line.split("\t") for line in TABLE.read_text("utf-8").splitlines()[1:])
    return [(wiki, _shown(how), name) for wiki, how, names in lines for name in names.split("|")]


def _shown(how: str) -> Shown:
    if how.startswith('"'):
        return wiki_templates.filled(json.loads(how))
    if how.lstrip("-").isdecimal():
        return int(how)
    function: Shown = getattr(wiki_templates, how)
    return function


@lru_cache(maxsize=10_000)
def shown_by(name: str, language: str) -> Shown | None:
    """How a template of this name, in lower case, shows on a wiki; None: not at all."""
    if (shown := names_of(language).get(name)) is not None:
        return shown
    for prefix, by_prefix in (*PREFIXES["*"], *PREFIXES.get(language, ())):
        if name.startswith(prefix):
            return by_prefix
    patterns = (*PATTERNS["*"], *PATTERNS.get(SAME_NAMES.get(language, language), ()))
    return next((own for pattern, own in patterns if pattern.fullmatch(name)), None)
