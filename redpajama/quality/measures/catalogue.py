"""Every signal: name, set, unit, definition, source. The names of RedPajama-V2 are its own.

Signals of the set `inline` are columns of the documents; the others are measured by the stage `signals`, where a source
asks for their set, or has a rule on one of them. `characters.py`, `words.py` and `lines.py` define words and lines.
"""

from typing import NamedTuple

RPV2 = "RedPajama-V2 (arXiv 2411.12372; app/src/core/quality_signals/{}.py)"
NATURAL, REPETITIONS, LINES, CONTENT = map(RPV2.format, ("natural_language", "repetitions", "lines", "content"))
GOPHER = "Gopher (arXiv 2112.11446, appendix A.1.1); as datatrove 0.10.1, gopher_{}_filter.py"
QUALITY, REPETITION = map(GOPHER.format, ("quality", "repetition"))
FINEWEB = "FineWeb (arXiv 2406.17557, section 3.6); as datatrove 0.10.1, fineweb_quality_filter.py"
C4 = "C4 (arXiv 1910.10683, section 2.2; TensorFlow Datasets, text/c4_utils.py)"
GITHUB = "RedPajama-1T (branch rp_v1, data_prep/github, get_filecontent_stats)"
STARCODER = "StarCoder (arXiv 2305.06161, section 3.2; bigcode-dataset, preprocessing/filtering.py)"

SETS = ("redpajama-v2", "gopher", "fineweb", "c4", "code")  # of the stage's kernels; `inline` is always there
TOKENS = "tokens"  # the set that the build's own tokenizer measures: at its speed, so "all" does not mean it


class Signal(NamedTuple):
    """One signal; its column is `q_` and its name."""

    name: str
    set: str
    unit: str  # count, characters, fraction (of what the definition says; 0 to 1 if not said), mean, ratio, nats
    definition: str
    source: str


def _ngrams(prefix: str, sizes: range, name: str) -> dict[str, int]:
    return {f"{prefix}{name.format(size)}": size for size in sizes}


_INLINE = [
    ("chars", "characters", "characters (code points) of the text", GITHUB),
    ("bytes", "bytes", "bytes of the text as UTF-8", GITHUB),
    ("words", "count", "white-space words", "Gopher (arXiv 2112.11446, appendix A.1.1)"),
    ("lines", "count", "lines, delimited by line feeds", GITHUB),
    ("max_line_chars", "characters", "characters of the longest line, without its line feed", GITHUB),
    ("mean_line_chars", "mean", "characters of the text, line feeds too, for each line", GITHUB),
    ("alnum_fraction", "fraction", "characters that are letters or digits (categories L, N)", GITHUB),
    ("alpha_fraction", "fraction", "characters that are letters (category L)", STARCODER),
]
_RPV2 = [
    ("rps_doc_curly_bracket", "fraction", "characters that are { or }", CONTENT),
    ("rps_doc_lorem_ipsum", "ratio", "occurrences of 'lorem ipsum' for each character of the folded text", CONTENT),
    ("rps_doc_ldnoobw_words", "count", "folded word sequences that `bad_words` lists; null without a list", CONTENT),
    ("rps_doc_stop_word_fraction", "fraction", "tokens that are stop words as they stand (case counts)", CONTENT),
    ("rps_doc_num_sentences", "count", r"matches of \b[^.!?]+[.!?]*", NATURAL),
    ("rps_doc_word_count", "count", "folded words", NATURAL),
    ("rps_doc_mean_word_length", "mean", "characters of a folded word", NATURAL),
    ("rps_doc_symbol_to_word_ratio", "ratio", "occurrences of #, ... and … for each token", NATURAL),
    ("rps_doc_frac_lines_end_with_ellipsis", "fraction", "lines that end with ... or …, white space stripped", NATURAL),
    ("rps_doc_frac_no_alph_words", "fraction", "tokens without a letter a-z or A-Z", NATURAL),
    ("rps_doc_frac_unique_words", "fraction", "different folded words, of all", NATURAL),
    ("rps_doc_unigram_entropy", "nats", "entropy of the folded words' frequencies", NATURAL),
    ("rps_doc_frac_all_caps_words", "fraction", "tokens all upper-case (str.isupper)", NATURAL),
    *(
        (
            name,
            "ratio",
            f"characters of the most frequent {n}-gram of folded words times its count; 0 if 1",
            REPETITIONS,
        )
        for name, n in _ngrams("rps_doc_frac_chars_", range(2, 5), "top_{}gram").items()
    ),
    *(
        (name, "fraction", f"characters of folded words in {n}-grams that stand twice, each counted once", REPETITIONS)
        for name, n in _ngrams("rps_doc_frac_chars_", range(5, 11), "dupe_{}grams").items()
    ),
    (
        "rps_lines_ending_with_terminal_punctution_mark_mean",
        "fraction",
        "lines ending with . ! ? or ”, stripped",
        LINES,
    ),
    ("rps_lines_javascript_counts_sum", "count", "folded words 'javascript', over all lines", LINES),
    ("rps_lines_num_words_mean", "mean", "folded words of a line", LINES),
    ("rps_lines_uppercase_letter_fraction_mean", "mean", "fraction of upper-case characters of a line", LINES),
    ("rps_lines_numerical_chars_fraction_mean", "mean", "fraction of str.isnumeric in a folded line", LINES),
    (
        "rps_lines_start_with_bulletpoint_mean",
        "fraction",
        "lines starting with • ‣ ▶ ◀ ◦ ■ □ ▪ ▫ or –, stripped",
        LINES,
    ),
]
_GOPHER = [
    ("gopher_words", "count", "white-space words that are not all marks", QUALITY),
    ("gopher_mean_word_chars", "mean", "characters of such a word", QUALITY),
    ("gopher_hash_ratio", "ratio", "occurrences of # for each white-space word", QUALITY),
    ("gopher_ellipsis_ratio", "ratio", "occurrences of ... and … for each white-space word", QUALITY),
    ("gopher_bullet_line_fraction", "fraction", "lines (str.splitlines) starting with • or -, stripped", QUALITY),
    ("gopher_ellipsis_line_fraction", "fraction", "lines (str.splitlines) ending with ... or …, stripped", QUALITY),
    ("gopher_alpha_word_fraction", "fraction", "white-space words with a letter (str.isalpha)", QUALITY),
    ("gopher_stop_words", "count", "different ones of: the be to of and that have with", QUALITY),
    (
        "gopher_repeated_paragraph_fraction",
        "fraction",
        "paragraphs (between 2+ line feeds) that stood before",
        REPETITION,
    ),
    ("gopher_repeated_paragraph_char_fraction", "fraction", "their characters, of the text", REPETITION),
    ("gopher_repeated_line_fraction", "fraction", "lines (between line feeds) that stood before", REPETITION),
    ("gopher_repeated_line_char_fraction", "fraction", "their characters, of the text", REPETITION),
    *(
        (
            name,
            "ratio",
            f"characters and spaces of the most frequent word {n}-gram times its count, to the text",
            REPETITION,
        )
        for name, n in _ngrams("gopher_", range(2, 5), "top_{}gram_char_ratio").items()
    ),
    *(
        (name, "fraction", f"characters of word {n}-grams seen before, reading on behind each, of the text", REPETITION)
        for name, n in _ngrams("gopher_", range(5, 11), "repeated_{}gram_char_fraction").items()
    ),
]
_FINEWEB = [
    ("fineweb_stopped_line_fraction", "fraction", "lines with text ending with a Sentence_Terminal character", FINEWEB),
    ("fineweb_short_line_fraction", "fraction", "lines with text of at most 30 characters", FINEWEB),
    (
        "fineweb_repeated_line_char_fraction",
        "fraction",
        "characters of lines that stood before, line feeds left out",
        FINEWEB,
    ),
    ("fineweb_line_feed_ratio", "ratio", "line feeds for each white-space word", FINEWEB),
]
_C4 = [
    (
        "c4_kept_line_fraction",
        "fraction",
        "lines with text (str.splitlines) that C4 keeps: without citations an end mark, 5 words, no policy phrase ...",
        C4,
    ),
    (
        "c4_sentences",
        "count",
        "sentences of the lines that C4 keeps: fewer than 3 as NLTK's Punkt counts, more as rps_doc_num_sentences does",
        C4,
    ),
    ("c4_lorem_ipsum_lines", "count", "of lines with an end mark and 5 words, those with 'lorem ipsum'", C4),
    ("c4_curly_bracket_lines", "count", "of the same without 'javascript', those with {", C4),
    ("c4_javascript_lines", "count", "of lines with an end mark and 5 words, those with 'javascript'", C4),
    ("c4_policy_lines", "count", "of the rest, those with 'terms of use' or another of C4's policy phrases", C4),
]
_CODE = [
    ("code_xml_declaration", "count", "1 if '<?xml version=' stands in the first 100 characters, else 0", STARCODER),
]
_TOKENS = [
    ("tokens", "count", "tokens of the text, end of document not among them", "the manifest's [tokenizer]"),
    ("tokens_per_char", "ratio", "tokens for each character", "SantaCoder (arXiv 2301.03988), turned round"),
    ("alpha_chars_per_token", "ratio", "letters (category L) for each token", f"{GITHUB}; github_run_filter.py"),
]

_GROUPS = (_INLINE, _RPV2, _GOPHER, _FINEWEB, _C4, _CODE, _TOKENS)
SIGNALS = {
    row[0]: Signal(row[0], group, *row[1:])
    for group, rows in zip(("inline", *SETS, TOKENS), _GROUPS, strict=True)
    for row in rows
}


def names_of(sets: list[str]) -> list[str]:
    """The signals of some sets, in the catalogue's order."""
    return [signal.name for signal in SIGNALS.values() if signal.set in sets]
