"""Entries of blocklists, and URLs -> one spelling of hosts and paths, so that they can be compared.

Forms of an entry
    `x.org`, `.x.org`, `*.x.org`    a host and all below it; `www.x.org` is `x.org` itself too
    `x.org/path`, `https://x.org:80/path?q=1`    a URL, in squidGuard's sense: all below it; scheme, user, port, `www.`
        and a last `/` do not count, nor does case
    `0.0.0.0 x.org y.org`    a hosts file's line (man 5 hosts): these hosts, but for names of the machine itself
    `||x.org^`, `||x.org/path^$document`, `|https://x.org/|`    Adblock (help.adblockplus.org/hc/articles/360062733293)
    `1.2.3.4`, `2001:db8::1`, `[2001:db8::1]:80`    addresses, in any spelling
    blank lines, and comments: after `#`, and lines that begin with `!`, `;` or `[Adblock`
Anything else is an error, so that no line of a list does nothing: wildcards elsewhere, ranges of addresses, regular
expressions, exceptions (`@@`), rules about parts of a page (`##`, `$script`).

Spelling: lower case; a host beyond ASCII in Punycode after NFKC (UTS 46, as browsers: `ß` stays itself), an IPv4
address dotted (WHATWG URL: `0x7f.1` is 127.0.0.1), an IPv6 one as RFC 5952 has it; in paths percent codes are the
characters that they stand for, but for `/ ? # %` (RFC 3986, 6.2.2.2).
"""

import re
import socket
import unicodedata
from ipaddress import IPv6Address, ip_address
from urllib.parse import unquote

from redpajama.quality.lists import has_surrogate

PLAIN = re.compile(r"(?!www\.)(?:[a-z0-9_-]+\.)+[a-z][a-z0-9-]*")  # what most lines are
PLACE = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://|//)?(?:[^/?@]*@)?(?P<host>[^/?@]*)(?P<path>[^?]*)(?P<query>\?.*)?")
ADBLOCK = re.compile(r"\|\|?(?P<place>[^|^$]+)\^?\|?(?:\$(?P<options>[\w~,=-]*))?")
OPTIONS = {"", "all", "doc", "document", "important", "popup"}  # what they say of a page that is opened: all of it
ABOUT_PARTS = re.compile(r"#[@?$%]*#")  # Adblock's rules on elements of a page
LABEL = re.compile(r"[a-z0-9_-]{1,63}")
NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
IGNORED = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff\ufe0e\ufe0f"))  # UTS 46 leaves them out
CODES = re.compile(r"(?:%[0-9a-f]{2})+")
KEPT_CODES = {ord(char): f"%{ord(char):02x}" for char in "/?#%"}
OWN_NAMES = {  # of the machine, in every hosts file
    *("localhost", "localhost.localdomain", "local", "broadcasthost", "0.0.0.0"),
    *("ip6-localhost", "ip6-loopback", "ip6-localnet", "ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters"),
    "ip6-allhosts",
}


def entries_of(line: str) -> list[str]:
    """The places that a line of a list names: hosts, or a URL with its path.

    Raises:
        ValueError: it has a form that is not understood.
    """
    text = line.strip().lower()
    if PLAIN.fullmatch(text):
        return [text]
    if not text or text[0] in "#!;" or text.startswith("[adblock"):
        return []
    if ABOUT_PARTS.search(text):
        raise ValueError("a rule about parts of a page blocks no page")
    words = text.partition("#")[0].split()
    if len(words) > 1:
        return _hosts(words)
    return [_adblock(words[0]) if words[0][0] in "|@" else place_of(words[0])]


def _hosts(words: list[str]) -> list[str]:
    try:
        ip_address(words[0].partition("%")[0])
    except ValueError:
        raise ValueError("several words, and the first is no address, as in a hosts file") from None
    return [place_of(name) for name in words[1:] if name not in OWN_NAMES]


def _adblock(rule: str) -> str:
    match = ADBLOCK.fullmatch(rule)
    if not match:
        raise ValueError("not a rule of Adblock's that blocks a host or a URL")
    if unknown := set((match["options"] or "").split(",")) - OPTIONS:
        raise ValueError(f"the option ${sorted(unknown)[0]} is not about pages")
    return place_of(match["place"])


def place_of(text: str) -> str:
    """A host or a URL, in lower case -> its one spelling.

    Raises:
        ValueError: it is neither.
    """
    match = PLACE.fullmatch(text)
    name, port = _without_port(match["host"]) if match else ("", "")
    host = host_of(name[2:] if name.startswith("*.") else name.removeprefix("."))
    if not match or not host or not (port.isdecimal() or not port):
        raise ValueError("no host, URL, hosts file's line or rule of Adblock's")
    path, query = match["path"].rstrip("/"), match["query"]
    if not match["scheme"] and re.fullmatch(r"/\d{1,3}", path) and _is_address(host):
        raise ValueError("a range of addresses is no host")
    if not path and not query:
        return host
    return host.removeprefix("www.") + path_of(f"{path or '/'}{query}" if query else path)


def _without_port(host: str) -> tuple[str, str]:
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name, port.removeprefix(":")
    if host.count(":") > 1:
        return host, ""
    name, _, port = host.partition(":")
    return name, port


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdecimal()


def host_of(name: str) -> str:
    """A host in lower case -> its one spelling; "" of what is none."""
    if "%" in name and ":" not in name:
        name = unquote(name)
    if not name.isascii():
        if has_surrogate(name):
            return ""
        plain = unicodedata.normalize("NFKC", name.translate(IGNORED)).lower().replace("。", ".")
        name = ".".join(map(_in_ascii, plain.split(".")))
    name = name.strip(".")
    if ":" in name:
        return _ipv6(name)
    labels = name.split(".")
    if NUMBER.fullmatch(labels[-1]):
        return _ipv4(name)
    is_host = len(name) <= 253 and labels[-1][:1] not in ("", "-", "_") and all(map(LABEL.fullmatch, labels))
    return name if is_host else ""


def host_of_url(name: str) -> str:
    """As `host_of`, of what `urlsplit` took for a host; what is none stays as it is."""
    if name.isascii() and name[-1:].isalpha() and "%" not in name and ":" not in name:
        return name
    return host_of(name) or name


def _in_ascii(label: str) -> str:
    return label if label.isascii() else f"xn--{label.encode('punycode').decode()}"


def _ipv4(name: str) -> str:
    try:
        return socket.inet_ntoa(socket.inet_aton(name)) if "." in name else ""
    except OSError:
        return ""


def _ipv6(name: str) -> str:
    try:
        return str(IPv6Address(name.partition("%")[0]))
    except ValueError:
        return ""


def path_of(path: str) -> str:
    """A path, with its query, in lower case -> without the percent codes that it can do without."""
    return CODES.sub(lambda codes: _decoded(codes[0]), path) if "%" in path else path


def _decoded(codes: str) -> str:
    text = bytes.fromhex(codes.replace("%", "")).decode("utf-8", "surrogateescape")
    return text.lower().translate(KEPT_CODES)
