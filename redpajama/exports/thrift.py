"""Structs in Thrift's compact protocol, as Parquet has its headers: the bytes of fields, and of structs of them.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from collections.abc import Iterable

Field = tuple[int, int, bytes]  # its number, its type, its value

BYTE, I32, I64, BINARY, LIST, STRUCT = 3, 5, 6, 8, 9, 12
TRUE, FALSE = 1, 2


def struct(*fields: Field | None) -> bytes:
    """Fields by ascending numbers, less than 16 apart; None is left out."""
    found, last = [], 0
    for field in fields:
        if field:
            number, kind, value = field
            found.append(bytes([(number - last) << 4 | kind]) + value)
            last = number
    return b"".join(found) + b"\0"


def byte(number: int, value: int) -> Field:
    return number, BYTE, bytes([value])


def flag(number: int, value: bool) -> Field:
    return number, TRUE if value else FALSE, b""


def i32(number: int, value: int) -> Field:
    return number, I32, _zigzag(value)


def i64(number: int, value: int) -> Field:
    return number, I64, _zigzag(value)


def binary(number: int, value: str) -> Field:
    return number, BINARY, _text(value)


def inner(number: int, *fields: Field | None) -> Field:
    """A struct as a field."""
    return number, STRUCT, struct(*fields)


def structs(number: int, values: Iterable[bytes]) -> Field:
    return _list(number, STRUCT, list(values))


def integers(number: int, values: Iterable[int]) -> Field:
    """A list of i32."""
    return _list(number, I32, list(map(_zigzag, values)))


def texts(number: int, values: Iterable[str]) -> Field:
    return _list(number, BINARY, list(map(_text, values)))


def _list(number: int, kind: int, values: list[bytes]) -> Field:
    head = bytes([len(values) << 4 | kind]) if len(values) < 15 else bytes([0xF0 | kind]) + varint(len(values))
    return number, LIST, head + b"".join(values)


def _text(value: str) -> bytes:
    data = value.encode()
    return varint(len(data)) + data


def _zigzag(value: int) -> bytes:
    return varint(value << 1 if value >= 0 else ~value << 1 | 1)


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first (ULEB128)."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
