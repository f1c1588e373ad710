"""Real documents that were read beside their raw input: what must stand in each, and what must not.

`tests/golden/<source>.json`: for each raw file the documents that were read, with `checked` in words, and

    first, last     the text's first and last line
    has, lacks      phrases that must stand in the text, or must not
    order           phrases in this order
    answers         how each `A:` of a thread begins, all of them
    meta            fields of the meta, exactly
    raw             the raw text that the document must equal: a member of the repository from a line on, or a JSON row
    times           how many documents have this id (else one)

`pages` cuts a dump behind that many pages; `without` leaves out the files of a tree whose names begin so. `gone`
names units that must not become documents, with the reason on record. An id may end in `*` where it holds a hash.
These are no frozen outputs: where one fails, read the raw file again before changing it.
"""

import bz2
import gzip
import json
import tarfile
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import packing
import pytest
import zstandard
from balanced import read_balanced, tree_files
from conftest import SHARED, needs_shared, raw_file, write_raw

from redpajama.pipelines import SOURCES, pipeline
from redpajama.records import Document

GOLDEN = {path.stem: json.loads(path.read_text()) for path in sorted(Path(__file__).parent.glob("golden/*.json"))}
CASES = [(source, number) for source, golden in GOLDEN.items() for number in range(len(golden["files"]))]
MIN_DOCUMENTS = 10

pytestmark = needs_shared


def where(spec: dict) -> str:
    """The raw file of an entry, as its evidence names it."""
    return spec.get("path") or spec.get("eprint") or spec["pack"]


def raw_files(spec: dict, folder: Path) -> tuple[list, dict]:
    """(raw files, options) of an entry: a sample as it is, one wrapped as an e-print, or rows in a container."""
    options = dict(spec.get("options", {}))
    if "eprint" in spec:
        path = SHARED / spec["eprint"]
        return [write_raw(folder, f"{path.stem}.gz", gzip.compress(path.read_bytes(), mtime=0))], options
    if "pack" in spec:
        path = getattr(packing, spec["pack"])(folder, SHARED)
        if path.is_file():
            return [raw_file(path, path.name)], options
        files = [raw_file(file, str(file.relative_to(path))) for file in sorted(path.glob("train/*.txt"))]
        return files, options | {"metadata": str(path / "metadata.csv")}
    path = SHARED / spec["path"]
    if "without" in spec:
        files = tree_files(path, f"{spec['path']}/")
        return [file for file in files if not file.relative.startswith(tuple(spec["without"]))], options
    if "pages" in spec:
        return [write_raw(folder, f"{path.name}.xml", first_pages(path, spec["pages"]))], options
    return tree_files(path, f"{spec['path']}/") if path.is_dir() else [raw_file(path, spec["path"])], options


def first_pages(path: Path, count: int) -> bytes:
    """A dump that ends behind its first pages: wikitext costs milliseconds a page."""
    data = path.read_bytes()
    whole = bz2.decompress(data) if path.suffix == ".bz2" else data
    return b"</page>".join(whole.split(b"</page>", count)[:count]) + b"</page>\n</mediawiki>\n"


def check_text(text: str, golden: dict) -> None:
    """Everything that an entry says about a text."""
    lines = text.split("\n")
    assert golden.get("first") in (None, lines[0])
    assert golden.get("last") in (None, lines[-1])
    assert [phrase for phrase in golden.get("has", []) if phrase not in text] == []
    assert [phrase for phrase in golden.get("lacks", []) if phrase in text] == []
    at = -1
    for phrase in golden.get("order", []):
        at = text.find(phrase, at + 1)
        assert at >= 0, f"not in this order: {phrase}"
    if "answers" in golden:
        answers = text.split("\n\nA: ")[1:]
        assert len(answers) == len(golden["answers"])
        assert [
            begin for begin, answer in zip(golden["answers"], answers, strict=True) if answer.startswith(begin)
        ] == (golden["answers"])


def check_raw(text: str, golden: dict, spec: dict, folder: Path) -> None:
    """The text against the raw one, cut where the reader of the raw file saw its header end."""
    raw = golden["raw"]
    if "row" in raw:
        assert text == rows_of(where(spec), folder)[raw["row"] - 1]["text"]
    else:
        name = raw["repo"].replace("/", "__") if "repo" in raw else Path(spec["path"]).name.removesuffix(".tar.gz")
        lines = member(name, raw["member"]).split("\n")
        assert text == "\n".join(lines[raw["from_line"] - 1 :])


def rows_of(name: str, folder: Path) -> list[dict]:
    """The JSON rows of a sample or packed file, read without the project's readers."""
    data = (SHARED / name).read_bytes() if "/" in name else (folder / "00.jsonl.zst").read_bytes()
    text = gzip.decompress(data) if "/" in name else zstandard.decompress(data)
    return [json.loads(line) for line in text.splitlines()]


@cache
def member(repository: str, path: str) -> str:
    """One file of a sample repository, read by tarfile."""
    (archive,) = (SHARED / "github/repos").glob(f"{repository}*.tar.gz")
    with tarfile.open(archive) as tar:
        (data,) = [tar.extractfile(info).read() for info in tar if info.name.partition("/")[2] == path]
    return data.decode()


def find(documents: list[Document], golden: dict, number: int) -> Document:
    """The document of an entry: `row N` is the Nth, any other id stands exactly as often as it should."""
    if golden["id"].startswith("row "):
        return documents[number]
    found = [document for document in documents if fnmatchcase(document.doc_id, golden["id"])]
    assert len(found) == golden.get("times", 1), golden["id"]
    return found[0]


@pytest.mark.parametrize(("source", "number"), CASES)
def test_documents_are_what_a_reader_of_the_raw_file_expects(source, number, tmp_path):
    spec = GOLDEN[source]["files"][number]
    files, options = raw_files(spec, tmp_path)
    documents, tally = read_balanced(pipeline(source), files, **options)
    for index, golden in enumerate(spec["documents"]):
        document = find(documents, golden, index)
        check_text(document.text, golden)
        assert {name: document.meta.get(name) for name in golden.get("meta", {})} == golden.get("meta", {})
        if "raw" in golden:
            check_raw(document.text, golden, spec, tmp_path)
    for pattern, reason in spec.get("gone", {}).items():
        assert not [document.doc_id for document in documents if fnmatchcase(document.doc_id, pattern)]
        assert {row.reason for row in tally.rows if fnmatchcase(row.doc_id, pattern)} == {reason}, pattern


def test_every_source_has_ten_documents_that_were_read():
    assert sorted(GOLDEN) == sorted(SOURCES)
    for source, golden in GOLDEN.items():
        entries = [entry for spec in golden["files"] for entry in spec["documents"]]
        assert len(entries) >= MIN_DOCUMENTS, source
        assert all(entry["checked"] for entry in entries)
