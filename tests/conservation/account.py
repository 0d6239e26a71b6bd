"""Compares what clients were told with what can be seen: pure, so that it can be shown to notice every kind of loss.

acknowledged ⊆ stored ∪ dead-lettered; nothing stored that was not sent, or was rejected; each event stored once, with the
content that was first in the raw topic; every bad record a dead letter with its true place; statistics equal to a recount;
hand-offs, MCP calls, and each event's START and duration equal to those of an oracle that reads each raw partition in order; lag 0; nobody restless; no traces.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from chaukas.spec.common.v1 import events_pb2 as pb
from google.protobuf.struct_pb2 import Struct

from contracts.v1 import enrichment_pb2, facts_pb2
from processors.intake import BadRecord, RawRecord
from processors.intake import read as intake
from processors.mcp_calls import _NAMESPACE
from tests.conservation.evidence import Evidence
from tests.conservation.traffic import Ledger
from tests.support.enrichment_oracle import expected

#: The processors' window in trials: everything.
WINDOW = 50_000
#: Examples named per problem.
_SHOWN = 3


@dataclass(frozen=True)
class Problem:
    """One kind of disagreement. `event_id`: the first event concerned, if there is one."""

    what: str
    event_id: str = ""

    def __str__(self) -> str:
        return self.what


def problems(ledger: Ledger, evidence: Evidence, project: str) -> list[Problem]:
    """Empty when everything is accounted for."""
    good, bad = _sorted_out(evidence.raw)
    firsts = _first_copies(good)
    oracle = consult(good, project)
    return [
        *_stored(ledger, evidence),
        *_contents(ledger, evidence, firsts),
        *_letters(evidence, bad),
        *_statistics(evidence),
        *_enrichments(evidence, oracle, firsts),
        *_facts(evidence, oracle),
        *_processes(evidence),
    ]


def _sorted_out(raw: Sequence[RawRecord]) -> tuple[list[RawRecord], list[RawRecord]]:
    """Records that are events, and those that are not."""
    good, bad = [], []
    for record in raw:
        try:
            intake(record)
        except BadRecord:
            bad.append(record)
        else:
            good.append(record)
    return good, bad


def _header(record: RawRecord, name: str) -> str:
    return next((value.decode() for key, value in record.headers if key == name and value is not None), "")


def _first_copies(good: Sequence[RawRecord]) -> dict[str, RawRecord]:
    """By event id, the copy that wins: the smallest (time of receipt, partition, offset)."""
    found: dict[str, RawRecord] = {}
    for record in sorted(good, key=lambda r: (int(_header(r, "received_at_ns")), r.partition, r.offset)):
        found.setdefault(_header(record, "event_id"), record)
    return found


def _some(what: str, ids: Iterable[str]) -> list[Problem]:
    named = sorted(ids)
    if not named:
        return []
    return [Problem(f"{len(named)} {what}: {', '.join(named[:_SHOWN])}", named[0])]


def _stored(ledger: Ledger, evidence: Evidence) -> list[Problem]:
    counts = Counter(event.event_id for event in evidence.stored)
    # The event id in a letter is the header's word, as everywhere.
    dead = {
        header.value.decode(errors="replace")
        for letter in evidence.letters
        for header in letter.headers
        if header.name == "event_id"
    }
    return [
        *_some("acknowledged events are neither stored nor dead-lettered", ledger.acknowledged - counts.keys() - dead),
        *_some("events are stored that nobody sent", counts.keys() - ledger.sent.keys() - ledger.rejected),
        *_some("rejected events are stored", ledger.rejected & counts.keys()),
        *_some("events are stored more than once", (name for name, n in counts.items() if n > 1)),
    ]


def _contents(ledger: Ledger, evidence: Evidence, firsts: dict[str, RawRecord]) -> list[Problem]:
    wrong, never_raw = [], []
    for event in evidence.stored:
        first = firsts.get(event.event_id)
        if first is None:
            never_raw.append(event.event_id)
            continue
        own = pb.Event()
        own.CopyFrom(event)
        if own.extensions:
            del own.extensions[-1]
        if own != pb.Event.FromString(first.value or b"") or own != ledger.sent.get(event.event_id):
            wrong.append(event.event_id)
    return [
        *_some("stored events are not in the raw topic", never_raw),
        *_some("stored events are not what was sent first", wrong),
    ]


def _letters(evidence: Evidence, bad: Sequence[RawRecord]) -> list[Problem]:
    letters = {(letter.topic, letter.partition, letter.offset): letter for letter in evidence.letters}
    wanted = {(record.topic, record.partition, record.offset): record.value or b"" for record in bad}
    wanted |= {(record.topic, record.partition, record.offset): record.value for record in evidence.foreign}
    wrong = [place for place in wanted.keys() & letters.keys() if letters[place].value != wanted[place]]
    return [
        *_some("records that are no events have no dead letter", map(str, wanted.keys() - letters.keys())),
        *_some("dead letters do not hold their record", map(str, wrong)),
    ]


def _statistics(evidence: Evidence) -> list[Problem]:
    stats, stored = evidence.stats, evidence.stored
    found = []
    if stats.total_events != len(stored):
        found.append(Problem(f"statistics say {stats.total_events} events, {len(stored)} are stored"))
    types = {pb.EventType.Name(number): n for number, n in Counter(event.type for event in stored).items()}
    if dict(stats.events_by_type) != types:
        found.append(Problem(f"statistics by type are {dict(stats.events_by_type)}, a recount gives {types}"))
    sessions = len({event.session_id for event in stored if event.session_id})
    if stats.total_sessions != sessions:
        found.append(Problem(f"statistics say {stats.total_sessions} sessions, {sessions} are stored"))
    return found


@dataclass(frozen=True)
class Oracle:
    """What must be derived from the raw topic."""

    #: By place in the raw topic.
    enrichments: dict[tuple[int, int], enrichment_pb2.Enrichment]
    #: Of each id the fact with the highest revision; hops as in answers.
    handoffs: dict[str, facts_pb2.HandoffFact]
    mcp_calls: dict[str, facts_pb2.McpCallFact]


def consult(good: Sequence[RawRecord], project: str) -> Oracle:
    """The oracle's word on `project`'s records."""
    sessions: dict[tuple[int, bytes | None], list[RawRecord]] = defaultdict(list)
    for record in good:
        if _header(record, "project_id") == project:
            # Sessions do not see each other: taking them one by one keeps the slow oracle fast enough.
            sessions[record.partition, record.key].append(record)
    oracle = Oracle({}, {}, {})
    for (partition, _), records in sessions.items():
        for offset, outcome in expected(records, WINDOW, _NAMESPACE).items():
            oracle.enrichments[partition, offset] = outcome.enrichment
            for handoff in outcome.handoffs:
                _keep(oracle.handoffs, handoff.handoff_id, handoff)
            for call in outcome.mcp_calls:
                _keep(oracle.mcp_calls, call.call_id, call)
    _add_hops(oracle.handoffs.values())
    return oracle


def _enrichments(evidence: Evidence, oracle: Oracle, firsts: dict[str, RawRecord]) -> list[Problem]:
    """What the answers' extension says of each event's START and duration."""
    wrong = []
    for event in evidence.stored:
        first = firsts.get(event.event_id)
        if first is None or not event.extensions or event.session_id in evidence.spread_sessions:
            continue
        said = Struct.FromString(event.extensions[-1].value).fields["chaukas.gateway"].struct_value.fields
        wanted = oracle.enrichments[first.partition, first.offset]
        duration = wanted.duration_ms if wanted.HasField("duration_ms") else None
        found = said["duration_ms"].number_value if "duration_ms" in said else None
        start = said["start_event_id"].string_value if "start_event_id" in said else ""
        if (found, start) != (duration, wanted.start_event_id):
            wrong.append(event.event_id)
    return _some("events have another START or duration than they should", wrong)


def _facts(evidence: Evidence, oracle: Oracle) -> list[Problem]:
    spread = evidence.spread_sessions
    return [
        *_differences("hand-offs", {fact.handoff_id: fact for fact in evidence.handoffs}, oracle.handoffs, spread),
        *_differences("MCP calls", {fact.call_id: fact for fact in evidence.mcp_calls}, oracle.mcp_calls, spread),
        *_repeated("hand-offs", [fact.handoff_id for fact in evidence.handoffs]),
        *_repeated("MCP calls", [fact.call_id for fact in evidence.mcp_calls]),
    ]


def _keep(facts: dict[str, Any], name: str, fact: Any) -> None:
    known = facts.get(name)
    if known is None or fact.revision > known.revision:
        facts[name] = fact


def _add_hops(handoffs: Iterable[facts_pb2.HandoffFact]) -> None:
    """What Insights adds: place in the session, and whether the target took part before."""
    by_session: dict[str, list[facts_pb2.HandoffFact]] = defaultdict(list)
    for fact in handoffs:
        by_session[fact.session_id].append(fact)
    for facts in by_session.values():
        facts.sort(key=lambda f: (f.handed_off_at.ToNanoseconds(), f.source.offset))
        met: set[str] = set()
        for hop, fact in enumerate(facts, 1):
            fact.hop, fact.returns_to_earlier_agent = hop, fact.to_agent_id in met
            met |= {fact.from_agent_id, fact.to_agent_id}


def _differences(what: str, found: dict[str, Any], wanted: dict[str, Any], spread: set[str]) -> list[Problem]:
    def whole(facts: dict[str, Any]) -> dict[str, Any]:
        return {name: fact for name, fact in facts.items() if fact.session_id not in spread}

    found, wanted = whole(found), whole(wanted)
    result = [
        *_some(f"{what} are missing", wanted.keys() - found.keys()),
        *_some(f"{what} are answered that never were", found.keys() - wanted.keys()),
    ]
    other = [name for name in found.keys() & wanted.keys() if found[name] != wanted[name]]
    if other:
        first = min(other)
        result.append(Problem(f"{len(other)} {what} differ, the first:\n{found[first]}\nwanted:\n{wanted[first]}"))
    return result


def _repeated(what: str, names: Sequence[str]) -> list[Problem]:
    return _some(f"{what} are answered more than once", (name for name, n in Counter(names).items() if n > 1))


def _processes(evidence: Evidence) -> list[Problem]:
    behind = {topic: lag for topic, lag in evidence.lag.items() if lag}
    return [
        *([Problem(f"records are not consumed: {behind}")] if behind else []),
        *([Problem(f"processes leave by themselves: {dict(evidence.restless)}")] if evidence.restless else []),
        *(Problem(f"a stack trace in a log: {trace}") for trace in evidence.traces[:_SHOWN]),
    ]
