"""Tracing, when it is asked for: whoever makes spans gets them here, or None and then does nothing.

OpenTelemetry is imported by :mod:`runtime.spans` alone, and that by :func:`start` alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, TypeVar

from prometheus_client import CollectorRegistry

from contracts.headers import TRACEPARENT
from contracts.traceparent import Seen
from runtime.settings import InvalidSettings
from runtime.settings.tracing import TracingSettings

if TYPE_CHECKING:
    from runtime.spans import Tracing


class _Record(Protocol):
    @property
    def headers(self) -> Iterable[tuple[str, bytes | None]]: ...


R = TypeVar("R", bound=_Record)


def start(settings: TracingSettings, process: str, instance: int, registry: CollectorRegistry) -> Tracing | None:
    """Begin to send the spans of this process; None when nobody asked for them. Ends with :meth:`runtime.spans.Tracing.close`.

    Raises InvalidSettings when what it takes is not installed. A collector that is away is no error, now or later.
    """
    if not settings.otlp_endpoint or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    try:
        from runtime.spans import connect
    except ImportError as error:
        raise InvalidSettings(
            f"TRACING_OTLP_ENDPOINT={settings.otlp_endpoint!r}: {error.name or error} is not installed; install "
            "chaukas-gateway with the extra `tracing` (pip install 'chaukas-gateway[tracing]'), or leave it empty"
        ) from None
    return connect(settings, process, instance, registry)


def noting(records: Iterable[R], seen: Seen) -> Iterator[R]:
    """`records`, while their trace contexts are counted in `seen`."""
    for record in records:
        note(record, seen)
        yield record


def note(record: _Record, seen: Seen) -> None:
    for name, value in record.headers:
        if name == TRACEPARENT:
            if value is not None:
                seen[value] = seen.get(value, 0) + 1
            return
