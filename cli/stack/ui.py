"""How progress is shown: on a terminal a spinner that turns into a check mark, elsewhere one plain line per step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

#: A step that took longer says how long, seconds.
_WORTH_SAYING = 0.95


class Reporter:
    """Says what is being done. Not for use from several threads, except the callback of :meth:`download`."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str = "", style: str = "") -> None:
        """One line as it is: neither wrapped (it may be meant for pasting) nor interpreted as markup."""
        self.console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, doing: str, done: str = "") -> Iterator[None]:
        """Shown as `doing` while the body runs, as `done` (default: the same) after it. An exception passes through."""
        started = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(f"{doing} …", spinner="dots"):
                yield
            self._finished(done or doing, started)
        else:
            self.say(f"{doing} ...")
            yield
            if time.monotonic() - started > _WORTH_SAYING:
                self.say(f"{done or doing}: done after {time.monotonic() - started:.1f} s")

    @contextmanager
    def download(self, what: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
        """The body calls the yielded function with the number of bytes that arrived, from any thread."""
        started = time.monotonic()
        if self.console.is_terminal:
            columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            with Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True) as progress:
                task = progress.add_task(what, total=total_bytes)
                yield lambda count: progress.advance(task, count)
            self._finished(what, started)
        else:
            self.say(f"{what} ({total_bytes / 1e6:.0f} MB) ...")
            yield lambda count: None
            self.say(f"{what}: done after {time.monotonic() - started:.1f} s")

    def _finished(self, text: str, started: float) -> None:
        elapsed = time.monotonic() - started
        took = f" [dim]{elapsed:.1f} s[/dim]" if elapsed > _WORTH_SAYING else ""
        self.console.print(f"[green]✓[/green] {text}{took}", highlight=False, soft_wrap=True)
