"""A gateway in this process on free ports, a sink that answers from a table, and a reader of the raw topic."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent import futures
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc
import httpx
import uvloop
from chaukas.spec.client.v1.client_pb2_grpc import ChaukasClientServiceStub
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2
from chaukas.spec.server.v1.server_pb2_grpc import ChaukasServerServiceStub
from confluent_kafka import Consumer, KafkaException, TopicPartition
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from contracts import api_keys
from contracts.identity import IDENTITY_METADATA, INTERNAL_TOKEN_METADATA, Identity, Scope, identity_from_metadata
from contracts.v1.insights_pb2_grpc import InsightsServiceStub
from gateway.app import Gateway
from runtime.keyfile import write_keys
from runtime.settings import GatewaySettings, KafkaSettings, load
from tests.support.waiting import wait_for

T = TypeVar("T")
TENANT, PROJECT = "acme", "shop"
TOKEN = "between-gateway-and-sink"


class LoopThread:
    """uvloop on a thread of its own, so that tests stay plain functions."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], seconds: float = 30) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def stop(self) -> None:
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@dataclass
class Key:
    text: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.text}"),)

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.text}"}


class KeyFile:
    """Keys as an operator makes them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stored: list[api_keys.StoredKey] = []
        self.full = self.add()
        self.project = self.add(projects=[PROJECT])
        self.ingest_only = self.add(scopes=[Scope.INGEST])
        self.query_only = self.add(scopes=[Scope.QUERY])

    def add(self, projects: list[str] | None = None, scopes: list[Scope] | None = None, tenant: str = TENANT) -> Key:
        text, stored = api_keys.generate(tenant, projects, scopes or [Scope.INGEST, Scope.QUERY])
        self.stored.append(stored)
        write_keys(self.path, self.stored)
        return Key(text)

    def revoke(self, key: Key) -> None:
        key_id = key.text.split("_")[1]
        self.stored = [stored for stored in self.stored if stored.key_id != key_id]
        write_keys(self.path, self.stored)


class RunningGateway:
    """A real gateway against `kafka`; every setting can be overridden."""

    def __init__(self, kafka: KafkaSettings, directory: Path, **overrides: Any) -> None:
        self.kafka = kafka
        self.keys = KeyFile(directory / "keys.json")
        settings = {
            "keys_file": self.keys.path,
            "grpc_port": 0,
            "http_port": 0,
            "sink_target": "127.0.0.1:1",
            "sink_token": TOKEN,
            "kafka_check_seconds": 0.5,
            "shutdown_seconds": 5,
            **overrides,
        }
        self.settings = load(GatewaySettings, **settings)
        self._thread = LoopThread()
        self.gateway = Gateway(self.settings, kafka)
        self.ports = self._thread.run(self.gateway.start())
        self.grpc_target = f"127.0.0.1:{self.ports.grpc}"
        self.url = f"http://127.0.0.1:{self.ports.http}"
        options = [("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 64 << 20)]
        self.channel: Any = grpc.insecure_channel(self.grpc_target, options=options)
        self.server = ChaukasServerServiceStub(self.channel)
        self.client = ChaukasClientServiceStub(self.channel)
        self.insights = InsightsServiceStub(self.channel)  # type: ignore[no-untyped-call]  # generated
        self.http = httpx.Client(base_url=self.url, timeout=30, headers=self.keys.full.headers)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """In the gateway's event loop."""
        return self._thread.run(work)

    def wait_ready(self) -> None:
        wait_for("the gateway to be ready", lambda: self.gateway.readiness.ready, seconds=20)

    def metric(self, name: str, **labels: str) -> float:
        return self.gateway.metrics.registry.get_sample_value(name, labels) or 0.0

    def stop(self) -> None:
        self.http.close()
        self.channel.close()
        self._thread.run(self.gateway.stop())
        self._thread.stop()


@dataclass
class FakeSink:
    """The sink's face: `answer` decides what a call gets; what it was asked is kept."""

    answer: Callable[[str, bytes, grpc.ServicerContext], bytes]
    calls: list[tuple[str, bytes, Identity, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((_AnyMethod(self),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def call(self, method: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        metadata: dict[str, Any] = dict(context.invocation_metadata())
        assert metadata[INTERNAL_TOKEN_METADATA] == TOKEN
        self.calls.append((method, request, identity_from_metadata(metadata[IDENTITY_METADATA]), metadata))
        return self.answer(method, request, context)

    def stop(self) -> None:
        self._server.stop(None).wait()


class _AnyMethod(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    def __init__(self, sink: FakeSink) -> None:
        self._sink = sink

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._sink.call(details.method, request, context)
        )


class Refused(AssertionError):
    """A call that ended with an error, whichever door it went through."""

    def __init__(self, code: str, text: str, violations: dict[str, str], retry_after: float | None) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.violations = violations
        self.retry_after = retry_after


def refused_by_grpc(error: Any) -> Refused:
    violations: dict[str, str] = {}
    retry_after = None
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        bad_request, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(bad_request):
            violations = {found.field: found.description for found in bad_request.field_violations}
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToMilliseconds() / 1000
    return Refused(error.code().name, error.details(), violations, retry_after)


def refused_by_http(answer: httpx.Response) -> Refused:
    body = answer.json()
    violations = {found["field"]: found["reason"] for found in body.get("violations", ())}
    retry_after = answer.headers.get("retry-after")
    return Refused(str(answer.status_code), body["error"], violations, float(retry_after) if retry_after else None)


class RawTopic:
    """Reads what was written to the raw topic since it was made."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader"})
        topic = kafka.topics.raw
        partitions = self._consumer.list_topics(topic, timeout=10).topics[topic].partitions

        def end(number: int) -> tuple[int] | None:
            try:
                return (self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1],)
            except KafkaException:  # a topic made a moment ago has no leader yet
                return None

        ends = [wait_for("the end of a partition", partial(end, number), seconds=20)[0] for number in partitions]
        self._consumer.assign(
            [TopicPartition(topic, number, end) for number, end in zip(partitions, ends, strict=True)]
        )

    def read(self, count: int, seconds: float = 30) -> list[Any]:
        """The next `count` records, in the order of their partitions. Fails when there are fewer in time."""
        found: list[Any] = []

        def probe() -> bool:
            found.extend(self._consumer.consume(count - len(found), timeout=0.2))
            return len(found) >= count

        wait_for(f"{count} raw records", probe, seconds=seconds)
        return found

    def read_available(self) -> list[Any]:
        """What is there or comes within a moment."""
        return self._consumer.consume(10_000, timeout=0.3)

    def nothing_more(self) -> bool:
        return not self._consumer.consume(1, timeout=0.5)

    def close(self) -> None:
        self._consumer.close()


def batch_request(events: list[pb.Event], batch_id: str = "") -> Any:
    batch = pb.EventBatch(batch_id=batch_id, events=events)
    return server_pb2.IngestEventBatchRequest(event_batch=batch)
