"""What the head of a Project Gutenberg file says: its fields, and of the oldest heads title and author.

Heads have `Title:` and `Author:` since about 2001. Before, one sentence named both, `The Project Gutenberg Etext of
TITLE, by AUTHOR`, with or without the comma, over one line or more, with `von`, `par` or `di` of a book in such a
language; the author stands again in `#8 in our series by AUTHOR`, or in a line of his own. Pure functions on strings.
"""

import re
from collections.abc import Iterator, Sequence

HEAD_CHARS = 20_000  # in which the fields of a head stand
MAX_TITLE_LINES = 4
MIN_NAMES = 2  # words of a name behind a `von` or `par` that nothing else shows to be the author's

_TITLE_LINE = re.compile(
    r"(?<!copyrighted )(?:Project|Projekt) Gutenberg(?:['’]s\b(?:[ ]+(?:e-?text|e-?book|edition)\b)?"
    r"|[ ,]+(?:e-?text|e-?book|edition|release)\b)"
    r"(?:[ ]+(?:of|(?-i:von|van|de|du|di))\b|[ ]*[:,])?[ ]*\n?(?P<title>[^\n]*[^\W_][^\n]*(?:\n[^\n]+)*)",
    re.IGNORECASE,
)
_OTHER_LINE = re.compile(  # of the first paragraph that is not the title's
    r"\W*(?:#|\d+ (?:in|of) (?:our|a)\b|no\. ?\d|copyright|this |please|title ?:|author ?:|last |edition|welcome"
    r"|(?:\(|\[)|[A-Z][a-z]+,? (?:\d+, )?\d{4}\b)",
    re.IGNORECASE,
)
_SERIES = re.compile(r"in our (?:series|collection) (?:of works )?(?:by|of|from)\s+([^\n)\]*#]+)", re.IGNORECASE)
_SMALL_PRINT = re.compile(r"START[* ]+(?:THE )?SMALL PRINT", re.IGNORECASE)
_OWN_LINE = re.compile(
    r"^[ \t*_]*(?:by|von|par|por|door|di|de)[ \t]+(?!Michael S?\.? ?Hart|Project)([^\W\d_][^\n]{2,60})$",
    re.MULTILINE | re.IGNORECASE,
)
_BY_LINE = re.compile(r"[ \t*_]*(?:by|von|par|por|door|di)\b", re.IGNORECASE)
_CONNECTOR = re.compile(
    r"(?P<comma>,?)\s+(?P<word>by|von|par|por|door|di|de|af|av)\s+(?=(?P<tail>\S.*))", re.IGNORECASE | re.DOTALL
)
_GOES_ON = re.compile(
    r"(?:[,;:&-]|\b(?:of|the|and|by|a|an|in|to|for|with|from|von|de|du|des|la|le|der|die|das))$", re.I
)
_IS_NOT_BY_AUTHOR = re.compile(  # whom the word before `by` names instead
    r"(?:translat|edit|illustrat|compil|revis|transcrib|annotat|introduc|übersetz|traduit|tradott|herausgegeben)\w*$"
    r"|(?:^|\W)(?:trans|ed|tr|illus)\.?$",
    re.IGNORECASE,
)
_NO_NAME = re.compile(
    r"(?:the(?! (?:author|brothers|rev|duke|earl|marquis|venerable|unknown)\b)|an?(?!\.)|his|her|its|their"
    r"|our|my|your|that|this|which|land|sea|night|day|way|means|der|die|das|dem|den|(?-i:le|la)|les|el|los|las|il|lo|gli)"
    r"\b",
    re.IGNORECASE,
)
_BEHIND_NAME = re.compile(
    r"\s*(?:[\[(](?![^\])]*[\])]\s+(?-i:[A-Z])).*|,? (?:translated|edited|illustrated|trans\.|tr\.|ed\.|in (?:German"
    r"|French|Spanish|Italian|Latin|Dutch|English)|vol(?:ume)?\b|v\.?\d|parts? [\dIVX]+|series\b|complete$)(?!\w).*"
    r"|,? #\d.*)$",
    re.IGNORECASE | re.DOTALL,
)
_PARTICLES = (
    "the",
    "de",
    "d'",
    "d’",
    "du",
    "da",
    "van",
    "von",
    "der",
    "den",
    "al",
    "ibn",
    "la",
    "le",
    "various",
    "anonymous",
)


def field(head: str, name: str) -> str:
    """The value of `Name: value` in a head, with its indented continuation lines; "" where it is missing."""
    pattern = rf"^{name}:[ \t]*(\S[^\n]*(?:\n[ \t]+\S[^\n]*)*)"
    match = re.search(pattern, head[:HEAD_CHARS], re.MULTILINE | re.IGNORECASE)
    return " ".join(match[1].split()) if match else ""


def title_and_author(head: str) -> tuple[str, str]:
    """From the fields of a head; in the oldest ones from its first sentence, checked by what else names the author."""
    title, author = field(head, "Title"), field(head, "Author")
    if title and author:
        return title, author
    named = list(named_authors(head))
    first, by = split_author(first_title(head), [author, *named] if author else named)
    return title or first, author or by or next(iter(named), "")


def named_authors(head: str) -> Iterator[str]:
    """Authors that the series of a head names, then those of lines `by AUTHOR` before the small print."""
    series = _SERIES.search(head, 0, HEAD_CHARS)
    if series:
        yield clean_author(series[1])
    small_print = _SMALL_PRINT.search(head)
    for line in _OWN_LINE.finditer(head, 0, small_print.start() if small_print else HEAD_CHARS):
        if is_name(line[1]):
            yield clean_author(line[1])


def first_title(head: str) -> str:
    """What the first sentence of a head calls the book, over its lines: `Moby Dick, by Herman Melville`."""
    found = _TITLE_LINE.search(head, 0, HEAD_CHARS)
    if found is None:
        return ""
    first, *others = found["title"].split("\n")
    lines = [first]
    for line in others[: MAX_TITLE_LINES - 1]:
        if _OTHER_LINE.match(line) or not _is_continued(lines[-1], line):
            break
        lines.append(line)
    joined = " ".join(" ".join(line.strip(" *_") for line in lines).split())
    return re.sub(r"\s*(?:[\[(]?#\d|\[)[^\]]*\]?$", "", joined).strip(" *_")


def _is_continued(line: str, following: str) -> bool:
    """Whether a title goes on in the next line: it names its author there, or no author stands in this one."""
    if _BY_LINE.match(following) or _GOES_ON.search(line):
        return True
    return not line.rstrip().endswith("*") and not split_author(line)[1]


def split_author(text: str, named: Sequence[str] = ()) -> tuple[str, str]:
    """`TITLE, by AUTHOR` -> (title, author), or (text, "") where no word between them is sure.

    Sure is the word before an author that is named elsewhere; else the last `by` before a name; else a `von`, `par`,
    … with a comma; last one without, before a first and a last name. A title may hold them all.

    Args:
        named: authors that the rest of the head names.
    """
    found = [each for each in _CONNECTOR.finditer(text) if not _is_between_others(text[: each.start()], each["tail"])]
    found = [each for each in found if text[: each.start()].strip() and is_name(each["tail"])]
    best = min(found, key=lambda each: _rank(each, named), default=None)
    if best is None or _rank(best, named)[0] == _UNSURE:
        return text, ""
    return text[: best.start()].strip(" ,;*_-"), clean_author(best["tail"])


def _is_between_others(before: str, after: str) -> bool:
    """Whether a `by` names a translator, or stands between a word and itself: `Day by Day`."""
    is_same = before.lower().split()[-1:] == after.lower().split()[:1]
    return is_same or _IS_NOT_BY_AUTHOR.search(before) is not None


_UNSURE = 5


def _rank(connector: re.Match[str], named: Sequence[str]) -> tuple[int, int]:
    """How sure a word is to stand before the author: 0 is surest; then, the later the better."""
    author, is_by = clean_author(connector["tail"]).casefold(), connector["word"].casefold() == "by"
    others = [name.casefold() for name in named]
    if author in others:
        rank = 0
    elif any(author.split()[-1:] == name.split()[-1:] for name in others):
        rank = 1 if is_by or connector["comma"] else _UNSURE
    elif is_by and (connector["comma"] or not others):
        rank = 2
    elif connector["comma"] and not others:
        rank = 3
    elif not others and connector["word"].casefold() in ("von", "par", "por", "door") and _names(author) >= MIN_NAMES:
        rank = 4
    else:
        rank = _UNSURE
    return rank, -connector.start()


def _names(author: str) -> int:
    return sum(word not in _PARTICLES for word in author.split())


def is_name(text: str) -> bool:
    """Whether a text may begin with a person's name: a capital, or a particle of names, and no article."""
    first = text.split(maxsplit=1)[0] if text.split() else ""
    return bool(first) and (first[0].isupper() or first.lower() in _PARTICLES) and not _NO_NAME.match(text)


def clean_author(text: str) -> str:
    """A name without what stands behind it: brackets, translators, the language, a full stop, stars."""
    name = _BEHIND_NAME.sub("", " ".join(text.strip(" *_").split())).strip(" *_,;")
    last = name.rpartition(" ")[2].rstrip(".")
    return name.rstrip(".") if len(last) > 2 and last.lower() not in ("esq", "jun", "sen") else name
