"""Which agents fail? Reads the enriched topic in a consumer group and prints each agent's failures as they come.

    pip install confluent-kafka chaukas-spec-server
    chaukas-gateway topics schema -o chaukas.desc
    python failures_by_agent.py 127.0.0.1:9092 chaukas.events.enriched chaukas.desc

What it shows:

- Identity (tenant, project, event id) comes from the headers: it is what the gateway checked.
- The server's facts come from the header `enrichment`, typed; here by the descriptors, without generated code.
- A copy of an event (`resend_of`, `conflicts_with`) is left out; and the same record may come twice (a processor or this
  consumer was killed between its work and its commit): an id that was counted is not counted again.
- An offset is stored for the next commit after the work, never before.

`--once` ends at the present end of the topic. A service would keep counts and ids where they survive it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from chaukas.spec.common.v1.events_pb2 import Event
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def message_class(descriptors: Path, name: str) -> Any:
    """The class of a message in what `topics schema` wrote."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes()).file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


class Failures:
    """Counts by (tenant, agent). `enrichment` parses that header."""

    def __init__(self, enrichment: Callable[[bytes], Any], failed: int) -> None:
        self._enrichment = enrichment
        self._failed = failed
        self._seen: set[tuple[str, str]] = set()
        self.counts: Counter[tuple[str, str]] = Counter()

    def take(self, record: Message) -> str | None:
        """Count one record; a line about it when it is a failure that was not counted before."""
        headers: dict[str, Any] = dict(record.headers() or ())
        if headers.get("schema") != b"chaukas.spec.common.v1.Event":
            return None  # not ours, or a schema of a later version: never guess
        known = self._enrichment(headers["enrichment"])
        if known.HasField("resend_of") or known.HasField("conflicts_with") or known.effective_status != self._failed:
            return None
        tenant, event_id = headers["tenant_id"].decode(), headers["event_id"].decode()
        if (tenant, event_id) in self._seen:
            return None
        self._seen.add((tenant, event_id))
        event = Event.FromString(record.value())
        self.counts[tenant, event.agent_id] += 1
        return f"{tenant} {event.agent_id}: {headers['event_type'].decode()} {event.error.error_message}".rstrip()


def records(consumer: Consumer, topic: str, once: bool) -> Iterator[Message]:
    """What the group has not read yet; with `once` up to the ends that the partitions have now."""
    ends = _ends(consumer, topic) if once else {}
    while not once or ends:
        record = consumer.poll(1.0)
        if record is not None and record.error():
            raise KafkaException(record.error())
        if record is not None:
            yield record
        for partition in [partition for partition, end in ends.items() if _position(consumer, topic, partition) >= end]:
            del ends[partition]


def _ends(consumer: Consumer, topic: str) -> dict[int, int]:
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    bounds = {n: consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=10) for n in partitions}
    return {n: high for n, (low, high) in bounds.items() if high > low}


def _position(consumer: Consumer, topic: str, partition: int) -> int:
    (found,) = consumer.position([TopicPartition(topic, partition)])
    if found.offset >= 0:
        return int(found.offset)
    (found,) = consumer.committed([TopicPartition(topic, partition)], timeout=10)
    return int(found.offset)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap_servers")
    parser.add_argument("topic")
    parser.add_argument("descriptors", type=Path)
    parser.add_argument("--group", default="failures-by-agent")
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args()
    enrichment = message_class(options.descriptors, "chaukas.gateway.v1.Enrichment")
    event_class = message_class(options.descriptors, "chaukas.spec.common.v1.Event")
    statuses = event_class.DESCRIPTOR.fields_by_name["status"].enum_type.values_by_name
    failures = Failures(enrichment.FromString, statuses["EVENT_STATUS_FAILED"].number)
    consumer = Consumer(
        {
            "bootstrap.servers": options.bootstrap_servers,
            "group.id": options.group,
            "auto.offset.reset": "earliest",
            # Now and then, and at the end, what was stored below is committed.
            "enable.auto.commit": True,
            "enable.auto.offset.store": False,
        }
    )
    consumer.subscribe([options.topic])
    try:
        for record in records(consumer, options.topic, options.once):
            if line := failures.take(record):
                print(line, flush=True)
            # After the work: a crash repeats a little, never skips.
            consumer.store_offsets(message=record)
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()
    for (tenant, agent), count in sorted(failures.counts.items()):
        print(f"total {tenant} {agent} {count}")


if __name__ == "__main__":
    main()
