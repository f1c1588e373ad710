"""Source files: the language that a path tells, and the licence comment at the top, cut as that language writes it.

A comment that also documents the file loses its lines about copyright and licence alone; what they were is told, for
the licence of the file may be another than its repository's. Pure functions on strings. The suffixes are those of
RedPajama-1T (github_run_filter.py), compared by case.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from redpajama.extract.license_comments import DIRECTIVE, documentation, mentions_license


class Comments(NamedTuple):
    """How a language writes comments."""

    lines: tuple[str, ...] = ()  # what a comment line starts with
    blocks: tuple[tuple[str, str], ...] = ()  # (opening, closing)


MAX_HEADERS = 5  # comments one after the other

C = Comments(("//",), (("/*", "*/"),))
HASH = Comments(("#",))
MARKUP = Comments((), (("<!--", "-->"),))

LANGUAGES: tuple[tuple[str, Comments, str], ...] = (
    ("Assembly", Comments((";", "#", "//", "@"), (("/*", "*/"),)), ".asm"),
    ("Batchfile", Comments(("rem ", "REM ", "Rem ", "@rem ", "@REM ", "rem\n", "REM\n", "::")), ".bat .cmd"),
    ("C", C, ".c .h"),
    ("C#", C, ".cs"),
    ("C++", C, ".cpp .hpp .c++ .h++ .cc .hh .C .H"),
    ("CMake", HASH, ".cmake"),
    ("CSS", Comments((), (("/*", "*/"),)), ".css"),
    ("Dockerfile", HASH, ".dockerfile Dockerfile"),
    ("Fortran", Comments(("!",)), ".f90 .f03 .f08 .f95"),
    ("Fortran", Comments(("!", "C ", "c ", "*", "C\n", "c\n")), ".f .f77 .for .fpp"),
    ("Go", C, ".go"),
    ("HTML", MARKUP, ".html"),
    ("Haskell", Comments(("--",), (("{-", "-}"),)), ".hs"),
    ("Java", C, ".java"),
    ("JavaScript", C, ".js"),
    ("Julia", Comments(("#",), (("#=", "=#"),)), ".jl"),
    ("Lua", Comments(("--",), (("--[[", "]]"),)), ".lua"),
    ("Makefile", HASH, "Makefile"),
    ("Markdown", MARKUP, ".md .markdown"),
    ("Objective-C or MATLAB", Comments(("//", "%"), (("/*", "*/"), ("%{", "%}"))), ".m"),
    ("PHP", Comments(("//", "#"), (("/*", "*/"),)), ".php .php3 .php4 .php5 .phps .phpt"),
    ("Perl", HASH, ".pl .pm .pod .perl"),
    ("PowerShell", Comments(("#",), (("<#", "#>"),)), ".ps1 .psd1 .psm1"),
    ("Python", Comments(("#",), tuple((r + q, q) for q in ('"""', "'''") for r in ("", "r"))), ".py"),  # docstrings too
    ("Ruby", Comments(("#",), (("=begin", "=end"),)), ".rb"),
    ("Rust", C, ".rs"),
    ("SQL", Comments(("--",), (("/*", "*/"),)), ".sql"),
    ("Scala", C, ".scala"),
    ("Shell", HASH, ".sh .bash .command .zsh"),
    ("Smali", HASH, ".smali"),
    ("TeX", Comments(("%",)), ".tex"),
    ("TypeScript", C, ".ts .tsx"),
    ("Visual Basic", Comments(("'",)), ".vb"),
    ("XML", MARKUP, ".xml"),
    ("reStructuredText", Comments(), ".rst"),
)
_BY_SUFFIX = {suffix: (language, comments) for language, comments, suffixes in LANGUAGES for suffix in suffixes.split()}
_LONGEST_FIRST = sorted(_BY_SUFFIX, key=len, reverse=True)

_BEFORE_HEADER = re.compile(
    r"(?:[ \t]*\r?\n|#!.*\n|<\?php\s|<\?xml[^>]{0,200}\?>\s*|<!doctype[^>]{0,300}>\s*|@echo off.*\n"
    r"|#[ \t]*ifndef[ \t]+\w+[ \t]*\n[ \t]*#[ \t]*define[ \t].*\n|#[ \t]*pragma once.*\n"
    r"|[ \t]*(?:#|//|%|--|\").{0,5}?(?:-\*-|vim?:|coding[:=]|frozen_string_literal).*\n)*",
    re.IGNORECASE,
)
_LINES = ("", "")  # a run of comment lines, which is no block
_BLANKS = re.compile(r"[ \t]*")
_LINE_REST = re.compile(r"[ \t]*\r?\n")
_BLANK_LINES = re.compile(r"(?:[ \t]*\r?\n)*+")


@lru_cache(maxsize=1024)  # asked four times of each file
def suffix_of(path: str) -> str:
    """The longest known suffix that `path` ends with (`.cpp`, `Dockerfile`), or ""."""
    return next((suffix for suffix in _LONGEST_FIRST if path.endswith(suffix)), "")


def language_of(path: str) -> str:
    """The language that the suffix tells, or ""."""
    return _BY_SUFFIX.get(suffix_of(path), ("", None))[0]


class Stripped(NamedTuple):
    """A text without what its top says of copyright and licence, and the comments that said it, as they were."""

    text: str
    notices: tuple[str, ...] = ()


def strip_license_header(text: str, path: str) -> Stripped:
    """`text` without the comments at its top that speak of copyright or licence, as the language of `path` has them.

    Shebang, encoding and mode lines, `<?php`, build tags and preprocessor lines stay, and so do other comments among
    the first MAX_HEADERS and other paragraphs and sentences of these. Text in no known language is left alone.
    """
    comments = _BY_SUFFIX.get(suffix_of(path), ("", Comments()))[1]
    start, notices = _end_of(_BEFORE_HEADER, text, 0), []
    for _ in range(MAX_HEADERS):
        block = _block_of(text, start, comments)
        end = comment_end(text, start, block, comments.lines)
        if not end:
            break
        comment = text[start:end]
        if not mentions_license(comment):
            start = _end_of(_BLANK_LINES, text, end)
            continue
        notices.append(comment)
        kept = documentation(comment, *block, _worded(comments) if block == _LINES else ())
        rest = end if kept else _end_of(_BLANK_LINES, text, end)
        kept = kept or ("" if block != _LINES else _directives(comment))
        text = text[:start] + kept + text[rest:]
        start += len(kept)
    return Stripped(text, tuple(notices))


def _directives(comment: str) -> str:
    """The lines of a run of comment lines that tools read."""
    return "".join(line for line in comment.splitlines(True) if DIRECTIVE.match(line))


@lru_cache(maxsize=128)
def _worded(comments: Comments) -> tuple[str, ...]:
    """Marks of comment lines that are words: `C `, `rem `."""
    return tuple(mark for mark in comments.lines if mark[:1].isalpha() or mark.startswith("@"))


def _block_of(text: str, start: int, comments: Comments) -> tuple[str, str]:
    """The marks of the block comment that begins at `start`, behind blanks; _LINES where none does."""
    begin = _end_of(_BLANKS, text, start)
    for block in comments.blocks:
        if text.startswith(block[0], begin):
            return block
    return _LINES


def comment_end(text: str, start: int, block: tuple[str, str], prefixes: tuple[str, ...]) -> int:
    """The end of the block comment, or run of comment lines, that begins at `start`; 0 where none does.

    Args:
        block: its marks, as `_block_of` finds them.
        prefixes: what comment lines start with.
    """
    opening, closing = block
    if opening:
        end = text.find(closing, _end_of(_BLANKS, text, start) + len(opening))
        if end < 0:
            return 0
        rest = _LINE_REST.match(text, end + len(closing))
        return rest.end() if rest else end + len(closing)
    at = start
    while at < len(text):
        end = text.find("\n", at) + 1 or len(text)
        line = text[at:end].lstrip(" \t")
        if not line.startswith(prefixes) or line.startswith(("//!", "///")):
            break
        at = end
    return at if at > start else 0


def _end_of(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Where what a pattern matches at `start` ends; `start` where it matches nothing."""
    match = pattern.match(text, start)
    return match.end() if match else start
