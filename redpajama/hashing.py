"""The only place that hashes: content ids, fingerprints, and the draws that replace randomness.

Every choice in a build is a hash of an id and the manifest's seed (BLAKE2b, RFC 7693), never an order of
arrival and never Python's salted `hash()`.
"""

import hashlib
import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `redpajama --help` waits for neither
    import numpy as np
    import pyarrow as pa

HASH_SPACE = 1 << 64  # `draw` returns integers below this
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def canonical_json(value: Any) -> bytes:
    """JSON bytes with sorted keys and no spaces: equal values give equal bytes."""
    return _encode(value).encode()


def short_id(value: Any) -> str:
    """16 hex digits (64 bits) of the BLAKE2b of `value` as canonical JSON: names parts and fingerprints."""
    return hashlib.blake2b(canonical_json(value), digest_size=8).hexdigest()


def content_key(*fields: str) -> str:
    """24 hex digits (96 bits) for a record whose source gives it no native key."""
    return hashlib.blake2b("\x00".join(fields).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def draw(seed: int, *labels: str | int) -> int:
    """A uniform integer in [0, 2**64) that depends on the seed and the labels alone."""
    message = "\x00".join(map(str, labels)).encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(message, digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "big")


def draws(
    seed: int, before: Sequence[str | int], values: "pa.Array | pa.ChunkedArray", after: "np.ndarray | None" = None
) -> "np.ndarray":
    """`draw(seed, *before, value)` of each value; with `after`, `draw(seed, *before, value, number)`.

    Args:
        values: strings or binary, n of them.
        after: int[n].

    Returns:
        uint64[n].

    Raises:
        ValueError: a value is null.
    """
    import numpy as np

    head = "".join(f"{label}\x00" for label in before).encode("utf-8", "surrogatepass")
    messages = values if after is None else _followed(values, after)
    return np.frombuffer(_digests(messages, head, str(seed).encode(), 8), ">u8").astype(np.uint64)


def text_digests(texts: "pa.Array | pa.ChunkedArray") -> "pa.FixedSizeBinaryArray":
    """`text_digest` of each of n strings, none null: binary(16)[n]."""
    import pyarrow as pa

    digests = _digests(texts, b"", b"", 16)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(texts), [None, pa.py_buffer(digests)])


def _followed(values: "pa.Array | pa.ChunkedArray", numbers: "np.ndarray") -> "pa.Array | pa.ChunkedArray":
    """The labels `value` and `number` as they are joined."""
    import pyarrow as pa
    import pyarrow.compute as pc

    digits = pa.array(numbers).cast(pa.large_string()).cast(pa.large_binary())
    return pc.binary_join_element_wise(values.cast(pa.large_binary()), digits, pa.scalar(b"\x00", pa.large_binary()))


def _digests(values: "pa.Array | pa.ChunkedArray", head: bytes, key: bytes, size: int) -> bytes:
    """BLAKE2b of `head` and each value, one after the other."""
    import pyarrow as pa

    if values.null_count:
        raise ValueError(f"{values.null_count} of {len(values)} texts are null")
    if _is_compiled(len(values)):
        from redpajama import blake2

        whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        return blake2.digests(whole, head, key, size)
    begun, found = hashlib.blake2b(head, digest_size=size, key=key), []
    for value in values.cast(pa.large_binary()).to_pylist():
        digest = begun.copy()
        digest.update(value)
        found.append(digest.digest())
    return b"".join(found)


PAYS_FROM = {True: 50_000, False: 3_000_000}  # values, by whether the process has loaded the compiler
_hashed = 0  # values of arrays, in this process


def _is_compiled(values: int) -> bool:
    """Whether so many more values are hashed by the kernel: it saves 0.26 us a value (`bench/python_calls.py`).

    Loading it takes 13 ms, with the compiler 0.7 s of the processor, which a small build would not win back.
    """
    global _hashed
    _hashed += values
    return _hashed > PAYS_FROM["numba" in sys.modules]


def short_digests(values: Iterable[bytes]) -> bytes:
    """64 bits of the BLAKE2b of each value, one after the other."""
    return b"".join([hashlib.blake2b(value, digest_size=8).digest() for value in values])


def text_digest(text: str, salt: str = "") -> bytes:
    """16 bytes (128 bits) of a text, for exact comparison; texts of two salts (up to 16 bytes) are never the same."""
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16, person=salt.encode()).digest()


def sha256_of(chunks: Iterable[bytes]) -> str:
    """SHA-256 (hex) of the bytes in `chunks`, one after the other."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def normal_text_digest(text: str, kind: str = "prose") -> bytes:
    """16 bytes of the text as exact dedup compares it; texts of two kinds are never the same.

    Prose: NFC, with every run of white space as one space. Case and punctuation count. NFC of assigned characters never
    changes (Unicode stability policy, UAX 15).

    Code and tables: as they stand, as indents nest and an empty cell is a cell; but for line ends (CR LF, CR, LF, and
    those at the end of the text) and blanks before them: spaces and, in code, tabs.
    """
    if kind != "prose":
        return text_digest(_laid_out(text, " " if kind == "tables" else " \t"), kind)
    normal = text if text.isascii() else unicodedata.normalize("NFC", text)
    return text_digest(" ".join(normal.split()))


def _laid_out(text: str, blanks: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join([line.rstrip(blanks) for line in lines]).rstrip("\n")
