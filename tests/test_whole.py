"""Small files whole in memory, and directory trees."""

import gzip
from dataclasses import replace

import pytest
from conftest import write_raw

from redpajama.raw.trees import by_tree, read_loose
from redpajama.raw.whole import Unreadable, expand, peek, read_whole
from redpajama.records import Reason, Tally

MIB = 1 << 20


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
