"""SQL lives in files under ``sink/sql``."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def read_sql(path: str) -> str:
    """The text of ``sink/sql/<path>`` without its comment lines."""
    text = (resources.files("sink") / "sql" / path).read_text(encoding="utf-8")
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
