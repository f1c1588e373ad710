import re
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from balanced import damaged, read_balanced
from conftest import SHARED, needs_shared, raw_file, write_raw
from hypothesis import given, settings
from hypothesis import strategies as st
from packing import STACK_SCHEMA, pack_the_stack_parquet, repository_files

from redpajama import preflight
from redpajama.errors import InputError
from redpajama.extract.license_lists import PROFILES
from redpajama.manifest import ManifestError, parse
from redpajama.pipelines import the_stack
from redpajama.records import Reason

ROW = {
    "hexsha": "ce013625030ba8dba906f756967f9e9ca394464a",
    "size": 6,
    "ext": "py",
    "lang": "Python",
    "content": "hello\n",
    "max_stars_repo_path": "a.py",
    "max_stars_repo_name": "owner/repo",
    "max_stars_repo_head_hexsha": "2c8cd3ac958a",
    "max_stars_repo_licenses": ["MIT"],
    "max_stars_count": 5,
    "max_issues_repo_name": "fork/repo",
}


def read_rows(tmp_path, *changes: dict, **options):
    table = pa.Table.from_pylist([ROW | change for change in changes], STACK_SCHEMA)
    pq.write_table(table, tmp_path / "a.parquet")
    return read_balanced(the_stack.PIPELINE, [raw_file(tmp_path / "a.parquet")], **options)


def test_a_row_becomes_a_document(tmp_path):
    (document,), _ = read_rows(tmp_path, {})
    assert document.doc_id == "src/ce013625030ba8dba906f756967f9e9ca394464a"
    assert document.text == "hello\n"
    assert document.meta == {
        "hexsha": "ce013625030ba8dba906f756967f9e9ca394464a",
        "size": 6,
        "ext": "py",
        "lang": "Python",
        "max_stars_repo_path": "a.py",
        "max_stars_repo_name": "owner/repo",
        "max_stars_repo_head_hexsha": "2c8cd3ac958a",
        "max_stars_repo_licenses": ["MIT"],
        "max_stars_count": 5,
        "source": "the_stack",
    }


@needs_shared
def test_real_files_in_the_schema_of_the_release_are_read(tmp_path):
    documents, tally = read_balanced(the_stack.PIPELINE, [raw_file(pack_the_stack_parquet(tmp_path, SHARED))])
    repos = {document.meta["max_stars_repo_name"] for document in documents}
    assert repos == {"gorilla/mux", "redis/hiredis", "docker-library/python", "JuliaIO/JSON.jl"}
    assert tally.dropped == {Reason.LICENSE_NOT_ALLOWED: 40}  # ranger is under the GPL
    assert len({document.doc_id for document in documents}) == len(documents)
    assert all(len(document.text.encode()) == document.meta["size"] for document in documents)


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        ({}, {"languages": ["python", "c"]}, None),
        ({}, {"languages": ["C"]}, Reason.NOT_SELECTED),
        ({"lang": None}, {"languages": ["C"]}, Reason.NOT_SELECTED),
        ({"max_stars_repo_licenses": ["GPL-3.0"]}, {}, Reason.LICENSE_NOT_ALLOWED),
        ({"max_stars_repo_licenses": ["MIT", "GPL-3.0"]}, {}, Reason.LICENSE_NOT_ALLOWED),
        ({"max_stars_repo_licenses": ["MIT", "apache-2.0"]}, {}, None),
        ({"max_stars_repo_licenses": []}, {}, Reason.LICENSE_NOT_ALLOWED),
        ({"max_stars_repo_licenses": None}, {}, Reason.LICENSE_NOT_ALLOWED),
        ({"max_stars_repo_licenses": ["GPL-3.0"]}, {"licenses": ["gpl-3.0"]}, None),
        ({"content": "\n"}, {}, Reason.EMPTY_TEXT),
        ({"content": None}, {}, Reason.MISSING_FIELD),
        ({"hexsha": ""}, {}, Reason.MISSING_FIELD),
    ],
)
def test_rows_are_refused_by_name(tmp_path, change, options, reason):
    documents, tally = read_rows(tmp_path, change, **options)
    assert [row.reason for row in tally.rows] == ([reason] if reason else [])
    assert len(documents) == (reason is None)


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("Owner/Repo\n", "owner/repo"),
        ("fork/repo  # a fork\n", "fork/repo"),
        ("# all of it\nfork\n", "fork/repo"),
        ("owner/other\n\n", ""),
        ("", ""),
    ],
)
def test_those_who_opted_out_are_left_out(tmp_path, listed, found):
    (tmp_path / "optouts.txt").write_text(listed)
    documents, tally = read_rows(tmp_path, {}, optouts=str(tmp_path / "optouts.txt"))
    assert [(row.reason, row.evidence["optout"]) for row in tally.rows] == (
        [(Reason.NOT_SELECTED, found)] if found else []
    )
    assert len(documents) == (not found)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["MIT", "ISC"], ["MIT", "ISC"]),
        ({"list": [{"item": "MIT"}, {"item": "ISC"}]}, ["MIT", "ISC"]),
        ({"list": [{"element": "MIT"}]}, ["MIT"]),
        ({"list": None}, []),
        ("MIT", ["MIT"]),
        ([None, {}], []),
        (None, []),
    ],
)
def test_licences_are_read_in_every_form(value, expected):
    assert the_stack.licenses_in(value) == expected


def test_licences_in_a_struct_of_lists_are_read_from_parquet(tmp_path):
    row = ROW | {"max_stars_repo_licenses": {"list": [{"item": "MIT"}]}}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    (document,), _ = read_balanced(the_stack.PIPELINE, [raw_file(tmp_path / "a.parquet")])
    assert document.meta["max_stars_repo_licenses"] == ["MIT"]


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"PAR1"])
def test_the_wrong_format_is_skipped_whole(tmp_path, data):
    documents, tally = read_balanced(the_stack.PIPELINE, [write_raw(tmp_path, "a.parquet", data)])
    assert (documents, tally.read, sum(tally.damaged.values())) == ([], 0, 1)


def test_parquet_without_the_columns_is_quarantined_row_by_row(tmp_path):
    pq.write_table(pa.table({"url": ["a", "b"]}), tmp_path / "a.parquet")
    documents, tally = read_balanced(the_stack.PIPELINE, [raw_file(tmp_path / "a.parquet")])
    assert (documents, tally.quarantined) == ([], {Reason.MISSING_FIELD: 2})


@needs_shared
def test_random_damage_never_stops_the_reader(tmp_path):
    data = pack_the_stack_parquet(tmp_path, SHARED, per_repository=10, row_group_rows=10).read_bytes()
    for broken in damaged(data, 30):
        read_balanced(the_stack.PIPELINE, [write_raw(tmp_path, "broken.parquet", broken)])


# ---- licences


def test_the_published_lists_have_the_sizes_that_their_publishers_tell():
    assert [len(set(PROFILES[name])) for name in ("the-stack-v1.1", "blue-oak-silver", "blue-oak-bronze")] == [
        193,  # The Stack's paper, appendix B
        32,
        152,
    ]
    weak_copyleft = {"EPL-1.0", "MPL-2.0", "LGPL-2.1", "LGPL-3.0", "MPL-2.0-no-copyleft-exception"}
    assert not weak_copyleft & {name for names in PROFILES.values() for name in names}


@pytest.mark.parametrize(
    ("licenses", "named", "kept"),
    [
        ("the-stack-v1.1", "Beerware", True),
        ("blue-oak-bronze", "Beerware", False),
        ("blue-oak-bronze", "BSD-4-Clause", True),
        ("blue-oak-silver", "BSD-4-Clause", False),
        ("the-stack-v1.1", "deprecated_BSD-2-Clause-FreeBSD", True),
        ("the-stack-v1.1", "deprecated_LGPL-3.0+", False),
        (["blue-oak-silver", "gpl-3.0"], "GPL-3.0", True),
        (["blue-oak-silver", "gpl-3.0"], "Apache-2.0", True),
        ("MIT", "MIT", True),
    ],
)
def test_licences_are_allowed_by_a_profile_or_by_name(tmp_path, licenses, named, kept):
    documents, _ = read_rows(tmp_path, {"max_stars_repo_licenses": [named]}, licenses=licenses)
    assert len(documents) == kept


@pytest.mark.parametrize(
    ("named", "kept"),
    [("MIT OR GPL-3.0", 1), ("MIT AND GPL-3.0", 0), ("Apache-2.0 WITH LLVM-exception", 1), ("Apache-2.0+", 1)],
)
def test_an_expression_is_allowed_as_a_whole(tmp_path, named, kept):
    documents, _ = read_rows(tmp_path, {"max_stars_repo_licenses": [named]})
    assert len(documents) == kept


def test_a_list_of_licences_that_many_rows_have_is_judged_once(monkeypatch):
    judged = []
    monkeypatch.setattr(the_stack, "is_allowed", lambda name, permits: judged.append(name) or permits(name))
    permits = the_stack.choose(the_stack.Options(licenses=["MIT", "ISC"])).permits
    for _ in range(2):
        assert [permits(names) for names in [("MIT", "ISC"), ("ISC",), ("GPL-3.0",), ()]] == [True, True, False, False]
    assert judged == ["MIT", "ISC", "ISC", "GPL-3.0"]


def test_line_ends_of_all_systems_become_one(tmp_path):
    (document,), _ = read_rows(tmp_path, {"content": "\ufeffa\r\nb\rc\n"})
    assert document.text == "a\nb\nc\n"


def test_a_misspelt_profile_is_a_mistake_not_a_licence_that_no_row_has():
    with pytest.raises(ValueError, match=r"'the-stack-v1.2' is no profile; did you mean 'the-stack-v1.1'?"):
        the_stack.Options(licenses="the-stack-v1.2")


# ---- versions


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("hf://datasets/bigcode/the-stack@v1.0/data/c/*.parquet", "weak copyleft"),
        ("hf://datasets/bigcode/the-stack-dedup@v1/data/c/*.parquet", "opted out"),
        ("hf://datasets/bigcode/The-Stack@v0.9/data/c/*.parquet", "v1.1 or newer"),
        ("hf://datasets/bigcode/the-stack-v2/data/c/*.parquet", "has no texts"),
        ("hf://datasets/bigcode/the-stack-v2-train-full-ids@main/data/c/*.parquet", "has no texts"),
        ("hf://datasets/bigcode/the-stack@v1.1/data/c/*.parquet", ""),
        ("hf://datasets/bigcode/the-stack-dedup@v1.2/data/c/*.parquet", ""),
        ("hf://datasets/bigcode/the-stack@v2.0/data/c/*.parquet", ""),
        ("hf://datasets/bigcode/the-stack/data/c/*.parquet", ""),
        ("hf://datasets/bigcode/the-stack@main/data/c/*.parquet", ""),
        ("hf://datasets/bigcode/starcoderdata/c/*.parquet", ""),
        ("data/the-stack@v1.0/c.parquet", ""),
    ],
)
def test_releases_before_v1_1_and_those_without_texts_are_refused_by_name(url, refused):
    said = the_stack.check_inputs(["data/a.parquet", url])
    assert (refused in said and said.startswith(f"'{url}'")) if refused else said is None


# ---- StarCoder's rules

PROSE = "The quick brown fox jumps over the lazy dog, and nobody minds. "


def html(text: str, code: str) -> str:
    return f"<!DOCTYPE html><html><head><script>{code}</script></head><body><p>{text}</p></body></html>"


@pytest.mark.parametrize(
    ("lang", "text", "rule"),
    [
        ("XML", '<?xml version="1.0"?><a/>', "min_xml_offset_chars"),
        ("Ant Build System", "<!-- x -->\n" + '<?xml version="1.0"?><a/>', "min_xml_offset_chars"),
        ("XSLT", '<?xml version="1.0"?><a/>', ""),
        ("PHP", "x" * 86 + '<?xml version="1.0"?>', "min_xml_offset_chars"),  # its 14 characters end at the 100th
        ("PHP", "x" * 87 + '<?xml version="1.0"?>', ""),
        ("HTML", html(PROSE * 10, ""), ""),
        ("HTML", html(PROSE * 10, "let a = 1;" * 300), "min_html_text_fraction"),
        ("HTML", html(PROSE, ""), "min_html_text_chars"),
        ("HTML", html("x" * 100, ""), ""),
        ("HTML", html("x" * 99, ""), "min_html_text_chars"),
        ("JSON", '"' + "a" * 48 + '"', ""),
        ("JSON", '"' + "a" * 47 + '"', "min_data_chars"),
        ("YAML", "a" * 5000, ""),
        ("YAML", "a" * 5001, "max_data_chars"),
        ("JSON", "[" + "1, " * 20 + "1]", "min_data_alpha_fraction"),
        ("Python", "[" + "1, " * 9000 + "1]", ""),  # its lines are a matter of [source.quality]
    ],
)
def test_starcoders_rules_hold_for_their_languages_and_on_their_bounds(tmp_path, lang, text, rule):
    documents, tally = read_rows(tmp_path, {"lang": lang, "content": text}, filters="starcoder")
    assert [row.evidence["rule"] for row in tally.rows] == ([rule] if rule else [])
    assert len(documents) == (not rule)
    assert read_rows(tmp_path, {"lang": lang, "content": text})[0], "off unless asked for"


def test_a_drop_by_a_rule_has_its_value_and_threshold_on_record(tmp_path):
    _, tally = read_rows(tmp_path, {"lang": "JSON", "content": "a" * 5001}, filters="starcoder")
    (row,) = tally.rows
    assert (row.reason, row.value, row.threshold) == (Reason.ABOVE_MAXIMUM, 5001, 5000)
    _, tally = read_rows(tmp_path, {"lang": "HTML", "content": html(PROSE * 2, "a" * 1000)}, filters="starcoder")
    (row,) = tally.rows
    assert (row.reason, row.threshold) == (Reason.BELOW_MINIMUM, 0.2)
    assert row.value == round(len(PROSE * 2) / len(html(PROSE * 2, "a" * 1000)), 8)


def test_one_rule_can_be_moved_or_left_out_of_the_preset(tmp_path):
    row = {"lang": "JSON", "content": "a" * 5001}
    assert read_rows(tmp_path, row, filters={"preset": "starcoder", "max_data_chars": 6000})[0]
    assert not read_rows(tmp_path, row, filters={"max_data_chars": 5000})[0]
    assert read_rows(tmp_path, row, filters={"min_data_chars": 50})[0]


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ("starcoder2", "'starcoder2' is no preset; known: starcoder"),
        ({"preset": "starcoder", "max_data_char": 1}, "unknown key 'max_data_char'; did you mean 'max_data_chars'?"),
        ({"min_html_text_fraction": 2}, "less than or equal to 1"),
    ],
)
def test_a_rule_that_cannot_be_is_a_mistake(filters, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        the_stack.Options(filters=filters)


def test_rules_that_need_no_language_go_to_quality_where_the_manifest_has_the_last_word():
    source = {"name": "code", "pipeline": "the_stack", "inputs": ["a"], "options": {"filters": "starcoder"}}
    manifest = parse({"name": "m", "seed": 1, "source": [source | {"quality": {"min_alpha_fraction": 0.3}}]}, "m.toml")
    expected = {**the_stack.QUALITY, "min_alpha_fraction": 0.3}
    assert preflight.complete(manifest).source[0].quality == expected
    assert list(expected) == ["max_max_line_chars", "max_mean_line_chars", "min_alnum_fraction", "min_alpha_fraction"]
    broken = parse({"name": "m", "seed": 1, "source": [source | {"quality": {"min_max_line_chars": 2000}}]}, "m.toml")
    with pytest.raises(ManifestError, match=r"source\[1\]: quality.min_max_line_chars: 2000 is more than .* = 1000"):
        preflight.complete(broken)


TABLE = """,extension,language,Include,Alphanum_threshold,Long_line_threshold,XML filter,Alpha filter
1,py,python,1,0.25,1000,1,
2,asm,assembly,1,0.25,Custom! Can we remove comments?,1,remove
3,csx,c-sharp,0,,,1,
4,cs,c-sharp,1,0.25,500,1,
5,,dockerfile,1,0.25,remove,1,
6,json,json,1,,,1,0.5
"""


@pytest.mark.parametrize(
    ("lang", "ext", "text", "rule"),
    [
        ("Python", "py", "a" * 1001, "max_max_line_chars"),
        ("Python", "py", ("a" * 101 + "\n") * 2, "max_mean_line_chars"),
        ("Python", "py", "a" + "+" * 9, "min_alnum_fraction"),
        ("Python", "PY", "1234", ""),
        ("Python", "pyx", "a = 1", "not included"),
        ("Assembly", "asm", "a" * 3000, ""),
        ("C#", "cs", "a" * 501, "max_max_line_chars"),
        ("C#", "csx", "a", "not included"),
        ("Dockerfile", None, "a" * 3000, ""),
        ("JSON", "json", "[1, 2, 3, 4]", "min_alpha_fraction"),
    ],
)
def test_bigcodes_table_says_what_holds_for_each_extension(tmp_path, lang, ext, text, rule):
    (tmp_path / "table.csv").write_text(TABLE)
    change = {"lang": lang, "ext": ext, "content": text}
    documents, tally = read_rows(tmp_path, change, extensions=str(tmp_path / "table.csv"))
    assert [row.evidence.get("rule", "not included") for row in tally.rows] == ([rule] if rule else [])
    assert len(documents) == (not rule)
    assert the_stack.quality_rules(the_stack.Options(filters="starcoder", extensions="table.csv")) == {}


def test_another_file_than_bigcodes_table_is_refused_by_name(tmp_path):
    (tmp_path / "table.csv").write_text("language,extension\n")
    with pytest.raises(InputError, match="no column 'Alpha filter'; wanted BigCode's"):
        the_stack.read_extensions(str(tmp_path / "table.csv"))


class Visible(HTMLParser):
    """What BeautifulSoup's get_text collects with this parser: all character data outside scripts and styles."""

    def __init__(self):
        super().__init__()
        self.chars, self.hidden = 0, 0

    def handle_starttag(self, tag, attributes):
        self.hidden += tag in ("script", "style")

    def handle_endtag(self, tag):
        self.hidden -= tag in ("script", "style")

    def handle_data(self, data):
        self.chars += 0 if self.hidden else len(data)


@needs_shared
def test_visible_text_is_about_what_bigcodes_parser_sees_on_real_pages():
    archives = sorted((SHARED / "github/repos").glob("*.tar.gz"))
    files = [file for archive in archives for file in repository_files(SHARED, archive.name.removesuffix(".tar.gz"))]
    pages = [data.decode() for name, data in files if name.endswith((".html", ".htm")) and len(data) < 200_000]
    assert len(pages) >= 5
    for page in filter(None, pages):
        reference = Visible()
        reference.feed(page)
        assert the_stack.visible_chars(page) == pytest.approx(reference.chars, rel=0.02, abs=40)


@given(st.text() | st.text("<>/!?-pscriptstyle &;\0\n", max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_text_has_a_count_of_visible_characters(text):
    assert 0 <= the_stack.visible_chars(text) <= 8 * len(text) + 8


# ---- StarCoderData


def read_starcoder(tmp_path, *rows: dict, url: str = "hf://datasets/bigcode/starcoderdata@main/python/t.parquet", **o):
    one = {"max_stars_repo_path": "a.py", "max_stars_repo_name": "owner/repo", "max_stars_count": 5, "id": "12"}
    table = pa.Table.from_pylist([one | {"content": "x = 1\n"} | row for row in rows])
    pq.write_table(table, tmp_path / "a.parquet")
    return read_balanced(the_stack.PIPELINE, [raw_file(tmp_path / "a.parquet", url)], **o)


def test_starcoderdata_has_its_language_in_the_folder_and_no_licence(tmp_path):
    (document,), _ = read_starcoder(tmp_path, {}, languages=["Python"])
    assert document.doc_id == "src/python/12"
    assert document.text == "x = 1\n"
    assert document.meta == {
        "lang": "python",
        "max_stars_repo_path": "a.py",
        "max_stars_repo_name": "owner/repo",
        "max_stars_count": 5,
        "source": "starcoderdata",
    }


def test_ids_of_starcoderdata_count_within_a_language(tmp_path):
    ids = {
        read_starcoder(tmp_path, {}, url=f"hf://datasets/bigcode/starcoderdata@main/{folder}/t.parquet")[0][0].doc_id
        for folder in ("c", "java")
    }
    assert ids == {"src/c/12", "src/java/12"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<reponame>owner/repo<filename>a.py<gh_stars>1-10\nx = 1\n", "x = 1\n"),
        ("<reponame>owner/repo\nx = 1\n", "x = 1\n"),
        ("<filename>src/<odd>.py\nx = 1\n", "x = 1\n"),
        ("<gh_stars>1000+\nx = 1\n", "x = 1\n"),
        ("<gh_stars>0\n\nx = 1\n", "\nx = 1\n"),
        ("x = '<reponame>'\n", "x = '<reponame>'\n"),
        ("<html>\n", "<html>\n"),
        ("<gh_stars>many\nx\n", "<gh_stars>many\nx\n"),
    ],
)
def test_the_line_of_marks_before_a_text_is_taken_off(tmp_path, text, expected):
    (document,), _ = read_starcoder(tmp_path, {"content": text})
    assert document.text == expected
    (document,), _ = read_starcoder(tmp_path, {"content": text}, keep_prefix=True)
    assert document.text == text


def test_starcoderdata_is_opted_out_filtered_and_judged_like_the_stack(tmp_path):
    (tmp_path / "optouts.txt").write_text("owner\n")
    assert not read_starcoder(tmp_path, {}, optouts=str(tmp_path / "optouts.txt"))[0]
    assert not read_starcoder(tmp_path, {}, languages=["Java"])[0]
    (tmp_path / "table.csv").write_text(TABLE)
    rows = ({"id": "1"}, {"id": "2", "max_stars_repo_path": "a.pyx"})
    documents, _ = read_starcoder(tmp_path, *rows, extensions=str(tmp_path / "table.csv"))
    assert [document.doc_id for document in documents] == ["src/python/1"]


def test_a_file_of_the_stack_that_lost_its_licences_is_not_taken_for_starcoderdata(tmp_path):
    row = {"hexsha": "ab", "content": "x", "id": "1"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    _, tally = read_balanced(the_stack.PIPELINE, [raw_file(tmp_path / "a.parquet")])
    assert tally.dropped == {Reason.LICENSE_NOT_ALLOWED: 1}
