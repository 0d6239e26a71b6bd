"""Hand-offs and their pick-ups: one :class:`HandoffFact` per AGENT_HANDOFF event, again when it was picked up.

The pick-up is the first later event of the target agent in the same session, within the window. The target is recognized by
id; where the hand-off or the event has no agent id, by name. Without a session there is no pick-up.

A fact is published whole each time: revision 1 when the hand-off comes, revision 2 with the pick-up.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from chaukas.spec.common.v1 import events_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.v1 import facts_pb2
from processors.clip import clip_name, clip_text
from processors.intake import NANOS, Incoming
from processors.window import Recent, Window

#: How a pending hand-off's target is looked up, the first part of its key: by agent id; by name when the hand-off names no
#: id; or by name for events without an agent id when the hand-off has both.
_ID, _NAME, _NAME_OF_ID = "i", "n", "o"
_HANDOFF = int(pb.EVENT_TYPE_AGENT_HANDOFF)


@dataclass(slots=True)
class Pending:
    """A hand-off that nobody has picked up yet."""

    offset: int
    time_ns: int
    #: Revision 1, serialized: a message object would cost many times its size.
    fact: bytes
    picked_up: bool = False


class Handoffs:
    """State of this step: pending hand-offs by target."""

    __slots__ = ("_forget_at", "pending", "waiting", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        self.pending: Recent[str, deque[Pending]] = Recent(window.offsets)
        #: By session id, of any tenant: how many hand-offs wait there at most, and the last one's offset. Events of other
        #: sessions need no look at `pending`, and most sessions are not in it. It decides nothing: hand-offs that left the
        #: window stay counted for a while.
        self.waiting: dict[str, tuple[int, int]] = {}
        self._forget_at = 0

    def waits(self, session_id: str, offset: int) -> None:
        """A hand-off more."""
        if offset >= self._forget_at:
            oldest = self.window.oldest(offset)
            self.waiting = {session: waiting for session, waiting in self.waiting.items() if waiting[1] >= oldest}
            self._forget_at = offset + self.window.offsets
        count, _ = self.waiting.get(session_id, (0, 0))
        self.waiting[session_id] = count + 1, offset

    def picked_up(self, session_id: str, count: int) -> None:
        """So many less."""
        waiting, offset = self.waiting[session_id]
        if waiting > count:
            self.waiting[session_id] = waiting - count, offset
        else:
            del self.waiting[session_id]


def set_time(timestamp: Timestamp, time_ns: int) -> None:
    """Set a message's Timestamp to Unix nanoseconds; unlike its own FromNanoseconds, for any year."""
    timestamp.seconds, timestamp.nanos = divmod(time_ns, NANOS)


def handoffs(state: Handoffs, event: Incoming) -> list[facts_pb2.HandoffFact]:
    """Facts of the hand-offs this event picks up, oldest first, and of the hand-off it is."""
    facts = _pick_up(state, event) if event.session_id in state.waiting else []
    if event.type == _HANDOFF:
        fact = _handed_off(event)
        facts.append(fact)
        if event.session_id:
            _remember(state, event, fact)
    return facts


def _handed_off(event: Incoming) -> facts_pb2.HandoffFact:
    sent, record = event.event, event.record
    content = sent.agent_handoff
    fact = facts_pb2.HandoffFact()  # field by field: half the cost of arguments
    fact.handoff_id = event.event_id
    fact.tenant_id = event.tenant_id
    fact.project_id = event.project_id
    fact.session_id = event.session_id
    fact.trace_id = sent.trace_id
    fact.span_id = event.span_id
    fact.from_agent_id = content.from_agent_id
    fact.from_agent_name = clip_name(content.from_agent_name)
    fact.to_agent_id = content.to_agent_id
    fact.to_agent_name = clip_name(content.to_agent_name)
    fact.handoff_type = clip_name(content.handoff_type)
    fact.reason = clip_text(content.reason)
    fact.revision = 1
    set_time(fact.handed_off_at, event.time_ns)
    source = fact.source
    source.topic, source.partition, source.offset = record.topic, record.partition, record.offset
    return fact


def _remember(state: Handoffs, event: Incoming, fact: facts_pb2.HandoffFact) -> None:
    target = event.event.agent_handoff
    session = event.session
    keys: list[str] = []
    if target.to_agent_id:
        keys.append(f"{_ID}{session}{target.to_agent_id}")
    if target.to_agent_name:
        keys.append(f"{_NAME_OF_ID if target.to_agent_id else _NAME}{session}{target.to_agent_name}")
    pending = Pending(event.offset, event.time_ns, fact.SerializeToString(deterministic=True))
    oldest = state.window.oldest(event.offset)
    for key in keys:
        waiting = state.pending.get(key)
        if waiting is None:
            waiting = deque()
        while waiting and (waiting[0].offset < oldest or waiting[0].picked_up):
            waiting.popleft()
        waiting.append(pending)
        state.pending.put(key, waiting, event.offset)
    if keys:
        state.waits(event.session_id, event.offset)


def _pick_up(state: Handoffs, event: Incoming) -> list[facts_pb2.HandoffFact]:
    agent_id, agent_name = event.event.agent_id, event.event.agent_name
    session = event.session
    found: list[Pending] = []
    if agent_id:
        _take(state, event.offset, f"{_ID}{session}{agent_id}", found)
    elif agent_name:
        _take(state, event.offset, f"{_NAME_OF_ID}{session}{agent_name}", found)
    if agent_name:
        _take(state, event.offset, f"{_NAME}{session}{agent_name}", found)
    if not found:
        return []
    state.picked_up(event.session_id, len(found))
    found.sort(key=lambda pending: pending.offset)
    return [_picked_up(pending, event) for pending in found]


def _take(state: Handoffs, offset: int, key: str, found: list[Pending]) -> None:
    waiting = state.pending.get(key)
    if not waiting:
        return
    oldest = state.window.oldest(offset)
    for pending in waiting:
        if pending.offset >= oldest and not pending.picked_up:
            pending.picked_up = True
            found.append(pending)
    waiting.clear()


def _picked_up(pending: Pending, event: Incoming) -> facts_pb2.HandoffFact:
    fact: facts_pb2.HandoffFact = facts_pb2.HandoffFact.FromString(pending.fact)
    set_time(fact.picked_up_at, event.time_ns)
    fact.latency_ms = (event.time_ns - pending.time_ns) / 1_000_000
    fact.picked_up_event_id = event.event_id
    fact.revision = 2
    return fact
