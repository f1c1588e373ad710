"""The same manifest gives the same bytes: on every engine, in any order, killed anywhere and resumed."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from corpora import build, cli, digest, start_cli, wait_for, write_corpus, write_manifest, write_rows
from portable import options, portable_job_service

from redpajama.engine.store import Store
from redpajama.report.verify import verify

CRASH_POINTS = [
    f"{when}-{what}"
    for what in ("temp-write", "rename", "part-record", "stage-record", "partitions-go", "build-record")
    for when in ("before", "after")
]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def reference(manifest, tmp_path_factory) -> tuple[Path, dict[str, str], float]:
    """An uninterrupted build in one process: (ROOT, digest, seconds)."""
    root = tmp_path_factory.mktemp("reference") / "corpus"
    started = time.monotonic()
    digests = build(manifest, root, "--workers", 1)
    return root, digests, time.monotonic() - started


# ---- engines


def test_two_workers_give_the_same_bytes(manifest, reference, tmp_path):
    assert build(manifest, tmp_path / "r", "--workers", 2) == reference[1]


def test_replayed_bundles_give_the_same_bytes(manifest, reference, tmp_path):
    digests = build(manifest, tmp_path / "r", "--workers", 1, "--", "--direct_runner_bundle_repeat=1")
    assert digests == reference[1]


def test_a_portable_runner_with_external_workers_gives_the_same_bytes(manifest, reference, tmp_path):
    with portable_job_service() as (jobs, pool):
        assert build(manifest, tmp_path / "r", "--", *options(jobs, pool)) == reference[1]


def test_multi_threading_is_refused(manifest, tmp_path):
    result = cli("build", manifest, "--out", tmp_path / "r", "--", "--direct_running_mode=multi_threading")
    assert result.returncode == 2
    assert "multi_threading corrupts data" in result.stderr
    assert result.stderr.count("\n") == 1


# ---- order and environment


def test_inputs_listed_in_another_order_give_the_same_corpus(manifest, reference, tmp_path):
    folder = tmp_path / "raw"
    shutil.copytree(manifest.parent, folder)
    names = json.dumps([f"news-{part}.json.gz" for part in (2, 0, 1)])
    digests = build(write_manifest(folder, news=names), tmp_path / "r", "--workers", 1, PYTHONHASHSEED="77")
    wanted = {path: sha for path, sha in reference[1].items() if not path.startswith("builds/")}
    assert {path: sha for path, sha in digests.items() if not path.startswith("builds/")} == wanted


# ---- kills


def resumed(manifest: Path, root: Path, *options: object) -> dict[str, str]:
    assert not (root / "builds").exists() or not list((root / "builds").iterdir()), "the kill came too late"
    return build(manifest, root, *options)


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_killed_at_a_commit_point_it_goes_on_to_the_same_bytes(manifest, reference, tmp_path, point):
    nth = {"build": 1, "parti": 2}.get(point.partition("-")[2][:5], random.Random(point).randint(2, 9))
    crash = {"REDPAJAMA_CRASH": f"{point}:{nth}", "REDPAJAMA_CRASH_COUNT": str(tmp_path / "count")}
    root = tmp_path / "r"
    assert cli("build", manifest, "--out", root, "--workers", 1, **crash).returncode == -signal.SIGKILL
    if point == "after-build-record":
        assert digest(root) == reference[1]
        assert build(manifest, root, "--workers", 1) == reference[1]
    else:
        assert resumed(manifest, root, "--workers", 1) == reference[1]


@pytest.mark.parametrize("point", ["after-rename", "before-part-record"])
def test_two_workers_killed_at_a_commit_point_go_on_to_the_same_bytes(manifest, reference, tmp_path, point):
    crash = {"REDPAJAMA_CRASH": f"{point}:12", "REDPAJAMA_CRASH_COUNT": str(tmp_path / "count")}
    root = tmp_path / "r"
    assert cli("build", manifest, "--out", root, "--workers", 2, **crash).returncode == -signal.SIGKILL
    assert resumed(manifest, root, "--workers", 2) == reference[1]


def killed_after(seconds: float, manifest: Path, root: Path) -> bool:
    """Start a build and SIGKILL it; False if it was done before."""
    process = start_cli("build", manifest, "--out", root, "--workers", 1)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return not list(root.glob("builds/*"))


@pytest.mark.parametrize("tenth", range(10))
def test_killed_at_a_fraction_of_its_time_it_goes_on_to_the_same_bytes(manifest, reference, tmp_path, tenth):
    seconds = (tenth + random.Random(tenth).random()) / 10 * reference[2]
    tries = ((tmp_path / f"r{number}", seconds * 0.8**number) for number in range(12))  # the machine's pace varies
    root = next((root for root, moment in tries if killed_after(moment, manifest, root)), None)
    assert root, "no kill met an unfinished build"
    assert resumed(manifest, root, "--workers", 1) == reference[1]


def test_one_worker_killed_alone_ends_the_build_with_a_clear_line(manifest, reference, tmp_path):
    root = tmp_path / "r"
    process = start_cli("build", manifest, "--out", root, "--workers", 2)
    wait_for(lambda: len(list(root.glob(".tmp/*/claims/worker-*"))) == 2)
    worker = next(root.glob(".tmp/*/claims/worker-*")).name.removeprefix("worker-")
    started = time.monotonic()
    os.kill(int(worker), signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - started < 10
    assert process.returncode == 1
    assert "redpajama: worker died (signal 9, often memory) while building" in err
    assert build(manifest, root, "--workers", 2) == reference[1]


def test_ctrl_c_ends_with_130_and_the_build_goes_on(manifest, reference, tmp_path):
    root = tmp_path / "r"
    process = start_cli("build", manifest, "--out", root, "--workers", 2)
    wait_for(lambda: list(root.glob("documents/*/part-*.json")))
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert re.search(r"interrupted at \S+ \([\d,]+ of [\d,]+ parts\); the same command goes on from here", err)
    assert build(manifest, root, "--workers", 1) == reference[1]


@pytest.mark.parametrize("command", ["build", "status", "verify", "gc"])
def test_a_root_of_an_older_layout_is_refused_in_one_line_and_left_as_it_is(manifest, tmp_path, command):
    root = tmp_path / "r"
    for name in ("builds/small.json", "documents/news-0/part-0.parquet", ".tmp/left", "inputs/x.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"of old")
    arguments = [manifest, "--out", root] if command == "build" else [root, *(["--yes"] if command == "gc" else [])]
    result = cli(command, *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith(f"redpajama: {root}: another version of redpajama wrote here (layout 1, ")
    assert result.stderr.count("\n") == 1
    assert sorted(path.read_bytes() for path in root.rglob("*") if path.is_file()) == [b"of old"] * 4


def test_a_second_build_of_the_same_root_says_who_holds_it(manifest, tmp_path):
    root = tmp_path / "r"
    first = start_cli("build", manifest, "--out", root, "--workers", 1)
    wait_for(lambda: list(root.glob("documents/*/part-*.json")))
    os.killpg(first.pid, signal.SIGSTOP)  # or it might be done before the second asks
    second = cli("build", manifest, "--out", root, "--workers", 1)
    os.killpg(first.pid, signal.SIGCONT)
    first.communicate()
    assert second.returncode == 2
    assert f"another build holds it (process {first.pid}" in second.stderr
    assert first.returncode == 0


# ---- what changes, and what does not


def test_one_more_raw_file_adds_one_documents_part_and_rewrites_none(manifest, reference, tmp_path):
    folder, root = tmp_path / "raw", tmp_path / "r"
    shutil.copytree(manifest.parent, folder)
    shutil.copytree(reference[0], root)
    write_rows(folder / "news-3.json.gz", 400, 30)
    before = {path: (root / path).stat().st_mtime_ns for path in reference[1]}
    build(folder / "small.toml", root, "--workers", 1)
    after = digest(root)
    new = [path for path in after.keys() - reference[1].keys() if path.startswith("documents/news")]
    assert len([path for path in new if path.endswith(".parquet") and "/ledger/" not in path and "/part-" in path]) == 1
    for path, sha in reference[1].items():
        if path.startswith(("documents/", "quality/")):
            assert after[path] == sha
            assert (root / path).stat().st_mtime_ns == before[path], f"{path} was written again"
    assert len([path for path in after if path.startswith("exact/") and path.endswith(".verdicts")]) == 2


def test_another_quality_threshold_runs_no_source_pipeline_and_counts_no_tokens_again(manifest, reference, tmp_path):
    folder, root = tmp_path / "raw", tmp_path / "r"
    shutil.copytree(manifest.parent, folder)
    shutil.copytree(reference[0], root)
    text = reference[0].joinpath("builds/small.json").read_text()
    assert '"min_words":6' in text
    write_manifest(folder, min_words=12)
    build(folder / "small.toml", root, "--workers", 1)
    for stage in ("documents/", "quality/web"):
        assert [p for p in digest(root) if p.startswith(stage)] == [p for p in reference[1] if p.startswith(stage)]
    quality = [
        path
        for path in digest(root)
        if path.startswith("quality/news") and path.endswith("parquet") and "/part-" in path
    ]
    assert len(quality) == 6


# ---- what a build says


def test_verify_finds_a_flipped_a_missing_and_an_extra_byte_in_any_named_file(reference, tmp_path):
    root = tmp_path / "r"
    shutil.copytree(reference[0], root, symlinks=True)
    store = Store(str(root))
    assert verify(store, ["small"]).problems == []
    scratch = verify(store, ["small"]).scratch
    named_files = [path for path in sorted(digest(root)) if path not in scratch]
    for kind in (".bin", ".verdicts", "/home-", "/_parts-", "/_record-", "/part-", "builds/"):
        assert any(kind in path for path in named_files), kind
    for path in named_files:
        whole = (root / path).read_bytes()
        for damaged in (bytes([whole[0] ^ 1]) + whole[1:] if whole else b"x", whole[:-1], whole + b"\n"):
            if damaged == whole:
                continue
            (root / path).write_bytes(damaged)
            assert any(path in problem for problem in verify(store, ["small"]).problems), path
        (root / path).unlink()
        assert any(path in problem for problem in verify(store, ["small"]).problems), path
        (root / path).write_bytes(whole)
    assert verify(store, ["small"]).problems == []


def test_why_answers_for_kept_dropped_duplicate_and_quarantined(reference):
    root = reference[0]
    kept = cli("why", root, _lineage(root)[0]["doc_id"])
    assert kept.returncode == 0
    assert "in the shards" in kept.stdout
    short = cli("why", root, "https://example.org/0")
    assert "removed by quality: min_words = 6, measured 5" in short.stdout
    duplicate = cli("why", root, "https://example.org/155")
    assert "removed by exact: exact-duplicate, survivor news/" in duplicate.stdout
    assert cli("why", root, "EXAMPLE.org/15%35/#top").stdout == duplicate.stdout
    assert cli("why", root, "web-1.json.gz").stdout.count("quarantined by the pipeline: invalid-json") == 1
    assert cli("why", root, "no such thing").returncode == 1


def _lineage(root: Path) -> list[dict]:
    return pq.read_table(next(root.glob("tokens/*/*_lineage.parquet"))).to_pylist()


def test_a_shortfall_is_one_line_with_status_1(manifest, tmp_path):
    folder = tmp_path / "raw"
    shutil.copytree(manifest.parent, folder)
    path = folder / "small.toml"
    path.write_text(path.read_text().replace("budget_tokens = 6000", "budget_tokens = 900_000_000"))
    result = cli("build", path, "--out", tmp_path / "r", "--workers", 1)
    assert result.returncode == 1
    assert result.stderr.startswith(
        "redpajama: mixture: budget of 900,000,000 tokens cannot be met with these weights: 'news' wants"
    )
    assert result.stderr.count("\n") == 1


def test_too_many_bad_records_fail_the_build_by_name(manifest, tmp_path):
    folder = tmp_path / "raw"
    shutil.copytree(manifest.parent, folder)
    path = folder / "small.toml"
    path.write_text(path.read_text().replace("max_bad_fraction = 0.2", "max_bad_fraction = 0.001"))
    for _ in range(2):  # nor does it pass because its parts are there by now
        result = cli("build", path, "--out", tmp_path / "r", "--workers", 2)
        assert result.returncode == 1
        assert "source 'web': 2 of" in result.stderr
        assert "more than max_bad_fraction = 0.001" in result.stderr
