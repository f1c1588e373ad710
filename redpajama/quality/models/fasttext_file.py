"""The shape of a fastText model file: how long it must be by what it says of itself.

fastText reads a file without a look at its end: of half a model it makes garbage, takes all memory or dies. Layout, all
little-endian (fastText 0.9.2: fasttext.cc, dictionary.cc, matrix.cc, quantmatrix.cc, productquantizer.cc):

    magic, version · 12 int32 and a double of arguments · dictionary: size, words, labels, tokens, pruned pairs; words
    (bytes, NUL, int64 count, int8 kind); pairs of int32 · bool quantised · matrix · bool quantised · matrix

A dense matrix: rows, columns (int64), float32 values. A quantised one: bool norms, rows, columns (int64), int32 size,
so many codes, a quantiser (4 int32, the first the dimension, and 256 float32 for each), with norms a code a row and
another quantiser.
"""

import mmap
import re
import struct

MAGIC, VERSIONS = 793712314, (11, 12)
HEAD = struct.Struct("<ii12id")
DICTIONARY = struct.Struct("<iiiqq")
WORD = re.compile(rb"[^\0]*+\0.{9}", re.DOTALL)
CENTROIDS = 256


def is_whole(path: str) -> bool:
    """True if the file is a fastText model of exactly the length that its parts add up to."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        if size < HEAD.size + DICTIONARY.size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _end(data) == size
            except (struct.error, IndexError):
                return False


def _end(data: mmap.mmap) -> int:
    """Where the model ends; -1 if it is none."""
    magic, version, *_ = HEAD.unpack_from(data)
    if magic != MAGIC or version not in VERSIONS:
        return -1
    words, _, _, _, pairs = DICTIONARY.unpack_from(data, HEAD.size)
    at = HEAD.size + DICTIONARY.size
    for _ in range(words):
        word = WORD.match(data, at)
        if not word:
            return -1
        at = word.end()
    at += 8 * max(0, pairs)
    return _matrix_end(data, _matrix_end(data, at))


def _matrix_end(data: mmap.mmap, at: int) -> int:
    """From a matrix's flag to its end."""
    if not data[at]:
        rows, columns = struct.unpack_from("<qq", data, at + 1)
        return at + 17 + 4 * rows * columns
    has_norms = data[at + 1]
    rows, _, codes = struct.unpack_from("<qqi", data, at + 2)
    at = _quantiser_end(data, at + 22 + codes)
    return _quantiser_end(data, at + rows) if has_norms else at


def _quantiser_end(data: mmap.mmap, at: int) -> int:
    dimension, *_ = struct.unpack_from("<4i", data, at)
    return at + 16 + 4 * CENTROIDS * dimension
