"""What a comment at the top of a file declares of that file: licences by SPDX tag, by wording, or by name.

A tag, Python's `__license__` or Linux's `MODULE_LICENSE` may also stand in a line of its own below the first comments,
and comment lines at the top may grant a licence there. Notices name licences in fewer words than licence files do
(`under the terms of the GNU General Public License`). Names are SPDX's, without the version where a notice has none.
"""

import re
from functools import lru_cache

from redpajama.extract.license_restrictions import restrictions
from redpajama.extract.licenses import declared_expressions, worded_licenses, words_of

_NOTICES = tuple(  # licences as notices name them, over the same words
    (name, re.compile(rf"\b(?:{pattern})\b"))
    for name, pattern in (
        ("agpl", r"(?:gnu )?affero general public licen[cs]e|agpl(?:v? ?\d)?"),
        ("lgpl", r"(?:gnu )?(?:lesser|library) general public licen[cs]e|lgpl(?:v? ?\d)?"),
        ("gpl", r"(?<!affero )(?<!lesser )(?<!library )general public licen[cs]e|gpl(?:v? ?\d)?(?! compatible)"),
        ("mpl", r"mozilla public licen[cs]e|mpl ?(?:v ?)?[12]"),
        ("epl", r"eclipse public licen[cs]e|epl ?(?:v ?)?[12]"),
        ("cddl", r"common development and distribution licen[cs]e|cddl"),
        ("cpl", r"common public licen[cs]e"),
        ("osl", r"open software licen[cs]e"),
        ("eupl", r"european union public licen[cs]e|eupl"),
        ("cecill", r"cecill(?! b\b)"),
        ("sspl", r"server side public licen[cs]e|sspl"),
        ("busl", r"business source licen[cs]e|busl"),
        ("elastic", r"elastic licen[cs]e"),
        ("polyform", r"polyform \w+ licen[cs]e"),
        (
            "cc-by-nc",
            r"(?:creative commons )?attribution non ?commercial|cc by nc|creativecommons org licenses by nc",
        ),
        ("cc-by-nd", r"(?:creative commons )?attribution no ?deriv\w*|cc by nd|creativecommons org licenses by nd"),
        ("cc-by-sa", r"(?:creative commons )?attribution share ?alike|cc by sa|creativecommons org licenses by sa"),
        (
            "proprietary",
            r"proprietary and confidential|confidential and proprietary|strictly confidential|trade secrets? of"
            r"|do not (?:re)?distribute|not for (?:re)?distribution"
            r"|unauthori[sz]ed (?:copying|use|reproduction|distribution|disclosure|duplication)"
            r"|no part of this (?:file|software|program|code|source|work) may be"
            r"|may not be (?:copied|reproduced|distributed|redistributed|disclosed|modified|transmitted)"
            r"(?: \w+){0,20} without (?:the )?(?:express|prior|written|permission|consent)",
        ),
        (
            "mit",
            r"mit (?:style )?licen[cs]e[ds]?|(?:under|the|or|dual) mit|mit or|mit l?gpl(?:v?\d)?|l?gpl(?:v?\d)? mit",
        ),
        (
            "bsd",
            r"bsd (?:\d clause )?(?:style )?licen[cs]e[ds]?|(?:under|the|or|dual) bsd|bsd or|bsd l?gpl(?:v?\d)?"
            r"|l?gpl(?:v?\d)? bsd",
        ),
        ("apache", r"apache (?:software )?licen[cs]e|apache 2(?: 0)?"),
    )
)
_CHOICE = re.compile(
    r"\bdual(?:ly)? (?:licen[cs]e[ds]?|mit|bsd|apache)\b|\bchoice of\b|\balternatively\b|\byou may choose\b"
    r"|\beither (?:of|the|an?|gnu|l?gpl|mit|bsd|apache)\b"
    r"|\b(?:mit|bsd|apache|gpl|lgpl|mpl|licen[cs]e|2|3|0) or (?:the )?(?:mit|bsd|apache|gnu|l?gpl|mpl)\b"
    r"|\b(?:mit|bsd) l?gpl(?:v?\d)?\b|\bl?gpl(?:v?\d)? (?:mit|bsd)\b"  # MIT/GPL
)


HEAD_CHARS = 5_000  # of a file, in which lines may declare its licence
_TAG = "SPDX-License-Identifier"
_MODULE = "MODULE_LICENSE"  # of Linux, at the end of most
_DECLARING_LINE = re.compile(rf"^(?:\W*{_TAG}:|__license__[ \t]*=).*$", re.MULTILINE)
_MODULE_LINE = re.compile(rf"^{_MODULE}\(.*$", re.MULTILINE)
_COMMENT_LINES = re.compile(r"(?:^[ \t]*(?://|#(?!include|define|if|el|end|pragma)|%|--|!|\*|/\*).*\n?)+", re.MULTILINE)
_GRANT = re.compile(
    r"\b(?:licen[cs]ed|distributed|released|redistribute (?:it|this)|made available|governed)\b"
    r"[^.]{0,120}?\b(?:under|by)\b|\bsubject to the terms\b",
    re.IGNORECASE,
)


def declaring_lines(text: str) -> list[str]:
    """What below the first comments declares a file's licence, as notices.

    Lines with an SPDX tag, `__license__` or Linux's `MODULE_LICENSE`, and comment lines at the top that grant one.
    """
    head = text[:HEAD_CHARS]
    found = _MODULE_LINE.findall(text) if _MODULE in text else []
    if _TAG in head or "__license__" in head:
        found += [line.replace("__license__", "license") for line in _DECLARING_LINE.findall(head)]
    if "licen" in head.lower():
        found += [match[0] for match in _COMMENT_LINES.finditer(head) if _GRANT.search(match[0])]
    return found


@lru_cache(maxsize=512)  # headers repeat from file to file
def own_licenses(notice: str) -> tuple[str, ...]:
    """Expressions of what a notice at the top of a file declares of this file; none where it names no licence.

    SPDX tags, else licence texts, else licences by their names, as one choice where the notice gives it. «All rights
    reserved» alone says nothing: most notices under BSD begin so.
    """
    words = words_of(notice)
    limits = tuple(restrictions(words))
    if declared := declared_expressions(notice):
        return (*declared, *limits)
    worded = worded_licenses(words)
    named = sorted({name for name, pattern in _NOTICES if pattern.search(words)})
    named = [name for name in named if not any(each.startswith(name) for each in worded)]
    found = [*sorted(worded), *named]
    if len(found) > 1 and _CHOICE.search(words):
        found = [" or ".join(found)]
    return (*found, *limits)
