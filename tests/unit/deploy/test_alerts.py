"""Rules ask for metrics that exist, each alert has its cases and its runbook, and what runbooks name can be typed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app
from tests.unit.deploy.promql import CATALOGUE, problems, selectors

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule
    for path in sorted((PROMETHEUS / "rules").glob("*.yaml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
CASES = yaml.safe_load((PROMETHEUS / "tests" / "alerts.yaml").read_text())["tests"]
SECTIONS = dict(
    re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", (ROOT / "docs/runbooks.md").read_text(), re.MULTILINE | re.DOTALL)
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_for_what_exists(rule: dict[str, Any]) -> None:
    assert list(selectors(rule["expr"]))
    assert problems(rule["expr"], RECORDED) == []


def test_a_wrong_expression_is_noticed() -> None:
    assert problems("sum(rate(gateway_request_total[5m]))", RECORDED) == ["no metric is named gateway_request_total"]
    assert problems('gateway_ready{tenant="a"}', RECORDED) == ["gateway_ready has no label tenant"]
    with pytest.raises(ValueError, match=r"."):
        list(selectors("sum(rate(up[5m])"))


def test_every_recording_is_used_by_an_alert_or_a_dashboard() -> None:
    used = {name for rule in ALERTS.values() for name, _ in selectors(rule["expr"])}
    dashboards = "".join(path.read_text() for path in (ROOT / "deploy").glob("grafana/**/*.json"))
    unused = {name for name in RECORDED - used if name not in dashboards}
    assert not unused


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_cases_and_a_runbook(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}"
    fired = [
        bool(case["exp_alerts"]) for test in CASES for case in test["alert_rule_test"] if case["alertname"] == name
    ]
    assert sorted(fired) == [False, True], "one case in which it fires, one in which it nearly does"
    commands = re.search(r"```sh\n(.*?)```", SECTIONS[name], re.DOTALL)
    assert commands is not None
    assert len(commands[1].splitlines()) == 3


def test_no_runbook_is_left_over() -> None:
    assert set(SECTIONS) == set(ALERTS)


def test_every_command_of_a_runbook_exists() -> None:
    lines = {
        line for text in SECTIONS.values() for line in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)[0].splitlines()
    }
    ours = {line for line in lines if line.startswith("chaukas-gateway ")}
    for line in lines - ours:
        found = re.fullmatch(r"curl -s http://[A-Z]+/(healthz|readyz|metrics(?: \| grep (\w+))?)", line)
        assert found is not None, line
        assert found[2] is None or any(name.startswith(found[2]) for name in CATALOGUE), line
    for words in {tuple(word for word in line.split()[1:] if word.islower()) for line in ours}:
        subcommands = ("dlq", "keys", "topics")
        command = words[: 2 if words[0] in subcommands else 1]
        shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0, (words, shown.output)
        assert all(word in shown.output for word in words if word.startswith("--")), words


def test_every_setting_a_runbook_names_exists() -> None:
    named = set(re.findall(r"`((?:GATEWAY|PROCESSORS|SINK|KAFKA)_\w+)`", (ROOT / "docs/runbooks.md").read_text()))
    settings = (ROOT / "docs/settings.md").read_text()
    assert named
    assert not {name for name in named if f"`{name}`" not in settings}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (see deploy/README.md)")
def test_promtools_cases() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", "tests/alerts.yaml"], capture_output=True, text=True, check=False, cwd=PROMETHEUS
    )
    assert done.returncode == 0, done.stdout + done.stderr
