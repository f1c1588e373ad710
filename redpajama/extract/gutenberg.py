"""Project Gutenberg's text files: where the book begins and ends between head, small print, licence and foot.

The marks of every age, as gutenbergpy, c-w/gutenberg and gutenbergr list them, and as files on mirrors have them:
START and END lines (since about 2002), the small print at the head (1991 to 2002) or behind the text (2001 to 2004),
heads without any mark, feet in the language of the book, none at all. Pure functions on strings with `\\n` line ends.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_HEAD_CHARS = 60_000  # in which a head ends; the longest, with two small prints, have about 40,000
FIRST_CHARS = 1_000  # in which a head without a mark names the Project
WORDS_CHARS = 5_000  # in which a head says that its small print stands behind the text
MAX_GAP = 3  # short paragraphs of title and date between those of a head
MAX_GAP_CHARS = 300  # of one such paragraph; a longer one is the book's
FOOT_CHARS = 3_000  # behind a foot line: transcribers' notes may stand there
MAX_FOOT_CHARS = 60_000  # of small print, licence and the pages about the Project
CHARS_A_MENTION = 1_500  # the Project's pages speak of it, or of etexts, more often than this
MAX_LAST_LINES = 4  # of a last paragraph that names the Project, in whatever words
MAX_INDENT_CHARS = 200  # of an END line

_PROJECT = r"pro[gjy]\w{2,8}\W{1,3}gutenb[eu]rg"
_ETEXT = r"e-?(?:text|book)"
_START = re.compile(
    r"^[ \t]*\*\*\* ?START OF (?:(?:THE|THIS) )?(?:COPYRIGHTED )?PROJECT GUTENBERG\b"
    r"(?:[^*]{0,500}\*\*\*|[^\n]*)[^\n]*\n?",
    re.MULTILINE | re.IGNORECASE,
)
_SMALL_PRINT_END = re.compile(
    r"^[ \t]*(?:\*+ ?END(?: OF)?[* ]+(?:THE )?SMALL PRINT|\*+ ?(?:THE )?SMALL PRINT!?[^\n]*\bEND\b"
    r"|\[\"SMALL PRINT\" V\.)"
    r"[^\n]*\n?(?:[ \t]*\*?Ver\.[ \t\d./]{1,20}\*+ ?END[^\n]*\n?)?",
    re.MULTILINE | re.IGNORECASE,
)
_PRINT_BEHIND = re.compile(  # a head's word on where the small print stands
    r"moved most of the information to\s+the\s+(?:end|bottom)|at\s+the\s+(?:end|bottom)\s+of\s+this\s+file",
    re.IGNORECASE,
)
_END = re.compile(r"\*\*\* ?END OF (?:(?:THE|THIS) )?(?:COPYRIGHTED )?PROJECT GUTENBERG", re.IGNORECASE)
_END_WORDS = (  # in the languages that Gutenberg's feet are written in; some end with the word, see _last_lines
    "Ends?|Ende|Fin|Final|Fi|Fine|Fim|Einde|Slut(?:ten|et)?|Koniec|Konec|V[ée]ge|Loppu|Fino|Finis|Sfârșitul|Diwedd"
    "|Wakas|Endir|Τέλος|Конец"
)
_END_LINE = (
    rf"[#>\[(<_\"'-]*(?:(?i:(?:this is )?the end|here ends)|{_END_WORDS}|{_END_WORDS.upper()})\b[^\n]{{0,80}}"
    rf"(?:\b(?i:of|the|this|de|du|des|dieses|del|van|von)[ \t]*\n[ \t]*)?(?i:{_PROJECT}|\b{_ETEXT})"
)
_ENDS = re.compile(rf"[ \t*]*{_END_LINE}")
_FOOT = re.compile(  # begins with a line end, which is searched for at memory speed
    r"\n[ \t*]*(?:"
    r"(?P<sure>START[* ]+(?:THE )?SMALL PRINT|START: FULL LICENSE)"
    rf"|{_END_LINE}"
    rf"|(?i:this (?:file|{_ETEXT}) should be named \S|this is a copyrighted project gutenberg {_ETEXT}, details above"
    r"|ce document f[uû]t pr[ée]sent[ée] en lecture|more information about this book is at the top of this file"
    rf"|we are now trying to release all our {_ETEXT}))"
)
_BRACKETED_END = re.compile(r"\[(?:The )?End of [^\[\]]{1,300}\]")  # Project Gutenberg Canada
_MENTION = re.compile(rf"gutenberg|\b{_ETEXT}|small print", re.IGNORECASE)
_PARAGRAPH = re.compile(r"[^\s][^\n]*(?:\n[ \t]*[^\s][^\n]*)*")
_NAMES_PROJECT = re.compile(_PROJECT, re.IGNORECASE)
_OPENS_HEAD = re.compile(
    rf"proje[ck]t gutenberg(?:['’]s\b|[ ,]+(?:{_ETEXT}|edition|release|(?:of )?(?:australia|canada))\b)",
    re.IGNORECASE,
)
_OF_HEAD = re.compile(
    rf"gutenberg|\b{_ETEXT}s?\b|\belectronic text|copyright laws|in the (?:\w+ )?public domain"
    r"|\bsmall print\b|in our series|plain vanilla"
    r"|(?:this|the) header|do not (?:remove|change)|donations|\A\[[^\]\n]{1,100}\]"
    r"|^(?:title|authors?|editor|translator|illustrator|contributor|commentator|compiler|subject|edition|language"
    r"|(?:release|posting|original publication) date|first (?:posted|released)|(?:most recently|last) updated"
    r"|original publication|date (?:of )?first (?:posted|publication)|date (?:most recently|last) updated"
    r"|edition used as base[^:\n]{0,40}|credits|iso[- ]\w+|character set encoding)[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)
_SPACE = re.compile(r"\s*")
_CREDITS = re.compile(  # paragraphs at the top of a text by those who made the file
    r"(?:\(?(?:Produced by|(?:Scanned|Transcribed|Proofed|Updated|Typed|Entered|Prepared)(?: and \w+)? by"
    r"|Transcribed from the|Additional editing by|HTML version by"
    r"|(?:The |This )?E-?text (?:prepared|produced|scanned|typed|entered)"
    r"|Note: Project Gutenberg also has|This (?:Project Gutenberg )?(?:e-?text|e-?book) was "
    r"(?:\w+ and )?(?:produced|prepared|created|scanned|transcribed|converted|typed|entered)"
    r"|This (?:e-?text|e-?book) is in [A-Z]|We are releasing two versions of this|This is the [78]-bit version"
    r"|\W*(?:The beginning of (?:the |this )?|Beginning of (?:the |this )?|This is an? |The )?(?:copyrighted )?"
    rf"Project Gutenberg(?:['’]s)? {_ETEXT}"
    r"|\[?Portions of this (?:header|e-?text|e-?book)|This book content was graciously contributed"
    r"|Dieses Buch wurde uns freundlicherweise|We thank the Biblioth|Nous remercions la Biblioth)"
    r"[^\n]{0,200}(?:\n[^\n]{1,200}){0,12}(?:\n\s*|\Z))+",
    re.IGNORECASE,
)
_NOTICE = "<<THIS ELECTRONIC VERSION OF"  # stands again and again in the complete Shakespeare of 1990
_NOTICES = re.compile(rf"{_NOTICE}[^>]{{0,2000}}>>\n*")
_LAST_CHARS = ".!?…:;\"'”’»)]*_-—"  # that a whole text ends with


class Book(NamedTuple):
    """A text between its boilerplate, and what the head says."""

    text: str
    head: str  # "" where there was no head
    has_foot: bool = True
    is_cut: bool = False  # no foot, and it breaks off in a line: the file ends early


def split_boilerplate(text: str) -> Book:
    """A Gutenberg file -> its text and its head; a text without marks (PG-19 has none) has no head.

    Books are long: places are worked out in the whole file, and what is kept is copied once.
    """
    begin = head_end(text)
    end = foot_start(text, begin)
    has_foot = end < _without_space(text, begin, len(text))
    book = strip_credits(text, begin, end)
    is_cut = not has_foot and not text.endswith("\n") and not book.endswith(tuple(_LAST_CHARS))
    if _NOTICE in book:
        book = _NOTICES.sub("", book).strip()
    return Book(book, text[:begin], has_foot, is_cut)


# ---- head


def head_end(text: str) -> int:
    """Where the head ends: behind the START line, else the small print, else its last paragraph; 0 without a head."""
    if start := _START.search(text, 0, MAX_HEAD_CHARS):
        return start.end()
    if not _PRINT_BEHIND.search(text, 0, WORDS_CHARS):
        ends = [found.end() for found in _SMALL_PRINT_END.finditer(text, 0, MAX_HEAD_CHARS)]
        for end in reversed(ends):
            if text[end : foot_start(text, end)].strip():  # else it is the small print of a foot
                return end
    return _unmarked_head_end(text) if _OPENS_HEAD.search(text, 0, FIRST_CHARS) else 0


def _unmarked_head_end(text: str) -> int:
    """Behind the last paragraph that speaks as heads do; a few short ones between may be title and date."""
    end, gap = 0, 0
    for paragraph in _PARAGRAPH.finditer(text, 0, MAX_HEAD_CHARS):
        words = paragraph[0]
        is_rule = not any(map(str.isalnum, words))
        if _ENDS.match(words):
            break
        if _OF_HEAD.search(words) or (is_rule and not gap):
            end, gap = paragraph.end(), 0
        elif gap == MAX_GAP or len(words) > MAX_GAP_CHARS:
            break
        else:
            gap += not is_rule
    return end


# ---- foot


def foot_start(text: str, begin: int) -> int:
    """Where the foot of a text that begins at `begin` begins; its end where there is no foot.

    The last END line is sure. Before it, or before the end of the file, each mark counts down to the first behind which
    something else than the Project's own pages stands.
    """
    ends = [*_line_starts(_END, text, begin)]
    end = _without_space(text, begin, ends[-1] if ends else len(text))
    first = max(begin, end - MAX_FOOT_CHARS)
    for mark in reversed([*_FOOT.finditer(text, max(first - 1, 0), end)]):
        if not (mark["sure"] or _is_boilerplate(text, mark.start() + 1, end)):
            break
        end = _without_space(text, begin, mark.start() + 1)
    return _last_lines(text, begin, end)


def _line_starts(pattern: re.Pattern[str], text: str, begin: int) -> Iterator[int]:
    """Where lines from `begin` on start that have the pattern behind nothing but blanks.

    An anchored pattern would try every line; one that begins with a literal is searched for at memory speed.
    """
    for found in pattern.finditer(text, begin):
        least = max(begin, found.start() - MAX_INDENT_CHARS)
        line = text.rfind("\n", least, found.start()) + 1 or least
        if (line > least or line == begin) and not text[line : found.start()].strip(" \t"):
            yield line


def _is_boilerplate(text: str, begin: int, end: int) -> bool:
    if end - begin <= FOOT_CHARS:
        return True
    return len(_MENTION.findall(text, begin, end)) * CHARS_A_MENTION >= end - begin


def _last_lines(text: str, begin: int, end: int) -> int:
    """Where a short last paragraph that names the Project, in any language, begins; `end` where there is none.

    Lines above that end a sentence, or the book in capitals, are the book's.
    """
    start = max(text.rfind("\n\n", begin, end) + 2, begin)
    if _BRACKETED_END.fullmatch(text, start, end):
        return _without_space(text, begin, start)
    named = _NAMES_PROJECT.search(text, start, end)
    if named is None or text.count("\n", start, end) >= MAX_LAST_LINES:
        return end
    line = max(text.rfind("\n", start, named.start()) + 1, start)
    above = text[start:line].rstrip()
    return _without_space(text, begin, line if above.isupper() or above.endswith(tuple(_LAST_CHARS)) else start)


def strip_credits(text: str, begin: int, end: int) -> str:
    """What stands from `begin` to `end`, without the paragraphs at its top that name the file's makers."""
    end = _without_space(text, begin, end)
    space = _SPACE.match(text, begin, end)
    begin = space.end() if space else begin
    credits = _CREDITS.match(text, begin, end)
    return text[credits.end() : end].strip() if credits else text[begin:end]


def _without_space(text: str, begin: int, end: int) -> int:
    """Where the white space before `end` begins."""
    while end > begin and text[end - 1].isspace():
        end -= 1
    return end
