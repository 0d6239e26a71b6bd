"""The Kafka topics: names and what they must be configured with. Everything that crosses Kafka is named here.

All topics of a stack share a prefix (``chaukas.`` unless ``KAFKA_TOPIC_PREFIX`` says otherwise), so that several stacks
can share one cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

DEFAULT_PREFIX = "chaukas."

MIB = 1024 * 1024
#: Largest event a front door accepts (spec-independent limit of this product), bytes.
MAX_EVENT_BYTES = 1 * MIB
#: Broker limit ``max.message.bytes`` and producers' ``message.max.bytes`` per topic. Each is large enough for what the
#: stage before may legally hand over: raw = event + headers, enriched = raw + extension + header `enrichment`, a dead
#: letter = a whole enriched record inside a message.
RAW_MAX_BYTES = 2 * MIB
ENRICHED_MAX_BYTES = 3 * MIB
DEAD_LETTER_MAX_BYTES = 4 * MIB
#: An operator's word is a few bytes.
CONTROL_MAX_BYTES = MIB


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it must exist on the broker."""

    name: str
    max_message_bytes: int
    #: None: as many as ``KAFKA_TOPIC_PARTITIONS`` says.
    partitions: int | None = None
    #: Kept for ever, the latest record of each key (``cleanup.policy=compact``).
    compacted: bool = False
    #: A process runs without it, too: a cluster of an earlier version does not have it yet.
    optional: bool = False


@dataclass(frozen=True)  # no slots: names are kept, the processors ask for one with each record
class Topics:
    """The topic names of one stack."""

    prefix: str = DEFAULT_PREFIX

    @cached_property
    def raw(self) -> str:
        """Accepted events, the client's own bytes. Key: session_id, else trace_id, else event_id."""
        return f"{self.prefix}events.raw"

    @cached_property
    def enriched(self) -> str:
        """The raw value with one appended extension; same key, headers plus `enrichment`."""
        return f"{self.prefix}events.enriched"

    @cached_property
    def handoffs(self) -> str:
        """``chaukas.gateway.v1.HandoffFact``; same key as its event."""
        return f"{self.prefix}metrics.handoffs"

    @cached_property
    def mcp_calls(self) -> str:
        """``chaukas.gateway.v1.McpCallFact``; same key as its events."""
        return f"{self.prefix}metrics.mcp_calls"

    @cached_property
    def dead_letters(self) -> str:
        """``chaukas.gateway.v1.DeadLetter``; the original record's key."""
        return f"{self.prefix}dead_letters"

    @cached_property
    def control(self) -> str:
        """What operators tell the processes (:mod:`contracts.control`); one partition, compacted."""
        return f"{self.prefix}control"

    def specs(self) -> tuple[TopicSpec, ...]:
        """All topics, in the order of an event's way; the operators' last."""
        return (
            TopicSpec(self.raw, RAW_MAX_BYTES),
            TopicSpec(self.enriched, ENRICHED_MAX_BYTES),
            TopicSpec(self.handoffs, RAW_MAX_BYTES),
            TopicSpec(self.mcp_calls, RAW_MAX_BYTES),
            TopicSpec(self.dead_letters, DEAD_LETTER_MAX_BYTES),
            TopicSpec(self.control, CONTROL_MAX_BYTES, partitions=1, compacted=True, optional=True),
        )
