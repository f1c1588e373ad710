"""Tar streams: decompressed bytes -> the files in them.

Nothing is extracted: members live in memory one by one, each below a limit, and their names are only ever compared.
What is unsafe or damaged comes out as a member with a `problem`, so that the caller can count it.
"""

import posixpath
import re
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from redpajama.records import Reason

BLOCK = 512  # bytes of a tar block (POSIX.1-1988 ustar)
MAGIC_AT = 257  # of "ustar" in a header
MAX_HEADER_BYTES = 1 << 20  # of a pax or GNU long-name header
SWALLOWED_BYTES = 1 << 20  # of a tar member in which the next header is looked for, where it is not behind it
HEADERS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)


class Member(NamedTuple):
    """One file of an archive or tree, or, with a `problem`, what stood in its place."""

    name: str
    data: bytes = b""
    problem: Reason | None = None
    offset: int = 0  # of its header in the decompressed stream
    modified: float = 0  # POSIX seconds; 0: unknown
    mode: int = 0  # permission bits; 0: unknown
    commit: str = ""  # of the git tree, where the archive names it
    end: int = 0  # of its last block in the decompressed stream; 0 of a loose file

    @property
    def place(self) -> dict[str, str | int]:
        """Where it stood, as evidence: its name, and its bytes in the decompressed archive."""
        return {"member": self.name, "offset": self.offset, **({"end": self.end} if self.end else {})}


# ---- paths


def is_safe_path(path: str) -> bool:
    """Whether a name stays inside its archive on any system: relative, no drive, no `..`."""
    parts = re.split(r"[/\\]", path)
    return bool(path) and parts[0] != "" and not re.match(r"[A-Za-z]:", path) and ".." not in parts and "\0" not in path


def _stays_inside(info: tarfile.TarInfo, name: str, target: str) -> bool:
    """Whether a link's target is inside the archive: a symlink is relative to its folder, a hard link to the root."""
    if target.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", target):
        return False
    base = posixpath.dirname(name) if info.issym() else ""
    return posixpath.normpath(posixpath.join(base, target)).split("/")[0] != ".."


# ---- tar


def is_tar(head: bytes) -> bool:
    """Whether the first block is a tar header (a valid checksum; the magic is optional in the oldest ones)."""
    return _header(head) is not None


def read_tar(
    chunks: Iterable[bytes | None], max_member_bytes: int, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[Member]:
    """A tar stream -> its regular files, and one Member with a `problem` for each unsafe or damaged thing in it.

    `None` in the stream is a gap. Folders and links that stay inside are passed over. The data of members that are
    not `wanted` is left out. Damage ends where the next ustar header begins; inside a lost member that may be the
    header of a tar that it held.
    """
    stream, extra = _Stream(chunks), _Extra()
    while not stream.ended():
        offset = stream.offset
        block = stream.read(BLOCK)
        info = _header(block)
        if info is not None and info.size >= 0:
            if info.type in HEADERS:
                extra.add(info.type, stream.read_padded(min(info.size, MAX_HEADER_BYTES), info.size))
            else:
                stream.begin()
                found = list(_member(stream, info, extra, offset, max_member_bytes, wanted))
                if stream.back_to_swallowed():  # bytes of this member are missing
                    found = [Member(member.name, b"", Reason.DAMAGED, offset) for member in found]
                yield from (member._replace(end=stream.offset) for member in found)
                extra = _Extra(extra.commit)
        elif block.strip(b"\0"):
            problem = Reason.TRUNCATED if stream.over else Reason.DAMAGED
            stream.put_back(block[1:])  # the next header may begin in it
            stream.resync()
            is_no_tar = offset == 0 and problem == Reason.DAMAGED and stream.ended()
            yield Member("", block, Reason.WRONG_FORMAT if is_no_tar else problem, offset, end=stream.offset)
        if stream.gap:  # what follows is not aligned to blocks
            stream.resync()


def _member(
    stream: "_Stream",
    info: tarfile.TarInfo,
    extra: "_Extra",
    offset: int,
    max_member_bytes: int,
    wanted: Callable[[str], bool],
) -> Iterator[Member]:
    name = extra.name or printable(info.name)
    name = posixpath.normpath(name) if is_safe_path(name) else name
    if info.issym() or info.islnk():
        target = extra.target or printable(info.linkname)
        if not (is_safe_path(name) and _stays_inside(info, name, target)):
            yield Member(name, target.encode(), Reason.UNSAFE_PATH, offset)
        return
    size = extra.size if extra.size is not None else info.size
    reads = size if info.isreg() and size <= max_member_bytes and wanted(name) else 0
    data = stream.read_padded(reads, size if info.isreg() or info.type == tarfile.GNUTYPE_SPARSE else 0)
    if not is_safe_path(name) or info.isdev():
        yield Member(name, data, Reason.UNSAFE_PATH, offset)
    elif info.isdir():
        return
    elif not info.isreg() or extra.sparse:
        yield Member(name, data, Reason.WRONG_FORMAT, offset)
    elif stream.short:
        yield Member(name, data, Reason.DAMAGED if stream.gap else Reason.TRUNCATED, offset)
    elif size > max_member_bytes and wanted(name):
        yield Member(name, b"", Reason.EXPANSION_LIMIT, offset)
    else:
        modified = extra.modified if extra.modified is not None else info.mtime
        yield Member(name, data, None, offset, modified, info.mode & 0o777, extra.commit)


def _header(block: bytes) -> tarfile.TarInfo | None:
    if len(block) < BLOCK:
        return None
    try:
        return tarfile.TarInfo.frombuf(block[:BLOCK], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return None


def printable(name: str) -> str:
    """A name with undecodable bytes written as `\\xNN`: valid Unicode, and still distinct."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class _Extra:
    """What pax and GNU headers say about the member that follows them."""

    def __init__(self, commit: str = "") -> None:
        self.name = self.target = ""
        self.size: int | None = None
        self.modified: float | None = None
        self.sparse = False
        self.commit = commit

    def add(self, kind: bytes, data: bytes) -> None:
        text = data.rstrip(b"\0").decode("utf-8", "backslashreplace")
        if kind == tarfile.GNUTYPE_LONGNAME:
            self.name = text
        elif kind == tarfile.GNUTYPE_LONGLINK:
            self.target = text
        else:
            for key, value in _pax_records(data):
                self._set(key, value, kind == tarfile.XGLTYPE)

    def _set(self, key: str, value: str, everywhere: bool) -> None:
        if everywhere:
            self.commit = value if key == "comment" and re.fullmatch(r"[0-9a-f]{40,64}", value) else self.commit
        elif key == "path":
            self.name = value
        elif key == "linkpath":
            self.target = value
        elif key == "size" and value.isascii() and value.isdigit():
            self.size = int(value[:19])
        elif key == "mtime" and re.fullmatch(r"\d{1,12}(\.\d{1,9})?", value):
            self.modified = float(value)
        elif key.startswith("GNU.sparse"):
            self.sparse = True


def _pax_records(data: bytes) -> Iterator[tuple[str, str]]:
    """`<length> <key>=<value>\\n` records (POSIX.1-2001); reading stops at the first broken one."""
    while match := re.match(rb"(\d{1,7}) ([^=]+)=", data):
        length = int(match[1])
        if not match.end() < length <= len(data):
            return
        key, value = match[2], data[match.end() : length - 1]
        yield key.decode("utf-8", "backslashreplace"), value.decode("utf-8", "backslashreplace")
        data = data[length:]


class _Stream:
    """Exact reads from chunks. A read stops short at a gap and at the end; after a gap only `resync` goes on."""

    def __init__(self, chunks: Iterable[bytes | None]) -> None:
        self._chunks = iter(chunks)
        self._buffer, self._at = b"", 0
        self.offset = 0  # of the next byte, gaps not counted
        self.gap = self.over = self.short = False
        self._passed: deque[bytes] = deque()  # since `begin`, the last SWALLOWED_BYTES at least
        self._passed_bytes = 0

    def ended(self) -> bool:
        while self._at == len(self._buffer) and self._fill():
            pass
        return self._at == len(self._buffer) and self.over

    def _fill(self) -> bool:
        if self.gap or self.over:
            return False
        for chunk in self._chunks:
            self.gap = chunk is None
            self._buffer, self._at = chunk or b"", 0
            return not self.gap
        self.over = True
        return False

    def take(self, count: int) -> Iterator[bytes]:
        """Pieces of the next `count` bytes."""
        self.short = False
        while count:
            if self._at == len(self._buffer) and not self._fill():
                self.short = True
                return
            piece = self._buffer[self._at : self._at + count]
            self._at += len(piece)
            self.offset += len(piece)
            count -= len(piece)
            self._remember(piece)
            yield piece

    def begin(self) -> None:
        """A member's data begin here."""
        self._passed.clear()
        self._passed_bytes = 0

    def _remember(self, piece: bytes) -> None:
        self._passed.append(piece)
        self._passed_bytes += len(piece)
        while self._passed_bytes - len(self._passed[0]) >= SWALLOWED_BYTES:
            self._passed_bytes -= len(self._passed.popleft())

    def back_to_swallowed(self) -> bool:
        """Go back to the header that the member just read has swallowed, if what follows the member is none.

        Nor may a member reach beyond the two zero blocks that end an archive (POSIX pax, "ustar Interchange Format").
        """
        following = self._peek()
        if len(following) == BLOCK and (not following.strip(b"\0") or _header(following) is not None):
            return False
        if len(following) < BLOCK and not (self.short and self.over):
            return False
        passed = b"".join(self._passed)
        if len(following) < BLOCK and not passed.endswith(bytes(2 * BLOCK)):
            return False  # cut off
        at = _find_header(passed + following)
        if not 0 <= at < len(passed):
            return False
        self.put_back(passed[at:])
        return True

    def put_back(self, data: bytes) -> None:
        """Make the last bytes that were read the next ones again."""
        self._buffer, self._at = data + self._buffer[self._at :], 0
        self.offset -= len(data)

    def _peek(self) -> bytes:
        """The next block, without moving on; shorter before a gap and at the end."""
        while len(self._buffer) - self._at < BLOCK:
            rest = self._buffer[self._at :]
            more = self._fill()
            self._buffer, self._at = rest + (self._buffer if more else b""), 0
            if not more:
                break
        return self._buffer[self._at : self._at + BLOCK]

    def read(self, count: int) -> bytes:
        return b"".join(self.take(count))

    def read_padded(self, reads: int, size: int) -> bytes:
        """The first `reads` bytes of a member; all its `size` bytes and their padding are passed."""
        data = self.read(reads)
        for _ in self.take(size - reads if not self.short else 0):
            pass
        short = self.short
        if not short:
            self.read(-size % BLOCK)
        self.short = short or len(data) < reads
        return data

    def resync(self) -> None:
        """Pass over everything up to the next ustar header, at any alignment."""
        self.gap = False
        window, self._buffer = self._buffer[self._at :], b""
        self._at = 0
        while True:
            at = _find_header(window)
            drop = at if at >= 0 else max(len(window) - BLOCK + 1, 0)
            window = window[drop:]
            self.offset += drop
            if at >= 0:
                self._buffer = window
                return
            if self._fill():
                window += self._buffer
            elif self.over:
                self.offset += len(window)
                self._buffer = b""
                return
            else:  # another gap
                self.gap, window = False, b""
            self._buffer = b""


def _find_header(window: bytes) -> int:
    """Where the first valid ustar header begins in `window`; -1 where there is none."""
    at = window.find(b"ustar", MAGIC_AT)
    while at >= 0:
        start = at - MAGIC_AT
        if _header(window[start : start + BLOCK]) is not None:
            return start
        at = window.find(b"ustar", at + 1)
    return -1
