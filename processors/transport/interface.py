"""The part of Faust's consumer interface that has no decisions in it: positions, watermarks, seeking, and what is not used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import confluent_kafka
from faust.transport import consumer as base
from faust.types import TP

from processors.transport.ledger import Ledger
from processors.transport.poller import Poller


class FaustInterface(base.Consumer):
    """Answers from the ledger, asks the broker on the poller's thread."""

    ledger: Ledger
    _poller: Poller | None

    def assignment(self) -> set[TP]:
        return set(self.ledger.leases)

    def highwater(self, tp: TP) -> int:
        lease = self.ledger.leases.get(tp)
        return lease.high_watermark or 0 if lease is not None else 0

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        return {tp: (await self._watermarks(tp))[0] for tp in partitions}

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        return {tp: (await self._watermarks(tp))[1] for tp in partitions}

    async def _watermarks(self, tp: TP) -> tuple[int, int]:
        assert self._poller is not None
        client, partition = self._poller.client, confluent_kafka.TopicPartition(tp.topic, tp.partition)
        watermarks: tuple[int, int] = await self._poller.submit(lambda: client.get_watermark_offsets(partition, 10.0))
        return watermarks

    async def position(self, tp: TP) -> int | None:
        lease = self.ledger.leases.get(tp)
        return lease.next_fetch if lease is not None and lease.next_fetch >= 0 else None

    async def seek_to_committed(self) -> Mapping[TP, int]:
        return {tp: lease.committed for tp, lease in self.ledger.leases.items() if lease.committed is not None}

    async def _seek(self, partition: TP, offset: int) -> None:
        """Forget everything in flight of `partition` and read on from `offset`."""
        assert self._poller is not None
        poller = self._poller
        self.ledger.begin([partition])
        leases = dict(self.ledger.leases)

        def command() -> None:
            poller.client.seek(confluent_kafka.TopicPartition(partition.topic, partition.partition, offset))
            poller.set_leases(leases)

        await poller.submit(command)

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        for tp, offset in partitions.items():
            await self._seek(tp, offset)

    async def create_topic(self, topic: str, partitions: int, replication: int, **kwargs: Any) -> None:
        """Topics are created by the stack (``runtime.kafka.ensure_topics``), never by a worker."""
        self.log.debug("not creating %s: topics are not the worker's business", topic)

    def topic_partitions(self, topic: str) -> int | None:
        return None

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        return partition

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        raise NotImplementedError("batches come from the poller, see _drain_messages")
