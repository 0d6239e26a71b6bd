"""Which values of an event a redaction rule means: a subset of JSONPath (RFC 9535), applied to the event's own fields.

``$`` (may be left out), ``.name`` and ``['name']``, ``.*`` and ``[*]``, ``..name`` and ``..*``. Names are the spec's field names as in
the .proto files, and below a google.protobuf.Struct its keys; ``[*]`` stands for the elements of a list. Indexes, slices and
filters are refused: a rule means a kind of value, wherever it stands.

What makes an event this event, and what relates it to others, is never redacted (:data:`PROTECTED`): a path that names it is
refused, `..` and wildcards pass over it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jsonpath
from chaukas.spec.common.v1 import events_pb2 as pb
from jsonpath.segments import JSONPathRecursiveDescentSegment
from jsonpath.selectors import NameSelector, WildcardSelector

STRUCT, ANY = "google.protobuf.Struct", "google.protobuf.Any"
#: By message: fields that identify, place or relate events.
PROTECTED: dict[str, frozenset[str]] = {
    pb.Event.DESCRIPTOR.full_name: frozenset(
        (
            "event_id",
            "tenant_id",
            "project_id",
            "session_id",
            "trace_id",
            "span_id",
            "parent_span_id",
            "type",
            "severity",
            "status",
            "author",
            "timestamp",
            "agent_id",
            "agent_name",
            # Not values of the spec's: `uninspectable` of the tenant says what becomes of them.
            "extensions",
        )
    ),
    pb.AgentHandoff.DESCRIPTOR.full_name: frozenset(
        ("from_agent_id", "from_agent_name", "to_agent_id", "to_agent_name")
    ),
}
_NONE: frozenset[str] = frozenset()


class WrongPath(ValueError):
    """The path means nothing, or something that is not redacted; the message says what, and what there is instead."""


class Step(NamedTuple):
    """From a value to values inside it."""

    #: None: all of them.
    name: str | None
    #: At any depth, not only directly inside.
    descend: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """What a path may stand on: a message, text, another scalar, a list of one of these, or (`kind` "dynamic") anything in a Struct."""

    kind: str
    #: Of a message, or of a list's elements.
    message: str = ""
    element: str = ""
    name: str = ""


_DYNAMIC = _Place("dynamic")
_EVENT = _Place("message", pb.Event.DESCRIPTOR.full_name)


def protected(message: str) -> frozenset[str]:
    """Fields of the message (by full name) that are not redacted."""
    return PROTECTED.get(message, _NONE)


def parse_path(path: str, *, keeps_type: bool) -> tuple[Step, ...]:
    """The steps of `path`, checked against the spec. `keeps_type`: only text can take the replacement, so a path that
    selects numbers of the spec's alone is refused. Raises :class:`WrongPath`."""
    steps = _steps(path)
    places: frozenset[_Place] = frozenset((_EVENT,))
    for step in steps:
        found = _follow(places, step)
        if not found:
            raise WrongPath(_nothing(places, step))
        places = found
    _check_end(steps, places, keeps_type)
    return steps


def _steps(path: str) -> tuple[Step, ...]:
    try:
        query: Any = jsonpath.compile(path)
    except (
        jsonpath.JSONPathError,
        re.error,
        ValueError,
        ArithmeticError,
    ) as error:  # those behind the first: of a filter
        raise WrongPath(f"no JSONPath: {str(error).splitlines()[0]}") from None
    steps: list[Step] = []
    for segment in getattr(query, "segments", ()):
        descend = isinstance(segment, JSONPathRecursiveDescentSegment)
        selector = segment.selectors[0] if len(segment.selectors) == 1 else None
        if isinstance(selector, NameSelector):
            steps.append(Step(selector.name, descend))
        elif isinstance(selector, WildcardSelector):
            steps.append(Step(None, descend))
        else:
            raise WrongPath("only names, `*`, `[*]` and `..` are understood: no indexes, slices, filters or unions")
    if not steps:
        raise WrongPath(
            "selects the whole event, or is no single path; say which fields, `$.*` for all that may be redacted"
        )
    return tuple(steps)


def _follow(places: Iterable[_Place], step: Step) -> frozenset[_Place]:
    start = _within(places) if step.descend else frozenset(places)
    return frozenset(
        child
        for place in start
        for name, child in _children(place)
        if (step.name is None and not _is_protected(place, name))
        or step.name == name
        or (name is None and place == _DYNAMIC)
    )


def _within(places: Iterable[_Place]) -> frozenset[_Place]:
    """`places`, and all that is inside them and may be redacted."""
    found: set[_Place] = set()
    todo = list(places)
    while todo:
        place = todo.pop()
        if place not in found:
            found.add(place)
            todo += [child for name, child in _children(place) if not _is_protected(place, name)]
    return frozenset(found)


@cache
def _children(place: _Place) -> tuple[tuple[str | None, _Place], ...]:
    """What is directly inside, by name; None: elements, or any key of a Struct."""
    if place == _DYNAMIC:
        return ((None, _DYNAMIC),)
    if place.kind == "list":
        return ((None, _Place(place.element, place.message, name=place.name)),)
    if place.kind != "message":
        return ()
    return tuple((field.name, _place_of(field)) for field in _descriptor(place.message).fields)


def _descriptor(full_name: str) -> Any:
    return pb.Event.DESCRIPTOR.file.pool.FindMessageTypeByName(full_name)


def _place_of(field: Any) -> _Place:
    message = "" if field.message_type is None else field.message_type.full_name
    if message == STRUCT:
        return _DYNAMIC
    kind = "message" if message else "text" if field.type == field.TYPE_STRING else "scalar"
    if field.is_repeated:
        return _Place("list", message, kind, field.name)
    return _Place(kind, message, name=field.name)


def _is_protected(place: _Place, name: str | None) -> bool:
    return place.kind == "message" and name in protected(place.message)


def _nothing(places: Iterable[_Place], step: Step) -> str:
    wanted = "*" if step.name is None else step.name
    messages = sorted(place.message for place in places if place.kind == "message")
    if not messages:
        return f"there is nothing in a single value, so no `{wanted}`"
    names = sorted(str(name) for name, _ in _children(_Place("message", messages[0])))
    return f"{messages[0].rpartition('.')[2]} has no field `{wanted}`; it has {', '.join(names)}"


def _check_end(steps: Sequence[Step], places: frozenset[_Place], keeps_type: bool) -> None:
    last = steps[-1]
    named = last.name is not None
    owners = _owners(steps)
    if named and any(_is_protected(owner, last.name) for owner in owners):
        allowed = [owner for owner in owners if not _is_protected(owner, last.name) and _has(owner, last.name)]
        if not allowed:
            raise WrongPath(f"`{last.name}` cannot be redacted: it says which event this is, or what it belongs to")
    if named and not last.descend:
        for place in places:
            if inside := protected(place.message):
                raise WrongPath(
                    f"`{last.name}` holds {', '.join(sorted(inside))}, which cannot be redacted: name its other fields, or `.*`"
                )
    if keeps_type and not any(_holds_text(place) for place in places):
        raise WrongPath("selects no text, only numbers: those can be dropped, not replaced")


def _owners(steps: Sequence[Step]) -> frozenset[_Place]:
    """What the last step looks into."""
    places: frozenset[_Place] = frozenset((_EVENT,))
    for step in steps[:-1]:
        places = _follow(places, step)
    return _within(places) if steps[-1].descend else places


def _has(place: _Place, name: str | None) -> bool:
    return place == _DYNAMIC or any(known == name for known, _ in _children(place))


def _holds_text(place: _Place) -> bool:
    return any(inside.kind in ("text", "dynamic") or inside.element == "text" for inside in _within((place,)))
