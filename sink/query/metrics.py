"""The query server's metrics, and what it means when they move."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from runtime.catalogue import Help

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)
_BYTES = (100, 1_000, 10_000, 100_000, 1_000_000, 3_200_000)


class QueryMetrics:
    """The catalogue, registered in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.queries = Counter(
            "sink_queries",
            Help(
                "Calls answered.",
                "calls",
                "RESOURCE_EXHAUSTED: queries beyond the cost caps; UNAVAILABLE: the store is away; INTERNAL: a bug, see the log.",
            ),
            ["method", "code"],
            registry=registry,
        )
        self.seconds = Histogram(
            "sink_query_seconds",
            Help(
                "From call to answer.",
                "seconds",
                "Near SINK_QUERY_TIMEOUT_SECONDS: ranges too long for the store, or too few readers.",
            ),
            ["method"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.answer_bytes = Histogram(
            "sink_query_answer_bytes",
            Help("Size of answers that were given.", "bytes", "With what callers ask for."),
            ["method"],
            buckets=_BYTES,
            registry=registry,
        )
        self.running = Gauge(
            "sink_queries_running",
            Help("Calls being answered.", "calls", "At its ceiling: callers queue for reading clients."),
            registry=registry,
        )
