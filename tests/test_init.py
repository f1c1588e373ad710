"""`init` writes a manifest that builds, from files as they lie, and asks nothing that it can see."""

import csv
import gzip
import io
import json
import tomllib
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from redpajama import cli
from redpajama.manifest import parse
from redpajama.pipelines import draft
from redpajama.preflight import check
from redpajama.raw.tables import delimiter_of

WET = b"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://a/%d\r\nContent-Length: %d\r\n\r\n%s\r\n\r\n"
PAGE = (
    b"<page><title>Town %d</title><ns>0</ns><id>%d</id><revision><id>9</id><text>%d is a town.</text></revision></page>"
)
MIT = "SPDX-License-Identifier: MIT\n"
ENGLISH = "The river was wide and slow, and nobody had seen the other side of it in winter."
GERMAN = "Der Fluss war breit und langsam, und niemand hatte im Winter das andere Ufer gesehen."


def lines(count: int, text: str) -> bytes:
    row = '{{"id": "n{0}", "headline": "H", "story": "{1} Number {0}.", "link": "http://a/{0}"}}\n'
    return "".join(row.format(number, text) for number in range(count)).encode()


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "data"
    (data / "notes" / "deep").mkdir(parents=True)
    for number in range(5):
        (data / "notes" / f"{number}.md").write_text(f"# Note {number}\n\n{ENGLISH}")
        (data / "notes" / "deep" / f"{number}.txt").write_text(f"{ENGLISH} {number}")
    (data / "notes" / "LICENSE").write_text(MIT)
    (data / "notes" / "photo.png").write_bytes(b"\x89PNG\0\0\0" * 30)
    (data / "empty.txt").write_bytes(b"")
    (data / "news.jsonl.gz").write_bytes(gzip.compress(lines(40, GERMAN)))
    sink = io.BytesIO()
    pq.write_table(pa.table({"n": [1, 2], "abstract": [ENGLISH, GERMAN]}), sink)
    (data / "papers.parquet").write_bytes(sink.getvalue())
    pages = [f"A title\n{ENGLISH} Page {n}.".encode() for n in range(5)]
    (data / "crawl.warc.wet.gz").write_bytes(b"".join(gzip.compress(WET % (n, len(p), p)) for n, p in enumerate(pages)))
    site = b"<siteinfo><dbname>townwiki</dbname><base>https://town.example/wiki/Main</base></siteinfo>"
    (data / "towns.xml").write_bytes(
        b'<mediawiki xml:lang="en">' + site + b"".join(PAGE % (n, n, n) for n in range(5)) + b"</mediawiki>"
    )
    with zipfile.ZipFile(data / "old.zip", "w") as archive:
        archive.writestr("a.txt", ENGLISH)
    return tmp_path


def test_a_mixed_folder_becomes_a_manifest_whose_build_has_every_source(folder, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    assert cli.run(["init", "data", "--to", "own.toml"]) == 0
    text = (folder / "own.toml").read_text()
    values = tomllib.loads(text)
    found = {source["name"]: source for source in values["source"]}
    pipelines = {name: source["pipeline"] for name, source in found.items()}
    assert sorted(pipelines.values()) == ["common_crawl", "files", "rows", "rows", "wikipedia"]
    assert found["news"]["options"]["fields"] == {"text": "story", "id": "id", "url": "link", "meta": "all"}
    assert found["papers"]["options"]["fields"]["text"] == "abstract"
    assert found["data"]["inputs"] == ["data/**/*.md", "data/**/*.txt", "data/**/*.zip"]
    assert "# Licence file: data/notes/LICENSE: mit" in text
    assert "# Not read: 1 file(s), binary" in text
    assert "# Not read: 1 file(s), empty" in text
    assert "# language: de 20 of 20 texts" in text
    assert "# fields: id, headline, story, link" in text
    status = cli.run(["build", "own.toml", "--out", "r", "--workers", "1", "--json"])
    assert not status, capfd.readouterr().err
    capfd.readouterr()
    assert cli.run(["status", "r", "--json"]) == 0
    rows = {row["source"]: row for row in json.loads(capfd.readouterr().out)["sources"]}
    assert all(row["drawn_tokens"] for row in rows.values())
    assert rows["data"]["documents"] == 11
    assert rows["news"]["documents"] == 40


def test_a_manifest_goes_to_the_screen_and_never_over_another(folder, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    assert cli.run(["init", "data/news.jsonl.gz"]) == 0
    values = tomllib.loads(capfd.readouterr().out)
    check(parse(values, "m.toml"), "m.toml")
    (folder / "there.toml").write_text("")
    assert cli.run(["init", "data", "--to", "there.toml"]) == 2
    assert cli.run(["init", "absent"]) == 2
    assert cli.run(["init", "data/empty.txt"]) == 2
    said = capfd.readouterr().err.splitlines()
    assert ["is there already" in said[0], "no such file" in said[1], "(1 empty)" in said[2]] == [True] * 3


def test_a_vocabulary_is_one_that_so_many_tokens_can_train():
    assert [draft.vocabulary(tokens) for tokens in (0, 100_000, 10**9)] == [512, 2000, 32_000]


RELEASES = {
    "the_stack": {"content": ENGLISH, "hexsha": "0" * 40, "max_stars_repo_name": "a/b", "max_stars_repo_path": "a.py"}
    | {"size": 80, "ext": "py", "lang": "Python", "max_stars_repo_licenses": ["MIT"], "max_stars_count": 1},
    "github": {"content": ENGLISH, "repo_name": "a/b", "license": "mit", "path": "a.py"},
    "c4": {"text": ENGLISH, "url": "http://a/b", "timestamp": "2019-04-25T12:57:54Z"},
    "pile": {"text": ENGLISH, "meta": {"pile_set_name": "FreeLaw"}},
    "fineweb": {"text": ENGLISH, "id": "<urn:uuid:1>", "dump": "CC-MAIN-2013-20", "url": "http://a/b", "date": "2013"},
    "own meta": {"text": ENGLISH, "meta": {"pages": 3}},
}
READ_AS = {"the_stack": ["parquet"], "github": ["parquet", "jsonl"], "c4": ["jsonl"], "pile": ["jsonl"]}


def as_csv(rows, delimiter=",") -> bytes:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


def as_parquet(rows) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


WRITERS = {
    "jsonl": lambda rows: "".join(json.dumps(row) + "\n" for row in rows).encode(),
    "json": lambda rows: json.dumps(rows).encode(),
    "csv": as_csv,
    "parquet": as_parquet,
}


@pytest.mark.parametrize("format", WRITERS)
@pytest.mark.parametrize("release", RELEASES)
def test_rows_like_those_of_a_release_are_read_in_any_format(tmp_path, release, format):
    """By the release's pipeline if it reads that format, else as rows."""
    (tmp_path / f"x.{format}").write_bytes(WRITERS[format]([RELEASES[release]] * 3))
    (found,) = draft.draft([str(tmp_path)], tmp_path).sources.values()
    assert found.pipeline == (release if format in READ_AS.get(release, ()) else "rows")


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.csv.gz"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_of_a_table_is_seen_in_its_first_rows(tmp_path, name, delimiter):
    rows = [{"title": "A, B; and C", "content": f'"{ENGLISH}"\n{delimiter} {n}', "n": n} for n in range(30)]
    data = as_csv(rows, delimiter)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    found = draft.draft([str(tmp_path)], tmp_path)
    assert draft.documents_of(found.sources["x"], found.trials["x"]) == 30
    usual = "\t" if "tsv" in name else ","
    assert (f"options.delimiter = {json.dumps(delimiter)}" in draft.render(found, "x")) == (delimiter != usual)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "windows-1252", "windows-1251"])
def test_the_encoding_of_a_table_is_seen_in_its_begin(tmp_path, encoding):
    text = (
        "Весной река широка и медленна." if encoding == "windows-1251" else "Die Flüsse führen im März «große» Mengen."
    )
    rows = [{"n": n, "text": text} for n in range(2000)]
    (tmp_path / "x.csv").write_bytes(as_csv(rows, ";").decode().encode(encoding))
    found = draft.draft([str(tmp_path)], tmp_path)
    assert {document for trial in found.trials["x"] for document in trial.texts} == {text}
    assert ("options.encoding" in draft.render(found, "x")) == encoding.startswith("windows")


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"", ","),
        (b"text\nOne, two; three\nFour; five, six\n", ","),  # one column
        (b"a;b\n1;2\n3;4\n5\n", ";"),  # a broken row
        (b"a,b\n1;2,2;3\n3;4,4\n", ","),
        (b"\xef\xbb\xbfa|b\r\n1|2\r\n", "|"),
        (b"a;b\n\xff;2\n", ";"),
        (b'a;b\n1;"cut off', ";"),
        (b"a\0b", ","),
    ],
)
def test_a_delimiter_cuts_most_rows_into_as_many_columns_as_the_header(head, found):
    assert delimiter_of(head, ",") == found


def test_plan_names_the_delimiter_that_would_fit(tmp_path, capfd):
    (tmp_path / "x.csv").write_bytes(as_csv([{"a": "1", "text": ENGLISH}] * 9, ";"))
    source = 'name = "x"\n[[source]]\nname = "x"\npipeline = "rows"\ninputs = ["x.csv"]\n'
    (tmp_path / "x.toml").write_text(source)
    assert cli.run(["plan", str(tmp_path / "x.toml"), "--out", str(tmp_path / "r")])
    said = capfd.readouterr().err
    assert (
        "it is csv with the fields a, text; options.delimiter = ';', options.fields = { text = 'text' } would" in said
    )


def test_why_nothing_of_a_source_is_a_document_is_said(tmp_path, capfd):
    (tmp_path / "x.jsonl").write_text(json.dumps(RELEASES["github"] | {"license": "gpl-3.0"}) + "\n")
    assert cli.run(["init", str(tmp_path)]) == 2
    assert "(1 jsonl without a document in it (license-not-allowed))" in capfd.readouterr().err


def test_files_that_no_pipeline_knows_by_their_names_are_named_and_in_no_pattern(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text(ENGLISH)
    for name in ("README", "notes.gz"):
        (tmp_path / name).write_bytes(gzip.compress(ENGLISH.encode()) if name.endswith("gz") else ENGLISH.encode())
    for name in ("letter.docx", "old.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("a.txt", ENGLISH)
    found = draft.draft([str(tmp_path)], tmp_path)
    (group,) = found.sources.values()
    assert draft.inputs_of(group) == ["*.txt", "*.zip"]
    assert found.unread == {"text whose name does not say so": 2, "zip whose name does not say so": 1}
