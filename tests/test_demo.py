"""The demo: its raw files are what make_demo.py makes, it builds, and what was planted has the fate it should have."""

import importlib.util
import io
import json
import re
import tarfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import py7zr
import pytest
import zstandard
from corpora import cli

from redpajama.engine.store import Store
from redpajama.exports import megatron
from redpajama.report import funnel
from redpajama.report.builds import read_build
from redpajama.report.why import why
from redpajama.tokenize import encode

ROOT = Path(__file__).parents[1]
MANIFESTS = ROOT / "manifests"
CODE = "github/example/redpajama@e6e536f065ee"
WARC = "demo/common_crawl/CC-MAIN-20240520110000-20240520140000-00000.warc.gz"
WET = WARC.replace(".warc.gz", ".warc.wet.gz")
REPOSITORY = "demo/github/example__redpajama-e6e536f065eea73dec481b3b6aa85010b9bf6798.tar.gz"


def load_maker():
    spec = importlib.util.spec_from_file_location("make_demo", MANIFESTS / "make_demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def raw_files(folder: Path) -> dict[str, bytes]:
    """{name: content} of the raw files of a demo, without the texts they are made from."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and folder / "text" not in path.parents)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(what the command printed, its store, its record)."""
    root = tmp_path_factory.mktemp("demo")
    result = cli("build", MANIFESTS / "demo.toml", "--out", root)
    assert result.returncode == 0, result.stderr[-3000:]
    store = Store(str(root))
    return result.stdout, store, read_build(store)


@pytest.fixture(scope="module")
def stories(built):
    """what -> the stories that `redpajama why` tells."""
    return partial(why, *built[1:])


@pytest.fixture(scope="module")
def near_built(tmp_path_factory):
    """As `built`, with near-dedup."""
    folder = tmp_path_factory.mktemp("near")
    text = (MANIFESTS / "demo.toml").read_text().replace('"demo/', f'"{MANIFESTS}/demo/')
    (folder / "demo.toml").write_text(text.replace("[dedup]\n", "[dedup]\nnear = { ngram = 5, threshold = 0.8 }\n"))
    result = cli("build", folder / "demo.toml", "--out", folder / "corpus")
    assert result.returncode == 0, result.stderr[-3000:]
    store = Store(str(folder / "corpus"))
    return result.stdout, store, read_build(store)


def test_neither_backend_of_the_tokenizer_shows_in_anything_that_is_built(built, tmp_path):
    text = (MANIFESTS / "demo.toml").read_text()
    (tmp_path / "demo").symlink_to(MANIFESTS / "demo")
    (tmp_path / "demo.toml").write_text(text.replace("[tokenizer]\n", '[tokenizer]\nbackend = "tokenizers"\n'))
    result = cli("build", tmp_path / "demo.toml", "--out", tmp_path / "corpus")
    assert result.returncode == 0, result.stderr[-3000:]
    store = Store(str(tmp_path / "corpus"))
    assert read_build(store) == built[2]
    ran = {note["backend"] for note in backend_notes(store)}, {note["backend"] for note in backend_notes(built[1])}
    assert [sorted(name.split(" ")[0] for name in names) for names in ran] == [["tokenizers"], ["fastokens"]]
    assert all(note["checked"]["passages"] for note in backend_notes(built[1], "counts"))


def backend_notes(store: Store, stage: str = "*") -> list[dict]:
    return [json.loads(path.read_bytes()) for path in Path(store.url).glob(f"timing/{stage}/*/*-tokenizer.json")]


# ---- raw files


def test_make_demo_gives_what_the_shipped_files_decode_to(tmp_path):
    load_maker().main(tmp_path)
    made, shipped = raw_files(tmp_path / "demo"), raw_files(MANIFESTS / "demo")
    assert list(made) == list(shipped)
    for name, data in made.items():  # another Python writes another gzip header, another zlib compresses otherwise
        assert decoded(name, data) == decoded(name, shipped[name]), name


def decoded(name: str, data: bytes) -> object:
    """What stands in a file, down to the members of its archives."""
    if name.endswith(".gz"):
        return [member and decoded(name.removesuffix(".gz"), member) for member in gzip_members(data)]
    if name.endswith(".tar"):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            files = {info.name: archive.extractfile(info) for info in archive}
            return [(name, file and decoded(name, file.read())) for name, file in files.items()]
    if name.endswith(".7z"):
        opened = py7zr.SevenZipFile(io.BytesIO(data))
        with opened as archive:
            archive.extractall(factory=(files := py7zr.io.BytesIOFactory(1 << 20)))
        return {name: file.read() for name, file in files.products.items()}
    return zstandard.ZstdDecompressor().decompress(data) if name.endswith(".zst") else data


def gzip_members(data: bytes) -> list[bytes | None]:
    """Each member decoded; None for one that is damaged."""
    found: list[bytes | None] = []
    while data:
        decoder = zlib.decompressobj(wbits=31)
        try:
            found.append(decoder.decompress(data))
            data = decoder.unused_data
        except zlib.error:
            found.append(None)
            data = data[data.index(b"\x1f\x8b\x08", 3) :]
    return found


def test_the_raw_files_are_small():
    assert sum(map(len, raw_files(MANIFESTS / "demo").values())) < 400_000


# ---- the build


def test_the_corpus_is_the_one_that_the_readme_shows(built):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"^\s*corpus   ([0-9a-f]{64})\s*$", readme, re.MULTILINE)
    assert shown, "README.md shows no line `corpus   <64 hex digits>`"
    assert f"corpus   {shown[1]}" in built[0]


def test_all_nine_sources_are_in_it_near_their_shares(built):
    rows = funnel.funnel(*built[1:])
    assert len(rows) == 9
    for row in rows:
        assert row.drawn_documents > 0
        assert row.got_share == pytest.approx(row.wanted_share, abs=0.02), row.source


def test_some_sources_are_repeated_and_some_are_drawn_in_part(built):
    rows = {row.source: row for row in funnel.funnel(*built[1:])}
    assert rows["wikipedia"].drawn_copies > rows["wikipedia"].living == rows["wikipedia"].drawn_documents
    assert rows["github"].drawn_copies == rows["github"].drawn_documents < rows["github"].living


def test_there_are_three_shards(built):
    assert len(shards(built[1])) == 3


def test_a_document_that_speaks_of_the_end_of_text_does_not_end_there(built, stories):
    store = built[1]
    (story,) = stories("stackexchange/textcraft.example/11")
    assert story["text"].count("<|endoftext|>") == 2
    (place,) = story["shards"]
    tokens = np.frombuffer(store.read(place["shard"]), "<u2")
    tokens = tokens[place["token_offset"] : place["token_offset"] + place["n_tokens"]]
    tokenizer = load_tokenizer(store)
    assert np.flatnonzero(tokens == tokenizer.eod_id).tolist() == [len(tokens) - 1]
    assert tokenizer.decode(tokens[:-1]).startswith(story["text"])


def test_every_document_of_the_shards_ends_once(built):
    tokenizer = load_tokenizer(built[1])
    for path in shards(built[1]):
        index = megatron.read_index(path.with_suffix(".idx"))
        tokens = np.fromfile(path, index.dtype)
        ends = np.flatnonzero(tokens == tokenizer.eod_id)
        assert ends.tolist() == (np.cumsum(index.sizes) - 1).tolist()


def shards(store: Store) -> list[Path]:
    return sorted(Path(store.url).glob("tokens/*/*.bin"))


def load_tokenizer(store: Store) -> encode.Tokenizer:
    (path,) = Path(store.url).glob("tokenizer/*/*tokenizer.json")
    return encode.load(path)


# ---- fates


@pytest.mark.parametrize(
    ("doc_id", "reason"),
    [
        ("arxiv/2403.99901/old-draft.tex", "not-included"),
        ("arxiv/2403.99904", "pdf-only"),
        ("arxiv/2403.99905", "withdrawn"),
        ("wikipedia/en/1003", "not-an-article"),
        ("wikipedia/en/1004", "redirect"),
        ("wikipedia/en/1006", "disambiguation"),
        ("stackexchange/textcraft.example/33", "low-score"),
        ("stackexchange/textcraft.example/72", "orphan-answer"),
        ("stackexchange/textcraft.example/73", "not-a-post"),
        ("github/example/copyleft/balance.py", "license-not-allowed"),
        (f"{CODE}/LICENSE", "license-file"),
        (f"{CODE}/pyproject.toml", "wrong-suffix"),
    ],
)
def test_a_unit_that_is_not_wanted_is_dropped_by_name(stories, doc_id, reason):
    assert [story["fate"] for story in stories(doc_id)] == [f"dropped by the pipeline: {reason}"]


@pytest.mark.parametrize(
    ("file", "reason", "evidence"),
    [
        (WARC, "invalid-record", {"note": "does not end at its Content-Length 99"}),
        (WET, "damaged", {"codec": "gzip"}),
        ("demo/c4/c4-train.00000-of-00001.json.gz", "invalid-json", {"line": 5}),
        (REPOSITORY, "unsafe-path", {}),
        ("demo/wikipedia/enwiki-20240520-pages-articles-multistream.xml.bz2", "invalid-xml", {}),
    ],
)
def test_a_broken_record_is_quarantined_with_its_place(stories, file, reason, evidence):
    (story,) = [each for each in stories(file) if each["fate"] == f"quarantined by the pipeline: {reason}"]
    assert story["evidence"]["file"] == file
    assert evidence.items() <= story["evidence"].items()


def test_a_source_file_of_an_old_editor_is_read(stories):
    (story,) = stories(f"{CODE}/tests/names.py")
    assert story["meta"]["encoding"] == "cp1252"


def test_nothing_else_is_broken(built):
    rows = {row.source: (row.quarantined, row.damaged_ranges) for row in funnel.funnel(*built[1:])}
    broken = {source: counts for source, counts in rows.items() if any(counts)}
    assert broken == {"common_crawl": (1, 1), "c4": (1, 0), "github": (1, 0), "wikipedia": (1, 0)}


def test_the_damaged_range_is_one_gzip_member_and_the_records_around_it_are_read(stories):
    (story,) = [each for each in stories(WET) if "damaged" in each["fate"]]
    data = (MANIFESTS / WET).read_bytes()
    start, end = story["evidence"]["offset"], story["evidence"]["end"]
    assert data[start : start + 3] == data[end : end + 3] == b"\x1f\x8b\x08"
    before, after = "pressroom-memories.example/night-shift-in-the-morgue.html", "stationers-row.example/opening-hours"
    assert stories(f"https://{before}")[0]["doc_id"].startswith("common_crawl/")
    assert stories(f"https://{after}")[0]["doc_id"].startswith("common_crawl/")
    assert stories("https://bookbench.example/paste-and-glue") == []


def test_the_file_that_climbs_out_of_its_tar_is_nowhere(built, stories):
    (story,) = [each for each in stories(REPOSITORY) if "unsafe-path" in each["fate"]]
    assert story["evidence"]["member"].endswith("/../../home/reader/.profile")
    assert not list(Path(built[1].url).rglob(".profile"))


@pytest.mark.parametrize(
    ("what", "fate"),
    [
        ("https://wellsetpage.example/ask/closed", "min_chars = 200, measured 98"),
        ("https://stationers-row.example/opening-hours", "min_chars = 300, measured 81"),
        ("wikipedia/en/1010", "min_words = 20, measured 12"),
        ("github/example/small-sums/stop.min.js", "max_max_line_chars = 1000, measured 1359"),
    ],
)
def test_a_rule_removes_what_fails_it(stories, what, fate):
    assert [story["fate"] for story in stories(what)] == [f"removed by quality: {fate}"]


def test_an_article_on_the_web_loses_to_its_copy_in_c4(stories):
    row, page = stories("https://www.paperboat.example/notes/second-copy")
    assert row["doc_id"].startswith("c4/")
    assert page["doc_id"].startswith("common_crawl/")
    assert page["fate"] == f"removed by exact: exact-duplicate, survivor {row['doc_id']}"


def test_a_file_loses_to_its_copy_in_the_repository_and_so_does_a_fork_with_another_licence_header(stories):
    copies = {story["doc_id"]: story["fate"] for story in stories(content("code/redpajama/hashing.py.txt"))}
    lost = f"removed by exact: exact-duplicate, survivor {CODE}/redpajama/hashing.py"
    assert copies.pop(f"{CODE}/redpajama/hashing.py") != lost
    assert copies == {
        "github/reader/fork-of-redpajama/hashing.py": lost,
        "the_stack/1900705b00fcb375f7774b545eab3f1aca80fe09": lost,
    }


@pytest.mark.parametrize(
    ("what", "survivor", "difference"),
    [
        (
            "https://m.smallarchive.example/guides/naming-files",
            "https://smallarchive.example/guides/naming-files",
            {"-": ["2019-02-11."], "+": ["2018-11-05.", "Nobody has ever regretted the extra zero."]},
        ),
        (
            "https://www.foldedsheet.example/reprints/quarto",
            "https://bookbench.example/fold-a-quarto",
            {"-": ["biro", "buyer.", "More from our shelves"], "+": ["pencil", "reader."]},
        ),
    ],
)
def test_a_near_copy_loses_to_its_original_and_why_shows_the_words(near_built, what, survivor, difference):
    (copy,), (original,) = (why(*near_built[1:], asked) for asked in (what, survivor))
    assert original["verdicts"] == []
    assert re.fullmatch(
        rf"removed by near: near-duplicate, similarity 0\.\d+ \(\w+\) of at least 0\.8, \d+ bands shared, "
        rf"\d\.\d% of its n-grams \(about \d+ of \d+\) in no survivor, survivor {original['doc_id']}",
        copy["fate"],
    )
    for kind, words in difference.items():
        assert [text for each, text in copy["difference"] if each == kind] == words


def test_a_fork_of_a_file_loses_to_the_repositorys_and_only_code_is_compared_with_code(near_built):
    matrix = funnel.duplicate_matrix(*near_built[1:])["near"]
    assert {pair: cell["documents"] for pair, cell in matrix.items()} == {
        "c4 < c4": 1,
        "common_crawl < c4": 1,
        "the_stack < github": 1,
    }
    assert all(cell["tokens"] > 100 for cell in matrix.values())


def test_the_matrices_are_printed(built, near_built):
    for said in (built[0], near_built[0]):
        assert re.search(r"^exact-duplicate of → +c4 +github +pile$", said, re.MULTILINE)
    assert re.search(r"^near-duplicate of → +c4 +github$", near_built[0], re.MULTILINE)
    assert re.search(r"^the_stack +· +1 \([\d,]+\)$", near_built[0], re.MULTILINE)


def test_texts_that_differ_in_white_space_are_one(stories):
    pages = ["ask/two-spaces-after-a-full-stop", "print.php?article=118"]
    assert_one_survives([stories(f"https://wellsetpage.example/{page}")[0] for page in pages])


def test_composed_and_decomposed_accents_are_one(stories):
    assert_one_survives(stories(body("pile/europarl-bibliotheques.txt")))


def assert_one_survives(copies: list[dict]) -> None:
    gone, left = sorted(copies, key=lambda story: not story["verdicts"])
    assert not left["verdicts"]
    assert gone["fate"] == f"removed by exact: exact-duplicate, survivor {left['doc_id']}"
    assert gone["signals"]["chars"] != left["signals"]["chars"]


def test_a_pile_row_that_stands_there_twice_is_one_document(stories):
    (document,) = stories(body("pile/hn-plain-text.txt"))
    fates = [story["fate"] for story in stories(document["doc_id"])]
    assert fates == [document["fate"], "dropped by the pipeline: repeated-record"]


def test_slices_and_languages_that_are_not_wanted_are_left_out(stories):
    fates = {story["evidence"].get("pile_set_name"): story["fate"] for story in stories("demo/pile/00.jsonl.zst")}
    assert fates["Wikipedia (en)"] == "dropped by the pipeline: not-selected"
    assert fates["OpenSubtitles"] == "dropped by the pipeline: withdrawn"
    (lua,) = stories("demo/the_stack/data/train-00000-of-00001.parquet")
    assert (lua["fate"], lua["evidence"]["lang"]) == ("dropped by the pipeline: not-selected", "Lua")


def content(name: str) -> str:
    return (MANIFESTS / "demo" / "text" / name).read_text(encoding="utf-8")


def body(name: str) -> str:
    """A text without its head."""
    return content(name).partition("\n\n")[2]
