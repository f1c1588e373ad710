"""Every format, broken in every way, in one build: nothing crashes, everything is on record, the rest is read."""

import bz2
import gzip
import io
import json
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard
from conftest import SHARED, needs_shared
from corpora import cli
from packing import (
    pack_arxiv_bulk_tar,
    pack_bigquery_rows,
    pack_pile_jsonl_zst,
    pack_stackexchange_7z,
    pack_the_stack_parquet,
)

pytestmark = needs_shared

LOUD = ("truncated", "empty", "foreign")
BOMB = bytes(400 << 20)
ENTITIES = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


def climbing_tar() -> bytes:
    """A tar that wants to write above its folder, to an absolute path, and through a link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("../climb.py", "/tmp/climb.py", "top/ok.py"):
            info = tarfile.TarInfo(name)
            info.size = 6
            archive.addfile(info, io.BytesIO(b"x = 1\n"))
        link = tarfile.TarInfo("top/link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "../../etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def formats(folder: Path) -> dict[str, tuple[str, Path, bytes]]:
    """{name of the format: (pipeline, a sound file, a hostile file of that format)}."""
    packed = {
        "bigquery": pack_bigquery_rows(folder, SHARED, 5),
        "bulk_tar": pack_arxiv_bulk_tar(folder, SHARED),
        "jsonl_zst": pack_pile_jsonl_zst(folder, SHARED, 5),
        "7z": pack_stackexchange_7z(folder, SHARED),
        "parquet": pack_the_stack_parquet(folder, SHARED, 5, 5),
    }
    page = ENTITIES + b"<mediawiki><page><title>T</title><ns>0</ns><id>1</id><text>&b;</text></page></mediawiki>"
    row = ENTITIES + b'<posts><row Id="1" PostTypeId="1" Title="T" Body="&b;" Score="1" /></posts>'
    crawl = SHARED / "commoncrawl" / "whirlwind"
    mux = SHARED / "github" / "repos" / "gorilla__mux-db9d1d0073d2.tar.gz"
    return {
        "wet": ("common_crawl", crawl / "whirlwind.warc.wet.gz", gzip.compress(BOMB, 1)),
        "warc": ("common_crawl", crawl / "whirlwind.warc", b"WARC/1.0\r\nContent-Length: 99999999999\r\n\r\n"),
        "c4": ("c4", SHARED / "c4" / "olmo" / "c4-sample.01.json.gz", gzip.compress(BOMB, 1)),
        "bigquery": ("github", packed["bigquery"], gzip.compress(BOMB, 1)),
        "tree": ("github", mux, gzip.compress(climbing_tar())),
        "book": ("books", SHARED / "books" / "wss22" / "pg46.txt", b"*** START OF THIS PROJECT GUTENBERG EBOOK X ***"),
        "eprint": ("arxiv", SHARED / "arxiv" / "raw" / "1911.02782.gz", gzip.compress(BOMB, 1)),
        "bulk_tar": ("arxiv", packed["bulk_tar"], climbing_tar()),
        "bz2": ("wikipedia", SHARED / "wikipedia" / "minidumps" / "am" / "wiki.xml.bz2", bz2.compress(page)),
        "posts": ("stackexchange", SHARED / "stackexchange" / "conlang-meta-2020" / "Posts.xml", row),
        "7z": ("stackexchange", packed["7z"], b"7z\xbc\xaf\x27\x1c" + bytes(60)),
        "jsonl_zst": ("pile", packed["jsonl_zst"], zstd(BOMB)),
        "parquet": ("the_stack", packed["parquet"], b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1"),
    }


def broken(sound: bytes, hostile: bytes) -> dict[str, bytes]:
    """{what is wrong: the file}."""
    middle = len(sound) // 2
    flipped = sound[:middle] + bytes(byte ^ 0x5A for byte in sound[middle : middle + 24]) + sound[middle + 24 :]
    return {
        "truncated": sound[: len(sound) * 3 // 5],
        "flipped": flipped,
        "empty": b"",
        "foreign": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8,
        "invalid_utf8": spoil_text(sound),
        "hostile": hostile,
    }


def spoil_text(sound: bytes) -> bytes:
    """Bytes that are no UTF-8 in the middle of the text, the container sound again; as it is where that cannot be."""
    for magic, unpack, pack in ((b"\x1f\x8b", gzip.decompress, gzip.compress), (b"BZh", bz2.decompress, bz2.compress)):
        if sound.startswith(magic):
            return pack(_insert(unpack(sound)))
    return sound if sound[:4] in (b"PAR1", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd") else _insert(sound)


def _insert(text: bytes) -> bytes:
    middle = text.find(b"e", len(text) // 2)
    return text[:middle] + b"\xff\xfe\xfa" + text[middle:]


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory) -> Path:
    """A manifest with a source for each format: one sound file, and one for each way to be broken."""
    folder = tmp_path_factory.mktemp("spoilt")
    manifest = ['name = "spoilt"', "seed = 1"]
    for name, (pipeline, path, hostile) in formats(tmp_path_factory.mktemp("packed")).items():
        suffix = path.name[path.name.index(".") :] if "." in path.name else ""
        data = path.read_bytes()
        for damage, spoiled in {"sound": data, **broken(data, hostile)}.items():
            where = folder / name / damage / (path.name if pipeline in ("github", "stackexchange") else f"file{suffix}")
            where.parent.mkdir(parents=True)
            where.write_bytes(spoiled)
        quoted = f'name = "x{name}"\npipeline = "{pipeline}"\ninputs = ["{name}/*/*"]\nmax_bad_fraction = 1'
        manifest.append(f"[[source]]\n{quoted}")
    (folder / "spoilt.toml").write_text("\n".join(manifest))
    return folder / "spoilt.toml"


@pytest.fixture(scope="module")
def built(spoilt, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("built") / "corpus"
    result = cli("build", spoilt, "--out", root, "--workers", 2, "--until", "documents")
    assert result.returncode == 0, result.stderr[-3000:]
    return root


def parts_by_file(root: Path) -> dict[str, tuple[dict, list[dict]]]:
    """{URL: (part record, ledger rows)}."""
    found = {}
    for path in root.glob("documents/*/part-*.json"):
        record = json.loads(path.read_text())
        ledger = pq.read_table(path.parent / "ledger" / f"{path.stem}.parquet").to_pylist()
        found[record["inputs"][0]["url"]] = (record, ledger)
    return found


def test_every_broken_file_is_on_record_and_the_sound_one_is_read(built):
    parts = parts_by_file(built)
    assert len(parts) == 13 * 7
    for url, (record, ledger) in parts.items():
        damage = url.split("/")[1]
        counts = record["counts"]
        bad = sum(counts["quarantined"].values()) + sum(counts["damaged_ranges"].values())
        assert counts["consumed_bytes"] + counts["skipped_bytes"] == record["inputs"][0]["bytes"], url
        assert len(ledger) == sum(counts["dropped"].values()) + bad, url
        if damage == "sound":
            assert counts["kept"], url
            assert not bad, (url, ledger)
        for row in ledger:
            assert json.loads(row["evidence"])["file"] == url
    silent = [url for url, (_, ledger) in parts.items() if url.split("/")[1] in LOUD and not ledger]
    assert not silent, "nothing says that they are broken"


def test_a_file_that_was_cut_keeps_what_stands_before_the_cut(built):
    parts = parts_by_file(built)
    cut = {url.split("/")[0]: record for url, (record, _) in parts.items() if "/truncated/" in url}
    kept = {name for name, record in cut.items() if record["counts"]["kept"]}
    assert {"c4", "bigquery", "tree", "posts"} <= kept


def test_hostile_files_write_nothing_outside_and_keep_memory_bounded(built):
    assert not Path("/tmp/climb.py").exists()
    assert not list(built.parent.glob("**/climb.py"))
    peaks = [json.loads(path.read_text())["peak_bytes"] for path in built.glob("timing/**/*.json")]
    assert max(peaks) < 1 << 30


def test_without_tolerance_the_build_fails_by_name_in_one_line(spoilt, tmp_path):
    strict = spoilt.with_name("strict.toml")
    strict.write_text(spoilt.read_text().replace("max_bad_fraction = 1", "max_bad_fraction = 0"))
    result = cli("build", strict, "--out", tmp_path / "r", "--workers", 1, "--until", "documents")
    assert result.returncode == 1
    assert result.stderr.startswith("redpajama: source 'x")
    assert "more than max_bad_fraction = 0" in result.stderr
    assert result.stderr.count("\n") == 1
