"""The exit statuses of the transport; see :mod:`runtime.exits`."""

from __future__ import annotations

from runtime.exits import EXIT_STALLED, leave

__all__ = ["EXIT_DELIVERY_FAILED", "EXIT_STALLED", "leave"]

#: Status after a record the broker did not take (EX_IOERR): restart me from the last commit.
EXIT_DELIVERY_FAILED = 74
