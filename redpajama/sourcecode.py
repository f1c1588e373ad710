"""Source files: the language that a path tells, and the licence comment at the top, cut as that language writes it.

Pure functions on strings. The suffixes are those of RedPajama-1T (github_run_filter.py), compared by case.
"""

import re
from functools import lru_cache
from typing import NamedTuple


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
    ("Batchfile", Comments(("rem ", "REM ", "Rem ", "@rem ", "@REM ", "::")), ".bat .cmd"),
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
    ("Python", HASH, ".py"),
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

_MENTIONS_LICENSE = re.compile(
    r"copyright|©|\(c\)\s*\d{4}|all rights reserved|spdx-license-identifier|public domain|@licen[cs]e|licen[cs]e\s*:"
    r"|licen[cs]ed (?:under|to)|(?:terms|conditions) of (?:the|this|an?)\b[^.]{0,60}\blicen[cs]e"
    r"|\b(?:mit|apache|bsd|isc|l?gpl|mpl)[- ](?:style )?licen[cs]e|see (?:the )?licen[cs]e|licen[cs]e file",
    re.IGNORECASE,
)
_BEFORE_HEADER = re.compile(
    r"(?:[ \t]*\r?\n|#!.*\n|<\?php\s|<\?xml[^>]{0,200}\?>\s*|<!doctype[^>]{0,300}>\s*|@echo off.*\n"
    r"|[ \t]*(?:#|//|%|--|\").{0,5}?(?:-\*-|vim?:|coding[:=]|frozen_string_literal).*\n)*",
    re.IGNORECASE,
)
_BLANK_LINES = re.compile(r"(?:[ \t]*\r?\n)*+")
_DIRECTIVE = re.compile(
    r"\s*(?:#(?:!|include|define|undef|if|ifdef|ifndef|else|elif|endif|pragma|error|line)\b"
    r"|#\s*(?:syntax=|escape=|shellcheck|pylint:|mypy:|rubocop:|frozen_string_literal)"
    r"|(?://|#|%|--).*?(?:-\*-|\bvim?:|coding[:=]\s*[-\w.]+)"
    r"|//(?:go:|export |line )|// \+build|//[!/])",
    re.IGNORECASE,
)


@lru_cache(maxsize=1024)  # asked four times of each file
def suffix_of(path: str) -> str:
    """The longest known suffix that `path` ends with (`.cpp`, `Dockerfile`), or ""."""
    return next((suffix for suffix in _LONGEST_FIRST if path.endswith(suffix)), "")


def language_of(path: str) -> str:
    """The language that the suffix tells, or ""."""
    return _BY_SUFFIX.get(suffix_of(path), ("", None))[0]


def strip_license_header(text: str, path: str) -> str:
    """`text` without the comments at its top that speak of copyright or licence, as the language of `path` has them.

    Shebang, encoding and mode lines, `<?php`, build tags and preprocessor lines stay, and so do other comments among
    the first MAX_HEADERS. Text in no known language is left alone.
    """
    comments = _BY_SUFFIX.get(suffix_of(path), ("", Comments()))[1]
    start = _BEFORE_HEADER.match(text).end()  # type: ignore[union-attr]
    for _ in range(MAX_HEADERS):
        end = comment_end(text, start, comments)
        if not end:
            break
        comment = text[start:end]
        if not _MENTIONS_LICENSE.search(comment):
            start = _BLANK_LINES.match(text, end).end()  # type: ignore[union-attr]
            continue
        is_block = any(comment.lstrip().startswith(opening) for opening, _ in comments.blocks)
        kept = "" if is_block else "".join(line for line in comment.splitlines(True) if _DIRECTIVE.match(line))
        text = text[:start] + kept + text[_BLANK_LINES.match(text, end).end() :]  # type: ignore[union-attr]
        start += len(kept)
    return text


def comment_end(text: str, start: int, comments: Comments) -> int:
    """The end of the block comment, or run of comment lines, that begins at `start`; 0 where none does."""
    begin = re.compile(r"[ \t]*").match(text, start).end()  # type: ignore[union-attr]
    for opening, closing in comments.blocks:
        if text.startswith(opening, begin):
            end = text.find(closing, begin + len(opening))
            if end < 0:
                return 0
            rest = re.compile(r"[ \t]*\r?\n").match(text, end + len(closing))
            return rest.end() if rest else end + len(closing)
    at = start
    while at < len(text):
        end = text.find("\n", at) + 1 or len(text)
        line = text[at:end].lstrip(" \t")
        if not line.startswith(comments.lines) or line.startswith(("//!", "///")):
            break
        at = end
    return at if at > start else 0
