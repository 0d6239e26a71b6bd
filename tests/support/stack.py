"""The whole system, started as a user starts it (``chaukas-gateway up --detach``), on free ports in a temporary directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2
from chaukas.spec.server.v1.server_pb2_grpc import ChaukasServerServiceStub

from cli.client import errors
from cli.stack.endpoints import Endpoints, load_endpoints
from cli.stack.record import load_record
from cli.stack.status import StackStatus, collect
from contracts.v1.insights_pb2_grpc import InsightsServiceStub
from tests.support.waiting import wait_for

#: Every process of a stack, in the order an event meets them.
PROCESSES = ("gateway", "kafka", "processors", "sink")


@dataclass
class Stack:
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def cli(self, *arguments: str, check: bool = True, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Run ``chaukas-gateway …`` against this stack."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def _environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("CHAUKAS_", "GATEWAY_", "SINK_"))}
        return {
            **inherited,
            "STACK_DIR": str(self.directory),
            "STACK_PORTS": "auto",
            "COLUMNS": "120",
            **self.environment,
        }

    def up(self) -> None:
        self.cli("up", "--detach", "--no-demo", seconds=600)

    def down(self) -> None:
        self.cli("down")

    @property
    def endpoints(self) -> Endpoints:
        return load_endpoints(self.directory)

    def status(self) -> StackStatus:
        """What ``chaukas-gateway status`` would say, without starting an interpreter for it."""
        return collect(self.directory, load_record(self.directory))

    def pids(self, process: str) -> dict[str, int]:
        """By instance name; 0 for one that does not run."""
        return {p.process: p.pid for p in self.status().processes if p.process.split("-")[0] == process}

    def signal(self, process: str, number: signal.Signals) -> None:
        """Send a signal to every instance of `process`; the supervisor starts what ends again."""
        found = self.pids(process)
        assert found, f"no process {process} in {self.status()}"
        for pid in found.values():
            if pid:
                os.kill(pid, number)

    def wait_restarted(self, process: str, before: dict[str, int], seconds: float = 60) -> None:
        """Wait until every instance runs with another pid than `before`."""

        def probe() -> bool:
            now = self.pids(process)
            return bool(now) and all(pid and pid != before[name] for name, pid in now.items())

        wait_for(f"{process} to be restarted", probe, seconds=seconds, every=0.1)

    def wait_ready(self, seconds: float = 90) -> None:
        wait_for("every process to be ready", lambda: self.status().ready, seconds=seconds, every=0.1)

    # -- the front door

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(
            self.endpoints.grpc_target, options=[("grpc.max_receive_message_length", 16 << 20)]
        )

    def metadata(self, key: str | None = None) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {key or self.endpoints.api_key}"),)


class Client:
    """The spec's server service, with the development key or another one."""

    def __init__(self, stack: Stack, key: str | None = None) -> None:
        self._stack = stack
        self.channel = stack.channel()
        self.stub = ChaukasServerServiceStub(self.channel)
        self.insights = InsightsServiceStub(self.channel)  # type: ignore[no-untyped-call]  # generated
        self.metadata = stack.metadata(key)

    def close(self) -> None:
        self.channel.close()

    def send_batch(self, events: list[pb.Event], batch_id: str = "") -> Any:
        request = server_pb2.IngestEventBatchRequest()
        request.event_batch.events.extend(events)
        request.event_batch.batch_id = batch_id
        return self.stub.IngestEventBatch(request, metadata=self.metadata, timeout=20)

    def send_until_accepted(self, events: list[pb.Event], seconds: float = 120) -> None:
        """As a well-behaved client: re-sends what was not acknowledged, for as long as the error says it may."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                answer = self.send_batch(events)
                assert answer.rejected_count == 0, answer
                return
            except grpc.RpcError as error:
                retriable = (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                )
                if error.code() not in retriable or time.monotonic() > deadline:
                    raise
                time.sleep(errors.parse(error).retry_after_seconds or 0.2)

    def query_all(self, page_size: int = 1000, **filters: Any) -> list[pb.Event]:
        """Every event the filter finds, page by page."""
        found: list[pb.Event] = []
        request = server_pb2.QueryEventsRequest()
        for name, value in filters.items():
            field_value = getattr(request.query.filter, name)
            if isinstance(value, (list, tuple)):
                field_value.extend(value)
            else:
                setattr(request.query.filter, name, value)
        request.query.page_size = page_size
        while True:
            answer = self.stub.QueryEvents(request, metadata=self.metadata, timeout=30).response
            found.extend(answer.events)
            if not answer.next_page_token:
                return found
            request.query.page_token = answer.next_page_token

    def stats(self, **request: Any) -> Any:
        return self.stub.GetEventStats(server_pb2.GetEventStatsRequest(**request), metadata=self.metadata, timeout=30)

    def wait_stored(self, ids: set[str], seconds: float = 90, **filters: Any) -> dict[str, pb.Event]:
        """Wait until all `ids` come back; the events by id."""

        def probe() -> dict[str, pb.Event] | None:
            try:
                found = {event.event_id: event for event in self.query_all(**filters)}
            except grpc.RpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                return None
            return found if ids <= found.keys() else None

        return wait_for(f"{len(ids)} events to be stored", probe, seconds=seconds, every=0.2)
