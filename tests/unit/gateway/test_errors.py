"""From errors to what a caller sees, at both doors."""

from __future__ import annotations

import base64
import json

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from contracts.errors import (
    FieldViolation,
    GatewayError,
    InvalidInput,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from gateway.grpc_errors import grpc_code, rejections_trailer, status_of
from gateway.http_errors import answer_of, too_much_protobuf
from gateway.ingest import BatchOutcome
from gateway.query_client import SinkRefused


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (InvalidInput.of("event.type", "is required"), grpc.StatusCode.INVALID_ARGUMENT, 400),
        (Unauthenticated("who"), grpc.StatusCode.UNAUTHENTICATED, 401),
        (PermissionDenied("no"), grpc.StatusCode.PERMISSION_DENIED, 403),
        (Overloaded("full", 1.5), grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (Unavailable("away", 0.2), grpc.StatusCode.UNAVAILABLE, 503),
        (SinkRefused(grpc.StatusCode.DEADLINE_EXCEEDED, "slow", None), grpc.StatusCode.DEADLINE_EXCEEDED, 504),
        (SinkRefused(grpc.StatusCode.INTERNAL, "broken", None), grpc.StatusCode.INTERNAL, 502),
    ],
)
def test_every_class_has_its_code(error: GatewayError, code: grpc.StatusCode, status: int) -> None:
    assert grpc_code(status_of(error)) is code
    answer = answer_of(error)
    assert answer.status == status
    assert json.loads(answer.body)["code"] == code.name


def test_a_retry_hint_is_exact_over_grpc_and_whole_seconds_over_http() -> None:
    retry = error_details_pb2.RetryInfo()
    assert status_of(Overloaded("full", 1.5)).details[0].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 1500
    assert (b"retry-after", b"2") in answer_of(Overloaded("full", 1.5)).headers
    assert (b"retry-after", b"1") in answer_of(Unavailable("away", 0.2)).headers
    assert (b"www-authenticate", b"Bearer") in answer_of(Unauthenticated("who")).headers


def test_the_sinks_hint_is_passed_on() -> None:
    status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="too many")
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(2100)
    status.details.add().Pack(retry)
    refused = SinkRefused(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many", status.SerializeToString())
    assert status_of(refused) == status
    answer = answer_of(refused)
    assert (answer.status, dict(answer.headers)[b"retry-after"]) == (429, b"3")
    for details in (None, b"\xff"):
        assert not answer_of(SinkRefused(grpc.StatusCode.RESOURCE_EXHAUSTED, "costly", details)).headers


def test_the_words_the_sdk_splits_its_batch_for() -> None:
    answer = answer_of(too_much_protobuf("x"))
    assert answer.status == 503
    assert b"high memory usage" in answer.body


def violations(status: status_pb2.Status) -> list[tuple[str, str]]:
    bad_request = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(bad_request)
    return [(found.field, found.description) for found in bad_request.field_violations]


@pytest.mark.parametrize("count", [1, 10, 100, 1000])
@pytest.mark.parametrize("length", [1, 40, 5000])
def test_trailers_of_an_ok_call_stay_within_four_kibibytes(count: int, length: int) -> None:
    outcome = BatchOutcome("b")
    for index in range(count):
        outcome.reject(index, f"e{index}", (FieldViolation("f" * length, "r" * length),))
    ((name, value),) = rejections_trailer(outcome)
    assert name == "grpc-status-details-bin"
    assert len(base64.b64encode(value)) <= 4096
    status = status_pb2.Status.FromString(value)
    assert (status.code, status.message) == (0, "")
    found = violations(status)
    if len(found) == count and found[-1][0]:
        return
    assert found[-1] == ("", f"and {count - len(found) + 1} more rejected events")


def test_no_rejects_no_trailer() -> None:
    assert rejections_trailer(BatchOutcome("b", accepted_count=3)) == ()


def test_an_error_message_fits_a_header_and_holds_no_control_characters() -> None:
    error = InvalidInput([FieldViolation("x\r\ny" * 300, "r" * 500)] * 50)
    status = status_of(error)
    assert len(status.message) <= 400
    assert status.message.isprintable()
    assert len(base64.b64encode(status.SerializeToString())) < 4096 + 600
    assert violations(status)[-1][1].endswith("more violations")


def sinks_status(code: int, message: str) -> bytes:
    status = status_pb2.Status(code=code, message=message)
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.BadRequest(field_violations=[{"field": "query.page_token", "description": "forged"}]))
    status.details.append(detail)
    return bytes(status.SerializeToString())


def test_the_sinks_details_are_passed_on() -> None:
    error = SinkRefused(grpc.StatusCode.INVALID_ARGUMENT, "bad token", sinks_status(3, "bad token"))
    assert violations(status_of(error)) == [("query.page_token", "forged")]
    assert json.loads(answer_of(error).body)["violations"] == [{"field": "query.page_token", "reason": "forged"}]


@pytest.mark.parametrize("details", [b"\xff", sinks_status(5, "bad token"), sinks_status(3, "other")])
def test_details_that_do_not_belong_to_the_status_are_left_out(details: bytes) -> None:
    status = status_of(SinkRefused(grpc.StatusCode.INVALID_ARGUMENT, "bad token", details))
    assert (status.code, status.message, list(status.details)) == (3, "bad token", [])
