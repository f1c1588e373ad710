"""Bytes of source files -> text: what a byte order mark or the file itself declares, UTF-8, Latin-1 where it may be.

Declarations: PEP 263 (Python's, and Ruby's `# encoding:`), Emacs' `-*- coding: … -*-` and vim's `fileencoding=` in the
first two lines or the last five, XML's declaration, CSS's `@charset`. Latin-1 is read as Windows-1252, its superset in
print (as the WHATWG's Encoding Standard does). Undeclared, it is believed where bytes beyond ASCII stand alone or
beside letters of ASCII, as accented ones do; text in Cyrillic, Greek or Chinese has runs of them.
"""

import codecs
import re

MODE_LINES = 2  # at the top (PEP 263)
MODE_LINES_AT_END = 5  # vim's `modelines`
MAX_MODE_BYTES = 2_000  # in which they stand
MAX_LONE_FRACTION = 0.2  # of runs beyond ASCII, in Latin-1 that is not declared: two bytes that touch no letter

_MARKS = (  # UTF-32's little-endian mark begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ANY_MARK = tuple(mark for mark, _ in _MARKS)
_DECLARED = re.compile(rb"(?:\bcoding|\bfileencoding|\bfenc)[:=]\s*([-\w.]{2,40})")
_DECLARED_AT_TOP = re.compile(rb"""\A\s*(?:<\?xml\b[^>]{0,200}?\bencoding=|@charset )["']([-\w.]{2,40})["']""")
_RUN = re.compile(rb"[\x80-\xff]+")
_NOT_LATIN = re.compile(rb"[\xa1-\xff]{3}|[\x80-\xff]{4}")  # three letters, or these and Windows' quotation marks
_LONE_PAIR = re.compile(rb"(?<![A-Za-z\x80-\xff])[\x80-\xff]{2}(?![A-Za-z\x80-\xff])")


def unix_lines(text: str) -> str:
    """`text` with `\\n` for every line end, and without U+FEFF, which is a mark of bytes and no character of a text."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.replace("\ufeff", "") if "\ufeff" in text else text  # finding is faster than replacing nothing


def decode_source(data: bytes) -> tuple[str, str] | None:
    """(text, encoding as Python names it); None for bytes that are in no encoding that can be told."""
    if data.startswith(_ANY_MARK):
        mark, marked = next((mark, name) for mark, name in _MARKS if data.startswith(mark))
        return _decoded(data[len(mark) :], marked)
    if found := _decoded(data, "utf-8"):
        return found
    declared = declared_encoding(data)
    if declared and (found := _decoded(data, declared)):
        return found
    return _decoded(data, "cp1252") if may_be_latin(data) else None


def _decoded(data: bytes, encoding: str) -> tuple[str, str] | None:
    try:
        return data.decode(encoding), encoding
    except UnicodeError:
        return None


def declared_encoding(data: bytes) -> str:
    """The encoding that a file's mode lines or declaration name, as Python calls it; "" for none or an unknown one."""
    top = data[:MAX_MODE_BYTES].splitlines()[:MODE_LINES]
    end = data[-MAX_MODE_BYTES:].splitlines()[-MODE_LINES_AT_END:]
    found = _DECLARED_AT_TOP.search(data[:MAX_MODE_BYTES]) or _DECLARED.search(b"\n".join([*top, *end]))
    name = (
        re.sub(r"-(?:unix|dos|mac)$", "", found[1].decode("ascii", "replace").lower()) if found else ""
    )  # Emacs' ends
    try:
        codec = codecs.lookup(name)
    except LookupError:
        return ""
    is_text = getattr(codec, "_is_text_encoding", True) and not codec.name.startswith(("utf", "idna", "punycode"))
    return {"iso8859-1": "cp1252", "ascii": ""}.get(codec.name, codec.name) if is_text else ""


def may_be_latin(data: bytes) -> bool:
    """Whether bytes beyond ASCII stand as in texts in Latin-1: never three together, two seldom without a letter."""
    if _NOT_LATIN.search(data):
        return False
    return len(_LONE_PAIR.findall(data)) <= MAX_LONE_FRACTION * len(_RUN.findall(data))
