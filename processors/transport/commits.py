"""Committing: Faust's timer and its chain of calls, our offsets.

What Faust would commit it reads from lists that its streams fill, also for events whose agent raised. Here it reads the
ledger, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import confluent_kafka
from faust.types import TP
from mode import get_logger

from processors.transport.interface import FaustInterface

logger = get_logger(__name__)


class Commits(FaustInterface):
    """See the module."""

    logger = logger

    #: Since when commits fail; None: the last one did not.
    _commit_failing_since: float | None = None

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Any:
        # Faust's stream fills these two inline (also for failed events); nothing reads them here, so keep them empty.
        self._acked.clear()
        self._acked_index.clear()
        return [tp for tp in self.ledger.leases if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: TP) -> int | None:
        lease = self.ledger.leases.get(tp)
        return lease.committable if lease is not None else None

    def _should_commit(self, tp: TP, offset: int) -> bool:
        lease = self.ledger.leases.get(tp)
        return lease is not None and lease.committed != offset  # not ">": a recreated topic starts anew

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        if self._poller is None:
            return False
        leases = dict(self.ledger.leases)
        wanted = [confluent_kafka.TopicPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
        client = self._poller.client
        try:
            results = await self._poller.submit(lambda: client.commit(offsets=wanted, asynchronous=False))
        except (confluent_kafka.KafkaException, RuntimeError) as error:
            # Lost the partition, or the broker is away: tried again at the next tick; no record is lost by it.
            self.log.warning("commit failed: %s", error)
            self._commit_failed()
            return False
        complete = True
        for result in results:
            lease = leases.get(TP(result.topic, result.partition))
            if result.error is not None:
                complete = False
                self.log.warning("commit of %s-%d failed: %s", result.topic, result.partition, result.error)
            elif lease is not None:
                lease.committed = result.offset
        if complete:
            self._commit_failing_since = None
        else:
            self._commit_failed()
        return complete

    def _commit_failed(self) -> None:
        self.ledger.commit_failures += 1
        self._commit_failing_since = self._commit_failing_since or time.monotonic()
