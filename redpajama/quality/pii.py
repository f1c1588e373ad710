"""Personal data in a text -> words that say what stood there, and how many of each.

    emails   name@host.tld                                                     <EMAIL>
    ips      IPv4 and IPv6 addresses that are reachable from everywhere        <IP_ADDRESS>
    phones   North American and international numbers                          <PHONE_NUMBER>
    keys     keys and tokens of known services, private keys in PEM            <KEY>, see `keys.py`

Words: `<EMAIL>` and `<KEY>` are StarCoder's (arXiv 2305.06161, section 4), the other two have Dolma's names (arXiv
2402.00159; dolma/taggers/pii.py) in the same form. StarCoder writes one of five private addresses for an IP address; a
tokenizer learns less that is wrong from a word.

Emails (RFC 5321): names in any script, with apostrophes between letters; hosts in any script or Punycode (RFC 5890). No
address: a name before the file of a picture at another scale (`icon@2x.png`), a package before its version or archive
(`react@18.2.0-rc.1`, `x@1.0.0.tgz`), `git@` of a repository's address.
IPs: private, loopback, documentation, multicast and reserved addresses are nobody's and stay, those of well-known name
servers too, as for StarCoder, and networks (`1.2.3.0`). Four numbers with dots are as often a version, a section or an
enzyme: where none has three digits, or "version" or the like stands before them, they are an address only if a word of
networks stands near them. (StarCoder asks for one only where all have a single digit.) One address in forty is such.
Phones: Dolma's three-three-four digits, but a number must be written as one, with separators, brackets or a plus: ten
digits in a row are mostly an id. A number after a plus, or 00, has 8 to 15 digits (ITU-T E.164). Separators may be
no-break or thin spaces and any hyphen or dash. National numbers of other countries are not found.

Prefilter: a text without the few bytes that a kind cannot do without is not searched for it.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Collection

from redpajama.quality import keys

VERSION = 2
KINDS = ("keys", "emails", "ips", "phones")  # in the order of redaction
WORDS = {"emails": "<EMAIL>", "ips": "<IP_ADDRESS>", "phones": "<PHONE_NUMBER>", "keys": "<KEY>"}
Spans = list[tuple[int, int]]

# ---- patterns

SIGNS = "\u0300-\u036f\u0900-\u0dff\u0e00-\u0e4e"  # vowels and accents that \w lacks, of scripts that hosts are in
LOCAL_CHARS = 64  # RFC 5321
LOCAL = re.compile(rf"[\w%+](?:(?:[\w{SIGNS}.%+-]|(?<=[^\W\d_])['’](?=[^\W\d_])){{0,62}}[\w{SIGNS}%+-])?\Z")
HOST = re.compile(
    rf"@((?:[^\W_](?:[\w{SIGNS}-]{{0,61}}[\w{SIGNS}])?\.){{1,8}}"
    rf"(?:xn--[0-9a-z-]{{2,59}}|[^\W\d_](?:[^\W\d_]|[{SIGNS}]){{1,62}}))(?!-?[\w@{SIGNS}])",
    re.IGNORECASE,
)
NO_TLD = re.compile(  # files: none of these is a top-level domain
    r"\.(?:png|jpe?g|gif|svg|webp|avif|bmp|ico|css|scss|less|[jt]sx?|json|html?|php|txt|pdf|xml|ya?ml|tgz|gz|bz2|xz"
    r"|woff2?|ttf|eot|exe|dll|class|java)\Z",
    re.IGNORECASE,
)
VERSION_HOST = re.compile(r"(?:v?\d+|x)\.(?:\d+|x)\b|\d+(?:\.\d+)?x\.")  # 1.0.0-rc.one, 2x.png
# Each begins with the characters that may stand first, and looks back past the one it took: that way `re` skips fast.
IPV4 = re.compile(r"[0-9](?<![\w.].)(?<!\w[-~].)[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?!\.?\w)")
IPV6 = re.compile(r"[0-9A-Fa-f](?<![\w:.].)[0-9A-Fa-f]{0,3}:[0-9A-Fa-f:]{1,38}(?![\w:]|\.\w)")
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212"
SPACES = "\u00a0\u2007\u2009\u202f"
SEP = rf"[ .{DASHES}{SPACES}-]"
AFTER_PHONE = r"(?![\w/=-]|\.[0-9a-z])"
DIGITS = rf"(?:[().{DASHES}{SPACES} -]{{0,2}}[0-9])"
WITH_PLUS = re.compile(rf"\+(?<![\w.+/=-].)[0-9]{DIGITS}{{7,14}}{AFTER_PHONE}")  # +44 (0)20 7946 0958
WITH_ZEROS = re.compile(rf"00(?<![\w.,:+/=-]00)[1-9][0-9]{{0,2}}{SEP}(?=[0-9(]){DIGITS}{{6,12}}{AFTER_PHONE}")
IN_AMERICA = re.compile(
    r"[(0-9](?<![\w.+/=-].)(?:"
    rf"(?<=1){SEP}(?:\([0-9]{{3}}\){SEP}?|[0-9]{{3}}{SEP})"  # 1 212 555 0187
    rf"|(?<=\()[0-9]{{3}}\){SEP}?"  # (212) 555-0187
    rf"|(?<=[0-9])[0-9]{{2}}(?:{SEP}|/(?=[0-9]{{3}}-))"  # 212-555-0187, 212/555-0187
    rf")[0-9]{{3}}{SEP}[0-9]{{4}}{AFTER_PHONE}"
)

NAME_SERVERS = {  # as for StarCoder
    *("8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1"),  # Google, Cloudflare
    *("76.76.19.19", "76.223.122.150", "9.9.9.9", "149.112.112.112"),  # Alternate DNS, Quad9
    *("208.67.222.222", "208.67.220.220", "8.26.56.26", "8.20.247.20"),  # OpenDNS, Comodo
    *("94.140.14.14", "94.140.15.15"),  # AdGuard
}
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # RFC 4291: `abc::def` in code is no address
SPECIAL = (  # not globally reachable: IANA's registries of special-purpose addresses (RFC 6890)
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4"),
    *("2001::/23", "2001:db8::/32", "3fff::/20"),
)
REACHABLE = (  # in one of these
    *("192.0.0.9/32", "192.0.0.10/32", "2001:1::1/128", "2001:1::2/128", "2001:1::3/128", "2001:3::/32"),
    *("2001:4:112::/48", "2001:20::/28", "2001:30::/28"),
)
SPECIAL_NETWORKS, REACHABLE_NETWORKS = (tuple(map(ipaddress.ip_network, each)) for each in (SPECIAL, REACHABLE))
CONTEXT_CHARS = 100
OF_NETWORKS = {"ip", "ips", "ipv", "address", "addresses", "host", "hosts", "hostname", "server", "servers", "dns"}
OF_NETWORKS |= {"ping", "subnet", "gateway", "router", "ssh", "proxy", "localhost", "firewall"}
LEADS_TO_ADDRESS = re.compile(r"(?:\b(?:from|by|to)\s|://|@)\Z")
LETTERS = re.compile("[a-z]+")
OF_VERSIONS = re.compile(
    r"(?i)(?:\b(?:versions?|ver|rev|revision|releases?|build|firmware|driver|update|upgrade|section|chapter|EC)|§)"
    r"\W{0,3}(?:\w+\W{1,3})?$"
)
BEFORE_CHARS = 30

# ---- prefilter

_MASK = {**dict.fromkeys(b"0123456789", ord("0")), ord(" "): ord("-"), ord("-"): ord("-")}
_MASK |= {ord(mark): ord(mark) for mark in ".+"}
_MASK |= dict.fromkeys((0xC2, 0xE2), ord("-"))  # UTF-8: the first bytes of DASHES and SPACES, and of others
MASK = bytes(_MASK.get(byte, byte) for byte in range(256))
IPV4_MASK = re.compile(rb"0\.0{1,3}\.0{1,3}\.0")
UNMASKED = bytes(byte for byte in range(256) if byte not in _MASK)  # taken out: what is left is short to search


def _may_hold(text: str, kinds: Collection[str]) -> list[str]:
    """The kinds of which a text has the bytes that each of them needs, in the order of redaction."""
    mask = text.encode().translate(MASK, UNMASKED) if "ips" in kinds or "phones" in kinds else b""
    found = {
        "keys": "keys" in kinds and keys.may_hold(text),
        "emails": "emails" in kinds and "@" in text,
        "ips": "ips" in kinds and (_has_ipv4_mark(mask) or _has_ipv6_mark(text)),
        "phones": "phones" in kinds and _has_phone_mark(mask, text),
    }
    return [kind for kind in KINDS if found[kind]]


def _has_ipv4_mark(mask: bytes) -> bool:
    return b"0.0" in mask and IPV4_MASK.search(mask) is not None


def _has_ipv6_mark(text: str) -> bool:
    return "::" in text or text.count(":") >= 7


def _has_phone_mark(mask: bytes, text: str) -> bool:
    return (
        b"0-0000" in mask
        or b"0.0000" in mask
        or b"+0" in mask
        or (b"00" in mask and WITH_ZEROS.search(text) is not None)
    )


# ---- redaction


def redact(text: str, kinds: Collection[str]) -> tuple[str, dict[str, int]]:
    """A text with the named kinds of KINDS replaced by their word, and how many there were of each.

    Time is linear in the text: every pattern is bounded.
    """
    counts: Counter[str] = Counter()
    for kind in _may_hold(text, kinds):
        spans = FINDERS[kind](text)
        text, counts[kind] = _replace(text, spans, WORDS[kind]), len(spans)
    return text, {kind: counts[kind] for kind in KINDS if kind in kinds}


def find_emails(text: str) -> Spans:
    """(start, end) of each address, in order, as for the other kinds."""
    spans: Spans = []
    for host in HOST.finditer(text):
        start = max(host.start() - LOCAL_CHARS - 1, spans[-1][1] if spans else 0)
        local = LOCAL.search(text, start, host.start())
        if local and not _continues(text, local.start()) and _is_host(host[1], local[0]):
            spans.append((local.start() + _quoted(local[0], text, host.end()), host.end()))
    return spans


def _continues(text: str, place: int) -> bool:
    """Whether a word that began before `place` goes on there: it is longer than a name may be."""
    return place > 0 and (text[place - 1].isalnum() or text[place - 1] == "_")


def _is_host(host: str, local: str) -> bool:
    """Whether mail could go there: it is no file, no version, no repository's user."""
    return local.lower() != "git" and not NO_TLD.search(host) and not VERSION_HOST.match(host)


def _quoted(local: str, text: str, end: int) -> int:
    """How much of a name is the prefix of a string in quotes: 2 of `u'jane` where a quote follows the host."""
    mark = local.find("'")
    return mark + 1 if mark >= 0 and text[end : end + 1] == "'" else 0


def find_ips(text: str) -> Spans:
    """Addresses that somebody could be reached at."""
    spans = [match.span() for match in IPV4.finditer(text) if _is_ipv4(text, match)]
    if _has_ipv6_mark(text):  # few texts have it, and those are searched slowly
        spans += [match.span() for match in IPV6.finditer(text) if _is_ipv6(match[0])]
    return sorted(spans)


def _is_ipv6(said: str) -> bool:
    try:
        address = ipaddress.IPv6Address(said)
    except ValueError:
        return False
    return _is_reachable(address) and address in GLOBAL_UNICAST and not said.endswith("::")  # that is a network


def _is_reachable(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """As the registries have it; Python's `is_global` changed within 3.11 and 3.12."""
    if any(address in each for each in REACHABLE_NETWORKS):
        return True
    return not any(address in each for each in SPECIAL_NETWORKS)


def _is_ipv4(text: str, match: re.Match[str]) -> bool:
    try:
        address = ipaddress.IPv4Address(match[0])
    except ValueError:
        return False
    is_nobodys = not _is_reachable(address) or address.is_multicast or address.is_reserved
    if is_nobodys or match[0] in NAME_SERVERS or match[0].endswith(".0"):
        return False
    before = text[max(0, match.start() - CONTEXT_CHARS) : match.start()]
    if max(address.packed) >= 100 and not OF_VERSIONS.search(before[-BEFORE_CHARS:]):
        return True
    words = LETTERS.findall(f"{before} {text[match.end() : match.end() + CONTEXT_CHARS]}".lower())
    return not OF_NETWORKS.isdisjoint(words) or LEADS_TO_ADDRESS.search(before) is not None


def find_phones(text: str) -> Spans:
    """Numbers; where two patterns find one, the one that begins first."""
    found = [match.span() for pattern in (WITH_PLUS, WITH_ZEROS, IN_AMERICA) for match in pattern.finditer(text)]
    return keys.apart(sorted(found))


def _replace(text: str, spans: Spans, word: str) -> str:
    """A text with `word` in place of each span; spans are sorted and do not meet."""
    pieces, end = [], 0
    for start, stop in spans:
        pieces += [text[end:start], word]
        end = stop
    return "".join([*pieces, text[end:]])


FINDERS: dict[str, Callable[[str], Spans]] = {
    "keys": keys.find,
    "emails": find_emails,
    "ips": find_ips,
    "phones": find_phones,
}
