"""The query server's metrics, and what it means when they move.

| metric | kind, unit | when it moves |
|---|---|---|
| sink_queries_total{method,code} | counter, calls | RESOURCE_EXHAUSTED: queries beyond the cost caps; UNAVAILABLE: the store is away; INTERNAL: a bug, see the log |
| sink_query_seconds{method} | histogram | near SINK_QUERY_TIMEOUT_SECONDS: ranges too long for the store, or too few readers |
| sink_query_answer_bytes{method} | histogram, bytes | the size of answers that were given |
| sink_queries_running | gauge, calls | at its ceiling: callers queue for reading clients |
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)
_BYTES = (100, 1_000, 10_000, 100_000, 1_000_000, 3_200_000)


class QueryMetrics:
    """The catalogue, registered in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.queries = Counter("sink_queries", "Answered calls", ["method", "code"], registry=registry)
        self.seconds = Histogram(
            "sink_query_seconds", "From call to answer", ["method"], buckets=_SECONDS, registry=registry
        )
        self.answer_bytes = Histogram(
            "sink_query_answer_bytes", "Size of given answers", ["method"], buckets=_BYTES, registry=registry
        )
        self.running = Gauge("sink_queries_running", "Calls being answered", registry=registry)
