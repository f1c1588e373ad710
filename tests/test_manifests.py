"""The manifests that come with the project: no mistakes in them, and plans that equal their goldens to the token."""

import json
from pathlib import Path

import pytest

from redpajama import preflight
from redpajama.manifest import load
from redpajama.mixers import targets

FOLDER = Path(__file__).parents[1] / "manifests"
GOLDEN = json.loads(Path(__file__).with_name("golden_targets.json").read_text())


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_it_has_no_mistake(path):
    preflight.check(load(str(path)), str(path))


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_its_targets_are_the_golden_ones_to_the_token(name):
    manifest = load(str(FOLDER / f"{name}.toml"))
    found = targets.targets_of(targets.given_mixture(manifest), targets.counts_of(manifest, {}))
    assert {row.slice: row.target_tokens for row in found.rows} == GOLDEN[name]
    assert sum(GOLDEN[name].values()) == found.budget_tokens
    assert found.error == ""


def test_two_trillion_tokens_are_spread_over_what_is_left_and_never_fall_short_in_silence():
    manifest = load(str(FOLDER / "redpajama-2t.toml"))
    mixture = targets.given_mixture(manifest)
    counts = targets.counts_of(manifest, {})
    assert (mixture.on_cap, mixture.allow_shortfall) == ("spread", False)
    rows = {row.slice: row for row in targets.targets_of(mixture, counts).rows}
    assert [name for name, row in rows.items() if row.binds] == [
        *("openwebtext2", "ubuntu-irc", "freelaw", "uspto", "europarl", "dm-mathematics", "enron")
    ]
    web = ("cc-2019-30", "cc-2020-05", "cc-2021-04", "cc-2022-05", "cc-2023-06", "c4")
    halves = {name: count.tokens // 2 for name, count in counts.items() if name in web}  # as near-dedup may leave it
    shrunk = {name: targets.Count(tokens, "measured") for name, tokens in halves.items()}
    found = targets.targets_of(mixture, targets.counts_of(manifest, shrunk))
    assert "budget of 2,000,000,000,000 tokens is out of reach: all caps together are 1,6" in found.error
    assert "multiply every max_epochs by 1.2" in found.error


def test_a_sample_says_that_dedup_rates_do_not_scale():
    text = (FOLDER / "sample.toml").read_text()
    assert "dedup rates" in text
    assert sum(source.sample is not None for source in load(str(FOLDER / "sample.toml")).source) == 3
