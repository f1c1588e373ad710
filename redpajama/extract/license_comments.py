"""What of a comment is about copyright and licence, sentence by sentence, and the comment without it.

A comment at the top of a file may document it too. Its lines are put together as sentences: a line goes on where the
one before ends no sentence; notices (`Copyright (c) …`), fields (`License : MIT`, `@license`) and openings of licence
texts begin anew. A sentence goes if it is a notice, names a licence or its file, or is worded as licence texts are.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

MAX_KEPT_CHARS = 8_000  # of a comment whose outcome is kept in memory
MIN_WORDS = 2  # of what is left of a comment; one word alone is the project's or file's name

_HINTS = (  # one of them stands wherever MENTIONS matches; found at memory speed
    *("copyright", "licen", "©", "(c)", "rights reserved", "public domain", "gpl", "general public", "mozilla public"),
    *("creative commons", "creativecommons", "confidential", "unauthori", "trade secret", "commercial"),
    *("cc-by", "cc by", "mpl", "cecill", "do not distribute"),
)
MENTIONS = re.compile(
    r"copyright|©|\(c\)\s*\d{4}|all rights reserved|spdx-license-identifier|public domain|@licen[cs]e|licen[cs]e\s*:"
    r"|licen[cs]ed (?:under|to|for)|(?:terms|conditions) of (?:the|this|an?)\b[^.]{0,60}\blicen[cs]e"
    r"|\b(?:mit|apache|bsd|isc|l?gpl|mpl)[- ](?:style )?licen[cs]e|see (?:the )?licen[cs]e|licen[cs]e file"
    r"|\b[al]?gpl(?:-?v?\d|\b)|\bpublic licen[cs]e|creative ?commons|\bcc[- ]by\b|\bmpl[-, ]+v?\.? ?\d|\bcecill\b"
    r"|do not (?:re)?distribute|proprietary and confidential"
    r"|confidential and proprietary|strictly confidential|unauthori[sz]ed (?:copying|use|reproduction|distribution)"
    r"|trade secrets?|\bnon-?commercial (?:use|purpose)",
    re.IGNORECASE,
)
_ELSEWHERE = (  # notices in other languages
    r"版权|版權|著作权|著作権|保留所有权利|alle rechte vorbehalten|tous droits réservés|todos los derechos reservados"
    r"|todos os direitos reservados|tutti i diritti riservati|все права защищены|авторские права"
)
_LEGAL = re.compile(  # in a comment that MENTIONS
    MENTIONS.pattern
    + r"|permission (?:is|to)\b|hereby granted|redistributions?\b|redistribute (?:it|and)|warrant(?:y|ies)\b"
    r"|\bliab(?:le|ility)\b|provided .{0,3}as[- ]is|free software|applicable law|in compliance with"
    r"|copy of the licen[cs]e|endorse or promote|neither the name|this file is part of|distributed in the hope"
    r"|distributed under"
    r"|governed by an?\b|governed by the\b|must not be misrepresented|altered source versions|this notice may not"
    r"|acknowledge?ment in the|software licen[cs]e\b|accompanying file|under the licen[cs]e"
    r"|licen[cs]e (?:information|details|text)|exception to the licen[cs]e|https?://\S{0,200}(?:/licen[cs]e|/mpl)"
    rf"|{_ELSEWHERE}",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"(?:copyright|\(c\)|©|spdx-|all rights|licen[cs]ed|mit licen|(?:distributed|released|published|available) under"
    r"|permission (?:is|to)|redistribution|this (?:\w+ )?(?:\w+ )?(?:is|and|may|was)\b|use of this"
    r"|see (?:\w+ )?licen[cs]e|you (?:may|should)|unless required|the above copyright|neither the"
    r"|in no event|the software is|for (?:the )?(?:full |more |license |licence |conditions|terms|details)"
    rf"|under the terms|subject to|{_ELSEWHERE})",
    re.IGNORECASE,
)
_NOTICE = re.compile(rf"(?:portions |</?)?(?:copyright|\(c\)|©|all rights reserved|{_ELSEWHERE})", re.IGNORECASE)
_BESIDE = re.compile(  # a notice behind a sentence in one line, up to its end
    r"(?<=\w[.!?。])\s*(?:copyright|\(c\)|©|licen[cs]ed under|(?:released|distributed) under|all rights reserved"
    rf"|spdx-license|see licen[cs]e|{_ELSEWHERE}).*$",
    re.IGNORECASE,
)
_TAG = r"/?(?:summary|copyright|authors?|remarks|description|file|license)\b"  # of XML comments
_FIELD = re.compile(rf"<{_TAG}|" r"[@\\:][A-Za-z]+\b|[A-Z][\w -]{0,24}?[ \t]*:(?:\s|$)|[a-z]{3,14}[ \t]*:\s+\S")
_ITEM = re.compile(r"(?:\d{1,2}|[a-z]|[ivx]{1,4})[.)]\s|\((?:\d{1,2}|[a-z])\)\s")
_ENDS_SENTENCE = re.compile(r"[.!?:。！？：][\"')\]]*$")
_GOES_ON = re.compile(r"(?:,|&|\b(?:and|by|of|the))$", re.IGNORECASE)
DIRECTIVE = re.compile(  # lines of comments that tools read
    r"\s*(?:#(?:!|include|define|undef|if|ifdef|ifndef|else|elif|endif|pragma|error|line)\b"
    r"|#\s*(?:syntax=|escape=|shellcheck|pylint:|mypy:|rubocop:|frozen_string_literal)"
    r"|(?://|#|%|--).*?(?:-\*-|\bvim?:|coding[:=]\s*[-\w.]+)"
    r"|//(?:go:|export |line )|// \+build|//[!/])",
    re.IGNORECASE,
)
_URL = re.compile(r"<?https?://\S+$")
_MARKS = re.compile(rf"(?:[\s*/#;%!'|=~+_>{{}}\"-]|<(?!{_TAG}))*")
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")  # Chinese and its like: characters


def mentions_license(comment: str) -> bool:
    """Whether a comment speaks of copyright or licence at all."""
    lower = comment.lower()
    return any(hint in lower for hint in _HINTS) and bool(MENTIONS.search(comment))


class _Sentence:
    """Lines of a comment that belong together."""

    def __init__(self, line: int, content: str, column: int) -> None:
        self.lines = [line]
        self.column = column  # where its text begins
        self._contents = [content]
        self.is_field = bool(_FIELD.match(content))
        self.is_notice = bool(_NOTICE.match(content))
        self.is_item = bool(_ITEM.match(content))

    @property
    def text(self) -> str:
        return " ".join(self._contents)

    def goes_on(self, content: str, column: int) -> bool:
        """Whether the next line belongs to it."""
        if _FIELD.match(content) or _OPENING.match(content) or _ITEM.match(content):
            return False
        if self.is_field:
            return column > self.column
        if self.is_notice and not _GOES_ON.search(self._contents[-1]):
            return content[0].islower() or column > self.column
        return not _ENDS_SENTENCE.search(self._contents[-1])

    def add(self, line: int, content: str) -> None:
        self.lines.append(line)
        self._contents.append(content)


def legal_lines(lines: Sequence[str], prefixes: tuple[str, ...], *, is_block: bool) -> set[int]:
    """The indices of lines that are about copyright and licence.

    Args:
        prefixes: what comment lines of the language start with, where that is no punctuation (`C `, `rem `).
        is_block: a run of lines may hold some that tools read; they are not touched.
    """
    found: set[int] = set()
    last_is_legal = False
    asks = ""  # of the legal sentence before
    for sentence in _sentences(lines, prefixes, is_block):
        text = sentence.text
        is_listed = sentence.is_item and (asks.endswith(":") or bool(_ITEM.match(asks)))
        follows = last_is_legal and (is_listed or bool(_URL.match(text)))
        last_is_legal = follows or bool(_LEGAL.search(text))
        asks = text
        if last_is_legal:
            found.update(sentence.lines)
    return found


def _sentences(lines: Sequence[str], prefixes: tuple[str, ...], is_block: bool) -> Iterator[_Sentence]:
    current: _Sentence | None = None
    for number, line in enumerate(lines):
        content, column = _content(line, prefixes) if is_block or not DIRECTIVE.match(line) else ("", 0)
        if current and content and current.goes_on(content, column):
            current.add(number, content)
            continue
        if current:
            yield current
        is_beside_mark = is_block and number == 0  # its column tells nothing of the lines below
        current = _Sentence(number, content, len(line) if is_beside_mark else column) if content else None
    if current:
        yield current


def _content(line: str, prefixes: tuple[str, ...]) -> tuple[str, int]:
    """(text of a line without what marks it as a comment, its column); "" for one without letters and digits."""
    start = line.lstrip()
    mark = next((each for each in prefixes if start.startswith(each) or start.rstrip() == each.rstrip()), "")
    begin = min(len(line) - len(start) + len(mark), len(line))
    marks = _MARKS.match(line, begin)
    begin = marks.end() if marks else begin
    content = line[begin:].rstrip().rstrip("*/#").rstrip()
    return (content, begin) if _WORD.search(content) else ("", begin)


def documentation(comment: str, opening: str, closing: str, prefixes: tuple[str, ...]) -> str:
    """A comment without its lines about copyright and licence; "" where nothing of use is left.

    Args:
        opening, closing: of a block comment; "" of a run of comment lines.
    """
    work = _short_documentation if len(comment) <= MAX_KEPT_CHARS else _documentation
    return work(comment, opening, closing, prefixes)


def _documentation(comment: str, opening: str, closing: str, prefixes: tuple[str, ...]) -> str:
    begin = comment.index(opening) + len(opening) if opening else 0
    end = comment.rindex(closing) if closing else len(comment)
    lines = _without_notices_beside(comment[begin:end].split("\n"), prefixes)
    cut = legal_lines(lines, prefixes, is_block=bool(opening))
    left = [line for at, line in enumerate(lines) if at not in cut]
    if sum(len(_WORD.findall(_content(line, prefixes)[0])) for line in left) < MIN_WORDS:
        return ""
    if opening and 0 in cut:
        lines[0] = ""
    if opening and len(lines) - 1 in cut:
        lines[-1] = " " if closing.startswith("*") else ""
    edges = {0, len(lines) - 1} if opening else {len(lines) - 1} - cut  # what stands beside the marks stays in place
    return comment[:begin] + "\n".join(_kept(lines, cut, edges, prefixes)) + comment[end:]


def _without_notices_beside(lines: list[str], prefixes: tuple[str, ...]) -> list[str]:
    """Lines without the notices that stand behind a sentence and end with their line."""
    found: list[str] = []
    for at, line in enumerate(lines):
        beside = _BESIDE.search(line)
        ends = at + 1 == len(lines) or not _content(lines[at + 1], prefixes)[0] or line.rstrip().endswith((".", "。"))
        is_mixed = beside and ends and not _LEGAL.search(line, 0, beside.start())
        found.append(line[: beside.start()] + (" " if at + 1 == len(lines) else "") if beside and is_mixed else line)
    return found


@lru_cache(maxsize=512)  # headers repeat from file to file
def _short_documentation(comment: str, opening: str, closing: str, prefixes: tuple[str, ...]) -> str:
    return _documentation(comment, opening, closing, prefixes)


def _kept(lines: Sequence[str], cut: set[int], edges: set[int], prefixes: tuple[str, ...]) -> list[str]:
    """The lines that are not cut; where some were, one blank line at most stands for those around them."""
    kept: list[str] = []
    was_cut = False
    for at, line in enumerate(lines):
        is_blank = at in cut or not _content(line, prefixes)[0]
        was_cut |= at in cut
        if at in edges:
            while was_cut and len(kept) > 1 and not _content(kept[-1], prefixes)[0]:
                kept.pop()
            kept.append(line)
        elif at not in cut and not (is_blank and was_cut and not (kept and _content(kept[-1], prefixes)[0])):
            kept.append(line)
        was_cut &= is_blank
    return kept
