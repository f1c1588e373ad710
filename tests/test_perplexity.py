"""CCNet's perplexity: its normalisation, its formula against a model small enough to check by hand, its buckets."""

import json
import math
import unicodedata

import pyarrow as pa
import pytest
from conftest import SHARED, needs_shared
from hypothesis import given
from hypothesis import strategies as st

from redpajama.manifest import LanguageModel, Perplexity, Source
from redpajama.quality.models import perplexity
from redpajama.quality.models.model_files import ModelError, ModelFile
from redpajama.quality.models.perplexity import normalise

kenlm = pytest.importorskip("kenlm")
sentencepiece = pytest.importorskip("sentencepiece")

LOG10 = {"▁the": -0.5, "▁river": -1.0, "▁stone": -1.25, "s": -2.0, "</s>": -0.25, "<unk>": -3.0}


def write_arpa(path):
    """A model of single pieces; KenLM wants a bigram, so there is one that no text has."""
    rows = "".join(f"{value}\t{word}\t0\n" for word, value in LOG10.items())
    head = f"\\data\\\nngram 1={len(LOG10) + 1}\nngram 2=1\n\n"
    path.write_text(f"{head}\\1-grams:\n-99\t<s>\t0\n{rows}\n\\2-grams:\n-9\t▁stone ▁stone\n\n\\end\\\n")
    return path


def write_pieces(path, text="the river stones the stone rivers in the garden\n" * 50, size=40):
    lines = path.with_suffix(".txt")
    lines.write_text(text)
    sentencepiece.SentencePieceTrainer.train(
        input=str(lines), model_prefix=str(path.with_suffix("")), vocab_size=size, hard_vocab_limit=False,
        num_threads=1, minloglevel=2,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm")
    files = write_arpa(folder / "en.arpa"), write_pieces(folder / "en.model")
    return perplexity.load(*(ModelFile(path.name, str(path), "x") for path in files))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Hello, World!", "hello, world!"),
        ("  Ünïcödé  ", "unicode"),
        ("In 2023, ٣ and ３", "in 0000, 0 and 0"),
        ("１", "0"),  # CCNet's table would make it a double quote
        ("“so” — he said…", '"so"  -  he said...'),
        ("一。二，（三）", "一.二,(三)"),
        ("a\nb\tc\x85d", "abcd"),
        ("\ud55c", "\u1112\u1161\u11ab"),  # NFD takes Hangul apart
        ("İ", "i"),
    ],
)
def test_texts_are_normalised_as_ccnet_does(text, normal):
    assert normalise(text) == normal


def reference(text):
    """cc_net/text_normalizer.py, step by step."""
    text = text.strip().lower()
    text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    text = "".join("0" if unicodedata.category(c) == "Nd" else c for c in text)
    text = "".join(perplexity.PUNCTUATION.get(c, c) for c in text)
    return "".join(c for c in text if not (ord(c) < 32 or 127 <= ord(c) < 160))


@given(st.text() | st.text(alphabet="Aé９，。“—…\n\u0301İ\x85 1"))
def test_one_pass_is_the_same_as_ccnets_steps(text):
    assert normalise(text) == reference(text)


def test_the_table_has_ccnets_marks_but_the_fullwidth_one():
    assert len(perplexity.PUNCTUATION) == 33
    assert all(plain.isascii() for plain in perplexity.PUNCTUATION.values())


def test_the_perplexity_is_that_of_the_formula(scorer):
    text = "The river, THE\nstones 2"
    pieces = scorer.pieces.encode(normalise(text), out_type=str)
    logs = [LOG10.get(piece, LOG10["<unk>"]) for piece in pieces] + [LOG10["</s>"]]
    expected = 10 ** (-sum(logs) / (len(pieces) + 1))
    assert perplexity.measure(scorer, [text]) == [round(expected, 1)]
    assert math.isclose(scorer.model.score(" ".join(pieces)), sum(logs), rel_tol=1e-5)


def test_an_empty_text_is_only_its_end(scorer):
    assert perplexity.measure(scorer, ["", "\n"]) == [round(10**0.25, 1)] * 2


def test_a_text_has_one_perplexity_in_any_company(scorer):
    texts = ["the river", "stones, stones", "une rivière"]
    assert perplexity.measure(scorer, texts) == [perplexity.measure(scorer, [text])[0] for text in texts]


def wish(**more):
    return Perplexity(models={name: LanguageModel(model="m", tokenizer="t", **more) for name in ("en", "de")})


def test_buckets_end_where_ccnets_do():
    languages = pa.array(["en"] * 4 + ["de"] * 2 + ["nl", None])
    values = pa.array([339.9, 340.0, 519.9, 520.0, 369.9, 590.0, None, None])
    found = perplexity.bucket_of(wish(), languages, values).to_pylist()
    assert found == ["head", "middle", "middle", "tail", "head", "tail", "all", "all"]


def test_the_manifest_may_move_the_cutoffs():
    found = perplexity.bucket_of(wish(head=10, middle=20), pa.array(["en"] * 3), pa.array([9.9, 10.0, 20.0]))
    assert found.to_pylist() == ["head", "middle", "tail"]


def source(language, **model):
    table = {"models": {language: {"model": "m", "tokenizer": "t", **model}}}
    return Source(name="web", pipeline="c4", inputs=["x"], language={}, perplexity=table)


def test_a_language_without_known_cutoffs_must_give_them():
    with pytest.raises(ValueError, match="no cut-offs are known for 'nl': give head and middle"):
        perplexity.check(source("nl", head=100))
    with pytest.raises(ValueError, match="head = 500 must be below middle = 500"):
        perplexity.check(source("en", head=500, middle=500))
    perplexity.check(source("nl", head=100, middle=200))


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setattr(perplexity, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'redpajama\[perplexity\]'"):
        perplexity.check(source("en"))


def test_bad_model_files_are_one_line(tmp_path, scorer):
    bad = tmp_path / "bad"
    bad.write_bytes(b"neither nor")
    good = write_arpa(tmp_path / "good.arpa")
    with pytest.raises(ModelError, match="u/bad: cannot be loaded: it is damaged, or not a KenLM model"):
        perplexity.load(ModelFile("u/bad", str(bad), "1"), ModelFile("t", str(bad), "1"))
    with pytest.raises(ModelError, match="u/t: cannot be loaded: it is damaged, or not a SentencePiece model"):
        perplexity.load(ModelFile("m", str(good), "2"), ModelFile("u/t", str(bad), "2"))


@needs_shared
def test_a_real_binary_model_and_real_pages():
    """DeepSpeech's model of English words: no pieces, so all it can say is that both runs agree and are finite."""
    files = SHARED / "models/kenlm/pruned_lm.scorer", SHARED / "models/tokenizers/sentencepiece/sentencepiece.model"
    real = perplexity.load(*(ModelFile(path.name, str(path), "real") for path in files))
    lines = (SHARED / "commoncrawl/dolma-ccnet-output/cc_en_head-0091.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    found = perplexity.measure(real, texts)
    assert found == perplexity.measure(real, texts)
    assert all(1 < value < 1e6 for value in found)
