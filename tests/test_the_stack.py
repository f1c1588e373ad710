import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from balanced import damaged, read_balanced
from conftest import SHARED, needs_shared, raw_file, write_raw
from packing import STACK_SCHEMA, pack_the_stack_parquet

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
    return read_balanced(the_stack, [raw_file(tmp_path / "a.parquet")], **options)


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
    documents, tally = read_balanced(the_stack, [raw_file(pack_the_stack_parquet(tmp_path, SHARED))])
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
    (document,), _ = read_balanced(the_stack, [raw_file(tmp_path / "a.parquet")])
    assert document.meta["max_stars_repo_licenses"] == ["MIT"]


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"PAR1"])
def test_the_wrong_format_is_skipped_whole(tmp_path, data):
    documents, tally = read_balanced(the_stack, [write_raw(tmp_path, "a.parquet", data)])
    assert (documents, tally.read, sum(tally.damaged.values())) == ([], 0, 1)


def test_parquet_without_the_columns_is_quarantined_row_by_row(tmp_path):
    pq.write_table(pa.table({"url": ["a", "b"]}), tmp_path / "a.parquet")
    documents, tally = read_balanced(the_stack, [raw_file(tmp_path / "a.parquet")])
    assert (documents, tally.quarantined) == ([], {Reason.MISSING_FIELD: 2})


@needs_shared
def test_random_damage_never_stops_the_reader(tmp_path):
    data = pack_the_stack_parquet(tmp_path, SHARED, per_repository=10, row_group_rows=10).read_bytes()
    for broken in damaged(data, 30):
        read_balanced(the_stack, [write_raw(tmp_path, "broken.parquet", broken)])
