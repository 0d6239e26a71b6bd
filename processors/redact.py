"""Redaction: what a tenant's rules take out of an event, before any step sees it. Pure: equal rules give equal bytes.

The raw record stays what it was: its hashes (who is a copy of whom) are of the original. All that follows is made from the
redacted event: facts, what the window remembers, the enriched value. That is the redacted event serialized deterministically
(never the client's bytes: those may hold what the parser threw away), and its extension names the paths that changed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

from contracts.dead_letters import Reason
from contracts.redaction import RedactionRules, TenantRules
from contracts.redaction_paths import ANY, STRUCT, protected
from processors import intake
from processors.intake import BadRecord, Incoming, RawRecord
from processors.redaction_states import Automaton, State

#: Most paths that an event's extension names; one more entry says how many there are beyond.
MAX_PATHS = 50
#: Longest name of a key in such a path, and longest path, characters.
MAX_NAME, MAX_PATH = 64, 256
#: In a place whose emptiness would say something else.
LEFT_BLANK = "[redacted]"
UNKNOWN_FIELDS = "(unknown fields)"
_VERSION_DIGITS = 16

#: A place in an event: what it is in, and its name there (None: an element).
_Path = tuple[Any, str | None] | None


class Redaction(NamedTuple):
    """What was done to an event."""

    #: Sorted, each once.
    paths: tuple[str, ...]
    #: Of the rules and the secret.
    version: str


class Redactor:
    """The rules of a deployment with its secret. :meth:`redact` is what :class:`processors.pipeline.PartitionState` takes."""

    def __init__(self, rules: RedactionRules, secret: bytes) -> None:
        self._rules = rules
        self._secret = secret
        self._of = lru_cache(maxsize=10_000)(self._make)

    def redact(self, event: Incoming) -> Incoming | BadRecord:
        """Change the event that was read, and its value, as its tenant's rules say. Returns it, or why it must go no further."""
        rules = self._of(event.tenant_id)
        if rules is not None:
            try:
                # Bytes that are canonical already are as long as what the message would be.
                size = len(event.value) if event.canonical_sha256 == event.content_sha256 else None
                event.redaction = rules.redact(event.event, size)
                event.value = event.event.SerializeToString(deterministic=True)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, nothing of the event may go on
                return BadRecord(Reason.STEP_FAILED, f"redaction failed: {type(error).__name__}")
        return event

    def withholds(self, record: RawRecord, bad: BadRecord) -> bool:
        """A letter for `record` must not hold its value: its tenant has rules, or nobody can tell whose it is."""
        if bad.reason in (Reason.UNPARSEABLE, Reason.FOREIGN_RECORD):
            return True
        try:
            return self._of(intake.read(record).tenant_id) is not None
        except BadRecord:
            return True

    @property
    def fingerprint(self) -> str:
        """Names the rules of all tenants, for a log line: workers of a group must have the same."""
        return self._rules.fingerprint

    def _make(self, tenant_id: str) -> EventRules | None:
        rules = self._rules.of(tenant_id)
        return None if rules is None else EventRules(rules, self._secret, tenant_id)


class EventRules:
    """One tenant's rules, applied to parsed events."""

    def __init__(self, rules: TenantRules, secret: bytes, tenant_id: str = "") -> None:
        # Values of two tenants cannot be compared by their hashes.
        key = hmac.digest(secret, tenant_id.encode(), "sha256")
        self._automaton = Automaton(rules.rules, key)
        self._keeps = rules.keep_uninspectable
        # Another secret makes other hashes, so it is another version; who has no secret needed none.
        mixed = rules.version.encode() + (hmac.digest(secret, b"version", "sha256") if rules.hashes else b"")
        self.version = hashlib.sha256(mixed).hexdigest()[:_VERSION_DIGITS]

    def redact(self, event: Any, size: int | None = None) -> Redaction:
        """Change `event`, and say where. `size`: its ByteSize, if that is known."""
        changed: set[str] = set()
        if not self._keeps:
            _drop_uninspectable(event, event.ByteSize() if size is None else size, changed)
        failed = event.tool_response.error_message if event.WhichOneof("content") == "tool_response" else ""
        _Walk(self._automaton, changed).message(event, self._automaton.start, None)
        if failed and not event.tool_response.error_message:
            # That the call failed is no secret, and its status follows from it.
            event.tool_response.error_message = LEFT_BLANK
        return Redaction(_listed(changed), self.version)


def _drop_uninspectable(event: Any, size: int, changed: set[str]) -> None:
    """Fields the spec does not have, and messages in a client's extensions: nobody knows what they hold."""
    event.DiscardUnknownFields()
    if event.ByteSize() != size:
        changed.add(UNKNOWN_FIELDS)
    if event.extensions:
        changed.add("extensions")
        del event.extensions[:]


def _listed(changed: set[str]) -> tuple[str, ...]:
    paths = sorted(changed)
    if len(paths) > MAX_PATHS:
        paths[MAX_PATHS:] = [f"(and {len(paths) - MAX_PATHS} more)"]
    return tuple(paths)


#: Does to one field of a message what a state says. Arguments: the message, the field's value, the path so far.
_Step = Callable[["_Walk", Any, Any, _Path], None]
#: Up to so many fields are asked for one by one, which is cheaper than a list of all that are there.
_FEW = 5


class _Walk:
    """One event on its way through the rules."""

    __slots__ = ("_automaton", "_changed")

    def __init__(self, automaton: Automaton, changed: set[str]) -> None:
        self._automaton = automaton
        self._changed = changed

    def message(self, message: Any, state: State, path: _Path) -> None:
        """All its fields."""
        kind = message.DESCRIPTOR.full_name
        plan: dict[int, tuple[str, bool, _Step]] | None = state.plans.get(kind)
        if plan is None:
            plan = state.plans[kind] = _plan(message.DESCRIPTOR, state)
        if len(plan) <= _FEW:
            for name, has_presence, step in plan.values():
                if message.HasField(name) if has_presence else (value := getattr(message, name)):
                    step(self, message, getattr(message, name) if has_presence else value, path)
            return
        for field, value in message.ListFields():
            found = plan.get(field.number)
            if found is not None:
                found[2](self, message, value, path)

    def note(self, path: _Path) -> None:
        """Something was changed there."""
        self._changed.add(_shown(path))

    def text(self, text: str, state: State, path: _Path) -> str:
        """What stands in a text's place; not for values that are dropped whole."""
        new = state.whole.replace(text) if state.whole is not None else state.sub(text)
        if new != text:
            self.note(path)
        return new

    def inside(self, state: State) -> State:
        """The state inside a message or Struct that is not dropped."""
        return state if state.whole is None else self._automaton.forced(state.whole)

    def struct(self, struct: Any, state: State, path: _Path) -> None:
        """Every value of a google.protobuf.Struct."""
        fields = struct.fields
        for key in list(fields):
            child = state.step(key)
            if not child.is_dead:
                where = (path, key)
                if _drops(child):
                    del fields[key]
                    self.note(where)
                else:
                    self._value(fields[key], child, where)

    def _value(self, value: Any, state: State, path: _Path) -> None:
        """A google.protobuf.Value that is not dropped."""
        kind = value.WhichOneof("kind")
        if kind == "string_value":
            text = value.string_value
            new = self.text(text, state, path)
            if new != text:
                value.string_value = new
        elif kind == "struct_value":
            self.struct(value.struct_value, self.inside(state), path)
        elif kind == "list_value":
            self._elements(value.list_value.values, self.inside(state), path)
        elif kind == "number_value" or (kind == "bool_value" and state.whole is not None):
            text = _as_text(value.number_value) if kind == "number_value" else str(value.bool_value).lower()
            new = self.text(text, state, path)
            if new != text:
                value.string_value = new

    def _elements(self, values: Any, state: State, path: _Path) -> None:
        child = state.element()
        if child.is_dead or not values:
            return
        where = (path, None)
        if _drops(child):
            del values[:]
            self.note(where)
            return
        for value in values:
            self._value(value, child, where)


def _drops(state: State) -> bool:
    return state.whole is not None and state.whole.drops


def _plan(descriptor: Any, state: State) -> dict[int, tuple[str, bool, _Step]]:
    """What to do with each field of a message, by its number: its name, whether it is one that is there or not, and what to do.
    Fields that stay as they are have no entry."""
    kept = protected(descriptor.full_name)
    plan: dict[int, tuple[str, bool, _Step]] = {}
    for field in descriptor.fields:
        child = state.step(field.name)
        if field.name not in kept and not child.is_dead and (step := _step_for(field, child)) is not None:
            plan[field.number] = (field.name, field.has_presence, step)
    return plan


def _step_for(field: Any, child: State) -> _Step | None:
    name, message = field.name, field.message_type
    if _drops(child) and not (message is not None and protected(message.full_name)):
        return partial(_clear, name=name, keeps_place=field.containing_oneof is not None)
    if field.is_repeated:
        return partial(_texts, name=name, state=child) if field.type == field.TYPE_STRING else None
    if field.type == field.TYPE_STRING:
        return partial(_text, name=name, state=child)
    if message is None or message.full_name == ANY:
        # A number of the spec's: it can be dropped, and no text can take its place.
        return None
    walk = _struct if message.full_name == STRUCT else _message
    return partial(walk, name=name, state=child)


def _clear(walk: _Walk, message: Any, value: Any, path: _Path, *, name: str, keeps_place: bool) -> None:
    """Drop a field. Of an event's content only what is in it: that there was an error, say, decides its status."""
    if keeps_place:
        value.Clear()
        value.SetInParent()
    else:
        message.ClearField(name)
    walk.note((path, name))


def _text(walk: _Walk, message: Any, value: Any, path: _Path, *, name: str, state: State) -> None:
    new = walk.text(value, state, (path, name))
    if new != value:
        setattr(message, name, new)


def _texts(walk: _Walk, message: Any, value: Any, path: _Path, *, name: str, state: State) -> None:
    child = walk.inside(state).element()
    if child.is_dead:
        return
    where = ((path, name), None)
    if _drops(child):
        message.ClearField(name)
        walk.note(where)
        return
    for place, text in enumerate(value):
        new = walk.text(text, child, where)
        if new != text:
            value[place] = new


def _struct(walk: _Walk, message: Any, value: Any, path: _Path, *, name: str, state: State) -> None:
    walk.struct(value, walk.inside(state), (path, name))


def _message(walk: _Walk, message: Any, value: Any, path: _Path, *, name: str, state: State) -> None:
    walk.message(value, walk.inside(state), (path, name))


def _as_text(number: float) -> str:
    """A JSON number as its writer wrote it, where that can be known."""
    return str(int(number)) if number.is_integer() and abs(number) < 1e21 else repr(number)


def _shown(path: _Path) -> str:
    """As a rule would name it, keys cut at :data:`MAX_NAME`."""
    parts: list[str] = []
    while path is not None:
        path, name = path
        if name is None:
            parts.append("[*]")
        elif name.isidentifier():
            parts.append(f".{name[:MAX_NAME]}")
        else:
            escaped = name[:MAX_NAME].replace("\\", "\\\\").replace("'", "\\'")
            parts.append(f"['{escaped}']")
    shown = "$" + "".join(reversed(parts))
    return shown if len(shown) <= MAX_PATH else f"{shown[:MAX_PATH]}…"
