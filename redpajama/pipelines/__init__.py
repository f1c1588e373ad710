"""One file per source: raw files in the source's own format -> documents."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pydantic import BaseModel

from redpajama.manifest import Kind
from redpajama.raw.io import RawFile
from redpajama.records import Document, Tally

SOURCES = {
    "common_crawl": "redpajama.pipelines.common_crawl",
    "c4": "redpajama.pipelines.c4",
    "github": "redpajama.pipelines.github",
    "books": "redpajama.pipelines.books",
    "arxiv": "redpajama.pipelines.arxiv",
    "wikipedia": "redpajama.pipelines.wikipedia",
    "stackexchange": "redpajama.pipelines.stackexchange",
    "pile": "redpajama.pipelines.pile",
    "the_stack": "redpajama.pipelines.the_stack",
    "rows": "redpajama.pipelines.rows",
    "files": "redpajama.pipelines.files",
}
EXAMPLES = {  # of what stands in a `[[source]]` below its name and pipeline
    "common_crawl": 'dump = [{ id = "CC-MAIN-2023-06", shards = "0-9" }]\nquality.min_chars = 300',
    "c4": 'inputs = ["hf://datasets/allenai/c4@main/en/c4-train.0000*.json.gz"]',
    "github": 'inputs = ["repositories/*.tar.gz", "rows-*.json.gz"]\nquality.preset = "redpajama-github"',
    "books": 'inputs = ["gutenberg/*.txt"]',
    "arxiv": 'inputs = ["s3://arxiv/src/arXiv_src_2301_*.tar"]\nrequester_pays = true',
    "wikipedia": 'inputs = ["https://dumps.wikimedia.org/simplewiki/latest/simplewiki-latest-pages-articles.xml.bz2"]',
    "stackexchange": 'inputs = ["https://archive.org/download/stackexchange/ai.stackexchange.com.7z"]',
    "pile": 'inputs = ["pile/train/*.jsonl.zst"]\noptions.slices = ["FreeLaw", "PubMed Central"]',
    "the_stack": 'inputs = ["hf://datasets/bigcode/the-stack-dedup@v1.2/data/python/*.parquet"]',
    "rows": 'inputs = ["reports/*.jsonl.gz"]\n'
    'options.fields = { text = ["title", "body"], id = "id", url = "link", meta = ["date"] }',
    "files": 'inputs = ["notes/", "archive/*.zip"]\noptions.suffixes = [".md", ".txt"]',
}


def example(name: str) -> str:
    """A `[[source]]` of the pipeline, as it may stand in a manifest."""
    return f'[[source]]\nname = "{name}"\npipeline = "{name}"\n{EXAMPLES[name]}\n'


@dataclass(frozen=True)
class Pipeline:
    """All that the rest of the project knows of a source's format; its module ends with `PIPELINE = Pipeline(...)`.

    `read` turns the files of one part into documents; everything else goes into the tally. A hook that a source does
    not need is None. The first argument of `quality_rules` and `resolve`, and the second of `read`, is an `options`.
    """

    name: str  # as in SOURCES and in the manifest
    version: int  # raised by hand when the documents' bytes change, with a line in CHANGELOG
    unit: str  # the raw unit that the balance counts
    options: type[BaseModel]  # `[source.options]`
    read: Callable[[Sequence[RawFile], Any, str, Tally], Iterator[Document]]  # (files of a part, …, source's name, …)
    libraries: tuple[str, ...]  # distributions whose version can change the bytes
    side_files: tuple[str, ...] = ()  # options that name a file which every part needs: its hash is fingerprinted
    # raw offsets, ascending, at which a file may be cut into parts of some bytes: `read` then honours ranges
    cuts: Callable[[RawFile, int], list[int]] | None = None
    check_inputs: Callable[[Sequence[str]], str | None] | None = None  # why URLs are refused, or None
    quality_rules: Callable[[Any], dict[str, float]] | None = None  # that options bring to `[source.quality]`
    # options that all inputs, as the manifest names them, and all files must tell
    resolve: Callable[[Any, Sequence[str], Sequence[RawFile]], dict[str, Any]] | None = None
    is_gathered: bool = False  # a part is many small files, from whatever folder
    kind: Kind = "prose"  # of its texts; a manifest may say another
    max_removed_fraction: float = 0.5  # of its documents, by near-dedup; a manifest may say another


def pipeline(name: str) -> Pipeline:
    """The pipeline of the source kind `name`; its module is imported when it is first asked for."""
    return import_module(SOURCES[name]).PIPELINE
