"""What redaction rules say at each place of an event: all paths of a tenant's rules as one automaton.

A :class:`State` is where a walk through an event stands; a step into a field, a key or an element leads to the next one. States are
made when they are first needed. There are finitely many, however many names clients come up with: names that no rule
mentions share one way on.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Any

from contracts.redaction import Action, Rule, any_of

#: What replaces a value, or the part of it that matches.
Replace = Callable[[str], str]
#: Digits of a hash that are kept: 128 bits.
HASH_DIGITS = 32
HASH_PREFIX = "hmac:"

#: A path's place in the rules, and how many of its steps are behind: (rule, path, steps).
_Position = tuple[int, int, int]


class Treatment:
    """What one rule does to a value, or to what its patterns find in one."""

    __slots__ = ("drops", "patterns", "replace")

    def __init__(self, rule: Rule, secret: bytes) -> None:
        self.drops = rule.action is Action.DROP
        self.patterns = rule.patterns
        self.replace: Replace = _replacement(rule, secret)

    def sub(self, text: str) -> str:
        """`text` with everything that matches replaced."""
        for pattern in self.patterns:
            if pattern.search(text) is not None:
                text = pattern.sub(self._found, text)
        return text

    def _found(self, match: Any) -> str:
        found: str = match.group(0)
        return self.replace(found) if found else ""


def _replacement(rule: Rule, secret: bytes) -> Replace:
    if rule.action is Action.HASH:

        def keyed_hash(text: str) -> str:
            digest = hmac.digest(secret, text.encode(), "sha256").hex()
            return f"{HASH_PREFIX}{digest[:HASH_DIGITS]}"

        return keyed_hash
    text = "" if rule.action is Action.DROP else rule.mask
    return lambda _: text


class State:
    """One place. `whole`: what becomes of the value here, with everything inside it; `parts`: what patterns look for in its
    text, and in all text inside it."""

    __slots__ = ("_automaton", "_by_name", "_other", "_positions", "any_part", "is_dead", "parts", "plans", "whole")

    def __init__(self, automaton: Automaton, positions: frozenset[_Position]) -> None:
        self._automaton = automaton
        self._positions = positions
        self._by_name: dict[str, State | None] = dict.fromkeys(automaton.names(positions))
        self._other: State | None = None
        self.whole, self.parts = automaton.outcome(positions)
        #: Found in a text that `parts` change, and in no other; None: unknown.
        self.any_part = any_of([pattern for part in self.parts for pattern in part.patterns]) if self.parts else None
        #: Nothing here or inside is redacted.
        self.is_dead = not positions
        #: For whoever walks: what to do with the fields of a message, by its name.
        self.plans: dict[str, Any] = {}

    def sub(self, text: str) -> str:
        """`text` after all `parts`. Most texts have nothing to be replaced: that is found out in one go."""
        if self.parts and (self.any_part is None or self.any_part.search(text) is not None):
            for part in self.parts:
                text = part.sub(text)
        return text

    def step(self, name: str) -> State:
        """Into the field or key `name`."""
        if name not in self._by_name:
            return self.element()
        found = self._by_name[name]
        if found is None:
            self._by_name[name] = found = self._automaton.follow(self._positions, name)
        return found

    def element(self) -> State:
        """Into a list's element, or under a name that no rule mentions."""
        found = self._other
        if found is None:
            self._other = found = self._automaton.follow(self._positions, None)
        return found


class Forced(State):
    """Everything inside a value that is replaced whole."""

    __slots__ = ()

    def __init__(self, treatment: Treatment) -> None:
        self.whole, self.parts, self.any_part, self.is_dead, self.plans = treatment, (), None, False, {}

    def step(self, name: str) -> State:
        return self

    def element(self) -> State:
        return self


class Automaton:
    """The states of one tenant's rules; :attr:`start` is the event itself."""

    def __init__(self, rules: Sequence[Rule], secret: bytes) -> None:
        self._paths = [rule.paths or ((),) for rule in rules]
        self._treatments = [Treatment(rule, secret) for rule in rules]
        self._states: dict[frozenset[_Position], State] = {}
        self._forced: dict[int, Forced] = {}
        start = {(rule, path, 0) for rule, paths in enumerate(self._paths) for path in range(len(paths))}
        self.start = self._state(frozenset(start))

    def forced(self, treatment: Treatment) -> State:
        """The state inside a value that `treatment` replaces whole."""
        return self._forced.setdefault(id(treatment), Forced(treatment))

    def follow(self, positions: frozenset[_Position], name: str | None) -> State:
        """One step deeper; `name` None: an element, or a name that no step of `positions` has."""
        following: set[_Position] = set()
        for rule, path, done in positions:
            steps = self._paths[rule][path]
            if done == len(steps):
                if self._treatments[rule].patterns:
                    following.add((rule, path, done))  # whatever is inside
                continue
            step = steps[done]
            if step.descend:
                following.add((rule, path, done))
            if step.name is None or step.name == name:
                following.add((rule, path, done + 1))
        return self._state(frozenset(following))

    def names(self, positions: frozenset[_Position]) -> set[str]:
        """Names that lead somewhere else than any other name."""
        return {
            name
            for rule, path, done in positions
            if done < len(self._paths[rule][path])
            if (name := self._paths[rule][path][done].name) is not None
        }

    def outcome(self, positions: frozenset[_Position]) -> tuple[Treatment | None, tuple[Treatment, ...]]:
        """What the rules that end here say, in their order; of several for the whole value the first counts."""
        ending = sorted({rule for rule, path, done in positions if done == len(self._paths[rule][path])})
        found = [self._treatments[rule] for rule in ending]
        whole = next((treatment for treatment in found if not treatment.patterns), None)
        return whole, tuple(treatment for treatment in found if treatment.patterns)

    def _state(self, positions: frozenset[_Position]) -> State:
        known = self._states.get(positions)
        if known is None:
            known = self._states[positions] = State(self, positions)
        return known
