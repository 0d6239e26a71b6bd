"""Runs one worker: ``python -m processors``. Several of them share the work as members of one consumer group.

SIGTERM and SIGINT stop it gracefully: what agents hold is finished (within limits), finished offsets are committed, the
group is left. Exit status: 0 after a signal; 1 after a crash (a batch that kept failing, a flood of dead letters); 74 when
Kafka did not take a record; 75 when nothing moved for too long; 78 for wrong settings or topics. A supervisor restarts it.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from typing import Any

import faust
import uvloop
from mode import Service

from contracts.errors import Unavailable
from contracts.redaction import InvalidRules
from processors.app import Processors, build, load_redactor
from processors.watchdog import ReadWatchdog, idle
from runtime import http, logs, starts
from runtime.kafka import TopicMisconfigured, check_topics
from runtime.settings import InvalidSettings, KafkaSettings, ProcessorsSettings, TracingSettings, load
from runtime.unread import kafka_unread

#: EX_CONFIG: restarting without a change will not help.
EXIT_CONFIG = 78
#: Longest time that the last spans get, seconds.
_SPANS_SECONDS = 2.0
#: EX_TEMPFAIL: Kafka is not there (yet).
EXIT_UNAVAILABLE = 75


class StatusPage(Service):
    """``/healthz``, ``/readyz`` and ``/metrics`` beside the app, in its event loop."""

    abstract = False

    def __init__(self, processors: Processors, host: str, port: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._socket = http.listen(host, port)
        self._server = http.embedded(http.status_app(processors.registry, processors.readiness))

    async def on_start(self) -> None:
        self.add_future(self._server.serve(sockets=[self._socket]))

    async def on_stop(self) -> None:
        self._server.should_exit = True


class Worker(faust.Worker):
    """Faust's worker without its own logging, spinner and redirected streams: the process has set those up."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, override_logging=False, quiet=True, redirect_stdouts=False, **kwargs)
        self.spinner = None

    def _install_signal_handlers_unix(self) -> None:
        """Its own for SIGUSR1 and SIGUSR2 print every stack and open a debugger on the terminal; ours change the logs."""
        self.loop.add_signal_handler(signal.SIGINT, self._on_sigint)
        self.loop.add_signal_handler(signal.SIGTERM, self._on_sigterm)


def main() -> None:
    try:
        settings, kafka, tracing = load(ProcessorsSettings), load(KafkaSettings), load(TracingSettings)
    except InvalidSettings as error:
        print(error, file=sys.stderr)
        raise SystemExit(EXIT_CONFIG) from None
    # Every service of theirs reports each start and stop.
    chatty = ("faust", "mode", "uvicorn", "processors.transport")
    logging_ = logs.configure("processors", settings.log_level, settings.log_format, quiet_at_info=chatty)
    logs.obey_signals(logging_)
    logger = logs.get_logger(__name__)
    try:
        redactor = load_redactor(settings)
    except InvalidRules as error:
        print(f"PROCESSORS_REDACTION_FILE={settings.redaction_file}:\n{error}", file=sys.stderr)
        raise SystemExit(EXIT_CONFIG) from None
    try:
        check_topics(kafka)
    except TopicMisconfigured as error:
        logger.critical("the topics are not right", problem=str(error))
        raise SystemExit(EXIT_CONFIG) from None
    except Unavailable as error:
        logger.critical("Kafka does not answer", problem=str(error))
        raise SystemExit(EXIT_UNAVAILABLE) from None
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        processors = build(settings, kafka, redactor, tracing)
    except InvalidSettings as error:
        print(error, file=sys.stderr)
        raise SystemExit(EXIT_CONFIG) from None
    loop.run_until_complete(processors.agent.ask_accepted())
    port = settings.http_port + settings.instance if settings.http_port else 0
    try:
        page = StatusPage(processors, settings.http_host, port, loop=loop)
    except OSError as error:
        logger.critical("the status page cannot listen", host=settings.http_host, port=port, problem=str(error))
        raise SystemExit(EXIT_CONFIG) from None
    # The window's entries hold no cycles; looking through them again and again costs a tenth of the throughput.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    logger.info(
        "starting",
        group=processors.app.conf.id,
        instance=settings.instance,
        window_offsets=settings.window_offsets,
        redaction_version=None if redactor is None else redactor.fingerprint,
    )
    starts.begin(settings.starts_dir, f"processors-{settings.instance}", processors.registry)
    watchdog = ReadWatchdog(lambda: idle(processors.app), kafka_unread(kafka), stall_seconds=settings.stall_seconds)
    watchdog.start()
    try:
        Worker(processors.app, page, loop=loop).execute_from_commandline()
    except SystemExit as end:
        starts.note_end(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise
    except BaseException:
        starts.note_end(1)
        raise
    finally:
        watchdog.stop()
        if processors.tracing is not None:
            processors.tracing.close(_SPANS_SECONDS)


if __name__ == "__main__":
    main()
