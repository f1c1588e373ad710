"""Every signal of the stage `signals` in plain Python, from its definition: what the kernels are checked against."""

import math
import re
import string
import unicodedata
from collections import Counter

from redpajama.quality import sentences
from redpajama.quality.measures.characters import CCNET_MARKS, CONTROLS, sentence_ends
from redpajama.quality.measures.stop_words import ENGLISH

STOPS = tuple(map(chr, sentence_ends()))
MARKS = {*string.punctuation, *CCNET_MARKS, *map(chr, CONTROLS), *STOPS}
BULLETS = tuple("\u2022\u2023\u25b6\u25c0\u25e6\u25a0\u25a1\u25aa\u25ab\u2013")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
GOPHER_STOPS = {"the", "be", "to", "of", "and", "that", "have", "with"}
SENTENCE = re.compile(r"\b[^.!?]+[.!?]*")
CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
TOKEN = re.compile(r"\w+|[^\w\s]+")
ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def rounded(value):
    """To 8 decimals, as numpy rounds."""
    return round(value * 1e8) / 1e8


def share(part, whole, of_nothing=0.0):
    return rounded(part / whole) if whole else of_nothing


def ngrams(words, n):
    return [tuple(words[place : place + n]) for place in range(len(words) - n + 1)]


def folded(text):
    """RedPajama-V2's normalised text, but for a sigma at the end of a word."""
    text = text.translate(NO_PUNCTUATION).replace("Σ", "σ").lower()
    return unicodedata.normalize("NFD", re.sub(r"\s+", " ", text.strip()))


def lines_of(text):
    return text.removesuffix("\n").split("\n") if text else []


# ---- RedPajama-V2


def redpajama_v2(text, stop_words=ENGLISH, bad_words=None):
    return {
        **of_folded_words(text, bad_words),
        **of_tokens(text, stop_words),
        **of_lines(text),
        "rps_doc_curly_bracket": share(text.count("{") + text.count("}"), len(text)),
        "rps_doc_num_sentences": len(SENTENCE.findall(text)),
    }


def of_folded_words(text, bad_words):
    normal = folded(text)
    words = normal.split()
    chars, counts = sum(map(len, words)), Counter(words)
    entropy = 0.0
    for count in counts.values():
        entropy += -count / len(words) * math.log(count / len(words))
    found = {
        "rps_doc_word_count": len(words),
        "rps_doc_mean_word_length": share(chars, len(words), None),
        "rps_doc_frac_unique_words": share(len(counts), len(words), None),
        "rps_doc_unigram_entropy": rounded(entropy) if words else None,
        "rps_doc_lorem_ipsum": share(len(re.findall("lorem ipsum", normal)), len(normal)),
        "rps_doc_ldnoobw_words": None if not bad_words else listed(words, bad_words),
    }
    for n in range(2, 5):
        found[f"rps_doc_frac_chars_top_{n}gram"] = share(top_chars(words, n), chars)
    for n in range(5, 11):
        found[f"rps_doc_frac_chars_dupe_{n}grams"] = share(covered_chars(words, n), chars)
    return found


def listed(words, bad_words):
    sizes = {1 + entry.count(" ") for entry in bad_words}
    return sum(" ".join(gram) in bad_words for size in sizes for gram in ngrams(words, size))


def top_chars(words, n):
    top = Counter(ngrams(words, n)).most_common(1)
    return len("".join(top[0][0])) * top[0][1] if top and top[0][1] > 1 else 0


def covered_chars(words, n):
    counts = Counter(ngrams(words, n))
    covered = [False] * len(words)
    for place, gram in enumerate(ngrams(words, n)):
        if counts[gram] > 1:
            covered[place : place + n] = [True] * n
    return sum(len(word) for word, is_covered in zip(words, covered, strict=True) if is_covered)


def of_tokens(text, stop_words):
    tokens = TOKEN.findall(text)
    symbols = text.count("#") + text.count("...") + text.count("…")
    stops = sum(token in stop_words for token in tokens)
    return {
        "rps_doc_stop_word_fraction": share(stops, len(tokens)) if folded(text).split() else 0.0,
        "rps_doc_symbol_to_word_ratio": share(symbols, len(tokens), None),
        "rps_doc_frac_no_alph_words": share(sum(not re.search("[a-zA-Z]", t) for t in tokens), len(tokens), None),
        "rps_doc_frac_all_caps_words": share(sum(map(str.isupper, tokens)), len(tokens), None),
    }


def of_lines(text):
    lines = lines_of(text)
    raw = re.findall(r"[^\n]*\n|[^\n]+$", text)
    assert len(raw) == len(lines)
    normal = [folded(line) for line in lines]
    uppers = numbers = 0.0
    for line, folded_line in zip(raw, normal, strict=True):
        uppers += sum(map(str.isupper, line)) / len(line)
        numbers += sum(map(str.isnumeric, folded_line)) / max(1, len(folded_line))
    count, none = len(lines), None
    return {
        "rps_doc_frac_lines_end_with_ellipsis": share(
            sum(line.rstrip().endswith(("...", "…")) for line in lines), count, none
        ),
        "rps_lines_ending_with_terminal_punctution_mark_mean": share(
            sum(line.rstrip().endswith((".", "!", "?", "”")) for line in lines), count, none
        ),
        "rps_lines_javascript_counts_sum": sum(line.split().count("javascript") for line in normal),
        "rps_lines_num_words_mean": share(sum(len(line.split()) for line in normal), count, none),
        "rps_lines_uppercase_letter_fraction_mean": share(uppers, count, none),
        "rps_lines_numerical_chars_fraction_mean": share(numbers, count, none),
        "rps_lines_start_with_bulletpoint_mean": share(
            sum(line.lstrip().startswith(BULLETS) for line in lines), count, none
        ),
    }


# ---- Gopher and FineWeb, as datatrove 0.10.1 measures them


def gopher(text):
    words = text.split()
    lines = text.splitlines()
    real = [word for word in words if not MARKS.issuperset(word)]
    stripped = [line.strip() for line in lines]
    return {
        "gopher_words": len(real),
        "gopher_mean_word_chars": share(sum(map(len, real)), len(real)),
        "gopher_hash_ratio": share(text.count("#"), len(words)),
        "gopher_ellipsis_ratio": share(text.count("...") + text.count("…"), len(words)),
        "gopher_bullet_line_fraction": share(sum(line.startswith(("•", "-")) for line in stripped), len(lines)),
        "gopher_ellipsis_line_fraction": share(sum(line.endswith(("...", "…")) for line in stripped), len(lines)),
        "gopher_alpha_word_fraction": share(sum(any(map(str.isalpha, word)) for word in words), len(words)),
        "gopher_stop_words": len(GOPHER_STOPS & {*words}),
        **gopher_repetition(text, words),
    }


def gopher_repetition(text, words):
    paragraphs = re.split(r"\n{2,}", text.strip())
    lines = re.split(r"\n+", text)
    found = {}
    for unit, parts in (("paragraph", paragraphs), ("line", lines)):
        again, chars = repeated(parts)
        found[f"gopher_repeated_{unit}_fraction"] = share(again, len(parts))
        found[f"gopher_repeated_{unit}_char_fraction"] = share(chars, len(text))
    for n in range(2, 5):
        top = Counter(ngrams(words, n)).most_common(1)
        found[f"gopher_top_{n}gram_char_ratio"] = share(len(" ".join(top[0][0])) * top[0][1] if top else 0, len(text))
    for n in range(5, 11):
        found[f"gopher_repeated_{n}gram_char_fraction"] = share(skipped_chars(words, n), len(text))
    return found


def repeated(parts):
    """(parts that stood before, their characters)"""
    seen, again, chars = set(), 0, 0
    for part in parts:
        if part in seen:
            again += 1
            chars += len(part)
        seen.add(part)
    return again, chars


def skipped_chars(words, n):
    grams, seen, chars, place = ngrams(words, n), set(), 0, 0
    while place < len(grams):
        if grams[place] in seen:
            chars += len("".join(grams[place]))
            place += n
        else:
            seen.add(grams[place])
            place += 1
    return chars


def fineweb(text):
    lines = [line for line in text.split("\n") if line.strip()]
    return {
        "fineweb_stopped_line_fraction": share(sum(line.endswith(STOPS) for line in lines), len(lines)),
        "fineweb_short_line_fraction": share(sum(len(line) <= 30 for line in lines), len(lines)),
        "fineweb_repeated_line_char_fraction": share(repeated(lines)[1], len(text.replace("\n", ""))),
        "fineweb_line_feed_ratio": share(text.count("\n"), len(text.split())),
    }


# ---- C4 and code


def c4(text):
    full = [line.strip() for line in text.splitlines() if line.strip()]
    counts = Counter(outcome for line in full for outcome in c4_line(line))
    kept = [CITATION.sub("", line) for line in full if "kept" in c4_line(line)]
    marks = sum(max(1, len(SENTENCE.findall(line))) for line in kept)
    punkts = sum(map(sentences.count, kept))
    return {
        "c4_kept_line_fraction": share(len(kept), len(full)),
        "c4_sentences": punkts if punkts < 3 else max(3, marks),
        "c4_lorem_ipsum_lines": counts["lorem"],
        "c4_curly_bracket_lines": counts["curly"],
        "c4_javascript_lines": counts["javascript"],
        "c4_policy_lines": counts["policy"],
    }


def c4_line(line):
    if max(map(len, line.split())) > 1000:
        return []
    line = CITATION.sub("", line)
    if not line.endswith((".", "?", "!", '"')) or line.endswith("...") or len(line.split()) < 5:
        return []
    small = line.translate(ASCII_LOWER)
    found = ["lorem"] if "lorem ipsum" in small else []
    if "javascript" in small:
        return [*found, "javascript"]
    found += ["curly"] if "{" in line else []
    return [*found, "policy" if any(phrase in small for phrase in POLICY) else "kept"]


def code(text):
    return {"code_xml_declaration": int("<?xml version=" in text[:100])}


def reference(text, bad_words=None, stop_words=ENGLISH):
    """All signals of one text; for comparing them all."""
    return {
        **redpajama_v2(text, stop_words, bad_words), **gopher(text), **fineweb(text), **c4(text), **code(text),
    }  # fmt: skip
