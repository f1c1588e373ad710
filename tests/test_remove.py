"""Take-down: what is withdrawn is in no shard, the rest stays, and a build from nothing gives the same bytes."""

import gzip
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import WORDS, build, cli, digest, write_corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.corpus import withdrawn
from redpajama.corpus.withdrawn import Entry, Signed
from redpajama.errors import UserError
from redpajama.hashing import normal_text_digest

DRAWN = ("mixture", "tokens")


def change(manifest: Path, *pairs: tuple[str, str]) -> Path:
    text = manifest.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    manifest.write_text(text)
    return manifest


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with `in/small.toml` and its ROOT."""
    folder = tmp_path_factory.mktemp("built")
    build(write_corpus(folder / "in"), folder / "root", "--workers", 1)
    return folder


@pytest.fixture
def root(built, tmp_path) -> Path:
    return Path(shutil.copytree(built / "root", tmp_path / "root", symlinks=True))


def rows_of(root: Path) -> list[tuple[str, int]]:
    """(doc_id, copy) in the order of all shards."""
    files = sorted((root / "current/small").glob("*_lineage.parquet"))
    tables = [pq.read_table(path, columns=["doc_id", "copy"]) for path in files]
    return [(row["doc_id"], row["copy"]) for row in pa.concat_tables(tables).to_pylist()]


def documents_of(root: Path, source: str = "") -> list[dict]:
    files = sorted(root.glob(f"documents/{source}*/part-*.parquet"))
    return pa.concat_tables([pq.read_table(path, columns=["doc_id", "text", "meta"]) for path in files]).to_pylist()


def remove(root: Path, what: list[str], *options: object, request: str = "r1", by: str = "ids", **environment: str):
    file = root.parent / f"{request}.txt"
    file.write_text("\n".join(what) + "\n")
    return cli("remove", root, f"--{by}", file, "--request", request, "--workers", 1, *options, **environment)


def drawn(root: Path) -> dict[str, str]:
    return {name: sha for name, sha in digest(root).items() if name.partition("/")[0] in DRAWN}


def corpus(root: Path, name: str = "small") -> str:
    return json.loads((root / f"builds/{name}.json").read_text())["corpus"]


def test_removed_documents_are_gone_verify_is_clean_and_a_build_from_nothing_with_the_list_is_the_same(
    built, root, tmp_path
):
    gone = sorted({doc_id for doc_id, _ in rows_of(root)})[::40]
    assert len(gone) > 2
    result = remove(root, gone)
    assert result.returncode == 0, result.stderr
    assert f"{len(gone)} entries take down" in result.stdout
    assert not {doc_id for doc_id, _ in rows_of(root)} & set(gone)
    told = cli("verify", root)
    assert told.returncode == 0, told.stdout
    record = json.loads((root / "builds/small.json").read_text())
    assert record["withdrawn"] == withdrawn.in_root(withdrawn.Store(str(root)))

    shutil.copytree(built / "in", tmp_path / "in")
    shutil.copy(root / "withdrawn/r1", tmp_path / "in/list")
    manifest = change(tmp_path / "in/small.toml", ("seed = 11", 'seed = 11\nwithdrawn = ["list"]'))
    build(manifest, tmp_path / "fresh", "--workers", 1)
    assert drawn(tmp_path / "fresh") == drawn(root)
    assert corpus(tmp_path / "fresh") == corpus(root)

    before = digest(root)
    assert "nothing would be redone" in cli("plan", built / "in/small.toml", "--out", root).stdout
    assert build(built / "in/small.toml", root, "--workers", 1) == before


def test_only_the_shards_concerned_are_rewritten_and_the_cut_stays_without_refill(root):
    files, rows = drawn(root), rows_of(root)
    shard = sorted((root / "current/small").glob("*_lineage.parquet"))[1]
    inside = [row["doc_id"] for row in pq.read_table(shard).to_pylist()]
    alone = next(doc_id for doc_id in inside if [id for id, _ in rows].count(doc_id) == inside.count(doc_id))
    assert remove(root, [alone], "--no-refill").returncode == 0
    assert rows_of(root) == [row for row in rows if row[0] != alone]
    kept = {name for name, sha in files.items() if drawn(root).get(name) == sha}
    shards = {name for name in files if name.endswith("_text_document.bin")}
    assert len(shards) > 2
    assert len(shards - kept) == 1
    ranges = {name for name in files if "/range-" in name and name.endswith(".parquet")}
    assert len(ranges - kept) == 1
    assert set(drawn(root)) & (shards | ranges) == (shards | ranges) & kept  # the old ones are gone


def test_others_take_the_place_of_what_goes_and_all_that_stays_keeps_its_place(root):
    rows = rows_of(root)
    gone = set(sorted({doc_id for doc_id, _ in rows})[::30])
    size = sum(path.stat().st_size for path in (root / "current/small").glob("*.bin"))
    assert remove(root, sorted(gone)).returncode == 0
    after = rows_of(root)
    stays = [row for row in rows if row[0] not in gone]
    assert set(stays) < set(after)
    assert [row for row in after if row in set(stays)] == stays
    new = sum(path.stat().st_size for path in (root / "current/small").glob("*.bin"))
    assert abs(new - size) < 2 * 60  # less than a document a slice


def test_their_removed_copies_stay_removed(root):
    """A survivor takes part in dedup still: no copy of it comes back."""
    table = pa.concat_tables(pq.read_table(path) for path in root.glob("exact-homes/**/*.verdicts.parquet")).to_pylist()
    drawn_now = {doc_id for doc_id, _ in rows_of(root)}
    loser, survivor = next(
        (row["doc_id"], evidence["survivor"])
        for row in table
        if (evidence := json.loads(row["evidence"])).get("survivor") in drawn_now
    )
    assert remove(root, [survivor]).returncode == 0
    left = {doc_id for doc_id, _ in rows_of(root)}
    assert {survivor, loser} & left == set()


def write_c4(path: Path, rows: list[tuple[str, str]]) -> None:
    lines = [json.dumps({"text": text, "url": url, "timestamp": "t"}) for text, url in rows]
    path.write_bytes(gzip.compress("\n".join(lines).encode() + b"\n", mtime=0))


def test_a_copy_that_is_crawled_again_under_another_address_stays_out_whether_it_is_the_same_or_nearly(tmp_path):
    near = ('order = ["news", "web"]', 'order = ["news", "web"]\nnear = { unit = "word", ngram = 2, threshold = 0.7 }')
    texts = [
        " ".join(random.Random(seed).choices([f"{w}{n}" for w in WORDS for n in range(40)], k=60)) for seed in (1, 2, 3)
    ]
    first = change(write_corpus(tmp_path / "in"), near)
    write_c4(tmp_path / "in/news-3.json.gz", [(text, f"https://old.example/{n}") for n, text in enumerate(texts)])
    build(first, tmp_path / "root", "--workers", 1)
    result = cli("remove", tmp_path / "root", "--domain", "Old.example", "--request", "r1", "--workers", 1, "--json")
    assert result.returncode == 0, result.stderr
    ids = {row["doc_id"] for row in documents_of(tmp_path / "root", "news") if row["text"] in texts}
    assert [each["doc_id"] for each in json.loads(result.stdout)["documents"]] == sorted(ids)

    again = change(write_corpus(tmp_path / "again"), near, ("seed = 11", 'seed = 11\nwithdrawn = ["list"]'))
    shutil.copy(tmp_path / "root/withdrawn/r1", tmp_path / "again/list")
    copies = [texts[0], texts[1].replace(" ", "  ", 5), f"Now {texts[2]} more."]
    other = [f"https://new.example/{n}" for n in range(3)]
    write_c4(tmp_path / "again/news-3.json.gz", list(zip(copies, other, strict=True)))
    build(again, tmp_path / "second", "--workers", 1)
    new = {json.loads(row["meta"])["url"]: row["doc_id"] for row in documents_of(tmp_path / "second", "news")}
    assert not {doc_id for doc_id, _ in rows_of(tmp_path / "second")} & {new[url] for url in other}
    for url, by in zip(other, ("its text", "its text", "of a near copy"), strict=True):
        told = cli("why", tmp_path / "second", url).stdout
        assert "withdrawn by request 'r1'" in told
        assert by in told


def test_by_url_by_domain_and_by_text(root, tmp_path):
    rows = {row["doc_id"]: row for row in documents_of(root, "news")}
    drawn_now = [doc_id for doc_id, _ in rows_of(root) if doc_id in rows]
    one, other = drawn_now[0], next(doc_id for doc_id in drawn_now if doc_id != drawn_now[0])
    url = json.loads(rows[one]["meta"])["url"].replace("https://", "HTTP://") + "/#top"
    result = remove(root, [url], by="urls", request="by-url")
    assert result.returncode == 0, result.stderr
    assert one not in {doc_id for doc_id, _ in rows_of(root)}
    (tmp_path / "text").write_text(f"  {rows[other]['text']}\n")
    assert cli("remove", root, "--like", tmp_path / "text", "--request", "by-text", "--workers", 1).returncode == 0
    assert other not in {doc_id for doc_id, _ in rows_of(root)}
    told = cli("why", root, other).stdout
    assert "withdrawn by request 'by-text' (its id)" in told
    everything = cli("remove", root, "--domain", "EXAMPLE.org", "--request", "all", "--workers", 1)
    assert everything.returncode == 2
    assert "slice 'news' would be empty: all its" in everything.stderr
    assert not (root / "withdrawn/all").exists()
    assert cli("verify", root).returncode == 0


@pytest.mark.parametrize("crash", ["before-temp-write:2", "before-build-record:1", "after-build-record:1"])
def test_killed_anywhere_the_same_command_goes_on_to_the_same_bytes(built, root, tmp_path, crash):
    gone = sorted({doc_id for doc_id, _ in rows_of(root)})[::50]
    whole = Path(shutil.copytree(root, tmp_path / "whole/root", symlinks=True))
    assert remove(whole, gone).returncode == 0
    killed = remove(root, gone, REDPAJAMA_CRASH=crash, REDPAJAMA_CRASH_COUNT=str(tmp_path / "count"))
    assert killed.returncode < 0
    result = remove(root, gone)
    assert result.returncode == 0, result.stderr
    assert digest(root) == digest(whole)
    assert cli("verify", root).returncode == 0


def test_a_mistake_is_one_line_and_removes_nothing(root, tmp_path):
    before = digest(root)
    some = sorted({doc_id for doc_id, _ in rows_of(root)})
    cases = [
        (remove(root, [some[0], "news/none"]), "no document of any build here has the id 'news/none'"),
        (remove(root, ["https://example.org/none"], by="urls"), "has the URL 'https://example.org/none'"),
        (remove(root, ["no url"], by="urls"), "'no url' is no URL"),
        (cli("remove", root, "--domain", "elsewhere.example", "--request", "x"), "is from 'elsewhere.example'"),
        (cli("remove", root, "--request", "x"), "by one of --ids, --urls, --domain and --like"),
        (cli("remove", root, "--ids", tmp_path / "none", "--request", "x"), "No such file"),
        (remove(root, some[:1], request=".."), "a name has letters"),
    ]
    for result, message in cases:
        assert (result.returncode, message in result.stderr) == (2, True), result.stderr
        assert result.stderr.count("\n") == 1
    assert digest(root) == before
    assert remove(root, some[:1]).returncode == 0
    twice = remove(root, some[1:2])
    assert twice.returncode == 2
    assert "request 'r1' is used already" in twice.stderr
    assert remove(root, some[:1]).returncode == 0  # the same again goes on


def test_what_is_held_out_and_miniatures_lose_what_is_withdrawn_too(built, tmp_path):
    shutil.copytree(built / "in", tmp_path / "in")
    manifest = change(
        tmp_path / "in/small.toml", ("budget_tokens = 6000", 'budget_tokens = 6000\nvalidation = 0.1\nscale = "1/2"')
    )
    root = tmp_path / "root"
    build(manifest, root, "--workers", 1)
    held = sorted((root / "current/small").glob("*validation*_lineage.parquet"))
    gone = [pq.read_table(held[0])["doc_id"][0].as_py(), *sorted({doc_id for doc_id, _ in rows_of(root)})[::20]]
    rows = rows_of(root)
    assert remove(root, gone, "--no-refill").returncode == 0
    assert rows_of(root) == [row for row in rows if row[0] not in gone]
    assert remove(root, sorted({row[0] for row in rows} - set(gone))[:4], request="r2").returncode == 0
    assert cli("verify", root).returncode == 0


def test_what_one_of_several_builds_refuses_is_removed_from_none(built, root, tmp_path):
    shutil.copytree(built / "in", tmp_path / "in")
    few = json.dumps([f"https://example.org/{number}" for number in range(190, 194)])
    pair = 'source = "web"\nweight = 1', f'source = "web"\nwhere = {{ url = {few} }}\nweight = 0.001'
    manifest = change(tmp_path / "in/small.toml", ('name = "small"', 'name = "twin"'), pair)
    build(manifest, root, "--workers", 1)
    before, corpora = rows_of(root), [corpus(root, name) for name in ("small", "twin")]
    named = [row["doc_id"] for row in documents_of(root, "web") if json.loads(row["meta"])["url"] in few]
    refused = remove(root, named)
    assert refused.returncode == 2, refused.stdout
    assert "slice 'web' would be empty" in refused.stderr
    assert "nothing was removed" in refused.stderr
    assert not list(root.glob("withdrawn/*"))
    assert (rows_of(root), [corpus(root, name) for name in ("small", "twin")]) == (before, corpora)
    assert cli("verify", root).returncode == 0
    assert remove(root, named[:1]).returncode == 0  # of both, by a process that works itself


OTHERS = json.dumps([f"https://example.org/{number}" for number in range(150, 190)])
PARTED = f"""name = "web-a"
source = "web"
where = {{ url = {OTHERS} }}
weight = 0
[[mixture.slice]]
source = "web"
"""
CHANGES = {
    "a slice gets a weight": (('source = "web"\nweight', f"{PARTED}weight"), ("weight = 0", "weight = 0.1")),
    "some is held out": (("budget_tokens", "validation = 0\nbudget_tokens"), ("validation = 0", "validation = 0.3")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_manifest_changed_after_a_take_down_gives_what_a_root_without_a_past_gives(built, tmp_path, name):
    shutil.copytree(built / "in", tmp_path / "in")
    manifest, root = change(tmp_path / "in/small.toml", CHANGES[name][0]), tmp_path / "root"
    build(manifest, root, "--workers", 1)
    gone = sorted(row["doc_id"] for row in documents_of(root))[::7]
    assert remove(root, gone).returncode == 0
    shutil.copy(root / "withdrawn/r1", tmp_path / "in/list")
    change(manifest, CHANGES[name][1], ("seed = 11", 'seed = 11\nwithdrawn = ["list"]'))
    build(manifest, root, "--workers", 1)
    build(manifest, tmp_path / "fresh", "--workers", 1)
    assert drawn(tmp_path / "fresh").items() <= drawn(root).items()  # of the former manifest some is left
    assert corpus(tmp_path / "fresh") == corpus(root)


def test_verify_tells_of_a_list_that_was_changed_and_of_one_that_a_build_does_not_know(root):
    some = sorted({doc_id for doc_id, _ in rows_of(root)})
    assert remove(root, some[:1]).returncode == 0
    body = (root / "withdrawn/r1").read_bytes()
    (root / "withdrawn/r2").write_bytes(body.replace(b'"r1"', b'"r2"'))
    (root / "withdrawn/r1").write_bytes(body.replace(some[0].encode(), some[1].encode()))
    told = cli("verify", root)
    assert told.returncode == 1
    assert "withdrawn/r1: not the list that the build was made with" in told.stdout
    assert "withdrawn/r2: build 'small' was made before it" in told.stdout


def test_a_list_that_is_none_is_refused_in_one_line(built, tmp_path):
    for body, message in ((b"x", "not a list"), (b'{"layout":9}', "another version"), (b'{"layout":1}', "not a list")):
        with pytest.raises(UserError, match=message):
            withdrawn.parse(body, "list")
    shutil.copytree(built / "in", tmp_path / "in")
    manifest = change(tmp_path / "in/small.toml", ("seed = 11", 'seed = 11\nwithdrawn = ["none"]'))
    for command in ("plan", "build"):
        result = cli(command, manifest, "--out", tmp_path / "root")
        assert (result.returncode, "withdrawn 'none': No such file" in result.stderr) == (2, True), result.stderr


# ---- whom a list means


def test_a_list_tells_by_id_by_address_and_by_text_and_the_first_request_counts():
    lists = withdrawn.read_lists(
        withdrawn.body_of(request, entries)
        for request, entries in (
            ("a", [Entry("s/1", "https://Example.org:443/x%20y/", [], [], True)]),
            ("b", [Entry("s/1", "", [normal_text_digest("A text").hex()], [], False)]),
        )
    )
    digests = pa.array([normal_text_digest(text) for text in ("1", "2", "A  text", "4")], pa.binary(16))
    metas = [json.dumps({"url": url}) for url in ("", "http://example.org/x y", "http://example.org/z", "ftp://b")]
    table = pa.table({"doc_id": ["s/1", "s/2", "s/3", "s/4"], "text_digest": digests, "meta": metas})
    found = withdrawn.hits(lists, table)
    assert {row: (hit.request, hit.by, hit.refill) for row, hit in found.items()} == {
        0: ("a", "id", True),
        1: ("a", "url", True),
        2: ("b", "text", False),
    }


@settings(deadline=None)
@given(
    st.integers(1, 12).flatmap(
        lambda width: st.tuples(
            st.lists(st.lists(st.integers(0, 2), min_size=width, max_size=width), min_size=1, max_size=8),
            st.lists(st.lists(st.integers(0, 2), min_size=width, max_size=width), min_size=1, max_size=4),
        )
    ),
    st.sampled_from([0.01, 0.5, 0.7, 0.8, 0.9, 1.0]),
)
def test_near_copies_are_those_that_a_look_at_all_pairs_finds(rows, threshold):
    values, own = (np.array(each, np.uint32) for each in rows)
    signed = Signed(own, [(str(number), True) for number in range(len(own))])
    similar = (values[:, None, :] == own[None, :, :]).mean(axis=2).max(axis=1)
    found = withdrawn.near_hits(signed, values, threshold)
    assert set(found) == set(np.flatnonzero(similar >= threshold - 1e-9).tolist())
    assert all(hit.similarity == pytest.approx(similar[row], abs=1e-6) for row, hit in found.items())


def test_what_could_not_be_read_of_the_sources_is_named_as_a_place_that_may_hold_a_copy(root):
    gone = [doc_id for doc_id, _ in rows_of(root) if doc_id.startswith("web/")][:1]
    remains = json.loads(remove(root, gone, "--json").stdout)["remains"]
    [unread] = [where for why, where in remains.items() if "could not be read" in why]
    assert unread == sorted(path.relative_to(root).as_posix() for path in root.glob("documents/web-*/quarantine/*"))
    assert unread


WITHOUT_LOCKS = """
import errno, sys
from redpajama import cli
from redpajama.engine import workers
def refuse(*_): raise OSError(errno.ENOLCK, "No locks available")
workers.fcntl.flock = refuse
sys.exit(cli.run(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", [["gc", "--yes"], ["remove", "--request", "r1", "--workers", "1"]])
def test_where_nothing_keeps_others_away_the_user_may_see_to_it(root, tmp_path, command):
    name, *options = command
    if name == "remove":
        (tmp_path / "ids.txt").write_text(rows_of(root)[0][0] + "\n")
        options += ["--ids", str(tmp_path / "ids.txt")]
    run = [sys.executable, "-c", WITHOUT_LOCKS, name, str(root), *options]
    refused = subprocess.run(run, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "say --sole-writer" in refused.stderr
    done = subprocess.run([*run, "--sole-writer"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
