"""Personal data in a text -> words that say what stood there, and how many of each.

    emails   name@host.tld                                                     <EMAIL>
    ips      IPv4 and IPv6 addresses that are reachable from everywhere        <IP_ADDRESS>
    phones   North American and international numbers                          <PHONE_NUMBER>
    keys     keys and tokens of known services, private keys in PEM            <KEY>

Words: `<EMAIL>` and `<KEY>` are StarCoder's (arXiv 2305.06161, section 4), the other two have Dolma's names (arXiv
2402.00159; dolma/taggers/pii.py) in the same form. StarCoder writes one of five private addresses for an IP address; a
tokenizer learns less that is wrong from a word. Its exceptions hold here: addresses of well-known name servers stay,
and four single digits with dots (`1.2.3.4`) are a version unless "dns" or "server" stands within 100 characters.
Private, loopback and documentation addresses are nobody's and stay.

Phones: Dolma's three-three-four digits, but a number must be written as one, with separators, brackets or a plus: ten
digits in a row are mostly an id. A number after a plus has 8 to 15 digits (ITU-T E.164).
Keys: the published formats of services, as detect-secrets (github.com/Yelp/detect-secrets, plugins) knows them.
StarCoder's high-entropy strings with a gibberish model are left out: hashes and ids look the same.

Prefilter: a text without the few bytes that a kind cannot do without is not searched for it.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Collection

VERSION = 1
KINDS = ("keys", "emails", "ips", "phones")  # in the order of redaction
WORDS = {"emails": "<EMAIL>", "ips": "<IP_ADDRESS>", "phones": "<PHONE_NUMBER>", "keys": "<KEY>"}

# ---- patterns

LOCAL = re.compile(r"[\w%+](?:[\w.%+-]{0,62}[\w%+-])?\Z")  # RFC 5321: at most 64 characters
HOST = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,63}(?![\w@])")
# Each begins with the characters that may stand first, and looks back past the one it took: that way `re` skips fast.
IPV4 = re.compile(r"[0-9](?<![\w.].)[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?!\.?\w)")
IPV6 = re.compile(r"[0-9A-Fa-f](?<![\w:.].)[0-9A-Fa-f]{0,3}:[0-9A-Fa-f:]{1,38}(?![\w:]|\.\w)")
AFTER_PHONE = r"(?![\w/=-]|\.\w)"
WITH_PLUS = re.compile(r"\+(?<![\w.+/=-].)[0-9](?:[ .()-]{0,2}[0-9]){7,14}" + AFTER_PHONE)  # +44 (0)20 7946 0958
IN_AMERICA = re.compile(
    r"[(0-9](?<![\w.+/=-].)(?:"
    r"(?<=1)[ .-](?:\([0-9]{3}\)[ .-]?|[0-9]{3}[ .-])"  # 1 212 555 0187
    r"|(?<=\()[0-9]{3}\)[ .-]?"  # (212) 555-0187
    r"|(?<=[0-9])[0-9]{2}[ .-]"  # 212-555-0187
    r")[0-9]{3}[ .-][0-9]{4}" + AFTER_PHONE
)
KEYS = (
    r"(?:AKIA|ASIA)[0-9A-Z]{16}",  # AWS
    r"gh[pousr]_[0-9A-Za-z]{36}|github_pat_[0-9A-Za-z_]{82}",
    r"glpat-[0-9A-Za-z_-]{20}",  # GitLab
    r"AIza[0-9A-Za-z_-]{35}",  # Google
    r"xox[abeoprs]-(?:[0-9]+-)+[0-9A-Za-z]{10,}",  # Slack
    r"[sr]k_live_[0-9A-Za-z]{24,}",  # Stripe
    r"SG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}",  # SendGrid
    r"npm_[0-9A-Za-z]{36}",
    r"pypi-AgEIcHlwaS5vcmc[0-9A-Za-z_-]{50,}",
    r"hf_[0-9A-Za-z]{34}",  # Hugging Face
    r"eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{16,}",  # JSON web token
)
KEY = re.compile(
    rf"(?<![0-9A-Za-z_-])(?:{'|'.join(KEYS)})(?![0-9A-Za-z_-])"
    r"|-----BEGIN (?:[A-Z]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----[0-9A-Za-z+/=:,.\s\\-]{0,20000}?"
    r"-----END (?:[A-Z]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----"
)
KEY_MARKS = ("eyJ", "-----BEGIN", "AKIA", "ASIA", "AIza", "SG.", "xox", "glpat-", "pypi-")  # of KEY, each has one
KEY_MARKS_WITH_LINE = ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "_live_", "npm_", "hf_")

NAME_SERVERS = {  # as for StarCoder
    *("8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1"),  # Google, Cloudflare
    *("76.76.19.19", "76.223.122.150", "9.9.9.9", "149.112.112.112"),  # Alternate DNS, Quad9
    *("208.67.222.222", "208.67.220.220", "8.26.56.26", "8.20.247.20"),  # OpenDNS, Comodo
    *("94.140.14.14", "94.140.15.15"),  # AdGuard
}
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # RFC 4291: `abc::def` in code is no address
VERSION_CHARS = len("1.2.3.4")
CONTEXT_CHARS = 100

# ---- prefilter

_MASK = {**dict.fromkeys(b"0123456789", ord("0")), ord(" "): ord("-"), ord("-"): ord("-")}
_MASK |= {ord(mark): ord(mark) for mark in ".+"}
MASK = bytes(_MASK.get(byte, byte) for byte in range(256))
IPV4_MASK = re.compile(rb"0\.0{1,3}\.0{1,3}\.0")
UNMASKED = bytes(byte for byte in range(256) if byte not in _MASK)  # taken out: what is left is short to search


def _may_hold(text: str, kinds: Collection[str]) -> list[str]:
    """The kinds of which a text has the bytes that each of them needs, in the order of redaction."""
    mask = text.encode().translate(MASK, UNMASKED) if "ips" in kinds or "phones" in kinds else b""
    found = {
        "keys": "keys" in kinds and _has_key_mark(text),
        "emails": "emails" in kinds and "@" in text,
        "ips": "ips" in kinds and (_has_ipv4_mark(mask) or _has_ipv6_mark(text)),
        "phones": "phones" in kinds and (b"0-0000" in mask or b"0.0000" in mask or b"+0" in mask),
    }
    return [kind for kind in KINDS if found[kind]]


def _has_key_mark(text: str) -> bool:
    return any(mark in text for mark in KEY_MARKS) or ("_" in text and any(m in text for m in KEY_MARKS_WITH_LINE))


def _has_ipv4_mark(mask: bytes) -> bool:
    return b"0.0" in mask and IPV4_MASK.search(mask) is not None


def _has_ipv6_mark(text: str) -> bool:
    return "::" in text or text.count(":") >= 7


# ---- redaction


def redact(text: str, kinds: Collection[str]) -> tuple[str, dict[str, int]]:
    """A text with the named kinds of KINDS replaced by their word, and how many there were of each.

    Time is linear in the text: every pattern is bounded.
    """
    counts: Counter[str] = Counter()
    for kind in _may_hold(text, kinds):
        text, counts[kind] = REDACTORS[kind](text)
    return text, {kind: counts[kind] for kind in KINDS if kind in kinds}


def _redact_emails(text: str) -> tuple[str, int]:
    spans, at = [], text.find("@")
    while at >= 0:
        start = max(at - 65, spans[-1][1] if spans else 0)
        local, host = LOCAL.search(text[start:at]), HOST.match(text, at + 1)
        if host and local and not _continues(text, start + local.start()):
            spans.append((start + local.start(), host.end()))
        at = text.find("@", at + 1)
    return _replace(text, spans, WORDS["emails"]), len(spans)


def _continues(text: str, place: int) -> bool:
    """Whether a word that began before `place` goes on there: it is longer than a name may be."""
    return place > 0 and (text[place - 1].isalnum() or text[place - 1] == "_")


def _redact_ips(text: str) -> tuple[str, int]:
    spans = [match.span() for match in IPV4.finditer(text) if _is_address(text, match)]
    if _has_ipv6_mark(text):  # few texts have it, and those are searched slowly
        spans += [match.span() for match in IPV6.finditer(text) if _is_address(text, match)]
    return _replace(text, sorted(spans), WORDS["ips"]), len(spans)


def _is_address(text: str, match: re.Match[str]) -> bool:
    """Whether it is one that somebody could be reached at."""
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return False
    if address.version == 6:
        return address.is_global and address in GLOBAL_UNICAST
    if not address.is_global or match[0] in NAME_SERVERS:
        return False
    if len(match[0]) > VERSION_CHARS:
        return True
    around = text[max(0, match.start() - CONTEXT_CHARS) : match.end() + CONTEXT_CHARS].lower()
    return "dns" in around or "server" in around


def _redact_phones(text: str) -> tuple[str, int]:
    text, with_plus = WITH_PLUS.subn(WORDS["phones"], text)
    text, in_america = IN_AMERICA.subn(WORDS["phones"], text)
    return text, with_plus + in_america


def _redact_keys(text: str) -> tuple[str, int]:
    return KEY.subn(WORDS["keys"], text)


def _replace(text: str, spans: list[tuple[int, int]], word: str) -> str:
    """A text with `word` in place of each span; spans are sorted and do not meet."""
    pieces, end = [], 0
    for start, stop in spans:
        pieces += [text[end:start], word]
        end = stop
    return "".join([*pieces, text[end:]])


REDACTORS = {"keys": _redact_keys, "emails": _redact_emails, "ips": _redact_ips, "phones": _redact_phones}
