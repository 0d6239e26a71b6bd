"""Every metric of the sink's writer, and what it means when it moves."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from runtime.catalogue import Entry, Help, entries_of, table
from sink.query.metrics import QueryMetrics

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)
_RECORDS = (1, 10, 100, 1_000, 5_000, 10_000, 50_000, 100_000, 1_000_000)


class SinkMetrics:
    """The catalogue, registered in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rows_stored = Counter(
            "sink_rows_stored",
            Help("Rows whose insert returned.", "rows", "The throughput; replays count again."),
            ["table"],
            registry=registry,
        )
        self.resends = Counter(
            "sink_resends",
            Help("Copies with the same content.", "records", "Clients send the same id again."),
            ["marked_by"],
            registry=registry,
        )
        self.conflicts = Counter(
            "sink_conflicts",
            Help(
                "Copies with other content.",
                "records",
                "Clients use an id twice, or a proxy changes events; `v_conflicts` has them.",
            ),
            ["marked_by"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "sink_dead_letters",
            Help("Records this sink could not store.", "records", "Any growth wants a look: `dlq list`."),
            ["reason"],
            registry=registry,
        )
        self.dead_letter_alarms = Counter(
            "sink_dead_letter_alarms",
            Help(
                "Times one tenant's records would have been a flood.",
                "alarms",
                "They stop nobody else, and want a look.",
            ),
            registry=registry,
        )
        self.insert_seconds = Histogram(
            "sink_insert_seconds",
            Help(
                "Inserts of one batch together, retries included.",
                "seconds",
                "Near SINK_INSERT_TIMEOUT_SECONDS: the store is overloaded.",
            ),
            buckets=_SECONDS,
            registry=registry,
        )
        self.insert_failures = Counter(
            "sink_insert_failures",
            Help(
                "Inserts that failed.",
                "inserts",
                "`retry`: ClickHouse is away or refuses for now; `data`: a bad row is being isolated.",
            ),
            ["fault"],
            registry=registry,
        )
        self.batch_records = Histogram(
            "sink_batch_records",
            Help("Records of a batch.", "records", "Near the limit: the sink works at full load."),
            buckets=_RECORDS,
            registry=registry,
        )
        self.freshness_seconds = Histogram(
            "sink_freshness_seconds",
            Help(
                "From receipt at the gateway until queries see the batch's oldest event.",
                "seconds",
                "End to end: grows with the lag of processors or sink.",
            ),
            buckets=_SECONDS,
            registry=registry,
        )
        self.consumer_lag = Gauge(
            "sink_consumer_lag_records",
            Help("Records not stored yet.", "records", "Grows: more comes in than is stored; the figure to scale by."),
            ["topic", "partition"],
            registry=registry,
        )
        self.oldest_unacknowledged_seconds = Gauge(
            "sink_oldest_unacknowledged_seconds",
            Help(
                "Time since the oldest record that is read and not stored was read; 0 without one.",
                "seconds",
                "Grows: the store does not take the batch.",
            ),
            registry=registry,
        )
        self.commit_failures = Counter(
            "sink_commit_failures",
            Help(
                "Offset commits that failed.",
                "commits",
                "A rebalance or an unreachable broker; the batch will be read again, rows stay once.",
            ),
            registry=registry,
        )
        self.paused = Gauge(
            "sink_paused",
            Help("1 while fetching waits for an insert.", "0 or 1", "1: an insert takes long."),
            registry=registry,
        )
        self.stalled_seconds = Gauge(
            "sink_stalled_seconds",
            Help(
                "Time without progress although there is work.",
                "seconds",
                "Beyond SINK_STALL_SECONDS the process ends with status 75.",
            ),
            registry=registry,
        )
        self.unsettled = Gauge(
            "sink_unsettled_copies",
            Help(
                "Copies of an id that are visible twice until the settling pass is through.",
                "copies",
                "Stays above 0: settling does not work.",
            ),
            registry=registry,
        )
        self.settled = Counter(
            "sink_settled",
            Help(
                "Copies further apart than the window, settled as re-send or conflict.",
                "copies",
                "With clients that send again after long.",
            ),
            ["as_"],
            registry=registry,
        )
        self.settle_seconds = Histogram(
            "sink_settle_seconds",
            Help("One settling pass.", "seconds", "Near SINK_SETTLE_SECONDS: the promise is at risk."),
            buckets=_SECONDS,
            registry=registry,
        )
        self.settle_failures = Counter(
            "sink_settle_failures",
            Help("Settling passes that failed.", "passes", "Each is repeated; the log has the reason."),
            registry=registry,
        )
        self.schema_version = Gauge(
            "sink_schema_version",
            Help(
                "Number of the latest migration this release knows, once the store has it.",
                "number",
                "Differs between processes: an update is under way.",
            ),
            registry=registry,
        )
        self.settled_until = Gauge(
            "sink_settled_until_timestamp_seconds",
            Help("Copies inserted before are settled.", "Unix seconds", "Stands still: settling does not work."),
            registry=registry,
        )


def catalogue() -> Iterator[Entry]:
    """Every metric of writer and query server but those that all processes have."""
    yield from entries_of(SinkMetrics(CollectorRegistry()))
    yield from entries_of(QueryMetrics(CollectorRegistry()))


if __name__ == "__main__":
    print(table("Sink", catalogue()))
