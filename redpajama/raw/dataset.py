"""Inputs by data set: the files that the `datasets` library finds for one split, here to be read by our own readers.

The library knows how the hub's repositories say what belongs to which configuration and split: by the card's YAML, by
names of files and folders (huggingface.co/docs/hub/datasets-data-files-configuration). Nothing is downloaded by it.
"""

from pathlib import Path
from typing import Any

from redpajama.errors import InputError
from redpajama.manifest import Dataset, suggestion
from redpajama.raw import listing
from redpajama.raw.download import State, Unavailable, one_line
from redpajama.raw.hub import HubPath, hub_state, list_hub
from redpajama.raw.io import Listed

HUB = "hf://datasets/"


def expand(wish: Dataset, base: str | Path, unavailable: list[tuple[str, Unavailable]] | None = None) -> list[Listed]:
    """The files of a split, sorted by URL: those of the hub at one commit, those of a folder relative to `base`.

    Args:
        unavailable: if given, a data set that is not to be had is put there.

    Raises:
        InputError: there is no such data set, configuration or split, or its files are neither here nor on the hub.
    """
    try:
        return _expand(wish, Path(base))
    except Unavailable as error:
        if unavailable is None:
            raise
        unavailable.append((wish.path, error))
        return []


def _expand(wish: Dataset, base: Path) -> list[Listed]:
    is_local = (base / wish.path).is_dir()
    files = _files_of_split(wish, str(base / wish.path) if is_local else wish.path)
    if is_local:
        names = [str(Path(wish.path) / Path(file).relative_to(base / wish.path)) for file in files]
        return listing.expand(names, {}, base)
    if strange := [file for file in files if not file.startswith(HUB)]:
        raise InputError(f"{wish.path}: {strange[0]} is not on the hub; name such files in `inputs`")
    first = HubPath.parse(files[0])
    listed = {each.url: each for each in list_hub(first.url(first.revision, "**"))}
    return [listed[file] for file in sorted(set(files))]


def _files_of_split(wish: Dataset, place: str) -> list[str]:
    """Paths or `hf://` URLs, as the library's builder has them."""
    found = _builder(wish, place).config.data_files or {}
    splits = {str(split): list(files) for split, files in found.items()}
    if not splits.get(wish.split):
        raise InputError(f"{wish.path}: no split is called '{wish.split}'{suggestion(wish.split, list(splits))}")
    return splits[wish.split]


def _builder(wish: Dataset, place: str) -> Any:
    import datasets

    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset_builder(place, wish.name, revision=wish.revision)
    except (datasets.exceptions.DataFilesNotFoundError, ValueError) as error:  # a configuration that there is not
        raise InputError(f"{wish.path}: {one_line(error)}") from None
    except (datasets.exceptions.DatasetsError, OSError) as error:
        state = hub_state(error.__cause__ if isinstance(error.__cause__, OSError) else error)
        is_gone = state is State.NO_ANSWER and isinstance(error, FileNotFoundError)
        raise Unavailable(f"{wish.path}: {one_line(error)}", State.DEAD if is_gone else state) from None
