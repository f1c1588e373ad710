"""`ROOT/current/<build>` names exactly the last build's shards; shards of slices; cards; a manifest's formats."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from corpora import build, cli, digest, write_corpus
from stepwise import build_stepwise

from redpajama.engine.store import Store
from redpajama.exports import blends
from redpajama.report import current
from redpajama.report.builds import read_build
from redpajama.report.shards import open_source


def change(manifest: Path, *pairs: tuple[str, str]) -> Path:
    text = manifest.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    manifest.write_text(text)
    return manifest


def pairs_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.bin"))


def test_each_generation_takes_the_place_of_the_one_before(tmp_path):
    manifest, root = write_corpus(tmp_path / "in"), tmp_path / "root"
    build(manifest, root, "--workers", 1)
    folder = root / "current/small"
    first, place = pairs_in(folder), folder.resolve()
    assert all((folder / name).resolve().parent.parent == root / "tokens" for name in first)
    change(manifest, ("budget_tokens = 6000", "budget_tokens = 5000"))
    build(manifest, root, "--workers", 1)
    second = pairs_in(folder)
    assert second != first
    assert len(list(root.glob("tokens/*/*.bin"))) == len(first) + len(set(second) - set(first))
    stage = json.loads(cli("status", root, "--json").stdout)["stages"]["tokens"]["small"]
    assert len(second) == stage["parts"]
    sizes = [(folder / name).stat().st_size for name in second]
    assert sum(sizes) == 2 * stage["counts"]["tokens"]
    assert not place.exists()
    assert folder.is_symlink()
    assert len(list((root / "current").iterdir())) == 2


def test_the_same_build_again_leaves_the_folder_as_it_is(tmp_path):
    """Trainers keep indexes beside the data."""
    manifest, root = write_corpus(tmp_path / "in"), tmp_path / "root"
    build(manifest, root, "--workers", 1)
    folder = (root / "current/small").resolve()
    (folder / "kept_indexmap.npy").write_bytes(b"theirs")
    build(manifest, root, "--workers", 1)
    assert (root / "current/small/kept_indexmap.npy").read_bytes() == b"theirs"
    assert cli("verify", root).returncode == 0


def test_a_build_that_ends_before_the_shards_has_none(tmp_path):
    manifest, root = write_corpus(tmp_path / "in"), tmp_path / "root"
    build(manifest, root, "--workers", 1)
    build(manifest, root, "--workers", 1, "--until", "mixture")
    assert not (root / "current/small").exists()
    assert list((root / "current").iterdir()) == []


def test_verify_finds_a_link_that_leads_elsewhere_and_a_changed_card_and_a_build_makes_them_anew(tmp_path):
    manifest, root = write_corpus(tmp_path / "in"), tmp_path / "root"
    build(manifest, root, "--workers", 1)
    first, second = sorted((root / "current/small").glob("*.bin"))[:2]
    second.unlink()
    second.symlink_to(first.readlink())
    (root / "current/small/megatron.txt").write_text("1 elsewhere\n")
    told = cli("verify", root)
    assert told.returncode == 1
    assert f"current/small/{second.name}: not as the build has it; `redpajama build` makes it anew" in told.stdout
    assert "current/small/megatron.txt: not as the build has it" in told.stdout
    assert cli("gc", root, "--yes").returncode == 0  # nothing hangs on that folder
    build(manifest, root, "--workers", 1)
    told = cli("verify", root)
    assert told.returncode == 0, told.stdout


def test_cards_say_what_a_shard_holds(tmp_path):
    root = tmp_path / "root"
    build(write_corpus(tmp_path / "in"), root, "--workers", 1)
    record = json.loads((root / "builds/small.json").read_text())
    sums: dict[str, int] = {}
    for path in sorted((root / "current/small").glob("small-*.json")):
        card = json.loads(path.read_text())
        lineage = pq.read_table(path.with_name(path.name.replace(".json", "_lineage.parquet")))
        rows = lineage.group_by("source").aggregate([("n_tokens", "sum"), ([], "count_all")]).to_pylist()
        held = {source: (each["copies"], each["tokens"]) for source, each in card["sources"].items()}
        assert held == {row["source"]: (row["count_all"], row["n_tokens_sum"]) for row in rows}
        assert card["documents"] == lineage.num_rows
        assert card["corpus"] == record["corpus"]
        assert (
            card["tokenizer"]["sha256"]
            == digest(root)[str(next(root.glob("tokenizer/*/*-tokenizer.json")).relative_to(root))]
        )
        assert {key: digest(root)[key] for key in card["files"]} == {k: v["sha256"] for k, v in card["files"].items()}
        for source, each in card["sources"].items():
            sums[source] = sums.get(source, 0) + each["tokens"]
    whole = json.loads((root / "current/small/shards.json").read_text())
    assert {source: each["tokens"] for source, each in whole["sources"].items()} == sums
    assert all(0 < each["epochs"] <= 4.2 for each in whole["sources"].values())


def test_blends_weigh_each_prefix_by_its_tokens(tmp_path):
    root = tmp_path / "root"
    build(write_corpus(tmp_path / "in"), root, "--workers", 1)
    neox = json.loads((root / "current/small/neox.yml").read_text())
    pairs = [line.split() for line in (root / "current/small/megatron.txt").read_text().splitlines()]
    assert [pair[1] for pair in pairs] == neox["train-data-paths"]
    assert [int(pair[0]) for pair in pairs] == neox["train-data-weights"]
    assert neox["data_impl"] == "mmap"
    for tokens, prefix in pairs:
        assert Path(f"{prefix}.bin").stat().st_size == 2 * int(tokens)
    sequences = json.loads((root / "current/small/megatron-sequences.json").read_text())
    assert all((Path(f"{prefix}.idx").stat().st_size - 42) // 20 == n == m - 1 for prefix, (n, m) in sequences.items())


def test_what_is_held_out_is_never_among_what_is_trained_on():
    files = blends.blends([blends.Prefix("/a", 5, 2)], [blends.Prefix("/b", 7, 3)])
    neox = json.loads(files["neox.yml"])
    assert (neox["train-data-paths"], neox["valid-data-paths"]) == (["/a"], ["/b"])
    assert files["megatron.txt"] == b"5 /a\n"
    splits = {"train": ["5", "/a"], "valid": ["7", "/b"], "test": []}
    assert json.loads(files["megatron-splits.json"]) == splits
    assert "megatron-splits.json" not in blends.blends([blends.Prefix("/a", 5, 2)])


def test_ranges_that_count_what_is_held_out_make_shards_of_that_split(tmp_path, monkeypatch):
    """As a mixture with validation counts them."""
    from redpajama.report import shards

    root = tmp_path / "root"
    build(write_corpus(tmp_path / "in"), root, "--workers", 1)
    store = Store(str(root))
    record = read_build(store)
    whole = open_source(store, record)
    last = shards.token_parts(shards.open_build(store, record))[-1].inputs[0].rpartition("/")[2]
    monkeypatch.setattr(shards, "split_of_range", lambda part: "validation" if part.content == last else "train")
    train, held = open_source(store, record), open_source(store, record, "validation")
    assert train.shards == whole.shards[:-1]
    assert held.shards == whole.shards[-1:]
    assert len(held.texts) == 1
    found = json.loads(current.wanted(store, record).files["neox.yml"])
    assert len(found["train-data-paths"]) == len(whole.shards) - 1
    assert found["valid-data-paths"][0].endswith(f"{whole.shards[-1].prefix}_text_document")


def test_more_prefixes_than_gpt_neox_takes_are_told():
    assert list(blends.warnings(254, "/a")) == []
    [said] = blends.warnings(255, "/a")
    assert "at most 254 prefixes, and there are 255: `redpajama export ROOT --format megatron" in said


def test_a_folder_that_was_moved_from_a_name_with_other_letters_is_as_it_should_be_and_white_space_is_told(tmp_path):
    manifest, root = write_corpus(tmp_path / "in"), tmp_path / "daten für später"
    result = cli("build", manifest, "--out", root, "--workers", 1)
    said = " ".join(result.stdout.split())
    assert f"shards Megatron takes paths apart at white space, and '{root}' has some" in said
    assert str(root) in (root / "current/small/neox.yml").read_text()
    told = cli("verify", root.rename(tmp_path / "root"))
    assert told.returncode == 0, told.stdout


def test_a_prefix_a_slice_holds_the_same_documents_in_the_same_order(tmp_path):
    manifest = write_corpus(tmp_path / "in")
    build(manifest, tmp_path / "mixed", "--workers", 1)
    change(manifest, ("tokens_per_shard = 2500", 'tokens_per_shard = 2500\nper = "slice"'))
    build(manifest, tmp_path / "apart", "--workers", 1)
    assert cli("verify", tmp_path / "apart").returncode == 0
    mixed, apart = (
        open_source(Store(str(root)), read_build(Store(str(root)))) for root in (tmp_path / "mixed", tmp_path / "apart")
    )
    assert {shard.group for shard in apart.shards} == {"small-news", "small-web"}
    assert mixed.tokens == apart.tokens
    for source in ("news", "web"):
        one, other = (list(documents_of(each, source)) for each in (mixed, apart))
        assert one == other
        labels = [shard.label for shard in apart.shards if shard.group == f"small-{source}"]
        assert labels == [f"small-{source}-{n:05d}-of-{len(labels):05d}" for n in range(len(labels))]
    card = json.loads(next((tmp_path / "apart/current/small").glob("small-web-*.json")).read_text())
    assert card["sources"].keys() == {"web"}
    assert card["sources"]["web"]["tokens"] >= card["tokens"] > 0


def documents_of(source, name):
    """(id, copy, tokens) of a source's documents, over all shards."""
    for number, shard in enumerate(source.shards):
        tokens = np.fromfile(source.store.path(shard.bin.key), "<u2")
        bounds = source.bounds(number)
        for row in pq.read_table(source.store.path(shard.lineage.key)).to_pylist():
            if row["source"] == name:
                start, end = bounds[row["sequence"]], bounds[row["sequence"] + 1]
                yield row["doc_id"], row["copy"], tokens[start:end].tolist()


def test_slices_stay_apart_where_shards_are_joined(tmp_path):
    manifest = write_corpus(tmp_path / "in")
    change(manifest, ("tokens_per_shard = 2500", 'tokens_per_shard = 900\nper = "slice"'))
    build(manifest, tmp_path / "root", "--workers", 1)
    arguments = ["--format", "megatron", "--shard-tokens", 100_000, "--to", tmp_path / "x"]
    assert cli("export", tmp_path / "root", *arguments).returncode == 0
    found = sorted(path.name for path in (tmp_path / "x").glob("*.bin"))
    ending = "00000-of-00001_text_document.bin"
    assert found == [f"small-news-{ending}", f"small-web-{ending}"]


def test_an_object_store_has_a_list(bucket, tmp_path):
    root = f"s3://bucket/{tmp_path.name}/root"
    manifest = write_corpus(tmp_path / "in")
    built = build_stepwise(manifest, root, "tokens")
    from redpajama.build import commit_build
    from redpajama.flow import flow

    record = commit_build(built, flow(built.manifest), "tokens")
    current.publish(built.store, record)
    whole = built.store.read_json("current/small/shards.json")
    for shard in whole["shards"]:
        assert all(built.store.size(key) == each["bytes"] for key, each in shard["files"].items())
    assert built.store.read("current/small/megatron.txt").decode().split()[1].startswith(f"{root}/current/small/")
    built.store.write("current/small/small-99999-of-99999-old.json", b"of a build before")
    current.publish(built.store, record)
    names = [key.rpartition("/")[2] for key, _ in built.store.keys("current/small")]
    assert "small-99999-of-99999-old.json" not in names
    assert current.differences(built.store, record) == []


def test_a_manifest_asks_for_formats(tmp_path):
    manifest, root = write_corpus(tmp_path / "in"), tmp_path / "root"
    asked = 'formats = ["megatron", "mds", "datatrove"]\npacking = { method = "best-fit", length = 64 }'
    change(manifest, ("tokens_per_shard = 2500", f"tokens_per_shard = 2500\n{asked}"))
    result = cli("build", manifest, "--out", root, "--workers", 1)
    assert f"mds      {root}/exports/small/mds/" in result.stdout
    index = json.loads((root / "exports/small/mds/index.json").read_text())
    assert index["shards"][0]["column_encodings"] == ["ndarray:uint16:64"]
    before = {path: path.stat().st_mtime_ns for path in root.glob("exports/small/*/*.ds")}
    assert cli("build", manifest, "--out", root, "--workers", 1).returncode == 0
    assert before == {path: path.stat().st_mtime_ns for path in root.glob("exports/small/*/*.ds")}
    whole = (root / "exports/small/datatrove/00000_00000_shuffled.ds").read_bytes()
    (root / "exports/small/datatrove/00000_00000_shuffled.ds").write_bytes(whole[:-1] + b"x")
    (root / "exports/small/mds/index.json").unlink()
    told = cli("verify", root)
    assert told.returncode == 1
    assert "exports/small/datatrove/00000_00000_shuffled.ds: its SHA-256 is" in told.stdout
    assert "exports/small/mds/index.json: missing; remove it, and `redpajama build` makes it anew" in told.stdout
    (root / "exports/small/datatrove/00000_00000_shuffled.ds").unlink()
    assert cli("build", manifest, "--out", root, "--workers", 1).returncode == 0
    assert cli("verify", root).returncode == 0
    change(manifest, ("budget_tokens = 6000", "budget_tokens = 4000"))
    assert cli("build", manifest, "--out", root, "--workers", 1).returncode == 0
    tokens = sum(path.stat().st_size // 2 for path in root.glob("exports/small/*/*.ds"))
    stage = json.loads(cli("status", root, "--json").stdout)["stages"]["tokens"]["small"]
    assert tokens == stage["counts"]["tokens"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('formats = ["parqet"]', r"shards.formats: no format is called 'parqet'; did you mean 'parquet'\?"),
        ('packing = { method = "best-fit" }', "shards: packing goes with a format of rows: parquet, mds, litdata"),
        ('formats = ["mds"]\npacking = { length = 1 }', "shards.packing.length: Input should be greater than"),
        ('formats = ["mds"]\npacking = { method = "none" }', "shards: packing by 'none' is nothing for mds"),
        ('per = "source"', "shards.per: Input should be 'mixture' or 'slice'"),
    ],
)
def test_mistakes_in_shards_are_told_before_any_work(tmp_path, lines, said):
    manifest = change(write_corpus(tmp_path / "in"), ("tokens_per_shard = 2500", lines))
    result = cli("build", manifest, "--out", tmp_path / "root")
    assert result.returncode == 2
    assert re.search(said, result.stderr), result.stderr
    shutil.rmtree(tmp_path / "root", ignore_errors=True)
