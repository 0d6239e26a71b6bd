"""The file of redaction rules: what it may say, and what is refused with which words."""

from __future__ import annotations

import json

import pytest

from contracts.redaction import DEFAULT_MASK, Action, InvalidRules, parse_rules
from contracts.redaction_paths import PROTECTED, Step, WrongPath, parse_path


def rules(*made: object, tenant: str = "t", **more: object) -> str:
    return json.dumps({"version": 1, "tenants": {tenant: {"rules": made, **more}}})


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("message.text", (Step("message", False), Step("text", False))),
        ("$.tool_call.arguments..ssn", (Step("tool_call", False), Step("arguments", False), Step("ssn", True))),
        ("$['metadata']['a key'].*", (Step("metadata", False), Step("a key", False), Step(None, False))),
        ("tags[*]", (Step("tags", False), Step(None, False))),
        ("$..*", (Step(None, True),)),
        ("$..agent_id", (Step("agent_id", True),)),
        (
            "state_update.deep[*].name",
            (Step("state_update", False), Step("deep", False), Step(None, False), Step("name", False)),
        ),
    ],
)
def test_paths_become_steps(path: str, steps: tuple[Step, ...]) -> None:
    assert parse_path(path, keeps_type=True) == steps


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("event_id", "cannot be redacted"),
        ("$.agent_handoff.to_agent_id", "cannot be redacted"),
        ("$['session_id']", "cannot be redacted"),
        ("extensions", "cannot be redacted"),
        ("agent_handoff", "holds from_agent_id"),
        ("tool_call.args", "ToolCall has no field `args`; it has arguments, auth_required"),
        ("prompt", "Event has no field `prompt`"),
        ("tags.x", "nothing in a single value"),
        ("message.text..x", "nothing in a single value"),
        ("metadata.list[0]", "no indexes"),
        ("metadata[?@.a == 1]", "no indexes, slices, filters"),
        ("metadata['a','b']", "unions"),
        ("metadata | tags", "whole event"),
        ("$", "whole event"),
        ("message..", "no JSONPath"),
        ("metadata[?@.a =~ /(/]", "no JSONPath"),
        ("metadata[?@.a == 1e999]", "no JSONPath"),
        ("llm_invocation.temperature", "only numbers"),
    ],
)
def test_paths_that_mean_nothing_are_refused(path: str, says: str) -> None:
    with pytest.raises(WrongPath) as caught:
        parse_path(path, keeps_type=True)
    assert says in str(caught.value)


def test_a_number_can_be_dropped() -> None:
    assert parse_path("llm_invocation.temperature", keeps_type=False)


def test_no_protected_field_can_be_named() -> None:
    for field in PROTECTED["chaukas.spec.common.v1.Event"]:
        with pytest.raises(WrongPath):
            parse_path(field, keeps_type=False)


def test_a_tenant_has_its_own_rules_and_everybodys() -> None:
    text = r"""
version: 1
tenants:
  "*":
    rules:
      - name: emails
        patterns: ['\w+@\w+']
        action: hash
  acme:
    uninspectable: keep
    rules:
      - name: prompts
        paths: [message.text]
        action: mask
"""
    parsed = parse_rules(text)
    assert parsed.hashes and parsed.is_about_everybody
    acme, other = parsed.of("acme"), parsed.of("other")
    assert acme is not None and other is not None
    assert [rule.name for rule in acme.rules] == ["prompts", "emails"]
    assert [rule.name for rule in other.rules] == ["emails"]
    assert acme.rules[0].mask == DEFAULT_MASK
    assert acme.rules[1].action is Action.HASH
    assert (acme.keep_uninspectable, other.keep_uninspectable) == (True, False)
    assert acme.version != other.version == parsed.of("third").version  # type: ignore[union-attr]


def test_a_tenant_without_rules_has_none() -> None:
    assert parse_rules(rules({"name": "a", "paths": ["tags"], "action": "drop"})).of("other") is None


def test_the_version_follows_from_what_the_rules_say() -> None:
    one = {"name": "a", "paths": ["tags"], "action": "drop"}
    first, again = parse_rules(rules(one)), parse_rules(rules(one))
    assert first.of("t").version == again.of("t").version  # type: ignore[union-attr]
    assert first.fingerprint == again.fingerprint
    for other in (rules({**one, "action": "mask"}), rules(one, uninspectable="keep"), rules(one, {**one, "name": "b"})):
        assert parse_rules(other).of("t").version != first.of("t").version  # type: ignore[union-attr]
        assert parse_rules(other).fingerprint != first.fingerprint


GOOD = {"name": "good", "paths": ["tags"], "action": "drop"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file: "),
        ("version: 2\ntenants: {}", "version: "),
        ("version: 1\ntenants: {}\nmore: 1", "more: Extra inputs"),
        ("version: 1\nversion: 1\ntenants: {}", "'version' is given twice"),
        ("version: 1\ntenants: {t: {}, t: {}}", "'t' is given twice"),
        ("version: [1", "no YAML"),
        ("{[version]: 1}", "no YAML"),
        (
            "version: 2026-99-99",
            "no YAML: a value is not what it looks like, or is said to be (month must be in 1..12)",
        ),
        ("version: !!int x", "no YAML: a value"),
        ("version: !!bool x", "no YAML: a value"),
        ("version: !!timestamp x", "no YAML: a value"),
        ("version: !!set [x]", "no YAML"),
        (f"version: {'9' * 5000}", "no YAML: a value"),
        (f"version: {'1:' * 400}1.5", "no YAML: a value"),
        (rules({**GOOD, "paths": ["['\\ud800']"]}), "Event has no field `\\ud800`"),
        (rules({"name": "r", "action": "drop"}), "tenants.t.rules[0] (r): needs `paths` or `patterns`"),
        (
            rules(GOOD, {"name": "r", "paths": ["event_id"], "action": "drop"}),
            "tenants.t.rules[1] (r): paths: `event_id`: ",
        ),
        (
            rules({"name": "r", "patterns": ["(a"], "action": "drop"}),
            "tenants.t.rules[0] (r).patterns: `(a`: no regular",
        ),
        (rules({"name": "r", "patterns": ["a*"], "action": "drop"}), "also matches where there is no text"),
        (rules({"name": "r", "patterns": ["(?=a)b"], "action": "drop"}), "no regular expression (RE2)"),
        (rules({"name": "r", "paths": ["tags"], "action": "erase"}), "tenants.t.rules[0] (r).action: "),
        (rules({**GOOD, "mask": "x"}), "tenants.t.rules[0] (good).mask: only with `action: mask`"),
        (rules({**GOOD, "path": "x"}), "tenants.t.rules[0] (good).path: Extra inputs"),
        (rules({**GOOD, "name": "no good"}), "tenants.t.rules[0] (no good).name: "),
        (rules(GOOD, GOOD), "tenants.t.rules: the name good is given twice"),
        (rules(GOOD, uninspectable="maybe"), "tenants.t.uninspectable: "),
        (rules({**GOOD, "action": "mask", "mask": ""}), "(good).mask: "),
        ("version: 1\ntenants: {t: {rules: [{name: 1, paths: [tags], action: drop}]}}", "tenants.t.rules[0].name: "),
    ],
)
def test_what_is_wrong_is_named(text: str, says: str) -> None:
    with pytest.raises(InvalidRules) as caught:
        parse_rules(text)
    assert says in str(caught.value)
