"""`dlq replay`: send dead-lettered records again, once their cause is gone.

1. Count what matches, each letter once, in the topic as it is now; what the replay itself leads to is not read.
2. Ask.
3. Read again and send each letter's record; done when every delivery report is in.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.client.send import EXIT_INTERRUPTED
from cli.client.usage import WrongUsage
from cli.dlq import options
from cli.dlq.census import Census
from cli.dlq.cluster import clear_errors, kafka_settings
from cli.dlq.filters import Filter
from cli.dlq.letters import LetterLog
from cli.dlq.originals import Originals
from cli.dlq.sending import Resender, destination, why_not
from cli.render import console
from cli.render.dead_letters import group_table
from cli.render.text import plural
from contracts.topics import Topics

EXIT_NOT_DELIVERED = 1


def replay(
    stage: options.StageOption = None,
    reason: options.Reasons = None,
    tenant: options.Tenant = None,
    topic: options.Topic = None,
    partition: options.Partition = None,
    since: options.Since = None,
    until: options.Until = None,
    ids: options.Ids = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="The first N that match; default: all.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent, and where to.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object at the end.")] = False,
) -> None:
    """Send dead-lettered records again: those of the sink to where it read them, others to the raw topic.

    Key, value and headers are as they were, so an event keeps its id and is stored once, however often this is done. A record
    whose cause is not gone becomes a dead letter again. A value that a letter withholds (redaction) is read from the topic
    it lies on. Exit code 1 when a record was not delivered.
    """
    chosen = options.chosen(stage, reason, tenant, topic, partition, since, until, ids)
    settings = kafka_settings()
    with clear_errors(), LetterLog(settings) as log:
        todo, census = _find(log, chosen, settings.topics, limit)
        if not as_json:
            _announce(census, todo)
        if not todo.ids or dry_run:
            if as_json:
                typer.echo(_json(todo, None))
            return
        if not yes:
            _ask(len(todo.ids))
        with _bar() as bar:
            task = bar.add_task("replaying", total=len(todo.ids))
            resender = Resender.connect(settings, lambda: bar.advance(task))
            with Originals(settings) as originals:
                interrupted = _send(log, chosen, todo.ids, resender, originals)
    if as_json:
        typer.echo(_json(todo, resender))
    _report(resender, todo.ids, interrupted, quiet=as_json)


class Todo:
    """What is to be sent."""

    def __init__(self) -> None:
        #: Of letters not sent yet.
        self.ids: set[str] = set()
        self.topics: Counter[str] = Counter()
        #: By reason: what cannot be sent.
        self.skipped: Counter[str] = Counter()


def _find(log: LetterLog, chosen: Filter, topics: Topics, limit: int | None) -> tuple[Todo, Census]:
    todo, census = Todo(), Census()
    for entry in log.entries():
        if limit is not None and len(todo.ids) >= limit:
            break
        letter = entry.letter
        if not chosen.matches(letter) or letter.dead_letter_id in todo.ids:
            continue
        if reason := why_not(letter, topics):
            todo.skipped[reason] += 1
        elif census.add(entry):
            todo.ids.add(letter.dead_letter_id)
            todo.topics[destination(letter, topics)] += 1
    return todo, census


def _announce(census: Census, todo: Todo) -> None:
    if todo.ids:
        console.results().print(group_table(census.groups, title=f"{plural(census.letters, 'dead letter')} to replay"))
        for topic, number in sorted(todo.topics.items()):
            typer.echo(f"{plural(number, 'record')} to {topic}")
    else:
        typer.echo("no dead letters match" if not todo.skipped else "nothing to replay", err=True)
    for reason, number in todo.skipped.items():
        typer.echo(f"{plural(number, 'record')} left out: {reason}", err=True)


def _ask(number: int) -> None:
    if not sys.stdin.isatty():
        raise WrongUsage("nobody can be asked here: give --yes (or --dry-run to look first)")
    if not typer.confirm(f"Send {plural(number, 'record')} again?"):
        raise typer.Exit(0)


def _send(log: LetterLog, chosen: Filter, todo: set[str], resender: Resender, originals: Originals) -> bool:
    """Empties `todo`; whether it was interrupted."""
    try:
        for entry in log.entries():
            letter = entry.letter
            if letter.dead_letter_id in todo and chosen.matches(letter) and (letter.value or letter.withheld):
                whole = originals.completed(letter) if letter.withheld else letter
                if whole is None:
                    resender.is_gone(letter)
                else:
                    resender.send(whole)
                todo.remove(letter.dead_letter_id)
            if not todo:
                break
        resender.finish()
    except KeyboardInterrupt:
        resender.abandon()
        return True
    return False


def _json(todo: Todo, resender: Resender | None) -> str:
    return json.dumps(
        {
            "to_replay": todo.topics,
            "left_out": todo.skipped,
            "delivered": resender.delivered if resender else {},
            "failed": resender.failed if resender else {},
            "not_sent": len(todo.ids),
        }
    )


def _report(resender: Resender, left: set[str], interrupted: bool, *, quiet: bool) -> None:
    for topic, number in () if quiet else sorted(resender.delivered.items()):
        typer.echo(f"{plural(number, 'record')} delivered to {topic}")
    for reason, number in resender.failed.items():
        typer.echo(f"error: {plural(number, 'record')} not delivered: {reason}", err=True)
    if left:
        why = "not sent" if interrupted else "gone from the topic meanwhile"
        typer.echo(f"error: {plural(len(left), 'record')} {why}", err=True)
    if interrupted:
        typer.echo("interrupted; replaying again is safe", err=True)
        raise typer.Exit(EXIT_INTERRUPTED)
    if resender.failed or left:
        typer.echo("replaying again is safe: an event keeps its id and is stored once", err=True)
        raise typer.Exit(EXIT_NOT_DELIVERED)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console.messages(),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
