"""Redaction of one event: against an oracle that shares no code with it, and case by case."""

from __future__ import annotations

import json
from typing import Any

import jsonpath
import pytest
import re2
from chaukas.spec.common.v1 import events_pb2 as pb
from google.protobuf.json_format import MessageToDict
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.redaction import parse_rules
from contracts.redaction_paths import PROTECTED
from processors.redact import LEFT_BLANK, MAX_PATH, MAX_PATHS, UNKNOWN_FIELDS, EventRules, Redaction
from processors.redaction_states import Automaton

SECRET = b"s" * 32
MASK = "[redacted]"


def event_rules(*made: dict[str, Any], secret: bytes = SECRET, tenant: str = "t", **more: Any) -> EventRules:
    parsed = parse_rules(json.dumps({"version": 1, "tenants": {"t": {"rules": made, **more}}})).of("t")
    assert parsed is not None
    return EventRules(parsed, secret, tenant)


def rule(action: str = "mask", **fields: Any) -> dict[str, Any]:
    return {"name": "r", "action": action, **fields}


def redacted(event: pb.Event, *made: dict[str, Any], **more: Any) -> Redaction:
    return event_rules(*made, **more).redact(event)


# ---------------------------------------------------------------- against JSONPath itself

_KEYS = ["a", "b", "c c", "it's", "text"]
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "x", "secret", MASK]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=3),
    max_leaves=12,
)
_objects = st.dictionaries(st.sampled_from(_KEYS), _json, max_size=4)
_step = st.sampled_from([".a", ".b", "['c c']", "['it\\'s']", ".text", ".*", "[*]", "..a", "..text", "..*"])


@st.composite
def _events(draw: Any) -> pb.Event:
    event = pb.Event(
        event_id="secret",
        tenant_id="t",
        session_id="secret",
        agent_name="secret",
        tags=draw(st.sampled_from([[], ["x", "secret"]])),
    )
    event.metadata.update(draw(_objects))
    kind = draw(st.sampled_from(["message", "tool_call", "agent_handoff", "llm_invocation"]))
    if kind == "message":
        event.message.text = "secret"
        event.message.metadata.update(draw(_objects))
    elif kind == "tool_call":
        event.tool_call.name = "secret"
        event.tool_call.arguments.update(draw(_objects))
    elif kind == "agent_handoff":
        event.agent_handoff.reason = event.agent_handoff.to_agent_name = "secret"
        event.agent_handoff.handoff_data.update(draw(_objects))
    else:
        event.llm_invocation.model = "secret"
        event.llm_invocation.prompt_tokens = 3
        event.llm_invocation.request.update(draw(_objects))
    return event


_paths = st.builds(
    lambda first, steps: "$" + first + "".join(steps),
    st.sampled_from(
        [
            ".metadata",
            ".tool_call.arguments",
            ".message.metadata",
            ".agent_handoff.handoff_data",
            ".llm_invocation",
            "",
            ".tags",
        ]
    ),
    st.lists(_step, max_size=3),
)


def as_json(event: pb.Event) -> Any:
    return MessageToDict(event, preserving_proto_field_name=True)


def _kind_at(parts: tuple[Any, ...]) -> str:
    """What the spec has there: "protected", "number", "text", "message" or (in a Struct) "value"."""
    descriptor = pb.Event.DESCRIPTOR
    for place, part in enumerate(parts):
        if part in PROTECTED.get(descriptor.full_name, ()):
            return "protected"
        field = descriptor.fields_by_name[part]
        if field.message_type is None:
            return "text" if field.type == field.TYPE_STRING else "number"
        if field.message_type.full_name == "google.protobuf.Struct":
            return "value" if place + 1 < len(parts) else "message"
        descriptor = field.message_type
    return "message"


def _masked(value: Any, parts: tuple[Any, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _masked(inner, (*parts, key)) for key, inner in value.items()}
    if isinstance(value, list):
        # Repeated fields of the spec are one level deep, and texts.
        return [_masked(inner, parts if _kind_at(parts) == "text" else (*parts, 0)) for inner in value]
    kind = _kind_at(parts)
    return value if value is None or kind in ("protected", "number") else MASK


def _at(document: Any, parts: tuple[Any, ...]) -> Any:
    for part in parts:
        document = document[part]
    return document


def masked_by_oracle(document: Any, path: str) -> Any:
    found = [match.parts for match in jsonpath.finditer(path, document)]
    for parts in sorted(found, key=len, reverse=True):
        spec = tuple(part for part in parts if not isinstance(part, int)) if parts[0] == "tags" else parts
        *above, last = parts
        _at(document, tuple(above))[last] = _masked(_at(document, parts), spec)
    return document


def accepted(path: str) -> EventRules | None:
    try:
        return event_rules(rule(paths=[path]))
    except ValueError:
        return None
    except Exception as error:
        assert type(error).__name__ == "InvalidRules"
        return None


@settings(max_examples=400, deadline=None)
@given(_events(), _paths)
@example(pb.Event(event_id="secret", tags=["secret"]), "$..*")
def test_masking_selects_what_jsonpath_selects(event: pb.Event, path: str) -> None:
    engine = accepted(path)
    if engine is None:
        return
    before = as_json(event)
    wanted = masked_by_oracle(as_json(event), path)
    done = engine.redact(event)
    assert as_json(event) == wanted
    assert bool(done.paths) == (before != wanted)


@settings(max_examples=200, deadline=None)
@given(_events(), st.lists(_paths, min_size=1, max_size=4), st.sampled_from(["drop", "mask", "hash"]))
def test_redacting_again_changes_nothing_more_by_dropping_or_masking(
    event: pb.Event, paths: list[str], action: str
) -> None:
    made = [{"name": f"r{n}", "paths": [path], "action": action} for n, path in enumerate(paths) if accepted(path)]
    if not made:
        return
    engine = event_rules(*made)
    copy = pb.Event()
    copy.CopyFrom(event)
    first = engine.redact(event)
    assert event_rules(*made).redact(copy) == first
    assert copy.SerializeToString(deterministic=True) == event.SerializeToString(deterministic=True)
    assert (event.event_id, event.session_id, event.agent_name) == (copy.event_id, copy.session_id, copy.agent_name)
    if action == "mask":
        assert engine.redact(event).paths == ()


@settings(max_examples=100, deadline=None)
@given(_events())
def test_a_pattern_without_paths_reaches_every_text(event: pb.Event) -> None:
    redacted(event, rule(patterns=["secret"]))
    document = as_json(event)
    for kept in ("event_id", "session_id", "agent_name"):
        document.pop(kept, None)
    document.get("agent_handoff", {}).pop("to_agent_name", None)
    assert "secret" not in json.dumps(document)


_PATTERNS = ["a", "b+", "(?i)AB", "^c", r"\bab\b", "(?P<n>a)c", "(?P<n>b)c", "c$", "[^a-c]", "é|x", "a|b", "(?s)a.b"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(_PATTERNS), min_size=1, max_size=4, unique=True), st.text("abcAB éx.\n", max_size=12))
def test_looking_for_all_patterns_at_once_misses_none(patterns: list[str], text: str) -> None:
    """The shortcut past texts in which nothing matches, against one pattern after the other."""
    one_by_one = text
    for pattern in patterns:
        compiled = re2.compile(pattern)
        one_by_one = compiled.sub(lambda match: "<>" if match.group(0) else "", one_by_one)
    event = pb.Event(message=pb.MessageContent(text=text))
    redacted(event, rule(patterns=patterns, mask="<>"))
    assert event.message.text == one_by_one


# ---------------------------------------------------------------- case by case


def test_patterns_replace_what_matches_and_nothing_else() -> None:
    event = pb.Event(message=pb.MessageContent(text="write to ann@example.com or bob@example.com, élan"))
    done = redacted(event, rule(patterns=[r"\w+@[\w.]+\w"]))
    assert event.message.text == f"write to {MASK} or {MASK}, élan"
    assert done.paths == ("$.message.text",)


def test_equal_values_have_equal_hashes_within_a_tenant_only() -> None:
    def hashed(tenant: str, secret: bytes = SECRET) -> str:
        event = pb.Event(tags=["ann", "ann", "bob"])
        event_rules(rule("hash", paths=["tags[*]"]), tenant=tenant, secret=secret).redact(event)
        assert event.tags[0] == event.tags[1] != event.tags[2]
        assert event.tags[0].startswith("hmac:") and len(event.tags[0]) == 37
        tag: str = event.tags[0]
        return tag

    assert hashed("t") == hashed("t")
    assert len({hashed("t"), hashed("u"), hashed("t", b"x" * 32)}) == 3


def test_the_version_is_of_rules_and_secret() -> None:
    hashing, masking = rule("hash", paths=["tags"]), rule(paths=["tags"])
    assert event_rules(hashing).version != event_rules(hashing, secret=b"x" * 32).version
    assert event_rules(masking).version == event_rules(masking, secret=b"x" * 32).version


def test_numbers_in_structs_are_values_too() -> None:
    event = pb.Event()
    event.metadata.update({"card": 4111111111111111, "rate": 0.5, "yes": True, "none": None})
    redacted(
        event,
        rule(patterns=[r"\b4\d{15}\b"]),
        {"name": "q", "action": "mask", "paths": ["metadata.yes", "metadata.none"]},
    )
    assert as_json(event)["metadata"] == {"card": MASK, "rate": 0.5, "yes": MASK, "none": None}


def test_numbers_of_the_spec_stay_unless_they_are_dropped() -> None:
    call = pb.LLMInvocation(model="m", prompt_tokens=5, temperature=0.5)
    event = pb.Event(llm_invocation=call)
    redacted(event, rule(paths=["llm_invocation"]))
    assert (event.llm_invocation.model, event.llm_invocation.prompt_tokens) == (MASK, 5)
    redacted(event, rule("drop", paths=["llm_invocation.prompt_tokens"]))
    assert event.llm_invocation.prompt_tokens == 0


def test_dropping_leaves_lists_and_keys_without_the_value() -> None:
    event = pb.Event(tags=["a", "b"], pii_categories=["x"])
    event.metadata.update({"a": 1, "list": [{"a": 1, "b": 2}, "c"], "b": [1, 2]})
    done = redacted(event, rule("drop", paths=["$..a", "tags[*]", "pii_categories", "metadata.b[*]"]))
    assert as_json(event) == {"metadata": {"list": [{"b": 2}, "c"], "b": []}}
    assert done.paths == ("$.metadata.a", "$.metadata.b[*]", "$.metadata.list[*].a", "$.pii_categories", "$.tags[*]")


def test_the_first_rule_for_a_whole_value_counts() -> None:
    event = pb.Event(tags=["x"])
    redacted(
        event,
        {"name": "a", "action": "mask", "mask": "first", "paths": ["tags"]},
        {"name": "b", "action": "drop", "paths": ["tags[*]"]},
    )
    assert list(event.tags) == ["first"]


def test_that_something_failed_stays_known() -> None:
    event = pb.Event(error=pb.ErrorInfo(error_message="secret", error_code="1"))
    redacted(event, rule("drop", paths=["error"]))
    assert event.HasField("error") and event.error == pb.ErrorInfo()
    for dropped in ("tool_response", "tool_response.error_message"):
        event = pb.Event(tool_response=pb.ToolResponse(error_message="secret"))
        redacted(event, rule("drop", paths=[dropped]))
        assert event.tool_response.error_message == LEFT_BLANK
    event = pb.Event(tool_response=pb.ToolResponse(http_status=200))
    redacted(event, rule("drop", paths=["tool_response"]))
    assert event.tool_response.error_message == ""


def test_who_hands_off_to_whom_stays() -> None:
    handoff = pb.AgentHandoff(from_agent_id="a", to_agent_name="B", reason="secret", handoff_type="x")
    event = pb.Event(event_id="e", agent_handoff=handoff)
    redacted(event, rule("drop", paths=["$.*"]))
    assert event == pb.Event(event_id="e", agent_handoff=pb.AgentHandoff(from_agent_id="a", to_agent_name="B"))


def with_unknown_parts() -> pb.Event:
    event = pb.Event(event_id="e", message=pb.MessageContent(text="x"))
    event.extensions.add(type_url="type.googleapis.com/test.Unknown", value=b"secret")
    return pb.Event.FromString(
        event.SerializeToString() + b"\xf2\x01\x0a\xba\x3e\x07secret!"
    )  # field 1007 inside `message`


def test_what_cannot_be_looked_into_is_dropped() -> None:
    event = with_unknown_parts()
    done = redacted(event, rule(patterns=["secret"]))
    assert b"secret" not in event.SerializeToString()
    assert done.paths == (UNKNOWN_FIELDS, "extensions")


def test_unless_the_tenant_wants_it_kept() -> None:
    event = with_unknown_parts()
    done = redacted(event, rule(patterns=["secret"]), uninspectable="keep")
    assert event.SerializeToString().count(b"secret") == 2
    assert done.paths == ()


def test_a_hostile_event_names_few_paths_and_makes_few_states(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = event_rules(rule(paths=["metadata..a", "$..b.c"]))
    automaton: Automaton = engine._automaton
    for number in range(50):
        event = pb.Event()
        event.metadata.update({f"key {number} {n}": {"a": 1, f"x{n}": {"b": {"c": 1}}} for n in range(40)})
        done = engine.redact(event)
        assert len(done.paths) == MAX_PATHS + 1
        assert done.paths[-1] == "(and 30 more)"
    assert len(automaton._states) < 20


def test_patterns_take_time_linear_in_the_text() -> None:
    """One that backtracks would not come back from this before the machine is scrapped."""
    event = pb.Event(message=pb.MessageContent(text="a" * 200_000))
    done = redacted(event, rule(patterns=["(a+)+$x", "(a|aa)+b"]))
    assert done.paths == ()


def test_the_deepest_event_that_parses_is_redacted() -> None:
    inner: Any = "secret"
    depth = 0
    deepest = b""
    while True:
        event = pb.Event()
        event.metadata.update({"a": inner})
        try:
            deepest = pb.Event.FromString(event.SerializeToString()).SerializeToString()
        except Exception:
            break
        inner, depth = ({"a": inner} if depth % 2 else [inner]), depth + 1
    event = pb.Event.FromString(deepest)
    done = redacted(event, rule(patterns=["secret"]), {"name": "q", "action": "drop", "paths": ["$..nothing"]})
    assert depth > 20
    assert b"secret" not in event.SerializeToString()
    (path,) = done.paths
    assert len(path) <= MAX_PATH + 1
