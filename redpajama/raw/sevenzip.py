"""7z archives: how large their members are, and one of them unpacked to disk.

To disk, as only the end of an archive tells whether its bytes are right; there they stay compressed.
"""

import errno
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import py7zr
import zstandard
from py7zr.exceptions import ArchiveError, DecompressionBombError, PasswordRequired
from py7zr.io import Py7zIO, WriterFactory

from redpajama.raw.io import RawFile
from redpajama.raw.whole import Unreadable
from redpajama.records import Reason

MAGIC = b"7z\xbc\xaf\x27\x1c"
MAX_EXPANSION = 1000  # of a member against its archive; real dumps stay below 10
MIN_EXPANSION_BYTES = 64 << 20  # a small archive may expand to this, whatever its ratio
READ_BYTES = 1 << 20
BAD_ARCHIVE = (  # what py7zr raises on damage, headers included
    ArchiveError,
    PasswordRequired,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    zstandard.ZstdError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    RuntimeError,
)


def is_7z(file: RawFile) -> bool:
    """Whether a file begins as a 7z does."""
    with file.open() as stream:
        return stream.read(len(MAGIC)) == MAGIC


def member_bytes(file: RawFile, wanted: Callable[[str], bool]) -> int:
    """Bytes of the members of that name, unpacked, which the archive's header tells; 0 of a damaged one or none."""
    with file.open() as stream:
        try:
            with py7zr.SevenZipFile(stream) as archive:
                return sum(member.uncompressed for member in archive.list() if wanted(member.filename))
        except BAD_ARCHIVE:
            return 0


def unpack(file: RawFile, choose: Callable[[list[str]], str | None], target: Path) -> bool:
    """The member that `choose` takes from the names -> `target`, for `read_unpacked`; False if it takes none.

    Raises:
        Unreadable: the archive is damaged, expands too far, or `choose` raises a ValueError.
    """
    try:
        with file.open() as stream:
            return _unpack(stream, choose, target, max(MIN_EXPANSION_BYTES, MAX_EXPANSION * file.bytes))
    except DecompressionBombError as error:
        raise Unreadable(Reason.EXPANSION_LIMIT, str(error)) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a seek to where no file can reach; anything else is this machine's trouble
            raise
        raise Unreadable(Reason.DAMAGED, f"{type(error).__name__}: {error}") from error
    except BAD_ARCHIVE as error:
        raise Unreadable(Reason.DAMAGED, f"{type(error).__name__}: {error}") from error


def read_unpacked(target: Path) -> Iterator[bytes]:
    """The bytes of the member that `unpack` has put there."""
    with target.open("rb") as packed, zstandard.ZstdDecompressor().stream_reader(packed) as plain:
        yield from iter(lambda: plain.read(READ_BYTES), b"")


def _unpack(stream: BinaryIO, choose: Callable[[list[str]], str | None], target: Path, max_bytes: int) -> bool:
    with py7zr.SevenZipFile(stream, max_extract_size=max_bytes) as archive, target.open("wb") as out:
        name = choose(archive.namelist())
        with zstandard.ZstdCompressor(level=1).stream_writer(out) as packed:
            archive.extract(targets=[] if name is None else [name], factory=_Into(packed))
        return name is not None


class _Into(WriterFactory):
    """Hands py7zr the one writer that its one member goes to."""

    def __init__(self, packed: zstandard.ZstdCompressionWriter) -> None:
        self.packed = packed

    def create(self, filename: str) -> Py7zIO:
        return _Writer(self.packed)


class _Writer(Py7zIO):
    """A write-only Py7zIO."""

    def __init__(self, packed: zstandard.ZstdCompressionWriter) -> None:
        self.packed = packed

    def write(self, s: bytes | bytearray) -> int:
        return self.packed.write(s)

    def read(self, size: int | None = None) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return offset

    def flush(self) -> None:
        pass

    def size(self) -> int:
        return 0
