"""LaTeX text in pieces: ordinary text, what is verbatim, and comments. Braces that belong together.

A `%` begins a comment except where TeX reads characters as they are: in verbatim environments and in the arguments of
inline code, by the manuals of LaTeX, fancyvrb, listings, minted, moreverb, tcolorbox, url and hyperref. A paper may
define more of both kinds, by the commands that those manuals give for it: `find_syntax`.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from typing import NamedTuple

MAX_VERB_CHARS = 1000
MAX_DEFINED = 100  # verbatim environments, and commands, of one paper
ENVIRONMENTS = (
    "verbatim Verbatim BVerbatim LVerbatim SaveVerbatim VerbatimOut VerbatimWrite verbatimtab verbatimwrite listingcont"
    " boxedverbatim spverbatim alltt semiverbatim lstlisting minted filecontents comment tcblisting tcboutputlisting"
    " LTXexample verbbox verbnobox luacode pycode pyblock pysub pyconsole pyverbatim sympycode sympyblock sympyverbatim"
    " pylabcode pylabblock pylabverbatim sageblock sagesilent sageverbatim sageexample sagecommandline asy asydef"
    " gnuplot Highlighting Code CodeInput CodeOutput Sinput Soutput Scode"
)
COMMANDS = "verb Verb lstinline mintinline SaveVerb url path nolinkurl burl href hyperref hyperimage hyperbaseurl doi"
_URLS = frozenset(("url", "path", "nolinkurl", "burl"))  # a fence of these is a mark: TikZ has a \path too
_BRACED_ONLY = frozenset(("href", "hyperref", "hyperimage", "hyperbaseurl", "doi"))
_BARE = frozenset(("verb", "hyperref"))  # those that have no options before what is read as it is
_LEADING = {"mintinline": 1, "SaveVerb": 1}  # arguments before the code: the language, the name

_NUMBERED = r"listing(?=\*?\}(?:\[\d+\])?\{\d)"  # of moreverb, with the first line's number; minted's is a float

_IFFALSE = re.compile(
    r"\\iffalse(?![A-Za-z@])(?P<false>(?:(?!\\(?:if|fi(?![A-Za-z@])|else(?![A-Za-z@]))).){0,100000}+)"
    r"(?:\\else(?![A-Za-z@])(?P<true>(?:(?!\\(?:if|fi(?![A-Za-z@]))).){0,100000}+))?\\fi(?![A-Za-z@])[ \t]*",
    re.DOTALL,
)
_OPTION = r"\[(?:[^\[\]{}]|\{(?:[^{}]|\{[^{}]{0,100}\}){0,200}+\}){0,300}+\]"  # braces hide brackets
_OPTIONS = re.compile(rf"[ \t]*\*?[ \t]*(?:{_OPTION})?[ \t]*")
_STAR = re.compile(r"\*?[ \t]*")
_GROUP = re.compile(r"\{[^{}\n]{0,100}\}[ \t]*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_RAW_BRACE = re.compile(r"[{}]|\n[ \t]*\n")

_NAMED = r"\s*+\*?\s*+(?:\{\s*\\(?P<name>[A-Za-z]+)\s*\}|\\(?P<bare>[A-Za-z]+))"
_CODE = r"\\(?:lstinline|verb|Verb|path|url|mintinline\s*+(?:\[[^\[\]]{0,200}\])?\s*\{\w+\})(?![A-Za-z@])"
_SPECIFICATION = r"\{[^{}]{0,200}(?:\{[^{}]{0,200}\}[^{}]{0,200}){0,9}\}"  # of xparse
_VERBATIM = r"(?:[BL]?[Vv]erbatim|alltt|lstlisting|minted)(?![A-Za-z@])"
_MORE_ENVIRONMENTS = re.compile(
    r"\\(?:(?:(?:Define|Recustom)VerbatimEnvironment|lstnewenvironment|(?:New|Renew|Declare|Provide)TCBListing"
    r"|(?:re)?newtcblisting|newverbatim)\s*+(?:\[[^\[\]]{0,200}\])?\s*\{\s*(?P<name>[A-Za-z]+)\*?\s*\}"
    r"|newminted\s*+(?:\[(?P<minted>[A-Za-z]+)\]\s*\{|\{(?P<language>\w+)\})"
    r"|(?:newenvironment|renewenvironment)\s*\{\s*(?P<own>[A-Za-z]+)\*?\s*\}\s*+(?:\[\d\]\s*+(?:\[[^\[\]]{0,200}\])?)?\s*"
    r"(?=\{)"
    r"|(?:New|Renew|Provide|Declare)DocumentEnvironment\s*\{\s*(?P<document>[A-Za-z]+)\*?\s*\}\s*"
    + _SPECIFICATION
    + r"\s*(?=\{)"
    r"|(?:let|def|(?:re)?newcommand\s*\*?)\s*\{?\s*\\end(?P<ended>[A-Za-z]+)\s*\}?\s*+=?\s*+\{?[^{}]{0,100}?\\end\{?"
    + _VERBATIM
    + r")"
)
_BECOMES_VERBATIM = re.compile(
    rf"\\(?:VerbatimEnvironment(?![A-Za-z@])|(?:begin\s*\{{)?{_VERBATIM}|@makeother\s*\\%|catcode\s*`?\s*(?:\\%|37)\s*=?\s*1[12])"
)
_MORE_COMMANDS = re.compile(
    r"\\(?:DeclareUrlCommand"
    + _NAMED
    + r"|newmint(?:inline)?\s*+(?:\[(?P<minted>[A-Za-z]+)\]\s*\{|\{(?P<language>\w+)\})"
    r"|let\s*\\(?P<alias>[A-Za-z]+)\s*+=?\s*+" + _CODE + r"|(?:newcommand|renewcommand|providecommand|def)\s*+\*?\s*+"
    r"(?:\{\s*\\(?P<wrapped>[A-Za-z]+)\s*\}|\\(?P<defined>[A-Za-z]+))\s*+(?:\[1\]\s*\[[^\[\]]{0,200}\])?\s*\{[^{}]{0,200}"
    + _CODE
    + r"\s*+(?:\[[^\[\]]{0,300}\])?\s*\}"
    r"|(?:New|Renew|Provide|Declare)DocumentCommand\s*\{?\s*\\(?P<document>[A-Za-z]+)\s*\}?"
    r"\s*\{(?:[+!so ]|O\s*\{[^{}]{0,200}\})*+v\s*\}"
    r"|newverbcommand\s*\{?\s*\\(?P<verbs>[A-Za-z]+)"
    r"|CustomVerbatimCommand\s*\{?\s*\\(?P<custom>[A-Za-z]+)\s*\}?\s*\{Verb\})"
)
_MORE_FENCES = re.compile(
    r"\\(?:(?:Make|Define)ShortVerb|lstMakeShortInline)\*?\s*+(?:\[[^\[\]]{0,200}\])?\s*\{?\s*\\?(?P<fence>[^\sA-Za-z{}\\%])"
)


_HINT = re.compile(  # what one of the three above begins with, or holds: most papers have none of it
    r"\\(?:(?:Define|Recustom)VerbatimEnv|lstnewenv|(?:New|Renew|Declare|Provide)(?:TCBListing|Document(?:Comm|Env))"
    r"|newtcblisting|renewtcblisting|newmint|newverb|DeclareUrlCommand|CustomVerbatimCommand|(?:Make|Define)ShortVerb"
    r"|lstMakeShort|VerbatimEnvironment|catcode|@makeother\s*\\%|begin\s*\{alltt|mintinline\s*+(?:\[[^\[\]]{0,200}\])?\s*\{\w+\}\s*\}"
    r"|(?:(?:end)?(?:[Vv]erbatim|alltt|lstlisting|minted)|lstinline|verb|Verb|path|url|mintinline)(?![A-Za-z@{|+!]))"
)
COMMENT = re.compile(r"(?<!\\)%[^\n]*(?:\n[ \t]*)?")  # in what has nothing verbatim: a preamble, a style


class Syntax(NamedTuple):
    """What a paper reads verbatim beyond what LaTeX and the usual packages do."""

    environments: frozenset[str] = frozenset()
    commands: frozenset[str] = frozenset()
    fences: frozenset[str] = frozenset()  # characters that stand around code, as `|x|`


LATEX = Syntax()


class Piece(NamedTuple):
    """A stretch of a LaTeX file."""

    kind: str  # text | verbatim | comment
    text: str


class Lexed(NamedTuple):
    """A text without comments, and the same with everything verbatim blanked: what to search for commands."""

    text: str
    masked: str

    def cut(self, start: int, end: int | None = None) -> "Lexed":
        """A stretch of it."""
        return Lexed(self.text[start:end], self.masked[start:end])


def join(parts: Iterable[Lexed]) -> Lexed:
    """Stretches one after another."""
    parts = list(parts)
    return Lexed("".join(part.text for part in parts), "".join(part.masked for part in parts))


def plain(text: str) -> Lexed:
    """A text that has nothing verbatim."""
    return Lexed(text, text)


def find_syntax(texts: Iterable[str]) -> Syntax:
    """The verbatim environments, commands and fences that a paper's files define, styles among them.

    Looked for in preambles, and in files that have none.
    """
    environments: set[str] = set()
    commands: set[str] = set()
    fences: set[str] = set()
    for text in (text[: text.find("\\begin{document}")] if "\\begin{document}" in text else text for text in texts):
        if _HINT.search(text):
            text = COMMENT.sub("", text)
            found = (_environment(match, text) for match in _MORE_ENVIRONMENTS.finditer(text))
            environments.update(filter(None, found))
            commands.update(map(_command, _MORE_COMMANDS.finditer(text)))
            fences.update(match["fence"] for match in _MORE_FENCES.finditer(text))
    return Syntax(*(frozenset(sorted(names)[:MAX_DEFINED]) for names in (environments, commands, fences)))


def _command(match: re.Match[str]) -> str:
    if match["language"]:
        return match["language"] + ("inline" if "inline" in match[0] else "")
    return next(filter(None, match.groups()))


def _environment(match: re.Match[str], text: str) -> str | None:
    if own := match["own"] or match["document"]:
        end = balanced_end(text, match.end(), MAX_VERB_CHARS)
        return own if end and _BECOMES_VERBATIM.search(text, match.end(), end) else None
    return match["name"] or match["minted"] or match["ended"] or f"{match['language']}code"


@lru_cache(maxsize=64)
def _token(syntax: Syntax) -> re.Pattern[str]:
    """Where something other than ordinary text may begin."""
    environments = "|".join(map(re.escape, sorted({*ENVIRONMENTS.split(), *syntax.environments})))
    commands = "|".join(sorted({*COMMANDS.split(), *syntax.commands}))
    fences = "".join(map(re.escape, sorted(syntax.fences)))
    return re.compile(
        rf"\\(?:begin[ \t]*\{{[ \t]*(?P<environment>(?:{environments}|{_NUMBERED})\*?)[ \t]*\}}"
        rf"|(?P<command>{commands})(?![A-Za-z@])|[\\%{fences}])|%" + (f"|(?P<fence>[{fences}])" if fences else "")
    )


def split_pieces(text: str, syntax: Syntax = LATEX) -> Iterator[Piece]:
    """Text, verbatim parts (environments, inline code, URLs) and comments (`%` to the end of its line), in order."""
    unclosed: set[str] = set()
    search = _token(syntax).search
    start, at = 0, 0
    while match := search(text, at):
        at = match.end()
        kind, end = _special(text, match, unclosed)
        if kind:
            if match.start() > start:
                yield Piece("text", text[start : match.start()])
            yield Piece(kind, text[match.start() : end])
            start = at = end
    if start < len(text):
        yield Piece("text", text[start:])


def _special(text: str, match: re.Match[str], unclosed: set[str]) -> tuple[str, int]:
    """(kind, end) of what begins at a token; kind "" for ordinary text."""
    if match[0] == "%":
        end = text.find("\n", match.end())
        return "comment", end if end >= 0 else len(text)
    if match["environment"]:
        return _environment_end(text, match, unclosed)
    if match["command"]:
        return _code_end(text, match["command"], match.end())
    if match[0][0] != "\\":
        return _fence_end(text, match.end(), match[0])
    return "", 0


def _environment_end(text: str, match: re.Match[str], unclosed: set[str]) -> tuple[str, int]:
    name = match["environment"]
    ends = [] if name in unclosed else [f"\\end{{{name}}}", f"\\end {{{name}}}"]
    for closing in ends:
        if (end := text.find(closing, match.end())) >= 0:
            return ("comment" if name == "comment" else "verbatim"), end + len(closing)
    unclosed.add(name)
    return "", 0


def _code_end(text: str, command: str, at: int) -> tuple[str, int]:
    """Inline code: `\\verb|x|`, `\\lstinline[language=C]{x}`, `\\url{x}`; kind "" where it does not close."""
    found = (_STAR if command in _BARE else _OPTIONS).match(text, at)
    at = found.end() if found else at
    for _ in range(_LEADING.get(command, 0)):
        group = _GROUP.match(text, at)
        at = group.end() if group else at
    fence = text[at : at + 1]
    if fence == "{" and command != "verb":
        return _group_end(text, at)
    if not fence or fence.isspace() or fence.isalpha() or fence in "*{}\\\0" or command in _BRACED_ONLY:
        return "", 0
    if command in _URLS and fence not in '|!+="':
        return "", 0
    return _fence_end(text, at + 1, fence)


def _fence_end(text: str, at: int, fence: str) -> tuple[str, int]:
    end = text.find(fence, at, at + MAX_VERB_CHARS)
    return ("verbatim", end + 1) if end >= 0 and "\n" not in text[at:end] else ("", 0)


def _group_end(text: str, start: int) -> tuple[str, int]:
    """The brace that closes code: braces are counted, a backslash before one means nothing; within a paragraph."""
    depth = 0
    for match in _RAW_BRACE.finditer(text, start, start + MAX_VERB_CHARS):
        depth += {"{": 1, "}": -1}.get(match[0], MAX_VERB_CHARS)
        if depth == 0:
            return "verbatim", match.end()
        if depth >= MAX_VERB_CHARS:
            break
    return "", 0


def lex(text: str, syntax: Syntax = LATEX) -> Lexed:
    """Without comments, `comment` environments and `\\iffalse … \\fi`; a line that held only a comment goes whole.

    Escaped `\\%` and everything verbatim stay; of `50\\% %note` the character before the comment stays too.
    """
    kept: list[str] = []
    masked: list[str] = []
    line_is_blank, eat_newline = True, False
    for kind, piece in split_pieces(text, syntax):
        if kind == "comment":
            eat_newline = line_is_blank
            continue
        if eat_newline:
            piece = piece.removeprefix("\n")
        kept.append(piece)
        masked.append(piece if kind == "text" else " " * len(piece))
        last = piece.rpartition("\n")
        line_is_blank = not last[2].strip() and (bool(last[1]) or line_is_blank)
        eat_newline = False
    return _drop_iffalse(Lexed("".join(kept), "".join(masked)))


def _drop_iffalse(lexed: Lexed) -> Lexed:
    if "\\iffalse" not in lexed.masked:
        return lexed
    parts: list[Lexed] = []
    at = 0
    for match in _IFFALSE.finditer(lexed.masked):
        parts += [lexed.cut(at, match.start()), lexed.cut(*match.span("true")) if match["true"] else Lexed("", "")]
        at = match.end()
    return join([*parts, lexed.cut(at)])


# ---- braces


def balanced_end(text: str, start: int, limit: int) -> int | None:
    """The offset after the brace that closes the one at `start`; None when that is over `limit` characters away."""
    depth = 0
    for match in _BRACE.finditer(text, start, start + limit):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return None


class Braces:
    """Which braces of a masked text belong together, in one pass over it that is made when they are asked for."""

    def __init__(self, masked: str) -> None:
        self._masked = masked

    @cached_property
    def ends(self) -> dict[int, int]:
        """Where a group begins -> the offset after it."""
        ends: dict[int, int] = {}
        open_at: list[int] = []
        for match in _BRACE.finditer(self._masked):
            if match[0] == "{":
                open_at.append(match.start())
            elif match[0] == "}" and open_at:
                ends[open_at.pop()] = match.end()
        return ends
