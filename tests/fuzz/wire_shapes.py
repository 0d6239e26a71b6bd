"""Hostile protobuf: sound messages damaged by a raw mutator, and shapes that no damage would ever lead to."""

from __future__ import annotations

import gzip
import random
import struct
import zlib
from collections.abc import Callable, Sequence

from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2
from google.protobuf import any_pb2, struct_pb2

from contracts.v1 import insights_pb2
from tests.support.events import event, seeded_sessions
from tests.support.hostile_texts import HOSTILE_TEXTS

TENANT, PROJECT = "acme", "shop"


def varint(value: int, width: int = 0) -> bytes:
    """`width` pads it to so many bytes."""
    out = bytearray()
    while value >= 0x80 or len(out) + 1 < width:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, wire: int, value: bytes) -> bytes:
    """One field; a length-delimited one with its length."""
    return varint(number << 3 | wire) + (varint(len(value)) + value if wire == 2 else value)


class WireShapes:
    """Requests by kind, from one source of randomness."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        events = [one for session in seeded_sessions(7, 4, tenant=TENANT, project=PROJECT) for one in session]
        self.events: list[bytes] = [one.SerializeToString() for one in events]
        self.events += [self._odd_event(number).SerializeToString() for number in range(40)]
        self.singles = [field(1, 2, value) for value in self.events]
        self.batches = [
            field(1, 2, b"".join(field(3, 2, value) for value in self._some(self.events, 1, 6))) for _ in range(60)
        ]
        self.queries = [self._query().SerializeToString() for _ in range(60)]
        self.lists = [
            insights_pb2.ListHandoffsRequest(filter=self._query().query.filter, page_size=number).SerializeToString()
            for number in range(20)
        ]
        self.stats = [
            server_pb2.GetEventStatsRequest(tenant_id=text).SerializeToString() for text in ("", TENANT, "other")
        ]
        self._special: Sequence[Callable[[], bytes]] = (
            self.nested_groups,
            self.nested_struct,
            self.nested_any,
            self.huge_map,
            self.varints,
            self.many_tiny_fields,
            self.repeated_singular,
            self.invalid_utf8,
            self.lying_length,
        )

    def damaged(self, corpus: Sequence[bytes]) -> bytes:
        """One of `corpus`, changed in some places; a few are as they were, a few have nothing to do with it."""
        rng = self._rng
        chance = rng.random()
        if chance < 0.02:
            return rng.randbytes(rng.randrange(200))
        data = bytearray(rng.choice(corpus))
        for _ in range(rng.randrange(5) if chance < 0.9 else rng.randrange(40)):
            if data:
                self._damage(data, corpus)
        return bytes(data)

    def event_value(self) -> bytes:
        """What an event's own bytes may be."""
        if self._rng.random() < 0.2:
            return self._rng.choice(self._special)()
        return self.damaged(self.events)

    def single(self) -> bytes:
        """An IngestEventRequest, more or less."""
        if self._rng.random() < 0.3:
            return field(1, 2, self.event_value())
        return self.damaged(self.singles)

    def batch(self) -> bytes:
        """An IngestEventBatchRequest, more or less."""
        if self._rng.random() < 0.3:
            values = [self.event_value() for _ in range(self._rng.randrange(4))]
            return field(1, 2, b"".join(field(3, 2, value) for value in values))
        return self.damaged(self.batches)

    def query(self) -> bytes:
        return self.damaged(self.queries if self._rng.random() < 0.8 else self.stats)

    def listing(self) -> bytes:
        return self.damaged(self.lists)

    # -- shapes

    def nested_groups(self) -> bytes:
        """Groups in groups, closed, half closed or not."""
        depth = self._rng.choice((1, 10, 99, 100, 101, 500, 5000))
        closed = self._rng.choice((depth, depth, depth // 2, 0, depth + 1))
        return self._base() + b"\x8b\x01" * depth + b"\x8c\x01" * closed

    def nested_struct(self) -> bytes:
        """metadata = {"a": {"a": …}}, written outwards, so that no recursion of ours is in the way."""
        depth = self._rng.choice((2, 15, 24, 25, 31, 32, 33, 60, 100, 400))
        value = b"\x1a\x01x"  # Value.string_value
        for _ in range(depth):
            entry = field(1, 2, b"a") + field(2, 2, value)
            value = field(5, 2, field(1, 2, entry))  # Value.struct_value{fields{…}}
        number = pb.Event.DESCRIPTOR.fields_by_name["metadata"].number
        return self._base() + field(number, 2, field(1, 2, field(1, 2, b"a") + field(2, 2, value)))

    def nested_any(self) -> bytes:
        inner = any_pb2.Any(type_url="type.googleapis.com/google.protobuf.Any", value=b"\x0a\x00")
        for _ in range(self._rng.choice((1, 5, 40, 200))):
            inner = any_pb2.Any(type_url=inner.type_url, value=inner.SerializeToString())
        number = pb.Event.DESCRIPTOR.fields_by_name["extensions"].number
        return self._base() + field(number, 2, inner.SerializeToString()) * self._rng.choice((1, 1, 50))

    def huge_map(self) -> bytes:
        made = struct_pb2.Struct()
        for number in range(self._rng.choice((10, 300, 3000))):
            made.fields[f"key{number}"].number_value = number
        return self._base() + field(pb.Event.DESCRIPTOR.fields_by_name["metadata"].number, 2, made.SerializeToString())

    def varints(self) -> bytes:
        """Known and unknown fields with the largest, the longest and overlong varints."""
        rng = self._rng
        number = rng.choice((1, 2, 5, 10, 15, 100, 536870911))
        value = rng.choice((b"\xff" * 9 + b"\x01", b"\xff" * 10, b"\x80" * 9 + b"\x00", b"\x80" * 30, varint(5, 10)))
        return self._base() + varint(number << 3, rng.choice((0, 5, 6))) + value

    def many_tiny_fields(self) -> bytes:
        return self._base() + b"\xa8\x06\x01" * self._rng.choice((10, 1000, 20_000))

    def repeated_singular(self) -> bytes:
        """Singular fields again and again, other arms of the oneof included: the last one counts, messages merge."""
        return b"".join(self._some(self.events, 2, 8))

    def invalid_utf8(self) -> bytes:
        data = bytearray(self._base())
        for _ in range(self._rng.randint(1, 4)):
            data[self._rng.randrange(len(data))] = self._rng.choice((0xC0, 0xFF, 0xED, 0xF8, 0x80))
        return bytes(data)

    def lying_length(self) -> bytes:
        """A field that says it is longer than the message, up to 4 GiB."""
        size = self._rng.choice((1, 127, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**63))
        return self._base() + b"\x0a" + varint(size) + b"x" * self._rng.randrange(5)

    # -- compression

    def compressed(self, payload: bytes) -> tuple[str, bytes]:
        """`payload` in an encoding, true or not: name and bytes."""
        name = self._rng.choice(("gzip", "deflate", "identity", "br", "snappy", "zstd"))
        if name == "gzip":
            payload = gzip.compress(payload, 1)
        elif name == "deflate":
            payload = zlib.compress(payload, 1)
        if self._rng.random() < 0.3:
            payload = payload[: self._rng.randrange(len(payload) + 1)] + self._rng.randbytes(3)
        return name, payload

    # -- pieces

    def _base(self) -> bytes:
        return self._rng.choice(self.events)

    def _some(self, corpus: Sequence[bytes], least: int, most: int) -> list[bytes]:
        return self._rng.choices(corpus, k=self._rng.randint(least, most))

    def _damage(self, data: bytearray, corpus: Sequence[bytes]) -> None:
        rng = self._rng
        at = rng.randrange(len(data))
        match rng.randrange(9):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at] = rng.randrange(256)
            case 2:
                del data[at : at + rng.randint(1, 16)]
            case 3:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
            case 4:
                data[at:at] = data[at : at + rng.randint(1, 64)]
            case 5:
                other = rng.choice(corpus)
                data[at:] = other[rng.randrange(len(other) + 1) :]
            case 6:
                data[at:at] = b"\xff" * rng.randint(4, 11)
            case 7:
                data[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 2**31 - 1, 2**32 - 1)))
            case _:
                text = rng.choice(HOSTILE_TEXTS).encode()
                data[at : at + len(text)] = text

    def _odd_event(self, number: int) -> pb.Event:
        """An event whose texts are hostile, where the rules let them be."""
        text = HOSTILE_TEXTS[number % len(HOSTILE_TEXTS)]
        made = event(
            self._rng.choice((pb.EVENT_TYPE_MCP_CALL_END, pb.EVENT_TYPE_AGENT_HANDOFF, pb.EVENT_TYPE_ERROR, 77)),
            tenant=self._rng.choice((TENANT, TENANT, TENANT, "other")),
            project=PROJECT,
            event_id=f"odd-{number}",
            agent_name=text,
            tags=[text, text],
        )
        match number % 4:
            case 0:
                made.message.text = text
            case 1:
                made.mcp_call.server_name = made.mcp_call.operation = text
            case 2:
                made.agent_handoff.reason = made.agent_handoff.to_agent_name = text
            case _:
                made.state_update.update({text or "k": {"x": [text, 1, None, float("inf")]}})
        return made

    def _query(self) -> server_pb2.QueryEventsRequest:
        rng = self._rng
        made = server_pb2.QueryEventsRequest()
        query = made.query
        for name in ("session_id", "agent_id", "span_id", "trace_id", "text_query"):
            if rng.random() < 0.2:
                setattr(query.filter, name, rng.choice(HOSTILE_TEXTS))
        if rng.random() < 0.2:
            query.filter.tags.extend(rng.choices(HOSTILE_TEXTS, k=rng.randint(1, 3)))
        if rng.random() < 0.2:
            query.filter.types.extend(rng.choices((1, 5, 99, -1, 2**31 - 1), k=2))
        if rng.random() < 0.1:
            query.filter.tenant_id = rng.choice((TENANT, "other", "'"))
        if rng.random() < 0.2:
            query.filter.time.start.seconds = rng.choice((0, -1, 2**62, -(2**62), 1_700_000_000))
        if rng.random() < 0.2:
            query.filter.time.end.nanos = rng.choice((0, -1, 2**31 - 1))
        if rng.random() < 0.2:
            query.page_token = rng.choice((*HOSTILE_TEXTS[:20], "AQ" * 30))
        query.page_size = rng.choice((0, 1, 5, -1, 2**31 - 1))
        query.order_by_time = rng.choice((0, 1, 2, 3, -1))
        return made
