"""Mapping the open batch while it fills: state, no clock, no I/O.

When the insert before is through, what is left to map is less than one part, however large the batch, and can be left to the next one:
the engine does not wait for the mapping, and the mapping does not wait for the batch to be full.
"""

from __future__ import annotations

from contracts.topics import Topics
from sink.batch import Batch
from sink.prepare import Prepared, join, prepare
from sink.rows import CHUNK


class Ahead:
    """What the first records of the open batch lead to. A batch only grows until :meth:`finish`, or :meth:`forget`."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._parts: list[Prepared] = []
        #: Records of the batch that are mapped; and those that come later came after this time.
        self._mapped = 0
        self._mapped_at = 0.0

    def advance(self, batch: Batch, now: float) -> None:
        """Map what of `batch` is enough for a part: mapping in smaller ones costs more. Its last records came at `now`."""
        while len(batch.records) - self._mapped >= CHUNK:
            self._map(batch, self._mapped + CHUNK)
            self._mapped_at = now

    def split(self, batch: Batch) -> tuple[Batch, Batch]:
        """What of `batch` needs no more mapping, unless that is nothing, and the rest: for an insert that could begin now."""
        if not self._mapped:
            return batch, Batch()
        return batch.split(self._mapped, self._mapped_at)

    def finish(self, batch: Batch) -> Prepared:
        """Everything `batch` leads to; the next batch begins anew."""
        if self._mapped < len(batch.records) or not self._parts:
            self._map(batch, len(batch.records))
        parts = self._parts
        self.forget()
        return join(parts, batch)

    def forget(self) -> None:
        """The batch is another one now."""
        self._parts = []
        self._mapped = 0

    def _map(self, batch: Batch, until: int) -> None:
        self._parts.append(prepare(Batch(batch.records[self._mapped : until]), self._topics))
        self._mapped = until
