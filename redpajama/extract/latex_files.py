"""The files of a LaTeX project: which of them is the paper, and what it inputs.

As arXiv's own preflight has it (submission-tools): the paper is a file that no other file inputs, with a class and a
document of its own, or of what it inputs; a `.bbl` of its name says that its bibliography was made. Where several
such files stand in one project, its companions step back: letters, replies, supplements, templates, figures, talks.
"""

import posixpath
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from redpajama.extract.latex_pieces import LATEX, Lexed, Syntax, join, lex, plain

TEX_SUFFIXES = (".tex", ".ltx", ".latex")
MAIN_STEMS = ("ms", "main", "paper", "manuscript")
MAX_INPUT_DEPTH = 30
HEAD_CHARS = 5000  # of a file: where it says what it is
TITLE_CHARS = 300  # of a document: where its title stands

_INPUT = re.compile(
    r"\\(?:input|include|subfile|subfileinclude|@input|InputIfFileExists)\s*\{(?P<braced>[^{}]*)\}"
    r"|\\input[ \t]+(?P<bare>[^\s{}\\%]+)"
    r"|\\(?:sub)?(?:import|inputfrom|includefrom)\*?\s*\{(?P<folder>[^{}]*)\}\s*\{(?P<file>[^{}]*)\}"
)
_REFERENCE = re.compile(
    _INPUT.pattern + r"|\\includestandalone\s*+(?:\[[^\[\]]{0,300}\])?\s*\{(?P<standalone>[^{}]*)\}"
)
_ROOT = re.compile(r"^[ \t]*%+[ \t]*!T[Ee]X[ \t]+root[ \t]*=[ \t]*(?P<root>\S[^\n]{0,200})", re.MULTILINE)
_STYLE = re.compile(
    r"\\(?:usepackage|RequirePackage|document(?:class|style)|LoadClass)\s*+(?:\[[^\[\]]{0,1000}\])?\s*"
    r"\{(?P<styles>[^{}]{0,1000})\}"
)
_CLASS = re.compile(r"\\document(?:class|style)(?![A-Za-z])")
_BEGIN = re.compile(r"\\begin\s*\{document\}")
_END = re.compile(r"\\end\s*\{document\}")
_PLAIN_END = re.compile(r"\\(?:bye|end|enddocument)\s*$")
_LOOKS_LIKE_TEX = re.compile(
    r"\\(?:document(?:class|style)|begin\s*\{|input|(?:sub)*section|[gex]?def|magnification|font|bye|title|centerline"
    r"|hsize|noindent|medskip|bigskip|vskip|par)(?![A-Za-z])"
)
_ENDINPUT = re.compile(r"\\endinput(?![A-Za-z@])")
_STYLE_COMMENT = re.compile(r"(?<!\\)%[^\n]*(?:\n[ \t]*)?")  # a style has nothing verbatim
MARK = re.compile(r"\0(?P<end>/?)(?P<number>\d+)\0")  # where the text of an input file begins and ends

# what says that a complete document is no paper, in its class, its title or its first words, or in its name
_OTHER_CLASS = re.compile(
    r"\\document(?:class|style)\s*+(?:\[[^\[\]]{0,1000}\])?\s*\{\s*(?:subfiles|standalone|letter|scrlttr2|newlfm|lettre|g?-?brief|dinbrief"
    r"|beamer\w*|[a-z0-9]*poster|powerdot|prosper|seminar|slides|moderncv|minimal|ltxdoc)\s*\}"
)
_OTHER_TITLE = re.compile(
    r"\\title\s*+(?:\[[^\[\]]{0,300}\])?\s*\{[^\n]{0,100}?(?i:suppl[eé]ment|supporting (?:information|material|text)"
    r"|online (?:appendix|resource)|cover letter|(?:repl(?:y|ies)|respon[sd]\w*|answers?) to (?:the )?(?:referee|review"
    r"|editor|comments)|r[eé]ponse aux?|antwort an|respuesta a|rebuttal|instructions for authors|template|annexe|anhang"
    r"|приложение|zusatzmaterial)"
)
_SUPPLEMENT = re.compile(r"(?i:supplement(?:ary|al) (?:material|information|notes?|text)|supporting information)")
_OTHER_COMMANDS = re.compile(
    r"\\(?:opening\s*\{|(?:providecommand|DeclareRobustCommand)\s*\{\\DIFadd|(?:lipsum|blindtext|Blindtext)(?![A-Za-z])"
    r"|the(?:figure|table|equation|section|page)\}?\s*\{\s*S[-.~]?\s*\\)"
)
_OTHER_WORDS = re.compile(r"Lorem ipsum dolor|Dear (?:\w+ ){0,2}(?:Editors?|Referees?|Reviewers?|Sirs?|Madam|Prof)\b")
_OTHER_NAME = re.compile(
    r"(?<![a-z])(?:suppl?(?:s|em\w*|mat\w*|info\w*)?|si|sm|esm|supporting\w*|appendi(?:x|ces)|annexe?s?|anhang|repl(?:y|ies)"
    r"|respon[sd]\w*|rebuttal|referees?|reviewers?|answers?|antwort\w*|r[eé]ponse\w*|respuesta\w*|cover\w*"
    r"|letter_?to\w*|templates?|samples?|examples?|skeleton|howto|instructions?|guide\w*|demo|chap(?:ter|itre)?s?\d*"
    r"|ch\d+|kapitel\d*|cap[ií]tulo\d*|preamble|header|macros?|definitions?|defs?|notations?|commands?|diff|old|backup\w*"
    r"|bak|poster|slides?|talk|presentation|highlights?|graphical\w*|title-?page|fig(?:ure)?s?\d*|tikz)"
    r"(?![a-z])"
)


def looks_like_tex(text: str) -> bool:
    """Whether a lone file is TeX at all, not PostScript, HTML or a letter to the editors."""
    return bool(_LOOKS_LIKE_TEX.search(text)) and not text.startswith("%!PS")


def is_tex_name(name: str) -> bool:
    """Whether a file's name says TeX."""
    return name.lower().endswith(TEX_SUFFIXES)


@dataclass(frozen=True)
class Project:
    """The files of a paper: {name: text}. Comments are taken out of each once, when it is asked for."""

    texts: Mapping[str, str]
    syntax: Syntax = LATEX
    _lexed: dict[str, Lexed] = field(default_factory=dict)

    def lexed(self, name: str) -> Lexed:
        """A file without comments."""
        if name not in self._lexed:
            self._lexed[name] = lex(self.texts[name], self.syntax)
        return self._lexed[name]


# ---- the main file


@dataclass
class _File:
    """What a file brings along, with what it inputs."""

    inputs: list[str]
    has_class: bool
    begins: bool
    ends: bool
    has_abstract: bool
    chars: int
    is_input: bool = False  # by any file
    is_part: bool = False  # of a complete document

    @property
    def is_complete(self) -> bool:
        """Whether it is a document, with what it inputs."""
        return self.has_class and self.begins

    @property
    def is_whole(self) -> bool:
        """Whether it compiles alone: what such a file says of its class says nothing of a file that inputs it."""
        return self.has_class and self.begins and self.ends


def choose_main(project: Project, toplevel: frozenset[str] = frozenset()) -> str | None:
    """The file to start from; `toplevel` are the names that 00README gives.

    Complete documents come first, then other TeX files; among equals: named toplevel, then input by no complete
    document, then no companion, then with a `.bbl` of its own, then with an abstract, then ms, main or paper, then
    nearer to the root, then longer with all that it inputs, then by name.
    """
    names = list(filter(is_tex_name, project.texts))
    if len(names) < 2:
        return next(iter(names), None)
    files = _measure(project, names)

    def kind(name: str) -> tuple[bool, bool, bool, bool]:
        file = files[name]
        begins = file.has_class or file.begins or bool(_PLAIN_END.search(project.lexed(name).text[-1000:].rstrip()))
        part = file.is_part if file.is_complete else file.is_input
        return not file.is_complete, not begins, name not in toplevel, part

    def rank(name: str) -> tuple[int | str, ...]:
        file, stem = files[name], posixpath.splitext(name)[0]
        likely = (_otherness(name, project.lexed(name).text), f"{stem}.bbl" not in project.texts, not file.has_abstract)
        usual = posixpath.basename(stem).lower() in MAIN_STEMS
        return *likely, not usual, name.count("/"), -file.chars, name

    kinds = {name: kind(name) for name in names}
    best = min(kinds.values())
    return min((name for name in names if kinds[name] == best), key=rank)


def _measure(project: Project, names: list[str]) -> dict[str, _File]:
    """{name: its file, merged}. Inputs that would close a circle are left out; each file is looked at once."""
    files = {name: _own(name, project) for name in names}
    files = {name: files[name] for name in sorted(files, key=lambda name: not (files[name].has_class))}
    done: dict[str, bool] = {}
    order: list[str] = []
    wanted = {target for file in files.values() for target in file.inputs}
    for start in sorted(files, key=lambda name: name in wanted):
        _visit(start, files, done, order)
    total = sum(file.chars for file in files.values())
    for name in order:  # what is input comes before what inputs it
        _add_inputs(files[name], files, total)
    for name in reversed(order):
        file = files[name]
        for target in file.inputs:
            files[target].is_input = True
            files[target].is_part |= file.is_part or file.is_complete
    for name in files:  # editors' word for it
        root = _ROOT.search(project.texts[name][:HEAD_CHARS]) if "root" in project.texts[name][:HEAD_CHARS] else None
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), root["root"].strip())) if root else name
        files[name].is_part |= path != name and path in files and files[path].is_complete
    return files


def _visit(start: str, files: dict[str, _File], done: dict[str, bool], order: list[str]) -> None:
    """Depth first, without recursion; `done`: False while a file's inputs are being looked at."""
    stack = [start]
    while stack:
        name = stack[-1]
        if name in done:
            stack.pop()
            if not done[name]:
                done[name] = True
                order.append(name)
            continue
        done[name] = False
        files[name].inputs = [target for target in files[name].inputs if done.get(target, True)]
        stack += [target for target in files[name].inputs if target not in done]


def _add_inputs(file: _File, files: dict[str, _File], total: int) -> None:
    parts = [files[target] for target in file.inputs]
    file.chars = min(total, file.chars + sum(part.chars for part in parts))
    for part in parts:
        if not part.is_whole:
            file.has_class |= part.has_class
            file.begins |= part.begins
            file.ends |= part.ends
            file.has_abstract |= part.has_abstract


def _own(name: str, project: Project) -> _File:
    text = project.lexed(name).masked
    folder = posixpath.dirname(name)
    found = (_find(match, folder, folder, project.texts) for match in _REFERENCE.finditer(text))
    inputs = [target for target in dict.fromkeys(found) if target and target != name and is_tex_name(target)]
    has_class, begins, ends = (bool(pattern.search(text)) for pattern in (_CLASS, _BEGIN, _END))
    has_abstract = any(word in text for word in ("abstract", "Abstract", "ABSTRACT"))
    return _File(inputs, has_class, begins, ends, has_abstract, len(text))


def _otherness(name: str, text: str) -> int:
    """How much says that a document is no paper, from 0."""
    begin = _BEGIN.search(text)
    end = begin.end() if begin else 0
    head = text[: max(0, min(end, HEAD_CHARS))] + text[end : end + HEAD_CHARS]
    words = _OTHER_WORDS.search(head) if "Dear " in head or "Lorem" in head else None
    title = _OTHER_TITLE.search(head) or _SUPPLEMENT.search(text, end, end + TITLE_CHARS)
    signs = (_OTHER_CLASS.search(head), title, _OTHER_COMMANDS.search(head), words)
    return sum(map(bool, signs)) + bool(_OTHER_NAME.search(name.rpartition(".")[0].replace("_", "-").lower()))


# ---- what it inputs


def merge_inputs(main: str, project: Project) -> tuple[Lexed, list[str]]:
    """(the main file with its inputs in their places and without comments, the names used, main first).

    Looked up among the project's files only: from the main file's folder, the including file's, the root; with `.tex`
    first. A file is merged where it is input first, between two MARKs with its number. What is not found stays as
    the command.
    """
    used = {main: 0}

    def insert(name: str, depth: int) -> Lexed:
        """A file with what it inputs, as far as MAX_INPUT_DEPTH."""
        lexed = project.lexed(name)
        parts: list[Lexed] = []
        at = 0
        for match in _INPUT.finditer(lexed.masked) if depth < MAX_INPUT_DEPTH else ():
            target = _find(match, posixpath.dirname(name), posixpath.dirname(main), project.texts)
            if target is None:
                continue
            parts.append(lexed.cut(at, match.start()))
            at = match.end()
            if target not in used:
                number = used[target] = len(used)
                part = _part_of_document(insert(target, depth + 1))
                parts += [plain(f"\0{number}\0"), part, plain(f"\0/{number}\0")]
        return join([*parts, lexed.cut(at)]) if at else lexed

    return insert(main, 0), list(used)


def unmark(text: str) -> str:
    """Without the marks of input files."""
    return MARK.sub("", text) if "\0" in text else text


def marked_stretches(text: str) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """(start, end, numbers of the files that are open there) of a merged text, in order."""
    open_files: list[int] = []
    at = 0
    for match in MARK.finditer(text):
        yield at, match.start(), tuple(open_files)
        at, number = match.end(), int(match["number"])
        if not match["end"]:
            open_files.append(number)
        elif number in open_files:
            del open_files[open_files.index(number) :]
    yield at, len(text), tuple(open_files)


def _find(match: re.Match[str], folder: str, root: str, names: Container[str]) -> str | None:
    groups = match.groupdict()
    wanted = groups["braced"] or groups["bare"] or groups.get("standalone")
    wanted = wanted or posixpath.join(groups["folder"] or "", groups["file"] or "")
    wanted = wanted.strip().strip('"').strip()
    if not wanted:
        return None
    for base in dict.fromkeys((root, folder, "")):
        path = f"{base}/{wanted}" if base and wanted[0] != "/" else wanted
        path = posixpath.normpath(path) if "." in path or "//" in path else path
        for name in (path + ".tex", path):
            if name in names:
                return name
    return None


def input_at(text: str, offset: int, name: str, main: str, names: Container[str]) -> str | None:
    """The file that a command at an offset of the file `name` inputs; None for other commands and for no file."""
    match = _INPUT.match(text, offset)
    return _find(match, posixpath.dirname(name), posixpath.dirname(main), names) if match else None


def find_styles(text: str, main: str, names: Container[str], *, at_start: bool = False) -> list[str]:
    """The project's own styles and class that a text uses; `at_start`: that its first command uses."""
    first = _STYLE.match(text) if at_start else None
    found: Iterable[re.Match[str]] = ([first] if first else []) if at_start else _STYLE.finditer(text)
    wanted = [name.strip() for match in found for name in match["styles"].split(",")]
    paths = [
        posixpath.normpath(posixpath.join(base, name + suffix))
        for name in wanted
        for base in (posixpath.dirname(main), "")
        for suffix in (".sty", ".cls")
    ]
    return [path for path in dict.fromkeys(paths) if path in names]


def merge_styles(text: str, main: str, project: Project) -> str:
    """The project's own styles that a merged text uses, and those that these use, without comments, in one."""
    waiting = find_styles(text, main, project.texts)
    texts: dict[str, str] = {}
    while waiting:
        if (style := waiting.pop()) not in texts:
            texts[style] = _STYLE_COMMENT.sub("", project.texts[style])
            waiting += find_styles(texts[style], main, project.texts)
    return "\n".join(texts.values())


def _part_of_document(part: Lexed) -> Lexed:
    """What an input file contributes: up to `\\endinput`, and without the frame that makes it compile alone."""
    end = _ENDINPUT.search(part.masked)
    part = part.cut(0, end.start()) if end else part
    if not (_CLASS.search(part.masked) and _BEGIN.search(part.masked) and _END.search(part.masked)):
        return part  # a preamble, maybe with the beginning of the document
    return split_document(part)[1]


def split_document(lexed: Lexed) -> tuple[Lexed, Lexed]:
    """(preamble, what stands between \\begin{document} and \\end{document}); nothing and all for a fragment."""
    begin = _BEGIN.search(lexed.masked)
    if begin is None:
        return Lexed("", ""), lexed
    end = _END.search(lexed.masked, begin.end())
    return lexed.cut(0, begin.start()), lexed.cut(begin.end(), end.start() if end else None)
