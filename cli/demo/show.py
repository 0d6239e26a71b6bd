"""Send the demo session, wait for it, ask for it, print it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path

import grpc
from chaukas.spec.common.v1 import query_pb2
from chaukas.spec.server.v1 import server_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from cli.client.connection import Connection
from cli.client.errors import explain, parse
from cli.client.target import Target
from cli.demo.report import Findings, render_exports, report
from cli.demo.session import DemoFailed, send_session
from cli.demo.waiting import Arrived, wait_for_session
from cli.render import console as consoles
from cli.render.text import nanoseconds
from cli.stack.endpoints import Endpoints
from contracts.v1 import insights_pb2

__all__ = ["render_exports", "run"]

#: Longest wait for the session to come out, seconds.
WITHIN_SECONDS = 60.0
#: The report is laid out for this many columns; a narrower terminal gets its own width.
COLUMNS = 100
_NAME = "chaukas-gateway"


def run(endpoints: Endpoints, console: Console | None = None, within_seconds: float = WITHIN_SECONDS) -> bool:
    """Emit the session to the running stack at `endpoints` and print what came out; about two seconds.

    False when it could not be sent, or not all of it came out in time; the reason is printed. Nothing is raised for
    either: a demo that fails must not take the stack down.
    """
    out = console or _console()
    target = Target(endpoints.grpc_target, endpoints.api_key)
    complete = False
    try:
        with out.status("sending a session of two agents …"):
            sent = asyncio.run(send_session(endpoints))
        began = time.monotonic()
        with Connection(target) as connection:
            with out.status("waiting until it has come out at the other end …"):
                arrived, complete = wait_for_session(
                    connection, sent.session_id, frozenset(sent.event_ids), within_seconds
                )
            seconds = time.monotonic() - began
            found = Findings(
                session_id=sent.session_id,
                arrived=arrived,
                servers=_servers(connection, endpoints, arrived),
                stats=connection.call(connection.server.GetEventStats, server_pb2.GetEventStatsRequest()),
                sent_events=len(sent.event_ids),
                complete=complete,
                visible_after_seconds=seconds,
            )
        out.print(report(found, endpoints, _program()))
    except DemoFailed as error:
        out.print(f"The demo session was not sent: {error}", style="yellow")
    except grpc.RpcError as error:
        out.print(
            f"The demo session was sent, but cannot be asked for: {explain(parse(error), target)}", style="yellow"
        )
    out.print()
    out.print(render_exports(endpoints), soft_wrap=True)
    return complete


def _servers(connection: Connection, endpoints: Endpoints, arrived: Arrived) -> list[insights_pb2.McpServerStats]:
    """MCP statistics over the time of this session, so that they match the tree above them."""
    times = [nanoseconds(event.timestamp) for event in arrived.events]
    if not times:
        return []
    first, after = min(times), max(times) + 1
    window = query_pb2.TimeRange(start=_timestamp(first), end=_timestamp(after))
    request = insights_pb2.GetMcpStatsRequest(project_id=endpoints.project_id, time_range=window)
    return list(connection.call(connection.insights.GetMcpStats, request).servers)


def _timestamp(ns: int) -> Timestamp:
    return Timestamp(seconds=ns // 1_000_000_000, nanos=ns % 1_000_000_000)


def _console() -> Console:
    out = consoles.results()
    return consoles.results(width=min(COLUMNS, out.width)) if not out.is_terminal else out


def _program() -> str:
    """This command as it can be typed here: its name where the shell finds it, else its path."""
    started = Path(sys.argv[0])
    if started.name != _NAME:
        return _NAME
    found = shutil.which(_NAME)
    if found is not None and Path(found).resolve() == started.resolve():
        return _NAME
    return os.path.relpath(started)
