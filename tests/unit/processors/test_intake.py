"""What becomes a dead letter instead of an enriched record, and what is read from a good one."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import struct_pb2

from contracts.dead_letters import Reason
from processors.intake import BAD as BAD_ONES
from processors.intake import BadRecord, RawRecord, read, read_all
from processors.pipeline import PartitionState, process_all
from processors.window import Window
from tests.support.events import START_NS, event
from tests.support.raw_records import RECEIVED_NS, raw_record


def altered(record: RawRecord, **changes: Any) -> RawRecord:
    fields = {name: getattr(record, name) for name in RawRecord.__slots__} | changes
    return RawRecord(**fields)


def without(name: str) -> RawRecord:
    record = raw_record(event())
    return altered(record, headers=[pair for pair in record.headers if pair[0] != name])


def with_header(name: str, value: bytes | None) -> RawRecord:
    record = raw_record(event())
    return altered(record, headers=[(n, value if n == name else v) for n, v in record.headers])


BAD: dict[str, tuple[RawRecord, Reason, str]] = {
    "no value": (altered(raw_record(event()), value=None), Reason.UNPARSEABLE, "no value"),
    "not protobuf": (altered(raw_record(event()), value=b"\xff\xff\xff"), Reason.UNPARSEABLE, "no chaukas.spec"),
    "invalid UTF-8": (altered(raw_record(event()), value=b"\x0a\x02\xc3\x28"), Reason.UNPARSEABLE, "no chaukas.spec"),
    "empty value": (altered(raw_record(event()), value=b""), Reason.FOREIGN_RECORD, "event_id"),
    "another message": (
        altered(raw_record(event()), value=struct_pb2.Value(bool_value=True).SerializeToString()),
        Reason.FOREIGN_RECORD,
        "event_id",
    ),
    "no key": (altered(raw_record(event()), key=None), Reason.FOREIGN_RECORD, "no key"),
    "empty key": (altered(raw_record(event()), key=b""), Reason.FOREIGN_RECORD, "no key"),
    "no headers": (altered(raw_record(event()), headers=[]), Reason.FOREIGN_RECORD, "received_at_ns"),
    "no tenant": (without("tenant_id"), Reason.FOREIGN_RECORD, "tenant_id"),
    "no project": (without("project_id"), Reason.FOREIGN_RECORD, "project_id"),
    "no time of receipt": (without("received_at_ns"), Reason.FOREIGN_RECORD, "received_at_ns"),
    "a time that is none": (with_header("received_at_ns", b"soon"), Reason.FOREIGN_RECORD, "received_at_ns"),
    "another schema": (with_header("schema", b"x.Y"), Reason.FOREIGN_RECORD, "schema"),
    "a null header": (with_header("event_id", None), Reason.FOREIGN_RECORD, "event_id"),
    "another event id": (with_header("event_id", b"other"), Reason.FOREIGN_RECORD, "event_id differs"),
    "another tenant": (with_header("tenant_id", b"other"), Reason.FOREIGN_RECORD, "tenant_id differs"),
    "another project": (with_header("project_id", b"other"), Reason.FOREIGN_RECORD, "project_id differs"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_records_have_a_reason(name: str) -> None:
    record, reason, message = BAD[name]
    with pytest.raises(BadRecord, match=message) as caught:
        read(record)
    assert caught.value.reason is reason


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_among_good_ones_has_its_reason_too(name: str) -> None:
    record, reason, message = BAD[name]
    with pytest.raises(BAD_ONES):
        read_all([record])
    chunk = [raw_record(event(), 0), altered(record, offset=1), raw_record(event(), 2)]
    outputs = [output for _, output in process_all(PartitionState(Window(10)), chunk)]
    assert [isinstance(output, BadRecord) for output in outputs] == [False, True, False]
    bad = outputs[1]
    assert isinstance(bad, BadRecord)
    assert bad.reason is reason
    assert message in str(bad)


def test_the_message_holds_no_content() -> None:
    secret = raw_record(event(session="sesame"))
    assert secret.value is not None
    with pytest.raises(BadRecord) as caught:
        read(altered(secret, value=secret.value + b"\x0a\x09opensesame"))
    assert "sesame" not in str(caught.value)


def test_unknown_types_and_fields_are_kept() -> None:
    sent = event(12345, event_id="e")
    value = sent.SerializeToString() + b"\xfa\x3f\x02hi"  # field 1023
    found = read(raw_record(sent, value=value))
    assert found.type == 12345
    assert found.value == value


def test_no_timestamp_is_the_time_of_receipt() -> None:
    found = read(raw_record(event(at_ns=None)))
    assert found.timestamp_ns is None
    assert found.time_ns == RECEIVED_NS


@pytest.mark.parametrize("at_ns", [START_NS, -62_135_596_800 * 10**9, 253_402_300_799 * 10**9 + 999_999_999])
def test_every_legal_timestamp_is_taken_as_sent(at_ns: int) -> None:
    sent = event(at_ns=None)
    sent.timestamp.seconds, sent.timestamp.nanos = divmod(at_ns, 10**9)
    assert read(raw_record(sent)).time_ns == at_ns


@pytest.mark.parametrize(("seconds", "nanos"), [(2**63 - 1, 0), (-(2**63), 0), (0, -1), (0, 2**31 - 1)])
def test_an_illegal_timestamp_counts_as_none(seconds: int, nanos: int) -> None:
    """The gateway rejects these; whatever else wrote the record, arithmetic does not fail on it."""
    sent = event(at_ns=None)
    sent.timestamp.seconds, sent.timestamp.nanos = seconds, nanos
    assert read(raw_record(sent)).timestamp_ns is None


def test_map_order_makes_no_other_content() -> None:
    sent = event(event_id="e")
    entries = [struct_pb2.Struct(fields={name: struct_pb2.Value()}).SerializeToString() for name in "ab"]

    def with_metadata(body: bytes) -> bytes:
        value: bytes = sent.SerializeToString() + b"\xd2\x05" + bytes([len(body)]) + body  # field 90
        return value

    first = read(raw_record(sent, value=with_metadata(entries[0] + entries[1])))
    second = read(raw_record(sent, value=with_metadata(entries[1] + entries[0])))
    assert first.content_sha256 != second.content_sha256
    assert first.canonical_sha256 == second.canonical_sha256
