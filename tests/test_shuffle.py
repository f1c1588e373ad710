"""The stream: uniform over sources, documents and seeds, of 100,000 documents; and what raising a cap does."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from redpajama.mixers import mixture, selection
from redpajama.mixers.allocation import Slice, allocate
from redpajama.mixers.selection import Cut

SEED, DOCUMENTS = 20230417, 100_000
NO_DEADLINE = settings(deadline=None)


@pytest.fixture(scope="module")
def stream() -> np.ndarray:
    """Numbers of the sources of 100,000 documents in the order of the stream; shares of 60, 25, 10 and 5 %."""
    sources = np.repeat(np.arange(4), [60_000, 25_000, 10_000, 5_000])
    ids = pa.array([f"s{source}/{number}" for number, source in enumerate(sources)])
    keys = selection.order_keys(SEED, ids, np.zeros(DOCUMENTS, np.int64))
    assert len(np.unique(keys)) == DOCUMENTS
    return sources[np.argsort(keys)]


def test_every_window_has_the_shares_of_the_whole_as_chance_has_it(stream):
    windows = stream.reshape(100, -1)
    counts = np.stack([(windows == source).sum(axis=1) for source in range(4)], axis=1)
    expected = counts.mean(axis=0)
    squares = ((counts - expected) ** 2 / expected).sum()
    assert 232 < squares < 373  # chi-square, 297 degrees of freedom, 0.1 % at either end


@pytest.mark.parametrize("source", range(4))
def test_runs_of_a_source_are_as_many_as_of_a_random_order(stream, source):
    own = stream == source
    runs, n, m = 1 + int((own[1:] != own[:-1]).sum()), int(own.sum()), int((~own).sum())
    mean = 1 + 2 * n * m / (n + m)
    deviation = np.sqrt((mean - 1) * (mean - 2) / (n + m - 1))
    assert abs(runs - mean) / deviation < 3.3  # Wald and Wolfowitz, 0.1 %


def test_a_document_may_stand_anywhere_over_the_seeds():
    places = np.sort(
        [selection.order_keys(seed, pa.array(["s/1"]), np.zeros(1, np.int64))[0] / 2.0**64 for seed in range(300)]
    )
    steps = np.arange(300) / 300
    distance = max((places - steps).max(), (steps + 1 / 300 - places).max())
    assert distance < 1.95 / np.sqrt(300)  # Kolmogorov and Smirnov, 0.1 %


def test_neighbours_in_a_source_are_no_neighbours_in_the_stream():
    ids = pa.array([f"s/{number}" for number in range(DOCUMENTS)])
    keys = selection.order_keys(SEED, ids, np.zeros(DOCUMENTS, np.int64)).astype(np.float64)
    for lag in (1, 2, 100):
        assert abs(np.corrcoef(keys[:-lag], keys[lag:])[0, 1]) < 3.3 / np.sqrt(DOCUMENTS)


def copies_of(row: dict, tokens: list[int]) -> pa.Table:
    names = ["doc_id", "text", "source", "meta", "n_tokens"]
    ids = [f"s/{number}" for number in range(len(tokens))]
    columns = [ids, ids, ["s"] * len(ids), ["{}"] * len(ids), tokens]
    types = [pa.string(), pa.large_string(), pa.string(), pa.string(), pa.int64()]
    batch = pa.record_batch([pa.array(each, kind) for each, kind in zip(columns, types, strict=True)], names)
    return mixture._copies(batch, "s", row, "s/0", SEED)[0]


def row_of(cut: Cut, available: int, target: int) -> dict:
    cuts = {"epochs": cut.epochs, "hash": cut.hash, "doc_id": cut.doc_id, "start_tokens": 0, "target_tokens": target}
    return {"available_tokens": available, "cuts": [cuts]}


@NO_DEADLINE
@given(st.lists(st.integers(1, 50), min_size=1, max_size=60))
def test_a_source_at_one_epoch_is_a_permutation_of_itself(tokens):
    available = sum(tokens) + len(tokens)
    table = copies_of(row_of(Cut(1), available, available), tokens).sort_by("order")
    assert sorted(table.column("doc_id").to_pylist()) == sorted(f"s/{number}" for number in range(len(tokens)))
    assert sum(table.column("n_tokens").to_pylist()) == available
    assert copies_of(row_of(Cut(0), available, 1), tokens).num_rows == 0


@NO_DEADLINE
@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.integers(1, 5000), st.sampled_from([1, 1.5, 2, 4])), min_size=2, max_size=6
    ),
    st.integers(1, 20_000),
    st.integers(0, 5),
)
def test_raising_one_cap_raises_no_other_slice(parts, tokens, which):
    slices = [Slice(f"s{number}", weight, epochs, size) for number, (weight, size, epochs) in enumerate(parts)]
    assume(which < len(slices))
    raised = [
        Slice(each.name, each.weight, each.max_epochs + 1, each.available_tokens) if number == which else each
        for number, each in enumerate(slices)
    ]
    before, after = allocate(slices, tokens, True), allocate(raised, tokens, True)
    assert all(after[each.name] <= before[each.name] for n, each in enumerate(slices) if n != which)
    assert after[f"s{which}"] >= before[f"s{which}"]
