"""Model files and fastText: found, checked, loaded once per process, and never pickled.

The only place that imports fastText. (fastText, KenLM and SentencePiece raise what they like; here it is a ModelError.)
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus import inputs
from redpajama.engine.stages import Build
from redpajama.errors import UserError
from redpajama.manifest import Classifier, Manifest
from redpajama.once import once
from redpajama.quality.models.fasttext_file import is_whole
from redpajama.raw import io

FASTTEXT, KENLM, SENTENCEPIECE = ".fasttext", ".kenlm", ".sentencepiece"  # how names of model files among inputs end
LABEL = "__label__"
WANTED = {
    FASTTEXT: "a fastText model (.bin or .ftz)",
    KENLM: "a KenLM model (binary or ARPA)",
    SENTENCEPIECE: "a SentencePiece model",
}


class ModelError(UserError):
    """A model file is none; one line."""


class ModelFile(NamedTuple):
    """A model file and where its bytes are now."""

    url: str  # what evidence calls it
    path: str  # local, or a URL that fsspec opens
    sha256: str


def side_files(manifest: Manifest) -> Iterator[tuple[str, str, str]]:
    """(name among the inputs, key in the manifest, URL) of each model file that the manifest names."""
    for number, source in enumerate(manifest.source, 1):
        if source.language and source.language.path:
            yield f"{source.name}.language{FASTTEXT}", f"source[{number}].language.path", source.language.path
        for language, files in sorted(source.perplexity.models.items()) if source.perplexity else []:
            name, key = f"{source.name}.perplexity.{language}", f"source[{number}].perplexity.models.{language}"
            yield f"{name}{KENLM}", f"{key}.model", files.model
            yield f"{name}{SENTENCEPIECE}", f"{key}.tokenizer", files.tokenizer
    for number, classifier in enumerate(manifest.classifier, 1):
        if classifier.path:
            yield f"{classifier.name}.classifier{FASTTEXT}", f"classifier[{number}].path", classifier.path


def input_file(build: Build, name: str) -> ModelFile:
    """A model file of `side_files`, as the inputs stage identified it."""
    file = inputs.side_file(build, name)
    return ModelFile(file["url"], build.store.locate(file["path"]), file["sha256"])


def unusable(url: str, kind: str) -> ModelError:
    """The error of a file that is not what it should be."""
    return ModelError(f"{url}: cannot be loaded: it is damaged, or not {WANTED[kind]}")


@contextmanager
def local_file(path: str) -> Iterator[str]:
    """A local path for a model's bytes: itself, or a copy of what lies on an object store, gone afterwards."""
    if not io.scheme_of(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="redpajama-") as folder:
        copy = Path(folder, "model")
        with io.open_raw(path) as source, open(copy, "wb") as target:
            shutil.copyfileobj(source, target)
        yield str(copy)


# ---- fastText


@once(8)
def load(file: ModelFile) -> Any:
    """A fastText model, once per process.

    Raises:
        ModelError: it cannot be loaded.
    """
    import fasttext

    with local_file(file.path) as path:
        check_fasttext(file._replace(path=path))
        return fasttext.load_model(path)


def check_fasttext(file: ModelFile) -> None:
    """Raises ModelError if a local file is no fastText model, or a part of one."""
    if not is_whole(file.path):
        raise unusable(file.url, FASTTEXT)


def one_line(texts: pa.Array) -> list[str]:
    """Texts as fastText reads them, each on one line: a line feed becomes a space."""
    return pc.replace_substring(texts, "\n", " ").to_pylist()


def predict(model: Any, texts: list[str], k: int) -> tuple[Sequence[list[str]], Sequence[Any]]:
    """Per text its `k` best labels (-1: all), best first, and their probabilities (float32), which fastText lifts by
    1e-5; both are empty for a text of which the model knows nothing."""
    return model.predict(texts, k=k) if texts else ([], [])


def train(examples: Path, wish: Classifier, seed: int, target: Path) -> None:
    """Lines `__label__x words...` -> a supervised fastText model; the same lines and seed give the same bytes.

    One thread: with two the order of updates, and so the model, differs from run to run (measured).
    """
    import fasttext

    model = fasttext.train_supervised(
        str(examples),
        dim=wish.dim,
        epoch=wish.epoch,
        lr=wish.lr,
        wordNgrams=wish.word_ngrams,
        minCount=wish.min_count,
        loss="softmax",
        thread=1,
        seed=seed % (1 << 31),
        verbose=0,
    )
    model.save_model(str(target))
