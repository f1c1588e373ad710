"""Pages of the web: the characters, the title, and the main content."""

from types import SimpleNamespace

from hypothesis import example, given
from hypothesis import strategies as st

from redpajama.extract import html
from redpajama.extract.plain import NO_TEXT, clean, plain_text

PROSE = "<p>Paper was made of rags, and rags were hard to come by in a year of war.</p>" * 3
MENU = "<nav><ul><li><a href='/'>Home</a></li><li><a href='/about'>About us</a></li></ul></nav>"


def test_title_and_text_are_what_a_reader_sees():
    page = f"<title>Rags\n and paper</title><body>{MENU}<main>{PROSE}</main>"
    title, text = html.title_and_text(page, main_content=True)
    assert (title, text.count("Paper was made of rags"), "About us" in text) == ("Rags and paper", 3, False)
    assert "About us" in html.title_and_text(page, main_content=False)[1]


def test_preformatted_text_keeps_its_indentation_and_its_breaks():
    code = "<pre>\n\ndef f(x):\n    if x:\n\t<b>  return</b> 1<br>    else  \n</pre>"
    page = f"<body><main>{PROSE}{code}<ul><li>item<pre>  a\n    b</pre></ul>{PROSE}</main>"
    for main_content in (True, False):
        text = html.title_and_text(page, main_content)[1]
        assert "\n\ndef f(x):\n    if x:\n\t  return 1\n    else\n• item\n  a\n    b\n\nPaper" in text


def test_what_is_no_character_of_a_text_goes():
    title, text = html.title_and_text(
        "<title>a\x01b\ufeff</title><p>c&#1;\ufdd0\x85d&#xFFFF;\ufeffe&#xFDD1;</p>", False
    )
    assert (title, text) == ("ab", "cde")
    assert plain_text("\ufeffa\x00b\x0cc \r\n  d\t\n") == "ab\nc\n  d"


def test_of_links_that_hold_one_another_only_as_many_are_read_as_it_takes():
    """A page of links that never end: the text of each is the rest of the page."""

    class Link:
        read = 0

        @property
        def text(self) -> str:
            Link.read += 1
            return "x" * 900

    links = SimpleNamespace(text="x" * 1000, query_selector_all=lambda _: [Link() for _ in range(1500)])
    assert not html.is_prose(links)
    assert Link.read == 1


@given(st.text(st.characters(max_codepoint=127)))
@example("".join(map(chr, range(128))))
def test_text_in_ascii_loses_what_any_text_loses(text):
    assert clean(text) == NO_TEXT.sub("", text)
