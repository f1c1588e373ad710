"""XML dumps of any size -> the bytes of each record in them, so that one broken record costs one record.

A dump is one document, and an XML parser gives up at its first fault. But the records of the dumps read here (the
`<page>` of MediaWiki, the `<row>` of Stack Exchange) never nest, and no text inside them holds a bare `<`: so their
first bytes can be searched for, and each can be parsed alone. What stands outside the root's records is never parsed,
therefore no DOCTYPE and none of its entities.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from itertools import chain, dropwhile
from typing import NamedTuple

from lxml import etree

from redpajama.records import MAX_QUARANTINE_BYTES, Reason

MAX_RECORD_BYTES = 64 << 20
HEAD_BYTES = 1 << 20  # kept of what is too large
OVERLAP_BYTES = 64  # longer than any opening tag's name
DECLARATION_BYTES = 256  # an XML declaration ends before this
DECLARED = re.compile(rb"\A\s*<\?xml[^>]*?encoding\s*=\s*[\"']([\w.-]+)")
LEGACY = re.compile(r"iso-?8859-\d+|(windows-|cp)125\d|koi8-[ru]|gb(2312|k|18030)|big5|shift_jis|euc-(jp|kr)")
UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be", b"<\x00": "utf-16-le", b"\x00<": "utf-16-be"}
BETWEEN = re.compile(rb"\s*+(</[\w:.-]++\s*+>)?\s*+")  # what may stand between two records, and after the last

# what is no Char of XML 1.0 (production 2), as it stands in UTF-8; and references, which may be to one
FORBIDDEN = re.compile(
    rb"[\0-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]|(?P<raw>(?:\xed[\xa0-\xbf][\x80-\xbf])+)"
    rb"|(?P<references>(?:&#(?:[xX][0-9a-fA-F]{1,99}|[0-9]{1,99});)+)"
)
REFERENCE = re.compile(rb"&#(?:[xX]([0-9a-fA-F]+)|([0-9]+));")

PARSER = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, recover=False)


class Kind(Enum):
    """What a piece of a dump is."""

    HEAD = auto()  # what precedes the first record; always the first piece, perhaps empty
    RECORD = auto()
    CUT = auto()  # a record without its beginning or its end; empty where only the root's closing tag is missing
    STRAY = auto()  # bytes that belong to no record: a broken tag, something foreign
    TOO_LARGE = auto()  # a record of more than MAX_RECORD_BYTES


FAULTS = {Kind.CUT: Reason.TRUNCATED, Kind.STRAY: Reason.INVALID_XML, Kind.TOO_LARGE: Reason.EXPANSION_LIMIT}


class Piece(NamedTuple):
    """`data` is whole for a RECORD, and at most the first 64 KiB of anything else (of a HEAD: 1 MiB)."""

    kind: Kind
    offset: int  # of its first byte, in the decoded stream
    data: bytes


class _End(Enum):
    """What a slot runs into."""

    NEXT = auto()
    GAP = auto()
    FILE = auto()


class _Slot(NamedTuple):
    """What stands from one opening tag up to the next, or to where the stream breaks off."""

    offset: int
    data: bytes
    opened: bool  # begins with an opening tag
    too_large: bool  # then `data` is only its beginning
    ended: "_End"


def records(
    chunks: Iterable[bytes | None],
    opening: bytes,
    closing: bytes,
    rest: Iterable[bytes | None] = (),
    inside: bool = False,
) -> Iterator[Piece]:
    """Decoded XML -> its head, its records, and whatever else stands where a record could.

    `opening` and `closing` are patterns: the opening tag's first bytes, and the bytes that end a record. Memory is
    bounded by the largest record.

    Args:
        rest: what follows the chunks in the file, where they are a range of it. What begins in a range and ends
            behind it belongs to the range: all up to the first opening tag in `rest`.
        inside: the chunks do not begin where the file does. What stands before their first opening tag belongs to the
            range before them, and the head is empty.
    """
    ends = re.compile(closing)
    first = True
    for slot in _slots_of_range(chunks, rest, inside, re.compile(opening)):
        if first:
            yield Piece(Kind.HEAD, slot.offset, slot.data)
        elif not slot.opened:
            yield from _between(Kind.CUT, slot.offset, slot.data)
        elif slot.too_large:
            yield Piece(Kind.TOO_LARGE, slot.offset, slot.data[:MAX_QUARANTINE_BYTES])
        elif end := ends.search(slot.data):
            yield Piece(Kind.RECORD, slot.offset, slot.data[: end.end()])
            yield from _between(Kind.STRAY, slot.offset + end.end(), slot.data[end.end() :], slot.ended is _End.FILE)
        else:
            kind = Kind.STRAY if slot.ended is _End.NEXT else Kind.CUT
            yield Piece(kind, slot.offset, slot.data[:MAX_QUARANTINE_BYTES])
        first = False


def _slots_of_range(
    chunks: Iterable[bytes | None], rest: Iterable[bytes | None], inside: bool, opening: re.Pattern[bytes]
) -> Iterator[_Slot]:
    """The slots that begin in a range of a file; an empty head before those of a range inside it."""
    ahead = _Ahead(rest, opening)
    slots = _slots(chain(chunks, ahead.chunks()), opening)
    if inside:
        slots = chain([_Slot(0, b"", False, False, _End.NEXT)], dropwhile(lambda slot: not slot.opened, slots))
    held = next(slots)
    for slot in slots:
        yield held
        held = slot
    if not ahead.found:  # else it is only that opening tag
        yield held


class _Ahead:
    """What follows a range, up to and with the first opening tag that begins there."""

    def __init__(self, rest: Iterable[bytes | None], opening: re.Pattern[bytes]) -> None:
        self.rest, self.opening = rest, opening
        self.found = False

    def chunks(self) -> Iterator[bytes | None]:
        before = b""
        for chunk in self.rest:
            data = before + (chunk or b"")
            if found := self.opening.search(data):
                self.found = True
                yield data[len(before) : found.end()]
                return
            yield chunk
            before = data[-OVERLAP_BYTES:] if chunk is not None else b""


def _between(kind: Kind, offset: int, data: bytes, is_last: bool = False) -> Iterator[Piece]:
    """What is wrong with bytes outside all records: they are not blank, or they lack the root's closing tag."""
    blank = BETWEEN.fullmatch(data)
    if not blank:
        yield Piece(kind, offset, data[:MAX_QUARANTINE_BYTES])
    elif is_last and not blank[1]:
        yield Piece(Kind.CUT, offset, b"")


def _slots(chunks: Iterable[bytes | None], opening: re.Pattern[bytes]) -> Iterator[_Slot]:
    """Cut a stream before each opening tag; of a slot that grows too large only the beginning is kept."""
    data, offset, lost, opened, searched = bytearray(), 0, 0, False, 0
    for chunk in chunks:
        if chunk is None:
            yield _Slot(offset, bytes(data), opened, lost > 0, _End.GAP)
            offset, lost, opened, searched = offset + len(data) + lost, 0, False, 0
            data.clear()
            continue
        data += chunk
        begin = 0
        for end in [match.start() for match in opening.finditer(data, searched)]:
            yield _Slot(offset, bytes(data[begin:end]), opened, lost > 0, _End.NEXT)
            offset, lost, opened, begin = offset + end - begin + lost, 0, True, end
        del data[:begin]
        if len(data) > MAX_RECORD_BYTES:
            lost += len(data) - HEAD_BYTES - OVERLAP_BYTES
            del data[HEAD_BYTES:-OVERLAP_BYTES]
        searched = max(opened, len(data) - OVERLAP_BYTES)  # not again where the slot's own tag stands
    yield _Slot(offset, bytes(data), opened, lost > 0, _End.FILE)


def in_utf8(chunks: Iterable[bytes | None]) -> Iterator[bytes | None]:
    """Chunks of an XML file -> the same in UTF-8, by its byte order mark or declaration (XML 1.0, appendix F).

    What is invalid in the file's encoding becomes bytes that are invalid in UTF-8: the record around them fails alone.
    """
    chunks = iter(chunks)
    head = bytearray()
    for chunk in chunks:
        if chunk is None:
            chunks = chain([None], chunks)
            break
        head += chunk
        if len(head) >= DECLARATION_BYTES:
            break
    encoding = declared_encoding(bytes(head[:DECLARATION_BYTES]))
    chunks = chain([bytes(head)], chunks)
    yield from _transcoded(chunks, encoding) if encoding else chunks


def declared_encoding(head: bytes) -> str:
    """The encoding of an XML file that begins with `head`, or "" where it is UTF-8 or unknown."""
    if encoding := UTF16.get(head[:2]):
        return encoding
    declared = DECLARED.match(head)
    name = declared[1].decode("ascii").lower() if declared else ""
    return name if LEGACY.fullmatch(name) else ""  # "utf-16" in a file of single bytes is a slip of its writer


def _transcoded(chunks: Iterable[bytes | None], encoding: str) -> Iterator[bytes | None]:
    decoder = codecs.getincrementaldecoder(encoding)(
        "surrogatepass" if encoding in UTF16.values() else "surrogateescape"
    )
    for chunk in chunks:
        if chunk is None:
            yield _last_of(decoder)
            decoder.reset()
            yield None
        else:
            yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
    yield _last_of(decoder)


def _last_of(decoder: codecs.IncrementalDecoder) -> bytes:
    """What the decoder still holds; a byte that is never valid for half a character."""
    try:
        return decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return b"\xff"


def parse(record: bytes) -> etree._Element | Reason:
    """One record -> its element, or why it is none; what XML forbids is taken out."""
    return parse_mended(record)[0]


def parse_mended(record: bytes) -> tuple[etree._Element | Reason, int]:
    """(one record's element or why it is none, how many characters were in it that XML forbids).

    Entities are never expanded, nothing is ever fetched. Two surrogates that make one character are that character.
    """
    try:
        return etree.fromstring(record, PARSER), 0
    except etree.XMLSyntaxError:
        mended, count = without_forbidden(record)
    try:
        mended.decode()
        return etree.fromstring(mended, PARSER), count
    except UnicodeDecodeError:
        return Reason.INVALID_UTF8, 0
    except etree.XMLSyntaxError:
        return Reason.INVALID_XML, 0


def without_forbidden(record: bytes) -> tuple[bytes, int]:
    """(the bytes of a record without the characters that XML forbids, how many these were)."""
    removed = 0

    def mend(found: re.Match[bytes]) -> bytes:
        nonlocal removed
        kept, count = _allowed(_characters(found))
        removed += count
        return kept

    return FORBIDDEN.sub(mend, record), removed


def _characters(found: re.Match[bytes]) -> list[int]:
    """The numbers of the characters that stand there, raw or as references, one after the other."""
    if found["raw"]:
        return [ord(character) for character in found["raw"].decode("utf-8", "surrogatepass")]
    if found["references"]:
        return [int(hexa, 16) if hexa else int(digits) for hexa, digits in REFERENCE.findall(found["references"])]
    return [0]


def _allowed(numbers: list[int]) -> tuple[bytes, int]:
    """(references to those characters that XML allows, how many others there are); surrogates may make pairs."""
    units = "".join(chr(number) if number < 0x110000 else "\0" for number in numbers)
    characters = units.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "surrogatepass")
    kept = [character for character in characters if ord(character) >= 0x20 or character in "\t\n\r"]
    kept = [
        character for character in kept if not "\ud800" <= character <= "\udfff" and character not in "\ufffe\uffff"
    ]
    return b"".join(b"&#%d;" % ord(character) for character in kept), len(characters) - len(kept)
