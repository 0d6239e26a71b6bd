"""`doctor`: every check at once, each bounded in time, as a table of findings."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from cli.doctor import configuration, doors, files, kafka, stack, store
from cli.doctor.findings import Check, Finding, Severity, exit_code
from cli.doctor.site import Site
from cli.render import console
from cli.render.tables import cell, table
from cli.render.text import clean

#: Longest time of all checks together, seconds; each has shorter bounds of its own.
ALL_SECONDS = 45.0
_STYLES = {Severity.OK: "green", Severity.SKIPPED: "dim", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}
_ORDER = (Severity.ERROR, Severity.WARNING, Severity.SKIPPED, Severity.OK)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    everything: Annotated[bool, typer.Option("--all", help="Also what is in order and what was skipped.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="For machines: one JSON object per finding, all of them.")
    ] = False,
) -> None:
    """Look for what is wrong: configuration, connections, topics, schema, clocks, keys, disks, lag, dead letters, processes.

    Looks at the system the environment describes, else at the local stack. Changes nothing and prints no secret. Exit code 0: all
    in order; 1: warnings; 2: errors.
    """
    # What a broken connection makes gRPC's core say is ours to say.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    site = Site.find()
    findings = run(checks(site), ALL_SECONDS)
    if as_json:
        for finding in findings:
            typer.echo(json.dumps({**asdict(finding), "message": clean(finding.message)}))
    else:
        _show(findings, everything)
    if code := exit_code(findings):
        raise typer.Exit(code)


def checks(site: Site) -> list[Check]:
    """All of them, in the order a person reads."""

    def of(name: str, ask: Callable[[Site], Iterator[Finding]]) -> Check:
        return Check(name, lambda: ask(site))

    return [
        of(configuration.NAME, configuration.check),
        of(stack.NAME, stack.check),
        of(doors.NAME, doors.status_pages),
        of(doors.NAME, doors.gateway_call),
        of(kafka.NAME, kafka.check),
        of(store.NAME, store.check),
        of(files.KEYS, files.keys),
        of(files.DISK, files.disk),
    ]


def run(asked: Sequence[Check], seconds: float) -> list[Finding]:
    """All checks side by side; one that does not come back within the time is a finding itself. Blocks for `seconds` at most."""
    found: list[list[Finding]] = [[] for _ in asked]
    threads = [
        threading.Thread(target=_collect, args=(check, into), daemon=True)
        for check, into in zip(asked, found, strict=True)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread, check, into in zip(threads, asked, found, strict=True):
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            into.append(Finding(check.name, "this check", Severity.ERROR, f"did not end within {seconds:.0f} s"))
    return [finding for into in found for finding in list(into)]


def _collect(check: Check, into: list[Finding]) -> None:
    try:
        for finding in check.run():
            into.append(finding)  # noqa: PERF402 - what was found counts, even if the check then fails or hangs
    except Exception as error:  # noqa: BLE001 - a defect of one check must not hide what the others found
        # Without its text, which may hold anything.
        into.append(
            Finding(check.name, "this check", Severity.ERROR, f"failed with {type(error).__name__}: a defect of ours")
        )


def _show(findings: list[Finding], everything: bool) -> None:
    shown = [one for one in findings if everything or one.severity in (Severity.ERROR, Severity.WARNING)]
    if shown:
        rows = table("", "check", "*what", "*finding", "*remedy")
        for one in sorted(shown, key=lambda finding: _ORDER.index(finding.severity)):
            style = _STYLES[one.severity]
            rows.add_row(
                cell(one.severity.value, style),
                cell(one.check),
                *(_folding(t) for t in (one.subject, one.message, one.remedy)),
            )
        console.results().print(rows)
    numbers = [(severity, sum(one.severity is severity for one in findings)) for severity in _ORDER]
    typer.echo(", ".join(f"{number} {severity.value}" for severity, number in numbers if number), err=True)


def _folding(text: str) -> Text:
    return Text(clean(text), overflow="fold")
