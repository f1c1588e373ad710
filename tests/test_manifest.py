"""Every mistake in a manifest is one line that names the key."""

import copy
import json

import pytest

from redpajama import manifest as manifests
from redpajama import tables
from redpajama.hashing import canonical_json
from redpajama.manifest import ManifestError, load, parse
from redpajama.tables import Table

GOOD = {
    "name": "small",
    "seed": 7,
    "tokenizer": {"train": {"vocab_size": 512}},
    "source": [
        {"name": "c4", "pipeline": "c4", "inputs": ["a.json.gz"], "quality": {"min_chars": 10}},
        {"name": "books", "pipeline": "books", "inputs": ["b/*.txt"]},
    ],
    "mixture": {
        "budget_tokens": 1000,
        "slice": [{"source": "c4", "weight": 2.5}, {"source": "books", "weight": 1, "max_epochs": 3}],
    },
}


def test_a_good_manifest_is_read():
    manifest = parse(GOOD, "m.toml")
    assert manifest.dedup_order == ["c4", "books"]
    assert manifest.source_named("c4").quality == {"min_chars": 10}
    assert manifest.mixture.slice[1].max_epochs == 3


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["seeed"], 1, "m.toml: unknown key 'seeed'; did you mean 'seed'?"),
        (["source", 0, "input"], ["x"], "m.toml: source[1]: unknown key 'input'; did you mean 'inputs'?"),
        (["source", 1, "inputs"], [], "m.toml: source[2].inputs: List should have at least 1 item"),
        (["source", 1, "name"], "c4", "m.toml: source 'c4' is named twice"),
        (["source", 0, "name"], "C 4", "m.toml: source[1].name: 'C 4' is not a name"),
        (["seed"], "x", "m.toml: seed: Input should be a valid integer"),
        (["mixture", "budget_tokens"], 0, "m.toml: mixture.budget_tokens: Input should be greater than 0, not 0"),
        (["mixture", "slice", 0, "source"], "c5", "m.toml: mixture.slice: no source is named 'c5'; known: books, c4"),
        (["dedup"], {"order": ["c4"]}, "m.toml: dedup.order: source 'books' is missing"),
        (["tokenizer"], {}, "m.toml: tokenizer: give either path or train, and not both"),
        (["folder"], "/", "m.toml: unknown key 'folder'"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(path, value, message):
    values = copy.deepcopy(GOOD)
    table = values
    for step in path[:-1]:
        table = table[step]
    table[path[-1]] = value
    with pytest.raises(ManifestError) as caught:
        parse(values, "m.toml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_source_without_a_slice_is_named():
    values = copy.deepcopy(GOOD)
    values["mixture"]["slice"].pop()
    with pytest.raises(ManifestError, match=r"mixture\.slice: source 'books' is missing; weight = 0 leaves it out"):
        parse(values, "m.toml")


def test_a_missing_file_and_broken_toml_are_one_line(tmp_path):
    with pytest.raises(ManifestError, match=r"nowhere\.toml: No such file"):
        load(str(tmp_path / "nowhere.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("name = \n")
    with pytest.raises(ManifestError, match=r"broken\.toml: not TOML: "):
        load(str(broken))


NEEDED = {  # what has no default, of each table
    "Train": {"vocab_size": 512},
    "Tokenizer": {"path": "tokenizer.json"},
    "Substrings": {"min_bytes": 200},
    "Dump": {"id": "CC-MAIN-2023-06"},
    "LanguageModel": {"model": "en.bin", "tokenizer": "en.model"},
    "Perplexity": {"models": {"en": {"model": "en.bin", "tokenizer": "en.model"}}},
    "Classified": {"name": "wiki"},
    "Dataset": {"path": "allenai/c4"},
    "Classifier": {"name": "wiki", "path": "wiki.bin"},
    "Blocklist": {"lists": ["hosts.txt"]},
    "Source": {"name": "c4", "pipeline": "c4", "inputs": ["a.json.gz"]},
    "Slice": {"source": "c4", "weight": 1},
    "Bounds": {"min": 1},
    "Curve": {"by": "score", "bounds": [0.5], "repeats": [0, 1]},
    "Group": {"name": "web"},
    "Stage": {"budget_tokens": 9},
    "Tokens": {"value": 9, "source": "published"},
    "Mixture": {"budget_tokens": 9, "slice": [{"source": "c4", "weight": 1}]},
    "Manifest": GOOD,
}
TABLES = {
    name: each
    for name, each in (vars(manifests) | vars(tables)).items()
    if isinstance(each, type) and issubclass(each, Table)
}
OPTIONAL = {  # every table that a source may have, in its least form and in a fuller one
    "paragraphs": [{}, {"rule": "c4", "keep": "first"}],
    "clean": [{}, {"pii": True}, {"pii": {"ips": True}}, {"bad_words": "list"}],
    "blocklist": [{"lists": ["hosts.txt"]}, {"lists": ["ut1/"], "categories": ["adult"]}],
    "language": [{}, {"keep": ["en"], "path": "lid.bin"}],
    "classifier": [{"name": "wiki"}, {"name": "wiki", "keep": "pareto"}],
    "substrings": [{"min_bytes": 200}],
    "signals": ["all", ["ccnet"]],
    "quality": [{"preset": "gopher", "max_chars": 9, "except": ["min_chars"]}],
    "requester_pays": [True],
    "part_bytes": [999],
    "kind": ["code"],
    "tokens": [{"value": 9, "source": "estimated"}],
}


def dumped(table: Table) -> dict:
    """What a build record keeps of a table, as it is read again."""
    return json.loads(canonical_json(table.model_dump(mode="json")))


@pytest.mark.parametrize("name", sorted(TABLES.keys() - {"Table"}))
def test_a_table_with_all_its_defaults_survives_its_own_dump(name):
    table = TABLES[name](**NEEDED.get(name, {}))
    assert TABLES[name](**dumped(table)) == table


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in OPTIONAL.items() for value in values])
def test_a_manifest_with_any_table_survives_its_own_dump(key, value):
    values = copy.deepcopy(GOOD) | {"classifier": [{"name": "wiki", "path": "wiki.bin"}], "dedup": {"near": "default"}}
    values["source"][0][key] = value
    manifest = parse(values, "m.toml")
    assert manifests.Manifest(**dumped(manifest), folder=manifest.folder) == manifest


def test_a_bound_that_json_cannot_hold_is_refused():
    values = copy.deepcopy(GOOD)
    model = {"model": "en.bin", "tokenizer": "en.model", "head": float("inf")}
    values["source"][0] |= {"language": {}, "perplexity": {"models": {"en": model}}}
    with pytest.raises(ManifestError, match=r"models\.en\.head: Input should be a finite number"):
        parse(values, "m.toml")
