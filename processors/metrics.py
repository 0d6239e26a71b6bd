"""The processors' metrics: each with its unit, and what it means when it moves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from processors.transport.consumer import Consumer

_P = "chaukas_processors_"


class Metrics:
    """One per process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.records = Counter(
            f"{_P}records", "Raw records by fate: enriched, resend, conflict, dead_letter.", ["fate"], registry=registry
        )
        self.facts = Counter(
            f"{_P}facts",
            "Published facts by kind and revision; grows with traffic.",
            ["kind", "revision"],
            registry=registry,
        )
        self.dead_letters = Counter(
            f"{_P}dead_letters",
            "Records that could not be processed; any growth wants a look.",
            ["reason"],
            registry=registry,
        )
        self.dead_letter_alarms = Counter(
            f"{_P}dead_letter_alarms",
            "Times one tenant's bad records would have been a flood; they stop nobody else, and want a look.",
            registry=registry,
        )
        self.negative_durations = Counter(
            f"{_P}negative_durations",
            "Pairs whose END is earlier than its START: clients' clocks disagree.",
            registry=registry,
        )
        self.window_misses = Counter(
            f"{_P}window_misses",
            "ENDs whose START is not in the window; growth beyond orphans means the window is too small.",
            registry=registry,
        )
        self.window_entries = Gauge(
            f"{_P}window_entries", "Entries the window holds; memory follows it.", ["partition"], registry=registry
        )
        self.rebuild_seconds = Histogram(
            f"{_P}rebuild_seconds",
            "Time to rebuild a partition's window after an assignment; events wait meanwhile.",
            buckets=(0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120),
            registry=registry,
        )
        self.freshness_seconds = Histogram(
            f"{_P}freshness_seconds",
            "From a raw record's Kafka time to its enriched record being durable, last record of each batch.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600),
            registry=registry,
        )
        self.produced_bytes = Counter(f"{_P}produced_bytes", "Values handed to the producer, bytes.", registry=registry)


class TransportCollector:
    """Reads the transport's ledger when scraped, so that the hot path counts nothing twice."""

    def __init__(self, consumer: Callable[[], Consumer | None]) -> None:
        self._consumer = consumer

    def collect(self) -> Iterator[Metric]:
        consumer = self._consumer()
        if consumer is None:
            return
        ledger = consumer.ledger
        for name, value, text in (
            ("batches", ledger.batches_finished, "Batches finished."),
            ("batch_records", ledger.records_finished, "Records of finished batches."),
            ("redeliveries", ledger.redeliveries, "Batches delivered again after their body failed; should not grow."),
            ("commit_failures", ledger.commit_failures, "Offset commits that failed; each is tried again."),
        ):
            yield CounterMetricFamily(f"{_P}{name}", text, value=value)
        for name, amount, text in (
            ("inflight_records", ledger.records, "Records read and not finished."),
            ("inflight_bytes", ledger.bytes, "Bytes of values read and not finished; at its limit, reading waits."),
            ("inflight_batches", ledger.batches, "Batches read and not finished."),
            (
                "stalled_seconds",
                consumer.stalled_for(),
                "Seconds without progress although there is work; 0 when idle.",
            ),
            ("assigned_partitions", len(ledger.leases), "Partitions of this worker."),
        ):
            yield GaugeMetricFamily(f"{_P}{name}", text, value=float(amount))
        lag = GaugeMetricFamily(
            f"{_P}consumer_lag_records",
            "Records not committed; growth: too few workers.",
            labels=["topic", "partition"],
        )
        for tp, lease in list(ledger.leases.items()):
            if lease.lag is not None:
                lag.add_metric([tp.topic, str(tp.partition)], lease.lag)
        yield lag


def record_age_seconds(timestamp_ms: int) -> float:
    """Wall-clock age of a Kafka timestamp; for metrics only, nothing derived uses a clock."""
    return max(0.0, time.time() - timestamp_ms / 1000)
