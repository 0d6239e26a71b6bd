from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.render import names

ENUMS = [names.EventType, names.EventStatus, names.Severity, names.McpCallStatus]


@pytest.mark.parametrize("enum", ENUMS)
def test_every_name_is_read_back(enum: object) -> None:
    for name in names.choices(enum):
        for text in (name, name.lower(), name.replace("_", "-"), names.prefix(enum) + name):
            assert names.short(enum, names.parse(enum, text)) == name


@given(st.integers(1000, 2**31 - 1))
def test_a_number_without_a_name_stays_a_number(number: int) -> None:
    assert names.parse(names.EventType, names.short(names.EventType, number)) == number


@pytest.mark.parametrize("text", ["", "nothing", "²", str(2**31), "-1"])
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="STARTED, IN_PROGRESS, COMPLETED"):
        names.parse(names.EventStatus, text)
