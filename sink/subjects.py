"""Which sessions are about a data subject: those in which an event names it.

The spec has no field for it. By convention it is a key of the metadata (``SINK_SUBJECT_PATHS``). What agents, models and tools
say in the same session is about the same person, and does not name them: so a subject is its sessions.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Sequence

import jsonpath
from chaukas.spec.common.v1.events_pb2 import Event
from clickhouse_connect.driver.client import Client
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from sink.sqlfiles import read_sql

#: Payloads looked into at a time; an event is at most a mebibyte.
PAYLOADS_PER_STEP = 64


def find_subject(
    client: Client, paths: Sequence[str], tenant_id: str, project_id: str, subject: str
) -> tuple[list[str], list[str]]:
    """Sessions in which an event names `subject` at one of `paths`, and ids of such events without a session.

    Reads all payloads of the tenant (the engine looks for the text in them). Blocks. Raises the driver's errors.
    """
    sessions, events = set(), set()
    for session_id, event_id, raw in _payloads(client, tenant_id, project_id, subject):
        if names(raw, paths, subject):
            if session_id:
                sessions.add(session_id)
            else:
                events.add(event_id)
    return sorted(sessions), sorted(events)


def names(raw: bytes, paths: Sequence[str], subject: str) -> bool:
    """The event in `raw` has `subject` at one of `paths` (JSONPath), as text or as a number."""
    try:
        document = MessageToDict(Event.FromString(raw), preserving_proto_field_name=True)
    except (DecodeError, ValueError):
        return False
    for path in paths:
        for value in jsonpath.findall(path, document):
            if value == subject or (_is_number(value) and json.dumps(value) in (subject, f"{subject}.0")):
                return True
    return False


def _as_number(subject: str) -> str:
    """The eight bytes that a Struct has for a number, in hex; '' when the subject is none."""
    return struct.pack("<d", float(subject)).hex() if re.fullmatch(r"-?\d{1,15}(\.\d{1,6})?", subject) else ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _payloads(client: Client, tenant_id: str, project_id: str, subject: str) -> Iterator[tuple[str, str, bytes]]:
    """Session, id and payload of the events in which the subject's text stands somewhere."""
    last: tuple[int, int, int, int] = (-(2**63), 0, 0, 0)
    while True:
        rows = client.query(
            read_sql("erase/payloads.sql"),
            parameters={
                "tenant_id": tenant_id,
                "project_id": project_id,
                "subject": subject,
                "number": _as_number(subject),
                "after": last,
                "most": PAYLOADS_PER_STEP,
            },
            column_formats={"raw": "bytes"},
        ).result_rows
        for at, event_hash, partition, offset, session_id, event_id, raw in rows:
            yield str(session_id), str(event_id), raw
            last = (int(at), int(event_hash), int(partition), int(offset))
        if len(rows) < PAYLOADS_PER_STEP:
            return
