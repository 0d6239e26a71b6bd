"""The gateway's metrics, all of them: what each counts, in which unit, and what it means when it moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from contracts.validation import ID_PATHS
from runtime.catalogue import Entry, Help, entries_of, table
from runtime.shared_metrics import SharedMetrics

#: How a gauge of several processes adds up: over those that live.
_SUM: Final = "livesum"
_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_OWN_FIELDS = frozenset((*ID_PATHS, "type", "timestamp"))


class GatewayMetrics:
    """One catalogue per process, on a registry of its own (tests run several gateways in one process).

    With `shared`, :attr:`page` adds up all processes that share the ports; :attr:`registry` holds this process's metrics alone.
    Gauges of processes that ended do not count; ``gateway_ready`` is that of the least ready, ``gateway_keys`` of the one with
    the most keys.
    """

    def __init__(self, shared: SharedMetrics | None = None, starts_directory: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        #: What ``/metrics`` shows.
        self.page = self.registry if shared is None else shared.page(starts_directory)
        self.shared = shared is not None
        self._followed: list[tuple[Gauge, Callable[[], float]]] = []
        if shared is None:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "gateway_requests",
            Help(
                "Calls answered, by the gRPC code's name or the HTTP status.",
                "calls",
                "UNAVAILABLE and 503: Kafka or the sink is away. RESOURCE_EXHAUSTED and 429: no room.",
            ),
            ["door", "method", "code"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "gateway_request_seconds",
            Help(
                "From a call's arrival (HTTP: from its head) to its answer.",
                "seconds",
                "Grows with Kafka's acknowledgement time.",
            ),
            ["door", "method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.accepted = Counter(
            "gateway_events_accepted",
            Help("Events whose record Kafka confirmed.", "events", "The product's throughput."),
            ["door"],
            registry=self.registry,
        )
        self.rejected = Counter(
            "gateway_events_rejected",
            Help(
                "Events refused for themselves, by the first broken rule's field.",
                "events",
                "A client sends what the spec forbids.",
            ),
            ["door", "field"],
            registry=self.registry,
        )
        self.undelivered = Counter(
            "gateway_events_undelivered",
            Help(
                "Events handed to Kafka and not confirmed, by librdkafka's error.",
                "events",
                "Kafka is away or too slow; their calls were answered UNAVAILABLE and come again.",
            ),
            ["error"],
            registry=self.registry,
        )
        self.delivery_seconds = Histogram(
            "gateway_delivery_seconds",
            Help(
                "From the first produce of a call to its last delivery report.",
                "seconds",
                "Kafka's share of a call's time: slow disks, slow replicas, a busy network.",
            ),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.oldest_unacknowledged_seconds = Gauge(
            "gateway_oldest_unacknowledged_seconds",
            Help(
                "Age of the oldest call whose records are not all reported on; 0 without one.",
                "seconds",
                "Near half of GATEWAY_DELIVERY_SECONDS: new calls are about to be refused, Kafka does not keep up.",
            ),
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self.inflight_bytes = Gauge(
            "gateway_inflight_bytes",
            Help("Request bytes held now.", "bytes", "Near the limit: Kafka is slower than the callers."),
            registry=self.registry,
            multiprocess_mode=_SUM,
        )
        self.inflight_limit_bytes = Gauge(
            "gateway_inflight_limit_bytes",
            Help("Most request bytes that may be held.", "bytes", "With the setting, or with the number of processes."),
            registry=self.registry,
            multiprocess_mode=_SUM,
        )
        self.inflight_calls = Gauge(
            "gateway_inflight_calls",
            Help(
                "Calls under way now, those whose records are not reported on included.",
                "calls",
                "Near the limit: Kafka is slower than the callers, and their requests are small.",
            ),
            registry=self.registry,
            multiprocess_mode=_SUM,
        )
        self.slow_messages = Gauge(
            "gateway_slow_messages",
            Help(
                "gRPC messages that arrive slowly now.",
                "messages",
                "Near the limit: clients on bad networks, or a client that means harm.",
            ),
            registry=self.registry,
            multiprocess_mode=_SUM,
        )
        self.overloaded = Counter(
            "gateway_overloaded",
            Help("Calls refused for want of room.", "calls", "More processes are needed, or a faster Kafka."),
            registry=self.registry,
        )
        self.quota_refused = Counter(
            "gateway_quota_refused",
            Help(
                "Calls refused because a key's or a tenant's quota is used up; `quota` says which (`key_events`, `tenant_bytes`, …).",
                "calls",
                "A caller sends more than was agreed, or its quota is too small.",
            ),
            ["quota"],
            registry=self.registry,
        )
        self.ready = Gauge(
            "gateway_ready",
            Help("1 when every dependency of ingest answers.", "0 or 1", "0: /readyz says 503 and names what is away."),
            registry=self.registry,
            multiprocess_mode="livemin",
        )
        self.keys = Gauge(
            "gateway_keys",
            Help("API keys in the store.", "keys", "With the key file; 0: nobody can send."),
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self.key_reload_failures = Counter(
            "gateway_key_reload_failures",
            Help(
                "Reads of the key file that failed.",
                "reads",
                "The keys read before stay in force; new and revoked ones do not count yet.",
            ),
            registry=self.registry,
        )
        self.producer_replacements = Counter(
            "gateway_producer_replacements",
            Help(
                "Producers replaced after an error they cannot recover from.",
                "producers",
                "Should not grow; the log names librdkafka's error.",
            ),
            registry=self.registry,
        )

    def follow(self, gauge: Gauge, value: Callable[[], float]) -> None:
        """Let `gauge` show what `value` returns: at the moment of a look, or for other processes at the last :meth:`refresh`."""
        if not self.shared:
            gauge.set_function(value)
        else:
            self._followed.append((gauge, value))

    def refresh(self) -> None:
        """Write down what the gauges of :meth:`follow` show, for a look through another process."""
        for gauge, value in self._followed:
            gauge.set(value())

    def count_rejection(self, door: str, field: str) -> None:
        """`field` relative to the event; names that are not ours to choose (unknown JSON fields) count as ``other``."""
        known = field if field in _OWN_FIELDS else ("event" if not field else "other")
        self.rejected.labels(door, known).inc()


def catalogue() -> Iterator[Entry]:
    """Every metric of this process but those that all processes have."""
    return entries_of(GatewayMetrics())


if __name__ == "__main__":
    print(table("Gateway", catalogue()))
