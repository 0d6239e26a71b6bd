"""`topics ensure|diff|apply|schema`: what the topics should be, by the settings, against what they are; what they carry."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cli.client.errors import EXIT_FAILED
from cli.dlq.cluster import clear_errors, kafka_settings
from cli.render import console
from cli.render.tables import cell, table
from cli.render.text import clean, plural
from cli.topics.broker import ANSWER_SECONDS, Brokers, TopicRefused
from cli.topics.differences import Action, Difference, compare
from contracts.descriptors import descriptor_set
from contracts.errors import Unavailable
from runtime.kafka import TopicMisconfigured, ensure_topics
from runtime.settings import InvalidSettings, KafkaSettings, load

#: Of `diff` and `apply`: differences are left.
EXIT_DIFFERENCES = 2

topics = typer.Typer(help="The Kafka topics as configuration.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="For machines: one JSON object per difference and line.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.add_typer(topics, name="topics")


@topics.command("ensure")
def ensure(
    wait_seconds: Annotated[float, typer.Option(min=1, help="Longest wait for the broker, seconds.")] = 60.0,
) -> None:
    """Create the topics that are missing on the cluster of KAFKA_BOOTSTRAP_SERVERS, and check the others."""
    try:
        settings = load(KafkaSettings)
        created = ensure_topics(settings, timeout_seconds=wait_seconds)
    except (InvalidSettings, TopicMisconfigured, Unavailable) as error:
        typer.echo(clean(str(error)), err=True)
        raise typer.Exit(1) from None
    for spec in settings.topics.specs():
        typer.echo(f"{spec.name}: {'created' if spec.name in created else 'is there'}")


@topics.command()
def diff(as_json: Json = False) -> None:
    """Show where the topics are not what the KAFKA_TOPIC_… settings say. Changes nothing.

    Exit code 0: no difference; 2: differences; 3: Kafka did not answer, or refused.
    """
    settings = kafka_settings()
    with clear_errors():
        try:
            found = compare(settings, Brokers(settings).topics())
        except TopicRefused as error:
            _fail(str(error))
    _show(found, as_json)
    if found:
        raise typer.Exit(EXIT_DIFFERENCES)
    if not as_json:
        typer.echo(f"{plural(len(settings.topics.specs()), 'topic')} as configured", err=True)


@topics.command()
def apply(
    i_know: Annotated[
        bool,
        typer.Option(
            "--i-know", help="Also add partitions (sessions move) and shorten retention; without, it says what they do."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make the topics what the KAFKA_TOPIC_… settings say: create what is missing, set what differs.

    Partitions are never taken away, replicas never moved. Applying again changes nothing more. Exit code 0: all as configured;
    2: differences are left; 3: Kafka did not answer, or refused.
    """
    settings = kafka_settings()
    with clear_errors():
        doable = {Action.CREATE, Action.SET, *([Action.RISKY] if i_know else [])}
        try:
            brokers = Brokers(settings)
            before = compare(settings, brokers.topics())
            # First, because creating ends with a check of them all.
            brokers.set(one for one in before if one.action in doable and one.action is not Action.CREATE)
            if any(one.action is Action.CREATE for one in before):
                ensure_topics(settings, timeout_seconds=3 * ANSWER_SECONDS, change_retention=False)
        except (TopicRefused, TopicMisconfigured) as error:
            _fail(str(error))
    left = [one for one in before if one.action not in doable]
    _show(before, as_json, done=doable)
    if left:
        raise typer.Exit(EXIT_DIFFERENCES)
    if not as_json:
        typer.echo(f"{plural(len(settings.topics.specs()), 'topic')} as configured", err=True)


@topics.command()
def schema(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where the descriptors are written.")],
) -> None:
    """Write what the topics carry as a FileDescriptorSet: for consumers without generated code, and for `protoc`."""
    try:
        output.write_bytes(descriptor_set().SerializeToString(deterministic=True))
    except OSError as error:
        _fail(f"{output} cannot be written: {error.strerror}")


def _show(found: list[Difference], as_json: bool, done: set[Action] | None = None) -> None:
    if as_json:
        for one in found:
            typer.echo(json.dumps(asdict(one) | ({} if done is None else {"done": one.action in done})))
        return
    if not found:
        return
    rows = table("*topic", "property", "is", "should be", "action" if done is None else "outcome")
    for one in found:
        outcome = "done" if done is not None and one.action in done else one.action.value
        style = "green" if outcome == "done" else "red" if one.action is Action.REFUSE else "yellow"
        rows.add_row(cell(one.topic), cell(one.property), cell(one.actual), cell(one.desired), cell(outcome, style))
    console.results().print(rows)
    said: set[tuple[str, str]] = set()
    for one in found:
        if one.why and (one.property, one.why) not in said:
            said.add((one.property, one.why))
            typer.echo(f"{one.property}: {one.why}", err=True)


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {clean(message)}", err=True)
    raise typer.Exit(EXIT_FAILED)
