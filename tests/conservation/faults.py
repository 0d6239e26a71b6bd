"""What is broken, one function each. All of them block until the harm is done and taken back; what they return goes into the
report. Whether anything was lost by it is not their question.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]  # re-exported without __all__

from runtime.kafka import admin, durable_producer, producer_config
from tests.conservation.system import PROCESSORS, SERVICES, ForeignRecord, System
from tests.support.fault_proxy import BLACKHOLE, PASS, REFUSE, cut, slow
from tests.support.waiting import wait_for

#: Breaks the system for about so many seconds; the generator makes the trial repeatable.
Fault = Callable[[System, random.Random, float], str]


def nothing(system: System, rng: random.Random, seconds: float) -> str:
    """Time to recover."""
    return ""


# -------------------------------------------------------------------- processes


def kill(system: System, rng: random.Random, seconds: float) -> str:
    """kill -9 of one process, or of several at the same moment."""
    return _signal(system, rng, signal.SIGKILL, rng.choice((1, 1, 1, 2, 3)))


def terminate(system: System, rng: random.Random, seconds: float) -> str:
    """SIGTERM: the process leaves in order and is started again."""
    return _signal(system, rng, signal.SIGTERM, 1)


def _signal(system: System, rng: random.Random, number: signal.Signals, count: int) -> str:
    alive = _alive(system)
    names = rng.sample(sorted(alive), min(count, len(alive)))
    for name in names:
        _send(alive[name], number)
    return ", ".join(names)


def freeze(system: System, rng: random.Random, seconds: float) -> str:
    """SIGSTOP: a machine that stands still, and comes back with partitions that are others' by now."""
    alive = _alive(system)
    name = rng.choice(sorted(alive))
    _send(alive[name], signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        _send(alive[name], signal.SIGCONT)
    return name


def kill_kafka(system: System, rng: random.Random, seconds: float) -> str:
    """kill -9 of the broker."""
    for pid in system.pids("kafka").values():
        _send(pid, signal.SIGKILL)
    return "kafka"


def scale(system: System, rng: random.Random, seconds: float) -> str:
    """Processors 3 → 1 → 3 under load."""
    leaving = rng.sample(sorted(system.pids("processors")), PROCESSORS - 1)
    for name in leaving:
        system.stop_process(name)
    time.sleep(seconds)
    for name in leaving:
        system.start_process(name)
    return f"without {', '.join(leaving)}"


def _alive(system: System) -> dict[str, int]:
    return {name: pid for program in SERVICES for name, pid in system.pids(program).items() if pid}


def _send(pid: int, number: signal.Signals) -> None:
    try:
        if pid:
            os.kill(pid, number)
    except ProcessLookupError:
        pass  # it left by itself a moment ago


# -------------------------------------------------------------------- the broker and the way to it


def stop_kafka(system: System, rng: random.Random, seconds: float) -> str:
    """The broker leaves in order and stays away."""
    with system.network_lock:
        system.stop_program("kafka")
        time.sleep(seconds)
        system.start_program("kafka")
    return ""


def _network(system: System, seconds: float, **faults: Any) -> str:
    assert system.proxy is not None
    with system.network_lock:
        system.proxy.set(**faults)
        try:
            time.sleep(seconds)
        finally:
            system.proxy.set(PASS)
    return ", ".join(f"{way} {fault.mode.value}" for way, fault in faults.items())


def blackhole(system: System, rng: random.Random, seconds: float) -> str:
    """Nothing arrives, nothing is reset: in both directions, or in one."""
    way = rng.choice(("both", "up", "down"))
    return _network(system, seconds, **{way: BLACKHOLE})


def slow_network(system: System, rng: random.Random, seconds: float) -> str:
    """A line of 60 to 250 kB/s with latency."""
    fault = slow(bytes_per_second=rng.uniform(60e3, 250e3), latency_seconds=rng.uniform(0.01, 0.2))
    return _network(system, seconds, both=fault)


def cut_network(system: System, rng: random.Random, seconds: float) -> str:
    """Connections are reset in the middle of an answer, again and again."""
    return _network(system, seconds, down=cut(after_bytes=rng.randrange(1, 5000)))


def refuse_network(system: System, rng: random.Random, seconds: float) -> str:
    """Nobody listens any more."""
    return _network(system, seconds, both=REFUSE)


# -------------------------------------------------------------------- the store


def store_refuses(system: System, rng: random.Random, seconds: float) -> str:
    """Inserts fail for a reason that goes away: too many parts, too many queries, read-only. Some were stored all the same."""
    code, stored = rng.choice((252, 202, 164)), rng.random() < 0.5
    return _store(system, seconds, "refuse", code=code, stored=stored)


def store_refuses_rows(system: System, rng: random.Random, seconds: float) -> str:
    """Some rows are refused for good, one event in 256: until some of them were."""
    assert system.store is not None
    topic = system.kafka.topics.dead_letters
    with system.store_lock:
        before = sum(system.ends(topic).values())
        system.store.fault("poison", code=117, prefix=f"{rng.randrange(256):02x}")
        try:
            wait_for("refused rows", lambda: sum(system.ends(topic).values()) > before, seconds=60, every=0.5)
            time.sleep(seconds)
            return f"{sum(system.ends(topic).values()) - before} rows refused"
        finally:
            system.store.fault("none")


def store_hangs(system: System, rng: random.Random, seconds: float) -> str:
    """Inserts are never answered."""
    return _store(system, seconds, "hang")


def _store(system: System, seconds: float, kind: str, **more: Any) -> str:
    assert system.store is not None
    with system.store_lock:
        system.store.fault(kind, **more)
        try:
            time.sleep(seconds)
        finally:
            system.store.fault("none")
    return ", ".join(f"{name} {value}" for name, value in more.items())


def disk_full(system: System, rng: random.Random, seconds: float) -> str:
    """The engine's own limit of free space."""
    assert system.store is not None
    with system.store_lock:
        system.store.disk_full(True)
        try:
            time.sleep(seconds)
        finally:
            system.store.disk_full(False)
    return ""


def kill_store(system: System, rng: random.Random, seconds: float) -> str:
    """kill -9 of the server, which stays away."""
    assert system.store is not None
    with system.store_lock:
        system.store.kill()
        time.sleep(seconds)
        system.store.start()
    return ""


# -------------------------------------------------------------------- topics


def foreign_records(system: System, rng: random.Random, seconds: float) -> str:
    """Records that nobody of ours wrote, on every topic: few enough to be no flood."""
    topics = system.kafka.topics
    producer = durable_producer(
        producer_config(system.kafka, max_message_bytes=1 << 20, delivery_seconds=30, linger_ms=0)
    )
    before = len(system.foreign)

    def delivered(error: Any, message: Any) -> None:
        assert error is None, error
        place = ForeignRecord(message.topic(), message.partition(), message.offset(), message.value() or b"")
        system.foreign.append(place)

    for topic in (topics.raw, topics.enriched, topics.handoffs, topics.mcp_calls, topics.dead_letters):
        for _ in range(2):
            headers: list[tuple[str, str | bytes | None]] = []
            if rng.random() < 0.6:
                headers.append(("tenant_id", rng.choice((b"\xff", b"nobody"))))
            value = rng.choice((None, b"", rng.randbytes(200), b'{"event_id": "json"}'))
            key = rng.choice((None, b"foreign"))
            producer.produce(topic, value=value, key=key, headers=headers, on_delivery=delivered)
    assert producer.flush(60) == 0
    return f"{len(system.foreign) - before} records"


def replay(system: System, rng: random.Random, seconds: float) -> str:
    """Everything is read again from the beginning, by processors and sink."""
    topics = system.kafka.topics
    for program in ("processors", "sink"):
        system.stop_program(program)
    names = (topics.enriched, topics.handoffs, topics.mcp_calls, topics.dead_letters)
    _rewind(system, "chaukas-processors", (topics.raw,))
    _rewind(system, "chaukas-sink", names)
    for program in ("sink", "processors"):
        system.start_program(program)
    return ""


def _rewind(system: System, group: str, topics: tuple[str, ...]) -> None:
    client = admin(system.kafka)
    places = [TopicPartition(topic, number, 0) for topic in topics for number in system.ends(topic)]

    def probe() -> bool:
        """A group that has just lost its last member may still have one in the coordinator's eyes."""
        request = [ConsumerGroupTopicPartitions(group, places)]
        try:
            for future in client.alter_consumer_group_offsets(request).values():
                future.result(30)
        except KafkaException:
            return False
        return True

    wait_for(f"group {group} to be empty", probe, seconds=60, every=0.5)


def more_partitions(system: System, rng: random.Random, seconds: float) -> str:
    """The raw topic gets two partitions more: sessions move."""
    topic = system.kafka.topics.raw
    count = len(system.ends(topic)) + 2
    client = admin(system.kafka)
    for future in client.create_partitions([NewPartitions(topic, count)]).values():
        future.result(30)
    return f"{count} partitions"
