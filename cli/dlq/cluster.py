"""Which Kafka the commands work on, and how its failures are said.

First match wins: the operator's ``KAFKA_BOOTSTRAP_SERVERS`` (with every other ``KAFKA_`` setting), the local stack of
``STACK_DIR``, the settings' default.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import typer

from cli.client.errors import EXIT_FAILED
from cli.client.usage import WrongUsage
from cli.render.text import clean
from cli.stack.endpoints import NoStack, load_endpoints
from cli.stack.kafka import LocalKafkaSettings
from contracts.errors import Unavailable
from runtime.settings import InvalidSettings, KafkaSettings, load


def kafka_settings() -> KafkaSettings:
    """How to reach it. Raises :class:`WrongUsage`."""
    try:
        if not os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
            with contextlib.suppress(NoStack):
                servers = load_endpoints(stack_directory()).kafka_bootstrap_servers
                if servers:
                    return load(LocalKafkaSettings, bootstrap_servers=servers)
        return load(KafkaSettings)
    except InvalidSettings as error:
        raise WrongUsage(str(error)) from None


def stack_directory() -> Path:
    """Where a local stack would be."""
    return Path(os.environ.get("STACK_DIR") or ".chaukas").expanduser()


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Turn a Kafka that does not answer into one line on stderr and exit code 3."""
    try:
        yield
    except Unavailable as error:
        typer.echo(
            f"error: {clean(str(error))} (KAFKA_BOOTSTRAP_SERVERS, or STACK_DIR for a local stack, says which Kafka)",
            err=True,
        )
        raise typer.Exit(EXIT_FAILED) from None
