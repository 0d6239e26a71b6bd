"""Sending batches so that nothing is lost and nothing is kept from the caller: retries, and each reject with its line.

Re-sending is safe: event ids make it idempotent. One request is in flight at a time, so that a session's events reach
Kafka in the order of the file; the next batch is read while the answer is awaited.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from chaukas.spec.common.v1 import events_pb2
from chaukas.spec.server.v1 import server_pb2
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from cli.client.connection import CALL_SECONDS, Connection
from cli.client.errors import CallError, parse, read_details
from cli.client.jsonl import Batch, Line

#: The same request may succeed later.
RETRIED = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}
)
#: Waits without a hint from the server grow from the first to the last, seconds.
FIRST_WAIT_SECONDS = 0.2
LAST_WAIT_SECONDS = 10.0
#: A reason takes room in the answer's trailers (4 KiB); this many rejects always fit.
EXPLAINED_AT_ONCE = 10

_INDEXED = re.compile(r"event_batch\.events\[(\d+)\]\.?(.*)", re.ASCII | re.DOTALL)
_STATUS_TRAILER = "grpc-status-details-bin"
UNEXPLAINED = "rejected; the answer had no room for the reason"


@dataclass(frozen=True, slots=True)
class Reject:
    """A line that was not stored, and why."""

    line: int
    event_id: str
    reason: str


@dataclass(slots=True)
class Progress:
    """What happened so far."""

    #: Lines that are not blank.
    lines: int = 0
    accepted: int = 0
    rejected: int = 0
    retries: int = 0
    #: How far the file is done, bytes.
    end_bytes: int = 0


@dataclass(slots=True)
class Sender:
    """Sends batches through `connection`; `patience_seconds` bounds the time one batch is retried.

    `on_wait` is told about each retry before the wait: the error and the seconds.
    """

    connection: Connection
    patience_seconds: float
    #: Rejects whose reason did not fit the answer are asked for again while this many are still wanted.
    explanations_left: int = 100
    on_wait: Callable[[CallError, float], None] = lambda error, seconds: None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    progress: Progress = field(default_factory=Progress)

    def send(self, batches: Iterable[Batch]) -> Iterator[list[Reject]]:
        """Send everything; yields each batch's rejects once its fate is known and `progress` counts it.

        Raises ``grpc.RpcError`` for what retrying does not cure, or not within the patience.
        """
        source = iter(batches)
        batch = next(source, None)
        while batch is not None:
            call = self._start(batch.events)
            unreadable: OSError | None = None
            following = None
            try:
                following = next(source, None)
            except OSError as error:
                unreadable = error  # what is under way is finished and counted first
            yield self._finish(batch, call)
            if unreadable is not None:
                raise unreadable
            batch = following

    def _start(self, events: Sequence[events_pb2.Event]) -> Any:
        if not events:
            return None
        request = server_pb2.IngestEventBatchRequest(event_batch=events_pb2.EventBatch(events=events))
        method = self.connection.server.IngestEventBatch
        return method.future(request, timeout=CALL_SECONDS, metadata=self.connection.metadata)

    def _finish(self, batch: Batch, call: Any) -> list[Reject]:
        rejects = [Reject(line.number, "", line.problem) for line in batch.bad]
        if call is not None:
            rejects += self._rejects(batch.lines, call)
        done = self.progress
        done.lines += len(batch.lines) + len(batch.bad)
        done.rejected += len(rejects)
        done.accepted += len(batch.lines) + len(batch.bad) - len(rejects)
        done.end_bytes = batch.end_bytes
        return sorted(rejects, key=lambda reject: reject.line)

    def _rejects(self, lines: Sequence[Line], call: Any) -> list[Reject]:
        try:
            answer, call = self._answer(_events(lines), call)
        except grpc.RpcError as error:
            failed = parse(error)
            if failed.code is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            if len(lines) == 1:
                return [Reject(lines[0].number, _event_id(lines[0]), failed.line)]
            # A gateway with smaller limits than usual, or one event that spoils its batch: found by halving.
            halves = lines[: len(lines) // 2], lines[len(lines) // 2 :]
            return [reject for half in halves for reject in self._rejects(half, self._start(_events(half)))]
        if not answer.rejected_count:
            return []
        reasons = rejected_indices(lines, answer.rejected_event_ids, _violations(call))
        unexplained = [index for index, reason in reasons.items() if not reason]
        while unexplained and self.explanations_left > 0 and len(lines) > EXPLAINED_AT_ONCE:
            asked, unexplained = unexplained[:EXPLAINED_AT_ONCE], unexplained[EXPLAINED_AT_ONCE:]
            again = [lines[index] for index in asked]
            answers = {reject.line: reject.reason for reject in self._rejects(again, self._start(_events(again)))}
            for index in asked:
                if lines[index].number in answers:
                    reasons[index] = answers[lines[index].number]
                else:
                    del reasons[index]  # accepted this time
            self.explanations_left -= len(asked)
        return [
            Reject(lines[index].number, _event_id(lines[index]), reason or UNEXPLAINED)
            for index, reason in reasons.items()
        ]

    def _answer(self, events: Sequence[events_pb2.Event], call: Any) -> tuple[Any, Any]:
        """The answer of `call`, repeated while that can help, and the call it belongs to."""
        deadline = self.clock() + self.patience_seconds
        wait = FIRST_WAIT_SECONDS
        while True:
            try:
                return call.result(), call
            except grpc.RpcError as error:
                failed = parse(error)
                if failed.code not in RETRIED:
                    raise
                # Jitter above the hint, never below it: the server named the earliest moment.
                seconds = max(wait, failed.retry_after_seconds or 0.0) * (1 + random.random() / 4)  # noqa: S311 - spreads load, guards nothing
                if self.clock() + seconds > deadline:
                    raise
            self.progress.retries += 1
            self.on_wait(failed, seconds)
            self.sleep(seconds)
            wait = min(LAST_WAIT_SECONDS, wait * 2)
            call = self._start(events)


def rejected_indices(
    lines: Sequence[Line], rejected_ids: Iterable[str], violations: Iterable[tuple[int, str]]
) -> dict[int, str]:
    """The rejected events of a batch by index, with the reason where the answer gave one (else empty).

    Violations name the index; ids alone may be ambiguous (twice in the batch, once rejected): then the first ones not
    yet known as rejected are taken. An event without an id is listed as ``#<index>``.
    """
    reasons: dict[int, str] = {}
    for index, reason in violations:
        if index < len(lines):
            reasons[index] = f"{reasons[index]}; {reason}" if index in reasons else reason
    by_id: dict[str, list[int]] = {}
    for index, line in enumerate(lines):
        by_id.setdefault(_event_id(line) or f"#{index}", []).append(index)
    unclaimed = {name: [index for index in indices if index in reasons] for name, indices in by_id.items()}
    for name in rejected_ids:
        indices = by_id.get(name, [])
        if name.startswith("#") and not indices and name[1:].isdecimal():
            indices = [int(name[1:])] if int(name[1:]) < len(lines) else []
        if unclaimed.get(name):
            unclaimed[name].pop()
            continue
        fresh = next((index for index in indices if index not in reasons), None)
        if fresh is not None:
            reasons[fresh] = ""
    return dict(sorted(reasons.items()))


def _violations(call: Any) -> list[tuple[int, str]]:
    """What the answer's trailing metadata says about events, by index."""
    for key, value in call.trailing_metadata() or ():
        if key == _STATUS_TRAILER:
            try:
                violations, _ = read_details(status_pb2.Status.FromString(value))
            except DecodeError:
                return []
            found = []
            for violation in violations:
                if match := _INDEXED.fullmatch(violation.field):
                    path = match[2]
                    found.append((int(match[1]), f"{path}: {violation.reason}" if path else violation.reason))
            return found
    return []


def _events(lines: Sequence[Line]) -> list[events_pb2.Event]:
    return [line.event for line in lines if line.event is not None]


def _event_id(line: Line) -> str:
    return line.event.event_id if line.event is not None else ""
