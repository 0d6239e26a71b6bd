"""What the topics carry, as one ``google.protobuf.FileDescriptorSet``: for consumers in any language, and for ``protoc``. Pure."""

from __future__ import annotations

from typing import Any

from chaukas.spec.common.v1 import events_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from contracts import headers as h
from contracts.v1 import dead_letter_pb2, enrichment_pb2, facts_pb2

#: By full name; the values of the topics (their header `schema`), and what the header `enrichment` holds.
MESSAGES: dict[str, Any] = {
    h.EVENT_SCHEMA: events_pb2.Event,
    h.HANDOFF_SCHEMA: facts_pb2.HandoffFact,
    h.MCP_CALL_SCHEMA: facts_pb2.McpCallFact,
    h.DEAD_LETTER_SCHEMA: dead_letter_pb2.DeadLetter,
    enrichment_pb2.Enrichment.DESCRIPTOR.full_name: enrichment_pb2.Enrichment,
}


def descriptor_set() -> FileDescriptorSet:
    """The files of :data:`MESSAGES` and all they import, each after what it imports."""
    made, done = FileDescriptorSet(), set()

    def add(file: Any) -> None:
        if file.name in done:
            return
        done.add(file.name)
        for imported in file.dependencies:
            add(imported)
        file.CopyToProto(made.file.add())

    for message in MESSAGES.values():
        add(message.DESCRIPTOR.file)
    return made
