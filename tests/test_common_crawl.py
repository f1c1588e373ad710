import gzip
import zlib
from base64 import b32encode
from hashlib import sha1
from html import unescape
from urllib.parse import urlparse

import brotli
import pytest
import zstandard
from balanced import damaged, read_balanced
from conftest import SHARED, needs_shared, raw_file, write_raw
from fastwarc.warc import ArchiveIterator

from redpajama.extract.html import max_depth
from redpajama.pipelines import common_crawl
from redpajama.raw import warc as warc_files
from redpajama.records import Reason

CRAWLS = SHARED / "commoncrawl"
URL = "http://example.com/page"


def digest(block: bytes) -> str:
    return "sha1:" + b32encode(sha1(block).digest()).decode()


def warc(kind: str, block: bytes, number: int = 1, without: str = "", **fields: str) -> bytes:
    header = {
        "WARC-Type": kind,
        "WARC-Target-URI": f"{URL}{number}",
        "WARC-Date": "2023-02-03T04:05:06Z",
        "WARC-Record-ID": f"<urn:uuid:record-{number}>",
        "Content-Type": "text/plain" if kind == "conversion" else "application/http; msgtype=response",
        "Content-Length": str(len(block)),
    }
    header |= {name.replace("_", "-"): value for name, value in fields.items()}
    header.pop(without, None)
    lines = "".join(f"{name}: {value}\r\n" for name, value in header.items())
    return b"WARC/1.0\r\n" + lines.encode() + b"\r\n" + block + b"\r\n\r\n"


def wet(number: int = 1, text: str = "Title\nFirst line.\nSecond line.\n", **fields: str) -> bytes:
    return warc("conversion", text.encode(), number, **fields)


def http(payload: bytes | str, status: str = "200 OK", content_type: str = "text/html", **fields: str) -> bytes:
    data = payload.encode() if isinstance(payload, str) else payload
    fields = {"Content_Type": content_type, **fields} if content_type else fields
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + data


def read_bytes(tmp_path, data: bytes, name: str = "x.warc", **options):
    return read_balanced(common_crawl.PIPELINE, [write_raw(tmp_path, name, data)], **options)


def text_of(tmp_path, block: bytes, **fields: str) -> str:
    [document], _ = read_bytes(tmp_path, warc("response", block, **fields))
    return document.text


def keys(documents) -> list[str]:
    return [document.doc_id.removeprefix("src/record-") for document in documents]


# ---- WET


def test_a_wet_record_is_its_lines_without_the_title(tmp_path):
    block = "Title \r\n  First line.\n\n\tSecond line.\u00a0\n\n"
    [document], _ = read_bytes(tmp_path, wet(3, block, WARC_Refers_To="<urn:uuid:page>"))
    assert document.doc_id == "src/page"
    assert document.text == "First line.\n\nSecond line."
    assert document.meta == {
        "url": "http://example.com/page3",
        "date_download": "2023-02-03T04:05:06Z",
        "digest": digest(block.encode()),
        "length": 25,
        "nlines": 3,
        "source_domain": "example.com",
        "title": "Title",
        "source": "common_crawl",
    }


def test_headers_are_found_by_name_and_kept_as_they_are(tmp_path):
    fields = {"WARC_Block_Digest": "sha1:ABC", "WARC_Identified_Content_Language": "eng,fra"}
    record = (
        wet(1, **fields).replace(b"WARC-Target-URI: ", b"warc-target-uri:  <").replace(b"page1", b"a b?c=\xc3\xa9>")
    )
    [document], _ = read_bytes(tmp_path, record)
    assert document.meta["url"] == "http://example.com/a b?c=é"
    assert (document.meta["digest"], document.meta["language"]) == ("sha1:ABC", "eng,fra")


def test_a_page_without_any_id_gets_a_content_key(tmp_path):
    [document], _ = read_bytes(tmp_path, wet(without="WARC-Record-ID"))
    assert len(document.doc_id.removeprefix("src/")) == 24


def test_records_that_are_no_pages_are_dropped_by_name(tmp_path):
    data = b"".join(
        [
            *(warc(kind, b"x", n) for n, kind in enumerate(["warcinfo", "request", "metadata", "revisit", "resource"])),
            warc("response", http("<p>gone", "404 Not Found"), 5),
            warc("response", http(b"\x89PNG", content_type="image/png"), 6),
            warc("response", b"20230203040506\n1.2.3.4\n", 7, Content_Type="text/dns"),
            warc("conversion", b"%PDF", 8, Content_Type="application/pdf"),
            wet(9, "only a title\n"),
            warc("response", http("<nav>Home</nav>"), 10),
        ]
    )
    documents, tally = read_bytes(tmp_path, data)
    assert documents == []
    assert [row.reason.value for row in tally.rows] == [
        *["not-a-page"] * 5,
        "http-error",
        *["not-html"] * 3,
        "only-a-title",
        "empty-text",
    ]
    assert tally.rows[5].doc_id == "src/record-5"


# ---- HTTP

PAGE = "<!doctype html><html><head><title> A\n title </title></head><body><h1>Head</h1><p>café</p></body></html>"


def test_a_response_is_its_main_content(tmp_path):
    menu = "<nav><ul><li><a href='/'>Home</a></li></ul></nav><footer>Imprint</footer><h1>"
    block = http(PAGE.replace("<h1>", menu), content_type="text/html; charset=utf-8")
    [document], _ = read_bytes(tmp_path, warc("response", block, WARC_Payload_Digest="sha1:P"))
    assert document.doc_id == "src/record-1"
    assert document.text == "Head\n\ncafé"
    assert (document.meta["title"], document.meta["digest"], document.meta["nlines"]) == ("A title", "sha1:P", 3)
    [whole], _ = read_bytes(tmp_path, warc("response", block), main_content=False)
    assert whole.text == "• Home\nImprint\n\nHead\n\ncafé"


def chunked(data: bytes, size: int = 30) -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%X;x=y\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("x-gzip", lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:])),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("br", brotli.compress),
        ("zstd", zstandard.compress),
        ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
        ("gzip", bytes),  # the crawler undid it and left the header
        ("br", bytes),
        ("utf-8", bytes),  # a server's mistake
    ],
)
@pytest.mark.parametrize("transfer", [bytes, chunked])
def test_encodings_are_undone(tmp_path, encoding, pack, transfer):
    block = http(transfer(pack(PAGE.encode())), Content_Encoding=encoding, Transfer_Encoding="chunked")
    assert text_of(tmp_path, block) == "Head\n\ncafé"


@pytest.mark.parametrize(
    ("payload", "content_type"),
    [
        (PAGE.encode("utf-8"), "text/html; charset=utf-8"),
        (PAGE.encode("utf-8"), "text/html"),
        (PAGE.encode("utf-8"), "text/html; charset=us-ascii-or-so"),
        (PAGE.encode("latin-1"), 'application/xhtml+xml; charset="ISO-8859-1"'),
        (PAGE.replace("<head>", "<head><meta charset=windows-1250>").encode("cp1250"), "text/html"),
        (("\ufeff" + PAGE).encode("utf-16-le"), "text/html"),
        (("\ufeff" + PAGE).encode("utf-16-be"), "text/html; charset=utf-8"),
        (("\ufeff" + PAGE).encode("utf-8"), "text/html; charset=latin1"),
    ],
)
def test_characters_are_those_of_mark_header_or_meta(tmp_path, payload, content_type):
    assert text_of(tmp_path, http(payload, content_type=content_type)) == "Head\n\ncafé"


def test_a_false_charset_is_seen_through(tmp_path):
    words = "<p>Съешь ещё этих мягких французских булок, да выпей чаю. " * 5
    block = http(words.encode("cp1251"), content_type="text/html; charset=utf-8")
    assert text_of(tmp_path, block).startswith("Съешь ещё этих мягких")


def test_one_bad_byte_spoils_one_character(tmp_path):
    block = http(PAGE.encode().replace(b"Head", b"H\xffad" + b"." * 500), content_type="text/html; charset=utf-8")
    assert text_of(tmp_path, block).startswith("H\ufffdad...")


def test_plain_text_keeps_all_its_lines(tmp_path):
    assert text_of(tmp_path, http(" one \r\n\r\n<two>\r", content_type="text/plain")) == " one\n\n<two>"


def test_a_silent_server_is_taken_at_its_first_bytes(tmp_path):
    assert text_of(tmp_path, http(PAGE, content_type="")) == "Head\n\ncafé"
    _, tally = read_bytes(tmp_path, warc("response", http(b"\x89PNG\r\n", content_type="")))
    assert dict(tally.dropped) == {Reason.NOT_HTML: 1}


def test_a_message_to_crawlers_is_no_page(tmp_path):
    record = warc("response", http("User-agent: *\n", content_type="text/plain"))
    record = record.replace(b"/page1", b"/robots.txt?x")
    record = record.replace(b"/robots.txt?x\r", b"/robots.txt\r")
    _, tally = read_bytes(tmp_path, record)
    assert [(row.reason, row.evidence["found"]) for row in tally.rows] == [(Reason.NOT_A_PAGE, "robots.txt")]


def test_a_binary_that_is_sent_as_text_is_named_before_and_behind_its_codings(tmp_path):
    pdf = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n" + bytes(range(256)) * 20
    packed = http(gzip.compress(pdf), content_type="text/html", Content_Encoding="gzip")
    archive = warc("response", http(gzip.compress(PAGE.encode())), 3, WARC_Identified_Payload_Type="application/gzip")
    data = warc("response", http(pdf, content_type="text/plain")) + warc("response", packed, 2) + archive
    documents, tally = read_bytes(tmp_path, data)
    assert documents == []
    assert [(row.reason, row.evidence["found"]) for row in tally.rows] == [
        *[(Reason.NOT_HTML, "application/pdf")] * 2,
        (Reason.NOT_HTML, "application/gzip"),
    ]


def test_fields_that_stand_twice_in_a_response_all_count(tmp_path):
    block = http(gzip.compress(PAGE.encode("cp1250")), content_type="text/html; charset=windows-1250")
    block = block.replace(
        b"\r\n\r\n", b"\r\nContent-Encoding: identity\r\ncontent-encoding: gzip\r\nCONTENT-TYPE: text/html\r\n\r\n", 1
    )
    assert text_of(tmp_path, block) == "Head\n\ncafé"


@pytest.mark.parametrize(
    ("written", "date"),
    [
        ("2023-02-03T04:05:06Z", "2023-02-03T04:05:06Z"),
        ("2023-02-03T04:05:06.123456789Z", "2023-02-03T04:05:06.123456789Z"),
        ("2023-02", "2023-02"),
        ("2023-02-03 04:05:06", "2023-02-03T04:05:06Z"),
        ("2023-02-03T06:05:06+02:00", "2023-02-03T04:05:06Z"),
        ("20230203040506", "2023-02-03T04:05:06Z"),
        ("Fri, 03 Feb 2023 04:05:06 GMT", "2023-02-03T04:05:06Z"),
        ("2023-13-45T99:99:99Z", ""),
        ("yesterday", ""),
        ("0001-01-01T00:00:00+23:00", ""),
    ],
)
def test_a_date_in_another_form_is_written_anew_or_left_out_with_a_note(tmp_path, written, date):
    [document], tally = read_bytes(tmp_path, wet(1, WARC_Date=written))
    assert document.meta.get("date_download", "") == date
    assert [row.evidence["date"] for row in tally.rows] == ([] if written == date else [written])
    assert dict(tally.noted) == ({} if written == date else {Reason.MALFORMED_DATE: 1})


def test_lists_of_text_stay_and_menus_go(tmp_path):
    items = "".join(f"<li>point {n} of the argument</li>" for n in range(2))
    menu = "<ul><li><a href='/a'>Home</a></li><li><a href='/b'>News</a></li></ul>"
    text = text_of(tmp_path, http(f"<body>{menu}<p>They say:</p><ul>{items}</ul></body>"))
    assert text == "They say:\n\n• point 0 of the argument\n• point 1 of the argument"


def test_a_list_of_text_may_be_full_of_links(tmp_path):
    item = "<li>I am also ok with <a href='/a'>they and them</a>, says <a href='/b'>this article</a>.</li>"
    text = text_of(tmp_path, http(f"<body><div><div><h1>Facts</h1><p>Some:</p><ul>{item * 2}</ul></div></div></body>"))
    assert text.count("• I am also ok with they and them, says this article.") == 2
    named = text_of(tmp_path, http(f"<body><p>Some:</p><ul class='main menu'>{item * 2}</ul></body>"))
    assert named == "Some:"


@pytest.mark.parametrize("lone", ["中", "–", " → ", "&ndash;", "&#8211;", "가"])
def test_a_character_alone_between_two_tags_stays(tmp_path, lone):
    text = text_of(tmp_path, http(f"<p>Lead.<p>2007<i>{lone}</i>2011", content_type="text/html; charset=utf-8"))
    assert text == f"Lead.\n\n2007{unescape(lone)}2011"


def test_an_icon_alone_between_two_tags_goes(tmp_path):
    assert text_of(tmp_path, http("<p>Lead.<p>2007<i>&#xE001;</i>")) == "Lead.\n\n2007"


def test_a_lone_surrogate_is_no_character(tmp_path):
    assert text_of(tmp_path, http("<title>&#xD800;</title><p>a&#xDFFF;b")) == "a\ufffdb"


def test_deep_nesting_ends(tmp_path):
    text = "<div>" * 20_000 + "deep" + "<b>" * 20_000
    assert max_depth(text) == 20_000
    assert text_of(tmp_path, http(text)) == "deep"


@pytest.mark.parametrize(
    ("payload", "encoding", "reason"),
    [
        (gzip.compress(PAGE.encode())[:-20], "gzip", Reason.TRUNCATED),
        (gzip.compress(PAGE.encode())[:10] + b"\x07" * 99, "gzip", Reason.UNDECODABLE),
        (brotli.compress(PAGE.encode())[:-9], "br", Reason.TRUNCATED),
        (b"\xff" * 99, "br", Reason.UNDECODABLE),
        (zstandard.compress(PAGE.encode())[:-9], "zstd", Reason.TRUNCATED),
        (gzip.compress(bytes(65 << 20)), "gzip", Reason.EXPANSION_LIMIT),
        (brotli.compress(bytes(65 << 20), quality=1), "br", Reason.EXPANSION_LIMIT),
        (zstandard.compress(bytes(65 << 20)), "zstd", Reason.EXPANSION_LIMIT),
    ],
    ids="gzip-cut gzip-bad br-cut br-bad zstd-cut gzip-bomb br-bomb zstd-bomb".split(),  # noqa: SIM905
)
def test_a_payload_that_cannot_be_unpacked_is_quarantined(tmp_path, payload, encoding, reason):
    _, tally = read_bytes(tmp_path, warc("response", http(payload, Content_Encoding=encoding)))
    assert dict(tally.quarantined) == {reason: 1}


@pytest.mark.parametrize("missing", [1, 2])
def test_half_a_character_where_the_crawler_stopped_is_none(tmp_path, missing):
    page = "<p>" + "Žižkov had paper mills, and rags were hard to come by. " * 9 + "–"
    assert text_of(tmp_path, http(page.encode()[:-missing])).endswith("hard to come by.")


def test_a_page_that_the_crawler_cut_is_read_as_far_as_it_goes(tmp_path):
    page = "<p>" + " ".join(map(str, range(5000)))
    block = http(gzip.compress(page.encode())[:-3000], Content_Encoding="gzip")
    assert text_of(tmp_path, block, WARC_Truncated="length").startswith("0 1 2 3")


# ---- records


@pytest.mark.parametrize("size", [1, 2, 7, 100, 5000])
def test_chunks_may_break_anywhere(size):
    data = wet(1) + wet(2).replace(b"Content-Length: 31", b"Content-Length: 9") + b"junk\n" + wet(3) + wet(4)[:-30]
    whole = list(warc_files.records([data]))
    assert [record.fault for record in whole] == [None, Reason.INVALID_RECORD, None, Reason.TRUNCATED]
    assert list(warc_files.records(data[at : at + size] for at in range(0, len(data), size))) == whole


def broken_records() -> dict[str, tuple[bytes, Reason]]:
    good = wet(2, "Title\nWARC is\n\na format.\n" * 9)
    length = str(len("Title\nWARC is\n\na format.\n" * 9)).encode()
    lie = lambda text: good.replace(b"Content-Length: " + length, b"Content-Length: " + text)  # noqa: E731
    return {
        "too short": (lie(b"17"), Reason.INVALID_RECORD),
        "too long by a little": (lie(b"260"), Reason.INVALID_RECORD),
        "as long as two records": (lie(b"500"), Reason.INVALID_RECORD),
        "longer than the file": (lie(b"50000"), Reason.INVALID_RECORD),
        "ten gigabytes": (lie(b"10000000000"), Reason.EXPANSION_LIMIT),
        "negative": (lie(b"-5"), Reason.INVALID_RECORD),
        "not a number": (lie(b"many"), Reason.INVALID_RECORD),
        "no length": (good.replace(b"Content-Length", b"Content-Lenght"), Reason.INVALID_RECORD),
        "no blank line": (good.replace(b"\r\n\r\nTitle", b"\r\nTitle"), Reason.INVALID_RECORD),
        "no colon": (good.replace(b"WARC-Date:", b"WARC-Date"), Reason.INVALID_RECORD),
        "no start": (good.replace(b"WARC/1.0", b"WBRC/1.0"), Reason.INVALID_RECORD),
        "no address": (good.replace(b"WARC-Target-URI", b"WARC-Target-URL"), Reason.MISSING_FIELD),
        "invalid UTF-8": (good.replace(b"format", b"f\xffrmat", 1), Reason.INVALID_UTF8),
        "endless header": (good.replace(b"\r\n\r\n", b"\r\nX: y" * 99999, 1), Reason.INVALID_RECORD),
        "cut off": (good[:200] + b"\n", Reason.INVALID_RECORD),
    }


@pytest.mark.parametrize("name", broken_records())
def test_a_broken_record_costs_itself_alone(tmp_path, name):
    broken, reason = broken_records()[name]
    documents, tally = read_bytes(tmp_path, wet(1) + broken + wet(3) + wet(4))
    assert (keys(documents), dict(tally.quarantined)) == (["1", "3", "4"], {reason: 1})
    assert tally.rows[0].evidence["offset"] == len(wet(1))
    assert tally.rows[0].raw


def test_the_digest_decides_where_the_next_record_is_broken_too(tmp_path):
    text = "Title\nA line.\r\n\r\nAnother."
    lie, truth = (wet(1, text, WARC_Block_Digest=digest(text.encode()), Content_Length=n) for n in ("13", "25"))
    broken = wet(2).replace(b"WARC/1.0", b"\x00\x00\x00\x00\x00")
    assert keys(read_bytes(tmp_path, truth + broken + wet(3))[0]) == ["1", "3"]
    assert keys(read_bytes(tmp_path, lie + broken + wet(3))[0]) == ["3"]


def test_line_ends_and_distances_may_be_sloppy(tmp_path):
    plain = wet(1).replace(b"\r\n", b"\n")
    documents, _ = read_bytes(
        tmp_path, b"\n\n" + plain[:-2] + plain.replace(b"-1>", b"-2>")[:-1] + b"\n\r\n \n" + wet(3)[:-4]
    )
    assert keys(documents) == ["1", "2", "3"]


def test_a_header_line_may_go_on_in_the_next(tmp_path):
    [document], _ = read_bytes(tmp_path, wet(1, WARC_Identified_Content_Language="eng,\r\n\tfra"))
    assert document.meta["language"] == "eng, fra"


def test_a_record_over_the_limit_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(warc_files, "MAX_RECORD_BYTES", 1 << 20)
    documents, tally = read_bytes(tmp_path, wet(1) + wet(2, "x" * (3 << 20)) + wet(3))
    assert (keys(documents), dict(tally.quarantined)) == (["1", "3"], {Reason.EXPANSION_LIMIT: 1})


def test_a_file_that_breaks_off_says_so(tmp_path):
    data = wet(1) + wet(2) + wet(3)
    for end in (-20, -40, -len(wet(3)) + 30):
        documents, tally = read_bytes(tmp_path, data[:end])
        assert (keys(documents), dict(tally.quarantined)) == (["1", "2"], {Reason.TRUNCATED: 1})


def test_every_undamaged_gzip_member_is_read(tmp_path):
    members = [gzip.compress(wet(number)) for number in range(9)]
    members[4] = members[4][:60] + b"\xff\xff" + members[4][62:]
    documents, tally = read_bytes(tmp_path, b"".join(members)[:-5], "x.wet.gz")
    assert keys(documents) == ["0", "1", "2", "3", "5", "6", "7"]
    assert tally.skipped_bytes == len(members[4]) + len(members[8]) - 5


def test_an_empty_file_has_no_records_and_another_format_is_named(tmp_path):
    assert read_bytes(tmp_path, b"")[1].read == 0
    assert read_bytes(tmp_path, b"\r\n\r\n")[1].read == 0
    arc = b"filedesc://x.arc 0.0.0.0 20080430204825 text/plain 1\n\nWARC/1.0\nA: b\n"
    for data in (arc, gzip.compress(arc), b"crawl-data/a.warc.gz\n" * 9999, b"\x00\x01" * 99, b"<html></html>"):
        documents, tally = read_bytes(tmp_path, data)
        assert (documents, dict(tally.quarantined)) == ([], {Reason.WRONG_FORMAT: 1})


@pytest.mark.parametrize(
    "pack",
    [b"".join, lambda records: gzip.compress(b"".join(records)), lambda records: b"".join(map(gzip.compress, records))],
)
def test_no_damage_crashes_or_unbalances(tmp_path, pack):
    block = http(gzip.compress(PAGE.encode()), Content_Encoding="gzip")
    records = [wet(n) if n % 2 else warc("response", block, n) for n in range(40)]
    for data in damaged(pack(records)):
        read_bytes(tmp_path, data)


# ---- real crawls

UNDAMAGED = [
    "aut/warc/example.warc.gz",
    "crate/example.wet.gz",
    "dolma/sample-0000.warc.gz",
    "jeffharwell-fragments/corrupt_starts_with_conversion.wet.gz",
    "jeffharwell-fragments/corrupt_two_warcinfo.wet.gz",
    "jeffharwell-fragments/corrupt_warcinfo_1.wet.gz",
    "jeffharwell-fragments/fragment3.wet.gz",
    "npm-warc/CC-MAIN-20140820021334-00006-ip-10-180-136-8.ec2.internal.warc",
    "npm-warc/CC-MAIN-20140820021334-00006-ip-10-180-136-8.ec2.internal.warc.wat",
    "npm-warc/CC-MAIN-20140820021334-00006-ip-10-180-136-8.ec2.internal.warc.wet",
    "pywb/dupes.warc.gz",
    "pywb/iana.warc.gz",
    "stormcrawler/test.warc.gz",
    "ukwa-discovery/wikipedia-mona-lisa/flashfrozen-jwat-recompressed.warc.gz",
    "ukwa-test-suite/small-arcs-and-warcs/IAH-20080430204825-00000-blackbook-truncated.warc",
    "ukwa-test-suite/small-arcs-and-warcs/IAH-urls-wget.warc.gz",
    "ukwa-test-suite/wikipedia-sopa-blackout-2012/wikipedia-blackout/sopa-wikipedia-homepage.warc.gz",
    "whirlwind/whirlwind.warc",
    "whirlwind/whirlwind.warc.gz",
    "whirlwind/whirlwind.warc.wet",
    "whirlwind/whirlwind.warc.wet.gz",
]
DAMAGED = {  # file: (pages, what went wrong)
    "aut/arc/example.arc.gz": (0, {"wrong-format": 1}),
    "cc_net/sample.warc.txt": (0, {"invalid-record": 4}),  # its bodies were rewritten, their lengths were not
    "jeffharwell-fragments/appended_zip_fragment_unexpected_eof.wet.gz": (15, {"truncated": 1}),
    "jeffharwell-fragments/corrupt_warcconversion_1.wet.gz": (4, {"missing-field": 1}),
    "jeffharwell-fragments/corrupt_warcconversion_2.wet.gz": (0, {"missing-field": 1}),
    "jeffharwell-fragments/file_and_wet_headers_only.wet.gz": (0, {"invalid-record": 1, "truncated": 1}),
    "jeffharwell-fragments/file_headers_only.wet.gz": (0, {"truncated": 1}),
    "jeffharwell-fragments/fragment1_asthma_incomplete_last.wet.gz": (0, {"invalid-record": 1, "truncated": 1}),
    "jeffharwell-fragments/fragment1_incomplete_last.wet.gz": (1, {"truncated": 1}),
    "jeffharwell-fragments/fragment2_no_header.wet.gz": (1, {"invalid-record": 1, "truncated": 1}),
    "ukwa-test-suite/small-arcs-and-warcs/IAH-20080430204825-00000-blackbook-truncated.arc": (0, {"wrong-format": 1}),
    "whirlwind/CC-MAIN-2024-22.warc.paths.gz": (0, {"wrong-format": 1}),
}


@needs_shared
@pytest.mark.parametrize("name", UNDAMAGED)
def test_records_of_real_files_are_those_that_fastwarc_finds(name):
    documents, tally = read_balanced(common_crawl.PIPELINE, [raw_file(CRAWLS / name)])
    with (CRAWLS / name).open("rb") as stream:
        assert tally.read == sum(1 for _ in ArchiveIterator(stream, parse_http=False))
    assert not tally.quarantined
    assert len({document.doc_id for document in documents}) == len(documents)


@needs_shared
@pytest.mark.parametrize("name", DAMAGED)
def test_damage_in_real_files_is_named_and_passed_over(name):
    documents, tally = read_balanced(common_crawl.PIPELINE, [raw_file(CRAWLS / name)])
    faults = {reason.value: count for reason, count in (tally.quarantined + tally.damaged).items()}
    assert (len(documents), faults) == DAMAGED[name]


def ccnet(lines: list[str]) -> list[dict]:
    """What CCNet's process_wet_file.py makes of a WET file, headers by name (its own positions hold for 2019 only)."""
    documents, header, body, in_header = [], {}, [], True
    for line in [*map(str.strip, lines), "WARC/1.0"]:
        if line == "WARC/1.0":
            if header.get("WARC-Type") == "conversion":
                last = -2 if not body[-1] and not body[-2] else None
                documents.append({"title": body[0], "text": "\n".join(body[1:last]), **header})
            header, body, in_header = {}, [], True
        elif in_header:
            name, _, value = line.partition(": ")
            header |= {name: value} if name else {}
            in_header = line != ""
        else:
            body.append(line)
    return documents


@needs_shared
@pytest.mark.parametrize("name", [name for name in UNDAMAGED if ".wet" in name])
def test_pages_of_a_real_wet_file_are_ccnets(name):
    documents, _ = read_balanced(common_crawl.PIPELINE, [raw_file(CRAWLS / name)])
    data = (CRAWLS / name).read_bytes()
    text = (gzip.decompress(data) if name.endswith("gz") else data).decode()
    theirs = [page for page in ccnet(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]) if page["text"]]
    assert len(documents) == len(theirs)
    for document, page in zip(documents, theirs, strict=True):
        meta = document.meta
        assert (document.text, meta["title"]) == (page["text"].strip("\n"), page["title"])
        assert (meta["url"], meta["digest"]) == (page["WARC-Target-URI"], page["WARC-Block-Digest"])
        assert meta["source_domain"] == urlparse(page["WARC-Target-URI"]).netloc


@needs_shared
def test_a_page_has_the_same_id_in_wet_and_in_warc():
    names = ("whirlwind.warc", "whirlwind.warc.gz", "whirlwind.warc.wet", "whirlwind.warc.wet.gz")
    pages = [read_balanced(common_crawl.PIPELINE, [raw_file(CRAWLS / "whirlwind" / name)])[0] for name in names]
    assert {page.doc_id for [page] in pages} == {"src/2aabeff2-67f5-4608-8466-e87c6296e2b6"}
    assert {page.meta["title"] for [page] in pages} == {"Escopete - Biquipedia, a enciclopedia libre"}
    assert pages[0] == pages[1]
    assert pages[2] == pages[3]
    assert pages[2][0].meta["language"] == "spa"


@needs_shared
def test_a_real_response_reads_as_on_the_web():
    documents, _ = read_balanced(common_crawl.PIPELINE, [raw_file(CRAWLS / "stormcrawler" / "test.warc.gz")])  # brotli
    assert documents[0].meta["url"] == "https://stormcrawler.net/"
    assert documents[0].text.startswith(
        "A collection of resources for building low-latency, scalable web crawlers on Apache Storm\n\n"
        "StormCrawler is an open source SDK for building distributed web crawlers based on Apache Storm."
    )
    assert "\n• scalable\n• resilient\n• low latency\n" in documents[0].text
