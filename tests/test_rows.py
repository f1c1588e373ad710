"""Rows of your own: each format, fields by name and path, and what becomes of rows that lack them."""

import bz2
import gzip
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from balanced import damaged, read_balanced
from conftest import write_raw
from corpora import cli
from pydantic import ValidationError

from redpajama.hashing import content_key
from redpajama.pipelines import rows
from redpajama.raw import tables
from redpajama.records import Reason

ROWS = [{"id": number, "content": f"Row {number}\nof «many», all.", "lang": "en"} for number in range(40)]
FIELDS = {"text": "content", "id": "id", "meta": ["lang"]}
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), sink, row_group_size=10)
    return sink.getvalue()


def arrow(opens) -> bytes:
    sink, table = io.BytesIO(), pa.Table.from_pylist(ROWS)
    with opens(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=10)
    return sink.getvalue()


def separated(delimiter: str) -> bytes:
    cells = [["id", "content", "lang"], *([str(value) for value in row.values()] for row in ROWS)]
    return "".join(delimiter.join(f'"{cell}"' for cell in row) + "\r\n" for row in cells).encode()


FORMATS = {
    "a.jsonl": LINES,
    "a.jsonl.gz": gzip.compress(LINES),
    "a.ndjson.bz2": bz2.compress(LINES),
    "a.json.zst": zstandard.compress(LINES),
    "a.json": json.dumps(ROWS, indent=1).encode(),
    "b.json.gz": gzip.compress(b"\xef\xbb\xbf" + json.dumps(ROWS).encode()),
    "a.parquet": parquet(),
    "noname": parquet(),
    "a.arrow": arrow(pa.ipc.new_stream),
    "a.feather": arrow(pa.ipc.new_file),
    "a.csv": separated(","),
    "a.csv.gz": gzip.compress(b"\xef\xbb\xbf" + separated(",")),
    "b.csv": separated(",").decode().encode("utf-16"),  # with a mark
    "c.csv": ("\ufeff" + separated(",").decode()).encode("utf-16-be"),
    "a.tsv": separated("\t"),
}


def read(tmp_path, name, data, fields=FIELDS, **options):
    return read_balanced(rows.PIPELINE, [write_raw(tmp_path, name, data)], fields=fields, **options)


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_gives_the_same_documents(tmp_path, name):
    documents, tally = read(tmp_path, name, FORMATS[name])
    assert [document.doc_id for document in documents] == [f"src/{row['id']}" for row in ROWS]
    assert [document.text for document in documents] == [row["content"] for row in ROWS]
    assert documents[0].meta == {"lang": "en", "source": "rows"}
    assert tally.read == 40


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_on_record_and_ends_nothing(tmp_path, name):
    for data in damaged(FORMATS[name]):
        documents, tally = read(tmp_path, name, data)
        assert len(documents) == tally.kept <= 80


def test_fields_are_found_by_name_then_by_path_and_several_are_joined(tmp_path):
    row = {"a.b": "dotted", "a": {"b": "inner", "c": ["x"]}, "title": "T", "empty": "", "none": None}
    data = json.dumps(row).encode()
    fields = {"text": ["title", "empty", "none", "absent", "a.b"], "id": "a.c", "meta": ["a.c", "absent"]}
    [document], _ = read(tmp_path, "x.jsonl", data, fields, joiner=" / ")
    assert document == ("src/['x']", "T / dotted", {"a.c": ["x"], "source": "rows"})
    del row["a.b"]
    [document], _ = read(tmp_path, "x.jsonl", json.dumps(row).encode(), {"text": "a.b", "meta": "all"})
    assert document.text == "inner"
    assert document.meta == {**row, "source": "rows"}
    assert document.doc_id == f"src/{content_key('', 'inner')}"


def test_columns_of_a_table_that_hold_fields_of_fields_are_read_whole(tmp_path):
    sink = io.BytesIO()
    pq.write_table(pa.table({"body": [{"en": "text"}], "other": [1]}), sink)
    [document], _ = read(tmp_path, "x.parquet", sink.getvalue(), {"text": "body.en"})
    assert document.text == "text"


def test_the_url_stands_in_meta_and_in_the_id_of_a_row_without_one(tmp_path):
    [document], _ = read(tmp_path, "x.jsonl", b'{"text": "t", "link": "https://a.example"}', {"url": "link"})
    key = content_key("https://a.example", "t")
    assert document == (f"src/{key}", "t", {"url": "https://a.example", "source": "rows"})


def test_a_row_without_the_field_names_those_that_it_has(tmp_path):
    _, tally = read(tmp_path, "x.jsonl", b'{"body": "t", "n": 1}\n{"text": 3}\n{"text": null}\n[1]\n', {})
    assert tally.quarantined == {Reason.MISSING_FIELD: 2, Reason.INVALID_RECORD: 1}
    assert tally.dropped == {Reason.EMPTY_TEXT: 1}
    absent, strange = (row.evidence for row in tally.rows[:2])
    assert (absent["wanted"], absent["found"], absent["line"]) == ("text", "body, n", 1)
    assert (strange["wanted"], strange["is"]) == ("text", "int")
    assert absent["file"].endswith("x.jsonl")


def test_a_row_of_a_csv_with_more_or_fewer_values_or_other_bytes_is_quarantined(tmp_path):
    data = b'text,n\none,1\ntwo\n"three\n\nlines, ""quoted""",3\nfo\xffur,4\n\nfive,5,5\nsix;,6\n'
    documents, tally = read(tmp_path, "x.csv", data, {})
    assert [document.text for document in documents] == ["one", 'three\n\nlines, "quoted"', "six;"]
    assert tally.quarantined == {Reason.INVALID_RECORD: 2, Reason.INVALID_UTF8: 1}
    assert [row.evidence["row"] for row in tally.rows] == [1, 3, 4]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16-le", "utf-32", "euc-jp"])
def test_a_csv_may_be_in_any_encoding_that_the_manifest_names(tmp_path, encoding):
    text = "Kauppa, päivä «ä»" if encoding != "euc-jp" else "文字、テスト"
    data = f'n,text\r\n1,"{text}\r\n"\r\n2,b\r\n'.encode(encoding)
    documents, _ = read(tmp_path, "x.csv", data, {}, encoding=encoding)
    assert [document.text for document in documents] == [f"{text}\r\n", "b"]


@pytest.mark.parametrize(
    ("encoding", "bad"),
    [
        ("utf-8", b"\xff"),
        ("cp1252", b"\x81"),
        ("utf-16-le", b"\x00\xdcA\x00"),
        ("shift_jis", b"\x81\x20"),
        ("ascii", b"\xe9"),
    ],
)
def test_a_row_with_bytes_that_are_none_of_the_encoding_is_quarantined_alone(tmp_path, encoding, bad):
    before, after = (text.encode(encoding) for text in ("text,n\na,1\n", ",2\nc,3\n"))
    documents, tally = read(tmp_path, "x.csv", before + bad + after, {}, encoding=encoding)
    assert [document.text for document in documents] == ["a", "c"]
    assert tally.quarantined == {Reason.INVALID_UTF8: 1}


def test_a_utf16_file_that_is_cut_off_in_a_character_loses_that_row(tmp_path):
    documents, tally = read(tmp_path, "x.csv", "text\na\nb".encode("utf-16")[:-1], {})
    assert [document.text for document in documents] == ["a"]
    assert tally.quarantined == {Reason.INVALID_UTF8: 1}


@pytest.mark.parametrize("lost", [3, 4])
def test_after_a_gap_characters_of_two_bytes_begin_where_a_line_feed_tells(tmp_path, lost):
    lines = [f"Zeile {number} von vielen" for number in range(9000)]
    data = "\n".join(["text", *lines]).encode("utf-16-le")
    half = len(data) // 2 & ~1
    damaged = gzip.compress(data[:half]) + b"\xff" * 20 + gzip.compress(data[half + lost :])
    documents, tally = read(tmp_path, "x.csv.gz", damaged, {}, encoding="utf-16-le")
    assert len({document.text for document in documents} & set(lines)) >= 8998
    assert tally.counts()["damaged_ranges"]


@pytest.mark.parametrize("name", ["cp99999", "rot13", "hex", ""])
def test_an_encoding_that_is_none_of_texts_is_a_mistake_of_the_manifest(name):
    with pytest.raises(ValidationError, match="is no encoding of texts"):
        rows.Options(encoding=name)


def test_a_csv_of_semicolons_says_so(tmp_path):
    [document], _ = read(tmp_path, "x.csv", b"n;text\n1;t\n", {}, delimiter=";")
    assert document.text == "t"
    with pytest.raises(ValidationError, match="at most 1 character"):
        rows.Options(delimiter=";;")


def test_a_list_that_is_none_or_too_long_is_quarantined(tmp_path, monkeypatch):
    for data in (b"[{]", b'["a", {"text": "t"}]'):
        documents, tally = read(tmp_path, "x.json", data, {})
        assert sum(tally.quarantined.values()) == 1
        assert len(documents) == (tally.read == 2)
    monkeypatch.setattr(tables, "MAX_LIST_BYTES", 10)
    assert read(tmp_path, "x.json", b'[{"text": "long"}]', {})[1].quarantined == {Reason.EXPANSION_LIMIT: 1}


def test_parts_of_lines_and_parquet_hold_all_rows_once(tmp_path):
    for name in ("a.jsonl", "a.parquet"):
        file = write_raw(tmp_path, name, FORMATS[name])
        edges = [0, *rows.cuts(file, 300), file.bytes]
        ranges = [type(file)(**{**vars(file), "start": start, "end": end}) for start, end in pairwise(edges)]
        found = [
            document.doc_id for each in ranges for document in read_balanced(rows.PIPELINE, [each], fields=FIELDS)[0]
        ]
        assert len(ranges) > 1
        assert found == [f"src/{row['id']}" for row in ROWS]


def test_the_format_is_told_by_the_first_bytes_alone_whatever_packs_them(tmp_path):
    packs = {"gz": gzip.compress, "bz2": bz2.compress, "zst": zstandard.compress}
    for ending, pack in packs.items():
        data = pack(b'[{"text": "t"}, ' + b'{"text": "t"}, ' * 200_000)
        assert rows.format_of(write_raw(tmp_path, f"x.json.{ending}", data[: len(data) // 2 + 9])) == "list"
    assert rows.format_of(write_raw(tmp_path, "x.json.gz", b"\x1f\x8bno gzip")) is None


def test_own_rows_are_built_to_shards(tmp_path):
    (tmp_path / "own.csv").write_bytes(separated(","))
    (tmp_path / "m.toml").write_text(
        'name = "own"\nseed = 1\n[tokenizer]\ntrain = { vocab_size = 300 }\n[[source]]\nname = "mine"\n'
        'pipeline = "rows"\ninputs = ["own.csv"]\noptions.fields = { text = "content", id = "id" }\n'
        '[mixture]\nbudget_tokens = 100\n[[mixture.slice]]\nsource = "mine"\nweight = 1\n'
    )
    result = cli("build", tmp_path / "m.toml", "--out", tmp_path / "r")
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "r").glob("tokens/*/*.bin"))


def test_lines_of_a_csv_end_where_csv_says_and_nowhere_else(tmp_path, monkeypatch):
    inside = "one\u2028two\x0bthree\x0c\x85\x1cfour"
    for end in ("\n", "\r\n", "\r"):
        for size in (1, 2, 1 << 20):
            monkeypatch.setattr(tables, "SPLIT_BYTES", size)
            data = end.join(["\ufefftext,n", f"{inside},1", f'"a{end}b",2', "ü,3"]).encode()
            documents, tally = read(tmp_path, "x.csv", data, {})
            assert [document.text for document in documents] == [inside, f"a{end}b", "ü"]
            assert tally.read == 3


def test_meta_holds_what_parquet_has_and_json_has_not(tmp_path):
    moment = datetime(2024, 5, 17, 12, tzinfo=UTC)
    row = {"text": "t", "when": moment, "price": Decimal("1.50"), "raw": b"\xff", "large": 1 << 64, "source": "mine"}
    table = pa.table({"text": ["t"], "when": [moment], "price": [row["price"]], "raw": [b"\xff"]})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    [document], _ = read(tmp_path, "x.parquet", sink.getvalue(), {"meta": "all"})
    when = "2024-05-17 12:00:00.000000Z"  # as `raw/parquet.py` writes what JSON lacks
    assert document.meta == {"when": when, "price": "1.50", "raw": "/w==", "source": "rows"}
    chosen = rows.Chosen.of(rows.Options(fields={"meta": ["large", "source"]}))
    assert rows.meta(row, chosen) == {"large": str(1 << 64), "source": "mine"}
    orjson.dumps(rows.plain({1: [row]}))


def test_a_date_that_python_lacks_costs_no_row_of_an_arrow_file(tmp_path):
    table = pa.table({"content": ["one", "two"], "when": pa.array([0, 1 << 60], pa.int64()).cast(pa.timestamp("s"))})
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    documents, tally = read(tmp_path, "x.arrow", sink.getvalue(), {"text": "content", "meta": ["when"]})
    assert [document.text for document in documents] == ["one", "two"]
    assert all(isinstance(document.meta["when"], str) for document in documents)
    assert not tally.quarantined


def test_a_table_whose_name_tells_nothing_is_cut_only_where_its_first_bytes_are_those_of_lines(tmp_path):
    lines, table = (write_raw(tmp_path, name, data * 40) for name, data in {"a": LINES, "b": b"text\nrow\n"}.items())
    assert rows.cuts(lines, 1000)
    assert rows.cuts(table, 10) == []
    assert len(read(tmp_path, "b", b"text\nrow\n", {}, format="csv")[0]) == 1
