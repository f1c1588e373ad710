"""URLs against lists of domains and URLs: matching, and builds whose lists change."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import build, cli
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.artifacts import Store
from redpajama.quality.blocklist import Entries, candidates, category_of, normal_entry
from redpajama.report.verify import verify


@pytest.mark.parametrize(
    ("entry", "url", "reason"),
    [
        ("bad.example", "https://bad.example/", "blocked-domain"),
        ("BAD.example", "http://www.Bad.Example:8080/x?y#z", "blocked-domain"),
        ("bad.example", "https://notbad.example/", None),
        ("sub.bad.example", "https://bad.example/", None),
        ("1.2.3.4", "http://1.2.3.4/x", "blocked-domain"),
        ("3.4", "http://1.2.3.4/x", None),
        ("host.example/~user", "https://www.host.example/~user/page.html?q=1", "blocked-url"),
        ("http://www.host.example/~user/", "https://host.example/~user", "blocked-url"),
        ("host.example/~user", "https://host.example/~username", None),
        ("host.example/~user", "https://sub.host.example/~user", None),
        ("host.example/p?id=1", "https://host.example/p?id=1", "blocked-url"),
        ("host.example/p?id=1", "https://host.example/p?id=12", None),
        ("# bad.example", "https://bad.example/", None),
        ("bad.example", "bad.example", None),
        ("bad.example", "", None),
        ("bad.example", "http://[broken/", None),
    ],
)
def test_an_entry_stands_for_what_is_below_it(entry, url, reason):
    found = Entries([("ads", [entry])]).find(["https://fine.example/", url])
    assert [(one.row, one.reason, one.category) for one in found] == ([(1, reason, "ads")] if reason else [])


NAMES = st.lists(st.sampled_from(["a", "b", "www", "x.a", "b.a/p", "a/p", "a/p/q", "c"]), max_size=6)
URLS = st.lists(
    st.sampled_from(["http://a/p", "http://x.a/p/q", "http://b.a/p/q/r?s", "http://c", "", "http://www.a/p"])
)


@settings(deadline=None)
@given(one=NAMES, two=NAMES, urls=URLS)
def test_what_is_found_is_what_sets_of_names_hold(one, two, urls):
    found = Entries([("one", one), ("two", two)]).find(urls)
    wanted = []
    for row, url in enumerate(urls):
        hit = next((name for name in candidates(url) if name in one or name in two), None)
        wanted += [(row, "one" if hit in one else "two", hit)] if hit else []
    assert [(each.row, each.category, each.entry) for each in found] == wanted


def test_a_list_without_entries_lists_nothing():
    assert Entries([]).find(["https://a.example"]) == []
    assert len(Entries([("ads", ["", "# none", " "])])) == 0
    assert normal_entry(".dotted.example.") == "dotted.example"


def test_a_category_is_the_folder_of_ut1_or_the_name_of_the_file():
    assert category_of("https://ut1.example/lists/adult/domains") == "adult"
    assert category_of("lists/mine.txt") == "mine"


# ---- builds

MANIFEST = """
name = "lists"
seed = 3
[[source]]
name = "web"
pipeline = "c4"
inputs = ["pages.json.gz"]
[source.quality]
min_chars = 10
[source.blocklist]
{lists}
"""
BOTH = 'lists = ["ut1/", "mine.txt"]\ncategories = ["adult"]'


def write(folder: Path, lists: str) -> Path:
    urls = [
        "https://fine.example/",
        "https://www.adult.example/x",
        "https://host.example/adult/x",
        "https://mine.example/",
    ]
    rows = [{"text": "A text of some words.", "url": url, "timestamp": "t"} for url in urls]
    rows.append({"text": "short", "url": "https://adult.example/", "timestamp": "t"})
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (folder / "pages.json.gz").write_bytes(gzip.compress(data, mtime=0))
    for name, text in [("adult/domains", "adult.example\n"), ("adult/urls", "host.example/adult\n")]:
        (folder / "ut1" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "ut1" / name).write_text(text)
    (folder / "ut1/adult/usage").write_text("fine.example\n")  # what else lies there is no list
    (folder / "mine.txt").write_text("mine.example\n")
    path = folder / "lists.toml"
    path.write_text(MANIFEST.format(lists=lists))
    return path


def removed(root: Path) -> dict[str, dict]:
    record = json.loads((root / "builds/lists.json").read_text())["stages"]["quality"]["web"]["record"]
    parts = [part["part"] for part in json.loads((root / record).read_text())["parts"]]
    rows = pa.concat_tables(pq.read_table(root / f"{part}.parquet") for part in parts).to_pylist()
    documents = pa.concat_tables(pq.read_table(path) for path in root.glob("documents/*/part-*.parquet")).to_pylist()
    urls = {row["doc_id"]: json.loads(row["meta"])["url"] for row in documents}
    return {urls[row["doc_id"]]: {"reason": row["reason"], **json.loads(row["evidence"])} for row in rows}


def test_another_list_removes_others_and_re_runs_no_pipeline(tmp_path):
    build(write(tmp_path, BOTH), tmp_path / "r", "--until", "dedup")
    assert removed(tmp_path / "r") == {
        "https://www.adult.example/x": {"reason": "blocked-domain", "category": "adult", "entry": "adult.example"},
        "https://host.example/adult/x": {"reason": "blocked-url", "category": "adult", "entry": "host.example/adult"},
        "https://mine.example/": {"reason": "blocked-domain", "category": "mine", "entry": "mine.example"},
        "https://adult.example/": {"reason": "below-minimum", "rule": "min_chars"},  # rules come first
    }
    assert verify(Store(str(tmp_path / "r")), ["lists"]).problems == []
    said = cli("why", tmp_path / "r", "https://mine.example/").stdout
    assert "removed by quality: blocked-domain" in said
    assert '"entry": "mine.example"' in said
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r/documents").rglob("part-*")}
    build(write(tmp_path, 'lists = ["mine.txt"]'), tmp_path / "r", "--until", "dedup")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "r/documents").rglob("part-*")} == before
    assert sorted(removed(tmp_path / "r")) == ["https://adult.example/", "https://mine.example/"]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ('lists = ["ut1/"]', "source[1].blocklist: 'ut1/' is a folder: name the categories wanted"),
        ('lists = ["mine.txt"]\ncategories = ["adult"]', "categories go with a folder"),
        ('lists = ["ut1/"]\ncategories = ["adlt"]', "source[1].blocklist.lists: 'ut1/adlt/[du]*s' matches no file"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, lists, message):
    result = cli("plan", write(tmp_path, lists), "--out", tmp_path / "r")
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
