"""The stage `tokenizer`: the given tokenizer.json, or one trained on the corpus, as an artifact of the build.

A trained one learns from a sample of texts. Of many documents parts, the stage `sample` gathers them.
"""

import tempfile
from collections.abc import Iterable, Iterator
from math import ceil
from pathlib import Path

import pyarrow as pa

from redpajama.corpus import inputs, reader, verdicts
from redpajama.corpus.stages import DOCUMENTS, INPUTS, SAMPLED, TOKENIZER
from redpajama.engine.parts import File, Outputs, Part, PartRecord, Result
from redpajama.engine.shapes import Counts, Piece, Single
from redpajama.engine.splits import splits_of
from redpajama.engine.stages import REMOVED, Build, versions
from redpajama.engine.store import Store
from redpajama.engine.tables import TableWriter, read_batches
from redpajama.errors import BuildFailed
from redpajama.exports.run import refusal
from redpajama.hashing import HASH_SPACE, canonical_json, draws, sha256_of
from redpajama.manifest import given
from redpajama.once import once
from redpajama.raw import io
from redpajama.tokenize import encode

ENDING = "-tokenizer.json"
SAMPLE = pa.schema([pa.field("text", pa.large_string())])
INPUT = "tokenizer.path"  # the given file's name among the inputs; no source's name has a point


# ---- sample


def sample_pieces(build: Build) -> Iterator[Piece]:
    """A part for each group of documents parts; none of few parts, which are read where the tokenizer is trained."""
    groups = splits_of(build.parts(DOCUMENTS))
    if max(map(len, groups)) > 1:
        for group in groups:
            reads = [_share(build), [[part.content, *verdicts.identity(build, part)] for part in group]]
            yield Piece(build.manifest.name, reads, {"of": [part.id for part in group]}, len(group))


def sample_depends(build: Build, name: str) -> Counts:
    """The seed."""
    return {"seed": build.manifest.seed}


def gather_sample(build: Build, part: Part, outputs: Outputs) -> Result:
    """The chosen texts of some documents parts."""
    rows = 0
    with TableWriter(outputs.file(".parquet"), SAMPLE) as writer:
        for text in _chosen(build, (build.part(DOCUMENTS, id) for id in part.spec["of"])):
            writer.add((text,), len(text.encode()))
            rows += 1
    return [], {"read": rows, "kept": rows}


def _share(build: Build) -> int:
    """Documents with a draw below it are chosen, so that about `max_bytes` of text are."""
    total = sum(record.counts["text_bytes"] for record in build.stage(DOCUMENTS).values())
    share = min(1.0, given(given(build.manifest.tokenizer).train).max_bytes / max(1, total))
    return ceil(share * HASH_SPACE)  # an integer: numpy would round draws to compare them with a float


def _chosen(build: Build, parts: Iterable[PartRecord]) -> Iterator[str]:
    limit = _share(build)
    for documents in parts:
        for batch in reader.read(build, documents, ["doc_id", "text"]):
            chosen = draws(build.manifest.seed, ["train"], batch.column("doc_id")) < limit
            yield from batch.column("text").filter(pa.array(chosen)).to_pylist()


# ---- tokenizer


def pieces(build: Build) -> Iterator[Piece]:
    """One part; a trained tokenizer depends on all living documents, a given one on its bytes."""
    if given(build.manifest.tokenizer).path:
        file = inputs.side_file(build, INPUT)
        yield Piece(build.manifest.name, [file["url"], file["sha256"]], {"file": file}, file["bytes"])
    else:
        living = ("".join([part.content, *verdicts.identity(build, part)]) for part in build.parts(DOCUMENTS))
        yield Piece(build.manifest.name, sha256_of(each.encode() for each in living))


def depends(build: Build, name: str) -> Counts:
    """The end of document of a given one; of a trained one the wish, the seed and the trainer."""
    wish = given(build.manifest.tokenizer)
    if wish.path:
        return {"end_of_document": wish.end_of_document}
    train = given(wish.train).model_dump(mode="json")
    return {"train": train, "seed": build.manifest.seed, "trainer": versions("tokenizers")}


def provide(build: Build, part: Part, outputs: Outputs) -> Result:
    """Copy the tokenizer, or train it; either way it must load and know its end of document."""
    wish = given(build.manifest.tokenizer)
    path, name = outputs.file(ENDING), "the trained one"
    if file := part.spec.get("file"):
        name = file["url"]
        with io.open_raw(build.store.locate(file["path"])) as source:
            path.write_bytes(source.read())
    else:
        encode.train(_sample(build), given(wish.train).vocab_size, path)
    try:
        tokenizer = encode.load(path, wish.end_of_document, wish.backend)
    except ValueError as error:
        raise BuildFailed(f"tokenizer: {str(error).replace(str(path), name)}") from None
    for each in build.manifest.shards.formats:  # before any document is read, where the tokenizer is given
        if refused := refusal(each, tokenizer.vocab_size):
            raise BuildFailed(f"shards.formats: {refused}")
    note_backend(build, part, tokenizer)
    return [name], {"vocab_size": tokenizer.vocab_size}


def _sample(build: Build) -> Iterator[str]:
    """Texts of living documents, chosen by a hash of the id."""
    if not (gathered := build.parts(SAMPLED)):
        yield from _chosen(build, build.parts(DOCUMENTS))
    for record in gathered:
        for batch in read_batches(build.store, record.file(".parquet")):
            yield from batch.column("text").to_pylist()


def tokenizer_part(build: Build) -> PartRecord:
    """The committed tokenizer of this build."""
    return build.parts(TOKENIZER)[0]


def open_tokenizer(build: Build) -> encode.Tokenizer:
    """The build's tokenizer, loaded once per process."""
    wish = given(build.manifest.tokenizer)
    return _load(build.store, tokenizer_part(build).file(ENDING), wish.end_of_document, wish.backend)


@once(1)
def _load(store: Store, file: File, end_of_document: str | None, backend: str | None) -> encode.Tokenizer:
    with tempfile.TemporaryDirectory(prefix="redpajama-") as folder:
        path = Path(folder, "tokenizer.json")
        path.write_bytes(store.read(file.key))
        return encode.load(path, end_of_document, backend)


def note_backend(build: Build, part: Part, tokenizer: encode.Tokenizer) -> None:
    """Which library encoded a part, and what was checked: into ROOT/timing/, so that no hash depends on it."""
    if build.store.local:
        build.store.write(note_key(part.stem), canonical_json(tokenizer.report()))


def note_key(stem: str) -> str:
    """Where the note about a part is kept."""
    return f"timing/{stem}-tokenizer.json"


def _stage(*after: str) -> Single:
    return Single(name=TOKENIZER, version=2, after=after, depends=depends, pieces=pieces, work=provide)


GIVEN = _stage(INPUTS)  # before any document is read: it may be no tokenizer
TRAINED = [
    Single(
        name=SAMPLED,
        version=1,
        libraries=("pyarrow",),
        after=(DOCUMENTS, REMOVED),
        depends=sample_depends,
        pieces=sample_pieces,
        work=gather_sample,
        scratch=True,
    ),
    _stage(DOCUMENTS, SAMPLED, REMOVED),
]
