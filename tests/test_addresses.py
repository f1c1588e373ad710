"""One address, however it is written."""

import json

import pyarrow as pa
import pytest

from redpajama.corpus.addresses import address_of, mentioned

STORED = "https://xn--bcher-kva.example/a%20b/%E4%B8%AD?q=%C3%A9"


@pytest.mark.parametrize(
    "written",
    [
        STORED,
        "https://bücher.example/a b/中?q=é",
        "HTTPS://BÜCHER.example:443/a%20b/%e4%b8%ad?q=é#top",
        "bücher.example/a b/中?q=é",
        "xn--bcher-kva.example/a b/中/?q=é",
    ],
)
def test_a_url_is_found_as_a_browser_shows_it(written):
    address = address_of(written)
    assert address.is_of(STORED)
    for other in (STORED.replace("https", "ftp"), STORED.replace("bcher", "bher"), STORED + "e", STORED[:-9]):
        assert not address_of("https://bücher.example/a b/中?q=é").is_of(other)


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("http://example.org", "http://example.org/"),
        ("http://example.org/a/", "http://example.org/a"),
        ("example.org", "http://EXAMPLE.org:80/#x"),
        ("http://example.org:8080/a", "http://example.org:8080/a"),
    ],
)
def test_a_slash_at_the_end_a_port_and_a_fragment_make_no_difference(written, stored):
    assert address_of(written).is_of(stored)
    assert address_of(stored).is_of(stored)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/caf%E9", "/caf%E8"),  # Latin-1
        ("/%EF%F0%E8", "/%EF%F0%E9"),  # windows-1251
        ("/a%2Fb", "/a/b"),
        ("/?q=a%26b", "/?q=a&b"),
        ("/?q=a%2Bb", "/?q=a+b"),
        ("/?a%3Db", "/?a=b"),
        ("/a%3Fb", "/a?b"),
        ("/a%2541", "/a%41"),
    ],
)
def test_what_would_be_another_address_is_not_the_same(one, other):
    assert not address_of(f"http://example.org{one}").is_of(f"http://example.org{other}")
    assert address_of(f"http://example.org{one.lower()}").is_of(f"http://example.org{one}")


@pytest.mark.parametrize(
    "text", ["", "Just words.", "src/record-1", "a b.example/x", "http://[::1", "mailto:a@b.org", "..."]
)
def test_other_texts_are_no_addresses(text):
    assert address_of(text) is None


def test_records_that_name_an_address_are_told_from_those_that_name_its_host():
    urls = [STORED, "https://bücher.example/", None, "https://BÜCHER.example/a b/中/?q=é", 7]
    records = pa.array([json.dumps({"url": url, "title": "bücher.example"}, ensure_ascii=False) for url in urls])
    assert mentioned(records, address_of("bücher.example/a b/中?q=é")).to_pylist() == [True, False, False, True, False]
    assert mentioned(records.slice(0, 0), address_of(STORED)).to_pylist() == []
