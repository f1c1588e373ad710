"""`sample` of a source: some of its raw parts, drawn by hash of the seed and what names the part.

A file stands for as many places as it may have ranges of `part_bytes`; it is read where one of them is drawn, and of
its ranges those that are. So no file is fetched in vain, and a larger share adds parts to those of a smaller one. At
least one part is read.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from redpajama.hashing import HASH_SPACE, draw
from redpajama.manifest import Manifest, Source
from redpajama.pipelines import pipeline
from redpajama.raw.io import Listed

NOTE = "a sample holds fewer of the copies of each document: dedup rates do not scale"


def chosen_files(files: Sequence[Listed], source: Source, seed: int) -> list[Listed]:
    """The files that hold a drawn part."""
    if source.sample is None:
        return list(files)
    draws = {file.url: min(_draws(file, source, seed)) for file in files}
    first, bound = min(draws.values()), source.sample * HASH_SPACE
    return [file for file in files if draws[file.url] < bound or draws[file.url] == first]


def _draws(file: Listed, source: Source, seed: int) -> Iterable[int]:
    if unit := _tree(file.tree, source):
        return [draw(seed, "sample", unit)]
    size = file.bytes or file.about_bytes
    places = -(-size // source.part_bytes) if pipeline(source.pipeline).cuts else 1
    return (draw(seed, "sample", file.url, place) for place in range(max(1, places)))


def chosen_ranges(found: Sequence[dict[str, Any]], source: Source, seed: int) -> list[dict[str, Any]]:
    """The drawn ones of the chosen files' ranges, these in order; a file without ranges is its only one."""
    if source.sample is None:
        return list(found)
    numbers, draws = dict[str, int](), list[int]()
    for file in found:
        place = numbers[file["url"]] = numbers.get(file["url"], -1) + 1
        unit = _tree(file["tree"], source)
        draws.append(draw(seed, "sample", unit) if unit else draw(seed, "sample", file["url"], place))
    first, bound = min(draws, default=0), source.sample * HASH_SPACE
    return [file for file, drawn in zip(found, draws, strict=True) if drawn < bound or drawn == first]


def _tree(tree: str, source: Source) -> str:
    """What a directory is drawn by, where it is one part."""
    return "" if pipeline(source.pipeline).is_gathered else tree


def lines(manifest: Manifest) -> list[str]:
    """What reports say of it."""
    found = [f"{source.name} {source.sample:g}" for source in manifest.readers if source.sample is not None]
    return [f"sample   {', '.join(found)} of the raw parts: {NOTE}"] if found else []
