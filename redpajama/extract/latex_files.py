"""The files of a LaTeX project: which of them is the paper, and what it inputs.

As arXiv's own preflight has it (submission-tools): the paper is a file that no other file inputs, with a class and a
document of its own, or of what it inputs; a `.bbl` of its name says that its bibliography was made. Where several
such files stand in one project, its companions step back: letters, replies, supplements, templates, figures, talks.
"""

import posixpath
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from redpajama.extract.latex_companions import BEGIN, HEAD_CHARS, otherness
from redpajama.extract.latex_pieces import COMMENT, LATEX, Lexed, Syntax, join, lex, plain

TEX_SUFFIXES = (".tex", ".ltx", ".latex")
MAIN_STEMS = ("ms", "main", "paper", "manuscript")
MAX_INPUT_DEPTH = 30

_INPUT = re.compile(
    r"\\(?:input|include|subfile|subfileinclude|@input|InputIfFileExists)\s*\{(?P<braced>[^{}]*)\}"
    r"|\\input[ \t]+(?P<bare>[^\s{}\\%]+)"
    r"|\\(?:sub)?(?:import|inputfrom|includefrom)\*?\s*\{(?P<folder>[^{}]*)\}\s*\{(?P<file>[^{}]*)\}"
)
_REFERENCE = re.compile(
    _INPUT.pattern + r"|\\(?:includestandalone|lstinputlisting|(?:verbatim|[BL]?Verbatim)[Ii]nput)\*?"
    r"\s*+(?:\[[^\[\]]{0,300}\])?\s*\{(?P<standalone>[^{}]*)\}"
)
_ROOT = re.compile(r"^[ \t]*%+[ \t]*!T[Ee]X[ \t]+root[ \t]*=[ \t]*(?P<root>\S[^\n]{0,200})", re.MULTILINE)
_STYLE = re.compile(
    r"\\(?:usepackage|RequirePackage|document(?:class|style)|LoadClass)\s*+(?:\[[^\[\]]{0,1000}\])?\s*"
    r"\{(?P<styles>[^{}]{0,1000})\}"
)
_CLASS = re.compile(r"\\document(?:class|style)(?![A-Za-z])")
_END = re.compile(r"\\end\s*\{document\}")
_TITLE = re.compile(r"\\(?:title|maketitle|chapter)(?![A-Za-z])")
_REFERENCES = re.compile(r"\\(?:bibliography|printbibliography|begin\s*\{thebibliography(?=\}))(?![A-Za-z])")
_PLAIN_END = re.compile(r"\\(?:bye|end|enddocument)\s*$")
_LOOKS_LIKE_TEX = re.compile(
    r"\\(?:document(?:class|style)|begin\s*\{|input|(?:sub)*section|[gex]?def|magnification|font|bye|title|centerline"
    r"|hsize|noindent|medskip|bigskip|vskip|par)(?![A-Za-z])"
)
_ENDINPUT = re.compile(r"\\endinput(?![A-Za-z@])")
_WORD = re.compile(r"\\([A-Za-z]+)[ \t]*")
_INPUT_PATH = re.compile(r"\\input@path\s*\}?\s*\{((?:\s*\{[^{}]*\}){1,100})")
_PATH_WORD = re.compile(
    r"\\(?:(?:new|renew|provide)command\s*\*?|[gex]?def)\s*\{?\s*\\(?P<name>[A-Za-z]+)\s*\}?"
    r"\s*\{(?P<path>[\w./ -]{0,100})\}"
)
MARK = re.compile(r"\0(?P<end>/?)(?P<number>\d+)\0")  # where the text of an input file begins and ends


def looks_like_tex(text: str) -> bool:
    """Whether a lone file is TeX at all, not PostScript, HTML or a letter to the editors."""
    return bool(_LOOKS_LIKE_TEX.search(text)) and not text.startswith("%!PS")


def is_tex_name(name: str) -> bool:
    """Whether a file's name says TeX."""
    return name.lower().endswith(TEX_SUFFIXES)


class Places:
    """Where TeX looks for inputs that do not stand where they are said to: by what a paper's files define."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """Those of `\\input@path`."""
        lists = (each for text in self._texts.values() if "input@path" in text for each in _INPUT_PATH.findall(text))
        return tuple(folder.strip() for each in lists for folder in re.findall(r"\{([^{}]*)\}", each))

    @cached_property
    def words(self) -> dict[str, str]:
        """Macros that may stand in paths: those whose bodies are one."""
        return {match["name"]: match["path"] for text in self._texts.values() for match in _PATH_WORD.finditer(text)}

    @cached_property
    def folded(self) -> dict[str, str]:
        """{name in small letters: name}: TeX Live has taken `Intro` for `intro.tex` since 2018."""
        return {name.lower(): name for name in sorted(self._texts, reverse=True)}


NOWHERE = Places({})


@dataclass(frozen=True)
class Project:
    """The files of a paper: {name: text}. Comments are taken out of each once, when it is asked for."""

    texts: Mapping[str, str]
    syntax: Syntax = LATEX
    _lexed: dict[str, Lexed] = field(default_factory=dict)

    @cached_property
    def places(self) -> "Places":
        """Where its inputs are looked for."""
        return Places(self.texts)

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
    signs: int  # that it is a paper: a title, references
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
    document, then no companion, then with a `.bbl` of its own, then with an abstract, then ms, main or
    paper, then with a title and references, then nearer to the root, then longer with all that it inputs, then by name.
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
        likely = (otherness(name, project.lexed(name).text), f"{stem}.bbl" not in project.texts, not file.has_abstract)
        usual = posixpath.basename(stem).lower() in MAIN_STEMS
        return *likely, not usual, -file.signs, name.count("/"), -file.chars, name

    kinds = {name: kind(name) for name in names}
    best = min(kinds.values())
    return min((name for name in names if kinds[name] == best), key=rank)


def _measure(project: Project, names: list[str]) -> dict[str, _File]:
    """{name: its file, merged}. Inputs that would close a circle are left out; each file is looked at once."""
    files: dict[str, _File] = {}
    waiting = [*names]
    for name in waiting:  # which grows: an input may have any name
        if name not in files:
            files[name] = _own(name, project)
            waiting += files[name].inputs
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
            file.signs = max(file.signs, part.signs)


def _own(name: str, project: Project) -> _File:
    text = project.lexed(name).masked
    folder = posixpath.dirname(name)
    found = (_find(match, folder, folder, project.texts, project.places) for match in _REFERENCE.finditer(text))
    inputs = [target for target in dict.fromkeys(found) if target and target != name]
    has_class, begins, ends = (bool(pattern.search(text)) for pattern in (_CLASS, BEGIN, _END))
    has_abstract = any(word in text for word in ("abstract", "Abstract", "ABSTRACT"))
    signs = bool(_TITLE.search(text)) + bool(_REFERENCES.search(text))
    return _File(inputs, has_class, begins, ends, has_abstract, signs, len(text))


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
        lexed, folder = project.lexed(name), posixpath.dirname(name)
        parts: list[Lexed] = []
        at = 0
        for match in _INPUT.finditer(lexed.masked) if depth < MAX_INPUT_DEPTH else ():
            target = _find(match, folder, posixpath.dirname(main), project.texts, project.places)
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


def _find(match: re.Match[str], folder: str, root: str, names: Container[str], places: Places) -> str | None:
    groups = match.groupdict()
    wanted = groups["braced"] or groups["bare"] or groups.get("standalone")
    wanted = wanted or posixpath.join(groups["folder"] or "", groups["file"] or "")
    if "\\" in wanted:
        wanted = _WORD.sub(lambda word: places.words.get(word[1], word[0]), wanted)
    wanted = wanted.strip().strip('"').strip()
    if not wanted:
        return None
    bases = (root, folder, "")
    found = _in_folders(wanted, bases, names) or _in_folders(wanted, places.folders, names)
    return found or places.folded.get(
        _in_folders(wanted.lower(), [base.lower() for base in bases], places.folded) or ""
    )


def _in_folders(wanted: str, folders: Iterable[str], names: Container[str]) -> str | None:
    for base in dict.fromkeys(folders):
        path = posixpath.join(base, wanted) if base and wanted[0] != "/" else wanted
        path = posixpath.normpath(path) if "." in path or "//" in path else path
        for name in (path + ".tex", path):
            if name in names:
                return name
    return None


def input_at(
    text: str, offset: int, name: str, main: str, names: Container[str], places: Places = NOWHERE
) -> str | None:
    """The file that a command at an offset of the file `name` inputs; None for other commands and for no file."""
    match = _INPUT.match(text, offset)
    return _find(match, posixpath.dirname(name), posixpath.dirname(main), names, places) if match else None


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
            texts[style] = COMMENT.sub("", project.texts[style])
            waiting += find_styles(texts[style], main, project.texts)
    return "\n".join(texts.values())


def _part_of_document(part: Lexed) -> Lexed:
    """What an input file contributes: up to `\\endinput`, and without the frame that makes it compile alone."""
    end = _ENDINPUT.search(part.masked)
    part = part.cut(0, end.start()) if end else part
    if not (_CLASS.search(part.masked) and BEGIN.search(part.masked) and _END.search(part.masked)):
        return part  # a preamble, maybe with the beginning of the document
    return split_document(part)[1]


def split_document(lexed: Lexed) -> tuple[Lexed, Lexed]:
    """(preamble, what stands between \\begin{document} and \\end{document}); nothing and all for a fragment."""
    begin = BEGIN.search(lexed.masked)
    if begin is None:
        return Lexed("", ""), lexed
    end = _END.search(lexed.masked, begin.end())
    return lexed.cut(0, begin.start()), lexed.cut(begin.end(), end.start() if end else None)
