"""The stage `tokenizer`: the given tokenizer.json, or one trained on the corpus, as an artifact of the build."""

import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from redpajama import io
from redpajama.artifacts import BuildFailed, Outputs, Part, PartRecord, Store
from redpajama.hashing import HASH_SPACE, draw
from redpajama.stages import Build, Result, Step, fingerprint, versions
from redpajama.tokenize import encode
from redpajama.verdicts import living, verdict_stages

VERSION = 1
ENDING = "-tokenizer.json"
INPUT = "tokenizer.path"  # the given file's name among the inputs; no source's name has a point


def plan(build: Build) -> list[Part]:
    """One part; a trained tokenizer depends on all living documents, a given one on its bytes."""
    wish = build.manifest.tokenizer
    if wish.path:
        file = build.parts("inputs", INPUT)[0].inputs[0]
        stamp = fingerprint(stage=["tokenizer", VERSION], end_of_document=wish.end_of_document)
        reads = [file["url"], file["sha256"]]
        return [Part("tokenizer", build.manifest.name, stamp, reads, {"file": file}, file["bytes"])]
    stamp = fingerprint(
        stage=["tokenizer", VERSION],
        train=wish.train.model_dump(mode="json"),
        seed=build.manifest.seed,
        libraries=versions("tokenizers"),
    )
    return [Part("tokenizer", build.manifest.name, stamp, build.ids("documents", *verdict_stages(build)))]


def provide(build: Build, part: Part, outputs: Outputs) -> Result:
    """Copy the tokenizer, or train it; either way it must load and know its end of document."""
    path = outputs.file(ENDING)
    if file := part.spec.get("file"):
        with io.open_raw(build.store.locate(file["path"])) as source:
            path.write_bytes(source.read())
        inputs = [file["url"]]
    else:
        encode.train(_sample(build), build.manifest.tokenizer.train.vocab_size, path)
        inputs = build.ids("documents", *verdict_stages(build))
    try:
        tokenizer = encode.load(path, build.manifest.tokenizer.end_of_document)
    except ValueError as error:
        raise BuildFailed(f"tokenizer: {str(error).replace(str(path), inputs[0])}") from None
    return inputs, {"vocab_size": tokenizer.vocab_size}


def _sample(build: Build) -> Iterator[str]:
    """Texts of living documents, chosen by a hash of the id so that about `max_bytes` are read."""
    total = sum(record.counts["text_bytes"] for record in build.stage("documents").values())
    limit = min(1.0, build.manifest.tokenizer.train.max_bytes / max(1, total)) * HASH_SPACE
    for documents in build.parts("documents"):
        for batch in living(build, verdict_stages(build), documents, ["doc_id", "text"]):
            for doc_id, text in zip(*(batch.column(name).to_pylist() for name in ("doc_id", "text")), strict=True):
                if draw(build.manifest.seed, "train", doc_id) < limit:
                    yield text


def tokenizer_part(build: Build) -> PartRecord:
    """The committed tokenizer of this build."""
    return build.parts("tokenizer")[0]


def open_tokenizer(build: Build) -> encode.Tokenizer:
    """The build's tokenizer, loaded once per process."""
    return _load(build.store, tokenizer_part(build).file(ENDING), build.manifest.tokenizer.end_of_document)


@lru_cache(maxsize=1)
def _load(store: Store, key: str, end_of_document: str | None) -> encode.Tokenizer:
    with tempfile.TemporaryDirectory(prefix="redpajama-") as folder:
        path = Path(folder, "tokenizer.json")
        path.write_bytes(store.read(key))
        return encode.load(path, end_of_document)


STAGE = Step("tokenizer", plan, provide)
