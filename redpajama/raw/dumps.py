"""Inputs by dump: CommonCrawl's list of a dump's files -> the part of them that a manifest asks for.

`<root>crawl-data/<dump>/wet.paths.gz` has a path a line, 56,000 to 100,000 of them. Files of a dump never change once
it is published, so the dump's name stands for their version and nobody is asked for each of them: a few, drawn by
their names, tell the usual size, which stands for all in `plan` and is no part of any key.
"""

import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from redpajama.errors import InputError
from redpajama.hashing import HASH_SPACE, draw
from redpajama.manifest import Dump
from redpajama.raw import listing
from redpajama.raw.download import Unavailable, read
from redpajama.raw.io import Listed, open_raw, scheme_of

MAX_ASKED = 24  # files of a dump whose size is asked for
MAX_LIST_BYTES = 64 << 20  # of a list of paths, packed or not; real ones have 0.2 and 14 MB
PATH = re.compile(r"crawl-data/[\w-]+/(?:[\w-]+(?:\.[\w-]+)*/)*[\w-]+(?:\.[\w-]+)*")


def expand(
    dumps: Iterable[Dump],
    seed: int,
    mirrors: dict[str, str],
    base: str | Path,
    unavailable: list[tuple[str, Unavailable]] | None = None,
) -> list[Listed]:
    """Every file that the dumps ask for, sorted by URL, each once.

    Args:
        unavailable: if given, dumps that are not to be had are put there, and the others are listed.

    Raises:
        InputError: a list of paths is not to be had or is none, or a dump asks for nothing that is in it.
    """
    found: dict[str, Listed] = {}
    for dump in dumps:
        try:
            found = {listed.url: listed for listed in _list_dump(dump, seed, mirrors, Path(base))} | found
        except Unavailable as error:
            if unavailable is None:
                raise
            unavailable.append((f"{dump.id} {dump.kind}", error))
    return [found[url] for url in sorted(found)]


def _list_dump(dump: Dump, seed: int, mirrors: dict[str, str], base: Path) -> list[Listed]:
    paths = read_paths(dump, mirrors, base)
    wanted = choose(paths, dump, seed)
    if not wanted:
        asked = f"shards = '{dump.shards}'" if dump.shards else f"sample = {dump.sample:g}"
        raise InputError(f"{dump.id}: {asked} takes none of its {len(paths):,} {dump.kind} files")
    urls = [dump.root + path for path in wanted]
    if listing.mirror_of(urls[0], mirrors):
        return listing.expand(urls, mirrors, base)
    sizes = {listed.url: listed.bytes for listed in listing.expand(_few(urls), mirrors, base)}
    known = [size for size in sizes.values() if size]
    usual = sum(known) // len(known) if known else 0
    return [Listed(url, url, 0, dump.id, about_bytes=sizes.get(url) or usual) for url in urls]


def _few(urls: Sequence[str]) -> list[str]:
    return sorted(urls, key=lambda url: draw(0, "size", url))[:MAX_ASKED]


def read_paths(dump: Dump, mirrors: dict[str, str], base: Path) -> list[str]:
    """The dump's list of paths, in the publisher's order.

    Raises:
        InputError: not to be had, not gzip, or a line of it is no path below `crawl-data/`.
    """
    url = f"{dump.root}crawl-data/{dump.id}/{dump.kind}.paths.gz"
    lines = _unpack(url, _read_list(url, mirrors, base)).decode("utf-8", "replace").split()
    if not lines:
        raise InputError(f"{url}: the list is empty")
    if bad := next((line for line in lines if not PATH.fullmatch(line)), ""):
        raise InputError(f"{url}: {bad[:80]!r} is no path of a dump")
    return lines


def _read_list(url: str, mirrors: dict[str, str], base: Path) -> bytes:
    if scheme_of(url) in ("http", "https") and not listing.mirror_of(url, mirrors):
        return read(url, MAX_LIST_BYTES)
    (listed,) = listing.expand([url], mirrors, base)
    with open_raw(listed.path) as file:
        return file.read(MAX_LIST_BYTES)


def _unpack(url: str, data: bytes) -> bytes:
    try:
        unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        lines = unpacker.decompress(data, MAX_LIST_BYTES)
    except zlib.error as error:
        raise InputError(f"{url}: not a list of paths in gzip: {error}") from None
    if not unpacker.eof:
        raise InputError(f"{url}: the list is cut off, or has more than {MAX_LIST_BYTES:,} bytes")
    return lines


def choose(paths: Sequence[str], dump: Dump, seed: int) -> list[str]:
    """The paths of a range of places in the list, or a share of all drawn by hash of seed and path; else all.

    Raises:
        InputError: a place is beyond the list's end.
    """
    if dump.sample is not None:
        return [path for path in paths if draw(seed, "sample", path) < dump.sample * HASH_SPACE]
    if not dump.shards:
        return list(paths)
    places = sorted({place for places in dump.ranges for place in places})
    if places[-1] >= len(paths):
        last = f"the last of its {len(paths):,} {dump.kind} files is {len(paths) - 1}"
        raise InputError(f"{dump.id}: shards = '{dump.shards}': {last}")
    return [paths[place] for place in places]
