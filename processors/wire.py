"""The few pieces of protobuf's wire format that are written by hand, because they are written for every event."""

from __future__ import annotations

import struct
from functools import lru_cache

#: All of 0 to 2^14 - 1: lengths, small offsets.
_SHORT = tuple(bytes([n]) if n < 0x80 else bytes([n & 0x7F | 0x80, n >> 7]) for n in range(0x4000))

#: A double's eight bytes.
double = struct.Struct("<d").pack
_four = struct.Struct("4B").pack


def varint(number: int) -> bytes:
    """`number` (0 to 2^64 - 1) as a varint."""
    if number < 0x4000:
        return _SHORT[number]
    if number < 1 << 28:
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80)) + _SHORT[number >> 14]
    return low_bits(number) + high_bits(number >> 28)


def low_bits(number: int) -> bytes:
    """The first four bytes of a varint that has more. No table: what is in them is random, and a table that is not in the
    processor's cache costs more than it saves."""
    low = number & 0xFFFFFFF
    return _four(low & 0x7F | 0x80, low >> 7 & 0x7F | 0x80, low >> 14 & 0x7F | 0x80, low >> 21 | 0x80)


@lru_cache(maxsize=1024)
def high_bits(number: int) -> bytes:
    """All that follow them, of ``number >> 28``: a time's are those of the event before."""
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def int64(number: int) -> bytes:
    """An int32, int64 or enum as protobuf writes it: a negative one takes ten bytes."""
    return varint(number & 0xFFFFFFFFFFFFFFFF)


def sized(content: bytes) -> bytes:
    """`content` with its length before it."""
    return varint(len(content)) + content
