"""structlog, one line of JSON per event (or a readable console). No secrets and no event content at info level.

A line of the log is one event, whatever its values hold: line breaks, terminal controls and characters that reorder text are
escaped, in JSON and on the console (there, tracebacks keep their lines, behind a bar). So nothing that a stranger sends makes,
ends or hides a line.

While the process runs, SIGUSR1 switches between the level it was started with and DEBUG (started with DEBUG: and INFO), SIGUSR2
between the two formats.
"""

from __future__ import annotations

import logging
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
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
#: Between two lines of which one in a while is enough, seconds.
_QUIET_SECONDS = 30.0


class Seldom(logging.Filter):
    """One line in a while."""

    def __init__(self) -> None:
        super().__init__()
        self._last = -_QUIET_SECONDS

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._last < _QUIET_SECONDS:
            return False
        self._last = now
        return True


class _Strangers(Seldom):
    """One line in a while, without what was sent, about requests that a library cannot read: a stranger fills no disk."""

    def __init__(self, beginning: str, instead: str) -> None:
        super().__init__()
        self._beginning = beginning
        self._instead = instead

    def filter(self, record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith(self._beginning):
            return True
        if not super().filter(record):
            return False
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args, record.exc_info = self._instead, (), None
        return True


class Logs:
    """How a process logs, and how that is changed while it runs; from any thread."""

    def __init__(
        self, process: str, level: LogLevel, log_format: LogFormat, *, quiet_at_info: Sequence[str] = ()
    ) -> None:
        def add_process(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
            # Not a context variable: threads and what they hand to the event loop do not inherit those.
            event.setdefault("process", process)
            return event

        self._shared: list[structlog.typing.Processor] = [
            structlog.contextvars.merge_contextvars,
            add_process,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ]
        self._handler = logging.StreamHandler(sys.stderr)
        self._quiet_at_info = quiet_at_info
        self._switching = threading.Lock()
        self._other_level = LogLevel.INFO if level is LogLevel.DEBUG else LogLevel.DEBUG
        self._other_format = LogFormat.CONSOLE if log_format is LogFormat.JSON else LogFormat.JSON
        # Loggers are kept from their first use on, with these processors: the level is asked of logging each time, the format is
        # the handler's, so both may change.
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                *self._shared,
                structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
            ],
            logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.stdlib.BoundLogger,
            cache_logger_on_first_use=True,
        )
        self._set_format(log_format)
        logging.getLogger().handlers = [self._handler]
        self._set_level(level)

    def switch_level(self) -> None:
        """To the other of two levels; said in the log whatever they are."""
        with self._switching:
            before = self._level
            self._set_level(self._other_level)
            self._other_level = before
            self._say("log_level_changed", now=self._level.value)

    def switch_format(self) -> None:
        """To the other format."""
        with self._switching:
            before = self._format
            self._set_format(self._other_format)
            self._other_format = before
            self._say("log_format_changed", now=self._format.value)

    def _set_level(self, level: LogLevel) -> None:
        self._level = level
        logging.getLogger().setLevel(level.value.upper())
        for name in self._quiet_at_info:
            logging.getLogger(name).setLevel(logging.WARNING if level is LogLevel.INFO else logging.NOTSET)

    def _set_format(self, log_format: LogFormat) -> None:
        self._format = log_format
        renderer: structlog.typing.Processor = (
            _json_line(structlog.processors.JSONRenderer(ensure_ascii=False))
            if log_format is LogFormat.JSON
            else _console_line(
                structlog.dev.ConsoleRenderer(
                    colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
                )
            )
        )
        self._handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=self._shared,
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            )
        )

    def _say(self, event: str, **values: str) -> None:
        # At the least severity that is logged for certain.
        get_logger(__name__).log(max(logging.WARNING, logging.getLogger().level), event, **values)


def configure(process: str, level: LogLevel, log_format: LogFormat, *, quiet_at_info: Sequence[str] = ()) -> Logs:
    """Set up structlog and the standard library's logging (librdkafka, grpc, uvicorn, faust) and warnings for this process, on stderr.

    Loggers of `quiet_at_info` say nothing below WARNING at that level.
    """
    made = Logs(process, level, log_format, quiet_at_info=quiet_at_info)
    logging.captureWarnings(True)  # what libraries warn of is a line like others: an issuer's short key, say
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.INFO)
    for name, *_ in _OF_STRANGERS:
        logger = logging.getLogger(name)
        logger.filters = [found for found in logger.filters if not isinstance(found, _Strangers)]
    for name, beginning, instead in _OF_STRANGERS:
        logging.getLogger(name).addFilter(_Strangers(beginning, instead))
    return made


def obey_signals(logs: Logs) -> None:
    """Let SIGUSR1 switch the level and SIGUSR2 the format. From the main thread, before anybody could send one: unasked for, they
    end a process."""

    def switching(switch: Callable[[], None]) -> Callable[..., None]:
        # On a thread: the handler may interrupt the main one in the middle of a line.
        return lambda *_: threading.Thread(target=switch, name="logs", daemon=True).start()

    signal.signal(signal.SIGUSR1, switching(logs.switch_level))
    signal.signal(signal.SIGUSR2, switching(logs.switch_format))


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
