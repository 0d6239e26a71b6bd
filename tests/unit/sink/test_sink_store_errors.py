from __future__ import annotations

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from sink.store_errors import Fault, code_of, describe, fault_of


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (DatabaseError("x", code=321), Fault.DATA),
        (DatabaseError("x", code=27), Fault.DATA),
        (DatabaseError("x", code=241), Fault.TOO_BIG),
        (DatabaseError("x", code=252), Fault.RETRY),  # TOO_MANY_PARTS
        (DatabaseError("x", code=60), Fault.RETRY),  # UNKNOWN_TABLE: a schema that is late costs no row
        (DatabaseError("x", code=159), Fault.RETRY),
        (DatabaseError("x", code=999_999), Fault.RETRY),
        (OperationalError("no connection"), Fault.RETRY),
        (OSError("refused"), Fault.RETRY),
        (KeyError("a bug"), Fault.RETRY),
        (pa.ArrowInvalid("overflow"), Fault.DATA),
    ],
)
def test_errors_are_sorted_by_code(error: Exception, fault: Fault) -> None:
    assert fault_of(error) is fault


def test_a_description_holds_no_message_of_the_engine() -> None:
    error = DatabaseError("Cannot parse 'a secret value'", code=27, name="CANNOT_PARSE_INPUT")
    assert describe(error) == "ClickHouse error 27 (CANNOT_PARSE_INPUT)"
    assert describe(OSError("a secret value")) == "OSError"
    assert code_of(OSError()) is None
