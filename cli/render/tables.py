"""The one look of all tables: no side borders, headings dim, numbers right."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from cli.render.text import clean


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table. A column named ``>…`` is right-aligned; one named ``*…`` gives up its room first when it is scarce."""
    made = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        border_style="dim",
        pad_edge=False,
        padding=(0, 2, 0, 0),
        show_edge=False,
    )
    for name in columns:
        made.add_column(
            Text(name.lstrip(">*"), no_wrap=True),
            justify="right" if name.startswith(">") else "left",
            no_wrap=not name.startswith("*"),
            overflow="ellipsis",
        )
    return made


def cell(text: str, style: str = "") -> Text:
    """Untrusted text as a cell; never more than one line."""
    return Text(clean(text), style, no_wrap=True, overflow="ellipsis")
