"""What `handoffs` and `mcp` share: the scope of statistics, and showing lists as tables or JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import typer
from chaukas.spec.common.v1 import query_pb2
from google.protobuf.message import Message
from rich.console import RenderableType

from cli.client.usage import WrongUsage
from cli.render import console
from cli.render.json_lines import json_line


def refuse_list_options(**given: object) -> None:
    """Statistics take a tenant, a project and a time range only. Raises :class:`WrongUsage` for any other option."""
    unused = [f"--{name}" for name, value in given.items() if value]
    if unused:
        raise WrongUsage(f"{', '.join(unused)}: only for the list, not for --stats")


def scope(chosen: query_pb2.QueryFilter) -> dict[str, Any]:
    """The fields of a statistics request out of a filter."""
    return {
        "tenant_id": chosen.tenant_id,
        "project_id": chosen.project_id,
        "time_range": chosen.time if chosen.HasField("time") else None,
    }


def show(as_json: bool, rows: Sequence[Any], table: Callable[[Sequence[Any]], RenderableType], nothing: str) -> None:
    """One answer's rows."""
    show_pages(as_json, [rows] if rows else [], table, nothing)


def show_pages(
    as_json: bool,
    pages: Iterable[Sequence[Message]],
    table: Callable[[Sequence[Any]], RenderableType],
    nothing: str,
) -> None:
    """Each page as a table on stdout, or each row as a line of JSON; `nothing` on stderr when a person sees no row."""
    out, shown = console.results(), 0
    for page in pages:
        shown += len(page)
        if as_json:
            for row in page:
                typer.echo(json_line(row))
        else:
            out.print(table(page))
    if not shown and not as_json:
        typer.echo(nothing, err=True)
