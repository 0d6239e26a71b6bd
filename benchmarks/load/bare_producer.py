"""How long Kafka takes to confirm one record: a bare producer with the gateway's settings, as a process of its own.

``python -m benchmarks.load.bare_producer`` reads one JSON object (:class:`Pace`) and writes percentiles of the seconds from when
a record was due to its delivery report.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from benchmarks.load.plan import percentiles
from benchmarks.load.requests import singles
from contracts.topics import RAW_MAX_BYTES
from contracts.wire import slice_single
from runtime.kafka import durable_producer, producer_config
from runtime.settings import KafkaSettings, load


@dataclass(frozen=True)
class Pace:
    bootstrap_servers: str
    topic: str
    linger_ms: float
    #: Records a second.
    rate: float
    seconds: float


def main() -> None:
    pace = Pace(**json.load(sys.stdin))
    kafka = load(KafkaSettings, bootstrap_servers=pace.bootstrap_servers)
    config = producer_config(kafka, max_message_bytes=RAW_MAX_BYTES, delivery_seconds=8.0, linger_ms=pace.linger_ms)
    producer = durable_producer(config)
    values = [slice_single(request) for request in singles("bench", "bench")]
    taken: list[float] = []
    over = threading.Event()

    def confirmed(due: float, error: Any, message: Any) -> None:
        if error is not None:
            raise RuntimeError(str(error))
        taken.append(time.perf_counter() - due)

    def poll() -> None:
        while not over.is_set():
            producer.poll(0.1)

    poller = threading.Thread(target=poll)
    poller.start()
    headers: list[tuple[str, str | bytes | None]] = [(f"header-{number}", b"0123456789abcdef") for number in range(6)]
    started = time.perf_counter()
    for number in range(int(pace.rate * pace.seconds)):
        due = started + number / pace.rate
        time.sleep(max(0.0, due - time.perf_counter()))
        key = f"session-{number // 15}"
        value = values[number % len(values)]
        producer.produce(pace.topic, value, key=key, headers=headers, on_delivery=partial(confirmed, due))
    producer.flush(10)
    over.set()
    poller.join()
    json.dump(percentiles(taken), sys.stdout)


def measure(pace: Pace) -> dict[str, float]:
    """Runs this module with `pace`. Blocks."""
    done = subprocess.run(
        [sys.executable, "-m", __name__], input=json.dumps(asdict(pace)).encode(), stdout=subprocess.PIPE, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
