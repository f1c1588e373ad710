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
from typing import NamedTuple, Self

import numpy as np

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
HEADER = struct.Struct("<9sQBQQ")  # magic, version, dtype code, sequences, entries of document_indices
# Codes 6 and 7 (floats) mean opposite things to NeoX and Megatron and never hold tokens.
DTYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
CODES = {np.dtype(name): code for code, name in DTYPES.items()}
MAX_SEQUENCE_TOKENS = 2**31 - 1  # sizes are int32


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
        """One document: integer ids[n], n > 0, with the end-of-document id at its end.

        Raises:
            MegatronError: no tokens, too many, or an id that the dtype cannot hold. Nothing is written then.
        """
        where = f"{self._bin.name}: document {self.documents}"
        if not 0 < len(tokens) <= MAX_SEQUENCE_TOKENS:
            raise MegatronError(f"{where} has {len(tokens):,} tokens; 1 to {MAX_SEQUENCE_TOKENS:,} can be stored")
        low, high, limits = int(tokens.min()), int(tokens.max()), np.iinfo(self.dtype)
        if low < 0 or high > limits.max:
            raise MegatronError(f"{where} has id {low if low < 0 else high}; {self.dtype} holds 0 to {limits.max:,}")
        self._bin.write(tokens.astype(self.dtype, casting="unsafe").tobytes())
        self._sizes.append(len(tokens))

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
    length = Path(idx_path).stat().st_size
    with Path(idx_path).open("rb") as file:
        header = file.read(HEADER.size)
        if len(header) < HEADER.size or not header.startswith(MAGIC):
            raise MegatronError(f"{idx_path}: not a Megatron index: it does not begin with {MAGIC!r} and a header")
        _, version, code, sequences, entries = HEADER.unpack(header)
        if version != VERSION:
            raise MegatronError(f"{idx_path}: version {version}; only version {VERSION} is known")
        if code not in DTYPES:
            raise MegatronError(f"{idx_path}: dtype code {code} holds no tokens; known: {', '.join(map(str, DTYPES))}")
        wanted = HEADER.size + 12 * sequences + 8 * entries
        if length != wanted:
            raise MegatronError(f"{idx_path}: {length:,} bytes, but its header says {wanted:,}")
        sizes, pointers = np.fromfile(file, "<i4", sequences), np.fromfile(file, "<i8", sequences)
        return Index(np.dtype(DTYPES[code]), sizes, pointers, np.fromfile(file, "<i8", entries))


def check(bin_path: str | Path, idx_path: str | Path) -> str | None:
    """What is wrong with a pair of ours, in one line; None for a sound one. Trainers open most broken pairs silently.

    Lengths, header, and that the documents are not empty, lie back to back and have one sequence each. It does not
    read `.bin`: a changed token is the checksum's business.
    """
    try:
        index = read_index(idx_path)
    except (MegatronError, OSError) as error:
        return str(error)
    if not len(index.sizes):
        return f"{idx_path}: no documents"
    if index.sizes.min() <= 0:
        return f"{idx_path}: document {int(np.argmax(index.sizes <= 0))} has no tokens"
    expected = index_of(index.sizes, index.dtype)
    if not np.array_equal(index.pointers, expected.pointers):
        return f"{idx_path}: the documents' places are not those of documents back to back"
    if not np.array_equal(index.document_indices, expected.document_indices):
        return f"{idx_path}: not one sequence per document"
    return _check_length(bin_path, int(index.sizes.sum(dtype=np.int64)) * index.dtype.itemsize)


def _check_length(bin_path: str | Path, wanted: int) -> str | None:
    try:
        length = Path(bin_path).stat().st_size
    except OSError as error:
        return str(error)
    return None if length == wanted else f"{bin_path}: {length:,} bytes, but the index says {wanted:,}"
