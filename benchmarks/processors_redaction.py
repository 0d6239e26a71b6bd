"""What redaction adds to all steps of the processors, on the stream of `processors-steps`."""

from __future__ import annotations

import gc
from collections.abc import Iterator

from benchmarks.measure import Result, compare_timed
from benchmarks.processors_steps import all_steps, stream
from contracts.redaction import parse_rules
from processors.redact import Redactor

PATHS = """
      - {name: prompts, paths: ['$.message.text', '$.llm_invocation.request'], action: mask}
      - {name: ids, paths: ['$.tool_call.arguments..order', '$.mcp_call.request..account'], action: hash}
      - {name: stacks, paths: ['$.error.stack_trace'], action: drop}"""
PATTERNS = """
      - {name: emails, patterns: ['[\\w.+-]+@[\\w-]+(\\.[\\w-]+)+'], action: hash}
      - {name: cards, patterns: ['\\b(\\d[ -]?){13,16}\\b'], action: mask}
      - {name: keys, patterns: ['\\b(sk|ghp|ck)_[A-Za-z0-9]{16,}\\b'], action: mask}"""


def redactor(tenant: str, rules: str) -> Redactor:
    return Redactor(parse_rules(f'{{version: 1, tenants: {{"{tenant}": {{rules: [{_flow(rules)}]}}}}}}'), b"k" * 32)


def _flow(rules: str) -> str:
    return ", ".join(line.strip().removeprefix("- ") for line in rules.strip().splitlines())


def run() -> Iterator[Result]:
    records = stream(20_000)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as the worker does
    for what, tenant, rules in (
        ("rules, but none for the tenant", "other", PATHS + PATTERNS),
        ("five paths", "*", PATHS),
        ("three patterns on all text", "*", PATTERNS),
        ("five paths, three patterns", "*", PATHS + PATTERNS),
    ):
        redact = redactor(tenant, rules).redact
        yield compare_timed(
            "processors-redaction",
            f"all steps: {what}",
            lambda redact=redact: all_steps(records, redact),  # type: ignore[misc]
            "all steps without a file of rules",
            lambda: all_steps(records),
            events=len(records),
        )
