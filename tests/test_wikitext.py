"""The text that is taken from tokens is what mwparserfromhell's own `strip_code` makes of its tree of nodes."""

import mwparserfromhell
import pytest
from conftest import SHARED, needs_shared, raw_file
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mwparserfromhell.nodes import Node, Tag, Template, Text, Wikilink
from mwparserfromhell.wikicode import Wikicode

from redpajama.extract import wikitext
from redpajama.extract.wiki_characters import NOTHING
from redpajama.extract.wiki_links import is_hidden
from redpajama.extract.wiki_template_names import FUNCTIONS, shown_by
from redpajama.extract.wiki_templates import Call, prose_of
from redpajama.pipelines import wikipedia
from redpajama.records import Tally

DUMPS = SHARED / "wikipedia"
HIDDEN = wikipedia.prefixes_to_hide(wikipedia.wiki_of(b"", "enwiki", wikipedia.Options()))


# ---- the same by nodes


class Prose(Node):
    """Stands for a template or a link, and shows as this text."""

    def __init__(self, text):
        self.text = text

    def __str__(self):
        return self.text

    def __strip__(self, **kwargs):
        return self.text


def sections_by_tokens(source: str, hidden, language: str) -> list[str]:
    return [text.replace(NOTHING, "") for text in wikitext.raw_sections_of(source, hidden, language)]


def sections_by_nodes(source: str, hidden, language: str) -> list[str]:
    code = mwparserfromhell.parse(source, skip_style_tags=True)
    prepare(code, hidden, language)
    sections = code.get_sections(flat=True, include_lead=True, include_headings=True)
    return [section.strip_code().replace(NOTHING, "") for section in sections]


def prepare(code: Wikicode, hidden, language: str) -> None:
    """Empty the nodes that are no part of the text, and let templates of prose show it."""
    nodes, after_mark = code.nodes, False
    for index, node in enumerate(nodes):
        if after_mark and isinstance(node, Text):
            node.value = node.value.lstrip(" ")
        after_mark = isinstance(node, Tag) and node.wiki_markup in wikitext.LIST_MARKS
        if isinstance(node, Wikilink) and is_hidden(str(node.title), hidden):
            nodes[index] = Prose("")
        elif isinstance(node, Tag) and str(node.tag).strip().lower() in wikitext.HIDDEN_TAGS:
            node.contents = ""
        elif not isinstance(node, Text):
            named = isinstance(node, Template) and (str(node.name), node)
            for child in node.__children__():
                prepare(child, hidden, language)
            if named:
                nodes[index] = Prose(shown_of(*named, language))
            elif isinstance(node, Wikilink) and node.text is None:
                nodes[index] = Prose(node.title.strip_code().lstrip().lstrip(":"))


def shown_of(written: str, template: Template, language: str) -> str:
    """What a template shows whose parts are prepared."""
    name, arguments = " ".join(written.replace("_", " ").split()), {}
    shown = shown_by(name.lower(), language)
    if shown is None and name.partition(":")[0].lower() in FUNCTIONS and not name.startswith(":"):
        shown = FUNCTIONS[name.partition(":")[0].lower()]
        arguments["1"] = template.name.strip_code().partition(":")[2] if ":" in name else None
    if shown is None or None in arguments.values():
        return ""
    count = len(arguments)
    for parameter in template.params:
        count += not parameter.showkey
        key = parameter.name.strip_code().strip().lower() if parameter.showkey else str(count)
        arguments[key] = parameter.value.strip_code()
    return prose_of(shown, Call(name, arguments, language))


# ---- generated wikitext

WORDS = st.sampled_from(["a", "Foo", "bar baz", " ", "\n", "\n\n\n", "–", "é", "1", "http", "x=y", "(", '"', "."])
ODD = """{{ }} {{{ }}} [[ ]] [ ] {| |} |- | || ! = == '' ''' ''''' <b> </b> <ref> </ref> < > <br> <br/> </br> <li>
    & ; : * # <!-- --> <nowiki> </nowiki> <math> &nbsp; &#38; &#xe9; &bad; // http://a.b ---- - / :// __TOC__ <i
    [http://a.b {{lang|fr| {{convert| [[File: \x22""".split()  # noqa: SIM905
LINES = ["\n{|", "\n|-\n", "\n|}", "\n* ", "\n;", "\n== ", " ==\n", "<i a='b'>"]
LINKS = st.sampled_from(["[[Foo]]", "[[Foo|bar]]"])


def wrapped(inner):
    return st.one_of(
        inner.map("[[{}]]".format),
        st.tuples(inner, inner).map(lambda pair: f"[[{pair[0]}|{pair[1]}]]"),
        st.tuples(st.sampled_from(["File:a.jpg|thumb", "Category:B", "de", "fr:X"]), inner).map(
            "[[{0[0]}|{0[1]}]]".format
        ),
        st.tuples(
            st.sampled_from(
                ["cite", "lang|fr", "nowrap", "convert|5", "a|b=c", "{{x}}", "quote|text=", "sic|1=a", "lc:B"]
            ),
            inner,
        ).map("{{{{{0[0]}|{0[1]}}}}}".format),
        inner.map("{{{{{{{}}}}}}}".format),
        inner.map("[http://a.b {}]".format),
        inner.map("''{}''".format),
        inner.map("'''{}'''".format),
        inner.map("\n== {} ==\n".format),
        inner.map("\n* {}\n".format),
        inner.map("\n; {} : b\n".format),
        inner.map("\n{{|\n|-\n| {} || b\n|}}\n".format),
        inner.map("<ref>{}</ref>".format),
        inner.map("<b>{}</b>".format),
        inner.map("<nowiki>{}</nowiki>".format),
        inner.map("<!-- {} -->".format),
        st.lists(inner, min_size=2, max_size=4).map("".join),
    )


NESTED = st.recursive(st.one_of(WORDS, LINKS, st.sampled_from(["&amp;", "{{x}}"])), wrapped, max_leaves=12)
MESSY = st.lists(st.one_of(WORDS, LINKS, st.sampled_from(ODD + LINES)), max_size=14).map("".join)


@settings(max_examples=300, deadline=None)
@given(source=st.one_of(NESTED, MESSY))
@example(source="{{convert|{{x}}|[[mi]]}} {{lang|fr|[[a|b=c]]}} {{x [[Foo]]}}")
@example(source="* [[Foo]] a\n*  {{nowrap| b}}\n; [[Foo]]: c\n[[ [[Foo]] ]] [http://a|[[Foo]] b]")
@example(source="{{{[http://a.b [[Foo|bar]]}}}")
def test_text_of_tokens_is_text_of_nodes(source):
    source = wikitext.resolved(source, "en")
    assert sections_by_tokens(source, HIDDEN, "en") == sections_by_nodes(source, HIDDEN, "en")


# ---- real pages

DEEP = {"Livonejis ordyna magistris"}  # its table's cells never close: 100 inside one another, then links stay links
FEW = [
    *sorted(DUMPS.glob("minidumps/*/wiki.xml.bz2")),
    *sorted(DUMPS.glob("json-wikipedia/*/*.xml*")),
    *sorted(DUMPS.glob("wikidump/*.xml*")),
    *sorted(DUMPS.glob("gensim/*table*")),
    *sorted(DUMPS.glob("gensim/bg*")),
    *sorted(DUMPS.glob("pignlproc/*")),
    *sorted(DUMPS.glob("aawiki*/*.xml.bz2")),
]
MANY = [*sorted(DUMPS.glob("dumpster-dive/*")), *sorted(DUMPS.glob("gensim/enwiki-latest*"))]


@needs_shared
@pytest.mark.parametrize(
    "paths",
    [pytest.param(FEW, id="few"), *(pytest.param([path], marks=pytest.mark.slow, id=path.name) for path in MANY)],
)
def test_text_of_real_pages_is_that_of_nodes(paths, monkeypatch):
    pages = []
    monkeypatch.setattr(wikipedia, "to_text", lambda source, wiki: pages.append((source, wiki)) or "x")
    titles = [document.meta["title"] for path in paths for document in articles(path)]
    assert len(pages) == len(titles) > 90
    for title, (source, wiki) in zip(titles, pages, strict=True):
        if title not in DEEP:
            given = wikitext.resolved(source, wiki.language), wikipedia.prefixes_to_hide(wiki), wiki.language
            assert sections_by_tokens(*given) == sections_by_nodes(*given), title


def articles(path):
    return wikipedia.read([raw_file(path)], wikipedia.Options(keep_disambiguation=True), "src", Tally())


def test_odd_markup_costs_time_in_proportion_to_its_length():
    for unit in ("//", "a//b", "[[a", "{{a", "[[Foo]] ", "[[Foo|"):
        wikitext.with_plain_links_as_text(unit * 200_000)
