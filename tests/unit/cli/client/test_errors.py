from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import code_pb2

from cli.client.connection import Connection
from cli.client.errors import explain, parse
from cli.client.target import Target
from tests.unit.cli.client.conftest import Run
from tests.unit.cli.fake_gateway import KEY, FakeGateway, bad_request, retry_after, status


def failed(gateway: FakeGateway, failure: Any, key: str = KEY) -> str:
    gateway.failures = [failure] if failure is not None else []
    target = Target(gateway.endpoint, key)
    from chaukas.spec.server.v1 import server_pb2

    with Connection(target) as connection, pytest.raises(grpc.RpcError) as caught:
        connection.call(connection.server.GetEventStats, server_pb2.GetEventStatsRequest())
    return explain(parse(caught.value), target)


def test_the_fields_and_the_hint_are_in_the_line(gateway: FakeGateway) -> None:
    violations = [(f"query.filter.f{number}", "is wrong") for number in range(7)]
    line = failed(gateway, status(code_pb2.INVALID_ARGUMENT, "2 problems", bad_request(*violations)))
    assert line.startswith("INVALID_ARGUMENT: 2 problems (query.filter.f0: is wrong; ")
    assert line.endswith("query.filter.f4: is wrong; and 2 more)")
    line = failed(gateway, status(code_pb2.RESOURCE_EXHAUSTED, "too much in flight", retry_after(1.5)))
    assert line == "RESOURCE_EXHAUSTED: too much in flight (try again in 1.50 s)"


def test_a_field_the_message_names_already_is_not_repeated(gateway: FakeGateway) -> None:
    line = failed(
        gateway, status(code_pb2.INVALID_ARGUMENT, "page_size: is negative", bad_request(("page_size", "is negative")))
    )
    assert line == "INVALID_ARGUMENT: page_size: is negative"


def test_a_message_cannot_command_the_terminal(gateway: FakeGateway) -> None:
    line = failed(gateway, status(code_pb2.INTERNAL, "a\x1b[31mb\nc"))
    assert line == "INTERNAL: a\ufffd[31mb c"


def test_a_wrong_key_says_where_keys_come_from(gateway: FakeGateway) -> None:
    line = failed(gateway, None, key="ck_wrong")
    assert "CHAUKAS_API_KEY" in line
    assert "ck_wrong" not in line


def test_no_gateway_is_one_line_and_exit_code_3(run: Run) -> None:
    result = run("stats", "--endpoint", "127.0.0.1:1")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr.startswith("error: no gateway answers at 127.0.0.1:1: cannot connect: Connection refused")
    assert result.stderr.count("\n") == 1


def test_damaged_details_leave_the_message(gateway: FakeGateway) -> None:
    failure = status(code_pb2.INVALID_ARGUMENT, "bad", bad_request(("f", "r")))
    failure.details[0].value = b"\xff\xff\xff"
    assert failed(gateway, failure) == "INVALID_ARGUMENT: bad"
