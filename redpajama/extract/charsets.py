"""The bytes of a page -> its characters, as a browser has them, and by a guess where the page says nothing right.

Labels, and what each means: https://encoding.spec.whatwg.org/#names-and-labels (resiliparse's table, and what it
leaves out). What decides, and in which order: https://html.spec.whatwg.org/#determining-the-character-encoding.
"""

import codecs
import re
from collections.abc import Iterator

from resiliparse.parse.encoding import EncodingDetector, map_encoding_to_html5

BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
PRESCAN_BYTES = 1024  # of a page, in which a browser looks before it parses
CODECS = {  # Python's codec for what the standard means
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "uhc": "cp949",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "iso2022_jp": "iso2022_jp_ext",
}
MORE_LABELS = {  # what resiliparse does not know
    "x-mac-cyrillic": "mac-cyrillic",
    "x-mac-ukrainian": "mac-cyrillic",
    "x-user-defined": "cp1252",  # as `<meta>` has it
    # a browser shows nothing of these
    "hz-gb-2312": "hz",
    "iso-2022-kr": "iso2022_kr",
    "csiso2022kr": "iso2022_kr",
}
SINGLE_BYTES = re.compile(r"cp(12|874|866)|iso8859|koi8|mac")
DETECTED = {  # labels for uchardet's names
    "cp949": "euc-kr",
    "uhc": "euc-kr",
    "iso2022_jp": "iso-2022-jp",
    "mac-cyrillic": "x-mac-cyrillic",
    "koi8-r": "koi8-u",  # more letters, where that has lines of boxes
}
WINDOWS = {  # has the letters of the other one, and signs where that has controls
    "iso8859-1": "cp1252",
    "iso8859-2": "cp1250",
    "iso8859-6": "cp1256",
    "iso8859-7": "cp1253",
    "iso8859-8": "cp1255",
    "iso8859-9": "cp1254",
    "iso8859-13": "cp1257",
    "iso8859-15": "cp1252",
    "iso8859-16": "cp1250",
}
NEVER_UTF8 = b"\xf5"  # and what is above it
C1 = re.compile(rb"[\x80-\x9f]")
JAPANESE = re.compile(rb"\x1b(\$[@B]|\([IJ])")  # ISO-2022-JP: seven bits, so that it looks like ASCII
BETWEEN_WORDS = re.compile(rb"[\s<>]+")
MAX_BAD_FRACTION = 0.01  # of a right guess's characters beyond ASCII
MIN_MIXED = 1 / 3  # characters of UTF-8 to a byte that is none; in real Windows-1252 they are rarer than a hundredth
MIN_TRAILING_BYTES = 4  # of UTF-8: one in thirty pairs of Windows-1252's letters looks like a character of it
MIN_NULS = 0.4  # of every other byte of UTF-16
MAX_GUESS_BYTES = 256 << 10

ATTRIBUTE = re.compile(rb"[\s/]*+([^\s/>=][^\s/>=]*+)(?:\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s>]*+)))?+")
TAG = re.compile(rb"<[!/]?[a-z]{1,9}[\s>]", re.IGNORECASE)
TAG_BODY = rb"(?:\"[^\"]*+\"|'[^']*+'|[^>\"'])*+"
COMMENT = rb"<!--(?:-?>|(?:(?!--!?>).)*+)"
META = rb"<meta(?=[\s/])(?P<meta>" + TAG_BODY + rb")>"
TAGS = re.compile(rb"%b|%b|</?[a-z]%b>" % (COMMENT, META, TAG_BODY), re.IGNORECASE | re.DOTALL)
RAW = rb"<(?P<raw>script|style|textarea|title|xmp|iframe|noframes)\b.*?(?:</(?P=raw)|\Z)"
LATE_TAGS = re.compile(rb"%b|%b|%b" % (COMMENT, META, RAW), re.IGNORECASE | re.DOTALL)
IN_CONTENT = re.compile(rb"charset\s*+=\s*+(?:\"([^\"]*)\"|'([^']*)'|([^\s;\"'][^\s;]*))", re.IGNORECASE)
XML_DECLARATION = re.compile(rb"\A<\?xml[^>]*?\bencoding\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")


def to_unicode(payload: bytes, label: str = "", is_html: bool = True) -> str:
    """A page's characters: by byte order mark, `label` (of the HTTP header), `<meta>`, else UTF-8, else a guess.

    The guess also takes the place of a declaration that is false: more characters cannot be read by it than can. So
    does UTF-8 where all bytes are of it, as where a server adds its default to every page: here a browser shows the
    wrong letters.
    """
    encoding = declared_encoding(payload, label, is_html)
    if encoding and not encoding.startswith("utf") and _is_utf8(payload):
        encoding = "utf-8"
    text = decode(payload, encoding or "utf-8")
    is_right = _is_right(text) and bool(encoding or not JAPANESE.search(payload))
    if not is_right and not encoding and is_html and (late := late_encoding(payload)):
        text = decode(payload, late)
        is_right = _is_right(text)
    if not is_right:
        text = guess(payload)
    elif encoding in (None, "utf-8") and "\ufffd" in text:
        text = payload.decode("utf-8", "1252")
    return text.removeprefix("\ufeff")


def declared_encoding(payload: bytes, label: str = "", is_html: bool = True) -> str | None:
    """The codec that a page says is its own; None if it says nothing, or nothing that a browser knows."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if payload.startswith(mark):
            return encoding
    named = codec_of(label)
    if named and named.startswith("utf-16"):
        named = _utf16(payload) or (None if _is_eight_bit(payload) else named)
    return named or _utf16(payload) or (_prescanned(payload[:PRESCAN_BYTES], TAGS) if is_html else None)


def _is_utf8(payload: bytes) -> bool:
    """Whether bytes are UTF-8, with as many characters beyond ASCII as no text in another encoding has by chance."""
    try:
        return len(payload) - len(payload.decode()) >= MIN_TRAILING_BYTES
    except UnicodeDecodeError:
        return False


def late_encoding(payload: bytes) -> str | None:
    """What a `<meta>` behind the first kilobyte names: a parser changes to it when it gets there."""
    return _prescanned(payload, LATE_TAGS)


def codec_of(label: str) -> str | None:
    """Python's codec for a label of the standard; None of any other word."""
    name = label.strip(" \t\n\f\r").lower()
    found = MORE_LABELS.get(name) or map_encoding_to_html5(name, fallback_utf8=False)
    return CODECS.get(found, found) if found else None


def _prescanned(data: bytes, tags: re.Pattern[bytes]) -> str | None:
    """The codec that the first usable `<meta>` names, else the XML declaration; UTF-16 cannot be, and means UTF-8."""
    xml = XML_DECLARATION.match(data)
    labels = [_label_of(found["meta"]) for found in tags.finditer(data) if found["meta"]]
    for label in (*labels, *([xml[1] or xml[2]] if xml else [])):
        if encoding := codec_of(label.decode("latin-1")):
            return "utf-8" if encoding.startswith("utf-16") else encoding
    return None


def _label_of(attributes: bytes) -> bytes:
    """The charset of a `<meta>`: its own attribute, or that in the content of a `http-equiv`."""
    values: dict[bytes, bytes] = {}
    for name, *value in ATTRIBUTE.findall(attributes):
        values.setdefault(name.lower(), b"".join(value))
    if b"charset" in values:
        return values[b"charset"]
    is_pragma = values.get(b"http-equiv", b"").lower() == b"content-type"
    found = IN_CONTENT.search(values.get(b"content", b"")) if is_pragma else None
    return b"".join(part or b"" for part in found.groups()) if found else b""


def _utf16(payload: bytes) -> str | None:
    """The UTF-16 that bytes without a mark are: every other one is a NUL, as in any markup."""
    head = payload[:PRESCAN_BYTES]
    nuls = [head[start::2].count(0) for start in (0, 1)]
    least = MIN_NULS * len(head) / 2
    if max(nuls) < max(least, 2) or min(nuls) > least / 4:
        return None
    return "utf-16-be" if nuls[0] > nuls[1] else "utf-16-le"


def _is_eight_bit(payload: bytes) -> bool:
    """Whether the beginning has no NUL, and tags or what reads as UTF-8."""
    head = payload[:PRESCAN_BYTES]
    if 0 in head:
        return False
    return TAG.search(head) is not None or "\ufffd" not in codecs.getincrementaldecoder("utf-8")("replace").decode(head)


def decode(payload: bytes, encoding: str) -> str:
    """Characters by a codec; a byte that a Windows code page leaves free is the control of its number."""
    if encoding == "euc_jp":
        return min((payload.decode(name, "replace") for name in ("euc_jp", "euc_jis_2004")), key=_bad)
    return payload.decode(encoding, "c1" if SINGLE_BYTES.match(encoding) else "replace")


def _as_c1(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(chr(byte) if byte < 0xA0 else "\ufffd" for byte in bad), error.end


def _as_1252(error: UnicodeError) -> tuple[str, int]:
    """A single byte in the midst of UTF-8, put in from a page in Windows-1252: the character that it was there."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    around = error.object[max(0, error.start - 1) : error.start] + error.object[error.end : error.end + 1]
    bad = error.object[error.start : error.end]
    is_cut = error.end == len(error.object)  # of a page that a crawler cut: half a character
    is_alone = len(bad) == 1 and around.isascii() and bad < NEVER_UTF8 and not is_cut
    return bad.decode("cp1252", "replace") if is_alone else "\ufffd", error.end


codecs.register_error("c1", _as_c1)
codecs.register_error("1252", _as_1252)


def _is_right(text: str) -> bool:
    """Whether more of what is beyond ASCII can be read than cannot."""
    return "\ufffd" not in text or _bad(text) <= _good(text)


def _bad(text: str) -> int:
    """How many characters could not be read."""
    return text.count("\ufffd")


def _good(text: str) -> int:
    """How many characters beyond ASCII could."""
    return len(text) - len(text.encode("ascii", "ignore")) - _bad(text)


def guess(payload: bytes) -> str:
    """Characters of bytes that are no UTF-8, or hardly: by uchardet on the words beyond ASCII, else Windows-1252.

    What looks like Windows-1252 and has whole characters of UTF-8 as well is a mixture.
    """
    encoding = guessed_encoding(payload)
    return payload.decode("utf-8", "1252") if encoding == "utf-8" else decode(payload, encoding)


def guessed_encoding(payload: bytes) -> str:
    """The codec by which `guess` reads bytes; "utf-8" of a mixture."""
    for encoding in _guesses(payload):
        text = decode(payload, encoding)
        if encoding != "cp1252" and _bad(text) <= MAX_BAD_FRACTION * _good(text):
            return encoding
    mixed = payload.decode("utf-8", "replace")
    return "utf-8" if _good(mixed) >= MIN_MIXED * _bad(mixed) else "cp1252"


def _guesses(payload: bytes) -> Iterator[str]:
    """Codecs that detection names, the likeliest first."""
    pieces = BETWEEN_WORDS.split(payload[:MAX_GUESS_BYTES])
    words = b" ".join(piece for piece in pieces if not piece.isascii())
    for sample in (words, payload):
        detector = EncodingDetector()
        detector.update(sample)
        found = detector.encoding(html5_compatible=False)
        if found and C1.search(words):
            found = WINDOWS.get(found, found)
        named = codec_of(DETECTED.get(found, found.replace("_", "-"))) if found else None
        if named and named != "utf-8":
            yield named
