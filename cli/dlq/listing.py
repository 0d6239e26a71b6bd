"""`dlq list`: how many letters there are of which kind, and the newest of them, without content."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cli.client import options as common
from cli.dlq import options
from cli.dlq.census import Census, Row
from cli.dlq.cluster import clear_errors, kafka_settings
from cli.dlq.letters import LetterLog
from cli.render import console
from cli.render.dead_letters import group_table, letter_table
from cli.render.text import count, plural
from contracts.control import format_time


def list_letters(
    stage: options.StageOption = None,
    reason: options.Reasons = None,
    tenant: options.Tenant = None,
    topic: options.Topic = None,
    partition: options.Partition = None,
    since: options.Since = None,
    until: options.Until = None,
    ids: options.Ids = None,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="The newest N; 0: only the counts.")] = 20,
    everything: common.All = False,
    as_json: options.Json = False,
) -> None:
    """Count dead letters by stage, reason and tenant, and show the newest. Repeats of a letter count once."""
    chosen = options.chosen(stage, reason, tenant, topic, partition, since, until, ids)
    census = Census(keep=None if everything else limit)
    with clear_errors(), LetterLog(kafka_settings()) as log:
        for entry in log.entries():
            if chosen.matches(entry.letter):
                census.add(entry)
        unreadable = log.unreadable
    if as_json:
        for row in census.newest():
            typer.echo(json.dumps(to_json(row, census.copies[row.dead_letter_id]), separators=(",", ":")))
    else:
        _show(census)
    if unreadable:
        typer.echo(f"{plural(unreadable, 'record')} on the topic cannot be read as dead letters", err=True)


def _show(census: Census) -> None:
    if not census.letters:
        typer.echo("no dead letters match", err=True)
        return
    out, rows = console.results(), census.newest()
    again = f" ({plural(census.repeats, 'further copy').replace('copys', 'copies')})" if census.repeats else ""
    out.print(group_table(census.groups, title=f"{plural(census.letters, 'dead letter')}{again}"))
    if not rows:
        return
    out.print()
    out.print(letter_table(rows, census.copies))
    if len(rows) < census.letters:
        typer.echo(f"the newest {count(len(rows))} of {count(census.letters)} (--limit, --all)", err=True)
    typer.echo("one in full: chaukas-gateway dlq show ID", err=True)


def to_json(row: Row, copies: int) -> dict[str, object]:
    """A letter without content, for machines."""
    return {
        "dead_letter_id": row.dead_letter_id,
        "stage": row.stage,
        "reason": row.reason,
        "message": row.message,
        "tenant_id": row.tenant_id,
        "topic": row.topic,
        "partition": row.partition,
        "offset": row.offset,
        "first_seen": rfc3339(row.first_seen_ns),
        "value_bytes": row.value_bytes,
        "replay_of": row.replay_of,
        "copies": copies,
        "letter": {"partition": row.letter_partition, "offset": row.letter_offset},
    }


def rfc3339(unix_ns: int) -> str:
    """A record's Kafka time; empty for one that has none, or one no calendar holds."""
    try:
        return format_time(unix_ns // 1_000_000) if unix_ns > 0 else ""
    except OverflowError:
        return ""
