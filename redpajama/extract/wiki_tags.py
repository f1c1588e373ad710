"""Tags of wikitext: comments, extension tags and HTML, resolved before templates, links and tables are read.

MediaWiki's preprocessor finds comments and extension tags first and reads nothing inside them
(https://www.mediawiki.org/wiki/Parser_extension_tags; `Preprocessor_Hash::buildDomTreeArrayFromText`): so do these
functions. A tag of HTML vanishes, and its content stays, unless a style hides it.
"""

import re

from redpajama.extract.wiki_characters import BLOCK_EDGE, LINE_BREAK, NOTHING, shielded, with_references_resolved

VERBATIM = frozenset({"nowiki", "pre", "source", "syntaxhighlight"})  # shown, and nothing in them is markup
MATHEMATICS = {"math": "{}", "ce": r"\ce{{{}}}", "chem": r"\ce{{{}}}"}  # the source of a formula
HIDDEN = frozenset(
    """categorytree charinsert dynamicpagelist gallery graph hiero imagemap includeonly indicator inputbox langconvert
    mapframe maplink phonos quiz ref references rss score templatedata templatestyles section timeline""".split()  # noqa: SIM905
)
NESTED = frozenset({"ref", "table"})  # end where their last one ends, if they balance; others at the first closing tag
BLOCKS = """address article aside blockquote caption center dd details div dl dt figcaption figure footer h1 h2 h3 h4
    h5 h6 header hr li main ol p poem summary table tbody td tfoot th thead tr ul"""
INLINE = """a abbr acronym b basefont bdi bdo big cite code data del dfn em font i img ins kbd label link mark meta nobr
    noinclude onlyinclude q rb rbc rp rt rtc ruby s samp small span strike strong sub sup time tt translate tvar u
    var wbr languages"""

_NAMES = "|".join(sorted({"table", *VERBATIM, *MATHEMATICS, *HIDDEN}, key=len, reverse=True))
_OPENING = re.compile(rf"<(?:(!--)|({_NAMES})(?=[\s/>]))", re.IGNORECASE)
_HIDING = r"(?:display\s*+:\s*+none|visibility\s*+:\s*+(?:hidden|collapse))"
_HIDES = re.compile(_HIDING, re.IGNORECASE)
_LABEL = re.compile(r"""\btext\s*+=\s*+["']([^"'<>]++)["']""", re.IGNORECASE)  # that a link to a map shows
_STYLED = re.compile(r"<([a-z][a-z0-9]*)\s[^<>]*+>", re.IGNORECASE)
_BREAK = re.compile(r"<[ \t]*+/?[ \t]*+br(?=[\s/>\\])[^<>]*+>[ \t]*+(\n)?", re.IGNORECASE)
_BLOCK = re.compile(rf"</?(?:{'|'.join(BLOCKS.split())})(?=[\s/>])[^<>]*+>", re.IGNORECASE)
_INLINE = re.compile(rf"</?(?:{'|'.join(INLINE.split())})(?=[\s/>])[^<>]*+>", re.IGNORECASE)
_STRAY = re.compile(rf"</?(?:{_NAMES})(?=[\s/>])[^<>]*+>", re.IGNORECASE)


def without_tags(source: str) -> str:
    """Wikitext without comments and known tags: a footnote, a map or a hidden element shows nothing, `<br>` a line's
    end, `<math>` its source between dollar signs, `<nowiki>` its characters.
    """
    if "<" not in source:
        return source
    text = _without_opaque(source)
    lowered = text.lower()
    if any(style in lowered for style in ("display:", "display :", "visibility:", "visibility :")):
        text = _without_hidden_elements(text)
    text = _BREAK.sub(_end_of_line, text)
    text = _BLOCK.sub(BLOCK_EDGE, text)
    return _STRAY.sub("", _INLINE.sub("", text))


def _end_of_line(tag: re.Match[str]) -> str:
    """What `<br>` shows: beside a line's end it is the same end."""
    if tag.string[max(0, tag.start() - 9) : tag.start()].rstrip(" \t").endswith("\n"):
        return NOTHING + (tag[1] or "")
    return tag[1] or LINE_BREAK


class _Closing:
    """Finds where elements end, going over the text once for each name and no more."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.absent: set[str] = set()  # names that close no more
        self.unbalanced: set[str] = set()  # names whose tags do not balance

    def first(self, name: str, at: int) -> tuple[int, int] | None:
        """Where the next closing tag of this name begins and ends."""
        if name in self.absent:
            return None
        found = re.compile(rf"</{name}\s*+>", re.IGNORECASE).search(self.text, at)
        if found is None:
            self.absent.add(name)
        return found and found.span()

    def balanced(self, name: str, at: int) -> tuple[int, int] | None:
        """Where the closing tag of this name that belongs to an opening one before `at` begins and ends."""
        if name in self.unbalanced:
            return self.first(name, at)
        depth = 1
        for tag in re.compile(rf"<{name}(?:\s[^<>]*+)?(?<!/)>|(</{name}\s*+>)", re.IGNORECASE).finditer(self.text, at):
            depth += -1 if tag[1] else 1
            if not depth:
                return tag.span()
        self.unbalanced.add(name)
        return self.first(name, at)


def _without_opaque(text: str) -> str:
    """Text without comments and with the extension tags resolved in which nothing is wikitext."""
    parts: list[str] = []
    closing, at, start = _Closing(text), 0, 0
    while found := _OPENING.search(text, start):
        if found[1]:
            before, start = _around_comment(text, found.start(), at)
            parts.append(before)
            at = start
            continue
        start = text.find(">", found.end()) + 1
        if not start:
            break
        shown, start = _element(text, found[2].lower(), found.end(), start, closing)
        if shown is not None:
            parts.append(text[at : found.start()])
            parts.append(shown or (NOTHING if text[found.start() - 1 : found.start()] == "'" else ""))
            at = start
    return "".join([*parts, text[at:]])


def _element(text: str, name: str, attributes: int, start: int, closing: _Closing) -> tuple[str | None, int]:
    """What the element shows whose attributes begin and whose opening tag ends there, and where it ends itself. None:
    the tag stands alone.
    """
    label = _LABEL.search(text, attributes, start) if name == "maplink" else None
    if text[start - 2] == "/":
        return label[1] if label else "", start
    end = closing.balanced(name, start) if name in NESTED else closing.first(name, start)
    if end is None:
        return ("", len(text)) if name == "includeonly" else (None, start)
    if label:
        return label[1], end[1]
    is_inline = name == "nowiki" or "inline" in text[attributes:start]
    return _shown_by(name, text[start : end[0]], is_inline), end[1]


def _shown_by(name: str, content: str, is_inline: bool) -> str:
    if name in MATHEMATICS:
        formula = " ".join(content.split())
        return shielded(f"${MATHEMATICS[name].format(formula)}$") if formula else ""
    if name in VERBATIM:
        text = shielded(with_references_resolved(content) if name in ("nowiki", "pre") else content)
        return text if is_inline else f"{BLOCK_EDGE}{NOTHING}{text.strip(LINE_BREAK)}{BLOCK_EDGE}"
    return BLOCK_EDGE if name == "table" else ""


def _around_comment(text: str, start: int, at: int) -> tuple[str, int]:
    """What stands before a comment, and where what follows it begins.

    One that never closes goes to the end of the page; one that has its lines for itself takes their ends along.
    """
    end = text.find("-->", start + 4)
    end = len(text) if end < 0 else end + 3
    before = text[at:start].rstrip(" \t")
    after = end + len(text[end : end + 100]) - len(text[end : end + 100].lstrip(" \t"))
    if (before.endswith("\n") or (not before and (at == 0 or text[at - 1] == "\n"))) and text[
        after : after + 1
    ] == "\n":
        return before, after + 1
    return text[at:start], end


def _end_of_its_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _without_hidden_elements(text: str) -> str:
    """Text without elements whose style hides them; one that never closes ends with its line, as in a paragraph."""
    parts: list[str] = []
    closing, at, looked = _Closing(text), 0, 0
    while style := _HIDES.search(text, looked):
        start = text.rfind("<", looked, style.start())
        tag = _STYLED.match(text, start) if start >= 0 else None
        looked = style.end()
        if tag is None or tag.end() < looked or "style" not in text[start : style.start()].lower():
            continue
        is_single = tag[0].endswith("/>") or tag[1].lower() in ("br", "hr", "img", "wbr")
        end = None if is_single else closing.balanced(tag[1].lower(), tag.end())
        parts.append(text[at:start])
        at = looked = end[1] if end else tag.end() if is_single else _end_of_its_line(text, tag.end())
    return "".join([*parts, text[at:]])
