"""What can be seen of a system from outside after a trial: its topics, its answers, its processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2
from confluent_kafka import TopicPartition

from contracts.v1 import dead_letter_pb2, facts_pb2, insights_pb2
from processors.intake import RawRecord
from processors.rebuild import raw_record
from tests.conservation.system import ForeignRecord, System, consumer
from tests.support.stack import Client


@dataclass
class Evidence:
    """Everything :func:`tests.conservation.account.problems` compares with what the clients know."""

    #: The raw topic, by partition and offset.
    raw: list[RawRecord]
    #: Each dead letter once.
    letters: list[dead_letter_pb2.DeadLetter]
    #: What QueryEvents answers, page by page.
    stored: list[pb.Event]
    stats: server_pb2.GetEventStatsResponse
    handoffs: list[facts_pb2.HandoffFact]
    mcp_calls: list[facts_pb2.McpCallFact]
    lag: dict[str, int]
    #: Processes that left by themselves while nothing was done to them.
    restless: Counter[str] = field(default_factory=Counter)
    #: Stack traces in logs.
    traces: list[str] = field(default_factory=list)
    #: Records that the trial wrote past the product.
    foreign: list[ForeignRecord] = field(default_factory=list)
    #: Sessions whose events are in several raw partitions (their number was changed): their facts may be incomplete.
    spread_sessions: set[str] = field(default_factory=set)


def gather(system: System, project: str, restless: Counter[str]) -> Evidence:
    """Ask a system that is ready and has nothing left to do. Blocks."""
    topics = system.kafka.topics
    client = Client(system)
    try:
        stored = client.query_all(project_id=project)
        stats = client.stats(project_id=project)
        handoffs = _all(client.insights.ListHandoffs, insights_pb2.ListHandoffsRequest, "handoffs", project, client)
        calls = _all(client.insights.ListMcpCalls, insights_pb2.ListMcpCallsRequest, "calls", project, client)
    finally:
        client.close()
    raw = read(system, topics.raw)
    places: dict[bytes, set[int]] = {}
    for record in raw:
        places.setdefault(record.key or b"", set()).add(record.partition)
    return Evidence(
        raw=raw,
        letters=list(_letters(read(system, topics.dead_letters)).values()),
        stored=stored,
        stats=stats,
        handoffs=handoffs,
        mcp_calls=calls,
        lag=system.lag(),
        restless=restless,
        traces=system.traces(),
        foreign=list(system.foreign),
        spread_sessions={key.decode(errors="replace") for key, found in places.items() if len(found) > 1},
    )


def read(system: System, topic: str) -> list[RawRecord]:
    """Everything in a topic, by partition and offset."""
    found: list[RawRecord] = []
    with consumer(system.kafka, "conservation") as client:
        numbers = client.list_topics(topic, timeout=20).topics[topic].partitions
        ends = {n: client.get_watermark_offsets(TopicPartition(topic, n), timeout=20) for n in numbers}
        left = {n: high for n, (low, high) in ends.items() if high > low}
        client.assign([TopicPartition(topic, n, ends[n][0]) for n in left])
        while left:
            for message in client.consume(5000, 0.2):
                assert message.error() is None, message.error()
                record = raw_record(message)
                found.append(record)
                if record.offset + 1 >= ends[record.partition][1]:
                    left.pop(record.partition, None)
    return sorted(found, key=lambda record: (record.partition, record.offset))


def _letters(records: Sequence[RawRecord]) -> dict[str, dead_letter_pb2.DeadLetter]:
    found: dict[str, dead_letter_pb2.DeadLetter] = {}
    for record in records:
        letter = dead_letter_pb2.DeadLetter()
        try:
            letter.ParseFromString(record.value or b"")
        except Exception:  # a trial wrote it there; it is no letter
            continue
        if letter.dead_letter_id:
            found[letter.dead_letter_id] = letter
    return found


def _all(call: Callable[..., Any], request_class: Any, name: str, project: str, client: Client) -> list[Any]:
    """Every page of an Insights list."""
    request = request_class(page_size=1000)
    request.filter.project_id = project
    found: list[Any] = []
    while True:
        answer = call(request, metadata=client.metadata, timeout=30)
        found.extend(getattr(answer, name))
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


def history(system: System, event_id: str) -> str:
    """Where an id is on every topic: for the report about one that is missing."""
    topics = system.kafka.topics
    lines = []
    for topic in (topics.raw, topics.enriched, topics.handoffs, topics.mcp_calls, topics.dead_letters):
        wanted = event_id.encode()
        for record in read(system, topic):
            if wanted in (record.value or b"") or any(wanted == value for _, value in record.headers):
                headers = {
                    name: value.decode(errors="replace") if len(value or b"") < 60 else f"{len(value)} bytes"
                    for name, value in record.headers
                    if value is not None
                }
                lines.append(f"  {topic}-{record.partition}@{record.offset} at {record.timestamp_ms}: {headers}")
    return "\n".join(lines) or "  on no topic"
