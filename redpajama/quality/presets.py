"""Sets of rules that others filtered with, by name: `preset = "gopher"` in `[source.quality]`. A bound is inclusive:
`max_x = 0.3` keeps 0.3. The order of a preset is that of its makers' code; the first rule that fails is the reason.

What is left out: C4's line rules and its bad words are a transform of the text; the preset `c4` holds what C4 asks of a
page. StarCoder's rules go by language: option `filters` of the pipeline. RedPajama-1T's fourth rule for GitHub (letters
for each token) needs a given tokenizer, and its time: `redpajama-github` has it where the manifest gives one.

How a preset decides otherwise than its makers' code, with counts, stands in DIFFERENCES; bench/quality.py prints them.
"""

from typing import NamedTuple

TABLE_A1 = "Gopher (arXiv 2112.11446), table A1"
APPENDIX = "Gopher (arXiv 2112.11446), appendix A.1.1"
FINEWEB = "FineWeb (arXiv 2406.17557), section 3.6; datatrove 0.10.1, fineweb_quality_filter.py"
C4 = "TensorFlow Datasets, text/c4_utils.py, get_clean_page_fn"
GITHUB = "RedPajama-1T, branch rp_v1, data_prep/github/github_run_filter.py"
CARD = "RedPajama-V2's data card, gopher_rules_pass"


class Bound(NamedTuple):
    """A threshold and where it is from."""

    threshold: float
    source: str


GOPHER_REPETITION = {
    "max_gopher_repeated_paragraph_fraction": Bound(0.3, TABLE_A1),
    "max_gopher_repeated_paragraph_char_fraction": Bound(0.2, TABLE_A1),
    "max_gopher_repeated_line_fraction": Bound(0.3, TABLE_A1),
    "max_gopher_repeated_line_char_fraction": Bound(0.2, TABLE_A1),
    "max_gopher_top_2gram_char_ratio": Bound(0.2, TABLE_A1),
    "max_gopher_top_3gram_char_ratio": Bound(0.18, TABLE_A1),
    "max_gopher_top_4gram_char_ratio": Bound(0.16, TABLE_A1),
    "max_gopher_repeated_5gram_char_fraction": Bound(0.15, TABLE_A1),
    "max_gopher_repeated_6gram_char_fraction": Bound(0.14, TABLE_A1),
    "max_gopher_repeated_7gram_char_fraction": Bound(0.13, TABLE_A1),
    "max_gopher_repeated_8gram_char_fraction": Bound(0.12, TABLE_A1),
    "max_gopher_repeated_9gram_char_fraction": Bound(0.11, TABLE_A1),
    "max_gopher_repeated_10gram_char_fraction": Bound(0.10, TABLE_A1),
}
GOPHER_QUALITY = {
    "min_gopher_words": Bound(50, APPENDIX),
    "max_gopher_words": Bound(100_000, APPENDIX),
    "min_gopher_mean_word_chars": Bound(3, APPENDIX),
    "max_gopher_mean_word_chars": Bound(10, APPENDIX),
    "max_gopher_hash_ratio": Bound(0.1, APPENDIX),
    "max_gopher_ellipsis_ratio": Bound(0.1, APPENDIX),
    "max_gopher_bullet_line_fraction": Bound(0.9, APPENDIX),
    "max_gopher_ellipsis_line_fraction": Bound(0.3, APPENDIX),
    "min_gopher_alpha_word_fraction": Bound(0.8, APPENDIX),
    "min_gopher_stop_words": Bound(2, APPENDIX),
}
PRESETS: dict[str, dict[str, Bound]] = {
    "gopher": {**GOPHER_REPETITION, **GOPHER_QUALITY},
    "gopher-repetition": GOPHER_REPETITION,
    "gopher-quality": GOPHER_QUALITY,
    "fineweb": {
        "min_fineweb_stopped_line_fraction": Bound(0.12, FINEWEB),
        "max_fineweb_short_line_fraction": Bound(0.67, FINEWEB),
        "max_fineweb_repeated_line_char_fraction": Bound(0.01, f"{FINEWEB} (the paper says 0.1)"),
        "max_fineweb_line_feed_ratio": Bound(0.3, f"{FINEWEB} (the paper has no such rule)"),
    },
    "c4": {
        "max_c4_lorem_ipsum_lines": Bound(0, C4),
        "max_c4_curly_bracket_lines": Bound(0, C4),
        "min_c4_sentences": Bound(3, C4),
    },
    "redpajama-github": {
        "max_max_line_chars": Bound(1000, GITHUB),
        "max_mean_line_chars": Bound(100, GITHUB),
        "min_alnum_fraction": Bound(0.25, GITHUB),
    },
    "redpajama-v2-default": {
        "min_rps_doc_word_count": Bound(50, CARD),
        "max_rps_doc_word_count": Bound(10_000, CARD),
        "min_rps_doc_mean_word_length": Bound(3, CARD),
        "max_rps_doc_mean_word_length": Bound(10, CARD),
        "max_rps_doc_symbol_to_word_ratio": Bound(0.1, CARD),
        "max_rps_lines_start_with_bulletpoint_mean": Bound(0.9, CARD),
        "max_rps_doc_frac_chars_top_2gram": Bound(0.2, CARD),
    },
}

OF_TOKENIZER = {  # rules that a preset has besides, where the manifest gives a tokenizer by path
    "redpajama-github": {"min_alpha_chars_per_token": Bound(1.5, GITHUB)},
}

_PAGES = "1,281 pages (1,000 of C4, 281 of CommonCrawl)"
_WORDS = (
    "words are those of str.split(); datatrove 0.10.1 takes spaCy's by default, which count each punctuation mark as a "
    f"word: gopher and fineweb together decide 121 of {_PAGES} otherwise than its filters, and none with the same words"
)
_ROUNDED = "values are rounded to 8 decimals before they are compared; an empty text is removed by min_gopher_words"
_ALPHA = "107 of the 121: datatrove removes 104 since fewer than 0.8 of spaCy's words have a letter, keeps 3 short ones"
_NGRAMS = "14 of the 121: datatrove removes 13, keeps 1; n-grams are equal when their words are, there when their "
_NGRAMS += "characters are ('ab c' is 'a bc')"
DIFFERENCES: dict[str, tuple[str, ...]] = {
    "gopher": (_WORDS, _ALPHA, _NGRAMS, _ROUNDED),
    "gopher-repetition": (_WORDS, _NGRAMS, _ROUNDED),
    "gopher-quality": (_WORDS, _ALPHA, _ROUNDED),
    "fineweb": (_WORDS, "none of the 121 is decided by these rules"),
    "c4": (f"none of {_PAGES} is decided otherwise than by clean_page of TensorFlow Datasets with NLTK 3.5",),
    "redpajama-github": ("min_alpha_chars_per_token = 1.5 only where the manifest gives a tokenizer by path",),
    "redpajama-v2-default": ("none is known; not compared",),
}


def presets_of(signal: str) -> dict[str, str]:
    """The presets with a rule on a signal: {"gopher": "max 0.3"}."""
    found: dict[str, list[str]] = {}
    for name, rules in PRESETS.items():
        for key, bound in rules.items():
            if key[4:] == signal:
                found.setdefault(name, []).append(f"{key[:3]} {bound.threshold:g}")
    return {name: ", ".join(bounds) for name, bounds in found.items()}
