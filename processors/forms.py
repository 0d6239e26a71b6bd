"""Both forms of an enrichment at once, for the shapes that nearly all records have.

What the records of one shape share is kept with a layout of `struct`, in which everything has its length: a record costs two
calls of `pack` and no object. All others take :class:`Enrichment`, which says what the bytes are; a property test holds both
equal.
"""

from __future__ import annotations

import struct
from binascii import hexlify
from collections.abc import Callable
from functools import lru_cache

from processors import enrichment, extension
from processors.intake import NANOS, Incoming
from processors.pair import Pairing
from processors.pricing import PRICE_TABLE
from processors.wire import double, high_bits, low_bits, sized, varint

#: Times of receipt from here on (1974) take nine bytes.
EARLIEST_NS = 1 << 56

_Pack = Callable[..., bytes]


def common_forms(
    event: Incoming, status: int, skew_ms: float, pairing: Pairing | None, cost: float | None
) -> tuple[bytes, bytes]:
    """The header's value and the extension of an event without mark, from whose START nothing is recovered, and that was
    received at :data:`EARLIEST_NS` or later."""
    record, received_at_ns, offset = event.record, event.received_at_ns, event.offset
    where = varint(offset) if offset else b""
    dollars = b"" if cost is None else double(cost)
    start_id = duration = b""
    if pairing is not None:
        start_id, duration = pairing.start_event_id.encode(), double(pairing.duration_ms)
    shape = _shape(record.topic, record.partition, status, len(where), len(start_id), cost is not None)
    pack, h_status, h_start, h_place, h_cost, h_table, append, x_skew, x_cost, x_duration, x_offset, x_time, x_start = (
        shape
    )
    seconds, nanos = divmod(received_at_ns, NANOS)
    content = event.content_sha256
    return (
        pack(
            b"\x08",
            low_bits(received_at_ns),
            high_bits(received_at_ns >> 28),
            b"\x11",
            skew_ms,
            h_status,
            duration,
            h_start,
            start_id,
            h_place,
            where,
            b"\x52\x20",
            content,
            b"\x5a\x20",
            event.canonical_sha256,
            h_cost,
            dollars,
            h_table,
        ),
        append(
            x_skew,
            skew_ms,
            extension.SHA256,
            hexlify(content),
            x_cost,
            dollars,
            x_duration,
            duration,
            x_offset,
            offset,
            x_time,
            _second(seconds),
            b"%09d" % nanos,
            x_start,
            start_id,
        ),
    )


@lru_cache(maxsize=1024)
def _second(seconds: int) -> bytes:
    return extension.whole_seconds(seconds).encode() + b"."


_Shape = tuple[_Pack, bytes, bytes, bytes, bytes, bytes, _Pack, bytes, bytes, bytes, bytes, bytes, bytes]


@lru_cache(maxsize=4096)
def _shape(
    topic: str, partition: int, status: int, offset_length: int, start_id_length: int, with_cost: bool
) -> _Shape:
    """The header's layout and what never differs in it, and the same of the extension. A start id makes it that of a pair;
    what a shape has not takes no bytes."""
    paired = start_id_length > 0
    h_status = enrichment.status(status) + (b"\x21" if paired else b"")
    h_start = b"\x2a" + varint(start_id_length) if paired else b""
    h_place = enrichment.place(topic, partition, offset_length)
    h_cost = b"\x61" if with_cost else b""
    h_table = b"\x6a" + sized(PRICE_TABLE.encode()) if with_cost else b""
    d_length, c_length = 8 * paired, 8 * with_cost
    pack = struct.Struct(
        f"<s4s5ssd{len(h_status)}s{d_length}s{len(h_start)}s{start_id_length}s{len(h_place)}s{offset_length}s"
        f"2s32s2s32s{len(h_cost)}s{c_length}s{len(h_table)}s"
    ).pack

    raw_head, raw_tail = extension.raw(topic, partition)
    x_cost = extension.COST if with_cost else b""
    x_duration = extension.DURATION if paired else b""
    x_offset = extension.status(status) + raw_head
    x_time = raw_tail + extension.RECEIVED
    x_start = b"Z" + (extension.string_head(b"start_event_id", start_id_length) if paired else b"")
    entries = f"d{len(extension.SHA256)}s64s{len(x_cost)}s{c_length}s{len(x_duration)}s{d_length}s"
    entries += f"{len(x_offset)}sd{len(x_time)}s20s9s{len(x_start)}s{start_id_length}s"
    x_skew = extension.envelope(len(extension.SKEW) + struct.calcsize("<" + entries)) + extension.SKEW
    append = struct.Struct(f"<{len(x_skew)}s{entries}").pack
    return (
        pack,
        h_status,
        h_start,
        h_place,
        h_cost,
        h_table,
        append,
        x_skew,
        x_cost,
        x_duration,
        x_offset,
        x_time,
        x_start,
    )
