import gzip
import io
import tarfile
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from balanced import damaged
from conftest import SHARED, needs_shared, write_raw
from packing import pack_tar, pack_the_stack_parquet

from redpajama.archives import (
    Unreadable,
    by_tree,
    expand,
    is_safe_path,
    is_tar,
    parquet_rows,
    peek,
    read_loose,
    read_tar,
    read_whole,
)
from redpajama.records import Reason, Tally

MIB = 1 << 20


def tar_of(*infos: tuple[tarfile.TarInfo, bytes], format: int = tarfile.GNU_FORMAT, **options) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format, **options) as archive:
        for info, data in infos:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def outcomes(data: bytes, limit: int = MIB, step: int = 1000) -> list[tuple[str, bytes, Reason | None]]:
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    return [(member.name, member.data, member.problem) for member in read_tar(pieces, limit)]


@pytest.mark.parametrize("path", ["a", "a/b.py", "a..b/c", ".hidden", "...", "a b/ä.txt", "C/x"])
def test_paths_that_stay_inside_are_safe(path):
    assert is_safe_path(path)


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../../x", "a/..", "..", "C:\\x", "c:x", "\\x", "a\\..\\..\\x", "a\0b"]
)
def test_paths_that_leave_are_unsafe(path):
    assert not is_safe_path(path)


@needs_shared
@pytest.mark.parametrize("step", [511, 512, 65536, 1 << 30])
def test_a_real_tarball_reads_as_tarfile_reads_it(step):
    data = gzip.decompress((SHARED / "github/repos/gorilla__mux-db9d1d0073d2.tar.gz").read_bytes())
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = [(info.name, archive.extractfile(info).read(), None) for info in archive if info.isreg()]
    assert outcomes(data, step=step) == expected


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read_in_both_dialects(format):
    name = "folder/" * 40 + "ü.txt"
    assert outcomes(tar_of((tarfile.TarInfo(name), b"text"), format=format)) == [(name, b"text", None)]


def test_the_commit_of_git_archive_and_the_times_are_read():
    info = tarfile.TarInfo("a.py")
    info.mtime, info.mode = 1_600_000_000, 0o755
    commit = "2c8cd3ac958a" + "0" * 28
    data = tar_of((info, b"x"), format=tarfile.PAX_FORMAT, pax_headers={"comment": commit})
    (member,) = read_tar([data], MIB)
    assert (member.commit, member.modified, member.mode) == (commit, 1_600_000_000, 0o755)


@pytest.mark.parametrize("name", ["../evil.py", "/etc/cron.d/evil", "a/../../evil", "C:\\evil.bat"])
def test_members_that_climb_out_are_unsafe_and_the_rest_is_read(name):
    data = tar_of((tarfile.TarInfo("a"), b"1"), (tarfile.TarInfo(name), b"evil"), (tarfile.TarInfo("b"), b"2"))
    assert outcomes(data) == [("a", b"1", None), (name, b"evil", Reason.UNSAFE_PATH), ("b", b"2", None)]


def test_links_inside_are_passed_over_and_links_outside_are_unsafe():
    data = tar_of(
        link("docs/here", "../README"),
        link("there", "../../etc/passwd"),
        link("abs", "/etc/passwd"),
        link("hard", "docs/x", tarfile.LNKTYPE),
        link("docs/hard", "../x", tarfile.LNKTYPE),
    )
    assert [(name, problem) for name, _, problem in outcomes(data)] == [
        ("there", Reason.UNSAFE_PATH),
        ("abs", Reason.UNSAFE_PATH),
        ("docs/hard", Reason.UNSAFE_PATH),
    ]


def test_folders_are_no_members_and_devices_are_unsafe():
    folder, device = tarfile.TarInfo("folder"), tarfile.TarInfo("null")
    folder.type, device.type = tarfile.DIRTYPE, tarfile.CHRTYPE
    assert outcomes(tar_of((folder, b""), (device, b""))) == [("null", b"", Reason.UNSAFE_PATH)]


def test_a_member_over_the_limit_is_passed_without_its_data():
    data = pack_tar([("big", b"x" * 5000), ("small", b"y")])
    assert outcomes(data, limit=4999) == [("big", b"", Reason.EXPANSION_LIMIT), ("small", b"y", None)]


def test_members_that_are_not_wanted_come_without_data():
    members = list(read_tar([pack_tar([("a.png", b"x" * 9000), ("a.py", b"y")])], 100, lambda name: name != "a.png"))
    assert [(member.name, member.data, member.problem) for member in members] == [
        ("a.png", b"", None),
        ("a.py", b"y", None),
    ]


def test_a_damaged_header_costs_one_member():
    data = bytearray(pack_tar([("a", b"1" * 600), ("b", b"2" * 600), ("c", b"3" * 600)]))
    data[1536 + 10] ^= 0xFF  # in the header of b
    assert [(name, problem) for name, _, problem in outcomes(bytes(data))] == [
        ("a", None),
        ("", Reason.DAMAGED),
        ("c", None),
    ]


@pytest.mark.parametrize("cut", [1, 100, 512, 700, 5000])
@pytest.mark.parametrize("wanted", [True, False])
def test_missing_bytes_cost_their_member_and_not_the_next(cut, wanted):
    names = ["a", "b", "c"]
    data = pack_tar([(name, name.upper().encode() * 9000) for name in names])
    at = 512 + 3000  # in the data of a
    members = list(read_tar([data[:at] + data[at + cut :]], 1 << 20, lambda name: wanted or name != "a"))
    assert [(member.name, member.problem) for member in members] == [("a", Reason.DAMAGED), ("b", None), ("c", None)]
    assert [member.data for member in members[1:]] == [b"B" * 9000, b"C" * 9000]


@pytest.mark.parametrize("size", [1, 40, 511, 512, 3000])
def test_bytes_too_many_cost_no_member_behind_them(size):
    data = pack_tar([(name, name.upper().encode() * 9000) for name in ("a", "b", "c")])
    at = 512 + 3000  # in the data of a
    members = list(read_tar([data[:at] + b"?" * size + data[at:]], 1 << 20))
    assert [member.name for member in members] == ["a", "", "b", "c"]
    assert members[1].problem is Reason.DAMAGED
    assert [member.data for member in members[2:]] == [b"B" * 9000, b"C" * 9000]


def test_a_gap_costs_the_member_it_hits_and_reading_goes_on_unaligned():
    data = pack_tar([("a", b"1" * 600), ("b", b"2" * 600), ("c", b"3" * 600)])
    found = list(read_tar([data[:2100], None, data[2333:]], MIB))
    assert [(member.name, member.problem) for member in found] == [("a", None), ("b", Reason.DAMAGED), ("c", None)]
    assert found[2].data == b"3" * 600


def test_a_gap_between_members_costs_none():
    data = pack_tar([("a", b"1"), ("b", b"2")])
    assert [member.name for member in read_tar([data[:1024], None, data[1024:]], MIB)] == ["a", "b"]


@pytest.mark.parametrize("cut", [1024 + 512 + 100, 1024 + 100])
def test_a_truncated_tar_ends_with_a_truncated_member(cut):
    data = pack_tar([("a", b"1" * 500), ("b", b"2" * 500)])[:cut]
    assert [problem for _, _, problem in outcomes(data)] == [None, Reason.TRUNCATED]


def test_what_is_no_tar_is_one_member_of_the_wrong_format():
    assert [problem for _, _, problem in outcomes(b"<html>no such file</html>" * 100)] == [Reason.WRONG_FORMAT]
    assert outcomes(b"") == []
    assert not is_tar(b"<html>" * 100)


def test_random_damage_never_stops_the_tar_reader():
    data = pack_tar([(f"{index}.py", bytes([index]) * 700) for index in range(20)])
    for broken in damaged(data, 60):
        assert len(outcomes(broken)) >= 1 or len(broken) < 512


# ---- gzip in memory, whole files, trees


def test_two_layers_of_gzip_are_opened_and_no_third():
    inner = gzip.compress(b"text")
    assert b"".join(expand(gzip.compress(inner), MIB)) == b"text"
    assert b"".join(expand(gzip.compress(gzip.compress(inner)), MIB)) == inner
    assert b"".join(expand(b"plain", MIB)) == b"plain"
    assert b"".join(expand(gzip.compress(b"a") + gzip.compress(b"b") + b"\0\0", MIB)) == b"ab"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (gzip.compress(bytes(9 * MIB)), Reason.EXPANSION_LIMIT),
        (gzip.compress(gzip.compress(bytes(9 * MIB))), Reason.EXPANSION_LIMIT),
        (gzip.compress(b"text" * 999)[:-9], Reason.TRUNCATED),
        (b"\x1f\x8b", Reason.TRUNCATED),
        (gzip.compress(b"text")[:-6] + b"wrong!", Reason.DAMAGED),
    ],
)
def test_bombs_and_broken_gzip_are_refused(data, reason):
    with pytest.raises(Unreadable) as caught:
        list(expand(data, 8 * MIB))
    assert caught.value.reason == reason


def test_peek_gives_the_stream_back_whole():
    head, stream = peek([b"ab", b"cd", None, b"ef"], 3)
    assert (head, list(stream)) == (b"abc", [b"ab", b"cd", None, b"ef"])
    head, stream = peek([b"ab", None, b"cd"], 3)
    assert (head, list(stream)) == (b"ab", [b"ab", None, b"cd"])


def test_a_whole_file_is_refused_beyond_its_limit_and_when_damaged(tmp_path):
    data = gzip.compress(b"text" * 1000)
    tally = Tally()
    assert read_whole(write_raw(tmp_path, "a.gz", data), tally, 4000) == b"text" * 1000
    with pytest.raises(Unreadable, match="more than 3,999 bytes"):
        read_whole(write_raw(tmp_path, "a.gz", data), tally, 3999)
    with pytest.raises(Unreadable, match="damaged"):
        read_whole(write_raw(tmp_path, "a.gz", data[:-4]), tally, 4000)
    assert tally.consumed_bytes + tally.skipped_bytes == 3 * len(data) - 4


def test_files_of_a_tree_stay_together(tmp_path):
    a, b, c = (write_raw(tmp_path, f"t/{name}", b"x") for name in "abc")
    one, two = replace(a, tree="t/"), replace(c, tree="t/")
    assert by_tree([one, b, two]) == [[one, two], [b]]


def test_loose_files_are_read_as_they_are_and_names_that_climb_are_unsafe(tmp_path):
    file = replace(write_raw(tmp_path, "t/a/b.py", b"\x1f\x8bx"), tree="t/")
    tally = Tally()
    assert read_loose(file, tally, 10)[:3] == ("a/b.py", b"\x1f\x8bx", None)
    assert read_loose(file, tally, 2).problem == Reason.EXPANSION_LIMIT
    assert read_loose(file, tally, 2, wanted=False)[:3] == ("a/b.py", b"", None)
    assert read_loose(replace(file, url="t/../../b.py"), tally, 10).problem == Reason.UNSAFE_PATH
    assert tally.consumed_bytes == 4 * file.bytes


# ---- Parquet


def parquet_file(tmp_path, table: pa.Table, name: str = "a.parquet", **options):
    pq.write_table(table, tmp_path / name, **options)
    return (tmp_path / name).read_bytes()


def rows_of(tmp_path, data: bytes, columns=("id", "text")):
    tally = Tally()
    file = write_raw(tmp_path, "read.parquet", data)
    rows = list(parquet_rows(file, columns, tally))
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


def test_random_damage_never_stops_the_parquet_reader(tmp_path):
    data = parquet_file(tmp_path, TABLE, row_group_size=50)
    for broken in damaged(data, 60):
        rows_of(tmp_path, broken)


@needs_shared
def test_random_damage_of_a_real_table_never_stops_the_parquet_reader(tmp_path):
    data = pack_the_stack_parquet(tmp_path, SHARED, per_repository=10, row_group_rows=10).read_bytes()
    for broken in damaged(data, 20):
        rows_of(tmp_path, broken, columns=("hexsha", "content", "max_stars_repo_licenses"))
