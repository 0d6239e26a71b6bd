"""Redaction rules on a whole stack: from the real front door to every table, topic and log."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]
from google.protobuf import struct_pb2

from contracts.topics import Topics
from contracts.v1 import insights_pb2
from contracts.v1.dead_letter_pb2 import DeadLetter
from runtime.kafka import admin, durable_producer, reader_config
from runtime.settings import KafkaSettings, load
from tests.support.events import seeded_sessions
from tests.support.sink_process import dump_store
from tests.support.stack import Client, Stack
from tests.support.waiting import wait_for

SECRET = "ann.secret@example.com"
NUMBER = 4111111111111111
#: Both as text: what must be nowhere.
FORBIDDEN = (SECRET.encode(), str(NUMBER).encode(), b"ann.secret", b"a hidden word")
RULES = r"""
version: 1
tenants:
  demo-tenant:
    rules:
      - {name: emails, patterns: ['[\w.+-]+@[\w-]+(\.[\w-]+)+'], action: hash}
      - {name: cards, patterns: ['\b4\d{15}\b'], action: mask}
      - {name: prompts, paths: ['$.message.text', '$.metadata..hidden'], action: drop}
"""


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("private")
    rules = directory / "rules.yaml"
    rules.write_text(RULES)
    running = Stack(
        directory / "stack",
        {
            "PROCESSORS_REDACTION_FILE": str(rules),
            "PROCESSORS_REDACTION_SECRET": "s" * 32,
            "PROCESSORS_LOG_LEVEL": "debug",
            "SINK_LOG_LEVEL": "debug",
            "GATEWAY_LOG_LEVEL": "debug",
            "KAFKA_TOPIC_PARTITIONS": "2",
            "KAFKA_TOPIC_RAW_RETENTION_HOURS": "2",
        },
    )
    try:
        running.up()
        yield running
    finally:
        running.down()


def planted(tenant: str, project: str) -> list[pb.Event]:
    """A session of every kind of event, the secret in everything that may be redacted."""
    made: list[pb.Event] = []
    for original in [one for session in seeded_sessions(21, 3, tenant=tenant, project=project) for one in session]:
        original.metadata.update({"who": SECRET, "card": NUMBER, "deep": [{"hidden": "a hidden word"}]})
        original.tags.append(f"user:{SECRET}")
        kind = original.WhichOneof("content")
        if kind:
            _plant(getattr(original, kind))
        original.extensions.add().Pack(_forged())
        made.append(original)
    return made


def _plant(content: Any) -> None:
    for field in content.DESCRIPTOR.fields:
        if field.message_type is not None and field.message_type.name == "Struct":
            getattr(content, field.name).update({"mail": f"to {SECRET}", "card": NUMBER})
        elif field.type == field.TYPE_STRING and not field.is_repeated and "agent" not in field.name:
            setattr(content, field.name, f"{getattr(content, field.name)} {SECRET}")


def _forged() -> struct_pb2.Struct:
    claims = struct_pb2.Struct()
    claims.update({"chaukas.gateway": {"redacted": ["$.everything"], "redaction_version": "forged", "note": SECRET}})
    return claims


def kafka_of(stack: Stack) -> KafkaSettings:
    return load(KafkaSettings, bootstrap_servers=stack.endpoints.kafka_bootstrap_servers)


def records(kafka: KafkaSettings, topic: str) -> list[Any]:
    """Everything on a topic."""
    consumer = Consumer(reader_config(kafka, "test"))
    try:
        found: list[Any] = []
        for number in consumer.list_topics(topic, timeout=20).topics[topic].partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=20)
            consumer.assign([TopicPartition(topic, number, low)])
            while low < high:
                message = consumer.poll(20)
                assert message is not None
                if message.error() is None:
                    found.append(message)
                    low = (message.offset() or 0) + 1
        return found
    finally:
        consumer.close()


def as_bytes(message: Any) -> bytes:
    parts = [message.key() or b"", message.value() or b"", *(value or b"" for _, value in message.headers() or ())]
    return b"\n".join(parts)


def assert_clean(content: bytes, where: str) -> None:
    for forbidden in FORBIDDEN:
        assert forbidden not in content, where


def test_the_raw_topic_is_kept_as_short_as_the_settings_say(private: Stack) -> None:
    topic = ConfigResource(ResourceType.TOPIC, Topics().raw)
    client = admin(kafka_of(private))
    found = client.describe_configs([topic])[topic].result(20)
    assert (found["retention.ms"].value, found["segment.ms"].value) == ("7200000", "1800000")


def test_content_is_nowhere_where_it_must_not_be(private: Stack) -> None:
    """What rules redact, from the front door on; what an operator erases, also when everything is read again. At the end every
    row of every table and every log is looked at."""
    no_secret_is_anywhere_but_in_the_raw_topic(private)
    private.environment["SINK_GROUP"] = "read-everything-again"
    kept, gone, secret = a_session_is_erased(private)

    private.down()
    tables = dump_store(private.directory / "clickhouse")
    assert all(tables[table] for table in ("events", "conflicts", "resends", "handoffs", "mcp_calls", "dead_letters"))
    for table, content in tables.items():
        assert_clean(content, table)
        for line in content.splitlines():
            assert secret.encode() not in line or gone.encode() not in line, table
    assert secret.encode() in tables["events"] and kept.encode() in tables["events"]
    # Logs at level debug.
    logs = [path for path in private.directory.rglob("*.log*") if path.is_file()]
    assert {path.name for path in logs} >= {"gateway-0.log", "processors-0.log", "sink.log"}, logs
    for path in logs:
        if "kafka" not in path.parts:  # the broker's own segments are *.log too
            assert_clean(path.read_bytes(), str(path))
            assert secret.encode() not in path.read_bytes(), path


def no_secret_is_anywhere_but_in_the_raw_topic(private: Stack) -> None:
    client, kafka = Client(private), kafka_of(private)
    topics = Topics()
    events = planted(private.endpoints.tenant_id, "p")
    client.send_until_accepted(events)
    client.send_until_accepted(events[:10])  # re-sends
    changed = pb.Event()
    changed.CopyFrom(events[0])
    changed.tags.append(f"other {SECRET}")
    client.send_until_accepted([changed])  # a conflict
    stored = client.wait_stored({one.event_id for one in events})

    # A record of which nobody knows whose it is.
    producer = durable_producer({"bootstrap.servers": kafka.bootstrap_servers})
    producer.produce(topics.raw, b"\xff" + SECRET.encode(), b"k", headers=[("who", SECRET.encode())])
    assert producer.flush(30) == 0
    letters = wait_for("the dead letter", lambda: records(kafka, topics.dead_letters))
    letter = DeadLetter.FromString(letters[0].value())
    assert (letter.withheld, letter.value, letter.reason) == (True, b"", "foreign_record")

    # What the answers say.
    for sent in events:
        answer = stored[sent.event_id]
        assert_clean(answer.SerializeToString(), f"QueryEvents {pb.EventType.Name(sent.type)}")
        assert len(answer.extensions) == 1, "the client's forged one is gone"
        ours = struct_pb2.Struct()
        assert answer.extensions[0].Unpack(ours)
        facts: Any = ours["chaukas.gateway"]
        assert facts["redaction_version"] != "forged"
        paths = list(facts["redacted"])
        assert {"$.metadata.who", "$.metadata.card", "$.metadata.deep[*].hidden", "extensions"} <= set(paths)
        (tag,) = [tag for tag in answer.tags if tag.startswith("user:")]
        assert tag.startswith("user:hmac:")
    assert len({tag for one in stored.values() for tag in one.tags if tag.startswith("user:")}) == 1
    assert client.stats().total_events == len(events)
    assert client.query_all(text_query="ann.secret") == []
    calls = client.insights.ListMcpCalls(insights_pb2.ListMcpCallsRequest(page_size=1000), metadata=client.metadata)
    assert calls.calls
    assert_clean(calls.SerializeToString(), "MCP calls")
    handoffs = client.insights.ListHandoffs(insights_pb2.ListHandoffsRequest(page_size=1000), metadata=client.metadata)
    assert handoffs.handoffs
    assert_clean(handoffs.SerializeToString(), "hand-offs")

    # The letter can be replayed from the raw topic as long as the record is there; it is as bad as before.
    assert "1 record delivered" in private.cli("dlq", "replay", "--yes").stdout
    wait_for("the letter of the replayed record", lambda: len(records(kafka, topics.dead_letters)) == 2)
    client.close()

    # Topics.
    assert any(SECRET.encode() in as_bytes(message) for message in records(kafka, topics.raw))
    for topic in (topics.enriched, topics.handoffs, topics.mcp_calls, topics.dead_letters):
        found = records(kafka, topic)
        assert found
        for message in found:
            assert_clean(as_bytes(message), topic)


def a_session_is_erased(private: Stack) -> tuple[str, str, str]:
    """By the command an operator types; then the sink reads every topic again from the beginning. What was kept, what erased, and
    what was in both."""
    client = Client(private)
    tenant = private.endpoints.tenant_id
    secret = secrets.token_urlsafe(20)
    sessions = list(seeded_sessions(31, 2, tenant=tenant, project="erasure"))
    for one in [one for session in sessions for one in session]:
        one.metadata.update({"user_id": one.session_id, "note": secret})
    events = [one for session in sessions for one in session]
    client.send_until_accepted(events)
    client.wait_stored({one.event_id for one in events}, project_id="erasure")
    before = client.stats(project_id="erasure")
    gone, kept = (session[0].session_id for session in sessions)

    counted = private.cli("erase", "--tenant", tenant, "--subject", gone, "--dry-run").stdout
    assert "1 session to erase" in counted
    assert len(holding(client, secret)) == len(events)
    private.cli("hold", "add", tenant, "--session", gone, "--reason", "case 7")
    refused = private.cli("erase", "--tenant", tenant, "--session", gone, "--yes", check=False)
    assert (refused.returncode, "legal hold (case 7)" in refused.stderr) == (3, True)
    private.cli("hold", "remove", tenant, "--session", gone)
    assert private.cli("erase", "--tenant", tenant, "--session", gone, check=False).returncode == 2, (
        "nobody can be asked"
    )
    done = private.cli("erase", "--tenant", tenant, "--session", gone, "--yes", "--reason", "request 7").stdout
    assert "chaukas.events.raw: retention.ms=7200000 (2 h), segment.ms=1800000 (0.5 h)" in done
    assert {one.session_id for one in holding(client, secret)} == {kept}
    client.close()

    private.down()
    private.up()
    wait_for("everything to be stored again", lambda: lag(kafka_of(private), private.environment["SINK_GROUP"]) == 0)
    client = Client(private)
    assert {one.session_id for one in holding(client, secret)} == {kept}
    assert client.stats(project_id="erasure") == before
    client.close()
    return kept, gone, secret


def lag(kafka: KafkaSettings, group: str) -> int:
    """Records on the topics of the sink that the group has not committed."""
    topics = kafka.topics
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group, "log_level": 0})
    try:
        total = 0
        for name in (topics.enriched, topics.handoffs, topics.mcp_calls, topics.dead_letters):
            places = [
                TopicPartition(name, number)
                for number in consumer.list_topics(name, timeout=20).topics[name].partitions
            ]
            for place in consumer.committed(places, timeout=20):
                total += consumer.get_watermark_offsets(place, timeout=20)[1] - max(place.offset, 0)
        return total
    finally:
        consumer.close()


def holding(client: Client, secret: str) -> list[pb.Event]:
    return [one for one in client.query_all(project_id="erasure") if secret.encode() in one.SerializeToString()]
