"""`show` and `sources`: what one reads of a build, and of what can be read."""

import json
import tomllib

import pytest
from corpora import write_corpus

from redpajama import cli, manifest, preflight
from redpajama.pipelines import SOURCES, example


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("show")
    path = write_corpus(folder)
    assert cli.run(["build", str(path), "--out", str(folder / "r"), "--until", "dedup", "--workers", "1"]) == 0
    return folder / "r"


@pytest.fixture
def ask(capfd):
    """The output of a command line, parsed where it is JSON."""

    def run(*arguments: object, status: int = 0):
        capfd.readouterr()
        assert cli.run([*map(str, arguments)]) == status
        out, err = capfd.readouterr()
        return (json.loads(out) if "--json" in arguments else out) if not status else err

    return run


def test_documents_are_drawn_by_hash_and_shown_whole(root, ask):
    entries = ask("show", root, "-n", 4, "--json")
    assert len(entries) == 4
    assert entries == ask("show", root, "-n", 4, "--json")
    assert all(entry["text"] and entry["meta"]["url"] and entry["inputs"] for entry in entries)
    assert {entry["source"] for entry in ask("show", root, "web", "--json")} == {"web"}
    text = ask("show", root, "-n", 1)
    assert entries[0]["doc_id"] in text
    assert entries[0]["text"].split()[0] in text


def test_by_a_signal_they_reach_from_its_lowest_to_its_highest_value(root, ask):
    words = [entry["words"] for entry in ask("show", root, "news", "--by", "words", "-n", 3, "--json")]
    assert words == sorted(words)
    assert words[0] == 6  # the rule's bound
    assert words[-1] > 40


def test_what_a_pipeline_and_a_rule_dropped_is_shown_with_the_reason(root, ask):
    empty, short = (ask("show", root, "--dropped", reason, "--json") for reason in ("empty-text", "below-minimum"))
    assert {(entry["stage"], entry["reason"]) for entry in empty} == {("documents", "empty-text")}
    assert all(entry["value"] < entry["threshold"] == 6 and entry["text"] for entry in short)
    assert short == ask("show", root, "--dropped", "min_words", "--json")
    assert len(ask("show", root, "--dropped", "any", "-n", 1000, "--json")) > len(empty) + len(short)
    assert "removed by quality: below-minimum, measured 5 against 6" in ask("show", root, "--dropped", "below-minimum")


def test_what_could_not_be_read_is_shown_with_its_raw_bytes(root, ask):
    entries = ask("show", root, "--quarantined", "--json")
    found = {(entry["reason"], entry["raw"], entry["evidence"]["line"]) for entry in entries}
    assert {("invalid-json", '{"text": "cut off', 1), ("missing-field", '{"url": "x"}', 2)} <= found
    assert '{"text": "cut off' in ask("show", root, "--quarantined")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nws"], "no source is called 'nws'; did you mean 'news'?"),
        (["--by", "word"], "no signal 'word' was measured in this build; did you mean 'words'?"),
        (["--dropped", "below-minimun"], "nothing goes for 'below-minimun'; did you mean 'below-minimum'?"),
        (["--by", "words", "--quarantined"], "give one of --dropped, --quarantined and --by"),
    ],
)
def test_a_mistake_is_one_line_with_what_would_be_right(root, ask, arguments, said):
    assert ask("show", root, *arguments, status=2).strip() == f"redpajama: {said}"


def test_every_pipeline_is_listed_with_its_options_and_an_example_that_a_manifest_may_hold(ask):
    found = ask("sources", "--json")
    assert [row["name"] for row in found] == list(SOURCES)
    for row in found:
        parsed = tomllib.loads(f'name = "x"\nseed = 1\n{row["example"]}')
        preflight.check(manifest.parse(parsed, "x.toml"), "x.toml")
        assert row["title"]
        assert example(row["name"]) == row["example"]


def test_options_stand_with_their_defaults_and_what_the_code_says_of_them(ask):
    options = {row["name"]: row for row in ask("sources", "wikipedia", "--json")["options"]}
    assert options["keep_disambiguation"]["default"] == "false"
    assert options["date"]["note"].startswith("YYYYMMDD of the dump")
    fields = {row["name"]: row for row in ask("sources", "rows", "--json")["options"]}
    assert fields["joiner"]["default"] == '"\\n\\n"'
    assert 'text = "text"' in fields["fields"]["default"]
    assert "It has no options." in ask("sources", "arxiv")
    assert "did you mean 'rows'" in ask("sources", "row", status=2)
