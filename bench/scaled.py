"""Synthetic corpora of many tiny parts, built in this process with everything counted that a build does to its files.

A tiny part has DOCUMENTS documents and stands for a part of FULL_DOCUMENTS: what the engine deals out by rows, bytes or
tokens is scaled alike, so that there are as many partitions to a part as at full size. What it deals out by parts
(split files, homes, gathered records) stays as it is.
"""

import functools
import gc
import gzip
import json
import random
import resource
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from redpajama import manifest as manifests
from redpajama import tables
from redpajama.corpus.inputs import listing_key
from redpajama.dedup import exact, paragraphs
from redpajama.dedup.near import candidates, rows, star
from redpajama.engine import partitions, runner, store
from redpajama.engine.shapes import Stage
from redpajama.engine.stages import Build, Job
from redpajama.engine.store import Store
from redpajama.errors import BuildFailed
from redpajama.flow import flow
from redpajama.hashing import canonical_json
from redpajama.preflight import check, complete, list_inputs

DOCUMENTS = 20  # of a tiny part
TEXT_BYTES = 13_000  # of a tiny part, about
FULL_DOCUMENTS = 41_750  # of a part at full size: 167 million in 4,000
FULL_TEXT_BYTES = 250_000_000
FULL_TOKENS = 10_000_000  # drawn from a part
TOKENS = 2_000  # drawn from a tiny part
FACTOR = FULL_DOCUMENTS / DOCUMENTS
PAGE_BYTES = 16 << 10

MANIFEST = """
name = "scaled"
seed = 5
[tokenizer]
train = {{ vocab_size = 400, max_bytes = 100_000 }}
[[source]]
name = "web"
pipeline = "c4"
inputs = ["c4-*.json.gz"]
paragraphs = {{ rule = "c4" }}
quality = {{ min_words = 12 }}
[dedup]
near = "fineweb"
components = "{components}"
[mixture]
budget_tokens = {budget}
allow_shortfall = true
[[mixture.slice]]
source = "web"
weight = 1
[shards]
tokens_per_shard = {shard}
"""


# ---- the corpus


@functools.cache
def words() -> list[str]:
    """As they are drawn: frequent ones stand there often."""
    draw = random.Random(1)
    syllables = ["ra", "to", "in", "se", "mo", "la", "ke", "ti", "vo", "nu", "per", "stan", "gri", "ul", "ba", "che"]
    known = ["".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(5_000)]
    return draw.choices(known, [1 / rank for rank in range(1, 5_001)], k=100_000)


def line(draw: random.Random, count: int) -> str:
    """So many words that stand together in `words`: their n-grams are met again in few other lines."""
    start = draw.randrange(99_000)
    return " ".join(words()[start : start + count])


def own_lines(number: int) -> list[list[str]]:
    draw = random.Random(number)
    return [line(draw, 40).split() for _ in range(3)]


def text_of(number: int, total: int) -> str:
    """A document of a corpus of `total`: a quarter are edited copies of any other, 2 % copies but for white space, half
    share a line with about five others. No line of an edited copy stands elsewhere, or `paragraphs` would take it."""
    draw = random.Random(-number - 1)
    kind, other = draw.random(), draw.randrange(total)
    lines = own_lines(other if kind < 0.27 else number)
    if kind < 0.02:
        lines = [[words[0], "", *words[1:]] for words in lines]
    elif kind < 0.27:
        lines = [[f"edit{number}", *words[1:]] for words in lines]
    elif kind > 0.97:
        lines = [lines[0][:5]]
    shared = random.Random(f"shared {draw.randrange(max(1, total // 10))}")
    return "\n".join([" ".join(words) for words in lines] + ([line(shared, 9)] if draw.random() < 0.5 else []))


def write_corpus(folder: Path, parts: int, components: str = "union-find") -> Path:
    """So many files of C4 rows; returns the manifest's path."""
    folder.mkdir(parents=True, exist_ok=True)
    total = parts * DOCUMENTS
    for part in range(parts):
        numbers = range(part * DOCUMENTS, (part + 1) * DOCUMENTS)
        rows = [{"text": text_of(n, total), "url": f"https://example.org/{n}", "timestamp": "t"} for n in numbers]
        body = "".join(f"{json.dumps(row)}\n" for row in rows)
        (folder / f"c4-{part:06d}.json.gz").write_bytes(gzip.compress(body.encode(), 1, mtime=0))
    path, shard = folder / "scaled.toml", int(100e6 * TOKENS / FULL_TOKENS)
    path.write_text(MANIFEST.format(budget=TOKENS * parts, shard=shard, components=components))
    return path


# ---- constants


@contextmanager
def scaled_constants() -> Iterator[None]:
    """As many partitions to a tiny part as to one of full size."""
    lines = paragraphs.PARTITION_ROWS * TEXT_BYTES / FULL_TEXT_BYTES
    changed = [
        (exact, "PARTITION_ROWS", exact.PARTITION_ROWS / FACTOR),
        (paragraphs, "PARTITION_ROWS", lines),
        (candidates, "BAND_ROWS", candidates.BAND_ROWS / FACTOR),
        (rows, "REDUCE_BYTES", rows.REDUCE_BYTES / FACTOR),
        (star, "EDGE_ROWS", star.EDGE_ROWS / FACTOR),
        (tables, "MIXTURE_PART_TOKENS", tables.MIXTURE_PART_TOKENS * TOKENS / FULL_TOKENS),
        (partitions, "PAGE_BYTES", PAGE_BYTES),
    ]
    with ExitStack() as patches:
        for module, name, value in changed:
            patches.enter_context(mock.patch.object(module, name, int(value)))
        yield


# ---- counting


@dataclass
class Count:
    """What was done to files below ROOT, and what the processor did."""

    opens: int = 0  # for reading
    puts: int = 0  # files written whole
    lists: int = 0  # folders listed
    read: int = 0  # bytes
    written: int = 0
    cpu: float = 0.0  # user seconds

    def __add__(self, other: "Count") -> "Count":
        return Count(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "Count") -> "Count":
        return Count(*(one - two for one, two in zip(astuple(self), astuple(other), strict=True)))


@dataclass
class Counter:
    """Counts from the moment it is entered; what a worker writes for itself alone (`.tmp/part-*`) does not count."""

    root: str
    seen: Count = field(default_factory=Count)
    most_opens: dict[str, int] = field(default_factory=dict)  # {stage: of one part}

    def now(self) -> Count:
        io = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        user = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        return self.seen + Count(0, 0, 0, int(io["rchar"]), int(io["wchar"]), user)

    def hear(self, path: Any, mode: str | None) -> None:
        is_ours = isinstance(path, str) and path.startswith(self.root) and "/.tmp/part-" not in path
        if is_ours and mode and mode[0] == "r":
            self.seen.opens += 1


_counters: list[Counter] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _counters:
        _counters[-1].hear(*arguments[:2])


@functools.cache
def _listen() -> None:
    sys.addaudithook(_hear)  # can be added once, and never be taken away


def _counted(name: str, wrapped: Any) -> Any:
    @functools.wraps(wrapped)
    def method(self: Store, *arguments: Any, **named: Any) -> Any:
        if _counters:
            setattr(_counters[-1].seen, name, getattr(_counters[-1].seen, name) + 1)
        return wrapped(self, *arguments, **named)

    return method


@contextmanager
def counting(root: Path) -> Iterator[Counter]:
    """A counter of all that this process does below ROOT."""
    _listen()
    names = {"put": "puts", "keys": "lists", "sizes": "lists", "exists": "lists", "size": "lists"}
    patches = [mock.patch.object(Store, name, _counted(kind, getattr(Store, name))) for name, kind in names.items()]
    patches.append(mock.patch.object(runner, "_do_part", _each_part(runner._do_part)))
    patches.append(mock.patch.object(store, "_fsync"))  # waits for the disk, and uses no processor
    _counters.append(Counter(f"{root}/"))
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield _counters[-1]
    _counters.pop()


def _each_part(wrapped: Any) -> Any:
    """Notes how many files the part of a stage opened that opened most."""

    def do_part(turn: Any, build: Build, part: Any) -> None:
        counter = _counters[-1]
        before = counter.seen.opens
        wrapped(turn, build, part)
        opened = counter.seen.opens - before
        counter.most_opens[part.stage] = max(opened, counter.most_opens.get(part.stage, 0))

    return do_part


def forget() -> None:
    """Empty all caches of the package, as a new process begins without any."""
    for each in gc.get_objects():
        if isinstance(each, functools._lru_cache_wrapper) and each.__module__.startswith("redpajama.engine"):
            each.cache_clear()


# ---- builds


@dataclass
class StepCount:
    """A step of a build: how many parts it did, and what planning, doing and committing took."""

    stage: str
    parts: int
    plan: Count
    do: Count
    commit: Count
    most_opens: int  # of one part

    @property
    def all(self) -> Count:
        return self.plan + self.do + self.commit


def prepare(manifest_path: Path, root: Path) -> tuple[Job, list[Stage]]:
    """A job as a worker of one machine gets it, and its flow."""
    manifest = manifests.load(str(manifest_path))
    check(manifest, str(manifest_path))
    manifest = complete(manifest)
    claims = root / ".tmp/run/claims"
    job = Job(manifest, str(root), "run", claims=str(claims))
    job.store.remove(".tmp")
    (claims / "done").mkdir(parents=True)
    job.store.write(listing_key("run"), canonical_json(list_inputs(manifest, str(manifest_path), {})))
    return job, flow(manifest)


def counted_build(manifest_path: Path, root: Path) -> list[StepCount]:
    """All steps of a build in this process, counted.

    Raises:
        BuildFailed: the build did.
    """
    return counted_steps(*prepare(manifest_path, root))


def counted_steps(job: Job, stages: list[Stage], *, keep_splits: bool = False) -> list[StepCount]:
    """All steps of some stages, counted; partition files that served may be kept.

    Raises:
        BuildFailed: a step did.
    """
    forget()
    runner.start(job)
    turns = runner.turns(job, stages)
    with ExitStack() as stack:
        if keep_splits:
            stack.enter_context(mock.patch.object(runner, "_remove_spent"))
        counter = stack.enter_context(counting(Path(job.root)))
        steps = [_count_step(turn, counter) for turn in turns]
    if "failed" in (state := runner.read_state(job, turns[-1].step.stage)):
        raise BuildFailed(state["failed"])
    return steps


def _count_step(turn: runner.Turn, counter: Counter) -> StepCount:
    begun = counter.now()
    parts = runner.plan(turn)
    planned = counter.now()
    if parts:
        runner.do(turn, 0)
    done = counter.now()
    runner.commit(turn)
    most = counter.most_opens.get(turn.step.stage, 0)
    return StepCount(turn.step.stage, parts, planned - begun, done - planned, counter.now() - done, most)


def total(steps: list[StepCount]) -> Count:
    """Of a whole build."""
    return sum((step.all for step in steps), Count())
