"""Both forms of an enrichment at once, for the shapes that nearly all records have.

What the records of one shape share is kept as a template for `%`, with places for what differs: a record costs two
substitutions and no object. All others take :class:`Enrichment`, which says what the bytes are; a property test holds both
equal.
"""

from __future__ import annotations

from binascii import hexlify
from functools import lru_cache

from processors import enrichment, extension
from processors.intake import NANOS, Incoming
from processors.pair import Pairing
from processors.pricing import PRICE_TABLE
from processors.wire import double, sized, varint


def common_forms(
    event: Incoming, status: int, skew_ms: float, pairing: Pairing | None, cost: float | None
) -> tuple[bytes, bytes]:
    """The header's value and the extension of an event without mark, from whose START nothing is recovered."""
    record, received_at_ns = event.record, event.received_at_ns
    offset = record.offset
    start_id = b"" if pairing is None else pairing.start_event_id.encode()
    in_header, appended = _templates(
        record.topic, record.partition, status, offset.bit_length(), len(start_id), cost is not None
    )
    seconds, nanos = divmod(received_at_ns, NANOS)
    received, second, skew, content = varint(received_at_ns), _second(seconds), double(skew_ms), event.content_sha256
    hex_content, where, canonical = hexlify(content), varint(offset) if offset else b"", event.canonical_sha256
    if pairing is None:
        if cost is None:
            return (
                in_header % (received, skew, where, content, canonical),
                appended % (skew, hex_content, double(offset), second, nanos),
            )
        dollars = double(cost)
        return (
            in_header % (received, skew, where, content, canonical, dollars),
            appended % (skew, hex_content, dollars, double(offset), second, nanos),
        )
    duration = double(pairing.duration_ms)
    if cost is None:
        return (
            in_header % (received, skew, duration, start_id, where, content, canonical),
            appended % (skew, hex_content, duration, double(offset), second, nanos, start_id),
        )
    dollars = double(cost)
    return (
        in_header % (received, skew, duration, start_id, where, content, canonical, dollars),
        appended % (skew, hex_content, dollars, duration, double(offset), second, nanos, start_id),
    )


@lru_cache(maxsize=1024)
def _second(seconds: int) -> bytes:
    return extension.whole_seconds(seconds).encode()


@lru_cache(maxsize=4096)
def _templates(
    topic: str, partition: int, status: int, offset_bits: int, start_id_length: int, with_cost: bool
) -> tuple[bytes, bytes]:
    """Of the header's value and of the extension. A start id makes it that of a pair."""
    pair = b"\x21%b\x2a" + _fixed(varint(start_id_length)) + b"%b" if start_id_length else b""
    cost = b"\x61%b\x6a" + _fixed(sized(PRICE_TABLE.encode())) if with_cost else b""
    place = enrichment.place(topic, partition, -(-offset_bits // 7))
    in_header = (
        b"\x08%b\x11%b" + _fixed(enrichment.status(status)) + pair + _fixed(place) + b"%b\x52\x20%b\x5a\x20%b" + cost
    )

    raw_head, raw_tail = extension.raw(topic, partition)
    pieces = [(extension.SKEW, b"%b", 8), (extension.SHA256, b"%b", 64)]  # sorted by key
    if with_cost:
        pieces.append((extension.COST, b"%b", 8))
    if start_id_length:
        pieces.append((extension.DURATION, b"%b", 8))
    pieces += [
        (extension.status(status) + raw_head, b"%b", 8),
        (raw_tail + extension.RECEIVED, b"%b.%09dZ", 30),
    ]
    if start_id_length:
        pieces.append((extension.string_head(b"start_event_id", start_id_length), b"%b", start_id_length))
    envelope = extension.envelope(sum(len(head) + length for head, _, length in pieces))
    return in_header, _fixed(envelope) + b"".join(_fixed(head) + place for head, place, _ in pieces)


def _fixed(content: bytes) -> bytes:
    return content.replace(b"%", b"%%")
