"""The stage `cuts`: where files above `part_bytes` may be cut, so that each range is a part of its own.

A file of a format that cannot be cut (7z, tar, one gzip member) is one part.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from redpajama.corpus import inputs
from redpajama.corpus.inputs import Found
from redpajama.corpus.stages import INPUTS
from redpajama.engine.parts import Outputs, Part, Result
from redpajama.engine.shapes import Piece, Single
from redpajama.engine.stages import Build
from redpajama.manifest import Source, given
from redpajama.pipelines import pipeline, sample


def large_files(build: Build) -> Iterator[Piece]:
    """One part for each file that is larger than a part should be, where its pipeline can read ranges."""
    for source in build.manifest.readers:
        for file in inputs.files(build, source.name) if pipeline(source.pipeline).cuts else []:
            if file["bytes"] > source.part_bytes and not file["tree"]:
                yield Piece(source.name, [file["url"], file["sha256"]], file, file["bytes"])


def find_cuts(build: Build, part: Part, outputs: Outputs) -> Result:
    """Where one file may be cut."""
    source = build.manifest.source_named(part.name)
    cuts = given(pipeline(source.pipeline).cuts)(inputs.raw_file(build, part.spec), source.part_bytes)
    return [{"url": part.spec["url"], "cuts": cuts}], {"read": 1, "kept": 1, "cuts": len(cuts)}


def depends(build: Build, name: str) -> dict[str, Any]:
    """How large a range shall be, and who finds it."""
    source = build.manifest.source_named(name)
    return {"pipeline": source.pipeline, "part_bytes": source.part_bytes}


STAGE = Single(
    name="cuts",
    version=1,
    after=(INPUTS,),
    pieces=large_files,
    depends=depends,
    work=find_cuts,
    scratch=True,
    weighed=True,
)


def ranges(build: Build, source: Source) -> list[Found]:
    """The files of a source, those that were cut as one entry a range; with `sample` those that are drawn."""
    return sample.chosen_ranges(list(_ranges(build, source)), source, build.manifest.seed)


def _ranges(build: Build, source: Source) -> Iterator[Found]:
    has_cuts = source.name in build.names(STAGE.name)
    found = [record.inputs[0] for record in build.named(STAGE.name, source.name)] if has_cuts else []
    cuts = {file["url"]: file["cuts"] for file in found}
    for file in inputs.files(build, source.name):
        if inner := cuts.get(file["url"]):
            for start, end in pairwise([0, *inner, file["bytes"]]):
                yield {**file, "start": start, "end": end}
        else:
            yield file
