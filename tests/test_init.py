"""`init` writes a manifest that builds, from files as they lie, and asks nothing that it can see."""

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
