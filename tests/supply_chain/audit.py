"""``python -m tests.supply_chain.audit [--strict]``: known vulnerabilities of the pinned dependencies, by pip-audit.

Offline this is a warning that says how much was not looked at, never a silent pass: pip-audit itself reports "no known
vulnerabilities" when its source knows none of the packages. ``--strict`` (``make audit``, for CI with a network) fails then.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ("requirements/runtime.txt", "requirements/build.txt")
#: Longest wait for each answer of the advisory service, and for all of them, seconds.
_ANSWER_SECONDS, _SECONDS = 5, 120


@dataclass(frozen=True, slots=True)
class Findings:
    """What one audit says."""

    audited: int
    #: Not looked at: the service did not know them, or did not answer.
    skipped: int
    vulnerable: tuple[str, ...]


def read(report: str) -> Findings:
    """pip-audit's JSON. Raises ValueError when it is none: then nothing was looked at."""
    dependencies = json.loads(report)["dependencies"]
    skipped = sum("skip_reason" in one for one in dependencies)
    vulnerable = tuple(
        f"{one['name']} {one['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'no version yet'}"
        for one in dependencies
        for found in one.get("vulns", ())
    )
    return Findings(len(dependencies) - skipped, skipped, vulnerable)


def verdict(findings: Findings | None, strict: bool) -> tuple[int, str]:
    """Exit status and what to say; None: there was no report."""
    if findings is not None and findings.vulnerable:
        return 1, "\n".join(("audit: known vulnerabilities:", *findings.vulnerable))
    if findings is None or findings.skipped:
        audited, skipped = (0, "all") if findings is None else (findings.audited, str(findings.skipped))
        word = "error" if strict else "WARNING"
        return int(strict), (
            f"audit: {word}: the advisory service is not reachable or knows only a part: {audited} dependencies looked at, "
            f"{skipped} NOT LOOKED AT (`make audit` with a network checks them)"
        )
    return 0, f"audit: {findings.audited} dependencies, no known vulnerability"


def run(files: Sequence[str]) -> Findings | None:
    """Ask; None when nothing came back. Blocks for two minutes at most."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--format=json"]
    command += [f"--timeout={_ANSWER_SECONDS}", "--progress-spinner=off"]
    for name in files:
        command += ["-r", name]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_SECONDS, check=False)
        return read(done.stdout)
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.supply_chain.audit", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="fail when anything was not looked at")
    status, said = verdict(run(REQUIREMENTS), parser.parse_args().strict)
    print(said, file=sys.stderr if said.startswith("audit: WARNING") else sys.stdout)
    return status


if __name__ == "__main__":
    sys.exit(main())
