import bz2
import gzip
import io
import json
import re
import struct
import zlib
from html import escape

import py7zr
import pytest
from balanced import damaged, read_balanced
from conftest import SHARED, needs_shared, raw_file, write_raw
from stepwise import build_stepwise

from redpajama.pipelines import stackexchange
from redpajama.raw import sevenzip, xml
from redpajama.records import Reason

POSTS = SHARED / "stackexchange"
SITE = "beer.stackexchange.com/Posts.xml"


def row(number: int, body: str = "", **attributes: str) -> str:
    attributes = {"Id": str(number), "PostTypeId": "1", "Score": "0", "Body": body} | attributes
    return "<row " + " ".join(f'{name}="{escape(value)}"' for name, value in attributes.items()) + " />"


def question(number: int, body: str = "<p>Why?</p>", **attributes: str) -> str:
    return row(number, body, **{"Title": f"Title {number}", **attributes})


def answer(number: int, parent: int, score: int = 0, body: str = "") -> str:
    return row(number, body or f"<p>answer {number}</p>", PostTypeId="2", ParentId=str(parent), Score=str(score))


def posts_xml(*rows: str) -> bytes:
    return (
        '\ufeff<?xml version="1.0" encoding="utf-8"?>\r\n<posts>\r\n  ' + "\r\n  ".join(rows) + "\r\n</posts>"
    ).encode()


def archive(*members: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with py7zr.SevenZipFile(packed, "w") as out:
        for name, data in members:
            out.writestr(data, name)
    return packed.getvalue()


def read_bytes(tmp_path, data: bytes, name: str = SITE, **options):
    return read_balanced(stackexchange.PIPELINE, [write_raw(tmp_path, name, data)], **options)


def ledger(tally) -> list[tuple[str, str]]:
    return sorted((row.doc_id, row.reason.value) for row in tally.rows)


# ---- threads


def test_a_thread_is_one_document_with_redpajamas_fields(tmp_path):
    data = posts_xml(
        question(
            7,
            "<p>Is it <b>safe</b>?</p>",
            Score="12",
            CreationDate="2014-01-21T20:26:05.383",
            Tags="<a><b-c>",
            OwnerUserId="8",
            ContentLicense="CC BY-SA 3.0",
        ),
        row(9, "Yes.", PostTypeId="2", ParentId="7", OwnerDisplayName="somebody gone", CreationDate="2011-04-07"),
    )
    [document], tally = read_bytes(tmp_path, data)
    assert document.doc_id == "src/beer.stackexchange.com/7"
    assert document.text == "Q: Title 7 Is it safe?\n\nA: Yes."
    assert document.meta == {
        "language": "en",
        "url": "https://beer.stackexchange.com/questions/7",
        "timestamp": "2014-01-21T20:26:05.383",
        "source": "stackexchange",
        "question_score": "12",
        "title": "Title 7",
        "tags": ["a", "b-c"],
        "site": "beer.stackexchange.com",
        "authors": ["https://beer.stackexchange.com/users/8", "somebody gone"],
        "license": "CC BY-SA 3.0",
        "licenses": ["CC BY-SA 3.0", "CC BY-SA 2.5"],
    }
    assert (tally.read, tally.kept, tally.merged) == (2, 1, 1)


def test_answers_are_ordered_by_numeric_score_then_by_id(tmp_path):
    scores = {2: 9, 3: 85, 4: -3, 6: 9, 5: 100}
    data = posts_xml(question(1), *(answer(number, 1, score) for number, score in scores.items()))
    [document], _ = read_bytes(tmp_path, data)
    assert re.findall(r"A: answer (\d)", document.text) == ["5", "3", "2", "6", "4"]


def test_answers_may_stand_before_their_question_and_threads_come_by_id(tmp_path):
    data = posts_xml(answer(2, 10), question(30), answer(3, 30), question(4), question(10))
    documents, _ = read_bytes(tmp_path, data)
    assert [document.doc_id.split("/")[-1] for document in documents] == ["4", "10", "30"]
    assert documents[1].text == "Q: Title 10 Why?\n\nA: answer 2"
    assert documents[2].text == "Q: Title 30 Why?\n\nA: answer 3"


def test_tags_of_newer_dumps_are_split_too(tmp_path):
    [document], _ = read_bytes(tmp_path, posts_xml(question(1, Tags="|a|b-c|")))
    assert document.meta["tags"] == ["a", "b-c"]


def test_what_is_no_part_of_a_thread_is_dropped_by_name(tmp_path):
    data = posts_xml(
        row(1, "a wiki", PostTypeId="5"),
        answer(2, 99),
        question(3),
        answer(4, 3, body="<p><img src='x.png'></p>"),
        row(5, "<p> </p>", Title=" "),
        answer(6, 5),
    )
    documents, tally = read_bytes(tmp_path, data)
    assert [document.text for document in documents] == ["Q: Title 3 Why?"]
    assert ledger(tally) == [
        ("src/beer.stackexchange.com/1", "not-a-post"),
        ("src/beer.stackexchange.com/2", "orphan-answer"),
        ("src/beer.stackexchange.com/4", "empty-text"),
        ("src/beer.stackexchange.com/5", "empty-text"),
        ("src/beer.stackexchange.com/6", "empty-text"),
    ]


def test_low_scores_are_dropped_with_their_value(tmp_path):
    data = posts_xml(question(1, Score="3"), answer(2, 1, 1), answer(3, 1, 2), question(4, Score="2"), answer(5, 4, 50))
    [document], tally = read_bytes(tmp_path, data, min_question_score=3, min_answer_score=2)
    assert document.text == "Q: Title 1 Why?\n\nA: answer 3"
    assert [(row.doc_id.split("/")[-1], row.reason, row.value, row.threshold) for row in tally.rows] == [
        ("2", Reason.LOW_SCORE, 1, 2),
        ("4", Reason.LOW_SCORE, 2, 3),
        ("5", Reason.LOW_SCORE, 2, 3),  # goes with its question
    ]
    assert tally.rows[2].evidence["question"] == "src/beer.stackexchange.com/4"


def test_of_rows_with_one_id_one_stays(tmp_path):
    data = posts_xml(question(1), answer(2, 1), answer(2, 1), question(1, "<p>Other?</p>"))
    [document], tally = read_bytes(tmp_path, data)
    assert document.text == "Q: Title 1 Why?\n\nA: answer 2"
    assert ledger(tally) == [
        ("src/beer.stackexchange.com/1", "duplicate-id"),
        ("src/beer.stackexchange.com/2", "repeated-record"),
    ]


# ---- names


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://archive.org/download/stackexchange/ai.stackexchange.com.7z", "ai.stackexchange.com"),
        ("dumps/stackoverflow.com-Posts.7z", "stackoverflow.com"),
        ("dumps/es.stackoverflow.com/Posts.xml", "es.stackoverflow.com"),
        ("dumps/es.stackoverflow.com/Posts.xml.bz2", "es.stackoverflow.com"),
        ("dumps/beer.stackexchange.com.Posts.xml.gz", "beer.stackexchange.com"),
        ("dumps/mathoverflow.net.xml", "mathoverflow.net"),
        ("dumps/Cooking.StackExchange.com/posts.xml", "cooking.stackexchange.com"),
        ("cooking.meta.stackexchange.com.7z", "cooking.meta.stackexchange.com"),
        ("dumps/meta.stackoverflow.com.7z/Posts.xml", "meta.stackoverflow.com"),
        ("stackoverflow.com-Posts/Posts.xml", "stackoverflow.com"),
        ("https://archive.org/download/dump/Posts.xml", ""),
        ("dumps/cooking/Posts.xml", ""),
        ("dumps/2024.01/Posts.xml", ""),
        ("dumps/posts.old/Posts.xml.gz", ""),
        ("-.stackexchange.com.7z", ""),
        ("dump.7z", ""),
        ("Posts.xml", ""),
    ],
)
def test_the_site_is_named_by_the_archive_or_the_folder(url, site):
    assert stackexchange.site_of(url) == site


def test_the_option_names_the_site_before_the_file_does(tmp_path):
    [document], _ = read_bytes(tmp_path, posts_xml(question(1)), site="cooking.stackexchange.com")
    assert document.meta["url"] == "https://cooking.stackexchange.com/questions/1"


def test_without_a_host_name_there_is_no_site_and_no_address(tmp_path):
    data = posts_xml(question(1, OwnerUserId="8", OwnerDisplayName="somebody"))
    [document], _ = read_bytes(tmp_path, data, "downloads/Posts.xml")
    assert document.doc_id == "src/downloads/1"
    assert not {"site", "url", "language"} & document.meta.keys()
    assert document.meta["authors"] == ["somebody"]
    with pytest.raises(ValueError, match="'downloads' is no host name"):
        stackexchange.Options(site="downloads")


@pytest.mark.parametrize(
    ("site", "language"),
    [
        ("stackoverflow.com", "en"),
        ("french.stackexchange.com", "en"),
        ("pt.stackoverflow.com", "pt"),
        ("ja.meta.stackoverflow.com", "ja"),
        ("rus.stackexchange.com", "ru"),
    ],
)
def test_the_language_is_the_sites(site, language):
    assert stackexchange.language_of(site) == language


# ---- HTML


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("no markup", "no markup"),
        ("<p>one</p>\n\n<p>two</p>\n", "one\ntwo"),
        ("<p>soft\nbreak  and\tspace</p>", "soft\nbreak and space"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<p>x</p><ul>\n<li>a</li>\n<li><p>b</p></li>\n</ul>", "x\n* a\n* b"),
        ("<ol><li>a<ol><li>b</li></ol></li></ol>after", "* a\n* b\nafter"),
        (
            "<p>run</p>\n<pre><code>if a &lt; b:\n\n    c  =  d\n</code></pre>\n<p>it</p>",
            "run\nif a < b:\n\n    c  =  d\nit",
        ),
        ("<pre>  indented</pre>", "  indented"),
        ("<p>a <code>b</code>, <em>c</em><!-- no --> &amp; d&nbsp;e &mdash; é</p>", "a b, c & d e — é"),
        ("<blockquote>\n  <p>said</p>\n</blockquote>\n<hr>\n<h2>Head</h2>text", "said\nHead\ntext"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("<p>$\\frac{a}{b}$ <img src='x' alt='y'> <a href='z'>link</a></p>", "$\\frac{a}{b}$ link"),
        ("<script>bad()</script><p>a<p>b <unknown>c</unknown> &nosuch; </b>", "a\nb c &nosuch;"),
        ("&#xD800;&#0;&#57343;&#x110000;x&#x41;&#65533;&#65", "xA\ufffdA"),
        ("a&#1;\x9f\x7f\ufeff\ufdd0&#xFFFE;b", "ab"),
        ("<pre>a<br>  b<br/>\nc</pre>", "a\n  b\n\nc"),
        ("<p>x<p><pre>a<br>  <b>b</b><br/>\nc</pre>", "x\na\n  b\n\nc"),
    ],
)
def test_html_becomes_lines(html, text):
    assert stackexchange.html_to_text(html) == text


# ---- containers


def test_the_packing_makes_no_difference(tmp_path):
    data = posts_xml(question(1), answer(2, 1), question(3))
    packings = {
        SITE: data,
        SITE + ".gz": gzip.compress(data),
        SITE + ".bz2": bz2.compress(data),
        "beer.stackexchange.com.7z": archive(("Badges.xml", b"<badges/>"), ("Posts.xml", data), ("Users.xml", b"<u/>")),
        "beer.stackexchange.com-Posts.7z": archive(("Posts.xml", data)),
    }
    results = [read_bytes(tmp_path, packed, name)[0] for name, packed in packings.items()]
    assert len(results[0]) == 2
    assert all(result == results[0] for result in results)


def test_an_archive_and_a_table_without_posts_are_no_posts(tmp_path):
    for name, data in [
        ("stackoverflow.com-Badges.7z", archive(("Badges.xml", b"<badges/>"))),
        ("a.com/Users.xml", b'<users>\n  <row Id="1" DisplayName="x" />\n</users>'),
    ]:
        documents, tally = read_bytes(tmp_path, data, name)
        assert (documents, tally.read, dict(tally.dropped)) == ([], 1, {Reason.NOT_A_POST: 1})


def test_a_damaged_archive_gives_no_documents_and_one_range(tmp_path):
    data = archive(("Posts.xml", posts_xml(*(question(number) for number in range(1, 500)))))
    at = len(data) // 2
    for broken in (data[:at], data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], data[:40], data[:6]):
        documents, tally = read_bytes(tmp_path, broken, "a.com.7z")
        assert (documents, tally.read, tally.skipped_bytes) == ([], 0, len(broken))
        assert dict(tally.damaged) == {Reason.DAMAGED: 1}


def test_an_archive_that_expands_without_bound_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(sevenzip, "MIN_EXPANSION_BYTES", 1 << 20)
    documents, tally = read_bytes(tmp_path, archive(("Posts.xml", b"<posts>" + bytes(9 << 20))), "a.com.7z")
    assert (documents, dict(tally.damaged)) == ([], {Reason.EXPANSION_LIMIT: 1})


def renamed(data: bytes, old: str, new: str) -> bytes:
    """A 7z with a plain header, in which a member gets a name that no packer would write."""
    data = bytearray(data.replace(old.encode("utf-16-le"), new.encode("utf-16-le")))
    offset, size = struct.unpack("<QQ", data[12:28])
    data[28:32] = struct.pack("<I", zlib.crc32(data[32 + offset : 32 + offset + size]))
    data[8:12] = struct.pack("<I", zlib.crc32(data[12:32]))
    return bytes(data)


def test_nothing_is_written_where_an_archive_says(tmp_path):
    packed = io.BytesIO()
    with py7zr.SevenZipFile(packed, "w") as out:
        out.set_encoded_header_mode(False)
        out.writestr(posts_xml(question(1)), "aa/Posts.xml")
    for name in ("../Posts.xml", "///Posts.xml"):
        read_bytes(tmp_path / "in", renamed(packed.getvalue(), "aa/Posts.xml", name), "a.com.7z")
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "a.com.7z"]


def test_an_encrypted_archive_is_skipped(tmp_path):
    packed = io.BytesIO()
    with py7zr.SevenZipFile(packed, "w", password="secret") as out:
        out.writestr(posts_xml(question(1)), "Posts.xml")
    documents, tally = read_bytes(tmp_path, packed.getvalue(), "b.com.7z")
    assert (documents, dict(tally.damaged)) == ([], {Reason.DAMAGED: 1})


# ---- bad input


def test_a_broken_row_costs_itself_alone(tmp_path):
    rows = {
        "cut.": '<row Id="2" PostTypeId="1" Title="x" Body="no end',
        "tag.": '<rxw Id="2" PostTypeId="1" Title="x" Body="y" />',
        "twice": '<row Id="2" Id="2" PostTypeId="1" Title="x" Body="y" />',
        "bomb": '<row Id="2" PostTypeId="1" Title="&lol9;" Body="y" />',
        "text": "stray text",
    }
    for broken in rows.values():
        documents, tally = read_bytes(tmp_path, posts_xml(question(1), broken, question(3)))
        assert [document.meta["title"] for document in documents] == ["Title 1", "Title 3"], broken
        assert dict(tally.quarantined) == {Reason.INVALID_XML: 1}, broken


@pytest.mark.parametrize(
    ("written", "shown", "removed"),
    [
        ("\x01", "", 1),
        ("&#x1;&#X1F;&#0;", "", 3),
        ("\ufffe\uffff&#xFFFF;&#65534;", "", 4),
        ("&#xD800;&#55296;", "", 2),
        ("&#x110000;&#99999999999;", "", 2),
        ("&#xD83D;&#xDE00;", "😀", 0),
        ("&#x1;&#233;\x0b&#x2019;", "é’", 2),
    ],
)
def test_a_character_that_xml_forbids_goes_and_the_post_stays_with_its_answers(tmp_path, written, shown, removed):
    row = question(1, "<p>Q body</p>").replace("Q body", f"Q{written}b").replace("Title 1", f"T{written}1")
    documents, tally = read_bytes(tmp_path, posts_xml(row, answer(2, 1), question(3)))
    assert documents[0].text == f"Q: T{shown}1 Q{shown}b\n\nA: answer 2"
    assert len(documents) == 2
    assert [(row.verdict, row.reason, row.evidence["removed"]) for row in tally.rows] == (
        [("noted", Reason.FORBIDDEN_CHARACTER, 2 * removed)] if removed else []
    )


def test_halves_of_a_pair_in_bytes_are_mended_too(tmp_path):
    row = posts_xml(question(1, "<p>Q body</p>"), answer(2, 1))
    row = row.replace(b"body", b"\xed\xa0\xbd\xed\xb8\x80\xed\xa0\xbd")
    [document], _ = read_bytes(tmp_path, row)
    assert document.text == "Q: Title 1 Q 😀\n\nA: answer 2"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ('<row Id="2" PostTypeId="1" Body="y" />', Reason.MISSING_FIELD),
        ('<row Id="2" PostTypeId="2" Body="y" />', Reason.MISSING_FIELD),
        ('<row PostTypeId="1" Title="x" Body="y" />', Reason.MISSING_FIELD),
        ('<row Id="2" Title="x" Body="y" />', Reason.MISSING_FIELD),
        ('<row Id="two" PostTypeId="1" Title="x" Body="y" />', Reason.INVALID_RECORD),
        ('<row Id="2" PostTypeId="1" Title="x" Score="1e3" Body="y" />', Reason.INVALID_RECORD),
        ('<row Id="99999999999999999999" PostTypeId="1" Title="x" Body="y" />', Reason.INVALID_RECORD),
        (f'<row Id="2" PostTypeId="1" Title="x" Body="{"&lt;div&gt;" * 5000}" />', Reason.INVALID_RECORD),
    ],
)
def test_a_row_without_what_it_needs_is_quarantined(tmp_path, broken, reason):
    documents, tally = read_bytes(tmp_path, posts_xml(question(1), broken))
    assert (len(documents), dict(tally.quarantined)) == (1, {reason: 1})
    assert tally.rows[0].raw.startswith(b"<row ")


def test_rows_with_a_closing_tag_are_rows_too(tmp_path):
    documents, _ = read_bytes(tmp_path, posts_xml(question(1).replace(" />", " ></row>"), question(2)))
    assert len(documents) == 2


def test_invalid_utf8_costs_its_row(tmp_path):
    data = posts_xml(question(1), question(2, "<p>caf\u00e9</p>"), question(3)).replace(b"\xc3\xa9", b"\xe9")
    documents, tally = read_bytes(tmp_path, data)
    assert (len(documents), dict(tally.quarantined)) == (2, {Reason.INVALID_UTF8: 1})


def test_an_entity_bomb_is_never_expanded(tmp_path):
    entities = "".join(f'<!ENTITY lol{n} "{f"&lol{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE posts [<!ENTITY lol0 "lol">{entities}]>\r\n<posts>'.encode()
    data = posts_xml(question(1), '<row Id="2" PostTypeId="1" Title="&lol9;" Body="" />').replace(b"<posts>", bomb)
    documents, tally = read_bytes(tmp_path, data)
    assert (len(documents), dict(tally.quarantined)) == (1, {Reason.INVALID_XML: 1})


def test_a_file_that_breaks_off_says_so(tmp_path):
    data = posts_xml(question(1), question(2), question(3))
    inside, between = data.index(b'Id="3"') + 9, data.index(b'<row Id="3"')
    for end in (inside, between):
        documents, tally = read_bytes(tmp_path, data[:end])
        assert (len(documents), dict(tally.quarantined)) == (2, {Reason.TRUNCATED: 1})


def test_an_empty_file_has_no_posts_and_another_format_is_named(tmp_path):
    assert read_bytes(tmp_path, b"")[1].read == 0
    assert read_bytes(tmp_path, b"<posts>\n</posts>")[1].read == 0
    for data in (b'{"not": "xml"}', b"\x00\x01\x02" * 99, b"<html><body>404</body></html>"):
        documents, tally = read_bytes(tmp_path, data)
        assert (documents, dict(tally.quarantined)) == ([], {Reason.WRONG_FORMAT: 1})


def test_a_row_over_the_limit_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(xml, "MAX_RECORD_BYTES", 2 << 20)
    data = posts_xml(question(1), question(2, "x" * (5 << 20)), question(3))
    documents, tally = read_bytes(tmp_path, data)
    assert (len(documents), dict(tally.quarantined)) == (2, {Reason.EXPANSION_LIMIT: 1})


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda data: archive(("Posts.xml", data))])
def test_no_damage_crashes_or_unbalances(tmp_path, pack):
    rows = [question(n) if n % 3 == 1 else answer(n, n // 3 * 3 + 1, n) for n in range(1, 60)]
    for data in damaged(pack(posts_xml(*rows))):
        read_bytes(tmp_path, data, "a.com.7z" if pack not in (bytes, gzip.compress) else SITE)


# ---- real dumps

REAL = {  # folder: (rows, questions, answers merged, answers that are only an image)
    "ai-2016-09": (786, 264, 415, 0),
    "ai-2016-12": (1279, 421, 749, 0),
    "beer-2016": (1576, 454, 1074, 0),
    "beer-2017": (2354, 663, 1572, 0),
    "bicycles-meta-2023": (1446, 453, 927, 44),
    "coffee-2015": (592, 225, 327, 0),
    "conlang-meta-2020": (177, 54, 115, 0),
    "french-meta-2021": (781, 274, 486, 1),
    "history-meta-2018": (1657, 556, 1095, 0),
    "matheducators-2014": (2061, 397, 1507, 0),
}


@needs_shared
@pytest.mark.parametrize("folder", REAL)
def test_every_row_of_a_real_dump_is_accounted_for(folder):
    file = raw_file(POSTS / folder / "Posts.xml")
    documents, tally = read_balanced(stackexchange.PIPELINE, [file])
    rows, questions, merged, images = REAL[folder]
    data = (POSTS / folder / "Posts.xml").read_bytes()
    assert tally.read == rows == data.count(b"<row ")
    assert (len(documents), tally.merged) == (questions, merged)
    assert questions == data.count(b'PostTypeId="1"')
    assert merged + images == data.count(b'PostTypeId="2"')
    assert sum(tally.quarantined.values()) == 0
    assert len({document.doc_id for document in documents}) == questions


@needs_shared
def test_a_real_thread_reads_as_on_the_site():
    documents, _ = read_balanced(
        stackexchange.PIPELINE, [raw_file(POSTS / "beer-2017" / "Posts.xml")], site="beer.stackexchange.com"
    )
    thread = next(document for document in documents if document.doc_id.endswith("/35"))
    assert thread.text.startswith(
        "Q: Why are some beers non-vegan? Some beers (for example, Guinness) are marked as 'not suitable for vegans'. "
        "What is in the beer such that this is the case?\n\n"
        "A: There are two main ingredients in beer that might cause them to be unsuitable for vegans. The first one "
        "might be fairly obvious. Honey is sometimes used as a sweetener, especially in meade, but certainly in other "
        "beers.\nHowever, the main cause is a fining agent called Isinglass that is made from ground swim bladders of "
        "fish.\n\nA: Some beer use animal by-products"
    )
    assert thread.text.count("\n\nA: ") == 4


@needs_shared
def test_the_shape_is_that_of_redpajamas_rows():
    lines = (POSTS / "redpajama-rows" / "stack_exchange.jsonl").read_text().splitlines()
    theirs = [json.loads(line)["text"] for line in lines]
    ours = [
        document.text
        for document in read_balanced(stackexchange.PIPELINE, [raw_file(POSTS / "coffee-2015" / "Posts.xml")])[0]
    ]
    for text in theirs + ours:
        assert re.match(r"Q: \S", text)
    assert any("\n\nA: " in text for text in theirs)
    assert any("\n\nA: " in text for text in ours)


# ---- licences, sites


def test_a_post_without_a_licence_has_that_of_its_day():
    days = ["2010-01-01T00:00:00", "2011-04-07T23:59:59.999", "2011-04-08T00:00:00.000", "2018-05-01T23:59:59.999"]
    versions = [stackexchange.license_of(day)[-3:] for day in [*days, "2018-05-02T00:00:00.000", "2024-03-31", ""]]
    assert versions == ["2.5", "2.5", "3.0", "3.0", "4.0", "4.0", ""]


@needs_shared
@pytest.mark.parametrize("name", ["bicycles-meta-2023", "conlang-meta-2020", "french-meta-2021"])
def test_the_licence_by_date_is_the_one_that_real_dumps_name_but_for_some_edited_posts(name):
    rows = [xml.parse(row) for row in re.findall(rb"<row .*?/>", (POSTS / name / "Posts.xml").read_bytes())]
    other = [row for row in rows if row.get("ContentLicense") != stackexchange.license_of(row.get("CreationDate"))]
    assert len(other) < 0.01 * len(rows)
    assert all(row.get("LastEditDate") for row in other)


def three_sites(tmp_path):
    small, large = posts_xml(question(1)), posts_xml(*(question(number) for number in range(50)))
    tags = archive(("Tags.xml", large))
    files = {"a.com.7z": archive(("Posts.xml", large)), "b.com/Posts.xml": small, "c.com.7z": tags}
    return [write_raw(tmp_path, name, data) for name, data in files.items()]


def test_the_largest_sites_are_those_with_most_bytes_of_posts(tmp_path):
    files = three_sites(tmp_path)
    for wanted, found in {1: ["a.com"], 2: ["a.com", "b.com"], 28: ["a.com", "b.com"]}.items():
        assert stackexchange.resolve(stackexchange.Options(sites=f"largest-{wanted}"), [], files) == {"sites": found}
    assert stackexchange.resolve(stackexchange.Options(sites=["b.com"]), [], files) == {}
    broken = write_raw(tmp_path, "d.com.7z", files[0].open().read()[:-20])
    assert stackexchange.posts_bytes(broken) == 0


def test_files_of_other_sites_are_left_out_by_name(tmp_path):
    documents, tally = read_balanced(stackexchange.PIPELINE, three_sites(tmp_path), sites=("b.com",))
    assert [document.doc_id for document in documents] == ["src/b.com/1"]
    assert tally.dropped == {"not-selected": 2}


def test_sites_is_a_list_or_the_largest():
    with pytest.raises(ValueError, match="wanted a list of host names, or 'largest-28', not 'large'"):
        stackexchange.Options(sites="large")


def test_a_build_finds_the_largest_sites_among_all_its_files(tmp_path):
    three_sites(tmp_path)
    manifest = tmp_path / "m.toml"
    manifest.write_text(
        'name = "m"\nseed = 1\n[[source]]\nname = "se"\npipeline = "stackexchange"\n'
        'inputs = ["*.7z", "*/Posts.xml"]\noptions = { sites = "largest-1" }\n'
    )
    build = build_stepwise(manifest, tmp_path / "r", "documents")
    kept = {part.inputs[0]["url"]: part.counts["kept"] for part in build.parts("documents")}
    assert kept == {"a.com.7z": 50, "b.com/Posts.xml": 0, "c.com.7z": 0}
