"""The dashboard "Chaukas: operations": from Prometheus, for those who run it."""

from __future__ import annotations

from typing import Any

from deploy.grafana.panels import Panel, curves, dashboard, number, promql

#: What has nothing to count yet has no series: 0 as long as somebody of these answers, nothing when nobody does.
_GATEWAYS = '0 * count(up{job="gateway"} == 1)'
_CONSUMERS = '0 * count(up{job=~"processors|sink"} == 1)'
_OURS = '{job=~"gateway|processors|sink"}'
_STARTED = f"process_start_time_seconds{_OURS}"
#: Several gateways on one port have one page, and there a label `process`.
_PROCESS = "{{job}} {{instance}} {{process}}"


def build() -> dict[str, Any]:
    sections = {
        "At a glance": _glance(),
        "Gateway": [
            curves(
                "Calls",
                "By door and code.",
                promql(("sum by (door, code) (door_method_code:gateway_requests:rate5m)", "{{door}} {{code}}")),
                unit="reqps",
                stacked=True,
            ),
            curves(
                "Time of a call",
                "99th percentile by door, and Kafka's share of it.",
                promql(
                    ("door:gateway_request_seconds:p99_5m", "{{door}}"),
                    ("chaukas:gateway_delivery_seconds:p99_5m", "Kafka's confirmation"),
                    ("max(gateway_oldest_unacknowledged_seconds)", "oldest unacknowledged"),
                ),
                unit="s",
            ),
            curves(
                "Events",
                "Accepted by door; refused for themselves by field; not confirmed by Kafka.",
                promql(
                    ("door:gateway_events_accepted:rate5m", "accepted {{door}}"),
                    ("sum by (field) (rate(gateway_events_rejected_total[5m]))", "refused: {{field}}"),
                    ("sum by (error) (rate(gateway_events_undelivered_total[5m]))", "not confirmed: {{error}}"),
                ),
                unit="eps",
            ),
            curves(
                "Room",
                "Bytes held, of those that may be held; calls refused for want of room, or because a quota is used up.",
                promql(
                    ("chaukas:gateway_inflight_bytes:ratio", "bytes held, of the limit"),
                    ("sum(rate(gateway_overloaded_total[5m]))", "refused: no room"),
                    ("sum by (quota) (rate(gateway_quota_refused_total[5m]))", "refused: {{quota}}"),
                ),
                unit="percentunit",
                units={"/^refused/": "reqps"},
            ),
        ],
        "Processors": [
            curves(
                "Lag by partition",
                "Records not committed. One partition alone: one worker or one session. A gap: nobody reads it.",
                promql(("sum by (partition) (chaukas_processors_consumer_lag_records)", "partition {{partition}}")),
            ),
            curves(
                "Records by fate",
                "resend and conflict are copies; dead_letter wants a look.",
                promql(("fate:processors_records:rate5m", "{{fate}}")),
                unit="recps",
                stacked=True,
            ),
            curves(
                "Freshness and standstill",
                "Kafka's time to enriched, 99th percentile; oldest record in work; time without progress.",
                promql(
                    ("chaukas:processors_freshness_seconds:p99_5m", "freshness"),
                    ("max by (instance) (chaukas_processors_oldest_unacknowledged_seconds)", "oldest {{instance}}"),
                    ("max by (instance) (chaukas_processors_stalled_seconds)", "stalled {{instance}}"),
                ),
                unit="s",
            ),
            curves(
                "Window",
                "Entries held (memory follows them); ENDs a second without a START in it.",
                promql(
                    ("sum by (partition) (chaukas_processors_window_entries)", "partition {{partition}}"),
                    ("sum(rate(chaukas_processors_window_misses_total[5m]))", "misses"),
                ),
                units={"misses": "eps"},
            ),
        ],
        "Sink": [
            curves(
                "Lag by topic",
                "Records not stored yet. A gap: no writer is there to count them.",
                promql(("topic:sink_consumer_lag_records:sum", "{{topic}}")),
            ),
            curves(
                "Rows",
                "Stored a second, by table.",
                promql(("table:sink_rows_stored:rate5m", "{{table}}")),
                unit="rowsps",
            ),
            curves(
                "Inserts",
                "99th percentile of a batch's inserts; failures a second; oldest record not stored.",
                promql(
                    ("chaukas:sink_insert_seconds:p99_5m", "insert"),
                    ("sum by (fault) (rate(sink_insert_failures_total[5m]))", "failures: {{fault}}"),
                    ("max(sink_oldest_unacknowledged_seconds)", "oldest unacknowledged"),
                ),
                unit="s",
                units={"/^failures/": "ops"},
            ),
            curves(
                "Batch size",
                "Mean records of a batch. Near the limit: it works at full load.",
                promql(("rate(sink_batch_records_sum[5m]) / (rate(sink_batch_records_count[5m]) > 0)", "{{instance}}")),
            ),
            curves(
                "Queries",
                "95th percentile by method, and the share that fails.",
                promql(
                    ("method:sink_query_seconds:p95_5m", "{{method}}"),
                    ("chaukas:sink_query_errors:ratio5m", "share that fails"),
                ),
                unit="s",
                units={"share that fails": "percentunit"},
            ),
            curves(
                "Copies",
                "Re-sends and conflicts a second; copies that are not settled.",
                promql(
                    ("sum by (marked_by) (rate(sink_resends_total[5m]))", "re-sends: {{marked_by}}"),
                    ("sum by (marked_by) (rate(sink_conflicts_total[5m]))", "conflicts: {{marked_by}}"),
                    ("sum(sink_unsettled_copies)", "not settled"),
                ),
                unit="recps",
                units={"not settled": "short"},
            ),
        ],
        "What went wrong": [
            curves(
                "Dead letters by reason",
                "Within ten minutes. docs/dead_letters.md has what to do.",
                promql(("reason:dead_letters:increase10m", "{{job}}: {{reason}}")),
                decimals=0,
            ),
            curves(
                "Firing alerts",
                "Over time, by name.",
                promql(('count by (alertname) (ALERTS{alertname=~"Chaukas.*",alertstate="firing"})', "{{alertname}}")),
                decimals=0,
                stacked=True,
            ),
        ],
        "Processes": [
            curves(
                "CPU",
                "Cores used. Near 1: a process's core is full.",
                promql((f"rate(process_cpu_seconds_total{_OURS}[5m])", _PROCESS)),
            ),
            curves(
                "Memory",
                "Resident.",
                promql((f"process_resident_memory_bytes{_OURS}", _PROCESS)),
                unit="bytes",
            ),
            curves(
                "Restarts",
                "Within an hour, by process. One alone: it dies; its log has the reason. All in turn: a rolling restart.",
                promql((f"changes({_STARTED}[1h])", _PROCESS)),
                decimals=0,
            ),
            curves(
                "Spans",
                "Sent and not sent to the collector. queue, export: it is away or too slow; batch: more calls than are traced. Empty: no tracing.",
                promql(
                    ("sum by (job) (rate(chaukas_tracing_spans_exported_total[5m]))", "{{job}}: sent"),
                    ("sum by (job, reason) (rate(chaukas_tracing_spans_dropped_total[5m]))", "{{job}}: {{reason}}"),
                ),
                unit="cps",
            ),
        ],
    }
    return dashboard("chaukas-operations", "Chaukas: operations", sections, [], "now-3h")


def _glance() -> list[Panel]:
    return [
        number(
            "Ready gateways",
            "0: nothing is taken. Gateways that share a port have one page, and count as one.",
            promql(("sum(gateway_ready)", "")),
            width=3,
            steps=(("red", None), ("green", 1)),
        ),
        number(
            "Accepted",
            "Events a second.",
            promql(("sum(door:gateway_events_accepted:rate5m)", "")),
            width=3,
            unit="eps",
        ),
        number(
            "Calls that fail",
            "Of those at the worst door.",
            promql((f"max(door:gateway_request_errors:ratio5m) or {_GATEWAYS}", "")),
            width=3,
            unit="percentunit",
            steps=(("green", None), ("red", 0.01)),
        ),
        number(
            "Freshness",
            "Receipt to row, 99th percentile. Empty: nothing was stored for five minutes.",
            promql(("chaukas:sink_freshness_seconds:p99_5m", "")),
            width=3,
            unit="s",
            steps=(("green", None), ("red", 60)),
        ),
        number(
            "Waiting records",
            "Consumer lag of processors and sink, which count it themselves: empty while either is away.",
            promql(("sum(topic:processors_consumer_lag_records:sum) + sum(topic:sink_consumer_lag_records:sum)", "")),
            width=3,
            steps=(("green", None), ("red", 50_000)),
        ),
        number(
            "Dead letters",
            "Within ten minutes.",
            promql((f"sum(reason:dead_letters:increase10m) or {_CONSUMERS}", "")),
            width=3,
            decimals=0,
            steps=(("green", None), ("red", 0.5)),
        ),
        number(
            "Restarts",
            "Within an hour, of all processes; a rolling restart makes one of each.",
            promql((f"sum(changes({_STARTED}[1h]))", "")),
            width=3,
            steps=(("green", None), ("orange", 1)),
        ),
        number(
            "Alerts",
            "That fire. docs/runbooks.md has a section for each.",
            promql(('count(ALERTS{alertname=~"Chaukas.*",alertstate="firing"}) or vector(0)', "")),
            width=3,
            steps=(("green", None), ("red", 1)),
        ),
    ]
