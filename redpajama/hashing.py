"""The only place that hashes: content ids, fingerprints, and the draws that replace randomness.

Every choice in a build is a hash of an id and the manifest's seed (BLAKE2b, RFC 7693), never an order of
arrival and never Python's salted `hash()`.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from typing import Any

HASH_SPACE = 1 << 64  # `draw` returns integers below this


def canonical_json(value: Any) -> bytes:
    """JSON bytes with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


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


def short_digests(values: Iterable[bytes]) -> bytes:
    """64 bits of the BLAKE2b of each value, one after the other."""
    return b"".join([hashlib.blake2b(value, digest_size=8).digest() for value in values])


def text_digest(text: str) -> bytes:
    """16 bytes (128 bits) of a text, for exact comparison."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def sha256_of(chunks: Iterable[bytes]) -> str:
    """SHA-256 (hex) of the bytes in `chunks`, one after the other."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def normal_text_digest(text: str) -> bytes:
    """16 bytes of the text in NFC with every run of white space as one space: what exact dedup compares.

    Case and punctuation count. NFC of assigned characters never changes (Unicode stability policy, UAX 15).
    """
    normal = text if text.isascii() else unicodedata.normalize("NFC", text)
    return text_digest(" ".join(normal.split()))
