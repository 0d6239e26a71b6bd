"""The checks of ``make lint`` find what they are there for, and say when they could not look."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from contracts import api_keys
from contracts.identity import Scope
from tests.supply_chain import secrets
from tests.supply_chain.audit import Findings, read, verdict

CLEAN = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "Dependency not found on PyPI"}
VULNERABLE = {"name": "c", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}


def test_a_report_is_read() -> None:
    found = read(json.dumps({"dependencies": [CLEAN, SKIPPED, VULNERABLE], "fixes": []}))
    assert found == Findings(2, 1, ("c 1: PYSEC-1, mended in 2",))


@pytest.mark.parametrize("report", ["", "{}", "[]", "no JSON"])
def test_what_is_no_report_is_none(report: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        read(report)


def test_nothing_looked_at_is_never_a_pass() -> None:
    """pip-audit says "no known vulnerabilities" when its source knows none of the packages."""
    for findings in (None, Findings(0, 3, ()), Findings(2, 1, ())):
        status, said = verdict(findings, strict=False)
        assert (status, "WARNING" in said, "NOT LOOKED AT" in said) == (0, True, True)
        assert verdict(findings, strict=True)[0] == 1


def test_a_vulnerability_fails_however_much_was_skipped() -> None:
    for strict in (True, False):
        status, said = verdict(Findings(1, 5, ("c 1: PYSEC-1, mended in 2",)), strict)
        assert status == 1
        assert "PYSEC-1" in said


def test_a_clean_audit_passes() -> None:
    assert verdict(Findings(3, 0, ()), strict=True)[0] == 0


def test_secrets_are_found(tmp_path: Path) -> None:
    key, _ = api_keys.generate("t", None, [Scope.QUERY])
    files = {
        "own.md": f"export CHAUKAS_API_KEY={key}",
        "cut.md": key[:-1] + ("a" if key[-1] != "a" else "b"),
        "aws.py": 'key = "AKIA' + 'IOSFODNN7EXAMPLF"',
        "pem.txt": "-----BEGIN RSA PRIVATE " + "KEY-----",
        "url.yml": "dsn: https://user:hunter" + "2x@example.com/",
        "clean.py": "print('nothing')",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    found = {(name, kind) for name, kind, _ in secrets.scan(tmp_path, list(files))}
    assert ("own.md", "Chaukas API key") in found
    assert {name for name, _ in found} == {"own.md", "aws.py", "pem.txt", "url.yml"}


def test_the_baseline_holds_no_secret_itself() -> None:
    assert all(len(hashed) >= 40 for _, _, hashed in secrets.known())


def test_every_file_of_the_baseline_exists() -> None:
    done = subprocess.run(["git", "ls-files"], cwd=secrets.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("no git repository")
    assert {name for name, _, _ in secrets.known()} <= set(done.stdout.splitlines())
