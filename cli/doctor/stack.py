"""The local stack's processes, as its supervisor sees them: crash loops, watchdogs, restarts."""

from __future__ import annotations

from collections.abc import Iterator

from cli.doctor.findings import Finding, Severity
from cli.doctor.site import Site
from cli.render.text import plural
from cli.stack.status import ProcessStatus, collect

NAME = "processes"
#: How a stall watchdog ends its process.
_STALLED = "exit status 75"


def check(site: Site) -> Iterator[Finding]:
    """Blocks for a few seconds at worst."""
    if site.record is None:
        yield Finding(NAME, "local stack", Severity.SKIPPED, "none below STACK_DIR is looked at")
        return
    found = collect(site.directory.absolute(), site.record)
    if found.problem:
        yield Finding(NAME, str(site.directory), Severity.ERROR, found.problem, "`chaukas-gateway up`")
    for process in found.processes:
        yield judge(process)


def judge(process: ProcessStatus) -> Finding:
    """One process."""
    remedy = f"`chaukas-gateway logs {process.process}`"
    words = f": {process.last_words}" if process.last_words else ""
    stalled = " (the stall watchdog)" if process.last_exit == _STALLED else ""
    exits = f"{plural(process.recent_exits, 'exit')} in ten minutes, the last with {process.last_exit}{stalled}{words}"
    if process.crash_loop:
        return Finding(NAME, process.process, Severity.ERROR, f"crash loop, {exits}", remedy)
    if not process.up or not process.ready:
        missing = f": {process.missing}" if process.missing else ""
        return Finding(NAME, process.process, Severity.ERROR, f"{process.state.lower()}, not ready{missing}", remedy)
    if process.recent_exits:
        return Finding(NAME, process.process, Severity.WARNING, f"runs again after {exits}", remedy)
    return Finding(NAME, process.process, Severity.OK, f"runs, {plural(process.restarts, 'restart')} since `up`")
