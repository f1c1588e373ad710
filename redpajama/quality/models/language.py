"""Language identification by fastText's lid.176, the most probable language of each text.

As CCNet (cc_net/split_by_lang.py), but for two things: CCNet *deletes* line feeds, which glues the last word of a line
to the first of the next; here a line feed becomes a space. And it rounds scores to 2 decimals, this module to 4, so
that a score of 0.495 passes CCNet's minimum of 0.5 and not ours.

Without a `path` the model is lid.176.ftz, which comes with the package; lid.176.bin (131 MB, what CCNet used) is a bit
more accurate: https://dl.fbaipublicfiles.com/fasttext/supervised-models/lid.176.bin
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from redpajama.engine.stages import Build
from redpajama.manifest import Source, given, suggestion
from redpajama.quality.languages import label_of
from redpajama.quality.models import model_files
from redpajama.quality.models.model_files import FASTTEXT, LABEL, ModelError, ModelFile

DECIMALS = 4  # of a score
EMBEDDED = ModelFile(
    "lid.176.ftz",
    str(Path(__file__).with_name("lid.176.ftz")),
    "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83",
)


def model_file(build: Build, source: Source) -> ModelFile:
    """The model that a source's `[source.language]` means."""
    if not given(source.language).path:
        return EMBEDDED
    return model_files.input_file(build, f"{source.name}.language{FASTTEXT}")


def load(build: Build, source: Source) -> Any:
    """The model of a source, once per process.

    Raises:
        ModelError: it cannot be loaded, or knows no language that the manifest names.
    """
    model = model_files.load(model_file(build, source))
    check_labels(model, source)
    return model


def check(source: Source) -> None:
    """Whether the embedded model knows the labels that a source names; another model is asked once it is there.

    Raises:
        ValueError: it does not; one line that names the key.
    """
    if not given(source.language).path:
        check_labels(model_files.load(EMBEDDED), source)


def check_labels(model: Any, source: Source) -> None:
    """Raises ModelError if the manifest names a language that the model does not know."""
    known = [label.removeprefix(LABEL) for label in model.labels]
    forms = set(map(label_of, known))
    models = source.perplexity.models if source.perplexity else ()
    named = {"language.keep": given(source.language).keep, "perplexity.models": models}
    for key, labels in named.items():
        unknown = sorted(label for label in labels if label_of(label) not in forms)
        if unknown:
            raise ModelError(f"{key}: the model knows no language '{unknown[0]}'{suggestion(unknown[0], known)}")


def identify(model: Any, texts: list[str]) -> tuple[pa.StringArray, pa.DoubleArray]:
    """Texts of one line each -> (languages as the model calls them: "en", probabilities in [0, 1] to 4 decimals)."""
    labels, scores = model_files.predict(model, texts, k=1)
    languages = [found[0].removeprefix(LABEL) if found else None for found in labels]
    values = [min(1.0, round(float(found[0]), DECIMALS)) if len(found) else np.nan for found in scores]
    return pa.array(languages, pa.string()), pa.array(values, pa.float64(), from_pandas=True)
