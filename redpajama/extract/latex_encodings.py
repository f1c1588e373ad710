"""Bytes of TeX files -> characters, as the paper's `inputenc` declares, file by file.

Names are those of the `.def` files of LaTeX's inputenc, its Cyrillic bundle, inputenx and the Greek, Hebrew and Thai
bundles. TeX reads a file in the encoding that is in force where the file is input; `\\inputencoding` changes it up to
the end of its group. Where a paper declares nothing, its editor's word counts (`-*- coding: cp1251 -*-`). Three things
are read otherwise than TeX would, since they are what authors meant: a file that is UTF-8 is UTF-8 whatever it
declares; the bytes 0x80-0x9F, controls in ISO 8859, are those of the Windows code page that extends it (as WHATWG
Encoding has it for Latin-1); a byte that is no UTF-8 in a file of UTF-8 is Windows-1252.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from redpajama.extract.latex_files import MAX_INPUT_DEPTH, NOWHERE, Places, find_styles, input_at

UTF8, LATIN1, WINDOWS = "utf-8", "latin-1", "cp1252"

_NAMES = {  # Python's names for TeX's
    "utf-8": "utf8 utf8x utf8enc utf-8 utf8-2018 lutf8 lutf8x unicode ascii",
    "latin-1": "latin1 l1 iso-8859-1 iso88591 isolatin1 isolatin latin-1 x-latin1",
    "iso8859-2": "latin2 iso-8859-2 iso88592 isolatin2 latin-2 il2",
    "iso8859-3": "latin3 iso-8859-3 latin-3",
    "iso8859-4": "latin4 iso-8859-4 latin-4",
    "iso8859-5": "iso88595 iso-8859-5",
    "iso8859-6": "iso-8859-6 8859-6",
    "iso8859-7": "iso-8859-7 iso88597",
    "iso8859-8": "8859-8 iso-8859-8 hebiso",
    "iso8859-9": "latin5 iso-8859-9 latin-5 iso88599",
    "iso8859-10": "latin6 iso-8859-10 latin-6",
    "iso8859-13": "latin7 iso-8859-13 latin-7",
    "iso8859-14": "latin8 iso-8859-14 latin-8",
    "iso8859-15": "latin9 iso-8859-15 latin-9 latin0 latin15",
    "iso8859-16": "latin10 iso-8859-16 latin-10",
    "cp1250": "cp1250 windows-1250 win1250 windowscentraleurroman",
    "cp1251": "cp1251 windows-1251 win1251 win cp1251i windowscyrillic",
    "cp1252": "ansinew cp1252 windows-1252 win1252 ansi windowslatin1",
    "cp1253": "cp1253 windows-1253",
    "cp1254": "cp1254 windows-1254",
    "cp1255": "cp1255 windows-1255",
    "cp1256": "cp1256 windows-1256",
    "cp1257": "cp1257 windows-1257 l7xenc",
    "cp1258": "cp1258 windows-1258",
    "koi8-r": "koi8-r koi8r koi8 koi8_r",
    "koi8-u": "koi8-u koi8-ru koi8u",
    "mac-roman": "applemac macroman x-mac-roman mac-roman macosroman",
    "mac-latin2": "macce maccentraleurope x-mac-centraleurroman",
    "mac-cyrillic": "maccyr macukr mac-cyrillic x-mac-cyrillic",
    "mac-greek": "macgreek",
    "cp437": "cp437 cp437de ibm437 ibmpc",
    "cp775": "cp775",
    "cp850": "cp850 ibm850",
    "cp852": "cp852 ibm852",
    "cp855": "cp855 ibm855",
    "cp857": "cp857",
    "cp858": "cp858 ibm858",
    "cp862": "cp862",
    "cp865": "cp865 ibm865",
    "cp866": "cp866 cp866av cp866mav cp866nav cp866tat ibm866 dos",
    "cp869": "cp869",
    "ptcp154": "pt154 ptcp154",
    "tis-620": "tis620 tis-620",
    "next": "next",
    "decmulti": "decmulti",
    "mik": "mik",
}
ENCODINGS = {name: codec for codec, names in _NAMES.items() for name in names.split()}

_LATIN1_UPPER = bytes(range(0xA0, 0x100)).decode("latin-1")
_TABLES = {  # upper halves of encodings that Python has not; \ufffd: no character
    "next": "\xa0ÀÁÂÃÄÅÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖÙÚÛÜÝÞµ×÷©¡¢£⁄¥ƒ§¤’“«‹›ﬁﬂ®–†‡·¦¶•‚„”»…‰¬¿"
    "¹ˋ´ˆ˜¯˘˙¨²˚¸³˝˛ˇ—±¼½¾àáâãäåçèéêëìÆíªîïðñŁØŒºòóôõöæùúûıüýłøœßþÿ\ufffd\ufffd",
    "mik": "".join(chr(0x410 + offset) for offset in range(64))
    + "└┴┬├─┼╣║╚╔╩╦╠═╬┐░▒▓│┤№§╗╝┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\xa0",
    "decmulti": "\ufffd" * 32 + _LATIN1_UPPER.translate({0xA8: "¤", 0xD7: "Œ", 0xDD: "Ÿ", 0xF7: "œ", 0xFD: "ÿ"}),
}
_CONTROLS_OF = {  # the Windows code page whose 0x80-0x9F stand for the controls of an encoding; else cp1252
    **dict.fromkeys(("iso8859-2", "iso8859-16"), "cp1250"),
    **dict.fromkeys(("iso8859-4", "iso8859-10", "iso8859-13"), "cp1257"),
    **{"iso8859-5": "cp1251", "iso8859-7": "cp1253", "iso8859-8": "cp1255", "iso8859-6": "cp1256"},
}
_INPUTENC = r"\{[^{}]{0,300}?\b(?:inputen[cx]|luainputenc)\b[^{}]{0,300}\}"
_SWITCH = re.compile(
    rf"\\(?:usepackage|RequirePackage)\s*\[(?P<options>[^\[\]]{{0,1000}})\]\s*{_INPUTENC}"
    rf"|\\PassOptionsToPackage\s*\{{(?P<passed>[^{{}}]{{0,1000}})\}}\s*{_INPUTENC}"
    r"|\\(?:inputencoding|SelectInputEncoding)\s*\{(?P<switched>[^{}]{0,100})\}"
    r"|\\XeTeX(?:input|default)encoding\s*[\"{]?(?P<xetex>[\w-]{1,50})[\"}]?"
    r"|(?P<opens>\\(?:begin|bgroup|begingroup)(?![A-Za-z@])|\{)"
    r"|(?P<closes>\\(?:end|egroup|endgroup)(?![A-Za-z@])|\})"
    r"|(?P<command>\\(?:(?:sub)?(?:input|import|include)(?:from)?|subfile(?:include)?|usepackage|RequirePackage"
    r"|document(?:class|style))(?![A-Za-z@]))"
    r"|\\.|%[^\n]*",
    re.DOTALL,
)
_EDITOR = re.compile(  # what Emacs, Vim and TeXShop are told
    r"-\*-[^\n]{0,200}?\bcoding:[ ]*(?P<emacs>[\w-]+?)(?:-unix|-dos|-mac)?[ ]*(?:;|-\*-)"
    r"|\bvim?:[^\n]{0,200}?\b(?:fileencoding|fenc)=(?P<vim>[\w-]+)"
    r"|%[ ]*!TEX[ ]+encoding[ ]*=[ ]*(?P<texshop>[^\n]{1,60})",
    re.IGNORECASE,
)
EDITOR_CHARS = 1000  # of a file's beginning and end, where editors look
_CLASS_OPTIONS = re.compile(r"\\document(?:class|style)\s*\[(?P<options>[^\[\]]{0,1000})\]")
_BARE_INPUTENC = re.compile(r"\\usepackage\s*" + _INPUTENC)
_ISOLATIN = re.compile(r"\\usepackage\s*\{[^{}]{0,300}?\bisolatin1?\b")

_UTF8_SEQUENCE = (
    r"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    r"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_CHARACTER = re.compile(rf"(?P<sequence>{_UTF8_SEQUENCE})|[\x80-\xff]")
_CONTROLS = bytes({*range(32), 127} - set(b"\t\n\r\f\v"))
_LINE_ENDS = bytes.maketrans(b"\r\f\v", b"\n\n\n")
_ODD = re.compile("[\x80-\x9f\ufdd0-\ufdef\ufeff\ufffe\uffff]")
_LAST_TWO = dict.fromkeys(plane << 16 | low for plane in range(1, 17) for low in (0xFFFE, 0xFFFF))  # of other planes


class Decoded(NamedTuple):
    """A file's characters, with `\\n` line ends, and the encodings that they were read in."""

    text: str
    encodings: frozenset[str]


def decode(data: bytes, encoding: str = UTF8) -> Decoded:
    """A file that is in one encoding, as Python or `_TABLES` names it.

    The text has no control but tab and line feed, no noncharacter and no byte order mark; a form feed, which is `\\par`
    to TeX, ends a line.
    """
    data = data.replace(b"\r\n", b"\n").translate(_LINE_ENDS, _CONTROLS)
    text, used = _decode(data, encoding)
    if not text.isascii():
        text = _ODD.sub(_replace_odd, text)
        text = text.translate(_LAST_TWO) if used == UTF8 and any(lead in data for lead in range(0xF0, 0xF5)) else text
    return Decoded(text, frozenset((used,)))


def _decode(data: bytes, encoding: str) -> tuple[str, str]:
    """(characters, the encoding that was used)."""
    try:
        return data.decode(), UTF8
    except UnicodeDecodeError:
        found = [*_CHARACTER.finditer(data.decode("latin-1"))]
    sequences = sum(match["sequence"] is not None for match in found)
    letters = sum(match["sequence"] is None and (encoding != UTF8 or match[0] >= "\xa0") for match in found)
    if sequences and sequences >= letters:
        return _CHARACTER.sub(_utf8_or_windows, data.decode("latin-1")), UTF8
    if encoding == UTF8:
        encoding = WINDOWS if any("\x80" <= match[0] < "\xa0" for match in found) else LATIN1
    return "".join(map(characters(encoding).__getitem__, data)), encoding


def _utf8_or_windows(match: re.Match[str]) -> str:
    return match[0].encode("latin-1").decode() if match["sequence"] else characters(WINDOWS)[ord(match[0])]


@cache
def characters(encoding: str) -> tuple[str, ...]:
    """The characters of the 256 bytes; "" for a byte that has none, in its Windows code page neither."""
    every = bytes(range(256))
    table = _TABLES.get(encoding)
    own = every[:128].decode() + table if table else every.decode(encoding, "replace")
    columns = (own, *(every.decode(name, "replace") for name in (_CONTROLS_OF.get(encoding, WINDOWS), WINDOWS)))
    return tuple(
        next((each for each in row if each != "\ufffd" and not "\x80" <= each < "\xa0"), "")
        for row in zip(*columns, strict=True)
    )


def _replace_odd(match: re.Match[str]) -> str:
    """C1 controls in UTF-8 are Windows-1252 that was converted as Latin-1."""
    return characters(WINDOWS)[ord(match[0])] if match[0] < "\xa0" else ""


# ---- the files of a paper


def decode_paper(main: str, files: Mapping[str, bytes], places: Places = NOWHERE) -> dict[str, Decoded]:
    """The main file and all that it inputs, its own styles too, each in the encodings in force where it is input.

    `files`: {name: bytes}, `places` where they are looked for. A file is read where it is input first, and each once,
    so that the work is their length.
    """
    decoded: dict[str, Decoded] = {}
    _read(main, UTF8, main, files, places, decoded, 0)
    return decoded


def _read(
    name: str,
    encoding: str,
    main: str,
    files: Mapping[str, bytes],
    places: Places,
    decoded: dict[str, Decoded],
    depth: int,
) -> str:
    """Decodes a file that begins in `encoding`, and what it inputs; returns the encoding at its end."""
    decoded[name] = Decoded("", frozenset())  # a file that inputs itself is not read again
    text = files[name].decode("latin-1")
    outside, told = encoding, _from_editor(text) if encoding == UTF8 else None
    encoding = _from_class_options(text) or told or encoding
    parts: list[Decoded] = []
    at, outer = 0, list[str]()
    for match in _SWITCH.finditer(text):
        if match["opens"]:
            outer.append(encoding)
            continue
        after = encoding
        if match["closes"]:
            after = outer.pop() if outer else encoding
        elif match["command"] and depth < MAX_INPUT_DEPTH:
            for target in _targets(text, match, name, main, files, places):
                if target not in decoded:
                    after = _read(target, after, main, files, places, decoded, depth + 1)
        else:
            after = (
                _declared(match["options"] or match["passed"] or match["switched"] or match["xetex"] or "") or encoding
            )
        if after != encoding:
            parts.append(decode(files[name][at : match.end()], encoding))
            at, encoding = match.end(), after
    parts.append(decode(files[name][at:], encoding))
    decoded[name] = Decoded("".join(part.text for part in parts), frozenset().union(*(p.encodings for p in parts)))
    return outside if encoding == told else encoding


def _targets(
    text: str, match: re.Match[str], name: str, main: str, files: Mapping[str, bytes], places: Places
) -> list[str]:
    """The project's files that a command reads: what it inputs, or its styles."""
    target = input_at(text, match.start(), name, main, files, places)
    return [target] if target else find_styles(text[match.start() : match.start() + 2000], main, files, at_start=True)


def _declared(options: str) -> str | None:
    """The last of some options that names an encoding, as inputenc takes it."""
    names = (option.strip().lower() for option in re.sub(r"%[^\n]*", "", options).split(","))
    return next((ENCODINGS[name] for name in reversed([*names]) if name in ENCODINGS), None)


def _from_class_options(text: str) -> str | None:
    """The encoding that a class's options give to an inputenc without any; that of `isolatin1`, its forerunner."""
    if _ISOLATIN.search(text):
        return LATIN1
    options = _CLASS_OPTIONS.search(text) if _BARE_INPUTENC.search(text) else None
    return _declared(options["options"]) if options else None


def _from_editor(text: str) -> str | None:
    """The encoding that a comment for an editor names."""
    found = _EDITOR.search(text, 0, EDITOR_CHARS) or _EDITOR.search(text, max(0, len(text) - EDITOR_CHARS))
    name = next(filter(None, found.groups()), "") if found else ""
    return ENCODINGS.get(re.sub(r"[ ]", "", name).lower())
