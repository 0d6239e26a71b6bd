"""Write the dashboards: ``python -m deploy.grafana.build`` (part of ``make docs``)."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.grafana import agents, operations

DIRECTORY = Path(__file__).parent / "dashboards"


def render() -> dict[str, str]:
    """Content of each file."""
    made = {"operations.json": operations.build(), "agents.json": agents.build()}
    return {name: json.dumps(board, indent=1, ensure_ascii=False) + "\n" for name, board in made.items()}


if __name__ == "__main__":
    for name, text in render().items():
        (DIRECTORY / name).write_text(text, encoding="utf-8")
