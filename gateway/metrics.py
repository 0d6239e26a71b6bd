"""The gateway's metrics, all of them: what each counts, in which unit, and what it means when it moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from contracts.validation import ID_PATHS
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
        #: Calls answered. `code` is the gRPC code's name or the HTTP status. UNAVAILABLE and 503: Kafka or the sink is away.
        self.requests = Counter(
            "gateway_requests", "Calls answered.", ["door", "method", "code"], registry=self.registry
        )
        #: Time from a call's arrival (HTTP: from its head) to its answer. Grows with Kafka's acknowledgement time.
        self.request_seconds = Histogram(
            "gateway_request_seconds",
            "Time to answer a call, seconds.",
            ["door", "method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        #: Events whose record Kafka confirmed. The product's throughput.
        self.accepted = Counter(
            "gateway_events_accepted", "Events acknowledged to the caller.", ["door"], registry=self.registry
        )
        #: Events refused for themselves. `field` is the first broken rule's field: a client sends what the spec forbids.
        self.rejected = Counter("gateway_events_rejected", "Events refused.", ["door", "field"], registry=self.registry)
        #: Events that were handed to Kafka and not confirmed: their call was answered UNAVAILABLE.
        self.undelivered = Counter(
            "gateway_events_undelivered",
            "Events Kafka did not confirm, by librdkafka's error.",
            ["error"],
            registry=self.registry,
        )
        #: Time from the first produce of a call to its last delivery report.
        self.delivery_seconds = Histogram(
            "gateway_delivery_seconds",
            "Time until Kafka confirmed all records of a call, seconds.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        #: Request bytes held now. Near the limit: Kafka is slower than the callers.
        self.inflight_bytes = Gauge(
            "gateway_inflight_bytes", "Request bytes held now.", registry=self.registry, multiprocess_mode=_SUM
        )
        self.inflight_limit_bytes = Gauge(
            "gateway_inflight_limit_bytes",
            "Most request bytes that may be held.",
            registry=self.registry,
            multiprocess_mode=_SUM,
        )
        #: Calls under way now, those whose records are not reported on included. Near the limit: as above, with small requests.
        self.inflight_calls = Gauge(
            "gateway_inflight_calls", "Calls under way now.", registry=self.registry, multiprocess_mode=_SUM
        )
        #: gRPC messages that arrive slowly. Near the limit: clients on bad networks, or a client that means harm.
        self.slow_messages = Gauge(
            "gateway_slow_messages",
            "gRPC messages that arrive slowly now.",
            registry=self.registry,
            multiprocess_mode=_SUM,
        )
        #: Calls refused for want of room.
        self.overloaded = Counter("gateway_overloaded", "Calls refused for want of room.", registry=self.registry)
        #: Calls refused because a key's or a tenant's quota is used up; `quota` says which (``key_events``, ``tenant_bytes``, …).
        self.quota_refused = Counter(
            "gateway_quota_refused", "Calls refused for a quota.", ["quota"], registry=self.registry
        )
        #: 1 when every dependency of ingest answers; 0 means /readyz says 503.
        self.ready = Gauge("gateway_ready", "1 when ready.", registry=self.registry, multiprocess_mode="livemin")
        self.keys = Gauge("gateway_keys", "API keys in the store.", registry=self.registry, multiprocess_mode="livemax")
        #: The key file could not be read; the keys read before stay in force.
        self.key_reload_failures = Counter(
            "gateway_key_reload_failures", "Failed reads of the key file.", registry=self.registry
        )
        #: The producer reported an error it cannot recover from and was replaced.
        self.producer_replacements = Counter(
            "gateway_producer_replacements", "Producers replaced after a fatal error.", registry=self.registry
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
