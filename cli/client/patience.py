"""Repeating reads while the gateway is away or busy."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc

from cli.client.errors import CallError, parse
from cli.client.sender import FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS, RETRIED

T = TypeVar("T")


@dataclass(slots=True)
class Patience:
    """A call that fails for now is repeated for `seconds` (None: for ever). `on_wait` is told the error and the wait in seconds."""

    seconds: float | None
    on_wait: Callable[[CallError, float], None] = lambda error, seconds: None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def call(self, ask: Callable[[], T]) -> T:
        """The answer of `ask`. Raises its ``grpc.RpcError`` when repeating does not help, or not in time."""
        deadline = None if self.seconds is None else self.clock() + self.seconds
        wait = FIRST_WAIT_SECONDS
        while True:
            try:
                return ask()
            except grpc.RpcError as error:
                failed = parse(error)
                if failed.code not in RETRIED:
                    raise
                pause = max(wait, failed.retry_after_seconds or 0.0) * (1 + random.random() / 4)  # noqa: S311
                if deadline is not None and self.clock() + pause > deadline:
                    raise
            self.on_wait(failed, pause)
            self.sleep(pause)
            wait = min(LAST_WAIT_SECONDS, wait * 2)
