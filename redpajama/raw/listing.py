"""The files that a manifest's patterns match: local ones, globs, trees and mirrors; the web; by others, stores, hub."""

import errno
import fnmatch
import glob
import itertools
import os
import posixpath
import re
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from redpajama.errors import InputError
from redpajama.raw.download import State, Unavailable, look_up
from redpajama.raw.hub import list_hub
from redpajama.raw.io import Listed, is_one_file, scheme_of, told_apart_by_secrets
from redpajama.raw.stores import list_store

RECURSIVE = "**"  # in a pattern: any folders, or none
PARALLEL_LISTINGS = 8  # requests under way while inputs are listed
NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # a link in a circle leads to none


def expand(
    patterns: Iterable[str],
    mirrors: dict[str, str],
    base: str | Path,
    *,
    requester_pays: bool = False,
    unavailable: list[tuple[str, Unavailable]] | None = None,
) -> list[Listed]:
    """Every file that the patterns match, sorted by URL, each once, whatever the patterns' order.

    Args:
        patterns: paths relative to `base`, or URLs, with `*`, `?`, `[...]` and `**`. One that ends in `/` is a
            directory: all regular files beneath it, without `.git` and symbolic links.
        mirrors: URL prefix -> local directory that is read instead; URLs stay as the manifest has them.
        requester_pays: read S3 buckets that bill their readers.
        unavailable: if given, patterns that are not to be had are put there, and the others are listed.

    Raises:
        InputError: a pattern matches nothing, has an unknown scheme, or needs a missing extra.
    """

    def try_one(pattern: str) -> list[Listed] | Unavailable:
        try:
            return matches_of(pattern, mirrors, Path(base), requester_pays)
        except Unavailable as error:
            return error

    found: dict[str, Listed] = {}
    wanted = sorted(set(patterns))
    with ThreadPoolExecutor(PARALLEL_LISTINGS) as pool:
        matched = list(zip(wanted, pool.map(try_one, wanted), strict=True))
    for pattern, matches in matched:
        if not isinstance(matches, Unavailable):
            _add(found, matches)
        elif unavailable is None:
            raise matches
        else:
            unavailable.append((pattern, matches))
    return [found[url] for url in sorted(found)]


def _add(found: dict[str, Listed], matches: list[Listed]) -> None:
    """Raises InputError where two files have one name without their secrets."""
    for listed in (match.unsigned for match in matches):
        if not is_one_file(vars(found.setdefault(listed.url, listed)), vars(listed)):
            raise InputError(told_apart_by_secrets(listed.url))


def matches_of(pattern: str, mirrors: dict[str, str], base: Path, requester_pays: bool = False) -> list[Listed]:
    """The files of one pattern, in no promised order; at least one.

    Raises:
        Unavailable: nothing is there, or it is not to be had.
        InputError: the pattern cannot be right; among them a local one that matches nothing.
    """
    if found := list(list_files(pattern, mirrors, base, requester_pays)):
        return found
    message = f"'{pattern}' matches no file{_hint(pattern, mirrors, base)}"
    if scheme_of(pattern) and not mirror_of(pattern, mirrors):
        raise Unavailable(message, State.DEAD)
    raise InputError(message)


def list_files(pattern: str, mirrors: dict[str, str], base: Path, requester_pays: bool = False) -> Iterable[Listed]:
    """The files of one pattern, in no promised order."""
    scheme = scheme_of(pattern)
    if prefix := mirror_of(pattern, mirrors):
        return list_local(pattern[len(prefix) :], Path(mirrors[prefix]), prefix)
    if not scheme:
        return list_local(pattern, base)
    if scheme in ("s3", "gs"):
        return list_store(pattern, scheme, requester_pays)
    if scheme == "hf":
        return list_hub(pattern)
    if scheme in ("http", "https"):
        return list_web(pattern)
    raise InputError(f"'{pattern}': {scheme}:// is unknown; wanted a path, s3://, gs://, hf://, https:// or http://")


def mirror_of(url: str, mirrors: dict[str, str]) -> str:
    """The longest mirrored prefix of a URL, or ""."""
    return max((prefix for prefix in mirrors if prefix and url.startswith(prefix)), key=len, default="")


def _hint(pattern: str, mirrors: dict[str, str], base: Path) -> str:
    prefix = mirror_of(pattern, mirrors)
    if scheme_of(pattern) and not prefix:
        return ""
    folder = Path(mirrors[prefix]) if prefix else base
    if any((folder / name).is_dir() for name in _globbed(pattern[len(prefix) :].lstrip("/"), folder)):
        return f"; all files of a directory are '{pattern}/'"
    return f" in {folder}"


def list_local(pattern: str, root: Path, prefix: str = "") -> Iterator[Listed]:
    """Local files; `prefix` goes before their names to make URLs, and is a mirror's."""
    is_tree = f"{prefix}{pattern}".endswith("/")
    if prefix:
        bare = pattern.lstrip("/")
        prefix += pattern[: len(pattern) - len(bare)]
        pattern = bare
    for name in _globbed(posixpath.normpath(pattern), root):
        path = os.path.abspath(root / name)
        url = prefix if prefix and name == "." else prefix + name
        if is_tree and os.path.isdir(path):
            yield from _walk(path, f"{url.removesuffix('/')}/")
        elif not is_tree and stat.S_ISREG((found := _stat(path)).st_mode):
            yield _listed(url, path, found)


def _globbed(pattern: str, root: Path) -> list[str]:
    """Names under `root`; a file whose name only looks like a pattern is itself."""
    if _is_there(root / pattern):
        return [pattern]
    segments = pattern.split("/")
    if RECURSIVE not in segments:
        return _matched_each(segments, root)
    place = segments.index(RECURSIVE)
    rest = list(itertools.dropwhile(RECURSIVE.__eq__, segments[place:]))
    found = dict[str, None]()
    for base in _matched_each(segments[:place], root):
        for folder in _folders_below(root, base):
            found |= dict.fromkeys(_matched(root, folder, rest))
    return list(found)


def _matched_each(segments: list[str], root: Path) -> list[str]:
    """Names that a pattern without `**` matches; hidden ones only where it says so. Of no pattern, the root itself.

    As `glob.glob` has it, which passes over folders that cannot be read.
    """
    found = [""]
    for place, segment in enumerate(segments):
        if not segment:
            found = ["/"] if place == 0 else found
        elif glob.has_magic(segment):
            found = [os.path.join(base, name) for base in found for name in _names_matching(segment, root / base)]
        else:
            inside = (os.path.join(base, segment) for base in found)
            found = [name for name in inside if _is_there(root / name)]
    return found


def _is_there(path: Path) -> bool:
    """Whether there is a file, a folder or a link of that name.

    Raises:
        InputError: that cannot be told.
    """
    try:
        os.lstat(path)
    except ValueError:  # no name of a file
        return False
    except OSError as error:
        if error.errno in NO_FOLDER:
            return False
        raise _unreadable(str(path), error) from None
    return True


def _names_matching(segment: str, folder: Path) -> Iterator[str]:
    is_match = re.compile(fnmatch.translate(segment)).match
    for entry in _entries(folder):
        if is_match(entry.name) and (segment.startswith(".") or not entry.name.startswith(".")):
            yield entry.name


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name; nothing where it is none.

    Raises:
        InputError: it cannot be read: its files must not just be missing.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if error.errno in NO_FOLDER:
            return []
        raise _unreadable(str(folder), error) from None


def _unreadable(path: str, error: OSError) -> InputError:
    return InputError(f"cannot read {path}: {error.strerror}")


def _stat(path: str) -> os.stat_result:
    """Raises InputError where a name leads nowhere: a link to what is not there, or not to be read."""
    try:
        return os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from None


def _matched(root: Path, folder: str, rest: list[str]) -> list[str]:
    """Names in a folder that the rest of a pattern matches; of no rest, all but hidden ones."""
    inside = f"{folder}/" if folder and not folder.endswith("/") else folder
    return [inside + name for name in _globbed("/".join(rest) or "*", root / folder)]


def _folders_below(root: Path, base: str) -> Iterator[str]:
    """A folder and all below it but hidden ones, each once, whichever links lead to it: they may run in circles.

    `glob` follows these as far as the system lets it. What is no link comes first.
    """
    folders, links, seen = deque([base]), deque[str](), set[str]()
    while folders or links:
        folder = (folders or links).popleft()
        if (real := os.path.realpath(root / folder)) in seen:
            continue
        seen.add(real)
        yield folder
        for entry in filter(_is_open_folder, _entries(root / folder)):
            (links if entry.is_symlink() else folders).append(os.path.join(folder, entry.name))


def _is_open_folder(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith("."):
        return False
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno in NO_FOLDER:
            return False
        raise _unreadable(entry.path, error) from None


def _walk(folder: str, tree: str) -> Iterator[Listed]:
    def refuse(error: OSError) -> None:
        raise InputError(f"'{tree}': cannot read {error.filename}: {error.strerror}")

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = (name for name in folders if name != ".git")
        for name in names:
            path = os.path.join(place, name)
            if name != ".git" and stat.S_ISREG((found := os.lstat(path)).st_mode):
                yield _listed(tree + os.path.relpath(path, folder), path, found, tree)


def _listed(url: str, path: str, found: os.stat_result, tree: str = "") -> Listed:
    try:
        url.encode()
    except UnicodeEncodeError:
        raise InputError(f"{os.fsencode(path)!r}: a file name must be UTF-8") from None
    return Listed(url, path, found.st_size, str(found.st_mtime_ns), tree)


def list_web(url: str) -> Iterator[Listed]:
    """One file of a web server, which has no listing."""
    check_web(url)
    size, etag = look_up(url)
    yield Listed(url, url, size, etag)


def check_web(url: str) -> None:
    """Raises InputError where the URL asks a web server for more than one file."""
    if "*" in url or url.endswith("/"):
        raise InputError(f"'{url}': the web has no listing; name each file, or read a copy with --mirror PREFIX=DIR")
