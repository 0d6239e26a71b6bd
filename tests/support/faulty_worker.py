"""A worker of the product whose agent misbehaves once it has seen a few batches; ``FAULT`` says how.

- ``raise-once``, ``raise-always``: after a batch's records were produced; the batch is not declared done.
- ``never-done``: the batch is neither finished nor failed.
- ``deaf``: once something was finished, what the consumer reads never arrives.
- ``step-fails``: a step fails on every record, as a defect of ours would; the product dead-letters them.
- ``burn``: the event loop computes for ``FAULT_SECONDS`` before it goes on.

Everything else is ``python -m processors`` itself.
"""

from __future__ import annotations

import os
import time
from typing import Any

from processors import __main__ as product
from processors import pipeline
from processors.agents import EnrichAgent
from processors.transport import Batch
from processors.transport.poller import Poller

_FIRST = 3


class Fault(Exception):
    """What the misbehaving agent raises."""


def misbehave(fault: str, seconds: float) -> None:
    if fault == "step-fails":

        def broken(*_: Any) -> None:
            raise Fault

        pipeline.handoffs = broken  # type: ignore[assignment,attr-defined]
        return
    if fault == "deaf":
        deliver = Poller._deliver

        def deaf(self: Any, messages: list[Any]) -> None:
            if not any(lease.committable for lease in self._leases.values()):
                deliver(self, messages)

        Poller._deliver = deaf  # type: ignore[method-assign]
        return
    process, done_after = EnrichAgent._process, Batch.done_after
    seen = 0

    def faulty_process(self: Any, batch: Any, partition: Any, outbox: Any, trace: Any) -> None:
        nonlocal seen
        seen += 1
        if fault == "burn" and seen == _FIRST:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                pass
        process(self, batch, partition, outbox, trace)
        if fault == "raise-always" and seen >= _FIRST:
            raise Fault
        if fault == "raise-once" and seen == _FIRST:
            raise Fault

    def faulty_done_after(self: Any, outbox: Any) -> None:
        if fault == "never-done" and seen == _FIRST:
            self.pending = outbox.delivered()
        else:
            done_after(self, outbox)

    EnrichAgent._process = faulty_process  # type: ignore[method-assign]
    Batch.done_after = faulty_done_after  # type: ignore[method-assign]


if __name__ == "__main__":
    misbehave(os.environ["FAULT"], float(os.environ.get("FAULT_SECONDS", "0")))
    product.main()
