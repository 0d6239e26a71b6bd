from __future__ import annotations

import io
import json
from datetime import datetime
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from cli.client import jsonl
from cli.client.jsonl import Line, batches, read_lines
from tests.support.events import event


def sdk_line(made: Any) -> bytes:
    """What the SDK's file mode writes."""
    document = MessageToDict(made, preserving_proto_field_name=True)
    document["timestamp"] = datetime(2026, 1, 31, 12, 0, 0, 123456).isoformat()  # noqa: DTZ001 - as the SDK does
    return json.dumps(document).encode() + b"\n"


def test_the_sdk_s_lines_are_read_whole() -> None:
    made = event(
        events_pb2.EVENT_TYPE_MCP_CALL_END,
        status=events_pb2.EVENT_STATUS_FAILED,
        tags=["a"],
        mcp_call=events_pb2.MCPCall(server_name="s", execution_time_ms=1.5),
    )
    (line,) = read_lines(io.BytesIO(sdk_line(made)))
    expected = type(made)()
    expected.CopyFrom(made)
    expected.timestamp.FromJsonString("2026-01-31T12:00:00.123456Z")
    assert line.event == expected
    assert line.number == 1


def test_a_bad_line_is_named_and_stops_nothing() -> None:
    good = sdk_line(event())
    source = (
        b"\xef\xbb\xbf" + good + b"\n{\n[]\n" + b'{"event_id": 7}\n' + b"\xff\n" + b"[" * 100_000 + b"\n" + good.strip()
    )
    lines = list(read_lines(io.BytesIO(source)))
    assert [line.number for line in lines if line.event is not None] == [1, 8]
    problems = {line.number: line.problem for line in lines if line.event is None}
    assert set(problems) == {3, 4, 5, 6, 7}
    assert problems[3].startswith("not JSON")
    assert problems[4] == "not a JSON object"
    assert "event_id" in problems[5]
    assert lines[-1].end_bytes == len(source)


def test_lines_and_events_beyond_all_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 4000)
    monkeypatch.setattr(jsonl, "MAX_EVENT_BYTES", 1000)
    big = event(message=events_pb2.MessageContent(text="x" * 2000))
    source = sdk_line(big) + b"y" * 20_000 + b"\n" + sdk_line(event()) + b"z" * 5000
    lines = list(read_lines(io.BytesIO(source)))
    assert [line.event is not None for line in lines] == [False, False, True, False]
    assert "at most 1,000" in lines[0].problem
    assert "longer than" in lines[1].problem
    assert [line.number for line in lines] == [1, 2, 3, 4]
    assert lines[-1].end_bytes == len(source)


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 400)), max_size=60),
    st.integers(1, 10),
    st.integers(1, 900),
)
def test_batches_keep_order_lose_nothing_and_stay_within_limits(
    sizes: list[int | None], max_events: int, max_bytes: int
) -> None:
    lines = [
        Line(number, number * 10, None if size is None else event(message=events_pb2.MessageContent(text="x" * size)))
        for number, size in enumerate(sizes, 1)
    ]
    made = list(batches(lines, max_events=max_events, max_bytes=max_bytes))
    assert [line for batch in made for line in sorted(batch.lines + batch.bad, key=lambda line: line.number)] == lines
    for batch in made:
        assert 0 < len(batch.lines) + len(batch.bad) <= max_events
        size = sum(made_event.ByteSize() + 6 for made_event in batch.events)
        assert size <= max_bytes or len(batch.lines) == 1
        assert batch.end_bytes == max(line.end_bytes for line in batch.lines + batch.bad)
