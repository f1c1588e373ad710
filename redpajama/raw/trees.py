"""Directory trees: the loose files of a folder, as if they were members of an archive."""

import posixpath
from collections.abc import Sequence

from redpajama.raw import decompress
from redpajama.raw.io import RawFile
from redpajama.raw.tar import Member, is_safe_path
from redpajama.records import Reason, Tally


def by_tree(files: Sequence[RawFile]) -> list[list[RawFile]]:
    """Files of one directory input together, other files alone, in the order of the first of each."""
    groups: dict[str, list[RawFile]] = {}
    for file in files:
        groups.setdefault(f"tree {file.tree}" if file.tree else f"file {file.url}", []).append(file)
    return list(groups.values())


def read_loose(file: RawFile, tally: Tally, max_member_bytes: int, wanted: bool = True) -> Member:
    """One file of a directory tree as it is, accounted for; not read where it is not `wanted`."""
    decompress.consume(file, tally)
    name = posixpath.normpath(file.relative.lstrip("/"))
    if not is_safe_path(name):
        return Member(name, b"", Reason.UNSAFE_PATH)
    if not wanted:
        return Member(name)
    if file.bytes > max_member_bytes:
        return Member(name, b"", Reason.EXPANSION_LIMIT)
    with file.open() as stream:
        return Member(name, stream.read())
