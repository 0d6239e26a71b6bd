"""The dashboard "Chaukas: operations": from Prometheus, for those who run it."""

from __future__ import annotations

from typing import Any

from deploy.grafana.panels import curves, dashboard, number, promql


def build() -> dict[str, Any]:
    sections = {
        "At a glance": [
            number("Ready gateways", "0: nothing is taken.", promql(("sum(gateway_ready)", ""))),
            number(
                "Accepted", "Events a second.", promql(("sum(door:gateway_events_accepted:rate5m)", "")), unit="eps"
            ),
            number(
                "Calls that fail",
                "Of those at the worst door.",
                promql(("max(door:gateway_request_errors:ratio5m)", "")),
                unit="percentunit",
            ),
            number(
                "Freshness",
                "Receipt to row, 99th percentile.",
                promql(("chaukas:sink_freshness_seconds:p99_5m", "")),
                unit="s",
            ),
            number(
                "Waiting records",
                "Consumer lag of processors and sink.",
                promql(
                    ("sum(topic:processors_consumer_lag_records:sum) + sum(topic:sink_consumer_lag_records:sum)", "")
                ),
            ),
            number(
                "Dead letters",
                "Within ten minutes; empty: none.",
                promql(("sum(reason:dead_letters:increase10m)", "")),
            ),
        ],
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
                "Bytes held, of those that may be held; calls refused for want of room.",
                promql(
                    ("chaukas:gateway_inflight_bytes:ratio", "bytes held, of the limit"),
                    ("sum(rate(gateway_overloaded_total[5m]))", "refused a second"),
                ),
            ),
        ],
        "Processors": [
            curves(
                "Lag by partition",
                "Records not committed. One partition alone: one worker or one session.",
                promql(("sum by (partition) (chaukas_processors_consumer_lag_records)", "{{partition}}")),
            ),
            curves(
                "Records by fate",
                "resend and conflict are copies; dead_letter wants a look.",
                promql(("fate:processors_records:rate5m", "{{fate}}")),
                unit="eps",
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
                    ("sum by (partition) (chaukas_processors_window_entries)", "entries {{partition}}"),
                    ("sum(rate(chaukas_processors_window_misses_total[5m]))", "misses a second"),
                ),
            ),
        ],
        "Sink": [
            curves(
                "Lag by topic",
                "Records not stored yet.",
                promql(("topic:sink_consumer_lag_records:sum", "{{topic}}")),
            ),
            curves(
                "Rows",
                "Stored a second, by table.",
                promql(("table:sink_rows_stored:rate5m", "{{table}}")),
                unit="rps",
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
            ),
            curves(
                "Copies",
                "Re-sends and conflicts a second; copies that are not settled.",
                promql(
                    ("sum by (marked_by) (rate(sink_resends_total[5m]))", "re-sends: {{marked_by}}"),
                    ("sum by (marked_by) (rate(sink_conflicts_total[5m]))", "conflicts: {{marked_by}}"),
                    ("sum(sink_unsettled_copies)", "not settled"),
                ),
            ),
        ],
        "Processes": [
            curves(
                "CPU",
                "Cores used. Near 1: a process's core is full.",
                promql(('rate(process_cpu_seconds_total{job=~"gateway|processors|sink"}[5m])', "{{job}} {{instance}}")),
            ),
            curves(
                "Memory",
                "Resident.",
                promql(('process_resident_memory_bytes{job=~"gateway|processors|sink"}', "{{job}} {{instance}}")),
                unit="bytes",
            ),
        ],
    }
    return dashboard("chaukas-operations", "Chaukas: operations", sections, [], "now-3h")
