"""Parquet: rows by their groups, and what damage costs."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from balanced import damaged
from conftest import SHARED, needs_shared, write_raw
from packing import pack_the_stack_parquet

from redpajama.raw import parquet
from redpajama.raw.io import RawFile
from redpajama.records import Reason, Tally


def parquet_file(tmp_path, table: pa.Table, name: str = "a.parquet", **options):
    pq.write_table(table, tmp_path / name, **options)
    return (tmp_path / name).read_bytes()


def rows_of(tmp_path, data: bytes, columns=("id", "text")):
    tally = Tally()
    file = write_raw(tmp_path, "read.parquet", data)
    rows = list(parquet.rows(file, columns, tally))
    assert tally.read == len(rows) + sum(tally.quarantined.values())
    assert tally.consumed_bytes + tally.skipped_bytes == len(data)
    return rows, tally


TEXTS = [f"text {index} " * 20 for index in range(300)]
TABLE = pa.table({"id": list(range(300)), "other": [1.5] * 300, "text": TEXTS})


def test_rows_come_with_their_numbers_and_the_wanted_columns(tmp_path):
    rows, tally = rows_of(tmp_path, parquet_file(tmp_path, TABLE, row_group_size=100))
    assert [number for number, _ in rows] == list(range(300))
    assert rows[299][1] == {"id": 299, "text": "text 299 " * 20}
    assert tally.rows == []


def test_a_file_is_opened_as_often_for_many_row_groups_as_for_one(tmp_path, monkeypatch):
    opened, open_it, counts = [], RawFile.open, []
    monkeypatch.setattr(RawFile, "open", lambda file: opened.append(file) or open_it(file))
    for rows in (300, 10):
        opened.clear()
        assert len(rows_of(tmp_path, parquet_file(tmp_path, TABLE, row_group_size=rows))[0]) == 300
        counts.append(len(opened))
    assert counts == [2, 2]


def test_a_file_with_none_of_the_columns_shows_what_it_has(tmp_path):
    rows, _ = rows_of(tmp_path, parquet_file(tmp_path, TABLE), columns=("content",))
    assert rows[0][1].keys() == {"id", "other", "text"}


@pytest.mark.parametrize("compression", ["zstd", "gzip", "snappy"])
def test_a_damaged_row_group_is_skipped_with_its_range_and_the_others_are_read(tmp_path, compression):
    data = parquet_file(tmp_path, TABLE, row_group_size=100, compression=compression, write_page_checksum=True)
    footer = pq.read_metadata(tmp_path / "a.parquet").row_group(1)
    start = footer.column(0).dictionary_page_offset
    end = footer.column(2).dictionary_page_offset + footer.column(2).total_compressed_size
    broken = data[: end - 40] + bytes(byte ^ 0xFF for byte in data[end - 40 : end - 20]) + data[end - 20 :]
    rows, tally = rows_of(tmp_path, broken)
    assert [number for number, _ in rows] == [*range(100), *range(200, 300)]
    (row,) = tally.rows
    assert (row.reason, row.evidence["offset"], row.evidence["end"]) == (Reason.DAMAGED, start, end)
    assert (row.evidence["row_group"], row.evidence["rows"]) == (1, 100)


def test_without_a_footer_the_whole_file_is_skipped(tmp_path):
    data = parquet_file(tmp_path, TABLE)
    for broken, reason in [
        (data[:-1000], Reason.TRUNCATED),
        (data[:-60] + bytes(40) + data[-20:], Reason.DAMAGED),
        (b"not parquet", Reason.WRONG_FORMAT),
        (b"", Reason.WRONG_FORMAT),
    ]:
        rows, tally = rows_of(tmp_path, broken)
        assert rows == []
        assert [(row.reason, row.evidence["offset"], row.evidence["end"]) for row in tally.rows] == [
            (reason, 0, len(broken))
        ]


def test_a_row_that_is_not_utf8_is_quarantined_and_its_neighbours_are_read(tmp_path):
    texts = pa.array([b"one", b"tw\xff", b"three"]).view(pa.string())
    rows, tally = rows_of(tmp_path, parquet_file(tmp_path, pa.table({"id": [1, 2, 3], "text": texts})))
    assert [row["text"] for _, row in rows] == ["one", "three"]
    assert [(row.reason, row.raw, row.evidence["row"]) for row in tally.rows] == [(Reason.INVALID_UTF8, b"tw\xff", 1)]


INF, NAN = float("inf"), float("nan")
MOMENT = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
PAIRS = pa.map_(pa.string(), pa.decimal128(3, 1))
VALUES = {  # name: (column of two values, the first one as it is read)
    "decimal": (pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)), "1.50"),
    "wide decimal": (pa.array([Decimal(10)] * 2, pa.decimal256(50, 0)), "10"),
    "date": (pa.array([date(2020, 1, 2)] * 2), "2020-01-02"),
    "impossible date": (pa.array([10**7, 1], pa.int32()).view(pa.date32()), "29349-01-26"),
    "time": (pa.array([5, 6], pa.time64("ns")), "00:00:00.000000005"),
    "moment": (pa.array([MOMENT.replace(tzinfo=None)] * 2, pa.timestamp("s")), "2020-01-02 03:04:05.000"),
    "moment in a zone": (pa.array([MOMENT] * 2, pa.timestamp("s", "Europe/Paris")), "2020-01-02 03:04:05.000Z"),
    "moment in no zone known": (pa.array([MOMENT] * 2, pa.timestamp("s", "Mars/Olympus")), "2020-01-02 03:04:05.000Z"),
    "duration": (pa.array([5, 6], pa.duration("ms")), "5 ms"),
    "half": (pa.array([1.5, NAN], pa.float16()), 1.5),
    "not a number": (pa.array([NAN, 1.0]), "NaN"),
    "infinity": (pa.array([-INF, INF], pa.float32()), "-Infinity"),
    "bytes": (pa.array([b"\xc3\xa9", b"\xff"]), "é"),
    "bytes that are no text": (pa.array([b"\xff\x00", b"a"], pa.large_binary()), "/wA="),
    "fixed": (pa.array([b"ab", b"cd"], pa.binary(2)), "ab"),
    "list": (pa.array([[1.5, NAN, None], []]), [1.5, "NaN", None]),
    "list of days": (pa.array([[date(2020, 1, 2)], None]), ["2020-01-02"]),
    "struct": (pa.array([{"a": Decimal("1.5"), "b": [b"x"]}] * 2), {"a": "1.5", "b": ["x"]}),
    "map": (pa.array([[("a", Decimal("1.5"))], []], PAIRS), [["a", "1.5"]]),
    "dictionary": (pa.array(["x", "y"]).dictionary_encode(), "x"),
    "dictionary of days": (pa.array([date(2020, 1, 2)] * 2).dictionary_encode(), "2020-01-02"),
    "nothing": (pa.nulls(2), None),
    "number": (pa.array([2**64 - 1, 0], pa.uint64()), 2**64 - 1),
    "uuid": (
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"a" * 16] * 2, pa.binary(16))),
        "61616161-6161-6161-6161-616161616161",
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_column_of_any_type_comes_as_json_has_it(tmp_path, name):
    values, wanted = VALUES[name]
    rows, tally = rows_of(tmp_path, parquet_file(tmp_path, pa.table({"id": [1, 2], "text": values})))
    assert rows[0][1]["text"] == wanted
    assert [json.loads(orjson.dumps(row["text"])) for _, row in rows] == [row["text"] for _, row in rows]
    assert (len(rows), tally.rows) == (2, [])


def test_a_text_of_bytes_is_text_and_one_that_is_no_text_is_a_bad_row(tmp_path):
    table = pa.table({"id": [1, 2], "content": pa.array(["é".encode(), b"tw\xff"])})
    rows, tally = rows_of(tmp_path, parquet_file(tmp_path, table), columns=("id", "content"))
    assert [row["content"] for _, row in rows] == ["é"]
    assert [(row.reason, row.raw) for row in tally.rows] == [(Reason.INVALID_UTF8, b"tw\xff")]


def test_random_damage_never_stops_the_parquet_reader(tmp_path):
    data = parquet_file(tmp_path, TABLE, row_group_size=50)
    for broken in damaged(data, 60):
        rows_of(tmp_path, broken)


@needs_shared
def test_random_damage_of_a_real_table_never_stops_the_parquet_reader(tmp_path):
    data = pack_the_stack_parquet(tmp_path, SHARED, per_repository=10, row_group_rows=10).read_bytes()
    for broken in damaged(data, 20):
        rows_of(tmp_path, broken, columns=("hexsha", "content", "max_stars_repo_licenses"))
