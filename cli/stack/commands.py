"""`up`, `down`, `restart`, `status` and `logs`."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.render.text import as_text, clean
from cli.stack.endpoints import Endpoints
from cli.stack.errors import StackError
from cli.stack.foreground import duration, watch
from cli.stack.logs import follow, tail
from cli.stack.plan import Settings, log_directory
from cli.stack.record import load_record
from cli.stack.restart import restart as restart_processes
from cli.stack.start import Started, start
from cli.stack.status import ProcessStatus, StackStatus, collect
from cli.stack.stop import stop
from cli.stack.ui import Reporter
from contracts.errors import Unavailable
from runtime.kafka import TopicMisconfigured
from runtime.settings import InvalidSettings, load
from runtime.settings.stack import StackSettings

#: Like a shell reports a command that Ctrl-C ended.
_INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    for command in (up, down, restart, status, logs):
        app.command()(command)


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once everything is ready.")] = False,
    demo: Annotated[
        bool, typer.Option("--demo/--no-demo", help="Send a recorded session and show what came out.")
    ] = True,
) -> None:
    """Start the whole system on this machine: Kafka, gateway, processors and sink.

    Data, logs and keys live in STACK_DIR (default: .chaukas). The first start downloads Apache Kafka.
    """
    report = Reporter(Console())
    with _clear_errors(), _signals_interrupt():
        settings = Settings.from_environment()
        directory = settings.stack.dir
        try:
            running = start(settings, report)
        except KeyboardInterrupt:
            report.say("Interrupted.")
            raise typer.Exit(_INTERRUPTED) from None
        try:
            came_through = _introduce(running, directory, report, demo)
            if not detach:
                watch(directory, running, report)
        except KeyboardInterrupt:
            report.say()
            stop(directory, report)
            running.supervisor.wait()
            return
    if detach and not came_through:
        raise typer.Exit(1)


def down() -> None:
    """Stop the stack in STACK_DIR. Its data stays."""
    report = Reporter(Console())
    with _clear_errors():
        directory = load(StackSettings).dir
        if not stop(directory, report):
            report.say(f"Nothing runs in {directory}.")


def restart(
    processes: Annotated[
        list[str] | None,
        typer.Argument(help="kafka, sink, processors, gateway, or single instances (gateway-0). Default: all."),
    ] = None,
) -> None:
    """Restart processes one after the other, each ready again before the next. Clients that retry as told see no error."""
    with _clear_errors():
        settings = load(StackSettings)
        restart_processes(settings.dir, processes or (), settings.start_seconds, Reporter(Console()))


def status(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """Show every process of the stack in STACK_DIR. Exit code 0 only if all of them run and are ready."""
    with _clear_errors():
        directory = load(StackSettings).dir
    record = load_record(directory)
    found = collect(directory, record)
    if as_json:
        typer.echo(json.dumps(found.to_json(record), indent=2))
    elif found.problem:
        typer.echo(found.problem, err=True)
    else:
        Console().print(_table(found))
        for process in found.processes:
            if process.crash_loop:
                _say_crash_loop(process)
    if not found.ready:
        raise typer.Exit(1)


def logs(
    process: Annotated[
        str, typer.Argument(help="kafka, sink, processors, gateway, or one instance. Default: all.")
    ] = "",
    follow_: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 40,
) -> None:
    """Show the log of a process, or of all."""
    with _clear_errors():
        paths = _log_files(load(StackSettings).dir, process)

        def emit(path: Path, line: str) -> None:
            # Our processes escape what strangers sent; libraries and Java may not.
            shown = as_text(line)
            typer.echo(shown if len(paths) == 1 else f"{path.stem:<13}{shown}")

        for path in paths:
            for line in tail(path, lines):
                emit(path, line)
        if follow_:
            try:
                follow(paths, emit)
            except KeyboardInterrupt:
                return


def _introduce(running: Started, directory: Path, report: Reporter, demo: bool) -> bool:
    """Show what the stack does (the demo, which also says where it is reached), or say where it is reached.

    False when the demo did not come through; it has said why then, and the stack runs on.
    """
    report.say()
    if demo:
        from cli.demo import run  # it brings the SDK along: only where it is needed

        came_through = run(running.endpoints)
        report.say(f"Data, logs and keys: {directory}", style="dim")
    else:
        came_through = True
        _say_endpoints(running.endpoints, directory, report)
    report.say()
    return came_through


def _say_endpoints(endpoints: Endpoints, directory: Path, report: Reporter) -> None:
    for name, value in (
        ("HTTP ", f"{endpoints.http_url}  the SDK's door, also JSON"),
        ("gRPC ", endpoints.grpc_target),
        ("Kafka", endpoints.kafka_bootstrap_servers),
        ("Files", str(directory)),
    ):
        report.say(f"{name}  {value}")
    report.say()
    report.say("Send your own agent's events: paste this, then start the agent")
    for line in endpoints.exports():
        report.say(line)


def _say_crash_loop(process: ProcessStatus) -> None:
    """Why it dies, in its own words; those say what to do where something can be done."""
    console = Console()
    now = (
        f"is up for {duration(process.uptime_seconds)} after a crash loop"
        if process.ready
        else "is in a crash loop, and is started again with growing pauses"
    )
    at = time.strftime("%H:%M:%S", time.localtime(process.last_exit_at))
    console.print()
    console.print(
        f"{process.process} {now}: {process.recent_exits} exits in the last 10 minutes, the last one at {at} with "
        f"{process.last_exit}. Its last words:",
        style="bold yellow" if process.ready else "bold red",
        markup=False,
        highlight=False,
    )
    console.print(f"  {clean(process.last_words) or '(none)'}", markup=False, highlight=False)


def _table(found: StackStatus) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("PROCESS", "STATE", "READY", "PID", "UPTIME", "RESTARTS", "PORTS"):
        table.add_column(column, justify="right" if column in ("PID", "RESTARTS") else "left")
    for process in found.processes:
        table.add_row(
            process.process,
            "running" if process.up else process.state.lower(),
            "yes" if process.ready else f"no: {process.missing}" if process.missing else "no",
            str(process.pid or "-"),
            duration(process.uptime_seconds),
            str(process.restarts),
            " ".join(str(port) for port in process.ports.values()),
            style=None if process.ready else "red",
        )
    return table


def _log_files(directory: Path, process: str) -> list[Path]:
    found = sorted(log_directory(directory).glob("*.log"))
    if not found:
        raise StackError(f"no logs in {log_directory(directory)}: was a stack started there?")
    chosen = [path for path in found if not process or path.stem == process or path.stem.rpartition("-")[0] == process]
    if not chosen:
        raise StackError(f"no log of {process!r}; there are: {', '.join(path.stem for path in found)}")
    return chosen


@contextmanager
def _clear_errors() -> Iterator[None]:
    """What is wrong on this machine ends the command with its message, not with a stack trace."""
    try:
        yield
    except (StackError, InvalidSettings, TopicMisconfigured, Unavailable) as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and a closed terminal end the body like Ctrl-C does, so that they stop the stack in order, too."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
