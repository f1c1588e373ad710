"""`plan` tells all mistakes of a manifest in one run: of its form, of what only the rooms know, and of its inputs."""

import gzip
import json

import pytest
from corpora import write_rows

from redpajama import cli, preflight
from redpajama.commands import plan
from redpajama.pipelines import glance

HEAD = 'name = "own"\nseed = 1\n'
SOURCE = '[[source]]\nname = "a"\npipeline = "{}"\ninputs = ["{}"]\n'
ROWS = HEAD + SOURCE.format("rows", "rows.jsonl")
WET = b"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://a/\r\nContent-Length: 5\r\n\r\ntext\n\r\n\r\n"
FILES = {
    "rows.jsonl": b'{"body": "A text.", "n": 1}\n' * 30,
    "page.wet.gz": gzip.compress(WET),
    "wiki.xml": b"<mediawiki><siteinfo></siteinfo></mediawiki>",
    "table.csv": b"id,words\n1,One text\n2,Another\n",
    "photo.bin": b"\0\1\2\3" * 100,
}
WRONG = {
    "form": (
        'name = "x y"\nseeed = 1\n[[source]]\nname = "a"\npipline = "c5"\ninputs = []\npart_bytes = 0\n'
        "[source.quality]\nmin_wrds = 3\n[dedup]\nnear = { rows = 0 }\n",
        [
            "unknown key 'seeed'; did you mean 'seed'",
            "name: 'x y'",
            "source[1]: unknown key 'pipline'",
            "source[1].inputs: List",
            "source[1].part_bytes:",
            "no pipeline is called 'c5'",
            "quality.min_wrds",
            "dedup.near.rows:",
        ],
    ),
    "names": (
        HEAD + SOURCE.format("c4", "news.gz") * 2 + '[dedup]\norder = ["b"]\n[mixture]\nbudget_tokens = -1\n'
        '[[mixture.slice]]\nsource = "c"\nweight = 1\n',
        [
            "source 'a' is named twice",
            "dedup.order: no source is named 'b'",
            "mixture.budget_tokens:",
            "mixture.slice: no source is named 'c'",
            "a mixture is counted in tokens",
        ],
    ),
    "one thing to read": (
        HEAD + '[[source]]\nname = "a"\npipeline = "wikipeda"\ninputs = ["nix.xml"]\ndump = { id = "CC" }\n',
        ["source[1].dump[1].id:", "give either inputs or dump", "did you mean 'wikipedia'"],
    ),
    "nothing to read": (
        HEAD + '[[source]]\nname = "a"\npipeline = "rows"\nkind = "poem"\n'
        "[source.perplexity]\nmodels = { en = { model = 'x', tokenizer = 'y' } }\n",
        ["source[1].kind:", "nothing to read", "perplexity needs to know the language"],
    ),
    "options of a pipeline, and a file that is not there": (
        HEAD + SOURCE.format("rows", "absent.jsonl") + "options = { joinr = 1, delimiter = ';;' }\n"
        "tokenizer = 3\n[source.clean]\nc4_line = true\n",
        [
            "source[1].options: unknown key 'joinr'; did you mean 'joiner'",
            "options.delimiter:",
            "'absent.jsonl' matches no",
            "source[1].clean: unknown key 'c4_line'",
            "source[1]: unknown key 'tokenizer'",
        ],
    ),
    "a field that rows have not": (
        ROWS,
        ["30 of the first 30 units", "missing-field, wanted text", "body, n", "text = 'body'"],
    ),
    "another format, and another mistake": (
        HEAD + SOURCE.format("c4", "page.wet.gz") + '[[source]]\nname = "b"\npipeline = "c4"\ninputs = ["no.gz"]\n',
        ["source[1].inputs: page.wet.gz:", "it is wet; pipeline = 'common_crawl' would fit", "'no.gz' matches no file"],
    ),
    "a table for a source of one release": (
        HEAD + SOURCE.format("c4", "table.csv"),
        ["it is csv with the fields id, words; pipeline = 'rows' would fit with options.fields = { text = 'words' }"],
    ),
    "rules of three sources": (
        ROWS
        + "quality.min_words = 'six'\noptions.fields.text = 'body'\n"
        + SOURCE.format("c4", "news.gz").replace('"a"', '"b"')
        + "signals = ['gophers']\n"
        + SOURCE.format("files", "news.gz").replace('"a"', '"c"')
        + "quality.preset = 'gofer'\n",
        ["quality.min_words: 'six' is not a number", "no set is called 'gophers'", "no preset is called 'gofer'"],
    ),
    "dedup, shards and a classifier": (
        ROWS + "options.fields.text = 'body'\nclassifier = { name = 'w' }\n[dedup]\nnear = 'finewb'\nexcat = true\n"
        "[shards]\ntokens_per_shard = 0\n[[classifier]]\nname = 'v'\nlr = -1\npath = 'v.bin'\n",
        [
            "no preset is called 'finewb'",
            "dedup: unknown key 'excat'; did you mean 'exact'",
            "shards.tokens_per_shard:",
            "classifier[1].lr:",
            "no classifier is named 'w'",
        ],
    ),
}


@pytest.fixture
def folder(tmp_path):
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    write_rows(tmp_path / "news.gz", 0, 30)
    return tmp_path


def run_plan(folder, text, capfd, *options):
    (folder / "m.toml").write_text(text)
    capfd.readouterr()
    status = cli.run(["plan", str(folder / "m.toml"), "--out", str(folder / "r"), *options])
    return status, *capfd.readouterr()


@pytest.mark.parametrize("case", WRONG)
def test_all_mistakes_are_told_in_one_run_a_line_each(folder, capfd, case):
    text, wanted = WRONG[case]
    status, _, err = run_plan(folder, text, capfd)
    lines = err.splitlines()
    assert status == 2
    assert [phrase for phrase in wanted if phrase not in err] == []
    assert all(line.startswith(f"redpajama: {folder}/m.toml: ") for line in lines)
    assert len(lines) <= len(wanted) + 2, err


def test_a_program_gets_them_as_json_and_build_tells_how_many_there_are(folder, capfd):
    text, _ = WRONG["names"]
    found = json.loads(run_plan(folder, text, capfd, "--json")[1])["mistakes"]
    assert {"key": "", "message": "source 'a' is named twice"} in found
    assert cli.run(["build", str(folder / "m.toml"), "--out", str(folder / "r")]) == 2
    err = capfd.readouterr().err
    assert f"(`redpajama plan` tells all {len(found)} mistakes)" in err
    assert err.count("\n") == 1


def test_offline_lists_no_input(folder, capfd, monkeypatch):
    monkeypatch.setattr(preflight, "list_all", lambda *_: pytest.fail("an input was listed"))
    assert run_plan(folder, ROWS, capfd, "--offline")[0] == 0


def test_at_most_three_files_of_a_source_are_opened_and_not_beyond_the_time(folder, monkeypatch):
    for number in range(9):
        write_rows(folder / f"part-{number}.gz", 0, 5)
    (folder / "m.toml").write_text(HEAD + SOURCE.format("c4", "part-*.gz"))
    model, listed, wrong = plan.understood(str(folder / "m.toml"), {}, [])
    tried = plan.look_into(model, listed, wrong)
    assert [trial.file.url for trial in tried["a"]] == ["part-1.gz", "part-4.gz", "part-7.gz"]
    assert [trial.documents for trial in tried["a"]] == [5, 5, 5]
    monkeypatch.setattr(glance, "SECONDS", 0)
    assert plan.look_into(model, listed, wrong) == {}


def test_a_binary_file_has_no_pipeline_that_would_fit(folder, capfd):
    err = run_plan(folder, HEAD + SOURCE.format("rows", "photo.bin"), capfd)[2]
    assert "it is binary" in err
    assert "would fit" not in err


def test_what_reading_gives_is_reckoned_from_the_files_that_were_tried(folder, capfd):
    for number in range(9):
        write_rows(folder / f"part-{number}.gz", 50 * number, 50)
    text = HEAD + SOURCE.format("c4", "part-*.gz")
    found = json.loads(run_plan(folder, text, capfd, "--json")[1])["reckoned"]["reading"]["a"]
    assert found["documents"] == pytest.approx(450, rel=0.1)
    assert found["tokens"] == pytest.approx(found["text_bytes"] / 4.3, rel=0.01)
    assert 0 < found["reckoned_from_bytes"] < sum(path.stat().st_size for path in folder.glob("part-*.gz"))
    said = run_plan(folder, text, capfd, "--price-per-core-hour", "3600")[1]
    assert f"~{found['documents']:,}" in said
    assert "at $3600 a core-hour" in said
    assert "core-seconds" not in run_plan(folder, text, capfd, "--offline")[1]
