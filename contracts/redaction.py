"""Redaction rules of a deployment: what the processors take out of events before anybody else sees them. No I/O.

The file is YAML (so JSON too), see docs/privacy.md::

    version: 1
    tenants:
      "*":                                  # every tenant, beside its own rules
        rules:
          - name: emails
            patterns: ['[\\w.+-]+@[\\w-]+(\\.[\\w-]+)+']
            action: hash
      acme:
        uninspectable: drop                 # or keep
        rules:
          - name: prompts
            paths: ['$.message.text', '$.llm_invocation..content']
            action: mask
            mask: '[prompt]'

A rule needs `paths` (the values inside which it works; without them everywhere) or `patterns` (what of their text; without
them all of it), or both.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import re2
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from contracts.errors import PermanentError
from contracts.redaction_paths import Step, WrongPath, parse_path

#: The entry whose rules hold for every tenant.
EVERYBODY = "*"
DEFAULT_MASK = "[redacted]"
#: Most rules that hold for one tenant, and most paths and patterns of a rule.
MAX_RULES, MAX_PARTS = 200, 200
_MAX_TEXT = 1_000
_VERSION_DIGITS = 16


class InvalidRules(PermanentError):
    """The file is not what it must be; each line of the message names the rule, the field and what is wrong."""


class Action(enum.StrEnum):
    """What becomes of a selected value."""

    #: It is removed (of a text with patterns: what matches).
    DROP = "drop"
    #: A fixed text takes its place.
    MASK = "mask"
    #: A keyed hash takes its place: equal values of a tenant stay equal.
    HASH = "hash"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_Text = Annotated[str, Field(min_length=1, max_length=_MAX_TEXT)]


class _Rule(_Model):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    paths: list[_Text] = Field(default_factory=list, max_length=MAX_PARTS)
    patterns: list[_Text] = Field(default_factory=list, max_length=MAX_PARTS)
    action: Literal["drop", "mask", "hash"]
    mask: _Text | None = None

    @field_validator("patterns")
    @classmethod
    def _patterns(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            compile_pattern(pattern)
        return patterns

    @field_validator("mask")
    @classmethod
    def _mask(cls, mask: str | None, info: ValidationInfo) -> str | None:
        if mask is not None and info.data.get("action") != "mask":
            raise ValueError("only with `action: mask`")
        return mask

    @model_validator(mode="after")
    def _whole(self) -> _Rule:
        if not self.paths and not self.patterns:
            raise ValueError("needs `paths` or `patterns`")
        for path in self.paths:
            try:
                parse_path(path, keeps_type=self.action != "drop" or bool(self.patterns))
            except WrongPath as error:
                # A path can name half a character (a lone surrogate), which pydantic cannot say.
                said = str(error).encode(errors="backslashreplace").decode()
                raise ValueError(f"paths: `{path}`: {said}") from None
        return self


class _Tenant(_Model):
    rules: list[_Rule] = Field(default_factory=list, max_length=MAX_RULES)
    uninspectable: Literal["drop", "keep"] | None = None

    @field_validator("rules")
    @classmethod
    def _names(cls, rules: list[_Rule]) -> list[_Rule]:
        names = [rule.name for rule in rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the name {twice[0]} is given twice")
        return rules


class _File(_Model):
    version: Literal[1]
    tenants: dict[_Text, _Tenant]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, ready to be applied."""

    name: str
    #: Empty: everywhere.
    paths: tuple[tuple[Step, ...], ...]
    #: Compiled; empty: the whole value.
    patterns: tuple[Any, ...]
    action: Action
    #: What takes the value's place when the action is MASK.
    mask: str


@dataclass(frozen=True, slots=True)
class TenantRules:
    """All that holds for one tenant: its own rules, then everybody's. Of two rules for one whole value the first counts."""

    rules: tuple[Rule, ...]
    #: Keep what cannot be looked into (unknown fields, extensions of the client's).
    keep_uninspectable: bool
    #: Names this set of rules; another set has another one.
    version: str

    @property
    def hashes(self) -> bool:
        """A secret is needed."""
        return any(rule.action is Action.HASH for rule in self.rules)


class RedactionRules:
    """The file, checked."""

    def __init__(self, tenants: Mapping[str, _Tenant]) -> None:
        self._tenants = tenants
        self._everybody = tenants.get(EVERYBODY, _Tenant())
        self._ready = {name: tuple(map(_ready, tenant.rules)) for name, tenant in tenants.items()}

    @property
    def fingerprint(self) -> str:
        """Differs when the file says something else."""
        said = {name: tenant.model_dump() for name, tenant in self._tenants.items()}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:_VERSION_DIGITS]

    @property
    def is_about_everybody(self) -> bool:
        """No tenant is without rules."""
        return EVERYBODY in self._tenants

    def of(self, tenant_id: str) -> TenantRules | None:
        """What holds for the tenant; None: nothing, its events stay as they are."""
        own = self._tenants.get(tenant_id)
        if own is None:
            if not self.is_about_everybody:
                return None
            own = _Tenant()
        uninspectable = own.uninspectable or self._everybody.uninspectable or "drop"
        said = [uninspectable, *(rule.model_dump() for rule in (*own.rules, *self._everybody.rules))]
        version = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:_VERSION_DIGITS]
        ready = self._ready.get(tenant_id, ()) + self._ready.get(EVERYBODY, ())
        return TenantRules(ready, uninspectable == "keep", version)

    @property
    def hashes(self) -> bool:
        """Some rule needs a secret."""
        return any(rule.action == "hash" for tenant in self._tenants.values() for rule in tenant.rules)


def parse_rules(text: str) -> RedactionRules:
    """Raises :class:`InvalidRules`."""
    try:
        content = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader that refuses keys given twice
    except yaml.YAMLError as error:
        raise InvalidRules(f"no YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise InvalidRules("no YAML: nested too deeply") from None
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        # PyYAML's own constructors: `2026-99-99`, `!!bool x`, a number of 5,000 digits.
        raise InvalidRules(f"no YAML: a value is not what it looks like, or is said to be ({error})") from None
    try:
        return RedactionRules(_File.model_validate(content).tenants)
    except ValidationError as error:
        raise InvalidRules("\n".join(_explain(entry, content) for entry in error.errors())) from None


def any_of(patterns: Iterable[Any]) -> Any:
    """One pattern that is found in a text exactly when one of these compiled ones is; None when RE2 cannot have one so large.

    (RE2 has sets of patterns for that, twice as fast; but a set that runs out of memory finds nothing and does not say so.)
    """
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        return re2.compile("|".join(f"(?:{pattern.pattern})" for pattern in patterns), options)
    except re2.error:
        return None


def compile_pattern(pattern: str) -> Any:
    """A pattern in RE2's syntax: whatever it says, matching takes time linear in the text. Raises ValueError."""
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"`{pattern}`: no regular expression (RE2): {reason}") from None
    if compiled.search("") is not None:
        raise ValueError(f"`{pattern}`: also matches where there is no text")
    return compiled


def _ready(rule: _Rule) -> Rule:
    action = Action(rule.action)
    keeps_type = action is not Action.DROP or bool(rule.patterns)
    return Rule(
        rule.name,
        tuple(parse_path(path, keeps_type=keeps_type) for path in rule.paths),
        tuple(map(compile_pattern, rule.patterns)),
        action,
        rule.mask or DEFAULT_MASK,
    )


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice: the second would silently replace the first one's rules."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _explain(entry: Any, content: Any) -> str:
    place, where = content, ""
    for part in entry["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else str(part)
        try:
            place = place[part]
        except (KeyError, IndexError, TypeError):
            place = None
        if isinstance(part, int) and isinstance(place, dict) and isinstance(place.get("name"), str):
            where += f" ({place['name']})"
    problem = entry["msg"].removeprefix("Value error, ")
    return f"{where or 'the file'}: {problem}"
