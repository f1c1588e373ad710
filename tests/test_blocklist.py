"""URLs against lists of domains and URLs: matching, and builds whose lists change."""

import gzip
import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import build, cli
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.corpus import verdicts
from redpajama.engine.store import Store
from redpajama.manifest import Clean
from redpajama.quality import signals
from redpajama.quality.blocklist import Entries, candidates, category_of, read_entries
from redpajama.quality.cleaning import Cleaner
from redpajama.quality.lists import ListError, read_words
from redpajama.quality.places import entries_of
from redpajama.report.builds import open_build, read_build
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
        # ports, users, www, dots
        ("bad.example:8080", "https://bad.example/", "blocked-domain"),
        ("https://user:pass@bad.example:443", "https://bad.example/x", "blocked-domain"),
        ("bad.example.", "https://bad.example/", "blocked-domain"),
        (".bad.example", "https://bad.example/", "blocked-domain"),
        ("*.bad.example", "https://sub.bad.example/", "blocked-domain"),
        ("www.bad.example", "https://bad.example/", "blocked-domain"),
        ("www.bad.example", "https://www.bad.example/", "blocked-domain"),
        ("www.bad.example", "https://other.bad.example/", None),
        ("//bad.example/x", "https://bad.example/x/y", "blocked-url"),
        ("host.example:80/p", "https://host.example/p", "blocked-url"),
        ("host.example/?q=1", "https://host.example/?q=1", "blocked-url"),
        # IDN and Punycode
        ("bücher.example", "https://xn--bcher-kva.example/", "blocked-domain"),
        ("xn--bcher-kva.example", "https://www.BÜCHER.example/x", "blocked-domain"),
        ("例え。テスト", "https://xn--r8jz45g.xn--zckzah/", "blocked-domain"),
        ("straße.example", "https://xn--strae-oqa.example/", "blocked-domain"),
        # percent codes
        ("host.example/%7Euser", "https://host.example/~user", "blocked-url"),
        ("host.example/~user", "https://host.example/%7euser/x", "blocked-url"),
        ("host.example/é", "https://host.example/%C3%A9", "blocked-url"),
        ("host.example/a%2Fb", "https://host.example/a/b", None),
        ("bad.example", "https://b%61d.example/", "blocked-domain"),
        # addresses
        ("[2001:DB8::1]:80", "http://[2001:db8:0:0::1]/x", "blocked-domain"),
        ("2001:db8:0::1", "http://[2001:db8::1]:8080/", "blocked-domain"),
        ("1.2.3.4:80", "http://0x1.2.3.4/", "blocked-domain"),
        # hosts files and Adblock
        ("0.0.0.0 bad.example", "https://bad.example/", "blocked-domain"),
        ("127.0.0.1\tother.example bad.example # both", "https://bad.example/", "blocked-domain"),
        (":: bad.example", "https://bad.example/", "blocked-domain"),
        ("||bad.example^", "https://sub.bad.example/", "blocked-domain"),
        ("||bad.example^$all", "https://bad.example/", "blocked-domain"),
        ("||host.example/p^", "https://host.example/p/q", "blocked-url"),
        ("|https://host.example/p|", "https://host.example/p", "blocked-url"),
        ("host.example/~user", "https://www.host.example/~user/page.html?q=1", "blocked-url"),
        ("http://www.host.example/~user/", "https://host.example/~user", "blocked-url"),
        ("host.example/~user", "https://host.example/~username", None),
        ("host.example/~user", "https://sub.host.example/~user", None),
        ("host.example/p?id=1", "https://host.example/p?id=1", "blocked-url"),
        ("host.example/p?id=1", "https://host.example/p?id=12", None),
        ("bad.example", "bad.example", None),
        ("bad.example", "", None),
        ("bad.example", "http://[broken/", None),
    ],
)
def test_an_entry_stands_for_what_is_below_it(entry, url, reason):
    found = Entries([("ads", entries_of(entry))]).find(["https://fine.example/", url])
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
    for line in (
        "",
        "# none",
        " ",
        "! none",
        "; none",
        "[Adblock Plus 2.0]",
        "127.0.0.1 localhost",
        "::1 ip6-localhost",
    ):
        assert entries_of(line) == []


@pytest.mark.parametrize(
    "line",
    [
        "ads*.example", "*", "/banner\\d+/", "@@||fine.example^", "bad.example##.banner", "||bad.example^$script",
        "||bad.example^$domain=x.org|y.org", "1.2.3.0/24", "2001:db8::/32", "bad.example other.example", "x.org,ads",
        "address=/bad.example/0.0.0.0", "host:port", "-ad-300x250.", "mailto:x", "12", "b\udce9d.example",
    ],
)  # fmt: skip
def test_a_line_that_is_not_understood_is_an_error_with_its_number(tmp_path, line):
    path = tmp_path / "list.txt"
    path.write_bytes(f"# a list\nfine.example\n{line}\n".encode("utf-8", "surrogateescape"))
    with pytest.raises(ListError, match=r"mine\.txt: line 3, '"):
        list(read_entries(str(path), "mine.txt"))


HOSTS = "\ufeff# hosts\n0.0.0.0 bad.example\n\nother.example/é\n"


@pytest.mark.parametrize("coding", ["utf-8", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_list_is_read_whatever_its_line_ends_and_its_mark(tmp_path, coding, end):
    path = tmp_path / "list.txt"
    path.write_bytes(HOSTS.replace("\n", end).encode(coding))
    assert list(read_entries(str(path), "mine")) == ["bad.example", "other.example/é"]
    path.write_bytes("\ufeff# words\nheck\n\n darn it \n".replace("\n", end).encode(coding))
    assert read_words(str(path), "mine") == ["", "heck", "", "darn it"]


def test_bytes_of_no_encoding_may_stand_in_a_path_alone(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"host.example/caf\xe9\n")
    listed = Entries([("ads", read_entries(str(path), "mine"))])
    assert len(listed.find(["https://host.example/caf%E9/x", "https://host.example/cafe"])) == 1
    path.write_bytes(b"fine\ncaf\xe9\n")
    with pytest.raises(ListError, match="mine: line 2 is no UTF-8"):
        read_words(str(path), "mine")


@pytest.mark.parametrize("data", [b"", b"# only a comment\n", b"\xff\xfea"])
def test_a_list_without_an_entry_is_an_error(tmp_path, data):
    path = tmp_path / "list.txt"
    path.write_bytes(data)
    for read in (read_words, lambda path, url: list(read_entries(path, url))):
        with pytest.raises(ListError, match="mine: "):
            read(str(path), "mine")


def test_lists_of_words_lie_anywhere(bucket):
    fsspec.filesystem("s3").pipe("s3://bucket/lists/words", "\ufeffDarn!\r\n# no\r\nheck no\r\n".encode())
    path = "s3://bucket/lists/words"
    assert signals.read_list("bad_words", path, path) == ["darn", "heck no"]
    cleaner = Cleaner(Clean(bad_words=path), path)
    assert cleaner.list.find("Oh heck no.") == (2, 3)
    with pytest.raises(ListError, match="line 3, 'heck no': a stop word is one word"):
        signals.read_list("stop_words", path, path)


def test_a_bad_word_that_no_text_could_hold_is_an_error(tmp_path):
    path = tmp_path / "words"
    path.write_text("fine\n!!!\n")
    with pytest.raises(ListError, match="mine: line 2, '!!!': only marks"):
        signals.read_list("bad_words", str(path), "mine")


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
    (folder / "bad.txt").write_text("mine.example\nads*.example\n")
    path = folder / "lists.toml"
    path.write_text(MANIFEST.format(lists=lists))
    return path


def removed(root: Path) -> dict[str, dict]:
    store = Store(str(root))
    built = open_build(store, read_build(store))
    rows = [row for table in verdicts.every(built, "quality") for row in table.to_pylist()]
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
    assert "It was removed by quality: blocked-domain." in said
    assert "entry mine.example" in said
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r/documents").rglob("part-*")}
    build(write(tmp_path, 'lists = ["mine.txt"]'), tmp_path / "r", "--until", "dedup")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "r/documents").rglob("part-*")} == before
    assert sorted(removed(tmp_path / "r")) == ["https://adult.example/", "https://mine.example/"]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ('lists = ["ut1/"]', "source[1].blocklist: 'ut1/' is a folder: name the categories wanted"),
        ('lists = ["mine.txt"]\ncategories = ["adult"]', "categories go with a folder"),
        ('lists = ["bad.txt"]', "bad.txt: line 2, 'ads*.example': no host, URL"),
        ('lists = ["ut1/"]\ncategories = ["adlt"]', "source[1].blocklist.lists: 'ut1/adlt/[du]*s' matches no file"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, lists, message):
    result = cli("plan", write(tmp_path, lists), "--out", tmp_path / "r")
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
