"""What a build takes, reckoned before it: seconds and bytes on disk of each stage.

Basis. Reading: documents, bytes of text, what they compress to and core-seconds for each raw byte of the files that
were looked into, times the source's raw bytes. Tokens: by the manifest's tokenizer on texts of these files, else
BYTES_A_TOKEN. Later stages: SECONDS and BYTES, from builds of 0.2, 11 and 48 MB of text. What quality and dedup remove
is not known before, so stages that read what stays are reckoned on all documents, and the mixture on its budget.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

START_SECONDS = 2.5  # of a build: loading, listing, the graph
WORKERS_SECONDS = 5.0  # of worker processes, where there are any
COMPILED_SECONDS = 3.0  # of near-dedup's and signals' kernels in each process
STORED = 0.4  # of a text, where nothing was looked into


@dataclass
class Totals:
    """What a build is reckoned to hold; bytes of text, not of disk."""

    sources: int
    files: int
    raw_bytes: int
    parts: int  # of documents
    documents: int
    text_bytes: int
    stored_bytes: int  # of the texts, compressed
    tokens: int
    reading_seconds: float
    budget_tokens: int = 0  # that the mixture draws
    shards: int = 0
    tokenizer_bytes: int = 0
    token_bytes: int = 2

    @property
    def drawn_bytes(self) -> float:
        """Of text that the mixture draws."""
        return self.budget_tokens * self.text_bytes / max(1, self.tokens)

    @property
    def drawn_documents(self) -> float:
        """At the documents' mean size."""
        return self.budget_tokens * self.documents / max(1, self.tokens)


class Rate(NamedTuple):
    """What a stage takes: so much a part, a MB of text, a million documents, and a MB of text that is drawn."""

    part: float
    text_mb: float = 0.0
    million: float = 0.0
    drawn_mb: float = 0.0


SECONDS = {  # core-seconds; of the parts of documents, but for what is drawn
    "extracted": Rate(0.004, 0.02),
    "documents": Rate(0.004, 0.01),  # beside what reading takes
    "signals": Rate(0.01, 0.036),  # all sets: bench/README.md
    "scores": Rate(0.05, 0.17),  # a language model and a classifier
    "quality": Rate(0.003, 0, 8),
    "identity": Rate(0.004, 0, 6),
    "exact": Rate(0.004, 0, 5),
    "signatures": Rate(0.01, 0.018),
    "candidates-near": Rate(0.01, 0, 80),
    "clusters": Rate(0.003, 0, 5),
    "doubts": Rate(0.01, 0, 10),
    "near": Rate(0.01, 0, 35),
    "substrings": Rate(0.01, 0.3),
    "counts": Rate(0.006, 0.036),
    "candidates": Rate(0.006, 0, 4),
    "mixture": Rate(0.003, 0, 16, 0.01),
    "tokens": Rate(0.001, 0, 0, 0.09),
}
BYTES = {  # on disk, of what stays; texts compressed are beside it
    "documents": Rate(16_000, 0, 150e6),
    "signals": Rate(12_000, 0, 150e6),
    "scores": Rate(6_000, 0, 40e6),
    "quality": Rate(3_000, 0, 5e6),
    "signatures": Rate(12_000, 0, 2_500e6),
    "counts": Rate(3_100, 0, 12e6),
    "candidates": Rate(0, 0, 30e6),
    "mixture": Rate(0, 0, 0),
}
SOURCE_BYTES = {"candidates": 137_000, "inputs": 1_900}  # of each source: a histogram; a record
FILE_BYTES = 900  # of each raw file's record
SHARD_BYTES, SHUFFLED_BYTES, SEQUENCE_BYTES = 6_000, 16_000, 60
NARROW_BYTES, NARROW_DOCUMENT = 40_000, 18  # records, and stages that hold little more than hashes


def reckon(totals: Totals, steps: Iterable[str]) -> dict[str, Any]:
    """{stages: {name: core_seconds, bytes}, core_seconds, disk_bytes, peak_disk_bytes} of a build of these steps."""
    wanted = set(steps)
    stages = {name: {"core_seconds": round(_seconds(totals, name), 3)} for name in SECONDS if name in wanted}
    disk = {name: round(size) for name, size in _disk(totals, wanted).items()}
    for name, size in disk.items():
        stages.setdefault(name, {"core_seconds": 0.0})["bytes"] = size
    total = sum(disk.values())
    return {
        "stages": stages,
        "core_seconds": round(sum(stage["core_seconds"] for stage in stages.values()), 2),
        "disk_bytes": total,
        "peak_disk_bytes": round(total + _scratch(totals, wanted)),
    }


def _of(rate: Rate, totals: Totals) -> float:
    sizes = (totals.parts, totals.text_bytes / 1e6, totals.documents / 1e6, totals.drawn_bytes / 1e6)
    return sum(each * size for each, size in zip(rate, sizes, strict=True))


def _seconds(totals: Totals, name: str) -> float:
    return _of(SECONDS[name], totals) + (totals.reading_seconds if name == "documents" else 0)


def _disk(totals: Totals, wanted: set[str]) -> dict[str, float]:
    """Bytes that stay, by stage; `records` are those of stages that hold little."""
    found = {name: _of(rate, totals) for name, rate in BYTES.items() if name in wanted}
    found["documents"] = found.get("documents", 0) + totals.stored_bytes
    found["inputs"] = FILE_BYTES * totals.files + SOURCE_BYTES["inputs"] * totals.sources
    found["records"] = NARROW_BYTES + NARROW_DOCUMENT * totals.documents
    if "tokenizer" in wanted:
        found["tokenizer"] = totals.tokenizer_bytes
    if "candidates" in wanted:
        found["candidates"] += SOURCE_BYTES["candidates"] * totals.sources
    if "mixture" in wanted:
        share = totals.stored_bytes / max(1, totals.text_bytes)
        found["mixture"] = SHUFFLED_BYTES * totals.shards + share * totals.drawn_bytes
    if "tokens" in wanted:
        ids = totals.token_bytes * totals.budget_tokens
        found["tokens"] = ids + SHARD_BYTES * totals.shards + SEQUENCE_BYTES * totals.drawn_documents
    return found


def _scratch(totals: Totals, wanted: set[str]) -> float:
    """Bytes of partition files, of the stage that has the most: they go once it is committed."""
    share = totals.stored_bytes / max(1, totals.text_bytes)
    mixed = share * totals.drawn_bytes if "mixture" in wanted else 0
    near = 16 * 14 * totals.documents if "candidates-near" in wanted else 0  # bytes a band key, bands
    return max(mixed, near, 48 * totals.documents)


def wall_seconds(core_seconds: float, cores: int, is_compiled: bool) -> float:
    """Seconds on so many cores, with what starting takes."""
    workers = WORKERS_SECONDS if cores > 1 else 0.0
    return START_SECONDS + workers + (COMPILED_SECONDS if is_compiled else 0.0) + core_seconds / cores


# ---- what came out


def compare(plan: Mapping[str, Any], built: Mapping[str, float | None]) -> list[tuple[str, float, float]]:
    """(what, as reckoned, as it came out) of what both know."""
    pairs = [(name, plan.get(name), built.get(name)) for name in COMPARED]
    return [(name, before, after) for name, before, after in pairs if before is not None and after is not None]


COMPARED = ("documents", "text_bytes", "tokens", "core_seconds", "disk_bytes")
