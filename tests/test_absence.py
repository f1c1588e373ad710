"""After a take-down: no export holds what is withdrawn, what may hold it is told, no build goes on meanwhile."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from corpora import build, cli, write_corpus, write_rows
from hypothesis import given
from hypothesis import strategies as st

from redpajama.engine.store import Store
from redpajama.engine.workers import RootBusy, hold_root
from redpajama.errors import UserError
from redpajama.report import absence, resolving


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with `in/small.toml` and its ROOT, with an export of texts."""
    folder = tmp_path_factory.mktemp("absence")
    manifest = write_corpus(folder / "in")
    manifest.write_text(manifest.read_text() + 'formats = ["megatron", "text-jsonl"]\n')
    build(manifest, folder / "root", "--workers", 1)
    return folder


@pytest.fixture
def root(built, tmp_path) -> Path:
    return Path(shutil.copytree(built / "root", tmp_path / "root", symlinks=True))


def drawn(root: Path) -> str:
    """The id of a document of news that is drawn."""
    ids = pq.read_table(next((root / "current/small").glob("*_lineage.parquet")))["doc_id"].to_pylist()
    return next(doc_id for doc_id in ids if doc_id.startswith("news/"))


def text_of(root: Path, doc_id: str) -> str:
    files = sorted(root.glob("documents/news-*/part-*.parquet"))
    return next(row["text"] for path in files for row in pq.read_table(path).to_pylist() if row["doc_id"] == doc_id)


def exported(root: Path) -> list[str]:
    """The texts of all exports."""
    bodies = [zstandard.ZstdDecompressor().stream_reader(path.open("rb")) for path in root.glob("exports/**/*.zst")]
    return [json.loads(line)["text"] for body in bodies for line in body.read().splitlines()]


def remove(root: Path, doc_id: str, *options: object):
    (root.parent / "ids").write_text(doc_id)
    return cli("remove", root, "--ids", root.parent / "ids", "--request", "r1", "--workers", 1, *options)


@pytest.mark.parametrize("until", ["tokens", "mixture"])
def test_no_export_holds_the_text_of_a_removed_document(built, root, until):
    build(built / "in/small.toml", root, "--workers", 1, "--until", until)
    gone = drawn(built / "root")
    text = text_of(root, gone)
    assert text in exported(root)
    result = remove(root, gone)
    assert result.returncode == 0, result.stderr
    assert text not in exported(root)
    assert bool(exported(root)) == (until == "tokens")


def test_files_of_earlier_builds_that_may_hold_the_text_are_told(built, root, tmp_path):
    gone = drawn(root)
    [old] = [
        path.relative_to(root).as_posix()
        for path in root.glob("documents/news-*/part-*.parquet")
        if gone in pq.read_table(path)["doc_id"].to_pylist()
    ]
    shutil.copytree(built / "in", tmp_path / "in")
    for path in (tmp_path / "in").glob("news-*.json.gz"):
        number = int(path.name[5])
        write_rows(path, 60 * number, 61)
    build(tmp_path / "in/small.toml", root, "--workers", 1)
    remains = json.loads(remove(root, gone, "--json").stdout)["remains"]
    [told] = [where for why, where in remains.items() if why.startswith("of earlier builds")]
    assert old in told
    assert all((root / key).exists() and "ledger" not in key for key in told)
    assert cli("gc", root, "--yes").returncode == 0
    assert not any((root / key).exists() for key in told)


def test_nothing_is_swept_while_a_build_goes_on(root):
    store = Store(str(root))
    with hold_root(str(root)), pytest.raises(RootBusy):
        absence.sweep(store, [])


def test_a_document_goes_from_every_build_of_a_root(built, root, tmp_path):
    shutil.copytree(built / "in", tmp_path / "in")
    manifest = tmp_path / "in/small.toml"
    manifest.write_text(manifest.read_text().replace('name = "small"', 'name = "other"', 1))
    build(manifest, root, "--workers", 1)
    gone = drawn(root)
    result = remove(root, gone)
    assert result.returncode == 0, result.stderr
    for folder in (root / "current/small", root / "current/other"):
        assert all(gone not in pq.read_table(path)["doc_id"].to_pylist() for path in folder.glob("*_lineage.parquet"))


@pytest.mark.parametrize("domain", ["пример.рф", "xn--e1afmkfd.xn--p1ai", "ПРИМЕР.рф", "http://пример.рф/"])
def test_a_domain_is_found_however_it_and_its_pages_are_written(domain):
    urls = [
        "https://xn--e1afmkfd.xn--p1ai/a",
        "https://пример.рф:8080/b",
        "https://www.пример.рф/",
        "http://%D0%BF%D1%80%D0%B8%D0%BC%D0%B5%D1%80.xn--p1ai/",
        "https://example.org/пример.рф",
        "https://пример.org/",
    ]
    table = pa.table({"meta": [json.dumps({"url": url}) for url in urls]})
    assert list(resolving._in_domain(table, domain)) == [0, 1, 2, 3]


def test_a_domain_with_a_port_is_refused_and_a_slash_at_its_end_is_not():
    table = pa.table({"meta": ['{"url":"https://example.org/a"}']})
    assert list(resolving._in_domain(table, "example.org/")) == [0]
    with pytest.raises(UserError, match=r"'example.org:8080' has a port: name the domain alone"):
        list(resolving._in_domain(table, "example.org:8080"))


@given(st.lists(st.text(max_size=4), max_size=30), st.lists(st.text(max_size=4), max_size=5))
def test_texts_that_are_withdrawn_are_found_by_their_digests(texts, wanted):
    told = absence.told_by(pa.array(wanted, pa.large_string()))
    found = absence.among(pa.array(texts, pa.large_string()), told).to_pylist()
    assert found == [text in wanted for text in texts]
