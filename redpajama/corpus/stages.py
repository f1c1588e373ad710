"""The names of stages that other rooms read, and the shape that most stages have: a part for each documents part."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts, PerPart, asks_nothing, nothing
from redpajama.engine.stages import Build
from redpajama.manifest import Source

INPUTS = "inputs"  # measured raw files and side files
READ = "read"  # documents of readings, dealt out to sources
EXTRACTED = "extracted"  # texts before line dedup
DOCUMENTS = "documents"
SIGNALS = "signals"
SCORES = "scores"
CITATIONS = "citations"
EXAMPLES = "examples"
CLASSIFIERS = "classifiers"
TOKENIZER = "tokenizer"
SAMPLED = "sample"  # texts to train a tokenizer
FAMILIES = "families"  # near copies that stayed alive
COUNTS = "counts"
CANDIDATES = "candidates"
TAKEDOWN = "takedown"  # documents that are withdrawn
BUDGET = "budget"
MIXTURE = "mixture"
TOKENS = "tokens"


def source_of(build: Build, part: PartRecord) -> Source:
    """The `[[source]]` whose documents a part holds."""
    return build.manifest.source_named(part.name)


def each_source(build: Build, each: str) -> Iterable[tuple[str, str]]:
    """The sources in the manifest's order that have parts of a stage."""
    names = build.names(each)
    return [(source.name, source.name) for source in build.manifest.source if source.name in names]


def per_documents(
    name: str,
    *,
    work: Callable[[Build, Source, PartRecord, Outputs], Counts],
    depends: Callable[[Build, Source], Counts | None] | None = None,
    asks: Callable[[Build, PartRecord], list[Any]] = asks_nothing,
    after: tuple[str, ...] = (),
    **declared: Any,
) -> PerPart:
    """A stage with a part for each documents part.

    Args:
        work: (build, source, documents part, outputs) -> counts.
        depends: (build, source) -> what else enters the fingerprint; None: the source has no part.
        declared: the other fields of `PerPart`.
    """
    return PerPart(
        name=name,
        each=DOCUMENTS,
        after=(DOCUMENTS, *after),
        work=partial(_work, work),
        depends=partial(_depends, depends) if depends else nothing,
        asks=asks,
        names=each_source,
        **declared,
    )


def _work(work: Callable[..., Counts], build: Build, source: str, part: PartRecord, outputs: Outputs) -> Counts:
    return work(build, build.manifest.source_named(source), part, outputs)


def _depends(depends: Callable[[Build, Source], Counts | None], build: Build, source: str) -> Counts | None:
    return depends(build, build.manifest.source_named(source))
