"""Every metric of the sink, and what it means when it moves.

| metric | kind, unit | when it moves |
|---|---|---|
| sink_rows_stored_total{table} | counter, rows | rows whose insert returned; replays count again |
| sink_resends_total, sink_conflicts_total{marked_by} | counters, records | clients send the same id again: with the same, with other content |
| sink_dead_letters_total{reason} | counter, records | records this sink could not store; look at `dlq list` |
| sink_dead_letter_alarms_total | counter, alarms | one tenant's records would be a flood; they stop nobody else |
| sink_insert_seconds | histogram | a batch's inserts together, retries included; near SINK_INSERT_TIMEOUT_SECONDS: the store is overloaded |
| sink_insert_failures_total{fault} | counter, inserts | `retry`: ClickHouse is away or refuses for now; `data`: a bad row is being isolated |
| sink_batch_records | histogram, records | near the limit: the sink works at full load |
| sink_freshness_seconds | histogram | from receipt at the gateway until queries see the batch's oldest event |
| sink_consumer_lag_records{topic,partition} | gauge, records | grows: more comes in than is stored; the figure to scale by |
| sink_commit_failures_total | counter, commits | a rebalance or an unreachable broker; the batch will be read again, rows stay once |
| sink_paused | gauge, 0 or 1 | 1: an insert takes long, fetching waits |
| sink_stalled_seconds | gauge, seconds | the writer shows no progress although it has work; beyond SINK_STALL_SECONDS the process ends with status 75 |
| sink_unsettled_copies | gauge, copies | copies of an id that are visible twice until the settling pass is through |
| sink_settled_total{as_} | counter, copies | copies further apart than the window, settled as re-send or conflict |
| sink_settle_seconds | histogram | a settling pass; near SINK_SETTLE_SECONDS: the promise is at risk |
| sink_settle_failures_total | counter, passes | settling could not finish and is repeated |
| sink_schema_version | gauge | number of the latest migration this release knows, once the store has it |
| sink_settled_until_timestamp_seconds | gauge, Unix seconds | stands still: settling does not work |
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)
_RECORDS = (1, 10, 100, 1_000, 5_000, 10_000, 50_000, 100_000, 1_000_000)


class SinkMetrics:
    """The catalogue, registered in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rows_stored = Counter("sink_rows_stored", "Rows whose insert returned", ["table"], registry=registry)
        self.resends = Counter("sink_resends", "Copies with the same content", ["marked_by"], registry=registry)
        self.conflicts = Counter("sink_conflicts", "Copies with other content", ["marked_by"], registry=registry)
        self.dead_letters = Counter("sink_dead_letters", "Records that cannot be stored", ["reason"], registry=registry)
        self.dead_letter_alarms = Counter(
            "sink_dead_letter_alarms", "Times one tenant's records would have been a flood", registry=registry
        )
        self.insert_seconds = Histogram(
            "sink_insert_seconds", "Inserts of one batch", buckets=_SECONDS, registry=registry
        )
        self.insert_failures = Counter("sink_insert_failures", "Failed inserts", ["fault"], registry=registry)
        self.batch_records = Histogram("sink_batch_records", "Records of a batch", buckets=_RECORDS, registry=registry)
        self.freshness_seconds = Histogram(
            "sink_freshness_seconds", "From receipt to visible, oldest of a batch", buckets=_SECONDS, registry=registry
        )
        self.consumer_lag = Gauge(
            "sink_consumer_lag_records", "Records not stored yet", ["topic", "partition"], registry=registry
        )
        self.commit_failures = Counter("sink_commit_failures", "Failed offset commits", registry=registry)
        self.paused = Gauge("sink_paused", "1 while fetching waits for an insert", registry=registry)
        self.stalled_seconds = Gauge(
            "sink_stalled_seconds", "Seconds without progress although there is work", registry=registry
        )
        self.unsettled = Gauge("sink_unsettled_copies", "Copies found and not settled yet", registry=registry)
        self.settled = Counter("sink_settled", "Copies settled", ["as_"], registry=registry)
        self.settle_seconds = Histogram("sink_settle_seconds", "One settling pass", buckets=_SECONDS, registry=registry)
        self.settle_failures = Counter("sink_settle_failures", "Passes that failed", registry=registry)
        self.schema_version = Gauge("sink_schema_version", "Latest migration of the store", registry=registry)
        self.settled_until = Gauge(
            "sink_settled_until_timestamp_seconds", "Copies inserted before are settled", registry=registry
        )
