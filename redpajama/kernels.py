"""What compiled kernels share: a decoder of UTF-8, 64-bit hashes, Unicode tables, memory by its address."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

END_OF_CODES = 0x40000  # planes 4 to 16 hold no letter, mark, number or white space
PRIME = np.uint64(0x100000001B3)  # FNV-1a
OFFSET = np.uint64(0xCBF29CE484222325)
BASE = np.uint64(0x9E3779B97F4A7C15)  # of the rolling polynomial: odd, from the golden ratio
# Scripts written without spaces between words: Han and what stands beside it; of class SA (complex context) in UAX #14,
# Line_Break; and those that it breaks by orthographic syllables as Balinese and Javanese (classes AK, AP, AS).
UNSPACED = (
    "["
    + "".join(
        rf"\p{{{script}}}"
        for script in (
            *("Han", "Hiragana", "Katakana", "Bopomofo", "Yi"),
            *("Thai", "Lao", "Khmer", "Myanmar", "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Ahom"),
            *("Balinese", "Javanese"),
        )
    )
    + "]"
)
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # SplitMix64's finaliser


def compiled(function: Callable[..., Any]) -> Any:
    """Compile with Numba, cached on disk; where no folder for the cache is writable, compile in each process.

    The cache sees a change in the file of the function itself only: after one in a kernel that it calls from another
    file, delete `__pycache__/*.nb[ci]`.
    """
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # "no locator available": neither beside the package, nor at home, nor NUMBA_CACHE_DIR
        return njit(nogil=True)(function)


@intrinsic
def _copy(typing, target, place, size):
    def generate(context, builder, signature, arguments):
        target, place = (builder.inttoptr(address, cgutils.voidptr_t) for address in arguments[:2])
        cgutils.raw_memcpy(builder, target, place, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@compiled
def gather(places, sizes, target):
    """Copy what stands at these addresses, int64[n], so many bytes each, int64[n], to one, back to back."""
    for row in range(len(places)):
        _copy(target, places[row], sizes[row])
        target += sizes[row]


@compiled
def mix(value):
    value = (value ^ (value >> np.uint64(30))) * MIX_1
    value = (value ^ (value >> np.uint64(27))) * MIX_2
    return value ^ (value >> np.uint64(31))


@compiled
def decode(data, place, first):
    """The code point of the non-ASCII character at `place`, and its bytes."""
    if first < 0xE0:
        return (first & 0x1F) << 6 | (data[place + 1] & 0x3F), 2
    if first < 0xF0:
        return (first & 0x0F) << 12 | (data[place + 1] & 0x3F) << 6 | (data[place + 2] & 0x3F), 3
    code = (first & 0x07) << 18 | (data[place + 1] & 0x3F) << 12
    return code | (data[place + 2] & 0x3F) << 6 | (data[place + 3] & 0x3F), 4


def characters_of(codes: np.ndarray) -> pa.Array:
    """One string a code point, without a Python object each: this is what opening a process would wait for."""
    widths = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
    places = np.append(0, np.cumsum(widths)).astype(np.int64)
    data = codes.astype("<u4").tobytes().decode("utf-32-le").encode()
    return pa.LargeStringArray.from_buffers(len(codes), pa.py_buffer(places), pa.py_buffer(data))


def matches(characters: pa.Array, pattern: str) -> np.ndarray:
    return pc.match_substring_regex(characters, pattern).to_numpy(zero_copy_only=False)
