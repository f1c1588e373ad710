"""Characters of wikitext: references to them, what no text may hold, and what stands for others while it is read.

Markup that must not act as such (in `<nowiki>`, `<math>`, of a reference like `&#91;`) is shielded: noncharacters of
Unicode stand for its characters until the text is made, as MediaWiki's strip markers do. A source has none of its own:
they are taken out first.
"""

import re
from html.entities import html5

MARKUP = "<>[]{}|='&*#:;!-_/\"\n"
_BASE = 0xFDD0  # to U+FDEF: noncharacters, https://www.unicode.org/faq/private_use.html#nonchar1
SHIELDS = {ord(mark): chr(_BASE + place) for place, mark in enumerate(MARKUP)}
MARKS = {_BASE + place: mark for place, mark in enumerate(MARKUP)}
LINE_BREAK = SHIELDS[ord("\n")]
NOTHING = "\ufdee"  # shows nothing, and keeps what stands around it apart
BLOCK_EDGE = "\ufdef"  # of what begins and ends its own lines
ALIASES = {"\u05e8\u05dc\u05de": "\u200f", "\u0631\u0644\u0645": "\u200f"}  # MediaWiki's own: rlm
ENTITIES = {name[:-1]: text for name, text in html5.items() if name.endswith(";")} | ALIASES

REFERENCE = re.compile(r"&(?:#(?:([0-9]{1,12})|[xX]([0-9A-Fa-f]{1,10}))|([A-Za-z0-9\u05d0-\u06ff]{1,40}));")
_SHIELDED = re.compile("[\ufdd0-\ufdef]")
_EDGES = re.compile(f"\n*{BLOCK_EDGE}[ \n{BLOCK_EDGE}]*")
_NEVER_SHOWN = re.compile(  # controls but tab and line end, half pairs, noncharacters, U+FEFF, U+FFFD: all that is not
    "[^ -~\t\n\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufefe\uff00-\ufffc"
    + "".join(f"{chr(plane)}-{chr(plane + 0xFFFD)}" for plane in range(0x10000, 0x110000, 0x10000))
    + "]"
)


def without_controls(text: str) -> str:
    """Text without control characters (but tab and line end), noncharacters, U+FEFF, U+FFFD; `\\r\\n` is a line end."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _NEVER_SHOWN.sub("", text)


def shielded(text: str) -> str:
    """Text in which nothing is markup until `unshielded`."""
    return text.translate(SHIELDS)


def unshielded(text: str) -> str:
    """Text as it is shown, of one in which characters were shielded and edges of blocks marked."""
    if not _SHIELDED.search(text):
        return text
    if BLOCK_EDGE in text:
        text = _EDGES.sub(lambda edge: "\n\n" if edge[0].count("\n") > 1 else "\n", text)
    return text.replace(NOTHING, "").translate(MARKS)


def with_references_resolved(text: str) -> str:
    """Text with the characters that references to them stand for, shielded where they are markup."""
    return REFERENCE.sub(_referred_to, text) if "&" in text else text


def _referred_to(reference: re.Match[str]) -> str:
    shown = character_of(reference)
    if shown is None:
        return SHIELDS[ord("&")] + reference[0][1:].translate(SHIELDS)
    return shielded(without_controls(shown))


def character_of(reference: re.Match[str]) -> str | None:
    """What a reference stands for; None: no character, so it is shown as it is written.

    Names are those of HTML5, numbers 128 to 159 the characters of windows-1252 that browsers show for them
    (https://html.spec.whatwg.org/multipage/parsing.html#numeric-character-reference-end-state). Numbers that no
    character has, surrogates and controls stay as MediaWiki's Sanitizer (`validateCodepoint`) leaves them.
    """
    decimal, hexadecimal, name = reference.groups()
    if name:
        return ENTITIES.get(name)
    number = int(decimal) if decimal else int(hexadecimal, 16)
    if 0x80 <= number < 0xA0:
        shown = bytes([number]).decode("cp1252", "ignore")
        return shown or None
    is_ascii = number in (0x9, 0xA) or 0x20 <= number < 0x7F
    return chr(number) if is_ascii or 0xA0 <= number < 0xD800 or 0xE000 <= number <= 0x10FFFF else None
