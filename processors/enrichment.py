"""What the server knows about one event, and its typed form for the header `enrichment`.

A plain object instead of the protobuf message, and encoded by hand: both are made for every event, and this costs a quarter.
A property test holds :meth:`Enrichment.serialize` equal to ``chaukas.gateway.v1.Enrichment`` serialized deterministically.
"""

from __future__ import annotations

from functools import lru_cache

from contracts.v1 import enrichment_pb2, facts_pb2
from processors.wire import double, int64, sized, varint

Recovered = enrichment_pb2.Enrichment.Recovered


class Enrichment:
    """The fields of ``chaukas.gateway.v1.Enrichment`` (see there); None where the message has no value."""

    __slots__ = (
        "canonical_sha256",
        "clock_skew_ms",
        "conflicts_with",
        "content_sha256",
        "cost_usd",
        "duration_ms",
        "effective_status",
        "offset",
        "partition",
        "price_table",
        "received_at_ns",
        "recovered",
        "resend_of",
        "start_event_id",
        "topic",
    )

    def __init__(
        self,
        *,
        received_at_ns: int,
        effective_status: int,
        topic: str,
        partition: int,
        offset: int,
        content_sha256: bytes,
        canonical_sha256: bytes,
    ) -> None:
        self.received_at_ns = received_at_ns
        self.effective_status = effective_status
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.content_sha256 = content_sha256
        self.canonical_sha256 = canonical_sha256
        self.clock_skew_ms: float | None = None
        self.start_event_id = ""
        self.price_table = ""
        self.duration_ms: float | None
        self.recovered: Recovered | None
        self.resend_of: int | None
        self.conflicts_with: int | None
        self.cost_usd: float | None
        self.duration_ms = self.recovered = self.resend_of = self.conflicts_with = self.cost_usd = None

    def serialize(self) -> bytes:
        """``chaukas.gateway.v1.Enrichment`` on the wire, fields in order of their numbers."""
        parts = [b"\x08" + varint(self.received_at_ns)] if self.received_at_ns else []
        add = parts.append
        if self.clock_skew_ms is not None:
            add(b"\x11" + double(self.clock_skew_ms))
        add(_status(self.effective_status))
        if self.duration_ms is not None:
            add(b"\x21" + double(self.duration_ms))
        if self.start_event_id:
            add(b"\x2a" + sized(self.start_event_id.encode()))
        if self.recovered is not None:
            add(b"\x32" + sized(self.recovered.SerializeToString(deterministic=True)))
        if self.resend_of is not None:
            add(b"\x38" + varint(self.resend_of))
        if self.conflicts_with is not None:
            add(b"\x40" + varint(self.conflicts_with))
        offset = varint(self.offset) if self.offset else b""
        add(_place(self.topic, self.partition, len(offset)))
        add(offset)
        add(b"\x52\x20" + self.content_sha256 + b"\x5a\x20" + self.canonical_sha256)  # 32 bytes each
        if self.cost_usd is not None:
            add(b"\x61" + double(self.cost_usd))
        if self.price_table:
            add(b"\x6a" + sized(self.price_table.encode()))
        return b"".join(parts)


@lru_cache(maxsize=64)
def _status(number: int) -> bytes:
    return b"\x18" + int64(number) if number else b""


@lru_cache(maxsize=4096)
def _place(topic: str, partition: int, offset_length: int) -> bytes:
    """The field `raw` up to its offset's varint of the given length (0: no offset, because it is 0)."""
    place = facts_pb2.SourcePosition(topic=topic, partition=partition).SerializeToString()
    if offset_length:
        place += b"\x18"
    return b"\x4a" + varint(len(place) + offset_length) + place
