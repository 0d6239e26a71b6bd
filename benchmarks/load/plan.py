"""What callers shall do, and what came back: the JSON between a benchmark and its load process."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Plan:
    """One load. The kinds: ``grpc-batch``, ``grpc-unary``, ``http-batch``, ``http-single``."""

    kind: str
    port: int
    key: str
    tenant_id: str = "bench"
    project_id: str = "bench"
    #: It ends after so many seconds, or after so many calls when `calls` is not 0.
    seconds: float = 4.0
    calls: int = 0
    connections: int = 4
    #: Calls of one connection that are under way at once (HTTP/1.1: one, whatever is said here).
    in_flight: int = 8
    #: Calls a second of all connections together, sent when they are due whatever came back; 0: as fast as they are answered.
    rate: float = 0.0
    events_per_call: int = 100
    #: Differs between loads of one run, so that event ids do not repeat.
    seed: int = 1


@dataclass
class Tally:
    """What came back."""

    calls: int = 0
    accepted: int = 0
    #: By gRPC code number or HTTP status.
    refused: dict[str, int] = field(default_factory=dict)
    #: Calls that were due and could not be sent: everything that may be under way was.
    held_back: int = 0
    #: From the first call to the last answer.
    seconds: float = 0.0
    #: Of the load process itself, from the first call on.
    cpu_seconds: float = 0.0
    #: Bytes of one request, on average.
    request_bytes: float = 0.0
    #: Seconds from when a call was due (closed loop: was sent) to its answer, accepted calls only: by percentile, "p50" to "max".
    latency: dict[str, float] = field(default_factory=dict)


PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}


def percentiles(values: list[float]) -> dict[str, float]:
    """By name; empty for no values."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {name: ordered[round(share * last)] for name, share in PERCENTILES.items()} if ordered else {}
