"""The classifier: what a page cites, scores, GPT-3's draw, and a training that gives the same bytes each time."""

import bz2
import json
import re
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pytest
from conftest import SHARED, needs_shared, raw_file, write_raw
from hypothesis import given
from hypothesis import strategies as st

from redpajama.manifest import Classifier
from redpajama.quality import citations
from redpajama.quality.citations import cited_urls, url_key
from redpajama.quality.models import classifier, model_files
from redpajama.quality.models.model_files import ModelFile
from redpajama.records import Reason

WISH = Classifier(name="wiki", positive="a", negative="b")
LABELS = ("__label__wiki", "__label__cc")
GOOD, BAD = ["river", "stone", "abbey"], ["buy", "now", "cheap"]


# ---- citations


@pytest.mark.parametrize(
    ("wikitext", "urls"),
    [
        ("Plain <ref>http://a.org/1</ref>.", ["http://a.org/1"]),
        ('Named <ref name="x">http://a.org/2</ref>', ["http://a.org/2"]),
        ("<ref name=x group=n>[https://a.org/3 Title]</ref>", ["https://a.org/3"]),
        ("<REF\nname='x'>{{cite web\n| url = http://a.org/4?b=c&d=e\n| title = T}}</Ref >", ["http://a.org/4?b=c&d=e"]),
        ("<ref name=x /> http://b.org <ref name=y/>", []),
        ("<ref name=x /> outside http://b.org <ref>http://a.org/5</ref>", ["http://a.org/5"]),
        ("<ref>http://a.org/6</ref><ref>http://a.org/7</ref>", ["http://a.org/6", "http://a.org/7"]),
        ("<references>\n<ref name=z>http://a.org/8</ref>\n</references>", ["http://a.org/8"]),
        ("{{reflist|refs=\n<ref name=z>http://a.org/9</ref>}}", ["http://a.org/9"]),
        ("{{#tag:ref|See {{cite web|url=http://a.org/10}}|group=n}} http://b.org", ["http://a.org/10"]),
        ("<!-- <ref>http://b.org</ref> --><ref>http://a.org/11</ref>", ["http://a.org/11"]),
        ("<nowiki><ref>http://b.org</ref></nowiki>", []),
        ("[http://b.org no reference] http://c.org", []),
        ("<ref>http://a.org/12. Seen (http://a.org/13), http://a.org/x_(y).</ref>",
         ["http://a.org/12", "http://a.org/13", "http://a.org/x_(y)"]),
        ("<ref>[//a.org/14 T] a//b ''http://a.org/15''</ref>", ["https://a.org/14", "http://a.org/15"]),
        ("<ref>http://web.archive.org/web/2010/http://a.org/16</ref>", ["http://web.archive.org/web/2010/http://a.org/16"]),
        ("<ref>http://a.org/17?x=1&amp;y=2 ftp://a.org mailto:x@a.org</ref>", ["http://a.org/17?x=1&y=2"]),
        ("<ref>never closed http://b.org", []),
        ("<ref></ref><ref>http://</ref>", []),
    ],
)  # fmt: skip
def test_links_are_found_in_every_form_of_a_reference(wikitext, urls):
    assert list(cited_urls(wikitext)) == urls


@given(st.text(alphabet="<ref/> name=\"'[]{}|#tag:http//.a\n&!-"))
def test_any_wikitext_is_read_to_its_end(wikitext):
    assert all(url.startswith(("http://", "https://")) for url in map(str.lower, cited_urls(wikitext)))


def test_many_references_without_an_end_take_no_square_of_time():
    assert list(cited_urls("<ref>http://a.org " * 50_000)) == []
    assert list(cited_urls("{{#tag:ref|" * 50_000)) == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://www.Example.org/a/", "https://example.org:443/a#part", True),
        ("http://example.org", "http://example.org/", True),
        ("http://example.org/a", "http://example.org/A", False),
        ("http://example.org/?q=1", "http://example.org/?q=2", False),
        ("http://example.org:8080/", "http://example.org/", False),
        ("http://[broken", "http://[broken", True),
        ("http://example.org:99999999/", "http://example.org/", False),
    ],
)
def test_a_url_has_the_key_of_its_page(one, other, same):
    assert (url_key(one) == url_key(other)) is same


@needs_shared
def test_links_of_a_real_dump_are_those_in_its_references():
    path = SHARED / "wikipedia/wikidump/simplewiki.xml"
    pages = list(citations.wikitexts(raw_file(path)))
    articles = [text for reason, text in pages if reason is None]
    assert articles
    for text in articles:
        for url in cited_urls(text):
            assert url.replace("&", "&amp;") in text or url in text
    whole = bz2.decompress((path.with_suffix(".xml.bz2")).read_bytes())
    assert len(list(citations.wikitexts(raw_file(path.with_suffix(".xml.bz2"))))) == whole.count(b"<page>")


@needs_shared
def test_named_references_of_a_real_article_are_read():
    """Some thirty articles: all links that a plain search finds in a `<ref name=...>`, but for those in comments."""
    found, named = {}, 0
    for name in ("de", "fr", "en", "es"):
        pages = citations.wikitexts(raw_file(SHARED / f"wikipedia/minidumps/{name}/wiki.xml.bz2"))
        text = "".join(text for _, text in pages)
        found[name] = set(cited_urls(text))
        shown = re.sub(r"(?s)<!--.*?-->", "", text)
        for reference in re.findall(r"(?s)<ref name[^>/]*>(?:(?!</ref>).)*", shown):
            for url in re.findall(r"https?://[\w./?=%-]*\w", reference):
                named += 1
                assert any(link.startswith(url) for link in found[name]), url
    assert named > 100
    # the article on Angela Merkel hides one reference in a comment
    assert not any("germany-broke-the-eu" in url for url in found["en"])


def test_only_articles_are_read_for_citations(tmp_path):
    page = "<page><title>{}</title><ns>{}</ns><revision><text>{}</text></revision></page>"
    rows = [page.format("A", 0, "&lt;ref&gt;http://a.org&lt;/ref&gt;"), page.format("Talk:A", 1, "x"), "<page><title>"]
    file = write_raw(tmp_path, "wiki.xml", f"<mediawiki>{''.join(rows)}</mediawiki>".encode())
    expected = [(None, "<ref>http://a.org</ref>"), (Reason.NOT_AN_ARTICLE, ""), (Reason.TRUNCATED, "")]
    assert [(reason, text) for reason, text in citations.wikitexts(file)][:2] == expected[:2]
    assert [bool(reason) for reason, _ in citations.wikitexts(file)] == [False, True, True]


# ---- scores


class Model:
    """Answers as a fastText model does."""

    def __init__(self, *answers, labels=("__label__wiki", "__label__cc")):
        self.labels, self.answers = list(labels), answers

    def predict(self, texts, k):
        assert k == (1 if len(self.labels) == 2 else -1)
        return [list(labels) for labels, _ in self.answers], [np.array(p, np.float32) for _, p in self.answers]


def score(*answers, **options):
    texts = ["x"] * len(answers)
    return classifier.score(Model(*answers, **options), texts, "__label__wiki").to_pylist()


def test_the_score_of_two_labels_is_redpajamas():
    assert score((["__label__wiki"], [0.8]), (["__label__cc"], [0.8]), (["__label__cc"], [1.00001])) == [0.8, 0.2, 0.0]
    assert score((["__label__wiki"], [1.00001]), (["__label__wiki"], [0.123456])) == [1.0, 0.1235]


def test_the_score_of_many_labels_is_the_positive_ones_own():
    labels = ["__label__book", "__label__wiki", "__label__cc"]
    assert score((labels, [0.5, 0.3, 0.2]), labels=labels) == [0.3]


def test_a_text_of_which_nothing_is_known_has_no_score():
    assert score(([], [])) == [None]
    assert score() == []


def test_the_pareto_draw_is_numpys():
    bounds = np.array([classifier.pareto_bound(7, "wiki", f"d{number}") for number in range(20_000)])
    drawn = np.sort(1 - bounds)
    expected = np.sort(np.random.default_rng(1).pareto(9, 20_000))
    quantiles = [0.1, 0.25, 0.5, 0.75, 0.9, 0.99]
    assert np.allclose(np.quantile(drawn, quantiles), np.quantile(expected, quantiles), rtol=0.1)
    assert (drawn >= 0).all()
    assert classifier.pareto_bound(7, "wiki", "d1") == bounds[1] != classifier.pareto_bound(8, "wiki", "d1")


# ---- training


def train(folder, name, lines, seed=5, wish=WISH):
    source, target = folder / "lines.txt", folder / name
    source.write_text("".join(lines), encoding="utf-8", newline="\n")
    model_files.train(source, wish, seed, target)
    return target


def sentences(words, count, label):
    rng = np.random.default_rng(len(words[0]))
    return [classifier.example(label, " ".join(rng.choice(words, 30))) for _ in range(count)]


def test_the_same_lines_and_seed_give_the_same_bytes_and_another_seed_does_not(tmp_path):
    lines = sentences(GOOD, 80, LABELS[0]) + sentences(BAD, 80, LABELS[1])
    models_bytes = [train(tmp_path, f"{n}.bin", lines, seed).read_bytes() for n, seed in enumerate([5, 5, 6])]
    digests = [sha256(data).hexdigest() for data in models_bytes]
    assert digests[0] == digests[1] != digests[2]


def test_a_trained_model_tells_its_sides_apart(tmp_path):
    """A small vocabulary, so more passes than fastText's five."""
    pairs = zip(sentences(GOOD, 300, LABELS[0]), sentences(BAD, 300, LABELS[1]), strict=True)
    mixed = [line for pair in pairs for line in pair]
    path = train(tmp_path, "m.bin", mixed, wish=WISH.model_copy(update={"epoch": 20}))
    model = model_files.load(ModelFile("m.bin", str(path), "trained"))
    assert sorted(model.labels) == ["__label__cc", "__label__wiki"]
    texts = ["the abbey by the river stone", "buy cheap now now"]
    good, bad = classifier.score(model, texts, LABELS[0]).to_pylist()
    assert good > 0.9 > 0.1 > bad


def test_a_word_of_a_text_is_never_a_label():
    assert classifier.example("__label__cc", " one\n__label__wiki two\n") == "__label__cc one wiki two\n"


@needs_shared
def test_human_judgements_of_real_pages_can_be_learnt(tmp_path):
    """DCLM's annotated pages: half to learn from, the scores of the other half order good above bad."""
    data = (SHARED / "commoncrawl/dclm/agreement_data.jsonl").read_text()
    rows = [json.loads(line) for line in data.split("\n") if line]
    texts = model_files.one_line(pa.array([row["text"] for row in rows], pa.large_string()))
    labels = ["__label__wiki" if row["label"] else "__label__cc" for row in rows]
    good, bad = ([n for n, label in enumerate(labels[::2]) if label == wanted] for wanted in LABELS)
    even = [2 * n for pair in zip(good, bad, strict=False) for n in pair]
    lines = [classifier.example(labels[n], texts[n]) for n in even]
    path = train(tmp_path, "dclm.bin", lines, wish=WISH.model_copy(update={"epoch": 50, "lr": 0.5}))
    model = model_files.load(ModelFile("dclm.bin", str(path), "dclm"))
    scores = np.array(classifier.score(model, texts[1::2], "__label__wiki").to_pylist())
    is_good = np.array([label == "__label__wiki" for label in labels[1::2]])
    wins = (scores[is_good][:, None] > scores[~is_good][None, :]).mean()
    assert wins > 0.55
