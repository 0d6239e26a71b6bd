"""One line of a kind, then silence for a while."""

from __future__ import annotations

import logging

from runtime.kafka_log import OnePerKind


def line(text: str) -> logging.LogRecord:
    return logging.LogRecord("kafka", logging.ERROR, "", 0, text, None, None)


def test_repetitions_are_dropped_and_other_lines_are_not() -> None:
    one = OnePerKind()
    assert one.filter(line("FAIL broker:9092 refused (after 3ms)"))
    assert not one.filter(line("FAIL broker:9092 refused (after 14ms)"))
    assert one.filter(line("FAIL other:9092 refused (after 3ms)"))


def test_after_a_while_it_is_said_again() -> None:
    one = OnePerKind(quiet_seconds=0)
    assert one.filter(line("x"))
    assert one.filter(line("x"))


def test_the_known_announcement_is_dropped() -> None:
    assert not OnePerKind().filter(line("CONFWARN enable.gapless.guarantee is experimental: When set"))


def test_memory_is_bounded() -> None:
    one = OnePerKind()
    for number in range(2000):
        one.filter(line("x" * number))
    assert len(one._last) <= 500
