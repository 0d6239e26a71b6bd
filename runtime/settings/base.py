"""Loading settings, and saying clearly what is wrong with them."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict


class InvalidSettings(Exception):
    """One or more settings are wrong; the message names each with its value (secrets masked) and what is allowed."""


class LogFormat(enum.StrEnum):
    JSON = "json"
    CONSOLE = "console"


class LogLevel(enum.StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class ProcessSettings(BaseSettings):
    """What every process has. Subclasses set the prefix of their environment variables."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    log_level: LogLevel = Field(LogLevel.INFO, description="Least severity that is logged.")
    log_format: LogFormat = Field(LogFormat.JSON, description="`json` for machines, `console` for people.")
    shutdown_seconds: float = Field(
        10.0,
        gt=0,
        le=600,
        description="Longest time a graceful stop may take before the process leaves anyway, seconds.",
    )
    starts_dir: Path | None = Field(
        None,
        description="Directory in which the process notes its starts and ends, for the metrics `chaukas_process_starts_last_hour` and `chaukas_process_last_exit_status`; the local stack sets it. Empty: none (a platform that restarts containers counts by itself).",
    )


S = TypeVar("S", bound=BaseSettings)


def env_name(cls: type[BaseSettings], name: str, field: FieldInfo) -> str:
    """The environment variable of a field."""
    if isinstance(field.validation_alias, str):
        return field.validation_alias
    return f"{cls.model_config.get('env_prefix', '')}{name}".upper()


def is_secret(field: FieldInfo) -> bool:
    return field.annotation is SecretStr or SecretStr in get_args(field.annotation)


def load(cls: type[S], **overrides: Any) -> S:
    """Build `cls` from the environment. Raises :class:`InvalidSettings`."""
    try:
        return cls(**overrides)
    except ValidationError as error:
        raise InvalidSettings("\n".join(_explain(cls, entry) for entry in error.errors())) from None


def _explain(cls: type[BaseSettings], entry: Any) -> str:
    location = str(entry["loc"][0]) if entry["loc"] else ""
    for name, field in cls.model_fields.items():
        variable = env_name(cls, name, field)
        if location in (name, variable, variable.lower()):
            if entry["type"] == "missing":
                return f"{variable} is not set. {field.description}"
            shown = "****" if is_secret(field) else repr(entry["input"])
            return f"{variable}={shown}: {entry['msg']}. {field.description}"
    return f"{location or cls.__name__}: {entry['msg']}"
