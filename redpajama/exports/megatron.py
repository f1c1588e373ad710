"""Megatron's `.bin` / `.idx` pair: what GPT-NeoX, Megatron-LM, NeMo and RedPajama's own recipe train from.

`.bin` is the documents' token ids back to back, each with its end-of-document id, little-endian, no header. `.idx` is
a header of 34 bytes, then per document its size in tokens (int32) and its place in `.bin` in bytes (int64), then the
number of the first sequence of each document (int64, one more entry than documents). We write one sequence per
document. Layout: `IndexedDatasetBuilder`, github.com/NVIDIA/Megatron-LM, megatron/core/datasets/indexed_dataset.py.
"""

import struct
from array import array
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

import numpy as np

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
HEADER = struct.Struct("<9sQBQQ")  # magic, version, dtype code, sequences, entries of document_indices
# Codes 6 and 7 (floats) mean opposite things to NeoX and Megatron and never hold tokens.
DTYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
CODES = {np.dtype(name): code for code, name in DTYPES.items()}
MAX_SEQUENCE_TOKENS = 2**31 - 1  # sizes are int32
SUFFIX = "_text_document"  # of prefixes, as Megatron's own preparation names them


class MegatronError(ValueError):
    """The pair cannot be written or read; the message is one line."""


class Index(NamedTuple):
    """What an `.idx` file says."""

    dtype: np.dtype
    sizes: np.ndarray  # int32[sequences], tokens
    pointers: np.ndarray  # int64[sequences], bytes into `.bin`
    document_indices: np.ndarray  # int64[documents + 1], the first sequence of each document, then their number


def dtype_for(vocab_size: int) -> np.dtype:
    """uint16 for fewer than 65,500 ids, else int32: the rule of NeoX's and Megatron's own builders."""
    return np.dtype("<u2" if vocab_size < 65_500 else "<i4")


class MegatronWriter:
    """Writes a pair: `.bin` as documents come, `.idx` on close. Holds 4 bytes a document in memory.

    As a context manager it writes no `.idx` when the block raises, so a broken pair does not look whole.
    """

    def __init__(self, bin_path: str | Path, idx_path: str | Path, dtype: np.dtype) -> None:
        """Opens `.bin` for writing.

        Raises:
            MegatronError: the format has no code for the dtype (uint32, say).
        """
        self.dtype = np.dtype(dtype)
        if self.dtype not in CODES:
            raise MegatronError(f"{bin_path}: Megatron has no dtype {self.dtype}; use uint16 or int32")
        self._idx_path = Path(idx_path)
        self._sizes = array("i")
        self._bin = Path(bin_path).open("wb")  # noqa: SIM115  close() closes it

    @property
    def documents(self) -> int:
        """How many were added."""
        return len(self._sizes)

    def add(self, tokens: np.ndarray) -> None:
        """One document: integer ids[n], n > 0, with the end-of-document id at its end; otherwise as `extend`."""
        self.extend(tokens, np.array([len(tokens)]))

    def extend(self, tokens: np.ndarray, sizes: np.ndarray) -> None:
        """Many documents: their integer ids back to back, each with the end-of-document id, and int[n] their sizes.

        Raises:
            MegatronError: sizes of other tokens; a document without tokens, or with too many; an id that the dtype
                cannot hold. Nothing is written then.
        """
        if sizes.sum() != len(tokens):
            raise MegatronError(f"{self._bin.name}: {len(tokens):,} tokens, but sizes for {sizes.sum():,}")
        wrong = np.flatnonzero((sizes <= 0) | (sizes > MAX_SEQUENCE_TOKENS))
        if len(wrong):
            said = f"{sizes[wrong[0]]:,} tokens; 1 to {MAX_SEQUENCE_TOKENS:,} can be stored"
            raise MegatronError(f"{self._bin.name}: document {self.documents + wrong[0]} has {said}")
        largest = np.iinfo(self.dtype).max
        is_held = tokens.dtype == self.dtype and tokens.dtype.kind == "u"
        if len(tokens) and not is_held and (tokens.min() < 0 or tokens.max() > largest):
            place = int(np.argmax((tokens < 0) | (tokens > largest)))
            number = self.documents + int(np.searchsorted(np.cumsum(sizes), place, "right"))
            said = f"{tokens[place]}; {self.dtype} holds 0 to {largest:,}"
            raise MegatronError(f"{self._bin.name}: document {number} has id {said}")
        self._bin.write(np.ascontiguousarray(tokens.astype(self.dtype, casting="unsafe", copy=False)).data)
        self._sizes.frombytes(sizes.astype(np.int32).tobytes())

    def close(self) -> None:
        """Ends `.bin` and writes `.idx`. A second call does nothing.

        Raises:
            MegatronError: no document was added: trainers cannot map an empty file.
        """
        if self._bin.closed:
            return
        self._bin.close()
        if not self._sizes:
            raise MegatronError(f"{self._bin.name}: a shard without documents cannot be read by trainers")
        sizes = np.frombuffer(self._sizes, np.int32)
        write_index(self._idx_path, index_of(sizes, self.dtype))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._bin.close()


def index_of(sizes: np.ndarray, dtype: np.dtype) -> Index:
    """The index of documents of these sizes (tokens), one sequence each, that lie back to back."""
    pointers = np.zeros(len(sizes), np.int64)
    np.cumsum(sizes[:-1], dtype=np.int64, out=pointers[1:])
    return Index(np.dtype(dtype), sizes, pointers * np.dtype(dtype).itemsize, np.arange(len(sizes) + 1, dtype=np.int64))


def write_index(idx_path: str | Path, index: Index) -> None:
    """Writes an `.idx` file."""
    header = HEADER.pack(MAGIC, VERSION, CODES[index.dtype], len(index.sizes), len(index.document_indices))
    with Path(idx_path).open("wb") as file:
        file.write(header)
        file.write(index.sizes.astype("<i4").tobytes())
        file.write(index.pointers.astype("<i8").tobytes())
        file.write(index.document_indices.astype("<i8").tobytes())


def read_index(idx_path: str | Path) -> Index:
    """An `.idx` file, ours or another writer's. Its header is checked, and that the file is as long as it says.

    Raises:
        MegatronError: not an index of version 1, a dtype that holds no tokens, or another length.
    """
    with Path(idx_path).open("rb") as file:
        return parse_index(file, Path(idx_path).stat().st_size, idx_path)


def parse_index(file: BinaryIO, length: int, name: str | Path) -> Index:
    """`read_index` of an open file of so many bytes; `name` stands in messages."""
    header = file.read(HEADER.size)
    if len(header) < HEADER.size or not header.startswith(MAGIC):
        raise MegatronError(f"{name}: not a Megatron index: it does not begin with {MAGIC!r} and a header")
    _, version, code, sequences, entries = HEADER.unpack(header)
    if version != VERSION:
        raise MegatronError(f"{name}: version {version}; only version {VERSION} is known")
    if code not in DTYPES:
        raise MegatronError(f"{name}: dtype code {code} holds no tokens; known: {', '.join(map(str, DTYPES))}")
    wanted = HEADER.size + 12 * sequences + 8 * entries
    if length != wanted:
        raise MegatronError(f"{name}: {length:,} bytes, but its header says {wanted:,}")
    body = memoryview(file.read())
    sizes, pointers = np.frombuffer(body, "<i4", sequences), np.frombuffer(body, "<i8", sequences, 4 * sequences)
    return Index(np.dtype(DTYPES[code]), sizes, pointers, np.frombuffer(body, "<i8", entries, 12 * sequences))


def check(bin_path: str | Path, idx_path: str | Path) -> str | None:
    """What is wrong with a pair of ours, in one line; None for a sound one. Trainers open most broken pairs silently.

    Lengths, header, and that the documents are not empty, lie back to back and have one sequence each. It does not
    read `.bin`: a changed token is the checksum's business.
    """
    try:
        index = read_index(idx_path)
    except (MegatronError, OSError) as error:
        return str(error)
    if wrong := check_index(index, idx_path):
        return wrong
    return _check_length(bin_path, int(index.sizes.sum(dtype=np.int64)) * index.dtype.itemsize)


def check_index(index: Index, name: str | Path) -> str | None:
    """What is wrong with an index of ours, in one line."""
    if not len(index.sizes):
        return f"{name}: no documents"
    if index.sizes.min() <= 0:
        return f"{name}: document {int(np.argmax(index.sizes <= 0))} has no tokens"
    expected = index_of(index.sizes, index.dtype)
    if not np.array_equal(index.pointers, expected.pointers):
        return f"{name}: the documents' places are not those of documents back to back"
    if not np.array_equal(index.document_indices, expected.document_indices):
        return f"{name}: not one sequence per document"
    return None


def _check_length(bin_path: str | Path, wanted: int) -> str | None:
    try:
        length = Path(bin_path).stat().st_size
    except OSError as error:
        return str(error)
    return None if length == wanted else f"{bin_path}: {length:,} bytes, but the index says {wanted:,}"
