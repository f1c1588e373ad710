"""Macro calls of a LaTeX paper -> what they stand for; what macros and environments throw away goes."""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from functools import cache
from typing import NamedTuple

from redpajama.extract.latex_macros import USE, WORD, Macro, Macros, is_plain
from redpajama.extract.latex_pieces import LATEX, Braces, Lexed, Syntax, join, lex, plain

MAX_OPTION_CHARS = 2000  # of an optional argument
MAX_FAILURES = 100  # calls in a text whose arguments are not there: each may look through all of it
MAX_TRIED = 500  # names in one regular expression, which tries them one after another
MAX_PASSES = 5  # macros may use macros
MAX_GROWTH = 2  # times its length that a text may grow by expansion
_NOTHING = re.compile(
    r"(?:[\s{}]|\\(?:relax|unskip|ignorespaces|ignorespacesafterend|xspace|empty|@empty|null|leavevmode|@bsphack"
    r"|@esphack|protect)(?![A-Za-z@]))*"
)
_LAST_WORD = re.compile(r"\\[A-Za-z]+\Z")
_SPACE = re.compile(r"[ \t]*\n?[ \t]*")
_TOKEN = re.compile(r"\\(?:[A-Za-z@]+|.)|[^\s\\{}#&%~\]]", re.DOTALL)
_EXCLUDED = re.compile(
    r"\\(?:(?:excludecomment|excludeversion)\s*\{\s*(?P<name>[A-Za-z]+)\s*\}"
    r"|(?:RenewEnviron|NewEnviron)\s*\{\s*(?P<environ>[A-Za-z]+)\s*\}\s*+(?:\[[^\[\]]{0,200}\]\s*+){0,2}\{\s*\}"
    r"|(?:newenvironment|renewenvironment)\s*\{\s*(?P<own>[A-Za-z]+)\s*\}\s*+(?:\[[^\[\]]{0,200}\]\s*+){0,2}\{\s*(?:\\expandafter\s*)?\\"
    r"(?:comment(?![A-Za-z@])|begin\s*\{(?:comment|lrbox)\}|iffalse(?![A-Za-z@])"
    r"|setbox\s*\\?\w+\s*+=?\s*+\\[vh]box\s*\\bgroup)"
    r"|(?:New|Renew|Provide|Declare)DocumentEnvironment\s*\{\s*(?P<document>[A-Za-z]+)\s*\}\s*\{(?:[^{}b]|\{[^{}]{0,50}\}){0,50}b\s*\}\s*\{\s*\}"
    r"|let\s*\\end(?P<alias>[A-Za-z]+)\s*+=?\s*+\\endcomment(?![A-Za-z@]))"
)
_ENVIRONMENT = re.compile(r"\\(?P<which>begin|end)\s*\{\s*(?P<name>[A-Za-z]+)\s*\}")
_INCLUDED = re.compile(r"\\(?:includecomment|includeversion)\s*\{\s*([A-Za-z]+)\s*\}")


# ---- expansion


def expand(lexed: Lexed, macros: Macros, syntax: Syntax = LATEX) -> Lexed:
    """A text with its macros replaced, in at most MAX_PASSES passes; a pass that would grow too long is not made."""
    limit = MAX_GROWTH * len(lexed.text) + 10_000
    lexed = _throw_away(lexed, macros.throwing, limit, syntax)
    if not macros.plain:
        return lexed
    nested = any(name in macros.plain for body in macros.plain.values() for name in WORD.findall(body))
    body_of = cache(lambda name: lex(macros.plain[name], syntax))
    calls = _calls(macros.plain)
    for _ in range(MAX_PASSES if nested else 1):
        expanded = _expand_once(lexed, macros.plain, body_of, calls, limit)
        if expanded is None or expanded == lexed:
            break
        lexed = expanded
    return lexed


def _calls(names: Iterable[str]) -> re.Pattern[str]:
    """Where one of some control words stands, or if they are many, any; a group of them for each first letter."""
    names = list(names)
    if len(names) > MAX_TRIED:
        return re.compile(r"\\(?:\\|(?P<name>[A-Za-z@]+))")
    by_letter: dict[str, list[str]] = {}
    for name in sorted(names):
        by_letter.setdefault(name[0], []).append(name[1:])
    words = "|".join(f"{letter}(?:{'|'.join(rests)})" for letter, rests in by_letter.items())
    return re.compile(rf"\\(?:\\|(?P<name>{words})(?![A-Za-z@]))")


def _expand_once(
    lexed: Lexed, names: Container[str], body_of: Callable[[str], Lexed], calls: re.Pattern[str], limit: int
) -> Lexed | None:
    """One pass; None beyond `limit` characters. `\\mathbf\\x` becomes `\\mathbf{abc}`, never `\\mathbfabc`."""
    parts: list[Lexed] = []
    at, length = 0, 0
    for match in calls.finditer(lexed.masked):
        if match["name"] not in names:
            continue
        before, body = lexed.cut(at, match.start()), body_of(match["name"])
        if body.text[:1].isalnum() and _LAST_WORD.search(before.masked or (parts[-1].masked if parts else "")):
            body = Lexed(f"{{{body.text}}}", f"{{{body.masked}}}")
        parts += [before, body]
        length += len(before.text) + len(body.text)
        at = match.end()
        if length > limit:
            return None
    return join([*parts, lexed.cut(at)]) if at else lexed


def _throw_away(lexed: Lexed, throwing: Mapping[str, Macro], limit: int, syntax: Syntax) -> Lexed:
    """Without what macros throw away, in as many passes as they stand in each other, at most MAX_PASSES."""
    calls = _calls(throwing) if throwing else None
    for _ in range(MAX_PASSES if calls else 0):
        if not calls or not any(match["name"] in throwing for match in calls.finditer(lexed.masked)):
            break
        before, lexed = lexed, _throw_once(lexed, calls, throwing, syntax)
        if before == lexed or len(lexed.text) > limit:
            return before
    return lexed


def _throw_once(lexed: Lexed, calls: re.Pattern[str], throwing: Mapping[str, Macro], syntax: Syntax) -> Lexed:
    text, masked = lexed
    reader = _Arguments(masked)
    parts: list[Lexed] = []
    at = failures = 0
    for match in calls.finditer(masked):
        if match.start() < at or match["name"] not in throwing:
            continue
        macro = throwing[match["name"]]
        if (arguments := reader.read(macro, match.end())) is None:
            if (failures := failures + 1) == MAX_FAILURES:
                break
            continue
        left = lex(_what_is_left(macro, arguments, text, match.start()), syntax)
        parts += [lexed.cut(at, match.start()), left]
        at = arguments.end
        if not left.text:
            at = _after_nothing(text, match.start(), at)
            if _LAST_WORD.search(masked, max(0, match.start() - 50), match.start()):
                parts.append(plain(" "))  # `\\alpha\\note{x}b` is no `\\alphab`
    return join([*parts, lexed.cut(at)]) if at else lexed


def _after_nothing(text: str, start: int, end: int) -> int:
    """Where to go on behind what was thrown away from `start` to `end`: a line that held nothing else goes whole."""
    alone = not text[text.rfind("\n", 0, start) + 1 : start].strip()
    line_end = text.find("\n", end)
    return line_end + 1 if alone and line_end >= 0 and not text[end:line_end].strip() else end


class _Found(NamedTuple):
    spans: list[tuple[int, int] | None]  # of each argument; None: an optional one that is not given
    end: int


def _what_is_left(macro: Macro, found: _Found, text: str, start: int) -> str:
    """A call -> nothing, or the body with the arguments in it, or the call with what it throws away emptied."""
    if _NOTHING.fullmatch(macro.body):
        return ""
    parameters = [parameter for parameter in macro.parameters if parameter.kind != "!"]
    if is_plain(macro.name, macro.body):
        values = [
            text[span[0] : span[1]] if span else parameter.text
            for span, parameter in zip(found.spans, parameters, strict=True)
        ]
        return USE.sub(lambda match: values[int(match[1]) - 1] if int(match[1]) <= len(values) else "", macro.body)
    used = set(map(int, USE.findall(macro.body)))
    kept, at = [], start
    for number, span in enumerate(found.spans, 1):
        if span and number not in used:
            kept.append(text[at : span[0]])
            at = span[1]
    return "".join(kept) + text[at : found.end]


class _Arguments:
    """Reads the arguments of calls in one masked text."""

    def __init__(self, masked: str) -> None:
        self.masked = masked
        self.braces = Braces(masked).ends
        self.missing: set[str] = set()  # delimiters that do not come any more

    def read(self, macro: Macro, at: int) -> _Found | None:
        """The arguments of a call whose name ends at `at`; None if they are not there."""
        spans: list[tuple[int, int] | None] = []
        for kind, text in macro.parameters:
            if kind == "!":
                at = self._skip_space(at)
                if not self.masked.startswith(text, at):
                    return None
                at += len(text)
                continue
            found = self._one(kind, text, at)
            if found is None and kind in "mu":
                return None
            spans.append(found[0] if found else None)
            at = found[1] if found else at
        return _Found(spans, at)

    def _skip_space(self, at: int) -> int:
        found = _SPACE.match(self.masked, at)
        return found.end() if found else at

    def _one(self, kind: str, text: str, at: int) -> tuple[tuple[int, int], int] | None:
        """((start, end) of an argument, where it is over); None if it is not there."""
        if kind == "u":
            end = self._find(text, at)
            return None if end is None else ((at, end), end + len(text))
        at = self._skip_space(at)
        if kind == "s":
            return ((at, at + 1), at + 1) if self.masked.startswith("*", at) else None
        if kind == "o":
            end = self._find("]", at + 1, at + MAX_OPTION_CHARS) if self.masked.startswith("[", at) else None
            return None if end is None else ((at + 1, end), end + 1)
        if self.masked.startswith("{", at):
            end = self.braces.get(at)
            return None if end is None else ((at + 1, end - 1), end)
        token = _TOKEN.match(self.masked, at)
        return ((at, token.end()), token.end()) if token else None

    def _find(self, delimiter: str, at: int, limit: int | None = None) -> int | None:
        """Where a delimiter stands in no group. What does not come before the end is not looked for again."""
        limit = len(self.masked) if limit is None else limit
        if delimiter in self.missing:
            return None
        word = "(?![A-Za-z@])" if re.search(r"\\[A-Za-z@]+\Z", delimiter) else ""
        tokens = re.compile(r"\{|\}|" + re.escape(delimiter) + word)
        while match := tokens.search(self.masked, at, limit):
            if match[0] == delimiter:
                return match.start()
            if match[0] == "}" or match.start() not in self.braces:
                return None
            at = self.braces[match.start()]
        if limit == len(self.masked):
            self.missing.add(delimiter)
        return None


# ---- environments that throw their contents away


def drop_environments(lexed: Lexed, styles: str = "") -> Lexed:
    """Without the environments whose contents TeX skips: `\\excludecomment`, `\\NewEnviron{x}{}`, boxes never used."""
    found = [
        next(filter(None, match.groups())) for each in (lexed.masked, styles) for match in _EXCLUDED.finditer(each)
    ]
    if not found:
        return lexed
    shown = {name for each in (lexed.masked, styles) for name in _INCLUDED.findall(each)}
    names = set(found) - shown
    return join(_without_environments(lexed, names)) if names else lexed


def _without_environments(lexed: Lexed, names: Container[str]) -> Iterator[Lexed]:
    at, opened = 0, ""
    for match in _ENVIRONMENT.finditer(lexed.masked):
        if not opened and match["which"] == "begin" and match["name"] in names:
            yield lexed.cut(at, match.start())
            opened, at = match["name"], match.start()
        elif opened == match["name"] and match["which"] == "end":
            opened, at = "", _after_nothing(lexed.text, at, match.end())
    yield lexed.cut(at)
