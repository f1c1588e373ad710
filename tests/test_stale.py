"""A build on a ROOT that holds another one ends with the files of a build from nothing: what is read is in the keys."""

import gzip
import json
import random
from importlib.metadata import version as installed
from pathlib import Path

import pytest
from corpora import WORDS
from stepwise import build_stepwise

from redpajama.engine.stages import Build
from redpajama.flow import flow
from redpajama.quality.models import language
from redpajama.tokenize import encode

HEAD = 'name = "stale"\nseed = 3\n'


def text_of(number: int, words: int = 40) -> str:
    """A text that depends on its number alone."""
    return " ".join(random.Random(number).choices([f"{word}{n}" for word in WORDS for n in range(40)], k=words)) + "."


def write_texts(path: Path, texts: list[str], host: str) -> None:
    rows = [{"text": text, "url": f"https://{host}.example/{n}", "timestamp": "t"} for n, text in enumerate(texts)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0))


def source(name: str, *files: str, more: str = "") -> str:
    return f'[[source]]\nname = "{name}"\npipeline = "c4"\ninputs = {json.dumps(files)}\n{more}\n'


def mixture(*sources: str) -> str:
    slices = "".join(f'[[mixture.slice]]\nsource = "{name}"\nweight = 1\nmax_epochs = 4\n' for name in sources)
    return f"[mixture]\nbudget_tokens = 2000\n{slices}[shards]\ntokens_per_shard = 1000\n"


def parts_of(build: Build) -> dict[str, tuple[str, str, str]]:
    """{stem: inputs, files and counts} of every part that the build names."""
    scratch = {step.stage for stage in flow(build.manifest) for step in stage.steps() if step.scratch}
    named = {stage: build.parts(stage) for stage in build.records if stage not in scratch}
    return {
        part.stem: (part.inputs_json, part.outputs_json, part.counts_json) for each in named.values() for part in each
    }


def build_twice(folder: Path, first: str, second: str, until: str, between=lambda: None) -> Build:
    """A build of `first`, then of `second` in the same ROOT, which must end as in another ROOT."""
    (folder / "m.toml").write_text(HEAD + first)
    build_stepwise(folder / "m.toml", folder / "root", until)
    between()
    (folder / "m.toml").write_text(HEAD + second)
    resumed = build_stepwise(folder / "m.toml", folder / "root", until)
    fresh = build_stepwise(folder / "m.toml", folder / "fresh", until)
    assert parts_of(resumed) == parts_of(fresh)
    return fresh


def test_another_end_of_document_is_in_the_shards(tmp_path):
    write_texts(tmp_path / "a.gz", [text_of(n) for n in range(30)], "a")
    encode.train([text_of(n) for n in range(30)], 300, tmp_path / "t.json")
    library = encode.load(tmp_path / "t.json").reference.library
    library.add_special_tokens(["</s>"])
    library.save(str(tmp_path / "t.json"))
    head = '[tokenizer]\npath = "t.json"\n'
    rest = source("a", "a.gz") + mixture("a")
    build_twice(tmp_path, head + rest, head + 'end_of_document = "</s>"\n' + rest, "tokens")


def near(*, order: list[str] | None = None, only: list[list[str]] | None = None) -> str:
    between = f"only_between = {json.dumps(only)}, " if only else ""
    return f"[dedup]\n{f'order = {json.dumps(order)}' if order else ''}\nnear = {{ {between}threshold = 0.5 }}\n"


def write_three(folder: Path) -> str:
    """Sources a, b and c, with a near copy in b of a text of a, and in c of one of b."""
    change = " and so it ends"
    for name, texts in {
        "a": [text_of(n) for n in range(5)],
        "b": [text_of(0) + change, *(text_of(n) for n in range(10, 14))],
        "c": [text_of(13) + change, *(text_of(n) for n in range(20, 24))],
    }.items():
        write_texts(folder / f"{name}.gz", texts, name)
    return "".join(source(name, f"{name}.gz", more="max_removed_fraction = 1.0") for name in "abc")


def test_other_sources_that_meet_are_compared(tmp_path):
    sources = write_three(tmp_path)
    first = sources + near(order=["a", "b", "c"], only=[["a", "b"]])
    fresh = build_twice(tmp_path, first, sources + near(order=["c", "b", "a"], only=[["c", "b"]]), "dedup")
    assert fresh.stage("near")["all"].counts["removed"] == {"b < c": 1}


def test_a_file_that_moves_to_another_source_meets_the_first(tmp_path):
    write_texts(tmp_path / "p4.gz", [text_of(n) for n in range(5)], "a0")  # so called, all texts keep their nodes
    write_texts(tmp_path / "q4.gz", [text_of(0) + " and more", text_of(99)], "a1")
    write_texts(tmp_path / "r4.gz", [text_of(n) for n in range(20, 25)], "b0")
    more, rules = "max_removed_fraction = 1.0", near(only=[["a", "b"]])
    first = source("a", "p4.gz", "q4.gz", more=more) + source("b", "r4.gz", more=more) + rules
    second = source("a", "p4.gz", more=more) + source("b", "q4.gz", "r4.gz", more=more) + rules
    fresh = build_twice(tmp_path, first, second, "dedup")
    assert fresh.stage("near")["all"].counts["removed"] == {"b < a": 1}


def test_clusters_stand_by_what_documents_hold_and_not_by_their_keys(tmp_path, monkeypatch):
    for name in ("x", "y"):
        write_texts(tmp_path / f"{name}.gz", [text_of(0) + name, *(text_of(ord(name) + n) for n in range(4))], name)
    rules = source("a", "x.gz", "y.gz", more="max_removed_fraction = 1.0") + near()
    other = {"orjson": "9.0"}  # with which the keys of the two parts sort the other way
    now = "redpajama.engine.stages.version", lambda library: other.get(library) or installed(library)
    fresh = build_twice(tmp_path, rules, rules, "dedup", lambda: monkeypatch.setattr(*now))
    assert fresh.stage("near")["all"].counts["removed"] == {"a < a": 1}


def test_a_mixture_tells_buckets_as_the_cut_offs_are_now(tmp_path):
    pytest.importorskip("kenlm")
    from test_perplexity import write_arpa, write_pieces

    write_arpa(tmp_path / "en.arpa"), write_pieces(tmp_path / "en.model")
    texts = [f"The river is in the garden of stones number {n} and it is a very long river" for n in range(20)]
    write_texts(tmp_path / "a.gz", texts, "a")
    rest = "[tokenizer]\ntrain = { vocab_size = 300 }\n" + mixture("a").replace("2000", "200")
    model = "models.en = { model = 'en.arpa', tokenizer = 'en.model', head = %d, middle = 2000 }"
    more = "[source.language]\nmin_score = 0\n[source.perplexity]\nkeep = ['head', 'middle', 'all']\n" + model
    build_twice(
        tmp_path, rest + source("a", "a.gz", more=more % 2), rest + source("a", "a.gz", more=more % 1000), "tokens"
    )


def test_evidence_names_the_model_as_the_manifest_does_now(tmp_path):
    write_texts(tmp_path / "a.gz", [text_of(n) for n in range(5)], "a")
    for name in ("one.ftz", "two.ftz"):
        (tmp_path / name).write_bytes(Path(language.EMBEDDED.path).read_bytes())
    more = "[source.language]\nkeep = ['de']\nmin_score = 0\npath = '%s'"
    build_twice(tmp_path, *(source("a", "a.gz", more=more % name) for name in ("one.ftz", "two.ftz")), "dedup")


ROW = (
    '<row Id="{0}" PostTypeId="1" Score="{0}" CreationDate="2020-01-01T00:00:00.000" Title="Number {0}" '
    'Body="&lt;p&gt;A question.&lt;/p&gt;" Tags="&lt;a&gt;" />'
)


def test_a_ledger_that_changes_where_no_text_does_is_carried_on(tmp_path):
    rows = "\n".join(map(ROW.format, (1, 9)))
    (tmp_path / "Posts.xml").write_text(f'<?xml version="1.0" encoding="utf-8"?>\n<posts>\n{rows}\n</posts>\n')
    more = "options = { site = 'x.example', min_question_score = %d }\nparagraphs = { rule = 'c4' }"
    rules = source("a", "Posts.xml", more=more).replace('"c4"', '"stackexchange"', 1)
    build_twice(tmp_path, rules % 3, rules % 4, "documents")


def test_files_that_are_read_as_a_tree_now_are_a_tree(tmp_path):
    for name in ("LICENSE", "a.py", "b.py"):
        (tmp_path / "raw/repo").mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw/repo" / name).write_text(MIT if name == "LICENSE" else f"print('{name} is a file')\n" * 20)
    rules = source("a", "raw/repo/*", more="max_bad_fraction = 1.0").replace('"c4"', '"github"', 1)
    build_twice(tmp_path, rules, rules.replace("repo/*", "repo/"), "documents")


MIT = """MIT License

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation.
"""
