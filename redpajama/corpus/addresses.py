"""URLs as people write them, beside those on record: a browser shows one address in more than one way.

It decodes percent signs (but those of characters that part a URL, and bytes that are no UTF-8 are told from each other)
and internationalised host names, hides the scheme, and adds or takes a slash at the end; a
fragment is no part of what was fetched (RFC 3986, 6.2.2 and 3.5; https://url.spec.whatwg.org/#url-rendering).
"""

import re
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
BARE = re.compile(r"[^\s/?#@]+\.[^\s/?#@.]{2,}(:\d+)?([/?#].*)?")  # a host and what follows, without a scheme
KEPT = re.compile(r"(%(?:2[356BbFf]|3[DdFf]))")  # % # & + / = ?: decoded, they would say something else
DEFAULT_PORTS = {"http": 80, "https": 443}


class Address(NamedTuple):
    """What two ways to write one URL share."""

    scheme: str  # "" of a URL that was written without: any
    host: str  # in lower case, as in the DNS; with the port where it is not the scheme's own
    rest: str  # path and query, decoded, without a slash at the end

    def is_of(self, url: str) -> bool:
        """Whether a URL is another way to write this one."""
        other = address_of(url)
        return other is not None and other[1:] == self[1:] and self.scheme in ("", other.scheme)


def address_of(text: str) -> Address | None:
    """The address that a text is, None of any other text."""
    scheme = SCHEME.match(text)
    if not scheme and not BARE.fullmatch(text):
        return None
    try:
        parts = urlsplit(text if scheme else f"//{text}")
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname:
        return None
    own = f":{port}" if port and port != DEFAULT_PORTS.get(parts.scheme) else ""
    rest = _decoded(parts.path).rstrip("/") + (f"?{_decoded(parts.query)}" if parts.query else "")
    return Address(parts.scheme, dns_name(unquote(parts.hostname)) + own, rest)


def _decoded(text: str) -> str:
    pieces = KEPT.split(text)
    pieces[::2] = [unquote(piece, errors="surrogateescape") for piece in pieces[::2]]
    pieces[1::2] = [piece.upper() for piece in pieces[1::2]]
    return "".join(pieces)


def dns_name(host: str) -> str:
    """A host's name in ASCII (RFC 3490), or as it is where it has no such form."""
    try:
        return host.lower().encode("idna").decode("ascii")
    except UnicodeError:
        return host.lower()


def shown_name(host: str) -> str:
    """A host's name as a browser shows it."""
    try:
        return host.encode("ascii").decode("idna")
    except UnicodeError:
        return host


def mentioned(records: pa.Array, address: Address) -> pa.Array:
    """bool[n] of JSON objects (string): whether their `url` is this address. Only those that name its host are read."""
    host = address.host.partition(":")[0]
    near = np.zeros(len(records), bool)
    for form in {host, shown_name(host)}:
        near |= pc.match_substring(records, form, ignore_case=True).to_numpy(zero_copy_only=False)
    for place in np.flatnonzero(near):
        near[place] = _is_at(orjson.loads(records[place].as_py()), address)
    return pa.array(near)


def _is_at(record: dict[str, Any], address: Address) -> bool:
    return isinstance(record.get("url"), str) and address.is_of(record["url"])
