"""`export`: every event that a query matches, as JSON lines or Parquet; page by page, in bounded memory."""

from __future__ import annotations

import contextlib
import enum
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Protocol

import grpc
import typer
from chaukas.spec.common.v1 import events_pb2, query_pb2

from cli.client import errors, options
from cli.client.connection import Connection
from cli.client.patience import Patience
from cli.client.query import event_filter, find_events
from cli.client.send import EXIT_INTERRUPTED
from cli.client.usage import WrongUsage
from cli.render import console
from cli.render.json_lines import json_line
from cli.render.text import duration, plural

#: Events and bytes of a Parquet row group at most: what is held in memory.
GROUP_EVENTS = 20_000
GROUP_BYTES = 32 * 1024 * 1024


class Format(enum.StrEnum):
    JSONL = "jsonl"
    PARQUET = "parquet"


class Writer(Protocol):
    """Takes pages; :meth:`close` completes the file."""

    def write(self, page: Sequence[events_pb2.Event]) -> None: ...
    def close(self) -> None: ...


def export(
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE|-", help="Replaced when all is there; - is standard output.")
    ],
    format_: Annotated[
        Format | None,
        typer.Option("--format", help="Default: parquet for a name that ends so, else jsonl.", show_default=False),
    ] = None,
    tenant: options.Tenant = None,
    project: options.Project = None,
    session: options.Session = None,
    agent: options.Agent = None,
    span: options.Span = None,
    trace: options.Trace = None,
    event_type: options.Types = None,
    status: options.Statuses = None,
    severity: options.Severities = None,
    tag: options.Tags = None,
    text: options.Text = None,
    since: options.Since = None,
    until: options.Until = None,
    retry_seconds: Annotated[
        float, typer.Option(min=0, help="How long one page is asked for again while the gateway is away or busy.")
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object, on stderr.")] = False,
    endpoint: options.Endpoint = None,
    api_key: options.ApiKey = None,
    tls: options.Tls = False,
    ca_file: options.CaFile = None,
) -> None:
    """Write everything that matches, oldest first. `send` and `import` read the JSON lines back.

    Exit code 0: complete; 3: the gateway refused, could not be reached, or the file could not be written; 130: interrupted. Anything
    but 0 leaves no file.
    """
    chosen = event_filter(
        options.query_filter(
            tenant=tenant,
            project=project,
            session=session,
            agent=agent,
            span=span,
            trace=trace,
            text=text,
            since=since,
            until=until,
        ),
        event_type,
        status,
        severity,
        tag,
    )
    kind = format_ or (Format.PARQUET if output.endswith(".parquet") else Format.JSONL)
    if output == "-" and kind is Format.PARQUET and sys.stdout.isatty():
        raise WrongUsage("Parquet is not for a terminal: name a file, or send it into a pipe")
    target = options.target(endpoint, api_key, tls, ca_file)
    messages = console.messages()
    patience = Patience(
        retry_seconds,
        lambda error, seconds: messages.print(
            f"{error.line}; trying again in {duration(seconds * 1000)}", style="yellow"
        ),
    )
    written, problem, exit_code = 0, "", 0
    try:
        with Connection(target) as connection, _opened(output) as out:
            writer: Writer = Parquet(out) if kind is Format.PARQUET else Lines(out)
            for page in find_events(connection, chosen, None, query_pb2.SORT_ORDER_ASC, patience):
                writer.write(page)
                written += len(page)
            writer.close()
    except grpc.RpcError as error:
        problem, exit_code = errors.explain(errors.parse(error), target), errors.EXIT_FAILED
    except BrokenPipeError:
        console.reader_left()
        raise typer.Exit(0) from None
    except OSError as error:
        problem, exit_code = f"{output} cannot be written: {error.strerror or error}", errors.EXIT_FAILED
    except KeyboardInterrupt:
        problem, exit_code = "interrupted", EXIT_INTERRUPTED
    if as_json:
        summary = {"output": output, "format": kind.value, "events": written, **({"error": problem} if problem else {})}
        typer.echo(json.dumps(summary), err=True)
    elif not problem:
        typer.echo(f"{plural(written, 'event')} written to {output}", err=True)
    if problem:
        typer.echo(f"error: {problem}", err=True)
        raise typer.Exit(exit_code)


class Lines:
    """One JSON object per line, in the spec's openapi dialect."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def write(self, page: Sequence[events_pb2.Event]) -> None:
        self._out.writelines(f"{json_line(event)}\n".encode() for event in page)

    def close(self) -> None:
        self._out.flush()


class Parquet:
    """Row groups of bounded size. The columns: docs/import_export.md."""

    def __init__(self, out: BinaryIO) -> None:
        # Only here: the import takes longer than most commands.
        import pyarrow.parquet as pq

        from cli.client import export_rows

        self._rows = export_rows
        self._file: Any = pq.ParquetWriter(out, export_rows.SCHEMA, compression="zstd")
        self._waiting: list[events_pb2.Event] = []
        self._bytes = 0

    def write(self, page: Sequence[events_pb2.Event]) -> None:
        self._waiting.extend(page)
        self._bytes += sum(event.ByteSize() for event in page)
        if len(self._waiting) >= GROUP_EVENTS or self._bytes >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        if self._waiting:
            self._flush()
        self._file.close()

    def _flush(self) -> None:
        self._file.write_batch(self._rows.record_batch(self._waiting), row_group_size=GROUP_EVENTS)
        self._waiting, self._bytes = [], 0


@contextlib.contextmanager
def _opened(output: str) -> Iterator[BinaryIO]:
    """Standard output, or a file beside `output` that takes its place when the body has ended well."""
    if output == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(output)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
