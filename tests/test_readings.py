"""One reading of raw files feeds several sources, which stay sources: the same documents as read for each alone."""

import json
import random
import re
from pathlib import Path

import pytest
from corpora import WORDS
from stepwise import build_stepwise

from redpajama import preflight
from redpajama.engine.tables import read_table
from redpajama.manifest import ManifestError, load, parse

HEAD = 'name = "readings"\nseed = 3\n'
READING = """
[[reading]]
name = "all"
pipeline = "rows"
inputs = ["*.jsonl"]
options.fields = { text = "text", id = "id", meta = ["kind"] }
max_bad_fraction = 0.2
[[source]]
name = "news"
reading = "all"
where = { kind = "news" }
quality.min_words = 8
[[source]]
name = "mail"
reading = "all"
where = { kind = ["mail", "chat"] }
"""
ALONE = """
[[source]]
name = "{name}"
pipeline = "rows"
inputs = ["{name}/*.jsonl"]
options.fields = {{ text = "text", id = "id", meta = ["kind"] }}
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    folder, drawn = tmp_path_factory.mktemp("raw"), random.Random(2)
    of_kind: dict[str, list[str]] = {"news": [], "mail": [], "chat": [], "spam": []}
    for part in range(2):
        lines = []
        for number in range(60):
            kind = drawn.choice(list(of_kind))
            row = {"id": f"{part}-{number}", "kind": kind, "text": " ".join(drawn.choices(WORDS, k=5 + number % 9))}
            lines.append(json.dumps(row))
            of_kind[kind].append(lines[-1])
        broken = '{"id": "cut o'
        (folder / f"{part}.jsonl").write_text("\n".join([*lines, broken]) + "\n")
    for name, kinds in {"news": ["news"], "mail": ["mail", "chat"]}.items():
        (folder / name).mkdir()
        rows = [line for kind in kinds for line in of_kind[kind]]
        (folder / name / "own.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def built(raw: Path, root: Path, text: str):
    (raw / f"{root.name}.toml").write_text(HEAD + text)
    return build_stepwise(raw / f"{root.name}.toml", root, "dedup")


def documents(build, name: str) -> dict[str, tuple]:
    rows = [
        row
        for part in build.parts("documents", name)
        for row in read_table(build.store, part.file(".parquet")).to_pylist()
    ]
    return {row["doc_id"]: (row["text"], row["source"], row["text_digest"], row["q_words"]) for row in rows}


@pytest.fixture(scope="module")
def shared(raw, tmp_path_factory):
    return built(raw, tmp_path_factory.mktemp("b") / "shared", READING)


@pytest.mark.parametrize("name", ["news", "mail"])
def test_a_source_has_the_documents_that_it_would_have_alone(raw, shared, tmp_path, name):
    alone = built(raw, tmp_path / f"alone-{name}", ALONE.format(name=name))
    assert documents(shared, name) == documents(alone, name)
    assert len(documents(shared, name)) > 20


def test_files_are_read_once_and_every_unit_has_one_outcome(raw, shared):
    sums = {name: record.counts for name, record in shared.stage("documents").items()}
    size = sum(path.stat().st_size for path in raw.glob("*.jsonl"))
    assert sum(each["raw_bytes"] for each in sums.values()) == size
    assert shared.stage("read")["all"].parts == 2
    assert sum(each["read"] for each in sums.values()) == 122
    kept = sum(len(documents(shared, name)) for name in sums)
    spam = sums["news"]["dropped"]["not-selected"]
    assert kept + spam + sum(sums["news"]["quarantined"].values()) == 122
    assert sums["mail"]["dropped"] == sums["mail"]["quarantined"] == {}


def test_the_ledger_of_the_reading_stands_with_the_first_source(shared):
    ledgers = {
        name: [
            row
            for part in shared.parts("documents", name)
            if (file := part.beside("ledger"))
            for row in read_table(shared.store, file).to_pylist()
        ]
        for name in ("news", "mail")
    }
    assert ledgers["mail"] == []
    assert {row["verdict"] for row in ledgers["news"]} == {"dropped", "quarantined"}


def test_another_source_of_a_reading_changes_no_documents_of_the_others(raw, shared, tmp_path):
    more = READING + '[[source]]\nname = "spam"\nreading = "all"\nwhere = { kind = "spam" }\n'
    other = built(raw, tmp_path / "more", more)
    own = [part.content for part in other.parts("documents", "mail")]
    assert sorted(own) == sorted(part.content for part in shared.parts("documents", "mail"))


WRONG = {
    "an unknown reading": ('reading = "all"', 'reading = "al"', "no reading is called 'al'; did you mean 'all'?"),
    "inputs too": ('where = { kind = "news" }', 'inputs = ["x"]', "give either inputs or reading, and not both"),
    "lines": ("quality.min_words = 8", "paragraphs.rule = 'c4'", "paragraphs does not go with reading"),
    "the reading's name": ('name = "mail"', 'name = "all"', "'all' is the name of two readings, or of a source too"),
    "options of no pipeline": ("options.fields", "options.field", "reading[1].options"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_readings_is_one_line(raw, case):
    old, new, message = WRONG[case]
    (raw / "wrong.toml").write_text(HEAD + READING.replace(old, new, 1))
    with pytest.raises(ManifestError, match=re.escape(message)) as caught:
        preflight.check(load(str(raw / "wrong.toml")), "wrong.toml")
    assert "\n" not in str(caught.value)


def test_the_large_manifest_reads_the_pile_once():
    manifest = load(str(Path(__file__).parents[1] / "manifests" / "redpajama-2t.toml"))
    patterns = [pattern for source in manifest.readers for pattern in source.inputs]
    assert sum("pile/" in pattern for pattern in patterns) == 1
    assert sum(source.reading == "pile" for source in manifest.source) == 12
    assert parse(manifest.model_dump(mode="json"), "m.toml").source == manifest.source
