"""Zip archives: the files in them, one by one in memory, each below a limit; nothing is extracted."""

import errno
import lzma
import posixpath
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from copy import copy
from datetime import UTC, datetime
from typing import IO

from redpajama.errors import is_of_reading
from redpajama.raw import decompress
from redpajama.raw.io import RawFile
from redpajama.raw.tar import Member, is_safe_path
from redpajama.records import Reason, Tally

DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError, RuntimeError)
MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
ENCRYPTED = 0x1  # of the general purpose flags (APPNOTE 4.4.4)


def read_zip(
    file: RawFile, tally: Tally, max_member_bytes: int, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[Member]:
    """A zip file -> its regular files, and one Member with a `problem` for each that is unsafe or cannot be read.

    Without a readable directory at its end the whole file is skipped.
    """
    tally.file = file.url
    with file.open() as stream:
        try:
            archive = zipfile.ZipFile(stream)
        except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError) as error:
            tally.skip(file.start, file.stop, _problem(stream), error=str(error)[:200])
            return
        infos = [info for info in archive.infolist() if not info.is_dir()]
        moved = min((info.header_offset for info in archive.infolist()), default=0)
        for info in infos:
            yield _member(archive, info, moved, max_member_bytes, wanted)
    decompress.consume(file, tally)


def _problem(stream: IO[bytes]) -> Reason:
    stream.seek(0)
    return Reason.TRUNCATED if stream.read(4) in MAGIC else Reason.WRONG_FORMAT


def _member(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    moved: int,
    max_member_bytes: int,
    wanted: Callable[[str], bool],
) -> Member:
    name, problem = posixpath.normpath(info.filename), None
    if not is_safe_path(info.filename):
        name, problem = info.filename, Reason.UNSAFE_PATH
    elif wanted(name):
        problem = _refusal(info, max_member_bytes)
        if problem is None and (data := _content(archive, info, moved, max_member_bytes)) is not None:
            return Member(name, data, None, info.header_offset, _modified(info))
        problem = problem or Reason.DAMAGED
    return Member(name, b"", problem, info.header_offset, end=info.header_offset + info.compress_size)


def _refusal(info: zipfile.ZipInfo, max_member_bytes: int) -> Reason | None:
    if info.flag_bits & ENCRYPTED:
        return Reason.UNDECODABLE
    return Reason.EXPANSION_LIMIT if info.file_size > max_member_bytes else None


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, moved: int, max_bytes: int) -> bytes | None:
    """What a member holds; None where its checksum or its codec refuses it.

    Offsets are told from the archive's begin, and zipfile takes bytes that were added or lost for a foreign head: so a
    member before such a place stands `moved` bytes earlier.
    """
    for shift in dict.fromkeys((0, moved)):
        place = _moved(info, shift)
        try:
            with archive.open(place) as opened:
                return opened.read(max_bytes + 1)
        except DAMAGE as error:  # of the archive or its codecs; one that is unknown is a RuntimeError
            if is_of_reading(error) and getattr(error, "errno", 0) != errno.EINVAL:  # a seek to where no file reaches
                raise
    return None


def _moved(info: zipfile.ZipInfo, shift: int) -> zipfile.ZipInfo:
    """A member that stands so many bytes earlier."""
    place = copy(info)
    place.header_offset -= shift
    if (end := getattr(info, "_end_offset", None)) is not None:  # zipfile as of 2024: beyond it a member is refused
        setattr(place, "_end_offset", end - shift)  # noqa: B010  (types know nothing of it)
    return place


def _modified(info: zipfile.ZipInfo) -> float:
    """POSIX seconds of what the archive has as local time of nowhere; 0 where it is no date."""
    try:
        return datetime(*info.date_time, tzinfo=UTC).timestamp()
    except ValueError:
        return 0
