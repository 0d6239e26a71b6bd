"""What Faust has no setting for, and the app that carries it to the transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

import faust
from faust.types import TP

from processors.transport.exits import leave

if TYPE_CHECKING:
    from processors.transport.consumer import Consumer
    from processors.transport.producer import Outbox, Producer

MIB = 1024 * 1024


@dataclass(frozen=True)
class Options:
    """Settings of the transport. Times in seconds, sizes in bytes."""

    #: librdkafka properties of the consumer: where the brokers are, security, timeouts. What the transport's promises
    #: rest on (no automatic commits) is set by the transport and wins.
    consumer: Mapping[str, Any] = field(default_factory=dict)
    #: librdkafka properties of the producer; acks, idempotence and the partitioner are set by the transport and win.
    producer: Mapping[str, Any] = field(default_factory=dict)
    #: Most records one poll returns, and so one batch holds.
    max_poll_records: int = 4000
    #: Most records, bytes and batches read but not finished. With one of them reached, nothing more is read.
    max_inflight_records: int = 8000
    max_inflight_bytes: int = 64 * MIB
    max_inflight_batches: int = 64
    #: How long the poller waits for room before it pauses its partitions (and so forgets what librdkafka prefetched).
    hold_seconds: float = 2.0
    #: How long a revoke or a stop waits for the batches agents hold.
    drain_seconds: float = 5.0
    #: A failed batch is delivered again after `retry_seconds`, twice that, ...; the last attempt's failure stops the worker.
    max_attempts: int = 4
    retry_seconds: float = 0.5
    #: Without a finished batch or a successful commit for this long, although there is something to do, the process leaves.
    stall_seconds: float = 120.0
    #: How often lag and watermarks are refreshed.
    observe_seconds: float = 1.0
    #: Ends the process; tests put something else here.
    leave: Callable[[int, str], Any] = leave


class Prepare(Protocol):
    """Makes what an agent needs of a partition before its first batch under a new assignment."""

    async def __call__(self, tp: TP, assignment: int, offset: int, working: Callable[[], None]) -> None:
        """`offset`: where reading goes on. Call `working` now and then, from any thread: it feeds the stall watchdog, and
        raises :class:`Abandoned` once the partition was taken away or the worker stops."""
        ...


class Abandoned(Exception):
    """The partition was taken away, or the worker stops: nobody needs what is being prepared."""


class BatchApp(faust.App):
    """A Faust app on this transport. `options` reach the transport through it, so that there is no global state."""

    def __init__(self, *args: Any, options: Options, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.transport_options = options
        #: Awaited for each newly assigned partition, whose records are neither read nor handed over meanwhile; the other
        #: partitions go on, and neither a rebalance nor a stop waits for it. What it raises is logged, and the partition
        #: handed over: the agent has to see for itself what it has.
        self.prepare: Prepare | None = None

    def _create_directories(self) -> None:
        """None: they are for tables, which this transport does not support."""

    def outbox(self) -> Outbox:
        """A new outbox for the records one batch produces."""
        return cast("Producer", self.producer).outbox()

    @property
    def batch_consumer(self) -> Consumer | None:
        """The consumer once it was created: its ledger has the counts. None before the app started."""
        return cast("Consumer | None", self._consumer)  # `App.consumer` would create one
