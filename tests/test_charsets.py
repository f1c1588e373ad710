"""Characters of pages: what a browser reads by marks, headers and meta elements, and a right guess where these fail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpajama.extract import charsets

ENGLISH = "<p>Paper was made of rags, and rags were hard to come by in a year of war. </p>" * 6
FOREIGN = {
    "cp1252": "The mill’s owner – “a good man” – ate his crêpes with Größe.",
    "cp1250": "Příliš žluťoučký kůň úpěl ďábelské ódy. Zażółć gęślą jaźń.",
    "iso8859-2": "Příliš žluťoučký kůň úpěl ďábelské ódy nad řekou.",
    "cp1251": "Съешь ещё этих мягких французских булок, да выпей чаю.",
    "koi8-u": "Україна має ґанок і їжу, її люди мають хліб і сіль.",
    "iso8859-5": "Съешь ещё этих мягких французских булок, да выпей чаю.",
    "cp866": "Съешь ещё этих мягких французских булок, да выпей чаю.",
    "mac-cyrillic": "Съешь ещё этих мягких французских булок, да выпей чаю.",
    "cp1253": "Άλλος «ένας» φάρος – και η θάλασσα γύρω του.",
    "cp1254": "Pijamalı hasta yağız şoföre çabucak güvendi.",
    "cp1255": "דג סקרן שט בים מאוכזב ולפתע מצא חברה.",
    "cp1256": "نص حكيم له سر قاطع وذو شأن عظيم.",
    "cp1257": "Įlinkdama fechtuotojo špaga sublykčiojusi pragręžė apvalų arbūzą.",
    "cp874": "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า",
    "gb18030": "纸是用破布做的，战争年代破布很难得到。",
    "big5": "紙是用破布做的，戰爭年代破布很難得到。",
    "cp932": "紙はぼろ布から作られ、戦争の年にはぼろ布は手に入りにくかった。",
    "euc_jp": "紙はぼろ布から作られ、戦争の年にはぼろ布は手に入りにくかった。",
    "iso2022_jp": "紙はぼろ布から作られ、戦争の年にはぼろ布は手に入りにくかった。",
    "cp949": "종이는 넝마로 만들었고 전쟁의 해에는 넝마를 구하기 어려웠다.",
    "utf-16-le": "Paper of 1916, by Ørsted – in kroner.",
    "utf-16-be": "Paper of 1916, by Ørsted – in kroner.",
    "utf-8": "Paper, papír, χαρτί, бумага, 纸.",
}


@pytest.mark.parametrize("encoding", FOREIGN)
@pytest.mark.parametrize("times", [1, 20])
def test_a_page_that_says_nothing_is_guessed(encoding, times):
    page = ENGLISH + f"<p>{FOREIGN[encoding]}</p>" * times + ENGLISH
    assert charsets.to_unicode(page.encode(encoding)) == page


@pytest.mark.parametrize("nonsense", ["none", "utf-9", "x-unheard-of", "windows", "{charset}", "utf-8;utf-8"])
def test_a_nonsense_declaration_is_none(nonsense):
    page = f"<meta charset='{nonsense}'>" + ENGLISH + FOREIGN["cp1251"]
    assert charsets.to_unicode(page.encode("cp1251"), nonsense) == page


LABELS = [
    ("latin1", "cp1252"),
    (" ISO-8859-1\t", "cp1252"),
    ("l5", "cp1254"),
    ("x-sjis", "cp932"),
    ("gb2312", "gb18030"),
]


@pytest.mark.parametrize(
    ("label", "encoding"),
    [
        *LABELS,
        ("ks_c_5601-1987", "cp949"),
        ("TIS-620", "cp874"),
        ("unicode-1-1-utf-8", "utf-8"),
        ("x-mac-ukrainian", "mac-cyrillic"),
    ],
)
def test_labels_are_those_of_the_encoding_standard(label, encoding):
    assert charsets.codec_of(label) == encoding


META = {
    "plain": "<meta charset=koi8-r>",
    "quoted, among others": "<META name='a>b' CharSet = \"koi8-r\" />",
    "pragma": "<meta http-equiv='Content-Type' content='text/html; charset=koi8-r'>",
    "pragma, turned around": '<meta content="text/html;charset= koi8-r ;x" http-equiv=content-type>',
    "behind a comment": "<!-- <meta charset=utf-8> --><meta charset=koi8-r>",
    "behind an empty comment": "<!--><meta charset=koi8-r>",
    "behind one that names nothing": "<meta charset=nothing><meta charset=koi8-r>",
    "behind an attribute": "<p title='<meta charset=utf-8>'><meta charset=koi8-r>",
    "behind one that is no pragma": "<meta content='text/html; charset=utf-8'><meta charset=koi8-r>",
    "an XML declaration": "<?xml version='1.0' encoding='koi8-r'?><html>",
}


@pytest.mark.parametrize("name", META)
def test_a_meta_element_is_found_where_a_browser_looks(name):
    page = META[name] + "<p>Да.</p>"
    assert charsets.to_unicode(page.encode("koi8-r")) == page


@pytest.mark.parametrize("before", ["<!--" + "x" * 2000 + "-->", "<style>" + " " * 2000 + "</style>", "<p>a</p>" * 500])
def test_a_meta_element_behind_the_first_kilobyte_counts_too(before):
    page = before + "<script>'<meta charset=utf-8>'</script><meta charset=iso-8859-5><p>Да.</p>"
    assert charsets.to_unicode(page.encode("iso-8859-5")) == page


def test_a_mark_goes_before_a_header_and_that_before_a_meta_element():
    meta = b"<meta charset=koi8-r>"
    assert charsets.declared_encoding(meta) == "koi8-r"
    assert charsets.declared_encoding(meta, "windows-1251") == "cp1251"
    assert charsets.declared_encoding(b"\xef\xbb\xbf" + meta, "windows-1251") == "utf-8"
    assert charsets.declared_encoding(meta, is_html=False) is None


@pytest.mark.parametrize("label", ["utf-16", "unicode", "utf-16be", "utf-16le"])
def test_utf16_cannot_be_what_a_meta_element_was_read_in(label):
    page = f"<meta charset={label}><p>{FOREIGN['utf-8']}"
    assert charsets.to_unicode(page.encode()) == page
    assert charsets.to_unicode(page.encode(), label) == page
    for encoding in ("utf-16-le", "utf-16-be"):
        assert charsets.to_unicode(page.encode(encoding), label) == page


@pytest.mark.parametrize("label", ["unicode", "utf-16", "iso-10646-ucs-2"])
@pytest.mark.parametrize("encoding", ["cp1251", "cp1252", "gb18030"])
def test_tags_in_single_bytes_are_no_utf16(label, encoding):
    page = ENGLISH + FOREIGN[encoding]
    assert charsets.to_unicode(page.encode(encoding), label) == page


@pytest.mark.parametrize("label", ["iso-8859-1", "us-ascii", "gbk", "windows-1251"])
def test_utf8_is_told_whatever_a_server_adds_to_every_page(label):
    page = ENGLISH + FOREIGN["cp1252"]
    assert charsets.to_unicode(page.encode(), label) == page
    assert charsets.to_unicode("Ã©".encode("cp1252"), "windows-1252") == "Ã©"


def test_a_byte_of_windows_1252_in_utf8_is_its_character_and_a_damaged_one_is_none():
    assert charsets.to_unicode("Žižkov, ".encode() + b"caf\xe9 \x96 ok") == "Žižkov, café – ok"
    assert charsets.to_unicode("Žižkov, ".encode() + b"caf\xff ok, cut \xe2\x80") == "Žižkov, caf\ufffd ok, cut \ufffd"


def test_half_a_character_at_the_end_of_utf8_is_no_letter_of_another_encoding():
    assert charsets.to_unicode("Žižkov – ".encode()[:-3]) == "Žižkov \ufffd"


def test_bytes_that_a_code_page_leaves_free_are_no_replacement_characters():
    assert charsets.to_unicode(b"a\x81b", "windows-1252") == "a\x81b"


@given(st.binary(max_size=300), st.sampled_from(["", "utf-8", "utf-16", "gbk", "euc-jp", "koi8-r", "iso-2022-jp"]))
def test_any_bytes_are_read(data, label):
    charsets.to_unicode(data, label).encode()


@pytest.mark.parametrize("piece", [b"<meta ", b"<!--", b"<script>", b'<a b="', b"\xe9", b"a\xe9 ", b"<meta charset"])
def test_reading_is_linear(piece):
    assert charsets.to_unicode(piece * 100_000)
