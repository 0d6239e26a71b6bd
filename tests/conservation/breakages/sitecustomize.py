"""Breaks the product on purpose: the proof that the account of a trial notices.

Python imports this module at the start of every process whose PYTHONPATH holds its directory. It patches the service that is
being started as CONSERVATION_BREAKAGE says, and nothing else.
"""

from __future__ import annotations

import os
import sys
import uuid
from typing import Any


def _service() -> str:
    """`gateway`, `processors` or `sink` when this process is one."""
    words = sys.orig_argv
    name = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    return name if name in ("gateway", "processors", "sink") else ""


def acknowledge_before_delivery() -> None:
    """The gateway says OK as soon as records are queued."""
    from gateway.publisher import Publisher

    async def confirm(self: Any, delivery: Any, seconds: float) -> None:
        return None

    Publisher.confirm = confirm  # type: ignore[method-assign]


def change_the_clients_bytes() -> None:
    """The gateway adds a tag to each event."""
    from chaukas.spec.common.v1 import events_pb2

    from gateway.publisher import Publisher

    send = Publisher.send
    tag = events_pb2.Event(tags=["seen"]).SerializeToString()

    def changed(self: Any, delivery: Any, records: Any, timestamp_ms: int) -> None:
        send(self, delivery, [(value + tag, *rest) for value, *rest in records], timestamp_ms)

    Publisher.send = changed  # type: ignore[method-assign]


def finish_before_delivery() -> None:
    """The processors commit what is not delivered yet."""
    from processors.transport.ledger import Batch

    def done_after(self: Any, outbox: Any) -> None:
        self.pending = outbox.delivered()
        self.lease.finish(self)

    Batch.done_after = done_after  # type: ignore[method-assign]


def skip_a_revoke() -> None:
    """The processors keep a window over the time in which its partition was another worker's."""
    from processors.agents import EnrichAgent

    prepare = EnrichAgent.prepare

    async def keeping(self: Any, tp: Any, assignment: int, *rest: Any) -> None:
        known = self._partitions.get(tp.partition)
        if known is None:
            await prepare(self, tp, assignment, *rest)
        else:
            known.assignment, known.fresh = assignment, False

    EnrichAgent.prepare = keeping  # type: ignore[method-assign,assignment]
    EnrichAgent.forget = lambda self, partitions: None  # type: ignore[method-assign]


def drop_a_dead_letter() -> None:
    """What cannot be processed disappears."""
    from processors import emit

    emit.emit_dead_letter = lambda *_: None


def count_instead_of_facts() -> None:
    """Each time an MCP call is processed it counts as one more."""
    from processors import mcp_calls

    mcp_calls.call_id = lambda event: str(uuid.uuid4())


def commit_before_insert() -> None:
    """The sink commits what it has read."""
    from sink.consumer import SinkConsumer

    start_insert = SinkConsumer._start_insert

    def committing(self: Any) -> None:
        start_insert(self)
        self._offsets.commit(self._inserts.running.prepared.next_offsets, {})

    SinkConsumer._start_insert = committing  # type: ignore[method-assign]


def swallow_a_failed_insert() -> None:
    """The sink logs an error of the store and goes on."""
    from sink import writer

    make = writer.arrow_insert

    def swallowing(*arguments: Any) -> Any:
        insert = make(*arguments)

        def quietly(table: str, rows: Any) -> None:
            try:
                insert(table, rows)
            except Exception:
                pass

        return quietly

    writer.arrow_insert = swallowing  # type: ignore[assignment]


BREAKAGES: dict[str, tuple[str, Any]] = {
    function.__name__: (service, function)
    for service, function in (
        ("gateway", acknowledge_before_delivery),
        ("gateway", change_the_clients_bytes),
        ("processors", finish_before_delivery),
        ("processors", skip_a_revoke),
        ("processors", drop_a_dead_letter),
        ("processors", count_instead_of_facts),
        ("sink", commit_before_insert),
        ("sink", swallow_a_failed_insert),
    )
}

_chosen = BREAKAGES.get(os.environ.get("CONSERVATION_BREAKAGE", ""))
if _chosen is not None and _service() == _chosen[0]:
    _chosen[1]()
