import bz2
import gzip
import re
from html import escape

import pytest
from balanced import damaged, read_balanced
from conftest import SHARED, needs_shared, raw_file, write_raw

from redpajama.pipelines import wikipedia
from redpajama.raw import xml
from redpajama.records import Reason, Tally

DUMPS = SHARED / "wikipedia"
NAME = "enwiki-20230320-pages-articles.xml"
HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="{lang}">
  <siteinfo>
    <dbname>{lang}wiki</dbname>
    <base>https://{host}/wiki/Main_Page</base>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="1" case="first-letter">Talk</namespace>
      <namespace key="6" case="first-letter">{file}</namespace>
      <namespace key="14" case="first-letter">{category}</namespace>
    </namespaces>
  </siteinfo>
"""


def page(number: int, text: str = "Some text.", title: str = "", ns: str = "<ns>0</ns>", extra: str = "") -> str:
    return f"""  <page>
    <title>{escape(title or f"Page {number}")}</title>
    {ns}
    <id>{number}</id>{extra}
    <revision>
      <id>{number}00</id>
      <timestamp>2019-05-06T07:08:09Z</timestamp>
      <contributor><username>x</username><id>5</id></contributor>
      <text xml:space="preserve">{escape(text)}</text>
    </revision>
  </page>
"""


def dump(*pages: str, lang="en", host="en.wikipedia.org", file="File", category="Category") -> bytes:
    return (
        HEAD.format(lang=lang, host=host, file=file, category=category) + "".join(pages) + "</mediawiki>\n"
    ).encode()


def read_bytes(tmp_path, data: bytes, name: str = NAME, **options):
    return read_balanced(wikipedia.PIPELINE, [write_raw(tmp_path, name, data)], **options)


def text_of(wikitext: str, **head: str) -> str:
    return wikipedia.to_text(wikitext, wikipedia.wiki_of(dump(**head), NAME, wikipedia.Options()))


# ---- documents


def test_an_article_is_one_document_with_redpajamas_fields(tmp_path):
    [document], tally = read_bytes(
        tmp_path, dump(page(12, "'''Old''' [[text|words]].\n== Part ==\nMore.", "Café & co"))
    )
    assert document.doc_id == "src/en/12"
    assert document.text == "Old words.\n\nPart\nMore."
    assert document.meta == {
        "title": "Café & co",
        "url": "https://en.wikipedia.org/wiki/Caf%C3%A9%20%26%20co",
        "language": "en",
        "timestamp": "20230320",
        "source": "wikipedia",
        "revision": "1200",
    }
    assert tally.read == 1


def test_a_page_that_names_itself_shows_its_title(tmp_path):
    source = "'''{{PAGENAME}}''' and {{ NOMPAGE }}.{{DEFAULTSORT:{{PAGENAME}}}} {{lc:{{ИМЯСТРАНИЦЫ}}}}"
    [document], _ = read_bytes(tmp_path, dump(page(1, source, "Café & co")))
    assert document.text == "Café & co and Café & co. café & co"


def test_pages_that_are_no_articles_are_dropped_by_name(tmp_path):
    data = dump(
        page(1, ns="<ns>1</ns>"),
        page(2, extra='<redirect title="Page 9" />'),
        page(3, "#REDIRECT [[Page 9]]"),
        page(4, "'''Ada''' may be:\n* [[a]]\n{{Disambig}}"),
        page(5, "{{only|a template}}"),
        page(6, ""),
        page(7, '{"a": 1}').replace("<text", "<model>json</model><text"),
        page(8),
    )
    documents, tally = read_bytes(tmp_path, data)
    assert [document.doc_id for document in documents] == ["src/en/8"]
    assert [(row.doc_id, row.reason.value) for row in tally.rows] == [
        ("src/en/1", "not-an-article"),
        ("src/en/2", "redirect"),
        ("src/en/3", "redirect"),
        ("src/en/4", "disambiguation"),
        ("src/en/5", "empty-text"),
        ("src/en/6", "empty-text"),
        ("src/en/7", "not-an-article"),
    ]
    assert len(read_bytes(tmp_path, data, keep_disambiguation=True)[0]) == 2


def test_the_latest_revision_counts_whatever_the_order(tmp_path):
    def revision(day: str, text: str) -> str:
        return f"<revision><id>{day}</id><timestamp>2020-01-{day}T00:00:00Z</timestamp><text>{text}</text></revision>"

    revisions = revision("02", "second") + revision("09", "last") + revision("01", "first")
    data = dump(f"<page><title>T</title><ns>0</ns><id>1</id>{revisions}</page>")
    [document], _ = read_bytes(tmp_path, data)
    assert (document.text, document.meta["revision"]) == ("last", "09")


def test_the_date_is_the_options_then_the_files_then_the_pages(tmp_path):
    data = dump(page(1))
    assert read_bytes(tmp_path, data, date="20221231")[0][0].meta["timestamp"] == "20221231"
    assert read_bytes(tmp_path, data)[0][0].meta["timestamp"] == "20230320"
    assert read_bytes(tmp_path, data, "dump.xml")[0][0].meta["timestamp"] == "20190506"


@pytest.mark.parametrize(
    ("head", "name", "doc_id", "language", "url"),
    [
        (
            {"lang": "gsw", "host": "als.wikipedia.org"},
            NAME,
            "src/als/1",
            "als",
            "https://als.wikipedia.org/wiki/Page%201",
        ),
        (
            {"host": "de.wiktionary.org"},
            NAME,
            "src/de.wiktionary.org/1",
            "en",
            "https://de.wiktionary.org/wiki/Page%201",
        ),
        (None, "zh_yuewiki-20200101-p.xml", "src/zh-yue/1", "zh-yue", "https://zh-yue.wikipedia.org/wiki/Page%201"),
        (None, "dump.xml", "src/und/1", "und", "https://und.wikipedia.org/wiki/Page%201"),
    ],
)
def test_the_head_of_the_dump_tells_its_language_and_address(tmp_path, head, name, doc_id, language, url):
    data = dump(page(1), **head) if head else f"<mediawiki>{page(1)}</mediawiki>".encode()
    [document], _ = read_bytes(tmp_path, data, name)
    assert (document.doc_id, document.meta["language"], document.meta["url"]) == (doc_id, language, url)


def test_characters_that_xml_forbids_are_taken_out_and_noted_whatever_becomes_of_the_page(tmp_path):
    talk = page(2, "Talk.", title="Talk:B", ns="<ns>1</ns>").replace("Talk.", "Talk\x00.")
    documents, tally = read_bytes(tmp_path, dump(page(1, "Some\x01 text."), talk))
    assert [document.text for document in documents] == ["Some text."]
    assert tally.noted == {Reason.FORBIDDEN_CHARACTER: 2}
    assert [row.evidence["removed"] for row in tally.rows if row.verdict == "noted"] == [1, 1]


def test_languages_select_and_language_overrides(tmp_path):
    data = dump(page(1), lang="de", host="de.wikipedia.org")
    assert len(read_bytes(tmp_path, data, languages=("de", "fr"))[0]) == 1
    assert dict(read_bytes(tmp_path, data, languages=("fr",))[1].dropped) == {Reason.NOT_SELECTED: 1}
    assert read_bytes(tmp_path, data, languages=("fr",), language="fr")[0][0].doc_id == "src/fr/1"


def test_old_exports_have_the_namespace_in_the_title(tmp_path):
    data = dump(
        page(1, title="Discussion:A", ns=""), page(2, title="Star Trek: A", ns=""), page(3, title="Talk:B", ns="")
    )
    documents, _ = read_bytes(tmp_path, data.replace(b">Talk<", b">Discussion<"))
    assert [document.meta["title"] for document in documents] == ["Star Trek: A"]


def test_a_page_without_an_id_gets_a_content_key(tmp_path):
    [document], _ = read_bytes(tmp_path, dump(page(1).replace("<id>1</id>", "")))
    assert len(document.doc_id.removeprefix("src/en/")) == 24


@pytest.mark.parametrize(
    "text",
    [
        "#redirect [[A]]",
        " #REDIRECT: [[A]]",
        "#WEITERLEITUNG [[A]]",
        "#REDIRECCIÓN [[A]]",
        "#ПЕРЕНАПРАВЛЕНИЕ [[A]]",
        "#patrz [[A]]",
        "#PŘESMĚRUJ [[A]]",
    ],
)
def test_redirects_are_told_in_each_language(text):
    assert wikipedia.REDIRECT.match(text)
    assert not wikipedia.REDIRECT.match(text.replace("#", ""))


@pytest.mark.parametrize(
    ("language", "templates"),
    {
        "bg": "{{пояснение}} {{Пояснителна страница}}",
        "ca": "{{Desambiguació}} {{Acrònim}} {{Biografia desambiguació}}",
        "cs": "{{rozcestník|x}} {{Rozcestník - příjmení}}",
        "da": "{{Flertydig}}",
        "de": "{{Begriffsklärung}} {{BKS}}",
        "en": "{{Disambiguation}} {{dab<!--c-->}} {{human_name_disambiguation}} __DISAMBIG__",
        "es": "{{desambiguación}} {{des}}",
        "fr": "{{Homonymie}} {{Patronymie}} {{Homonymie de clubs sportifs}} {{Villes homonymes}}",
        "hr": "{{Razdvojba}}",
        "hu": "{{egyért}} {{Egyértelműsítő lap}}",
        "it": "{{Disambigua}} {{Sigla2}}",
        "nl": "{{dp}} {{Dpintro}}",
        "pl": "{{Ujednoznacznienie}} {{DisambRulers}}",
        "pt": "{{Desambiguação}} {{Desambig}}",
        "ro": "{{Dezambiguizare}} {{DezGeo}}",
        "ru": "{{неоднозначность}} {{Многозначность}}",
        "sl": "{{Razločitev}} {{Razločitev osebnih imen}}",
        "sr": "{{Вишезначна_одредница}} {{Višeznačna odrednica}}",
        "sv": "{{Gren}} {{Robotskapad förgrening}}",
        "uk": "{{Багатозначність}} {{DisambigN}}",
        "xx": "{{Homonymie}} {{Gren}} {{dab}}",
    }.items(),
)
def test_disambiguation_pages_are_told_in_each_language(language, templates):
    for template in re.findall(r"\{\{.*?\}\}|__\w+__", templates):
        assert wikipedia.is_disambiguation(f"'''A''' is:\n* [[b]]\n{template}\n", language), template
    assert wikipedia.is_disambiguation("{{Disambig}}", language)


@pytest.mark.parametrize(
    "text",
    [
        "{{Begriffsklärungshinweis}}",
        "{{disambiguation needed|date=x}}",
        "{{about|a|b (disambiguation)}}",
        "{{other uses}}",
        "{{Voir homonymes|a}}",
        "{{Různé významy|a}}",
        "{{Egyért-redir|a|b}}",
    ],
)
def test_a_hint_at_another_page_is_no_disambiguation(text):
    assert not any(wikipedia.is_disambiguation(text, language) for language in wikipedia.DISAMBIGUATION_TEMPLATES)


def test_a_template_of_another_language_is_no_disambiguation():
    assert not wikipedia.is_disambiguation("{{gren}}", "en")
    assert not wikipedia.is_disambiguation("{{des}}", "sv")


# ---- wikitext


@needs_shared
def test_footnotes_in_a_list_cost_no_text_around_them():
    name = "gensim/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
    text = bz2.decompress((DUMPS / name).read_bytes()).decode()
    [page] = re.findall(r"<page>\s*<title>Algeria</title>.*?</page>", text, re.DOTALL)
    pieces = xml.Piece(xml.Kind.RECORD, 0, page.encode())
    wiki = wikipedia.wiki_of(b"", "enwiki", wikipedia.Options())
    [document] = wikipedia.read_page(pieces, wiki, "", wikipedia.Options(), "src", Tally())
    assert "45,000 Catholics and 50,000–100,000 Protestants in Algeria." in document.text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("[[File:a.jpg|thumb|A [[link]] in it]]Text[[image:b.png]].", "Text."),
        ("[[Datei:a.jpg|mini]][[Файл:b.png]]x", "x"),
        ("x\n[[Category:A]]\n[[category:B|*]]\n[[Kategorie:C]]", "x"),
        ("x\n[[fr:Titre]]\n[[zh-min-nan:Y]]\n[[simple:Z]]", "x"),
        ("x\n[[de:]]\n[[fiu-vro: ]]\n[[en:|y]]", "x"),
        ("a [[s:Source]] and [[fr|Fr: one]] and [[doi:10.1]]", "a s:Source and Fr: one and doi:10.1"),
        ("a<ref name='b'>no {{cite}}</ref> b<ref name=b />.", "a b."),
        ("a\n{| class='x'\n|-\n| cell || cell\n|}\nb<table><tr><td>c</td></tr></table>", "a\n\nb"),
        ("{{Infobox|a={{b}}}}A {{cite|fr|b}} c", "A  c"),
        ("__NOTOC__a __KEIN_INHALTSVERZEICHNIS__b __init__", "a b __init__"),
        ("''i'' '''b''' <b>c</b> <!-- no -->[http://x.y label] &amp;&nbsp;&eacute;", "i b c label &\xa0é"),
        ("Lead.\n\n== One ==\n=== Two ===\ntext\n== Three ==\n", "Lead.\n\nOne\n\nTwo\ntext\n\nThree"),
        ("* a\n* b\n# c\n: d", "a\nb\nc\nd"),
        ("a   \n\n\n\n \nb", "a\n\nb"),
        ("{{lang|grc|''ἀναρχία''}}, {{Lang-sq|[[Shqipëri]]a}}, {{langx|el|ἀρχός}}", "ἀναρχία, Shqipëria, ἀρχός"),
        ("{{transl|ar|ALA|Allāh}} {{nowrap|[[A|Apollo]] 7}} {{small|s}} {{abbr|Mr|Mister}}", "Allāh Apollo 7 s Mr"),
        ("{{nowrap|a {{lang|fr|b {{cite|x}}}}}} [[c|{{small|d}}]] ''{{lang|la|e}}''", "a b d e"),
        ("{{convert|1300|mi|km}}, {{Convert|5|to|10|km|mi|abbr=on}}, {{cvt|3|ft}}", "1300 mi, 5 to 10 km, 3 ft"),
        ("a<ref name=b>[[c</ref> d<REF>''e</REF\n> ''f<ref>'</ref>''<!-- <ref> --> g", "a d f g"),
        ("a<nowiki><ref>b</ref><!-- c --></nowiki>d", "a<ref>b</ref><!-- c -->d"),
        ("a<ref>b<ref>c</ref>d</ref>e <ref name='x'/>f", "ae f"),
        ("{{lang|grc}}{{nowrap}}{{convert}}x", "x"),
        ("*   [[a]]\n** b\n#c\n:: d\n code", "a\nb\nc\nd\n code"),
        ("&#xD800;x", "&#xD800;x"),
    ],
)
def test_wikitext_becomes_text(wikitext, text):
    assert text_of(wikitext) == text


def test_local_names_of_files_and_categories_come_from_the_dump():
    wikitext = "[[Fails:a.jpg|thumb]]x\n[[Kategoreja:Y]]"
    assert text_of(wikitext, lang="ltg", host="ltg.wikipedia.org", file="Fails", category="Kategoreja") == "x"
    assert text_of(wikitext.replace("a.jpg", "a.pdf")) == "thumbx\nKategoreja:Y"


@pytest.mark.parametrize(
    "unit", ["<x a='", "<x>[[a|</x>]]", "{{a|[[b|", "{{a|<x>}}</x>", "{|\n<x>|}\n</x>\n", '<x a="></x>']
)
def test_markup_that_never_closes_is_refused_before_it_costs_hours(unit):
    assert text_of(unit * (1_000_000 // len(unit))) is Reason.EXPANSION_LIMIT


def test_deep_nesting_ends():
    assert isinstance(text_of("{{a|" * 5000 + "}}" * 5000 + "x"), str)
    assert isinstance(text_of("<div>" * 3000 + "x" + "</div>" * 3000), str)


# ---- bad input


def test_a_broken_page_costs_itself_alone(tmp_path):
    broken = {
        page(2).replace("</title>", "</tit>"): Reason.INVALID_XML,
        page(2).replace("<page>", "<pbge>"): Reason.INVALID_XML,
        page(2).replace("</page>", ""): Reason.INVALID_XML,
        page(2).replace("Some text.", "&lol;"): Reason.INVALID_XML,
        page(2).replace("<title>Page 2</title>", ""): Reason.MISSING_FIELD,
        "<page><title>x</title></page>": Reason.MISSING_FIELD,
    }
    for text, reason in broken.items():
        documents, tally = read_bytes(tmp_path, dump(page(1), text, page(3)))
        assert [document.doc_id for document in documents] == ["src/en/1", "src/en/3"], text
        assert dict(tally.quarantined) == {reason: 1}, text


def test_invalid_utf8_costs_its_page(tmp_path):
    data = dump(page(1), page(2, "café"), page(3)).replace(b"\xc3\xa9", b"\xe9")
    documents, tally = read_bytes(tmp_path, data)
    assert (len(documents), dict(tally.quarantined)) == (2, {Reason.INVALID_UTF8: 1})


def test_an_entity_bomb_is_never_expanded(tmp_path):
    entities = "".join(f'<!ENTITY lol{n} "{f"&lol{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<?xml version="1.0"?><!DOCTYPE mediawiki [<!ENTITY lol0 "lol">{entities}]>'.encode()
    documents, tally = read_bytes(tmp_path, bomb + dump(page(1), page(2).replace("Some text", "&lol9;")))
    assert (len(documents), dict(tally.quarantined)) == (1, {Reason.INVALID_XML: 1})


def test_a_file_that_breaks_off_says_so(tmp_path):
    data = dump(page(1), page(2))
    for end in (data.index(b"<id>2</id>"), data.index(b"</mediawiki>")):
        _, tally = read_bytes(tmp_path, data[:end])
        assert dict(tally.quarantined) == {Reason.TRUNCATED: 1}


def test_a_damaged_bz2_keeps_the_pages_before_and_after(tmp_path):
    streams = [bz2.compress(part) for part in (HEAD.encode(), page(1).encode(), page(2).encode(), page(3).encode())]
    streams[2] = streams[2][:40] + bytes(9) + streams[2][49:]
    documents, tally = read_bytes(tmp_path, b"".join(streams) + bz2.compress(b"</mediawiki>"), NAME + ".bz2")
    assert [document.doc_id for document in documents] == ["src/en/1", "src/en/3"]
    assert tally.skipped_bytes >= len(streams[2]) - 20


def test_an_empty_file_has_no_pages_and_another_format_is_named(tmp_path):
    assert read_bytes(tmp_path, b"")[1].read == 0
    assert read_bytes(tmp_path, dump())[1].read == 0
    for data in (b'{"not": "xml"}', b"\x00\x01\x02" * 99, b"<html><body>404</body></html>"):
        documents, tally = read_bytes(tmp_path, data)
        assert (documents, dict(tally.quarantined)) == ([], {Reason.WRONG_FORMAT: 1})


def test_a_page_over_the_limit_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(xml, "MAX_RECORD_BYTES", 2 << 20)
    documents, tally = read_bytes(tmp_path, dump(page(1), page(2, "x" * (5 << 20)), page(3)))
    assert (len(documents), dict(tally.quarantined)) == (2, {Reason.EXPANSION_LIMIT: 1})


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_no_damage_crashes_or_unbalances(tmp_path, pack):
    pages = [
        page(n, f"'''Page''' {n} [[File:x|{{{{y}}}}]]<ref>z</ref>\n== Head ==\n* [[link|text]]\n" * 9) for n in range(9)
    ]
    for data in damaged(pack(dump(*pages))):
        read_bytes(tmp_path, data)


# ---- real dumps

REAL = {  # file: (pages, articles, reasons)
    "aawiki-20260101/aawiki-20260101-pages-meta-current.xml.bz2": (
        507,
        0,
        {"empty-text": 1, "not-an-article": 505, "redirect": 1},
    ),
    "gensim/bgwiki-latest-pages-articles-shortened.xml.bz2": (3, 1, {"not-an-article": 2}),  # UTF-16
    "gensim/enwiki-table-markup.xml.bz2": (5, 5, {}),
    "json-wikipedia/misc/wikipedia-small-test.xml.bz2": (3, 3, {}),
    "mediawiki-dump/dump.xml": (2, 1, {"not-an-article": 1}),
    "mediawiki-dump/dump.xml.bz2": (2, 1, {"not-an-article": 1}),
    "mediawiki-dump/dump.xml.7z": (1, 0, {"wrong-format": 1}),
    "minidumps/wikidata/wiki.xml.bz2": (47, 0, {"not-an-article": 47}),
    "pignlproc/frwiki-20101103-pages-articles-sample.xml": (6, 5, {"redirect": 1}),
    "wikidump/enwiki-articles-partial.xml": (11, 2, {"disambiguation": 2, "not-an-article": 4, "redirect": 3}),
    "wikidump/simplewiki.xml": (7, 6, {"not-an-article": 1}),
    "wikidump/simplewiki.xml.bz2": (7, 6, {"not-an-article": 1}),
}
LANGUAGES = [path.parent.name for path in sorted(DUMPS.glob("minidumps/??/wiki.xml.bz2"))]  # RedPajama's and others
MALFORMED = {"en": {"Kerala Agricultural University"}}  # by its authors: a `[[` without its end
SLOW = {
    "dumpster-dive/smallwiki-latest-pages-articles.xml": (
        2004,
        896,
        {"redirect": 147, "empty-text": 7, "not-an-article": 954},
    ),
    "gensim/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2": (
        206,
        98,
        {"redirect": 99, "disambiguation": 8, "not-an-article": 1},
    ),
}


@needs_shared
@pytest.mark.parametrize("name", [*REAL, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_every_page_of_a_real_dump_is_accounted_for(name):
    documents, tally = read_balanced(wikipedia.PIPELINE, [raw_file(DUMPS / name)])
    reasons = {reason.value: count for reason, count in (tally.dropped | tally.quarantined).items()}
    assert (tally.read, len(documents), reasons) == (REAL | SLOW)[name]


@needs_shared
@pytest.mark.parametrize("language", LANGUAGES)
def test_real_articles_have_no_markup_left(language):
    path = DUMPS / "minidumps" / language / "wiki.xml.bz2"
    documents, tally = read_balanced(wikipedia.PIPELINE, [raw_file(path)], language=language)
    assert sum(tally.quarantined.values()) == 0
    for document in documents:
        assert document.doc_id.startswith(f"src/{language}/")
    left = {document.meta["title"] for document in documents if re.search(r"\[\[|\{\{|'''|<ref", document.text)}
    assert left == MALFORMED.get(language, set())


@needs_shared
def test_a_real_article_reads_as_on_the_site():
    name = "gensim/bgwiki-latest-pages-articles-shortened.xml.bz2"
    [document], _ = read_balanced(wikipedia.PIPELINE, [raw_file(DUMPS / name)])
    assert document.text.startswith(
        "Григорианският календар (понякога наричан и Грегориански календар, „нов стил“) е съвременният международно "
        "признат светски календар, на който се основава и международният стандарт ISO 8601.\n\n"
        "Григорианският календар е въведен в употреба на 4 октомври 1582\xa0г. в съответствие с була"
    )
    assert document.text.endswith(
        "Външни препратки\n\nГРИГОРИАНСКИ КАЛЕНДАР\nKalendergenerator\nВечният календар\n"
        "Papst Gregor XIII: Inter Gravissimas Папската Була\nАлтернативи\n\nИзточници"
    )
    assert document.meta["url"].startswith("https://bg.wikipedia.org/wiki/%D0%93%D1%80")
