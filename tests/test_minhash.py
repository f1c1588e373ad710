"""MinHash: the kernels agree with plain Python on any text, estimates with datasketch, candidates with the curve."""

import re
import subprocess
import sys
import tarfile
import unicodedata
from fractions import Fraction
from functools import cache
from itertools import pairwise
from math import comb
from string import punctuation

import datasketch
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from conftest import SHARED, needs_shared
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from redpajama import kernels
from redpajama.dedup.near import minhash, ngrams
from redpajama.dedup.near.minhash import PRESETS, MinHashParams, curve
from redpajama.dedup.near.normal import composed
from redpajama.dedup.near.pairs import doubtful
from redpajama.hashing import normal_text_digest
from redpajama.kernels import UNSPACED

MASK = (1 << 64) - 1
SIGNS = ["", " ", "\n", "\x00", "\u0301", "\U000e0100", "😀", "don't", "don’t", "_x_1", "a b c d e", "٣7½"]
LETTERS = ["Straße", "É", "e\u0301", "İ", "Å", "\u212b", "ﬁ", "Ω", "й", "и\u0306", "𝒳", "한국어", "हिन्दी"]
APART = ["か\u3099", "が", "\u3099", "\u1112\u1161\u11ab", "\u1112", "\u1161", "각", "\u11a8", "ক\u09c7\u09be"]  # NFD
MARKS = [
    "\u0323",
    "\u0301",
    "\u0338",
    "\u064e",
    "\u0653",
    "ا\u0654",
    "أ",
    "م\u064f",
    "\u05b8",
    "ש\u05c1",
    "\u0e38",
    "\u0e48",
]
HIDDEN = ["\u00ad", "\u200c", "\u200d", "\u200b", "\ufeff", "\u2060", "\ufe0f", "\u0640", "ꦗꦮ", "ᨠᩣ"]
LETTERS += [*APART, *MARKS, *HIDDEN]
PIECES = st.lists(st.sampled_from([*SIGNS, *LETTERS, "文字", "ひら", "カタ", "ไทย", "\U00020000"]), max_size=30)
TEXTS = st.one_of(st.text(), PIECES.map(" ".join), PIECES.map("".join))
UNITS = st.sampled_from(["word", "char", "code"])


def arrow(texts):
    return pa.array(texts, pa.large_string())


# ---- plain Python


@cache
def is_in(character, pattern):
    return pc.match_substring_regex(arrow([character]), pattern)[0].as_py()


@cache
def fold(character):
    parts = pc.utf8_normalize(arrow([character]), form="NFD")[0].as_py()
    bare = parts[0] if len(parts) > 1 and all(is_in(mark, ngrams.MARKS) for mark in parts[1:]) else character
    return pc.utf8_lower(arrow([bare]))[0].as_py()


SILENT = f"{ngrams.MARKS}|{ngrams.UNSEEN}"


def words(text, unit):
    """The definitions of `ngrams`, word for word."""
    found, word = [], ""
    for character in unicodedata.normalize("NFC", text):
        if unit == "code":
            part = (
                character if character == "_" or (ord(character) < 0x40000 and is_in(character, ngrams.WORD)) else " "
            )
        elif ord(character) < 0x40000 and character != "\u200b" and is_in(character, SILENT):
            continue
        elif ord(character) < 0x40000 and is_in(character, ngrams.WORD):
            part = fold(character)
        else:
            part = " "
        alone = unit != "code" and part != " " and is_in(character, UNSPACED)
        if (part == " " or alone) and word:
            found.append(word)
            word = ""
        if alone:
            found.append(character if part == character else part)
        elif part != " ":
            word += part
    return found + [word] * bool(word)


def mix(value):
    value = (value ^ value >> 30) * int(kernels.MIX_1) & MASK
    value = (value ^ value >> 27) * int(kernels.MIX_2) & MASK
    return value ^ value >> 31


def word_hash(word, alone):
    value = int(ngrams.OFFSET)
    for character in word:
        value = (value ^ (ord(character) | (1 << 31) * alone)) * int(ngrams.PRIME) & MASK
    return mix(value)


def reference(text, unit, size):
    """Every n-gram's hash, in order."""
    found = words(text, unit)
    alone = [unit != "code" and len(word) == 1 and is_in(word, UNSPACED) for word in found]
    hashes = [word_hash(word, flag) for word, flag in zip(found, alone, strict=True)]
    if unit == "char":
        flags = {character: (1 << 31) for character, flag in zip(found, alone, strict=True) if flag}
        hashes = [mix(ord(character) | flags.get(character, 0)) for character in " ".join(found)]
    grams = [hashes[start : start + size] for start in range(len(hashes) - size + 1)]
    short = hashes and not grams
    rolled = []
    for gram in [hashes] if short else grams:
        value = 0
        for each in gram:
            value = (value * int(ngrams.BASE) + each) & MASK
        rolled.append(mix(value ^ len(gram)) if short else mix(value))
    return rolled


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=5), UNITS, st.integers(1, 7))
def test_ngrams_of_any_texts_are_those_of_plain_python(texts, unit, size):
    found = ngrams.distinct_ngrams(arrow(texts), unit, size)
    assert [each.tolist() for each in found] == [sorted(set(reference(text, unit, size))) for text in texts]


def same_ngrams(one, other, unit="word"):
    first, second = ngrams.distinct_ngrams(arrow([one, other]), unit, 3)
    return len(first) > 0 and np.array_equal(first, second)


@settings(deadline=None, max_examples=300)
@given(TEXTS, UNITS, st.sampled_from(["NFC", "NFD"]))
def test_texts_that_are_the_same_to_exact_dedup_have_the_same_ngrams(text, unit, form):
    other = unicodedata.normalize(form, text)
    assume(normal_text_digest(text) == normal_text_digest(other))
    first, second = ngrams.distinct_ngrams(arrow([text, other]), unit, 2)
    assert np.array_equal(first, second)


@settings(deadline=None, max_examples=300)
@given(st.lists(TEXTS, max_size=4), st.sampled_from([ngrams.NO_MARKS, ngrams.DIACRITICS]))
def test_only_texts_that_nfc_leaves_as_they_are_stay_as_they_are(texts, folded):
    for text, found in zip(texts, composed(arrow(texts), folded).to_pylist(), strict=True):
        bare = re.sub("[\u0300-\u036f]", "", text) if folded != ngrams.NO_MARKS else text
        normal = unicodedata.normalize("NFC", text)
        assert found == normal or (found == text and unicodedata.is_normalized("NFC", bare))


@pytest.mark.parametrize(
    "text",
    [
        "한국어 문장의 정규화는 언제나 같은 결과를 낳아야 한다",
        "がぎぐげござじずぜぞだぢづでどばびぶべぼ",
        "ব্যবহারকারীদের কোনো কোনো লেখা",
        "très élevé, façade",
    ],
)
@pytest.mark.parametrize("unit", ["word", "char", "code"])
def test_composed_and_decomposed_texts_are_alike(text, unit):
    assert same_ngrams(text, unicodedata.normalize("NFD", text), unit)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("hy\u00adphen\u00adated words in a page", "hyphenated words in a page"),
        ("می\u200cخواهم که این را بدانم", "میخواهم که این را بدانم"),
        ("كَتَبَ الوَلَدُ الدَّرْسَ فِي البَيْتِ", "كتب الولد الدرس في البيت"),
        ("مـــرحبا بكم في هذا المكان", "مرحبا بكم في هذا المكان"),
        ("אָדָם הָלַךְ לַבַּיִת שֶׁלּוֹ", "אדם הלך לבית שלו"),
        ("\ufeffa text with a mark of its order", "a text with a mark of its order"),
    ],
)
def test_what_most_texts_leave_out_makes_no_difference(one, other):
    assert same_ngrams(one, other)


def test_a_space_of_no_width_parts_words():
    assert not same_ngrams("one\u200btwo three four five", "onetwo three four five")
    assert same_ngrams("one\u200btwo three four five", "one two three four five")


@pytest.mark.parametrize("text", ["ꦱꦧꦼꦤ꧀ꦲꦸꦮꦺꦴꦁꦏꦭꦲꦶꦂꦫꦏꦺ", "ᩃᩣ᩠ᨶᨶᩣᨾᩥᩁᩪᨷᩉᩖᩣ᩠ᨿ", "ไทยเขียนติดกัน"])
def test_scripts_without_spaces_have_a_word_a_character(text):
    (found,) = ngrams.distinct_ngrams(arrow([text]), "word", 3)
    assert len(found) > 5
    (edited,) = ngrams.distinct_ngrams(arrow([text[:-1]]), "word", 3)
    assert ngrams.jaccard(found, edited) > 0.7


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=5), UNITS, st.integers(1, 7), st.data())
def test_signatures_of_any_texts_are_those_of_plain_python_however_they_are_sliced(texts, unit, size, data):
    params = MinHashParams(unit=unit, ngram=size, bands=3, rows=2)
    factors, addends = (values.tolist() for values in minhash.functions(6))
    start = data.draw(st.integers(0, len(texts) - 1))
    signed, counts = minhash.signatures(arrow(texts).slice(start), params)
    for text, signature, count in zip(texts[start:], signed.tolist(), counts.tolist(), strict=True):
        grams = [gram >> 32 for gram in reference(text, unit, size)]
        assert count == len(grams)
        for value, factor, addend in zip(signature, factors, addends, strict=True):
            assert value == min(((factor * gram + addend) & 0xFFFFFFFF for gram in grams), default=0xFFFFFFFF)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=7, max_size=7), min_size=2, max_size=6))
def test_a_band_key_is_equal_where_the_bands_values_are(rows):
    signed = np.array(rows, np.uint32)
    keys = minhash.band_keys(signed, MinHashParams(bands=3, rows=2, permutations=7))
    for one, other in pairwise(range(len(rows))):
        for band in range(3):
            same = rows[one][2 * band : 2 * band + 2] == rows[other][2 * band : 2 * band + 2]
            assert (keys[one, band] == keys[other, band]) == same
    assert all(len(set(row)) == 3 for row in keys.tolist())


@settings(deadline=None)
@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)), st.integers(1, 50))
def test_similarity_is_that_of_sets_and_of_the_smallest_of_their_union(one, other, end):
    arrays = [np.array(sorted(each), np.uint64) for each in (one, other)]
    union = sorted(one | other)
    assert ngrams.jaccard(*arrays) == (round(len(one & other) / len(union), 8) if union else 0)
    least = set(union[:end])
    assert ngrams.jaccard(*arrays, end) == (round(len(one & other & least) / len(least), 8) if union else 0)


# ---- what counts as the same


def grams_of(text, unit="word", size=2):
    return ngrams.distinct_ngrams(arrow([text]), unit, size)[0].tolist()


def test_case_punctuation_white_space_and_diacritics_do_not_count():
    assert grams_of("Don't STOP, naïve café!\n") == grams_of("don’t  stop -- nai\u0308ve (cafe)")


def test_digits_count():
    assert grams_of("version 5.1 of it") != grams_of("version 7.4 of it")


def test_code_keeps_case_and_underscores():
    assert grams_of("snake_case = Value", "code") != grams_of("snake case = value", "code")
    assert grams_of("f( x );", "code") == grams_of("f(x)", "code")


def test_chinese_is_compared_by_characters_and_not_by_sentences():
    assert len(grams_of("今天天气很好。我们去公园。")) == 10


def test_characters_are_those_of_words_joined_by_one_space():
    assert len(grams_of("Ab,  c!", "char", 2)) == len(["ab", "b ", " c"])


# ---- bad input


@pytest.mark.parametrize("text", ["", " \n", "?!...", "😀"])
def test_a_text_without_a_word_has_no_signature(text):
    assert minhash.signatures(arrow([text]), MinHashParams())[1].tolist() == [0]


def test_texts_shorter_than_an_ngram_are_their_own_ngram():
    texts = ["one", "two", "one two", "two one", "One!", "one two three four"]
    signed, counts = minhash.signatures(arrow(texts), MinHashParams())
    assert counts.tolist() == [1] * 6
    assert len({row.tobytes() for row in signed}) == 5
    assert (signed[0] == signed[4]).all()


def test_a_document_of_one_repeated_word_is_one_ngram():
    assert len(grams_of("word " * 100_000, size=5)) == 1


def test_a_long_document_is_signed_as_its_pieces_are():
    text = " ".join(f"w{number}" for number in range(300_000))
    signed, counts = minhash.signatures(arrow([text]), MinHashParams())
    assert counts.tolist() == [299_996]
    words = text.split()
    halves = [" ".join(words[:150_004]), " ".join(words[150_000:])]
    assert (minhash.signatures(arrow(halves), MinHashParams())[0].min(axis=0) == signed[0]).all()


@pytest.mark.parametrize("unit", ["word", "char", "code"])
def test_ngrams_go_on_where_a_piece_ends(unit):
    text = unicodedata.normalize("NFC", " ".join(f"Wört{number} 今天 a_{number % 7}," for number in range(5000)))
    wanted = reference(text, unit, 5)
    assert len(wanted) > 3 * ngrams.PIECE
    found = ngrams._all_ngrams(*_whole(text), ngrams.fold_table(unit), unit == "char", 5)
    assert found.tolist() == wanted


def _whole(text):
    data, bounds = ngrams.buffers(arrow([text]))
    return data, int(bounds[0]), int(bounds[1])


def test_null_texts_are_refused():
    with pytest.raises(ValueError, match="1 of 2 texts are null"):
        minhash.signatures(arrow(["a", None]), MinHashParams())


@pytest.mark.parametrize(
    ("near", "message"),
    [
        (
            {"bands": 20, "rows": 20, "permutations": 128},
            "bands x rows = 20 x 20 = 400 is more than permutations = 128",
        ),
        ({"threshold": 0}, "greater than 0"),
        ({"threshold": 1.1}, "less than or equal to 1"),
        ({"bands": 0}, "greater than or equal to 1"),
        ({"bands": 14.0}, "valid integer"),
        ({"unit": "line"}, "'word', 'char' or 'code'"),
        ({"ngrams": 5}, "unknown key 'ngrams'; did you mean 'ngram'?"),
        ("finweb", "no preset is called 'finweb'; did you mean 'fineweb'?"),
    ],
)
def test_wrong_parameters_say_what_is_wrong(near, message):
    with pytest.raises(ValueError, match=r".") as error:
        minhash.parse(near)
    assert message in str(error.value)
    assert isinstance(error.value, ValidationError) or "preset" in message


def test_permutations_are_bands_times_rows_unless_more_are_given():
    assert MinHashParams().permutations == 112
    assert MinHashParams(bands=9, rows=13).permutations == 117
    assert PRESETS["slimpajama"].permutations == 128


def test_slimpajamas_13_grams_are_of_characters_and_redpajama_v2s_of_words():
    """SlimPajama: nltk's ngrams over the string itself, lower-case, without punctuation, white space made one space
    (cerebras/modelzoo, slimpajama/dedup/to_hash.py); RedPajama-V2: over words (togethercomputer/RedPajama-Data)."""
    text = "The  quick, brown Fox:\njumps over the lazy dog; nobody saw it but 3 old men!"
    string = " ".join("".join(each for each in text.lower() if each not in punctuation).split())
    slim = PRESETS["slimpajama"]
    assert (slim.ngram, slim.threshold, slim.bands, slim.rows) == (13, 0.8, 9, 13)
    [grams] = ngrams.distinct_ngrams(pa.array([text], pa.large_string()), *slim.ngrams_of("prose"))
    assert len(grams) == len({string[start : start + 13] for start in range(len(string) - 12)})
    for similarity in ("0.7", "0.8", "0.9", "1.0"):
        params = PRESETS[f"redpajama-v2-{similarity}"]
        assert params.ngrams_of("prose") == ("word", 13, False)
        assert (params.threshold, params.permutations) == (float(similarity), 128)


# ---- what is found


def test_the_curve_is_that_of_the_papers():
    assert curve(14, 8, 0.9) == pytest.approx(0.9996, abs=1e-4)
    assert curve(9, 13, 0.9) == pytest.approx(0.93, abs=0.01)
    assert curve(5, 25, 0.9) == pytest.approx(0.31, abs=0.01)


def test_an_estimate_decides_only_where_chance_leaves_no_doubt():
    low, high = doubtful(112, 0.8)
    chances = [comb(112, equal) * Fraction(4, 5) ** equal * Fraction(1, 5) ** (112 - equal) for equal in range(113)]
    assert sum(chances[: low + 1]) <= minhash.MAX_DOUBT < sum(chances[: low + 2])
    assert sum(chances[high:]) <= minhash.MAX_DOUBT < sum(chances[high - 1 :])
    assert doubtful(128, 1.0) == (127, 129)  # one different value is proof; no agreement is


def test_thousands_of_permutations_do_not_overflow():
    low, high = doubtful(4096, 0.8)
    assert 0.75 * 4096 < low < 0.8 * 4096 < high < 0.85 * 4096


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=5), UNITS, st.integers(1, 7), st.integers(1, 40), st.booleans())
def test_a_sketch_holds_the_smallest_distinct_ngrams_of_any_text(texts, unit, size, end, folded):
    """However often they are repeated: texts of many n-grams force the sketch to be cut on the way."""
    texts = [*texts, " ".join(f"{unit} {number % 300}" for number in range(700)), "word " * 900]
    signed = ngrams.sign(arrow(texts), unit, size, *minhash.functions(2), end, folded)
    everything = ngrams.distinct_ngrams(arrow(texts), unit, size, folded)
    assert [each.tolist() for each in signed[2]] == [each[:end].tolist() for each in everything]


def test_folded_digits_are_zeros_in_every_script():
    for unit in ("word", "char", "code"):
        for text, zeros in (("a1b22 333", "a0b00 000"), ("٣٤ x", "00 x"), ("Ⅷ ½ ²", "Ⅷ ½ ²"), ("๑๒", "00")):
            one, other = ngrams.distinct_ngrams(arrow([text, zeros]), unit, 2, True)
            assert one.tolist() == other.tolist()
    assert ngrams.distinct_ngrams(arrow(["a1"]), "word", 1)[0] != ngrams.distinct_ngrams(arrow(["a0"]), "word", 1)[0]


LEVELS, PAIRS, WORDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95], 4000, 100


@pytest.fixture(scope="module")
def planted():
    """For each level: (words that the pairs share, Arrow texts of the ones, of the others); the rest occurs once."""
    numbers, made = iter(range(1 << 40)), []
    for level in LEVELS:
        shared = round(2 * WORDS * level / (1 + level))
        pairs = []
        for _ in range(PAIRS):
            common = [f"w{next(numbers)}" for _ in range(shared)]
            rests = ([f"w{next(numbers)}" for _ in range(WORDS - shared)] for _ in range(2))
            pairs.append([" ".join(common + rest) for rest in rests])
        made.append((shared, *map(arrow, zip(*pairs, strict=True))))
    return made


@pytest.mark.parametrize("name", ["default", *PRESETS])
def test_planted_copies_are_candidates_as_often_as_the_curve_says(planted, name):
    params = MinHashParams() if name == "default" else PRESETS[name]
    for shared, *texts in planted:
        ngrams_each, ngrams_shared = WORDS - params.ngram + 1, shared - params.ngram + 1
        similarity = ngrams_shared / (2 * ngrams_each - ngrams_shared)
        if params.unit == "char":  # its n-grams reach from word to word
            grams = [ngrams.distinct_ngrams(each[:300], *params.ngrams_of("prose")) for each in texts]
            similarity = np.mean([ngrams.jaccard(*pair) for pair in zip(*grams, strict=True)])
        ones, others = (minhash.band_keys(minhash.signatures(each, params)[0], params) for each in texts)
        found = (ones == others).any(axis=1).mean()
        assert abs(found - curve(params.bands, params.rows, similarity)) < 0.02, (similarity, found)


@needs_shared
def test_estimates_on_real_pages_are_as_good_as_datasketchs():
    with tarfile.open(SHARED / "neardup" / "PowerShell-Docs-versions-dev.tar.gz") as archive:
        members = [member for member in archive if member.name.endswith(".md")][:1500]
        pages = {member.name: archive.extractfile(member).read().decode() for member in members}
    versions = {}
    for name, text in pages.items():
        versions.setdefault(name.partition("reference/")[2].partition("/")[2], []).append(text)
    pairs = [texts[:2] for texts in versions.values() if len(texts) > 1 and texts[0] != texts[1]][:150]
    assert len(pairs) == 150
    params = MinHashParams(bands=16, rows=8)
    errors = {"ours": [], "datasketch": []}
    for one, other in pairs:
        sets = ngrams.distinct_ngrams(arrow([one, other]), "word", 5)
        truth = ngrams.jaccard(*sets)
        signed = minhash.signatures(arrow([one, other]), params)[0]
        errors["ours"].append((signed[0] == signed[1]).mean() - truth)
        theirs = [datasketch.MinHash(128, hashfunc=lambda gram: gram & 0xFFFFFFFF) for _ in sets]
        for sketch, grams in zip(theirs, sets, strict=True):
            sketch.update_batch((grams >> np.uint64(32)).tolist())
        errors["datasketch"].append(theirs[0].jaccard(theirs[1]) - truth)
    spread = {name: float(np.sqrt(np.mean(np.square(each)))) for name, each in errors.items()}
    assert spread["ours"] < 1.15 * spread["datasketch"]
    assert abs(np.mean(errors["ours"])) < 0.01


def test_kernels_compile_where_no_folder_for_their_cache_is_writable(tmp_path):
    code = (
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "from redpajama.dedup.near import ngrams\n"
        "print(ngrams.compiled(lambda: 7)())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "7\n"
