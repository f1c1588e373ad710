"""Promise 8, for every reader: real files with bytes flipped, cut and repeated at random offsets, 200 cases each.

What must hold in every case: nothing crashes, units and bytes balance, every record that lies in undamaged units gives
the documents that it gave before, and what is lost is on record with a place that touches the damage.

Where records and damage units lie is worked out here, on the sound file and without the project's readers: gzip members
and bzip2 blocks by their libraries, tar members by `tarfile`, row groups by the footer, XML and WARC records by search.

    pytest tests/test_fuzz_sources.py              24 cases a reader
    pytest tests/test_fuzz_sources.py -m slow      all 200
"""

import bz2
import gzip
import random
import re
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import packing
import py7zr
import pyarrow.parquet as pq
import pytest
import zstandard
from balanced import read_balanced
from conftest import SHARED, needs_shared, write_raw

from redpajama.pipelines import (
    Pipeline,
    arxiv,
    books,
    c4,
    common_crawl,
    files,
    github,
    pile,
    rows,
    stackexchange,
    the_stack,
    wikipedia,
)
from redpajama.records import MAX_QUARANTINE_BYTES, Document, LedgerRow, Tally

CASES = 200
FEW_CASES = 24
HOLD_BYTES = 384 << 10  # of a single gzip member's text before the damage: the deflate block that is hit (16,383
# symbols: 100 kB of prose, 250 of code) and a step of the reader may go with it; see decompress.py

pytestmark = needs_shared


class Range(NamedTuple):
    """Bytes [start, end)."""

    start: int
    end: int


class Unit(NamedTuple):
    """A damage unit of a container: where it lies in the raw file, and what it holds of the decoded stream."""

    raw: Range
    decoded: Range


@dataclass
class Sample:
    """A sound file, and where everything in it lies."""

    reader: Pipeline
    name: str
    data: bytes
    records: dict[str, list[Range]]  # doc_id -> the decoded ranges that its document needs
    units: list[Unit] | None = None  # of the container; None: plain, decoded = raw
    is_stream: bool = False  # one gzip member: lost from the damage on, and HOLD_BYTES before it
    is_checked: bool = False  # units have checksums: no damage goes unseen
    is_absolute: bool = False  # places are absolute: what stands behind inserted or cut bytes is lost
    options: dict[str, Any] = field(default_factory=dict)


class Damage(NamedTuple):
    """What was done: the sound file's [start, end) gave way to `size` other bytes."""

    kind: str
    data: bytes
    start: int
    end: int
    size: int

    def hits(self, place: Range) -> bool:
        """Whether a range of the sound file is not as it was."""
        if self.start == self.end:
            return place.start < self.start < place.end
        return place.start < self.end and self.start < place.end


def damage(data: bytes, rng: random.Random) -> Damage:
    """One seeded damage: bytes flipped, zeroed, cut, cut off, repeated, or foreign ones put between."""
    at = rng.randrange(len(data))
    end = min(len(data), at + rng.choice([1, 2, 16, 300, 5000, 40_000]))
    kind = rng.choice(["flip", "flip", "zero", "cut", "repeat", "truncate", "insert"])
    if kind == "flip":
        end = min(end, at + 16)
        new = bytes(byte ^ (1 << rng.randrange(8)) for byte in data[at:end])
    elif kind == "zero":
        new = bytes(end - at)
    elif kind == "cut":
        new = b""
    elif kind == "repeat":
        return Damage(kind, data[:end] + data[at:], end, end, end - at)
    elif kind == "insert":
        new, end = rng.randbytes(rng.choice([1, 40, 3000])), at
    else:
        return Damage(kind, data[:at], at, len(data), 0)
    return Damage(kind, data[:at] + new + data[end:], at, end, len(new))


# ---- what must survive


def survivors(sample: Sample, harm: Damage) -> set[str]:
    """The documents whose every byte lies in undamaged units."""
    if sample.is_stream:
        intact = len(inflate(sample.data[: harm.start])) - (0 if harm.kind == "truncate" else HOLD_BYTES)
        return {doc_id for doc_id, needs in sample.records.items() if all(need.end <= intact for need in needs)}
    return {doc_id for doc_id, needs in sample.records.items() if all(_is_safe(sample, harm, need) for need in needs)}


def _is_safe(sample: Sample, harm: Damage, need: Range) -> bool:
    holders = [Unit(need, need)] if sample.units is None else [u for u in sample.units if _overlap(u.decoded, need)]
    if (
        sample.is_absolute and harm.size != harm.end - harm.start
    ):  # the footer, last of the units, is found from the end
        footer = sample.units[-1]
        ahead = all(unit is footer or unit.raw.end <= harm.start for unit in holders)
        return ahead and not harm.hits(footer.raw) and harm.start < len(sample.data)
    return not any(harm.hits(unit.raw) for unit in holders)


def _overlap(one: Range, other: Range) -> bool:
    return one.start < other.end and other.start < one.end


def touches(row: LedgerRow, harm: Damage, sample: Sample) -> bool:
    """Whether a row's place lies at the damage: a range of the raw file, or where a record of it begins."""
    begin, end = row.evidence.get("offset"), row.evidence.get("end")
    if begin is None:
        return "row" in row.evidence
    if sample.is_absolute and harm.size != harm.end - harm.start:
        return end >= harm.start
    if sample.units is not None and "codec" not in row.evidence:
        assert "line" not in row.evidence or row.evidence["decoded"]
        return True  # a place in the decoded stream
    if "line" in row.evidence and row.raw:  # of JSON: the bytes themselves stand there
        assert harm.data[begin:end] == row.raw or end - begin > len(row.raw) == MAX_QUARANTINE_BYTES
    if sample.is_stream:  # where in a member a checksum fails cannot be told
        return end == len(harm.data)
    moved = harm.end - harm.start  # what follows a cut stands so much earlier
    return begin <= harm.start + harm.size + moved and (end or begin + max(len(row.raw), 1)) >= harm.start


def check(sample: Sample, harm: Damage, baseline: tuple[dict[str, Document], Tally], folder: Path) -> None:
    """One case: read the damaged file, and hold it to the promise."""
    before, before_tally = baseline
    documents, tally = read_balanced(sample.reader, [write_raw(folder, sample.name, harm.data)], **sample.options)
    after = {document.doc_id: document for document in documents}
    safe = survivors(sample, harm)
    lost = {doc_id for doc_id in safe if after.get(doc_id) != before[doc_id]}
    assert not lost, f"{len(lost)} of {len(safe)} documents in undamaged units: {sorted(lost)[:3]}"
    fresh = list((Counter(map(_what, tally.rows)) - Counter(map(_what, before_tally.rows))).elements())
    missing = {doc_id for doc_id in before if doc_id not in after}
    changed = {doc_id for doc_id in before if doc_id in after and after[doc_id] != before[doc_id]}
    silent = missing - {doc_id for doc_id in missing if _is_whole(sample, harm, doc_id)}
    renamed = 0 if sample.is_checked else len(set(after) - set(before))  # damaged in the bytes that give its id
    joined = changed or (renamed and harm.kind == "cut")  # ids may be hashes of what was cut
    glued = joined and not sample.is_checked  # the damage joined two records: what is left still reads as one
    if (len(silent) > renamed and not glued) or (changed and sample.is_checked):
        assert fresh, f"nothing says what happened to {sorted(silent | changed)[:3]}"
        rows = [row for row in tally.rows if _what(row) in set(fresh) and row.verdict == "quarantined"]
        named = {row.doc_id for row in tally.rows}
        seen = any(touches(row, harm, sample) for row in rows) or silent | changed <= named
        assert seen or not (rows or sample.is_checked), [row.evidence for row in rows][:5]


def _what(row: LedgerRow) -> tuple[str, str, str]:
    return row.verdict, str(row.reason), row.doc_id


def _is_whole(sample: Sample, harm: Damage, doc_id: str) -> bool:
    """Whether the damage took all of a record's own bytes: nothing is left that could be noticed."""
    own = sample.records.get(doc_id, [Range(0, len(sample.data))])[-1]
    holders = [own] if sample.units is None else [unit.raw for unit in sample.units if _overlap(unit.decoded, own)]
    slack = 8 if sample.units is None else 0  # the blanks between records
    return all(harm.start <= place.start + slack and place.end - slack <= harm.end for place in holders)


# ---- containers


def gzip_units(data: bytes) -> list[Unit]:
    """The members of a gzip file."""
    units, at, decoded = [], 0, 0
    while at < len(data):
        decoder = zlib.decompressobj(wbits=31)
        text = decoder.decompress(data[at:])
        end = len(data) - len(decoder.unused_data)
        units.append(Unit(Range(at, end), Range(decoded, decoded + len(text))))
        at, decoded = end, decoded + len(text)
    return units


def packed_units(parts: Sequence[bytes], pack: Callable[[bytes], bytes]) -> tuple[bytes, list[Unit]]:
    """(a file of one packed unit for each part, the units)."""
    units, packed, at, decoded = [], [], 0, 0
    for part in parts:
        packed.append(pack(part))
        units.append(Unit(Range(at, at + len(packed[-1])), Range(decoded, decoded + len(part))))
        at, decoded = units[-1].raw.end, units[-1].decoded.end
    return b"".join(packed), units


def bzip2_blocks(data: bytes) -> list[Unit]:
    """The blocks of a bzip2 stream: found by their mark in the bits, measured by decoding up to each one's end."""
    bits = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}"
    marks = [match.start() for match in re.finditer(f"(?={0x314159265359:048b})", bits)]
    last = bits.rindex(f"{0x177245385090:048b}")
    units, decoded = [], 0
    for begin, end in zip(marks, [*marks[1:], last], strict=True):
        total = len(bz2.BZ2Decompressor().decompress(data[: end // 8 + 8]))
        first = 0 if begin == marks[0] else begin // 8  # the stream's own head goes with its first block
        units.append(Unit(Range(first, -(-end // 8)), Range(decoded, total)))
        decoded = total
    tail = Unit(Range(last // 8, len(data)), Range(decoded, decoded))
    return [*units, tail]


def inflate(data: bytes) -> bytes:
    """What a cut gzip member still holds."""
    try:
        return zlib.decompressobj(wbits=31).decompress(data)
    except zlib.error:
        return b""


# ---- samples


def by_reading(reader: Pipeline, name: str, parts: Sequence[bytes], **options: Any) -> dict[str, list[Range]]:
    """{doc_id: its part's range}: each part is read alone, the ranges are those of the parts in a row."""
    records, at = {}, 0
    folder = Path(mkdtemp())
    for part in parts:
        documents, _ = read_balanced(reader, [write_raw(folder, name, part)], **options)
        records |= {document.doc_id: [Range(at, at + len(part))] for document in documents}
        at += len(part)
    return records


def warc_parts(text: bytes) -> list[bytes]:
    """The records of a WARC file whose blocks hold no line that looks like a record's first."""
    starts = [match.start() for match in re.finditer(rb"^WARC/1\.\d\r\n", text, re.MULTILINE)]
    return [text[begin:end] for begin, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def wet_members() -> list[bytes]:
    path = SHARED / "commoncrawl/jeffharwell-fragments/appended_zip_fragment_unexpected_eof.wet.gz"
    data, parts = path.read_bytes(), []
    while True:
        decoder = zlib.decompressobj(wbits=31)
        text = decoder.decompress(data)
        if not decoder.eof:
            return parts
        parts, data = [*parts, text], decoder.unused_data


def wet_gz() -> Sample:
    parts = wet_members()
    data, units = packed_units(parts, lambda part: gzip.compress(part, mtime=0))
    records = by_reading(common_crawl.PIPELINE, "a.wet", parts)
    return Sample(common_crawl.PIPELINE, "a.warc.wet.gz", data, records, units, is_checked=True)


def wet_plain() -> Sample:
    parts = wet_members()
    return Sample(
        common_crawl.PIPELINE, "a.warc.wet", b"".join(parts), by_reading(common_crawl.PIPELINE, "a.wet", parts)
    )


def warc_gz() -> Sample:
    data = (SHARED / "commoncrawl/dolma/sample-0000.warc.gz").read_bytes()
    units = [unit for unit in gzip_units(data) if unit.raw.end <= 120_000]
    data = data[: units[-1].raw.end]
    parts = [gzip.decompress(data[unit.raw.start : unit.raw.end]) for unit in units]
    records = by_reading(common_crawl.PIPELINE, "a.warc", parts)
    return Sample(common_crawl.PIPELINE, "a.warc.gz", data, records, units, is_checked=True)


def warc_plain() -> Sample:
    name = "commoncrawl/npm-warc/CC-MAIN-20140820021334-00006-ip-10-180-136-8.ec2.internal.warc"
    data = (SHARED / name).read_bytes()
    return Sample(common_crawl.PIPELINE, "a.warc", data, by_reading(common_crawl.PIPELINE, "a.warc", warc_parts(data)))


def rows_of(text: bytes) -> list[bytes]:
    return text.splitlines(keepends=True)


def c4_rows() -> list[bytes]:
    return rows_of(gzip.decompress((SHARED / "c4/wimbd/c4-sample.00000-of-00001.json.gz").read_bytes()))[:250]


def c4_gz() -> Sample:
    rows = c4_rows()
    data = gzip.compress(b"".join(rows), mtime=0)
    records = by_reading(c4.PIPELINE, "a.json", rows)
    return Sample(c4.PIPELINE, "a.json.gz", data, records, gzip_units(data), is_stream=True, is_checked=True)


def c4_members() -> Sample:
    rows = c4_rows()[:60]
    parts = [b"".join(rows[at : at + 6]) for at in range(0, 60, 6)]
    data, units = packed_units(parts, lambda part: gzip.compress(part, mtime=0))
    return Sample(c4.PIPELINE, "a.json.gz", data, by_reading(c4.PIPELINE, "a.json", rows), units, is_checked=True)


def github_jsonl() -> Sample:
    rows = rows_of(gzip.decompress(packing.pack_bigquery_rows(Path(mkdtemp()), SHARED, 6).read_bytes()))
    return Sample(github.PIPELINE, "a.jsonl", b"".join(rows), by_reading(github.PIPELINE, "a.jsonl", rows))


def github_jsonl_gz() -> Sample:
    rows = rows_of(gzip.decompress(packing.pack_bigquery_rows(Path(mkdtemp()), SHARED, 40).read_bytes()))
    data, records = gzip.compress(b"".join(rows), mtime=0), by_reading(github.PIPELINE, "a.jsonl", rows)
    return Sample(github.PIPELINE, "a.json.gz", data, records, gzip_units(data), is_stream=True, is_checked=True)


def parquet_sample(reader: Pipeline, data: bytes, name: str, **options: Any) -> Sample:
    """Row groups and footer; rows are given to their groups in order."""
    footer = pq.ParquetFile(BytesIO(data)).metadata
    documents, tally = read_balanced(reader, [write_raw(Path(mkdtemp()), name, data)], **options)
    gone = {row.evidence["row"] for row in tally.rows}
    kept = [number for number in range(footer.num_rows) if number not in gone]
    end_of_data = max(_end_of_group(footer.row_group(index)) for index in range(footer.num_row_groups))
    units, groups, row = [], [], 0
    for index in range(footer.num_row_groups):
        group = footer.row_group(index)
        start = min(_start_of_column(group.column(n)) for n in range(group.num_columns))
        units.append(Unit(Range(start, _end_of_group(group)), Range(index, index + 1)))
        groups += [index] * group.num_rows
        row += group.num_rows
    tail = len(units)
    units.append(Unit(Range(end_of_data, len(data)), Range(tail, tail + 1)))
    records = {
        document.doc_id: [Range(tail, tail + 1), Range(groups[number], groups[number] + 1)]
        for document, number in zip(documents, kept, strict=True)
    }
    return Sample(reader, name, data, records, units, is_absolute=True, options=options)


def _start_of_column(column: Any) -> int:
    return column.dictionary_page_offset or column.data_page_offset


def _end_of_group(group: Any) -> int:
    columns = [group.column(n) for n in range(group.num_columns)]
    return max(_start_of_column(column) + column.total_compressed_size for column in columns)


def github_parquet() -> Sample:
    return parquet_sample(github.PIPELINE, (SHARED / "github/dpk/a.parquet").read_bytes(), "a.parquet")


def stack_parquet() -> Sample:
    data = packing.pack_the_stack_parquet(Path(mkdtemp()), SHARED, 12, 8).read_bytes()
    return parquet_sample(the_stack.PIPELINE, data, "data-00000-of-00001.parquet")


def tar_places(data: bytes) -> dict[str, Range]:
    """{member: from its first header (pax ones too) to the end of its last block}."""
    with tarfile.open(fileobj=BytesIO(data)) as tar:
        infos = [info for info in tar if info.isreg()]
        starts = [info.offset for info in infos]
    ends = [info.offset_data + -(-info.size // 512) * 512 for info in infos]
    return {info.name: Range(start, end) for info, start, end in zip(infos, starts, ends, strict=True)}


def github_tree() -> Sample:
    """Plain tar: a file needs itself, the licence, and what names commit and folder: the archive's first header."""
    data = gzip.decompress((SHARED / "github/repos/docker-library__python-4f07059567fa.tar.gz").read_bytes())
    places = tar_places(data)
    licence = next(place for name, place in places.items() if name.endswith("/LICENSE"))
    first = Range(0, 2048)
    documents, _ = read_balanced(
        github.PIPELINE, [write_raw(Path(mkdtemp()), "docker-library__python-4f07059567fa.tar", data)]
    )
    own = {name.partition("/")[2]: place for name, place in places.items()}
    records = {document.doc_id: [first, licence, own[document.meta["path"]]] for document in documents}
    return Sample(github.PIPELINE, "docker-library__python-4f07059567fa.tar", data, records)


def github_tree_gz() -> Sample:
    plain = github_tree()
    data = (SHARED / "github/repos/docker-library__python-4f07059567fa.tar.gz").read_bytes()
    name = "docker-library__python-4f07059567fa.tar.gz"
    return Sample(github.PIPELINE, name, data, plain.records, gzip_units(data), is_stream=True, is_checked=True)


def whole_file(records: dict[str, list[Range]]) -> dict[str, list[Range]]:
    """The file is the record: bytes behind its end hit it too."""
    return {doc_id: [Range(0, place.end + 1)] for doc_id, (place,) in records.items()}


def gutenberg() -> Sample:
    data = (SHARED / "books/wss22/pg11.txt").read_bytes()
    return Sample(books.PIPELINE, "pg11.txt", data, whole_file(by_reading(books.PIPELINE, "pg11.txt", [data])))


def pg19() -> Sample:
    folder = packing.pack_pg19(Path(mkdtemp()), SHARED)
    data = (folder / "train/12204.txt").read_bytes()
    return Sample(
        books.PIPELINE, "train/12204.txt", data, whole_file(by_reading(books.PIPELINE, "train/12204.txt", [data]))
    )


def eprints() -> list[tuple[str, bytes]]:
    """Small e-prints: papers of one file, and one project."""
    found = sorted((SHARED / "arxiv/debian-rnw").glob("*/*.Rnw"))
    lone = [(f"1911/1911.{n:05}.gz", gzip.compress(path.read_bytes(), mtime=0)) for n, path in enumerate(found)]
    folder = SHARED / "arxiv/papers/canmod__macpan2-ms"
    files = [(str(path.relative_to(folder)), path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [*lone, ("1911/1911.09999.gz", gzip.compress(packing.pack_tar(files), mtime=0))]


def arxiv_tar() -> Sample:
    data = packing.pack_tar(eprints(), mtime=1_575_000_000)
    keys = {name.split("/")[1].removesuffix(".gz"): place for name, place in tar_places(data).items()}
    documents, _ = read_balanced(arxiv.PIPELINE, [write_raw(Path(mkdtemp()), "arXiv_src_1911_001.tar", data)])
    records = {document.doc_id: [keys[document.doc_id.removeprefix("src/")]] for document in documents}
    return Sample(arxiv.PIPELINE, "arXiv_src_1911_001.tar", data, records, is_checked=True)


def arxiv_gz() -> Sample:
    data = eprints()[-1][1]
    records = by_reading(arxiv.PIPELINE, "1911.09999.gz", [data])
    return Sample(arxiv.PIPELINE, "1911.09999.gz", data, records, [Unit(Range(0, len(data)), Range(0, len(data)))],
                  is_checked=True)  # fmt: skip


def simple_dump() -> tuple[bytes, list[bytes], bytes]:
    """(head, pages, tail) of a small dump, its longest page left out."""
    data = (SHARED / "wikipedia/wikidump/simplewiki.xml").read_bytes()
    head, *pages = re.split(rb"(?=<page>)", data)
    pages[-1], tail = pages[-1].split(b"</page>")
    return head, [*pages[:-1], pages[-1] + b"</page>"][1:], tail


def wikipedia_sample(pack: Callable[[list[bytes]], tuple[bytes, list[Unit] | None]], name: str) -> Sample:
    head, pages, tail = simple_dump()
    data, units = pack([head, *pages, tail])
    alone = [by_reading(wikipedia.PIPELINE, "a.xml", [head + page + tail]) for page in pages]
    records, at = {}, len(head)
    for page, found in zip(pages, alone, strict=True):
        records |= {doc_id: [Range(0, len(head)), Range(at, at + len(page))] for doc_id in found}
        at += len(page)
    return Sample(wikipedia.PIPELINE, name, data, records, units, is_checked=units is not None)


def wikipedia_xml() -> Sample:
    return wikipedia_sample(lambda parts: (b"".join(parts), None), "simplewiki-20190812-pages-articles.xml")


def wikipedia_multistream() -> Sample:
    return wikipedia_sample(lambda parts: packed_units(parts, bz2.compress), "a-pages-articles-multistream.xml.bz2")


def wikipedia_bz2() -> Sample:
    def pack(parts: list[bytes]) -> tuple[bytes, list[Unit]]:
        data = bz2.compress(b"".join(parts), 1)
        return data, bzip2_blocks(data)

    return wikipedia_sample(pack, "a-pages-articles.xml.bz2")


POSTS = "stackexchange/conlang-meta-2020/Posts.xml"


def stackexchange_xml() -> Sample:
    data = (SHARED / POSTS).read_bytes()
    place = {match[1]: Range(match.start(), match.end()) for match in re.finditer(rb'<row Id="(\d+)".*?/>', data)}
    threads: dict[bytes, list[Range]] = {}
    for number, where in place.items():
        row = data[where.start : where.end]
        question = re.search(rb' ParentId="(\d+)"', row)
        threads.setdefault(question[1] if question else number, []).append(where)
    documents, _ = read_balanced(stackexchange.PIPELINE, [write_raw(Path(mkdtemp()), "conlang.meta/Posts.xml", data)])
    records = {document.doc_id: threads[document.doc_id.rpartition("/")[2].encode()] for document in documents}
    return Sample(stackexchange.PIPELINE, "conlang.meta/Posts.xml", data, records)


def stackexchange_7z() -> Sample:
    path = Path(mkdtemp()) / "conlang.meta.stackexchange.com.7z"
    with py7zr.SevenZipFile(path, "w") as archive:
        archive.write(SHARED / POSTS, "Posts.xml")
    data = path.read_bytes()
    documents, _ = read_balanced(stackexchange.PIPELINE, [write_raw(Path(mkdtemp()), path.name, data)])
    whole = Range(0, len(data))
    records = {document.doc_id: [whole] for document in documents}
    return Sample(stackexchange.PIPELINE, path.name, data, records, [Unit(whole, whole)], is_checked=True)


def pile_rows() -> list[bytes]:
    return rows_of(zstandard.decompress(packing.pack_pile_jsonl_zst(Path(mkdtemp()), SHARED, 40).read_bytes()))


def pile_frames() -> Sample:
    rows = pile_rows()[:80]
    parts = [b"".join(rows[at : at + 8]) for at in range(0, 80, 8)]
    data, units = packed_units(parts, zstandard.ZstdCompressor(level=3, write_checksum=True).compress)
    return Sample(
        pile.PIPELINE, "00.jsonl.zst", data, by_reading(pile.PIPELINE, "00.jsonl", rows), units, is_checked=True
    )


def pile_zst() -> Sample:
    rows = pile_rows()
    data = zstandard.ZstdCompressor(level=3).compress(b"".join(rows))
    whole = Unit(Range(0, len(data)), Range(0, sum(map(len, rows))))
    return Sample(pile.PIPELINE, "00.jsonl.zst", data, by_reading(pile.PIPELINE, "00.jsonl", rows), [whole])


OWN_FIELDS = {"fields": {"url": "url", "meta": ["date"]}}


def own_lines() -> Sample:
    lines = c4_rows()
    records = by_reading(rows.PIPELINE, "a.jsonl", lines, **OWN_FIELDS)
    return Sample(rows.PIPELINE, "a.jsonl", b"".join(lines), records, options=OWN_FIELDS)


def own_lines_gz() -> Sample:
    lines = c4_rows()
    data, records = gzip.compress(b"".join(lines), mtime=0), by_reading(rows.PIPELINE, "a.jsonl", lines, **OWN_FIELDS)
    units = gzip_units(data)
    options = {"is_stream": True, "is_checked": True, "options": OWN_FIELDS}
    return Sample(rows.PIPELINE, "a.jsonl.gz", data, records, units, **options)


def own_parquet() -> Sample:
    sink = BytesIO()
    table = pq.read_table(BytesIO((SHARED / "github/dpk/a.parquet").read_bytes()))
    pq.write_table(table, sink, row_group_size=3, write_page_checksum=True)
    fields = {"text": "contents", "id": "document_id", "meta": ["repo_name"]}
    return parquet_sample(rows.PIPELINE, sink.getvalue(), "a.parquet", fields=fields)


def own_files() -> list[tuple[str, bytes]]:
    """Texts of the repositories and papers: small files, each with its own name."""
    folder = SHARED / "arxiv/papers"
    found = sorted(
        path for path in folder.rglob("*") if path.suffix in (".tex", ".md") and path.stat().st_size < 40_000
    )
    return [(str(path.relative_to(folder)), path.read_bytes()) for path in found if path.stat().st_size > 200]


def own_tar() -> Sample:
    data = packing.pack_tar(own_files()[:20])
    records = {f"src/a.tar/{name}": [place] for name, place in tar_places(data).items()}
    return Sample(files.PIPELINE, "a.tar", data, records, options={"suffixes": [".tex", ".md"]})


def own_zip() -> Sample:
    """Members and the directory behind them; each has a checksum."""
    sink = BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in own_files()[:20]:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        starts = [info.header_offset for info in archive.infolist()]
    data, tail = sink.getvalue(), len(starts)
    ends = [*starts[1:], archive.start_dir]
    units = [Unit(Range(*place), Range(n, n + 1)) for n, place in enumerate(zip(starts, ends, strict=True))]
    units.append(Unit(Range(archive.start_dir, len(data)), Range(tail, tail + 1)))
    names = enumerate(info.filename for info in archive.infolist())
    records = {f"src/a.zip/{name}": [Range(tail, tail + 1), Range(n, n + 1)] for n, name in names}
    options = {"suffixes": [".tex", ".md"]}
    return Sample(files.PIPELINE, "a.zip", data, records, units, is_checked=True, is_absolute=True, options=options)


def own_text() -> Sample:
    data = (SHARED / "books/wss22/pg46.txt").read_bytes()
    return Sample(files.PIPELINE, "a.txt", data, whole_file(by_reading(files.PIPELINE, "a.txt", [data])))


SAMPLES = [
    *(own_lines, own_lines_gz, own_parquet, own_tar, own_zip, own_text),
    *(wet_gz, wet_plain, warc_gz, warc_plain, c4_gz, c4_members, github_jsonl, github_jsonl_gz, github_parquet),
    *(github_tree, github_tree_gz, gutenberg, pg19, arxiv_tar, arxiv_gz, wikipedia_xml, wikipedia_multistream),
    *(wikipedia_bz2, stackexchange_xml, stackexchange_7z, pile_frames, pile_zst, stack_parquet),
]
by_name = pytest.mark.parametrize("build", SAMPLES, ids=lambda build: build.__name__)


@cache
def sample_of(build: Callable[[], Sample]) -> tuple[Sample, tuple[dict[str, Document], Tally]]:
    """A sample, with what its sound file gives."""
    sample = build()
    file = write_raw(Path(mkdtemp()), sample.name, sample.data)
    documents, tally = read_balanced(sample.reader, [file], **sample.options)
    return sample, ({document.doc_id: document for document in documents}, tally)


def cases(build: Callable[[], Sample], numbers: range) -> Iterator[tuple[Sample, Damage, Any, int]]:
    sample, baseline = sample_of(build)
    for number in numbers:
        yield sample, damage(sample.data, random.Random(f"{build.__name__} {number}")), baseline, number


def run(build: Callable[[], Sample], numbers: range, folder: Path) -> None:
    for sample, harm, baseline, number in cases(build, numbers):
        try:
            check(sample, harm, baseline, folder)
        except Exception as error:
            error.add_note(f"case {number}: {harm.kind} of [{harm.start}, {harm.end}) of {len(sample.data)} bytes")
            raise


@by_name
def test_the_places_that_were_worked_out_are_those_of_the_documents(build):
    sample, (documents, tally) = sample_of(build)
    assert documents
    assert set(sample.records) == set(documents)
    assert not tally.damaged
    assert 5_000 < len(sample.data) < 800_000


@by_name
def test_damage_costs_its_own_unit_and_is_on_record(build, tmp_path):
    run(build, range(FEW_CASES), tmp_path)


@pytest.mark.slow
@by_name
def test_all_two_hundred_cases_of_damage(build, tmp_path):
    run(build, range(FEW_CASES, CASES), tmp_path)
