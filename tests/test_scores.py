"""Models in a build: scores once, limits as verdicts with evidence, a classifier trained on the way, the same bytes."""

import gzip
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SHARED, needs_shared
from corpora import build, cli
from stepwise import build_stepwise
from test_perplexity import write_arpa, write_pieces

from redpajama.engine.tables import read_table
from redpajama.errors import BuildFailed
from redpajama.flow import flow
from redpajama.manifest import ManifestError, load, parse
from redpajama.preflight import check, list_inputs
from redpajama.quality import citations, limits
from redpajama.quality.models.language import EMBEDDED
from redpajama.report.why import why

HEAD = 'name = "cc"\nseed = 3\n'
WEB = '[[source]]\nname = "web"\npipeline = "c4"\ninputs = ["web-*.json.gz"]\n'
LANGUAGE = '[source.language]\nkeep = ["en"]\nmin_score = {score}\n'
PERPLEXITY = """[source.perplexity]
keep = {buckets}
[source.perplexity.models.en]
model = "en.arpa"
tokenizer = "en.model"
head = {head}
middle = {middle}
"""
BUCKETS = LANGUAGE.format(score=0.5) + PERPLEXITY
CLASSIFIER = '[source.classifier]\nname = "wiki"\nkeep = {keep}\n'
WIKI = '[[source]]\nname = "wiki"\npipeline = "wikipedia"\ninputs = ["wiki.xml"]\n'
TRAIN = """[[classifier]]
name = "wiki"
positive = "web"
cited_by = "wiki"
negative = "web"
min_chars = 100
min_documents = 1
epoch = 50
"""
MIXTURE = """[tokenizer]
train = {{ vocab_size = 300 }}
[mixture]
budget_tokens = 3000
[[mixture.slice]]
source = "web"
weight = 1
max_epochs = 9
[[mixture.slice]]
source = "wiki"
weight = 0
"""
ENGLISH = "the river and stone bridge were built by an old abbey in the valley during this century"
ADS = "buy now cheap best price online shop with free shipping and click here for more"
GERMAN = "der fluss und die alte brücke wurden von einem kloster im tal gebaut und später erneuert"


def write_pages(folder, count=120, files=2):
    """Pages of three kinds, a third each: scholarly (the even ones cited), advertisements, German."""
    rows = []
    for number in range(count):
        words = random.Random(number).choices((ENGLISH, ADS, GERMAN)[number % 3].split(), k=40 + number % 7)
        rows.append({"text": " ".join(words) + f" {number}.", "url": f"https://p.org/{number}", "timestamp": "t"})
    for number in range(files):
        data = "".join(json.dumps(row) + "\n" for row in rows[number::files]).encode()
        (folder / f"web-{number}.json.gz").write_bytes(gzip.compress(data, mtime=0))


def write_wiki(folder, count=120):
    links = "".join(f"&lt;ref name=r{n}&gt;[http://www.p.org/{n}/ T]&lt;/ref&gt;" for n in range(0, count, 3))
    text = f"The river has a bridge.{links} And an abbey."
    page = f"<page><title>A</title><ns>0</ns><id>1</id><revision><id>2</id><text>{text}</text></revision></page>"
    (folder / "wiki.xml").write_text(f'<mediawiki xml:lang="en">{page}</mediawiki>')


def write_build(folder, *, score=0.5, buckets='["head", "middle"]', head=800, middle=900, keep="0.25", mixture=False):
    """A manifest with everything: language, perplexity, a classifier trained on pages that Wikipedia cites."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "wiki.xml").exists():
        write_pages(folder)
        write_wiki(folder)
        write_arpa(folder / "en.arpa")
        write_pieces(folder / "en.model")
    parts = [HEAD, WEB, LANGUAGE.format(score=score), PERPLEXITY.format(buckets=buckets, head=head, middle=middle)]
    parts += [CLASSIFIER.format(keep=keep), WIKI, TRAIN, MIXTURE.format() if mixture else ""]
    path = folder / "cc.toml"
    path.write_text("".join(parts))
    return path


def scores_of(built):
    """{doc_id: row}"""
    tables = [read_table(built.store, part.file(".parquet")) for part in built.parts("scores")]
    return {row["doc_id"]: row for table in tables for row in table.to_pylist()}


def pages_of(built):
    """{doc_id: number of the page}"""
    files = [part.file(".parquet") for part in built.parts("documents", "web")]
    rows = [row for file in files for row in read_table(built.store, file, ["doc_id", "meta"]).to_pylist()]
    return {row["doc_id"]: int(json.loads(row["meta"])["url"].rpartition("/")[2]) for row in rows}


def verdicts_of(built):
    tables = [read_table(built.store, part.file(".parquet")) for part in built.parts("quality")]
    rows = [row for table in tables for row in table.to_pylist()]
    return {row["doc_id"]: {**row, "evidence": json.loads(row["evidence"])} for row in rows}


def files_of(root, *stages):
    return {
        path: path.stat().st_mtime_ns for stage in stages for path in sorted((root / stage).rglob("part-*.parquet"))
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cc")
    return build_stepwise(write_build(folder), folder / "root"), folder


# ---- the stages


def test_a_build_without_models_has_none_of_their_stages():
    manifest = parse({"name": "m", "seed": 1, "source": [{"name": "a", "pipeline": "c4", "inputs": ["x"]}]}, "m.toml")
    assert [stage.name for stage in flow(manifest, "dedup")] == [
        "inputs",
        "cuts",
        "documents",
        "quality",
        "identity",
        "exact",
    ]
    assert not {"language", "perplexity", "classifier"} & json.loads(manifest.model_dump_json())["source"][0].keys()


def test_every_document_has_its_scores_in_order(built):
    build, _ = built
    for documents in build.parts("documents", "web"):
        scored = build.made_for("scores", documents)
        assert scored.inputs == [f"documents/{documents.id}"]
        ids = [read_table(build.store, part.file(".parquet")).column("doc_id") for part in (documents, scored)]
        assert ids[0].equals(ids[1])
    numbers = pages_of(build)
    for doc_id, row in scores_of(build).items():
        assert row["q_language"] == ("de" if numbers[doc_id] % 3 == 2 else "en")
        assert (row["q_perplexity"] is None) == (row["q_language"] == "de")
        assert 0 <= row["q_wiki_prob"] <= 1
    assert "wiki" not in build.records["scores"]  # it asks for no model


def test_the_classifier_learns_from_cited_pages_and_as_many_others(built):
    build, _ = built
    [record] = build.parts("classifiers")
    assert 20 < record.counts["positives"] == record.counts["negatives"] < 40  # some are tail
    numbers, scored = pages_of(build), scores_of(build)
    cited = [row["q_wiki_prob"] for doc_id, row in scored.items() if numbers[doc_id] % 3 == 0]
    others = [row["q_wiki_prob"] for doc_id, row in scored.items() if numbers[doc_id] % 3 == 1]
    assert min(cited) > max(others)


def test_defect_04_examples_have_passed_the_sources_own_limits_and_one_length_for_both_sides(built):
    build, _ = built
    numbers = pages_of(build)
    for part in build.parts("examples"):
        for row in read_table(build.store, part.file(".parquet")).to_pylist():
            assert numbers[row["doc_id"]] % 3 != 2  # German is not kept
            assert row["positive"] == (numbers[row["doc_id"]] % 3 == 0)
            assert len(row["text"]) >= 100


def test_defect_04_others_are_drawn_by_hash_not_the_first_and_all_cited_pages_count(tmp_path):
    manifest = write_build(tmp_path)
    manifest.write_text(manifest.read_text().replace("epoch = 50", "epoch = 50\nmax_documents = 2"))
    build = build_stepwise(manifest, tmp_path / "root")
    tables = [read_table(build.store, part.file(".parquet")) for part in build.parts("examples")]
    sides = [side for table in tables for side in table.column("positive").to_pylist()]
    assert sides.count(True) > 20
    assert 2 <= sides.count(False) <= 12  # a quarter of 120 documents, of which a third is an advertisement
    assert build.parts("classifiers")[0].counts["kept"] == 4


def test_verdicts_name_model_label_value_and_threshold(built):
    build, _ = built
    numbers, found = pages_of(build), verdicts_of(build)
    reasons = {numbers[doc_id]: row for doc_id, row in found.items()}
    german = {number: row for number, row in reasons.items() if number % 3 == 2}
    assert len(german) == 40
    assert {row["reason"] for row in german.values()} == {"language-not-kept"}
    assert german[2]["evidence"] == {"keep": ["en"], "label": "de", "model": "lid.176.ftz"}
    assert german[2]["value"] > 0.5
    found = {row["reason"] for row in reasons.values()}
    assert found == {"language-not-kept", "perplexity-bucket", "below-classifier-threshold"}
    for row in reasons.values():
        if row["reason"] == "perplexity-bucket":
            assert row["evidence"]["model"] == "en.arpa"
            assert row["value"] >= row["threshold"] == 900
        if row["reason"] == "below-classifier-threshold":
            assert row["value"] < row["threshold"] == 0.25
            assert row["evidence"] == {"keep": 0.25, "label": "__label__wiki", "model": "wiki"}


def test_another_threshold_runs_nothing_but_quality_and_what_follows(tmp_path):
    first = write_build(tmp_path)
    build_stepwise(first, tmp_path / "root")
    stages = ("documents", "citations", "examples", "classifiers", "scores")
    before, models = files_of(tmp_path / "root", *stages), list((tmp_path / "root/classifiers").rglob("*.bin"))
    quality = files_of(tmp_path / "root", "quality")
    again = build_stepwise(write_build(tmp_path, keep="0.9"), tmp_path / "root")
    assert files_of(tmp_path / "root", *stages) == before
    assert list((tmp_path / "root/classifiers").rglob("*.bin")) == models
    assert len(files_of(tmp_path / "root", "quality")) == 2 * len(quality) - 1  # `wiki` has no limits
    assert {row["threshold"] for row in verdicts_of(again).values() if row["reason"].startswith("below")} == {0.9}
    assert len(list((tmp_path / "root/scores").glob("web-*"))) == 1


def test_another_cutoff_moves_the_bucket_and_measures_nothing_again(tmp_path):
    """The examples do follow: they have passed the perplexity."""
    options = {"keep": '"pareto"', "buckets": '["head", "middle", "tail", "all"]'}
    build_stepwise(write_build(tmp_path, **options), tmp_path / "root")
    before = files_of(tmp_path / "root", "scores")
    again = build_stepwise(write_build(tmp_path, head=1, middle=2, **options), tmp_path / "root")
    assert {path: files_of(tmp_path / "root", "scores")[path] for path in before} == before
    [story] = why(again.store, _record(again), next(id_ for id_, n in pages_of(again).items() if n == 0))
    assert story["scores"]["bucket"] == "tail"


def _record(built):
    records = {stage: {name: {"record": key} for name, key in keys.items()} for stage, keys in built.records.items()}
    return {"manifest": built.manifest.model_dump(mode="json"), "stages": records, "removing": list(built.removing)}


def test_why_shows_scores_limits_and_the_verdict(built):
    build, _ = built
    numbers = {number: doc_id for doc_id, number in pages_of(build).items()}
    [german] = why(build.store, _record(build), numbers[2])
    assert german["fate"].startswith("removed by quality: language-not-kept, de by lid.176.ftz, 0.9")
    assert german["scores"]["language"] == "de"
    assert german["scores"]["bucket"] == "all"
    assert german["limits"]["language"] == {"keep": ["en"], "min_score": 0.5}
    assert german["limits"]["perplexity"]["keep"] == ["head", "middle"]
    tails = [doc_id for doc_id, row in verdicts_of(build).items() if row["reason"] == "perplexity-bucket"]
    [tail] = why(build.store, _record(build), tails[0])
    assert "perplexity-bucket, tail by en.arpa" in tail["fate"]
    assert tail["fate"].endswith("(wanted below 900)")


def test_the_limits_apply_in_ccnets_order_and_a_missing_score_removes_nothing():
    table = pa.table(
        {
            "doc_id": ["a", "b", "c", "d", "e"],
            "q_language": ["de", "de", "en", "en", None],
            "q_language_score": [0.4, 0.9, 0.9, 0.9, None],
            "q_perplexity": [None, None, 600.0, 100.0, None],
            "q_bucket": ["all", "all", "tail", "head", "head"],
            "q_wiki_prob": [0.0, 0.0, 0.0, 0.0, None],
        }
    )
    source = {"name": "web", "pipeline": "c4", "inputs": ["x"], "language": {"keep": ["en"]}}
    source |= {"perplexity": {"models": {"en": {"model": "m", "tokenizer": "t"}}}, "classifier": {"name": "wiki"}}
    values = {"name": "m", "seed": 1, "source": [source], "classifier": [{"name": "wiki", "path": "x"}]}
    manifest = parse(values, "m.toml")
    found = limits.judge(table, manifest, manifest.source[0])
    assert [(each.row, each.reason.value, each.threshold) for each in found] == [
        (0, "low-language-score", 0.5),
        (1, "language-not-kept", None),
        (2, "perplexity-bucket", 520),
        (3, "below-classifier-threshold", 0.25),
    ]


def test_a_pareto_keep_lets_few_low_scores_through_and_high_ones_always(tmp_path):
    manifest = load(str(write_build(tmp_path, keep='"pareto"')))
    count = 4000
    table = {"doc_id": [f"d{n}" for n in range(count)], "q_language": ["en"] * count, "q_language_score": [0.9] * count}
    table |= {"q_perplexity": [10.0] * count, "q_bucket": ["head"] * count}
    kept = {}
    for score in (0.0, 0.5, 1.0):
        removed = limits.judge(pa.table({**table, "q_wiki_prob": [score] * count}), manifest, manifest.source[0])
        kept[score] = 1 - len(removed) / count
        assert all(each.value == score <= each.threshold for each in removed)
    assert kept[0.0] == pytest.approx(2**-9, abs=0.003)  # P(x > 1), x ~ Lomax(9)
    assert kept[0.5] == pytest.approx(1.5**-9, abs=0.01)
    assert kept[1.0] > 0.999


# ---- the whole build


def test_two_workers_give_the_bytes_of_one_and_scores_reach_the_released_meta(tmp_path):
    manifest = write_build(tmp_path, mixture=True)
    one = build(manifest, tmp_path / "one", "--workers", "1")
    two = build(manifest, tmp_path / "two", "--workers", "2", PYTHONHASHSEED="7")
    assert one == two
    rows = [
        row for path in (tmp_path / "one/mixture").rglob("range-*.parquet") for row in pq.read_table(path).to_pylist()
    ]
    assert rows
    for row in rows:
        meta = json.loads(row["meta"])
        assert meta["language"] == "en"
        assert meta["bucket"] in ("head", "middle")
        assert {"language_score", "perplexity", "wiki_prob", "url"} <= meta.keys()
    shown = cli("why", tmp_path / "one", rows[0]["doc_id"])
    assert "Models say: " in shown.stdout
    assert "wiki_prob 0." in shown.stdout
    verified = cli("verify", tmp_path / "one")
    assert verified.returncode == 0, verified.stdout


@needs_shared
def test_real_pages_are_scored_and_judged(tmp_path):
    """The WET head of CC-MAIN-2015-35 and a page of the Aragonese Wikipedia, read beside what the model says."""
    (tmp_path / "web").symlink_to(SHARED / "commoncrawl")
    inputs = ["web/crate/example.wet.gz", "web/whirlwind/whirlwind.warc.wet.gz"]
    text = f'{HEAD}[[source]]\nname = "web"\npipeline = "common_crawl"\ninputs = {json.dumps(inputs)}\n{LANGUAGE}'
    path = tmp_path / "real.toml"
    path.write_text(text.format(score=0.5))
    real = build_stepwise(path, tmp_path / "root")
    tables = [read_table(real.store, part.file(".parquet")) for part in real.parts("documents")]
    texts = {row["doc_id"]: row["text"] for table in tables for row in table.to_pylist()}
    scored = scores_of(real)
    assert scored.keys() == texts.keys()
    [escopete] = [doc_id for doc_id, text in texts.items() if "Escopete" in text]
    assert scored[escopete]["q_language"] in ("an", "es")
    assert escopete in verdicts_of(real)


@needs_shared
def test_citations_of_a_real_wikipedia_become_rows(tmp_path):
    (tmp_path / "wiki.xml.bz2").write_bytes((SHARED / "wikipedia/minidumps/en/wiki.xml.bz2").read_bytes())
    write_pages(tmp_path)
    wiki = WIKI.replace("wiki.xml", "wiki.xml.bz2")
    path = tmp_path / "cc.toml"
    path.write_text(HEAD + WEB + wiki + TRAIN)
    assert citations.STAGE in flow(load(str(path)), "dedup")
    with pytest.raises(BuildFailed, match="source 'web' has no page that 'wiki' cites of at least 100 characters"):
        build_stepwise(path, tmp_path / "root")
    [part] = (tmp_path / "root/citations").rglob("part-*.parquet")
    links = pq.read_table(part)
    assert links.num_rows > 500
    assert all(url.startswith(("http://", "https://")) for url in links.column("url").to_pylist())


# ---- mistakes


def prepare(path):
    manifest = load(path)
    check(manifest, path)
    list_inputs(manifest, path, {})


def mistake(tmp_path, text):
    path = tmp_path / "m.toml"
    path.write_text(HEAD + text)
    with pytest.raises(ManifestError) as caught:
        prepare(str(path))
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WEB + "[source.language]\nkep = ['en']\n", "source[1].language: unknown key 'kep'; did you mean 'keep'?"),
        (WEB + "[source.language]\nmin_score = 2\n", "source[1].language.min_score: Input should be less than"),
        (WEB + "[source.language]\nkeep = ['enn']\n", "source[1]: language.keep: the model knows no language 'enn'"),
        (WEB + '[source.language]\npath = "lid.bin"\n', "source[1].language.path: 'lid.bin' matches no file"),
        (WEB + '[source.language]\npath = "bad.bin"\n', "source[1].language.path: {}/bad.bin: cannot be loaded: it is"),
        (WEB + BUCKETS.format(buckets='["hed"]', head=1, middle=2),
         "source[1].perplexity.keep[1]: Input should be 'head', 'middle', 'tail' or 'all', not 'hed'"),
        (WEB + PERPLEXITY.format(buckets="[]", head=1, middle=2),
         "source[1]: perplexity needs to know the language: add [source.language]"),
        (WEB + BUCKETS.format(buckets="[]", head=3, middle=2),
         "source[1]: perplexity.models.en: head = 3 must be below middle = 2"),
        (WEB + BUCKETS.format(buckets="[]", head=1, middle=2).replace("en.arpa", "bad.bin"),
         "source[1].perplexity.models.en.model: {}/bad.bin: cannot be loaded: it is damaged, or not a KenLM model"),
        (WEB + BUCKETS.format(buckets="[]", head=1, middle=2).replace("en.model", "bad.bin"),
         "source[1].perplexity.models.en.tokenizer: {}/bad.bin: cannot be loaded: it is damaged"),
        (WEB + CLASSIFIER.format(keep=0.25), "source 'web': no classifier is named 'wiki'; add a [[classifier]]"),
        (WEB + CLASSIFIER.format(keep='"paretto"'), "source[1].classifier.keep"),
        (WEB + CLASSIFIER.format(keep=0.25) + '[[classifier]]\nname = "wikki"\npath = "bad.bin"\n',
         "source 'web': no classifier is named 'wiki'; did you mean 'wikki'?"),
        (WEB + '[[classifier]]\nname = "wiki"\npath = "bad.bin"\n', "classifier[1].path: {}/bad.bin: cannot be loaded"),
        (WEB + '[[classifier]]\nname = "wiki"\n', "classifier[1]: give path, or positive and negative"),
        (WEB + '[[classifier]]\nname = "wiki"\npositive = "web"\nnegative = "web"\n',
         "classifier[1]: positive and negative are both 'web': only cited_by could tell them apart"),
        (WEB + '[[classifier]]\nname = "wiki"\npositive = "web"\nnegative = "wbe"\n',
         "classifier 'wiki'.negative: no source is named 'wbe'; did you mean 'web'?"),
        (WEB + TRAIN.replace('"wiki"\nneg', '"web"\nneg'),
         "classifier 'wiki'.cited_by: 'web' is read by c4, not wikipedia"),
        (WEB + '[[classifier]]\nname = "a-b"\npath = "x"\n', "classifier[1].name: 'a-b' is not a name"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_the_key(tmp_path, text, message):
    write_pages(tmp_path)
    write_arpa(tmp_path / "en.arpa")
    write_pieces(tmp_path / "en.model")
    (tmp_path / "bad.bin").write_bytes(b"nonsense")
    assert mistake(tmp_path, text).startswith(message.format(tmp_path))


def test_a_missing_extra_is_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("redpajama.quality.models.perplexity.find_spec", lambda name: None)
    said = mistake(tmp_path, WEB + BUCKETS.format(buckets="[]", head=1, middle=2))
    assert said == "source[1]: perplexity needs an extra: pip install 'redpajama[perplexity]'"


def test_a_model_without_the_wanted_label_fails_by_name(tmp_path):
    write_pages(tmp_path)
    from redpajama.errors import BuildFailed

    path = tmp_path / "m.toml"
    given = f'[[classifier]]\nname = "wiki"\npath = "{EMBEDDED.path}"\n'
    path.write_text(HEAD + WEB + CLASSIFIER.format(keep=0.25) + given)
    with pytest.raises(BuildFailed, match=r"lid\.176\.ftz: no label is called '__label__wiki'; known: "):
        build_stepwise(path, tmp_path / "root")
