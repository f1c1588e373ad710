"""Runs a pipeline as the documents stage does and holds it to the promise that units and bytes balance."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from conftest import raw_file

from redpajama.pipelines import Pipeline
from redpajama.raw.io import RawFile
from redpajama.records import Document, Tally


def read_balanced(reader: Pipeline, files: Sequence[RawFile], **options) -> tuple[list[Document], Tally]:
    """(documents, tally); fails unless every unit has one outcome and every byte is accounted for.

    Documents come in the order of their files, and the tally names the file of each: `corpus/origins.py` builds on it.
    """
    tally, documents, seen = Tally(), [], [0]
    for document in reader.read(files, reader.options(**options), "src", tally):
        document.text.encode()  # valid Unicode
        documents.append(document)
        seen.append([file.url for file in files].index(tally.file))
        tally.keep()
    outcomes = tally.kept + tally.merged + sum(tally.dropped.values()) + sum(tally.quarantined.values())
    assert outcomes == tally.read
    assert tally.consumed_bytes + tally.skipped_bytes == sum(file.length for file in files)
    assert seen == sorted(seen)
    return documents, tally


def tree_files(folder: Path, url: str) -> list[RawFile]:
    """All files beneath a folder as a directory input called `url`, which ends in `/`."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [raw_file(path, url + str(path.relative_to(folder)), tree=url) for path in paths]


def damaged(data: bytes, count: int = 30) -> Iterator[bytes]:
    """Seeded damage: bytes flipped, cut off, zeroed, doubled or inserted, one kind a copy."""
    draw = random.Random(len(data))
    for index in range(count):
        at, size = draw.randrange(len(data)), draw.choice([1, 4, 100, 5000])
        noise = draw.randbytes(size)
        yield (
            data[:at] + bytes(byte ^ 0xFF for byte in data[at : at + size]) + data[at + size :],
            data[:at],
            data[:at] + bytes(size) + data[at + size :],
            data[:at] + data[at : at + size] + data[at:],
            data[:at] + noise + data[at:],
        )[index % 5]
