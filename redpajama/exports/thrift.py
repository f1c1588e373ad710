"""Thrift's compact protocol, as far as Parquet's headers take it (thrift.apache.org: thrift-compact-protocol.md)."""

from typing import Any

I32, I64, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12
LONG_LIST = 15  # from there on a list's length stands apart


def struct(*fields: tuple[int, int, Any]) -> bytes:
    """(id, kind, value) in the order of ids, at most 15 apart; of a list (kind, values), of a struct its bytes."""
    found, before = bytearray(), 0
    for number, kind, value in fields:
        found.append((number - before) << 4 | kind)
        found += _value(kind, value)
        before = number
    return bytes(found) + b"\x00"


def _value(kind: int, value: Any) -> bytes:
    if kind in (I32, I64):
        return _varint(value << 1 ^ value >> 63)
    if kind == BINARY:
        return _varint(len(value)) + value
    if kind == LIST:
        inner, values = value
        head = bytes([min(len(values), LONG_LIST) << 4 | inner])
        long = _varint(len(values)) if len(values) >= LONG_LIST else b""
        return head + long + b"".join(_value(inner, each) for each in values)
    return bytes(value)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])
