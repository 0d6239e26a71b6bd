"""Options the commands share, and what they mean."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from cli.client.times import ALLOWED, parse_time
from cli.client.usage import WrongUsage
from cli.dlq.filters import Filter
from cli.render.text import nanoseconds
from contracts.dead_letters import Reason, Stage

#: Fewer characters of an id would name too many letters by accident.
_ID_MIN_CHARS = 4

StageOption = Annotated[Stage | None, typer.Option("--stage", help="Given up by the processors or by the sink.")]
Reasons = Annotated[list[Reason] | None, typer.Option("--reason", help="Why; repeat for any of several.")]
Tenant = Annotated[str | None, typer.Option(metavar="ID", help="Of this tenant; '' for those without one.")]
Topic = Annotated[str | None, typer.Option(metavar="NAME", help="From this topic (the original record's).")]
Partition = Annotated[int | None, typer.Option(min=0, metavar="N", help="From this partition of it.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help=f"Records not before: {ALLOWED}.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Records before (exclusive); written like --since.")]
Ids = Annotated[
    list[str] | None, typer.Option("--id", metavar="ID", help="This letter (its id or how it begins); repeat.")
]
Json = Annotated[bool, typer.Option("--json", help="For machines: one JSON object per line.")]


def chosen(
    stage: Stage | None,
    reasons: list[Reason] | None,
    tenant: str | None,
    topic: str | None,
    partition: int | None,
    since: str | None,
    until: str | None,
    ids: list[str] | None,
) -> Filter:
    """Raises :class:`WrongUsage`."""
    now_ns = time.time_ns()
    since_ns, until_ns = moment("--since", since, now_ns), moment("--until", until, now_ns)
    if since_ns is not None and until_ns is not None and since_ns >= until_ns:
        raise WrongUsage("--since is not before --until: nothing could match")
    return Filter(
        stage=stage.value if stage else None,
        reasons=frozenset(reason.value for reason in reasons or ()),
        tenant=tenant,
        topic=topic,
        partition=partition,
        since_ns=since_ns,
        until_ns=until_ns,
        ids=tuple(checked_id(one) for one in ids or ()),
    )


def checked_id(text: str) -> str:
    """An id or how one begins. Raises :class:`WrongUsage`."""
    lowered = text.strip().lower()
    if len(lowered) < _ID_MIN_CHARS or not set(lowered) <= set("0123456789abcdef-"):
        raise WrongUsage(f"{text!r} is no dead letter's id, nor the first {_ID_MIN_CHARS} or more characters of one")
    return lowered


def moment(option: str, text: str | None, now_ns: int) -> int | None:
    """Unix nanoseconds. Raises :class:`WrongUsage`."""
    if text is None:
        return None
    try:
        return nanoseconds(parse_time(text, now_ns))
    except ValueError as error:
        raise WrongUsage(f"{option}: {error}") from None
