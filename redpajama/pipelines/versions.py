"""Which version of an id stays: one rule for versions in one part (here) and in many (`dedup/exact.py`).

A source may give one id many times: a file in two snapshots of its repository, a page in two dumps. `[dedup] versions`
says which stays: the longest text (`"longest"`), or that of the latest time that its record states (`"newest"`, see
`policy.known_time`), then the longest. Last, the smaller digest of text and meta. So another division into files,
`groups` or `part_bytes` leaves the same text.

The document is ranked as the pipeline made it, before lines go and before quality: a version never stays because a
better one was judged.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import orjson

from redpajama.dedup.near.policy import known_time
from redpajama.hashing import draw, normal_text_digest, short_digests
from redpajama.manifest import Kind, VersionRule
from redpajama.records import Document, Reason, Tally

VERSION_BYTES = 24
SIGN, MAX_INTEGER = 1 << 63, (1 << 64) - 1


class Versioned(NamedTuple):
    """A document as it is written."""

    document: Document
    digest: bytes  # of the normalised text
    version: bytes  # VERSION_BYTES: of the versions of one id the smallest stays


class _Seen(NamedTuple):
    row: int  # of those that were given on
    version: bytes
    text: bytes  # 8 bytes of the digest


class Versions:
    """The documents of one part, each id once: a better version is given on too, and takes an earlier one's place."""

    def __init__(self, tally: Tally, kind: Kind, rule: VersionRule) -> None:
        self._tally, self._kind, self._rule = tally, kind, rule
        self._seen: dict[int, _Seen] = {}  # by 64 bits of the id: about 300 bytes a document
        self._rows = 0
        self.superseded: list[int] = []  # rows of those given on whose place a later one took

    def chosen(self, documents: Iterator[Document]) -> Iterator[Versioned]:
        """Those that no earlier one of their id is preferred to; all others go into the ledger, by name."""
        for document in documents:
            digest, version = normal_text_digest(document.text, self._kind), version_of(document, self._rule)
            key, now = draw(0, document.doc_id), _Seen(self._rows, version, digest[:8])
            before = self._seen.get(key)
            if before:
                same = before.text == now.text
                self._tally.drop(document.doc_id, Reason.REPEATED_RECORD if same else Reason.DUPLICATE_ID)
                if before.version <= version:
                    continue
                self.superseded.append(before.row)
            else:
                self._tally.keep()
            self._seen[key] = now
            self._rows += 1
            yield Versioned(document, digest, version)


def version_of(document: Document, rule: VersionRule) -> bytes:
    """VERSION_BYTES: the time, if it counts, and the bytes of the text, descending; 64 bits of text and meta."""
    text = document.text.encode()
    meta = orjson.dumps(document.meta, option=orjson.OPT_SORT_KEYS)
    time = known_time(document.meta) if rule == "newest" else None
    return _descending(time) + (~len(text) & MAX_INTEGER).to_bytes(8, "big") + short_digests([text + b"\0" + meta])


def _descending(time: float | None) -> bytes:
    """8 bytes in the opposite order of times; None comes last. (The bits of a float sort as it does, but for signs.)"""
    if time is None:
        return b"\xff" * 8
    bits = int.from_bytes(struct.pack(">d", time + 0.0), "big")
    return ((bits if bits & SIGN else ~bits ^ SIGN) & MAX_INTEGER).to_bytes(8, "big")
