"""`--json` of every command, held to the schema that `redpajama schema COMMAND` gives."""

import inspect
import json
from importlib import import_module

import jsonschema
import pytest
from corpora import build, start_cli, write_corpus

from redpajama import cli
from redpajama.commands.answers import ANSWERS

NEAR = '[dedup]\nnear = "fineweb"\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a manifest, its build `r`, and `other`, a build of another rule."""
    folder = tmp_path_factory.mktemp("answers")
    path = write_corpus(folder)
    path.write_text(path.read_text().replace("[dedup]\n", NEAR))
    build(path, folder / "r", "--workers", 1)
    (folder / "other.toml").write_text(path.read_text().replace("min_words = 6", "min_words = 9"))
    build(folder / "other.toml", folder / "other", "--workers", 1, "--until", "dedup")
    return folder


def ask(capfd, *arguments: object, status: int = 0):
    capfd.readouterr()
    assert cli.run([str(each) for each in arguments]) == status
    return json.loads(capfd.readouterr().out)


CASES = [
    (["plan", "{m}", "--out", "{r}", "--json"], 0),
    (["plan", "{m}", "--out", "{new}", "--offline", "--json"], 0),
    (["plan", "{wrong}", "--out", "{r}", "--json"], 2),
    (["doctor", "{m}", "--json"], 0),
    (["build", "{m}", "--out", "{r}", "--json"], 0),
    (["status", "{r}", "--json"], 0),
    (["status", "{other}", "--json"], 0),
    (["verify", "{r}", "--json"], 0),
    (["show", "{r}", "--json"], 0),
    (["show", "{r}", "--dropped", "any", "--json"], 0),
    (["show", "{r}", "--quarantined", "--json"], 0),
    (["show", "{r}", "--by", "words", "--json"], 0),
    (["why", "{r}", "https://example.org/155", "--json"], 0),
    (["why", "{r}", "web-1.json.gz", "--json"], 0),
    (["why", "{r}", "nothing", "--json"], 1),
    (["why", "{r}", "--shard", "0", "--token", "5", "--json"], 0),
    (["why", "{r}", "--places", "words of no document, which are many more than fifty characters", "--json"], 1),
    (["mixture", "{r}", "--json"], 0),
    (["mixture", "{r}", "--priors"], 0),
    (["export", "{r}", "--format", "olmo", "--to", "{new}", "--json"], 0),
    (["clusters", "{r}", "--json"], 0),
    (["explore", "{r}", "--json"], 0),
    (["diff", "{r}", "{other}", "--json"], 0),
    (["sources", "--json"], 0),
    (["sources", "rows", "--json"], 0),
    (["signals", "--json"], 0),
    (["gc", "{r}", "--json"], 0),
    (["remove", "{r}", "--urls", "{urls}", "--request", "one", "--json"], 0),
    (["remove", "{other}", "--urls", "{urls}", "--request", "one", "--json"], 0),
]


@pytest.mark.parametrize(("arguments", "status"), CASES, ids=[" ".join(case[0]) for case in CASES])
def test_an_answer_is_as_its_schema_says(place, capfd, arguments, status):
    places = {name: place / name for name in ("r", "other", "new")}
    (place / "urls").write_text("https://example.org/155\n")
    places |= {"urls": place / "urls", "m": place / "small.toml", "wrong": place / "wrong.toml"}
    (place / "wrong.toml").write_text("sed = 1\n" + (place / "small.toml").read_text())
    told = [each.format(**places) for each in arguments]
    if told[0] in ("build", "remove"):  # one a process
        answer = json.loads(start_cli(*told).communicate(timeout=300)[0])
    else:
        answer = ask(capfd, *told, status=status)
    schema = ask(capfd, "schema", arguments[0])
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(answer)


def test_every_command_that_takes_json_has_a_schema_and_no_other():
    commands = {name: import_module(module).command for name, module in cli.COMMANDS.items()}
    takes = {name for name, command in commands.items() if "as_json" in inspect.signature(command).parameters}
    assert takes == ANSWERS.keys() == {case[0][0] for case in CASES}


def test_what_a_schema_asks_for_is_missed(place, capfd):
    answer = ask(capfd, "status", place / "r", "--json")
    for key in answer.keys() & set(ANSWERS["build"]["required"]):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({name: value for name, value in answer.items() if name != key}, ANSWERS["status"])


def test_a_command_without_json_is_refused_with_a_suggestion(capfd):
    assert cli.run(["schema", "statsu"]) == 2
    assert capfd.readouterr().err == "redpajama: no command 'statsu' answers with JSON; did you mean 'status'?\n"


def test_explore_answers_with_the_numbers_of_its_page_and_writes_none(place, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = ask(capfd, "explore", place / "r", "--json")
    assert not list(tmp_path.iterdir())
    words = next(signal for signal in found["signals"] if signal["key"] == "words")
    for name, bins in words["sources"].items():
        assert sum(bins["documents"]) + bins["missing"][0] == found["sources"][name]["documents"]


def test_ctrl_c_before_a_build_begins_is_told(capfd, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("redpajama.commands.doctor.load", interrupted)
    assert cli.run(["doctor", "m.toml"]) == 130
    assert capfd.readouterr().err.strip() == "redpajama: interrupted"
