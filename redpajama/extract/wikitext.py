"""Wikitext -> the text that it shows, section by section.

First what MediaWiki resolves before it looks at templates: comments and tags (`wiki_tags`), variants of the language
(`wiki_variants`), references to characters (`wiki_characters`). Then mwparserfromhell, which does three steps: its
tokenizer in C, which knows wikitext; a tree of nodes built of the tokens; `strip_code` over the tree. The tree costs
five times what the tokens cost. So the text is taken from the tokens here, as `strip_code` would from their nodes: what
opens a construct lays the text before it aside, what closes it says what the construct adds to that. Links that are
nothing but a title and a label become text before: half of the tokens. Last, line by line, marks of bold and italic.
"""

import re
from typing import Any

from mwparserfromhell.definitions import is_visible
from mwparserfromhell.parser import Parser, ParserError, tokens
from mwparserfromhell.parser.builder import Builder
from mwparserfromhell.parser.tokens import Token

from redpajama.extract.wiki_characters import NOTHING, shielded, unshielded, with_references_resolved, without_controls
from redpajama.extract.wiki_links import is_hidden
from redpajama.extract.wiki_quotes import without_quotes
from redpajama.extract.wiki_tags import without_tags
from redpajama.extract.wiki_template_names import FUNCTIONS, shown_by
from redpajama.extract.wiki_templates import Call, Shown, prose_of
from redpajama.extract.wiki_variants import in_main_variant

LIST_MARKS = {"*", "#", ":", ";"}
HIDDEN_TAGS = {"table"}
PLAIN_LINK = re.compile(  # shows its label, and neither makes nor could be anything else with what is around it
    r"\[\[(?:(?<=[\s*(\"\u00ab\u201c\u201e']\[\[)|(?<=[^/]\|\[\[))"
    r"(\w[^][{}<>|:\"=#/\n]*+)(?:\|([\w'][^][{}<>|:\"=/\n]*+))?\]\](?!:)"
)
ODD_AROUND_LINKS = re.compile(  # a link where none can be
    r"\{\{[^][{}|]*+\[\[|\[\[[^][|]*+\[\[|//[^][\s/]*+(?:/(?!/)[^][\s/]*+)*+\[\[|\{\{\{"
)
TABLE_MARKS = {"{{(!}}": "{|", "{{!)}}": "|}", "{{!-}}": "|-", "{{!!}}": "||"}  # templates that stand for them
INDENTED_TABLE = re.compile(r"^[ \t:]++(?=\{\||\|\}(?!\}))", re.MULTILINE)
PLAIN_TABLE = re.compile(  # with nothing inside that could end elsewhere
    r"\{\|(?<![^\n]\{\|)(?:[^{|]++|\{\{[^{}]*+\}\}|\{(?![{|])|\|(?!\}))*+(?<=\n)\|\}(?!\})"
)
PLAIN_TEMPLATE = re.compile(r"\{\{(?<!\{\{\{)([^][{}|<>#:]*+)(?:\|[^][{}<>]*+)?\}\}(?!\})")
TEMPLATE_PREFIX = re.compile(  # the namespace on several wikis; https://www.mediawiki.org/wiki/Help:Substitution
    r"(?:(?:safesubst|subst|msgnw|msg|template|vorlage|modèle|plantilla|predefinição|szablon|sjabloon|mall|šablona"
    r"|šablon|sablon|format|skabelon|predložak|predloga|шаблон|malline|mal|şablon|模板|樣板|テンプレート|틀|قالب"
    r"|תבנית) ?: ?)+",
    re.IGNORECASE,
)
MANY_EQUALS = re.compile(r"=(?<![^\n]=)(?:[^=\n]*+=){200,}+.*+")  # for each the tokenizer goes a call deeper
PAGE_NAME = re.compile(  # on several wikis; https://www.mediawiki.org/wiki/Help:Magic_words#Page_names
    r"\{\{\s*+(?:(?:FULL|BASE|SUB)?PAGENAME|SEITENNAME|NOMPAGE|NOMBREDEPAGINA|NOMEPAGINA|NOMEDAPAGINA|NAZWASTRONY"
    r"|NAZEVSTRANKY|NÁZEVSTRANY|PAGINANAAM|SIDNAMN|SIDENAVN|LAPNÉV|NUMEPAGINĂ|(?:ИМЯ|НАЗВАНИЕ)СТРАНИЦЫ|НАЗВАСТОРІНКИ"
    r"|ИМЕСТРАНИЦА|ИМЕНАСТРАНИЦАТА)\s*+\}\}"
)
MAGIC_WORD = re.compile(r"__[^\W\d_]++(?:_[^\W\d_]++)*+__")
MANY_NEWLINES = re.compile(r"\n{3,}")


def sections_of(wikitext: str, hidden: frozenset[str], language: str) -> list[str]:
    """The text of each section, what stands before the first heading first; some may be empty.

    `wikitext` is `resolved`. Templates show nothing but those of prose on the wiki of this language, a link shows its
    label, and nothing where its prefix is in `hidden`; tables show nothing. ParserError: mwparserfromhell found no
    sense in it.
    """
    return [shown(text) for text in raw_sections_of(wikitext, hidden, language)]


def resolved(source: str, language: str) -> str:
    """Wikitext without what goes before templates are looked at: comments, tags, variants, references, controls; and
    without most tables and templates that show nothing, which are two thirds of the tokens of what is left.
    """
    text = in_main_variant(without_tags(without_controls(source)), language)
    text = MANY_EQUALS.sub(lambda line: shielded(line[0]), with_references_resolved(text))
    return without_plain_templates(without_plain_tables(text) if "{|" in text or "{{(!}}" in text else text, language)


def with_title(source: str, title: str) -> str:
    """Wikitext with the page's title in place of `{{PAGENAME}}`."""
    return PAGE_NAME.sub(lambda name: title, source) if "{{" in source else source


def without_plain_tables(text: str) -> str:
    """Wikitext without most of its tables, and the rest of them at the beginning of their lines."""
    if "{{(!}}" in text:
        for template, mark in TABLE_MARKS.items():
            text = text.replace(template, mark)
    return PLAIN_TABLE.sub("", INDENTED_TABLE.sub("", text))


def without_plain_templates(text: str, language: str) -> str:
    """Wikitext without most templates that show nothing, from the inside out."""

    def shown_of(template: re.Match[str]) -> str:
        if shown_by(template_name(template[1]).lower(), language) is not None:
            return template[0]
        return NOTHING if text[template.start() - 1 : template.start()] == "'" else ""

    for _ in range(2):
        text = PLAIN_TEMPLATE.sub(shown_of, text)
    return text


def template_name(written: str) -> str:
    """The name of a template without what does not count in it: spaces, the name of its namespace, modifiers."""
    name = " ".join(written.replace("_", " ").split())
    return TEMPLATE_PREFIX.sub("", name) if ":" in name else name


def raw_sections_of(wikitext: str, hidden: frozenset[str], language: str) -> list[str]:
    """`sections_of` with marks of bold and italic, and with characters shielded."""
    found = Parser()._tokenizer.tokenize(with_plain_links_as_text(wikitext), 0, True)
    return _Reader(found, hidden, language).sections()


def shown(text: str) -> str:
    """Text as it is shown: without marks of bold and italic, magic words, spaces at the end of a line, and more than
    one blank line.
    """
    text = without_quotes(without_open_tables(text) if "{|" in text else text)
    if "__" in text:
        text = MAGIC_WORD.sub(lambda word: "" if word[0].isupper() else word[0], text)
    text = unshielded(text)
    if " \n" in text or "\t\n" in text:
        text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    return MANY_NEWLINES.sub("\n\n", text).strip()


def without_open_tables(text: str) -> str:
    """Text without the marked lines of tables that never close, which mwparserfromhell takes for text.

    MediaWiki ends such a table with the page; other lines of it are as likely prose, so they stay.
    """
    lines = text.split("\n")
    first = next((at for at, line in enumerate(lines) if line.startswith("{|")), len(lines))
    return "\n".join([*lines[:first], *(line for line in lines[first:] if not line.startswith(("{|", "|", "!")))])


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


class _Template:
    """A template of prose: how it shows, and its arguments so far."""

    __slots__ = ("arguments", "count", "key", "name", "shown")

    def __init__(self, shown: Shown, name: str) -> None:
        self.shown, self.name = shown, name
        self.arguments: dict[str, str] = {}
        self.count = 0  # of arguments without a name
        self.key: str | None = None  # of the argument that is being read; None: it has none

    def take(self, parts: list[str]) -> None:
        """An argument has ended."""
        if self.key is None:
            self.count += 1
        self.arguments[str(self.count) if self.key is None else self.key] = joined(parts)
        self.key = None

    def prose(self, language: str) -> str:
        return prose_of(self.shown, Call(self.name, self.arguments, language))


class _Reader:
    """Goes once over the tokens. `parts` is the text so far of the innermost construct that is open."""

    def __init__(self, found: list[Token], hidden: frozenset[str], language: str) -> None:
        self.tokens, self.hidden, self.language = found, hidden, language
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
        text = joined(self.parts)
        self._show(link, "" if is_hidden(title, self.hidden) else text if link.notes else text.lstrip().lstrip(":"))

    def second_part(self, token: Token, at: int) -> None:
        self.open[-1].notes = True
        self.parts = []

    def end_external_link(self, token: Token, at: int) -> None:
        link = self.open.pop()
        self._show(link, joined(self.parts) if link.notes or not link.token.brackets else "")

    def end_argument(self, token: Token, at: int) -> None:
        argument = self.open.pop()
        self._show(argument, joined(self.parts) if argument.notes else "")

    # {{ | = }}; notes: how it shows, and its name and arguments; None: not at all

    def next_argument(self, token: Token, at: int) -> None:
        template = self.open[-1]
        if template.start:
            self._name_template(template, at)
        elif template.notes:
            template.notes.take(self.parts)
        self.parts = []

    def _name_template(self, template: _Open, at: int) -> None:
        written = source_of(self.tokens[template.start : at])
        name = template_name(written)
        template.start = 0
        found = shown_by(name.lower(), self.language)
        if found is not None:
            template.notes = _Template(found, name)
        elif (colon := name.find(":")) > 0 and name[:colon].lower() in FUNCTIONS:
            template.notes = _Template(FUNCTIONS[name[:colon].lower()], name)
            template.notes.take([joined(self.parts).partition(":")[2]])

    def named_argument(self, token: Token, at: int) -> None:
        if self.open[-1].notes:
            self.open[-1].notes.key = joined(self.parts).strip().lower()
        self.parts = []

    def end_template(self, token: Token, at: int) -> None:
        self.next_argument(token, at)
        template = self.open.pop()
        text = template.notes.prose(self.language) if template.notes else ""
        if not text and template.before and template.before[-1].endswith("'"):
            text = NOTHING  # apostrophes on both sides of a template are no mark together
        self._show(template, text)

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
