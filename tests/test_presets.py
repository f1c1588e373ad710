"""Presets: what stands in a manifest, which rule is the reason, and that datatrove's own rules decide the same."""

import gzip
import json
import re
import string
from collections import Counter

import pyarrow as pa
import pytest
from conftest import SHARED, needs_shared
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_signals import GOPHER_STOPS, MARKS, STOPS, ngrams, repeated, skipped_chars
from test_measures import PIECES, REPEATING

from redpajama.manifest import Manifest
from redpajama.preflight import complete
from redpajama.quality import rules
from redpajama.quality.cleaning import clean_lines, count_sentences
from redpajama.quality.measures import batch as measures
from redpajama.quality.measures import inline
from redpajama.quality.measures.catalogue import SIGNALS
from redpajama.quality.presets import PRESETS, presets_of

NAMES = ["gopher-repetition", "gopher-quality", "fineweb"]


def test_every_rule_of_every_preset_is_about_a_signal_and_says_where_its_threshold_is_from():
    for name, preset in PRESETS.items():
        assert len(rules.parse({"preset": name})) == len(preset)
        assert all(bound.source for bound in preset.values())
        assert {key[4:] for key in preset} <= SIGNALS.keys()
    assert presets_of("gopher_words") == {
        "gopher": "min 50, max 100000", "gopher-quality": "min 50, max 100000"
    }  # fmt: skip


def test_a_preset_stands_for_its_rules_in_their_order():
    table = rules.expand({"min_chars": 10, "preset": "gopher", "max_chars": 20})
    assert list(table) == ["min_chars", *PRESETS["gopher"], "max_chars"]
    both = rules.expand({"preset": ["gopher-repetition", "gopher-quality"]})
    assert both == rules.expand({"preset": "gopher"})
    assert rules.sets_of({"preset": "gopher", "min_chars": 1}) == {"gopher", "inline"}


@pytest.mark.parametrize("own_first", [True, False])
def test_a_key_of_the_manifests_own_moves_a_presets_bound(own_first):
    pairs = [("min_gopher_words", 7), ("preset", "gopher-quality")]
    table = rules.expand(dict(pairs if own_first else pairs[::-1]))
    assert table["min_gopher_words"] == 7
    assert len(table) == len(PRESETS["gopher-quality"])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"preset": "gofer"}, "quality.preset: no preset is called 'gofer'; did you mean 'gopher'?"),
        ({"preset": ["gopher", "fine-web"]}, "quality.preset: no preset is called 'fine-web'; did you mean 'fineweb'?"),
        ({"min_gopher_word": 1}, "quality.min_gopher_word: no such rule; did you mean 'min_gopher_words'?"),
        ({"preset": "gopher", "min_gopher_words": 200_000}, "quality.min_gopher_words: 200000 is more than max_gop"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(table, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        rules.parse(table)


# ---- datatrove's filters, in plain Python, with `str.split` for spaCy's words


def datatrove_repetition(text):
    """The first rule of GopherRepetitionFilter that fails."""
    if not text:
        return "empty"
    paragraphs, lines, words = re.split(r"\n{2,}", text.strip()), re.split("\n+", text), text.split()
    for unit, parts in (("paragraph", paragraphs), ("line", lines)):
        again, chars = repeated(parts)
        if again / len(parts) > 0.3:
            return f"max_gopher_repeated_{unit}_fraction"
        if chars / len(text) > 0.2:
            return f"max_gopher_repeated_{unit}_char_fraction"
    for n, bound in ((2, 0.2), (3, 0.18), (4, 0.16)):
        grams = [" ".join(gram) for gram in ngrams(words, n)]
        top = Counter(grams).most_common(1)
        if top and len(top[0][0]) * top[0][1] / len(text) > bound:
            return f"max_gopher_top_{n}gram_char_ratio"
    for n in range(5, 11):
        if skipped_chars(words, n) / len(text) > (20 - n) / 100:
            return f"max_gopher_repeated_{n}gram_char_fraction"
    return None


def datatrove_quality(text):
    """The first rule of GopherQualityFilter that fails."""
    words, lines = text.split(), text.splitlines()
    real = [word for word in words if not MARKS.issuperset(word)]
    if len(real) < 50:
        return "min_gopher_words"
    mean = sum(map(len, real)) / len(real)
    measured = [
        (len(real) > 100_000, "max_gopher_words"),
        (mean < 3, "min_gopher_mean_word_chars"),
        (mean > 10, "max_gopher_mean_word_chars"),
        (text.count("#") / len(words) > 0.1, "max_gopher_hash_ratio"),
        ((text.count("...") + text.count("…")) / len(words) > 0.1, "max_gopher_ellipsis_ratio"),
        (sum(line.lstrip()[:1] in {"•", "-"} for line in lines) / len(lines) > 0.9, "max_gopher_bullet_line_fraction"),
        (
            sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines) > 0.3,
            "max_gopher_ellipsis_line_fraction",
        ),
        (sum(any(map(str.isalpha, word)) for word in words) / len(words) < 0.8, "min_gopher_alpha_word_fraction"),
        (len(GOPHER_STOPS & {*words}) < 2, "min_gopher_stop_words"),
    ]
    return next((rule for fails, rule in measured if fails), None)


def datatrove_fineweb(text):
    """The first rule of FineWebQualityFilter that fails."""
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines or sum(line.endswith(STOPS) for line in lines) / len(lines) < 0.12:
        return "min_fineweb_stopped_line_fraction"
    if sum(len(line) <= 30 for line in lines) / len(lines) > 0.67:
        return "max_fineweb_short_line_fraction"
    if repeated(lines)[1] / len(text.replace("\n", "")) > 0.01:
        return "max_fineweb_repeated_line_char_fraction"
    return "max_fineweb_line_feed_ratio" if text.count("\n") / len(text.split()) > 0.3 else None


FILTERS = dict(zip(NAMES, (datatrove_repetition, datatrove_quality, datatrove_fineweb), strict=True))


def decisions(texts, preset):
    """For each text the rule of the preset that removes it, or None."""
    columns = measures.measure(pa.array(texts, pa.large_string()), ["gopher", "fineweb"])
    failing = rules.judge(pa.table(columns), rules.parse({"preset": preset}))
    gone = dict(zip(failing.rows.to_pylist(), failing.rules.to_pylist(), strict=True))
    return [gone.get(row) for row in range(len(texts))]


def near_a_bound(text, preset):
    """Rounding to 8 decimals may decide where a value is within 1e-8 of its bound."""
    columns = measures.measure(pa.array([text], pa.large_string()), ["gopher", "fineweb"])
    each = rules.parse({"preset": preset})
    return any(0 < abs(columns[rule.column][0].as_py() - rule.threshold) < 2e-8 for rule in each)


LONG = st.lists(st.one_of(PIECES, REPEATING, st.sampled_from(string.ascii_letters)), max_size=12).map(" and the ".join)


@pytest.mark.parametrize("preset", NAMES)
@settings(deadline=None, max_examples=60)
@given(text=st.one_of(LONG, LONG.map(lambda text: text * 3), st.just("")))
def test_a_preset_decides_as_datatrove_does_with_the_same_words(preset, text):
    [found] = decisions([text], preset)
    expected = FILTERS[preset](text)
    if expected == "empty":
        assert found is None  # an empty text repeats nothing: `min_gopher_words` removes it
    elif found != expected:
        assert near_a_bound(text, preset)


@needs_shared
@pytest.mark.parametrize("preset", NAMES)
def test_a_preset_decides_on_real_pages_as_datatrove_does_with_the_same_words(preset):
    with gzip.open(SHARED / "c4/wimbd/c4-sample.00000-of-00001.json.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file][:400]
    pages = (SHARED / "commoncrawl/dclm/agreement_data.jsonl").read_text(encoding="utf-8").splitlines()
    texts += [text for text in (json.loads(line).get("text", "") for line in pages) if text and len(text) < 20_000]
    assert decisions(texts, preset) == [FILTERS[preset](text) for text in texts]


def test_redpajama_v2s_default_rules_are_those_of_its_card():
    good = "Here is a text of quite ordinary words. " * 2 + " ".join(f"word{n}" for n in range(60))
    texts = [good, "too few words", good + " #" * 40, good.replace(" ", "")]
    columns = measures.measure(pa.array(texts, pa.large_string()), ["redpajama-v2"])
    failing = rules.judge(pa.table(columns), rules.parse({"preset": "redpajama-v2-default"}))
    assert dict(zip(failing.rows.to_pylist(), failing.rules.to_pylist(), strict=True)) == {
        1: "min_rps_doc_word_count",
        2: "max_rps_doc_symbol_to_word_ratio",
        3: "min_rps_doc_word_count",
    }


def test_c4s_page_rules():
    line = "Here are more than five words of text."
    texts = [
        f"{line}\n{line}\n{line}",
        f"{line}\nmenu",
        f"{line} lorem ipsum." * 3,
        f"{line}\nThis one has a {{ in it.",
    ]
    columns = measures.measure(pa.array(texts, pa.large_string()), ["c4"])
    failing = rules.judge(pa.table(columns), rules.parse({"preset": "c4"}))
    assert dict(zip(failing.rows.to_pylist(), failing.rules.to_pylist(), strict=True)) == {
        1: "min_c4_sentences",
        2: "max_c4_lorem_ipsum_lines",
        3: "max_c4_curly_bracket_lines",
    }


def c4_signals(texts):
    columns = measures.measure(pa.array(texts, pa.large_string()), ["c4"])
    return list(zip(columns["q_c4_kept_line_fraction"].to_pylist(), columns["q_c4_sentences"].to_pylist(), strict=True))


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("It was so in the year 1500.[12]", 1),
        ("It was so in the year 1500.[edit][citation needed][]", 1),
        ("It was so in the year 1500.[١٢]", 1),  # \d is any script's digit
        ("It was so in the year 1500. [12]", 0),  # the space stays, as in C4
        ("It was so in the year 1500.[a]", 0),
        ("Only four words[1] here.", 0),
        (f"It has one word {'[1]' * 400}that is long.", 0),  # looked at with its marks
        ("[12]", 0),
    ],
)
def test_citation_marks_are_gone_before_the_end_of_a_line_is_looked_at(line, kept):
    assert c4_signals([line]) == [(kept, kept)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_lines_of_c4_end_where_pythons_do(end):
    line = "Here are more than five words of text."
    assert c4_signals([f"{line}{end}menu{end}{end}{line} And one more."]) == [(0.66666667, 3)]


def cleaned(text):
    """C4's own two numbers of a page that no line takes along."""
    page, lines = clean_lines(text), [line for line in text.splitlines() if line.strip()]
    return (round(len(page.lines) / len(lines), 8) if lines else 0.0, min(3, count_sentences(page.lines)))


@settings(deadline=None)
@given(LONG.map(lambda text: text.replace("orem", "").replace("{", "").replace("\u212a", "")))
def test_c4s_signals_are_those_of_its_cleaning(text):
    [(fraction, sentences)] = c4_signals([text])
    assert (fraction, min(3, sentences)) == cleaned(text)


@needs_shared
def test_c4s_signals_on_real_pages_are_those_of_its_cleaning():
    rows = (SHARED / "commoncrawl/dclm/agreement_data.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [text for text in (json.loads(row).get("text") or "" for row in rows) if clean_lines(text).reason is None]
    found = [(fraction, min(3, sentences)) for fraction, sentences in c4_signals(texts)]
    assert len(texts) > 200
    assert found == [cleaned(text) for text in texts]


def test_redpajamas_github_rules_need_no_further_stage():
    texts = ["x = 1\n", "y" * 1001, "z" * 200, "{}();" * 15]
    failing = rules.judge(
        pa.table(inline.measure(pa.array(texts, pa.large_string()))), rules.parse({"preset": "redpajama-github"})
    )
    assert failing.rules.to_pylist() == ["max_max_line_chars", "max_mean_line_chars", "min_alnum_fraction"]
    assert rules.sets_of({"preset": "redpajama-github"}) == {"inline"}


@pytest.mark.parametrize(
    ("tokenizer", "own", "bound"),
    [
        ({"path": "t.json"}, {}, 1.5),
        ({"path": "t.json"}, {"min_alpha_chars_per_token": 2.0}, 2.0),
        ({"train": {"vocab_size": 300}}, {}, None),  # it would be trained on what the rules leave
        (None, {}, None),
    ],
)
def test_redpajamas_github_rules_are_four_where_a_tokenizer_is_given(tokenizer, own, bound):
    source = {"name": "code", "pipeline": "github", "inputs": ["x"], "quality": {"preset": "redpajama-github", **own}}
    manifest = complete(Manifest(name="m", seed=1, tokenizer=tokenizer, source=[source]))
    table = rules.expand(manifest.source[0].quality)
    assert table.get("min_alpha_chars_per_token") == bound
    assert len(table) == (4 if bound else 3)
    assert complete(manifest) == manifest
