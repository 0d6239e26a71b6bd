"""`dlq accept`: let processes that a flood of dead letters stopped go on."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from cli.client.times import ALLOWED
from cli.client.usage import WrongUsage
from cli.dlq import options
from cli.dlq.cluster import clear_errors, kafka_settings, stack_directory
from cli.stack.wake import wake
from contracts.control import format_time
from contracts.dead_letters import Stage
from runtime.control import accept_until


def accept(
    until: Annotated[str, typer.Option(metavar="TIME", help=f"Records before (exclusive). {ALLOWED}.")],
    stage: Annotated[str, typer.Option(metavar="processors|sink|all", help="Whose dead letters.")] = "all",
    as_json: options.Json = False,
) -> None:
    """Accept the dead letters of all records up to a time: they no longer count as a flood.

    A process that a flood stopped goes on with its next attempt to start, wherever it runs; those of a local stack start at
    once. Each bad record still becomes a
    dead letter, to be replayed when its cause is gone. Records that come later count again. What was accepted stays accepted.
    """
    try:
        stages = list(Stage) if stage == "all" else [Stage(stage)]
    except ValueError:
        raise WrongUsage(f"--stage {stage!r}: processors, sink or all") from None
    until_ns = options.moment("--until", until, time.time_ns())
    assert until_ns is not None
    # Kafka's times are whole milliseconds: a record of this very one is meant, too.
    until_ms = -(-until_ns // 1_000_000)
    if until_ms <= 0:
        raise WrongUsage("--until lies before 1970: no record is that old")
    settings = kafka_settings()
    with clear_errors():
        holds = {one: accept_until(settings, one, until_ms) for one in stages}
    woken = wake(stack_directory(), [one.value for one in stages], settings.bootstrap_servers)
    if as_json:
        for one, ms in holds.items():
            typer.echo(json.dumps({"stage": one.value, "accepted_until": format_time(ms)}))
        return
    for one, ms in holds.items():
        already = " (was said before)" if ms > until_ms else ""
        typer.echo(f"{one.value}: dead letters of records before {format_time(ms)} are accepted{already}")
    if woken:
        typer.echo(f"started again: {', '.join(woken)}")
    if until_ms > time.time() * 1000:
        typer.echo("that time is yet to come: until then no flood stops a process", err=True)
