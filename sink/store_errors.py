"""ClickHouse errors sorted by code, never by message text.

A code that blames *the data* is permanent: the same rows will be refused again, so the batch is bisected until the bad row
is alone. Everything else (no connection, no memory, too many parts, a table that is not there yet, a code this version does
not know) is transient: the rows wait, nothing is dropped for it.
"""

from __future__ import annotations

import enum

import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError

from contracts.errors import PermanentError, Unavailable

#: Codes of ClickHouse (src/Common/ErrorCodes.cpp) that say a value cannot be stored.
DATA_CODES = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        19,  # SIZE_OF_FIXED_STRING_DOESNT_MATCH
        25,  # CANNOT_PARSE_ESCAPE_SEQUENCE
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        33,  # CANNOT_READ_ALL_DATA
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        53,  # TYPE_MISMATCH
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        131,  # TOO_LARGE_STRING_SIZE
        190,  # SIZES_OF_ARRAYS_DONT_MATCH
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        395,  # FUNCTION_THROW_IF_VALUE_IS_NON_ZERO
        407,  # DECIMAL_OVERFLOW
        469,  # VIOLATED_CONSTRAINT
        691,  # UNKNOWN_ELEMENT_OF_ENUM
    }
)
#: Codes that a smaller insert may not meet.
SIZE_CODES = frozenset(
    {
        173,  # CANNOT_ALLOCATE_MEMORY
        241,  # MEMORY_LIMIT_EXCEEDED
    }
)
#: A read or insert ran into its own time limit.
TIMEOUT_CODES = frozenset(
    {
        159,  # TIMEOUT_EXCEEDED
        160,  # TOO_SLOW
        209,  # SOCKET_TIMEOUT
    }
)


class Fault(enum.Enum):
    """What the writer does about a failed insert."""

    #: Wait and insert again.
    RETRY = "retry"
    #: Insert the halves; a single row is retried.
    TOO_BIG = "too_big"
    #: Insert the halves; a single row is a dead letter.
    DATA = "data"


class RowRefused(PermanentError):
    """The store will not take this row, ever; the message names the code, not the content."""


class StoreUnavailable(Unavailable):
    """ClickHouse does not answer, or not now."""


class DirectoryInUse(PermanentError):
    """Another process owns the data directory of the embedded engine."""


def fault_of(error: BaseException) -> Fault:
    """Sort an error of an insert. Errors that are no store errors count as RETRY: nothing is dropped for a bug."""
    if isinstance(error, pa.ArrowInvalid | pa.ArrowTypeError):
        return Fault.DATA
    code = code_of(error)
    if code in DATA_CODES:
        return Fault.DATA
    return Fault.TOO_BIG if code in SIZE_CODES else Fault.RETRY


def code_of(error: BaseException) -> int | None:
    """The numeric ClickHouse code; None when the error carries none (no connection, a bug)."""
    code = getattr(error, "code", None) if isinstance(error, ClickHouseError) else None
    return code if isinstance(code, int) else None


def describe(error: BaseException) -> str:
    """For logs and dead letters: type and code only, because messages of the engine may quote values."""
    code = code_of(error)
    name = getattr(error, "name", None) if code is not None else None
    return f"{type(error).__name__}" if code is None else f"ClickHouse error {code}{f' ({name})' if name else ''}"
