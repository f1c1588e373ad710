"""Tar streams: as tarfile reads them, and what is unsafe, too large or damaged in them."""

import gzip
import io
import tarfile

import pytest
from balanced import damaged
from conftest import SHARED, needs_shared
from packing import pack_tar

from redpajama.raw.tar import is_safe_path, is_tar, read_tar
from redpajama.records import Reason

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


def test_missing_bytes_near_the_end_cost_no_member_behind_them():
    data = pack_tar([(f"{number}.txt", b"%d" % number * 3000) for number in range(4)])
    assert [found[0] for found in outcomes(data[:1000] + data[9000:])] == ["0.txt", "3.txt"]
    assert outcomes(data[:-11_000])[-1][2] == Reason.TRUNCATED


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
