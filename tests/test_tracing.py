"""A token of a shard leads to its text, and a text to all its places in the shards."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from corpora import build, cli, write_corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.engine.store import Store
from redpajama.errors import UserError
from redpajama.report import places, tracing
from redpajama.report.builds import open_build, read_build
from redpajama.report.shards import open_source
from redpajama.tokenize.tokenizer import open_tokenizer

DEMO = Path(__file__).parents[1] / "manifests" / "demo.toml"


class Built:
    """A build with its record and its source."""

    def __init__(self, manifest: Path, root: Path) -> None:
        build(manifest, root, "--workers", 1)
        self.root, self.store = root, Store(str(root))
        self.record = read_build(self.store)
        self.source = open_source(self.store, self.record)
        self.tokenizer = open_tokenizer(open_build(self.store, self.record))


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Built:
    return Built(DEMO, tmp_path_factory.mktemp("demo") / "root")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Built:
    folder = tmp_path_factory.mktemp("small")
    return Built(write_corpus(folder / "in"), folder / "root")


def test_a_thousand_random_tokens_trace_to_their_text(demo):
    """Of all sources: with markup, code and other scripts; some have tokens that are a piece of a character."""
    drawn, whole = random.Random(1), 0
    for _ in range(1000):
        number = drawn.randrange(len(demo.source.shards))
        token = drawn.randrange(demo.source.shards[number].tokens)
        found = tracing.trace(demo.store, demo.record, str(number), token)
        place = int(demo.source.starts[number]) + token
        assert found["id"] == demo.source.read(place, place + 1)[0]
        if found["is_end_of_document"]:
            assert found["id"] == demo.source.vocabulary.end_id
            assert found["text"] == ""
            continue
        said = demo.tokenizer.decode([found["id"]])
        if "\ufffd" not in said:
            whole += 1
            assert demo.tokenizer.normalise(found["text"]) == said
        assert found["inputs"]
    assert whole > 900


def test_why_shows_the_document_the_file_and_the_text_around_a_token(demo):
    shard = demo.source.shards[1]
    told = cli("why", demo.root, "--shard", f"{demo.root}/current/demo/{shard.prefix}_text_document", "--token", 5000)
    assert told.returncode == 0, told.stderr
    found = json.loads(cli("why", demo.root, "--shard", shard.label, "--token", 5000, "--json").stdout)
    lines = told.stdout.splitlines()
    assert lines[0] == found["doc_id"]
    assert found["inputs"][0] in told.stdout
    assert (found["before"] + found["text"] + found["after"]).splitlines()[0] in told.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shard", "small-7", "--token", 1], r"--shard small-7: no shard is called so \(small-00000-of-0000\d, "),
        (["--shard", "0", "--token", 10_000_000], r"--token 10000000: small-00000-of-0000\d has tokens 0 to [\d,]+"),
        (["--shard", "0"], "--shard and --token go together"),
        (["--token", 3], "--shard and --token go together"),
        ([], "name a document's id, its URL or its text, or --shard and --token"),
        (["--places", "too short"], "a text is looked up in the shards from 47 bytes on, and this has fewer"),
    ],
)
def test_what_cannot_be_traced_is_told_in_one_line(small, arguments, said):
    told = cli("why", small.root, *arguments)
    assert told.returncode == 2
    assert re.search(said, told.stderr)
    assert len(told.stderr.splitlines()) == 1


def wanted_places(built: Built, text: str) -> set[tuple[str, int]]:
    """By the plain way: every document of every shard is decoded and searched."""
    found = set()
    for number, shard in enumerate(built.source.shards):
        tokens, bounds = np.fromfile(built.store.path(shard.bin.key), "<u2"), built.source.bounds(number)
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            pieces = [built.tokenizer.decode([each]) for each in tokens[start : end - 1]]
            whole, ends = "".join(pieces), np.cumsum([len(piece) for piece in pieces])
            at = whole.find(text)
            while at >= 0:
                found.add((shard.prefix, start + int(np.searchsorted(ends, at, "right"))))
                at = whole.find(text, at + 1)
    return found


def test_a_text_of_50_characters_is_found_at_all_its_places_copies_included(small):
    drawn, number = random.Random(3), 0
    for _ in range(8):
        number = drawn.randrange(len(small.source.shards))
        token = drawn.randrange(small.source.shards[number].tokens)
        found = tracing.trace(small.store, small.record, str(number), token)
        text = (found["before"] + found["text"] + found["after"])[5:55]
        if len(text) == 50:
            places_found = tracing.find(small.store, small.record, text)
            assert {(each["shard"], each["token"]) for each in places_found} == wanted_places(small, text)
            assert len(places_found) >= 1
    told = cli("why", small.root, text)
    assert told.stdout.splitlines()[-1] == f"{len(places_found)} place(s) of the text in the shards"


def test_a_text_that_is_nowhere_has_status_1(small):
    told = cli("why", small.root, "nothing of this kind was ever written down in any shard")
    assert (told.returncode, told.stdout) == (1, "0 place(s) of the text in the shards\n")


def test_the_index_is_outside_of_what_verify_asks_for(small):
    tracing.find(small.store, small.record, "x" * 60)
    assert list((small.root / "index/text").iterdir())
    assert "no build names" not in cli("verify", small.root).stdout


@settings(deadline=None, max_examples=200)
@given(st.binary(min_size=47, max_size=300), st.data())
def test_what_holds_a_text_holds_the_hash_of_each_of_its_windows(whole, data):
    start = data.draw(st.integers(0, len(whole) - 47))
    end = data.draw(st.integers(start + 47, len(whole)))
    held = set(places.smallest(np.frombuffer(whole, np.uint8)).tolist())
    asked = places.smallest(np.frombuffer(whole[start:end], np.uint8)).tolist()
    assert len(asked) == end - start - 46
    assert set(asked) <= held


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=120), min_size=1, max_size=8), st.integers(1, 60))
def test_entries_are_the_same_however_the_bytes_are_cut(texts, step):
    import pyarrow as pa

    from redpajama.arrow import buffers

    data, bounds = buffers(pa.array(texts, pa.large_string()))
    whole = set(np.concatenate([np.zeros(0, np.uint64), *places._entries(data, bounds, 0)]).tolist())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "STEP", step)
        assert set(np.concatenate([np.zeros(0, np.uint64), *places._entries(data, bounds, 0)]).tolist()) == whole


def test_a_shard_may_be_named_by_its_number_label_or_path(small):
    shard = small.source.shards[0]
    names = ["0", shard.label, shard.prefix, f"/x/{shard.prefix}_text_document", f"{shard.prefix}_text_document.bin"]
    found = [tracing.trace(small.store, small.record, name, 3) for name in names]
    assert all(each == found[0] for each in found)
    with pytest.raises(UserError, match="no shard is called so"):
        tracing.trace(small.store, small.record, "", 3)
