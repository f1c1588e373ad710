"""A file read in ranges gives the same documents, drops and quarantines as the file read as a whole."""

import bz2
import gzip
import random
import re
import signal
from collections import Counter
from dataclasses import replace
from itertools import chain, pairwise

import pytest
import zstandard
from balanced import damaged, read_balanced
from conftest import SHARED, needs_shared, raw_file, write_raw
from corpora import build, cli, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from packing import pack_pile_jsonl_zst, pack_the_stack_parquet
from stepwise import build_stepwise

from redpajama.engine.store import Store
from redpajama.engine.tables import read_table
from redpajama.pipelines import c4, common_crawl, pile, the_stack, wikipedia
from redpajama.raw import decompress, xml
from redpajama.raw.io import RawFile
from redpajama.records import Tally
from redpajama.report.builds import read_build
from redpajama.report.verify import holes, verify
from redpajama.report.why import why

POSITIONS = {"offset", "end", "line", "from", "file", "note", "error"}  # of evidence: they count from another place


def ranges_of(file: RawFile, cuts: list[int]) -> list[RawFile]:
    return [replace(file, start=start, end=end) for start, end in pairwise([0, *cuts, file.bytes])]


def outcome(reader, files, **options) -> tuple[list, Counter, int]:
    """(documents in order, what else became of units, damaged ranges), each range held to the balance."""
    documents, rows, ranges = [], Counter(), []
    for file in files:
        found, tally = read_balanced(reader, [file], **options)
        documents += found
        for row in tally.rows:
            is_raw = "end" in row.evidence and "decoded" not in row.evidence
            if is_raw and not row.doc_id:  # bytes that could not be read, by their place in the file
                ranges.append((row.evidence["offset"], row.evidence["end"], row.reason))
            else:
                shown = {key: value for key, value in row.evidence.items() if key not in POSITIONS}
                rows[(row.doc_id, row.verdict, row.reason, row.raw, str(shown))] += 1
    return documents, rows, ranges


def assert_same_in_ranges(reader, file, part_bytes=(1000, 30_000), least=2, **options):
    """Cut at several sizes, and once at the first place only."""
    whole = outcome(reader, [file], **options)
    most = 0
    for size in part_bytes:
        cuts = reader.cuts(file, size)
        most = max(most, len(cuts))
        assert all(end - start >= size for start, end in pairwise([0, *cuts]))
        assert outcome(reader, ranges_of(file, cuts), **options) == whole
    assert most + 1 >= least
    return whole


def recompressed(tmp_path, name: str, units: list[bytes]) -> dict[str, RawFile]:
    """The same bytes as gzip members, zstd frames, bz2 streams, one bz2 stream of small blocks, and plain."""
    text = b"".join(units)
    pack = zstandard.ZstdCompressor(level=3, write_checksum=True).compress
    return {
        "gz": write_raw(tmp_path, f"{name}.gz", b"".join(map(gzip.compress, units))),
        "zst": write_raw(tmp_path, f"{name}.zst", b"".join(map(pack, units))),
        "multistream": write_raw(tmp_path, f"{name}.multi.bz2", b"".join(map(bz2.compress, units))),
        "bz2": write_raw(tmp_path, f"{name}.bz2", bz2.compress(text, 1)),
        "plain": write_raw(tmp_path, name, text),
    }


def sliced(text: bytes, size: int) -> list[bytes]:
    return [text[at : at + size] for at in range(0, len(text), size)]


# ---- the rule, on every cut of small texts


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([b"a", b"\n", b"bb\n", b"\n\n", b" ", None]), max_size=14), st.data())
def test_each_line_belongs_to_one_range_wherever_a_text_is_cut(parts, data):
    edges = sorted(data.draw(st.sets(st.integers(0, len(parts)), max_size=4)) | {0, len(parts)})
    whole = [line for _, _, line, _ in decompress._split_lines(iter(parts))]
    found = []
    for start, end in pairwise(edges):
        own = iter(parts[start:end])
        own = chain(own, decompress._through_newline(iter(parts[end:]))) if end < len(parts) else own
        found += [line for _, _, line, _ in decompress._split_lines(own, inside=start > 0)]
    assert [line for line in found if line] == [line for line in whole if line]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([b"<r>", b"</r>", b"<", b"r>", b"x", b" \n", b"</all>", None]), max_size=16), st.data())
def test_each_record_belongs_to_one_range_wherever_an_xml_file_is_cut(parts, data):
    edges = sorted(data.draw(st.sets(st.integers(0, len(parts)), max_size=4)) | {0, len(parts)})
    shape = {"opening": b"<r[ >]", "closing": b"</r>"}
    whole = [(piece.kind, piece.data) for piece in xml.records(parts, **shape)]
    found = []
    for start, end in pairwise(edges):
        pieces = xml.records(parts[start:end], **shape, rest=parts[end:], inside=start > 0)
        pieces = [(piece.kind, piece.data) for piece in pieces]
        found += pieces[1:] if start else pieces  # an empty head
    assert found == whole or not parts


# ---- real files


@needs_shared
@pytest.mark.parametrize("shape", ["gz", "zst", "multistream", "bz2", "plain"])
def test_lines_of_a_real_file_are_the_same_in_ranges(tmp_path, shape):
    file = recompressed(tmp_path, "c4.json", sliced(rows_of_c4(), 70_001))[shape]
    documents, _, _ = assert_same_in_ranges(c4.PIPELINE, file, (20_000, 150_000), least=3)
    assert len(documents) > 300


def rows_of_c4() -> bytes:
    [path] = SHARED.glob("c4/**/c4-sample.00000-of-00001.json.gz")
    return gzip.decompress(path.read_bytes())


@needs_shared
def test_rows_of_the_pile_are_the_same_in_ranges_of_frames(tmp_path):
    packed = pack_pile_jsonl_zst(tmp_path, SHARED, per_slice=30).read_bytes()
    text = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    file = recompressed(tmp_path, "00.jsonl", sliced(text, 64_000))["zst"]
    documents, _, _ = assert_same_in_ranges(pile.PIPELINE, file, (20_000,), least=4, slices=pile.OVERLAPPING)
    assert documents


DUMP = SHARED / "wikipedia/dumpster-dive/smallwiki-latest-pages-articles.xml"


@needs_shared
@pytest.mark.parametrize("shape", ["gz", "zst", "multistream", "bz2", "plain"])
def test_pages_of_a_real_dump_are_the_same_in_ranges(tmp_path, monkeypatch, shape):
    monkeypatch.setattr(wikipedia, "to_text", lambda wikitext, wiki: wikitext.strip())
    text = DUMP.read_bytes()[:1_500_000]
    file = recompressed(tmp_path, "ltgwiki-20200101-pages-articles.xml", sliced(text, 50_003))[shape]
    documents, _, _ = assert_same_in_ranges(wikipedia.PIPELINE, file, (30_000,), least=3)
    assert len(documents) > 400
    assert {document.meta["language"] for document in documents} == {"ltg"}  # the head is known in every range


@needs_shared
def test_a_single_stream_dump_is_cut_between_its_blocks():
    path = SHARED / "wikipedia/gensim/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
    file = raw_file(path)
    assert path.read_bytes().count(b"BZh91AY&SY") == 1  # one stream
    cuts = wikipedia.cuts(file, 250_000)
    assert len(cuts) > 3
    chunks = [list(decompress.chunks(each, Tally())) for each in ranges_of(file, cuts)]
    assert b"".join(chain(*chunks)) == bz2.decompress(path.read_bytes())


@needs_shared
@pytest.mark.parametrize(
    "name",
    [
        "pywb/iana.warc.gz",
        "stormcrawler/test.warc.gz",
        "dolma/sample-0000.warc.gz",
        "npm-warc/CC-MAIN-20140820021334-00006-ip-10-180-136-8.ec2.internal.warc",
        "ukwa-test-suite/small-arcs-and-warcs/IAH-20080430204825-00000-blackbook-truncated.warc",
    ],
)
def test_warc_records_are_the_same_in_ranges(name):
    assert_same_in_ranges(common_crawl.PIPELINE, raw_file(SHARED / "commoncrawl" / name), (2_000, 60_000))


@needs_shared
def test_a_warc_file_inside_a_record_is_never_where_a_range_begins(tmp_path):
    plain = (SHARED / "commoncrawl/whirlwind/whirlwind.warc").read_bytes()
    inner = plain[: plain.index(b"WARC/1.0", 100)] * 40
    head = b"WARC/1.0\r\nWARC-Type: resource\r\nWARC-Record-ID: <urn:uuid:1>\r\nContent-Length: %d\r\n\r\n" % len(inner)
    file = write_raw(tmp_path, "a.warc", plain + head + inner + b"\r\n\r\n" + plain)
    whole = assert_same_in_ranges(common_crawl.PIPELINE, file, (100,))
    assert whole[0]
    assert not [cut for cut in common_crawl.PIPELINE.cuts(file, 100) if 0 < cut - len(plain) < len(head + inner)]


@needs_shared
def test_row_groups_are_the_same_in_ranges(tmp_path):
    file = raw_file(pack_the_stack_parquet(tmp_path, SHARED, per_repository=10, row_group_rows=10))
    documents, _, _ = assert_same_in_ranges(the_stack.PIPELINE, file, (1, 30_000), least=5)
    assert documents
    for number, broken in enumerate(damaged(open_bytes(file), 10)):
        assert_same_in_ranges(the_stack.PIPELINE, write_raw(tmp_path, f"{number}.parquet", broken), (1,), least=1)


def open_bytes(file: RawFile) -> bytes:
    with file.open() as stream:
        return stream.read()


# ---- what cannot be cut


def test_a_file_of_one_member_or_frame_is_not_cut(tmp_path):
    text = b'{"text": "a", "url": "b"}\n' * 10_000
    for name, data in (("a.gz", gzip.compress(text)), ("a.zst", zstandard.compress(text))):
        assert decompress.cuts(write_raw(tmp_path, name, data), 100) == []


def test_a_dump_in_another_encoding_is_read_as_a_whole(tmp_path):
    for encoding in ("utf-16", "iso-8859-1"):
        text = f'<?xml version="1.0" encoding="{encoding}"?><mediawiki>' + "<page></page>" * 100
        assert wikipedia.cuts(write_raw(tmp_path, "a.xml", text.encode(encoding)), 100) == []


def test_the_last_range_is_not_a_small_rest():
    assert decompress.spaced(range(0, 1000, 10), 1000, 300) == [300, 600]
    assert decompress.spaced(range(0, 1000, 10), 1100, 300) == [300, 600, 900]


# ---- damage


@needs_shared
@pytest.mark.parametrize("shape", ["gz", "zst", "multistream", "bz2", "plain"])
def test_damage_costs_the_same_in_ranges(tmp_path, monkeypatch, shape):
    monkeypatch.setattr(wikipedia, "to_text", lambda wikitext, wiki: wikitext.strip())
    text = DUMP.read_bytes()[:300_000]
    data = recompressed(tmp_path, "w.xml", sliced(text, 20_011))[shape]
    raw = open_bytes(data)
    for index, broken in enumerate(damaged(raw, 10)):
        file = write_raw(tmp_path, f"{index}/{data.url}", broken)
        assert_same_in_ranges(wikipedia.PIPELINE, file, (len(broken) // 9,), least=1)


@needs_shared
@pytest.mark.parametrize("shape", ["gz", "zst", "bz2", "plain"])
def test_damage_at_the_very_cut_neither_loses_nor_doubles_a_line(tmp_path, shape):
    data = recompressed(tmp_path, "c4.json", sliced(rows_of_c4()[:600_000], 30_000))[shape]
    raw = open_bytes(data)
    rng = random.Random(1)
    for cut in c4.PIPELINE.cuts(data, 30_000)[:3]:
        for at in (cut - 1, cut, cut + rng.randrange(300)):
            broken = raw[:at] + bytes([raw[at] ^ 0x55]) + raw[at + 1 :]
            file = write_raw(tmp_path, f"{cut}-{at}/{data.url}", broken)
            assert_same_in_ranges(c4.PIPELINE, file, (30_000,), least=1)


# ---- builds

MANIFEST = """
name = "ranges"
seed = 1
[[source]]
name = "web"
pipeline = "c4"
inputs = ["web/*"]
groups = 2
part_bytes = {part_bytes}
"""


@pytest.fixture
def manifest(tmp_path):
    """Three large files and five small ones; -> the path of a manifest with that size of a part."""
    (tmp_path / "web").mkdir()
    for number in range(8):
        write_rows(tmp_path / f"web/{number}.json.gz", 300 * number, 200 if number < 3 else 20)
    for number, pack in enumerate([gzip.compress, bz2.compress, bytes]):
        path = tmp_path / f"web/{number}.json.gz"
        units = sliced(gzip.decompress(path.read_bytes()), 4000)
        path.unlink()
        (tmp_path / f"web/{number}.json").write_bytes(b"".join(map(pack, units)))

    def write(part_bytes: int):
        path = tmp_path / f"{part_bytes}.toml"
        path.write_text(MANIFEST.format(part_bytes=part_bytes))
        return path

    return write


def documents_in(build) -> list[tuple]:
    rows = [read_table(build.store, part.file(".parquet")).to_pylist() for part in build.parts("documents")]
    return sorted((row["doc_id"], row["text"], row["meta"]) for row in chain(*rows))


def test_large_files_become_parts_and_small_ones_groups(manifest, tmp_path):
    whole = build_stepwise(manifest(1 << 20), tmp_path / "whole", "documents")
    split = build_stepwise(manifest(3000), tmp_path / "split", "documents")
    assert documents_in(split) == documents_in(whole)
    assert len(documents_in(whole)) == 700
    ranges = [part.inputs for part in split.parts("documents") if "end" in part.inputs[0]]
    groups = [part.inputs for part in split.parts("documents") if "end" not in part.inputs[0]]
    assert all(len(inputs) == 1 for inputs in ranges)
    assert sorted(file["url"] for file in chain(*groups)) == [f"web/{number}.json.gz" for number in range(3, 8)]
    assert len(groups) <= 2
    by_file = {}
    for [file] in ranges:
        by_file.setdefault(file["url"], []).append((file["start"], file["end"], file["bytes"]))
    assert len(by_file) == 3
    for places in by_file.values():
        places.sort()
        assert len(places) > 1
        assert places[0][0] == 0
        assert places[-1][1] == places[-1][2]
        assert all(before[1] == after[0] for before, after in pairwise(places))


def test_a_split_build_killed_and_resumed_gives_the_same_bytes_and_names_its_ranges(manifest, tmp_path):
    path, until = manifest(3000), ("--until", "documents")
    wanted = build(path, tmp_path / "wanted", "--workers", 1, *until)
    crash = {"REDPAJAMA_CRASH": "after-part-record:16", "REDPAJAMA_CRASH_COUNT": str(tmp_path / "count")}
    root = tmp_path / "r"
    assert cli("build", path, "--out", root, "--workers", 1, *until, **crash).returncode == -signal.SIGKILL
    done = times_of_parts(root)
    assert 0 < len(done) < len(times_of_parts(tmp_path / "wanted"))
    assert build(path, root, "--workers", 1, *until) == wanted
    assert times_of_parts(root).items() >= done.items()  # what was done was not done again
    assert not verify(Store(str(root)), ["ranges"]).problems
    [story] = why(Store(str(root)), read_build(Store(str(root)), "ranges"), "https://example.org/199")
    assert re.fullmatch(r"web/0\.json bytes \d+-\d+", story["inputs"][0])


def times_of_parts(root) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in root.glob("documents/*/part-*.parquet")}


def test_verify_finds_ranges_that_leave_a_hole_or_overlap():
    whole = {"url": "a", "bytes": 9, "sha256": ""}
    first, second = {**whole, "start": 0, "end": 4}, {**whole, "start": 4, "end": 9}
    assert not list(holes([second, whole, first, "documents/x"]))
    for wrong in ([first], [second], [first, {**second, "start": 5}], [first, first, second]):
        assert list(holes(wrong)) == ["the parts of a do not read all its 9 bytes once"]
