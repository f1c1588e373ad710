"""Readings, slices, stages, what is held out, near copies, in one manifest: the same bytes however built."""

import json
import random
import shutil
import signal
from pathlib import Path

import pytest
from corpora import WORDS, build, cli

from redpajama.engine.gathered import read_stage
from redpajama.engine.store import Store
from redpajama.report.builds import read_build
from redpajama.report.verify import verify

MANIFEST = """
name = "whole"
seed = 5
tokenizer.train.vocab_size = 300
shards.tokens_per_shard = 3000
dedup.near = { preset = "fineweb", threshold = 0.99, bands = 30, rows = 3 }
[[reading]]
name = "all"
pipeline = "rows"
inputs = ["*.jsonl"]
options.fields = { text = "text", id = "id", meta = ["kind", "year"] }
[[source]]
name = "news"
reading = "all"
where = { kind = "news" }
[[source]]
name = "mail"
reading = "all"
where = { kind = "mail" }
[mixture]
allow_shortfall = true
validation = 0.05
max_copies = 6
slice = [
    { source = "news", name = "old", where = { year = { max = 2010 } }, weight = 1, max_epochs = 4 },
    { source = "news", weight = 2, max_epochs = 4 },
    { source = "mail", weight = 1, max_epochs = 4 },
]
[[mixture.stage]]
name = "first"
budget_tokens = 7000
[[mixture.stage]]
name = "second"
budget_tokens = 5000
weights = { old = 2, news = 1, mail = 1 }
"""


def write_rows(folder: Path) -> Path:
    """Three files of rows of two kinds, one in five almost a copy of the one before; returns the manifest's path."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn, words = random.Random(4), WORDS[:40]
    for part in range(3):
        rows = []
        for number in range(60):
            if number % 5:
                words = drawn.choices(WORDS, k=40 + number % 20)
            kind, year = drawn.choice(["news", "mail"]), 2000 + drawn.randrange(20)
            rows.append(
                {"id": f"{part}-{number}", "kind": kind, "year": year, "text": " ".join([*words, f"n{number}"])}
            )
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "whole.toml").write_text(MANIFEST)
    return folder / "whole.toml"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    return write_rows(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def reference(manifest, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A build that nothing disturbed."""
    root = tmp_path_factory.mktemp("reference") / "r"
    return root, build(manifest, root, "--workers", 1)


def order_of_parts(root: Path) -> list[str]:
    """The stage of each part, in the order in which they were done."""
    notes = [path for path in (root / "timing").rglob("*.json") if "seconds" in json.loads(path.read_bytes())]
    return [
        path.relative_to(root / "timing").parts[0] for path in sorted(notes, key=lambda path: path.stat().st_mtime_ns)
    ]


def test_the_manifest_has_readings_slices_stages_held_out_documents_and_families(reference):
    done = order_of_parts(reference[0])
    assert {"read", "families", "budget", "mixture-split", "mixture", "tokens"} <= set(done)
    record = read_build(Store(str(reference[0])), "whole")
    assert [each["name"] for each in record["manifest"]["mixture"]["stage"]] == ["first", "second"]
    [mixture] = [read_stage(Store(str(reference[0])), each["record"]) for each in record["stages"]["mixture"].values()]
    assert mixture.counts["held_out"]["documents"].keys() == {"news", "mail"}
    assert mixture.counts["slices"].keys() == {"old", "news", "mail"}
    assert mixture.counts["copy_numbers"]["1"]  # some are seen twice


@pytest.mark.parametrize(
    "options",
    [("--workers", 2), ("--workers", 1, "--", "--direct_runner_bundle_repeat=1")],
    ids=["two workers", "in memory, bundles repeated"],
)
def test_another_runner_gives_the_same_bytes(manifest, reference, tmp_path, options):
    assert build(manifest, tmp_path / "r", *options) == reference[1]


def shards(root: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((root / "current/whole").glob("*.bin"))]


def test_the_same_rows_in_other_files_give_the_same_shards(manifest, reference, tmp_path):
    rows = [row for path in sorted(manifest.parent.glob("*.jsonl")) for row in path.read_text().splitlines(True)]
    random.Random(1).shuffle(rows)
    for part in range(5):
        (tmp_path / f"{part}.jsonl").write_text("".join(rows[part::5]))
    (tmp_path / "whole.toml").write_text(MANIFEST)
    build(tmp_path / "whole.toml", tmp_path / "r", "--workers", 1)
    assert len(shards(reference[0])) > 4
    assert shards(tmp_path / "r") == shards(reference[0])


def test_another_limit_of_copies_after_a_build_gives_what_a_root_without_a_past_gives(manifest, reference, tmp_path):
    root = Path(shutil.copytree(reference[0], tmp_path / "r", symlinks=True))
    other = manifest.with_name("other.toml")
    other.write_text(MANIFEST.replace("max_copies = 6", "max_copies = 8"))
    for place in (root, tmp_path / "fresh"):
        build(other, place, "--workers", 1)
    assert shards(root) == shards(tmp_path / "fresh") != shards(reference[0])


@pytest.mark.parametrize("stage", ["read", "families", "candidates", "budget", "mixture-split", "mixture", "tokens"])
def test_killed_inside_a_stage_of_the_mixture_it_goes_on_to_the_same_bytes(manifest, reference, tmp_path, stage):
    done, root = order_of_parts(reference[0]), tmp_path / "r"
    nth = done.index(stage) + 1
    crash = {"REDPAJAMA_CRASH": f"after-part-record:{nth}", "REDPAJAMA_CRASH_COUNT": str(tmp_path / "count")}
    assert cli("build", manifest, "--out", root, "--workers", 1, **crash).returncode == -signal.SIGKILL
    records = [path for path in (root / stage).rglob("*.json") if not path.name.startswith("_")]
    assert len(records) == 1  # it died in this stage
    assert not list((root / stage).rglob("_record-*.json"))
    assert build(manifest, root, "--workers", 1) == reference[1]
    assert not verify(Store(str(root)), ["whole"]).problems
