"""Files of your own: folders, patterns, tar and zip; ids, encodings, and what is no text."""

import gzip
import io
import tarfile
import zipfile

import pytest
from balanced import damaged, read_balanced, tree_files
from conftest import raw_file, write_raw
from corpora import cli

from redpajama.pipelines import files
from redpajama.records import Reason

PAGE = (
    "<html><head><title>A page</title></head><body><article><p>Some text of a page, long enough.</p></article></body>"
)
TEXTS = {
    "a.txt": b"plain \xc3\xa9",
    "b/c.md": b"# Heading\r\n\r\ntext",
    "b/latin.txt": "Ein längeres Stück Text, größer als ein Wort.".encode("cp1252"),
    "b/utf16.txt": "\ufeffwide".encode("utf-16-le"),
    "b/page.html": PAGE.encode(),
    "b/packed.txt.gz": gzip.compress(b"packed text"),
}
OTHERS = {"b/image.png": b"\x89PNG\0", "binary.txt": b"\0\1\2", "empty.txt": b" \n"}


def tar_of(members) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def zip_of(members) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return sink.getvalue()


def read(file_list, **options):
    documents, tally = read_balanced(files.PIPELINE, file_list, **options)
    return {document.doc_id: document for document in documents}, tally


def check(found, tally, before=""):
    assert {name.removeprefix(f"src/{before}") for name in found} == set(TEXTS)
    texts = {name.removeprefix(f"src/{before}"): document.text for name, document in found.items()}
    assert texts["a.txt"] == "plain é"
    assert texts["b/c.md"] == "# Heading\n\ntext"
    assert texts["b/latin.txt"] == "Ein längeres Stück Text, größer als ein Wort."
    assert texts["b/utf16.txt"] == "wide"
    assert texts["b/packed.txt.gz"] == "packed text"
    assert texts["b/page.html"] == "Some text of a page, long enough."
    page = found[f"src/{before}b/page.html"]
    assert page.meta == {"path": f"{before}b/page.html", "title": "A page", "source": "files"}
    assert tally.dropped == {Reason.WRONG_SUFFIX: 1, Reason.BINARY_FILE: 1, Reason.EMPTY_TEXT: 1}


def test_a_folder_is_read_file_by_file(tmp_path):
    for name, data in {**TEXTS, **OTHERS}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    check(*read(tree_files(tmp_path, "notes/")))


@pytest.mark.parametrize(("name", "pack"), [("x.tar", tar_of), ("x.tar.gz", tar_of), ("x.zip", zip_of)])
def test_archives_are_read_member_by_member(tmp_path, name, pack):
    data = pack({**TEXTS, **OTHERS})
    file = write_raw(tmp_path, name, gzip.compress(data) if name.endswith("gz") else data)
    check(*read([file]), before=f"{file.url}/".lstrip("/"))


def test_ids_begin_behind_the_fixed_part_of_the_pattern(tmp_path):
    file = write_raw(tmp_path, "a.txt", b"text")
    for url, pattern in {"docs/x/a.txt": "./docs/**/*.txt", "s3://b/docs/x/a.txt": "s3://b/docs/*/a.txt"}.items():
        options = files.resolve(files.Options(), [pattern, "elsewhere/*.md"], [])
        assert list(read([raw_file(file.path, url)], **options)[0]) == ["src/x/a.txt"]
    assert files.fixed_part("a.txt") == "/"


def test_members_that_are_unsafe_encrypted_or_too_large_are_quarantined(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 1000)
    for name, pack in {"x.tar": tar_of, "x.zip": zip_of}.items():
        data = pack({"../up.txt": b"x", "/root.txt": b"x", "large.txt": b"x" * 2000, "fine.txt": b"x"})
        found, tally = read([write_raw(tmp_path, name, data)])
        assert len(found) == 1
        assert tally.quarantined == {Reason.UNSAFE_PATH: 2, Reason.EXPANSION_LIMIT: 1}
    locked = bytearray(zip_of({"a.txt": b"secret"}))
    locked[6] |= 1
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    assert read([write_raw(tmp_path, "x.zip", bytes(locked))])[1].quarantined == {Reason.UNDECODABLE: 1}


@pytest.mark.parametrize(("name", "pack"), [("x.tar", tar_of), ("x.zip", zip_of)])
def test_damage_in_an_archive_is_on_record_and_ends_nothing(tmp_path, name, pack):
    members = {f"{number}.txt": b"text %d of some length " % number * 20 for number in range(30)}
    for data in damaged(pack(members)):
        found, tally = read([write_raw(tmp_path, name, data)])
        assert len(found) <= 31
        assert len(found) >= 28 or tally.rows


def test_a_file_that_is_no_zip_is_skipped_by_name(tmp_path):
    assert read([write_raw(tmp_path, "x.zip", b"no archive")])[1].damaged == {Reason.WRONG_FORMAT: 1}
    whole = zip_of({"a.txt": b"x" * 100})
    assert read([write_raw(tmp_path, "x.zip", whole[:60])])[1].damaged == {Reason.TRUNCATED: 1}


def test_a_folder_of_small_files_is_a_few_parts_and_moving_it_keeps_the_ids(tmp_path):
    ids = []
    for place in ("one", "two"):
        folder = tmp_path / place / "notes"
        folder.mkdir(parents=True)
        for number in range(40):
            (folder / f"{number}.md").write_text(f"Note {number}.")
        (folder / "empty.md").write_bytes(b"")  # a file as any other, and no damage
        (tmp_path / place / "m.toml").write_text(
            'name = "own"\nseed = 1\n[[source]]\nname = "notes"\npipeline = "files"\ninputs = ["notes/*.md"]\n'
        )
        result = cli("build", tmp_path / place / "m.toml", "--out", tmp_path / place / "r")
        assert result.returncode == 0, result.stderr
        assert len(list((tmp_path / place / "r").glob("documents/*/part-*.parquet"))) == 1
        ids.append(cli("why", tmp_path / place / "r", "notes/7.md").stdout.count("notes/7.md"))
    assert ids[0] == ids[1] > 0


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (("page\r\n" * 2000 + "Élan und Gemüt\r\n").encode("cp1252"), "page\n" * 2000 + "Élan und Gemüt\n"),
        ('Say <meta charset="iso-8859-1">: «größer»'.encode(), 'Say <meta charset="iso-8859-1">: «größer»'),
        ("«größer» als".encode() + b"\xff", "«größer» als\ufffd"),
        ("\ufeff«größer»\rals".encode(), "«größer»\nals"),
    ],
    ids=["a few letters of Latin-1", "a text about HTML", "a broken byte in UTF-8", "a mark and CR"],
)
def test_the_encoding_of_a_plain_file_is_told_by_its_bytes(tmp_path, data, text):
    assert [document.text for document in read([write_raw(tmp_path, "a.txt", data)])[0].values()] == [text]


def test_members_of_a_zip_that_stand_elsewhere_than_its_directory_says_are_read(tmp_path):
    data = zip_of({f"{number}.txt": b"text %d " % number * 50 for number in range(5)})
    at = data.index(b"2.txt") - 30
    for changed in (data[:at] + bytes(9) + data[at:], b"head" + data, data[:at] + data[at + 9 :]):
        found, tally = read([write_raw(tmp_path, "x.zip", changed)])
        assert len(found) == 5 - len(tally.rows) >= 4
