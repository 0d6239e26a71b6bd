"""What the topics carry, as docs/topics.md promises it, and the consumers of `examples/` on it: a real broker, a whole system."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from contracts import headers as h
from contracts.v1 import dead_letter_pb2, enrichment_pb2, facts_pb2
from runtime.settings import KafkaSettings, load
from tests.support.consumers import Java, read_topic, run_python
from tests.support.events import seeded_sessions
from tests.support.processors import RawTopic
from tests.support.stack import Client, Stack
from tests.support.waiting import wait_for

GATEWAYS = {h.TENANT_ID, h.PROJECT_ID, h.EVENT_ID, h.EVENT_TYPE, h.RECEIVED_AT_NS, h.SCHEMA}
FACTS = {h.TENANT_ID, h.PROJECT_ID, h.SCHEMA}


@dataclass
class Sent:
    """What went in at the front door, and the records it became, of this project alone."""

    kafka: KafkaSettings
    project: str
    events: dict[str, pb.Event]
    raw: list[Message]
    enriched: list[Message]
    handoffs: list[Message]
    mcp_calls: list[Message]
    letters: list[Message]
    descriptors: Path


@pytest.fixture(scope="module")
def sent(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    client = Client(stack)
    tenant, project = stack.endpoints.tenant_id, f"topics-{uuid.uuid4().hex[:8]}"
    events = [x for one in seeded_sessions(77, 30, tenant=tenant, project=project) for x in one]
    for number, one in enumerate(events):
        one.event_id = f"{project}-{number}"
        one.session_id = f"{project}-{one.session_id}"
    client.send_batch(events[:700], "a-batch")
    for start in range(700, len(events), 700):
        client.send_batch(events[start : start + 700])
    kafka = load(KafkaSettings, bootstrap_servers=stack.endpoints.kafka_bootstrap_servers)
    session = project.encode()
    RawTopic(kafka).send_bytes(b"\xffjunk", session, [(h.TENANT_ID, tenant.encode()), (h.PROJECT_ID, project.encode())])
    client.wait_stored({one.event_id for one in events}, project_id=project)
    client.close()

    def of(topic: str) -> list[Message]:
        return [one for one in read_topic(kafka, topic) if dict(one.headers() or ()).get(h.PROJECT_ID) == session]

    def letters() -> list[Message]:
        return [one for one in read_topic(kafka, kafka.topics.dead_letters) if one.key() == session]

    found = wait_for("the dead letter", letters)
    descriptors = tmp_path_factory.mktemp("schema") / "chaukas.desc"
    stack.cli("topics", "schema", "-o", str(descriptors))
    topics = kafka.topics
    raw, enriched = of(topics.raw), of(topics.enriched)
    return Sent(
        kafka,
        project,
        {one.event_id: one for one in events},
        [one for one in raw if one.key() != session],
        enriched,
        of(topics.handoffs),
        of(topics.mcp_calls),
        found,
        descriptors,
    )


def headers(record: Message) -> dict[str, bytes]:
    found: Any = record.headers() or ()
    pairs: list[tuple[str, bytes]] = list(found)
    assert len(pairs) == len(dict(pairs)), "a header's name is there once"
    return dict(pairs)


def test_raw_records_are_the_clients_events(sent: Sent) -> None:
    assert len(sent.raw) == len(sent.events)
    for record in sent.raw:
        own = headers(record)
        event = sent.events[own[h.EVENT_ID].decode()]
        assert GATEWAYS <= own.keys() <= GATEWAYS | {h.BATCH_ID, h.TRACEPARENT}
        assert own[h.SCHEMA].decode() == h.EVENT_SCHEMA
        assert own[h.EVENT_TYPE].decode() == pb.EventType.Name(event.type)
        assert record.key() == event.session_id.encode()
        assert pb.Event.FromString(record.value() or b"") == event
        assert record.timestamp() == (TIMESTAMP_CREATE_TIME, int(own[h.RECEIVED_AT_NS]) // 1_000_000)
    assert sum(h.BATCH_ID in headers(one) for one in sent.raw) == len(sent.raw)  # the gateway names unnamed batches


def test_enriched_records_are_the_raw_ones_with_something_appended(sent: Sent) -> None:
    raw = {(one.partition(), one.offset()): one for one in sent.raw}
    assert len(sent.enriched) >= len(raw)
    for record in sent.enriched:
        own = headers(record)
        known = enrichment_pb2.Enrichment.FromString(own.pop(h.ENRICHMENT))
        source = raw[known.raw.partition, known.raw.offset]
        assert own == headers(source)
        assert (record.value() or b"").startswith(source.value() or b"")
        assert len(pb.Event.FromString(record.value() or b"").extensions) >= 1
        assert (record.key(), record.timestamp()) == (source.key(), source.timestamp())


def test_a_session_is_in_one_partition_in_order(sent: Sent) -> None:
    for records in (sent.raw, sent.enriched):
        partitions: dict[bytes, set[int]] = {}
        order: dict[str, list[str]] = {}
        for record in records:
            event_id = headers(record)[h.EVENT_ID].decode()
            partitions.setdefault(record.key() or b"", set()).add(record.partition() or 0)
            ids = order.setdefault(sent.events[event_id].session_id, [])
            if event_id not in ids:
                ids.append(event_id)
        assert {len(numbers) for numbers in partitions.values()} == {1}
        for session, ids in order.items():
            assert ids == [one.event_id for one in sent.events.values() if one.session_id == session]


def test_facts_have_ids_revisions_and_the_key_of_their_event(sent: Sent) -> None:
    assert sent.handoffs
    assert sent.mcp_calls
    for records, message, schema in (
        (sent.handoffs, facts_pb2.HandoffFact, h.HANDOFF_SCHEMA),
        (sent.mcp_calls, facts_pb2.McpCallFact, h.MCP_CALL_SCHEMA),
    ):
        for record in records:
            own = headers(record)
            fact = message.FromString(record.value() or b"")
            assert own.keys() == FACTS
            assert own[h.SCHEMA].decode() == schema == message.DESCRIPTOR.full_name
            assert own[h.TENANT_ID].decode() == fact.tenant_id
            assert record.key() == fact.session_id.encode()
            assert fact.revision >= 1


def test_a_dead_letter_is_the_record_and_why(sent: Sent) -> None:
    for record in sent.letters:
        own = headers(record)
        letter = dead_letter_pb2.DeadLetter.FromString(record.value() or b"")
        assert {h.SCHEMA, h.STAGE, h.REASON} <= own.keys()
        assert own[h.SCHEMA].decode() == h.DEAD_LETTER_SCHEMA
        assert (own[h.STAGE].decode(), own[h.REASON].decode()) == (letter.stage, letter.reason)
        assert letter.value == b"\xffjunk"
        assert record.key() == letter.key


def expected_failures(sent: Sent) -> Counter[str]:
    found: Counter[str] = Counter()
    counted = set()
    for record in sent.enriched:
        own = headers(record)
        known = enrichment_pb2.Enrichment.FromString(own[h.ENRICHMENT])
        event_id = own[h.EVENT_ID].decode()
        if known.effective_status == pb.EVENT_STATUS_FAILED and event_id not in counted:
            counted.add(event_id)
            found[sent.events[event_id].agent_id] += 1
    return found


def test_the_python_consumer_counts_failures_and_goes_on_where_it_was(sent: Sent) -> None:
    group = f"example-{uuid.uuid4()}"
    place = (sent.kafka.bootstrap_servers, sent.kafka.topics.enriched, sent.descriptors, "--once", "--group", group)
    lines = run_python("failures_by_agent.py", *place).splitlines()
    totals = Counter({line.split()[2]: int(line.split()[3]) for line in lines if line.startswith("total ")})
    expected = expected_failures(sent)
    assert sum(expected.values()) > 0
    assert all(totals[agent] >= number for agent, number in expected.items())  # other tests' events are there too
    assert len(lines) == sum(totals.values()) + len(totals)
    assert run_python("failures_by_agent.py", *place) == ""


def test_the_java_consumer_reads_the_facts_by_their_descriptors(sent: Sent, tmp_path: Path) -> None:
    place = (sent.kafka.bootstrap_servers, sent.kafka.topics.mcp_calls, sent.descriptors)
    lines = Java(tmp_path).run("McpReliability.java", *place).splitlines()
    best: dict[tuple[str, str], facts_pb2.McpCallFact] = {}
    for record in read_topic(sent.kafka, sent.kafka.topics.mcp_calls):
        fact = facts_pb2.McpCallFact.FromString(record.value() or b"")
        known = best.get((fact.tenant_id, fact.call_id))
        if known is None or fact.revision > known.revision:
            best[fact.tenant_id, fact.call_id] = fact
    servers: dict[str, list[int]] = {}
    for fact in best.values():
        counts = servers.setdefault(fact.server_name, [0, 0, 0])
        counts[0] += 1
        counts[1] += fact.status == facts_pb2.MCP_CALL_STATUS_ERROR
        counts[2] += fact.status == facts_pb2.MCP_CALL_STATUS_OPEN
    assert servers
    assert lines == [f"{name} calls={c} errors={e} open={o}" for name, (c, e, o) in sorted(servers.items())]
