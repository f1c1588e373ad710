"""Each document of a part of several raw files leads to the very file that it is from."""

import json
import random
import shutil
from dataclasses import replace

import pytest
from corpora import WORDS, cli
from stepwise import build_stepwise

from redpajama.corpus import origins
from redpajama.engine.tables import read_table

ROWS = (
    'pipeline = "rows"\ninputs = ["*.jsonl"]\ngroups = 1\n'
    'options.fields = { text = "text", id = "id", meta = ["kind"] }\n'
)
ALONE = '[[source]]\nname = "own"\n' + ROWS
CLEANED = ALONE + '[source.paragraphs]\nkeep = "none"\n'
READING = (
    '[[reading]]\nname = "all"\n'
    + ROWS
    + '[[source]]\nname = "own"\nreading = "all"\nwhere = { kind = "a" }\n'
    + '[[source]]\nname = "other"\nreading = "all"\nwhere = { kind = "b" }\n'
)
FILES = '[[source]]\nname = "own"\npipeline = "files"\ninputs = ["texts/"]\noptions.suffixes = [".txt"]\n'


def text_of(file: int, number: int, more: str = "") -> str:
    words = " ".join(random.Random(100 * file + number).choices(WORDS, k=12))
    return f"file {file} document {number} {words} {more}".strip()


@pytest.fixture
def raw(tmp_path):
    """Files of several documents, of one that goes, and of none; ids that stand in two of them, and one line in all."""
    for file, count in enumerate((5, 0, 1, 7)):
        rows = [{"id": f"{file}-{n}", "kind": "ab"[n % 2], "text": text_of(file, n)} for n in range(count)]
        rows += [{"id": "again", "kind": "a", "text": text_of(file, 99, "longer " * file)}] * (file != 1)
        rows.insert(count // 2, {"id": f"{file}-none", "kind": "a", "text": " "})
        rows.append({"id": f"{file}-same", "kind": "b", "text": "a line that every file has and none keeps"})
        (tmp_path / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for n in range(count):
            (tmp_path / "texts" / str(file)).mkdir(parents=True, exist_ok=True)
            (tmp_path / "texts" / str(file) / f"{n}.txt").write_text(text_of(file, n))
    (tmp_path / "texts" / "picture.png").write_bytes(b"\x89PNG")
    return tmp_path


def built(raw, text):
    (raw / "m.toml").write_text(f'name = "m"\nseed = 1\n{text}')
    return build_stepwise(raw / "m.toml", raw / "root", "documents")


def of_text(text: str, name: str) -> str:
    _, file, _, number, *_ = text.split()
    return f"texts/{file}/{number}.txt" if name == FILES else f"{file}.jsonl"


@pytest.mark.parametrize("text", [ALONE, CLEANED, READING, FILES], ids=["rows", "paragraphs", "reading", "files"])
def test_every_row_leads_to_the_file_that_holds_its_text(raw, text):
    build, seen = built(raw, text), 0
    for part in build.parts("documents"):
        assert len(part.inputs) > 2
        assert sum(file["rows"] for file in part.inputs) == part.counts["kept"]
        numbers: dict[str, int] = {}
        rows = read_table(build.store, part.file(".parquet"), ["doc_id", "text"]).to_pylist()
        for row, document in enumerate(rows):
            origin = origins.origin(part, row)
            if document["text"].startswith("file"):
                assert origin.inputs == [of_text(document["text"], text)]
                seen += 1
            assert origin.row == numbers.get(origin.inputs[0], 0)
            numbers[origin.inputs[0]] = origin.row + 1
            assert origins.row_of(build.store, part, document["doc_id"]) == row
    assert seen == 13 + (text != FILES)  # of the versions of an id one stays: that of the last file
    longest = [
        origins.origin(part, row).inputs for part in build.parts("documents") for row in _rows(build, part, "again")
    ]
    assert longest == ([["3.jsonl"]] if text != FILES else [])


def _rows(build, part, key):
    ids = read_table(build.store, part.file(".parquet"), ["doc_id"]).column("doc_id").to_pylist()
    return [row for row, doc_id in enumerate(ids) if doc_id.endswith(f"/{key}")]


def test_a_record_of_an_older_version_names_the_files_of_the_part(raw):
    [part] = built(raw, ALONE).parts("documents")
    older = [{name: value for name, value in file.items() if name != "rows"} for file in part.inputs]
    part = replace(part, inputs_json=json.dumps(older))
    assert origins.origin(part, 0) == (["0.jsonl", "1.jsonl", "2.jsonl", "3.jsonl"], None)


def test_commands_name_the_one_file_when_the_files_are_gone(raw):
    (raw / "m.toml").write_text(f'name = "m"\nseed = 1\n{ALONE}')
    assert cli("build", raw / "m.toml", "--out", raw / "root", "--until", "documents", "--workers", 1).returncode == 0
    for path in raw.glob("*.jsonl"):
        path.unlink()
    shutil.rmtree(raw / "root" / "inputs", ignore_errors=True)
    said = cli("why", raw / "root", "own/3-2").stdout
    assert "It was read from 3.jsonl, document 2, from 0, of those made of it; it is row " in said
    [story] = json.loads(cli("why", raw / "root", "own/3-2", "--json").stdout)
    assert (story["inputs"], story["input_document"]) == (["3.jsonl"], 2)
    assert "It was read from 2.jsonl." in cli("why", raw / "root", "own/2-none").stdout
    shown = json.loads(cli("show", raw / "root", "-n", 3, "--json").stdout)
    assert all(len(entry["inputs"]) == 1 for entry in shown)
