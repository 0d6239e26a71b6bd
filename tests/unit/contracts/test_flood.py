"""What was counted survives being written down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.flood import NOTE_CHARS, RUN, SHARE_RECORDS, Flood

records = st.lists(
    st.tuples(
        st.sampled_from(["good", "bad", "accepted"]), st.sampled_from([None, "acme", "b", "c"]), st.integers(1, 120)
    ),
    max_size=40,
)


def feed(flood: Flood, steps: list[tuple[str, str | None, int]]) -> list[bool]:
    """Problems as they come up."""
    found = []
    for kind, tenant, times in steps:
        for _ in range(times):
            if kind == "good":
                flood.good()
            elif kind == "accepted":
                flood.skip()
            else:
                flood.bad(tenant, "unparseable")
                found.append(bool(flood.problem()))
    return found


@given(records, records)
def test_a_successor_finds_the_same_floods(before: list, after: list) -> None:  # type: ignore[type-arg]
    first = Flood()
    feed(first, before)
    note = first.note()
    assert len(note) <= NOTE_CHARS
    assert "acme" not in note
    assert feed(Flood.of_note(note), after) == feed(first, after)


def test_one_tenants_records_alarm_once_until_it_is_over() -> None:
    flood = Flood()
    for _ in range(2):
        told = []
        for _ in range(3 * RUN):
            flood.bad("acme", "unparseable")
            assert not flood.problem()
            told.append(flood.alarm())
        assert len([text for text in told if text]) == 1
        for _ in range(SHARE_RECORDS):
            flood.good()
        flood.bad("acme", "unparseable")
        flood.problem()
        assert not flood.alarm()
        flood.good()


def test_a_long_note_keeps_the_latest() -> None:
    flood = Flood()
    for number in range(SHARE_RECORDS):
        flood.bad(f"tenant {number}", "unparseable") if number % 2 else flood.good()
    note = flood.note()
    assert len(note) <= NOTE_CHARS
    successor = Flood.of_note(note)
    successor.bad(None, "unparseable")
    assert "of the last 1000 records" in successor.problem()


@pytest.mark.parametrize(
    "note", [None, "", "{", "[]", "[2,1,1,[],[]]", "[1,5,5,[],[[0,1,0,0]]]", "null", "[1,2,3,4,5]"]
)
def test_a_note_of_others_is_no_note(note: str | None) -> None:
    flood = Flood.of_note(note)
    for _ in range(RUN - 1):
        flood.bad(None, "x")
        assert not flood.problem()
