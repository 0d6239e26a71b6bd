"""The one look of all tables: no side borders, headings dim, numbers right."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from cli.render.text import clean


def table(*columns: str, title: str | None = None, expand: bool = False) -> Table:
    """An empty table. A column name with a leading ``>`` is right-aligned; with ``*`` it takes the room that is left."""
    made = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        pad_edge=False,
        padding=(0, 2, 0, 0),
        show_edge=False,
        expand=expand,
    )
    for name in columns:
        made.add_column(
            name.lstrip(">*"),
            justify="right" if name.startswith(">") else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if name.startswith("*") and expand else None,
        )
    return made


def cell(text: str, style: str = "") -> Text:
    """Untrusted text as a cell."""
    return Text(clean(text), style)
