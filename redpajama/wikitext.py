"""Wikitext -> the text that it shows, section by section.

mwparserfromhell does it in three steps: its tokenizer in C, which knows wikitext; a tree of nodes built of the tokens;
`strip_code` over the tree. The tree costs five times what the tokens cost. So the text is taken from the tokens here,
as `strip_code` would from their nodes: what opens a construct lays the text before it aside, what closes it says what
the construct adds to that. Links that are nothing but a title and a label become text before: half of the tokens.
"""

import re
from collections.abc import Callable, Iterator
from html.entities import name2codepoint
from typing import Any

from mwparserfromhell.definitions import is_visible
from mwparserfromhell.parser import Parser, ParserError, tokens
from mwparserfromhell.parser.builder import Builder
from mwparserfromhell.parser.tokens import Token

LIST_MARKS = {"*", "#", ":", ";"}
HIDDEN_TAGS = {"ref", "table"}
PROSE_ARGUMENT = {  # of templates that show one argument as it stands: which, by position
    **dict.fromkeys(("abbr", "big", "larger", "linktext", "nihongo", "nobr", "nowrap", "small", "smaller"), 1),
    **dict.fromkeys(("lang", "langue", "langx", "resize"), 2),
    **dict.fromkeys(("transl", "transliteration"), -1),
}
MEASURES = {"convert", "cvt"}
RANGE_WORDS = {"-", "–", "and", "by", "or", "to", "x", "×"}  # between two numbers of `{{convert|5|to|10|km}}`
PLAIN_LINK = re.compile(  # shows its label, and neither makes nor could be anything else with what is around it
    r"\[\[(?:(?<=[\s*(\"\u00ab\u201c\u201e]\[\[)|(?<=[^/]\|\[\[))"
    r"(\w[^][{}<>|:'\"&=#/\n]*+)(?:\|(\w[^][{}<>|:'\"&=/\n]*+))?\]\](?!:)"
)
ODD_AROUND_LINKS = re.compile(  # a link where none can be; what shows its content as it stands
    r"\{\{[^][{}|]*+\[\[|\[\[[^][|]*+\[\[|//[^][\s/]*+(?:/(?!/)[^][\s/]*+)*+\[\["
    r"|\{\{\{|<(?:nowiki|pre|source|syntaxhighlight|ce|chem|hiero)\b"
    r"|\{\{[\s_]*+(?:convert|cvt)\b[^][{}]*+(?:\{\{[^][{}]*+\}\}[^][{}]*+)*+\[\[",
    re.IGNORECASE,
)
MANY_NEWLINES = re.compile(r"\n{3,}")


def sections_of(wikitext: str, hides: re.Pattern[str]) -> list[str]:
    """The text of each section, what stands before the first heading first; some may be empty.

    Templates show nothing but those of prose (`prose_of`), a link shows its label, and nothing where its title matches
    `hides`; tables, `<ref>` and comments show nothing. ParserError: mwparserfromhell found no sense in it.
    """
    found = Parser()._tokenizer.tokenize(with_plain_links_as_text(wikitext), 0, False)
    return _Reader(found, hides).sections()


def with_plain_links_as_text(wikitext: str) -> str:
    """Wikitext with the labels of links in place of most `[[title|label]]`, where that changes nothing.

    But for what stands 100 constructs deep: there mwparserfromhell reads no further, and `[[` stays in the text.
    """
    if ODD_AROUND_LINKS.search(wikitext):
        return wikitext
    return PLAIN_LINK.sub(lambda link: link[2] or link[1], wikitext)


def source_of(some: list[Token]) -> str:
    """The wikitext that tokens were made of."""
    if all(type(token) is tokens.Text for token in some):
        return "".join([token["text"] for token in some])
    return str(Builder().build(list(some)))


def prose_of(name: str, shown: list[str], sources: Callable[[], Iterator[str]]) -> str:
    """What a template shows: one of its unnamed arguments, a number with its unit, or nothing."""
    if name in MEASURES:
        return number_and_unit([source.strip() for source in sources()])
    position = argument_of(name)
    if not position or len(shown) < abs(position):
        return ""
    return shown[position - 1 if position > 0 else position]


def argument_of(name: str) -> int:
    """The position of the argument that a template of this name shows, from the end where negative; 0: none."""
    return 1 if name.startswith("lang-") else PROSE_ARGUMENT.get(name, 0)


def number_and_unit(given: list[str]) -> str:
    """`5 to 10 km` of the arguments of `{{convert|5|to|10|km|mi}}`: the number as written, without its conversion."""
    return " ".join(given[:4] if given[1:2] and given[1] in RANGE_WORDS else given[:2])


def joined(parts: list[str]) -> str:
    """The parts without newlines around them, and with one blank line at most between any two lines."""
    text = "".join(parts).strip("\n")
    return MANY_NEWLINES.sub("\n\n", text) if "\n\n\n" in text else text


class _Open:
    """A construct that is not closed yet."""

    __slots__ = ("before", "notes", "start", "token")

    def __init__(self, token: Token, start: int, before: list[str]) -> None:
        self.token = token
        self.start = start  # of its first token, or of its part that is being read
        self.before = before  # the parts of the text around it
        self.notes: Any = None  # what its kind remembers


class _Reader:
    """Goes once over the tokens. `parts` is the text so far of the innermost construct that is open."""

    def __init__(self, found: list[Token], hides: re.Pattern[str]) -> None:
        self.tokens, self.hides = found, hides
        self.parts: list[str] = []
        self.open: list[_Open] = []
        self.done: list[str] = []

    def sections(self) -> list[str]:
        handlers = {kind: getattr(self, name) for kind, name in HANDLERS.items()}
        for at, token in enumerate(self.tokens):
            handlers[type(token)](token, at)
        if self.open:
            raise ParserError(f"{type(self.open[-1].token).__name__} is never closed")
        return [*self.done, joined(self.parts)]

    def text(self, token: Token, at: int) -> None:
        self.parts.append(token["text"].lstrip(" ") if self._after_mark(at) else token["text"])

    def _after_mark(self, at: int) -> bool:
        """Whether the mark of a list item stands before a token: three tokens, the second its tag's name."""
        if at < 3 or type(self.tokens[at - 1]) is not tokens.TagCloseSelfclose:
            return False
        return self.tokens[at - 3].get("wiki_markup") in LIST_MARKS

    def begin(self, token: Token, at: int) -> None:
        self.open.append(_Open(token, at + 1, self.parts))
        self.parts = []

    def begin_heading(self, token: Token, at: int) -> None:
        if not self.open:
            self.done.append(joined(self.parts))
            self.parts = []
        self.begin(token, at)

    def turn(self, token: Token, at: int) -> None:
        """What was read of the construct so far shows nothing."""
        self.parts = []

    def end_hidden(self, token: Token, at: int) -> None:
        self.parts = self.open.pop().before

    def end_shown(self, token: Token, at: int) -> None:
        self._show(self.open.pop(), joined(self.parts))

    def _show(self, construct: _Open, text: str) -> None:
        self.parts = construct.before
        self.parts.append(text)

    # [[ | ]], [ ] and {{{ | }}}

    def link_label(self, token: Token, at: int) -> None:
        self.open[-1].notes = source_of(self.tokens[self.open[-1].start : at])
        self.parts = []

    def end_link(self, token: Token, at: int) -> None:
        link = self.open.pop()
        title = source_of(self.tokens[link.start : at]) if link.notes is None else link.notes
        self._show(link, "" if self.hides.match(title) else joined(self.parts))

    def second_part(self, token: Token, at: int) -> None:
        self.open[-1].notes = True
        self.parts = []

    def end_external_link(self, token: Token, at: int) -> None:
        link = self.open.pop()
        self._show(link, joined(self.parts) if link.notes or not link.token.brackets else "")

    def end_argument(self, token: Token, at: int) -> None:
        argument = self.open.pop()
        self._show(argument, joined(self.parts) if argument.notes else "")

    # {{ | = }}; notes: its name, what its unnamed arguments show, and where these stand

    def next_argument(self, token: Token, at: int) -> None:
        self._end_argument_of_template(at)
        self.open[-1].start = at + 1
        self.parts = []

    def _end_argument_of_template(self, at: int) -> None:
        template = self.open[-1]
        if template.notes is None:
            name = source_of(self.tokens[template.start : at])
            template.notes = (" ".join(name.replace("_", " ").split()).lower(), [], [])
        elif template.start:
            template.notes[1].append(joined(self.parts))
            template.notes[2].append(slice(template.start, at))

    def named_argument(self, token: Token, at: int) -> None:
        self.open[-1].start = 0

    def end_template(self, token: Token, at: int) -> None:
        self._end_argument_of_template(at)
        template = self.open.pop()
        name, shown, places = template.notes
        self._show(template, prose_of(name, shown, lambda: (source_of(self.tokens[place]) for place in places)))

    # <tag> and the wikitext that stands for tags; notes: its name

    def tag_body(self, token: Token, at: int) -> None:
        tag = self.open[-1]
        tag.notes = self.tokens[tag.start]["text"]
        self.parts = []

    def tag_end(self, token: Token, at: int) -> None:
        tag = self.open[-1]
        visible = is_visible(tag.notes) and tag.notes.strip().lower() not in HIDDEN_TAGS
        tag.before.append(joined(self.parts) if visible else "")
        self.parts = []

    # &

    def end_entity(self, token: Token, at: int) -> None:
        value, kind = self.tokens[at - 1]["text"], type(self.tokens[at - 2])
        if kind is tokens.HTMLEntityStart:
            code = name2codepoint[value]
        else:
            code = int(value, 16 if kind is tokens.HTMLEntityHex else 10)
        self._show(self.open.pop(), chr(code))

    def nothing(self, token: Token, at: int) -> None:
        pass


HANDLERS = {
    tokens.Text: "text",
    tokens.TemplateOpen: "begin",
    tokens.TemplateParamSeparator: "next_argument",
    tokens.TemplateParamEquals: "named_argument",
    tokens.TemplateClose: "end_template",
    tokens.ArgumentOpen: "begin",
    tokens.ArgumentSeparator: "second_part",
    tokens.ArgumentClose: "end_argument",
    tokens.WikilinkOpen: "begin",
    tokens.WikilinkSeparator: "link_label",
    tokens.WikilinkClose: "end_link",
    tokens.ExternalLinkOpen: "begin",
    tokens.ExternalLinkSeparator: "second_part",
    tokens.ExternalLinkClose: "end_external_link",
    tokens.HTMLEntityStart: "begin",
    tokens.HTMLEntityNumeric: "nothing",
    tokens.HTMLEntityHex: "nothing",
    tokens.HTMLEntityEnd: "end_entity",
    tokens.HeadingStart: "begin_heading",
    tokens.HeadingEnd: "end_shown",
    tokens.CommentStart: "begin",
    tokens.CommentEnd: "end_hidden",
    tokens.TagOpenOpen: "begin",
    tokens.TagAttrStart: "nothing",
    tokens.TagAttrEquals: "nothing",
    tokens.TagAttrQuote: "nothing",
    tokens.TagCloseOpen: "tag_body",
    tokens.TagCloseSelfclose: "end_hidden",
    tokens.TagOpenClose: "tag_end",
    tokens.TagCloseClose: "end_hidden",
}
