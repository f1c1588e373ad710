"""Which documents a take-down names, as a list has them (`corpus/withdrawn.py`): found in all builds of a ROOT.

By an id, a text or a domain a document's URL goes on the list where no other document of ROOT has it: of a source whose
documents share one (the files of a repository, say) it would name others too.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from redpajama.corpus import withdrawn
from redpajama.corpus.addresses import address_of, shown_name
from redpajama.corpus.stages import DOCUMENTS, source_of
from redpajama.corpus.withdrawn import Entry, Lists
from redpajama.dedup.near import minhash, signatures
from redpajama.dedup.near.minhash import MinHashParams
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import Build
from redpajama.engine.tables import read_table
from redpajama.errors import UserError
from redpajama.hashing import normal_text_digest
from redpajama.manifest import KINDS, given

SHOWN = 3  # of what is not there


class Wish(NamedTuple):
    """What a user names: one of these."""

    ids: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    domain: str = ""
    like: str = ""


def resolve(builds: Sequence[Build], wish: Wish, refill: bool) -> list[Entry]:
    """The entries of a request.

    Raises:
        UserError: what is named is not there; one line.
    """
    entries: dict[str, Entry] = {}
    for build in builds:
        lists = _lists(build, wish)
        for part in build.parts(DOCUMENTS):
            for entry in _entries(build, part, wish, lists, refill):
                known = entries.get(entry.id)
                entries[entry.id] = _joined(known, entry) if known else entry
    _refuse_absent(wish, list(entries.values()))
    found = list(entries.values())
    if not wish.urls and not wish.domain:
        found = _own_addresses(builds, found)
    text = [_text_entry(builds, wish.like, refill)] if wish.like else []
    return [*text, *found]


def _lists(build: Build, wish: Wish) -> Lists:
    """The wish as a list of withdrawn documents."""
    whose = ("", True)
    addresses: dict[tuple[str, str], tuple[str, bool]] = {}
    for url in wish.urls:
        if (address := address_of(url)) is None:
            raise UserError(f"'{url}' is no URL")
        addresses[address[1:]] = whose
    text = _text_entry([build], wish.like, True) if wish.like else Entry("", "", [], [], True)
    made = withdrawn.read_lists([withdrawn.body_of("like", [text])])
    return Lists(dict.fromkeys(wish.ids, whose), addresses, made.digests, made.near)


def _params(build: Build) -> MinHashParams | None:
    near = build.manifest.dedup.near
    return minhash.parse(near) if near is not None and signatures.STAGE.name in build.records else None


def _text_entry(builds: Sequence[Build], text: str, refill: bool) -> Entry:
    """The entry of a text that may be of any kind."""
    near: dict[bytes, dict[str, Any]] = {}
    for params in filter(None, map(_params, builds)):
        for kind in KINDS:
            signed, ngrams = minhash.signatures(pa.array([text], pa.large_string()), params, kind)
            if ngrams[0]:
                each = _near(params, params.ngrams_of(kind), signed[0])
                near[orjson.dumps(each)] = each
    return Entry("", "", [normal_text_digest(text, kind).hex() for kind in KINDS], list(near.values()), refill)


def _near(params: MinHashParams, ngrams: tuple[str, int, bool], signature: np.ndarray) -> dict[str, Any]:
    signed = np.ascontiguousarray(signature, "<u4").tobytes().hex()
    return {"ngrams": list(ngrams), "permutations": params.permutations, "signature": signed}


# ---- documents of a part


def _entries(build: Build, part: PartRecord, wish: Wish, lists: Lists, refill: bool) -> Iterator[Entry]:
    """The entry of each document of a part that is named."""
    table = read_table(build.store, part.file(".parquet"), ["doc_id", "text_digest", "meta"])
    rows = set(withdrawn.hits(lists, table)) if not wish.domain else set(_in_domain(table, wish.domain))
    signed = _signed(build, part) if rows or lists.near else None
    if signed is not None and lists.near:
        rows |= set(_alike(build, part, lists, *signed))
    for row in sorted(rows):
        one = table.slice(row, 1).to_pylist()[0]
        near = []
        if signed is not None and signed[0][row]:
            params = given(_params(build))
            near = [_near(params, params.ngrams_of(given(source_of(build, part).kind)), signed[1][row])]
        url = orjson.loads(one["meta"]).get("url")
        yield Entry(one["doc_id"], url if isinstance(url, str) else "", [one["text_digest"].hex()], near, refill)


def _in_domain(table: pa.Table, domain: str) -> Iterator[int]:
    """Rows whose URL is of a host or of one below it."""
    address = address_of(domain)
    if address is None or address.rest:
        raise UserError(f"'{domain}' is no domain")
    wanted = address.host
    if ":" in wanted:
        raise UserError(f"'{domain}' has a port: name the domain alone")
    last = [name.rpartition(".")[2].lower() for name in {wanted, shown_name(wanted)}]
    for row, url in enumerate(withdrawn.urls_of(table.column("meta"))):
        is_plain = url.isascii() and "%" not in url  # else its host may be written in other letters
        if url and (not is_plain or any(each in url.lower() for each in last)):
            found = address_of(url)
            host = found.host.partition(":")[0] if found else ""
            if host == wanted or host.endswith(f".{wanted}"):
                yield row


def _signed(build: Build, part: PartRecord) -> tuple[np.ndarray, np.ndarray] | None:
    """(numbers of n-grams, signatures) of a documents part; None where nothing signs it."""
    if _params(build) is None:
        return None
    table = read_table(build.store, signatures.signed_part(build, part).file(".parquet"), ["ngrams", "signature"])
    values = signatures.signatures_of(table.column("signature").combine_chunks())
    return table.column("ngrams").to_numpy(), values


def _alike(build: Build, part: PartRecord, lists: Lists, ngrams: np.ndarray, values: np.ndarray) -> Iterator[int]:
    params = given(_params(build))
    signed = lists.near.get((*params.ngrams_of(given(source_of(build, part).kind)), params.permutations))
    rows = np.flatnonzero(ngrams)
    if signed is not None and len(rows):
        yield from (int(rows[row]) for row in withdrawn.near_hits(signed, values[rows], params.threshold))


def _joined(one: Entry, other: Entry) -> Entry:
    """The same document in two builds: all that tells it."""
    digests = sorted({*one.digests, *other.digests})
    near = {orjson.dumps(each): each for each in (*one.near, *other.near)}
    return one._replace(digests=digests, near=[near[key] for key in sorted(near)])


# ---- what is not there, and what a URL names


def _refuse_absent(wish: Wish, entries: list[Entry]) -> None:
    ids = {entry.id for entry in entries}
    absent = [f"id '{id}'" for id in wish.ids if id not in ids]
    addresses = {address[1:] for entry in entries if (address := address_of(entry.url))}
    absent += [f"URL '{url}'" for url in wish.urls if given(address_of(url))[1:] not in addresses]
    if absent:
        more = f" and {len(absent) - SHOWN:,} more" if len(absent) > SHOWN else ""
        raise UserError(f"no document of any build here has the {', '.join(absent[:SHOWN])}{more}; nothing was removed")
    if not entries:
        what = f"is from '{wish.domain}'" if wish.domain else "has that text or nearly that text"
        raise UserError(f"no document of any build here {what}; nothing was removed")


def _own_addresses(builds: Sequence[Build], entries: list[Entry]) -> list[Entry]:
    """The entries with URLs that no other document has."""
    addresses = {address[1:]: ("", True) for entry in entries if (address := address_of(entry.url))}
    whose, seen = defaultdict[tuple[str, str], set[str]](set), set[str]()
    for build in builds:
        for part in build.parts(DOCUMENTS):
            if part.stem not in seen:
                seen.add(part.stem)
                table = read_table(build.store, part.file(".parquet"), ["doc_id", "meta"])
                for row, url in withdrawn.at_addresses(addresses, table.column("meta")):
                    whose[given(address_of(url))[1:]].add(table.column("doc_id")[row].as_py())
    return [
        entry if (address := address_of(entry.url)) and len(whose[address[1:]]) == 1 else entry._replace(url="")
        for entry in entries
    ]


def lines_of(path: str) -> tuple[str, ...]:
    """The lines of a file, without blank ones.

    Raises:
        UserError: it is not there, no text, or has none.
    """
    found = tuple(dict.fromkeys(line.strip() for line in text_of(path).splitlines() if line.strip()))
    if not found:
        raise UserError(f"{path}: it names nothing")
    return found


def text_of(path: str) -> str:
    """The text of a file.

    Raises:
        UserError: it is not there, or no UTF-8.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8") from None
