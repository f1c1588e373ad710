"""fastokens has the ids of tokenizers or does not run: kinds, odd texts, real documents; and what a difference does."""

import bz2
import gzip
import json
import lzma
import tarfile
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from conftest import SHARED, needs_shared
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_kinds import KINDS, OTHERS, generated

from redpajama.errors import BuildFailed
from redpajama.tokenize import adversarial, encode, parity, sample
from redpajama.tokenize.backends import Encoded, Fast, Reference, bounds_of
from redpajama.tokenize.encode import TokenizerError

FILES = {
    "NeoX-20B": SHARED / "models/tokenizers/gpt-neox-20b/20B_tokenizer.json",
    "GPT-2": SHARED / "models/tokenizers/gpt2/hf_cache/tokenizer/gpt2.json",
}


@pytest.fixture(scope="module", params=[*KINDS, *(pytest.param(name, marks=needs_shared) for name in FILES)])
def tokenizer(request, tmp_path_factory):
    """A tokenizer of each kind."""
    path = FILES.get(request.param, tmp_path_factory.mktemp("kind") / "tokenizer.json")
    if request.param in KINDS:
        KINDS[request.param]().save(str(path))
    return encode.load(path)


def array(texts):
    return pa.array(texts, pa.large_string())


def differing(tokenizer, texts):
    """Those of the texts that tokenizers would encode to other ids, whole and one by one."""
    encoded = tokenizer.encode(array(texts))
    assert encoded.sizes.tolist() == tokenizer.count(array(texts)).tolist()
    return parity.differences(texts, encoded, tokenizer.reference.encode(texts))


# --- the same ids -----------------------------------------------------------------------------------------------


def test_the_kinds_in_use_are_encoded_by_fastokens(tokenizer):
    assert (tokenizer.backend.name, tokenizer.fallback) == ("fastokens", "")


def test_odd_texts_have_the_same_ids(tokenizer):
    assert differing(tokenizer, generated(3000)) == []


@pytest.mark.slow
def test_a_hundred_thousand_odd_texts_have_the_same_ids(tokenizer):
    for seed in range(1, 11):
        assert differing(tokenizer, generated(10_000, seed)) == []


@pytest.mark.parametrize("size", [1, 7, 40])
def test_texts_cut_wherever_a_word_ends_have_the_same_ids(tokenizer, monkeypatch, size):
    monkeypatch.setattr(parity.Checked, "batch_bytes", size)
    assert differing(tokenizer, [*generated(60, size), " ".join(generated(60, size))]) == []


@pytest.mark.slow
def test_every_code_point_has_the_same_ids_between_letters_and_after_a_mark(tokenizer):
    codes = [chr(code) for code in range(0x32000) if not 0xD800 <= code < 0xE000]
    blocks = [codes[start : start + 64] for start in range(0, len(codes), 64)]
    texts = [joint.join(block) for block in blocks for joint in ("", " a", "\u0301")]
    assert differing(tokenizer, texts) == []


@needs_shared
@pytest.mark.slow
def test_real_documents_have_the_same_ids(tokenizer):
    size = 0
    for texts in batches_of_real_texts():
        assert differing(tokenizer, texts) == []
        size += sum(map(len, texts))
    assert size > 20_000_000


def batches_of_real_texts():
    """The beginning of every file of the samples that is text, plain or packed or in an archive."""
    texts = []
    for path in sorted(SHARED.rglob("*")):
        for data in contents(path) if path.is_file() else []:
            with suppress(UnicodeDecodeError):
                texts.append(data.decode()[:100_000])
        if len(texts) >= 200:
            yield texts
            texts = []
    yield texts


def contents(path):
    """What a file holds: the members of a tar, else its own bytes, unpacked."""
    openers = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": zstandard.open}
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            yield from (archive.extractfile(member).read() for member in archive if member.isfile())
        return
    with (
        suppress(OSError, EOFError, lzma.LZMAError, zstandard.ZstdError),
        openers.get(path.suffix, open)(path, "rb") as file,
    ):
        yield file.read()


# --- kinds that fastokens does not know -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", OTHERS)
def test_a_kind_that_fastokens_refuses_is_encoded_by_tokenizers(tmp_path, name):
    OTHERS[name]().save(str(tmp_path / "t.json"))
    tokenizer = encode.load(tmp_path / "t.json")
    assert tokenizer.backend.name == "tokenizers"
    assert tokenizer.fallback.startswith("fastokens does not take this tokenizer: normalizer error: unsupported")
    assert "\n" not in tokenizer.fallback
    texts = generated(300)
    assert differing(tokenizer, texts) == []
    with pytest.raises(TokenizerError, match=r'fastokens does not take .* set \[tokenizer\] backend = "tokenizers"'):
        encode.load(tmp_path / "t.json", backend="fastokens")


@needs_shared
def test_a_backend_can_be_named():
    for name in ("fastokens", "tokenizers"):
        tokenizer = encode.load(FILES["NeoX-20B"], backend=name)
        assert (tokenizer.backend.name, tokenizer.fallback) == (name, "")


def test_texts_of_bytes_and_special_tokens_go_to_tokenizers_where_fastokens_takes_them_for_tokens(tmp_path):
    KINDS["byte fallback"]().save(str(tmp_path / "t.json"))
    tokenizer = encode.load(tmp_path / "t.json")
    texts = ["a<0x41>", "plain", "</s>", "a <s> b", "<0x41"]
    assert parity.differences(texts, tokenizer.backend.fast.encode(texts), tokenizer.reference.encode(texts))
    assert differing(tokenizer, texts) == []
    assert tokenizer.report()["detoured"] >= 3


def test_what_the_patterns_of_fastokens_cannot_handle_goes_to_tokenizers(tmp_path):
    KINDS["prefix space"]().save(str(tmp_path / "t.json"))
    tokenizer = encode.load(tmp_path / "t.json")
    assert differing(tokenizer, [" " * 1_000_000, "one word"]) == []
    assert "Max stack size" in tokenizer.report()["refused"][0]


# --- a difference -------------------------------------------------------------------------------------------------


class Mistaken(Fast):
    """Like fastokens, but for some texts."""

    def __init__(self, fast, is_wrong):
        super().__init__(fast.library)
        object.__setattr__(self, "is_wrong", is_wrong)

    def encode(self, texts):
        rows = [super(Mistaken, self).encode([text]).ids for text in texts]
        rows = [ids[:-1] if self.is_wrong(text) else ids for text, ids in zip(texts, rows, strict=True)]
        return Encoded(np.concatenate(rows), bounds_of([len(row) for row in rows]))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "tokenizer.json"
    KINDS["neox"]().save(str(path))
    return encode.load(path)


def mistaken(tokenizer, is_wrong):
    backend = parity.Checked(tokenizer.reference, Mistaken(tokenizer.backend.fast, is_wrong), "")
    return replace(tokenizer, backend=backend)


@pytest.mark.parametrize("wrong", ["ß", "e\u0301", "\U000113c2\U000113c2", "字"])
def test_one_rare_character_that_differs_ends_the_build(trained, wrong):
    texts = ["plain words and no more " * 20] * 500 + ["naïve cafe\u0308 a\u0301 字 " * 20] * 500
    texts = [text.replace("字", "世") for text in texts]
    right = mistaken(trained, lambda text: wrong in text)
    right.encode(array(texts))
    texts[700] += f" once {wrong} and never again, " + "with more words " * 500
    with pytest.raises(BuildFailed) as error:
        right.encode(array(texts))
    said = str(error.value)
    assert ascii(wrong)[1:-1] in said
    assert '[tokenizer] backend = "tokenizers"' in said
    assert "parts made before may be wrong too" in said
    assert "\n" not in said


def test_a_difference_in_ordinary_words_is_found_in_the_sample(trained):
    with pytest.raises(BuildFailed, match="other ids"):
        mistaken(trained, lambda text: "word" in text).count(array(["a word as any other"] * 10))


def test_a_difference_at_the_start_means_that_fastokens_does_not_run(trained, tmp_path, monkeypatch):
    like = Fast.like
    monkeypatch.setattr(Fast, "like", lambda reference: Mistaken(like(reference), lambda text: "\u07fd" in text))
    trained.reference.library.save(str(tmp_path / "t.json"))
    tokenizer = encode.load(tmp_path / "t.json")
    assert tokenizer.backend == tokenizer.reference
    assert "give 'a\\u07fd\\u0301' other ids" in tokenizer.fallback


# --- what is checked ----------------------------------------------------------------------------------------------


def test_every_call_is_sampled_and_holds_other_writing_and_marks(trained):
    checked = sample.Sample()
    plain = ["x" * 100_000, "y" * 100_000]
    first = checked.draw(array([*plain, "naïve", "cafe\u0301"]))
    assert any("\u0301" in passage for passage in first)
    assert any("ï" in passage for passage in first)
    again = checked.draw(array([*plain, "naïve", "cafe\u0301"]))  # nothing is new: the passages alone
    assert len(again) == 3
    assert any("\u0301" in passage for passage in again)
    assert [len(passage) for passage in checked.draw(array(plain))] == [2 * sample.PASSAGE + 1]
    assert checked.passages == len(first) + len(again) + 1


@settings(deadline=None)
@given(st.lists(st.text("ab\né字\U0001f600\u0301\u0300", max_size=40), min_size=1, max_size=6))
def test_all_that_is_new_lies_in_windows_of_whole_characters_with_its_neighbours(texts):
    drawn, wide = sample.Sample(), 1 + any(not text.isascii() for text in texts)
    wide += any(each in "\u0300\u0301" for text in texts for each in text)
    found = drawn.draw(array(texts))[wide:]
    joined = "\0".join(found)
    assert all(text[max(0, at - 8) : at + 9] in joined for text in texts for at in first_rare(text, texts))
    assert {each for text in texts for each in text if not each.isascii()} <= set(joined)
    assert sum(map(len, found)) <= sum(map(len, texts))
    assert len(drawn.draw(array(texts))) == wide


def first_rare(text, texts):
    """Where a text has a character beyond ASCII, no mark, that stands in no text or place before."""
    before = "".join(texts[: texts.index(text)])
    return [at for at, each in enumerate(text) if each in "é字\U0001f600" and each not in before + text[:at]]


def test_a_mark_is_new_after_every_other_character(trained):
    checked = sample.Sample()
    checked.draw(array(["a\u0301 e\u0301"]))
    assert len(checked.draw(array(["a\u0301 e\u0301"]))) == 3
    assert len(checked.draw(array(["a\u0301 e\u0301 o\u0301"]))) == 4


def test_the_report_is_of_what_was_encoded_since_the_last(trained):
    trained.report()
    trained.encode(array(["one word"]))
    found = trained.report()
    assert found.pop("backend").startswith("fastokens ")
    checked = {"passages": 1, "bytes": 8}
    assert found == {"checked": checked, "detoured": 0, "refused": [], "fallback": "", "longest_piece_bytes": 0}
    assert trained.report()["checked"] == {"passages": 0, "bytes": 0}


def test_the_longest_piece_that_went_alone_is_reported(trained, monkeypatch):
    monkeypatch.setattr(parity.Checked, "batch_bytes", 10)
    trained.count(array(["short words all of them", "a-word-of-24-characters!", "x" * 11]))
    trained.count(array(["short"]))
    assert trained.report()["longest_piece_bytes"] == 24
    assert trained.report()["longest_piece_bytes"] == 0


def test_the_odd_texts_of_the_start_hold_the_known_differences():
    texts = adversarial.ordinary()
    assert {"a\u07fd\u0301", "\U000113c2\U000113c2", "e\u0301", " " * 24, "\x00"} <= set(texts)
    assert len(texts) > 300
    json.dumps(texts, ensure_ascii=False).encode()  # no lone surrogate


def test_counting_makes_the_numbers_of_encoding(trained):
    reference = Reference(trained.reference.library)
    texts = generated(200)
    assert reference.count(texts).tolist() == reference.encode(texts).sizes.tolist()
    assert replace(trained, backend=reference).count(array(texts)).tolist() == trained.count(array(texts)).tolist()
