"""Every threat names tests, and every test it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "threat_model.md").read_text()
ROWS = [line for line in TEXT.splitlines() if re.match(r"\| \d+ \|", line)]
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)


def test_every_threat_has_an_answer_and_a_test() -> None:
    assert [int(row.split("|")[1]) for row in ROWS] == list(range(1, len(ROWS) + 1))
    for row in ROWS:
        _, _, threat, answer, tests, _ = (cell.strip() for cell in row.split("|"))
        assert threat
        assert answer
        assert re.search(r"`tests/[\w/]+\.py::\w+`", tests), row


def test_every_test_it_names_exists() -> None:
    assert len(NAMED) > 30
    for file, name in NAMED:
        tree = ast.parse((ROOT / file).read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in functions, f"{file} has no {name}"
