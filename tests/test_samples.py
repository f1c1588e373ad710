"""The real samples, end to end: documents from all eleven sources, and shards whose tokens say the documents' texts."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import SHARED, needs_shared
from corpora import cli
from packing import (
    pack_arxiv_bulk_tar,
    pack_bigquery_rows,
    pack_pg19,
    pack_pile_jsonl_zst,
    pack_stackexchange_7z,
    pack_the_stack_parquet,
)

from redpajama import manifest as manifests
from redpajama.engine.store import Store
from redpajama.engine.tables import read_table
from redpajama.exports import megatron
from redpajama.report.builds import open_build, read_build
from redpajama.report.funnel import funnel
from redpajama.tokenize import encode

SAMPLES = Path(__file__).with_name("samples.toml")
SOURCES = [
    *("common_crawl", "c4", "github", "books", "arxiv", "wikipedia", "stackexchange", "pile", "the_stack", "rows"),
    "files",
]
PACKED = {
    "github": pack_bigquery_rows,
    "arxiv": pack_arxiv_bulk_tar,
    "stackexchange": pack_stackexchange_7z,
    "pile": pack_pile_jsonl_zst,
    "the_stack": pack_the_stack_parquet,
    "books": pack_pg19,
}

pytestmark = needs_shared


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    packed = tmp_path_factory.mktemp("packed")
    for name, pack in PACKED.items():
        (packed / name).mkdir()
        pack(packed / name, SHARED)
    root = tmp_path_factory.mktemp("samples") / "corpus"
    result = cli("build", SAMPLES, "--out", root, "--workers", 2, "--mirror", f"https://packed.invalid/={packed}/")
    assert result.returncode == 0, result.stderr[-3000:]
    return root


def test_every_source_gives_documents_and_every_unit_an_outcome(built):
    store = Store(str(built))
    rows = funnel(store, read_build(store))
    assert [row.source for row in rows] == SOURCES
    for row in rows:
        assert row.documents > 0, row.source
        assert row.drawn_tokens > 0, row.source
        assert row.read == row.documents + row.merged + sum(row.dropped.values()) + row.quarantined
        assert row.got_share == pytest.approx(row.wanted_share, abs=0.06)


def test_everything_is_as_the_records_say(built):
    result = cli("verify", built)
    assert result.returncode == 0, result.stdout


def test_ids_are_unique_among_the_living_and_begin_with_their_source(built):
    lineage = [pq.read_table(path).to_pylist() for path in sorted(built.glob("tokens/*/*_lineage.parquet"))]
    rows = [row for table in lineage for row in table]
    assert all(row["doc_id"].startswith(f"{row['source']}/") for row in rows)
    assert len({(row["doc_id"], row["copy"]) for row in rows}) == len(rows)


def test_all_sequences_decode_to_the_text_that_their_lineage_points_to(built):
    tokenizer = encode.load(next(built.glob("tokenizer/*/*-tokenizer.json")))
    store, texts = Store(str(built)), {}
    build = open_build(store, read_build(store))
    sequences = 0
    for path in sorted(built.glob("tokens/*/*.idx")):
        index = megatron.read_index(path)
        tokens = np.memmap(path.with_suffix(".bin"), index.dtype, "r")
        lineage = pq.read_table(str(path).replace("_text_document.idx", "_lineage.parquet")).to_pylist()
        assert len(lineage) == len(index.sizes)
        assert (tokens == tokenizer.eod_id).sum() == len(lineage)
        for row in lineage:
            part = row["document_part"]
            if part not in texts:
                table = read_table(store, build.part("documents", part).file(".parquet"), ["doc_id", "text"])
                texts[part] = dict(zip(*(table.column(name).to_pylist() for name in table.column_names), strict=True))
            ids = tokens[row["token_offset"] : row["token_offset"] + row["n_tokens"]]
            assert ids[-1] == tokenizer.eod_id
            assert tokenizer.decode(ids[:-1]) == tokenizer.normalise(texts[part][row["doc_id"]]), row["doc_id"]
            sequences += 1
    assert sequences > 300


def test_released_metadata_has_the_fields_of_redpajama(built):
    wanted = {
        "common_crawl": {"url", "digest", "source"},
        "c4": {"timestamp", "url", "language", "source"},
        "github": {"content_hash", "timestamp", "source", "line_count", "max_line_length", "repo_name"},
        "books": {"short_book_title", "publication_date", "url"},
        "arxiv": {"timestamp", "yymm", "arxiv_id", "language", "url", "source"},
        "wikipedia": {"title", "url", "language", "timestamp"},
        "stackexchange": {"timestamp", "source", "question_score"},
        "pile": {"pile_set_name"},
        "the_stack": {"hexsha", "lang", "ext", "size"},
        "rows": {"url", "Category", "source"},
        "files": {"path", "source"},
    }
    for source, fields in wanted.items():
        parts = sorted(built.glob(f"documents/{source}-*/part-*.parquet"))
        texts = [text for part in parts for text in pq.read_table(part, columns=["meta"]).column("meta").to_pylist()]
        assert texts, source
        for meta in map(json.loads, texts):
            of_a_site = {"language", "url"} if "site" in meta else set()  # as two folders of posts do not name theirs
            assert fields | of_a_site <= meta.keys(), (source, meta)


def test_memory_stays_below_a_gibibyte_a_worker(built):
    notes = [json.loads(path.read_text()) for path in built.glob("timing/**/*.json")]
    assert max(note["peak_bytes"] for note in notes if "peak_bytes" in note) < 1 << 30


def test_the_manifest_of_the_samples_is_sound():
    assert [source.name for source in manifests.load(str(SAMPLES)).source] == SOURCES
