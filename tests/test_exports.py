"""Each export holds the store's tokens, read back by readers of a few lines; folders, packing, and what is refused."""

import gzip
import io
import json
import os
import re
import shutil
import struct
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard
from corpora import build, cli, write_corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.engine.store import Store
from redpajama.errors import BuildFailed, UserError
from redpajama.exports import packing
from redpajama.exports.chunks import chunks_of
from redpajama.exports.datatrove import metric
from redpajama.exports.folder import Folder
from redpajama.exports.run import format_named, planned, run
from redpajama.exports.source import NOTHING, Source
from redpajama.formats import FORMATS, PACKED
from redpajama.report import exporting
from redpajama.report.builds import read_build
from redpajama.report.shards import open_source
from redpajama.tables import Packing, Shards

ALL = sorted(FORMATS)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    build(write_corpus(folder / "in"), folder / "root", "--workers", 1)
    return folder / "root"


@pytest.fixture(scope="module")
def source(root) -> Source:
    store = Store(str(root))
    return open_source(store, read_build(store))


def export(source: Source, name: str, to: Path, method=None, length=64, **more):
    asked = Packing(method=method, length=length)
    return run(planned(source, name, str(to), asked, **more), workers=2)


def stream(source: Source) -> np.ndarray:
    """All tokens, as the files of the store hold them."""
    files = [source.store.path(shard.bin.key) for shard in source.shards]
    return np.concatenate([np.fromfile(file, "<u2") for file in files])


def documents(source: Source) -> list[list[int]]:
    """Every document's tokens."""
    found = []
    for number, shard in enumerate(source.shards):
        tokens = np.fromfile(source.store.path(shard.bin.key), "<u2")
        found += [tokens[start:end].tolist() for start, end in pairwise(source.bounds(number))]
    return found


# ---- what is read back


def test_olmo_files_are_the_ids_alone_and_the_documents_stand_in_a_table(source, tmp_path):
    export(source, "olmo", tmp_path / "x")
    files = sorted(tmp_path.glob("x/*.npy"))
    assert len(files) == len(source.shards) > 1
    assert np.array_equal(np.concatenate([np.fromfile(path, "<u2") for path in files]), stream(source))
    rows = gzip.decompress(files[1].with_suffix(".csv.gz").read_bytes()).decode().splitlines()
    start, end, doc_id, where, row = rows[2].split(",")
    bounds = source.bounds(1)
    assert (int(start), int(end), int(row)) == (bounds[2], bounds[3], 3)
    lineage = pq.read_table(source.store.path(where)).to_pylist()
    assert lineage[2]["doc_id"] == doc_id
    assert len(rows) == source.shards[1].documents


def begun(source: Source, shard: int) -> np.ndarray:
    """A shard's documents with the end of document in front of each."""
    tokens = np.fromfile(source.store.path(source.shards[shard].bin.key), "<u2")
    return np.concatenate([[source.vocabulary.end_id], tokens[:-1]])


def test_llmc_files_have_its_header_and_documents_begin_with_the_end_of_document(source, tmp_path):
    export(source, "llmc", tmp_path / "x")
    for number, path in enumerate(sorted(tmp_path.glob("x/*_train_*.bin"))):
        body = path.read_bytes()
        wanted = begun(source, number)
        assert struct.unpack_from("<4i", body) == (20240520, 1, len(wanted), 0)
        assert np.array_equal(np.frombuffer(body, "<u2", offset=1024), wanted)


def test_nanogpt_files_name_the_places_where_documents_begin(source, tmp_path):
    export(source, "nanogpt", tmp_path / "x")
    for number, path in enumerate(sorted(tmp_path.glob("x/*_train_*.bin"))):
        body, wanted = path.read_bytes(), begun(source, number)
        assert struct.unpack_from("<5i", body) == (278895051, 1, len(wanted), 2, 0)
        tokens = np.frombuffer(body, "<u2", offset=1024)
        assert np.array_equal(tokens, wanted)
        begins = np.fromfile(path.with_suffix(".bos.idx"), "<i4")
        assert np.array_equal(begins, np.flatnonzero(tokens == source.vocabulary.end_id))


def test_datatrove_files_have_the_ends_of_documents_and_three_lines(source, tmp_path):
    export(source, "datatrove", tmp_path / "x")
    files = sorted(tmp_path.glob("x/*.ds"))
    assert np.array_equal(np.concatenate([np.fromfile(path, "<u2") for path in files]), stream(source))
    assert np.array_equal(np.fromfile(f"{files[0]}.index", "<u8"), source.bounds(0)[1:])
    tokens = source.shards[0].tokens
    assert Path(f"{files[0]}.metadata").read_text() == f"tokenizer.json|2\n{tokens}\n{tokens / 1000:.2f} kT"


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (5, "5.00 T"),
        (999, "999 T"),
        (1000, "1.00 kT"),
        (9_999, "10.0 kT"),
        (999_999, "1.00 MT"),
        (2_345_678_901, "2.35 GT"),
    ],
)
def test_counts_are_written_as_datatrove_writes_them(tokens, said):
    assert metric(tokens) == said


def read_mds(folder: Path) -> tuple[list[np.ndarray], list[dict]]:
    """The rows, by the index."""
    rows, shards = [], json.loads((folder / "index.json").read_text())["shards"]
    for shard in shards:
        body = (folder / shard["raw_data"]["basename"]).read_bytes()
        assert len(body) == shard["raw_data"]["bytes"]
        (count,) = struct.unpack_from("<I", body)
        places = struct.unpack_from(f"<{count + 1}I", body, 4)
        rows += [np.frombuffer(body[start:end], "<u2") for start, end in pairwise(places)]
        assert count == shard["samples"]
        assert places[-1] == len(body)
    return rows, shards


def test_mds_rows_are_the_stream_and_padding(source, tmp_path):
    result = export(source, "mds", tmp_path / "x", length=50)
    rows, shards = read_mds(tmp_path / "x")
    flat = np.concatenate(rows)
    assert {len(row) for row in rows} == {50}
    assert np.array_equal(flat[: source.tokens], stream(source))
    assert set(flat[source.tokens :].tolist()) <= {source.vocabulary.pad_id}
    assert result.counts["padding"] == len(flat) - source.tokens == -source.tokens % 50
    assert shards[0]["column_encodings"] == ["ndarray:uint16:50"]


def test_litdata_chunks_hold_whole_rows(source, tmp_path):
    export(source, "litdata", tmp_path / "x", length=33)
    index, rows = json.loads((tmp_path / "x/index.json").read_text()), []
    for chunk in index["chunks"]:
        body = (tmp_path / "x" / chunk["filename"]).read_bytes()
        (count,) = struct.unpack_from("<I", body)
        places = struct.unpack_from(f"<{count + 1}I", body, 4)
        rows += [np.frombuffer(body[start:end], "<u2") for start, end in pairwise(places)]
        assert chunk["dim"] == 33 * chunk["chunk_size"] == 33 * count
    assert np.array_equal(np.concatenate(rows)[: source.tokens], stream(source))
    assert index["config"]["data_format"] == ["no_header_tensor:20"]


def rows_of(folder: Path) -> list[dict]:
    return [row for path in sorted(folder.glob("data/*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_a_parquet_row_is_a_document_with_its_id(source, tmp_path):
    export(source, "parquet", tmp_path / "x")
    rows = rows_of(tmp_path / "x")
    assert [row["input_ids"] for row in rows] == documents(source)
    assert all(row["labels"] == row["input_ids"] for row in rows)
    assert all(row["attention_mask"] == [1] * len(row["input_ids"]) for row in rows)
    lineage = [
        row for shard in source.shards for row in pq.read_table(source.store.path(shard.lineage.key)).to_pylist()
    ]
    assert [(row["doc_id"], row["source"]) for row in rows] == [(row["doc_id"], row["source"]) for row in lineage]


@pytest.mark.parametrize("method", ["concatenate", "best-fit"])
def test_packed_parquet_rows_are_as_long_masked_and_say_where_documents_end(source, tmp_path, method):
    result = export(source, "parquet", tmp_path / "x", method, 70)
    rows, pieces = rows_of(tmp_path / "x"), []
    for row in rows:
        used = sum(row["seq_lengths"])
        assert len(row["input_ids"]) == len(row["labels"]) == 70
        assert row["attention_mask"] == [1] * used + [0] * (70 - used)
        assert row["labels"] == row["input_ids"][:used] + [-100] * (70 - used)
        ends = np.cumsum([0, *row["seq_lengths"]])
        pieces += [row["input_ids"][start:end] for start, end in pairwise(ends)]
    assert sum(map(len, pieces)) == result.counts["tokens"] == source.tokens
    if method == "concatenate":
        assert [token for piece in pieces for token in piece] == stream(source).tolist()
    else:
        wanted = [each[at : at + 70] for each in documents(source) for at in range(0, len(each), 70)]
        assert sorted(pieces) == sorted(wanted)


def test_texts_are_those_of_the_mixture_under_their_subsets(source, tmp_path):
    export(source, "text-jsonl", tmp_path / "j")
    export(source, "text-parquet", tmp_path / "p")
    lines = []
    for path in sorted(tmp_path.glob("j/data/*.jsonl.zst")):
        lines += io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(path.read_bytes()), "utf-8").readlines()
    found = [json.loads(line) for line in lines]
    wanted = [row for file in source.texts for row in pq.read_table(source.store.path(file.key)).to_pylist()]
    assert [row["text"] for row in found] == [row["text"] for row in wanted]
    assert [row["meta"] for row in found] == [json.loads(row["meta"]) for row in wanted]
    assert {row["red_pajama_subset"] for row in found} == {"c4"}
    rows = rows_of(tmp_path / "p")
    assert [(row["text"], row["meta"], row["doc_id"]) for row in rows] == [
        (row["text"], row["meta"], row["doc_id"]) for row in wanted
    ]


def test_of_texts_as_parquet_the_subset_alone_has_a_dictionary(source, tmp_path):
    export(source, "text-parquet", tmp_path / "p")
    group = pq.ParquetFile(next(tmp_path.glob("p/data/*.parquet"))).metadata.row_group(0)
    columns = map(group.column, range(group.num_columns))
    assert [each.path_in_schema for each in columns if each.has_dictionary_page] == ["red_pajama_subset"]


# ---- packing

SIZES = st.lists(st.integers(1, 200), min_size=1, max_size=80)


@settings(deadline=None)
@given(SIZES, st.integers(2, 60))
def test_best_fit_cuts_no_document_that_fits_and_overfills_no_row(sizes, length):
    bounds = np.cumsum([0, *sizes])
    starts, pieces = packing.cut(bounds, length)
    fitting = [size for size in sizes if size <= length]
    assert sorted(pieces.tolist()) == sorted([p for s in sizes for p in [length] * (s // length) + [s % length] if p])
    assert len([start for start in starts.tolist() if start in set(bounds[:-1].tolist())]) == len(sizes)
    order, rows = packing.packed(pieces, length)
    assert sorted(order.tolist()) == list(range(len(pieces)))
    filled = [pieces[order[start:end]].sum() for start, end in pairwise(rows)]
    assert max(filled) <= length
    assert len(fitting) <= len(pieces)
    assert sum(sorted(filled)[:2]) > length or len(filled) == 1  # no two rows would have gone into one


@settings(deadline=None)
@given(SIZES, st.integers(2, 60))
def test_best_fit_needs_as_few_rows_as_one_piece_after_another(sizes, length):
    """Against the textbook: each piece into the fullest row that has room."""
    pieces = packing.cut(np.cumsum([0, *sizes]), length)[1]
    rooms: list[int] = []
    for piece in sorted(pieces.tolist(), reverse=True):
        fitting = [(room, number) for number, room in enumerate(rooms) if room >= piece]
        if fitting:
            rooms[min(fitting)[1]] -= piece
        else:
            rooms.append(length - piece)
    order, rows = packing.packed(pieces, length)
    found = [length - pieces[order[start:end]].sum() for start, end in pairwise(rows)]
    assert sorted(found) == sorted(rooms)


@settings(deadline=None)
@given(SIZES, st.integers(2, 60), st.integers(1, 300), st.sampled_from(["<u2", "<i4"]))
def test_rows_packed_by_best_fit_hold_their_pieces_back_to_back_and_are_filled_at_the_end(sizes, length, most, kind):
    """Against one slice a piece, whatever the blocks."""
    bounds = np.cumsum([0, *sizes])
    tokens = np.arange(1, bounds[-1] + 1).astype(kind)
    starts, pieces = packing.cut(bounds, length)
    order, rows = packing.packed(pieces, length)
    wanted = []
    for first, last in pairwise(rows.tolist()):
        row = [tokens[starts[piece] : starts[piece] + pieces[piece]] for piece in order[first:last]]
        wanted.append(np.pad(np.concatenate(row), (0, length - sum(map(len, row)))).tolist())
    with patch.object(packing, "BLOCK_TOKENS", most):
        blocks = list(packing._window(tokens, bounds, length))
    found = [packing.padded(block, length, 0) for block in blocks]
    assert np.concatenate(found).tolist() == wanted
    assert [block.tokens.dtype for block in blocks] == [tokens.dtype] * len(blocks)
    assert np.concatenate([np.diff(block.pieces) for block in blocks]).tolist() == pieces[order].tolist()


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 12))
def test_chunks_have_as_many_rows_as_fit_whatever_the_blocks(sizes, most):
    bounds = np.cumsum([0, *sizes]).tolist()
    tokens = np.arange(2 * bounds[-1], dtype="<u2")
    blocks = [_block(tokens[2 * start : 2 * end]) for start, end in pairwise(bounds) if end > start]
    asked = SimpleNamespace(rows=lambda unit: blocks, length=2, source=SimpleNamespace(vocabulary=NOTHING))
    counts = {"tokens": 0, "rows": 0, "padding": 0}
    chunks = [np.concatenate(chunk) for chunk in chunks_of(asked, 0, most, counts)]
    assert np.array_equal(np.concatenate([tokens[:0].reshape(0, 2), *chunks]), tokens.reshape(-1, 2))
    assert [len(chunk) for chunk in chunks[:-1]] == [most] * len(chunks[:-1])
    assert counts == {"tokens": len(tokens), "rows": bounds[-1], "padding": 0}


def _block(tokens: np.ndarray) -> packing.Block:
    """Rows of two tokens, one piece each."""
    return packing.Block(tokens, np.arange(0, len(tokens) + 1, 2), np.arange(len(tokens) // 2 + 1), -1)


def test_concatenated_rows_run_over_the_bounds_of_shards(source):
    shards = range(len(source.shards))
    blocks = [block for shard in shards for block in packing.rows_of(source, shard, "concatenate", 1000)]
    assert np.array_equal(np.concatenate([block.tokens for block in blocks]), stream(source))
    sizes = np.concatenate([np.diff(block.bounds) for block in blocks])
    assert set(sizes[:-1].tolist()) == {1000}


# ---- cards and hints


@pytest.mark.parametrize("name", ["text-jsonl", "text-parquet", "parquet"])
def test_cards_count_what_was_written_and_name_the_split(source, tmp_path, name):
    own = replace(source, split="validation", shards=source.shards if name == "parquet" else ())
    export = planned(own, name, str(tmp_path / "x"), Packing())
    counts = run(export, workers=1).counts
    card = (tmp_path / "x/README.md").read_text()
    assert f"| documents | {counts['documents']:,} |\n| tokens | {source.tokens:,} |" in card
    assert "  - split: validation\n    path: data/validation-*\n---" in card
    assert export.opens("x") == 'datasets.load_dataset("x", split="validation")'
    rows = datasets.load_dataset(str(tmp_path / "x"), split="validation", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == counts["documents"]


def test_what_is_held_out_is_opened_and_named_as_such(source, tmp_path):
    held = replace(source, split="validation")
    assert planned(held, "llmc", "x", Packing()).opens("x") == "./train_gpt2cu -j 'x/*_val_*.bin'"
    assert planned(source, "nanogpt", "x", Packing()).opens("x").startswith('NanogptDataset(file_pattern="x/*_train_*')
    export(held, "megatron", tmp_path / "x")
    neox = json.loads((tmp_path / "x/neox.yml").read_text())
    assert "train-data-paths" not in neox
    assert [
        f"{tokens} {path}" for tokens, path in zip(neox["valid-data-weights"], neox["valid-data-paths"], strict=True)
    ] == (tmp_path / "x/megatron.txt").read_text().splitlines()
    assert json.loads((tmp_path / "x/megatron-splits.json").read_text())["train"] == []


# ---- the store's own format


def test_shards_joined_and_cut_are_those_that_a_build_with_that_size_makes(source, root, tmp_path):
    whole = tmp_path / "whole"
    manifest = write_corpus(tmp_path / "in")
    manifest.write_text(manifest.read_text().replace("tokens_per_shard = 2500", "tokens_per_shard = 100_000"))
    build(manifest, whole, "--workers", 1)
    export(source, "megatron", tmp_path / "x", shard_tokens=100_000)
    for ending in ("_text_document.bin", "_text_document.idx", "_lineage.parquet"):
        (ours,) = tmp_path.glob(f"x/*{ending}")
        (theirs,) = whole.glob(f"tokens/*/*{ending}")
        assert ours.read_bytes() == theirs.read_bytes()
    assert ours.name == "small-00000-of-00001_lineage.parquet"


def test_shards_are_dealt_out_by_each_index_once(source, tmp_path, monkeypatch):
    """The sum of what lies in a new shard would read those of all shards before, for each one more."""
    asked, bounds = [], Source.bounds
    monkeypatch.setattr(Source, "bounds", lambda self, shard: asked.append(shard) or bounds(self, shard))
    export = planned(source, "megatron", str(tmp_path / "x"), Packing(), 100_000)
    assert len(export.format.units(export) and asked) == len(source.shards) > 2


def test_no_document_is_cut_where_shards_are(source, tmp_path):
    export(source, "megatron", tmp_path / "x", shard_tokens=700)
    prefixes = [line.split() for line in (tmp_path / "x/megatron.txt").read_text().splitlines()]
    found = []
    for tokens, prefix in prefixes:
        sizes = np.frombuffer(Path(f"{prefix}.idx").read_bytes(), "<i4", -1, 34)
        count = struct.unpack_from("<Q", Path(f"{prefix}.idx").read_bytes(), 18)[0]
        sizes = sizes[:count]
        body = np.fromfile(f"{prefix}.bin", "<u2")
        assert len(body) == int(tokens) == sizes.sum() <= 700
        found += [body[start:end].tolist() for start, end in pairwise(np.cumsum([0, *sizes]))]
    assert found == documents(source)
    assert len(prefixes) >= source.tokens / 700


def test_without_a_size_the_shards_are_those_of_the_store(source, tmp_path):
    export(source, "megatron", tmp_path / "x")
    for shard in source.shards:
        copied = (tmp_path / f"x/{shard.label}_text_document.bin").read_bytes()
        assert copied == source.store.read(shard.bin.key)


# ---- folders


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ALL)
def test_an_export_that_was_killed_goes_on_and_ends_as_one_that_was_not(root, source, tmp_path, name):
    export(source, name, tmp_path / "whole")
    counter = tmp_path / "count"
    arguments = ["export", root, "--format", name, "--to", tmp_path / "x", "--length", 64, "--workers", 1]
    for crash in ("export-file:1", "export-unit:2"):
        counter.unlink(missing_ok=True)
        killed = cli(*arguments, REDPAJAMA_CRASH=crash, REDPAJAMA_CRASH_COUNT=str(counter))
        assert killed.returncode == -9
    result = cli(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    count = format_named(name).units(planned(source, name, str(tmp_path / "x"), Packing()))
    assert said["written"] == count - 2  # the first was whole the second time, and the second
    found, wanted = files_in(tmp_path / "x"), files_in(tmp_path / "whole")
    if name == "megatron":  # they name their folder
        found, wanted = ({key: body for key, body in each.items() if "small-" in key} for each in (found, wanted))
    for each in (found, wanted):
        each.pop(".redpajama/export.json", None)
    assert found == wanted


@pytest.mark.parametrize("place", ["", "x", "exports/olmo"])
def test_an_export_into_the_root_is_refused_since_gc_would_remove_it(root, place):
    told = cli("export", root, "--format", "olmo", "--to", root / place)
    assert told.returncode == 2
    assert "where `gc` removes what no build names" in told.stderr
    assert not (root / "x").exists()


def test_a_finished_export_is_not_written_again(source, tmp_path):
    export(source, "olmo", tmp_path / "x")
    assert export(source, "olmo", tmp_path / "x").redone == 0
    (tmp_path / "x/part-0-00001.npy").write_bytes(b"cut")
    again = export(source, "olmo", tmp_path / "x")
    assert again.redone == 1
    assert again.files["part-0-00001.npy"][0] == (tmp_path / "x/part-0-00001.npy").stat().st_size


def test_a_folder_that_holds_something_else_is_refused(source, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"x: it holds something else \(thesis.txt\)"):
        export(source, "olmo", tmp_path / "x")
    assert [path.name for path in tmp_path.glob("x/*")] == ["thesis.txt"]
    export(source, "olmo", tmp_path / "y")
    with pytest.raises(UserError, match=r"y: it holds another export \(olmo small none 0\)"):
        export(source, "mds", tmp_path / "y")


def test_of_two_exports_that_begin_in_one_folder_the_later_is_refused(tmp_path):
    one, other = (Folder(str(tmp_path / "x"), {"format": name}) for name in ("olmo", "mds"))
    with one.held():
        pass
    with pytest.raises(UserError, match="x: it holds another export"), other.held():
        pass
    assert json.loads((tmp_path / "x/.redpajama/export.json").read_bytes())["export"] == {"format": "olmo"}


def test_a_second_export_into_a_folder_is_refused_while_the_first_goes_on(source, tmp_path):
    write = format_named("olmo").write
    asked = planned(source, "olmo", str(tmp_path / "x"), Packing())

    def meanwhile(*given):
        with pytest.raises(UserError, match="x: another export writes there"):
            run(asked, workers=1)
        return write(*given)

    first = planned(source, "olmo", str(tmp_path / "x"), Packing())
    first = replace(first, format=replace(first.format, write=meanwhile))
    assert run(first, workers=1).redone == len(source.shards)


def test_an_export_below_root_goes_only_where_it_is_another(root, source, monkeypatch):
    record = read_build(source.store)
    record["manifest"]["shards"]["formats"] = ["olmo"]
    exporting.export_all(source.store, record)
    before = files_in(root / "exports")

    def refuse(*_):
        raise UserError("another export writes there")

    monkeypatch.setattr(exporting, "run", refuse)
    with pytest.raises(UserError, match="another export writes there"):
        exporting.export_all(source.store, record)
    assert files_in(root / "exports") == before
    shutil.rmtree(root / "exports")


def test_exports_go_to_object_stores(source, bucket, tmp_path):
    to = f"s3://bucket/{tmp_path.name}/x"
    run(planned(source, "datatrove", to, Packing()), workers=2)
    store = Store(to)
    found = b"".join(store.read(f"{number:05d}_00000_shuffled.ds") for number in range(len(source.shards)))
    assert found == stream(source).tobytes()


# ---- what is refused


def with_ids(source: Source, size: int) -> Source:
    """The same with a tokenizer of so many ids."""
    fields = {name: getattr(source, name) for name in source.__dataclass_fields__}
    return Source(**{**fields, "vocabulary": source.vocabulary._replace(size=size)})


def test_a_format_of_16_bits_refuses_a_larger_vocabulary_in_one_line(source, tmp_path):
    with pytest.raises(UserError) as told:
        export(with_ids(source, 128_256), "llmc", tmp_path / "x")
    said = "format 'llmc' holds ids of 16 bits, up to 65,535; the tokenizer has 128,256: use 'nanogpt'"
    assert str(told.value) == said
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("llmc", "text-jsonl", "text-parquet")])
def test_all_other_formats_have_room_for_large_vocabularies(name):
    vocabulary = NOTHING._replace(size=128_256)
    assert format_named(name).dtype(vocabulary).itemsize == 4
    assert format_named(name).dtype(vocabulary._replace(size=50_277)).itemsize == 2


def test_a_build_that_holds_nothing_out_has_no_such_split(root, tmp_path):
    told = cli("export", root, "--format", "olmo", "--split", "validation", "--to", tmp_path / "x")
    assert (told.returncode, told.stderr) == (2, "redpajama: build 'small' has no shards for validation to export\n")
    told = cli("export", root, "--format", "olmo", "--split", "valid", "--to", tmp_path / "x")
    assert told.stderr == "redpajama: --split valid: one of train, validation\n"


def test_a_format_that_is_not_there_and_a_packing_that_it_does_not_have(source, root, tmp_path):
    with pytest.raises(UserError, match="no format is called 'parket'; did you mean 'parquet'"):
        export(source, "parket", tmp_path / "x")
    with pytest.raises(UserError, match="format 'mds' is not packed by 'none': it takes concatenate, best-fit"):
        export(source, "mds", tmp_path / "x", "none")
    result = cli("export", root, "--to", tmp_path / "x")
    assert result.returncode == 2
    assert result.stderr.strip().endswith(f"name a format with --format: {', '.join(FORMATS)}")


def test_formats_with_rows_are_those_that_the_manifest_packs():
    packed = [name for name in FORMATS if len(format_named(name).packings) > 1]
    assert sorted(packed) == sorted(PACKED)
    assert {format_named(name).name for name in FORMATS} == set(FORMATS)
    with pytest.raises(ValueError, match="packing goes with a format of rows"):
        Shards(formats=["olmo"], packing=Packing(length=5))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda pair: os.truncate(pair[0], 100), r"_text_document.bin: 100 bytes, but the index says [\d,]+"),
        (lambda pair: os.truncate(pair[1], 100), r"_text_document.idx: 100 bytes, but its header says [\d,]+"),
        (lambda pair: pair[1].write_bytes(b"not an index"), "not a Megatron index"),
        (lambda pair: pair[0].unlink(), "_text_document.bin: it is missing"),
        (lambda pair: pair[1].unlink(), "No such file"),
    ],
)
def test_a_broken_pair_is_told_in_one_line(root, tmp_path, damage, said):
    shutil.copytree(root, tmp_path / "root", symlinks=True)
    pair = sorted(tmp_path.glob("root/tokens/*/small-00001*_text_document.bin"))[0]
    damage((pair, pair.with_suffix(".idx")))
    result = cli("export", tmp_path / "root", "--format", "olmo", "--to", tmp_path / "x")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert re.search(said, result.stderr)


def test_an_index_of_another_shard_does_not_fit(root, tmp_path):
    shutil.copytree(root, tmp_path / "root", symlinks=True)
    first, second = sorted(tmp_path.glob("root/tokens/*/*_text_document.idx"))[:2]
    second.write_bytes(first.read_bytes())
    store = Store(str(tmp_path / "root"))
    with pytest.raises(BuildFailed, match=r"00001-of.*bin: [\d,]+ bytes, but the index says [\d,]+"):
        export(open_source(store, read_build(store)), "olmo", tmp_path / "x")
