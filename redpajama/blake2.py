"""BLAKE2b (RFC 7693) of whole Arrow arrays, compiled; bit for bit that of `hashlib`.

The key's block and what all messages begin with are taken in once; then each value costs one or two compressions.
"""

import hashlib

import numpy as np
import pyarrow as pa

from redpajama.arrow import buffers
from redpajama.kernels import compiled

BLOCK = 128  # bytes
IV = np.array(
    [
        *(0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1),
        *(0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179),
    ],
    np.uint64,
)
SIGMA = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    ],
    np.uint8,
)  # a row a round


def digests(values: pa.Array, head: bytes, key: bytes, size: int) -> bytes:
    """`hashlib.blake2b(head + value, digest_size=size, key=key).digest()` of each value, one after the other.

    Args:
        values: strings or binary, none null.
        size: 8, 16, ... 64.
    """
    data, bounds = buffers(values)
    state = IV.copy()
    state[0] ^= np.uint64(0x01010000 | len(key) << 8 | size)
    start = np.frombuffer((key.ljust(BLOCK, b"\0") if key else b"") + head, np.uint8)
    found = np.empty((len(values), size // 8), np.uint64)
    _hash_all(data, bounds, start, state, found)
    alone = hashlib.blake2b(head, digest_size=size, key=key).digest()
    found[bounds[1:] == bounds[:-1]] = np.frombuffer(alone, np.uint64)  # its last block may be one that all share
    return found.tobytes()


@compiled
def _hash_all(data, bounds, head, state, found):
    """The first words of the digest of `head` and each value that is not empty; `state` is used up."""
    block = np.zeros(BLOCK, np.uint8)
    words = block.view(np.uint64)
    shared = len(head) // BLOCK * BLOCK
    for place in range(0, shared, BLOCK):
        _copy(head, place, block, 0, BLOCK)
        _compress(state, words, place + BLOCK, False)
    own = np.empty_like(state)
    for row in range(len(found)):
        for word in range(8):
            own[word] = state[word]
        _copy(head, shared, block, 0, len(head) - shared)
        _absorb(own, block, words, len(head) - shared, shared, data, bounds[row], bounds[row + 1])
        for word in range(found.shape[1]):
            found[row, word] = own[word]


@compiled
def _absorb(state, block, words, used, count, data, place, end):
    """The value data[place:end] after the `used` bytes that the block holds and the `count` bytes before it."""
    while place < end:
        taken = min(BLOCK - used, end - place)
        _copy(data, place, block, used, taken)
        block[used + taken :] = 0
        place, count, used = place + taken, count + used + taken, 0
        _compress(state, words, count, place == end)


@compiled
def _copy(source, start, target, place, size):
    target[place : place + size] = source[start : start + size]


@compiled
def _compress(state, words, count, is_last):
    """The function F of RFC 7693, 3.2: one block into the state, after `count` bytes with it."""
    v0, v1, v2, v3, v4, v5, v6, v7 = state
    v8, v9, v10, v11, v12, v13, v14, v15 = IV
    v12 ^= np.uint64(count)
    if is_last:
        v14 = ~v14
    for number in range(len(SIGMA)):
        s = SIGMA[number]
        v0, v4, v8, v12 = _mix(v0, v4, v8, v12, words[s[0]], words[s[1]])
        v1, v5, v9, v13 = _mix(v1, v5, v9, v13, words[s[2]], words[s[3]])
        v2, v6, v10, v14 = _mix(v2, v6, v10, v14, words[s[4]], words[s[5]])
        v3, v7, v11, v15 = _mix(v3, v7, v11, v15, words[s[6]], words[s[7]])
        v0, v5, v10, v15 = _mix(v0, v5, v10, v15, words[s[8]], words[s[9]])
        v1, v6, v11, v12 = _mix(v1, v6, v11, v12, words[s[10]], words[s[11]])
        v2, v7, v8, v13 = _mix(v2, v7, v8, v13, words[s[12]], words[s[13]])
        v3, v4, v9, v14 = _mix(v3, v4, v9, v14, words[s[14]], words[s[15]])
    lower, upper = (v0, v1, v2, v3, v4, v5, v6, v7), (v8, v9, v10, v11, v12, v13, v14, v15)
    for word in range(8):
        state[word] ^= lower[word] ^ upper[word]


@compiled
def _mix(a, b, c, d, x, y):
    """The function G of RFC 7693, 3.1."""
    a = a + b + x
    d = _rotate(d ^ a, 32)
    c = c + d
    b = _rotate(b ^ c, 24)
    a = a + b + y
    d = _rotate(d ^ a, 16)
    c = c + d
    return a, _rotate(b ^ c, 63), c, d


@compiled
def _rotate(word, bits):
    """To the right."""
    return word >> np.uint64(bits) | word << np.uint64(64 - bits)
