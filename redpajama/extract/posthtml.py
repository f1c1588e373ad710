"""The HTML of Stack Exchange's posts -> text.

A post is a few kinds of tags, properly nested, that Markdown and a sanitiser made. Such a post takes the short way: its
tags are found by one pattern and replaced by what they do to the text. Every other one is read by libxml2.
"""

import re
from html import unescape
from html.entities import name2codepoint

from lxml import etree

from redpajama.extract.plain import clean

BLOCKS = frozenset(
    """address article aside blockquote br dd details div dl dt h1 h2 h3 h4 h5 h6 header hr li ol p pre section summary
    table tbody thead tr ul""".split()  # noqa: SIM905
)
CELLS = {"td", "th"}  # of one line, with a space between
UNSEEN = {"head", "script", "style"}
HTML_PARSER = etree.HTMLParser(encoding="utf-8", no_network=True, huge_tree=True)

# what the short way knows
INLINE = """a abbr b cite code del dfn em i ins kbd q s samp small span strike strong sub sup tt u var""".split()  # noqa: SIM905
VOID = {"br": "\n", "hr": "\n", "img": "", "wbr": ""}
CONTAINERS = {"blockquote", "dd", "div", "dl", "li", "ol", "table", "tbody", "td", "th", "thead", "tr", "ul"}
LINES = {*CONTAINERS, "dt", "h1", "h2", "h3", "h4", "h5", "h6", "p", "pre"} - CELLS
BULLET = "\x01"  # no character of XML
INSTEAD = {  # of a tag
    **dict.fromkeys(INLINE, ""),
    **VOID,
    **dict.fromkeys(LINES, "\n"),
    **dict.fromkeys(CELLS, " "),
    **dict.fromkeys([f"/{tag}" for tag in INLINE], ""),
    **dict.fromkeys([f"/{tag}" for tag in LINES], "\n"),
    **dict.fromkeys([f"/{tag}" for tag in CELLS], ""),
    "li": "\n" + BULLET,
}
OPENING = {f"/{tag}": tag for tag in (*INLINE, *LINES, *CELLS)}
NEEDS_CONTAINER = {*LINES, *CELLS, "hr"}
CLOSED_BY = {  # (container, block at whose begin libxml2 closes it), of those that are CONTAINERS
    *(("li", "li"), ("dl", "li"), ("dd", "dt"), ("ul", "pre")),
    *(("tr", "tr"), ("tr", "tbody"), ("thead", "tbody"), ("tbody", "tbody")),
}
ODD_SPACE = re.compile(r"[^\S\n ]")
ENTITY = re.compile(r"&(#?\w*;?)")
ENTITIES = {f"{name};" for name in name2codepoint} | {f"#{number};" for number in (*range(32, 127), *range(160, 8400))}
REFERENCE = re.compile(r"&#(?:[xX]([0-9a-fA-F]{1,99})|([0-9]{1,99}));?")
MAX_TAGS = 2000  # libxml2 gives up at 2,048 elements inside one another


def html_to_text(body: str) -> str:
    """A post's HTML -> lines: blocks end a line, list items begin with `* `, `<pre>` is kept as it stands.

    ValueError: libxml2 gave up (2,048 elements inside one another).
    """
    text = simple_to_text(body) if is_plain(body) else None
    return clean(any_to_text(body) if text is None else text)


# the short way


def is_plain(body: str) -> bool:
    """Whether all entities are known, and no character stands for another one."""
    return "\r" not in body and BULLET not in body and ("&" not in body or ENTITIES.issuperset(ENTITY.findall(body)))


def simple_to_text(body: str) -> str | None:
    """The lines of HTML whose tags are known and closed in their place, so that a parser would find the same elements.

    None for any other. A block must stand where it does not make a parser close the element around it.
    """
    text, *pieces = body.split("<")
    if len(pieces) > MAX_TAGS or len(pieces) != body.count(">"):
        return None
    opened: list[str] = []
    lines, texts = _Lines(), [text]
    for piece in pieces:
        tag, found, text = piece.partition(">")
        name = tag if tag in INSTEAD else tag.partition(" ")[0].removesuffix("/")
        if not found or name not in INSTEAD:
            return None
        if opening := OPENING.get(name):
            if not opened or opened.pop() != opening:
                return None
            if name == "/pre":
                lines.add(unescape("".join(texts)).strip("\n"))
                texts.clear()
        elif opened and name in NEEDS_CONTAINER and _closes(name, opened[-1]):
            return None
        elif name not in VOID:
            opened.append(name)
            if name == "pre":
                lines.add_text(unescape("".join(texts)))
                texts.clear()
        texts += INSTEAD[name], text
    lines.add_text(unescape("".join(texts)))
    return None if opened else "\n".join(lines.lines)


def _closes(block: str, around: str) -> bool:
    """Whether a parser closes the element around a block where that begins."""
    return around not in CONTAINERS or (around, block) in CLOSED_BY


def tidied(text: str) -> str:
    """The text with one space between words, and none where a line begins or ends."""
    if "\t" in text or not text.isascii():
        text = ODD_SPACE.sub(" ", text)
    while "  " in text:
        text = text.replace("  ", " ")
    return text.replace(" \n", "\n").replace("\n ", "\n").strip(" ")


# by libxml2


def any_to_text(body: str) -> str:
    """The lines of any HTML."""
    if not body.strip():
        return ""
    root = etree.fromstring(REFERENCE.sub(_to_character, body).encode(), HTML_PARSER)
    if any(entry.level == etree.ErrorLevels.FATAL for entry in HTML_PARSER.error_log):
        raise ValueError(HTML_PARSER.error_log[-1].message)
    lines = _Lines()
    walk = etree.iterwalk(root, events=("start", "end", "comment", "pi")) if root is not None else ()
    for event, element in walk:
        if event == "start":
            _open(element, lines, walk)
            continue
        if element.tag in BLOCKS:
            lines.end()
        lines.inline.append(element.tail or "")
    lines.end()
    return "\n".join(lines.lines)


def _to_character(found: re.Match[str]) -> str:
    """The reference, or nothing where it is to no character: NUL, half of a pair, or beyond Unicode."""
    number = int(found[1], 16) if found[1] else int(found[2])
    return "" if not number or 0xD800 <= number <= 0xDFFF or number > 0x10FFFF else found[0]


def _open(element: etree._Element, lines: "_Lines", walk: etree.iterwalk) -> None:
    if element.tag in BLOCKS:
        lines.end()
    if element.tag == "li":
        lines.bullet = "* "
    if element.tag in UNSEEN:
        walk.skip_subtree()
    elif element.tag == "pre":
        for found in element.iter("br"):
            found.tail = "\n" + (found.tail or "")
        lines.add("".join(element.itertext()).strip("\r\n"))
        walk.skip_subtree()
    else:
        lines.inline.append((" " if element.tag in CELLS else "") + (element.text or ""))


class _Lines:
    """The lines of a text so far, and the inline text of the line that is still open."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.inline: list[str] = []
        self.bullet = ""

    def end(self) -> None:
        """End the open line: its spaces are tidied, its own newlines stay."""
        text = "".join(self.inline)
        self.inline.clear()
        if text and not text.isspace():
            tidy = [" ".join(line.split()) for line in text.split("\n")]
            self.add("\n".join(line for line in tidy if line))

    def add_text(self, text: str) -> None:
        """Add the lines of a text that has a BULLET where an item begins."""
        lines = tidied(text).split("\n")
        if not self.bullet and BULLET not in text:
            self.lines += filter(None, lines)
            return
        for line in lines:
            if line.startswith(BULLET):
                self.bullet = "* "
            self.add(line.lstrip(BULLET + " "))

    def add(self, text: str) -> None:
        """Append whole lines, the first behind the bullet if one waits; nothing if there is no text."""
        if text.strip():
            self.lines.append(self.bullet + text)
            self.bullet = ""
