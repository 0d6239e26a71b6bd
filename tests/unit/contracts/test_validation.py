"""The fast look and the close look agree, and both keep to the rules."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from contracts import validation
from contracts.errors import FieldViolation
from contracts.validation import (
    ID_PATHS,
    Limits,
    batch_problems,
    event_problems,
    id_problem,
    identifiers,
    ids_are_plain,
    type_name,
)
from tests.support.events import event, seeded_sessions


def problems(of: pb.Event, size: int = 100, limit: int = 1000) -> list[str]:
    return [found.field for found in event_problems(of, identifiers(of), size, Limits(limit))]


def set_path(message: Any, path: str, value: object) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        message = getattr(message, parent)
    setattr(message, name, value)


def test_the_checked_ids_are_all_that_are_named_id() -> None:
    assert set(ID_PATHS) == {
        "event_id", "tenant_id", "project_id", "session_id", "span_id", "parent_span_id", "agent_id", "invocation_id",
        "response_id", "worm_proof_id", "trace_id", "tool_call.id", "tool_response.tool_call_id", "policy.policy_id",
        "agent_handoff.from_agent_id", "agent_handoff.to_agent_id", "redaction.salt_id", "infrastructure.thread_id",
    }  # fmt: skip


def test_the_first_five_ids_are_those_of_a_record() -> None:
    made = pb.Event(event_id="e", tenant_id="t", project_id="p", session_id="s", trace_id="tr")
    assert identifiers(made)[:5] == ("e", "t", "p", "s", "tr")


def test_ordinary_events_pass_at_the_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "_look_closely", lambda *_: pytest.fail("not an ordinary event"))
    for session in seeded_sessions(1, 20, tenant="t", project="p"):
        for each in session:
            assert problems(each) == []


@pytest.mark.parametrize("path", ID_PATHS)
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("x" * 257, "is longer than 256 bytes"),
        ("ü" * 129, "is longer than 256 bytes"),
        ("a\x00", "contains a control character"),
        ("a\n", "contains a control character"),
        ("\x1f", "contains a control character"),
        ("\x7f", "contains a control character"),
        ("\x80", "contains a control character"),
        ("\x9f", "contains a control character"),
    ],
)
def test_an_id_that_breaks_a_rule_is_named(path: str, value: str, reason: str) -> None:
    made = event()
    set_path(made, path, value)
    assert list(event_problems(made, identifiers(made), 1, Limits())) == [FieldViolation(path, reason)]


@pytest.mark.parametrize("path", ID_PATHS)
@pytest.mark.parametrize("value", ["x" * 256, "ü" * 128, "a\u00a0b", "\u2028", "日本", " "])
def test_an_id_that_is_merely_odd_is_fine(path: str, value: str) -> None:
    made = event()
    set_path(made, path, value)
    assert problems(made) == []


def test_everything_wrong_is_told_at_once() -> None:
    made = pb.Event(span_id="\n")
    made.timestamp.nanos = -1
    assert problems(made, size=1001) == ["", "event_id", "tenant_id", "type", "span_id", "timestamp"]


@pytest.mark.parametrize(
    ("seconds", "nanos", "good"),
    [
        (-62_135_596_800, 0, True),
        (-62_135_596_801, 999_999_999, False),
        (253_402_300_799, 999_999_999, True),
        (253_402_300_800, 0, False),
        (0, -1, False),
        (0, 1_000_000_000, False),
        (-(2**63), 0, False),
    ],
)
def test_the_range_of_timestamps(seconds: int, nanos: int, good: bool) -> None:
    made = event(at_ns=None)
    made.timestamp.seconds, made.timestamp.nanos = seconds, nanos
    assert problems(made) == ([] if good else ["timestamp"])
    batch = pb.EventBatch()
    batch.timestamp.CopyFrom(made.timestamp)
    assert [found.field for found in batch_problems(batch)] == ([] if good else ["timestamp"])


def test_the_size_is_a_limit_not_a_bound() -> None:
    assert problems(event(), size=1000) == []
    assert problems(event(), size=1001) == [""]


def test_a_batch_id_is_an_id() -> None:
    assert list(batch_problems(pb.EventBatch())) == []
    assert [found.field for found in batch_problems(pb.EventBatch(batch_id="\n"))] == ["batch_id"]


def test_names_of_types() -> None:
    assert type_name(pb.EVENT_TYPE_MCP_CALL_END) == "EVENT_TYPE_MCP_CALL_END"
    assert type_name(4711) == "EVENT_TYPE_4711"
    assert type_name(-1) == "EVENT_TYPE_-1"


ids = st.one_of(
    st.text(max_size=8),
    st.text(st.characters(codec="utf-8"), min_size=80, max_size=140),
    st.sampled_from(["", "x" * 256, "x" * 257, "ü" * 128, "ü" * 129, "\x7f", "\x85"]),
)


@given(st.dictionaries(st.sampled_from(ID_PATHS), ids, max_size=6), st.integers(0, 3))
def test_the_fast_look_never_differs_from_the_rules(values: dict[str, str], number: int) -> None:
    made = event(number, event_id="e")
    for path, value in values.items():
        set_path(made, path, value)
    expected = {path for path in ID_PATHS if id_problem(attrgetter(path)(made))}
    expected |= {name for name in ("event_id", "tenant_id") if not getattr(made, name)}
    expected |= set() if made.type else {"type"}
    assert set(problems(made)) == expected


@pytest.mark.parametrize("char", [*map(chr, range(0x20)), "\x7f", "\x85", "é", "\u00a0", "\u2028"])
def test_one_look_at_many_events_lets_nothing_pass_that_a_look_at_each_would_not(char: str) -> None:
    good = identifiers(pb.Event(event_id="e-1 ~!", tenant_id="t", span_id="s"))
    odd = pb.Event(event_id="e", tenant_id="t", type=pb.EVENT_TYPE_ERROR, session_id=f"a{char}b")
    assert ids_are_plain([good, ()])
    assert not ids_are_plain([good, identifiers(odd)])
    assert event_problems(odd, identifiers(odd), 1, Limits(), plain=False) == event_problems(
        odd, identifiers(odd), 1, Limits()
    )
