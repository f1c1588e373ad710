"""Encoding: no special id ever comes out of a text, nothing is lost on the way back, training is reproducible."""

import itertools
import json
import re
import subprocess
import sys
import unicodedata
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pytest
import tokenizers
from conftest import SHARED, needs_shared
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, models, normalizers, pre_tokenizers

from redpajama.tokenize import encode, parity, pieces, tokens
from redpajama.tokenize.encode import TokenizerError

NEOX = SHARED / "models/tokenizers/gpt-neox-20b/20B_tokenizer.json"
GPT2 = SHARED / "models/tokenizers/gpt2/hf_cache/tokenizer/gpt2.json"
TEXTS = [f"line {n} of {n % 7} lines, with words and wording\n" * (n % 5 + 1) for n in range(60)]
TRICKY = ["<|endoftext|>", "<|padding|>", " ", "  ", " " * 25, "\n", "\r\n", "\t", "'s", "a", "é", "e\u0301", "\u0301"]
TRICKY += ["\u1112\u1161\u11ab", "한", "ffi", "\u00a0", "\u2028", "\u3000", "\u200b", "\x1c", "\x00", "😀", "1", "!"]
UNICODE = st.one_of(st.text(), st.lists(st.one_of(st.text(max_size=4), st.sampled_from(TRICKY))).map("".join))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "tokenizer.json"
    encode.train(TEXTS, 400, path)
    return encode.load(path)


@pytest.fixture(scope="module")
def neox():
    return encode.load(NEOX)


def array(texts):
    return pa.array(texts, pa.large_string())


def ids_of(tokenizer, *texts):
    """The ids of each text, as lists."""
    encoded = tokenizer.encode(array(texts))
    assert (encoded.ids.dtype, encoded.bounds.dtype) == (np.uint32, np.int64)
    assert encoded.sizes.tolist() == tokenizer.count(array(texts)).tolist()
    return [encoded.of(row).tolist() for row in range(len(texts))]


def write(path, backend):
    backend.save(str(path))
    return path


# --- encoding ---------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(UNICODE)
@example("one <|endoftext|> two")
def test_a_trained_tokenizer_gives_every_text_back(trained, text):
    ids = ids_of(trained, text)[0]
    assert trained.decode(ids) == text == trained.normalise(text)
    assert trained.eod_id not in ids


@needs_shared
@settings(deadline=None, max_examples=300)
@given(UNICODE)
@example("one <|endoftext|> two <|padding|>")
@example("Cafe\u0301 \u1112\u1161\u11ab \u212b")
def test_neox_gives_the_nfc_of_every_text_back(neox, text):
    ids = ids_of(neox, text)[0]
    assert neox.decode(ids) == neox.normalise(text)
    assert not {0, 1} & set(ids)
    if text.isascii():
        assert neox.decode(ids) == text


@needs_shared
def test_normalise_is_nfc_for_neox(neox):
    text = "Cafe\u0301 \u1112\u1161\u11ab \u212b ﬁ ①"
    assert neox.normalise(text) == unicodedata.normalize("NFC", text) != text


@needs_shared
def test_neox_has_its_published_ids(neox):
    words, literal = ids_of(neox, "Hello world", "a <|endoftext|>  b      c")
    assert words == [12_092, 1533]
    # the literal is six pieces; 50276 and 50272 are NeoX's runs of two and of six spaces
    assert literal == [66, 654, 93, 423, 1171, 1156, 49_651, 50_276, 67, 50_272, 68]
    assert (neox.eod_id, neox.vocab_size) == (0, 50_277)
    assert neox.sha256 == sha256(NEOX.read_bytes()).hexdigest()


@needs_shared
def test_gpt2_is_read_as_well():
    gpt2 = encode.load(GPT2)
    assert (gpt2.eod_id, gpt2.vocab_size) == (50_256, 50_257)
    ids = ids_of(gpt2, "Hello world", "a<|endoftext|>b")
    assert ids[0] == [15_496, 995]
    assert gpt2.decode(ids[1]) == "a<|endoftext|>b"
    assert gpt2.eod_id not in ids[1]


def test_ids_are_arrays_in_the_order_of_the_texts(trained):
    ids = ids_of(trained, "", "words", "", "line")
    assert [trained.decode(each) for each in ids] == ["", "words", "", "line"]
    assert ids_of(trained) == []


def test_special_ids_are_shown_when_decoded(trained):
    assert trained.decode([trained.eod_id, *ids_of(trained, "  a , b")[0]]) == "<|endoftext|>  a , b"


# --- long texts -------------------------------------------------------------------------------------------------


@needs_shared
@settings(deadline=None, max_examples=300)
@given(texts=st.lists(UNICODE, max_size=4), size=st.integers(1, 30))
def test_texts_cut_into_pieces_have_the_ids_of_the_whole(neox, texts, size):
    whole = [neox.reference.library.encode(text, add_special_tokens=False).ids for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity.Checked, "batch_bytes", size)
        assert ids_of(neox, *texts) == whole


@needs_shared
def test_real_text_cut_at_every_place_has_the_ids_of_the_whole(neox, monkeypatch):
    text = (SHARED / "models/tokenizers/gpt2/enwik8_first100.txt").read_text(encoding="utf-8")
    whole = neox.reference.library.encode(text, add_special_tokens=False).ids
    assert len(cut(text, neox.ends, 1)) > 150
    monkeypatch.setattr(parity.Checked, "batch_bytes", 1)
    assert ids_of(neox, text)[0] == whole


def cut(text, ends, limit):
    """The pieces of a text that stands between two others."""
    found, firsts = pieces.cut(array(["", text, "a b"]).slice(1), ends, limit)
    assert firsts[0] == 0
    assert "".join(found.to_pylist()[firsts[1] :]) == "a b"
    return found.to_pylist()[: firsts[1]]


@pytest.mark.parametrize(
    ("ends", "text", "limit", "wanted"),
    [
        (pieces.VISIBLE, "ab  c\n\n d\té f", 1, ["ab", "  c", "\n\n d\té f"]),
        (pieces.VISIBLE, "ab  c\n\n d", 6, ["ab  c", "\n\n d"]),
        (pieces.VISIBLE, "ab. cd. ef", 9, ["ab. cd.", " ef"]),  # the last place within the limit
        (pieces.LETTERS, "ab. cd ef", 1, ["ab. cd", " ef"]),
        (pieces.LETTERS, "да. да нет", 1, ["да. да", " нет"]),
        (pieces.LETTERS, "世界。 世界 世", 1, ["世界。 世界", " 世"]),
        (pieces.LETTERS, "é \u0301 \u00a0 x", 1, ["é \u0301 \u00a0 x"]),
        (pieces.VISIBLE, "", 1, [""]),
        (pieces.VISIBLE, "abc", 1, ["abc"]),
        (None, "ab cd ef", 1, ["ab cd ef"]),
    ],
)
def test_a_text_is_cut_only_where_a_word_ends(ends, text, limit, wanted):
    assert cut(text, ends, limit) == wanted


@given(st.lists(st.text("ab .é世\n", max_size=40), max_size=5), st.integers(1, 20))
def test_pieces_are_the_texts_and_longer_than_the_limit_only_without_a_cut_inside(texts, limit):
    found, firsts = pieces.cut(array(texts), pieces.VISIBLE, limit)
    each = found.to_pylist()
    assert ["".join(each[one:other]) for one, other in itertools.pairwise(firsts)] == texts
    longer = [piece for piece in each if len(piece.encode()) > limit]
    assert not [piece for piece in longer if re.search("(?<=[!-~世])[ \n]", piece[1:])]


def test_batches_end_before_they_have_too_many_bytes():
    batches = pieces.batches(array(["ab", "", "cd", "efghi", "j"]), 4)
    assert [batch.to_pylist() for batch in batches] == [["ab", "", "cd"], ["efghi"], ["j"]]
    assert list(pieces.batches(array([]), 4)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}},
        {"pre_tokenizer": None},
        {"normalizer": {"type": "Lowercase"}},
        {"added_tokens": [{"content": "a b", "special": False, "lstrip": False, "rstrip": False}]},
        {"added_tokens": [{"content": "ab", "special": False, "lstrip": True, "rstrip": False}]},
    ],
)
def test_texts_are_not_cut_for_a_tokenizer_that_looks_further(trained, change):
    file = json.loads(trained.reference.library.to_str())
    assert pieces.word_ends(file) is pieces.VISIBLE
    assert pieces.word_ends(file | change) is None


def test_rows_are_encoded_call_by_call_and_come_as_they_stand(trained, monkeypatch):
    monkeypatch.setattr(parity.Checked, "batch_bytes", 100)
    texts = ["a" * 30, "", "lines and words", "z " * 80, "é" * 40, "", "words"]
    sizes = trained.count(array(texts)) + 1
    rows = pa.record_batch(
        [pa.array(map(str, range(7))), pa.array(sizes), array(texts)], ["doc_id", "n_tokens", "text"]
    )
    whole = tokens.tokens_of(trained, rows)
    batches = list(tokens.calls(trained, [rows.slice(0, 5), rows.slice(5)]))
    assert pa.Table.from_batches(batches).to_pylist() == rows.to_pylist()
    assert [batch.num_rows for batch in batches] == [3, 1, 1, 2]
    each = [tokens.tokens_of(trained, batch) for batch in batches]
    assert np.concatenate([found.ids for found in each]).tolist() == whole.ids.tolist()
    assert np.concatenate([found.sizes for found in each]).tolist() == sizes.tolist()
    assert [whole.of(row)[-1] for row in range(7)] == [trained.eod_id] * 7


# --- special tokens as text ---------------------------------------------------------------------------------------


def test_special_tokens_that_stand_in_a_text_are_counted(trained):
    texts = array(["a <|endoftext|> b<|endoftext|>", "", "none", "<|endoftext|", "<|endoftext|>"])
    assert trained.literals(texts) == {"<|endoftext|>": 3}
    assert trained.literals(texts.slice(1, 3)) == {}


def test_the_longest_special_token_is_counted_where_two_begin(tmp_path):
    library = tokenizers.Tokenizer(models.BPE({"a": 0}, []))
    library.add_special_tokens(["</s>", "<x>", "<x> y\n(é)"])
    loaded = encode.load(write(tmp_path / "t.json", library))
    assert loaded.literals(array(["<x><x> y\n(é)</s>", "<x> y"])) == {"</s>": 1, "<x>": 2, "<x> y\n(é)": 1}


@pytest.mark.parametrize("backend", ["fastokens", "tokenizers"])
def test_an_added_token_that_is_not_marked_special_is_text_in_a_document_like_any_other(trained, tmp_path, backend):
    library = tokenizers.Tokenizer.from_str(trained.reference.library.to_str())
    library.add_tokens([AddedToken("<tool>", special=False)])
    library.add_special_tokens(["<|user|>"])
    loaded = encode.load(write(tmp_path / "t.json", library), backend=backend)
    text = "a <tool> and a <|user|>"
    (ids,) = ids_of(loaded, text)
    assert (loaded.backend.name, loaded.decode(ids)) == (backend, text)
    assert ids.count(library.token_to_id("<tool>")) == 1  # as the tokenizer encodes it
    assert library.token_to_id("<|user|>") not in ids
    assert loaded.literals(array([text])) == {"<|user|>": 1}  # and no literal special


# --- loading ----------------------------------------------------------------------------------------------------


def test_truncation_padding_and_dropout_of_the_file_are_off(trained, tmp_path):
    backend = tokenizers.Tokenizer.from_str(trained.reference.library.to_str())
    backend.enable_truncation(2)
    backend.enable_padding(length=50)
    backend.model.dropout = 0.5
    loaded = encode.load(write(tmp_path / "t.json", backend))
    text = TEXTS[4]
    assert ids_of(loaded, text)[0] == ids_of(trained, text)[0]


def test_special_tokens_of_a_template_are_not_added(trained, tmp_path):
    backend = tokenizers.Tokenizer.from_str(trained.reference.library.to_str())
    backend.post_processor = tokenizers.processors.TemplateProcessing("<|endoftext|> $0", None, [("<|endoftext|>", 0)])
    loaded = encode.load(write(tmp_path / "t.json", backend))
    assert 0 not in ids_of(loaded, "a line")[0]


@pytest.mark.parametrize("name", ["</s>", "<eos>", "<|end_of_text|>"])
def test_the_usual_ends_of_document_are_found(tmp_path, name):
    backend = tokenizers.Tokenizer(models.BPE({"a": 0}, []))
    backend.add_special_tokens(["<pad>", name])
    assert encode.load(write(tmp_path / "t.json", backend)).eod_id == 2


def test_the_end_of_document_can_be_named(tmp_path):
    backend = tokenizers.Tokenizer(models.BPE({"a": 0}, []))
    backend.add_special_tokens(["</s>", "<doc>"])
    path = write(tmp_path / "t.json", backend)
    assert encode.load(path).eod_id == 1
    assert encode.load(path, "<doc>").eod_id == 2


def test_a_missing_end_of_document_is_an_error_that_lists_the_candidates(tmp_path):
    backend = tokenizers.Tokenizer(models.BPE({"a": 0}, []))
    path = write(tmp_path / "t.json", backend)
    with pytest.raises(TokenizerError) as error:
        encode.load(path)
    assert str(error.value) == (
        f"{path}: no end of document like '<|endoftext|>', '</s>', '<eos>', '<|end_of_text|>'; its special tokens: "
        "none; set tokenizer.end_of_document"
    )
    backend.add_special_tokens(["<pad>", "<doc>"])
    backend.add_tokens([AddedToken("plain")])
    with pytest.raises(TokenizerError) as error:
        encode.load(write(path, backend), "<end>")
    assert str(error.value) == (
        f"{path}: no token '<end>'; its special tokens: '<pad>', '<doc>'; set tokenizer.end_of_document"
    )


def test_a_token_that_ordinary_text_encodes_to_cannot_end_documents(tmp_path):
    unigram = tokenizers.Tokenizer(models.Unigram([("<unk>", 0.0), ("</s>", 0.0), ("a", -1.0)], 0, False))
    unigram.add_special_tokens(["</s>"])
    path = write(tmp_path / "t.json", unigram)
    with pytest.raises(TokenizerError, match=r"a text that says '</s>' would end the document"):
        encode.load(path)
    with pytest.raises(TokenizerError, match=r"a text that says 'a' would end the document"):
        encode.load(path, "a")


def test_the_vocabulary_reaches_to_the_largest_id(tmp_path):
    backend = tokenizers.Tokenizer(models.BPE({"a": 0, "b": 70_000}, []))
    backend.add_special_tokens(["</s>"])
    loaded = encode.load(write(tmp_path / "t.json", backend))
    assert loaded.vocab_size == max(70_000, loaded.eod_id) + 1


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"\xff\xfe", b'{"version": "1.0"}'])
def test_another_file_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "t.json").write_bytes(content)
    with pytest.raises(TokenizerError, match=r"t\.json: not a tokenizer\.json: ") as error:
        encode.load(tmp_path / "t.json")
    assert "\n" not in str(error.value)


def test_a_normaliser_of_the_file_is_applied(trained, tmp_path):
    backend = tokenizers.Tokenizer.from_str(trained.reference.library.to_str())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    loaded = encode.load(write(tmp_path / "t.json", backend))
    assert loaded.normalise("ﬁne LINE") == "fine line" == loaded.decode(ids_of(loaded, "ﬁne LINE")[0])


# --- training ---------------------------------------------------------------------------------------------------


def test_a_trained_tokenizer_has_the_end_of_document_first_then_the_bytes(trained):
    ids = trained.reference.library.get_vocab()
    assert ids["<|endoftext|>"] == trained.eod_id == 0
    assert {token for token, number in ids.items() if 1 <= number <= 256} == set(pre_tokenizers.ByteLevel.alphabet())
    assert len(ids) == trained.vocab_size <= 400
    assert len(ids_of(trained, " lines")[0]) == 1


def test_a_tokenizer_can_be_trained_on_nothing(tmp_path):
    encode.train([], 300, tmp_path / "t.json")
    loaded = encode.load(tmp_path / "t.json")
    assert loaded.vocab_size == 257
    assert loaded.decode(ids_of(loaded, "any text 文")[0]) == "any text 文"


def test_texts_that_hold_the_literal_do_not_make_it_a_word(tmp_path):
    encode.train(["x<|endoftext|>y <|endoftext|>"] * 50, 400, tmp_path / "t.json")
    loaded = encode.load(tmp_path / "t.json")
    assert 0 not in ids_of(loaded, "<|endoftext|>", "x<|endoftext|>y")[0]


TRAIN = """
import random, sys
from hashlib import sha256
from pathlib import Path
from redpajama.tokenize import encode, parity, pieces, tokens
# every pair of letters is as frequent as every other: all merges are ties
texts = [f"{a}{b}{a}{b} {b}{a}" for a in "abcdefghijkl" for b in "abcdefghijkl"] * 3
random.Random(int(sys.argv[1])).shuffle(texts)
encode.train(iter(texts), 300, sys.argv[2])
print(sha256(Path(sys.argv[2]).read_bytes()).hexdigest())
"""


@pytest.mark.parametrize("parallel", ["true", "false"])
def test_training_does_not_depend_on_order_threads_or_hash_seed(tmp_path, monkeypatch, parallel):
    digests = set()
    for seed, threads in (("0", "1"), ("1", "2"), ("2", "4")):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        monkeypatch.setenv("RAYON_NUM_THREADS", threads)
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", parallel)
        command = [sys.executable, "-c", TRAIN, seed, str(tmp_path / "t.json")]
        digests.add(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert len(digests) == 1
