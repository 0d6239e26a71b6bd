"""The sink's roles as processes of their own on a ClickHouse server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from chaukas.spec.common.v1 import query_pb2
from chaukas.spec.server.v1 import server_pb2, server_pb2_grpc

from contracts.dead_letters import SourceRecord
from contracts.identity import IDENTITY_METADATA, Identity, Scope
from runtime.settings import KafkaSettings
from tests.support.broker import Broker
from tests.support.clickhouse_server import Server, clickhouse_server
from tests.support.events import seeded_sessions
from tests.support.sink_process import SinkUnderTest
from tests.support.sink_records import enriched_record
from tests.support.waiting import wait_for

METADATA = ((IDENTITY_METADATA, Identity("t", None, frozenset({Scope.QUERY})).to_metadata()),)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with clickhouse_server(tmp_path) as running:
        yield running


@pytest.fixture
def sinks(kafka: Broker, server: Server, tmp_path: Path) -> Iterator[list[SinkUnderTest]]:
    """Three, on one store and in one group."""
    settings = kafka.create_topics(f"sink-{uuid.uuid4().hex[:8]}.", 2)
    made = [_sink(settings, server, tmp_path / name) for name in ("writer-0", "writer-1", "query")]
    yield made
    for one in made:
        one.close()


def _sink(settings: KafkaSettings, server: Server, directory: Path) -> SinkUnderTest:
    directory.mkdir()
    environment = {"SINK_GRPC_PORT": "0", "SINK_BATCH_ROWS": "50", "KAFKA_SESSION_TIMEOUT_MS": "6000"}
    return SinkUnderTest(settings, directory, environment, server=server.dsn("gateway"))


def records(sink: SinkUnderTest, seed: int) -> list[SourceRecord]:
    made: list[SourceRecord] = []
    for number, session in enumerate(seeded_sessions(seed, 10, tenant="t", project="p")):
        for one in session:
            raw = (number % 2, seed * 100_000 + len(made))
            made.append(enriched_record(one, offset=raw[1], partition=raw[0], raw=raw, topics=sink.kafka.topics))
    return made


def test_writers_and_a_query_server_on_one_store(sinks: list[SinkUnderTest]) -> None:
    first, second, asked = sinks
    for sink, role in ((first, "writer"), (second, "writer"), (asked, "query")):
        sink.start(role=role)  # all at once: each of them brings the schema up to date
    for sink in sinks:
        wait_for("the sink to be ready", lambda sink=sink: sink.ready().get("status") == "ready")  # type: ignore[misc]
    made = records(first, 1)
    first.produce(made)
    wait_for("some rows", lambda: any(sink.metric("sink_rows_stored_total") for sink in (first, second)))
    if not first.metric("sink_rows_stored_total"):
        first, second = second, first
    first.kill()
    more = records(first, 2)
    second.produce(more)
    second.wait_committed()
    with grpc.insecure_channel(f"127.0.0.1:{asked.grpc_port()}") as channel:
        stub = server_pb2_grpc.ChaukasServerServiceStub(channel)
        request = server_pb2.QueryEventsRequest(query=query_pb2.QueryRequest(page_size=7))
        stats = stub.GetEventStats(server_pb2.GetEventStatsRequest(), metadata=METADATA, timeout=30)
        page = stub.QueryEvents(request, metadata=METADATA, timeout=30)
    assert stats.total_events == len(made) + len(more)
    assert len(page.response.events) == 7
    assert (second.stop(), asked.stop()) == (0, 0)
    (history,) = second.rows("SELECT count(), uniqExact(version) FROM schema_migrations FINAL")
    assert history[0][0] == history[0][1]


def test_a_server_that_goes_away_is_waited_for(sinks: list[SinkUnderTest], server: Server) -> None:
    sink = sinks[0]
    made = records(sink, 1)
    sink.start()
    wait_for("the sink to be ready", lambda: sink.ready().get("status") == "ready")
    server.kill()
    sink.produce(made)
    wait_for("a failed insert", lambda: sink.metric("sink_insert_failures_total") > 0)
    assert sink.lag() == len(made)
    server.start()
    sink.wait_committed()
    (stored,) = sink.rows("SELECT count() FROM events FINAL")
    assert stored == [[len(made)]]
    assert sink.stop() == 0


def test_an_insert_that_hangs_ends_the_writer_and_a_store_that_is_away_does_not(
    sinks: list[SinkUnderTest], server: Server
) -> None:
    sink = sinks[0]
    sink.environment |= {"SINK_STALL_SECONDS": "2", "SINK_INSERT_TIMEOUT_SECONDS": "2"}
    sink.start(role="writer")
    wait_for("the sink to be ready", lambda: sink.ready().get("status") == "ready")
    server.kill()
    made = records(sink, 1)
    sink.produce(made)
    failures = wait_for("failed inserts", lambda: sink.metric("sink_insert_failures_total"))
    # Each waits longer than the one before: together far longer than the watchdog would.
    wait_for("more of them", lambda: sink.metric("sink_insert_failures_total") >= failures + 4)
    assert sink.process is not None
    assert sink.process.poll() is None
    drips = server.directory / "drips"
    drips.touch()
    server.start()
    assert sink.wait_dead() == 75
    assert sink.log.count("the writer is stuck: an insert has not returned") == 1
    assert "in _watched_insert" in sink.log, "the stacks say where it hangs"
    drips.unlink()
    sink.start(role="writer")
    sink.wait_committed()
    assert sink.stop() == 0
    (stored,) = sink.rows("SELECT count() FROM events FINAL")
    assert stored == [[len(made)]]
