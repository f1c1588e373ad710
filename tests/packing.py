"""Packs real rows into the containers that the samples lack. Each function returns the path of what it wrote.

Texts, paths, licences and commits are those of the samples; only the containers are made here, byte for byte the
same on every run.
"""

import gzip
import io
import json
import tarfile
import zipfile
from hashlib import sha1
from pathlib import Path

import py7zr
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from redpajama.extract.sourcecode import language_of

REPOSITORIES = {  # file of the samples: (licence as BigQuery has it, stars)
    "gorilla__mux-db9d1d0073d2": ("bsd-3-clause", 20_000),
    "redis__hiredis-29ea2791c102": ("bsd-3-clause", 6_000),
    "docker-library__python-4f07059567fa": ("mit", 2_500),
    "ranger__ranger-d45f14c04dd5": ("gpl-3.0", 15_000),
    "JuliaIO__JSON.jl-c59e2cc682db": ("mit", 300),
}
PILE_SLICES = {
    "pubmed_abstracts": "PubMed Abstracts",
    "uspto_backgrounds": "USPTO Backgrounds",
    "wikipedia_(en)": "Wikipedia (en)",
    "github": "Github",
}


def repository_files(shared: Path, name: str) -> list[tuple[str, bytes]]:
    """(path, content) of the text files of a sample repository."""
    with tarfile.open(shared / "github" / "repos" / f"{name}.tar.gz") as archive:
        found = [(info.name, archive.extractfile(info).read()) for info in archive if info.isreg()]
    return [(path.partition("/")[2], data) for path, data in found if b"\0" not in data and _is_utf8(data)]


def pack_bigquery_rows(folder: Path, shared: Path, per_repository: int = 40) -> Path:
    """Rows of sample repositories as BigQuery exports them: gzip of JSON lines, integers as strings."""
    lines = []
    for name, (license, _) in REPOSITORIES.items():
        repo = name.rpartition("-")[0].replace("__", "/")
        files = repository_files(shared, name)
        languages: dict[str, int] = {}
        for path, data in files:
            if language := language_of(path):
                languages[language] = languages.get(language, 0) + len(data)
        for path, data in files[:per_repository]:
            row = {
                "repo_name": repo,
                "ref": "refs/heads/master",
                "path": path,
                "mode": "33188",
                "id": sha1(b"blob %d\0" % len(data) + data).hexdigest(),
                "size": str(len(data)),
                "binary": False,
                "copies": "1",
                "content": data.decode(),
                "license": license,
                "language": [{"name": key, "bytes": str(size)} for key, size in languages.items()],
            }
            lines.append(json.dumps(row))
    path = folder / "github_000000000000.json.gz"
    path.write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode(), mtime=0))
    return path


def pack_arxiv_bulk_tar(folder: Path, shared: Path) -> Path:
    """Sample papers as a tar of the bulk bucket: projects, one lone TeX file under an old id, one PDF."""
    papers = shared / "arxiv" / "papers"
    with zipfile.ZipFile(shared / "arxiv" / "arxiv-latex-cleaner" / "test_data" / "tex.zip") as archive:
        pdf = archive.read("ext_tikz/test1.pdf")
    members = [
        ("1911/1911.02782.gz", (shared / "arxiv" / "raw" / "1911.02782.gz").read_bytes()),
        ("1911/1911.00001.pdf", pdf),
        ("1911/1911.00002.gz", _eprint(papers / "daffidwilde__edo-paper")),
        ("1911/1911.00003.gz", _eprint(papers / "EricDarve__existence_of_lu")),
        ("1911/astro-ph9911004.gz", gzip.compress((papers / "adrn__Ophiuchus-paper" / "ms.tex").read_bytes(), mtime=0)),
    ]
    path = folder / "arXiv_src_1911_001.tar"
    path.write_bytes(pack_tar(members, mtime=1_575_000_000))
    return path


def pack_tar(members: list[tuple[str, bytes]], mtime: int = 0) -> bytes:
    """A tar of regular files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), mtime
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def pack_pile_jsonl_zst(folder: Path, shared: Path, per_slice: int = 50) -> Path:
    """Rows of Pile slices as a file of the release, some of them twice as it has them."""
    rows = []
    for name, slice_name in PILE_SLICES.items():
        with gzip.open(shared / "pile" / "mimir" / name / "test_raw.jsonl.gz") as lines:
            texts = [json.loads(next(lines))["original"] for _ in range(per_slice)]
        rows += [{"text": text, "meta": {"pile_set_name": slice_name}} for text in texts]
    nih = (shared / "pile" / "data-juicer" / "the-pile-nih-refined.jsonl").read_text().splitlines()
    rows += [{"text": json.loads(line)["text"], "meta": {"pile_set_name": "NIH ExPorter"}} for line in nih] * 2
    path = folder / "00.jsonl.zst"
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(zstandard.ZstdCompressor(level=3).compress(data))
    return path


def pack_the_stack_parquet(folder: Path, shared: Path, per_repository: int = 40, row_group_rows: int = 30) -> Path:
    """Files of sample repositories in the schema of bigcode/the-stack, in several row groups."""
    rows = []
    for name, (license, stars) in REPOSITORIES.items():
        repo, _, commit = name.replace("__", "/").rpartition("-")
        files = [(path, data) for path, data in repository_files(shared, name) if language_of(path) and data]
        rows += [_stack_row(repo, commit, license, stars, path, data) for path, data in files[:per_repository]]
    path = folder / "data-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(rows, STACK_SCHEMA), path, row_group_size=row_group_rows)
    return path


def _stack_schema() -> pa.Schema:
    text, whole = pa.string(), pa.int64()
    fields = [("hexsha", text), ("size", whole), ("ext", text), ("lang", text)]
    for kind, event in (("max_stars", "stars"), ("max_issues", "issues"), ("max_forks", "forks")):
        fields += [(f"{kind}_repo_path", text), (f"{kind}_repo_name", text), (f"{kind}_repo_head_hexsha", text)]
        fields += [(f"{kind}_repo_licenses", pa.list_(text)), (f"{kind}_count", whole)]
        fields += [(f"{kind}_repo_{event}_event_{end}_datetime", text) for end in ("min", "max")]
    fields += [("content", text), ("avg_line_length", pa.float64()), ("max_line_length", whole)]
    return pa.schema([*fields, ("alphanum_fraction", pa.float64())])


STACK_SCHEMA = _stack_schema()
SPDX = {"bsd-3-clause": "BSD-3-Clause", "mit": "MIT", "gpl-3.0": "GPL-3.0"}


def _stack_row(repo: str, commit: str, license: str, stars: int, path: str, data: bytes) -> dict:
    text = data.decode()
    lengths = [len(line) for line in text.splitlines()] or [0]
    row = {
        "hexsha": sha1(b"blob %d\0" % len(data) + data).hexdigest(),
        "size": len(data),
        "ext": path.rpartition(".")[2],
        "lang": language_of(path),
        "content": text,
        "avg_line_length": sum(lengths) / len(lengths),
        "max_line_length": max(lengths),
        "alphanum_fraction": sum(map(str.isalnum, text)) / max(len(text), 1),
    }
    for kind in ("max_stars", "max_issues", "max_forks"):
        row |= {f"{kind}_repo_path": path, f"{kind}_repo_name": repo, f"{kind}_repo_head_hexsha": commit}
        row |= {f"{kind}_repo_licenses": [SPDX[license]], f"{kind}_count": stars if kind == "max_stars" else None}
    return row


def _eprint(project: Path) -> bytes:
    files = sorted(path for path in project.rglob("*") if path.is_file())
    return gzip.compress(pack_tar([(str(path.relative_to(project)), path.read_bytes()) for path in files]), mtime=0)


def _is_utf8(data: bytes) -> bool:
    try:
        return bool(data.decode()) or True
    except UnicodeDecodeError:
        return False


def pack_pg19(folder: Path, shared: Path) -> Path:
    """The three PG-19 books of the samples, and their metadata, in the release's layout."""
    with zipfile.ZipFile(shared / "books" / "pg19-dummy" / "dummy_data.zip") as archive:
        for name in archive.namelist():
            if name.endswith((".txt", "metadata.csv")):
                path = folder / ("metadata.csv" if name.endswith("csv") else f"train/{Path(name).name}")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))
    return folder


def pack_stackexchange_7z(folder: Path, shared: Path) -> Path:
    """A site's Posts.xml as the archive of its dump."""
    path = folder / "conlang.meta.stackexchange.com.7z"
    with py7zr.SevenZipFile(path, "w") as archive:
        archive.write(shared / "stackexchange" / "conlang-meta-2020" / "Posts.xml", "Posts.xml")
    return path
