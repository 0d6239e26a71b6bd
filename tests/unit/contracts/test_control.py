from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import control
from contracts.dead_letters import Stage


@given(st.integers(0, 253_402_300_799_999))
def test_times_survive(unix_ms: int) -> None:
    assert control.parse_time(control.format_time(unix_ms).encode()) == unix_ms


def test_as_a_person_writes_it() -> None:
    assert control.parse_time(b"2026-01-31T13:00:00+01:00") == control.parse_time(b"2026-01-31T12:00:00.000Z")


@pytest.mark.parametrize("value", [None, b"", b"soon", b"2026-01-31T12:00:00", b"\xff"])
def test_what_is_no_time(value: bytes | None) -> None:
    with pytest.raises(ValueError, match=r"."):
        control.parse_time(value)


def test_keys_tell_stages_apart() -> None:
    assert len({control.accepted_until_key(stage) for stage in Stage}) == len(Stage)
