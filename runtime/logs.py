"""structlog, one line of JSON per event (or a readable console). No secrets and no event content at info level.

A line of the log is one event, whatever its values hold: line breaks, terminal controls and characters that reorder text are
escaped, in JSON and on the console (there, tracebacks keep their lines, behind a bar). So nothing that a stranger sends makes,
ends or hides a line.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import Any

import structlog

from runtime.settings.base import LogFormat, LogLevel

#: What a terminal obeys, what ends a line for some reader, and what reorders or hides text. JSON escapes the first 32 by itself.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
#: Libraries that write what they send at DEBUG: parameters of queries, headers, bodies.
_TALKATIVE = ("urllib3", "httpx", "httpcore", "hpack", "h2")
#: Lines that libraries write for each request that is broken or given up: logger, how they begin, and what is logged instead.
_OF_STRANGERS = (
    # Behind it stands the header's value: perhaps a key.
    ("grpc._cython.cygrpc", "Invalid encoding on", "a request cannot be read: a header of it is no text"),
    # With a traceback; seen when a call ends while it is refused.
    ("grpc._cython.cygrpc", "ExecuteBatchError raised in core", "a call ended before it was answered"),
    ("uvicorn.error", "Invalid HTTP request received.", "a request cannot be read: it is no HTTP"),
)
#: Between two lines about such requests, seconds.
_QUIET_SECONDS = 30.0


class _Strangers(logging.Filter):
    """One line in a while, without what was sent, about requests that a library cannot read: a stranger fills no disk."""

    def __init__(self, beginning: str, instead: str) -> None:
        super().__init__()
        self._beginning = beginning
        self._instead = instead
        self._last = -_QUIET_SECONDS

    def filter(self, record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith(self._beginning):
            return True
        now = time.monotonic()
        if now - self._last < _QUIET_SECONDS:
            return False
        self._last = now
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args, record.exc_info = self._instead, (), None
        return True


def configure(process: str, level: LogLevel, log_format: LogFormat) -> None:
    """Set up structlog and the standard library's logging (librdkafka, grpc, uvicorn, faust) for this process, on stderr."""

    def add_process(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        # Not a context variable: threads and what they hand to the event loop do not inherit those.
        event.setdefault("process", process)
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        add_process,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        _json_line(structlog.processors.JSONRenderer(ensure_ascii=False))
        if log_format is LogFormat.JSON
        else _console_line(
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        )
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.value.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.INFO)
    for name, *_ in _OF_STRANGERS:
        logger = logging.getLogger(name)
        logger.filters = [found for found in logger.filters if not isinstance(found, _Strangers)]
    for name, beginning, instead in _OF_STRANGERS:
        logging.getLogger(name).addFilter(_Strangers(beginning, instead))


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _json_line(renderer: structlog.typing.Processor) -> structlog.typing.Processor:
    """JSON's own syntax is ASCII, so whatever is unsafe stands inside a string, where an escape means the same."""

    def render(logger: Any, name: str, event: structlog.typing.EventDict) -> str:
        return _UNSAFE.sub(_escape, str(renderer(logger, name, event)))

    return render


def _console_line(renderer: structlog.typing.Processor) -> structlog.typing.Processor:
    """The console's renderer colours the line itself, so what it is given is escaped before."""

    def render(logger: Any, name: str, event: structlog.typing.EventDict) -> str:
        # Lines of a traceback stay lines; the bar tells them from those of the log.
        trace = event.pop("exception", None)
        shown = {_safe(key): _safe(value) for key, value in event.items()}
        lines = [] if trace is None else [f"  | {_UNSAFE.sub(_escape, line)}" for line in str(trace).split("\n")]
        return "\n".join([str(renderer(logger, name, shown)), *lines])

    return render


def _safe(value: Any) -> Any:
    """Text that is safe as it stands; the renderer shows anything but text by its repr, which must be as safe."""
    if isinstance(value, str):
        return _UNSAFE.sub(_escape, value)
    if isinstance(value, int | float | None):
        return value
    return _UNSAFE.sub(_escape, repr(value))
