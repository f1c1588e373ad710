"""Take-downs: lists of documents that no build of a ROOT may hold, `ROOT/withdrawn/<request>`, and whom they mean.

A list is JSON: an entry has the document's id, its URL where that names it alone, digests of its text (as exact dedup
compares it), signatures of its n-grams, and whether others take its place (`refill`). A document is meant that has the
id, the URL (whatever the scheme, or how it is written), the text, or nearly the text: so a copy that is crawled again
under another address stays out.

A request stands for ever: a build copies the lists that its manifest names to ROOT, where every later build finds them.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.corpus.addresses import address_of, shown_name
from redpajama.corpus.stages import TAKEDOWN
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import Build
from redpajama.engine.store import Store
from redpajama.engine.tables import read_table
from redpajama.errors import BuildFailed, UserError
from redpajama.hashing import canonical_json, sha256_of
from redpajama.manifest import given

FOLDER = "withdrawn"
LAYOUT = 1  # of a list
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([A-Za-z0-9.-]+)(?=[/?#]|$)")  # of nearly all URLs
ROWS = pa.schema(
    [
        pa.field("doc_id", pa.string()),
        pa.field("request", pa.string()),
        pa.field("by", pa.string()),  # id, url, text or near
        pa.field("similarity", pa.float64()),  # of near copies: the share of equal values of the signatures
        pa.field("refill", pa.bool_()),
        pa.field("n_tokens", pa.int64()),  # with the end of document; 0 where none is counted
        pa.field("slice", pa.int16()),  # the number of its leaf, or why it is in none (`mixers/held_out.py`)
    ]
)


class Entry(NamedTuple):
    """One document of a request."""

    id: str  # "" of a text that was given
    url: str  # "" where it names others too
    digests: list[str]  # hex, `hashing.normal_text_digest`: of the document's kind, or of all
    near: list[dict[str, Any]]  # {"ngrams": [unit, n, folded], "permutations": n, "signature": hex of uint32, LE}
    refill: bool


class Hit(NamedTuple):
    """Why a document is withdrawn."""

    request: str
    by: str
    similarity: float | None
    refill: bool


@dataclass(frozen=True)
class Signed:
    """Signatures of entries that may be compared."""

    values: np.ndarray  # uint32[n, permutations]
    whose: list[tuple[str, bool]]  # request, refill
    columns: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)  # those that were asked for, sorted

    def _sorted(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        """(the values of a column, in order; the row of each): uint32[n] both. It is asked for by each part."""
        if column not in self.columns:
            order = np.argsort(self.values[:, column], kind="stable").astype(np.uint32)
            self.columns[column] = self.values[order, column], order
        return self.columns[column]

    def rows_with(self, values: np.ndarray, columns: int) -> Iterator[tuple[int, np.ndarray]]:
        """(row of some signatures, the rows here that have one of its first `columns` values), where there are any."""
        bounds = np.empty((2, columns, len(values)), np.int64)
        for column in range(columns):
            known, _ = self._sorted(column)
            bounds[0, column] = np.searchsorted(known, values[:, column])
            bounds[1, column] = np.searchsorted(known, values[:, column], "right")
        for row in np.flatnonzero((bounds[0] < bounds[1]).any(axis=0)):
            places = [self._sorted(column)[1][slice(*bounds[:, column, row])] for column in range(columns)]
            yield int(row), np.unique(np.concatenate(places))


class Lists(NamedTuple):
    """All that is withdrawn, by what tells it; each tells (request, refill). The first request counts."""

    ids: dict[str, tuple[str, bool]]
    addresses: dict[tuple[str, str], tuple[str, bool]]  # host, rest
    digests: dict[bytes, tuple[str, bool]]
    near: dict[tuple[Any, ...], Signed]  # by how they are signed: unit, n, folded, permutations


# ---- lists


def key_of(request: str) -> str:
    """Where the list of a request lies."""
    return f"{FOLDER}/{request}"


def check_name(request: str) -> None:
    """Raises UserError where a request's name is none."""
    if not NAME.fullmatch(request):
        raise UserError(f"request '{request}': a name has letters, digits, '.', '_' and '-', 100 at most")


def body_of(request: str, entries: Iterable[Entry]) -> bytes:
    """A list as it is written: equal entries give equal bytes."""
    found = sorted((entry._asdict() for entry in entries), key=canonical_json)
    return canonical_json({"layout": LAYOUT, "request": request, "entries": found})


def parse(body: bytes, where: str) -> tuple[str, list[Entry]]:
    """(request, entries) of a list.

    Raises:
        UserError: it is none; one line.
    """
    try:
        found = json.loads(body)
        if found["layout"] != LAYOUT:
            raise UserError(f"{where}: a list of another version (layout {found['layout']}, this one has {LAYOUT})")
        check_name(found["request"])
        return found["request"], [Entry(**entry) for entry in found["entries"]]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where}: not a list that `redpajama remove` writes") from None


def in_root(store: Store) -> dict[str, str]:
    """{request: SHA-256} of the lists of a ROOT."""
    return {key.partition("/")[2]: sha256_of([store.read(key)]) for key, _ in store.keys(FOLDER)}


def named(paths: Sequence[str], folder: str) -> dict[str, bytes]:
    """{request: its list} of files that a manifest names.

    Raises:
        UserError: one is not there, is no list, or two have one name.
    """
    found: dict[str, bytes] = {}
    for path in paths:
        try:
            with open(os.path.join(folder, path), "rb") as file:
                body = file.read()
        except OSError as error:
            raise UserError(f"withdrawn '{path}': {error.strerror or error}") from None
        request = parse(body, f"withdrawn '{path}'")[0]
        if found.setdefault(request, body) != body:
            raise UserError(f"withdrawn '{path}': another list has the request '{request}' too")
    return found


def together(store: Store, lists: Mapping[str, bytes]) -> dict[str, str]:
    """{request: SHA-256} of the lists of ROOT and of others.

    Raises:
        UserError: two of one name differ.
    """
    own = in_root(store)
    for request, body in lists.items():
        if own.setdefault(request, sha256_of([body])) != sha256_of([body]):
            raise UserError(f"request '{request}' is used already: {store.path(key_of(request))} is another list")
    return dict(sorted(own.items()))


def take_in(store: Store, lists: Mapping[str, bytes]) -> dict[str, str]:
    """`together`, once the others are in ROOT."""
    found = together(store, lists)
    for request, body in lists.items():
        if not store.exists(key_of(request)):
            store.write(key_of(request), body)
    return found


def lists_of(build: Build) -> Lists:
    """All that a build leaves out."""
    return _read_lists(build.store, tuple(sorted(build.job.withdrawn.items())))


@lru_cache(maxsize=2)  # each part of a stage asks
def _read_lists(store: Store, requests: tuple[tuple[str, str], ...]) -> Lists:
    bodies = []
    for request, sha256 in requests:
        body = store.read(key_of(request))
        if sha256_of([body]) != sha256:
            raise BuildFailed(f"{key_of(request)}: it was changed while the build ran")
        bodies.append(body)
    return read_lists(bodies)


def read_lists(bodies: Iterable[bytes]) -> Lists:
    """Lists in order -> what tells whom they mean."""
    found, near = Lists({}, {}, {}, {}), dict[tuple[Any, ...], list[tuple[bytes, tuple[str, bool]]]]()
    for body in bodies:
        request, entries = parse(body, "a list of withdrawn documents")
        for entry in entries:
            whose = request, entry.refill
            if entry.id:
                found.ids.setdefault(entry.id, whose)
            if entry.url and (address := address_of(entry.url)):
                found.addresses.setdefault(address[1:], whose)
            for digest in entry.digests:
                found.digests.setdefault(bytes.fromhex(digest), whose)
            for each in entry.near:
                signed_as = (*each["ngrams"], each["permutations"])
                near.setdefault(signed_as, []).append((bytes.fromhex(each["signature"]), whose))
    for signed_as, rows in near.items():
        values = np.frombuffer(b"".join(row for row, _ in rows), "<u4").reshape(len(rows), signed_as[-1])
        found.near[signed_as] = Signed(values, [whose for _, whose in rows])
    return found


# ---- whom they mean


def hits(lists: Lists, documents: pa.Table) -> dict[int, Hit]:
    """{row: why} of documents (doc_id, text_digest, meta) that are told by their id, their URL or their text."""
    found: dict[int, Hit] = {}
    columns = (("id", "doc_id", lists.ids, pa.string()), ("text", "text_digest", lists.digests, pa.binary(16)))
    for by, name, known, kind in columns:
        column, values = documents.column(name), pa.array(list(known), kind)
        rows = np.flatnonzero(pc.is_in(column, value_set=values).to_numpy()).tolist() if known else []
        for row, value in zip(rows, column.take(pa.array(rows, pa.int64())).to_pylist(), strict=True):
            request, refill = known[value]
            found.setdefault(row, Hit(request, by, None, refill))
    for row, url in at_addresses(lists.addresses, documents.column("meta")) if lists.addresses else ():
        request, refill = lists.addresses[given(address_of(url))[1:]]
        found.setdefault(row, Hit(request, "url", None, refill))
    return found


def at_addresses(addresses: Iterable[tuple[str, str]], metas: pa.ChunkedArray) -> Iterator[tuple[int, str]]:
    """(row, URL) of metas whose URL is one of some addresses (host, rest)."""
    known = set(addresses)
    hosts = {form for host, _ in known for form in (host, shown_name(host))}
    for row, url in enumerate(urls_of(metas)):
        if url and _may_be_at(url, hosts) and (address := address_of(url)) and address[1:] in known:
            yield row, url


def _may_be_at(url: str, hosts: set[str]) -> bool:
    """Whether a URL's host may be one of these; in doubt it is looked at more closely."""
    host = HOST.match(url)
    return host is None or host[1].lower() in hosts


def urls_of(metas: pa.ChunkedArray) -> list[str]:
    """The `url` of each meta; "" where it has none."""
    return [url if isinstance(url := orjson.loads(meta).get("url"), str) else "" for meta in metas.to_pylist()]


def near_hits(signed: Signed, values: np.ndarray, threshold: float) -> dict[int, Hit]:
    """{row: why} of signatures (uint32[n, permutations]) that agree with one that is withdrawn in `threshold` of their
    values, the estimate of their Jaccard similarity.

    Two such agree in one of any `1 + the most values that may differ`: only those are compared as a whole.
    """
    permutations = values.shape[1]
    least = int(np.ceil(np.round(threshold * permutations, 6)))
    found = {}
    for row, others in signed.rows_with(values, permutations - least + 1):
        equal = (signed.values[others] == values[row]).sum(axis=1)
        if (most := int(equal.max())) >= least:
            request, refill = signed.whose[int(others[equal.argmax()])]
            found[row] = Hit(request, "near", round(most / permutations, 6), refill)
    return found


# ---- what the stage found


def of_part(build: Build, documents: PartRecord) -> pa.Table:
    """ROWS of one documents part."""
    own = build.made_for(TAKEDOWN, documents)
    return read_table(build.store, own.file(".parquet")) if own and own.counts["dropped"] else ROWS.empty_table()


def ids_of(build: Build, documents: PartRecord) -> pa.Array:
    """The ids of one documents part that are withdrawn."""
    return of_part(build, documents).column("doc_id").combine_chunks()


def identity(build: Build, documents: PartRecord) -> list[str]:
    """What identifies them; nothing where none is."""
    own = build.made_for(TAKEDOWN, documents)
    return [own.content] if own and own.counts["dropped"] else []


def all_identities(build: Build) -> list[str]:
    """The same of all parts."""
    return sorted(part.content for part in build.parts(TAKEDOWN) if part.counts["dropped"])


def all_rows(build: Build, source: str) -> pa.Table:
    """ROWS of all parts of a source."""
    parts = build.parts(TAKEDOWN, source) if source in build.names(TAKEDOWN) else []
    own = [read_table(build.store, part.file(".parquet")) for part in parts if part.counts["dropped"]]
    return pa.concat_tables([ROWS.empty_table(), *own]).combine_chunks()


def all_ids(build: Build) -> pa.Array:
    """The ids of all documents that a build leaves out."""
    found = [all_rows(build, source).column("doc_id").combine_chunks() for source in build.names(TAKEDOWN)]
    return pa.concat_arrays([pa.array([], pa.string()), *found])
