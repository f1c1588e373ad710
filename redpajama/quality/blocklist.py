"""`[source.blocklist]`: documents whose URL, its host, or a domain above that host stands in a list, such as UT1's.

UT1 (Université Toulouse Capitole, dsi.ut-capitole.fr/blacklists; RedPajama-V2 marks pages with it, RefinedWeb drops
them) is a folder a category with the files `domains` and `urls`. Any other file is a list as well: an entry a line, in
any of the forms that `places.py` reads; a line that it does not understand is an error. A host stands for all below it,
a URL for all below it, as in squidGuard, for which UT1's lists are made.

An entry takes ten bytes in memory: 64 bits of its hash, and its category. Of 10**9 documents with seven candidates
each, 5 million entries hit 0.002 by chance. A process loads a list once, at about a microsecond an entry.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import orjson

from redpajama.corpus import inputs
from redpajama.engine.stages import Build
from redpajama.hashing import short_digests
from redpajama.manifest import Blocklist, Source
from redpajama.once import once
from redpajama.quality import lists, places
from redpajama.quality.lists import ListError
from redpajama.records import Reason

VERSION = 2
INPUT = "blocklist"  # its files among the inputs, after the source's name and before a number
UT1_FILES = "[du]*s"  # of a category: domains, urls
BATCH_LINES = 100_000


class ListFile(NamedTuple):
    """One file of entries."""

    category: str
    sha256: str
    path: str
    url: str


class Listed(NamedTuple):
    """A document that is listed."""

    row: int
    reason: Reason
    category: str
    entry: str


class Entries:
    """The entries of some files."""

    def __init__(self, files: Iterable[tuple[str, Iterable[str]]]) -> None:
        """`files`: (category, entries), spelt as `places.py` does."""
        names: dict[str, int] = {}
        hashes, numbers = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint16)]
        for category, entries in files:
            number, rest = names.setdefault(category, len(names)), iter(entries)
            while batch := list(islice(rest, BATCH_LINES)):
                hashes.append(hashes_of(batch))
                numbers.append(np.full(len(batch), number, np.uint16))
        order = np.argsort(found := np.concatenate(hashes), kind="stable")  # the first category that has it counts
        self._hashes, self._numbers = found[order], np.concatenate(numbers)[order]
        self._categories = list(names)

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, urls: Sequence[str]) -> list[Listed]:
        """The URLs that are listed, each with the first of its `candidates` that is."""
        rows, names = [], []
        for row, url in enumerate(urls):
            own = candidates(url)
            rows += [row] * len(own)
            names += own
        hashes = hashes_of(names)
        places = np.minimum(np.searchsorted(self._hashes, hashes), max(0, len(self) - 1))
        hits = np.flatnonzero(self._hashes[places] == hashes).tolist() if len(self) else []
        found: dict[int, Listed] = {}
        for hit in hits:
            reason = Reason.BLOCKED_URL if "/" in names[hit] else Reason.BLOCKED_DOMAIN
            category = self._categories[self._numbers[places[hit]]]
            found.setdefault(rows[hit], Listed(rows[hit], reason, category, names[hit]))
        return list(found.values())


def hashes_of(names: Sequence[str]) -> np.ndarray:
    """uint64[n]."""
    digests = short_digests(name.encode("utf-8", "surrogatepass") for name in names)
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def candidates(url: str) -> list[str]:
    """What a list may say of a URL: its host and the domains above it, then itself and the paths above it."""
    try:
        parts = urlsplit(url.lower())
        said = (parts.hostname or "").strip(".")
    except ValueError:  # a broken IPv6 host
        return []
    if not said:
        return []
    host = places.host_of_url(said)
    labels = host.split(".")
    is_number = host.replace(".", "").isdigit() or ":" in host
    domains = [host] if is_number else [".".join(labels[level:]) for level in range(len(labels))]
    bare = host.removeprefix("www.")
    if bare == host and not is_number:
        domains.insert(1, f"www.{host}")
    steps = places.path_of(parts.path).rstrip("/").split("/")[1:]
    paths = ["/".join([bare, *steps[:count]]) for count in range(len(steps), 0, -1)]
    query = [f"{paths[0] if paths else bare + '/'}?{places.path_of(parts.query)}"] if parts.query else []
    return domains + query + paths


# ---- of a source


def patterns(wish: Blocklist) -> list[str]:
    """The manifest's lists as patterns of files: a folder stands for the files of its wanted categories."""
    found = []
    for place in wish.lists:
        is_folder = place.endswith("/")
        found += [f"{place}{category}/{UT1_FILES}" for category in wish.categories] if is_folder else [place]
    return found


def list_files(build: Build, source: Source) -> tuple[ListFile, ...]:
    """The files of a source's lists, by category."""
    wanted = patterns(source.blocklist) if source.blocklist else []
    names = [f"{source.name}.{INPUT}.{number}" for number in range(len(wanted))]
    files = [file for name in names for file in inputs.files(build, name)]
    found = [
        ListFile(category_of(file["url"]), file["sha256"], build.store.locate(file["path"]), file["url"])
        for file in files
    ]
    return tuple(sorted(found))


def category_of(url: str) -> str:
    """What evidence calls a list: UT1's category, else the file's name without its ending."""
    folder, _, name = url.rpartition("/")
    return folder.rpartition("/")[2] if name in ("domains", "urls") else name.partition(".")[0]


def parameters(build: Build, source: Source) -> dict[str, Any]:
    """What the lists add to a fingerprint: nothing where there are none."""
    files = [[file.category, file.sha256] for file in list_files(build, source)]
    return {"blocklist": [VERSION, files]} if files else {}


def judge(build: Build, source: Source, metas: Sequence[str]) -> list[Listed]:
    """The documents (their meta, canonical JSON) whose `url` a list of the source has."""
    files = list_files(build, source)
    return load(files).find([_url_of(meta) for meta in metas]) if files else []


def _url_of(meta: str) -> str:
    url = orjson.loads(meta).get("url")
    return url if isinstance(url, str) else ""


@once(8)
def load(files: tuple[ListFile, ...]) -> Entries:
    """The entries of some files, once per process.

    Raises:
        ListError: a line is not understood, or a file has no entry.
    """
    return Entries((file.category, read_entries(file.path, file.url)) for file in files)


def read_entries(path: str, url: str) -> Iterator[str]:
    """The places that a list names.

    Args:
        url: what errors call it.

    Raises:
        ListError: a line is not understood, it is named, counted from 1; or there is no entry at all.
    """
    number = found = 0
    for number, line in enumerate(lists.read_lines(path, url), 1):
        try:
            entries = places.entries_of(line)
        except ValueError as error:
            shown = line.strip()[:80].encode("utf-8", "replace").decode()
            raise ListError(f"{url}: line {number}, '{shown}': {error}") from None
        found += len(entries)
        yield from entries
    if not found:
        raise ListError(f"{url}: the list has no entry")
