"""An event that protobuf reads by itself and not inside a page of answers: what only who writes to a topic can bring in."""

from __future__ import annotations

from chaukas.spec.common.v1 import events_pb2 as pb
from google.protobuf import struct_pb2

from tests.support.events import event

#: Structs in each other, three levels of messages each: protobuf's limit is 100 levels, and a page takes two of them.
_STRUCTS = 33


def deep_event(event_id: str) -> pb.Event:
    """`metadata` is nested too deep for a page; the rest is an ordinary event."""
    made = event(event_id=event_id)
    value = struct_pb2.Value(string_value="x")
    for _ in range(_STRUCTS - 1):
        value = struct_pb2.Value(struct_value=struct_pb2.Struct(fields={"a": value}))
    made.metadata.fields["a"].CopyFrom(value)
    return made
