"""The account of a trial: a whole and correct one passes, and each single thing that goes wrong in it is noticed."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2
from google.protobuf.struct_pb2 import Struct, Value

from contracts import dead_letters as letters
from contracts.dead_letters import Reason, Stage
from processors.intake import RawRecord
from tests.conservation.account import Oracle, consult, problems
from tests.conservation.evidence import Evidence
from tests.conservation.system import ForeignRecord
from tests.conservation.traffic import Ledger
from tests.support.events import seeded_sessions
from tests.support.raw_records import raw_record

PROJECT = "p"


def _extended(event: pb.Event, oracle: Oracle, offset: int) -> pb.Event:
    """As QueryEvents answers it."""
    wanted = oracle.enrichments[0, offset]
    made = pb.Event()
    made.CopyFrom(event)
    content = Struct()
    ours: dict[str, Any] = {"start_event_id": wanted.start_event_id} if wanted.start_event_id else {}
    if wanted.HasField("duration_ms"):
        ours["duration_ms"] = wanted.duration_ms
    content.update({"chaukas.gateway": ours})
    made.extensions.add().Pack(content)
    return made


def _letter(record: RawRecord) -> Any:
    return letters.build(record.to_source(), Stage.PROCESSORS, Reason.UNPARSEABLE, "the value is no Event")


@pytest.fixture
def ledger(whole: tuple[Ledger, Evidence]) -> Ledger:
    return whole[0]


@pytest.fixture
def evidence(whole: tuple[Ledger, Evidence]) -> Evidence:
    return whole[1]


@pytest.fixture
def whole() -> tuple[Ledger, Evidence]:
    """A few sessions in one partition, one event sent twice, one bad record, everything accounted for."""
    events = [event for session in seeded_sessions(3, 6, tenant="t", project=PROJECT) for event in session]
    sent = [*events[:40], events[20], *events[40:]]
    raw = [raw_record(event, offset, received_at_ns=10**18 + offset) for offset, event in enumerate(sent)]
    bad = RawRecord("raw", 0, len(raw), b"k", b"\xff\xff", [], 0)
    ledger = Ledger(
        sent={event.event_id: event for event in events},
        acknowledged={event.event_id for event in events},
        rejected={"reject-1"},
    )
    oracle = consult(raw, PROJECT)
    offsets = {event.event_id: offset for offset, event in reversed(list(enumerate(sent)))}
    assert len(oracle.handoffs) > 1
    assert len(oracle.mcp_calls) > 1
    stats = server_pb2.GetEventStatsResponse(
        total_events=len(events),
        total_sessions=6,
        events_by_type=Counter(pb.EventType.Name(event.type) for event in events),
    )
    evidence = Evidence(
        raw=[*raw, bad],
        letters=[_letter(bad)],
        stored=[_extended(event, oracle, offsets[event.event_id]) for event in events],
        stats=stats,
        handoffs=list(oracle.handoffs.values()),
        mcp_calls=list(oracle.mcp_calls.values()),
        lag={"raw": 0},
        foreign=[ForeignRecord("raw", 0, len(raw), b"\xff\xff")],
    )
    return ledger, evidence


def test_a_correct_system_has_no_problems(ledger: Ledger, evidence: Evidence) -> None:
    assert problems(ledger, evidence, PROJECT) == []


def test_an_event_in_doubt_may_be_stored_or_not(ledger: Ledger, evidence: Evidence) -> None:
    ledger.acknowledged.discard(evidence.stored[0].event_id)
    assert problems(ledger, evidence, PROJECT) == []


def _remove(evidence: Evidence) -> None:
    del evidence.stored[5]
    evidence.stats.total_events -= 1
    # Even if the statistics agree with the loss.
    name = next(iter(evidence.stats.events_by_type))
    evidence.stats.events_by_type[name] -= 1


def _alter(evidence: Evidence) -> None:
    evidence.stored[7].tags.append("x")


def _invent(evidence: Evidence) -> None:
    evidence.stored.append(pb.Event(event_id="nobody", session_id=evidence.stored[0].session_id))


def _store_rejected(evidence: Evidence) -> None:
    evidence.stored.append(pb.Event(event_id="reject-1", session_id=evidence.stored[0].session_id))


def _wrong_letter(evidence: Evidence) -> None:
    evidence.letters[0].value = b"other"


def _letter_at_another_place(evidence: Evidence) -> None:
    evidence.letters[0].offset += 1


def _count_again(evidence: Evidence) -> None:
    again = copy.deepcopy(evidence.mcp_calls[0])
    again.call_id = "00000000-0000-5000-8000-000000000000"
    evidence.mcp_calls.append(again)


def _wrong_latency(evidence: Evidence) -> None:
    next(fact for fact in evidence.handoffs if fact.revision == 2).latency_ms += 1


def _forget_a_start(evidence: Evidence) -> None:
    for event in evidence.stored:
        content = Struct.FromString(event.extensions[-1].value)
        if "duration_ms" in content.fields["chaukas.gateway"].struct_value.fields:
            event.extensions[-1].Pack(Struct(fields={"chaukas.gateway": Value(struct_value=Struct())}))
            return


def _wrong_hop(evidence: Evidence) -> None:
    evidence.handoffs[0].hop += 1


HARM: dict[str, tuple[Callable[[Evidence], Any], str]] = {
    "lost": (_remove, "neither stored nor dead-lettered"),
    "stored twice": (lambda e: e.stored.append(e.stored[3]), "more than once"),
    "altered": (_alter, "not what was sent first"),
    "invented": (_invent, "nobody sent"),
    "rejected": (_store_rejected, "rejected events are stored"),
    "dead letter lost": (lambda e: e.letters.clear(), "no dead letter"),
    "dead letter of other bytes": (_wrong_letter, "do not hold their record"),
    "dead letter of another place": (_letter_at_another_place, "no dead letter"),
    "statistics": (lambda e: setattr(e.stats, "total_events", 1), "statistics say"),
    "statistics by type": (lambda e: e.stats.events_by_type.update(EVENT_TYPE_AGENT_START=1), "by type"),
    "sessions": (lambda e: setattr(e.stats, "total_sessions", 7), "sessions"),
    "hand-off lost": (lambda e: e.handoffs.pop(), "hand-offs are missing"),
    "call lost": (lambda e: e.mcp_calls.pop(), "MCP calls are missing"),
    "call counted again": (_count_again, "never were"),
    "call answered twice": (lambda e: e.mcp_calls.append(e.mcp_calls[0]), "more than once"),
    "latency": (_wrong_latency, "hand-offs differ"),
    "duration": (_forget_a_start, "another START or duration"),
    "hop": (_wrong_hop, "hand-offs differ"),
    "lag": (lambda e: e.lag.update(raw=3), "not consumed"),
    "crash loop": (lambda e: e.restless.update(sink=2), "leave by themselves"),
    "trace": (lambda e: e.traces.append("sink.log: Traceback"), "stack trace"),
}


@pytest.mark.parametrize("name", HARM)
def test_what_goes_wrong_is_noticed(ledger: Ledger, evidence: Evidence, name: str) -> None:
    harm, words = HARM[name]
    harm(evidence)
    assert any(words in problem.what for problem in problems(ledger, evidence, PROJECT))


def test_facts_of_a_session_in_two_partitions_may_be_incomplete(ledger: Ledger, evidence: Evidence) -> None:
    session = evidence.mcp_calls[0].session_id
    del evidence.mcp_calls[0]
    assert problems(ledger, evidence, PROJECT)
    evidence.spread_sessions = {session}
    assert problems(ledger, evidence, PROJECT) == []
