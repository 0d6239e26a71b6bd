from __future__ import annotations

import grpc
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
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
from sink.query.errors import BrokenStatement, QueryTimedOut, QueryTooCostly, of_store, refusal_of
from sink.store_errors import StoreUnavailable


def details_of(error: Exception) -> status_pb2.Status:
    ((name, value),) = refusal_of(error).trailers()
    assert name == "grpc-status-details-bin"
    return status_pb2.Status.FromString(value)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unauthenticated("who"), grpc.StatusCode.UNAUTHENTICATED),
        (PermissionDenied("no"), grpc.StatusCode.PERMISSION_DENIED),
        (QueryTooCostly("much"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (QueryTimedOut("late"), grpc.StatusCode.DEADLINE_EXCEEDED),
        (BrokenStatement("x"), grpc.StatusCode.INTERNAL),
        (ValueError("secret content"), grpc.StatusCode.INTERNAL),
    ],
)
def test_codes_without_details(error: Exception, code: grpc.StatusCode) -> None:
    refusal = refusal_of(error)
    assert refusal.code is code
    assert refusal.trailers() == ()
    assert "secret" not in refusal.message


def test_invalid_input_names_the_fields() -> None:
    error = InvalidInput([FieldViolation("query.page_size", "must not be negative"), FieldViolation("a", "b")])
    status = details_of(error)
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    bad = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(bad)
    assert [(found.field, found.description) for found in bad.field_violations] == [
        ("query.page_size", "must not be negative"),
        ("a", "b"),
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Overloaded("full", 2.5), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Unavailable("away", 2.5), grpc.StatusCode.UNAVAILABLE),
        (StoreUnavailable("away", 2.5), grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_what_may_pass_says_when_to_retry(error: Exception, code: grpc.StatusCode) -> None:
    assert refusal_of(error).code is code
    retry = error_details_pb2.RetryInfo()
    assert details_of(error).details[0].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 2500


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (158, QueryTooCostly),
        (307, QueryTooCostly),
        (241, QueryTooCostly),
        (159, QueryTimedOut),
        (209, QueryTimedOut),
        (62, BrokenStatement),
        (60, StoreUnavailable),
        (999, StoreUnavailable),
    ],
)
def test_store_errors_are_sorted_by_code(code: int, kind: type[GatewayError]) -> None:
    found = of_store(DatabaseError("Code: 999999. DB::Exception: 'secret value'", code=code))
    assert type(found) is kind
    assert "secret" not in str(found)


def test_no_connection_is_unavailable() -> None:
    assert type(of_store(OperationalError("connection refused"))) is StoreUnavailable
