"""One file per source: raw files in the source's own format -> documents."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Protocol

from pydantic import BaseModel

from redpajama.io import RawFile
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
}


class Pipeline(Protocol):
    """What a source's module offers.

    It may also have `check_inputs(urls) -> str | None`, which says why inputs are refused, and
    `quality_rules(options) -> dict[str, float]`, rules of `[source.quality]` that options bring along.
    """

    VERSION: int  # raised by hand when the documents' bytes change, with a line in CHANGELOG
    UNIT: str  # the raw unit that the balance counts
    LIBRARIES: tuple[str, ...]  # distributions whose version can change the bytes
    SIDE_FILES: tuple[str, ...]  # options that name a file which every part needs: its hash enters the fingerprint
    Options: type[BaseModel]  # `[source.options]`
    # A module whose `read` honours the range of a RawFile has also
    #     cuts(file: RawFile, part_bytes: int) -> list[int]: raw offsets, ascending, at which the file may be cut
    # and one whose options may depend on all files of the source
    #     resolve(options: Options, files: Sequence[RawFile]) -> dict: those options as they are then

    def read(self, files: Sequence[RawFile], options: BaseModel, source: str, tally: Tally) -> Iterator[Document]:
        """The files of one part -> its documents; everything else goes into `tally`."""


def pipeline(name: str) -> Pipeline:
    """The module of the source kind `name`, imported when it is first asked for."""
    return import_module(SOURCES[name])  # type: ignore[return-value]
