"""Files that hold files or rows: tar streams, gzip in memory, directory trees, Parquet row groups.

Nothing is extracted: members live in memory one by one, each below a limit, and their names are only ever compared.
What is unsafe or damaged comes out as a member with a `problem`, so that the caller can count it.
"""

import posixpath
import re
import tarfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from redpajama import decompress
from redpajama.io import RawFile
from redpajama.records import Reason, Tally

BLOCK = 512  # bytes of a tar block (POSIX.1-1988 ustar)
MAGIC_AT = 257  # of "ustar" in a header
MAX_HEADER_BYTES = 1 << 20  # of a pax or GNU long-name header
MAX_ROW_GROUP_BYTES = 16 << 30  # uncompressed, as the footer declares
BATCH_ROWS = 256
SWALLOWED_BYTES = 1 << 20  # of a tar member in which the next header is looked for, where it is not behind it
HEADERS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
GZIP = b"\x1f\x8b"


class Unreadable(ValueError):
    """The bytes cannot be opened; `reason` says why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


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


# ---- whole files


def read_whole(file: RawFile, tally: Tally, max_bytes: int) -> bytes:
    """The decompressed bytes of one small file; all its raw bytes are accounted for, whatever it raises.

    Raises Unreadable where the file is damaged or longer than `max_bytes`.
    """
    damaged, data = False, bytearray()
    for chunk in decompress.chunks(file, tally):
        damaged |= chunk is None
        if len(data) <= max_bytes:  # beyond, go on counting only
            data += chunk or b""
    if damaged:
        raise Unreadable(Reason.DAMAGED, "the compressed file is damaged")
    if len(data) > max_bytes:
        raise Unreadable(Reason.EXPANSION_LIMIT, f"more than {max_bytes:,} bytes")
    return bytes(data)


def expand(data: bytes, max_bytes: int) -> Iterator[bytes]:
    """`data` through up to two layers of gzip, as chunks. Raises Unreadable on damage or beyond `max_bytes`."""
    stream: Iterator[bytes] = iter([data])
    for _ in range(2):
        head, stream = peek(stream)
        if not head.startswith(GZIP):
            break
        stream = _gunzip(stream, max_bytes)
    return stream


def peek(stream: Iterable[bytes | None], count: int = BLOCK) -> tuple[bytes, Iterator[Any]]:
    """The first `count` bytes (fewer before a gap or the end) and the whole stream again."""
    stream, taken, head = iter(stream), [], b""
    for chunk in stream:
        taken.append(chunk)
        head += (chunk or b"")[:count]
        if chunk is None or len(head) >= count:
            break

    def again() -> Iterator[Any]:
        yield from taken
        yield from stream

    return head[:count], again()


def _gunzip(stream: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """Members of a gzip stream, one after the other; what follows the last one is ignored, as gzip does."""
    decoder, expanded, closed = zlib.decompressobj(wbits=31), 0, False
    for data in stream:
        while data:
            if closed and not data.startswith(GZIP[:1]):
                return
            try:
                out = decoder.decompress(data, 1 << 20)
            except zlib.error as error:
                raise Unreadable(Reason.DAMAGED, str(error)) from error
            expanded += len(out)
            if expanded > max_bytes:
                raise Unreadable(Reason.EXPANSION_LIMIT, f"more than {max_bytes:,} bytes")
            yield out
            data, closed = decoder.unconsumed_tail, False
            if decoder.eof:
                data, decoder, closed = decoder.unused_data, zlib.decompressobj(wbits=31), True
    if not closed:
        raise Unreadable(Reason.TRUNCATED, "the gzip stream ends early")


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
        """Go back to the header that the member just read has swallowed, if what follows the member is none."""
        following = self._peek()
        if len(following) < BLOCK or not following.strip(b"\0") or _header(following) is not None:
            return False
        passed = b"".join(self._passed)
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


# ---- trees


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


# ---- Parquet


def parquet_rows(file: RawFile, columns: Sequence[str], tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number in the file, {column: value}) of each readable row, one `tally.unit()` each.

    Of `columns` those that the file has are read (all, where it has none of them). A damaged row group is skipped
    with the byte range and the number of rows that the footer gives it; without a readable footer the whole file is.
    A row whose text is not UTF-8 is quarantined. Of a range of the file: the row groups that begin in it.
    """
    tally.file = file.url
    before = tally.skipped_bytes
    with file.open() as stream:
        try:
            parquet = pq.ParquetFile(stream, buffer_size=1 << 20, page_checksum_verification=True)
            names = [name for name in columns if name in parquet.schema_arrow.names] or None
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            _raise_if_io(error)
            tally.skip(file.start, file.stop, _footer_problem(file), error=_first_line(error))
        else:
            yield from _row_groups(parquet, names, file, tally)
    decompress.consume(file, tally)
    tally.consumed_bytes -= tally.skipped_bytes - before


def parquet_cuts(file: RawFile, part_bytes: int) -> list[int]:
    """Where row groups begin, at which a Parquet file may be cut into ranges; none where its footer is unreadable."""
    with file.open() as stream:
        try:
            metadata = pq.ParquetFile(stream).metadata
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            _raise_if_io(error)
            return []
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        starts = sorted(_byte_range(footer, file.bytes)[0] for footer in groups)
    return decompress.spaced(starts, file.bytes, part_bytes)


def _row_groups(
    parquet: pq.ParquetFile, names: list[str] | None, file: RawFile, tally: Tally
) -> Iterator[tuple[int, dict[str, Any]]]:
    first, passed = 0, file.start  # row number; end of the last skipped range
    for group in range(parquet.num_row_groups):
        footer = parquet.metadata.row_group(group)
        start, end = _byte_range(footer, file.bytes)
        if not file.start <= start < file.stop and not start == file.stop == file.bytes:
            first += footer.num_rows
            continue
        read = 0
        try:
            for batch in _batches(parquet, group, footer, names):
                yield from _rows(batch, first + read, tally)
                read += batch.num_rows
        except (pa.ArrowException, OSError, Unreadable) as error:
            _raise_if_io(error)
            reason = error.reason if isinstance(error, Unreadable) else Reason.DAMAGED
            evidence = {"row_group": group, "rows": footer.num_rows, "rows_read": read, "error": _first_line(error)}
            end = min(end, file.stop)
            tally.skip(max(start, passed), max(end, passed), reason, **evidence)
            passed = max(end, passed)
        first += footer.num_rows


def _batches(
    parquet: pq.ParquetFile, group: int, footer: pq.RowGroupMetaData, names: list[str] | None
) -> Iterator[pa.RecordBatch]:
    if footer.total_byte_size > MAX_ROW_GROUP_BYTES:
        raise Unreadable(Reason.EXPANSION_LIMIT, f"{footer.total_byte_size:,} bytes in one row group")
    yield from parquet.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], columns=names, use_threads=False)


def _rows(batch: pa.RecordBatch, first: int, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a batch; one by one only where some value cannot be had: text that is not UTF-8, an impossible date."""
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError):
        rows = [_row_or_error(batch, index) for index in range(batch.num_rows)]
    for number, row in enumerate(rows, first):
        tally.unit()
        if isinstance(row, UnicodeDecodeError):
            tally.quarantine("", Reason.INVALID_UTF8, bytes(row.object), row=number, error=str(row))
        elif isinstance(row, Exception):
            tally.quarantine("", Reason.INVALID_RECORD, row=number, error=_first_line(row))
        else:
            yield number, row


def _row_or_error(batch: pa.RecordBatch, index: int) -> dict[str, Any] | Exception:
    try:
        return batch.slice(index, 1).to_pylist()[0]
    except (ValueError, OverflowError) as error:
        return error


def _byte_range(footer: pq.RowGroupMetaData, size: int) -> tuple[int, int]:
    """Where the pages of a row group stand, as the footer says, inside a file of `size` bytes."""
    starts, ends = [size], [0]
    for index in range(footer.num_columns):
        column = footer.column(index)
        offsets = (column.dictionary_page_offset, column.data_page_offset)
        start = min(offset for offset in offsets if offset is not None)
        starts.append(start)
        ends.append(start + column.total_compressed_size)
    start = min(max(min(starts), 0), size)
    return start, min(max(max(ends), start), size)


def _footer_problem(file: RawFile) -> Reason:
    with file.open() as stream:
        head = stream.read(4)
        stream.seek(max(file.bytes - 4, 0))
        tail = stream.read(4)
    if b"PAR1" not in (head, tail):
        return Reason.WRONG_FORMAT
    return Reason.DAMAGED if tail == b"PAR1" else Reason.TRUNCATED


def _raise_if_io(error: Exception) -> None:
    """Arrow reports damaged pages as a bare OSError; one with an errno or of a subclass is a failure to read."""
    is_damage = isinstance(error, pa.ArrowException | ValueError) or (type(error) is OSError and error.errno is None)
    if not is_damage:
        raise error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
