"""URLs without what only their owner may know: passwords, tokens, signatures.

What remains names the object: the same under another signature is the same input. Where it does not, who lists inputs
finds two that differ in nothing else, and refuses them.
"""

import re
from urllib.parse import unquote

SIGNED = re.compile(r"x-(?:amz|goog|oss|cos|ms|obs)-.*|sig|(?:q-)?signature", re.IGNORECASE)
PAGE = (
    "(?:next|page|next[-_]?page|continuation|cursor|sync|marker|start)[-_]?token$"  # of what is asked for, not who asks
)
TOKEN = rf"(?!{PAGE})(?:.*[-_]|access|api|auth|bearer|client|csrf|id|jwt|refresh|sas|security|session|user)?token"
SECRET = re.compile(
    rf"{TOKEN}|(?:.*[-_])?(?:secret|password|passwd|credentials?)|"
    r"pwd|pass|auth|jwt|api[-_]?key|access[-_]?key|private[-_]?key",
    re.IGNORECASE,
)
# what goes with a signature and changes with it: of CloudFront, of S3's and Google's older form, of Azure's SAS
COMPANIONS = re.compile(
    "expires|policy|key-pair-id|hash-algorithm|awsaccesskeyid|googleaccessid|ossaccesskeyid|"
    "s[vterp]|spr|sip|ss|srt|si|skoid|sktid|skt|ske|sks|skv|sdd|ses|saoid|suoid|scid",
    re.IGNORECASE,
)
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>`]+")
PAIR = re.compile(r"([?&;#])([\w%.-]{1,80})=([^&\s'\"<>`;#)]*)")  # of a URL whose host stands elsewhere
AT_END = re.compile(r"[.,:;!)\]}]*$")


def unsigned(url: str) -> str:
    """A URL without user and password, signature and tokens, all else as it was. Other texts are left alone.

    A `?` in paths and in patterns of stores begins no query.
    """
    scheme, mark, rest = url.partition("://")
    if not mark or scheme.lower() == "hf":  # there `@` names a revision
        return url
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    rest = host.rpartition("@")[2] + rest[len(host) :]
    if scheme.lower() in ("s3", "gs", "gcs", "file"):
        return f"{scheme}://{rest}"
    before, fragment = re.split(r"(?=#)", rest, maxsplit=1) if "#" in rest else (rest, "")
    path, begin, query = before.partition("?")
    return f"{scheme}://{path}{_without(begin, query)}{_without(fragment[:1], fragment[1:])}"


def _without(begin: str, query: str) -> str:
    """A query, or a fragment, of the pairs that may be told; nothing where there is none."""
    pairs = query.split("&")
    names = [unquote(pair.partition("=")[0]) for pair in pairs]
    is_signed = any(map(SIGNED.fullmatch, names))
    told = [pair for name, pair in zip(names, pairs, strict=True) if not _is_secret(name, is_signed)]
    return begin + "&".join(told) if told else ""


def _is_secret(name: str, is_signed: bool) -> bool:
    if SIGNED.fullmatch(name) or SECRET.fullmatch(name):
        return True
    return is_signed and bool(COMPANIONS.fullmatch(name))


def unsigned_text(text: str) -> str:
    """A message, in which no URL tells a secret."""
    if "://" not in text and "=" not in text:
        return text
    return PAIR.sub(_hide_pair, URL.sub(_unsign_match, text))


def _unsign_match(found: re.Match[str]) -> str:
    end = AT_END.search(found[0])
    cut = end.start() if end else len(found[0])
    return unsigned(found[0][:cut]) + found[0][cut:]


def _hide_pair(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}=…" if _is_secret(unquote(found[2]), False) else found[0]


def unsigned_all(value: object) -> object:
    """Parsed JSON in which no URL tells a secret; keys, too."""
    if isinstance(value, str):
        return unsigned(value)
    if isinstance(value, dict):
        return {unsigned(key) if isinstance(key, str) else key: unsigned_all(inner) for key, inner in value.items()}
    return list(map(unsigned_all, value)) if isinstance(value, list | tuple) else value
