"""What was measured, each with its source: the only place a plan takes numbers about this product from.

One core is a core of the two-core EPYC machine of docs/performance.md with nothing else on it; on a shared Xeon everything cost half more to
twice as much. ``make bench ONLY=pipeline`` on a machine like yours tells by how much.
"""

from __future__ import annotations

from typing import Final

GIB: Final = 1024**3
TIB: Final = 1024**4

#: CPU of the gateway, microseconds: for each event, and for each call. Source: `make bench ONLY=pipeline`: 11 an event in calls of
#: 100; `gateway-idle`: 42 in calls of 10 at a low rate; `gateway-unary`: 131 a call at the highest.
GATEWAY_EVENT_US: Final = 8.0
GATEWAY_CALL_US: Final = 300.0
#: CPU of a processors worker for each event, microseconds. Source: `pipeline`, 40; with a backlog (`processors-worker`) 27.
PROCESSORS_EVENT_US: Final = 40.0
#: CPU of the sink's writer for each event: consuming, headers, mapping, librdkafka. Source: `sink-writer`, 9.5 with a backlog; half more
#: where events trickle.
WRITER_EVENT_US: Final = 14.0
#: CPU of ClickHouse for each event: insert with indexes, and merges of blocks of about 10,000 rows. Source: `pipeline`, 51 for writer,
#: insert, settling and merges together.
STORE_EVENT_US: Final = 37.0
#: CPU of the brokers for each event: raw and enriched written, both read, one replica. Source: `pipeline`, 48 (a JVM with a small
#: heap, small batches).
BROKER_EVENT_US: Final = 48.0

#: Bytes on Kafka beside the event itself, uncompressed: key and headers of the raw record; extension, `enrichment` header, key and
#: headers of the enriched one; facts. Source: the records of `processors-steps` (events of 531 bytes), counted.
RAW_OVERHEAD_BYTES: Final = 204
ENRICHED_OVERHEAD_BYTES: Final = 723
FACTS_BYTES: Final = 93
#: Disk of ClickHouse for each byte of raw protobuf, index of ids included. Source: `sink-memory`, 0.58 (316 + 36 of 609 bytes).
STORE_SHARE: Final = 0.58
#: Size of the events that all of this was measured with, bytes of protobuf.
MEASURED_EVENT_BYTES: Final = 550

#: Memory of a gateway: idle, and a full bound of bytes in flight (256 MiB) under ten times its load. Source: `gateway-overload`, 3.6
#: times the bound.
GATEWAY_BYTES: Final = 90 * 1024**2 + int(3.6 * 256 * 1024**2)
#: Memory of a processors worker beside its windows, and of its windows for each offset within W; the seconds one record takes to be
#: read back. Source: docs/processing.md, "The window": 35 to 80 MB and 1.5 to 2.8 s for W = 50,000, of which 2 W are read.
PROCESSORS_BYTES: Final = 340 * 1024**2
WINDOW_OFFSET_BYTES: Final = 1_200
REBUILD_RECORD_SECONDS: Final = 22e-6
#: Memory of a writer with its engine embedded, and without. Source: `sink-memory`, 1.0 to 1.6 GiB.
WRITER_BYTES: Final = int(1.6 * GIB)
#: What one embedded sink sustains, events a second, with producer and broker on the same two cores. Source: `sink-visible`, 17,400
#: and 17,744.
EMBEDDED_EVENTS: Final = 17_400

# Assumptions, not measured here: change them to what your operators know.

#: Further CPU for each byte of an event above the measured size, microseconds, in every stage.
BYTE_US: Final = 0.01
#: Of a broker's work, what one more replica costs.
REPLICA_SHARE: Final = 0.5
#: Of the cores of a ClickHouse node, those that insert and merge; the others answer queries.
STORE_CORES_SHARE: Final = 0.5
#: Memory of a ClickHouse node and of a broker (heap and page cache) for each core, bytes; and the fewest cores of either.
STORE_CORE_BYTES: Final = 4 * GIB
BROKER_CORE_BYTES: Final = 2 * GIB
STORE_LEAST_CORES: Final = 4
BROKER_LEAST_CORES: Final = 2
#: How full a disk is planned to be.
DISK_FILL: Final = 0.7
#: Room on one node's disks, bytes; more data needs more nodes.
NODE_DISK_BYTES: Final = 8 * TIB
