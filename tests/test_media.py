"""What a body is, by the types that servers write and by its first bytes."""

import pytest

from redpajama.raw import media

HTML, PLAIN = "text/html", "text/plain"
PAGE = b"<!DOCTYPE html><title>Rags</title><p>Paper was made of rags."


@pytest.mark.parametrize(
    ("written", "essence", "charset"),
    [
        ("text/html", HTML, ""),
        ("TEXT/HTML; Charset=UTF-8", HTML, "UTF-8"),
        ("text/html charset=utf-8", HTML, "utf-8"),
        ("text/html,charset=koi8-r", HTML, ""),  # of the standard: another entry, and no type
        ("text/html:charset=koi8-r", HTML, "koi8-r"),
        ('"text/html; charset=koi8-r"', HTML, "koi8-r"),
        ("'text/html'", HTML, ""),
        ("text/html; charset='koi8-r'; x", HTML, "koi8-r"),
        ("text/html,text/html", HTML, ""),
        ("text/html; charset=koi8-r, text/html", HTML, "koi8-r"),
        ("text/plain; charset=koi8-r, text/html", HTML, ""),
        ("text/html, text/html; charset=utf-8", HTML, "utf-8"),
        ("text/html, */*", HTML, ""),
        (" text/html ;", HTML, ""),
        ('text/html; x="a,b"; charset=koi8-r', HTML, "koi8-r"),
        ("charset=koi8-r", "", "koi8-r"),
        ("html", "", ""),
        ("", "", ""),
    ],
)
def test_a_type_is_read_however_it_is_written(written, essence, charset):
    assert media.media_type(written) == (essence, charset)


def page_type(declared: str, body: bytes, identified: str = "") -> str:
    kind = media.media_type(declared)
    return media.page_type(kind, identified, body)[0] if media.may_be_page(kind.essence, identified) else ""


@pytest.mark.parametrize(
    ("declared", "identified", "body", "kind"),
    [
        ("text/html", "", b"no tags", HTML),
        ("application/xhtml+xml", "", PAGE, HTML),
        ("", "", PAGE, HTML),
        ("", "", b"<?xml version='1.0'?>\n<html>", HTML),
        ("", "", b"Just words.\n", PLAIN),
        ("", "", b"<article>\n<p>Words.", HTML),
        ("", "", b"<?xml version='1.0'?><rss>", ""),
        ("", "application/json", b"{}", ""),
        ("unknown/unknown", "", b"<p>a", HTML),
        ("html", "", PAGE, HTML),
        ("text/htm", "", PAGE, HTML),
        ("text/x-html", "", b"<html>", HTML),
        ("application/html", "", PAGE, HTML),
        ("httpd/unix-directory", "", PAGE, HTML),
        ("application/x-httpd-php", "", PAGE, HTML),
        ("httpd/unix-directory", "", b"Just words.", ""),
        ("application/xml", "", b"<?xml version='1.0'?><!-- a --><html xmlns='x'>", HTML),
        ("application/xml", "", b"<?xml version='1.0'?><rss><body>", ""),
        ("text/css", "", b"p { color: red }", ""),
        ("application/octet-stream", "text/html", PAGE, HTML),
        ("application/octet-stream", "", PAGE, ""),
        ("text/plain", "", PAGE, PLAIN),
        ("text/plain", "text/html", PAGE, HTML),
        ("text/plain", "text/html", b"<!-- a -->\n<HTML><p>Words.", HTML),
        ("text/plain", "text/html", b"see <html>", PLAIN),
        ("image/png", "", PAGE, ""),
    ],
)
def test_a_page_is_told_by_its_type_and_its_first_bytes(declared, identified, body, kind):
    assert page_type(declared, body, identified) == kind


BINARIES = {
    "application/pdf": b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj",
    "image/png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "image/jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "image/gif": b"GIF89a\x01\0\x01\0",
    "image/webp": b"RIFF\x10\0\0\0WEBPVP8 ",
    "image/bmp": b"BM\x9a\x10\0\0\0\0\0\0",
    "audio/mpeg": b"ID3\x03\0\0",
    "audio/wave": b"RIFF\x10\0\0\0WAVEfmt ",
    "application/ogg": b"OggS\0\2",
    "video/mp4": b"\0\0\0\x20ftypisom",
    "video/webm": b"\x1aE\xdf\xa3\x01",
    "font/woff": b"wOFF\0\1\0\0",
    "font/ttf": b"\0\1\0\0\0\x0c",
    "application/zip": b"PK\x03\x04\x14\0",
    "application/gzip": b"\x1f\x8b\x08\0",
    "application/x-tar": b"name".ljust(257, b"\0") + b"ustar\x0000",
    "application/x-7z-compressed": b"7z\xbc\xaf\x27\x1c",
    "application/x-ole-storage": b"\xd0\xcf\x11\xe0\xa1\xb1",
    "application/x-elf": b"\x7fELF\2\1",
    "application/octet-stream": bytes(range(256)) * 8,
}


@pytest.mark.parametrize("found", BINARIES)
@pytest.mark.parametrize("declared", ["text/html", "text/plain", "text/plain; charset=utf-8", ""])
def test_a_binary_that_is_sent_as_text_is_no_page_and_named(found, declared):
    assert media.page_type(media.media_type(declared), "", BINARIES[found]) == ("", found)


@pytest.mark.parametrize(
    "text",
    [
        b"BM is short for benchmark, and the rest follows.",
        b"ID3 tags, explained",
        b"MZ, FWS and PK are initials.",
        b"The ftyp box and LP records, " * 20,
        "\ufeffŽižkov".encode(),
        "Žižkov, in UTF-16".encode("utf-16-le"),
        "Да, конечно.".encode("koi8-r"),
        b"\x1b[1mbold\x1b[0m\x0c\ttab",
    ],
)
def test_text_that_looks_a_little_like_a_binary_is_text(text):
    assert media.binary_type(text) == ""


def test_html_may_have_a_control_character_and_plain_text_may_not():
    assert media.binary_type(b"<p>\x01" + b"a" * 500, is_html=True) == ""
    assert media.binary_type(b"a\x01" + b"a" * 500) == "application/octet-stream"
    assert media.binary_type(b"a\x0e" + b"a" * 500, "iso-2022-kr") == ""
