"""The streams of a mixture: what is trained on, stage by stage, and what is held out; each has shards of its own.

Ranges of the mixture are numbered through, stream after stream.
"""

from typing import NamedTuple

from redpajama.corpus.stages import BUDGET
from redpajama.engine.parts import PartRecord
from redpajama.engine.splits import LARGER
from redpajama.engine.stages import Build
from redpajama.manifest import given

VALIDATION = "validation"


class Stream(NamedTuple):
    """One stream."""

    name: str  # "" of the only one that is trained on
    tokens: int  # about
    shards: int


def streams(build: Build) -> list[Stream]:
    """All of a build, in order, from the counts of its budget."""
    mixture, counts = given(build.manifest.mixture), build.stage(BUDGET)[build.manifest.name].counts
    sizes = [(name, counts["streams"][str(number)]) for number, name in enumerate(mixture.stage_names)]
    held = [(VALIDATION, counts["held_out_tokens"])] if mixture.validation else []
    return [Stream(name, tokens, build.manifest.shards.count(tokens)) for name, tokens in [*sizes, *held]]


def trained(build: Build) -> list[Stream]:
    """Those that are trained on."""
    return [each for each in streams(build) if each.name != VALIDATION]


def ranges(build: Build, enlarged: int) -> list[int]:
    """How many ranges each stream has: a whole number for each shard."""
    shards = build.manifest.shards
    return [each.shards * shards.ranges(each.tokens, enlarged) for each in streams(build)]


def stream_of(build: Build, number: int, of: int) -> Stream:
    """The stream of a range, of so many in all."""
    found = streams(build)
    counts = ranges_of(build, of)
    for each, count in zip(found, counts, strict=True):
        if number < count:
            return each
        number -= count
    raise IndexError(number)


def ranges_of(build: Build, of: int) -> list[int]:
    """The ranges of each stream where all are so many, enlarged or not."""
    for enlarged in (1, LARGER):
        if sum(counts := ranges(build, enlarged)) == of:
            return counts
    raise ValueError(f"no streams have {of} ranges")


def by_stream(build: Build, parts: list[PartRecord]) -> list[tuple[Stream, list[PartRecord]]]:
    """The parts of the mixture, in order, for each stream."""
    found, start = [], 0
    for each, count in zip(streams(build), ranges_of(build, len(parts)), strict=True):
        found.append((each, parts[start : start + count]))
        start += count
    return found
