"""A Faust transport on confluent-kafka that hands an agent one item per polled partition batch.

``broker="confluent-batch://"`` selects it (entry point ``faust.transports``); settings travel in :class:`Options` on a
:class:`BatchApp`::

    app = BatchApp("enrich", options=Options(consumer={...}, producer={...}), broker="confluent-batch://")
    raw = app.topic("events.raw", schema=BatchSchema())

    @app.agent(raw)
    async def enrich(batches):
        async for batch in batches:
            outbox = app.outbox()
            for record in batch:
                outbox.send("events.enriched", work(record.value()), key=record.key())
            batch.done_after(outbox)      # only this lets the offset be committed

What it promises:

1. An offset is committed only when every batch before it was declared done (``ledger.py``). An agent that raises, hangs
   or forgets a batch acknowledges nothing.
2. ``done_after`` declares a batch done when the broker confirmed every record of its outbox (``producer.py``).
3. A delivery that failed ends the process at once: records of later batches may already be on their way, and only a
   restart from the last commit keeps the order of a key's first copies.
4. A batch whose body failed is delivered again after a pause, its partition waiting; after some attempts the worker stops
   with a non-zero status.
5. A partition that is assigned is prepared (``BatchApp.prepare``) before anything of it is read; the others go on meanwhile.
6. What is read but not finished is bounded in records, bytes and batches; beyond, nothing more is read.

Not supported: tables, client-only mode, transactions, ordinary per-record agents, ``pause_partitions`` by user code,
``concurrency > 1`` when an agent lets exceptions escape. Sensors count batches, not records.
"""

from processors.transport.consumer import BatchFailed, StopWorker
from processors.transport.exits import EXIT_DELIVERY_FAILED, EXIT_STALLED
from processors.transport.ledger import Batch, Lease, Ledger
from processors.transport.options import Abandoned, BatchApp, Options, Prepare
from processors.transport.producer import Outbox
from processors.transport.schema import BatchSchema
from processors.transport.transport import Transport

__all__ = [
    "EXIT_DELIVERY_FAILED",
    "EXIT_STALLED",
    "Abandoned",
    "Batch",
    "BatchApp",
    "BatchFailed",
    "BatchSchema",
    "Lease",
    "Ledger",
    "Options",
    "Outbox",
    "Prepare",
    "StopWorker",
    "Transport",
]
