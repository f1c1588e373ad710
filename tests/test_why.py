"""`why` on the screen: sentences, each from the record, with the places where a kept document can be read again."""

import json
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from corpora import build, write_corpus

from redpajama import cli
from redpajama.report.told import difference, told
from redpajama.visible import visible


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("why")
    build(write_corpus(folder), folder / "r", "--workers", 1)
    return folder / "r"


def stories(capfd, root, what: str):
    capfd.readouterr()
    assert cli.run(["why", str(root), what, "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def said(capfd, root, what: str) -> str:
    capfd.readouterr()
    assert cli.run(["why", str(root), what]) == 0
    return capfd.readouterr().out


def test_the_places_that_are_told_hold_the_document(root, capfd):
    lineage = [
        row for path in sorted(root.glob("tokens/*/*_lineage.parquet")) for row in pq.read_table(path).to_pylist()
    ]
    counted = Counter(row["doc_id"] for row in lineage)
    doc_id = max(counted, key=lambda each: (counted[each], each))
    [story] = stories(capfd, root, doc_id)
    row = pq.read_table(root / story["document_part"]).slice(story["document_row"], 1).to_pylist()[0]
    assert row["doc_id"] == doc_id
    assert row["text"].startswith(story["text"])
    text = said(capfd, root, doc_id)
    assert f"row {story['document_row']}, from 0, of {story['document_part']}." in text
    assert len(story["shards"]) == counted[doc_id] > 1
    copies = []
    for place in story["shards"]:
        first, count = place["token_offset"], place["n_tokens"]
        assert f"Copy {place['copy'] + 1} is tokens {first:,} to {first + count - 1:,} of {place['shard']} (" in text
        copies.append(np.fromfile(root / place["shard"], np.uint16)[first : first + count])
    assert all((copy == copies[0]).all() for copy in copies)


def test_a_rule_stands_beside_what_was_measured(root, capfd):
    text = said(capfd, root, "https://example.org/0")
    assert "It was removed by quality: min_words = 6, measured 5." in text
    assert "Rules of its source: min_words = 6 (it has 5)." in text
    assert "quality has on record: rule min_words." in text


def test_what_cannot_be_read_is_told_with_its_place(root, capfd):
    text = said(capfd, root, "web-1.json.gz")
    assert "It was quarantined by the pipeline: invalid-json." in text
    assert "line 1" in text.split("The ledger says: ")[1]


def test_what_differs_and_what_was_cut_are_told():
    span = {"start": 1000, "end": 2300, "survivor": "a/1", "offset": 12_000, "text": "a line"}
    story = {"fate": "alive", "inputs": ["x"], "spans": [span], "difference": [["=", "a b"], ["-", "c"], ["+", "d"]]}
    assert "Cut from it: bytes 1,000 to 2,300, as they stand in a/1 from byte 12,000: a line …" in list(told(story))
    assert difference(story) == [("=", "a b"), ("-", "[-c-]"), ("+", "{+d+}")]


def test_of_many_files_some_are_named():
    story = {"fate": "alive", "inputs": list("abcde")}
    assert list(told(story)) == ["It is alive.", "It was read from one of 5 files: a, b, c and 2 more."]


def test_a_terminal_is_not_made_to_obey_a_text():
    assert visible("a\x1b[31mb\x07\tc\x9b") == "a␛[31mb␇\tc\ufffd"
