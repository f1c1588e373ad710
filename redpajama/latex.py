"""LaTeX projects -> readable text: comments, the main file and its inputs, user macros, front and back matter.

Pure functions on strings. TeX is not run: what only TeX can decide (conditionals, macros with arguments) stays.
Every function is linear in its input up to the stated bounds, since sources come from anyone.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

TEX_SUFFIXES = (".tex", ".ltx", ".latex")
MAIN_STEMS = ("ms", "main", "paper")
MAX_VERB_CHARS = 1000
MAX_INPUT_DEPTH = 30
MAX_MACRO_CHARS = 500  # of a definition's body: longer ones are programs, not abbreviations
MAX_PASSES = 5  # macros may use macros
MAX_GROWTH = 2  # times its length that a text may grow by expansion

_TOKEN = re.compile(
    r"\\(?:begin\s*\{(?P<environment>verbatim\*?|Verbatim\*?|lstlisting|minted|filecontents\*?|comment)\}"
    r"|(?:verb|lstinline)\*?(?P<fence>[^\sA-Za-z*{\[\\])"
    r"|(?:url|path|nolinkurl|href)\s*\{(?P<url>[^{}\n]*)\}"
    r"|[\\%])|%"
)
_IFFALSE = re.compile(
    r"\\iffalse(?![A-Za-z@])(?P<false>(?:(?!\\(?:if|fi(?![A-Za-z@])|else(?![A-Za-z@]))).){0,100000}+)"
    r"(?:\\else(?![A-Za-z@])(?P<true>(?:(?!\\(?:if|fi(?![A-Za-z@]))).){0,100000}+))?\\fi(?![A-Za-z@])[ \t]*",
    re.DOTALL,
)
_INPUT = re.compile(
    r"\\(?:input|include|subfile|subfileinclude)\s*\{(?P<braced>[^{}]*)\}"
    r"|\\input[ \t]+(?P<bare>[^\s{}\\%]+)"
    r"|\\(?:sub)?(?:import|inputfrom|includefrom)\*?\s*\{(?P<folder>[^{}]*)\}\s*\{(?P<file>[^{}]*)\}"
)
_DEFINITION = re.compile(
    r"\\(?:(?:re)?newcommand|providecommand|DeclareRobustCommand)\s*\*?\s*"
    r"(?:\{\s*\\(?P<braced>[A-Za-z@]+)\s*\}|\\(?P<bare>[A-Za-z@]+))\s*(?P<arguments>\[\s*\d\s*\])?\s*(?=\{)"
    r"|\\g?def\s*\\(?P<primitive>[A-Za-z@]+)\s*(?=\{)"
)
_PROGRAM = re.compile(r"#|@|\\(?:if|(?:else|fi|[gex]?def|let|csname|expandafter)(?![A-Za-z]))")
_CONTROL = re.compile(r"\\(?:([A-Za-z@]+)|.)", re.DOTALL)
STRUCTURE = re.compile(
    r"document(?:class|style)|begin|end|input|include|bibliography|appendix|maketitle|title|author|abstract|date"
    r"|chapter|part|(?:sub)*section|(?:sub)?paragraph|item|caption|label|ref|cite|footnote"
)
_HEADING = re.compile(
    r"\\(?:chapter|part|section|subsection|subsubsection|paragraph|subparagraph)\*?\s*(?:\[[^\]]{0,1000}\])?\s*\{"
)
_FRONT_END = re.compile(r"\\maketitle(?![A-Za-z@])|\\end\s*\{(?:frontmatter|abstract)\}")
_TAIL = re.compile(
    r"\\appendix(?![A-Za-z@])|\\begin\s*\{(?:references|REFERENCES|thebibliography)\}"
    r"|\\bibliography\s*\{|\\printbibliography(?![A-Za-z@])"
)
_LAST_COMMANDS = re.compile(
    r"(?:\s*\\(?:bibliographystyle\s*\{[^{}]{0,200}\}|(?:clear(?:double)?|new)page(?![A-Za-z@])"
    r"|pagebreak(?![A-Za-z@])(?:\[\d\])?))+\s*\Z"
)
_CLASS = re.compile(r"\\document(?:class|style)(?![A-Za-z])")
_BEGIN = re.compile(r"\\begin\s*\{document\}")
_END = re.compile(r"\\end\s*\{document\}")
_PLAIN_END = re.compile(r"\\(?:bye|end)\s*$")
_LOOKS_LIKE_TEX = re.compile(
    r"\\(?:document(?:class|style)|begin\s*\{|input|(?:sub)*section|[gex]?def|magnification|font|bye|title|centerline"
    r"|hsize|noindent|medskip|bigskip|vskip|par)(?![A-Za-z])"
)


# ---- comments


class Piece(NamedTuple):
    """A stretch of a LaTeX file."""

    kind: str  # text | verbatim | comment
    text: str


def split_pieces(text: str) -> Iterator[Piece]:
    """Text, verbatim parts (environments, `\\verb`, URLs) and comments (`%` to the end of its line), in order."""
    start, at, unclosed = 0, 0, set()
    while match := _TOKEN.search(text, at):
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
    if match["url"] is not None:
        return "verbatim", match.end()
    if fence := match["fence"]:
        end = text.find(fence, match.end(), match.end() + MAX_VERB_CHARS)
        return ("verbatim", end + 1) if end >= 0 and "\n" not in text[match.end() : end] else ("", 0)
    if name := match["environment"]:
        closing = f"\\end{{{name}}}"
        end = -1 if name in unclosed else text.find(closing, match.end())
        if end < 0:
            unclosed.add(name)
            return "", 0
        return ("comment" if name == "comment" else "verbatim"), end + len(closing)
    return "", 0


def strip_comments(text: str) -> str:
    """Without comments, `comment` environments and `\\iffalse … \\fi`; a line that held only a comment goes whole.

    Escaped `\\%` and everything verbatim stay; of `50\\% %note` the character before the comment stays too.
    """
    kept: list[str] = []
    line_is_blank, eat_newline = True, False
    for kind, piece in split_pieces(text):
        if kind == "comment":
            eat_newline = line_is_blank
            continue
        if eat_newline:
            piece = piece.removeprefix("\n")
        kept.append(piece)
        last = piece.rpartition("\n")
        line_is_blank = not last[2].strip() and (bool(last[1]) or line_is_blank)
        eat_newline = False
    return _drop_iffalse("".join(kept))


def _drop_iffalse(text: str) -> str:
    if "\\iffalse" not in text:
        return text
    return "".join(
        _IFFALSE.sub(lambda match: match["true"] or "", piece) if kind == "text" else piece
        for kind, piece in split_pieces(text)
    )


def mask(text: str) -> str:
    """The same length with everything verbatim blanked: what to search for commands."""
    return "".join(piece if kind == "text" else " " * len(piece) for kind, piece in split_pieces(text))


# ---- the main file and what it inputs


def looks_like_tex(text: str) -> bool:
    """Whether a lone file is TeX at all, not PostScript, HTML or a letter to the editors."""
    return bool(_LOOKS_LIKE_TEX.search(text)) and not text.startswith("%!PS")


def is_tex_name(name: str) -> bool:
    """Whether a file's name says TeX."""
    return name.lower().endswith(TEX_SUFFIXES)


def choose_main(texts: Mapping[str, str], toplevel: frozenset[str] = frozenset()) -> str | None:
    """The file to start from, of {name: text}; `toplevel` are the names that 00README gives.

    Complete documents come first, then other TeX files; among equals: named toplevel, then ms, main or paper, then
    nearer to the root, then longer, then by name.
    """

    def rank(name: str) -> tuple[bool, bool, bool, bool, int, int, str]:
        text = strip_comments(texts[name])
        complete = bool(_CLASS.search(text) and _BEGIN.search(text))
        begins = bool(_CLASS.search(text) or _BEGIN.search(text) or _PLAIN_END.search(text[-1000:].rstrip()))
        usual = posixpath.splitext(posixpath.basename(name))[0].lower() in MAIN_STEMS
        return not complete, not begins, name not in toplevel, not usual, name.count("/"), -len(text), name

    names = list(filter(is_tex_name, texts))
    return min(names, key=rank) if len(names) > 1 else next(iter(names), None)


def merge_inputs(main: str, texts: Mapping[str, str]) -> tuple[str, list[str]]:
    """(the main file with its inputs in their places and without comments, the names used, main first).

    Looked up among `texts` only: from the main file's folder, the including file's, the root; with `.tex` first.
    A file is merged where it is input first. What is not found stays as the command.
    """
    used = [main]

    def insert(name: str, depth: int) -> str:
        def replace(match: re.Match[str]) -> str:
            target = _find_input(match, posixpath.dirname(name), posixpath.dirname(main), texts)
            if target is None or depth == MAX_INPUT_DEPTH:
                return match[0]
            if target in used:
                return ""
            used.append(target)
            return _part_of_document(insert(target, depth + 1))

        pieces = split_pieces(strip_comments(texts[name]))
        return "".join(_INPUT.sub(replace, piece) if kind == "text" else piece for kind, piece in pieces)

    return insert(main, 0), used


def _find_input(match: re.Match[str], folder: str, root: str, texts: Mapping[str, str]) -> str | None:
    wanted = match["braced"] or match["bare"] or posixpath.join(match["folder"] or "", match["file"] or "")
    wanted = wanted.strip().strip('"').strip()
    for base in (root, folder, ""):
        path = posixpath.normpath(posixpath.join(base, wanted))
        for name in (path + ".tex", path):
            if wanted and name in texts:
                return name
    return None


def _part_of_document(text: str) -> str:
    """What an input file contributes: up to `\\endinput`, and without the frame that makes it compile alone."""
    text = re.split(r"\\endinput(?![A-Za-z@])", text, maxsplit=1)[0]
    preamble, body = split_document(text)
    return body if preamble else text


def split_document(text: str) -> tuple[str, str]:
    """(preamble, what stands between \\begin{document} and \\end{document}); ("", text) for a fragment."""
    masked = mask(text)
    begin, end = _BEGIN.search(masked), None
    if begin:
        end = _END.search(masked, begin.end())
        return text[: begin.start()], text[begin.end() : end.start() if end else len(text)]
    return "", text


# ---- macros


def take_macros(text: str) -> tuple[dict[str, str], str]:
    """({name: body} of the macros without arguments, the text without their definitions).

    `\\newcommand` and its kin, `\\def` and `\\gdef`; bodies may span lines. Left as they are: structural commands,
    bodies that program, names that are defined in two ways.
    """
    masked = mask(text)
    found = [_definition(match, text, masked) for match in _DEFINITION.finditer(masked)]
    bodies: dict[str, set[str]] = {}
    for name, body, _ in found:
        bodies.setdefault(name, set()).add(body)
    macros = {name: only[0] for name in bodies if len(only := list(bodies[name])) == 1 and _is_plain(name, only[0])}
    kept, at = [], 0
    for match, (name, _, end) in zip(_DEFINITION.finditer(masked), found, strict=True):
        if name in macros and match.start() >= at:
            kept.append(text[at : match.start()])
            at = end
    return macros, "".join(kept) + text[at:]


def _definition(match: re.Match[str], text: str, masked: str) -> tuple[str, str, int]:
    """(name, body, end) of a definition; the body of one that takes arguments or never closes is `#`."""
    name = match["braced"] or match["bare"] or match["primitive"]
    end = balanced_end(masked, match.end(), MAX_MACRO_CHARS)
    if end is None or match["arguments"]:
        return name, "#", match.end()
    return name, re.sub(r"\\xspace(?![A-Za-z])", "", text[match.end() + 1 : end - 1]), end


def _is_plain(name: str, body: str) -> bool:
    recursive = re.search(rf"\\{name}(?![A-Za-z@])", body)
    return not STRUCTURE.fullmatch(name) and "@" not in name and not _PROGRAM.search(body) and not recursive


def balanced_end(text: str, start: int, limit: int) -> int | None:
    """The offset after the brace that closes the one at `start`; None when that is over `limit` characters away."""
    depth = 0
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start, start + limit):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return None


def expand(text: str, macros: Mapping[str, str]) -> str:
    """Macros replaced by their bodies, in at most MAX_PASSES passes; a pass that would grow too long is not made."""
    limit = MAX_GROWTH * len(text) + 10_000
    for _ in range(MAX_PASSES if macros else 0):
        parts, length = [], 0
        for kind, piece in split_pieces(text):
            parts.append(_expand_once(piece, macros, limit - length) if kind == "text" else piece)
            if parts[-1] is None:
                return text
            length += len(parts[-1])
        before, text = text, "".join(parts)
        if before == text:
            break
    return text


def _expand_once(text: str, macros: Mapping[str, str], limit: int) -> str | None:
    """One pass; None beyond `limit` characters. `\\mathbf\\x` becomes `\\mathbf{abc}`, never `\\mathbfabc`."""
    parts: list[str] = []
    at, length, word_ends = 0, 0, -1  # `word_ends`: where the last control word ended
    for match in _CONTROL.finditer(text):
        if (body := macros.get(match[1])) is not None:
            if word_ends == match.start() and body[:1].isalnum():
                body = f"{{{body}}}"
            parts += [text[at : match.start()], body]
            length += match.start() - at + len(body)
            at = match.end()
            if length > limit:
                return None
        if match[1] and (body is None or re.search(r"\\[A-Za-z]+$", body)):
            word_ends = match.end()
    parts.append(text[at:])
    return "".join(parts)


# ---- the text of a paper


def clean(text: str) -> str:
    """A merged document without comments -> abstract and body: macros expanded, front and back matter cut.

    The body begins after the title and the abstract, so that an introduction without a heading stays; where neither
    is marked, at the first heading; where there is none either, with the document. It ends at the appendix or the
    bibliography.
    """
    macros, text = take_macros(text)
    preamble, body = split_document(text)
    body = expand(body, macros)
    masked = mask(body)
    heading = _HEADING.search(masked)
    until = heading.start() if heading else len(body)
    front = [match.end() for match in _FRONT_END.finditer(masked, 0, until)]
    start = front[-1] if front else until if heading else 0
    tail = _TAIL.search(masked, start)
    abstract = _abstract(body[:start]) or _abstract(expand(preamble, macros))
    text = body[start : tail.start() if tail else len(body)].strip()
    return tidy(abstract + "\n\n" + text[: _trailing(text)])


def _trailing(text: str) -> int:
    """Where the commands begin that stand alone at a text's end: a page break, the style of a bibliography."""
    found = _LAST_COMMANDS.search(text, max(0, len(text) - MAX_MACRO_CHARS))
    return found.start() if found else len(text)


def _abstract(text: str) -> str:
    begin = text.find("\\begin{abstract}")
    if begin >= 0:
        end = text.find("\\end{abstract}", begin)
        return text[begin : end + len("\\end{abstract}")] if end >= 0 else ""
    command = re.search(r"\\[Aa]bstract\s*(?=\{)", text)
    end = balanced_end(text, command.end(), 20_000) if command else None
    return text[command.start() : end] if command and end else ""


def tidy(text: str) -> str:
    """No space at line ends, at most one blank line in a row, none at the ends."""
    lines = "\n".join(line.rstrip(" \t") for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines).strip()
