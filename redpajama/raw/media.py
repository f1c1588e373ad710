"""What an HTTP body is: HTML, plain text, or neither, by what the server says and by the body's first bytes.

Of odd, repeated or missing headers: https://fetch.spec.whatwg.org/#concept-header-extract-mime-type, a little more
lenient. Of first bytes: https://mimesniff.spec.whatwg.org/, with the signatures of more kinds of binary files.
"""

import re
from functools import lru_cache
from typing import NamedTuple

HTML_TYPES = ("text/html", "application/xhtml+xml")
PLAIN, OCTETS = "text/plain", "application/octet-stream"
UNKNOWN = ("", "*/*", "unknown/unknown", "application/unknown", "application/x-unknown-content-type")
REGISTERED = tuple(  # https://www.iana.org/assignments/media-types
    f"{name}/"
    for name in "application audio chemical font haptics image message model multipart text video".split()  # noqa: SIM905
)
DOWNLOADS = (OCTETS, "binary/octet-stream", "application/force-download", "application/x-download")
HEADER_BYTES = 1445  # of a body: what a browser looks at
MAX_BINARY_FRACTION = 0.02  # of that in HTML; of bytes at random it is a tenth

IN_LIST = re.compile(r'(?:[^,"]|"[^"]*"?)+')
ESSENCE = re.compile(r"[\s\"']*([\w!#$&^+*.-]+/[\w!#$&^+*.-]+)")
CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s\"';,]+)", re.IGNORECASE)
BINARY = bytes([*range(9), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)])  # "binary data bytes"
UTF8_MARK, UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
BEFORE = rb"\A(?:\xef\xbb\xbf)?[\t\n\x0c\r ]*+"
HTML_TAG = re.compile(  # the standard's, and elements that are younger than its list
    BEFORE + rb"(?:<!--|<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p"
    rb"|article|section|main|nav|header|footer|aside|ul|ol|center|form|span|meta|link|base)(?=[\s>]))"
    rb"|<(?:!doctype html|html|head|body)\b",
    re.IGNORECASE,
)
MARKUP = re.compile(BEFORE + rb"<[?!a-z]", re.IGNORECASE)  # XML, say
HTML_ROOT = re.compile(  # behind an XML declaration and comments
    BEFORE + rb"(?:<(?:\?|!--)[^>]*+>[\t\n\x0c\r ]*+)*+<(?:!doctype )?html\b", re.IGNORECASE
)

SIGNATURES = (  # each is no text: it has a byte of none, or nothing else begins so
    ("application/pdf", rb"[\s\xef\xbb\xbf]*+%PDF-"),
    ("application/postscript", rb"%!PS-Adobe-"),
    ("application/rtf", rb"\{\\rtf"),
    ("image/gif", rb"GIF8[79]a"),
    ("image/png", rb"\x89PNG\r?\n"),
    ("image/jpeg", rb"\xff\xd8\xff"),
    ("image/webp", rb"RIFF.{4}WEBPVP"),
    ("image/bmp", rb"BM.{4}\x00{4}"),
    ("image/x-icon", rb"\x00\x00[\x01\x02]\x00"),
    ("image/tiff", rb"II\*\x00|MM\x00\*"),
    ("image/vnd.adobe.photoshop", rb"8BPS\x00"),
    ("image/vnd.djvu", rb"AT&TFORM"),
    ("image/jxl", rb"\xff\x0a|\x00\x00\x00\x0cJXL "),
    ("audio/mpeg", rb"ID3[\x02-\x04]|\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]"),
    ("audio/wave", rb"RIFF.{4}WAVE"),
    ("audio/basic", rb"\.snd\x00"),
    ("audio/aiff", rb"FORM.{4}AIF"),
    ("audio/midi", rb"MThd\x00"),
    ("audio/flac", rb"fLaC[\x00\x80]"),
    ("application/ogg", rb"OggS\x00"),
    ("video/avi", rb"RIFF.{4}AVI "),
    ("video/webm", rb"\x1aE\xdf\xa3"),
    ("video/mp4", rb"\x00\x00..ftyp"),
    ("video/mpeg", rb"\x00\x00\x01[\xb3\xba]"),
    ("video/x-flv", rb"FLV\x01"),
    ("video/x-ms-asf", rb"0&\xb2u\x8ef\xcf\x11"),
    ("font/woff", rb"wOF[F2](?:\x00\x01\x00\x00|OTTO|true)"),
    ("font/ttf", rb"\x00\x01\x00\x00\x00|true\x00"),
    ("font/otf", rb"OTTO\x00"),
    ("font/collection", rb"ttcf\x00"),
    ("application/vnd.ms-fontobject", rb".{8}[\x00-\x02]\x00[\x01\x02]\x00.{22}LP"),
    ("application/gzip", rb"\x1f\x8b"),
    ("application/zip", rb"PK(?:\x03\x04|\x05\x06|\x07\x08)"),
    ("application/x-rar-compressed", rb"Rar!\x1a\x07"),
    ("application/x-7z-compressed", rb"7z\xbc\xaf"),
    ("application/x-xz", rb"\xfd7zXZ\x00"),
    ("application/x-bzip2", rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
    ("application/zstd", rb"\x28\xb5\x2f\xfd"),
    ("application/x-lz4", rb"\x04\x22\x4d\x18"),
    ("application/x-compress", rb"\x1f[\x9d\xa0]"),
    ("application/x-tar", rb".{257}ustar(?:\x00|  \x00)"),
    ("application/vnd.ms-cab-compressed", rb"MSCF\x00"),
    ("application/x-ole-storage", rb"\xd0\xcf\x11\xe0"),
    ("application/vnd.microsoft.portable-executable", rb"MZ.{0,3}\x00"),
    ("application/x-elf", rb"\x7fELF"),
    ("application/x-mach-binary", rb"\xca\xfe\xba\xbe|[\xce\xcf]\xfa\xed\xfe"),
    ("application/wasm", rb"\x00asm"),
    ("application/x-shockwave-flash", rb"[FCZ]WS[\x01-\x08\x0b\x0e-\x1f]"),
    ("application/vnd.sqlite3", rb"SQLite format 3\x00"),
    ("application/x-debian-package", rb"!<arch>\n"),
)
SIGNATURE = re.compile(b"|".join(b"(%b)" % pattern for _, pattern in SIGNATURES), re.DOTALL)
OF_FILES = re.compile(r"(image|audio|video|font|model)/|application/(pdf|.*(zip|compressed|tar)\b)")


class MediaType(NamedTuple):
    """`essence` in lower case ("" where no header has one), and the charset that goes with it ("" for none)."""

    essence: str
    charset: str


@lru_cache(maxsize=256)
def media_type(value: str) -> MediaType:
    """The type that a Content-Type header names; of a list the last one, as in browsers.

    A type may be in quotes, in any case, and its parameters need no semicolon before them.
    """
    essence = charset = ""
    for entry in IN_LIST.findall(value):
        found = ESSENCE.match(entry)
        if not found or found[1] == "*/*":
            continue
        named = CHARSET.search(entry, found.end())
        if found[1].lower() != essence:
            essence, charset = found[1].lower(), ""
        charset = named[1] if named else charset
    lone = CHARSET.search(value) if not charset and not essence else None
    return MediaType(essence, lone[1] if lone else charset)


def may_be_page(declared: str, identified: str) -> bool:
    """Whether a body has to be looked at: by the types that the server declares and the crawler identified."""
    if declared in HTML_TYPES or declared in UNKNOWN or declared == PLAIN or identified in HTML_TYPES:
        return True
    if declared.startswith("text/") or "html" in declared or declared in ("application/xml", "application/text"):
        return True
    return declared.startswith("application/x-httpd-") or not declared.startswith(REGISTERED)  # a server's own names


def page_type(declared: MediaType, identified: str, body: bytes) -> tuple[str, str]:
    """(`text/html`, `text/plain` or "" of no page, what else it is if the bytes tell).

    Args:
        identified: what the crawler took it for, "" where it does not say. It decides only where the server says
            nothing, or calls HTML plain text or a download.
        body: without codings.
    """
    kind = _declared_page(declared.essence, identified, body)
    if found := binary_type(body, declared.charset, is_html=kind == HTML_TYPES[0]):
        return "", found
    return kind, ""


def _declared_page(declared: str, identified: str, body: bytes) -> str:
    html, head = HTML_TYPES[0], body[:4096]
    if declared in HTML_TYPES:
        return html
    if declared == PLAIN:
        return html if identified in HTML_TYPES and HTML_ROOT.match(head) else PLAIN
    if declared in UNKNOWN:
        if identified in HTML_TYPES or (not identified and HTML_TAG.search(head)):
            return html
        return PLAIN if body and not MARKUP.match(body) and identified in ("", PLAIN) else ""
    is_odd = identified in HTML_TYPES or declared not in DOWNLOADS
    return html if is_odd and HTML_ROOT.match(head) else ""


def binary_type(body: bytes, charset: str = "", is_html: bool = False) -> str:
    """The type of a body that is no text, by its signature or its control characters; "" of text.

    HTML may have a few control characters; plain text none, unless its charset is one that uses them.
    """
    if found := signature_of(body):
        return found
    head = body[:HEADER_BYTES]
    if head.startswith(UTF16_MARKS) or _is_utf16(head):
        return ""
    strict = (
        not is_html
        and not head.startswith(UTF8_MARK)
        and charset.lower() in ("", "utf-8", "utf8", "iso-8859-1", "us-ascii")
    )
    controls = len(head) - len(head.translate(None, BINARY))
    return OCTETS if controls > (0 if strict else MAX_BINARY_FRACTION * len(head)) else ""


def signature_of(body: bytes) -> str:
    """The type of binary files that a body begins as one of, "" of others."""
    found = SIGNATURE.match(body)
    return SIGNATURES[found.lastindex - 1][0] if found and found.lastindex else ""


def _is_utf16(head: bytes) -> bool:
    """Whether every other byte is a NUL, more or less, as in markup in UTF-16."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    return len(head) > 3 and max(even, odd) > len(head) / 5 and min(even, odd) < len(head) / 50


def has_controls(body: bytes) -> bool:
    """Whether the beginning has bytes that no text has."""
    head = body[:HEADER_BYTES]
    return len(head) != len(head.translate(None, BINARY))


def is_ascii_text(body: bytes) -> bool:
    """Whether the beginning is ASCII without control characters, as nothing compressed is."""
    return body[:HEADER_BYTES].isascii() and not has_controls(body)
