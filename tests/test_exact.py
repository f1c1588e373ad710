"""Exact copies: what is the same, by kind of text, and which copy stays."""

import pytest
from corpora import build, cli
from hypothesis import given
from hypothesis import strategies as st
from near_corpora import documents_of, verdicts_of, write_sources
from stepwise import build_stepwise

from redpajama.engine.store import Store
from redpajama.hashing import normal_text_digest
from redpajama.report.builds import read_build
from redpajama.report.funnel import funnel
from redpajama.report.why import why

CODE, TABLES = 'kind = "code"', 'kind = "tables"'


def same(one, other, kind):
    return normal_text_digest(one, kind) == normal_text_digest(other, kind)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("if a:\n    b()\nc()\n", "if a:\n    b()\n    c()\n"),  # Python: another block
        ("a:\n  b:\n    c: 1\n", "a:\n  b:\n  c: 1\n"),  # YAML: another parent
        ("return\n{a: 1}", "return {a: 1}"),  # JavaScript ends the statement at the line's end
        ("a\tb\t\tc", "a\tb\tc"),
        ("a\n\nb", "a\nb"),
        ("x = 'a  b'", "x = 'a b'"),
        ("all:\n\tcc x", "all:\n        cc x"),  # make
    ],
)
@pytest.mark.parametrize("kind", ["code", "tables"])
def test_layout_counts_in_code_and_tables(one, other, kind):
    assert not same(one, other, kind)
    assert same(one, other, "prose")


@pytest.mark.parametrize("kind", ["code", "tables"])
@pytest.mark.parametrize("other", ["a\r\nb\n", "a\rb", "a  \nb   \n", "a\nb\n\n", "a\nb"])
def test_line_ends_and_trailing_blanks_do_not(kind, other):
    assert same("a\nb\n", other, kind)


def test_a_tab_at_the_end_of_a_row_is_an_empty_cell():
    assert not same("a\tb\t\nc", "a\tb\nc", "tables")
    assert same("a\tb\t\nc", "a\tb\nc", "code")


@given(st.text())
def test_texts_of_two_kinds_are_never_the_same(text):
    assert len({normal_text_digest(text, kind) for kind in ("prose", "code", "tables")}) == 3


def code(body):
    return "def f(rows):\n    for row in rows:\n        yield row\n" + body


def test_code_that_differs_in_an_indent_stays_and_prose_removes_no_code(tmp_path):
    flat, nested = code("    done()\n"), code("        done()\n")
    sources = {"code": [flat, nested], "more": [flat.replace("\n", "\r\n")], "prose": [flat, nested]}
    path = write_sources(tmp_path, sources, more={"code": CODE, "more": CODE}, order=["prose", "code", "more"])
    path.write_text(path.read_text().replace("near = {}", ""))
    built = build_stepwise(path, tmp_path / "root", "dedup")
    gone = {
        (doc_id.partition("/")[0], other.partition("/")[0])
        for doc_id, (other, _, _) in verdicts_of(built, "exact").items()
    }
    assert gone == {("more", "code"), ("prose", "prose")}
    assert len(verdicts_of(built, "exact")) == 2


def test_another_kind_in_the_manifest_compares_the_texts_anew(tmp_path):
    texts = ["a\tb\t\tc and so on", "a\tb\tc and so on"]
    path = write_sources(tmp_path, {"rows": texts})
    prose = build_stepwise(path, tmp_path / "root", "dedup")
    assert len(verdicts_of(prose, "exact")) == 1
    path.write_text(path.read_text() + TABLES)
    tables = build_stepwise(path, tmp_path / "root", "dedup")
    assert verdicts_of(tables, "exact") == {}


def test_why_finds_code_by_its_text(tmp_path):
    texts = [code("    a\n"), code("        a\n")]
    path = write_sources(tmp_path, {"code": texts}, more={"code": CODE})
    build(path, tmp_path / "root", "--workers", 1, "--until", "dedup")
    store = Store(str(tmp_path / "root"))
    for text in texts:
        [story] = why(store, read_build(store), text.rstrip("\n"))
        assert story["text"] == text


ROWS = [
    {"text": "the  same words in both", "timestamp": "2020-01-01T00:00:00Z", "url": "https://a.org/1"},
    {"text": "the same words in both", "timestamp": "2021-01-01T00:00:00Z", "url": "https://a.org/2"},
]


@pytest.mark.parametrize("rows", [ROWS, ROWS[::-1]])
@pytest.mark.parametrize(
    ("prefer", "stays"),
    [('["longest"]', 0), ('["newest"]', 1), ('["signal:chars"]', 0), ('["signal:-chars"]', 1)],
)
def test_the_copy_that_stays_is_the_preferred_one(tmp_path, rows, prefer, stays):
    path = write_sources(tmp_path, {"web": rows}, near=f"{{ prefer = {prefer} }}")
    built = build_stepwise(path, tmp_path / "root", "dedup")
    texts = documents_of(built)
    [gone] = verdicts_of(built, "exact")
    assert texts[gone] == ROWS[1 - stays]["text"]


def test_an_earlier_source_keeps_its_copy_whatever_is_preferred(tmp_path):
    rows = {"late": [ROWS[0]], "early": [ROWS[1]]}
    path = write_sources(tmp_path, rows, near='{ prefer = ["longest"] }', order=["early", "late"])
    built = build_stepwise(path, tmp_path / "root", "dedup")
    assert [doc_id.partition("/")[0] for doc_id in verdicts_of(built, "exact")] == ["late"]


@pytest.mark.parametrize("files", [1, 3])
def test_keep_none_takes_all_of_equal_texts_and_what_is_like_them(tmp_path, files):
    words = [f"w{number}" for number in range(200)]
    same, near, other = " ".join(words), " ".join([*words[:-1], "end"]), "an altogether different text that stays"
    rows = {"one": [same, other, near], "two": [same, same + " ", "twice the same", "twice  the same"]}
    path = write_sources(tmp_path, rows, '{ keep = "none" }', dict.fromkeys(rows, "max_removed_fraction = 1"), files)
    built = build_stepwise(path, tmp_path / "root", "dedup")
    texts, removing = documents_of(built), ("exact", "near", "copies")
    gone = [doc_id for stage in removing for doc_id in verdicts_of(built, stage)]
    assert [texts[doc_id] for doc_id in texts if doc_id not in gone] == [other]
    assert len(gone) == len(set(gone)) == 6
    for stage in removing:
        assert all(each[0] in gone and "other" in each[2] for each in verdicts_of(built, stage).values())
    assert {texts[doc_id].split()[0] for doc_id in verdicts_of(built, "copies")} == {"twice"}


def test_the_balance_holds_where_all_copies_go(tmp_path):
    rows = {"web": ["one text", "one  text", "another text"]}
    path = write_sources(tmp_path / "raw", rows, '{ keep = "none" }', {"web": "max_removed_fraction = 1"})
    build(path, tmp_path / "root", "--workers", 1, "--until", "dedup")
    store = Store(str(tmp_path / "root"))
    [row] = funnel(store, read_build(store, ""))
    assert (row.documents, row.living, row.removed) == (3, 1, {"exact-duplicate": 2})
    [story] = why(store, read_build(store, ""), rows["web"][2])
    assert story["fate"] == "alive"
    stories = why(store, read_build(store, ""), rows["web"][0])
    assert {story["fate"].partition(":")[0] for story in stories} == {"removed by exact", "removed by copies"}


def test_a_text_that_begins_with_a_dash_goes_after_two(tmp_path):
    path = write_sources(tmp_path / "raw", {"web": ["- a list", "--more"]})
    build(path, tmp_path / "root", "--workers", 1, "--until", "dedup")
    for text in ("- a list", "--more"):
        refused = cli("why", tmp_path / "root", text)
        assert refused.returncode == 2
        assert "goes after --: why ROOT -- TEXT" in refused.stderr
        assert "alive" in cli("why", tmp_path / "root", "--", text).stdout
