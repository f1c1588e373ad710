"""A merged LaTeX project -> readable text: user macros replaced, front and back matter cut.

Pure functions on strings. TeX is not run: what only TeX can decide (conditionals, macros that program) stays. Every
function is linear in its input up to the stated bounds, since sources come from anyone. The steps before stand in
`latex_encodings` (bytes), `latex_pieces` (comments), `latex_files` and `latex_companions` (the main file, inputs),
`latex_macros` and `latex_expand`.
"""

import re
from bisect import bisect_left, bisect_right
from itertools import islice
from typing import NamedTuple

from redpajama.extract.latex_expand import drop_environments, expand
from redpajama.extract.latex_files import marked_stretches, split_document, unmark
from redpajama.extract.latex_macros import MAX_MACRO_CHARS, add_styles, take_macros
from redpajama.extract.latex_pieces import LATEX, Braces, Lexed, Syntax

MAX_GAP = 2_000  # characters between \maketitle and an abstract that still belongs to the front
MAX_TITLE = 10_000  # of title and authors without \maketitle before an abstract

_HEADING = re.compile(
    r"\\(?:chapter|part|section|subsection|subsubsection|paragraph|subparagraph)\*?\s*+(?:\[[^\]]{0,1000}\])?\s*\{"
)
_TITLE_END = re.compile(r"\\maketitle(?:abstract)?(?![A-Za-z@])|\\end\s*\{frontmatter\}")
_FRONT_BEGIN = re.compile(r"\\begin\s*\{frontmatter\}")
_TITLE_COMMAND = re.compile(  # with their arguments they are no text, wherever the title is not made
    r"\s*\\(?:title|subtitle|titlerunning|shorttitle|authors?|authorrunning|shortauthors?|date|affil(?:iation)?s?"
    r"|address|institute|institution|email|ead|thanks|homepage|orcid|keywords?|pacs|preprint|draft|pagestyle"
    r"|thispagestyle|setcounter|pagenumbering|received|accepted|runninghead|markboth|tableofcontents)(?![A-Za-z@])\*?"
)
_OPTION = re.compile(r"\s*\[[^\[\]]{0,1000}\]")
_ARGUMENT = re.compile(r"[ \t]*+\n?[ \t]*+(?=\{)")
_TAIL = re.compile(
    r"\\appendix(?![A-Za-z@])|\\begin\s*\{(?:references|REFERENCES|thebibliography)\}"
    r"|\\bibliography\s*\{|\\printbibliography(?![A-Za-z@])"
)
_LAST_COMMANDS = re.compile(
    r"(?:\s*\\(?:bibliographystyle\s*\{[^{}]{0,200}\}|(?:clear(?:double)?|new)page(?![A-Za-z@])"
    r"|pagebreak(?![A-Za-z@])(?:\[\d\])?))+\s*\Z"
)
_ABSTRACT_WORD = r"[A-Za-z]{0,12}?(?:abstract|Abstract|ABSTRACT)"
_OTHER_LANGUAGES = (
    "[Aa]bst|[Rr]esum[eé]?|[Rr]esumen|[Rr]esumo|[Zz]usammenfassung|[Kk]urzfassung|[Ss]ynopsis|[Rr]iassunto|[Ss]ommario"
    "|[Aa]bstrakt|[Ss]treszczenie|[Ss]amenvatting|[Ss]ummary|[Aa]nnotation|[Rr]eferat|[Rr]ezumat|[Pp]ovzetek|[Ss]azetak"
)
_ABSTRACT = re.compile(
    rf"\\begin\s*\{{\s*(?P<name>(?:{_ABSTRACT_WORD}[A-Za-z]*|{_OTHER_LANGUAGES})\*?)\s*\}}"
    rf"|\\(?:{_ABSTRACT_WORD}(?:s|text|en|de|fr|es)?|{_OTHER_LANGUAGES})(?![A-Za-z@])\*?"
    r"(?P<option>\s*\[[^\[\]]{0,1000}\])?(?:\s*(?P<brace>\{)|(?P<ams>(?<=[\\n][Aa]bstract)(?=\s)))"
)
_AMS_END = re.compile(r"\\end[Aa]bstract(?![A-Za-z@])")
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n|\\(?:maketitle|(?:sub)*section|keywords?|pacs|newpage)(?![A-Za-z@])")
_SPOKEN = re.compile(  # an abstract that only a word in bold or on its own line tells
    r"(?:\{\s*)?(?:\\(?:\\|[A-Za-z]+\*?(?:\s*\{(?:center|quotation|quote|small|minipage|flushleft)\}(?:\{[^{}\s]{0,50}\})?)?)"
    r"\s*(?:\{\s*)?){1,8}+(?i:abstract|summary|r[eé]sum[eé]|zusammenfassung|резюме|аннотация)\s*(?=[.:}\\—–-])"
)
_DEFINES = re.compile(r"(?:def|let|command\*?|[Ee]nvironment\*?|patchcmd)\s*\{?\s*\Z")
_MAX_ARGUMENTS = 5  # of \abstract: context, aims, methods, results and conclusions (A&A's aa.cls)


class Cleaned(NamedTuple):
    """The text of a paper, and which of the files that were merged into it gave text or macros, by number."""

    text: str
    files: frozenset[int]


class _Span(NamedTuple):
    start: int
    end: int


def clean(merged: Lexed, styles: str = "", syntax: Syntax = LATEX) -> Cleaned:
    """A merged document without comments -> abstracts and body: macros replaced, front and back matter cut.

    `styles`: what the project's own styles hold, for their macros. The body begins after the title and the abstract,
    so that an introduction without a heading stays; where neither is marked, with the document, but for commands as
    `\\title`. It ends at the appendix or the bibliography.
    """
    own, rest = take_macros(merged)
    macros = add_styles(own, styles, rest.text)
    preamble, body = split_document(drop_environments(rest, styles))
    body = expand(body, macros, syntax)
    spans = _kept(body.masked)
    early = _abstracts(preamble.masked, Braces(preamble.masked), 0, len(preamble.masked))
    texts = [expand(preamble.cut(*span), macros, syntax).text for span in early]
    texts += [body.text[span.start : span.end] for span in spans]
    marked = "\0" in merged.text
    files = _files_of(merged.text, preamble.text, body.text, spans, own.starts) if marked else frozenset[int]()
    *abstracts, last = (unmark(text).strip() for text in texts)
    return Cleaned(tidy("\n\n".join([*filter(None, abstracts), last[: _trailing(last)]])), files)


def _files_of(
    merged: str, preamble: str, body: str, spans: list[_Span], definitions: tuple[int, ...]
) -> frozenset[int]:
    """The numbers of input files that stand in the preamble, gave text to what is kept of the body, or macros."""
    found: set[int] = set()
    for _, _, files in marked_stretches(preamble):
        found.update(files)
    for start, end, files in marked_stretches(merged):
        if files and bisect_left(definitions, start) < bisect_left(definitions, end):
            found.update(files)
    ends = [span.end for span in spans]
    for start, end, files in marked_stretches(body):
        for span in islice(spans, bisect_right(ends, start), None) if files else ():
            if span.start >= end:
                break
            if body[max(start, span.start) : min(end, span.end)].strip():
                found.update(files)
    return frozenset(found)


def _trailing(text: str) -> int:
    """Where the commands begin that stand alone at a text's end: a page break, the style of a bibliography."""
    found = _LAST_COMMANDS.search(text, max(0, len(text) - MAX_MACRO_CHARS))
    return found.start() if found else len(text)


# ---- front and back


def _kept(masked: str) -> list[_Span]:
    """What is kept of a body: the abstracts of its front, and the text, which is the last."""
    braces = Braces(masked)
    abstracts, until = _front(masked, braces)
    start = _front_end(masked, abstracts, until)
    if start == 0:
        start = _title_commands_end(masked, braces)
    front = [span for span in abstracts if span.end <= start] or _spoken(masked, start)
    tail = _TAIL.search(masked, start)
    return [*front, _Span(start, tail.start() if tail else len(masked))]


def _spoken(masked: str, start: int) -> list[_Span]:
    """An abstract without a command of its own that stands before the title is made."""
    title = max((match.start() for match in _TITLE_END.finditer(masked, 0, start)), default=0)
    found = _SPOKEN.search(masked, 0, title)
    return [_Span(found.start(), title)] if found else []


def _front(masked: str, braces: Braces) -> tuple[list[_Span], int]:
    """(the abstracts before the first heading, where that stands or the end of the text).

    A heading inside of an abstract or of a `frontmatter` is not the first.
    """
    closed = _TITLE_END.search(masked, begin.end()) if (begin := _FRONT_BEGIN.search(masked)) else None
    while closed and closed[0].startswith("\\maketitle"):
        closed = _TITLE_END.search(masked, closed.end())
    at, floor = 0, closed.end() if closed else 0
    abstracts: list[_Span] = []
    while True:
        heading = _HEADING.search(masked, max(at, floor))
        until = heading.start() if heading else len(masked)
        abstracts += _abstracts(masked, braces, at, until)
        if heading is None or not abstracts or abstracts[-1].end <= until:
            return abstracts, until
        at = abstracts[-1].end


def _front_end(masked: str, abstracts: list[_Span], until: int) -> int:
    """Where the title and the abstracts that follow it end; 0 if neither is marked."""
    start = 0
    for match in _TITLE_END.finditer(masked, 0, until):
        if not start or match[0].startswith("\\end") or match.start() - start <= MAX_GAP:  # else of another paper
            start = match.end()
    for span in abstracts:
        if span.end <= until and span.start - start <= (MAX_GAP if start else MAX_TITLE):
            start = max(start, span.end)
    return start


def _title_commands_end(masked: str, braces: Braces) -> int:
    """Where the commands end that give a title, its authors and the page's style, with their arguments."""
    at = 0
    while match := _TITLE_COMMAND.match(masked, at):
        at = match.end()
        while option := _OPTION.match(masked, at):
            at = option.end()
        while (argument := _ARGUMENT.match(masked, at)) and (end := braces.ends.get(argument.end())):
            at = end
    return at


def _abstracts(masked: str, braces: Braces, at: int, until: int) -> list[_Span]:
    """Where abstracts stand that begin between two offsets.

    Environments, commands with up to five arguments, AMS-TeX's `\\abstract … \\endabstract`.

    Definitions of such commands, and what never closes, are none.
    """
    found: list[_Span] = []
    unclosed: set[str] = set()
    while match := _ABSTRACT.search(masked, at, max(at, until)):
        at = match.end()
        end = None
        if not _DEFINES.search(masked, max(0, match.start() - 30), match.start()):
            end = _abstract_end(masked, match, braces, unclosed)
        if end is not None:
            found.append(_Span(match.start(), end))
            at = end
    return found


def _abstract_end(masked: str, match: re.Match[str], braces: Braces, unclosed: set[str]) -> int | None:
    if match["brace"]:
        return _arguments_end(masked, match.start("brace"), braces)
    name = match["name"] or "endabstract"
    if name in unclosed:
        return _paragraph_end(masked, match, braces) if match["ams"] is not None else None
    closing = re.compile(rf"\\end\s*\{{\s*{re.escape(name)}\s*\}}") if match["name"] else _AMS_END
    if (end := closing.search(masked, match.end())) is None:
        unclosed.add(name)
        return _paragraph_end(masked, match, braces) if match["ams"] is not None else None
    return end.end()


def _paragraph_end(masked: str, match: re.Match[str], braces: Braces) -> int:
    """Where an abstract ends that nothing closes: with its group, its paragraph, or where the title is made."""
    if group := braces.ends.get(match.start() - 1):
        return group - 1
    end = _PARAGRAPH_END.search(masked, match.end())
    return end.start() if end else len(masked)


def _arguments_end(masked: str, at: int, braces: Braces) -> int | None:
    """Where the arguments end that begin at a brace: up to five groups, no blank line between them."""
    if (end := braces.ends.get(at)) is None:
        return None
    for _ in range(_MAX_ARGUMENTS - 1):
        argument = _ARGUMENT.match(masked, end)
        if argument is None or (after := braces.ends.get(argument.end())) is None:
            break
        end = after
    return end


def tidy(text: str) -> str:
    """No space at line ends, at most one blank line in a row, none at the ends."""
    lines = "\n".join(line.rstrip(" \t") for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines).strip()
