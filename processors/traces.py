"""The spans of a batch: one in the trace of each sampled call whose records are in it, from its first step to its durability."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from contracts.traceparent import Seen
from processors.intake import RawRecord
from processors.transport import Batch
from runtime.tracing import noting

if TYPE_CHECKING:
    from runtime.spans import Tracing


class BatchTrace:
    """Of one attempt at one batch; called when its deliveries are through."""

    __slots__ = ("_attributes", "_name", "_seen", "_started_ns", "_tracing")

    def __init__(self, tracing: Tracing, batch: Batch, group: str) -> None:
        self._tracing = tracing
        self._started_ns = time.time_ns()
        self._seen: Seen = {}
        self._name = f"process {batch.tp.topic}"
        self._attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.destination.name": batch.tp.topic,
            "messaging.destination.partition.id": str(batch.tp.partition),
            "messaging.consumer.group.name": group,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "chaukas.batch.first_offset": batch.first_offset,
            "chaukas.batch.next_offset": batch.next_offset,
        }

    def watch(self, records: Iterable[RawRecord]) -> Iterable[RawRecord]:
        return noting(records, self._seen)

    def failed(self, error: BaseException) -> None:
        """Its class only: what an error says may be content."""
        self._end(type(error).__name__)

    def __call__(self, delivered: Any) -> None:
        self._end("not delivered" if delivered.cancelled() or delivered.exception() is not None else "")

    def _end(self, problem: str) -> None:
        self._tracing.batch(self._name, "CONSUMER", self._seen, self._started_ns, self._attributes, problem)
