"""From a load to a plan. Pure; the numbers are in :mod:`cli.capacity.costs`, the reasoning is in docs/capacity.md."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cli.capacity import costs
from cli.render.text import plural

_DAY_SECONDS = 86_400
_HOUR_SECONDS = 3_600
#: Kafka's own bounds are far above; beyond, a plan needs a person.
MAX_EVENTS_PER_SECOND = 10_000_000
#: Processors' default of PROCESSORS_WINDOW_OFFSETS.
DEFAULT_WINDOW = 50_000


@dataclass(frozen=True, slots=True)
class Load:
    """What comes in at peak, and how it is to be kept."""

    events_per_second: float
    event_bytes: int = costs.MEASURED_EVENT_BYTES
    #: Events of one request: the SDK and collectors send batches.
    events_per_call: int = 100
    #: In ClickHouse.
    retention_days: int = 30
    #: On Kafka.
    kafka_hours: int = 72
    tenants: int = 1
    #: For disks: events a second over the days; None: the peak all the time.
    average_per_second: float | None = None
    #: Events of one session, call or hand-off this far apart must still be related, seconds.
    window_seconds: int = 300
    #: Planned capacity over peak load.
    headroom: float = 2.0
    kafka_replicas: int = 3
    store_replicas: int = 2
    #: Of a broker and of a ClickHouse node, at most.
    node_cores: int = 16
    node_disk_bytes: int = costs.NODE_DISK_BYTES

    @property
    def kept_per_second(self) -> float:
        """What lands on disks, on average."""
        return self.events_per_second if self.average_per_second is None else self.average_per_second


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of process or node. `cores`, `memory_bytes` and `disk_bytes` are those of each."""

    component: str
    count: int
    cores: float
    memory_bytes: int
    disk_bytes: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows, and what the settings should be."""

    load: Load
    rows: tuple[Row, ...]
    partitions: int
    #: PROCESSORS_WINDOW_OFFSETS.
    window_offsets: int
    #: A worker that takes a dead one's partitions over reads their windows back for so long, seconds.
    takeover_seconds: float
    shards: int
    embedded: bool
    kafka_bytes: int
    store_bytes: int
    #: Average share of a tenant, events a second; the hardware does not depend on the number of tenants.
    tenant_events_per_second: float


def plan(load: Load) -> Plan:
    """What carries `load`. Rounded up, and never fewer than two of what must survive the loss of one."""
    rate = load.events_per_second * load.headroom
    extra = max(0, load.event_bytes - costs.MEASURED_EVENT_BYTES) * costs.BYTE_US

    def cores(event_us: float) -> float:
        return rate * (event_us + extra) / 1e6

    gateways = max(2, math.ceil(cores(costs.GATEWAY_EVENT_US + costs.GATEWAY_CALL_US / load.events_per_call)))
    processors = max(2, math.ceil(cores(costs.PROCESSORS_EVENT_US)))
    embedded = rate <= costs.EMBEDDED_EVENTS
    writers = 1 if embedded else max(2, math.ceil(cores(costs.WRITER_EVENT_US)))
    partitions = _partitions(processors, writers)
    window = _window(load, partitions)
    held = math.ceil(partitions / processors) * window

    kafka_bytes = _kafka_bytes(load)
    broker_cores = cores(costs.BROKER_EVENT_US) * (1 + costs.REPLICA_SHARE * (load.kafka_replicas - 1))
    brokers, decided = _nodes(load, broker_cores, load.node_cores, kafka_bytes, load.kafka_replicas)

    broker = _cores_of_each(load, broker_cores / brokers, costs.BROKER_LEAST_CORES)

    store_bytes = _store_bytes(load)
    rows = [
        Row("gateway", gateways, 1, costs.GATEWAY_BYTES, note="one core each; several may share a machine's port"),
        Row(
            "processors",
            processors,
            1,
            costs.PROCESSORS_BYTES + held * costs.WINDOW_OFFSET_BYTES,
            note="windows included",
        ),
    ]
    if embedded:
        shards = 0
        sink_cores = max(2, math.ceil(cores(costs.WRITER_EVENT_US + costs.STORE_EVENT_US) + 1))
        note = "writer, queries and the embedded engine in one process: no replica; a server if that is not enough"
        rows.append(Row("sink", 1, sink_cores, costs.WRITER_BYTES + 2 * costs.GIB, _full(store_bytes), note))
    else:
        useful = load.node_cores * costs.STORE_CORES_SHARE
        shards, by = _nodes(load, cores(costs.STORE_EVENT_US), useful, store_bytes, 1)
        node = _cores_of_each(
            load, cores(costs.STORE_EVENT_US) / costs.STORE_CORES_SHARE / shards, costs.STORE_LEAST_CORES
        )
        memory = node * costs.STORE_CORE_BYTES
        disk = _full(store_bytes / shards)
        rows += [
            Row("sink writer", writers, 1, costs.WRITER_BYTES, note="`python -m sink --role writer`"),
            Row("sink query", 2, 2, 2 * costs.GIB, note="`--role query`; more with many who ask"),
            Row(
                "ClickHouse node",
                shards * load.store_replicas,
                node,
                memory,
                disk,
                f"{plural(shards, 'shard')} × {plural(load.store_replicas, 'replica')}, {by}",
            ),
        ]
    rows.append(
        Row(
            "broker",
            brokers,
            broker,
            broker * costs.BROKER_CORE_BYTES,
            _full(kafka_bytes * load.kafka_replicas / brokers),
            f"{plural(load.kafka_replicas, 'replica')}, {decided}",
        )
    )
    return Plan(
        load,
        tuple(rows),
        partitions,
        window,
        takeover_seconds=2 * held * costs.REBUILD_RECORD_SECONDS,
        shards=shards,
        embedded=embedded,
        kafka_bytes=kafka_bytes * load.kafka_replicas,
        store_bytes=store_bytes * (1 if embedded else load.store_replicas),
        tenant_events_per_second=load.kept_per_second / load.tenants,
    )


def _partitions(processors: int, writers: int) -> int:
    """The same for every worker, and twice as many as workers: adding partitions later moves sessions (docs/topics.md)."""
    return max(8, 2 * processors, 2 * writers)


def _window(load: Load, partitions: int) -> int:
    """Offsets that reach `window_seconds` back at peak; the default where that is enough, rounded to thousands above."""
    needed = load.events_per_second * load.window_seconds / partitions
    return max(DEFAULT_WINDOW, math.ceil(needed / 1000) * 1000)


def _kafka_bytes(load: Load) -> int:
    """Of one replica of all topics."""
    event = 2 * load.event_bytes + costs.RAW_OVERHEAD_BYTES + costs.ENRICHED_OVERHEAD_BYTES + costs.FACTS_BYTES
    return round(load.kept_per_second * load.kafka_hours * _HOUR_SECONDS * event)


def _store_bytes(load: Load) -> int:
    """Of one replica of all shards."""
    events = load.kept_per_second * load.retention_days * _DAY_SECONDS
    return round(events * load.event_bytes * costs.STORE_SHARE)


def _full(used: float) -> int:
    """The disk that holds `used` bytes and is not too full."""
    return round(used / costs.DISK_FILL)


def _nodes(load: Load, cores: float, of_each: float, used: int, replicas: int) -> tuple[int, str]:
    """Enough for the work, for the disks and for the replicas; and which of them decides."""
    by_cores, by_disk = math.ceil(cores / of_each), math.ceil(_full(used * replicas) / load.node_disk_bytes)
    nodes = max(replicas, by_cores, by_disk)
    return nodes, "by disk" if nodes == by_disk > by_cores else "by cores" if nodes == by_cores else "by replicas"


def _cores_of_each(load: Load, needed: float, least: int) -> int:
    """No larger nodes than the work asks for: disks or replicas may have decided their number."""
    return min(load.node_cores, max(least, math.ceil(needed)))
