"""Licence texts -> identifiers, by the phrases that only they contain.

Exact, not fuzzy: an identifier (https://spdx.org/licenses, lower case, as in BigQuery's GitHub table) is given when
its wording stands in the text, whatever its line breaks, punctuation and comment marks; a text may hold several. Where
it restricts whom or what it permits, the restriction is one more name beside the licence (license_restrictions.py has
them), and no list allows that.
"""

import posixpath
import re

from redpajama.extract.license_restrictions import restrictions
from redpajama.extract.spdx import identifiers, is_compound

_MIT = "permission is hereby granted free of charge to any person obtaining a copy"
_MIT_SOFTWARE = "to deal in the software without restriction"
_BSD = "redistribution and use in source and binary forms with or without modification are permitted provided that"
_ISC = "modify and distribute this software for any purpose with or without fee is hereby granted"
_ISC_OR = "modify and or distribute this software for any purpose with or without fee is hereby granted"
_ISC_NOTICE = "provided that the above copyright notice and this permission notice appear in all copies"
_BSD_NAMES, _BSD_ADVERTISING = "to endorse or promote products", "all advertising materials mentioning"
_BSD_CLEAR = "no express or implied licenses to any party s patent rights"

# (identifier, phrases that must all stand there, phrases that must not), over words separated by one space
_RULES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "mit",
        (_MIT, _MIT_SOFTWARE, "the above copyright notice and this permission notice shall be included in all copies"),
        ("the software shall be used for good not evil",),
    ),
    ("mit-0", (_MIT, _MIT_SOFTWARE), ("shall be included in all copies",)),
    ("json", ("the software shall be used for good not evil",), ()),
    ("bsd-2-clause", (_BSD,), (_BSD_NAMES, _BSD_ADVERTISING)),
    ("bsd-3-clause", (_BSD, _BSD_NAMES), (_BSD_ADVERTISING, _BSD_CLEAR)),
    ("bsd-3-clause-clear", (_BSD_NAMES, _BSD_CLEAR), ()),
    ("bsd-4-clause", (_BSD, _BSD_ADVERTISING), ()),
    ("apache-2.0", ("apache license version 2 0 january 2004", "grant of copyright license"), ()),
    ("apache-2.0", ("apache org licenses license 2 0",), ()),
    ("isc", (_ISC_OR, _ISC_NOTICE), ()),
    ("isc", (_ISC, _ISC_NOTICE), ()),
    ("0bsd", (_ISC_OR,), (_ISC_NOTICE,)),
    ("zlib", ("altered source versions must be plainly marked as such", "this notice may not be removed"), ()),
    ("unlicense", ("this is free and unencumbered software released into the public domain",), ()),
    ("bsl-1.0", ("boost software license version 1 0", "machine executable object code"), ()),
    ("gpl-2.0", ("gnu general public license version 2 june 1991",), ()),
    ("gpl-3.0", ("gnu general public license version 3 29 june 2007",), ()),
    ("lgpl-2.0", ("gnu library general public license version 2 june 1991",), ()),
    ("lgpl-2.1", ("gnu lesser general public license version 2 1 february 1999",), ()),
    ("lgpl-3.0", ("gnu lesser general public license version 3 29 june 2007",), ()),
    ("agpl-3.0", ("gnu affero general public license version 3 19 november 2007",), ()),
    ("mpl-1.1", ("mozilla public license version 1 1",), ()),
    ("mpl-2.0", ("mozilla public license version 2 0", "covered software"), ()),
    ("epl-1.0", ("eclipse public license v 1 0", "recipient"), ()),
    ("epl-2.0", ("eclipse public license v 2 0", "recipient"), ()),
    ("artistic-2.0", ("the artistic license 2 0",), ()),
    ("ms-pl", ("microsoft public license", "reciprocal"), ()),
    ("cc0-1.0", ("cc0 1 0 universal",), ()),
    ("cc-by-4.0", ("attribution 4 0 international", "creative commons"), ()),
    ("cc-by-sa-4.0", ("attribution sharealike 4 0 international",), ()),
    ("cc-by-nc-4.0", ("attribution noncommercial 4 0 international",), ()),
    ("cc-by-nd-4.0", ("attribution noderivatives 4 0 international",), ()),
    ("cc-by-nc-sa-4.0", ("attribution noncommercial sharealike 4 0 international",), ()),
    ("cc-by-nc-nd-4.0", ("attribution noncommercial noderivatives 4 0 international",), ()),
    ("wtfpl", ("do what the fuck you want to public license",), ()),
    ("commons-clause", ("commons clause",), ()),
    ("busl-1.1", ("business source license 1 1",), ()),
    ("sspl-1.0", ("server side public license",), ()),
    ("elastic-2.0", ("elastic license 2 0",), ()),
)
_CHOICE = re.compile(  # between the licences that one file holds; GPL's own text never says so
    r"\bdual(?:ly)? licen[cs]ed\b|\beither of (?:these|the following|them)\b|\bchoice of (?:one|two|either)\b"
    r"|\bat your (?:choice|option) (?:under|either)\b"
)
_OPTION = re.compile(r"\b(?:mit|bsd|apache|0|2|3) or (?:the )?(?:\w+ ){1,6}at your (?:choice|option)\b")
_DECLARED = re.compile(r"SPDX-License-Identifier:[ \t]*([\w.+:()/|\t -]+)")
_NAME = re.compile(
    r"(?:(?:mit|bsd|apache|isc|l?gpl|agpl|mpl)[-_])?(?:(?:un)?licen[cs]e|copying)(?:[-_.][\w.+-]*)?", re.IGNORECASE
)
MAX_STUB_CHARS = 500
_STUB_LINE = re.compile(
    r"^\s*(?:year|copyright holders?|organi[sz]ation|authors?|holder)\s*:|copyright|\(c\)|©|licen[cs]e|\bsee\b|https?://"
    r"|^\W*$",
    re.IGNORECASE,
)
_R_LICENSE = re.compile(r"^License:[ \t]*(\S[^\n]*)", re.MULTILINE)
_WORD = re.compile(r"[^\W_]+")
_TEXT_SUFFIXES = ("", ".txt", ".md", ".markdown", ".rst", ".html", ".spdx")
_LICENSE_SUFFIX = re.compile(r"\.(?:mit|bsd|apache|isc|l?gpl|agpl|lesser|mpl|lib|v?\d+)", re.IGNORECASE)


def is_license_name(path: str) -> bool:
    """Whether a file is named like a licence: LICENSE, COPYING.LESSER, MIT-LICENSE.txt; not `license.py`."""
    name = path.rpartition("/")[2]
    if not _NAME.fullmatch(name):
        return False
    suffix = posixpath.splitext(name)[1]
    return suffix.lower() in _TEXT_SUFFIXES or bool(_LICENSE_SUFFIX.fullmatch(suffix))


def identify(text: str) -> list[str]:
    """The licences whose wording stands in `text`, and its restrictions, sorted; SPDX tags count, as expressions."""
    words = words_of(text)
    worded, limits = worded_licenses(words), restrictions(words)
    if len(worded) > 1 and _CHOICE.search(words):
        worded = {" or ".join(sorted(worded))}
    found = worded.union(limits)
    declared = declared_expressions(text)
    chosen = frozenset().union(*(identifiers(each) for each in declared if is_compound(each)))
    return sorted({name for name in found if not _stands_in(name, chosen)} | set(declared))


def words_of(text: str) -> str:
    """The words of a text in lower case, with one space around each."""
    return f" {' '.join(_WORD.findall(text.lower()))} "


def worded_licenses(words: str) -> set[str]:
    """The licences whose wording stands among words, as `words_of` gives them."""
    return {
        name
        for name, needed, excluded in _RULES
        if all(f" {phrase} " in words for phrase in needed) and not any(f" {phrase} " in words for phrase in excluded)
    }


def _stands_in(name: str, identifiers: frozenset[str]) -> bool:
    """Whether an expression names this licence: its text is there for the one who chooses it."""
    return any(one in (name, f"{name}-only", f"{name}-or-later") for one in identifiers)


def declared_expressions(text: str) -> list[str]:
    """What SPDX tags declare, in lower case."""
    found = (" ".join(match.lower().split()).strip(" -./|:") for match in _DECLARED.findall(text))
    return sorted({expression for expression in found if expression})


def is_stub(text: str) -> bool:
    """Whether a text that `identify` does not know is a notice only, whose terms stand elsewhere.

    As CRAN's `YEAR: … COPYRIGHT HOLDER: …` (Writing R Extensions, 1.1.2), or who has the copyright and where to look.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    reserves = "all rights reserved" in text.lower()
    return len(text) <= MAX_STUB_CHARS and not reserves and all(map(_STUB_LINE.search, lines))


def described(text: str) -> list[str]:
    """The licence that an R package's DESCRIPTION declares, as an SPDX expression; none of other files.

    `MIT + file LICENSE`, `GPL (>= 2) | BSD_3_clause + file LICENSE`: the file is a stub (Writing R Extensions, 1.1.2).
    """
    found = _R_LICENSE.search(text) if re.search(r"^Package:", text, re.MULTILINE) else None
    choices = [_r_name(each) for each in found[1].split("|")] if found else []
    return [" or ".join(choices)] if choices and all(choices) else []


def _r_name(spec: str) -> str:
    """`Apache License (>= 2.0)` -> apache-2.0; "" of `file LICENSE` alone."""
    name = re.sub(r"\+?\s*file\s+LICEN[CS]E\s*", "", spec).strip()
    version = re.search(r"\d+(?:\.\d+)*", name) if not name.lower().startswith("bsd") else None
    base = re.sub(r"(?i)\s*(?:software )?licen[cs]e\b|[ (-]+[<>=v]*\s*[\d.]+\)?$|,.*", "", name).strip()
    parts = filter(None, (base.lower().replace("_", "-").replace(" ", "-"), version[0] if version else ""))
    return "-".join(parts)


def offers_choice(text: str) -> bool:
    """Whether a short text lets the reader choose among licences, whose texts stand beside it."""
    words = words_of(text) if len(text) <= 2 * MAX_STUB_CHARS else ""
    return bool(_CHOICE.search(words) or _OPTION.search(words))


def states_terms(text: str) -> bool:
    """Whether a text that `identify` does not know still states terms of its own, and does not point elsewhere."""
    return len(text) > MAX_STUB_CHARS or "copyright" in text.lower() or "all rights reserved" in text.lower()
