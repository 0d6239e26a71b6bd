"""`import`: directories of JSONL files through the gateway's front door, resumable."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, BinaryIO

import grpc
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from cli.client import errors, options
from cli.client.connection import Connection
from cli.client.import_state import Position, State
from cli.client.jsonl import Line, batches, read_lines
from cli.client.send import EXIT_INTERRUPTED, override, reason_of
from cli.client.sender import Reject, Sender
from cli.client.usage import WrongUsage
from cli.render import console
from cli.render.text import clean, count, duration, plural

STATE_FILE = ".chaukas-import.json"
#: How often the state is written, seconds; what was sent since is sent again after a kill.
SAVE_SECONDS = 1.0
#: Rejects that are shown at most; the rejects file has all.
SHOWN_REJECTS = 20
_TAIL_BYTES = 64 * 1024


@dataclass(slots=True)
class Total:
    """What this run did."""

    files: int = 0
    lines: int = 0
    accepted: int = 0
    rejected: int = 0
    retries: int = 0
    #: Last lines without an end, left for the next run.
    unfinished: list[str] = field(default_factory=list)


def import_files(
    paths: Annotated[list[Path], typer.Argument(metavar="DIR|FILE…", help="JSONL files, and directories of *.jsonl.")],
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help=f"How far it is. Default: {STATE_FILE} in the first directory.", show_default=False
        ),
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where rejects are added, as JSON lines. Default: beside the state.",
            show_default=False,
        ),
    ] = None,
    tenant: Annotated[str | None, typer.Option(metavar="ID", help="Instead of each event's own tenant.")] = None,
    project: Annotated[str | None, typer.Option(metavar="ID", help="Instead of each event's own project.")] = None,
    retry_seconds: Annotated[
        float, typer.Option(min=0, help="How long one batch is retried while the gateway is away or busy.")
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
    endpoint: options.Endpoint = None,
    api_key: options.ApiKey = None,
    tls: options.Tls = False,
    ca_file: options.CaFile = None,
) -> None:
    """Send all events of JSONL files, in the order of the files' names; run again to go on, or for what was added since.

    Exit code 0: all accepted; 1: some rejected (in this run); 3: the gateway refused or could not be reached; 130: interrupted.
    """
    directory = paths[0] if paths[0].is_dir() else paths[0].parent
    progress = State(state or directory / STATE_FILE)
    rejected = Rejects(rejects or progress.path.with_suffix(".rejects.jsonl"))
    files = [path for path in find_files(paths) if path.resolve() != rejected.path.resolve()]
    target = options.target(endpoint, api_key, tls, ca_file)
    try:
        progress.save()  # before anything is sent that could not be remembered
    except OSError as error:
        raise WrongUsage(f"{progress.path} cannot be written: {error.strerror}; name another with --state") from None
    total, began = Total(), time.monotonic()
    problem, exit_code = "", 0
    with Connection(target) as connection, _bar() as bar:
        run = Run(connection, progress, rejected, bar, total, retry_seconds, tenant, project)
        try:
            run.all(files)
        except grpc.RpcError as error:
            problem, exit_code = errors.explain(errors.parse(error), target), errors.EXIT_FAILED
        except OSError as error:
            problem, exit_code = f"{error.filename or 'a file'}: {error.strerror}", errors.EXIT_FAILED
        except KeyboardInterrupt:
            problem, exit_code = "interrupted", EXIT_INTERRUPTED
    seconds = time.monotonic() - began
    if as_json:
        typer.echo(json.dumps(_summary(total, seconds, progress, rejected, problem)))
    else:
        _say(total, seconds, rejected)
    if problem:
        typer.echo(f"error: {problem}", err=True)
        typer.echo(f"run it again to go on: {progress.path} says how far it is", err=True)
    if exit_code or total.rejected:
        raise typer.Exit(exit_code or errors.EXIT_REJECTED)


def find_files(paths: Iterable[Path]) -> list[Path]:
    """The files, each once, those of a directory by name. Raises :class:`WrongUsage`."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*.jsonl") if one.is_file() and not one.name.startswith("."))
            if not inside:
                raise WrongUsage(f"{path} holds no *.jsonl")
            found.update(dict.fromkeys(inside))
        elif path.is_file():
            found[path] = None
        else:
            raise WrongUsage(f"{path} is neither a file nor a directory")
    return list(found)


class Rejects:
    """The file of rejects; made with the first one. It names where each is, without its content."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, file: Path, some: Iterable[Reject]) -> None:
        """Raises OSError."""
        lines = [
            json.dumps({"file": str(file), "line": one.line, "event_id": one.event_id, "reason": one.reason}) + "\n"
            for one in some
        ]
        if lines:
            with self.path.open("a", encoding="utf-8") as out:
                out.writelines(lines)


@dataclass(slots=True)
class Run:
    """One run over the files."""

    connection: Connection
    state: State
    rejects: Rejects
    bar: Progress
    total: Total
    retry_seconds: float
    tenant: str | None
    project: str | None
    _saved: float = field(default_factory=time.monotonic)

    def all(self, files: list[Path]) -> None:
        """Raises ``grpc.RpcError``, OSError; what is done by then is in the state."""
        task = self.bar.add_task("importing", total=sum(path.stat().st_size for path in files))
        try:
            for path in files:
                with path.open("rb") as source:
                    start = self.state.find(source)
                    self.bar.update(task, advance=start.bytes, description=clean(path.name))
                    for advanced in self._file(path, source, start):
                        self.bar.update(task, advance=advanced)
                self.total.files += 1
        finally:
            self.state.save()

    def _file(self, path: Path, source: BinaryIO, start: Position) -> Iterator[int]:
        """Send what is left of one file; yields the bytes of each batch when its fate is known and remembered."""
        complete = complete_bytes(source)
        source.seek(start.bytes)
        lines = self._finished(path, read_lines(source, start.lines, start.bytes), complete)
        sender = Sender(self.connection, self.retry_seconds, explanations_left=SHOWN_REJECTS)
        sender.on_wait = lambda error, seconds: self.bar.console.print(
            f"{error.line}; trying again in {duration(seconds * 1000)}", style="yellow"
        )
        done, last_line = start.bytes, start.lines
        before = Total()
        seen = _Numbers(override(lines, self.tenant, self.project))
        for some in sender.send(batches(seen)):
            # First on disk, then counted as done: a kill between the two names a reject twice, never not at all.
            self.rejects.add(path, some)
            for reject in some[: max(0, SHOWN_REJECTS - self.total.rejected)]:
                self.bar.console.print(f"{path}:{reject.line}: {reason_of(reject)}", style="red")
            now = sender.progress
            self.total.lines += now.lines - before.lines
            self.total.accepted += now.accepted - before.accepted
            self.total.rejected += now.rejected - before.rejected
            self.total.retries += now.retries - before.retries
            before = Total(0, now.lines, now.accepted, now.rejected, now.retries)
            last_line = seen.at[now.end_bytes]
            self.state.reached(source, now.end_bytes, last_line)
            if time.monotonic() - self._saved >= SAVE_SECONDS:
                self.state.save()
                self._saved = time.monotonic()
            yield now.end_bytes - done
            done = now.end_bytes

    def _finished(self, path: Path, lines: Iterable[Line], complete: int) -> Iterator[Line]:
        for line in lines:
            if line.event is None and line.end_bytes > complete:
                # Its writer may not be through with it.
                self.total.unfinished.append(f"{path}:{line.number}")
                return
            yield line


class _Numbers:
    """Passes lines through and remembers the number of each by where it ends, of the latest few thousand."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = lines
        self.at: dict[int, int] = {}

    def __iter__(self) -> Iterator[Line]:
        for line in self._lines:
            self.at[line.end_bytes] = line.number
            if len(self.at) > 10_000:  # batches that are under way hold less
                del self.at[next(iter(self.at))]
            yield line


def complete_bytes(source: BinaryIO) -> int:
    """Where the last line that has an end ends. Blocks for a read from the end backwards."""
    end = source.seek(0, 2)
    while end > 0:
        start = max(0, end - _TAIL_BYTES)
        source.seek(start)
        found = source.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _summary(total: Total, seconds: float, state: State, rejects: Rejects, problem: str) -> dict[str, object]:
    return {
        "files": total.files,
        "lines": total.lines,
        "accepted": total.accepted,
        "rejected": total.rejected,
        "retries": total.retries,
        "unfinished": total.unfinished,
        "seconds": round(seconds, 3),
        "state": str(state.path),
        "rejects": str(rejects.path) if total.rejected else "",
        **({"error": problem} if problem else {}),
    }


def _say(total: Total, seconds: float, rejects: Rejects) -> None:
    rate = f" ({count(round(total.lines / seconds))} a second)" if seconds > 0.5 and total.lines else ""
    typer.echo(
        f"{plural(total.files, 'file')}, {plural(total.lines, 'new event')} in {duration(seconds * 1000)}{rate}: "
        f"{count(total.accepted)} accepted, {count(total.rejected)} rejected"
    )
    for place in total.unfinished:
        typer.echo(f"{place} has no end yet and is left for the next run", err=True)
    if total.rejected:
        typer.echo(f"all rejects with their reasons: {rejects.path}", err=True)


@contextlib.contextmanager
def _bar() -> Iterator[Progress]:
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console.messages(),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        yield bar
