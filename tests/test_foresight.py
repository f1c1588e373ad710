"""What `plan` reckons of a build, beside what comes out: kept when it begins, told by `status`."""

import contextlib
import gzip
import io
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from balanced import read_balanced
from conftest import needs_shared, raw_file
from corpora import build, cli, write_corpus
from fake_hub import HERE, Web, serve
from test_demo import MANIFESTS
from test_remote import manifest_at, raw_files
from test_samples import PACKED, SAMPLES, SHARED

from redpajama.commands import foresight
from redpajama.commands.plan import understood
from redpajama.engine.store import Store
from redpajama.manifest import Source
from redpajama.pipelines import glance, pipeline
from redpajama.raw.io import Listed
from redpajama.report import costs, reckon
from redpajama.report.builds import read_build
from redpajama.report.outcome import outcome

AGREE = 0.25  # of documents, tokens and bytes on disk


def as_parquet(rows: bytes) -> bytes:
    """The readable rows of packed JSON lines."""
    found, sink = [], io.BytesIO()
    for line in gzip.decompress(rows).splitlines():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    pq.write_table(pa.Table.from_pylist(found), sink)
    return sink.getvalue()


def planned(root) -> dict[str, tuple[float, float]]:
    """{what: (as planned, as it came out)}"""
    return {
        name: (before, after) for name, before, after in json.loads(cli("status", root, "--json").stdout)["planned"]
    }


def check(root) -> None:
    found = planned(root)
    assert set(found) == {"documents", "text_bytes", "tokens", "core_seconds", "disk_bytes"}
    for name in ("documents", "text_bytes", "tokens", "disk_bytes"):
        before, after = found[name]
        assert before == pytest.approx(after, rel=AGREE), name


def test_on_the_demo_the_plan_agrees_with_what_comes_out(tmp_path):
    build(MANIFESTS / "demo.toml", tmp_path / "r")
    check(tmp_path / "r")
    assert "planned and built  planned   built" in cli("status", tmp_path / "r").stdout


@needs_shared
def test_on_the_samples_the_plan_agrees_with_what_comes_out(tmp_path):
    for name, pack in PACKED.items():
        (tmp_path / "packed" / name).mkdir(parents=True)
        pack(tmp_path / "packed" / name, SHARED)
    mirror = f"https://packed.invalid/={tmp_path}/packed/"
    build(SAMPLES, tmp_path / "r", "--workers", 2, "--mirror", mirror)
    check(tmp_path / "r")


def test_plan_tells_time_disk_and_dollars_each_with_its_basis_and_writes_nothing(tmp_path):
    path = write_corpus(tmp_path)
    said = cli("plan", path, "--out", tmp_path / "r", "--price-per-core-hour", 3600).stdout
    for start, basis in (
        ("time  ~", "reading as measured here"),
        ("cost  ~$", "at $3600 a core-hour"),
        ("disk  ~", "peak"),
    ):
        [line] = [line for line in said.splitlines() if line.startswith(start)]
        assert basis in line
    assert not (tmp_path / "r").exists()
    reckoned = json.loads(cli("plan", path, "--out", tmp_path / "r", "--json").stdout)["reckoned"]
    assert reckoned["core_seconds"] == pytest.approx(
        sum(each["core_seconds"] for each in reckoned["stages"].values()), abs=0.02
    )
    assert {"documents", "quality", "identity", "exact", "counts", "mixture", "tokens"} <= reckoned["stages"].keys()
    assert reckoned["disk_bytes"] <= reckoned["peak_disk_bytes"]


def test_the_figures_of_a_build_are_made_once_and_again_for_another_manifest(tmp_path):
    path = write_corpus(tmp_path)
    build(path, tmp_path / "r", "--workers", 1)
    file = tmp_path / "r/index/plan-small.json"
    first = file.stat().st_mtime_ns
    build(path, tmp_path / "r", "--workers", 1)
    assert file.stat().st_mtime_ns == first
    path.write_text(path.read_text().replace("min_words = 6", "min_words = 7"))
    build(path, tmp_path / "r", "--workers", 1)
    assert file.stat().st_mtime_ns > first
    assert cli("verify", tmp_path / "r").returncode == 0


@pytest.mark.parametrize("is_parquet", [False, True], ids=["json", "parquet"])
def test_what_is_downloaded_is_reckoned_from_the_copies_and_asked_for_once(tmp_path, is_parquet):
    manifest, root = write_corpus(tmp_path / "in"), tmp_path / "r"
    web = Web(raw_files(manifest))
    if is_parquet:  # read from its end: of the begin alone nothing can be reckoned
        web.files = {name.replace("json.gz", "parquet"): as_parquet(data) for name, data in web.files.items()}
    with serve(web) as url:
        path = manifest_at(tmp_path, manifest, f"{url}/")
        if is_parquet:
            path.write_text(path.read_text().replace("json.gz", "parquet").replace('"c4"', '"rows"'))
        build(path, root, "--workers", 1, **HERE)
        assert {each.path: len(web.bodies(each.path)) for each in web.bodies()} == dict.fromkeys(web.files, 1)
        web.requests.clear()
        check(root)
        build(path, root, "--workers", 1, **HERE)
        assert not web.bodies()
    for name, (before, after) in planned(root).items():
        assert before > 0, name
        assert after > 0, name


def test_where_no_copy_is_nothing_is_asked_and_nothing_compared(tmp_path):
    manifest, root = write_corpus(tmp_path / "in"), tmp_path / "r"
    web = Web(raw_files(manifest))
    with serve(web) as url:
        path = manifest_at(tmp_path, manifest, f"{url}/")
        build(path, root, "--workers", 1, **HERE)
        (root / "index/plan-small.json").unlink()
        shutil.rmtree(root / "inputs/fetched")
        web.requests.clear()
        model, listed, _ = understood(str(path), {}, [])
        foresight.keep(Store(str(root)), model, listed, 1)
        assert not web.bodies()
    assert planned(root) == {}


def test_a_source_whose_size_no_server_tells_is_unknown_and_not_empty(tmp_path):
    model, listed, wrong = understood(str(write_corpus(tmp_path)), {}, [])
    tried = foresight.look_into(model, listed, wrong)
    whole = foresight.foresee(model, listed, tried, 1)
    unsized = [
        entry | ({"path": "https://x.example/a", "bytes": 0} if entry["source"] == "news" else {}) for entry in listed
    ]
    found = foresight.foresee(model, unsized, tried, 1)
    assert (whole["unknown"], found["unknown"]) == ([], ["news"])
    assert found["documents"] == whole["reading"]["web"]["documents"]


def test_files_that_were_drawn_by_size_count_alike_and_once_for_each_place():
    listed = [Listed(name, name, size, "") for name, size in (("a", 70), ("b", 20), ("c", 10))]
    assert [(file.url, places) for file, places in glance.sampled(listed).items()] == [("a", 2), ("b", 1)]
    large = glance.Trial(listed[0], places=2, raw_bytes=70, documents=7, text_bytes=140, seconds=0.7)
    small = glance.Trial(listed[1], raw_bytes=20, documents=20, text_bytes=10, seconds=2.0)
    found = reckon.reckon({"s": 300}, {"s": [large, small, glance.Trial(listed[2])]})["s"]
    assert (found["documents"], found["text_bytes"], found["core_seconds"]) == (120, 450, 12.0)


@needs_shared
def test_three_of_many_repositories_stand_for_all():
    """Sixteen of the files were not seen; by sums a third of the texts was reckoned."""
    paths = sorted((SHARED / "github/repos").glob("*.tar.gz"))
    listed = [Listed(path.name, str(path), path.stat().st_size, "") for path in paths]
    source, reader = Source(name="src", pipeline="github", inputs=["x"]), pipeline("github")
    tried = [trial for _, trial in glance.trials(source, listed, 60.0) if trial]
    found = reckon.reckon({"src": sum(file.bytes for file in listed)}, {"src": tried})["src"]
    texts = [document.text for document in read_balanced(reader, [raw_file(path) for path in paths])[0]]
    assert (len(paths), len(tried)) == (19, 3)
    assert found["documents"] == pytest.approx(len(texts), rel=AGREE)
    assert found["text_bytes"] == pytest.approx(sum(len(text.encode()) for text in texts), rel=AGREE)


def test_a_vocabulary_of_more_ids_and_a_miniature_count_as_the_build_writes_them(tmp_path):
    path = write_corpus(tmp_path)

    def tokens_of(*pair: str) -> int:
        path.write_text(text.replace(*pair))
        reckoned = json.loads(cli("plan", path, "--out", tmp_path / "r", "--json").stdout)["reckoned"]
        return reckoned["stages"]["tokens"]["bytes"]

    text = path.read_text().replace("budget_tokens = 6000", "budget_tokens = 6000\nallow_shortfall = true")
    own = tokens_of("vocab_size = 400", "vocab_size = 65499")
    assert tokens_of("vocab_size = 400", "vocab_size = 65500") == own + 2 * 6000
    assert tokens_of("budget_tokens = 6000", 'budget_tokens = 6000\nscale = "1/4"') < own / 2


def test_figures_of_a_build_are_its_own_where_root_has_others(tmp_path):
    path = write_corpus(tmp_path / "in")
    build(path, tmp_path / "r", "--workers", 1)
    before = dict(planned(tmp_path / "r"))
    path.write_text(path.read_text().replace('name = "small"', 'name = "other"', 1).replace("seed = 11", "seed = 12"))
    build(path, tmp_path / "r", "--workers", 1)
    store = Store(str(tmp_path / "r"))
    found = outcome(store, read_build(store, "small"))
    notes = [json.loads(path.read_bytes()) for path in (tmp_path / "r/timing").rglob("*.json")]
    assert found["documents"] == before["documents"][1]
    assert found["core_seconds"] < sum(note.get("cpu_seconds", 0) for note in notes) - 0.01
    assert found["disk_bytes"] < sum(size for key, size in store.keys("") if not key.startswith("timing/")) - 10_000


def totals(**more: float) -> costs.Totals:
    sizes = {"sources": 2, "files": 4, "raw_bytes": 10**9, "parts": 4, "documents": 10**6, "text_bytes": 4 * 10**9}
    sizes |= {"stored_bytes": 16 * 10**8, "tokens": 10**9, "reading_seconds": 60.0}
    return costs.Totals(**{**sizes, **more})


def test_stages_that_a_build_has_not_cost_nothing_and_near_dedup_costs_its_own():
    plain, near = (
        costs.reckon(totals(), steps) for steps in (["documents"], ["documents", "signatures", "candidates-near"])
    )
    assert plain["stages"].keys() == {"documents", "inputs", "records"}
    assert plain["core_seconds"] == pytest.approx(60 + 4 * 0.004 + 4000 * 0.01, abs=0.01)
    assert near["core_seconds"] > plain["core_seconds"] + 100
    assert near["peak_disk_bytes"] - near["disk_bytes"] >= 16 * 14 * 10**6


def test_twice_the_text_costs_twice():
    steps = ["documents", "quality", "counts", "mixture", "tokens"]
    one, two = (
        costs.reckon(totals(parts=0, sources=0, files=0, documents=k, text_bytes=4000 * k, stored_bytes=1600 * k,
                            tokens=1000 * k, budget_tokens=500 * k, reading_seconds=k / 1e6), steps)
        for k in (10**9, 2 * 10**9)
    )  # fmt: skip
    assert two["core_seconds"] == pytest.approx(2 * one["core_seconds"], rel=1e-6)
    assert two["disk_bytes"] == pytest.approx(2 * one["disk_bytes"], rel=1e-6)


def test_what_was_not_reckoned_is_not_compared():
    assert costs.compare({"documents": 3}, {"documents": 4, "tokens": None}) == [("documents", 3, 4)]
    assert costs.compare({}, {"documents": 4}) == []
