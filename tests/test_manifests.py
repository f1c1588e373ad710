"""The manifests that come with the project: no mistakes in them, and budgets that the published corpora can meet."""

from pathlib import Path

import pytest

from redpajama import build
from redpajama.manifest import load
from redpajama.mixers.budget import Slice, allocate

FOLDER = Path(__file__).parents[1] / "manifests"

# Billions of GPT-NeoX tokens: RedPajama-Data-1T's README (CommonCrawl shared out by its documents a dump), the Pile's
# table 1 at 4.0 to 4.25 bytes a token, StarCoderData's card, PG-19's.
SUPPLY = {
    **{"cc-2019-30": 149.5, "cc-2020-05": 167.5, "cc-2021-04": 182.3, "cc-2022-05": 173.4, "cc-2023-06": 205.4},
    **{"c4": 174.6, "github": 59, "books": 2.9, "arxiv": 28.1, "wikipedia": 24, "stackexchange": 20.5},
    **{"the-stack": 219, "openwebtext2": 15.2, "pubmed-central": 26, "pubmed-abstracts": 4.77, "philpapers": 0.64},
    **{"nih-exporter": 0.41, "hackernews": 1.05, "ubuntu-irc": 1.95, "freelaw": 13.5, "uspto": 4.8, "europarl": 1.6},
    **{"dm-mathematics": 4.33, "enron": 0.27},
}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_it_has_no_mistake(path):
    build.check(load(str(path)), str(path))


@pytest.mark.parametrize("name", ["redpajama-1t", "redpajama-2t"])
def test_its_budget_is_met_by_what_was_published(name):
    mixture = load(str(FOLDER / f"{name}.toml")).mixture
    slices = [
        Slice(part.source, part.weight, part.max_epochs, int(SUPPLY[part.source] * 1e9)) for part in mixture.slice
    ]
    targets = allocate(slices, mixture.budget_tokens, mixture.allow_shortfall)
    assert sum(targets.values()) == mixture.budget_tokens
