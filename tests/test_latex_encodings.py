"""Bytes of TeX files in the encodings that papers declare."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpajama.extract.latex_encodings import ENCODINGS, characters, decode, decode_paper

HEAD = b"\\documentclass{article}\\usepackage[%s]{inputenc}\\begin{document}"


def read(data: bytes, **others: bytes) -> str:
    return decode_paper("main.tex", {"main.tex": data, **{f"{name}.tex": part for name, part in others.items()}})[
        "main.tex"
    ].text


@pytest.mark.parametrize(
    ("name", "text", "codec"),
    [
        ("latin1", "Größe, à côté", "latin-1"),
        ("latin2", "żółw i gęś, říčky", "iso8859-2"),
        ("latin3", "ĉiuĵaŭde", "iso8859-3"),
        ("latin4", "ķēniņš", "iso8859-4"),
        ("latin5", "çığ, güneş", "iso8859-9"),
        ("latin9", "cœur, 3 €", "iso8859-15"),
        ("latin10", "împărțit", "iso8859-16"),
        ("ansinew", "„Größe“ – 3 €", "cp1252"),
        ("cp1250", "„żółw” – gęś", "cp1250"),
        ("cp1251", "Доказательство — «ясно»", "cp1251"),
        ("cp1252", "‘côté’", "cp1252"),
        ("cp1257", "„ąžuolas“", "cp1257"),
        ("koi8-r", "Доказательство", "koi8-r"),
        ("koi8-u", "Доведення: її", "koi8-u"),
        ("applemac", "“côté” – cœur", "mac-roman"),
        ("macce", "żółw, gęś", "mac-latin2"),
        ("cp437", "Größe, côté", "cp437"),
        ("cp850", "Größe, Ø", "cp850"),
        ("cp852", "żółw, gęś", "cp852"),
        ("cp858", "3 € für Ø", "cp858"),
        ("cp865", "Ærø, Å", "cp865"),
        ("cp866", "Доказательство", "cp866"),
        ("iso88595", "Доказательство", "iso8859-5"),
        ("maccyr", "Доказательство", "mac-cyrillic"),
        ("utf8", "Größe, Доказательство", "utf-8"),
        ("utf8x", "ℝ, Größe", "utf-8"),
    ],
)
def test_a_file_is_read_in_the_encoding_that_it_declares(name, text, codec):
    assert read(HEAD % name.encode() + text.encode(codec)).endswith(text)


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("next", b"c\xe0t\xdd \xaaGr\xf0\xfbe\xba", "cìté “Größe”"),
        ("decmulti", b"\xf7uvre, \xdd", "œuvre, Ÿ"),
        ("mik", b"\x8b\xa5\xac\xac\xa0", "Лемма"),
    ],
)
def test_encodings_that_python_has_not_are_read(name, data, text):
    assert decode(data, name).text == text


def test_every_encoding_has_256_bytes_and_no_control_in_the_upper_half():
    for codec in set(ENCODINGS.values()) - {"utf-8"}:
        assert characters(codec)[:128] == tuple(map(chr, range(128)))
        assert len(characters(codec)) == 256
        assert not [each for each in characters(codec)[128:] if each and unicodedata.category(each) == "Cc"], codec


@pytest.mark.parametrize(
    "declaration",
    [
        "\\usepackage[cp1251]{inputenc}",
        "\\usepackage [ utf8 , cp1251 ] {inputenc}",
        "\\usepackage[T2A,cp1251]{fontenc,inputenc}",
        "\\usepackage[%\n cp1251]{inputenc}",
        "\\RequirePackage[CP1251]{inputenc}",
        "\\usepackage[cp1251]{inputenx}",
        "\\PassOptionsToPackage{cp1251}{inputenc}\\usepackage{inputenc}",
        "\\usepackage[latin1]{inputenc}\\inputencoding{cp1251}",
        "%\\usepackage[latin1]{inputenc}\n\\usepackage[cp1251]{inputenc}\n%\\usepackage[koi8-r]{inputenc}\n",
    ],
)
def test_a_declaration_has_many_forms(declaration):
    data = f"\\documentclass{{article}}{declaration}\\begin{{document}}".encode() + "Лемма".encode("cp1251")
    assert read(data).endswith("Лемма")


def test_the_class_may_give_the_option():
    head = b"\\documentclass[12pt,koi8-r]{article}\\usepackage{inputenc}\\begin{document}"
    assert read(head + "Лемма".encode("koi8-r")).endswith("Лемма")


def test_an_encoding_changes_in_midst_of_a_file_up_to_the_end_of_its_group():
    data = HEAD % b"latin2" + "żółw".encode("iso8859-2") + b"{\\inputencoding{koi8-r}" + "Лемма".encode("koi8-r")
    data += b"}" + "gęś".encode("iso8859-2") + b"\\inputencoding{latin1}" + "côté".encode("latin-1")
    assert read(data).endswith("żółw{\\inputencoding{koi8-r}Лемма}gęś\\inputencoding{latin1}côté")


def test_input_files_are_read_in_the_encoding_in_force_where_they_are_input():
    files = {
        "main.tex": b"\\documentclass{a}\\input{head}\\usepackage{own}\\begin{document}\\input{one}"
        b"\\inputencoding{latin2}\\input{two}\\input{three}",
        "head.tex": b"\\usepackage[koi8-r]{inputenc}",
        "own.sty": "\\def\\x{Лемма}".encode("koi8-r"),
        "one.tex": "Лемма".encode("koi8-r"),
        "two.tex": "żółw".encode("iso8859-2"),
        "three.tex": "żółw и Лемма".encode(),
        "four.tex": b"never input",
    }
    decoded = decode_paper("main.tex", files)
    assert {name: file.text for name, file in decoded.items() if name != "main.tex"} == {
        "head.tex": "\\usepackage[koi8-r]{inputenc}",
        "own.sty": "\\def\\x{Лемма}",
        "one.tex": "Лемма",
        "two.tex": "żółw",
        "three.tex": "żółw и Лемма",
    }
    assert decoded["two.tex"].encodings == {"iso8859-2"}


def test_a_style_may_declare_the_encoding():
    files = {
        "main.tex": b"\\usepackage{own}" + "Лемма".encode("cp866"),
        "own.sty": b"\\RequirePackage[cp866]{inputenc}",
    }
    assert decode_paper("main.tex", files)["main.tex"].text.endswith("Лемма")


def test_files_that_input_each_other_are_read_once():
    files = {"main.tex": b"\\input{b}\xe9", "b.tex": b"\\input{main}\\input{b}\xe8"}
    assert {name: file.text[-1] for name, file in decode_paper("main.tex", files).items()} == {
        "main.tex": "é",
        "b.tex": "è",
    }


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        (b"\x93so\x94 \x96 it\x92s \x85 Gr\xf6\xdfe", "“so” – it’s … Größe", "cp1252"),
        (b"Gr\xf6\xdfe", "Größe", "latin-1"),
        ("Größe ".encode() + b"\x93so\x94 \x96 it\x92s", "Größe “so” – it’s", "utf-8"),
        ("\ufeffa\ufeffb \u0093so\u0094\ufdd0\U0001ffff".encode(), "ab “so”", "utf-8"),
        (b"a\r\nb\rc\x0cd\x00\x1a\x7f", "a\nb\nc\nd", "utf-8"),
        (b"a\x81\x8db \xe9", "ab é", "cp1252"),
        (b"", "", "utf-8"),
    ],
)
def test_what_declares_nothing_is_utf8_or_windows(data, text, encoding):
    assert decode(data) == (text, {encoding})


@pytest.mark.parametrize(
    ("word", "codec"),
    [
        ("% -*- mode: LaTeX; coding: cp1251-dos -*-", "cp1251"),
        ("% vim: set fileencoding=koi8-r :", "koi8-r"),
        ("% !TEX encoding = Windows Cyrillic", "cp1251"),
        ('\\XeTeXinputencoding "cp1251"', "cp1251"),
    ],
)
def test_where_nothing_is_declared_the_editors_word_counts(word, codec):
    assert read(f"{word}\n\\documentclass{{article}} Лемма".encode(codec)).endswith("Лемма")
    declared = f"{word}\n\\documentclass{{article}}\\usepackage[cp866]{{inputenc}} Лемма"
    assert read(declared.encode("cp866")).endswith("Лемма")


def test_an_editors_word_is_for_its_file_alone():
    part = "% -*- coding: cp1251 -*-\nЛемма".encode("cp1251")
    assert read(b"\\documentclass{article}\\input{b} Gr\xf6\xdfe", b=part).endswith("Größe")


def test_windows_quotes_are_read_in_the_code_page_that_extends_the_encoding():
    assert decode(b"\x84\xbf\xf3\xb3w\x94 \x96 \x8caska", "iso8859-2").text == "„żółw” – Śaska"
    assert decode(b"\x93c\xf4t\xe9\x94", "latin-1").text == "“côté”"
    assert decode(b"\x93\xbb\xd5\xdc\xdc\xd0\x94", "iso8859-5").text == "“Лемма”"


def test_a_file_of_utf8_is_utf8_whatever_it_declares():
    assert read(HEAD % b"latin2" + "żółw".encode()).endswith("żółw")


@given(st.binary(max_size=60), st.sampled_from(sorted(set(ENCODINGS.values()))))
def test_no_bytes_give_controls_noncharacters_or_replacements_that_are_not_theirs(data, encoding):
    text = decode(data, encoding).text
    assert not [each for each in text if unicodedata.category(each) == "Cc" and each not in "\t\n"]
    assert not [
        each for each in text if each == "\ufeff" or 0xFDD0 <= ord(each) <= 0xFDEF or ord(each) & 0xFFFE == 0xFFFE
    ]
    assert "\ufffd" not in text or b"\xef\xbf\xbd" in data


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc", "Cn", "Co"]), max_size=40))
def test_utf8_is_read_as_it_is(text):
    assert decode(text.replace("\ufeff", "").encode()).text == text.replace("\ufeff", "")
