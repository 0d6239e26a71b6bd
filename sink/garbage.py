"""When the garbage collector looks at the heap.

A batch is hundreds of thousands of containers (a record, its headers) without a cycle among them, which reference counting frees
when the batch is stored. Looking at them for cycles as often as they are made cost a quarter of consuming (2 µs of 8.5 an event).
"""

from __future__ import annotations

import gc

#: New containers that live before the collector looks by itself: more than three batches of 50,000 records have.
_WRITER_THRESHOLD = 2_000_000
_QUERY_THRESHOLD = 100_000


def arrange(*, writes: bool) -> None:
    """For a process that has imported what it needs. One that `writes` must call :func:`collect` from time to time."""
    gc.freeze()
    gc.set_threshold(_WRITER_THRESHOLD if writes else _QUERY_THRESHOLD, 50, 100)


def collect() -> None:
    """Free what is in cycles. Holds up every thread for up to 0.1 s while batches are in memory."""
    gc.collect()
