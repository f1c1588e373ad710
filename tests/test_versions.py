"""Versions of one id: which stays is the manifest's rule, and no matter of how the raw files are divided."""

import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import build
from hypothesis import given, settings
from hypothesis import strategies as st
from stepwise import build_stepwise

from redpajama.corpus import reader, verdicts
from redpajama.engine.store import Store
from redpajama.engine.tables import TableWriter, leave_out
from redpajama.pipelines.versions import VERSION_BYTES, Versions, version_of
from redpajama.records import Document, Reason, Tally
from redpajama.report.builds import read_build
from redpajama.report.funnel import funnel

MANIFEST = """
name = "versions"
seed = 1
[dedup]
exact = false
{versions}
[[source]]
name = "code"
pipeline = "github"
inputs = ["*.jsonl"]
{more}
[source.quality]
max_bytes = 100
"""


def rows_of(seed=1, ids=12):
    """Rows of BigQuery; most ids have versions, some of them so long that quality removes them."""
    rng = random.Random(seed)
    rows = []
    for number in range(ids):
        for version in range(rng.randrange(1, 5)):
            text = f"x = {number}{version}\n" * rng.choice([1, 2, 3, 30]) + " " * rng.randrange(3)
            row = {"repo_name": "a/b", "path": f"{number}.py", "license": "mit", "content": text}
            rows.append({**row, "id": str(version)})
    return rows


def surviving(folder, rows, files, more="", versions=""):
    folder.mkdir(parents=True)
    for number in range(files):
        lines = "".join(json.dumps(row) + "\n" for row in rows[number::files])
        (folder / f"{number}.jsonl").write_text(lines)
    (folder / "versions.toml").write_text(MANIFEST.format(more=more, versions=versions))
    built = build_stepwise(folder / "versions.toml", folder / "root", "dedup")
    found = {}
    for part in built.parts("documents"):
        for batch in reader.read(built, part, ["doc_id", "text", "meta"]):
            for row in batch.to_pylist():
                assert row["doc_id"] not in found
                found[row["doc_id"]] = row["text"], row["meta"]
    return found, built


@pytest.mark.parametrize("seed", range(3))
def test_no_division_into_files_groups_or_ranges_changes_the_surviving_texts(tmp_path, seed):
    rows = rows_of(seed)
    shuffled = random.Random(seed).sample(rows, len(rows))
    cases = [
        (rows, 1, ""),
        (shuffled, 1, ""),
        (rows[::-1], 4, ""),
        (rows, 4, "groups = 1"),
        (shuffled, 4, "groups = 2"),
    ]
    cases += [(rows, 1, "part_bytes = 300"), (shuffled, 2, "part_bytes = 500")]
    results = [surviving(tmp_path / str(number), *case)[0] for number, case in enumerate(cases)]
    assert all(found == results[0] for found in results)
    longest = {}
    for row in rows:
        longest[row["path"]] = max(longest.get(row["path"], ""), row["content"], key=len)
    assert {doc_id.rpartition("/")[2] for doc_id in results[0]} == {
        path for path, text in longest.items() if len(text.encode()) <= 100
    }


def test_the_ledger_and_the_verdicts_name_every_version_that_went(tmp_path):
    rows = rows_of(5)
    for files in (1, 4):
        found, built = surviving(tmp_path / str(files), rows, files)
        [record] = built.stage("documents").values()
        counts = record.counts
        assert counts["read"] == counts["kept"] + sum(counts["dropped"].values()) == len(rows)
        tables = [pq.read_table(path) for path in (tmp_path / str(files) / "root").glob("documents/*/part-*.parquet")]
        assert sum(table.num_rows for table in tables) == counts["kept"]
        assert sum(sum(table.column("q_bytes").to_pylist()) for table in tables) == counts["text_bytes"]
        assert all(len(set(table.column("doc_id").to_pylist())) == table.num_rows for table in tables)
        identity = built.stage("identity")["all"].counts
        assert identity["kept"] == len(found)
        assert identity["read"] - len(found) == sum(table.num_rows for table in verdicts.every(built, "identity"))


def test_the_balance_of_a_build_holds_where_the_version_that_stays_is_gone(tmp_path):
    rows = [
        {"repo_name": "a/b", "path": "x.py", "license": "mit", "content": "x = 1\n" * count} for count in (3, 40, 2)
    ]
    folder = tmp_path / "raw"
    folder.mkdir()
    for number, row in enumerate(rows):
        (folder / f"{number}.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "versions.toml").write_text(MANIFEST.format(more="", versions=""))
    build(folder / "versions.toml", tmp_path / "root", "--workers", 1, "--until", "dedup")
    store = Store(str(tmp_path / "root"))
    [row] = funnel(store, read_build(store, ""))
    assert (row.documents, row.living) == (3, 0)
    assert row.removed == {"max_bytes": 1, "duplicate-id": 2}


# ---- one part


def test_the_newest_version_stays_where_the_manifest_says_so():
    rows = [("2021-05-01", "b" * 9), ("2023-05-01", "c"), ("", "d" * 99), ("1960-01-01", "e" * 50)]
    documents = [Document("s/1", text, {"timestamp": time}) for time, text in rows]
    for rule, stays in (("newest", "c"), ("longest", "d" * 99)):
        assert min(documents, key=lambda each: version_of(each, rule)).text == stays
    by_age = sorted(documents, key=lambda each: version_of(each, "newest"))
    assert [each.meta["timestamp"] for each in by_age] == ["2023-05-01", "2021-05-01", "1960-01-01", ""]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.text(max_size=3)), max_size=12))
def test_in_one_part_the_best_of_each_id_stays_once(rows):
    documents = [Document(f"s/{number}", text, {}) for number, text in rows]
    tally = Tally()
    versions = Versions(tally, "prose", "longest")
    given_on = list(versions.chosen(iter(documents)))
    stay = [each.document for row, each in enumerate(given_on) if row not in versions.superseded]
    best = {}
    for document in documents:
        best.setdefault(document.doc_id, []).append(document)
    wanted = {doc_id: min(each, key=lambda one: version_of(one, "longest")).text for doc_id, each in best.items()}
    assert {document.doc_id: document.text for document in stay} == wanted
    assert len(stay) == len(wanted) == tally.kept
    assert len(documents) == tally.kept + sum(tally.dropped.values())
    assert all(len(each.version) == VERSION_BYTES for each in given_on)


def test_a_repeated_record_is_told_from_another_version():
    tally = Tally()
    documents = [Document("s/1", text, {}) for text in ("one text", "one  text", "another", "one text")]
    assert len(list(Versions(tally, "prose", "longest").chosen(iter(documents)))) == 2
    assert tally.dropped == {Reason.REPEATED_RECORD: 2, Reason.DUPLICATE_ID: 1}


@given(st.lists(st.integers(0, 99), max_size=20, unique=True))
def test_rows_that_are_left_out_are_gone_and_the_rest_is_as_it_was(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("file") / "table.parquet"
    with TableWriter(path, pa.schema([("number", pa.int64())]), {"made of": "x"}) as writer:
        for number in range(60):
            writer.add((number,))
    lost = leave_out(path, rows)
    stays = ~np.isin(np.arange(60), rows)
    assert pq.read_table(path).column("number").to_pylist() == np.flatnonzero(stays).tolist()
    assert lost.column("number").to_pylist() == np.flatnonzero(~stays).tolist()
    assert pq.read_metadata(path).metadata[b"made of"] == b"x"
