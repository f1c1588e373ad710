"""The stage `signals`: columns beside the documents, read once; another threshold reads no text."""

import json
import os
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import write_corpus
from stepwise import build_stepwise, parts_planned

from redpajama.cli import run
from redpajama.corpus import reader
from redpajama.engine.parts import run_part
from redpajama.flow import flow
from redpajama.manifest import ManifestError, load
from redpajama.preflight import check
from redpajama.quality import judge, signals
from redpajama.quality.measures import batch as measures
from redpajama.quality.measures.catalogue import SETS, SIGNALS, TOKENS
from redpajama.tokenize import encode


@pytest.fixture
def manifest(tmp_path):
    return write_corpus(tmp_path / "raw")


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def with_quality(path, *lines):
    change(path, "min_words = 6", "\n".join(lines))


def verdicts(build, source="news"):
    rows = []
    for part in build.parts("quality", source):
        rows += pq.read_table(build.store.path(part.file(".parquet").key)).to_pylist()
    return {row["doc_id"]: json.loads(row["evidence"])["rule"] for row in rows}


def test_a_source_without_such_a_rule_has_no_stage(manifest):
    assert "signals" not in [stage.name for stage in flow(load(str(manifest)))]


def test_a_rule_brings_its_set_and_removes_documents(manifest, tmp_path):
    with_quality(manifest, "min_gopher_words = 12", "min_rps_doc_frac_unique_words = 0.3")
    build = build_stepwise(manifest, tmp_path / "out")
    assert list(build.records["signals"]) == ["news"]
    found = verdicts(build)
    assert set(found.values()) == {"min_gopher_words", "min_rps_doc_frac_unique_words"}
    for part in build.parts("documents", "news"):
        texts = pq.read_table(build.store.path(part.file(".parquet").key))
        measured = reader.beside(build, "signals", part)
        assert measured.column("doc_id").equals(texts.column("doc_id"))
        assert measured.schema == signals.schema(["redpajama-v2", "gopher"])
        for row, values in zip(texts.to_pylist(), measured.to_pylist(), strict=True):
            words = len(row["text"].split())
            assert values["q_gopher_words"] == words
            assert (found.get(row["doc_id"]) == "min_gopher_words") == (words < 12)


def test_all_sets_are_measured_where_the_manifest_says_so(manifest, tmp_path):
    change(manifest, 'name = "web"', 'name = "web"\nsignals = "all"')
    build = build_stepwise(manifest, tmp_path / "out", "dedup")
    (part, *_) = build.parts("documents", "web")
    names = reader.beside(build, "signals", part).column_names
    assert names == ["doc_id", *(f"q_{name}" for name, each in SIGNALS.items() if each.set in SETS)]
    assert reader.beside(build, "signals", build.parts("documents", "news")[0]) is None


def test_another_threshold_measures_nothing_again_and_reads_no_text(manifest, tmp_path, monkeypatch):
    with_quality(manifest, 'preset = "gopher-quality"', "min_gopher_stop_words = 0", "min_gopher_words = 12")
    build = build_stepwise(manifest, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    kept = {stage: build.parts(stage, "news") for stage in ("documents", "signals")}
    for stage, records in kept.items():  # a column that cannot be read any more
        assert records, stage
    break_texts(build)
    change(manifest, "min_gopher_words = 12", "min_gopher_words = 20")
    monkeypatch.setattr(measures, "measure", lambda *_: pytest.fail("a text was measured"))
    again = type(build)(type(build.job)(load(str(manifest)), build.job.root, "run"), build.records)
    assert {part.stem for part in parts_planned(again, signals.STAGE)} == {part.stem for part in kept["signals"]}
    [step] = judge.STAGE.steps()
    parts = [part for part in parts_planned(again, judge.STAGE) if part.name == "news"]
    assert len(parts) == len(kept["documents"])
    gone = 0
    for part in parts:
        record = run_part(again.store, part, lambda outputs, part=part: step.work(again, part, outputs))
        gone += sum(record.counts["dropped"].values())
    assert gone > len(verdicts(build))
    assert not {
        path for path, mtime in before.items() if "quality" not in str(path) and path.stat().st_mtime_ns != mtime
    }


def break_texts(build):
    """Overwrite the bytes of every text column; the files keep their length and their times."""
    for part in build.parts("documents"):
        path = build.store.path(part.file(".parquet").key)
        stat, table = os.stat(path), pq.ParquetFile(path)
        place = table.schema_arrow.names.index("text")
        spans = []
        for group in range(table.num_row_groups):
            column = table.metadata.row_group(group).column(place)
            start = min(filter(None, [column.dictionary_page_offset, column.data_page_offset]))
            spans.append((start, column.total_compressed_size))
        with open(path, "r+b") as file:
            for start, size in spans:
                file.seek(start)
                file.write(b"\xff" * size)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        with pytest.raises(OSError, match=r".+"):
            pq.read_table(path, columns=["text"])


def test_lists_of_words_are_side_files_and_part_of_the_fingerprint(manifest, tmp_path):
    listed = manifest.parent / "bad.txt"
    listed.write_text("river stone\nwinter\n")
    change(manifest, 'name = "news"', 'name = "news"\nbad_words = "bad.txt"')
    with_quality(manifest, "max_rps_doc_ldnoobw_words = 0")
    build = build_stepwise(manifest, tmp_path / "one")
    found = verdicts(build)
    for part in build.parts("documents", "news"):
        for row in pq.read_table(build.store.path(part.file(".parquet").key)).to_pylist():
            text = row["text"].lower()
            assert (row["doc_id"] in found) == ("winter" in text or "river stone" in text)
    listed.write_text("engine\n")
    other = build_stepwise(manifest, tmp_path / "two")
    assert {part.folder for part in parts_planned(other, signals.STAGE)} != {
        part.folder for part in parts_planned(build, signals.STAGE)
    }


@pytest.mark.parametrize(
    ("place", "line", "message"),
    [
        ("source", 'signals = ["gophers"]', "source[1]: signals: no set is called 'gophers'; did you mean 'gopher'?"),
        ("quality", "max_rps_doc_ldnoobw_words = 0", "quality.max_rps_doc_ldnoobw_words: needs bad_words, a file"),
        ("quality", 'preset = "gofer"', "quality.preset: no preset is called 'gofer'; did you mean 'gopher'?"),
        ("quality", "min_gopher_wrds = 5", "no such rule; did you mean 'min_gopher_words'?"),
        ("quality", 'min_words = "six"', "quality.min_words: 'six' is not a number"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(manifest, place, line, message):
    old = 'name = "news"' if place == "source" else "min_words = 6"
    change(manifest, old, f"{old}\n{line}" if place == "source" else line)
    with pytest.raises(ManifestError, match=re.escape(message)):
        check(load(str(manifest)), str(manifest))


def test_a_list_that_is_no_text_is_refused_before_the_work(manifest, tmp_path):
    (manifest.parent / "bad.txt").write_bytes(b"\xff\xfe\x00")
    change(manifest, 'name = "news"', 'name = "news"\nbad_words = "bad.txt"\nsignals = ["redpajama-v2"]')
    with pytest.raises(ManifestError, match=r"bad_words: \S*bad\.txt: its mark says UTF-16, which it is not"):
        build_stepwise(manifest, tmp_path / "out")


def test_signals_are_listed_for_people_and_for_programs(capsys):
    assert run(["signals", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["signals"]] == list(SIGNALS)
    assert {row["set"] for row in found["signals"]} == {"inline", *SETS, TOKENS}
    assert found["differences"].keys() == found["presets"].keys()
    assert any("121 of 1,281 pages" in said for said in found["differences"]["gopher"])
    assert found["presets"]["gopher"]["min_gopher_words"] == {
        "threshold": 50, "source": "Gopher (arXiv 2112.11446), appendix A.1.1"
    }  # fmt: skip
    assert run(["signals"]) == 0
    assert "rps_doc_frac_unique_words" in capsys.readouterr().out


# ---- tokens


def given_tokenizer(path, tmp_path):
    """A small byte-level tokenizer in the manifest's place of the trained one."""
    encode.train(["river stone light winter measure letter garden 12"] * 9, 300, tmp_path / "tokenizer.json")
    change(path, "train = { vocab_size = 400 }", f'path = "{tmp_path}/tokenizer.json"')
    return encode.load(tmp_path / "tokenizer.json")


def test_tokens_are_measured_by_the_given_tokenizer_before_anything_goes(manifest, tmp_path):
    tokenizer = given_tokenizer(manifest, tmp_path)
    with_quality(manifest, "min_alpha_chars_per_token = 2.5")
    build = build_stepwise(manifest, tmp_path / "out")
    found = verdicts(build)
    assert set(found.values()) == {"min_alpha_chars_per_token"}
    for part in build.parts("documents", "news"):
        rows = pq.read_table(build.store.path(part.file(".parquet").key)).to_pylist()
        for row, values in zip(rows, reader.beside(build, "signals", part).to_pylist(), strict=True):
            tokens = tokenizer.count(pa.array([row["text"]], pa.large_string()))[0]
            letters = sum(character.isalpha() for character in row["text"])
            assert values["q_tokens"] == tokens
            assert values["q_tokens_per_char"] == round(tokens / len(row["text"]), 8)
            assert values["q_alpha_chars_per_token"] == round(letters / tokens, 8)
            assert (row["doc_id"] in found) == (letters / tokens < 2.5)
    assert 0 < len(found) < sum(part.counts["kept"] for part in build.parts("documents", "news"))


def test_tokens_of_a_tokenizer_that_is_still_to_be_trained_are_a_mistake(manifest):
    with_quality(manifest, "min_alpha_chars_per_token = 1.5")
    with pytest.raises(ManifestError, match=r"source\[1\]: signals: the set 'tokens' .* give tokenizer.path"):
        check(load(str(manifest)), str(manifest))
