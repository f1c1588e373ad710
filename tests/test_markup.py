import pytest
from lxml import etree

from redpajama.raw import xml
from redpajama.raw.xml import Kind
from redpajama.records import Reason

OPENING, CLOSING = rb"<page[\s>]", rb"</page\s*>"


def pieces(*chunks: bytes | None) -> list[tuple[Kind, int, bytes]]:
    return [tuple(piece) for piece in xml.records(chunks, OPENING, CLOSING)]


def transcoded(*chunks: bytes | None) -> bytes:
    return b"".join(b"|" if chunk is None else chunk for chunk in xml.in_utf8(chunks))


def test_records_are_cut_out_of_their_document():
    assert pieces(b"<wiki><head/>\n<page>one</page>\n <page id='2'>two</page >\n</wiki>\n") == [
        (Kind.HEAD, 0, b"<wiki><head/>\n"),
        (Kind.RECORD, 14, b"<page>one</page>"),
        (Kind.RECORD, 32, b"<page id='2'>two</page >"),
    ]


@pytest.mark.parametrize("size", [1, 2, 5, 7, 64])
def test_chunks_may_break_anywhere(size):
    data = b"<wiki><pages/>" + b"<page>text</page>\n" * 9 + b"<pagf>x</page><page>no end <page>y</page></wiki>"
    assert pieces(*(data[at : at + size] for at in range(0, len(data), size))) == pieces(data)


def test_a_record_without_its_end_costs_itself_alone():
    assert pieces(b"<page>a<page>b</page>oops<page>c</page></wiki>")[1:] == [
        (Kind.STRAY, 0, b"<page>a"),
        (Kind.RECORD, 7, b"<page>b</page>"),
        (Kind.STRAY, 21, b"oops"),
        (Kind.RECORD, 25, b"<page>c</page>"),
    ]


def test_a_gap_cuts_the_record_before_and_the_record_after():
    assert pieces(b"<page>a</page><page>b", None, b"c</page><page>d</page></wiki>")[1:] == [
        (Kind.RECORD, 0, b"<page>a</page>"),
        (Kind.CUT, 14, b"<page>b"),
        (Kind.CUT, 21, b"c</page>"),
        (Kind.RECORD, 29, b"<page>d</page>"),
    ]


def test_a_document_without_its_closing_tag_is_cut_off():
    assert pieces(b"<page>a</page>")[1:] == [(Kind.RECORD, 0, b"<page>a</page>"), (Kind.CUT, 14, b"")]
    assert pieces(b"<page>a</page>", None)[1:] == [(Kind.RECORD, 0, b"<page>a</page>")]  # the gap is on record


def test_a_record_over_the_limit_is_passed_over_in_bounded_memory(monkeypatch):
    monkeypatch.setattr(xml, "MAX_RECORD_BYTES", 3 << 20)
    chunks = [b"<page>", *[b"x" * (1 << 20)] * 9, b"</page><page>small</page></wiki>"]
    _, large, small = pieces(*chunks)
    assert large == (Kind.TOO_LARGE, 0, b"<page>" + b"x" * (64 * 1024 - 6))
    assert small == (Kind.RECORD, 6 + (9 << 20) + 7, b"<page>small</page>")


def test_an_empty_stream_has_an_empty_head():
    assert pieces() == [(Kind.HEAD, 0, b"")]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("<a>é</a>".encode(), "<a>é</a>"),
        ("\ufeff<a>é</a>".encode(), "\ufeff<a>é</a>"),
        ("\ufeff<a>é𝒳</a>".encode("utf-16-le"), "\ufeff<a>é𝒳</a>"),
        ("\ufeff<a>é𝒳</a>".encode("utf-16-be"), "\ufeff<a>é𝒳</a>"),
        ("<a>é𝒳</a>".encode("utf-16-le"), "<a>é𝒳</a>"),
        ('<?xml version="1.0" encoding="ISO-8859-1"?><a>é</a>'.encode("latin-1"), None),
        ("<?xml version='1.0' encoding='windows-1251'?><a>Привет</a>".encode("cp1251"), None),
        ('<?xml version="1.0" encoding="utf-16"?><a>é</a>'.encode(), None),  # a slip of its writer
        ('<?xml version="1.0" encoding="zlib"?><a>é</a>'.encode(), None),  # not a text encoding
    ],
    ids=["utf-8", "mark", "utf-16-le", "utf-16-be", "no-mark", "latin-1", "cp1251", "false", "hostile"],
)
def test_the_encoding_is_that_of_the_mark_or_the_declaration(data, text):
    if text is None:
        declared = xml.declared_encoding(data) or "utf-8"
        text = data.decode(declared)
    for size in (1, 3, 1000):
        assert transcoded(*(data[at : at + size] for at in range(0, len(data), size))).decode() == text


def test_half_of_a_pair_in_utf_16_goes_alone():
    data = "\ufeff<page>good</page><page>bad\ud800</page></wiki>".encode("utf-16-le", "surrogatepass")
    good, bad = list(xml.records(xml.in_utf8([data]), OPENING, CLOSING))[1:]
    assert xml.parse(good.data).text == "good"
    assert (xml.parse(bad.data).text, xml.parse_mended(bad.data)[1]) == ("bad", 1)


def test_half_a_character_before_a_gap_stays_invalid():
    assert transcoded("\ufeffab".encode("utf-16-le")[:-1], None, "c".encode("utf-16-le")) == (
        "\ufeffa".encode() + b"\xff|c"
    )


def test_no_entity_is_expanded_and_nothing_is_fetched():
    assert xml.parse(b"<page>&lol;</page>") is Reason.INVALID_XML
    bomb = b'<!DOCTYPE p [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><p>&b;</p>'
    element = xml.parse(bomb)
    assert isinstance(element, Reason) or etree.tostring(element) == b"<p>&b;</p>"
    local = b'<!DOCTYPE p SYSTEM "file:///etc/passwd" [<!ENTITY x SYSTEM "file:///etc/passwd">]><p>&x;</p>'
    assert "root:" not in str(etree.tostring(xml.parse(local)))
