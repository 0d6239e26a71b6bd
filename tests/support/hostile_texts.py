"""Strings that try to be something else: SQL, a log line, a terminal's command, a parameter, a path."""

from __future__ import annotations

import random
from collections.abc import Iterator

#: Each has broken something somewhere.
HOSTILE_TEXTS = (
    "'",
    "''",
    '"',
    "`",
    "\\",
    "\\'",
    "\\\\'; DROP TABLE events; --",
    "' OR '1'='1",
    "') OR 1=1 --",
    "/* comment */",
    "-- comment",
    "# comment",
    ";",
    "{tenant_id:String}",
    "{x:String}",
    "{{x}}",
    "%(tenant_id)s",
    "%s%n%x",
    "$where",
    "${where}",
    "?",
    ":1",
    "NULL",
    "\\N",
    "\\0",
    "\t",
    "\x00",
    "a\x00b",
    "line\nbreak",
    "line\r\nbreak",
    '\n{"event":"forged","level":"info"}',
    '"}\n{"event":"forged"}',
    "\x1b[2J\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\",
    "\x9b31m",
    "\x85next line",
    "\u2028line separator\u2029",
    "\u202eright to left",
    "\u200bnothing",
    "\ufeff",
    "[bold red]markup[/]",
    "\b\b\b\b",
    "\x7f",
    "日本語",
    "𝕏😀",
    "e\u0301",
    "ß",
    "İ",
    "ﬀ",
    "a" * 300,
    "../../etc/passwd",
    "%00%0d%0a",
    "<script>",
    "1e999",
    "-0",
    "[]",
    "{}",
    "true",
    "fromUnixTimestamp64Nano(0)",
    "hasAll(tags, [])",
    "_",
    "%",
    "*",
    "(?i).*",
)


def hostile_texts(seed: int, count: int) -> Iterator[str]:
    """All of :data:`HOSTILE_TEXTS`, then `count` made of two or three of them."""
    yield from HOSTILE_TEXTS
    rng = random.Random(seed)
    for _ in range(count):
        yield "".join(rng.choices(HOSTILE_TEXTS, k=rng.randint(2, 3)))
