"""Texts as a terminal may show them: nothing in them moves the cursor, colours, rings or turns the line around.

One character stands for one, so that what is styled or cut by places stays so.
"""

import re

BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # Unicode's Bidi_Control
UNSAFE = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f{BIDI}]")  # tabs and line feeds are harmless
_PICTURES = {number: 0x2400 + number for number in range(0x20)} | {0x7F: 0x2421}


def visible(text: str) -> str:
    """The text with a picture for each C0 control (␛) and U+FFFD for each C1 or bidi control."""
    return UNSAFE.sub(lambda found: chr(_PICTURES.get(ord(found[0]), 0xFFFD)), text) if UNSAFE.search(text) else text


def visible_json(text: str) -> str:
    r"""The same JSON, in which such characters stand as `\u001b`: they can be in strings alone."""
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
