"""Bodies without their codings: declared or not, once or twice, rightly or falsely."""

import gzip
import zlib
from contextlib import suppress

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from redpajama.raw.bodies import decode_body, is_chunked, unchunk
from redpajama.raw.whole import Unreadable

PAGE = ("<!doctype html><p>Paper was made of rags, and Žižkov had none: " + " ".join(map(str, range(300)))).encode()
PLAIN = "Žižkov. ".encode() * 50


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACK = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "raw deflate": raw_deflate,
    "br": brotli.compress,
    "zstd": zstandard.compress,
    "two members": lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:]),
    "two frames": lambda data: zstandard.compress(data[:50]) + zstandard.compress(data[50:]),
    "nothing": bytes,
}


def decoded(body: bytes, content: str = "", transfer: str = "", may_be_cut: bool = False) -> bytes:
    return decode_body({"content-encoding": content, "transfer-encoding": transfer}, body, may_be_cut)


@pytest.mark.parametrize("page", [PAGE, PLAIN])
@pytest.mark.parametrize("declared", ["gzip", "x-gzip", "deflate", "br", "zstd", "GZIP;q=1", "identity, gzip", "sdch"])
@pytest.mark.parametrize("packed", PACK)
def test_what_a_body_is_packed_with_counts_more_than_what_its_header_says(packed, declared, page):
    assert decoded(PACK[packed](page), declared) == page


@pytest.mark.parametrize("declared", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize(
    ("text", "charset"), [("纸是用破布做的，", "gbk"), ("紙はぼろ布から", "cp932"), ("бумага ", "koi8-r")]
)
def test_text_without_ascii_is_text_whatever_coding_is_declared(text, charset, declared):
    page = (text * 99).encode(charset)
    assert decoded(page, declared) == page


@pytest.mark.parametrize("packed", ["gzip", "zlib", "br", "zstd"])
def test_a_coding_that_nobody_declared_is_undone(packed):
    assert decoded(PACK[packed](PAGE)) == PAGE
    assert decoded(PACK[packed](PACK["gzip"](PAGE))) == PAGE
    assert decoded(PACK["gzip"](PACK[packed](PAGE)), "gzip") == PAGE


def chunked(data: bytes, size: int = 300, end: bytes = b"\r\n", extension: bytes = b"", trailer: bytes = b"") -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    body = b"".join(b"%X%b\r\n%b%b" % (len(part), extension, part, end) for part in parts)
    return body + b"0\r\n" + trailer + b"\r\n"


CHUNKED = {
    "as the standard has it": chunked(PAGE),
    "bare line feeds behind chunks": chunked(PAGE, end=b"\n"),
    "bare line feeds everywhere": chunked(PAGE).replace(b"\r\n", b"\n"),
    "extensions": chunked(PAGE, extension=b';a="b c";d'),
    "blanks behind sizes": chunked(PAGE, extension=b"  "),
    "trailers": chunked(PAGE, trailer=b"Expires: never\r\nX: y\r\n"),
    "something behind its end": chunked(PAGE) + b"HTTP/1.1 200 OK\r\n",
    "no end": chunked(PAGE)[:-5],
    "an empty line before": b"\r\n" + chunked(PAGE),
    "undone by the crawler": PAGE,
    "twice": chunked(chunked(PAGE)),
}


@pytest.mark.parametrize("name", CHUNKED)
def test_chunks_leave_nothing_behind(name):
    assert decoded(CHUNKED[name], transfer="chunked") == PAGE
    assert decoded(CHUNKED[name], transfer="Chunked, identity") == PAGE
    assert decoded(CHUNKED[name]) == PAGE


def test_chunks_and_compression_are_undone_in_any_order():
    packed = gzip.compress(PAGE)
    assert decoded(chunked(packed, 99), "gzip", "chunked") == PAGE
    assert decoded(chunked(packed, 99), "", "gzip, chunked") == PAGE
    assert decoded(chunked(packed, 99)) == PAGE  # without a word of either
    assert decoded(gzip.compress(chunked(PAGE)), "gzip", "chunked") == PAGE


def test_text_that_begins_with_a_number_is_not_chunked():
    for text in (b"1916\nwas a year of war.\n" * 9, b"1\n5\n" * 99, b"20\n" * 99, b"1\r\n5\r\n" * 9 + b"0\r\n"):
        assert not is_chunked(text)
        assert decoded(text) == text
    assert unchunk(b"1916\nwas a year of war.\n") == b"1916\nwas a year of war.\n"
    assert unchunk(b"0\r\n\r\n") == b""


@pytest.mark.parametrize(
    ("body", "content", "transfer"),
    [
        (b"c8\r\n" + PAGE[:200] + b"c8\r\n" + PAGE[200:400] + b"\r\n0\r\n\r\n", "", "chunked"),  # no end of a chunk
        (b"c8\r\n" + PAGE[:200] + b"\r\nzz\r\n" + PAGE[200:], "", "chunked"),
        (gzip.compress(PAGE)[:10] + b"\x07" * 99, "gzip", ""),
        (gzip.compress(PAGE)[:-30], "gzip", ""),
        (gzip.compress(PAGE)[:-30], "", ""),
        ("\ufeff".encode() + gzip.compress(PAGE), "gzip", ""),
        (b"\x1f\x9d\x90" + PAGE, "compress", ""),
        (bytes(range(256)) * 9, "lz4", ""),
    ],
    ids=["no line end", "no size", "damaged", "cut", "cut, undeclared", "behind a mark", "compress", "unknown"],
)
def test_what_cannot_be_had_is_an_error(body, content, transfer):
    with pytest.raises(Unreadable):
        decoded(body, content, transfer)


def test_codings_without_end_are_an_error():
    body = PAGE
    for _ in range(9):
        body = gzip.compress(body)
    with pytest.raises(Unreadable, match="more than 6 codings"):
        decoded(body)


def test_a_body_that_is_cut_is_read_as_far_as_it_goes():
    assert PAGE.startswith(decoded(gzip.compress(PAGE)[:-30], may_be_cut=True))
    assert PAGE.startswith(decoded(chunked(gzip.compress(PAGE), 99)[:-30], "gzip", "chunked", may_be_cut=True))


@given(st.binary(max_size=400), st.sampled_from(["", "gzip", "br", "deflate", "zstd", "x"]), st.booleans())
def test_any_bytes_are_decoded_or_refused(data, content, is_chunked):
    with suppress(Unreadable):
        assert isinstance(decoded(data, content, "chunked" if is_chunked else ""), bytes)
