"""Every benchmark by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks import (
    gateway_auth,
    gateway_doors,
    gateway_idle,
    gateway_latency,
    gateway_overload,
    gateway_saturation,
    gateway_tracing,
    gateway_workers,
    ingest_steps,
    pipeline,
    processors_latency,
    processors_rebalance,
    processors_redaction,
    processors_steps,
    processors_worker,
    sink_memory,
    sink_merges,
    sink_queries,
    sink_rows,
    sink_settle,
    sink_stats,
    sink_visible,
    sink_writer,
)
from benchmarks.measure import Result

BENCHMARKS: dict[str, Callable[[], Iterator[Result]]] = {
    "gateway-auth": gateway_auth.run,
    "gateway-batch": gateway_doors.run_batch,
    "gateway-http": gateway_doors.run_http,
    "gateway-idle": gateway_idle.run,
    "gateway-latency": gateway_latency.run,
    "gateway-overload": gateway_overload.run,
    "gateway-saturation": gateway_saturation.run,
    "gateway-steps": ingest_steps.run,
    "gateway-tracing": gateway_tracing.run,
    "gateway-unary": gateway_doors.run_unary,
    "gateway-workers": gateway_workers.run,
    "pipeline": pipeline.run,
    "processors-latency": processors_latency.run,
    "processors-rebalance": processors_rebalance.run,
    "processors-redaction": processors_redaction.run,
    "processors-steps": processors_steps.run,
    "processors-worker": processors_worker.run,
    "sink-memory": sink_memory.run,
    "sink-merges": sink_merges.run,
    "sink-queries": sink_queries.run,
    "sink-rows": sink_rows.run,
    "sink-settle": sink_settle.run,
    "sink-stats": sink_stats.run,
    "sink-visible": sink_visible.run,
    "sink-writer": sink_writer.run,
}
