"""Lines that repeat in a source go: the kernel against plain Python, and whole builds of real pages."""

import gzip
import json
import random
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SHARED, needs_shared
from corpora import build, cli
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.dedup import paragraphs
from redpajama.dedup.lines import MARKS, hash_lines
from redpajama.engine.store import Store
from redpajama.report.verify import verify

MANIFEST = """
name = "lines"
seed = 3
[[source]]
name = "web"
pipeline = "{pipeline}"
inputs = ["{inputs}"]
max_bad_fraction = 0.5
{paragraphs}
[source.quality]
min_chars = {min_chars}
"""


# ---- the kernel


def lower(line: str) -> str:
    """Simple case mapping: one character for one."""
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in line)


def ccnet(line: str) -> str:
    line = "".join("0" if unicodedata.category(c) == "Nd" else c for c in lower(line.strip()))
    return "".join(c for c in line if c not in MARKS and not (ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0))


def c4(line: str) -> str:
    return lower(line.strip())


RULES = {"ccnet": ccnet, "c4": c4}
TRICKY = " \t\r\v\x1c\x85\xa0\u2003\u3000aAbBÀàΣσςİı09٣\uff11…“”!?.\x00\x07漢字😀ﬁß"
TEXTS = st.lists(st.text(st.sampled_from(TRICKY + "\n"), max_size=30), max_size=8)


@pytest.mark.parametrize("rule", RULES)
@settings(deadline=None)
@given(texts=TEXTS)
def test_two_lines_share_a_hash_exactly_where_their_normal_forms_are_equal(rule, texts):
    found = hash_lines(pa.array(texts, pa.large_string()), rule)
    lines = [(number, RULES[rule](line)) for number, text in enumerate(texts) for line in text.split("\n")]
    assert found.text.tolist() == [number for number, _ in lines]
    by_hash = dict(zip(found.hash.tolist(), (line for _, line in lines), strict=True))
    assert [by_hash[value] for value in found.hash.tolist()] == [line for _, line in lines]
    assert len(by_hash) == len({line for _, line in lines})
    assert all((value == 0) == (line == "") for value, line in by_hash.items())


@settings(deadline=None)
@given(texts=TEXTS, cut=st.integers(0, 8))
def test_a_slice_of_an_array_hashes_as_its_own_texts(texts, cut):
    whole = pa.array(texts, pa.large_string())
    assert (
        hash_lines(whole.slice(cut), "ccnet").hash.tolist()
        == hash_lines(pa.array(texts[cut:], pa.large_string()), "ccnet").hash.tolist()
    )


# ---- repeats

CORPUS = st.lists(st.lists(st.sampled_from(["one", "two", "three", "four 4", "", "FOUR 9 "]), max_size=6), max_size=8)


@pytest.mark.parametrize("keep", ["none", "first"])
@settings(deadline=None)
@given(documents=CORPUS, seed=st.integers(0, 3))
def test_what_stays_is_what_plain_python_keeps_in_any_order_and_sharding(keep, documents, seed):
    ids = [f"web/{number}" for number in range(len(documents))]
    texts = dict(zip(ids, ("\n".join(lines) for lines in documents), strict=True))
    shuffled = random.Random(seed).sample(ids, len(ids))
    shards = [shuffled[number::3] for number in range(3)]
    batches = [batch_of(shard, texts) for shard in shards]
    rows = [paragraphs.lines_of(batch, "ccnet", number) for number, batch in enumerate(batches)]
    found = paragraphs.repeats_of(pa.concat_tables(random.Random(seed).sample(rows, 3)), keep)
    got = {}
    for number, (shard, batch) in enumerate(zip(shards, batches, strict=True)):
        repeats = paragraphs.Repeats(found.filter(pa.array(found.column("part").to_numpy() == number)), "ccnet")
        for doc_id, stay in zip(shard, repeats.stay(batch), strict=True):
            got[doc_id] = [line for line, stays in zip(texts[doc_id].split("\n"), stay, strict=True) if stays]
    assert got == kept_by_python(texts, keep)


def batch_of(ids: list[str], texts: dict[str, str]) -> pa.RecordBatch:
    columns = [pa.array(ids, pa.string()), pa.array([texts[doc_id] for doc_id in ids], pa.large_string())]
    return pa.record_batch(columns, names=["doc_id", "text"])


def kept_by_python(texts: dict[str, str], keep: str) -> dict[str, list[str]]:
    counts = Counter(ccnet(line) for text in texts.values() for line in text.split("\n"))
    order = sorted(texts, key=lambda doc_id: paragraphs.document_keys(pa.array([doc_id]))[0])
    seen, kept = set(), {}
    for doc_id in order:
        kept[doc_id] = []
        for line in texts[doc_id].split("\n"):
            normal = ccnet(line)
            stays = normal and (counts[normal] == 1 or (keep == "first" and normal not in seen))
            seen.add(normal)
            kept[doc_id] += [line] if stays else []
    return kept


def test_no_lines_at_all_are_no_repeats():
    empty = paragraphs.repeats_of(paragraphs.ROWS.empty_table(), "first")
    assert empty.num_rows == 0
    stay = paragraphs.Repeats(empty, "ccnet").stay(batch_of(["web/a"], {"web/a": "one\n\none"}))
    assert [array.tolist() for array in stay] == [[True, False, True]]


# ---- builds


def write(folder: Path, pipeline: str, inputs: object, table: str, min_chars: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lines.toml"
    path.write_text(MANIFEST.format(pipeline=pipeline, inputs=inputs, paragraphs=table, min_chars=min_chars))
    return path


def write_pages(folder: Path, files: int = 3) -> None:
    """C4 rows with a menu line on every page, a footer that repeats but for its digits, and a broken row."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in range(files):
        rows = [page(100 * file + number) for number in range(50)] + ['{"text": "cut']
        (folder / f"pages-{file}.json.gz").write_bytes(gzip.compress("\n".join(rows).encode() + b"\n", mtime=0))


def page(number: int) -> str:
    body = "" if number % 10 == 7 else f"What page {'abcdefghij'[number % 10] * (1 + number // 10)} alone says.\n\n"
    text = f"Home | About\n{body}Copyright {number}"
    return json.dumps({"text": text, "url": f"https://example.org/{number}", "timestamp": "t"})


def texts_of(root: Path) -> dict[str, str]:
    tables = [pq.read_table(path) for path in sorted(root.glob("documents/*/part-*.parquet"))]
    return {row["doc_id"]: row["text"] for row in pa.concat_tables(tables).to_pylist()}


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    write_pages(folder)
    return write(folder, "c4", "pages-*.json.gz", "[source.paragraphs]")


def test_ccnet_takes_every_copy_and_c4_leaves_the_first(pages, tmp_path):
    build(pages, tmp_path / "none", "--workers", 1)
    texts = texts_of(tmp_path / "none")
    assert len(texts) == 135  # 15 pages had nothing of their own
    assert all(text.startswith("What page") and "\n" not in text for text in texts.values())
    write(tmp_path, "c4", f"{pages.parent}/pages-*.json.gz", '[source.paragraphs]\nrule = "c4"')
    build(tmp_path / "lines.toml", tmp_path / "first", "--workers", 1)
    lines = Counter(line for text in texts_of(tmp_path / "first").values() for line in text.split("\n"))
    assert lines["Home | About"] == 1
    assert lines["Copyright 7"] == 1


def test_the_ledger_says_what_became_of_every_raw_unit(pages, tmp_path):
    build(pages, tmp_path / "r", "--workers", 1)
    record = json.loads(next((tmp_path / "r/documents").glob("*/_record-*.json")).read_text())
    counts = record["counts"]
    assert (counts["read"], counts["kept"]) == (153, 135)
    assert counts["dropped"] == {"no-paragraph-left": 15}
    assert counts["quarantined"] == {"invalid-json": 3}
    assert counts["consumed_bytes"] == counts["raw_bytes"]
    said = cli("why", tmp_path / "r", "pages-1.json.gz").stdout
    assert "quarantined by the pipeline: invalid-json" in said
    assert "dropped by the pipeline: no-paragraph-left" in cli("why", tmp_path / "r", emptied(tmp_path / "r")).stdout
    assert verify(Store(str(tmp_path / "r")), ["lines"]).problems == []


def emptied(root: Path) -> str:
    """An id whose document had no line of its own."""
    ledger = pa.concat_tables(pq.read_table(path) for path in root.glob("documents/*/ledger/*.parquet"))
    return next(row["doc_id"] for row in ledger.to_pylist() if row["reason"] == "no-paragraph-left")


def test_quarantined_bytes_are_carried_on(pages, tmp_path):
    build(pages, tmp_path / "r", "--workers", 1)
    ledgers = sorted((tmp_path / "r/documents").glob("*/ledger/*.parquet"))
    rows = [row for path in ledgers for row in pq.read_table(path).to_pylist() if row["verdict"] == "quarantined"]
    for path, row in zip(ledgers, rows, strict=True):
        evidence = json.loads(row["evidence"])
        raw = (path.parents[1] / "quarantine" / path.with_suffix(".bin").name).read_bytes()
        assert raw[evidence["raw_offset"] :][: evidence["raw_bytes"]].startswith(b'{"text": "cut')


def test_two_workers_give_the_same_bytes(pages, tmp_path):
    wanted = build(pages, tmp_path / "one", "--workers", 1)
    assert build(pages, tmp_path / "two", "--workers", 2) == wanted


def test_one_more_file_reads_only_that_file_again(pages, tmp_path):
    folder = tmp_path / "raw"
    write_pages(folder, files=2)
    path = write(folder, "c4", "pages-*.json.gz", "[source.paragraphs]")
    build(path, tmp_path / "r", "--workers", 1)
    before = {part: part.stat().st_mtime_ns for part in (tmp_path / "r/extracted").rglob("*.parquet")}
    write_pages(folder)
    build(path, tmp_path / "r", "--workers", 1)
    assert all(part.stat().st_mtime_ns == moment for part, moment in before.items())
    write_pages(tmp_path / "fresh")
    path = write(tmp_path / "fresh", "c4", "pages-*.json.gz", "[source.paragraphs]")
    build(path, tmp_path / "f", "--workers", 1)
    assert texts_of(tmp_path / "r") == texts_of(tmp_path / "f")


def test_an_unknown_rule_is_one_line(tmp_path):
    write_pages(tmp_path, files=1)
    path = write(tmp_path, "c4", "pages-*.json.gz", '[source.paragraphs]\nrule = "cnet"')
    result = cli("build", path, "--out", tmp_path / "r")
    assert result.returncode == 2
    assert "source[1].paragraphs.rule" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def real_pages(tmp_path_factory) -> tuple[dict[str, str], dict[str, str], Path]:
    """Real WET files: (texts as they were, without the lines that repeat, ROOT of the second build)."""
    folder, inputs = tmp_path_factory.mktemp("real"), f"{SHARED}/commoncrawl/*/*.wet*"
    raw = texts_of_build(folder / "raw", inputs, "", 0)
    return raw, texts_of_build(folder / "clean", inputs, "[source.paragraphs]", 300), folder / "clean/r"


@needs_shared
def test_defect_01_lines_are_compared_with_those_of_all_files_of_the_source(real_pages):
    """RedPajama-1T compared 1/5000 of a dump at a time; each of these pages came in a file of its own or a few."""
    raw, cleaned, _ = real_pages
    assert cleaned == {doc_id: "\n".join(lines) for doc_id, lines in kept_by_python(raw, "none").items() if lines}
    assert sum(map(len, cleaned.values())) < sum(map(len, raw.values()))


@needs_shared
def test_defect_02_what_line_dedup_leaves_too_short_goes(real_pages):
    """RedPajama-1T asked for 300 characters before it, and never after."""
    raw, cleaned, root = real_pages
    short = {doc_id for doc_id, text in cleaned.items() if len(text) < 300}
    assert short
    assert any(len(raw[doc_id]) >= 300 for doc_id in short)
    assert verdicts(root / "quality") == short


def texts_of_build(folder: Path, inputs: str, table: str, min_chars: int) -> dict[str, str]:
    build(write(folder, "common_crawl", inputs, table, min_chars), folder / "r", "--workers", 1, "--until", "dedup")
    return texts_of(folder / "r")


def verdicts(folder: Path) -> set[str]:
    tables = [pq.read_table(path, columns=["doc_id"]) for path in folder.glob("*/part-*.parquet")]
    return set(pa.concat_tables(tables).column("doc_id").to_pylist())


def test_bounded_partitions_give_the_same_lines():
    texts = {f"web/{number}": f"line {'x' * (number % 7)}\nown {'y' * number}" for number in range(200)}
    rows = paragraphs.lines_of(batch_of(list(texts), texts), "ccnet", 1)
    whole = paragraphs.repeats_of(rows, "first")
    half = rows.column("line").to_numpy() >> np.uint64(63) == 0
    split = [paragraphs.repeats_of(rows.filter(pa.array(side)), "first") for side in (half, ~half)]
    assert pa.concat_tables(split).sort_by("line").equals(whole.sort_by("line"))
