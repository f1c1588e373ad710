"""Token budgets: targets that add up, cuts that hit them, copies that no order changes. Golden: published mixes."""

import itertools
from dataclasses import replace
from fractions import Fraction
from math import ceil, floor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.mixers import allocation, selection
from redpajama.mixers.allocation import BudgetError, Slice, allocate
from redpajama.mixers.selection import Cut

# --- allocation -------------------------------------------------------------------------------------------------

SEED = 20230417
NO_DEADLINE = settings(deadline=None)
WEIGHTS = st.sampled_from([0, 0.1, 0.5, 1, 1.5, 2.5, 3, 4.5, 15, 67])
EPOCHS = st.sampled_from([0.5, 1, 1.2, 2, 3, 4, 8.25])


@st.composite
def mixtures(draw):
    count = draw(st.integers(1, 7))
    slices = [
        Slice(f"s{n}", draw(WEIGHTS), draw(EPOCHS), draw(st.integers(1, 100_000)))
        for n in draw(st.permutations(range(count)))
    ]
    if not any(part.weight for part in slices):
        slices[0] = Slice(slices[0].name, 1, 1, slices[0].available_tokens)
    return slices


def weight_of(part: Slice) -> Fraction:
    return Fraction(str(part.weight))


@NO_DEADLINE
@given(mixtures(), st.integers(1, 500_000))
def test_targets_add_up_to_the_budget_or_to_all_that_the_caps_allow(slices, tokens):
    targets = allocate(slices, tokens, allow_shortfall=True)
    reachable = sum(part.cap for part in slices if part.weight)
    assert sum(targets.values()) == min(tokens, reachable)


@NO_DEADLINE
@given(mixtures(), st.integers(1, 500_000))
def test_no_target_passes_its_cap_and_no_weight_means_no_tokens(slices, tokens):
    targets = allocate(slices, tokens, allow_shortfall=True)
    for part in slices:
        assert 0 <= targets[part.name] <= floor(Fraction(str(part.max_epochs)) * part.available_tokens)
        assert part.weight or targets[part.name] == 0


@NO_DEADLINE
@given(mixtures(), st.integers(1, 500_000))
def test_slices_below_their_cap_keep_the_ratio_of_their_weights_to_within_one_token(slices, tokens):
    targets = allocate(slices, tokens, allow_shortfall=True)
    free = [part for part in slices if part.weight and targets[part.name] < part.cap]
    # one rate must explain all of them: target - 1 < rate * weight < target + 1
    low = max((Fraction(targets[part.name] - 1) / weight_of(part) for part in free), default=0)
    high = min((Fraction(targets[part.name] + 1) / weight_of(part) for part in free), default=1)
    assert low < high


@NO_DEADLINE
@given(mixtures(), st.integers(1, 250_000), st.integers(0, 250_000))
def test_a_larger_budget_lowers_no_target(slices, tokens, more):
    before = allocate(slices, tokens, allow_shortfall=True)
    after = allocate(slices, tokens + more, allow_shortfall=True)
    assert all(after[name] >= before[name] for name in before)


@NO_DEADLINE
@given(mixtures(), st.integers(1, 500_000), st.sampled_from([2, 10, 0.5]))
def test_the_scale_of_the_weights_does_not_matter(slices, tokens, factor):
    scaled = [
        Slice(s.name, float(weight_of(s) * Fraction(str(factor))), s.max_epochs, s.available_tokens) for s in slices
    ]
    assert allocate(scaled, tokens, True) == allocate(slices, tokens, True)


@NO_DEADLINE
@given(mixtures(), st.integers(1, 500_000), st.randoms())
def test_the_order_of_the_slices_does_not_matter(slices, tokens, random):
    shuffled = random.sample(slices, len(slices))
    assert allocate(shuffled, tokens, True) == allocate(slices, tokens, True)


@NO_DEADLINE
@given(mixtures(), st.integers(1, 500_000))
def test_the_reachable_budget_of_the_message_is_reachable_and_one_token_more_is_not(slices, tokens):
    try:
        allocate(slices, tokens)
    except BudgetError as error:
        reachable = int(str(error).split("reachable with these weights: ")[1].split(" tokens")[0].replace(",", ""))
        assert sum(allocate(slices, reachable).values()) == reachable
        with pytest.raises(BudgetError):
            allocate(slices, reachable + 1)
    else:
        shares = {s.name: tokens * weight_of(s) / sum(map(weight_of, slices)) for s in slices}
        assert all(abs(allocate(slices, tokens)[name] - share) < len(slices) for name, share in shares.items())


def test_equal_remainders_are_rounded_up_by_name():
    slices = [Slice(name, 1, 1, 100) for name in "cab"]
    assert allocate(slices, 10) == {"c": 3, "a": 4, "b": 3}


def test_decimal_weights_are_taken_as_written():
    # the binary fraction nearest to 0.1 is larger: 'a' would want more than its ten tokens
    assert allocate([Slice("a", 0.1, 1, 10), Slice("b", 0.9, 1, 90)], 100) == {"a": 10, "b": 90}
    assert Slice("a", 1, 1.1, 10).cap == 11


def test_the_surplus_of_a_capped_slice_goes_to_the_rest_by_weight():
    slices = [Slice("a", 50, 1, 10), Slice("b", 30, 1, 1000), Slice("c", 20, 1, 1000)]
    targets = allocate(slices, 110, allow_shortfall=True)
    assert targets == {"a": 10, "b": 60, "c": 40}
    assert allocation.capped(slices, targets) == ["a"]


def test_a_surplus_can_cap_the_next_slice():
    slices = [Slice("a", 50, 1, 10), Slice("b", 30, 1, 35), Slice("c", 20, 1, 1000)]
    assert allocate(slices, 100, allow_shortfall=True) == {"a": 10, "b": 35, "c": 55}


def test_when_all_are_capped_the_sum_falls_short_and_each_gives_its_cap():
    slices = [Slice("a", 1, 2, 10), Slice("b", 1, 1, 7), Slice("empty", 1, 4, 0)]
    targets = allocate(slices, 1000, allow_shortfall=True)
    assert targets == {"a": 20, "b": 7, "empty": 0}
    assert allocation.capped(slices, targets) == ["a", "b", "empty"]


def test_a_binding_cap_is_an_error_that_says_what_can_be_had():
    slices = [Slice("web", 97.5, 2, 10_000_000), Slice("arxiv", 2.5, 3, 12_000)]
    with pytest.raises(BudgetError) as error:
        allocate(slices, 2_000_000)
    assert str(error.value) == (
        "mixture: budget of 2,000,000 tokens cannot be met with these weights: 'arxiv' wants 50,000 tokens but "
        "3 epochs of 12,000 give 36,000; reachable with these weights: 1,440,000 tokens; raise max_epochs of 'arxiv' "
        "to 4.167, lower the weight of 'arxiv' to 1.7871, set budget_tokens = 1440000, or on_cap = \"spread\": the "
        "others give what is missing"
    )


def test_all_binding_caps_are_named():
    slices = [Slice("web", 2, 1, 1000), Slice("books", 1, 1, 30), Slice("wiki", 1, 2.5, 10)]
    with pytest.raises(BudgetError) as error:
        allocate(slices, 200)
    assert str(error.value) == (
        "mixture: budget of 200 tokens cannot be met with these weights: 'books' wants 50 tokens but 1 epoch of 30 "
        "gives 30, 'wiki' wants 50 tokens but 2.5 epochs of 10 give 25; reachable with these weights: 100 tokens; "
        "raise max_epochs of 'books' to 1.667, of 'wiki' to 5, lower the weight of 'books' to 0.4137, of 'wiki' to "
        '0.3448, set budget_tokens = 100, or on_cap = "spread": the others give what is missing'
    )


def test_an_empty_slice_with_a_weight_is_an_error_that_names_it():
    with pytest.raises(BudgetError, match=r"'books' has weight 4\.5 but no tokens: .* set its weight to 0"):
        allocate([Slice("web", 67, 1, 100), Slice("books", 4.5, 4, 0)], 10)
    assert allocate([Slice("web", 67, 1, 100), Slice("books", 0, 4, 0)], 10) == {"web": 10, "books": 0}


@pytest.mark.parametrize("allow_shortfall", [False, True])
def test_a_mixture_without_any_weight_is_an_error(allow_shortfall):
    with pytest.raises(BudgetError, match="every weight is 0"):
        allocate([Slice("web", 0, 1, 100)], 10, allow_shortfall)


@st.composite
def bounded(draw):
    """Mixtures with floors and pins that the caps allow."""
    found = []
    for part in draw(mixtures()):
        least = draw(st.sampled_from([0, 0, part.most // 3, part.most]))
        pin = draw(st.sampled_from([None, None, None, part.most // 2])) if part.weight else None
        found.append(replace(part, min_tokens=least if part.weight and pin is None else 0, pin=pin))
    return found


@NO_DEADLINE
@given(bounded(), st.integers(0, 400_000))
def test_floors_and_pins_hold_and_a_larger_budget_still_lowers_no_target(slices, more):
    least = sum(part.least for part in slices)
    reachable = sum(part.cap for part in slices if part.weight or part.least)
    before, after = (allocate(slices, max(1, least + extra), True) for extra in (more // 2, more))
    for targets, tokens in ((before, least + more // 2), (after, least + more)):
        assert sum(targets.values()) == min(max(1, tokens), reachable)
        assert all(part.least <= targets[part.name] <= max(part.cap, part.least) for part in slices)
        assert all(targets[part.name] == part.pin for part in slices if part.pin is not None)
    assert all(after[name] >= before[name] for name in before)


@NO_DEADLINE
@given(bounded(), st.integers(0, 400_000))
def test_free_slices_are_as_far_apart_as_websters_inequality_allows(slices, more):
    targets = allocate(slices, max(1, sum(part.least for part in slices) + more), True)
    free = [part for part in slices if part.weight and part.pin is None]
    lower = [(targets[p.name] - Fraction(1, 2)) / weight_of(p) for p in free if targets[p.name] > p.least]
    upper = [(targets[p.name] + Fraction(1, 2)) / weight_of(p) for p in free if targets[p.name] < p.cap]
    assert max(lower, default=0) <= min(upper, default=max(lower, default=0))


def test_the_paradox_of_largest_remainders_is_gone():
    slices = [Slice("a", 5, 1, 999), Slice("b", 3, 1, 999), Slice("c", 1, 1, 999)]
    found = [allocate(slices, tokens) for tokens in range(1, 400)]
    assert all(one[name] <= other[name] for one, other in itertools.pairwise(found) for name in one)


def test_a_budget_that_spreading_meets_is_no_shortfall():
    slices = [Slice("a", 1, 1, 10), Slice("b", 1, 1, 1000)]
    assert allocate(slices, 500, on_cap="spread") == {"a": 10, "b": 490}
    with pytest.raises(BudgetError, match="cannot be met with these weights"):
        allocate(slices, 500)
    with pytest.raises(BudgetError) as error:
        allocate(slices, 2000, on_cap="spread")
    assert str(error.value) == (
        "mixture: budget of 2,000 tokens is out of reach: all caps together are 1,010 ('a' 10, 'b' 1,000); multiply "
        "every max_epochs by 1.981, set budget_tokens = 1010, add sources, or set allow_shortfall = true"
    )


def test_floors_above_caps_or_the_budget_are_errors_with_the_edit():
    with pytest.raises(BudgetError, match=r"'a' is to give at least 20 tokens but 1 epoch of 10 gives 10; lower pin"):
        allocate([Slice("a", 1, 1, 10, pin=20), Slice("b", 1, 1, 100)], 50)
    with pytest.raises(BudgetError, match=r"at least is 60 tokens \('a' 30, 'b' 30\), more than the budget of 50"):
        allocate([Slice("a", 1, 1, 90, 30), Slice("b", 1, 1, 90, 30)], 50)


def test_the_edits_of_an_error_meet_the_budget():
    slices = [Slice("web", 2, 1, 1000), Slice("books", 1, 1, 30)]
    with pytest.raises(BudgetError) as error:
        allocate(slices, 200)
    said = str(error.value)
    epochs = float(said.split("raise max_epochs of 'books' to ")[1].split(",")[0])
    weight = float(said.split("lower the weight of 'books' to ")[1].split(",")[0])
    assert sum(allocate([slices[0], replace(slices[1], max_epochs=epochs)], 200).values()) == 200
    assert sum(allocate([slices[0], replace(slices[1], weight=weight)], 200).values()) == 200


def test_policies_give_the_weights_that_they_are_named_for():
    slices = [Slice("big", 1, 1, 10_000), Slice("small", 3, 4, 100), Slice("off", 0, 1, 50)]
    assert [each.weight for each in allocation.weighted(slices, "weights")] == [1, 3, 0]
    assert [each.weight for each in allocation.weighted(slices, "natural")] == [10_000, 100, 0]
    assert [each.weight for each in allocation.weighted(slices, "temperature", 0.5)] == [100, 10, 0]
    assert [each.weight for each in allocation.weighted(slices, "unimax")] == [1, 1, 0]
    assert [each.weight for each in allocation.weighted(slices, "epochs")] == [10_000, 300, 0]
    assert allocate(allocation.weighted(slices, "unimax"), 1000, on_cap="spread") == {
        "big": 600,
        "small": 400,
        "off": 0,
    }


def test_repeats_are_worth_what_was_measured():
    worth = {1: 1, 2: 0.984, 3: 0.958, 4: 0.931, 8: 0.828, 16: 0.661}
    for epochs, share in worth.items():
        assert allocation.effective_tokens(epochs * 1000, 1000) / (epochs * 1000) == pytest.approx(share, abs=0.0006)
    assert allocation.effective_tokens(500, 1000) == 500


# --- repeats ------------------------------------------------------------------------------------------------------


def test_repeats_are_spread_over_the_stream_and_every_stretch_of_it_is_as_dense():
    documents, target = 5_000, 12_000  # 2.4 epochs of documents of one token
    ids = pa.array([f"s/{number}" for number in range(documents)])
    times = selection.copies_of(selection.selection_hashes(SEED, ids), ids, Cut(2, int(0.4 * 2**64)))
    rows = np.repeat(np.arange(documents), times)
    copies = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
    keys = selection.order_keys(SEED, ids.take(pa.array(rows)), copies)
    keys = selection.apart(keys, copies)
    places = selection.spread(keys, copies, target, documents) / 2.0**64
    order = np.lexsort((places, rows))
    gaps = np.diff(places[order])[np.diff(rows[order]) == 0]
    assert gaps.min() >= 0.02  # an eighth of the last window, which is 0.4 of an epoch
    deciles = np.histogram(places, bins=10, range=(0, 1))[0] / len(places)
    assert np.abs(deciles * 10 - 1).max() < 0.05
    assert gaps.min() > 100 * np.diff(np.sort(keys / 2.0**64)).min()


def test_keys_that_were_moved_apart_are_as_uniform_and_an_eighth_of_an_epoch_apart():
    ids = pa.array([f"s/{number}" for number in range(20_000)])
    rows, copies = np.repeat(np.arange(20_000), 4), np.tile(np.arange(4), 20_000)
    keys = selection.order_keys(SEED, ids.take(pa.array(rows)), copies)
    moved = selection.apart(keys, copies)
    assert (moved != keys).mean() < 0.03
    places = moved / 2.0**64 + copies
    gaps = np.diff(places)[copies[1:] > 0]
    assert gaps.min() >= 0.125 > np.diff(keys / 2.0**64 + copies)[copies[1:] > 0].min()
    for copy in range(4):
        counts = np.histogram(places[copies == copy] - copy, bins=16, range=(0, 1))[0]
        assert ((counts - 1250) ** 2 / 1250).sum() < 37.7  # chi-square, 15 degrees of freedom, 0.1 %


@NO_DEADLINE
@given(st.integers(1, 10**6), st.integers(1, 10**7), st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20))
def test_each_copy_stands_in_its_window_in_the_order_of_its_key(available, target, keys):
    epochs, rest = divmod(target, available)
    for copy in range(min(epochs + bool(rest), 4)):
        placed = selection.spread(np.array(keys, np.uint64), np.full(len(keys), copy), target, available)
        if target <= available:
            assert placed.tolist() == keys
            continue
        width = available if copy < epochs else rest
        start = copy * available * 2**64 // target
        wanted = [start + (key * (width * 2**64 // target) >> 64) for key in keys]
        assert placed.tolist() == wanted
        assert max(wanted) < 2**64


# --- selection --------------------------------------------------------------------------------------------------


def histogram_of(rows):
    return selection.histogram(
        np.array([row[0] for row in rows], np.uint64), np.array([row[2] for row in rows], np.int64)
    )


def hashes_of(doc_ids: list[str], seed: int = SEED) -> list[int]:
    return selection.selection_hashes(seed, pa.array(doc_ids, pa.string())).tolist()


def cut_of(documents: dict[str, int], target: int, parts: int = 3) -> Cut:
    """Both passes over a slice that is spread over several parts, as the mixer makes them."""
    rows = list(zip(hashes_of(list(documents)), documents, documents.values(), strict=True))
    epochs, remainder = selection.split_epochs(target, sum(documents.values()))
    if remainder == 0:
        return Cut(epochs)
    spread = [rows[n::parts] for n in range(parts)]
    mass = sum(histogram_of(part) for part in spread)
    bucket, before = selection.boundary_bucket(mass, remainder)
    inside = [row for row in rows if selection.bucket_of(np.uint64(row[0])) == bucket]
    return Cut(epochs, *selection.cut_inside(inside, before, remainder)[:2])


def counts_of(documents: dict[str, int], target: int) -> dict[str, int]:
    cut = cut_of(documents, target)
    keys = zip(documents, hashes_of(list(documents)), strict=True)
    return {doc_id: selection.copies(cut, key, doc_id) for doc_id, key in keys}


def mass_of(documents: dict[str, int], counts: dict[str, int]) -> int:
    return sum(documents[doc_id] * count for doc_id, count in counts.items())


CORPORA = st.lists(st.integers(1, 900), min_size=1, max_size=60).map(
    lambda tokens: {f"books/{n}": count for n, count in enumerate(tokens)}
)


@NO_DEADLINE
@given(CORPORA, st.floats(0, 4))
def test_a_slice_overshoots_its_target_by_less_than_one_document(documents, epochs):
    target = int(epochs * sum(documents.values()))
    realised = mass_of(documents, counts_of(documents, target))
    assert 0 <= realised - target < max(documents.values())


@NO_DEADLINE
@given(CORPORA, st.floats(0, 4))
def test_every_document_has_the_whole_epochs_or_one_more(documents, epochs):
    target = int(epochs * sum(documents.values()))
    whole = target // sum(documents.values())
    assert set(counts_of(documents, target).values()) <= {whole, whole + 1}


@NO_DEADLINE
@given(CORPORA, st.floats(0, 4), st.randoms(), st.integers(1, 9))
def test_the_selection_depends_neither_on_order_nor_on_parts(documents, epochs, random, parts):
    target = int(epochs * sum(documents.values()))
    shuffled = dict(random.sample(list(documents.items()), len(documents)))
    assert cut_of(shuffled, target, parts) == cut_of(documents, target, 1)


@NO_DEADLINE
@given(CORPORA, st.floats(0, 4), st.floats(0, 4))
def test_a_larger_target_takes_the_same_copies_and_more(documents, one, other):
    low, high = (int(epochs * sum(documents.values())) for epochs in sorted((one, other)))
    fewer, more = counts_of(documents, low), counts_of(documents, high)
    assert all(fewer[doc_id] <= more[doc_id] for doc_id in documents)


@NO_DEADLINE
@given(CORPORA.filter(lambda documents: len(documents) > 1), st.floats(0, 3), st.integers(0, 59))
def test_without_a_document_only_as_much_is_added_as_it_held(documents, epochs, which):
    gone = list(documents)[which % len(documents)]
    target = int(epochs * sum(documents.values()))
    rest = {doc_id: tokens for doc_id, tokens in documents.items() if doc_id != gone}
    before, after = counts_of(documents, target), counts_of(rest, target)
    assert all(after[doc_id] >= before[doc_id] for doc_id in rest)
    added = mass_of(rest, after) - mass_of(rest, {doc_id: before[doc_id] for doc_id in rest})
    assert added < documents[gone] * before[gone] + max(documents.values())


@NO_DEADLINE
@given(CORPORA, st.floats(0, 4))
def test_copies_of_many_documents_agree_with_copies_of_each(documents, epochs):
    cut = cut_of(documents, int(epochs * sum(documents.values())))
    ids = list(documents)
    hashes = np.array(hashes_of(ids), np.uint64)
    expected = [selection.copies(cut, int(key), doc_id) for key, doc_id in zip(hashes, ids, strict=True)]
    assert selection.copies_of(hashes, ids, cut).tolist() == expected
    assert selection.copies_of(hashes, pa.array(ids), cut).tolist() == expected


def test_equal_hashes_are_cut_by_id():
    hashes = np.array([5, 7, 7, 7, 9], np.uint64)
    ids = ["z", "a", "b", "c", "a"]
    cut = Cut(2, *selection.cut_inside(zip([5, 7, 7, 7, 9], ids, [10] * 5, strict=True), 0, 25)[:2])
    assert cut == Cut(2, 7, "b")
    assert selection.copies_of(hashes, ids, cut).tolist() == [3, 3, 3, 2, 2]


def test_the_largest_and_smallest_hash_have_a_bucket_and_a_cut():
    ends = np.array([0, 2**64 - 1], np.uint64)
    assert selection.bucket_of(ends).tolist() == [0, selection.BUCKETS - 1]
    assert selection.boundary_bucket(selection.histogram(ends, np.array([3, 4])), 4) == (selection.BUCKETS - 1, 3)
    assert selection.copies_of(ends, ["a", "b"], Cut(0, 2**64 - 1, "b")).tolist() == [1, 1]
    assert selection.copies_of(ends, ["a", "b"], Cut(1)).tolist() == [1, 1]
    assert selection.copies_of(ends, ["a", "b"], Cut(0, 0, "a")).tolist() == [1, 0]


@pytest.mark.parametrize(("remainder", "last"), [(1, "a"), (10, "a"), (11, "b"), (30, "b"), (31, "c"), (35, "c")])
def test_a_document_is_taken_while_those_before_it_are_less_than_the_remainder(remainder, last):
    rows = [(30, "c", 5), (10, "a", 10), (20, "b", 20)]
    assert selection.cut_inside(rows, 0, remainder)[1] == last


def test_the_tokens_before_the_bucket_count():
    assert selection.cut_inside([(1, "a", 10), (2, "b", 10)], 100, 111) == (2, "b", 120)


def test_a_target_below_the_smallest_document_takes_one_document():
    counts = counts_of({"books/0": 500, "books/1": 400}, 1)
    assert sorted(counts.values()) == [0, 1]


def test_whole_epochs_need_no_cut():
    documents = {"books/0": 500, "books/1": 400}
    assert counts_of(documents, 1800) == {"books/0": 2, "books/1": 2}
    assert counts_of(documents, 0) == {"books/0": 0, "books/1": 0}
    assert selection.split_epochs(0, 0) == (0, 0)


def test_rows_that_are_not_those_of_the_histogram_are_refused():
    with pytest.raises(ValueError, match="ends at 15 tokens, before the remainder of 20"):
        selection.cut_inside([(1, "a", 5)], 10, 20)
    with pytest.raises(ValueError, match="a remainder of 9 tokens cannot be cut from 8"):
        selection.boundary_bucket(selection.histogram(np.array([1], np.uint64), np.array([8])), 9)


def test_histograms_of_parts_add_up():
    hashes = np.arange(0, 2**64, 2**64 // 1000, dtype=np.uint64)
    tokens = np.arange(len(hashes))
    both = selection.histogram(hashes[:300], tokens[:300]) + selection.histogram(hashes[300:], tokens[300:])
    assert both.tolist() == selection.histogram(hashes, tokens).tolist()
    assert both.sum() == tokens.sum()


def test_two_seeds_select_independently():
    ids = [f"c4/{n}" for n in range(2000)]
    half = 2**63
    chosen = [{i for i, key in zip(ids, hashes_of(ids, seed), strict=True) if key < half} for seed in (1, 2)]
    assert all(900 < len(one) < 1100 for one in chosen)
    assert 420 < len(chosen[0] & chosen[1]) < 580


# --- order ------------------------------------------------------------------------------------------------------


@NO_DEADLINE
@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(2**64 - 9, 2**64 - 1)), st.integers(1, 2**32 - 1))
def test_partitions_are_equal_slices_of_the_keys_in_order(keys, partitions):
    found = selection.partitions_of(np.array(keys, np.uint64), partitions).tolist()
    assert found == [floor(Fraction(key * partitions, 2**64)) for key in keys]
    assert all(0 <= partition < partitions for partition in found)


@NO_DEADLINE
@given(st.integers(1, 40), st.integers(1, 40))
def test_the_shuffled_order_does_not_depend_on_the_number_of_partitions(one, other):
    numbers, copies = [n // 2 for n in range(60)], [n % 2 for n in range(60)]
    ids = pa.array([f"c4/{n}" for n in numbers])
    keys = list(zip(selection.order_keys(SEED, ids, np.array(copies)).tolist(), numbers, copies, strict=True))

    def stream(count):
        numbers = selection.partitions_of(np.array([key for key, *_ in keys], np.uint64), count)
        partitions = [[key for key, number in zip(keys, numbers, strict=True) if number == p] for p in range(count)]
        return [key for partition in partitions for key in sorted(partition)]

    assert stream(one) == stream(other) == sorted(keys)


def test_copies_of_a_document_have_their_own_places():
    keys = selection.order_keys(SEED, pa.array(["c4/1"] * 16), np.arange(16)).tolist()
    assert len({*keys, *hashes_of(["c4/1"])}) == 17


# --- published mixes --------------------------------------------------------------------------------------------

# The seven shares of LLaMA (arXiv 2302.13971, table 1); sampling frequencies from DCLM's `rpj_original` dataset
# JSON (github.com/mlfoundations/dclm), made for 1,210,563,340,149 tokens; sizes in 10**9 tokens from the card of
# togethercomputer/RedPajama-Data-1T.
RPJ = {
    "common_crawl": (67.0, 0.927137, 878),
    "c4": (15.0, 1.031133, 175),
    "github": (4.5, 0.917404, 59),
    "books": (4.5, 2.077507, 26),
    "arxiv": (2.5, 1.068964, 28),
    "wikipedia": (4.5, 2.176547, 24),
    "stackexchange": (2.0, 1.169580, 20),
}
RPJ_TOKENS = 1_210_563_340_149


def test_dclm_frequencies_come_back_from_the_sizes_they_imply():
    sizes = {name: round(RPJ_TOKENS * w / 100 / frequency) for name, (w, frequency, _) in RPJ.items()}
    targets = allocate([Slice(name, RPJ[name][0], 4, sizes[name]) for name in RPJ], RPJ_TOKENS)
    assert sum(targets.values()) == RPJ_TOKENS
    assert {name: round(targets[name] / sizes[name], 6) for name in RPJ} == {name: f for name, (_, f, _) in RPJ.items()}


def test_dclm_frequencies_as_epochs_give_its_tokens_exactly():
    """Policy `epochs`: each source as often as DCLM saw it, of the sizes that its frequencies imply."""
    sizes = {name: round(RPJ_TOKENS * w / 100 / frequency) for name, (w, frequency, _) in RPJ.items()}
    slices = [Slice(name, RPJ[name][1], 4, sizes[name]) for name in RPJ]
    targets = allocate(allocation.weighted(slices, "epochs"), RPJ_TOKENS)
    assert sum(targets.values()) == 1_210_563_340_149
    assert {name: round(targets[name] / sizes[name], 6) for name in RPJ} == {name: f for name, (_, f, _) in RPJ.items()}


def test_the_published_sizes_give_dclm_frequencies_within_five_per_cent():
    slices = [Slice(name, weight, 4, size * 10**9) for name, (weight, _, size) in RPJ.items()]
    targets = allocate(slices, RPJ_TOKENS)
    for part in slices:
        assert targets[part.name] / part.available_tokens == pytest.approx(RPJ[part.name][1], rel=0.05)


def test_llama_shares_of_1_2t_tokens_take_the_published_epochs():
    slices = [Slice(name, weight, 4, size * 10**9) for name, (weight, _, size) in RPJ.items()]
    targets = allocate(slices, 1_200_000_000_000)
    epochs = [round(targets[part.name] / part.available_tokens, 3) for part in slices]
    assert epochs == [0.916, 1.029, 0.915, 2.077, 1.071, 2.25, 1.2]


# Raw GiB, weight in per cent, epochs: the README of github.com/EleutherAI/the-pile; 1,254.20 GiB in all.
PILE = {
    "pile_cc": (227.12, 18.11, 1.0),
    "pubmed_central": (90.27, 14.40, 2.0),
    "books3": (100.96, 12.07, 1.5),
    "openwebtext2": (62.77, 10.01, 2.0),
    "arxiv": (56.21, 8.96, 2.0),
    "github": (95.16, 7.59, 1.0),
    "freelaw": (51.15, 6.12, 1.5),
    "stackexchange": (32.20, 5.13, 2.0),
    "uspto": (22.90, 3.65, 2.0),
    "pubmed_abstracts": (19.26, 3.07, 2.0),
    "gutenberg": (10.88, 2.17, 2.5),
    "opensubtitles": (12.98, 1.55, 1.5),
    "wikipedia": (6.38, 1.53, 3.0),
    "dm_mathematics": (7.75, 1.24, 2.0),
    "ubuntu_irc": (5.52, 0.88, 2.0),
    "bookcorpus2": (6.30, 0.75, 1.5),
    "europarl": (4.59, 0.73, 2.0),
    "hackernews": (3.90, 0.62, 2.0),
    "youtube_subtitles": (3.73, 0.60, 2.0),
    "philpapers": (2.38, 0.38, 2.0),
    "nih_exporter": (1.89, 0.30, 2.0),
    "enron": (0.88, 0.14, 2.0),
}


def test_the_epochs_of_the_pile_give_its_weights():
    sizes = {name: round(gib * 2**30) for name, (gib, _, _) in PILE.items()}
    wanted = {name: ceil(sizes[name] * epochs) for name, (_, _, epochs) in PILE.items()}
    total = sum(wanted.values())
    targets = allocate([Slice(name, wanted[name], PILE[name][2] + 0.01, sizes[name]) for name in PILE], total)
    assert targets == wanted
    assert total / 2**30 == pytest.approx(1254.20, abs=0.1)
    assert {name: 100 * targets[name] / total for name in PILE} == pytest.approx(
        {name: weight for name, (_, weight, _) in PILE.items()}, abs=0.01
    )


# Two trillion tokens: unique tokens in 10**7, weight, max_epochs, and the targets that another implementation of
# the same rule gave.
TWO_TRILLION = {
    "common_crawl": (87845, 50.0, 1.2, 992_266_853_651),
    "c4": (17460, 10.0, 1.2, 198_453_370_730),
    "openwebtext2": (1520, 1.5, 2, 29_768_005_610),
    "stack_code": (21898, 16.5, 2, 327_448_061_705),
    "stack_issues_commits": (3619, 1.8, 1, 35_721_606_731),
    "stack_notebooks": (446, 0.4, 3, 7_938_134_829),
    "arxiv": (2810, 4.5, 4, 89_304_016_829),
    "pmc": (2600, 4.0, 4, 79_381_348_292),
    "pubmed_abstracts": (477, 0.75, 4, 14_884_002_805),
    "philpapers": (64, 0.10, 4, 1_984_533_707),
    "nih_exporter": (41, 0.06, 4, 1_190_720_224),
    "wikipedia": (2400, 3.6, 4, 71_443_213_463),
    "stackexchange": (2054, 3.2, 4, 63_505_078_634),
    "hackernews": (105, 0.16, 4, 3_175_253_932),
    "ubuntu_irc": (195, 0.20, 2, 3_900_000_000),
    "pg19": (290, 0.45, 4, 8_930_401_683),
    "freelaw": (1350, 2.0, 3, 39_690_674_146),
    "uspto": (480, 0.75, 3, 14_400_000_000),
    "europarl": (160, 0.16, 2, 3_175_253_932),
    "dm_math": (433, 0.65, 3, 12_899_469_097),
    "enron": (27, 0.03, 2, 540_000_000),
}


def test_two_trillion_tokens_are_filled_with_three_slices_at_their_caps():
    slices = [Slice(name, w, epochs, size * 10**7) for name, (size, w, epochs, _) in TWO_TRILLION.items()]
    targets = allocate(slices, 2 * 10**12, allow_shortfall=True)
    assert sum(targets.values()) == 2 * 10**12
    assert targets == {name: expected for name, (_, _, _, expected) in TWO_TRILLION.items()}
    assert allocation.capped(slices, targets) == ["ubuntu_irc", "uspto", "enron"]
    with pytest.raises(BudgetError, match=r"'ubuntu_irc' wants .* 'uspto' wants .* 'enron' wants"):
        allocate(slices, 2 * 10**12)
