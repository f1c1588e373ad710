"""Rules: bounds on signals, from `[source.quality]`. A rule says what is kept: `min_chars = 200` keeps a text of 200.

Keys are `min_<signal>` and `max_<signal>`, bounds are inclusive; `preset = "gopher"`, or a list of names, stands for
the rules of a preset, and a key of the manifest's own moves its bound. A text that fails several rules is gone because
of the one that stands first in the manifest. A missing value (null or NaN) fails no rule: nothing is removed without
evidence.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.manifest import suggestion
from redpajama.quality.measures.catalogue import SIGNALS
from redpajama.quality.measures.inline import PREFIX
from redpajama.quality.presets import OF_TOKENIZER, PRESETS
from redpajama.records import Reason

REASONS = {"min": Reason.BELOW_MINIMUM, "max": Reason.ABOVE_MAXIMUM}
PRESET = "preset"
KEYS = {f"{bound}_{signal}": (bound, signal) for signal in SIGNALS for bound in REASONS}


class Rule(NamedTuple):
    """One bound. A text with `signal` below a `min`, or above a `max`, does not stay."""

    bound: str  # min | max
    signal: str
    threshold: float

    @property
    def key(self) -> str:
        """Its name in the manifest: the ledger's evidence."""
        return f"{self.bound}_{self.signal}"

    @property
    def column(self) -> str:
        """The column that holds the signal."""
        return PREFIX + self.signal

    @property
    def reason(self) -> Reason:
        """Why a text that fails it is gone."""
        return REASONS[self.bound]

    def fails(self, values: np.ndarray) -> np.ndarray:
        """float64[n] -> bool[n]. NaN is neither below nor above."""
        return values < self.threshold if self.bound == "min" else values > self.threshold


class Failures(NamedTuple):
    """The rows that do not stay, in order, each with the first rule that it fails; arrays of one length."""

    rows: pa.Array  # int64, their places in the table
    reasons: pa.Array  # string: below-minimum | above-maximum
    rules: pa.Array  # string: the rule's key
    values: pa.Array  # float64: what was measured
    thresholds: pa.Array  # float64: what the rule asks


def expand(table: Mapping[str, Any]) -> dict[str, Any]:
    """`{"preset": "gopher", "min_chars": 200}` -> `{"max_gopher_...": 0.3, ..., "min_chars": 200}`: where the preset
    stands, its rules stand, in their order; a bound given beside it holds.

    Raises:
        ValueError: one line: no such preset.
    """
    expanded: dict[str, Any] = {}
    for key, value in table.items():
        if key != PRESET:
            expanded[key] = value
            continue
        for name in [value] if isinstance(value, str) else value:
            if name not in PRESETS:
                raise ValueError(f"quality.preset: no preset is called '{name}'" + suggestion(str(name), list(PRESETS)))
            for rule, bound in PRESETS[name].items():
                expanded.setdefault(rule, table.get(rule, float(bound.threshold)))
    return expanded


def of_tokenizer(table: Mapping[str, Any]) -> dict[str, float]:
    """The rules that a table's presets have besides where a tokenizer is given, but for those that it has itself."""
    named = table.get(PRESET, [])
    wanted = [OF_TOKENIZER.get(name, {}) for name in ([named] if isinstance(named, str) else named)]
    return {key: float(bound.threshold) for rules in wanted for key, bound in rules.items() if key not in table}


def sets_of(table: Mapping[str, Any]) -> set[str]:
    """The sets of signals that the rules are about; "inline" is one of them."""
    return {SIGNALS[rule.signal].set for rule in parse(table)}


def parse(table: Mapping[str, Any]) -> tuple[Rule, ...]:
    """`{"min_chars": 200, ...}` -> rules in that order, presets' among them.

    Raises:
        ValueError: one line that names the key: no such signal, not a number, or nothing could be kept.
    """
    rules = tuple(_rule(key, value) for key, value in expand(table).items())
    thresholds = {rule.key: rule.threshold for rule in rules}
    for signal in SIGNALS:
        low, high = thresholds.get(f"min_{signal}", -np.inf), thresholds.get(f"max_{signal}", np.inf)
        if low > high:
            raise ValueError(
                f"quality.min_{signal}: {low:g} is more than max_{signal} = {high:g}: nothing would be kept"
            )
    return rules


def _rule(key: str, value: object) -> Rule:
    if key not in KEYS:
        same_bound = [known for known in KEYS if known[:4] == key[:4]]
        raise ValueError(f"quality.{key}: no such rule" + _hint(key, same_bound or [PRESET, *KEYS]))
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"quality.{key}: {value!r} is not a number")
    bound, signal = KEYS[key]
    if signal.endswith("_fraction") and not 0 <= value <= 1:
        raise ValueError(f"quality.{key}: {value:g} is not a fraction: 0 to 1")
    return Rule(bound, signal, float(value))


def _hint(key: str, known: list[str]) -> str:
    """A near rule, or where the list of all stands."""
    hint = suggestion(key, known)
    return hint if hint.startswith("; did") else "; `redpajama signals` lists the signals: min_… or max_… and a name"


def judge(table: pa.Table | pa.RecordBatch, rules: Sequence[Rule]) -> Failures:
    """Signal columns -> the rows that fail, and why. `table` has at least the columns that the rules name."""
    first = np.full(table.num_rows, len(rules))
    values = np.full(table.num_rows, np.nan)
    for number in reversed(range(len(rules))):  # the first rule is written last
        measured = _values(table, rules[number])
        fails = rules[number].fails(measured)
        first[fails], values[fails] = number, measured[fails]
    rows = np.flatnonzero(first < len(rules))
    which = pa.array(first[rows])
    return Failures(
        pa.array(rows),
        pa.array([rule.reason.value for rule in rules], pa.string()).take(which),
        pa.array([rule.key for rule in rules], pa.string()).take(which),
        pa.array(values[rows]),
        pa.array([rule.threshold for rule in rules], pa.float64()).take(which),
    )


def met(table: pa.Table | pa.RecordBatch, rules: Sequence[Rule]) -> dict[str, int]:
    """{a rule's key: the rows that fail it}, whichever rule they fail first."""
    return {rule.key: int(np.count_nonzero(rule.fails(_values(table, rule)))) for rule in rules}


def _values(table: pa.Table | pa.RecordBatch, rule: Rule) -> np.ndarray:
    """float64[n]; NaN for a missing one."""
    return pc.fill_null(pc.cast(table.column(rule.column), pa.float64()), np.nan).to_numpy()
