"""`send`: the events of a JSONL file through the gateway's front door."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import grpc
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from cli.client import errors, options
from cli.client.connection import Connection
from cli.client.jsonl import Line, batches, read_lines
from cli.client.sender import Reject, Sender
from cli.client.usage import WrongUsage
from cli.render import console
from cli.render.text import clean, count, duration, plural

EXIT_INTERRUPTED = 130


def send(
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="JSONL as the SDK's file mode writes it; - is standard input.")
    ],
    tenant: Annotated[str | None, typer.Option(metavar="ID", help="Instead of each event's own tenant.")] = None,
    project: Annotated[str | None, typer.Option(metavar="ID", help="Instead of each event's own project.")] = None,
    retry_seconds: Annotated[
        float, typer.Option(min=0, help="How long one batch is retried while the gateway is away or busy.")
    ] = 60.0,
    show_rejects: Annotated[int, typer.Option(min=0, metavar="N", help="Explain at most this many rejects.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
    endpoint: options.Endpoint = None,
    api_key: options.ApiKey = None,
    tls: options.Tls = False,
    ca_file: options.CaFile = None,
) -> None:
    """Send the events of a JSONL file. Sending a file again is safe: every event is stored once.

    Exit code 0: all accepted; 1: some rejected; 3: the gateway refused or could not be reached.
    """
    target = options.target(endpoint, api_key, tls, ca_file)
    began = time.monotonic()
    with _source(file) as (source, size), Connection(target) as connection, _bar(file, size) as bar:
        task = bar.add_task("sending", total=size)
        sender = Sender(connection, retry_seconds, explanations_left=show_rejects)
        sender.on_wait = lambda error, seconds: bar.console.print(
            f"{error.line}; trying again in {duration(seconds * 1000)}", style="yellow"
        )
        shown: list[Reject] = []
        problem, exit_code = "", 0
        try:
            for rejects in sender.send(batches(override(read_lines(source), tenant, project))):
                for reject in rejects[: show_rejects - len(shown)]:
                    shown.append(reject)
                    bar.console.print(f"{file}:{reject.line}: {reason_of(reject)}", style="red")
                bar.update(task, completed=sender.progress.end_bytes)
        except grpc.RpcError as error:
            problem, exit_code = errors.explain(errors.parse(error), target), errors.EXIT_FAILED
        except OSError as error:
            problem, exit_code = f"{file} cannot be read on: {error.strerror}", errors.EXIT_FAILED
        except KeyboardInterrupt:
            problem, exit_code = "interrupted", EXIT_INTERRUPTED
    done = sender.progress
    seconds = time.monotonic() - began
    if as_json:
        summary = {
            "file": file,
            "lines": done.lines,
            "accepted": done.accepted,
            "rejected": done.rejected,
            "retries": done.retries,
            "seconds": round(seconds, 3),
            "rejects": [{"line": r.line, "event_id": r.event_id, "reason": r.reason} for r in shown],
            **({"error": problem} if problem else {}),
        }
        typer.echo(json.dumps(summary))
    else:
        _summarize(file, sender, seconds, len(shown))
    if problem:
        typer.echo(f"error: {problem}", err=True)
        if done.lines:
            typer.echo(f"the first {plural(done.lines, 'event')} are done; sending the file again is safe", err=True)
    if exit_code or done.rejected:
        raise typer.Exit(exit_code or errors.EXIT_REJECTED)


def _summarize(file: str, sender: Sender, seconds: float, shown: int) -> None:
    done = sender.progress
    rate = f" ({count(round(done.lines / seconds))} a second)" if seconds > 0.5 else ""
    typer.echo(
        f"{file}: {plural(done.lines, 'event')} in {duration(seconds * 1000)}{rate}: "
        f"{count(done.accepted)} accepted, {count(done.rejected)} rejected"
        + (f", {plural(done.retries, 'retry').replace('retrys', 'retries')}" if done.retries else "")
    )
    if done.rejected > shown:
        typer.echo(f"{count(done.rejected - shown)} more rejects are not listed (--show-rejects)", err=True)


def reason_of(reject: Reject) -> str:
    """Why a line was rejected, for a person."""
    which = f"event {clean(reject.event_id)}: " if reject.event_id else ""
    return which + clean(reject.reason)


def override(lines: Iterable[Line], tenant: str | None, project: str | None) -> Iterator[Line]:
    """The lines, their events under another tenant or project where one is given."""
    for line in lines:
        if line.event is not None:
            if tenant is not None:
                line.event.tenant_id = tenant
            if project is not None:
                line.event.project_id = project
        yield line


@contextlib.contextmanager
def _source(file: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The opened file and its size in bytes; None when only its end will tell."""
    if file == "-":
        yield sys.stdin.buffer, None
        return
    path = Path(file)
    try:
        opened = path.open("rb")
    except OSError as error:
        raise WrongUsage(f"{file} cannot be read: {error.strerror}") from None
    with opened:
        yield opened, path.stat().st_size if path.is_file() else None


def _bar(file: str, size: int | None) -> Progress:
    return Progress(
        TextColumn(clean(Path(file).name) or file),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console.messages(),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
