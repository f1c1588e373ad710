"""The HTML of the web -> title and text, by resiliparse.

resiliparse takes some texts for menus and icons that are none: what it would drop is put before it in another shape.
"""

import re
from collections.abc import Iterator
from html import unescape

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import ElementNode, HTMLTree

from redpajama.extract.plain import clean, to_unix

NESTING = re.compile(r"<(/?)(?:div|article|ul)\b", re.IGNORECASE)
SHALLOW = 3  # a `<ul>` with fewer elements between it and `<body>` is a menu to resiliparse
SHALLOW_LISTS = "body > ul, body > * > ul, body > * > * > ul"
MAX_LINKED_FRACTION = 0.5  # of the text of a list that is no menu
THREE_BYTES = re.compile("[\u0800-\ud7ff\uf900-\uffff]")  # in UTF-8; without the private use area
LONE = re.compile(rf">\s*+({THREE_BYTES.pattern}|&#?\w{{2,8}};)(?=\s*<)")
GUARD = "\ufdd0"  # a noncharacter, free for use inside a program (Unicode 23.7)
BEGIN, END = "\ufdd1\ufdd1", "\ufdd2\ufdd2"  # of a `<pre>`; in pairs, for one alone is an icon
PRE, PREFORMATTED = re.compile(r"<[Pp][Rr][Ee]\b"), re.compile(f"{BEGIN}([^\ufdd1\ufdd2]*){END}")
MAX_ATTRIBUTES = 4096  # of an element; resiliparse compares each with all: 300,000 take a quarter of an hour
_VALUE = r"""(?:"[^"]*+"|'[^']*+'|[^\s>"'][^\s>]*+)"""
_ATTRIBUTE = rf"[\s/]*+[^\s/>][^\s/>=]*+(?:\s*+=\s*+{_VALUE})?+"  # as WHATWG's tokeniser takes them apart
TAG = re.compile(rf"(<[A-Za-z][^\s/>]*+(?:{_ATTRIBUTE}){{0,{MAX_ATTRIBUTES}}}+)((?:{_ATTRIBUTE})*+)")
QUOTED_END = re.compile(r"""=\s*+(?:"[^">]*+>|'[^'>]*+>)""")  # a `>` that ends no tag
SMALL_PAGE = 1 << 16  # characters; whatever stands in so few, it is parsed in seconds
MAX_EXTRACTION_COST = 500_000_000  # characters x depth; resiliparse takes up to 20 ns each for the main content


def title_and_text(html: str, main_content: bool) -> tuple[str, str]:
    """A page's title, in one line, and its text; `main_content` leaves menus, sidebars and footers out.

    They stay in a page so long and so deeply nested that telling them apart might take more than ten seconds.
    """
    if has_many_attributes(html):
        html = cut_attributes(html)
    main = main_content and len(html) * max_depth(html) <= MAX_EXTRACTION_COST
    tree = HTMLTree.parse(guard_lone_characters(html) if main else html)
    if main:
        shelter_lists(tree)
    if PRE.search(html):
        mark_preformatted(tree)
    text = extract_plain_text(tree, main_content=main, alt_texts=False)
    return " ".join(clean(tree.title or "").split()), clean("".join(_lines(text))).strip("\n")


def has_many_attributes(html: str) -> bool:
    """Whether some element may have more than MAX_ATTRIBUTES; asked of every page, so it looks at little."""
    if len(html) <= SMALL_PAGE:
        return False
    may_have = max(map(len, html.split(">"))) > 2 * MAX_ATTRIBUTES or QUOTED_END.search(html) is not None
    return may_have and any(found[2] for found in TAG.finditer(html))


def cut_attributes(html: str) -> str:
    """HTML whose elements have the first MAX_ATTRIBUTES of what they had. Linear."""
    return TAG.sub(r"\1", html)


def mark_preformatted(tree: HTMLTree) -> None:
    """Put BEGIN and END around what stands in each `<pre>`."""
    for found in select(tree.body, "pre"):
        if found.text.strip():
            found.insert_before(tree.create_text_node(BEGIN), found.first_child)
            found.append_child(tree.create_text_node(END))


def _lines(text: str) -> Iterator[str]:
    """The text in pieces, its lines stripped; those of a `<pre>` only at their end."""
    for index, piece in enumerate(PREFORMATTED.split(text)):
        lines = to_unix(piece).split("\n")
        if index % 2:
            yield "\n".join(line.rstrip() for line in lines).strip("\n")
        else:
            yield "\n".join(line.strip() for line in lines)


def guard_lone_characters(html: str) -> str:
    """HTML in which no text is one character of three bytes: resiliparse takes `<b>中</b>` for an icon and drops it.

    Its test is meant for the private use area of icon fonts, whose characters are left to it.
    """
    return LONE.sub(lambda found: found[0] + GUARD if THREE_BYTES.fullmatch(unescape(found[1])) else found[0], html)


def shelter_lists(tree: HTMLTree) -> None:
    """Make lists of text look like none of menus: further from the root, and without links.

    resiliparse drops every `<ul>` near the root, and anywhere one of which more than a fifth is linked.
    """
    for found in filter(is_prose, select(tree.body, SHALLOW_LISTS)):
        for _ in range(SHALLOW):
            wrapper = tree.create_element("div")
            found.parent.replace_child(wrapper, found)
            wrapper.append_child(found)
    for found in filter(is_prose, select(tree.body, "ul")):
        for link in select(found, "a"):
            plain = tree.create_element("span")
            for child in list(link.child_nodes):
                plain.append_child(child)
            link.parent.replace_child(plain, link)


def select(element: ElementNode | None, selector: str) -> list[ElementNode]:
    """The elements below one that a CSS selector names: a slice, since resiliparse searches again for each step."""
    return element.query_selector_all(selector)[:] if element else []


def is_prose(found: ElementNode) -> bool:
    """Whether most of an element's text is outside of links."""
    left = MAX_LINKED_FRACTION * len(found.text)
    for link in select(found, "a"):
        left -= len(link.text)
        if left <= 0:  # links that never end hold one another: a page of them would take for ever
            return False
    return left > 0


def max_depth(html: str) -> int:
    """How deep `<div>`, `<article>` and `<ul>` nest, at most: the main content is told by what is in each of them."""
    depth = deepest = 0
    if len(html) * html.count("<") > MAX_EXTRACTION_COST:  # else it cannot matter
        for tag in NESTING.finditer(html):
            depth = max(0, depth - 1) if tag[1] else depth + 1
            deepest = max(deepest, depth)
    return deepest
