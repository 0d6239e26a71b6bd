"""The processors' metrics: each with its unit, and what it means when it moves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from processors.transport.consumer import Consumer
from runtime.catalogue import Entry, Help, entries_of, entry, table

_P = "chaukas_processors_"


class Metrics:
    """One per process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.records = Counter(
            f"{_P}records",
            Help(
                "Raw records by fate: enriched, resend, conflict, dead_letter.",
                "records",
                "resend: clients send again; conflict: the same id with other content; dead_letter wants a look.",
            ),
            ["fate"],
            registry=registry,
        )
        self.facts = Counter(
            f"{_P}facts",
            Help("Published facts by kind and revision.", "facts", "With traffic."),
            ["kind", "revision"],
            registry=registry,
        )
        self.dead_letters = Counter(
            f"{_P}dead_letters",
            Help("Records that could not be processed.", "records", "Any growth wants a look: `dlq list`."),
            ["reason"],
            registry=registry,
        )
        self.dead_letter_alarms = Counter(
            f"{_P}dead_letter_alarms",
            Help(
                "Times one tenant's bad records would have been a flood.",
                "alarms",
                "They stop nobody else, and want a look.",
            ),
            registry=registry,
        )
        self.negative_durations = Counter(
            f"{_P}negative_durations",
            Help("Pairs whose END is earlier than its START.", "pairs", "Clients' clocks disagree."),
            registry=registry,
        )
        self.window_misses = Counter(
            f"{_P}window_misses",
            Help(
                "ENDs whose START is not in the window.",
                "events",
                "Growth beyond orphans: PROCESSORS_WINDOW_OFFSETS is too small.",
            ),
            registry=registry,
        )
        self.window_entries = Gauge(
            f"{_P}window_entries",
            Help("Entries the window holds.", "entries", "Memory follows it."),
            ["partition"],
            registry=registry,
        )
        self.rebuild_seconds = Histogram(
            f"{_P}rebuild_seconds",
            Help("Time to rebuild a partition's window after an assignment.", "seconds", "Events wait meanwhile."),
            buckets=(0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120),
            registry=registry,
        )
        self.freshness_seconds = Histogram(
            f"{_P}freshness_seconds",
            Help(
                "From a raw record's Kafka time to its enriched record being durable, last record of each batch.",
                "seconds",
                "Grows with consumer lag: too few workers, or one that rebuilds.",
            ),
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600),
            registry=registry,
        )
        self.produced_bytes = Counter(
            f"{_P}produced_bytes",
            Help("Values handed to the producer.", "bytes", "With traffic; what Kafka must take."),
            registry=registry,
        )


_COUNTERS = {
    "batches": Help("Batches finished.", "batches", "Records per batch grow with load."),
    "batch_records": Help("Records of finished batches.", "records", "The throughput of this worker."),
    "redeliveries": Help(
        "Batches delivered again after their body failed.", "batches", "Should not grow; see the log."
    ),
    "commit_failures": Help(
        "Offset commits that failed.", "commits", "A rebalance or an unreachable broker; tried again."
    ),
}
_GAUGES = {
    "inflight_records": Help("Records read and not finished.", "records", "At its limit, reading waits."),
    "inflight_bytes": Help("Bytes of values read and not finished.", "bytes", "At its limit, reading waits."),
    "inflight_batches": Help("Batches read and not finished.", "batches", "With the two above."),
    "stalled_seconds": Help(
        "Time without progress although there is work; 0 when idle.",
        "seconds",
        "Beyond PROCESSORS_STALL_SECONDS the process ends with status 75.",
    ),
    "oldest_unacknowledged_seconds": Help(
        "Age of the oldest record read and not finished, by its Kafka time; 0 without one.",
        "seconds",
        "Grows: Kafka does not take what is produced, or the worker is behind.",
    ),
    "assigned_partitions": Help("Partitions of this worker.", "partitions", "With each rebalance; 0: it has no work."),
}
_LAG = Help("Records not committed.", "records", "Grows: too few workers; the figure to scale by.")
_LAG_LABELS = ("topic", "partition")


class TransportCollector:
    """Reads the transport's ledger when scraped, so that the hot path counts nothing twice."""

    def __init__(self, consumer: Callable[[], Consumer | None]) -> None:
        self._consumer = consumer

    def collect(self) -> Iterator[Metric]:
        consumer = self._consumer()
        if consumer is None:
            return
        ledger = consumer.ledger
        counts = {
            "batches": ledger.batches_finished,
            "batch_records": ledger.records_finished,
            "redeliveries": ledger.redeliveries,
            "commit_failures": ledger.commit_failures,
        }
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(f"{_P}{name}", text, value=counts[name])
        amounts = {
            "inflight_records": ledger.records,
            "inflight_bytes": ledger.bytes,
            "inflight_batches": ledger.batches,
            "stalled_seconds": consumer.stalled_for(),
            "oldest_unacknowledged_seconds": _oldest_seconds(consumer),
            "assigned_partitions": len(ledger.leases),
        }
        for name, text in _GAUGES.items():
            yield GaugeMetricFamily(f"{_P}{name}", text, value=float(amounts[name]))
        lag = GaugeMetricFamily(f"{_P}consumer_lag_records", _LAG, labels=_LAG_LABELS)
        for tp, lease in list(ledger.leases.items()):
            if lease.lag is not None:
                lag.add_metric([tp.topic, str(tp.partition)], lease.lag)
        yield lag


def catalogue() -> Iterator[Entry]:
    """Every metric of this process but those that all processes have."""
    yield from entries_of(Metrics(CollectorRegistry()))
    yield from (entry(f"{_P}{name}", "counter", text) for name, text in _COUNTERS.items())
    yield from (entry(f"{_P}{name}", "gauge", text) for name, text in _GAUGES.items())
    yield entry(f"{_P}consumer_lag_records", "gauge", _LAG, _LAG_LABELS)


def _oldest_seconds(consumer: Consumer) -> float:
    firsts = [batch for lease in list(consumer.ledger.leases.values()) for batch in list(lease.inflight)[:1]]
    return max((record_age_seconds(batch.records[0].timestamp()[1]) for batch in firsts), default=0.0)


def record_age_seconds(timestamp_ms: int) -> float:
    """Wall-clock age of a Kafka timestamp; for metrics only, nothing derived uses a clock."""
    return max(0.0, time.time() - timestamp_ms / 1000)


if __name__ == "__main__":
    print(table("Processors", catalogue()))
