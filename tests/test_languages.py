"""Codes of languages: each form of each is one, a list is all of its own, and every rule compares them so."""

import pyarrow as pa
import pytest

from redpajama.manifest import Clean, Manifest
from redpajama.quality import cleaning, limits
from redpajama.quality.cleaning import Cleaner
from redpajama.quality.languages import codes_of, label_of
from redpajama.quality.models import language, model_files, perplexity
from redpajama.records import Document, Tally


@pytest.mark.parametrize(
    ("said", "codes"),
    [
        *[(form, {"en"}) for form in ("en", "EN", "eng", "en-GB", "en_US.UTF-8", "eng_Latn", "English", " eng ")],
        *[(form, {"fr"}) for form in ("fra", "fre", "fr-CA", "French")],
        *[(form, {"zh"}) for form in ("zho", "chi", "cmn", "zh-Hant-TW", "zh_Hans", "zho_Hans")],
        *[(form, {"he"}) for form in ("he", "iw", "heb", "Hebrew")],
        *[(form, {"no"}) for form in ("no", "nor", "nb", "nob", "Norwegian Bokmål")],
        *[(form, {"en", "fr"}) for form in ("eng,fra", "fr, en", "en;fr", "en|fr", "fra/eng", ["eng", "fre"])],
        ("en-US,en;q=0.9,de;q=0.8", {"en", "de"}),
        ("als", {"als"}),
        *[(form, set()) for form in ("", "und", "mul", "zxx", "cn", "Python", "x-default", "?", 7, None, {}, [])],
        ("und,eng", {"en"}),
    ],
)
def test_a_language_is_one_in_every_form_of_its_code(said, codes):
    assert codes_of(said) == codes


def test_no_two_languages_of_the_model_are_one():
    labels = [label.removeprefix(model_files.LABEL) for label in model_files.load(language.EMBEDDED).labels]
    assert [label_of(label) for label in labels] == labels
    assert label_of("other") == "other"  # a label of another model


@pytest.mark.parametrize("own", ["en", "eng", "en-US"])
def test_bad_words_are_looked_for_in_whatever_form_the_language_is_named(tmp_path, own):
    path = tmp_path / "list"
    path.write_text("darn\n")
    cleaner, tally = Cleaner(Clean(bad_words=str(path), bad_words_language=own), str(path)), Tally()
    said = [
        "eng",
        "eng,fra",
        "fra,eng",
        "en-GB",
        "",
        "und",
        [{"name": "Python", "bytes": 9}],
        "deu",
        "fra,deu",
        "eng_Latn",
    ]
    documents = [Document(f"s/{number}", "Oh darn it.", {"language": each}) for number, each in enumerate(said)]
    stay = [said[int(each.doc_id[2:])] for each in cleaner.after_dedup(documents, tally, again=False)]
    assert stay == ["deu", "fra,deu"]


@pytest.mark.parametrize("own", ["ja", "jpn", "zh-Hans", "chi"])
def test_what_is_special_in_a_language_is_special_under_each_of_its_codes(own):
    assert cleaning.BadWords(["坏话"], own).find("说坏话的人")


def test_a_language_of_bad_words_that_is_none_is_one_line():
    with pytest.raises(ValueError, match=r"clean\.bad_words_language: 'englsh' is no code of a language"):
        cleaning.check(Clean(bad_words="x", bad_words_language="englsh"))


def source_of(keep):
    table = {"name": "web", "pipeline": "c4", "inputs": ["x"], "language": {"keep": keep}}
    manifest = Manifest(name="m", seed=1, source=[table])
    return manifest, manifest.source[0]


@pytest.mark.parametrize("keep", [["en"], ["eng"], ["en-US", "deu"]])
def test_languages_to_keep_may_be_named_in_any_form(keep):
    manifest, source = source_of(keep)
    language.check(source)
    table = pa.table({"q_language": ["en", "eng_Latn", "fr", None], "q_language_score": [0.9] * 4})
    assert [each.row for each in limits.judge(table, manifest, source)] == [2]


def test_a_models_language_may_be_named_in_any_form():
    _, source = source_of([])
    models = {"eng": {"model": "m", "tokenizer": "t"}}
    wish = (
        type(source)
        .model_validate(
            {"name": "w", "pipeline": "c4", "inputs": ["x"], "language": {}, "perplexity": {"models": models}}
        )
        .perplexity
    )
    assert perplexity.cutoffs(wish, "eng") == (340, 520)
    assert perplexity.model_of(wish, "en") == "eng"
    labels, values = pa.array(["en", "eng_Latn", "de", None]), pa.array([100.0, 400.0, 1.0, None])
    assert perplexity.bucket_of(wish, labels, values).to_pylist() == ["head", "middle", "all", "all"]


def test_two_models_of_one_language_are_refused():
    models = {name: {"model": "m", "tokenizer": "t"} for name in ("en", "eng")}
    manifest = Manifest(
        name="m",
        seed=1,
        source=[{"name": "w", "pipeline": "c4", "inputs": ["x"], "language": {}, "perplexity": {"models": models}}],
    )
    with pytest.raises(ValueError, match=r"perplexity\.models"):
        perplexity.check(manifest.source[0])
