"""Rules: what stays on both sides of each bound, which rule is the reason, and what a manifest may say."""

import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.quality import rules
from redpajama.quality.measures import inline
from redpajama.quality.measures.catalogue import SIGNALS
from redpajama.quality.rules import Rule, judge, met, parse


def verdicts(columns, table):
    """Row -> (reason, rule, value, threshold)."""
    failing = judge(pa.table({f"q_{name}": values for name, values in columns.items()}), parse(table))
    rows = [each.to_pylist() for each in failing]
    return {row: tuple(rest) for row, *rest in zip(*rows, strict=True)}


@pytest.mark.parametrize(
    ("table", "column", "kept", "gone", "reason"),
    [
        ({"min_chars": 200}, "chars", [200, 201, 10**9], [199, 0], "below-minimum"),
        ({"max_chars": 200}, "chars", [200, 199, 0], [201, 10**9], "above-maximum"),
        ({"max_max_line_chars": 1000}, "max_line_chars", [1000, 0], [1001], "above-maximum"),
        ({"max_mean_line_chars": 100}, "mean_line_chars", [100.0, 99.99999999], [100.00000001], "above-maximum"),
        ({"min_alnum_fraction": 0.25}, "alnum_fraction", [0.25, 1.0], [0.24999999, 0.0], "below-minimum"),
        ({"min_alpha_fraction": 0.1}, "alpha_fraction", [0.1], [0.09999999], "below-minimum"),
        ({"min_words": 0.5}, "words", [1], [0], "below-minimum"),
        ({"min_lines": -1}, "lines", [0, 1], [], ""),
    ],
)
def test_bounds_are_inclusive(table, column, kept, gone, reason):
    [(key, threshold)] = table.items()
    found = verdicts({column: kept + gone}, table)
    assert found == {len(kept) + n: (reason, key, value, threshold) for n, value in enumerate(gone)}


def test_the_rule_that_stands_first_in_the_manifest_is_the_reason():
    columns = {"chars": [10, 10, 500], "mean_line_chars": [200.0, 20.0, 200.0]}
    short_first = {"min_chars": 200, "max_mean_line_chars": 100}
    assert verdicts(columns, short_first) == {
        0: ("below-minimum", "min_chars", 10, 200),
        1: ("below-minimum", "min_chars", 10, 200),
        2: ("above-maximum", "max_mean_line_chars", 200, 100),
    }
    long_first = dict(reversed(short_first.items()))
    assert verdicts(columns, long_first)[0] == ("above-maximum", "max_mean_line_chars", 200, 100)


def test_a_signal_can_have_both_bounds():
    found = verdicts({"words": [1, 2, 3, 4]}, {"min_words": 2, "max_words": 3})
    assert found == {0: ("below-minimum", "min_words", 1, 2), 3: ("above-maximum", "max_words", 4, 3)}


@pytest.mark.parametrize("key", ["min_mean_line_chars", "max_mean_line_chars"])
def test_a_missing_value_fails_no_rule(key):
    assert verdicts({"mean_line_chars": [None, math.nan]}, {key: 5}) == {}


def test_no_rules_keep_everything():
    assert verdicts({"chars": [0, 1]}, {}) == {}


def test_tables_of_no_rows_and_of_chunks_are_judged():
    chunks = pa.chunked_array([[1, 2], [], [300]], pa.int64())
    assert judge(pa.table({"q_chars": chunks}), parse({"min_chars": 2})).rows.to_pylist() == [0]
    empty = judge(pa.table({"q_chars": pa.array([], pa.int64())}), parse({"min_chars": 2}))
    assert [column.to_pylist() for column in empty] == [[]] * 5
    types = [pa.int64(), pa.string(), pa.string(), pa.float64(), pa.float64()]
    assert [column.type for column in empty] == types
    assert [column.type for column in judge(pa.table({"q_chars": chunks}), parse({"min_chars": 2}))] == types


def test_a_record_batch_of_measured_texts_is_judged():
    measured = inline.measure(pa.array(["short", "a text of some words, long enough", "=====" * 10], pa.large_string()))
    wanted = parse({"min_chars": 10, "min_alnum_fraction": 0.25})
    failing = judge(pa.RecordBatch.from_pydict(measured), wanted)
    assert failing.rows.to_pylist() == [0, 2]
    assert failing.rules.to_pylist() == ["min_chars", "min_alnum_fraction"]
    assert failing.values.to_pylist() == [5, 0]


NUMBERS = st.one_of(st.none(), st.floats(), st.integers(-5, 5).map(float))


@settings(deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=20), st.permutations(["min_chars", "max_chars", "max_words"]))
def test_judging_columns_is_judging_row_by_row(rows, order):
    bounds = {"min_chars": -2, "max_chars": 3, "max_words": 1}
    table = {key: bounds[key] for key in order}
    expected = {}
    for number, row in enumerate(rows):
        row = dict(zip(("chars", "words"), row, strict=True))
        for rule in parse(table):
            value = row[rule.signal]
            if value is not None and (value < rule.threshold if rule.bound == "min" else value > rule.threshold):
                expected[number] = (rule.reason.value, rule.key, value, rule.threshold)
                break
    columns = {name: pa.array([row[n] for row in rows], pa.float64()) for n, name in enumerate(("chars", "words"))}
    assert verdicts(columns, table) == expected


def test_rules_keep_the_order_of_the_manifest():
    wanted = parse({"max_words": 5, "min_chars": 200.0})
    assert wanted == (Rule("max", "words", 5.0), Rule("min", "chars", 200.0))
    assert [rule.column for rule in wanted] == ["q_words", "q_chars"]
    assert [rule.key for rule in wanted] == ["max_words", "min_chars"]


def test_every_signal_can_be_bounded_on_both_sides():
    assert set(rules.KEYS) == {f"{bound}_{signal}" for bound in ("min", "max") for signal in SIGNALS}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"min_char": 200}, "quality.min_char: no such rule; did you mean 'min_chars'?"),
        ({"chars": 200}, "quality.chars: no such rule; did you mean 'min_chars'?"),
        ({"max_line_chars": 9}, "quality.max_line_chars: no such rule; did you mean 'max_max_line_chars'?"),
        ({"min_q_words": 9}, "quality.min_q_words: no such rule; did you mean 'min_words'?"),
        ({"min_chars": math.nan}, "quality.min_chars: nan is not a number"),
        ({"max_chars": math.inf}, "quality.max_chars: inf is not a number"),
        ({"min_chars": True}, "quality.min_chars: True is not a number"),
        ({"min_chars": "200"}, "quality.min_chars: '200' is not a number"),
        ({"min_alnum_fraction": 25}, "quality.min_alnum_fraction: 25 is not a fraction: 0 to 1"),
        ({"max_alpha_fraction": -0.1}, "quality.max_alpha_fraction: -0.1 is not a fraction: 0 to 1"),
        (
            {"max_words": 2, "min_words": 3},
            "quality.min_words: 3 is more than max_words = 2: nothing would be kept",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(table, message):
    with pytest.raises(ValueError, match=r"^quality\.") as error:
        parse(table)
    assert str(error.value) == message


def test_an_unlike_key_says_where_the_signals_are_listed():
    with pytest.raises(ValueError, match=r"quality\.zzz: no such rule; `redpajama signals` lists the signals"):
        parse({"zzz": 1})


def test_rules_count_all_that_they_meet_whichever_is_first():
    wanted, table = parse({"min_chars": 2, "max_words": 1}), pa.table({"q_chars": [1, 1, 5], "q_words": [2, None, 1]})
    assert met(table, wanted) == {"min_chars": 2, "max_words": 1}
