"""The short way through a post's HTML gives what a parser gives."""

from itertools import islice

import pytest
from conftest import SHARED, needs_shared
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from redpajama.extract.plain import clean
from redpajama.extract.posthtml import CELLS, INLINE, LINES, any_to_text, html_to_text, is_plain, simple_to_text

DUMPS = sorted((SHARED / "stackexchange").glob("*/Posts.xml"))


def bodies(path):
    for _, row in etree.iterparse(str(path), tag="row"):
        yield row.get("Body", "")
        row.clear()


@needs_shared
@pytest.mark.parametrize("path", DUMPS, ids=lambda path: path.parent.name)
def test_every_post_of_a_real_dump_reads_as_libxml2_reads_it(path):
    posts = list(islice(bodies(path), 800))
    assert [html_to_text(post) for post in posts] == [any_to_text(post) for post in posts]
    assert sum(is_plain(post) and simple_to_text(post) is not None for post in posts) > 0.95 * len(posts)


WORDS = st.sampled_from(
    ["a", "b &amp; c", "&lt;i&gt;", " ", "  ", "\n", "x\ny", " z", "&nbsp;", "é", "\u2003", "1\t2", ""]
)


def element(inner):
    inline = st.sampled_from(["b", "em", "code", 'a href="u"', "kbd"])
    block = st.sampled_from(["p", "blockquote", "ul", "ol", "li", "pre", "h1", "div"])
    void = st.sampled_from(["<br>", "<br />", "<hr>", "<img src='x'>"])
    made = st.tuples(st.one_of(inline, block), inner).map(lambda pair: f"<{pair[0]}>{pair[1]}</{pair[0].split()[0]}>")
    return st.lists(st.one_of(made, void, WORDS), max_size=4).map("".join)


@settings(max_examples=1000, deadline=None)
@given(st.recursive(WORDS, element, max_leaves=25))
def test_nested_elements_read_as_libxml2_reads_them_but_for_spaces_that_it_loses(body):
    found, wanted = html_to_text(body), any_to_text(body)
    assert "".join(found.split()) == "".join(wanted.split())
    if not any(f"{mark}{space}" in body for mark in (">", "/>") for space in " \u2003\t\n") and "&nbsp;" not in body:
        assert found == wanted


NAMES = [*INLINE, *sorted(LINES), *sorted(CELLS)]


@pytest.mark.parametrize("outer", NAMES)
def test_any_element_in_any_other_reads_as_libxml2_reads_it(outer):
    for inner in NAMES:
        for end in ("c", "<b>c</b>"):
            body = f"<div>q<{outer}>w<{inner}>a</{inner}>b</{outer}>{end}</div>d"
            assert html_to_text(body) == clean(any_to_text(body)), body


@pytest.mark.parametrize(
    "body",
    [
        "<p>a<p>b",
        "<p>a</b></p>",
        "a < b > c",
        "<p title='>'>a</p>",
        "<!-- c -->a",
        "a &plus; b",
        "a & b",
        "<p><ul><li>a</li></ul></p>",
        "<script>x</script>y",
        "<P>A</P>",
        "a\r\nb",
        "<pre><p>a</p></pre>",
        "<x>a</x>",
        "</p>",
        "<p",
    ],
)
def test_what_is_not_simple_goes_to_the_parser(body):
    assert not is_plain(body) or simple_to_text(body) is None
    assert html_to_text(body) == any_to_text(body)
