"""A dump of CommonCrawl by its id: which of its files, how few questions, and what is no list of files."""

import gzip
import json
import re
from pathlib import Path

import pytest
from corpora import cli
from fake_hub import HERE, Web, serve
from hypothesis import given
from hypothesis import strategies as st

from redpajama import cli as commands
from redpajama.errors import InputError
from redpajama.manifest import Dump, ManifestError, load, parse
from redpajama.pipelines import glance
from redpajama.raw import dumps

DEMO = Path(__file__).parents[1] / "manifests/demo/common_crawl"
ID = "CC-MAIN-2024-22"
NAME = "CC-MAIN-20240517233122-20240518023122"
PATHS = [f"crawl-data/{ID}/segments/{1715971057216 + n // 4}.39/wet/{NAME}-{n:05d}.warc.wet.gz" for n in range(300)]
SOURCE = {"name": "cc", "pipeline": "common_crawl"}


def paths_gz(paths: list[str]) -> bytes:
    return gzip.compress("".join(f"{path}\n" for path in paths).encode(), mtime=0)


def source_with(**dump: object) -> dict:
    return {"name": "m", "seed": 7, "source": [SOURCE | {"dump": dump}]}


def write_manifest(folder: Path, **dump: object) -> Path:
    table = "\n".join(f"{key} = {json.dumps(value)}" for key, value in dump.items())
    text = 'name = "m"\nseed = 7\n[[source]]\nname = "cc"\npipeline = "common_crawl"\nmax_bad_fraction = 0.5\n'
    path = folder / "m.toml"
    path.write_text(f"{text}[[source.dump]]\n{table}\n")
    return path


# ---- which files


def test_shards_are_places_in_the_list_and_none_means_all():
    assert dumps.choose(PATHS, Dump(id=ID, shards="0-2, 7,5-6"), 7) == [PATHS[n] for n in (0, 1, 2, 5, 6, 7)]
    assert dumps.choose(PATHS, Dump(id=ID), 7) == PATHS
    with pytest.raises(InputError, match=f"{ID}: shards = '299-300': the last of its 300 wet files is 299"):
        dumps.choose(PATHS, Dump(id=ID, shards="299-300"), 7)


@given(st.permutations(PATHS[:40]), st.integers(0, 2**64 - 1), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_sample_hangs_on_seed_and_path_alone_and_a_larger_one_holds_the_smaller(paths, seed, one, other):
    small, large = (set(dumps.choose(PATHS[:40], Dump(id=ID, sample=share), seed)) for share in sorted([one, other]))
    assert small <= large
    assert set(dumps.choose(paths, Dump(id=ID, sample=min(one, other)), seed)) == small


def test_a_sample_has_about_its_share_and_another_seed_another_choice():
    drawn = [set(dumps.choose(PATHS, Dump(id=ID, sample=0.2), seed)) for seed in range(20)]
    assert 0.17 < sum(map(len, drawn)) / (20 * len(PATHS)) < 0.23
    assert len(set(map(frozenset, drawn))) == 20


@pytest.mark.parametrize(
    ("dump", "message"),
    [
        ({"id": "2024-22"}, "dump[1].id: String should match pattern"),
        ({"id": ID, "shards": "0-9", "sample": 0.1}, "give either shards or sample, and not both"),
        ({"id": ID, "shards": "0..9"}, 'shards: \'0..9\' is no list of ranges; write "0-99" or "0-9,20"'),
        ({"id": ID, "shards": "9-0"}, "shards: '9-0' has a range that ends before it begins"),
        ({"id": ID, "sample": 0}, "dump[1].sample: Input should be greater than 0"),
        ({"id": ID, "kind": "wat"}, "dump[1].kind: Input should be 'wet' or 'warc'"),
        ({"id": ID, "shard": "0"}, "unknown key 'shard'; did you mean 'shards'?"),
        ({"id": ID, "root": "https://data.commoncrawl.org"}, "dump[1].root: String should match pattern"),
    ],
)
def test_a_mistake_in_a_dump_is_one_line(dump, message):
    with pytest.raises(ManifestError) as caught:
        parse(source_with(**dump), "m.toml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"inputs": ["a"], "dump": {"id": ID}}, "source[1]: give either inputs or dump, and not both"),
        ({}, "source[1]: nothing to read: give inputs, a dataset, or a dump of CommonCrawl"),
    ],
)
def test_inputs_and_dump_exclude_each_other_and_one_of_them_must_be(keys, message):
    with pytest.raises(ManifestError, match=re.escape(message)):
        parse({"name": "m", "seed": 1, "source": [SOURCE | keys]}, "m.toml")


def test_a_dump_goes_with_one_pipeline_only(tmp_path, capsys):
    path = write_manifest(tmp_path, id=ID)
    path.write_text(path.read_text().replace("common_crawl", "c4"))
    assert commands.run(["plan", str(path), "--out", str(tmp_path / "r"), "--offline"]) == 2
    assert "dump: a dump of CommonCrawl goes with pipeline = 'common_crawl', not 'c4'" in capsys.readouterr().err


# ---- from the web


@pytest.fixture
def web():
    """A dump of 300 files; those whose number ends in 7 have twice the bytes of the others."""
    files = {path: bytes(2000 if path[-14] == "7" else 1000) for path in PATHS}
    server = Web({f"crawl-data/{ID}/wet.paths.gz": paths_gz(PATHS), **files})
    with serve(server):
        yield server


def listing(web: Web, **dump: object) -> list[dumps.Listed]:
    manifest = parse(source_with(id=ID, root=f"{web.url}/", **dump), "m.toml")
    return dumps.expand(manifest.source[0].dump, manifest.seed, {}, "/")


def test_few_files_of_a_large_dump_are_asked_for_their_size_and_the_rest_is_reckoned(web, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    listed = listing(web)
    assert [file.url for file in listed] == [f"{web.url}/{path}" for path in sorted(PATHS)]
    assert [request.method for request in web.requests] == ["GET"] + ["HEAD"] * dumps.MAX_ASKED
    assert {file.bytes for file in listed} == {0}, "a size that nobody told is none that a download must have"
    assert sum(file.about_bytes for file in listed) == pytest.approx(sum(map(len, web.files.values())), rel=0.2)
    assert {file.etag for file in listed} == {ID}, "a published dump never changes"


def test_what_is_known_of_a_file_does_not_hang_on_the_others(web, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    few, more = listing(web, shards="3-5"), listing(web, shards="0-200")
    identity = {(file.url, file.path, file.bytes, file.etag) for file in more}
    assert {(file.url, file.path, file.bytes, file.etag) for file in few} <= identity


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<html>", "/wet.paths.gz: not a list of paths in gzip"),
        (paths_gz(PATHS)[:-20], "/wet.paths.gz: the list is cut off"),
        (paths_gz([]), "/wet.paths.gz: the list is empty"),
        (paths_gz([*PATHS, "crawl-data/../../etc/passwd"]), "'crawl-data/../../etc/passwd' is no path of a dump"),
        (paths_gz(["https://evil.example/a.wet.gz"]), "'https://evil.example/a.wet.gz' is no path of a dump"),
        (gzip.compress(bytes(65 << 20)), "the list is cut off, or has more than 67,108,864 bytes"),
    ],
)
def test_what_is_no_list_of_paths_is_one_line(web, monkeypatch, data, message):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    web.files[f"crawl-data/{ID}/wet.paths.gz"] = data
    with pytest.raises(InputError) as caught:
        listing(web)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_dump_that_does_not_exist_and_a_sample_of_nothing_are_one_line(web, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(InputError, match=r"/CC-MAIN-1999-01/wet.paths.gz: HTTP 404 Not Found"):
        dumps.expand([Dump(id="CC-MAIN-1999-01", root=f"{web.url}/")], 7, {}, "/")
    with pytest.raises(InputError, match=f"{ID}: sample = 1e-06 takes none of its 300 wet files"):
        listing(web, sample=1e-6)


def test_plan_marks_sizes_that_are_reckoned(web, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(glance, "SECONDS", 0)
    path = write_manifest(tmp_path, id=ID, root=f"{web.url}/")
    assert commands.run(["plan", str(path), "--out", str(tmp_path / "r")]) == 0
    said = capsys.readouterr().out
    assert "300 files, ~0.3" in said
    assert "~ sizes are reckoned" in said
    assert commands.run(["plan", str(path), "--out", str(tmp_path / "r"), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["sources"]["cc"]
    assert (row["files"], row["estimates"], row["unknown_sizes"]) == (300, 300, 0)
    assert row["fetch_bytes"] == row["bytes"] > 0
    assert not (tmp_path / "r").exists()


# ---- whole builds


def demo_dump(count: int) -> dict[str, bytes]:
    """The demo's WET file under the first paths of the list, and the list."""
    data = next(DEMO.glob("*.wet.gz")).read_bytes()
    return {f"crawl-data/{ID}/wet.paths.gz": paths_gz(PATHS), **dict.fromkeys(PATHS[:count], data)}


def test_a_wider_range_of_a_dump_downloads_only_what_is_new(tmp_path):
    web = Web(demo_dump(3))
    with serve(web) as url:
        for shards in ("0-1", "0-2"):
            manifest = write_manifest(tmp_path, id=ID, shards=shards, root=f"{url}/")
            arguments = ("--out", tmp_path / "r", "--workers", 1, "--until", "documents")
            result = cli("build", manifest, *arguments, **HERE)
            assert result.returncode == 0, result.stderr[-2000:]
    assert [len(web.bodies(path)) for path in PATHS[:4]] == [1, 1, 1, 0]
    assert len(list(tmp_path.glob("r/documents/cc-*/part-*.parquet"))) == 3


def test_a_dump_is_read_from_a_mirror(tmp_path):
    for path, data in demo_dump(2).items():
        target = tmp_path / "mnt" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    manifest = write_manifest(tmp_path, id=ID, shards="0-1")
    mirror = ("--mirror", f"https://data.commoncrawl.org/={tmp_path}/mnt")
    result = cli("build", manifest, "--out", tmp_path / "r", "--workers", 1, "--until", "documents", *mirror)
    assert result.returncode == 0, result.stderr[-2000:]
    records = [json.loads(path.read_bytes()) for path in tmp_path.glob("r/documents/cc-*/part-*.json")]
    urls = {file["url"] for record in records for file in record["inputs"]}
    assert urls == {f"https://data.commoncrawl.org/{path}" for path in PATHS[:2]}
    assert load(str(manifest)).source[0].inputs == []
