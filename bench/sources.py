"""Reading each source: ours beside what a user would run instead, on the same files, one core, in one run.

    python bench/sources.py [SOURCE …] [--megabytes 20] [--rounds 3] [--core 0] [--before CHECKOUT]

Samples come from ../shared/data, repeated until there are so many megabytes of decoded input. Each side is a process of
its own pinned to one core; rounds of the two sides take turns, after a short one that warms caches; medians count. Time
is the processor's, user and system, children included: other processes disturb it less than they do the clock's. MB are
decoded input (what a .gz, .bz2 or .zst holds), so that compression does not flatter a source. Ours includes what the
peers lack: tolerance of damage, a ledger, ids, metadata. Peers are installed into .venv-bench-sources.

    wet            datatrove's WarcReader                       warc           the same, and its Trafilatura extractor
    wikipedia      gensim's extract_pages and filter_wiki       stackexchange  lxml iterparse and BeautifulSoup
    c4, rows, pile gzip or zstandard, and json                  the_stack, rows_parquet, rows_stack  pyarrow, to_pylist
    github         tarfile and a regular expression             arxiv          tarfile, gzip and regular expressions
    books          open and a regular expression

One source alone (after its pipeline changed): `python bench/sources.py stackexchange`. With --before the other side is
this project as it is in another checkout.
"""

import argparse
import bz2
import gzip
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from peers import peer_python

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
PEERS = ("datatrove[io,processing]==0.10.1", "gensim==4.4.0", "beautifulsoup4==4.14.2", "lxml_html_clean", "zstandard")
PIPELINES = {
    "wet": "common_crawl",
    "warc": "common_crawl",
    "rows_parquet": "rows",
    "rows_stack": "rows",
}  # others are called as their pipeline
OPTIONS = {
    "rows": {"fields": {"url": "url", "meta": ["date"]}},
    "rows_parquet": {"fields": {"id": "id", "url": "url"}},
    "rows_stack": {"fields": {"text": "content", "id": "hexsha"}},
    "pile": {"slices": ["PubMed Abstracts", "USPTO Backgrounds"]},
    "stackexchange": {"site": "a.example"},
}
WARM_UP_SECONDS = 1.0

OURS = r"""
import json, os, sys
from pathlib import Path
core, source, options, warm_up = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), float(sys.argv[4])
os.sched_setaffinity(0, {core})
from redpajama.raw.io import RawFile
from redpajama.pipelines import pipeline
from redpajama.records import Tally
reader, path = pipeline(source), Path(sys.argv[5])
file = RawFile(path.name, str(path), path.stat().st_size, "0" * 64)

def read():
    tally = Tally()
    for document in reader.read([file], reader.options(**options), source, tally):
        yield document
        tally.rows.clear()
"""
PEER = r"""
import gzip, json, os, re, sys, tarfile
core, source, warm_up, path = int(sys.argv[1]), sys.argv[2], float(sys.argv[4]), sys.argv[5]
os.sched_setaffinity(0, {core})

def warc(extract):
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.readers import WarcReader
    folder, name = os.path.split(path)
    pages = WarcReader(folder, glob_pattern=name, compression="gzip").run()
    return Trafilatura(timeout=60).run(pages) if extract else pages

def wikipedia():
    import bz2
    from gensim.corpora.wikicorpus import extract_pages, filter_wiki
    for title, text, page in extract_pages(bz2.BZ2File(path), ("0",)):
        yield title, filter_wiki(text)

def stackexchange():
    from bs4 import BeautifulSoup
    from lxml import etree
    questions, answers = {}, {}
    for _, row in etree.iterparse(path, tag="row"):
        text = BeautifulSoup(row.get("Body") or "", "lxml").get_text()
        if row.get("PostTypeId") == "1":
            questions[row.get("Id")] = (row.get("Title") or "") + " " + text
        elif row.get("PostTypeId") == "2":
            answers.setdefault(row.get("ParentId"), []).append((int(row.get("Score")), text))
        row.clear()
    for number, question in questions.items():
        replies = sorted(answers.get(number, []), key=lambda reply: -reply[0])
        yield "Q: " + question + "".join("\n\nA: " + text for _, text in replies)

def json_lines():
    if path.endswith(".zst"):
        import io, zstandard
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(open(path, "rb")), encoding="utf-8")
    else:
        lines = gzip.open(path, "rt", encoding="utf-8")
    for line in lines:
        row = json.loads(line)
        yield row["text"], row.get("url"), row.get("meta")

def the_stack():
    import pyarrow.parquet as pq
    for batch in pq.ParquetFile(path).iter_batches(batch_size=256):
        for row in batch.to_pylist():
            yield row["content"], row["hexsha"], row["max_stars_repo_licenses"]

def rows_parquet():
    import pyarrow.parquet as pq
    for batch in pq.ParquetFile(path).iter_batches(batch_size=256):
        for row in batch.to_pylist():
            yield row["text"], row["id"], row["url"]

def rows_stack():
    import pyarrow.parquet as pq
    for batch in pq.ParquetFile(path).iter_batches(batch_size=256, columns=["content", "hexsha"]):
        for row in batch.to_pylist():
            yield row["content"], row["hexsha"]

SUFFIXES = (".py", ".js", ".go", ".java", ".c", ".h", ".md", ".rs", ".rb", ".cpp", ".xml")
HEADER = re.compile(r"\A\s*/\*.*?\*/", re.DOTALL)

def github():
    with tarfile.open(path) as archive:
        for info in archive:
            if info.isreg() and info.name.endswith(SUFFIXES):
                text = archive.extractfile(info).read().decode("utf-8", "replace")
                lines = text.splitlines() or [""]
                header = HEADER.match(text)
                if header and "copyright" in header[0].lower():
                    text = text[header.end():]
                yield text, max(map(len, lines)), sum(map(len, lines)) / len(lines), sum(map(str.isalnum, text))

COMMENT, MACRO = re.compile(r"(?<!\\)%.*"), re.compile(r"\\newcommand\*?\{(\\\w+)\}\{((?:[^{}]|\{[^{}]*\})*)\}")

def arxiv():
    import io
    with tarfile.open(path) as bulk:
        for member in bulk:
            data = gzip.decompress(bulk.extractfile(member).read())
            try:
                with tarfile.open(fileobj=io.BytesIO(data)) as project:
                    texts = [project.extractfile(info).read() for info in project if info.name.endswith(".tex")]
            except tarfile.ReadError:
                texts = [data]
            text = COMMENT.sub("", "\n".join(text.decode("utf-8", "replace") for text in texts))
            for name, body in MACRO.findall(text):
                text = re.sub(re.escape(name) + r"(?![A-Za-z])", lambda found: body, text)
            yield text[text.find("\\section"):].split("\\bibliography")[0].split("\\begin{thebibliography}")[0]

START, END = re.compile(r"\*\*\* ?START OF.*?\*\*\*", re.S), re.compile(r"\*\*\* ?END OF")

def books():
    text = open(path, encoding="utf-8", errors="replace").read()
    start, end = START.search(text), END.search(text)
    yield text[start.end() if start else 0 : end.start() if end else len(text)].strip()

BOTH = {"wet": lambda: warc(False), "warc": lambda: warc(True)}
READERS = {**BOTH, **dict.fromkeys(("c4", "pile", "rows"), json_lines)}
read = READERS.get(sys.argv[3]) or globals()[sys.argv[3]]
"""
TIMED = r"""
import resource

def cpu():
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)

started = cpu()
for document in read():
    if cpu() - started > warm_up:
        break
started, passes = cpu(), 0
while not passes or cpu() - started < warm_up:
    count, passes = sum(1 for document in read()), passes + 1
sys.stdout.write("\n" + json.dumps([(cpu() - started) / passes, count]) + "\n")
"""


# ---- samples: (file, decoded bytes)


def repeated(decoded: int, wanted: int) -> int:
    """How often a sample stands in its file."""
    return max(1, round(wanted / decoded))


def wet(folder: Path, wanted: int) -> tuple[Path, int]:
    """Whole members of a real WET file of 2016, each with a record, again and again."""
    path = SHARED / "commoncrawl/jeffharwell-fragments/appended_zip_fragment_unexpected_eof.wet.gz"
    data, members, decoded = path.read_bytes(), b"", 0
    while True:
        decoder = zlib.decompressobj(wbits=31)
        text = decoder.decompress(data)
        if not decoder.eof:
            break
        members += data[: len(data) - len(decoder.unused_data)]
        data, decoded = decoder.unused_data, decoded + len(text)
    count = repeated(decoded, wanted)
    return _write(folder, "a.warc.wet.gz", members * count), decoded * count


def warc(folder: Path, wanted: int) -> tuple[Path, int]:
    """A real WARC of 22 pages: a tenth of the megabytes, main content costs milliseconds a page."""
    data = (SHARED / "commoncrawl/dolma/sample-0000.warc.gz").read_bytes()
    decoded = len(gzip.decompress(data))
    count = repeated(decoded, wanted // 10)
    return _write(folder, "a.warc.gz", data * count), decoded * count


def wikipedia(folder: Path, _: int) -> tuple[Path, int]:
    """206 pages of enwiki."""
    path = SHARED / "wikipedia/gensim/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
    data = path.read_bytes()
    return _write(folder, "a-pages-articles.xml.bz2", data), len(bz2.decompress(data))


def stackexchange(folder: Path, _: int) -> tuple[Path, int]:
    """2,061 posts of matheducators."""
    data = (SHARED / "stackexchange/matheducators-2014/Posts.xml").read_bytes()
    return _write(folder, "Posts.xml", data), len(data)


def c4(folder: Path, wanted: int) -> tuple[Path, int]:
    """1,000 rows of C4."""
    text = gzip.decompress((SHARED / "c4/wimbd/c4-sample.00000-of-00001.json.gz").read_bytes())
    text *= repeated(len(text), wanted)
    return _write(folder, "c4-train.00000-of-01024.json.gz", gzip.compress(text, 6)), len(text)


def rows(folder: Path, wanted: int) -> tuple[Path, int]:
    """The same rows as a table of one's own."""
    return c4(folder, wanted)


def rows_parquet(folder: Path, wanted: int) -> tuple[Path, int]:
    """The same rows as Parquet, zstd, with an id."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = gzip.decompress((SHARED / "c4/wimbd/c4-sample.00000-of-00001.json.gz").read_bytes())
    lines = [json.loads(line) for line in text.splitlines()]
    found = lines * repeated(sum(len(line["text"].encode()) for line in lines), wanted)
    columns = {name: [line[name] for line in found] for name in ("text", "url")}
    path = folder / "rows.parquet"
    table = pa.table({"id": [f"row-{number}" for number in range(len(found))], **columns})
    pq.write_table(table, path, row_group_size=1000, compression="zstd")
    return path, sum(len(line["text"].encode()) for line in found)


def pile(folder: Path, wanted: int) -> tuple[Path, int]:
    """Rows of two slices, as the release packs them."""
    import zstandard

    lines = []
    for name, title in (("pubmed_abstracts", "PubMed Abstracts"), ("uspto_backgrounds", "USPTO Backgrounds")):
        with gzip.open(SHARED / "pile/mimir" / name / "test_raw.jsonl.gz") as rows:
            texts = [json.loads(row)["original"] for row in rows]
        lines += [json.dumps({"text": text, "meta": {"pile_set_name": title}}) for text in texts]
    text = "".join(f"{line}\n" for line in lines).encode()
    text *= repeated(len(text), wanted)
    return _write(folder, "00.jsonl.zst", zstandard.ZstdCompressor(level=3).compress(text)), len(text)


def the_stack(folder: Path, wanted: int) -> tuple[Path, int]:
    """Source files of two repositories in the release's columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for name in ("gorilla__mux-db9d1d0073d2", "redis__hiredis-29ea2791c102"):
        with tarfile.open(SHARED / "github/repos" / f"{name}.tar.gz") as archive:
            for info in archive:
                if info.isreg() and info.name.endswith((".go", ".c", ".h", ".md")):
                    data = archive.extractfile(info).read()
                    row = {"hexsha": hashlib.sha1(data).hexdigest(), "size": len(data), "lang": "C", "ext": "c"}
                    row |= {"max_stars_repo_path": info.name, "max_stars_repo_name": name, "max_stars_count": 1}
                    row |= {"max_stars_repo_head_hexsha": "0" * 40, "max_stars_repo_licenses": ["BSD-3-Clause"]}
                    rows.append(row | {"content": data.decode()})
    size = sum(row["size"] for row in rows)
    count = repeated(size, wanted)
    path = folder / "data-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(rows * count), path, row_group_size=1000)
    return path, size * count


def rows_stack(folder: Path, wanted: int) -> tuple[Path, int]:
    """The same as somebody's own rows: text and id are two of their columns."""
    return the_stack(folder, wanted)


def github(folder: Path, _: int) -> tuple[Path, int]:
    """One repository of 313 files."""
    data = (SHARED / "github/repos/google__gson-9835b6f90192.tar.gz").read_bytes()
    return _write(folder, "google__gson-9835b6f90192.tar.gz", data), len(gzip.decompress(data))


def arxiv(folder: Path, _: int) -> tuple[Path, int]:
    """A bulk tar of seven papers of one file, four times."""
    buffer, decoded = BytesIO(), 0
    with tarfile.open(fileobj=buffer, mode="w") as bulk:
        for number, path in enumerate(sorted((SHARED / "arxiv/debian-rnw").glob("*/*.Rnw")) * 4):
            data = gzip.compress(path.read_bytes())
            info = tarfile.TarInfo(f"1911/1911.{number:05}.gz")
            info.size, decoded = len(data), decoded + path.stat().st_size
            bulk.addfile(info, BytesIO(data))
    return _write(folder, "arXiv_src_1911_001.tar", buffer.getvalue()), decoded


def books(folder: Path, _: int) -> tuple[Path, int]:
    """Moby-Dick."""
    data = (SHARED / "books/wss22/2701-0.txt").read_bytes()
    return _write(folder, "2701-0.txt", data), len(data)


def _write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


SAMPLES: dict[str, Callable[[Path, int], tuple[Path, int]]] = {
    function.__name__: function
    for function in (
        wet,
        warc,
        wikipedia,
        stackexchange,
        c4,
        rows,
        rows_parquet,
        rows_stack,
        pile,
        the_stack,
        github,
        arxiv,
        books,
    )
}


# ---- the two sides


def time_round(python: str, script: str, arguments: list[str], root: Path = ROOT) -> tuple[float, int]:
    """(seconds, documents) of one round in a process of its own."""
    command = [python, "-c", script + TIMED, *arguments]
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "ARROW_NUM_THREADS", "NUMBA_NUM_THREADS")}
    environment = {**os.environ, **threads, "PYTHONPATH": str(root)}
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=root)
    seconds, count = json.loads(result.stdout.splitlines()[-1])
    return seconds, count


def compare(name: str, given: argparse.Namespace, peer: str) -> str:
    """One source -> its RESULT line; progress goes to the terminal."""
    with tempfile.TemporaryDirectory() as folder:
        path, decoded = SAMPLES[name](Path(folder), given.megabytes * 1_000_000)
        last = [str(WARM_UP_SECONDS), str(path)]
        mine = [str(given.core), PIPELINES.get(name, name), json.dumps(OPTIONS.get(name, {})), *last]
        theirs = [str(given.core), "-", name, *last]
        other_side = (sys.executable, OURS, mine, given.before) if given.before else (peer, PEER, theirs)
        rounds = [(time_round(sys.executable, OURS, mine), time_round(*other_side)) for _ in range(given.rounds)]
    ours, other = (decoded / 1e6 / statistics.median(side[0] for side in sides) for sides in zip(*rounds, strict=True))
    counts = f"{rounds[0][0][1]:,} documents, peer {rounds[0][1][1]:,}"
    sys.stdout.write(f"{name:<14}{decoded / 1e6:7.1f} MB  ours {ours:7.1f}  peer {other:7.1f} MB/s  ({counts})\n")
    sys.stdout.flush()
    return f"RESULT sources_{name} ours={ours:.1f} peer={other:.1f} unit=MB/s per core ratio={ours / other:.2f}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help=f"of {', '.join(SAMPLES)}; none: all")
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)))
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="compare with this, not with peers")
    given = parser.parse_args()
    if unknown := [name for name in given.sources if name not in SAMPLES]:
        parser.error(f"no source {unknown[0]!r}; known: {', '.join(SAMPLES)}")
    peer = "" if given.before else peer_python("sources", PEERS)
    results = [compare(name, given, peer) for name in given.sources or SAMPLES]
    sys.stdout.writelines(results)


if __name__ == "__main__":
    main()
