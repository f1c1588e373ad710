"""Raw bytes -> chunks and lines: every record of an undamaged unit arrives, every raw byte is accounted for."""

import bz2
import gzip
import io
import random
import tracemalloc
import zlib
from dataclasses import replace

import pytest
import zstandard
from conftest import SHARED, needs_shared, raw_file, write_raw

from redpajama.raw import bzip2, codecs, decompress
from redpajama.records import Reason, Tally

WORDS = [bytes(random.Random(n).choices(range(97, 123), k=1 + n % 9)) for n in range(2000)]


def record(number: int, words: int, rng: random.Random) -> bytes:
    return b"R%06d " % number + b" ".join(rng.choices(WORDS, k=words)) + b"\n"


def zstd(data: bytes, checksum: bool = True, **options) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=checksum, **options).compress(data)


def noise(size: int, seed: int = 1) -> bytes:
    """Text that compresses to about a third."""
    rng = random.Random(seed)
    return b"".join(record(n, 20, rng) for n in range(size // 110 + 1))[:size]


def flipped(data: bytes, at: int, bit: int = 3) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


@pytest.fixture
def read(tmp_path):
    """bytes and a name -> (chunks, tally); fails if the accounting is not exact."""

    def read_bytes(data: bytes, name: str, **options):
        file, tally = write_raw(tmp_path, name, data), Tally()
        chunks = list(decompress.chunks(file, tally, **options))
        assert tally.consumed_bytes + tally.skipped_bytes == len(data)
        assert chunks.count(None) == sum(tally.damaged.values()) == len(tally.rows)
        return chunks, tally

    return read_bytes


def ranges(tally: Tally) -> list[tuple[int, int, str]]:
    return [(row.evidence["offset"], row.evidence["end"], row.reason) for row in tally.rows]


COMPRESS = {"gz": gzip.compress, "zst": zstd, "bz2": bz2.compress, "txt": bytes}


@pytest.mark.parametrize("suffix", COMPRESS)
def test_the_codec_is_told_by_the_bytes_not_by_the_name(read, suffix):
    data = noise(5000)
    for name in (f"a.{suffix}", "a", "a.jsonl", "a.zst" if suffix == "gz" else "a.txt"):
        chunks, tally = read(COMPRESS[suffix](data), name)
        assert b"".join(chunks) == data
        assert not tally.rows


@pytest.mark.parametrize("suffix", ["gz", "zst", "bz2"])
def test_units_after_one_another_are_one_text(read, suffix):
    parts = [noise(3000, seed) for seed in range(5)]
    chunks, _ = read(b"".join(map(COMPRESS[suffix], parts)), f"a.{suffix}")
    assert chunks == parts


def test_members_carry_their_raw_byte_ranges(tmp_path):
    units = [gzip.compress(noise(300, n)) for n in range(3)]
    damaged = flipped(units[1], len(units[1]) // 2)
    file = write_raw(tmp_path, "a.warc.gz", units[0] + damaged + units[2])
    a, b = len(units[0]), len(units[0]) + len(units[1])
    found = list(decompress.members(file, Tally()))
    assert found == [(0, a, noise(300, 0)), None, (b, file.bytes, noise(300, 2))]


# --- damage


@pytest.mark.parametrize("suffix", ["gz", "zst", "bz2"])
def test_a_damaged_unit_is_withheld_whole_and_the_others_arrive(read, suffix):
    parts = [noise(3000, seed) for seed in range(3)]
    units = [COMPRESS[suffix](part) for part in parts]
    data = units[0] + flipped(units[1], len(units[1]) // 2) + units[2]
    chunks, tally = read(data, f"a.{suffix}")
    assert b"".join(chunk for chunk in chunks if chunk) == parts[0] + parts[2]
    assert chunks.index(None) == 1
    assert tally.damaged == {Reason.DAMAGED: 1}
    start, end, _ = ranges(tally)[0]
    assert abs(start - len(units[0])) <= 4  # a bzip2 stream's header is no part of its block
    assert len(units[0] + units[1]) - end in range(20)  # nor are its trailer and padding
    assert tally.rows[0].evidence["file"] == f"a.{suffix}"


@pytest.mark.parametrize("suffix", ["gz", "zst", "bz2"])
def test_a_cut_last_unit_is_noticed_as_truncated(read, suffix):
    first, last = COMPRESS[suffix](noise(3000, 1)), COMPRESS[suffix](noise(3000, 2))
    for kept in (1, 5, len(last) // 2, len(last) - 1):
        chunks, tally = read(first + last[:kept], f"a.{suffix}")
        assert chunks == [noise(3000, 1), None] or suffix == "bz2"
        assert chunks[0] == noise(3000, 1)
        assert tally.damaged == {Reason.TRUNCATED: 1}
        assert ranges(tally)[0][1] == len(first) + kept


def test_a_header_flip_hides_no_following_member(read):
    units = [gzip.compress(noise(500, n)) for n in range(3)]
    chunks, tally = read(units[0] + flipped(units[1], 0) + units[2], "a.gz")
    assert chunks == [noise(500, 0), None, noise(500, 2)]
    assert ranges(tally) == [(len(units[0]), len(units[0] + units[1]), Reason.DAMAGED)]


def test_a_gzip_checksum_is_verified_before_a_member_is_delivered(read):
    units = [gzip.compress(noise(500, n)) for n in range(2)]
    chunks, _ = read(units[0] + flipped(units[1], len(units[1]) - 6) + units[0], "a.gz")
    assert chunks == [noise(500, 0), None, noise(500, 0)]


@pytest.mark.parametrize("level", [1, 6, 9])
def test_of_a_single_damaged_member_the_text_before_the_damaged_block_is_delivered(read, level):
    text = noise(1_000_000)
    data = gzip.compress(text, level)
    at = len(data) // 2
    for damaged in (flipped(data, at), data[:at] + b"\xff" * 50 + data[at + 50 :], data[:at] + data[at + 9 :]):
        chunks, tally = read(damaged, "c4.json.gz")
        assert chunks[1:] == [None]
        assert text.startswith(chunks[0])  # although decoding only notices at the end that the rest is wrong
        assert 300_000 < len(chunks[0]) < 510_000
        start, end, reason = ranges(tally)[0]
        assert start <= at
        assert (end, reason) == (len(damaged), Reason.DAMAGED)


def test_of_a_single_member_with_a_wrong_checksum_all_is_delivered_if_all_is_proven(read):
    text = noise(300_000)
    data = gzip.compress(text)
    chunks, tally = read(flipped(data, len(data) - 7), "c4.json.gz")
    assert chunks == [text, None]
    assert ranges(tally) == [(len(data) - 8, len(data), Reason.DAMAGED)]


def test_of_a_single_damaged_member_by_another_encoder_the_last_64_kib_are_withheld(read):
    encoder = zlib.compressobj(6, zlib.DEFLATED, 31, 8, zlib.Z_FILTERED)
    text = noise(500_000)
    data = encoder.compress(text) + encoder.flush()
    chunks, tally = read(flipped(data, len(data) - 7), "c4.json.gz")
    assert text.startswith(chunks[0])
    assert 64 << 10 <= len(text) - len(chunks[0]) <= 128 << 10
    assert tally.damaged == {Reason.DAMAGED: 1}


def test_of_a_single_cut_member_all_that_is_there_is_delivered(read):
    text = noise(300_000)
    data = gzip.compress(text)
    chunks, tally = read(data[: len(data) // 2], "c4.json.gz")
    assert text.startswith(chunks[0])
    assert 140_000 < len(chunks[0]) < 160_000
    assert chunks[1:] == [None]
    assert ranges(tally) == [(len(data) // 2, len(data) // 2, Reason.TRUNCATED)]


def test_a_header_with_all_optional_fields_is_read(read):
    head = b"\x1f\x8b\x08\x1f" + bytes(6) + b"\x03\x00abc" + b"name\x00" + b"comment\x00"
    head += (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")
    data = head + gzip.compress(b"text")[10:]
    assert read(data, "a.gz")[0] == [b"text"]
    assert read(gzip.compress(b"a") + flipped(data, 13) + gzip.compress(b"b"), "a.gz")[0] == [b"a", None, b"b"]


# --- the start and the end of a file


@pytest.mark.parametrize("suffix", ["gz", "zst", "bz2"])
def test_a_file_that_begins_inside_a_unit_is_read_from_the_next_one(read, suffix):
    units = [COMPRESS[suffix](noise(3000, n)) for n in range(3)]
    chunks, tally = read(b"".join(units)[700:], f"a.{suffix}")
    assert chunks == [None, noise(3000, 1), noise(3000, 2)]
    assert tally.damaged == {Reason.DAMAGED: 1}


@pytest.mark.parametrize("suffix", ["gz", "zst", "bz2"])
def test_a_file_whose_name_claims_a_codec_that_it_is_not_is_one_skipped_range(read, suffix):
    chunks, tally = read(b"no such thing " * 100, f"a.{suffix}")
    assert chunks == [None]
    assert ranges(tally) == [(0, 1400, Reason.WRONG_FORMAT)]


def test_an_empty_file_is_truncated_only_if_its_name_claims_a_codec(read):
    assert read(b"", "a.txt")[0] == []
    for name in ("a.gz", "a.zst", "a.bz2", "https://host/a.json.gz?version=3"):
        assert ranges(read(b"", name.replace("https://host/", ""))[1]) == [(0, 0, Reason.TRUNCATED)]


def test_zeros_after_a_gzip_member_are_padding(read):
    member = gzip.compress(b"text")
    assert read(member + bytes(1000) + member + bytes(3_000_000), "a.gz")[0] == [b"text", b"text"]


def test_a_long_run_of_zeros_between_members_is_a_hole(read):
    member = gzip.compress(b"text")
    chunks, tally = read(member + bytes(70_000) + member, "a.gz")
    assert chunks == [b"text", None, b"text"]
    assert ranges(tally) == [(len(member), len(member) + 70_000, Reason.DAMAGED)]


@pytest.mark.parametrize("suffix", ["gz", "zst", "bz2"])
def test_garbage_after_the_last_unit_is_a_skipped_range(read, suffix):
    unit = COMPRESS[suffix](b"text")
    chunks, tally = read(unit + b"<html>503</html>", f"a.{suffix}")
    assert chunks == [b"text", None]
    assert ranges(tally) == [(len(unit), len(unit) + 16, Reason.DAMAGED)]


def test_a_file_shorter_than_listed_is_truncated(tmp_path):
    file = write_raw(tmp_path, "a.txt", b"0123456789")
    (tmp_path / "a.txt").write_bytes(b"01234")
    tally = Tally()
    assert list(decompress.chunks(file, tally)) == [b"01234", None]
    assert ranges(tally) == [(5, 10, Reason.TRUNCATED)]


# --- units too long to be verified first


@pytest.fixture
def small_units(monkeypatch):
    """Units over 256 KiB count as long ones."""
    monkeypatch.setattr(decompress, "WHOLE_BYTES", 256 << 10)
    monkeypatch.setattr(decompress, "READ_BYTES", 128 << 10)


ENCODERS = {
    "gz": (lambda: zlib.compressobj(wbits=31), zlib.Z_FULL_FLUSH),
    "zst": (lambda: zstandard.ZstdCompressor().compressobj(), zstandard.COMPRESSOBJ_FLUSH_BLOCK),
}


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_long_unit_streams_and_withholds_the_bytes_before_the_damage(read, small_units, suffix):
    text = noise(2_000_000)
    encoder, flush = ENCODERS[suffix][0](), ENCODERS[suffix][1]
    sound = encoder.compress(text[:1_500_000]) + encoder.flush(flush)
    unit = sound + b"\xff" * 5000  # no block begins so
    chunks, tally = read(unit + COMPRESS[suffix](b"after\n"), f"a.{suffix}")
    delivered = b"".join(chunks[: chunks.index(None)])
    assert len(chunks) > 4
    assert text.startswith(delivered)
    assert 1_500_000 - (256 << 10) < len(delivered) <= 1_500_000 - (64 << 10)
    assert chunks[-2:] == [None, b"after\n"]
    start, end, reason = ranges(tally)[0]
    assert len(sound) - (128 << 10) < start < len(sound)
    assert (end, reason) == (len(unit), Reason.DAMAGED)


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_long_unit_that_is_cut_is_delivered_to_its_last_byte(read, small_units, suffix):
    text = noise(2_000_000)
    encoder, flush = ENCODERS[suffix][0](), ENCODERS[suffix][1]
    data = encoder.compress(text) + encoder.flush(flush)
    chunks, tally = read(data, f"a.{suffix}")
    assert b"".join(chunk for chunk in chunks if chunk) == text
    assert tally.damaged == {Reason.TRUNCATED: 1}


@pytest.mark.parametrize(("suffix", "trailer"), [("gz", 8), ("zst", 4)])
def test_a_long_unit_with_a_wrong_checksum_has_its_trailer_on_record(read, small_units, suffix, trailer):
    text = noise(2_000_000)
    unit = COMPRESS[suffix](text)
    chunks, tally = read(flipped(unit, len(unit) - trailer) + COMPRESS[suffix](b"after"), f"a.{suffix}")
    assert b"".join(chunk for chunk in chunks if chunk) == text + b"after"
    assert ranges(tally) == [(len(unit) - trailer, len(unit), Reason.DAMAGED)]
    assert "checksum" in tally.rows[0].evidence["note"]


# --- zstd


def test_skippable_frames_hold_nothing_and_are_consumed(read):
    skippable = b"\x53\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    assert read(skippable + zstd(b"one") + skippable + zstd(b"two") + skippable, "a.zst")[0] == [b"one", b"two"]


def test_a_damaged_length_of_a_skippable_frame_swallows_no_frame(read):
    skippable = b"\x50\x2a\x4d\x18" + (200).to_bytes(4, "little") + b"abc"
    chunks, _ = read(skippable + zstd(b"one") + zstd(noise(3000)), "a.zst")
    assert chunks == [None, b"one", noise(3000)]


TRAINED = zstandard.train_dictionary(4096, [noise(600, seed) for seed in range(200)])
DICTIONARIES = {
    "plain": TRAINED.as_bytes(),
    "compressed": zstd(TRAINED.as_bytes()),
    "content": noise(3000, 7),
    "compressed content": zstd(noise(3000, 7)),
}


def skippable_frame(data: bytes, magic: int = 0x184D2A5D) -> bytes:
    return magic.to_bytes(4, "little") + len(data).to_bytes(4, "little") + data


def packed_with(name: str, parts: list[bytes]) -> list[bytes]:
    """Frames that need one of DICTIONARIES."""
    known = TRAINED if "content" not in name else zstandard.ZstdCompressionDict(DICTIONARIES["content"])
    return [zstd(part, dict_data=known) for part in parts]


@pytest.mark.parametrize("name", DICTIONARIES)
def test_frames_are_decoded_with_the_dictionary_in_the_files_first_frame(read, name):
    parts = [noise(900, seed) for seed in range(5)]
    units = [skippable_frame(DICTIONARIES[name]), *packed_with(name, parts)]
    extension = skippable_frame(b"an extension", 0x184D2A50)
    chunks, tally = read(b"".join([*units[:3], extension, *units[3:]]), "a.warc.zst")
    assert chunks == parts
    assert not tally.rows
    damaged = [*units[:2], flipped(units[2], len(units[2]) // 2), *units[3:]]
    assert read(b"".join(damaged), "a.warc.zst")[0] == [parts[0], None, *parts[2:]]


def test_a_range_of_a_file_knows_the_dictionary_at_the_files_beginning(tmp_path):
    parts = [noise(900, seed) for seed in range(9)]
    frames = packed_with("plain", parts)
    file = write_raw(tmp_path, "a.zst", skippable_frame(DICTIONARIES["plain"]) + b"".join(frames))
    [*_, start] = decompress.cuts(file, 1000)
    assert list(decompress.chunks(replace(file, start=start), Tally()))[-1] == parts[-1]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (skippable_frame(flipped(zstd(DICTIONARIES["plain"]), 900)), Reason.DAMAGED),
        (skippable_frame(DICTIONARIES["plain"][:10] + bytes(200)), Reason.DAMAGED),
        (skippable_frame(zstd(bytes(9 << 20))), Reason.EXPANSION_LIMIT),
        (skippable_frame(bytes(9 << 20)), Reason.EXPANSION_LIMIT),
    ],
    ids=["compressed", "tables", "bomb", "long"],
)
def test_a_dictionary_that_cannot_be_read_is_named_and_frames_without_it_arrive(read, frame, reason):
    chunks, tally = read(frame + zstd(b"free"), "a.zst")
    assert chunks == [None, b"free"]
    assert [row.reason for row in tally.rows] == [reason]
    assert "dictionary" in tally.rows[0].evidence["note"]


@pytest.mark.parametrize(("magic", "name"), [("04224d18", "lz4"), ("fd377a585a00", "xz"), ("504b0304", "zip")])
def test_a_codec_that_is_not_read_is_named(tmp_path, magic, name):
    file, tally = write_raw(tmp_path, "a.jsonl", bytes.fromhex(magic) + b"\n{}\n" * 9), Tally()
    assert list(decompress.lines(file, tally)) == []
    assert [(row.reason, row.evidence["codec"]) for row in tally.rows] == [(Reason.WRONG_FORMAT, name)]
    assert tally.skipped_bytes == file.bytes


def test_a_frame_with_a_window_of_two_gib_is_read(read):
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=31, enable_ldm=True)
    stream = io.BytesIO()
    with zstandard.ZstdCompressor(compression_params=parameters).stream_writer(stream, closefd=False) as writer:
        writer.write(b"long")
    assert read(stream.getvalue(), "a.zst")[0] == [b"long"]


# --- bzip2


def test_one_damaged_block_of_a_single_stream_costs_one_block(read):
    text = noise(450_000)
    data = bz2.compress(text, 1)  # blocks of 100 kB
    marks = _marks(data)
    at = (marks[2] + marks[3]) // 16
    chunks, tally = read(flipped(data, at), "wiki.xml.bz2")
    assert len(chunks) == 5
    assert chunks[2] is None
    assert b"".join(chunks[:2]) == text[: len(b"".join(chunks[:2]))]
    assert text.endswith(b"".join(chunks[3:]))
    assert len(b"".join(chunk or b"" for chunk in chunks)) in range(340_000, 360_000)
    assert ranges(tally) == [(marks[2] // 8, marks[3] // 8, Reason.DAMAGED)]


def _marks(data: bytes) -> list[int]:
    """The bit offsets of all marks, found one bit at a time."""
    bits = "".join(f"{byte:08b}" for byte in data)
    wanted = [f"{0x314159265359:048b}", f"{0x177245385090:048b}"]
    return sorted(n for mark in wanted for n in range(len(bits)) if bits.startswith(mark, n))


def test_marks_are_found_at_every_bit_offset():
    rng = random.Random(5)
    for number in range(200):
        value, is_end = (0x177245385090, True) if number % 2 else (0x314159265359, False)
        before, after = rng.randrange(80), rng.randrange(20)
        bits = before + 48 + after
        pad = -bits % 8
        body = (rng.getrandbits(before + 1) >> 1) << 48 | value
        data = (body << after + pad).to_bytes((bits + pad) // 8, "big")
        assert bzip2.find_mark(data) == (before, is_end)
        assert bzip2.find_mark(data, before) == (before, is_end)
        assert bzip2.find_mark(data, before + 1) is None


@pytest.mark.parametrize("what", ["the next block's mark", "the stream's end mark"])
def test_a_block_whose_end_cannot_be_told_is_delivered_all_the_same(read, what):
    text = noise(250_000)
    data = bz2.compress(text, 1)
    marks = _marks(data)
    broken = marks[1] if what == "the next block's mark" else marks[3]
    chunks, tally = read(flipped(data, broken // 8 + 2) + bz2.compress(b"after"), "a.bz2")
    got = b"".join(chunk for chunk in chunks if chunk)
    assert got.endswith(b"after")
    assert tally.damaged == {Reason.DAMAGED: 1}
    if what == "the stream's end mark":
        assert got == text + b"after"
    else:
        assert text.startswith(chunks[0])
        assert len(chunks[0]) > 99_000
        assert chunks[1] is None
        assert text.endswith(chunks[2])


def test_a_stream_without_its_end_is_truncated(read):
    text = noise(150_000)
    data = bz2.compress(text, 1)
    for cut in (1, 5, 9):  # inside the trailer
        chunks, tally = read(data[:-cut], "a.bz2")
        assert b"".join(chunk for chunk in chunks if chunk) == text
        assert tally.damaged == {Reason.TRUNCATED: 1}


def test_a_wrong_checksum_of_a_bzip2_stream_is_on_record_though_its_blocks_are_right(read):
    data = bz2.compress(b"text")
    chunks, tally = read(flipped(data, len(data) - 3), "a.bz2")
    assert chunks == [b"text", None]
    assert "checksum" in tally.rows[0].evidence["note"]


def test_streams_of_nothing_are_legal(read):
    for data in (bz2.compress(b""), bz2.compress(b"") + bz2.compress(b"x") + bz2.compress(b"")):
        chunks, tally = read(data, "a.bz2")
        assert b"".join(chunks) in (b"", b"x")
        assert not tally.rows


# --- bombs


def test_a_gzip_bomb_is_cut_off_and_the_next_member_read(read, small_units):
    data = gzip.compress(bytes(50_000_000)) + gzip.compress(b"after")
    tracemalloc.start()
    chunks, tally = read(data, "a.gz", max_expansion=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(map(len, chunks[: chunks.index(None)])) <= (256 << 10) + 100 * len(data)
    assert chunks[-2:] == [None, b"after"]
    assert tally.damaged == {Reason.EXPANSION_LIMIT: 1}
    assert peak < 15_000_000


def test_a_zstd_bomb_of_repeated_bytes_is_cut_off(read, small_units):
    blocks = b"".join(((128 << 10) << 3 | 2).to_bytes(3, "little") + b"x" for _ in range(5000))  # 20 kB -> 655 MB
    data = b"\x28\xb5\x2f\xfd\x00\x70" + blocks + b"\x01\x00\x00"
    assert zstandard.ZstdDecompressor().decompressobj().decompress(data[:10]) == b"x" * (128 << 10)
    chunks, tally = read(data, "a.zst", max_expansion=100)
    assert sum(len(chunk) for chunk in chunks if chunk) <= (256 << 10) + 100 * len(data)
    assert tally.damaged == {Reason.EXPANSION_LIMIT: 1}


def test_many_small_bombs_are_one_bomb(read, monkeypatch):
    monkeypatch.setattr(decompress, "FILE_ALLOWANCE_BYTES", 2_000_000)
    for suffix in ("gz", "zst", "bz2"):
        unit = COMPRESS[suffix](bytes(1_000_000))
        chunks, tally = read(unit * 200, f"a.{suffix}", max_expansion=10)
        assert sum(len(chunk) for chunk in chunks if chunk) <= 2_000_000 + 10 * 200 * len(unit)
        assert tally.damaged == {Reason.EXPANSION_LIMIT: 1}


def test_a_file_made_of_false_starts_ends_soon(read, monkeypatch):
    monkeypatch.setattr(decompress, "RESYNC_ALLOWANCE_BYTES", 1_000_000)
    stored = b"\x00\xff\xff\x00\x00" + bytes(65535)
    fake = b"\x1f\x8b\x08" + bytes(7)
    chunks, tally = read(fake * 2000 + stored * 3 + b"\xff" + gzip.compress(b"lost"), "a.gz")
    assert chunks == [None]
    assert tally.damaged == {Reason.DAMAGED: 1}


# --- any damage at all


def _mutated(data: bytes, rng: random.Random) -> tuple[bytes, int, int]:
    """(damaged bytes, the range of `data` that is not as it was)."""
    at = rng.randrange(len(data))
    end = min(len(data), at + rng.choice([1, 2, 10, 500, 20000]))
    kind = rng.choice(["flip", "cut", "repeat", "insert", "zero", "truncate"])
    if kind == "flip":
        return flipped(data, at, rng.randrange(8)), at, at + 1
    if kind == "cut":
        return data[:at] + data[end:], at, end
    if kind == "repeat":
        return data[:end] + data[at:], end, end
    if kind == "insert":
        return data[:at] + rng.randbytes(rng.choice([1, 5, 1000])) + data[at:], at, at
    if kind == "zero":
        return data[:at] + bytes(end - at) + data[end:], at, end
    return data[:at], at, len(data)


@pytest.mark.parametrize("suffix", ["gz", "zst", "bz2"])
def test_whatever_happens_to_a_file_untouched_units_arrive_and_all_bytes_are_accounted_for(read, suffix):
    rng = random.Random(f"damage to {suffix}")
    for _ in range(120):
        records = [[record(n * 10 + m, rng.choice([3, 50, 1500]), rng) for m in range(rng.randint(1, 4))]
                   for n in range(rng.randint(1, 6))]  # fmt: skip
        units = [COMPRESS[suffix](b"".join(part)) for part in records]
        data = b"".join(units)
        damaged, start, end = _mutated(data, rng)
        chunks, tally = read(damaged, f"a.{suffix}")
        got = b"".join(chunk or b"\n" for chunk in chunks).split(b"\n")
        at = 0
        for unit, part in zip(units, records, strict=True):
            touched = at < end and start < at + len(unit) if start < end else at < start < at + len(unit)
            at += len(unit)
            if not touched:
                assert {line.rstrip(b"\n") for line in part} <= set(got)
        if damaged != data and not tally.rows:  # not noticed: then it did not matter
            assert set(got) - {b""} <= {line.rstrip(b"\n") for part in records for line in part}


# --- lines


def read_lines(tmp_path, data: bytes, name: str = "a.jsonl"):
    file, tally = write_raw(tmp_path, name, data), Tally()
    found = [(line.number, line.data) for line in decompress.lines(file, tally)]
    assert tally.consumed_bytes + tally.skipped_bytes == len(data)
    return found, tally


def test_lines_are_numbered_from_one_and_blank_ones_are_passed_over(tmp_path):
    found, tally = read_lines(tmp_path, b"\xef\xbb\xbfa\r\n\n \t\nb\n\xef\xbb\xbfc")
    assert found == [(1, b"a\r"), (4, b"b"), (5, b"\xef\xbb\xbfc")]
    assert tally.read == 3


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_do_not_depend_on_chunks(tmp_path, monkeypatch, size):
    monkeypatch.setattr(decompress, "READ_BYTES", size)
    data = b"\xef\xbb\xbf" + b"one\n\ntwo three\nfour" * 3
    expected = [(n, line) for n, line in enumerate(data[3:].split(b"\n"), 1) if line]
    assert read_lines(tmp_path, data)[0] == expected
    assert read_lines(tmp_path, gzip.compress(data), "a.gz")[0] == expected


def test_a_gap_ends_a_line_and_begins_another(tmp_path):
    units = [gzip.compress(part) for part in (b"one\ntw", b"o\nthr", b"ee\nfour\n")]
    data = units[0] + flipped(units[1], 12) + units[2]
    found, tally = read_lines(tmp_path, data, "a.gz")
    assert [line for _, line in found] == [b"one", b"tw", b"ee", b"four"]
    assert tally.read == 4


def test_a_line_that_is_too_long_is_quarantined_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(decompress, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(decompress, "READ_BYTES", 64)
    found, tally = read_lines(tmp_path, b"a\n" + b"x" * 100 + b"\n" + b"y" * 101 + b"\nb\n" + b"z" * 5000)
    assert found == [(1, b"a"), (2, b"x" * 100), (4, b"b")]
    assert tally.quarantined == {Reason.INVALID_RECORD: 2}
    assert tally.read == 5
    assert [row.evidence["line"] for row in tally.rows] == [3, 5]
    assert [(row.evidence["offset"], row.evidence["end"]) for row in tally.rows] == [(103, 204), (207, 5207)]
    assert max(len(row.raw) for row in tally.rows) == 101


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("cut", [0, 1, 9, 10, 11, 30])
def test_a_bad_json_line_is_named_with_its_byte_range(tmp_path, monkeypatch, size, cut):
    monkeypatch.setattr(decompress, "READ_BYTES", size)
    data = b'\xef\xbb\xbf{"a": 1\n\n{"b": 2}\n[3]\r\n{"c": 4}\n{"d'
    file, tally = write_raw(tmp_path, "a.jsonl", data), Tally()
    ranges = [replace(file, end=cut), replace(file, start=cut)] if cut else [file]
    rows = [row for part in ranges for _, row in decompress.json_rows(part, tally)]
    assert rows == [{"b": 2}, {"c": 4}]
    found = [data[row.evidence["offset"] : row.evidence["end"]] for row in tally.rows]
    assert found == [row.raw for row in tally.rows] == [b'{"a": 1', b"[3]\r", b'{"d']
    assert not any("decoded" in row.evidence for row in tally.rows)


@pytest.mark.parametrize("suffix", ["gz", "zst", "bz2"])
def test_a_bad_json_line_of_a_compressed_file_is_named_with_its_place_in_what_it_decodes_to(tmp_path, suffix):
    parts = [b'{"a": 1}\n{"b', b'": 2}\nnull\n', b'{"c": 3\n']
    file, tally = write_raw(tmp_path, f"a.{suffix}", b"".join(map(COMPRESS[suffix], parts))), Tally()
    assert [row for _, row in decompress.json_rows(file, tally)] == [{"a": 1}, {"b": 2}]
    data = b"".join(parts)
    assert [data[row.evidence["offset"] : row.evidence["end"]] for row in tally.rows] == [b"null", b'{"c": 3']
    assert [(row.evidence["line"], row.evidence["decoded"]) for row in tally.rows] == [(3, True), (4, True)]


def test_a_reader_that_stops_early_breaks_nothing(tmp_path):
    file = write_raw(tmp_path, "a.gz", gzip.compress(noise(200_000)) * 3)
    reading = decompress.lines(file, Tally())
    assert next(reading)[0] == 1
    reading.close()


def test_read_all_joins_what_is_left_and_consume_counts_a_container(tmp_path):
    unit = gzip.compress(b"one ")
    file, tally = write_raw(tmp_path, "a.gz", unit + flipped(unit, 12) + gzip.compress(b"two")), Tally()
    assert decompress.read_all(file, tally) == b"one two"
    decompress.consume(file, tally)
    assert tally.consumed_bytes + tally.skipped_bytes == 2 * file.bytes


# --- real files


@needs_shared
def test_every_real_compressed_file_reads_as_its_library_reads_it():
    known = {".gz": gzip.open, ".bz2": bz2.open, ".zst": lambda path: zstandard.open(path, "rb")}
    paths = [path for path in sorted(SHARED.rglob("*")) if path.suffix in known and path.stat().st_size < 600_000]
    assert len(paths) > 50
    for path in paths:
        if path.name == "appended_zip_fragment_unexpected_eof.wet.gz":
            continue
        tally = Tally()
        with known[path.suffix](path) as stream:
            assert decompress.read_all(raw_file(path), tally) == stream.read(), path
        assert tally.consumed_bytes == path.stat().st_size
        assert not tally.rows


@needs_shared
def test_the_first_50_kib_of_a_real_wet_file_hold_sixteen_whole_members():
    path = SHARED / "commoncrawl/jeffharwell-fragments/appended_zip_fragment_unexpected_eof.wet.gz"
    file, tally = raw_file(path), Tally()
    found = list(decompress.members(file, tally))
    whole = [member for member in found if member]
    assert all(data.startswith(b"WARC/1.0\r\n") for _, _, data in whole)
    assert found[-1] is None
    assert len(whole) == 16
    assert ranges(tally) == [(whole[-1][1], 51200, Reason.TRUNCATED)]


@needs_shared
def test_a_real_file_cut_at_both_ends_gives_its_whole_members(tmp_path):
    path = SHARED / "commoncrawl/pywb/iana.warc.gz"
    members = [member for member in decompress.members(raw_file(path), Tally()) if member]
    data = path.read_bytes()[members[3][0] + 17 : members[20][1] - 9]
    tally = Tally()
    found = list(decompress.chunks(write_raw(tmp_path, "iana.warc.gz", data), tally))
    assert found == [None, *(text for _, _, text in members[4:20]), None]
    assert tally.consumed_bytes + tally.skipped_bytes == len(data)


def test_a_deflate_stream_is_decoded_alike_in_steps_of_any_size(monkeypatch, tmp_path):
    text = noise(100_000) + random.Random(1).randbytes(50_000)
    data = b"".join(gzip.compress(text, level) for level in (0, 1, 6)) + gzip.compress(b"")
    for feed, step in ((2, 1000), (1000, 100), (64, 1 << 20), (1 << 20, 1 << 20)):
        monkeypatch.setattr(codecs, "FEED_BYTES", feed)
        monkeypatch.setattr(codecs, "STEP_BYTES", step)
        assert decompress.read_all(write_raw(tmp_path, "a.gz", data), Tally()) == text * 3


@pytest.mark.parametrize(
    ("written", "read", "halves"),
    [
        (rb"a\ud800b", "a\ufffdb", 1),
        (rb"\uDC00\ud83d\ude00\udbff", "\ufffd😀\ufffd", 2),
        (rb"\\ud800 \ud83d\\ude00", "\\ud800 \ufffd\\ude00", 1),
        (b"a\xed\xa0\x80b", "a\ufffdb", 1),
        (rb"\ud83d\ude00", "😀", 0),
    ],
)
def test_half_of_a_surrogate_pair_is_replaced_and_counted(tmp_path, written, read, halves):
    file, tally = write_raw(tmp_path, "a.jsonl", b'{"text": "%b"}\n{"text": "\xff \\ud800"}' % written), Tally()
    assert [row["text"] for _, row in decompress.json_rows(file, tally)] == [read]
    assert [row.evidence["replaced"] for row in tally.rows if row.verdict == "noted"] == [halves] * bool(halves)
    assert dict(tally.quarantined) == {Reason.INVALID_JSON: 1}
